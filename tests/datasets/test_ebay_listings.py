"""create_from_ebay of tables of listings, with local pictures and pictures from a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from http_server import Server, announced, in_turn, page, picture, redirect, status

from dnnlib import UserError
from dnnlib.bulk_downloads import DownloadOptions, file_of
from dnnlib.retries import Backoff
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.manifest import read_manifest
from training.datasets.sources.ebay.importer import create_from_ebay
from training.datasets.sources.ebay.listings import (
    ListingOptions,
    listings_source,
    split_images,
)
from training.datasets.sources.ebay.table_files import find_tables
from training.datasets.sources.ebay.web_pictures import picture_problem
from training.datasets.tables.tables import open_table

TOOL = Path(__file__).parents[2] / "dataset_tool.py"
OPTIONS = DownloadOptions(rate=1000.0, allow_private=True, backoff=Backoff(3, 0.01, 0.05))


@pytest.fixture
def server():
    with Server() as server:
        yield server


def table(path, text, encoding="utf-8"):
    """Writes a table; its ends of lines are kept as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return str(path)


def rows(path):
    """The rows of a table by line, and what is left out."""
    left_out = []
    found = dict(open_table(path).rows(lambda *entry: left_out.append(entry)))
    return found, left_out


def listed(root, labels="category", **options):
    source = listings_source(str(root), labels, ListingOptions(**options))
    return [(item.name, item.label) for item in source.items], source


# Tables


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "A.CSV", "a.txt"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path, name, delimiter):
    text = 'title,"image; url, |\t",category\r\n"a,b;c\t|d",x.jpg,Shoes\r\n'
    text = re.sub(r'("[^"]*")|,', lambda m: m[1] or delimiter, text)
    found, left_out = rows(table(tmp_path / name, text))
    assert found == {
        2: {"title": "a,b;c\t|d", "image; url, |\t".strip(): "x.jpg", "category": "Shoes"}
    }
    assert left_out == []


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("cp1252", b""),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_encodings(tmp_path, encoding, bom, kind):
    lines = {
        "csv": "image,title\na.jpg,Müll – 5€",
        "jsonl": '{"image":"a.jpg","title":"Müll – 5€"}',
    }
    path = table(tmp_path / f"a.{kind}", bom + (lines[kind] + "\n").encode(encoding))
    found, left_out = rows(path)
    assert list(found.values()) == [{"image": "a.jpg", "title": "Müll – 5€"}] and left_out == []


def test_ragged_quoted_and_empty_rows(tmp_path):
    text = (
        "title,category,image\n"
        '"two\nlines, and ""quotes""",A,1.jpg\n'  # Lines 2 and 3.
        "\n"
        ",,\n"
        "short,B\n"
        "long,C,3.jpg,4.jpg,,\n"
        '5" pipe,D,5.jpg\n'
        f'"{"long description " * 20_000}",E,6.jpg\n'
        "nul\0,F,7.jpg"
    )
    found, left_out = rows(table(tmp_path / "a.csv", text))
    assert left_out == []
    assert found[2] == {"title": 'two\nlines, and "quotes"', "category": "A", "image": "1.jpg"}
    assert found[6] == {"title": "short", "category": "B"}
    assert found[7]["image"] == "3.jpg,4.jpg"  # Several images in the last column, not quoted.
    assert found[8]["title"] == '5" pipe'
    assert len(found[9]["title"]) == 340_000
    assert found[10]["title"] == "nul" and len(found) == 6


def test_a_quote_that_is_not_closed_is_named(tmp_path):
    text = 'title,image\nfine,1.jpg\n"open,2.jpg\nx,3.jpg\n'
    found, left_out = rows(table(tmp_path / "a.csv", text))
    assert list(found) == [2]
    assert left_out == [(3, "a quote opens and is not closed: 2 lines are lost")]
    # Far from the end it costs a part only. More than a mebibyte is no cell.
    text += "".join(f"{i},{i}.jpg\n" for i in range(150_000))
    found, left_out = rows(table(tmp_path / "b.csv", text))
    assert len(left_out) == 1 and left_out[0][0] == 3 and "quote" in left_out[0][1]
    assert len(found) > 50_000 and list(found.values())[-1]["image"] == "149999.jpg"


def test_json_lines(tmp_path):
    lines = [
        '{"Image": ["a.jpg"], "n": 1}',
        "",
        '{"broken": ',
        "[1, 2]",
        '{"image_2": null}',
        "[" * 100_000,
    ]
    path = table(tmp_path / "a.json", "\n".join(lines))
    found, left_out = rows(path)
    assert found == {1: {"Image": ["a.jpg"], "n": 1}, 5: {"image_2": None}}
    assert [number for number, _ in left_out] == [3, 4, 6]
    assert open_table(path).columns == ("Image", "n", "image_2")


def test_which_file_is_the_table(tmp_path):
    for name in ("a.txt", ".hidden.csv", "b.jpg"):
        table(tmp_path / name, "x")
    with pytest.raises(UserError, match=r"holds neither Ebay_info\.txt.* nor a table of listings"):
        find_tables(str(tmp_path))
    path = table(tmp_path / "Listings.TSV", "x")
    assert find_tables(str(tmp_path)) == find_tables(path) == [path]
    table(tmp_path / "other.jsonl", "x")
    with pytest.raises(UserError, match=r"several tables, Listings\.TSV, other\.jsonl: give the"):
        find_tables(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot open .*absent: No such file"):
        find_tables(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("[1, 2]", "expected JSON lines, .* or a list of objects"),
        ('{"image": "a.jpg"', "expected JSON lines"),
        ("PK\x03\x04", "is a zip file: unpack it first"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, message):
    path = table(tmp_path / "a.csv", content)
    with pytest.raises(UserError, match=message) as error:
        listings_source(path)
    assert path in str(error.value)


# Columns and cells


@pytest.mark.parametrize(
    ("header", "image", "category"),
    [
        ("title,category,image", "image", "category"),
        ("Category Name,IMAGE_URLs,image", "image", "Category Name"),
        ("PictureURL,Primary Category", "PictureURL", "Primary Category"),
        ("Class,gallery-url,price", "gallery-url", "Class"),
    ],
)
def test_columns_are_guessed(tmp_path, header, image, category):
    source = listings_source(table(tmp_path / "a.csv", header + "\n"))
    assert source.facts["image_column"] == image
    assert source.facts["category_column"] == category


def test_columns_are_named(tmp_path):
    path = table(tmp_path / "a.csv", "image,Bild,category,Art,art\nx,1.jpg,y,A,B\n")
    found, source = listed(path, image_column="bild", category_column="art")
    assert found == [("1.jpg", "B")] and source.facts["category_column"] == "art"
    with pytest.raises(UserError, match=r"--image-column=foto: .*its columns are image, Bild, cat"):
        listed(path, image_column="foto")
    with pytest.raises(UserError, match=r"--category-column=kind: .* has no such column"):
        listed(path, category_column="kind")
    with pytest.raises(UserError, match="--labels=class: a table of listings has category or none"):
        listings_source(path, "class")


def test_columns_that_cannot_be_guessed(tmp_path):
    path = table(tmp_path / "a.csv", "name,Bild\nx,1.jpg\n")
    with pytest.raises(UserError, match=r"--image-column; its columns are name, Bild"):
        listings_source(path)
    with pytest.raises(UserError, match=r"--category-column, or use --labels=none; its columns"):
        listed(path, image_column="Bild")
    assert listed(path, labels="none", image_column="Bild")[0] == [("1.jpg", None)]


URL = "https://i.ebayimg.com/images/g/abc/s-l225.jpg"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (f" {URL} ", [URL]),
        (f"{URL}|{URL}?a=1 | http://b/c.png", [URL, f"{URL}?a=1", "http://b/c.png"]),
        (f"{URL};{URL}", [URL, URL]),
        (f"{URL}, {URL},{URL}", [URL, URL, URL]),
        (f"{URL} {URL}\n{URL}", [URL, URL, URL]),
        ("http://c.com/w_2,h_3/a,b;c.jpg", ["http://c.com/w_2,h_3/a,b;c.jpg"]),
        (
            "http://c.com/w_2,h_3/a.jpg,https://c.com/x,y.jpg",
            ["http://c.com/w_2,h_3/a.jpg", "https://c.com/x,y.jpg"],
        ),
        ("HTTP://A/b.jpg;HTTPS://C/d.jpg", ["HTTP://A/b.jpg", "HTTPS://C/d.jpg"]),
        ("http://a/b.jpg,", ["http://a/b.jpg"]),
        ("//i.ebayimg.com/a.jpg|//i.ebayimg.com/b.jpg",
         ["https://i.ebayimg.com/a.jpg", "https://i.ebayimg.com/b.jpg"]),
        (f"{URL}|local/a.jpg", [URL, "local/a.jpg"]),
        ("http://a/my picture.jpg", ["http://a/my picture.jpg"]),
        (f'["{URL}", "a,b.jpg"]', [URL, "a,b.jpg"]),
        (f"['{URL}', 'b.jpg']", [URL, "b.jpg"]),
        ([URL, "b.jpg", None, 3, ""], [URL, "b.jpg"]),
        ("[not a list].jpg", ["[not a list].jpg"]),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg;b.jpg ;", ["a.jpg", "b.jpg"]),
        ("a.jpg, b/c.jpg", ["a.jpg", "b/c.jpg"]),
        ("with,comma.jpg", ["with,comma.jpg"]),
        ("with,comma.jpg|a.jpg,b.jpg", ["with,comma.jpg", "a.jpg", "b.jpg"]),
        ("[]", []),
        ("", []),
        (" | ;", []),
        (None, []),
        (7, []),
        ({"a": 1}, []),
    ],
)  # fmt: skip
def test_cells_of_images(tmp_path, cell, expected):
    (tmp_path / "with,comma.jpg").write_bytes(b"x")
    assert split_images(cell, str(tmp_path)) == expected


def test_hostile_cells_do_no_harm(tmp_path):
    for text in ("[" * 50_000, "['" + "a" * 100_000, "[__import__('os').system('false')]"):
        assert len(split_images(text, str(tmp_path))) == 1


def test_categories(tmp_path):
    lines = [
        {"image": "1.jpg", "category": " Home  &\nGarden "},
        {"image": "2.jpg", "category": 10},
        {"image": "3.jpg", "category": "2"},
        {"image": "4.jpg", "category": ["Home", "Lamps"]},
        {"image": "5.jpg", "category": " "},
        {"image": "6.jpg"},
        {"image": "7.jpg", "category": None},
    ]
    path = table(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    found, source = listed(path)
    labels = ["Home & Garden", 10, 2, "Home > Lamps"]
    assert found == [(f"{i}.jpg", label) for i, label in enumerate(labels, 1)]
    assert source.skipped == [
        {"file": f"a.jsonl:{i} {i}.jpg", "reason": "no category in the column category"}
        for i in (5, 6, 7)
    ]
    assert len(listed(path, labels="none")[0]) == 7


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "..\\a.jpg", "C:\\a.jpg", "c:a.jpg", "a\0b"],
)
def test_paths_that_lead_out_are_left_out(tmp_path, path):
    lines = json.dumps({"image": path}) + '\n{"image": ".\\\\pics\\\\a.jpg"}\n'
    found, source = listed(table(tmp_path / "a.jsonl", lines), labels="none")
    assert found == [("pics/a.jpg", None)]
    assert len(source.skipped) == 1 and "without .." in source.skipped[0]["reason"]


# Local pictures


def test_a_dataset_of_local_pictures(tmp_path):
    text = "title;Category;Photos\n"
    for i in range(8):
        table(tmp_path / f"shop/pics/{i}.jpg", picture(i))
        text += f'"Thing {i}; nice";{"BA"[i % 2]};pics/{i}.jpg\n'
    text += "Two;C;pics/0.jpg|pics/absent.jpg\nNothing;C;\n"
    path = table(tmp_path / "shop/list.csv", text)
    create_from_ebay(Output(str(tmp_path / "things"), shuffle=False), path)
    dataset = TFRecordDataset(str(tmp_path / "things"))
    manifest = read_manifest(find_dataset(str(tmp_path / "things")))
    # The picture of two listings has the label of the first; C has no picture but a label.
    assert dataset.labels.argmax(axis=1).tolist() == [1, 0] * 4
    assert manifest["label_names"] == ["A", "B", "C"] and manifest["repeated"] == 1
    assert manifest["source"] == path
    assert [entry["file"] for entry in manifest["skipped"]] == ["list.csv:11", "pics/absent.jpg"]
    assert sorted(os.listdir(tmp_path / "shop")) == ["list.csv", "pics"]  # No downloads.


def test_memory_does_not_grow_with_the_rows(tmp_path):
    def peak(count):
        with open(tmp_path / f"{count}.csv", "w") as file:
            file.write("image,category\n")
            file.writelines(f"pics/{i}.jpg,Category {i % 7}\n" for i in range(count))
        tracemalloc.start()
        assert sum(1 for _ in listings_source(str(tmp_path / f"{count}.csv")).items) == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(8000) < 2 * peak(2000)


# Pictures from the web


def test_whole_pictures(tmp_path):
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        data = picture(1, (200, 100), kind)
        table(tmp_path / "a", data)
        assert picture_problem(data) is None and picture_problem(str(tmp_path / "a")) is None
        assert picture_problem(data[: len(data) // 2]), kind
    assert picture_problem(b"") == "the file is empty"
    assert "HTML" in picture_problem(b"<p>Gone</p>")


@pytest.fixture
def shop(server, tmp_path):
    """A table with pictures on the server, good and bad: (folder of the table, URLs)."""
    good = picture(0)
    server.routes |= {f"/{i}.jpg": picture(i) for i in range(6)}
    server.routes |= {
        "/page.jpg": page,
        "/short.jpg": announced(good[:-99], len(good)),
        "/cut.jpg": good[:-99],
        "/sometimes.jpg": in_turn(status(500), status(429, {"Retry-After": "0"}), picture(7)),
        "/moved.jpg": redirect("/5.jpg?moved"),
        "/loop.jpg": redirect("/loop.jpg"),
    }
    names = [f"{i}.jpg" for i in range(6)]
    names += ["page.jpg", "short.jpg", "cut.jpg", "sometimes.jpg", "moved.jpg", "loop.jpg"]
    urls = [f"{server.url.replace('//', '//me:geheim@')}/{name}?key=geheim" for name in names]
    lines = [f"Thing {i},{url},{'AB'[i % 2]}\n" for i, url in enumerate(urls)]
    lines += [f"Again,{urls[1]},B\n", "Other,ftp://a/b.jpg,A\n", "Local,own.jpg,A\n"]
    table(tmp_path / "shop/list.csv", "title,image,category\n" + "".join(lines))
    table(tmp_path / "shop/own.jpg", picture(8))
    return tmp_path / "shop", urls


def test_a_dataset_of_pictures_from_the_web(server, shop, tmp_path, capsys):
    folder, urls = shop
    create_from_ebay(
        Output(str(tmp_path / "web"), shuffle=False),
        str(folder),
        listing=ListingOptions(downloads=OPTIONS),
    )
    manifest = read_manifest(find_dataset(str(tmp_path / "web")))
    assert manifest["images"] == 9 and manifest["repeated"] == 1
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert reasons == {
        f"list.csv:8 {server.url}/page.jpg": "the server answered with an HTML page, not with a "
        "file: it may ask to log in, or refuse large downloads",
        f"list.csv:9 {server.url}/short.jpg": "the connection broke off, 3 times",
        f"list.csv:10 {server.url}/cut.jpg": reasons[f"list.csv:10 {server.url}/cut.jpg"],
        f"list.csv:13 {server.url}/loop.jpg": "more than 5 redirects",
        "list.csv:15 ftp://a/b.jpg": "only http and https URLs are downloaded",
    }
    assert "truncated" in reasons[f"list.csv:10 {server.url}/cut.jpg"]
    assert (folder / "images" / file_of(urls[2])).read_bytes() == picture(2)
    labels = TFRecordDataset(str(tmp_path / "web")).labels.argmax(axis=1)
    assert labels.tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 0]
    output = "".join(capsys.readouterr())
    assert "8 pictures, 5 downloads failed" in output
    # Nothing of what may be secret is shown or written, but for the table itself.
    written = b"".join(
        p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".csv"
    )
    assert "geheim" not in output and b"geheim" not in written
    # A second dataset asks only for what failed.
    count = len(server.paths)
    create_from_ebay(
        Output(str(tmp_path / "again")), str(folder), listing=ListingOptions(downloads=OPTIONS)
    )
    again = {path.split("?")[0] for path in server.paths[count:]}
    assert again == {"/page.jpg", "/short.jpg", "/cut.jpg", "/loop.jpg"}


def test_private_addresses_are_refused_by_default(server, shop, tmp_path):
    folder, _ = shop
    found, source = listed(folder, download_dir=str(tmp_path / "elsewhere"))
    assert found == [("own.jpg", "A")] and server.paths == []
    assert "127.0.0.1 is not a public address" in source.skipped[0]["reason"]


def test_a_folder_for_downloads(server, shop, tmp_path):
    folder, urls = shop
    found = listed(folder, downloads=OPTIONS, download_dir=str(tmp_path / "new/pics"))[0]
    paths = [tmp_path / "new/pics" / file_of(url) for url in urls[:6]]
    assert [name for name, _ in found[:6]] == [str(path) for path in paths]
    assert all(path.is_file() for path in paths)
    assert sorted(os.listdir(folder)) == ["list.csv", "own.jpg"]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write in .*file"):
        listed(folder, downloads=OPTIONS, download_dir=str(tmp_path / "file"))


def test_a_name_that_is_taken_is_found_before_the_downloads(server, shop, tmp_path):
    folder, _ = shop
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/a.txt").write_text("x")
    with pytest.raises(UserError, match="taken exists already"):
        create_from_ebay(
            Output(str(tmp_path / "taken")), str(folder), listing=ListingOptions(downloads=OPTIONS)
        )
    assert server.paths == []


# The command line


def test_from_the_command_line(server, shop, tmp_path, run_script):
    folder, _ = shop
    command = ["dataset_tool.py", "create_from_ebay", tmp_path / "web", folder, "--rate=1000"]
    refusals = {
        "--partition=train": "--partition is for Stanford Online Products",
        "--image-column=foto": "its columns are title, image, category",
        "--labels=super-class": "has category or none",
        "--rate=0": "--rate: expected a number of at least 0.01",
        "--jobs=0": "--jobs: expected a whole number of at least 1",
        "--resolution=100": "--resolution is 100",
    }
    for option, words in refusals.items():
        bad = run_script([*command, option])
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1, bad
        assert words in bad.stderr and "Traceback" not in bad.stderr
    assert server.paths == [] and not (tmp_path / "web").exists()
    refused = run_script([*command, "--resolution=8"])
    assert refused.returncode == 0 and "127.0.0.1 is not a public address" in refused.stderr
    assert json.loads((tmp_path / "web/web.json").read_text())["images"] == 1
    assert server.paths == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_loses_nothing(server, tmp_path, how):
    count = 60
    server.routes |= {f"/{i}.jpg": picture(i) for i in range(count)}
    urls = [f"{server.url}/{i}.jpg" for i in range(count)]
    table(tmp_path / "shop/list.csv", "image\n" + "\n".join(urls))
    command = [sys.executable, TOOL, "create_from_ebay", tmp_path / "web", tmp_path / "shop"]
    command += ["--labels=none", "--allow-private-addresses"]
    process = subprocess.Popen(
        [*command, "--rate=30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: len(server.paths) >= 10, process)
    process.send_signal(how)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in output
    whole = [url for url in urls if (tmp_path / "shop/images" / file_of(url)).is_file()]
    assert 2 <= len(whole) < count and not (tmp_path / "web").exists()
    asked = len(server.paths)
    done = subprocess.run([*command, "--rate=1000"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(server.paths[asked:]) == sorted(
        url.removeprefix(server.url) for url in urls if url not in whole
    )
    assert json.loads((tmp_path / "web/web.json").read_text())["images"] == count


def wait_until(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.01)
