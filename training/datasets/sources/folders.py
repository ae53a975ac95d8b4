"""Finding the pictures in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dnnlib import UserError
from dnnlib.file_kinds import KINDS
from training.datasets.format.passed_over import (
    OWN_SHEET,
    SHEET_END,
    own_sheets,
    paths_below,
    reason_to_name,
)
from training.datasets.items import Item, Lookup, Skipped
from training.datasets.photos.decode import Unreadable, open_image, picture_suffixes
from training.datasets.sources.names import is_hidden


@dataclass
class Folder:
    """The pictures of a folder and the folders in it.

    Attributes:
        names: paths of the pictures from the folder, in ascending order.
        skipped: [{"file", "reason"}] of what could not be looked into.
    """

    root: str
    names: Lookup
    skipped: list[dict[str, str]] = field(default_factory=Skipped)
    is_folder = True

    def read(self, item: Item) -> str:
        """The path of a picture."""
        return os.path.join(self.root, item.name)

    def has(self, name: str) -> bool:
        """Whether there is a file besides the pictures."""
        return os.path.isfile(os.path.join(self.root, name))

    def paths(self) -> Iterator[str]:
        """Paths of files in the uppermost folders, pictures or not."""
        return paths_below(self.root)

    @contextmanager
    def file(self, name: str) -> Iterator[str]:
        """The path of a file besides the pictures."""
        yield os.path.join(self.root, name)


def open_folder(root: str) -> Folder:
    """Finds the files that are pictures by their names, or else by their first bytes.

    Hidden files and folders are left out. Links to folders are followed, and each folder is read
    once.

    Raises:
        UserError: `root` is not a readable folder.
    """
    try:
        os.listdir(root)
    except OSError as error:
        raise UserError(f"cannot open image folder {root}: {error.strerror}") from error
    skipped = Skipped()
    return Folder(root, Lookup((name, None) for name in _walk(root, skipped)), skipped)


def inside(root: str, name: str) -> str:
    """The path of a file below `root` whose name comes from an annotation file or a table.

    Raises:
        Unreadable: The name leads out of `root`.
    """
    is_absolute = name.startswith("/") or re.match(r"[A-Za-z]:", name)
    if is_absolute or ".." in name.split("/") or "\0" in name:
        raise Unreadable("its name leads out of the folder: expected a path from there, without ..")
    return os.path.join(root, name)


def is_picture(source: str | bytes) -> bool:
    """Whether a file whose name does not say so is a picture; browsers save such files."""
    try:
        with open_image(source):
            return True
    except Unreadable:
        return False


def _walk(root: str, skipped: list[dict[str, str]]) -> Iterator[str]:
    known, seen = picture_suffixes(), set()
    folders = [""]
    while folders:
        folder = folders.pop()
        path = os.path.join(root, folder)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            sheets = None  # looked up where a name is like that of one
            with os.scandir(path) as entries:
                for entry in entries:
                    name = os.path.join(folder, entry.name)
                    if is_hidden(entry.name):
                        if entry.name.endswith(".icloud"):
                            skipped.append({"file": name, "reason": KINDS["icloud"].said})
                        continue
                    try:
                        is_folder = entry.is_dir()
                    except OSError as error:  # a link that leads to itself
                        skipped.append({"file": name, "reason": error.strerror or str(error)})
                        continue
                    if is_folder:
                        folders.append(name)
                        continue
                    if entry.name.endswith(SHEET_END):
                        sheets = own_sheets(os.listdir(path)) if sheets is None else sheets
                        if entry.name in sheets:
                            skipped.append({"file": name, "reason": OWN_SHEET})
                            continue
                    if os.path.splitext(name)[1].lower() in known or is_picture(entry.path):
                        yield name
                    elif reason := reason_to_name(entry.path):
                        skipped.append({"file": name, "reason": reason})
        except OSError as error:
            skipped.append({"file": folder or ".", "reason": error.strerror or str(error)})
