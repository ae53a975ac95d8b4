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

from PIL import Image

from dnnlib.child_process import ChildProcess, ChildStopped
from dnnlib.files import open_regular
from dnnlib.util import UserError
from training.datasets.photos.checks import (
    JPEG_MAGIC,
    MAX_PLAIN_BYTES,
    PNG_MAGIC,
    is_plain,
)
from training.datasets.photos.decode import (
    Fit,
    Fitted,
    Unreadable,
    fit_picture,
    open_image,
    readable,
    upright_size,
)

SECONDS = 20.0  # for one picture; a TIFF of 100 megapixels takes 3
_MEMORY = 3 << 30  # of a process; Pillow refuses more than 179 megapixels
_BIG_PICTURE = 25_000_000  # pixels; such are decoded one at a time, which bounds the memory

_SIZE, _CHECK = "size", "check"  # what a process may be asked for, beside an image


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
            reply = self._ask(source, asdict(fit))
            if "big" in reply:
                with self._one_big_picture:
                    reply = self._ask(source, asdict(fit), big=True)
            return Fitted(reply["pixels"], reply["profile"], reply["digest"])
        with open_image(data) as image:
            if image.width * image.height < _BIG_PICTURE:
                return fit_picture(image, fit)
            with self._one_big_picture:
                return fit_picture(image, fit)

    def size(self, source: str | bytes) -> tuple[int, int]:
        """Width and height of a picture as it is seen. Raises `Unreadable`."""
        data = _plain_data(source)
        if data is None:
            width, height = self._ask(source, _SIZE)["size"]
            return width, height
        with open_image(data) as image:
            return upright_size(image)

    def problem(self, source: str | bytes) -> str | None:
        """Why a path or the content of a file is no whole picture; None if it is one."""
        try:
            data = _plain_data(source)
            if data is None:
                self._ask(source, _CHECK)
            else:
                with open_image(data) as image:
                    _check(image)
        except Unreadable as error:
            return str(error)
        return None

    def _ask(self, source: str | bytes, task: dict | str, big: bool = False) -> dict[str, Any]:
        """What `_answer` says in one of the processes."""
        try:
            child = self._idle.get_nowait()
        except queue.Empty:
            child = ChildProcess(_answer, _MEMORY)
            self._children.append(child)
        # As the process has a working folder of its own, should this one go elsewhere.
        source = os.path.abspath(source) if isinstance(source, str) else source
        try:
            reply = child.call(source, task, big, seconds=SECONDS, what="decoding it")
        except ChildStopped as error:
            raise Unreadable(str(error)) from error
        except UserError as error:
            raise Unreadable(f"damaged: {error}") from error
        finally:
            self._idle.put(child)
        if "unreadable" in reply:
            raise Unreadable(reply["unreadable"])
        return reply


def _plain_data(source: str | bytes) -> bytes | None:
    """The content of a file that may be decoded in this process; None for others."""
    if isinstance(source, bytes):
        return source if is_plain(source) else None
    with readable(source), open_regular(source) as file:
        head = file.read(len(PNG_MAGIC))
        if not head.startswith((JPEG_MAGIC, PNG_MAGIC)):
            return None
        data = head + file.read(MAX_PLAIN_BYTES + 1)
        return data if is_plain(data) else None


def _check(image: Image.Image) -> None:
    """Reads a picture to its end."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (1, 1))  # an eighth of the size is quick
    image.load()


def _answer(source: str | bytes, task: dict | str, big: bool) -> dict[str, Any]:
    """Runs in the process: an image, the size of the picture, or that it is a big one.

    Args:
        source: a path or bytes.
        task: fields of a `Fit`, _SIZE or _CHECK.
        big: whether to decode a big picture.
    """
    try:
        with open_image(source) as image:
            if task == _SIZE:
                return {"size": list(upright_size(image))}
            if task == _CHECK:
                _check(image)
                return {}
            if not big and image.width * image.height >= _BIG_PICTURE:
                return {"big": True}
            fitted = fit_picture(image, Fit(**task))
            return vars(fitted)
    except Unreadable as error:
        return {"unreadable": str(error)}
