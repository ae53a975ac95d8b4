"""Directions in files: `NAME.npz` with the arrays, `NAME.json` with what is known about them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from dnnlib import UserError
from dnnlib.files import atomic_write, open_regular
from dnnlib.npz import read_arrays
from dnnlib.schema import Range, Size, read_json
from dnnlib.util import did_you_mean, one_line

if TYPE_CHECKING:
    from training.snapshots.pickles import Subject

METHODS = ("ridge", "boundary", "sefa", "ganspace")
_MAX_BYTES = 1 << 30
_Name = Annotated[str, Size(200)]
_Number = float
_Count = Annotated[int, Range(0, 1 << 31)]


@dataclass(frozen=True)
class DirectionInfo:
    """What is known about a direction.

    Attributes:
        unit: what a step of +1 is, in words.
        layers: that it changes.
        keep: attributes that it was made to leave alone.
        r2: of the regression, on samples that were held out.
        accuracy: of a boundary, on samples that were held out.
        sigma: standard deviation of the attribute, which a step of +1 is meant to add.
        effect: measured mean change of attributes by a step of +1, in standard deviations.
        right: part of the pictures whose attribute rises.
        pictures: on which that was measured.
        shortfalls: what it lacks; none: it does what it should.
    """

    unit: Annotated[str, Size(200)]
    layers: Annotated[list[Annotated[int, Range(0, 1000)]], Size(1000)]
    keep: Annotated[list[_Name], Size(1000)] = field(default_factory=list)
    r2: _Number | None = None
    accuracy: _Number | None = None
    sigma: _Number | None = None
    effect: Annotated[dict[str, _Number], Size(10_000)] = field(default_factory=dict)
    right: Annotated[float, Range(0, 1)] | None = None
    pictures: _Count = 0
    shortfalls: Annotated[list[Annotated[str, Size(1000)]], Size(10_000)] = field(
        default_factory=list
    )


@dataclass(frozen=True)
class DirectionsInfo:
    """What is known about a file of directions.

    Attributes:
        network_sha256: of the snapshot that they are of.
        network: its name, for people.
        arrays_sha256: of the .npz.
        num_layers, dlatent_size: of the network.
        truncation_psi, samples: of the pictures that they were found with.
        clean: part of these with a clean background.
        sigmas: standard deviations of attributes, the unit of `effect`.
        refused: attributes that no direction was made for, and why.
    """

    network_sha256: Annotated[str, Size(64)]
    network: Annotated[str, Size(4096)]
    method: Literal["ridge", "boundary", "sefa", "ganspace"]
    num_layers: Annotated[int, Range(1, 1000)]
    dlatent_size: Annotated[int, Range(1, 1 << 16)]
    truncation_psi: float
    samples: _Count
    clean: Annotated[float, Range(0, 1)]
    sigmas: Annotated[dict[str, _Number], Size(10_000)]
    directions: Annotated[dict[str, DirectionInfo], Size(10_000)]
    refused: Annotated[dict[str, str], Size(10_000)] = field(default_factory=dict)
    arrays_sha256: Annotated[str, Size(64)] = ""
    format: Literal[1] = 1


@dataclass(frozen=True)
class Directions:
    """Directions of a network: arrays float32 [num_layers, dlatent_size], each a step of +1."""

    info: DirectionsInfo
    arrays: Mapping[str, np.ndarray]


def json_path(path: str) -> str:
    """The JSON beside an `.npz`."""
    return os.path.splitext(path)[0] + ".json"


def save(path: str, directions: Directions) -> None:
    """Writes the `.npz`, then the JSON, which holds the checksum of the former.

    Raises:
        UserError: a file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.float32(a) for name, a in directions.arrays.items()})
    content = buffer.getvalue()
    info = dataclasses.replace(directions.info, arrays_sha256=_sha256(content))
    try:
        with atomic_write(path) as file:
            file.write(content)
        with atomic_write(json_path(path), "w") as file:
            json.dump(dataclasses.asdict(info), file, indent=1, ensure_ascii=False)
            file.write("\n")
    except OSError as error:
        raise UserError(f"cannot write {error.filename or path}: {error.strerror}") from error


def load(path: str) -> Directions:
    """Reads both files, within limits.

    Raises:
        UserError: one is missing, damaged, or not of the other.
    """
    info = _read_info(json_path(path))
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                raise UserError(f"it has more than {_MAX_BYTES:,} bytes")
            content = file.read()
        arrays = dict(read_arrays(io.BytesIO(content)))
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from error
    if _sha256(content) != info.arrays_sha256:
        raise UserError(f"{path} is not the one that {json_path(path)} is about: find both anew")
    shape = (info.num_layers, info.dlatent_size)
    for name, array in arrays.items():
        if name not in info.directions or array.shape != shape or array.dtype != np.float32:
            raise UserError(
                f"{path}: {one_line(name, 60)} is {array.dtype} {list(array.shape)}, expected a "
                f"direction of {json_path(path)}, float32 {list(shape)}"
            )
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {one_line(name, 60)} is not finite")
    if missing := [name for name in info.directions if name not in arrays]:
        raise UserError(f"{path} has no array {one_line(missing[0], 60)}")
    return Directions(info, arrays)


def check_network(directions: Directions, path: str, subject: Subject) -> None:
    """Raises a UserError if directions are not of the network of a snapshot."""
    network, sha256 = subject.network, subject.sha256
    if directions.info.network_sha256 != sha256:
        raise UserError(
            f"{path} has directions of another network, {one_line(directions.info.network, 100)} "
            f"(SHA-256 {directions.info.network_sha256[:12]}…), and {network} is {sha256[:12]}…: "
            "find them anew with run_generator.py directions"
        )
    found = [directions.info.num_layers, directions.info.dlatent_size]
    expected = list(subject.Gs.components.synthesis.input_shape[1:])
    if found != expected:  # Nothing of ours writes that.
        raise UserError(f"{path} has directions {found}, and w of {network} are {expected}")


def find_direction(directions: Directions, path: str, name: str) -> np.ndarray:
    """The array of a direction.

    Raises:
        UserError: there is none of that name, or it was refused; says why.
    """
    info = directions.info
    if name in info.refused:
        raise UserError(f"--set: {path} has no direction for {name}: {info.refused[name]}")
    if name not in directions.arrays:
        hint = did_you_mean(name, directions.arrays)
        names = ", ".join(directions.arrays)
        raise UserError(f"--set: no direction {one_line(name, 60)!r} in {path}: {hint}use {names}")
    return directions.arrays[name]


def _read_info(path: str) -> DirectionsInfo:
    try:
        return read_json(path, DirectionsInfo, max_bytes=16 << 20)
    except (OSError, UserError) as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(error)
