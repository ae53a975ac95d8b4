"""The files that a projection writes: target, pictures of the way, result, w."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.files import atomic_write
from dnnlib.output import tqdm
from training.datasets.photos.arrays import on_white, save_png, to_picture
from training.pictures import video
from training.pictures.grids import create_image_grid
from training.pictures.provenance import UNKNOWN, Provenance, hash_dlatents


@dataclass(frozen=True)
class Target:
    """An image to project.

    Attributes:
        name: for people.
        prefix: path that the names of its files begin with.
        pixels: [C, H, W], uint8, or floats of -1 to 1.
        label: [label_size]; None: not known.
        is_generated: whether the network made it.
    """

    name: str
    prefix: str
    pixels: np.ndarray
    label: np.ndarray | None
    is_generated: bool = False


class Files(Protocol):
    """The files of one target, which are written while it is projected."""

    def wants(self, step: int) -> bool:
        """Whether it needs the image after a step, counted from 1."""

    def add(self, step: int, image: np.ndarray) -> None:
        """Takes that image, float32 [C, H, W]."""

    def close(self, image: np.ndarray, dlatents: np.ndarray) -> None:
        """Takes what was found: the image, and w [1, num_layers, dlatent_size]."""

    def discard(self) -> None:
        """Removes what is not whole."""


class StepFiles:
    """`PREFIXtarget.png`, `PREFIXstepNNNN.png` of some steps, and `PREFIXdlatents.npz`."""

    def __init__(self, target: Target, steps: set[int], provenance: Provenance):
        self._prefix, self._steps = target.prefix, steps
        self._xmp = provenance.xmp("project")
        save_png(
            _to_picture(target.pixels),
            f"{self._prefix}target.png",
            self._xmp if target.is_generated else None,
        )

    def wants(self, step: int) -> bool:
        return step in self._steps

    def add(self, step: int, image: np.ndarray) -> None:
        save_png(_to_picture(image), f"{self._prefix}step{step:04d}.png", self._xmp)

    def close(self, image: np.ndarray, dlatents: np.ndarray) -> None:
        save_dlatents(f"{self._prefix}dlatents.npz", dlatents)

    def discard(self) -> None:
        pass


class FinalFiles:
    """`PREFIXtarget.png`, `PREFIXproj.png`, `PREFIXdlatents.npz`, and a film `PREFIXproj`."""

    def __init__(self, target: Target, save_video: bool, num_steps: int, provenance: Provenance):
        self._prefix, self._film, self._provenance = target.prefix, None, provenance
        self._target = np.asarray(_to_picture(on_white(target.pixels)).convert("RGB"))
        save_png(_to_picture(target.pixels), f"{self._prefix}target.png")
        if save_video:
            height, width = self._target.shape[:2]
            size, xmp = (2 * width, height), provenance.xmp("project", "proj", composite=True)
            self._film = video.open_video(f"{self._prefix}proj", size, num_steps, xmp)

    def wants(self, step: int) -> bool:
        return self._film is not None

    def add(self, step: int, image: np.ndarray) -> None:
        picture = np.asarray(_to_picture(on_white(image)).convert("RGB"))
        self._film.add(np.concatenate([self._target, picture], axis=1))

    def close(self, image: np.ndarray, dlatents: np.ndarray) -> None:
        xmp = self._provenance.xmp("project", "proj.png", dlatents=hash_dlatents(dlatents[0]))
        save_png(_to_picture(image), f"{self._prefix}proj.png", xmp)
        save_dlatents(f"{self._prefix}dlatents.npz", dlatents)
        if self._film is not None:
            self._film.close()

    def discard(self) -> None:
        if self._film is not None:
            self._film.discard()


class OfficialProjector(Protocol):
    """What `project_with` needs of a projector."""

    num_steps: int

    def start(self, target_images: np.ndarray) -> None: ...

    def step(self) -> object: ...

    def get_cur_step(self) -> int: ...

    def get_images(self) -> np.ndarray: ...


def project_with(
    projector: OfficialProjector, targets: np.ndarray, png_prefix: str, num_snapshots: int
) -> None:
    """Projects images with a projector of the official interface; see `project_image`.

    Args:
        projector: one that has a network.
        targets: [N, C, H, W], floats of -1 to 1, or uint8.
        png_prefix: path that the names of the files begin with.
        num_snapshots: pictures besides the target.
    """

    def save(name: str, images: np.ndarray) -> None:
        grid = create_image_grid(np.asarray(images))
        xmp = None if name == "target" else UNKNOWN.xmp("project")
        save_png(_to_picture(grid), f"{png_prefix}{name}.png", xmp)

    steps = snapshot_steps(projector.num_steps, num_snapshots)
    save("target", targets)
    projector.start(targets)
    with tqdm(total=projector.num_steps, desc="Projecting", unit="step", disable=None) as progress:
        while projector.get_cur_step() < projector.num_steps:
            projector.step()
            progress.update()
            if projector.get_cur_step() in steps:
                save(f"step{projector.get_cur_step():04d}", projector.get_images())


def snapshot_steps(num_steps: int, num_snapshots: int) -> set[int]:
    """The steps that pictures are made of, evenly spaced; the last one is among them."""
    counts = np.linspace(0, num_steps, num_snapshots, endpoint=False, dtype=int)
    return {int(num_steps - count) for count in counts}


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Floats of -1 to 1 as uint8."""
    return np.rint(images * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def save_dlatents(path: str, dlatents: np.ndarray) -> None:
    """Writes an `.npz` with the key `dlatents`, as the ADA repository does."""
    try:
        with atomic_write(path) as file:
            np.savez(file, dlatents=dlatents)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _to_picture(image: np.ndarray) -> Image.Image:
    """A picture of uint8, or of floats of -1 to 1."""
    return to_picture(image if image.dtype == np.uint8 else to_uint8(image))
