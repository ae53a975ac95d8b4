"""What pictures say of themselves: that a network made them, which one, and how to make them again.

In XMP: `Iptc4xmpExt:DigitalSourceType`, which shops and search engines read, by the vocabulary of
the IPTC (https://cv.iptc.org/newscodes/digitalsourcetype); and a record of ours as JSON.

# Deviation: the official code writes pictures without metadata; shops ask for the mark.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from PIL import Image

from dnnlib import UserError, cli, schema
from dnnlib.files import open_regular
from dnnlib.schema import Size
from dnnlib.util import one_line
from training.architecture.precision import name_of_lower
from training.latents.truncation import Centers
from training.pictures import xmp
from training.snapshots import pickles
from training.snapshots.class_names import Class, Mix

SOFTWARE = "stylegan2-products 0.1.0"
_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
# A picture that holds others too, as videos of projections hold the photo that is projected.
_COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "stylegan2": "urn:stylegan2-products:",
}
_MOST_LISTED = 100  # Seeds.
_MOST_OPTIONS = 20_000  # Characters of JSON; more are counted by their hash alone.


@dataclass(frozen=True)
class Record:
    """How a picture was made.

    Attributes:
        software: name and version of what made it.
        network: SHA-256 of the snapshot; None: not known.
        command: of run_generator.py or another script, which makes pictures of this kind.
        file: name of the picture among those that the command makes.
        options: of the command, by the names of its options without dashes.
    """

    software: Annotated[str, Size(100)]
    network: Annotated[str, Size(64)] | None
    command: Annotated[str, Size(40)]
    file: Annotated[str, Size(300)]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Gives pictures their metadata.

    Attributes:
        network: SHA-256 of the snapshot that makes them; None: not known.
        is_kept: whether pictures get metadata at all.
    """

    network: str | None = None
    is_kept: bool = True

    @staticmethod
    def of(snapshot: str, is_kept: bool = True) -> Provenance:
        """For pictures of a snapshot: file, URL or name.

        Raises:
            UserError: it cannot be read.
        """
        return Provenance(pickles.sha256(snapshot) if is_kept else None, is_kept)

    def xmp(
        self, command: str, file: str = "", composite: bool = False, **options: Any
    ) -> bytes | None:
        """The packet of a picture; None if pictures get none.

        The lower precision of the block of `computed_in` that makes it is an option of its own.

        Args:
            command, file, options: see `Record`; options that are None are left out. NumPy's
                numbers and tuples become Python's numbers and lists.
            composite: whether pictures of other origin are part of it.
        """
        if not self.is_kept:
            return None
        options["precision"] = name_of_lower()
        named = {name: _plain(value) for name, value in options.items() if value is not None}
        if len(text := json.dumps(named)) > _MOST_OPTIONS:
            named = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
        return packet(Record(SOFTWARE, self.network, command, file, named), composite)


def packet(record: Record, composite: bool = False) -> bytes:
    """The packet of a picture with a record, see `Provenance.xmp`."""
    return xmp.packet(
        _NAMESPACES,
        {
            "Iptc4xmpExt:DigitalSourceType": _COMPOSITE if composite else _GENERATED,
            "xmp:CreatorTool": record.software,
            "stylegan2:Record": json.dumps(dataclasses.asdict(record)),
        },
    )


# Of whoever does not say which snapshot a generator is of.
UNKNOWN = Provenance()


def read(picture: Image.Image) -> Record | None:
    """The record of a picture that was opened; None if it has none.

    Raises:
        UserError: its metadata are damaged.
    """
    content = xmp.find(picture)
    text = content and xmp.read_property(content, _NAMESPACES["stylegan2"], "Record")
    if not text:
        return None
    try:
        return schema.parse_json(text, Record)
    except UserError as error:
        raise UserError(f"its record is broken, or of a newer version: {error}") from error


def seeds_to_plain(seeds: Sequence[int]) -> list[int] | str:
    """Seeds as a record has them: many by their ranges, as --seeds takes them, like 0-4999,7."""
    if len(seeds) <= _MOST_LISTED:
        return [int(seed) for seed in seeds]
    numbers = np.asarray(seeds)
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def seeds_from_plain(plain: list[int] | str) -> list[int]:
    """The inverse of `seeds_to_plain`.

    Raises:
        UserError: it is something else.
    """
    try:
        seeds = cli.int_list(plain) if isinstance(plain, str) else list(plain)
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UserError(f"seeds: {one_line(error)}") from error
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise UserError("a seed is not one of 0 to 2^32 - 1")
    return seeds


def classes_to_plain(classes: Sequence[Class]) -> list[Any]:
    """Classes as JSON has them: numbers, and [[class, share], …] of a mix."""
    return [[list(p) for p in c.shares] if isinstance(c, Mix) else int(c) for c in classes]


def classes_from_plain(plain: Any) -> list[Class]:
    """The inverse of `classes_to_plain`.

    Raises:
        UserError: it is something else.
    """
    found = schema.parse(list[int | list[tuple[int, float]]], plain, "classes")
    return [Mix(tuple(c)) if isinstance(c, list) else c for c in found]


def truncation_options(psi: float, centers: Centers | None) -> dict[str, Any]:
    """How pictures were truncated, for their record."""
    kind = "global" if centers is None else centers.kind
    clusters = len(centers.points) if kind == "cluster" else None
    return {"truncation_psi": float(psi), "truncation": kind, "clusters": clusters}


def hash_dlatents(dlatents: np.ndarray) -> str:
    """The SHA-256 of w as little-endian float32, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(dlatents, "<f4").tobytes()).hexdigest()


def hash_file(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, range, np.ndarray)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
