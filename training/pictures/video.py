"""Films of images: GIF, WebP, APNG, and MP4 with the extra `video`; frames go to disk at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.files import atomic_write, folder_beside
from training.pictures import animations
from training.pictures.xmp import mp4_box

FRAMES_PER_SECOND = 60
# Without MP4, which packs films best, those that nobody named the format of are small.
_THINNED_FRAMES = 100
_THINNED_SIDE = 256
_BITRATE = "16M"
_LONGEST_SIDE = 16383  # Of WebP, and about that of H.264.
_MP4 = ".mp4"
_WRITERS: Mapping[str, type[animations.Writer]] = {
    ".gif": animations.Gif,
    ".png": animations.Apng,
    ".apng": animations.Apng,
    ".webp": animations.WebP,
}
# Frames a second where the user does not say: that of the official films, and one of whole
# hundredths of a second, in which GIF counts. Browsers show faster GIFs slowly.
_USUAL_SPEED = {_MP4: FRAMES_PER_SECOND}
_OTHER_SPEED = 25
_FASTEST_GIF = 50
_HINT = 'pip install imageio-ffmpeg, or pip install -e ".[video]"'


class Film(Protocol):
    """A film that is being written.

    Attributes:
        path: of the file, which is there when it is whole.
    """

    path: str

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, 3]; raises a UserError if it cannot be written."""

    def close(self) -> None:
        """Finishes the file."""

    def discard(self) -> None:
        """Removes what was written so far."""


class Mp4:
    """See `Film`.

    Args:
        path: of the file.
        size: (width, height) of the frames, even numbers.
        speed: frames a second.
        xmp: packet of XMP for the file, or None.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        size: tuple[int, int],
        speed: float = FRAMES_PER_SECOND,
        xmp: bytes | None = None,
    ):
        import imageio_ffmpeg

        self.path, self._xmp = path, xmp
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise _cannot_write(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        self._context = folder_beside(path)
        self._partial = os.path.join(self._context.__enter__(), "video.mp4")
        self._frames = imageio_ffmpeg.write_frames(
            self._partial,
            size,
            fps=speed,
            codec="libx264",
            bitrate=_BITRATE,
            macro_block_size=2,
        )
        self._frames.send(None)

    def add(self, frame: np.ndarray) -> None:
        try:
            self._frames.send(np.ascontiguousarray(frame))
        except OSError as error:
            self.discard()
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        self._frames.close()
        try:
            if self._xmp is not None:
                with open(self._partial, "ab") as file:
                    file.write(mp4_box(self._xmp))
            os.replace(self._partial, self.path)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        self._frames.close()
        self._context.__exit__(None, None, None)


class Animation:
    """A film in a format that Pillow encodes; see `Film`.

    Args:
        path: of the file, whose suffix says which format.
        size: (width, height) of the frames.
        speed: frames a second.
        xmp: packet of XMP for the file, or None.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: str, size: tuple[int, int], speed: float, xmp: bytes | None = None):
        self.path = path
        self._context = atomic_write(path)
        try:
            self._file = self._context.__enter__()
            self._writer = _WRITERS[_suffix(path)](self._file, size, 1000 / speed, xmp)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def add(self, frame: np.ndarray) -> None:
        try:
            self._writer.add(Image.fromarray(frame))
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        try:
            self._writer.finish()
            self._context.__exit__(None, None, None)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def discard(self) -> None:
        self._context.__exit__(_Discarded, _Discarded(), None)


class Thinned:
    """A small WebP of some of the frames; see `Film`.

    Args:
        path: of the file.
        size: (width, height) of the frames that will come.
        count: how many will come.
        xmp: packet of XMP for the file, or None.
    """

    def __init__(self, path: str, size: tuple[int, int], count: int, xmp: bytes | None = None):
        self._stride = max(-(-count // _THINNED_FRAMES), 1)
        scale = min(1, 2 * _THINNED_SIDE / size[0], _THINNED_SIDE / size[1])
        self._size = tuple(max(round(side * scale), 1) for side in size)
        self._film = Animation(path, self._size, FRAMES_PER_SECOND / self._stride, xmp)
        self.path, self._seen = path, 0

    def add(self, frame: np.ndarray) -> None:
        if self._seen % self._stride == 0:
            picture = Image.fromarray(frame)
            self._film.add(np.asarray(picture.resize(self._size, Image.Resampling.BICUBIC)))
        self._seen += 1

    def close(self) -> None:
        self._film.close()

    def discard(self) -> None:
        self._film.discard()


def open_film(
    path: str, size: tuple[int, int], speed: float | None = None, xmp: bytes | None = None
) -> Film:
    """A film of frames (width, height) in the format that its suffix says, see `check_film`.

    Args:
        path: of the file.
        size: of the frames.
        speed: frames a second; None: by the format.
        xmp: packet of XMP for the file, or None.

    Raises:
        UserError: the frames are too large, or the file cannot be written.
    """
    if max(size) > _LONGEST_SIDE:
        raise UserError(
            f"{path}: frames of {size[0]}x{size[1]} are too large, expected at most "
            f"{_LONGEST_SIDE} pixels a side: use a smaller --grid"
        )
    speed = speed or _USUAL_SPEED.get(_suffix(path), _OTHER_SPEED)
    return (Mp4 if _suffix(path) == _MP4 else Animation)(path, size, speed, xmp)


def open_video(path: str, size: tuple[int, int], count: int, xmp: bytes | None = None) -> Film:
    """A film of `count` frames (width, height) at a path without suffix: MP4, or a small WebP."""
    if has_mp4():
        return Mp4(f"{path}.mp4", size, xmp=xmp)
    return Thinned(f"{path}.webp", size, count, xmp)


def check_film(path: str, speed: float | None) -> None:
    """Raises a UserError if there can be no film of that name, of so many frames a second."""
    suffix = _suffix(path)
    if suffix not in (*_WRITERS, _MP4):
        names = ", ".join(_WRITERS)
        raise UserError(f"--out={path}: the name of a video ends with {names} or {_MP4}")
    if suffix == _MP4 and not has_mp4():
        raise UserError(f"--out={path}: MP4 needs more: {_HINT}; or write .gif, .webp or .png")
    if suffix == ".gif" and speed is not None and speed > _FASTEST_GIF:
        raise UserError(f"--fps={speed:g}: a GIF has at most {_FASTEST_GIF}")


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
        print(f"NOTE: videos are small .webp files: for .mp4, {_HINT}", file=sys.stderr)


class _Discarded(Exception):
    """Ends a context whose file is not wanted."""


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _cannot_write(path: str, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}")
