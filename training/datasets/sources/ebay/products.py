"""Stanford Online Products: 120,053 photos of 22,634 products from eBay in twelve super-classes."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator

from dnnlib import UserError
from training.datasets.items import Item, Source
from training.datasets.sources.folders import inside

LABELS = ("super-class", "class", "none")
PARTITIONS = ("all", "train", "test")
_FILES = {part: f"Ebay_{part}.txt" for part in ("info", "train", "test")}
# image_id class_id super_class_id path; a path may hold blanks.
_ROW = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
# Copies with a damaged header have the first row on the same line.
_ROW_AFTER_HEADER = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S+\.jpe?g)\s*$", re.IGNORECASE)


def find_products(root: str) -> str | None:
    """The folder with Ebay_*.txt: `root` or one folder in it; None if there is none.

    Raises:
        UserError: `root` is a folder that cannot be read.
    """
    if not os.path.isdir(root):
        return None
    try:
        below = [os.path.join(root, name) for name in sorted(os.listdir(root))]
    except OSError as error:
        raise UserError(f"cannot open the folder {root}: {error.strerror or error}") from error
    for folder in (root, *filter(os.path.isdir, below)):
        if any(os.path.isfile(os.path.join(folder, file)) for file in _FILES.values()):
            return folder
    return None


def products_source(root: str, labels: str = "super-class", partition: str = "all") -> Source:
    """The photos of Stanford Online Products.

    Args:
        root: Folder with Ebay_*.txt, see `find_products`.
        labels: One of LABELS: of the twelve super-classes, of the products, or none.
        partition: One of PARTITIONS. For "all", Ebay_info.txt serves, or the two others.

    Returns:
        The photos of the partition. Their classes are those of all partitions that are there, so
        that labels of one partition fit a network for another.

    Raises:
        UserError: An argument is not known, or a list is missing.
    """
    if labels not in LABELS:
        raise UserError(f"--labels={labels}: Stanford Online Products has {', '.join(LABELS)}")
    if partition not in PARTITIONS:
        raise UserError(f"--partition={partition}: expected one of {', '.join(PARTITIONS)}")
    facts = {"source": os.path.abspath(root), "labels": labels, "partition": partition}
    names: dict[int | str, str] = {}  # Of super-classes; complete when the items have been listed.
    source = Source((), functools.partial(_path, root), facts, names, classes=[])
    source.items = _items(root, _lists(root, partition), labels, source, names)
    return source


def _lists(root: str, partition: str) -> list[str]:
    """The files that list a partition."""
    info = os.path.join(root, _FILES["info"])
    if partition == "all" and os.path.isfile(info):
        # Copies circulate whose info file has only the names of columns.
        others = any(os.path.isfile(os.path.join(root, _FILES[p])) for p in ("train", "test"))
        if not others or any(row is not None for _, row in _rows(info)):
            return [_FILES["info"]]
    files = [_FILES[part] for part in (("train", "test") if partition == "all" else (partition,))]
    missing = [file for file in files if not os.path.isfile(os.path.join(root, file))]
    if missing:
        instead = f" and no {_FILES['info']}" if partition == "all" else ""
        raise UserError(f"--partition={partition}: {root} has no {missing[0]}{instead}")
    return files


def _items(
    root: str, files: list[str], labels: str, source: Source, names: dict[int | str, str]
) -> Iterator[Item]:
    others = [file for file in _FILES.values() if file not in files]
    others = [file for file in others if os.path.isfile(os.path.join(root, file))]
    classes: set[int] = set()
    for file in files if labels == "none" else (*files, *others):
        for number, row in _rows(os.path.join(root, file)):
            if row is None:
                if file in files:
                    reason = "expected image_id, class_id, super_class_id and path"
                    source.skipped.append({"file": f"{file}:{number}", "reason": reason})
                continue
            class_id, super_class_id, path = row
            if labels == "super-class":
                names.setdefault(super_class_id, path.partition("/")[0].removesuffix("_final"))
            label = {"super-class": super_class_id, "class": class_id, "none": None}[labels]
            if label is not None:
                classes.add(label)
            if file in files:
                yield Item(path, label)
    source.classes.extend(sorted(classes))


def _rows(path: str) -> Iterator[tuple[int, tuple[int, int, str] | None]]:
    """Numbers of lines and (class_id, super_class_id, path), or None where a line is no row."""
    try:
        # Names that are no UTF-8 keep their bytes.
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                row = _ROW.fullmatch(line.strip())
                if row is None and number == 1:
                    row = _ROW_AFTER_HEADER.search(line)
                if row is not None:
                    yield number, (int(row[2]), int(row[3]), row[4].replace("\\", "/"))
                elif number > 1 and line.strip():
                    yield number, None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _path(root: str, item: Item) -> str:
    return inside(root, item.name)
