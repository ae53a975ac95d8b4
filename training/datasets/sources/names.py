"""Names of pictures in one form, and which picture a table means by a name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from training.datasets.items import Lookup
from training.datasets.photos.decode import picture_suffixes

# What systems put beside files; names with a dot in front are hidden anyway.
_JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
AMBIGUOUS = ""  # stands for the name of a picture that could be one of several
# An address without what is asked of the server.
_ADDRESS = re.compile(r"https?:/+([^?#]+)(?:[?#].*)?", re.IGNORECASE | re.DOTALL)
_DEEPEST = 32  # folders of a path that are looked at


def plain_name(name: str) -> str:
    """A name with `/` between folders, no `.` folders or empty ones, and composed letters (NFC).

    Windows writes `a\\b.png`, `find` writes `./a/b.png`, and macOS takes letters and accents apart.
    """
    parts = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def is_hidden(name: str) -> bool:
    """Whether a plain name is that of a hidden file, or lies in a hidden folder."""
    return not name or any(
        part.startswith(".") or part.lower() in _JUNK for part in name.split("/")
    )


class PictureNames:
    """Finds the picture that a table means by a name.

    A name is a whole path, or the end of the only path that ends so (`a.png` for `shoes/a.png`), or
    a path of another machine or folder that ends with a whole one (`/home/ann/photos/shoes/a.png`).
    If none fits, case does not count, and a name without a suffix stands for a picture with one;
    then `my%20hat.png` is `my hat.png`, and `https://shop/a.png?v=2` is `a.png`.

    Args:
        names: of all pictures, as the source calls them.
        root: the path of the source.
    """

    def __init__(self, names: Lookup, root: str):
        self._names = names
        self._folder = os.path.basename(os.path.abspath(root))
        self._index: Lookup | None = None  # made when a name is not in `names`
        self._suffixes = picture_suffixes()
        self._foreign: str | None = None  # what stands before the path in all rows

    def find(self, name: str) -> str | None:
        """The picture that is meant; None if there is none, AMBIGUOUS if it may be several."""
        plain = plain_name(name)
        if plain in self._names:
            return plain
        found = self._find(plain)
        return found if found is not None else self._find_address(name.strip())

    def _find(self, plain: str) -> str | None:
        if self._index is None:
            self._index = Lookup(self._entries(), merge=_same_or_ambiguous)
        for form in self._forms(plain):
            found = self._index.get(f"whole {form}") or self._index.get(f"end {form}")
            found = self._without_foreign(form) if found is None else found
            if found is not None:
                return found
        return None

    def _find_address(self, name: str) -> str | None:
        """The picture that was downloaded from an address, or whose name is written as in one."""
        address = _ADDRESS.fullmatch(name)
        path = address[1] if address else name
        plain = plain_name(unquote(path))
        if not address:
            return self._find(plain) if "%" in name else None
        # Hosts and folders on the web have nothing to do with those here.
        ends = (end for _, end in _ends(f"as {plain}"))
        return next((found for end in ends if (found := self._find(end[3:])) is not None), None)

    def _without_foreign(self, form: str) -> str | None:
        """Takes the same folders off all names, or those up to the name of the source."""
        for prefix, end in _ends(form):
            found = self._index.get(f"whole {end}")
            if found is not None:
                if prefix.rpartition("/")[2].lower() == self._folder.lower():
                    self._foreign = self._folder
                    return found
                if self._foreign in (None, prefix):
                    self._foreign = prefix
                    return found
        return None

    def _entries(self) -> Iterator[tuple[str, str]]:
        """The keys of all pictures: each name as a whole, and the ends of its path."""
        for name in self._names:
            plain = plain_name(name)
            forms = self._forms(plain)
            stem, suffix = os.path.splitext(plain)
            if suffix.lower() in self._suffixes:
                forms = (*forms, f"stem {stem.casefold()}")
            for form in forms:
                yield f"whole {form}", name
                for _, end in _ends(form):
                    yield f"end {end}", name

    def _forms(self, plain: str) -> tuple[str, ...]:
        """Keys for a name, the strictest first."""
        forms = f"as {plain}", f"fold {plain.casefold()}"
        if os.path.splitext(plain)[1].lower() in self._suffixes:
            return forms
        return (*forms, f"stem {plain.casefold()}")


def _same_or_ambiguous(old: str, new: str) -> str:
    return old if old == new else AMBIGUOUS


def _ends(form: str) -> Iterator[tuple[str, str]]:
    """(what is taken off, key of the rest) for a path without its first folder, two, and so on."""
    kind, _, path = form.partition(" ")
    parts = path.split("/")
    for i in range(1, min(len(parts), _DEEPEST)):
        yield "/".join(parts[:i]), f"{kind} {'/'.join(parts[i:])}"
