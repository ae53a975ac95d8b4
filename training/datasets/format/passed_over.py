"""What lies in a folder or an archive of pictures and is none, named for what it is.

A folder often holds photos of a kind that is not read, or is a dataset of another kind. Both are
said, so that nobody trains on half of the photos, or on a preview of each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dnnlib.file_kinds import KINDS, FileKind, by_suffix, recognize
from training.datasets.format.dataset_files import LEVEL_FILE

# Text and tables beside pictures describe them; these may hold pictures that someone misses.
_GROUPS = ("picture", "raw", "drawing", "video", "archive", "records", "array")
_KINDS = tuple(
    KINDS[key] for key in ("parquet", "arrow", "lfs", "icloud", "shortcut", "unfinished")
)
OWN_SHEET = "the contact sheet of a dataset, which is no photo"
SHEET_END = "-contact-sheet.png"
_MAX_FOLDERS, _DEPTH = 200, 3  # that are looked through for the marks of other datasets


@dataclass(frozen=True)
class OtherDataset:
    """A dataset that other programs make.

    Attributes:
        name: with an article.
        way_on: what to do with it.
        marks: patterns of paths in it, in small letters, from its folder on; there are files for
            all of them.
        has_photos: whether its pictures are plain files, so that only its labels are passed over.
    """

    name: str
    way_on: str
    marks: tuple[str, ...]
    has_photos: bool = False

    @property
    def said(self) -> str:
        """Name and way on."""
        what = "its labels" if self.has_photos else "its records"
        return f"{self.name}, but {what} are not read here: {self.way_on}"


# The first that fits counts.
OTHER_DATASETS = (
    OtherDataset(
        "a TFRecord dataset",
        "give its folder to run_training.py, or write its pictures as files with `extract`",
        (r"(.*/)?[^/]*-r\d\d[^/]*\.tfrecords",),
    ),
    OtherDataset(
        "a dataset of TFRecords of another kind",
        "write its pictures as files, with the program that made it",
        (r".*\.tfrecords?(-\d+-of-\d+)?",),
    ),
    OtherDataset("an LMDB dataset", "give it to create_lsun", (r"(.*/)?data\.mdb",)),
    OtherDataset(
        "a Hugging Face dataset",
        "write its pictures as files: image.save(...) for each of load_from_disk(FOLDER)",
        (r".*\.arrow",),
    ),
    OtherDataset(
        "a dataset of Parquet files",
        "write its pictures as files: image.save(...) for each of load_dataset(FOLDER)",
        (r".*\.parquet",),
    ),
    OtherDataset(
        "a WebDataset (tar shards)",
        "unpack the tar files into one folder, or give one of them",
        (r"(.*/)?[^/]*\d{3,}\.tar(\.gz)?",),
    ),
    OtherDataset(
        "a DeepFashion benchmark",
        "create_from_deepfashion reads them",
        (r"(.*/)?(list_category_img|list_bbox_\w+|list_eval_partition|shape_anno_all)\.txt",),
        has_photos=True,
    ),
    OtherDataset(
        "Stanford Online Products",
        "create_from_ebay reads them",
        (r"(.*/)?ebay_(info|train|test)\.txt",),
        has_photos=True,
    ),
    OtherDataset(
        "MNIST or another dataset of its format",
        "give it to create_mnist",
        (r"(.*/)?[^/]*-idx[13]-ubyte(\.gz)?",),
    ),
    OtherDataset("CIFAR-10", "give it to create_cifar10", (r"(.*/)?data_batch_\d",)),
    OtherDataset("SVHN", "give it to create_svhn", (r"(.*/)?(train|test|extra)_32x32\.mat",)),
    OtherDataset(
        "CelebA",
        "create_celeba makes its official pictures",
        (r"(.*/)?img_align_celeba(/.*|\.zip)?",),
        has_photos=True,
    ),
    OtherDataset(
        "a COCO dataset",
        "write them as a CSV file with columns file and label for --labels",
        (r"(.*/)?(instances_[^/]*|_annotations\.coco|captions_[^/]*)\.json",),
        has_photos=True,
    ),
    OtherDataset(
        "a YOLO dataset",
        "write them as a CSV file with columns file and label for --labels",
        (r"(.*/)?(data\.ya?ml|classes\.txt|obj\.names|labels/(.*/)?[^/]+\.txt)", r".*\.txt"),
        has_photos=True,
    ),
    OtherDataset(
        "a Pascal VOC dataset",
        "write them as a CSV file with columns file and label for --labels",
        (r"(.*/)?annotations/[^/]+\.xml",),
        has_photos=True,
    ),
)


def reason_to_name(source: str | bytes, name: str = "") -> str | None:
    """Why a file that is no picture is named as skipped; None where it is nobody's concern.

    Args:
        source: its path, or its bytes.
        name: its name, where `source` is no path.
    """
    try:
        kind = recognize(source, name)
    except OSError:
        return None  # a broken link, or somebody else's file
    if is_missed(kind) or kind.group == "special":
        return kind.said
    named = by_suffix(name or source) if isinstance(source, str) or name else None
    if named and is_missed(named):
        return f"{named.name} by its name, but {kind.said}"
    return None


def is_missed(kind: FileKind) -> bool:
    """Whether files of a kind are named where pictures are looked for."""
    return kind.group in _GROUPS or kind in _KINDS


def other_dataset(names: Iterable[str]) -> OtherDataset | None:
    """The dataset of another kind that files belong to, by their paths from its folder on."""
    patterns = {mark: re.compile(mark) for other in OTHER_DATASETS for mark in other.marks}
    seen: set[str] = set()
    for name in names:
        small = name.lower()
        seen.update(mark for mark, pattern in patterns.items() if pattern.fullmatch(small))
    return next((other for other in OTHER_DATASETS if seen.issuperset(other.marks)), None)


def own_sheets(names: Iterable[str]) -> set[str]:
    """The names that contact sheets have beside the records of datasets of ours."""
    records = filter(None, map(LEVEL_FILE.fullmatch, names))
    return {match[1] + SHEET_END for match in records}


def paths_below(root: str) -> Iterator[str]:
    """Paths of files from a folder on, of the uppermost folders in it; none that is hidden."""
    folders = [("", 0)]
    for count, (folder, depth) in enumerate(folders):
        if count == _MAX_FOLDERS:
            return
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        yield path
                    elif depth < _DEPTH and len(folders) < _MAX_FOLDERS:
                        folders.append((path, depth + 1))
        except OSError:
            continue
