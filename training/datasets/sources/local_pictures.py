"""Which files beside a table are the pictures that it names."""

from __future__ import annotations

import os
import re
from collections import OrderedDict

from training.datasets.items import Lookup
from training.datasets.sources.folders import inside
from training.datasets.sources.names import PictureNames, is_hidden

# Where pictures lie when a table names only files or numbers of products.
_FOLDERS = ("images", "image", "img", "imgs", "pictures", "pics", "photos", "photo")
_MAX_LISTED = 64  # folders whose files are known at the same time


class LocalPictures:
    """Finds the pictures that the rows of a table name.

    A name is a path from the table's folder, or from `images` or the like in it. Case, forms of
    letters and a missing suffix do not matter where one file fits. Absolute paths are taken from
    the table's folder on.

    Args:
        folder: of the table, absolute.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._below = [name for name in _FOLDERS if os.path.isdir(os.path.join(folder, name))]
        self._listed: OrderedDict[str, PictureNames] = OrderedDict()

    def has(self, name: str) -> bool:
        """Whether there is a picture that a name means."""
        return self._find_below(name) is not None

    def find(self, name: str) -> str:
        """The path of a picture from the folder on, also if there is none.

        Raises:
            Unreadable: The path leads out of the folder.
        """
        path = name.removeprefix("file://")
        path = path if "/" in path else path.replace("\\", "/")
        found = self._find_below(path)
        if found is None and self._leads_out(path):
            # Of another machine: its end may be a path from here on.
            parts = [part for part in re.split(r"[\\/]", path) if part not in ("", ".", "..")]
            ends = ("/".join(parts[i:]) for i in range(1, min(len(parts), 32)))
            found = next(filter(None, map(self._find_below, ends)), None)
        if found is None:
            inside(self._folder, path)
        return found or _without_dots(path)

    def _leads_out(self, path: str) -> bool:
        return path.startswith("/") or ".." in path.split("/") or bool(re.match(r"[A-Za-z]:", path))

    def _find_below(self, path: str) -> str | None:
        """An existing file for a path that does not lead out of the folder."""
        root = os.path.join(self._folder, "")
        path = path[len(root) :] if path.startswith(root) else path
        if self._leads_out(path) or "\0" in path:
            return None
        path = _without_dots(path)
        if self._is_file(path):
            return path
        for folder in ("", *self._below):
            place = os.path.join(folder, path)
            if folder and self._is_file(place):
                return place
            parent, name = os.path.split(place)
            if name and (found := self._files(parent).find(name)):
                return os.path.join(parent, found)
        return None

    def _is_file(self, path: str) -> bool:
        try:
            return bool(path) and os.path.isfile(os.path.join(self._folder, path))
        except (ValueError, OSError):
            return False

    def _files(self, folder: str) -> PictureNames:
        """The files in a folder."""
        if folder not in self._listed:
            path = os.path.join(self._folder, folder)
            try:
                with os.scandir(path) as entries:
                    files = (e.name for e in entries if not is_hidden(e.name) and e.is_file())
                    names = Lookup((name, None) for name in files)
            except (OSError, ValueError):
                names = Lookup(())
            self._listed[folder] = PictureNames(names, path)
            if len(self._listed) > _MAX_LISTED:
                self._listed.popitem(last=False)
        return self._listed[folder]


def _without_dots(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))
