"""Which columns of a table hold what. Columns are named by the user, or known; else they are asked
for with the list of columns.
"""

from __future__ import annotations

import re

from dnnlib import UserError
from training.datasets.tables.tables import Table, plain

# In small letters without blanks and punctuation, the best first.
IMAGE_COLUMNS = tuple(
    "imageurlhighres image images imageurl imageurls imagelink imagelinks imagepath imagepaths "
    "imagefile imagefiles mainimage mainimageurl baseimage primaryimage primaryimageurl "
    "galleryurl img imgs imgurl imgurls picture pictures pictureurl pictureurls picurl picurls "
    "pic photo photos photourl photourls itemphotourl itemphotourls thumbnail thumbnailurl "
    "thumbnailimage thumbnailimages imagesrc imgsrc itemimage productimage productimages "
    "productimageurl image1 imageurl1 image1url filename file filepath path".split()
)
# Where a row has no large picture, the next of these serves.
LARGE_COLUMNS = ("imageurlhighres", "imageurl", "images", "image", "thumbnailimages")
CATEGORY_COLUMNS = tuple(
    "category categoryname categories primarycategory primarycategoryname leafcategory "
    "leafcategoryname maincategory itemcategory productcategory listingcategory category1 "
    "category1name ebaycategory1name categorypath productcategorytree subcategory producttype "
    "googleproductcategory feedproducttype department class label labels categoryid categorynumber "
    "ebaycategory1number leafcategoryids taxonomypath taxonomyid type".split()
)
ID_COLUMNS = "id itemid productid imageid asin sku uniqid itemnumber".split()
FILE_COLUMNS = tuple(
    "file filename filenames filepath filepaths image images imagename imagenames imagefile "
    "imagefilename imagepath imagepaths imageid img imgname imgpath imgfile imgid picture photo "
    "path paths name id".split()
)
# Names of classes; their numbers serve where there is nothing else.
LABEL_COLUMNS = tuple(
    "label class category labels classes categories categoryname classname labelname "
    "classlabel".split()
)
LABEL_NUMBERS = tuple(
    "classid labelid categoryid classindex labelindex classnumber target y classidx".split()
)
# Sentences about a picture, which hardly two have in common.
_CAPTION_COLUMNS = frozenset("text caption captions prompt description title url".split())
# Further pictures of a thing beside its main one, and those of a numbered series.
_FURTHER_COLUMNS = re.compile(
    r"(additional|other|gallery|secondary|productsecondary|variant|alternate)"
    r"(image|picture|photo)s?(links?|urls?|src)?\d*"
)


def further_image_columns(table: Table, first: str) -> list[str]:
    """The columns of further pictures beside `first`: `IMAGE2`, `additional_image_link`."""
    series = re.sub(r"\d+", "", plain(first))
    found = []
    for column in table.columns:
        name = plain(column)
        is_next = re.sub(r"\d+", "", name) == series
        if column != first and (
            is_next or (_FURTHER_COLUMNS.fullmatch(name) and table.delimiter is not None)
        ):
            found.append(column)
    return found


def image_columns(table: Table, option: str | None) -> list[str]:
    """The columns of pictures; in a row the first counts that has any.

    Raises:
        UserError: There is no column `option`.
    """
    named = table.column("--image-column", option, IMAGE_COLUMNS)
    if named is None:
        return []
    if option is not None:
        return [named]
    first = _filled(table, table.known(IMAGE_COLUMNS)) or named
    large = table.known(LARGE_COLUMNS)
    return [first, *large[large.index(first) + 1 :]] if first in large else [first]


def category_column(table: Table, option: str | None) -> str:
    """The column of categories: of the known ones the first that is not empty.

    Raises:
        UserError: There is no column `option`, or none is known.
    """
    found = table.column("--category-column", option, CATEGORY_COLUMNS)
    if found is None:
        raise UserError(
            f"{table.path}: no column of categories is known: name it with --category-column, "
            f"or use --labels=none; {table.listing}"
        )
    return found if option is not None else _filled(table, table.known(CATEGORY_COLUMNS)) or found


def label_column(table: Table, title: str, option: str | None, file_column: str) -> str:
    """The column of labels beside one of files.

    Raises:
        UserError: There is no column `option`, none is known, or several could be meant.
    """
    if option is not None:
        return table.column("--label-column", option, ())
    for usual in (LABEL_COLUMNS, LABEL_NUMBERS):
        found = [column for column in table.known(usual) if column != file_column]
        if len(found) > 1 and (filled := [c for c in found if _filled(table, [c])]):
            found = filled
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{title}: {' and '.join(found)} could both hold the labels: name one with "
                f"--label-column; {table.listing}"
            )
    others = [column for column in table.columns if column != file_column]
    if len(others) == 1 and plain(others[0]) not in _CAPTION_COLUMNS:
        return others[0]
    raise UserError(
        f"{title}: no column of labels is known: name it with --label-column; {table.listing}; "
        "--labels=none is without"
    )


def _filled(table: Table, columns: list[str]) -> str | None:
    """The first of some columns that is not empty in the first rows."""
    rows = table.sample()
    empty = (None, "", [], {})
    return next((c for c in columns if any(row.get(c) not in empty for row in rows)), None)
