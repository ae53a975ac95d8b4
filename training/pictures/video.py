"""Films of images: MP4 with the extra `video`, else a small WebP."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.files import atomic_write

FRAMES_PER_SECOND = 60
_BITRATE = "16M"
# Pillow writes all frames at once, from memory.
_WEBP_FRAMES = 100
_WEBP_SIDE = 256


class Mp4:
    """Writes frames as they come.

    Args:
        path: of the file, without suffix; it is there when it is whole.
        size: (width, height) of the frames, even numbers.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: str, size: tuple[int, int]):
        import imageio_ffmpeg

        self.path = f"{path}.mp4"
        self._folder = tempfile.mkdtemp(prefix=".video.", dir=os.path.dirname(self.path) or ".")
        self._partial = os.path.join(self._folder, "video.mp4")
        self._frames = imageio_ffmpeg.write_frames(
            self._partial,
            size,
            fps=FRAMES_PER_SECOND,
            codec="libx264",
            bitrate=_BITRATE,
            macro_block_size=2,
        )
        self._frames.send(None)

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, 3]."""
        try:
            self._frames.send(np.ascontiguousarray(frame))
        except OSError as error:
            self.discard()
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Finishes the file."""
        self._frames.close()
        os.replace(self._partial, self.path)
        self.discard()

    def discard(self) -> None:
        """Removes what was written so far."""
        self._frames.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class WebP:
    """Keeps frames, small and not all of them, and writes them at the end; see `Mp4`.

    Args:
        path: of the file, without suffix.
        count: frames that will come.
    """

    def __init__(self, path: str, count: int):
        self.path = f"{path}.webp"
        self._stride = max(-(-count // _WEBP_FRAMES), 1)
        self._seen, self._frames = 0, []

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, 3]."""
        if self._seen % self._stride == 0:
            picture = Image.fromarray(frame)
            picture.thumbnail((2 * _WEBP_SIDE, _WEBP_SIDE))
            self._frames.append(picture)
        self._seen += 1

    def close(self) -> None:
        """Writes the file."""
        if self._frames:
            save_animation(self._frames, self.path, self._stride * 1000 / FRAMES_PER_SECOND)

    def discard(self) -> None:
        """Writes nothing."""
        self._frames.clear()


def save_animation(frames: Iterable[Image.Image], path: str, milliseconds: float) -> None:
    """Writes frames as an animation in the format that the name of the file says, atomically."""
    first, *others = frames
    options: dict[str, Any] = {"save_all": True, "append_images": others, "loop": 0}
    try:
        with atomic_write(path) as file:
            kind = os.path.splitext(path)[1][1:].upper()
            first.save(file, format=kind, duration=round(milliseconds), **options)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def open_video(path: str, size: tuple[int, int], count: int) -> Mp4 | WebP:
    """A film of `count` frames (width, height) at a path without suffix."""
    return Mp4(path, size) if has_mp4() else WebP(path, count)


def has_mp4() -> bool:
    """Whether MP4 can be written."""
    try:
        import imageio_ffmpeg  # noqa: F401 (whether it is there)
    except ImportError:
        return False
    return True


def say_what_is_missing() -> None:
    """Says in one line why there will be a WebP, if so."""
    if not has_mp4():
        print(
            "NOTE: videos are small .webp files: for .mp4, pip install imageio-ffmpeg, or "
            'pip install -e ".[video]"',
            file=sys.stderr,
        )
