"""Damaged tables and files of labels give results or one line, never a traceback."""

from __future__ import annotations

import gzip
import json
import os

import fuzzing
from PIL import Image

from training.datasets.sources.ebay.listings import ListingOptions, listings_source
from training.datasets.sources.images import images_source

COUNT = 1000


def read_listings(path):
    """All that create_from_ebay does with a table before it reads pictures."""
    source = listings_source(path, listing=ListingOptions(download_dir="/nowhere"))
    for item in source.items:
        source.read(item)


def read_labels(path):
    """All that create_from_images does with a file of labels."""
    folder = os.path.join(os.path.dirname(path), "photos")
    if not os.path.isdir(folder):
        os.makedirs(folder)
        for name in "abc":
            Image.new("RGB", (4, 4)).save(os.path.join(folder, f"{name}.png"))
    for _ in images_source(folder, path).items:
        pass


def seeds(folder, file_column):
    rows = [{file_column: f"{n}.png", "label": f"Röcke & {n}", "n": 1} for n in "abca"[:3]]
    csv = f'{file_column},label,n\na.png,"Röcke, kurz",1\nb.png,x,2\nc.png,"y""z",3\n'
    texts = {
        "a.csv": csv.encode(),
        "b.csv": csv.replace(",", "\t").encode("cp1252"),
        "c.csv": csv.encode("utf-16"),
        "d.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "e.json": json.dumps(rows, indent=1).encode(),
        "f.csv.gz": gzip.compress(csv.encode()),
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in texts]


def test_tables_of_listings(tmp_path):
    fuzzing.check_reader(read_listings, seeds(tmp_path, "image"), COUNT)


def test_files_of_labels(tmp_path):
    (tmp_path / "g.json").write_text(
        json.dumps({"labels": [["a.png", 1], ["b.png", 0]], "label_names": ["x", "y"]})
    )
    files = [*seeds(tmp_path, "file"), tmp_path / "g.json"]
    fuzzing.check_reader(read_labels, files, COUNT)
