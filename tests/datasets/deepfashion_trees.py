"""Writes small DeepFashion benchmarks in the genuine formats, quirks included, and reads them.

Every picture is 40x60 pixels: BACKGROUND around a box of a colour of its own, `colour(i)` for the
i-th picture of a tree.
"""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building.build import Output
from training.datasets.building.inspect import read_images
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.sources.deepfashion import importer

SIZE = (40, 60)
BOX = (8, 16, 32, 48)
BACKGROUND = (250, 250, 250)
CATEGORIES = (
    "Anorak Blazer Blouse Bomber Button-Down Cardigan Flannel Halter Henley Hoodie Jacket Jersey "
    "Parka Peacoat Poncho Sweater Tank Tee Top Turtleneck "  # 1 to 20 are upper-body clothes
    "Capris Chinos Culottes Cutoffs Gauchos Jeans Jeggings Jodhpurs Joggers Leggings Sarong Shorts "
    "Skirt Sweatpants Sweatshorts Trunks "  # to 36 lower-body, then full-body
    "Caftan Cape Coat Coverup Dress Jumpsuit Kaftan Kimono Nightdress Onesie Robe Romper "
    "Shirtdress Sundress"
).split()
# How copies of the annotation files differ; `table` writes them.
STYLES = {
    "genuine": {},
    "blank count": {"count": ""},
    "no count": {"count": None},
    "wrong count": {"count": "289222"},
    "no header": {"header": False},
    "rows only": {"count": None, "header": False},
    "BOM and CRLF": {"bom": True, "crlf": True},
    "BOM and rows only": {"bom": True, "count": None, "header": False},
}


def colour(i):
    return (20 * i % 200, 7 * i % 200, 13 * i % 200)


def picture(path, i, box=BOX):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, BACKGROUND)
    image.paste(colour(i), box)
    image.save(path, quality=100, subsampling=0)


def table(path, columns, rows, count=True, header=True, bom=False, crlf=False):
    """Rows of fields, padded with spaces also behind the last, after the count and the names."""
    width = max((len(str(row[0])) for row in rows), default=0) + 4
    lines = [" ".join([str(row[0]).ljust(width), *map(str, row[1:])]) + "  " for row in rows]
    lines = ([columns] if header else []) + lines
    if count is not None:
        lines.insert(0, str(len(rows)) if count is True else count)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ("\r\n" if crlf else "\n").join(lines) + ("\r\n" if crlf else "\n")
    path.write_text(("\ufeff" if bom else "") + text, encoding="utf-8", newline="")


def padded(box):
    return [f"{x:03}" for x in box]


# Folder, category, partition; the names of the pictures repeat in the folders.
CATEGORY_ROWS = [
    ("Sheer_Pleated-Front_Blouse", 3, "train"),
    ("Sheer_Pleated-Front_Blouse", 3, "val"),
    ("Boxy_Tee", 18, "train"),
    ("Boxy_Tee", 18, "test"),
    ("Café_Skirt_裙", 33, "train"),
    ("Lace_Dress", 41, "train"),
    ("Lace_Dress", 41, "val"),
    ("Lace_Dress", 41, "test"),
]
ATTRIBUTES = [("a-line", 3), ("animal print", 1), ("abstract print", 1), ("Chiffon", 2)]
ATTRIBUTE_ROWS = [[-1, 1, 0, (-1, 0, 1)[i % 3]] for i in range(len(CATEGORY_ROWS))]


def category_names():
    numbers = {}
    for folder, _, _ in CATEGORY_ROWS:
        numbers[folder] = numbers.get(folder, 0) + 1
        yield f"img/{folder}/img_{numbers[folder]:08}.jpg"


def category_table(path, **style):
    rows = [(name, 1 + (i >= 20) + (i >= 36)) for i, name in enumerate(CATEGORIES)]
    table(path, "category_name  category_type", rows, **style)


def category(root, anno="Anno_coarse", images="Img/img", **style):
    names = list(category_names())
    for i, name in enumerate(names):
        picture(root / images / name.removeprefix("img/"), i)
    category_table(root / anno / "list_category_cloth.txt", **style)
    rows = [(name, row[1]) for name, row in zip(names, CATEGORY_ROWS, strict=True)]
    table(root / anno / "list_category_img.txt", "image_name  category_label", rows, **style)
    rows = [(name, row[2]) for name, row in zip(names, CATEGORY_ROWS, strict=True)]
    eval_file = root / "Eval/list_eval_partition.txt"
    table(eval_file, "image_name  evaluation_status", rows, **style)
    rows = [(name, *padded(BOX)) for name in names]
    table(root / anno / "list_bbox.txt", "image_name  x_1  y_1  x_2  y_2", rows, **style)
    columns = "attribute_name  attribute_type"
    table(root / anno / "list_attr_cloth.txt", columns, ATTRIBUTES, **style)
    rows = [
        (name, *(f"{value:2}" for value in values))
        for name, values in zip(names, ATTRIBUTE_ROWS, strict=True)
    ]
    table(root / anno / "list_attr_img.txt", "image_name  attribute_labels", rows, **style)
    return root


def fine(root, images="Img/img"):
    """Anno_fine: a file of names and one of each kind of annotation for each partition."""
    folder = root / "Anno_fine"
    category_table(folder / "list_category_cloth.txt")
    table(folder / "list_attr_cloth.txt", "attribute_name  attribute_type", ATTRIBUTES[:2])
    for part in ("train", "val", "test"):
        lines = {"": [], "_cate": [], "_attr": [], "_bbox": []}
        for i, name in enumerate(category_names()):
            if CATEGORY_ROWS[i][2] == part:
                picture(root / images / name.removeprefix("img/"), i)
                lines[""].append(name)
                lines["_cate"].append(str(CATEGORY_ROWS[i][1]))
                lines["_attr"].append(f"{i % 2} 1 ")
                lines["_bbox"].append(" ".join(padded(BOX)))
        for kind, texts in lines.items():
            path = folder / f"{part}{kind}.txt"
            path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return root


# Path below img, item, partition, clothes_type.
INSHOP_ROWS = [
    ("WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train", 3),
    ("WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train", 3),
    ("WOMEN/Dresses/id_00000002/02_7_additional.jpg", "id_00000002", "train", 3),
    ("WOMEN/Denim/id_00000080/02_1_front.jpg", "id_00000080", "query", 2),
    ("WOMEN/Denim/id_00000080/02_3_back.jpg", "id_00000080", "gallery", 2),
    ("MEN/Denim/id_00000089/01_4_full.jpg", "id_00000089", "query", 2),
    ("MEN/Tees_Tanks/id_00000090/01_1_front.jpg", "id_00000090", "gallery", 1),
    ("MEN/Tees_Tanks/id_00000090/01_6_flat.jpg", "id_00000090", "gallery", 1),
]


COLORS = ("Black-grey", "Red", "Red", "Navy")  # of the items, in the order of their numbers


def inshop(root, images="img", **style):
    for i, (path, *_) in enumerate(INSHOP_ROWS):
        picture(root / images / path, i)
    rows = [(f"img/{path}", item, status) for path, item, status, _ in INSHOP_ROWS]
    columns = "image_name item_id evaluation_status"
    table(root / "Eval/list_eval_partition.txt", columns, rows, **style)
    rows = [(f"img/{path}", kind, 1, *padded(BOX)) for path, _, _, kind in INSHOP_ROWS]
    columns = "image_name  clothes_type  pose_type  x_1  y_1  x_2  y_2"
    table(root / "Anno/list_bbox_inshop.txt", columns, rows, **style)
    items = sorted({item for _, item, _, _ in INSHOP_ROWS})
    (root / "Anno/list_item_inshop.txt").write_text("\n".join([str(len(items)), *items, ""]))
    descriptions = [
        {"item": item, "color": color, "description": ["Soft."]}
        for item, color in zip(items, COLORS, strict=True)
    ]
    (root / "Anno/list_description_inshop.json").write_text(json.dumps(descriptions))
    return root


# Path below img, clothes_type, source_type (1 shop, 2 consumer).
CONSUMER2SHOP_ROWS = [
    ("TOPS/Blouse/id_00000001/comsumer_01.jpg", 1, 2),
    ("TOPS/Blouse/id_00000001/comsumer_02.jpg", 1, 2),
    ("TOPS/Blouse/id_00000001/shop_01.jpg", 1, 1),
    ("CLOTHING/Skirt/id_00000002/comsumer_01.jpg", 2, 2),
    ("CLOTHING/Skirt/id_00000002/shop_01.jpg", 2, 1),
    ("DRESSES/Dress/id_00000003/shop_01.jpg", 3, 1),  # in no pair
]


CONSUMER2SHOP_ATTRIBUTES = [("袖长", "sleeve length", 1), ("连衣裙", "dress", 2)]


def consumer2shop(root, **style):
    for i, (path, *_) in enumerate(CONSUMER2SHOP_ROWS):
        picture(root / "Img/img" / path, i)
    rows = [
        (f"img/{path}", kind, source, *padded(BOX)) for path, kind, source in CONSUMER2SHOP_ROWS
    ]
    columns = "image_name  clothes_type  source_type  x_1  y_1  x_2  y_2"
    table(root / "Anno/list_bbox_consumer2shop.txt", columns, rows, **style)
    names = [row[0] for row in rows]
    rows = [
        (names[0], names[2], "id_00000001", "train"),
        (names[1], names[2], "id_00000001", "train"),
        (names[3], names[4], "id_00000002", "test"),
    ]
    columns = "image_pair_name_1 image_pair_name_2 item_id evaluation_status"
    table(root / "Eval/list_eval_partition.txt", columns, rows, **style)
    columns = "Chinese name  English name  type"
    table(root / "Anno/list_attr_cloth.txt", columns, CONSUMER2SHOP_ATTRIBUTES, **style)
    rows = [(f"id_{i:08}", *(f"{v:2}" for v in (i - 2, 1))) for i in (1, 2, 3)]
    table(root / "Anno/list_attr_items.txt", "item_id  attribute_labels", rows, **style)
    return root


# Number of the picture, type, landmarks, partition; the numbering has gaps.
LANDMARK_ROWS = [(1, 1, 6, "train"), (3, 2, 4, "train"), (4, 3, 8, "val"), (9, 3, 8, "test")]


def landmark(root, images="Img/img", **style):
    names = [f"img/img_{row[0]:08}.jpg" for row in LANDMARK_ROWS]
    for i, name in enumerate(names):
        picture(root / images / name.removeprefix("img/"), i)
    rows = [
        (name, kind, 1, *["0 146 102"] * landmarks)
        for name, (_, kind, landmarks, _) in zip(names, LANDMARK_ROWS, strict=True)
    ]
    columns = "image_name  clothes_type  variation_type  landmark_visibility_1  landmark_x_1"
    table(root / "Anno/list_landmarks.txt", columns, rows, **style)
    rows = [(name, *padded(BOX)) for name in names]
    table(root / "Anno/list_bbox.txt", "image_name  x_1  y_1  x_2  y_2", rows, **style)
    rows = [(name, row[3]) for name, row in zip(names, LANDMARK_ROWS, strict=True)]
    columns = "image_name  evaluation_status"
    table(root / "Eval/list_eval_partition.txt", columns, rows, **style)
    return root


def deepfashion2_item(category, box, view=2, style=1):
    return {
        "category_name": "as in the table",
        "category_id": category,
        "style": style,
        "bounding_box": list(box),
        "landmarks": [10, 10, 2],
        "segmentation": [[1.0, 2.0, 3.0, 4.0]],
        "scale": 2,
        "occlusion": 1,
        "zoom_in": 1,
        "viewpoint": view,
    }


def deepfashion2(root):
    """Two pictures for training, the first with a small and a large item; one for the others."""
    small, large = (0, 0, 4, 4), BOX
    pictures = {
        "train/000001": [deepfashion2_item(1, small, 1), deepfashion2_item(8, large, 2)],
        "train/000002": [deepfashion2_item(8, large, 3)],
        "validation/000001": [deepfashion2_item(13, large)],
    }
    for i, (key, items) in enumerate(pictures.items()):
        part, number = key.split("/")
        picture(root / part / f"image/{number}.jpg", i)
        annotation = {"source": ("shop", "user")[i % 2], "pair_id": 10 + i}
        annotation |= {f"item{k}": item for k, item in enumerate(items, 1)}
        (root / part / "annos").mkdir(exist_ok=True)
        (root / part / f"annos/{number}.json").write_text(json.dumps(annotation))
    picture(root / "test/image/000001.jpg", 3)
    return root


MULTIMODAL_NAMES = [
    "MEN-Denim-id_00000080-01_7_additional.jpg",
    "MEN-Denim-id_00000080-02_1_front.jpg",
    "WOMEN-Blouses_Shirts-id_00000001-02_3_back.jpg",
    "WOMEN-Dresses-id_00000002-02_4_full.jpg",
]


def multimodal(root):
    """The last picture has no shape annotation."""
    for i, name in enumerate(MULTIMODAL_NAMES):
        picture(root / "images" / name, i)
    (root / "labels/shape").mkdir(parents=True)
    lines = [f"{name} 0 1 2 3 4 5 0 1 2 3 0 {i}" for i, name in enumerate(MULTIMODAL_NAMES)]
    (root / "labels/shape/shape_anno_all.txt").write_text("\n".join(lines[:3]) + "\n")
    for kind in ("fabric", "pattern"):
        (root / f"labels/texture/{kind}").mkdir(parents=True)
        lines = [f"{name} {i} 7 1" for i, name in enumerate(MULTIMODAL_NAMES)]
        (root / f"labels/texture/{kind}/{kind}_ann.txt").write_text("\n".join(lines) + "\n")
    return root


TREES = {
    "category": category,
    "inshop": inshop,
    "consumer2shop": consumer2shop,
    "landmark": landmark,
    "deepfashion2": deepfashion2,
    "multimodal": multimodal,
}


def source_of(root, **options):
    return importer.deepfashion_source(str(root), **options)


def items_of(root, **options):
    return list(source_of(root, **options).items)


def labels_of(root, **options):
    return [item.label for item in items_of(root, **options)]


def error_of(root, **options):
    with pytest.raises(UserError) as caught:
        items_of(root, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def convert(tmp_path, root, **options):
    """A dataset of 16x16 images; returns images, labels and manifest, in the source's order."""
    fields = {"margin": options.pop("margin")} if "margin" in options else {}
    folder = tmp_path / "out/foo"
    shutil.rmtree(folder, ignore_errors=True)
    output = Output(str(folder), shuffle=False, resolution=16, transform="stretch", **fields)
    importer.create_from_deepfashion(output, str(root), **options)
    dataset = find_dataset(str(folder))
    images = list(read_images(dataset))
    with open(folder / "foo.json") as file:
        return images, read_labels(dataset), json.load(file)


def is_colour(image, rgb):
    """Whether all of an image but its rim has a colour."""
    expected = np.array(rgb).reshape(3, 1, 1)
    return bool((abs(image[:, 2:-2, 2:-2].astype(int) - expected) < 12).all())


def append(path, *lines):
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
