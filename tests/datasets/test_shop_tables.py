"""Tables of listings as shops, APIs and collections of data have them."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import nullcontext

import pytest
from http_server import Server, picture
from PIL import Image

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions, file_of
from dnnlib.retries import Backoff
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.items import Item
from training.datasets.sources.ebay.importer import create_from_ebay
from training.datasets.sources.ebay.listings import ListingOptions, listings_source
from training.datasets.sources.ebay.web_pictures import larger
from training.datasets.sources.images import images_source
from training.datasets.tables import parquet, text
from training.datasets.tables.cells import category_of
from training.datasets.tables.tables import open_table

OPTIONS = DownloadOptions(rate=1000.0, allow_private=True, backoff=Backoff(1, 0.01, 0.05))


@pytest.fixture
def server():
    with Server() as server:
        yield server


def shop(folder, name, text, *pictures, encoding="utf-8"):
    for i, file in enumerate(pictures):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (30 * i, 0, 0)).save(folder / file)
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return folder


def listed(root, labels="category", **options):
    source = listings_source(str(root), labels, ListingOptions(**options))
    return [(item.name, item.label) for item in source.items], source


def test_seller_hub(tmp_path, capsys):
    head = [
        "#INFO,Version=0.0.2,Template= draft-listings,,,,",
        '"#INFO After the upload, complete your drafts",,,,',
        "#INFO,,,,",
        "Action(SiteID=US|Country=US|Currency=USD|Version=1193|CC=UTF-8),Category ID,Title,"
        "Item photo URL,Format",
    ]
    rows = [f"Draft,{(47140, 95672)[i % 2]},T,{i}.jpg|{i}b.jpg,FixedPrice" for i in range(2)]
    text = "\ufeff" + "\r\n".join(head + rows)
    folder = shop(tmp_path / "hub", "drafts.csv", text, "0.jpg")
    assert listed(folder)[0] == [
        ("0.jpg", 47140),
        ("0b.jpg", 47140),
        ("1.jpg", 95672),
        ("1b.jpg", 95672),
    ]
    assert "pictures are in the column Item photo URL, categories in Category ID" in (
        capsys.readouterr().out
    )
    text = "*Action(SiteID=US|Country=US|V=745),*Category,PicURL\nAdd,9355,a.jpg\n"
    assert listed(shop(tmp_path / "old", "l.csv", text))[0] == [("a.jpg", 9355)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sep=;\r\nimage;category\r\na,b.jpg;x\r\n", [("a", "x"), ("b.jpg", "x")]),
        ("\n \nimage,category\na.jpg,x\n", [("a.jpg", "x")]),
        ("Report of listings 2026\n\nimage,category\na.jpg,x\n", [("a.jpg", "x")]),
        ("id\ttitle\tg:image_link\tg:product_type\n1\tx\ta.jpg\tA &amp; B\n", [("a.jpg", "A & B")]),
        (
            "Handle,Title,Product Category,Type,Image Src\n"
            "a,A,,Hats,1.jpg\na,,,,2.jpg\nb,B,,Caps,3.jpg\n",
            [("1.jpg", "Hats"), ("2.jpg", "Hats"), ("3.jpg", "Caps")],
        ),
        (
            'ID,Type,Name,Categories,Images\n1,simple,N,"Clothing > Hats","1.jpg, 2.jpg"\n',
            [("1.jpg", "Clothing > Hats"), ("2.jpg", "Clothing > Hats")],
        ),
        (
            'image,product_category_tree\n"[""a.jpg""]","[""Men >> Shirts""]"\n',
            [("a.jpg", "Men >> Shirts")],
        ),
    ],
)
def test_tables_of_shops(tmp_path, text, found):
    assert listed(shop(tmp_path / "s", "l.csv", text))[0] == found


def test_surplus_cells_that_shift_the_category_are_left_out(tmp_path):
    text = "image,title,category\na.jpg,Jeans, slim,Denim\nb.jpg,Hat,Hats\n"
    found, source = listed(shop(tmp_path / "s", "l.csv", text))
    assert found == [("b.jpg", "Hats")]
    assert "4 cells for 3 columns" in source.skipped[0]["reason"]
    text = "id,articleType,productDisplayName\n7,Perfume,Boss, After Shave, Set\n"
    folder = shop(tmp_path / "styles", "styles.csv", text, "images/7.jpg")
    found, source = listed(folder, category_column="articleType")
    assert found == [("images/7.jpg", "Perfume")] and source.skipped == []


def test_numbers_of_products(tmp_path):
    rows = "id,kind,category\n00123,x,007\n123,x,7\n9,x,7\n"
    pictures = "images/00123.jpg", "images/123.JPG", "images/9.png"
    folder = shop(tmp_path / "s", "p.csv", rows, *pictures)
    found = [("images/00123.jpg", "007"), ("images/123.JPG", 7), ("images/9.png", 7)]
    assert listed(folder)[0] == listed(folder, image_column="id")[0] == found
    found = [(f"images/{i}.png", label) for i, label in (("00123", "007"), ("123", 7), ("9", 7))]
    assert listed(folder, image_path="images/{}.png")[0] == found
    for template in ("images/a.jpg", "{}/{}.jpg"):
        with pytest.raises(UserError, match=r"--image-path=.* one \{\}"):
            listed(folder, image_path=template)
    found, source = listed(folder, image_path="../{}.jpg")
    assert found == [] and "leads out of the folder" in source.skipped[0]["reason"]
    # Absolute paths are taken from the folder on, wherever it was.
    rows = f"image,category\n{folder}/images/9.png,a\nC:\\x\\images\\123.jpg,b\n/etc/passwd,c\n"
    found, source = listed(shop(tmp_path / "s", "p.csv", rows))
    assert found == [("images/9.png", "a"), ("images/123.JPG", "b")]
    assert source.skipped[-1]["file"].startswith("p.csv:4")


def test_pages_of_the_browse_api(tmp_path):
    def item(i, name):
        category = {"categoryId": "1"} | ({"categoryName": name} if name else {})
        return {
            "itemId": f"v1|{i}|0",
            "leafCategoryIds": ["1"],
            "categories": [{"categoryId": "9", "categoryName": "Clothing"}, category],
            "image": {"imageUrl": f"{i}.jpg"},
        }

    items = [item(0, None), item(1, "Skirts")]
    found = [("0.jpg", "Skirts"), ("1.jpg", "Skirts")]
    page = {"href": "x", "total": 2, "itemSummaries": items}
    texts = {
        "lines.jsonl": "\n".join(map(json.dumps, items)),
        "page.json": json.dumps(page, indent=2),
        "one-line.json": json.dumps(page),
        "array.json": json.dumps(items, indent=1),
        "getitems.json": json.dumps({"items": items, "warnings": []}, indent=1),
        "packed.jsonl.gz": gzip.compress("\n".join(map(json.dumps, items)).encode()),
    }
    for name, content in texts.items():
        assert listed(shop(tmp_path / name, name, content))[0] == found, name
    for i in range(2):  # one for each item
        shop(tmp_path / "pages", f"{i}.json", json.dumps(items[i], indent=1))
    assert listed(tmp_path / "pages")[0] == found
    one = {"itemId": "1", "categoryPath": "Home|Lamps", "image": {"imageUrl": "1.jpg"}}
    assert listed(shop(tmp_path / "i", "i.json", json.dumps(one, indent=1)))[0] == [
        ("1.jpg", "Home|Lamps")
    ]
    nameless = {"categories": [{"categoryId": "077"}], "image": {"imageUrl": "1.jpg"}}
    assert listed(shop(tmp_path / "n", "n.jsonl", json.dumps(nameless)))[0] == [("1.jpg", "077")]


def test_the_largest_picture_of_amazon(tmp_path):
    for row, found in (
        ({"images": [{"thumb": "t", "large": "l", "hi_res": "h"}]}, "h"),
        ({"images": [{"thumb": "t", "large": "l", "hi_res": None}]}, "l"),
        ({"images": {"thumb": ["t"], "large": ["l"], "hi_res": [None]}}, "l"),
        ({"images": "[{'thumb': 't', 'large': 'l', 'hi_res': None}]"}, "l"),
        ({"imageURL": ["t"], "imageURLHighRes": ["h"]}, "h"),
        ({"imageURL": ["t"], "imageURLHighRes": []}, "t"),
        ({"image": {"src": "s"}}, "s"),
    ):
        first = {"imageURL": [], "imageURLHighRes": ["x"]} if "imageURL" in row else {}
        lines = [first | {"main_category": None, "categories": ["A", "B"]}] if first else []
        lines.append(row | {"main_category": None, "categories": ["A", "B"]})
        text = "\n".join(map(json.dumps, lines))
        assert listed(shop(tmp_path / "s", "m.jsonl", text))[0][-1] == (found, "A > B"), row


def test_parquet_with_pictures_in_it(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pictures = [{"bytes": picture(i, (16, 16)), "path": f"{i}.png"} for i in range(3)]
    table = arrow.table({"image": pictures, "label": ["a", "b", "a"]})
    for part in range(2):
        parquet.write_table(table, tmp_path / f"train-0000{part}-of-00002.parquet")
    found, source = listed(tmp_path)
    assert len(found) == 6 and found[1] == ("train-00000-of-00002.parquet:2", "b")
    assert source.read(Item(found[4][0])) == picture(1, (16, 16))
    create_from_ebay(Output(str(tmp_path / "ds"), resolution=16), str(tmp_path))
    assert read_manifest(find_dataset(str(tmp_path / "ds")))["images"] == 6


def test_parquet_with_some_pictures_in_it(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    shop(tmp_path, "note.txt", "", "1.png")
    pictures = [{"bytes": picture(0), "path": "0.png"}, {"bytes": None, "path": "1.png"}]
    files.write_table(arrow.table({"image": pictures}), tmp_path / "l.parquet")
    found, source = listed(tmp_path, "none")
    contents = [source.read(Item(name)) for name, _ in found]
    assert contents == [picture(0), str(tmp_path / "1.png")]


def test_several_categories(tmp_path, capsys):
    text = "image,category\na.jpg,x|y\nb.jpg,x\na.jpg,z\n"
    folder = shop(tmp_path / "s", "l.csv", text)
    found, source = listed(folder, "category:multi")
    assert source.classes == ["x", "y", "z"]
    assert found == [("a.jpg", (1.0, 1.0, 1.0)), ("b.jpg", (1.0, 0.0, 0.0))]
    found, source = listed(folder)
    assert found == [("a.jpg", "x|y"), ("b.jpg", "x")]
    assert source.facts["repeated"] == source.facts["contradictory"] == 1
    assert "1 rows give a picture another category" in capsys.readouterr().err
    with pytest.raises(UserError, match="category:multi"):
        listed(folder, "none:multi")


def test_most_pictures_missing(tmp_path):
    text = "image,category\n" + "".join(f"{i}.jpg,x\n" for i in range(5))
    folder = shop(tmp_path / "s", "l.csv", text, "0.jpg", "1.jpg")
    output = Output(str(tmp_path / "ds"), resolution=16)
    with pytest.raises(UserError, match=r"3 of 5 pictures that .* names are missing.*--allow-miss"):
        create_from_ebay(output, str(folder))
    create_from_ebay(output, str(folder), listing=ListingOptions(allow_missing=True))
    manifest = read_manifest(find_dataset(output.tfrecord_dir))
    assert manifest["images"] == 2 and len(manifest["skipped"]) == 3


def test_tiny_pictures_are_left_out(tmp_path, run_script):
    text = "image,category\n" + "".join(f"{i}.png,x\n" for i in range(3))
    folder = shop(tmp_path / "s", "l.csv", text)
    for i, size in enumerate(((1, 1), (20, 30), (40, 50))):
        Image.new("RGB", size).save(folder / f"{i}.png")
    command = ["dataset_tool.py", "create_from_ebay", tmp_path / "a", folder, "--resolution=16"]
    done = run_script(command)
    assert done.returncode == 0 and "2 images of 16x16" in done.stdout
    assert "1x1 is smaller than --min-size=2" in done.stderr
    create_from_ebay(Output(str(tmp_path / "b"), resolution=16, min_size=21), str(folder))
    assert read_manifest(find_dataset(str(tmp_path / "b")))["images"] == 1


def test_sizes_of_pictures_on_ebay():
    base = "https://i.ebayimg.com/images/g/abc"
    assert larger(f"{base}/s-l140.jpg") == f"{base}/s-l1600.jpg"
    assert larger(f"{base}/s-l64.webp?a=1") == f"{base}/s-l1600.webp?a=1"
    thumb = "https://i.ebayimg.com/thumbs/images/g/abc/s-l225.jpg"
    assert larger(thumb) == f"{base}/s-l1600.jpg"
    for url in (f"{base}/s-l1600.jpg", f"{base}/s-l2000.jpg", "https://a/b.jpg"):
        assert larger(url) == url


def test_small_pictures_are_fetched_large_if_there_are(server, tmp_path):
    server.routes |= {
        "/images/g/a/s-l1600.jpg": picture(1, (64, 64)),
        "/images/g/a/s-l140.jpg": picture(1),
        "/images/g/b/s-l140.jpg": picture(2),
    }
    urls = [f"{server.url}/images/g/{n}/s-l140.jpg" for n in "abc"]
    text = "image,category\n" + "".join(f"{url},x\n" for url in urls)
    found, source = listed(shop(tmp_path / "s", "l.csv", text), downloads=OPTIONS)
    large = [larger(urls[0]), urls[1]]
    assert [name for name, _ in found] == [f"images/{file_of(url)}" for url in large]
    assert [entry["file"] for entry in source.skipped] == [f"l.csv:4 {urls[2]}"]
    assert "/images/g/a/s-l140.jpg" not in server.paths


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "Excel"),
        ("t.xls", b"<html><table><tr><td>image</td></tr></table></html>", "HTML"),
        ("t.xml", b"<?xml version='1.0'?><Error></Error>", "XML"),
        ("t.xml", b"<?xml version='1.0'?><rss></rss>", "Merchant Center: export it .* as TSV"),
        ("t.csv", b"<feed xmlns='a'><entry/></feed>", "Merchant Center: export it .* as TSV"),
        ("t.db", b"SQLite format 3\0" + bytes(600), "sqlite3"),
        ("t.parquet", b"PAR1" + bytes(300) + b"PAR1", "Parquet"),
        ("t.csv.gz", b"\x1f\x8b\x08\0broken", "is broken|damaged"),
        ("t.csv.gz", gzip.compress(b"image\n" + bytes(1 << 20))[:-20], "broken|more than"),
        ("t.csv", b"\0" * 5000, "t.csv"),
        ("t.csv", b"image,category\n" + b"a" * (1 << 25), "a line has more than 16777216"),
        ("t.json", b"[" * 100_000, "JSON"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, words):
    folder = shop(tmp_path / "s", name, content)
    with pytest.raises(UserError, match=words):
        listed(folder / name)


def test_a_feed_in_a_folder_is_named(tmp_path):
    folder = shop(tmp_path / "s", "a.xml", b"<?xml version='1.0'?><rss></rss>")
    with pytest.raises(UserError, match=r"/a\.xml is a feed in XML .* columns such as image_link"):
        listed(folder)
    (folder / "a.xml").write_bytes(b"<?xml version='1.0'?><Error></Error>")
    with pytest.raises(UserError, match="nor a table of listings"):
        listed(folder)
    shop(folder, "l.csv", "image,category\na.jpg,x\n")
    (folder / "a.xml").write_bytes(b"<rss></rss>")  # Beside a table it does not matter.
    assert len(listed(folder)[0]) == 1


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    for encoding in (None, "utf-8"):
        with pytest.raises(UserError, match="pipe"):
            listed(tmp_path / "t.csv", encoding=encoding)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="not a regular file"):
        images_source(str(tmp_path), str(tmp_path / "t.csv"))


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"image,category\n")
        for _ in range(4):
            file.write(b"a.jpg,b\n" * (1 << 17))
    with pytest.raises(UserError, match="far larger when unpacked"):
        open_table(str(tmp_path / "t.csv.gz"))


def test_from_the_command_line(tmp_path, run_script):
    text = "nr;Bild;Art\n1;a;Röcke\n2;b;Röcke\n".encode("utf-16")
    folder = shop(tmp_path / "s", "l.csv", text, "pics/a.jpg", "pics/b.jpg")
    command = ["dataset_tool.py", "create_from_ebay", tmp_path / "ds", folder, "--resolution=16"]
    bad = run_script(command)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1
    assert "--image-column; its columns are nr, Bild, Art" in bad.stderr
    command += ["--image-column=Bild", "--category-column=Art", "--image-path=pics/{}.jpg"]
    bad = run_script([*command, "--table-encoding=klingon"])
    assert bad.returncode == 2 and "--table-encoding=klingon is not known" in bad.stderr
    good = run_script(command)
    assert good.returncode == 0, good.stderr
    assert "pictures are in the column Bild, categories in Art" in good.stdout
    assert "1 class: Röcke (2)" in good.stdout and "1 class, 0 files skipped" in good.stdout
    command = ["dataset_tool.py", "create_from_images", tmp_path / "im", folder / "pics"]
    bad = run_script([*command, "--labels=../l.csv"])
    assert bad.returncode == 2 and "Traceback" not in bad.stderr
    options = [f"--labels={folder / 'l.csv'}", "--file-column=Bild", "--label-column=Art"]
    good = run_script([*command, *options, "--table-encoding=utf-16", "--resolution=16"])
    assert good.returncode == 0, good.stderr
    assert json.loads((tmp_path / "im/im.json").read_text())["label_names"] == ["Röcke"]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (
            "etsy.csv",
            "TITLE,IMAGE1,IMAGE2,IMAGE10,CATEGORY\nA,1.jpg,2.jpg,,x\nB,,3.jpg,4.jpg,y\n",
            "1x 2x 3y 4y",
        ),
        (
            "google.txt",
            "id\timage link\tadditional image link\tproduct type\n1\t1.jpg\t2.jpg,3.jpg\tx\n",
            "1x 2x 3x",
        ),
        (
            "amazon.txt",
            "TemplateType=fptcustom\tVersion=2021.0401\tThe top 3 rows are for Amazon.com only.\n"
            "Seller SKU\tProduct Type\tMain Image URL\tOther Image URL1\n"
            "item_sku\tfeed_product_type\tmain_image_url\tother_image_url1\nS\tx\t1.jpg\t2.jpg\n",
            "1x 2x",
        ),
        (
            "walmart.csv",
            "SKU,Product Type,Main Image URL,Additional Image URL (+),Additional Image URL 1 (+)\n"
            "S,x,1.jpg,2.jpg,3.jpg\n",
            "1x 2x 3x",
        ),
        (
            "magento.csv",
            "sku,categories,base_image,thumbnail_image,additional_images\n"
            'S,x,/p/1.jpg,/p/t.jpg,"1.jpg,2.jpg"\n',
            "1x 2x",
        ),
        (
            "shopify.csv",
            "Title,URL handle,Product category,Product image URL,Variant image URL\n"
            "A,a,x,1.jpg,\n,a,,2.jpg,3.jpg\nB,b,y,4.jpg,4.jpg\n",
            "1x 2x 3x 4y",
        ),
    ],
)
def test_further_image_columns(tmp_path, name, text, found, capsys):
    folder = shop(tmp_path / "s", name, text, *(f"{i}.jpg" for i in range(1, 5)))
    assert listed(folder / name)[0] == [(f"{pair[0]}.jpg", pair[1]) for pair in found.split()]
    assert "pictures are in the columns" in capsys.readouterr().out
    column = open_table(str(folder / name)).columns[0]
    if name == "etsy.csv":  # a column that is named is the only one
        assert len(listed(folder / name, image_column="IMAGE2")[0]) == 2 and column == "TITLE"


def test_listings_of_etsy(tmp_path):
    image = {"listing_image_id": 9, "url_75x75": "t.jpg", "url_fullxfull": "1.jpg"}
    page = {"count": 1, "results": [{"taxonomy_path": ["Bags", "Totes"], "images": [image]}]}
    folder = shop(tmp_path / "s", "l.json", json.dumps(page), "1.jpg", "t.jpg")
    assert listed(folder)[0] == [("1.jpg", "Bags > Totes")]


def test_an_end_of_a_path_counts_only_where_it_leads_out(tmp_path):
    """Another folder's picture of the same name is another picture."""
    text = "image,category\nblue/a.jpg,x\nC:\\old\\red\\a.jpg,x\n/old/a.jpg,y\n"
    folder = shop(tmp_path / "s", "l.csv", text, "red/a.jpg", "a.jpg")
    found, _ = listed(folder, allow_missing=True)
    assert [name for name, _ in found] == ["blue/a.jpg", "red/a.jpg", "a.jpg"]
    assert not (folder / "blue/a.jpg").exists()


def test_names_of_categories_come_from_other_listings(tmp_path):
    """And numbers serve where none of them has a name."""
    rows = [
        {"categories": [{"categoryId": "7", "categoryName": "Lamps"}], "image": "1.jpg"},
        {"categories": [{"categoryId": "7"}], "image": "2.jpg"},
        {"categories": [{"categoryId": "8"}], "image": "3.jpg"},
    ]
    text = "\n".join(map(json.dumps, rows))
    found, _ = listed(shop(tmp_path / "s", "l.jsonl", text))
    assert found == [("1.jpg", "Lamps"), ("2.jpg", "Lamps"), ("3.jpg", 8)]
    assert category_of({"categoryId": "8"}) == "8"  # Without other listings.


def test_a_cell_longer_than_what_is_read_at_once(tmp_path):
    rows = [{"image": f"{i}.jpg", "text": "é" * 150_000, "category": "x"} for i in range(3)]
    for name, content in (
        ("l.jsonl", "\n".join(map(json.dumps, rows))),
        ("l.json", json.dumps({"items": rows}, indent=1)),
    ):
        assert len(listed(shop(tmp_path / name, name, content))[0]) == 3


def test_groups_of_rows_of_parquet_have_a_limit(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(arrow.table({"image": ["1.jpg"] * 9}), tmp_path / "l.parquet")
    assert len(listed(tmp_path, "none")[0]) >= 1
    assert parquet._GROUP_BYTES == 4 << 30
    size = files.read_metadata(tmp_path / "l.parquet").row_group(0).total_byte_size
    for limit, is_fine in ((size, True), (size - 1, False)):
        monkeypatch.setattr(parquet, "_GROUP_BYTES", limit)
        with nullcontext() if is_fine else pytest.raises(UserError, match="group of rows 0 has"):
            listed(tmp_path, "none")


def test_addresses_of_files(tmp_path):
    text = f"image,category\nfile://{tmp_path}/s/my%20hat.jpg,x\n"
    folder = shop(tmp_path / "s", "l.csv", text, "my hat.jpg")
    assert listed(folder)[0] == [("my hat.jpg", "x")]
