"""What is asked of a dataset that is to be made."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dnnlib import UserError
from training.datasets.format.examples import ENCODINGS
from training.datasets.format.levels import level_count
from training.datasets.photos.copies import KINDS
from training.datasets.photos.decode import ALPHAS
from training.datasets.photos.fitting import TRANSFORMS, parse_transform

MAX_SHARDS = 99_999


@dataclass(frozen=True)
class Output:
    """What the command line says of the dataset to make.

    Attributes:
        tfrecord_dir: the folder to make; its basename is the dataset's NAME.
        shuffle: store in the order of the official tools, RandomState(123); else the source's.
        resolution: height and width, a power of two; None: see `width`.
        width, height: a base grid times a power of two, see `levels`; None takes the size of the
            pictures, which must then all be the same.
        transform: how a picture is fitted to the size, as from `fitting.parse_transform`.
        channels: "rgb", "rgba" for colors and opacity; None: as the source has them.
        alpha: where opacity comes from: one of ALPHAS; None: the file.
        margin: added to boxes on each side, as a fraction of their size.
        min_size: leave out pictures whose shorter side is smaller.
        strict: stop at the first picture that cannot be read, rather than skip it.
        max_images: use at most so many of the pictures, in the stored order.
        dedupe: leave out copies of an earlier picture: one of `copies.KINDS`; None keeps them.
        encoding, quality: how records hold pixels, see `Encoding`.
        levels: "all", or "finest" for the finest level only; None is all for raw records, which
            the official tools read, and finest for others, which only ours do.
        shards: number of files for each level.
        only_shards: first and last number of the shards to write, as one of several machines that
            write the same dataset; None for all.
        workers: number of threads; None is one for each core that this process may use.
    """

    tfrecord_dir: str
    shuffle: bool = True
    resolution: int | None = None
    width: int | None = None
    height: int | None = None
    transform: str = "center-crop"
    channels: str | None = None
    alpha: str | None = None
    margin: float = 0.0
    min_size: int = 1
    strict: bool = False
    max_images: int | None = None
    dedupe: str | None = None
    encoding: str = "raw"
    quality: int = 95
    levels: str | None = None
    shards: int = 1
    only_shards: tuple[int, int] | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """NAME in the names of the files."""
        return os.path.basename(os.path.abspath(self.tfrecord_dir))

    def check(self) -> None:
        """Raises a UserError that names the option which is wrong."""
        size = self.size
        if size is not None and level_count(*size) is None:
            option = "--resolution" if self.resolution is not None else "--width and --height"
            what = size[0] if self.resolution is not None else f"{size[1]} and {size[0]}"
            raise UserError(
                f"{option} is {what}: expected a power of two from 4 to 4096, or for --width and "
                "--height a small grid doubled several times, like 384 and 512"
            )
        try:
            parse_transform(self.transform)
        except UserError as error:
            raise UserError(f"--transform: {error}") from error
        for option, value, choices in (
            ("--encoding", self.encoding, ENCODINGS),
            ("--channels", self.channels or "rgb", ("rgb", "rgba")),
            ("--alpha", self.alpha or "file", ALPHAS),
            ("--levels", self.levels or "all", ("all", "finest")),
            ("--dedupe", self.dedupe or "exact", KINDS),
        ):
            if value not in choices:
                raise UserError(f"{option} is {value!r}: expected one of {', '.join(choices)}")
        self._check_alpha()
        if not 1 <= self.shards <= MAX_SHARDS:
            raise UserError(f"--shards is {self.shards}: expected 1 to {MAX_SHARDS}")
        first, last = self.only_shards or (0, 0)
        if not 0 <= first <= last < self.shards:
            raise UserError(
                f"--only-shards is {first}-{last}: expected numbers from 0 to {self.shards - 1}, "
                f"since --shards is {self.shards}"
            )
        if self.dedupe and self.only_shards:
            raise UserError("--dedupe needs to see all pictures: leave out --only-shards")

    def _check_alpha(self) -> None:
        if self.channels != "rgba":
            if self.alpha is not None:
                raise UserError(f"--alpha={self.alpha} is for --channels=rgba: give both")
        elif self.encoding == "jpeg":
            raise UserError("--encoding=jpeg holds no opacity: use raw, png or webp")
        elif self.alpha == "from-white" and self.transform not in TRANSFORMS:
            raise UserError(
                f"--transform={self.transform}: margins of --alpha=from-white are transparent: use "
                "--transform=pad-white"
            )

    @property
    def finest_only(self) -> bool:
        """Whether the coarser levels are left out."""
        return (self.levels or ("all" if self.encoding == "raw" else "finest")) == "finest"

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that are asked for, or None."""
        if self.resolution is not None:
            if self.width is not None or self.height is not None:
                raise UserError("--resolution stands for --width and --height: give one or two")
            return self.resolution, self.resolution
        if (self.width is None) != (self.height is None):
            raise UserError("--width and --height belong together: give both")
        return None if self.width is None else (self.height, self.width)
