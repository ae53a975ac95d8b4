"""Bytes of zip and tar files."""

from __future__ import annotations

import io
import tarfile
import zipfile


def zipped(**members: bytes | str) -> bytes:
    """A zip file of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(name: str) -> bytes:
    """A tar file with an empty member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()
