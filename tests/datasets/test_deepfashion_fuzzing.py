"""create_from_deepfashion: damaged annotation files, by the thousand."""

import os
import zlib
from pathlib import Path

import deepfashion_trees as trees
import fuzzing

from dnnlib import UserError
from training.datasets.items import ItemList
from training.datasets.sources.deepfashion import importer

COUNT = 2000
# What needs all files of each benchmark.
OPTIONS = {
    "category": (
        {"labels": "category", "partition": "train", "crop": "bbox"},
        {"labels": "attribute:Chiffon", "categories": ("Dress", "Tee")},
        {"labels": "type", "partition": "val"},
    ),
    "fine": (
        {"labels": "category", "crop": "bbox"},
        {"labels": "attribute:a-line", "partition": "train"},
    ),
    "inshop": (
        {"labels": "color", "crop": "bbox", "partition": "train"},
        {"labels": "type", "categories": ("WOMEN/Denim",)},
        {"labels": "gender/category", "views": ("front",)},
    ),
    "consumer2shop": (
        {"labels": "attribute:sleeve length", "partition": "train"},
        {"labels": "view", "crop": "bbox"},
        {"labels": "item", "partition": "test"},
    ),
    "landmark": (
        {"labels": "type", "crop": "bbox", "partition": "train"},
        {"labels": "none"},
    ),
    "deepfashion2": (
        {"labels": "style", "crop": "bbox"},
        {"labels": "item", "partition": "train"},
        {"labels": "source", "views": ("frontal",)},
    ),
    "multimodal": (
        {"labels": "attribute:shape:11"},
        {"labels": "attribute:upper fabric"},
        {"labels": "attribute:lower pattern", "views": ("front", "back")},
    ),
}


def read(path):
    """Puts a file into its tree, whose name and place are in the name, and lists the pictures."""
    name = os.path.basename(path)
    benchmark, *_ = name.split("~")
    root = Path(os.environ["DEEPFASHION_TREES"])
    place = root / name.replace("~", "/")
    kept, damaged = place.read_bytes(), Path(path).read_bytes()
    place.write_bytes(damaged)
    try:
        choices = OPTIONS[benchmark]
        options = choices[zlib.crc32(damaged) % len(choices)]
        try:
            source = importer.deepfashion_source(str(root / benchmark), **options)
            ItemList(source.items)
        except UserError as error:
            if damaged == kept:
                raise AssertionError from error
            raise
        for entry in source.skipped:
            assert entry["file"] and entry["reason"]
    finally:
        place.write_bytes(kept)


def test_damaged_annotation_files(tmp_path, monkeypatch):
    root, seeds = tmp_path / "trees", tmp_path / "seeds"
    seeds.mkdir()
    for name in OPTIONS:
        (trees.fine if name == "fine" else trees.TREES[name])(root / name)
    for path in sorted(root.rglob("*")):
        if path.suffix in (".txt", ".json"):
            seed = seeds / str(path.relative_to(root)).replace("/", "~")
            seed.write_bytes(path.read_bytes())
    monkeypatch.setenv("DEEPFASHION_TREES", str(root))
    fuzzing.check_reader(read, sorted(seeds.iterdir()), COUNT)
