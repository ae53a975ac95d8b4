"""Pictures of a folder or an archive (`create_from_images`), with labels from where people keep
them: folder names, or a file, see `labels`.
"""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from dataclasses import replace

from dnnlib import UserError
from dnnlib.util import did_you_mean, printable
from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.format.passed_over import OtherDataset, other_dataset
from training.datasets.items import Item, Lookup, Source
from training.datasets.sources.archives import Archive, open_archive
from training.datasets.sources.classes import check_missing, split_mode, with_counts
from training.datasets.sources.folders import Folder, open_folder
from training.datasets.sources.labels import LabelOptions, add_labels

# Folders of a dataset that hold folders of classes, as torchvision and Hugging Face have them.
_PARTS = frozenset("train training test testing val valid validation dev eval".split())
# The first that is there counts: NVIDIA's, and Hugging Face's.
LABEL_FILES = ("dataset.json", "metadata.jsonl", "metadata.csv", "metadata.parquet")


def create_from_images(
    output: Output, image_dir: str, labels: str = "auto", options: LabelOptions | None = None
) -> None:
    """Converts all pictures of a folder and the folders in it, or of a zip or tar file.

    Args:
        output: The dataset to make.
        image_dir: Folder or archive of pictures, of any size, mode and format that Pillow reads.
        labels: "none"; "folders" for the names of the folders directly in `image_dir`, or in its
            parts train, test and so on; a JSON file
            or a table, looked for in `image_dir` too, with ":multi" or ":single" behind it, see
            `LabelOptions`; "auto" for the first of LABEL_FILES that is there and has labels.
        options: How a file of labels is read.

    Raises:
        UserError: No pictures, none readable, labels do not fit, or the dataset cannot be written.
    """
    output.check()
    options = options or LabelOptions()
    source = images_source(image_dir, labels, options)
    if "rows" in source.facts:
        rows, missing = source.facts["rows"], source.facts["missing"]
        check_missing(missing, rows, source.facts["labels"], options.allow_missing)
    build(source, output)


def images_source(
    image_dir: str, labels: str = "auto", options: LabelOptions | None = None
) -> Source:
    """The pictures of a folder or an archive in the order of their names; see above."""
    pictures = open_folder(image_dir) if os.path.isdir(image_dir) else open_archive(image_dir)
    other = other_dataset(pictures.paths())
    if not len(pictures.names):
        where = f"{image_dir}{' or its folders' * pictures.is_folder}"
        raise UserError(f"no image files in {where}{_instead(other, pictures.skipped)}")
    if other and labels == "auto" and not any(map(pictures.has, LABEL_FILES)):
        print(f"note: {image_dir} is like {other.said}", file=sys.stderr)
    options = options or LabelOptions()
    facts = {"source": os.path.abspath(image_dir)}
    source = Source((), pictures.read, facts, skipped=pictures.skipped)
    if labels == "auto":
        labels = next((name for name in LABEL_FILES if pictures.has(name)), "none")
        if labels == "none" and (below := _labels_below(pictures)):
            print(
                f"note: {image_dir} has no labels of its own; {', '.join(below)} is not read: give "
                "the folder that it lies in, or name it with --labels=FILE",
                file=sys.stderr,
            )
    labels, mode = split_mode(labels)
    if labels in ("none", "folders"):
        _refuse_options(labels, mode, options)
    if labels == "none":
        source.items = map(Item, pictures.names)
        return source
    facts["labels"] = labels
    if labels == "folders":
        source.items = with_counts(_items_by_folder(pictures.names, source), source, labels)
        return source
    where = pictures.file(labels) if pictures.has(labels) else nullcontext(labels)
    with where as path:
        _check_readable(path, labels)
        options = replace(options, mode=mode)
        if mode is not None:
            facts["label_mode"] = mode
        is_inside = pictures.has(labels) and not pictures.is_folder
        title = f"{labels} in {image_dir}" if is_inside else labels
        add_labels(source, pictures.names, path, title, options)
    return source


def _labels_below(pictures: Folder | Archive) -> list[str]:
    """Files of labels in the folders train, test and so on."""
    paths = (f"{part}/{name}" for part in sorted(_PARTS) for name in LABEL_FILES)
    return [path for path in paths if pictures.has(path)]


def _refuse_options(labels: str, mode: str | None, options: LabelOptions) -> None:
    """Options for files of labels have no effect without one."""
    given = {
        f"--labels={labels}:{mode}": mode,
        "--file-column": options.file_column,
        "--label-column": options.label_column,
        "--table-encoding": options.encoding,
    }
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} is for a file of labels: name it with --labels=FILE")


def _check_readable(path: str, labels: str) -> None:
    """Refuses a file of labels that is not there, or that one might wait for."""
    reason = None
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            reason = "Is a directory" if stat.S_ISDIR(mode) else "not a regular file"
        else:
            with open(path, "rb"):
                pass
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    if reason is not None:
        raise UserError(
            f"--labels={labels}: {reason}; {did_you_mean(labels, ('none', 'folders', 'auto'))}use "
            "none, folders, or a JSON file or a table"
        )


def _instead(other: OtherDataset | None, skipped: list[dict[str, str]]) -> str:
    """What there is in the place of pictures."""
    if other:
        return f", but {other.name}: {other.way_on}"
    if not skipped:
        return ""
    return f", but {printable(skipped[0]['file'])}, which is {skipped[0]['reason']}" + (
        f"; {len(skipped) - 1} other files are no pictures either" if skipped[1:] else ""
    )


def _parts(names: Lookup) -> set[str]:
    """The uppermost folders if they are train, test and so on, with folders of classes in them."""
    folders: set[str] = set()
    has_classes = False
    for name in names:
        folder, *rest = name.split("/")
        if folder.lower() not in _PARTS or not rest:
            return set()
        folders.add(folder)
        has_classes = has_classes or len(rest) > 1
    return folders if has_classes else set()


def count_folders(names: Collection[str]) -> Counter[str | None]:
    """How many pictures have each label of "folders"; None counts those without.

    Args:
        names: paths of the pictures, see `Folder`.
    """
    parts = _parts(names)
    return Counter(_label_of(name, parts) for name in names)


def _label_of(name: str, has_parts: Collection[str]) -> str | None:
    path = name.partition("/")[2] if has_parts else name
    folder, slash, _ = path.partition("/")
    return unicodedata.normalize("NFC", folder) if slash else None


def _items_by_folder(names: Lookup, source: Source) -> Iterator[Item]:
    parts = _parts(names)
    if parts:
        print(f"{', '.join(sorted(parts))}: taken as parts of the dataset, the classes are in them")
    for name in names:
        label = _label_of(name, parts)
        if label is not None:
            yield Item(name, label)
        else:
            reason = "it is not in a sub-folder, so has no label"
            source.skipped.append({"file": name, "reason": reason})
