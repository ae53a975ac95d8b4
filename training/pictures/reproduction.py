"""Making a picture again from its record."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from dnnlib import UserError, schema, urls
from dnnlib.schema import Range, Size
from dnnlib.tflib import Network
from dnnlib.util import one_line
from training.architecture.precision import computed_in, lower_dtype
from training.datasets.photos.arrays import read_picture, save_png, to_pixels
from training.latents.options import CENTERS, MOST_PSI, TruncationOptions
from training.latents.truncation import find_centers
from training.pictures import generation, provenance
from training.pictures.finishing import KEEP, Finish, finish, on_white
from training.pictures.provenance import Record, seeds_from_plain
from training.snapshots import pickles

_MOST_PICTURES = 10_000
_LOSSLESS = ("PNG",)
_Psi = Annotated[float, Range(-MOST_PSI, MOST_PSI)]
_Seeds = Annotated[list[int], Size(10_000)] | Annotated[str, Size(20_000)]


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What all commands have."""

    precision: Literal["float16", "bfloat16"] | None = None


@dataclass(frozen=True, kw_only=True)
class _Images(_Options):
    """Options of generate-images in a record: of a seed, or of a w."""

    seeds: _Seeds = field(default_factory=list)
    dlatents: Annotated[str, Size(64)] | None = None
    classes: list[Any] = field(default_factory=list)
    truncation_psi: _Psi | None = None
    truncation: Literal[CENTERS] = "global"
    clusters: int = TruncationOptions.clusters
    noise_mode: Literal[generation.NOISE_MODES] = "seed"
    size: tuple[int, int] | None = None
    background: Annotated[str, Size(40)] = KEEP


@dataclass(frozen=True, kw_only=True)
class _Mix(_Options):
    row_seeds: _Seeds
    col_seeds: _Seeds
    col_styles: Annotated[list[int], Size(100)]
    truncation_psi: _Psi
    minibatch_size: Annotated[int, Range(1, 1024)]
    classes: list[Any] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Grid(_Options):
    grid: tuple[Annotated[int, Range(1, 10_000)], Annotated[int, Range(1, 10_000)]]
    seeds: _Seeds
    truncation_psi: _Psi
    truncation: Literal[CENTERS]
    clusters: int = TruncationOptions.clusters
    classes: list[Any] = field(default_factory=list)


def reproduce(
    picture: str,
    network: str,
    out: str,
    dlatents_npz: str | None = None,
    allow_pickled_code: bool = False,
) -> str:
    """Makes a picture again, and writes it as a PNG.

    Args:
        picture: file with a record.
        network: the snapshot that made it: file, URL or name.
        out: path of the PNG.
        dlatents_npz: file with the w of a picture that was made from w.
        allow_pickled_code: see `snapshots.load`.

    Returns:
        A sentence that compares the pixels.

    Raises:
        UserError: the picture has no record, was made by another network, in a way that is not
            repeated here, or cannot be read or written.
    """
    record, pixels, is_lossless = _open(picture)
    content = pickles.read(network)
    check_network(picture, record, network, hashlib.sha256(content).hexdigest())
    if record.command not in _MAKERS:
        raise UserError(
            f"{picture} was made by {one_line(record.command, 40)}, which is not repeated here; "
            f"its record says how: {one_line(record.options, 500)}"
        )
    if record.options.keys() == {"sha256"}:
        raise UserError(
            f"{picture}: its record has only a hash of how it was made, since that is too long: it "
            "cannot be made again"
        )
    networks = pickles.loads(content, urls.show_source(network), allow_pickled_code)
    Gs = pickles.choose_generator(networks, network)
    kind, make = _MAKERS[record.command]
    try:
        options = schema.parse(kind, record.options, "options")
    except UserError as error:
        raise UserError(f"{picture}: its record does not say how it was made: {error}") from error
    if options.precision is not None and options.precision != getattr(lower_dtype(), "name", None):
        raise UserError(
            f"{picture} was made in {options.precision}, which this machine does not compute in"
        )
    scratch = tempfile.TemporaryDirectory(prefix="reproduce.")
    with scratch as folder, computed_in("mixed" if options.precision else "fp32"):
        try:
            made = make(Gs, network, record, options, folder, dlatents_npz)
        except UserError as error:
            raise UserError(f"{picture} cannot be made again: {error}") from error
        again = read_picture(made)
    save_png(again, out, provenance.packet(record))
    new = np.asarray(again if is_lossless else on_white(again))
    return _compared(pixels, new, is_lossless)


def check_network(picture: str, record: Record, network: str, sha256: str) -> None:
    """Raises a UserError if a picture was made by another network than that of a hash."""
    if record.network != sha256:
        made_by = f"SHA-256 {record.network[:12]}…" if record.network else "a network not recorded"
        raise UserError(
            f"{picture} was made by {one_line(made_by, 40)}, and {urls.show_source(network)} is "
            f"{sha256[:12]}…: give the snapshot that made it"
        )


def _open(path: str) -> tuple[Record, np.ndarray, bool]:
    """The record of a picture, its pixels, and whether they are as they were written."""
    picture = read_picture(path)
    if picture.width * picture.height > generation.MOST_PIXELS:
        raise UserError(f"{path} has {picture.width}x{picture.height} pixels, too many")
    try:
        record = provenance.read(picture)
    except UserError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    is_lossless = picture.format in _LOSSLESS
    pixels = np.asarray(picture if is_lossless else on_white(picture))
    if record is None:
        raise UserError(
            f"{path} has no record of how it was made: another program made it or left the record "
            "out, or it was made with --no-metadata"
        )
    return record, pixels, is_lossless


def _make_image(
    Gs: Network, network: str, record: Record, options: _Images, folder: str, npz: str | None
) -> str:
    if options.noise_mode == "random":
        raise UserError("it was made with --noise-mode=random, whose noise nobody knows any more")
    if options.dlatents is not None:
        # Those of an older version name none.
        mode = "const" if options.noise_mode == "seed" else options.noise_mode
        return _make_dlatent(Gs, options.dlatents, folder, npz, mode)
    seeds = seeds_from_plain(options.seeds)
    if len(seeds) != 1 or len(options.classes) > 1 or options.truncation_psi is None:
        raise UserError("its record does not name one seed, one class and their truncation")
    centers = find_centers(Gs, TruncationOptions(options.truncation, options.clusters), network)
    generation.generate_images(
        Gs,
        seeds,
        options.truncation_psi,
        folder,
        provenance.classes_from_plain(options.classes),
        folder,
        options.noise_mode,
        centers,
    )
    path = _only_file(folder)
    how = Finish(options.size, options.background)
    if not how.is_none:
        finished = finish(to_pixels(read_picture(path)), how)
        if finished is None:
            raise UserError("its background cannot be told from the product here")
        save_png(finished, path)
    return path


def _make_dlatent(Gs: Network, sha256: str, folder: str, npz: str | None, noise_mode: str) -> str:
    if npz is None:
        raise UserError("it was made from w: give --dlatents=FILE.npz, the file they are in")
    shape = Gs.components.synthesis.input_shape[1:]
    found = [w for w in generation.read_dlatents(npz, shape) if _is(w, sha256)]
    if not found:
        raise UserError(f"--dlatents={npz}: none of its w made this picture")
    path = os.path.join(folder, "w.npz")
    np.savez(path, dlatents=found[0][np.newaxis])
    pictures = os.path.join(folder, "pictures")
    generation.generate_from_dlatents(Gs, path, folder, pictures, noise_mode=noise_mode)
    return _only_file(pictures)


def _is(w: np.ndarray, sha256: str) -> bool:
    return provenance.hash_dlatents(w) == sha256


def _make_mix(
    Gs: Network, network: str, record: Record, options: _Mix, folder: str, npz: str | None
) -> str:
    row_seeds, col_seeds = (seeds_from_plain(s) for s in (options.row_seeds, options.col_seeds))
    _check_count(Gs, len(row_seeds) * len(col_seeds))
    generation.style_mixing_example(
        Gs,
        row_seeds,
        col_seeds,
        options.truncation_psi,
        options.col_styles,
        folder,
        provenance.classes_from_plain(options.classes),
        folder,
        options.minibatch_size,
    )
    if record.file not in os.listdir(folder):
        raise UserError(f"its record names {one_line(record.file, 60)}, which is none of the mixes")
    return os.path.join(folder, record.file)


def _make_grid(
    Gs: Network, network: str, record: Record, options: _Grid, folder: str, npz: str | None
) -> str:
    seeds = seeds_from_plain(options.seeds)
    _check_count(Gs, options.grid[0] * options.grid[1] * bool(seeds))
    path = os.path.join(folder, "grid.png")
    generation.generate_grid(
        Gs,
        options.grid,
        seeds,
        options.truncation_psi,
        path,
        provenance.classes_from_plain(options.classes),
        find_centers(Gs, TruncationOptions(options.truncation, options.clusters), network),
    )
    return path


# What makes pictures again, by the command in their record.
_MAKERS: Mapping[str, tuple[type, Callable[..., str]]] = {
    "generate-images": (_Images, _make_image),
    "style-mixing-example": (_Mix, _make_mix),
    "generate-grid": (_Grid, _make_grid),
}


def _check_count(Gs: Network, count: int) -> None:
    """Raises a UserError if so many pictures are none, or more than are made in one file."""
    pixels = count * np.prod(Gs.output_shape[2:])
    if not 0 < count <= _MOST_PICTURES or pixels > generation.MOST_PIXELS:
        raise UserError(f"its record names {count} pictures, none or too many to make again")


def _only_file(folder: str) -> str:
    (name,) = os.listdir(folder)
    return os.path.join(folder, name)


def _compared(old: np.ndarray, new: np.ndarray, is_lossless: bool) -> str:
    if old.shape != new.shape:
        return f"the picture has other pixels: {list(old.shape)}, not {list(new.shape)}"
    difference = np.abs(old.astype(int) - new)
    if not difference.any():
        return "all pixels are equal"
    text = f"{np.mean(difference > 0):.2%} of the values differ, by {difference.max()} at most"
    if not is_lossless:
        return f"{text}: the picture was compressed"
    if difference.max() == 1:
        return f"{text}: rounding of another machine or TensorFlow"
    return f"{text}: it was changed, or made in another precision or on another machine"
