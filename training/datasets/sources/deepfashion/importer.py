"""`create_from_deepfashion`: finds out which benchmark a folder holds, and converts it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dnnlib import UserError
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.items import Source
from training.datasets.sources.deepfashion import category, deepfashion2, shops
from training.datasets.sources.deepfashion.annotations import (
    ANNOTATION_FOLDER,
    PARTITIONS,
    PICTURE_FOLDER,
    AnnotationFiles,
    LeftOut,
    is_new,
    scan,
)
from training.datasets.sources.deepfashion.selection import Benchmark, Selection, select

LICENCE = "DeepFashion may be used for non-commercial research and education only"
BENCHMARKS = {
    "category": category.CATEGORY,
    "inshop": shops.INSHOP,
    "consumer2shop": shops.CONSUMER2SHOP,
    "landmark": category.LANDMARK,
    "deepfashion2": deepfashion2.DEEPFASHION2,
    "multimodal": shops.MULTIMODAL,
}
_ALIASES = {  # other ways to write a kind of labels
    "colour": "color",
    "gender-category": "gender/category",
    "group-category": "group/category",
}
# Hidden folders and the large ones are not looked into.
_FOLDER = re.compile(rf"(?!\.|annos$|{PICTURE_FOLDER.pattern}$).*", re.IGNORECASE)


def create_from_deepfashion(output: Output, root: str, **options) -> None:
    """Converts a DeepFashion benchmark; prints a summary and the licence.

    Args:
        output: The dataset to make.
        root: The unpacked benchmark, a folder one or two levels above it, or its Anno or Eval.
        options: What to take of it, see `deepfashion_source`.

    Raises:
        UserError: As `deepfashion_source`, or no picture is left.
    """
    output.check()
    build(deepfashion_source(root, **options), output)
    print(LICENCE)


def deepfashion_source(
    root: str,
    benchmark: str = "auto",
    labels: str | None = None,
    partition: str = "all",
    crop: str = "none",
    categories: tuple[str, ...] = (),
    views: tuple[str, ...] = (),
    anno: str = "auto",
    highres: bool = False,
) -> Source:
    """The pictures of a benchmark.

    The classes are those of the whole benchmark after `categories` and `views`, whatever the
    partition, so that datasets of its partitions have the same columns of labels.

    Args:
        root: See `create_from_deepfashion`.
        benchmark: A key of BENCHMARKS, or "auto", which looks at the files.
        labels: A kind that the benchmark has, see `Benchmark.labels`; None takes its first.
        partition: One of `annotations.PARTITIONS` that the benchmark has, or "all".
        crop: "bbox" cuts out the boxes, and makes one picture of every item of DeepFashion2;
            "none" takes whole pictures, those of DeepFashion2 by their largest item.
        categories, views: Names to keep, in any case; all if empty. `Folder/Name` is a category of
            one of the folders, for example `WOMEN/Denim`.
        anno: "coarse" or "fine" annotations of the category benchmark; "auto" prefers coarse ones.
        highres: Take pictures from img_highres; else they serve only where img has none.

    Raises:
        UserError: No or several benchmarks are in `root`, it lacks what is asked for, or a file
            cannot be used.
    """
    name, files = find_benchmark(root, benchmark)
    labels = BENCHMARKS[name].labels[0] if labels is None else labels
    kind, _, attribute = labels.partition(":")
    kind = kind.strip().lower()
    if _ALIASES.get(kind) in BENCHMARKS[name].labels:
        kind = _ALIASES[kind]
    if (kind == "attribute") != bool(attribute):
        raise UserError(f"--labels={labels}: expected attribute:NAME, or another kind without :")
    selection = Selection(kind, attribute, partition, crop, categories, views, anno, highres)
    BENCHMARKS[name].check(selection)
    if anno != "auto" and name != "category":
        raise UserError(f"--anno={anno}: only the category benchmark has such; this is {name}")
    if highres and crop == "bbox":
        raise UserError("--highres: the boxes fit the pictures of img only: leave out --crop=bbox")
    left_out = LeftOut()
    listing = BENCHMARKS[name].read(files, selection, left_out)
    facts = {
        "source": os.path.abspath(files.root),
        "benchmark": name,
        "labels": f"{kind}:{attribute}" if attribute else kind,
        "partition": partition,
        "crop": crop,
        "categories": list(categories),
        "views": list(views),
        "licence": LICENCE,
    }
    classes: list[int | str] = []
    items = select(listing, selection, left_out, files.root, classes)
    names = listing.names.get(kind, {})
    return Source(items, listing.read, facts, names, skipped=left_out.entries, classes=classes)


def find_benchmark(root: str, benchmark: str = "auto") -> tuple[str, AnnotationFiles]:
    """The one benchmark in a folder or up to two levels below.

    Args:
        root: The folder.
        benchmark: A key of BENCHMARKS, or "auto" for any.

    Raises:
        UserError: There is none, or there are several.
    """
    if benchmark not in ("auto", *BENCHMARKS):
        raise UserError(f"--benchmark={benchmark}: expected auto, {', '.join(BENCHMARKS)}")
    try:
        os.listdir(root)
    except OSError as error:
        raise UserError(f"cannot open the folder {root}: {error.strerror}") from error
    wanted = BENCHMARKS if benchmark == "auto" else {benchmark: BENCHMARKS[benchmark]}
    folder = os.path.abspath(root)
    while ANNOTATION_FOLDER.fullmatch(os.path.basename(folder)):  # the pictures are beside it
        folder = os.path.dirname(folder)
    if folder != os.path.abspath(root) and any(_fitting(folder, wanted, levels=0)):
        root = folder
    found = list(_fitting(root, wanted, levels=2))
    if not found:
        raise _part_of_another(root, wanted) or _nothing_found(root, benchmark)
    if len(found) > 1:
        where = ", ".join(f"{name} in {files.root}" for name, files in found)
        raise UserError(
            f"{root} holds several benchmarks: {where}: give --benchmark or the folder of one"
        )
    return found[0]


def _fitting(
    folder: str,
    benchmarks: dict[str, Benchmark],
    levels: int,
    seen: set[tuple[int, int]] | None = None,
) -> Iterator[tuple[str, AnnotationFiles]]:
    seen = set() if seen is None else seen
    if not is_new(folder, seen):
        return
    files = AnnotationFiles(folder)
    fitting = [name for name, benchmark in benchmarks.items() if benchmark.fits(files)]
    yield from ((name, files) for name in fitting)
    if levels and not fitting:
        for entry in scan(folder, _FOLDER):
            if os.path.isdir(entry.path):
                yield from _fitting(entry.path, benchmarks, levels - 1, seen)


def _part_of_another(root: str, benchmarks: dict[str, Benchmark]) -> UserError | None:
    """What to say of a folder such as Img or train, which lies in that of a benchmark."""
    parent = os.path.abspath(root)
    for _ in range(2):
        part, parent = parent, os.path.dirname(parent)
        for name, _ in _fitting(parent, benchmarks, levels=0):
            partitions = {"validation": "val"}.get(os.path.basename(part), os.path.basename(part))
            alone = f", and --partition={partitions} for this part alone"
            return UserError(
                f"{root} holds no benchmark, {parent} holds the {benchmarks[name].title} "
                f"benchmark: give that folder{alone * (partitions in PARTITIONS)}"
            )
    return None


def _nothing_found(root: str, benchmark: str) -> UserError:
    zips = [os.path.join(folder, name) for folder, name in _zip_files(root)]
    if zips:
        return UserError(
            f"{root} holds no unpacked benchmark but {zips[0]}: unpack the zip files first, for "
            "some of which the authors of DeepFashion give a password"
        )
    if benchmark != "auto":
        return UserError(
            f"{root} does not hold the {BENCHMARKS[benchmark].title} benchmark: "
            "give its folder, or leave out --benchmark"
        )
    titles = ", ".join(entry.title for entry in BENCHMARKS.values())
    return UserError(
        f"{root} holds no DeepFashion benchmark ({titles}): give the folder with Anno, Eval and "
        "the pictures, or one above it"
    )


def _zip_files(root: str) -> Iterator[tuple[str, str]]:
    for folder, subfolders, names in os.walk(root):
        if os.path.relpath(folder, root).count(os.sep) >= 2:
            subfolders.clear()
        yield from ((folder, name) for name in sorted(names) if name.lower().endswith(".zip"))
