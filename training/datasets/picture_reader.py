"""Decoding pictures that strangers have made, at full speed and without an end to fear.

JPEG and PNG files that are as usual are decoded at once, in the thread that asks. Others, which a
few bytes can make take hours, gigabytes or the process itself, are decoded in processes that are
stopped when they take too long.
"""

from __future__ import annotations

import os
import queue
import threading
from dataclasses import asdict
from typing import Any

import numpy as np

from dnnlib.child_process import ChildProcess, ChildStopped
from dnnlib.file_kinds import recognize
from dnnlib.util import UserError
from training.datasets.picture_checks import (
    JPEG_MAGIC,
    MAX_PLAIN_BYTES,
    PNG_MAGIC,
    is_plain,
)
from training.datasets.pictures import (
    Fit,
    Fitted,
    Unreadable,
    fit_picture,
    is_readable_kind,
    open_file,
    open_image,
    readable,
    upright_size,
    what_it_is,
)

SECONDS = 20.0  # for one picture; a TIFF of 100 megapixels takes 3
_MEMORY = 3 << 30  # of a process; Pillow refuses more than 179 megapixels
_BIG_PICTURE = 25_000_000  # pixels; such are decoded one at a time, which bounds the memory


class PictureReader:
    """Decodes pictures. Threads share it; use as a context manager, which ends its processes."""

    def __init__(self) -> None:
        self._idle: queue.SimpleQueue[ChildProcess] = queue.SimpleQueue()
        self._children: list[ChildProcess] = []
        self._one_big_picture = threading.Lock()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *exception) -> None:
        for child in self._children:
            child.close()

    def fit(self, source: str | bytes, fit: Fit) -> Fitted:
        """An image of a dataset from a path or the bytes of a file; see `fit_picture`.

        Raises:
            Unreadable: It cannot be used, or takes too long.
        """
        data = _plain_data(source)
        if data is None:
            reply = self._ask(source, asdict(fit), False)
            if "big" in reply:
                with self._one_big_picture:
                    reply = self._ask(source, asdict(fit), True)
            return Fitted(reply["pixels"], reply["profile"])
        with open_image(data) as image:
            if image.width * image.height < _BIG_PICTURE:
                return fit_picture(image, fit)
            with self._one_big_picture:
                return fit_picture(image, fit)

    def size(self, source: str | bytes) -> tuple[int, int]:
        """Width and height of a picture as it is seen. Raises `Unreadable`."""
        data = _plain_data(source)
        if data is None:
            width, height = self._ask(source, None, True)["size"]
            return width, height
        with open_image(data) as image:
            return upright_size(image)

    def _ask(self, source: str | bytes, fit: dict | None, big: bool) -> dict[str, Any]:
        """What `_answer` says in one of the processes."""
        try:
            child = self._idle.get_nowait()
        except queue.Empty:
            child = ChildProcess(_answer, _MEMORY)
            self._children.append(child)
        # As the process has a working folder of its own, should this one go elsewhere.
        source = os.path.abspath(source) if isinstance(source, str) else source
        try:
            reply = child.call(source, fit, big, seconds=SECONDS, what="decoding it")
        except ChildStopped as error:
            raise Unreadable(str(error)) from error
        except UserError as error:
            raise Unreadable(f"damaged: {error}") from error
        finally:
            self._idle.put(child)
        if "unreadable" in reply:
            raise Unreadable(reply["unreadable"])
        return reply


def is_damaged(source: str | bytes) -> str | None:
    """Why a path or the content of a file is no whole picture; None if it seems to be one.

    Of a picture that is out of the common only the first bytes are looked at.
    """
    try:
        data = _plain_data(source)
        if data is None:
            with readable(source):
                return None if is_readable_kind(recognize(source)) else what_it_is(source)
        with open_image(data) as image:
            if image.format in ("JPEG", "MPO"):
                image.draft(None, (1, 1))  # an eighth of the size is quick, and reads to the end
            image.load()
    except Unreadable as error:
        return str(error)
    return None


def _plain_data(source: str | bytes) -> bytes | None:
    """The content of a file that may be decoded in this process; None for others."""
    if isinstance(source, bytes):
        return source if is_plain(source) else None
    with readable(source), open_file(source) as file:
        head = file.read(16)
        if not head.startswith((JPEG_MAGIC, PNG_MAGIC)):
            return None
        data = head + file.read(MAX_PLAIN_BYTES + 1 - len(head))
        return data if is_plain(data) else None


def _answer(source: str | bytes, fit: dict | None, big: bool) -> dict[str, Any]:
    """Runs in the process: an image, the size of the picture, or that it is a big one.

    Args:
        source: a path or bytes.
        fit: fields of a `Fit`; None asks for the size.
        big: whether to decode a big picture.
    """
    try:
        with open_image(source) as image:
            if fit is None:
                return {"size": list(upright_size(image))}
            if not big and image.width * image.height >= _BIG_PICTURE:
                return {"big": True}
            fitted = fit_picture(image, Fit(**fit))
            return {"pixels": np.asarray(fitted.pixels), "profile": fitted.profile}
    except Unreadable as error:
        return {"unreadable": str(error)}
