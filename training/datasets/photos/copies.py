"""Finding pictures that are copies of earlier ones.

Two kinds: exact copies have the same pixels, and are found by a digest; near ones were resized,
compressed again or mirrored, and are found in two steps. Perceptual hashes (imagehash's `phash`, 64
bits) that differ in few bits make candidates, but photos of similar garments in similar places have
similar hashes too; so candidates are compared in color, at 16x16 pixels.

Measured on 3,068 photos of clothing, each pair of them by the better of both sides:

                                   bits that differ    RMS difference / contrast
    100 photos resized, as JPEG    0 to 6              0.00 to 0.06
    of quality 60 to 95, mirrored
    distinct photos                4 and more          0.19 and more

Where pictures have opacity of their own, it is a fourth channel of thumbnails, and hashes are of
colors made lighter over a dark ground, so that products have outlines whatever color they have.

Both limits lie between. By hashes alone 781 pairs of distinct photos would be copies, one of each
6,000 pairs; by both limits none is. The one pair that was found is a photo that is there twice.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import NamedTuple

import imagehash
import numpy as np

from dnnlib.util import printable
from training.datasets.items import Lookup, Rows
from training.datasets.photos.arrays import to_picture
from training.datasets.photos.decode import Fit, Fitted

MAX_DISTANCE = 10  # bits of 64 that hashes of a picture and its copy may differ in
MAX_DIFFERENCE = 0.1  # RMS difference of thumbnails, as a fraction of their contrast
_SIDE, _THUMBNAIL = 64, 16  # pixels; at 32, the smaller decoding of JPEG files shows in hashes
_BLOCK = 1 << 16  # hashes that are compared at once


class ExactCopies:
    """Tells for picture after picture whether an earlier one has the same pixels."""

    FIT = Fit(1, 1, "stretch", digest=True)

    def __init__(self) -> None:
        self._names = Lookup(())

    @staticmethod
    def fingerprint(fitted: Fitted) -> bytes:
        """What is compared, of a picture that was fitted by `FIT`."""
        return fitted.digest

    def find(self, name: str, fingerprint: bytes) -> str | None:
        """Of which earlier picture this is a copy, in words; if of none, later ones may be of it.

        Raises:
            UserError: the folder of temporary files is full.
        """
        key = fingerprint.hex()
        if (earlier := self._names.get(key)) is not None:
            return f"duplicate of {printable(earlier)}"
        self._names.add(key, name)
        return None


@dataclass(frozen=True)
class Fingerprint:
    """A picture, as near copies see it.

    Attributes:
        hash, mirrored_hash: 64 bits.
        thumbnail: uint8 [3 or 4, 16, 16], see `arrays`.
    """

    hash: int
    mirrored_hash: int
    thumbnail: np.ndarray


class Match(NamedTuple):
    """An earlier picture that another one is a near copy of.

    Attributes:
        distance: bits of the hashes that differ.
        number: of the earlier picture, in the order in which they were added.
        is_mirrored: whether one is the mirror image of the other.
    """

    distance: int
    number: int
    is_mirrored: bool


class NearCopies:
    """Tells for picture after picture whether it is nearly an earlier one.

    All have opacity, or none. Every pair of hashes is compared. Takes 8 bytes of memory for each
    picture; names and thumbnails are in temporary files.
    """

    FIT = Fit(_SIDE, _SIDE, "stretch")

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._thumbnails: Rows | None = None  # until there is one, which has their size
        self._names = Lookup(())

    @staticmethod
    def fingerprint(fitted: Fitted) -> Fingerprint:
        """What is compared, of a picture that was fitted by `FIT`, with three channels or four."""
        pixels = fitted.pixels
        step = _SIDE // _THUMBNAIL
        boxes = pixels.reshape(-1, _THUMBNAIL, step, _THUMBNAIL, step)
        thumbnail = np.rint(boxes.mean(axis=(2, 4))).astype(np.uint8)
        return Fingerprint(_hash(pixels), _hash(pixels[:, :, ::-1]), thumbnail)

    def find(self, name: str, fingerprint: Fingerprint) -> str | None:
        """As `ExactCopies.find`."""
        matches = self.matches(fingerprint)
        if not matches:
            self.add(name, fingerprint)
            return None
        distance, number, is_mirrored = min(matches)
        mirrored = ", mirrored" if is_mirrored else ""
        earlier = printable(self._names.get(str(number)))
        return f"near-duplicate of {earlier} (distance {distance}{mirrored})"

    def add(self, name: str, fingerprint: Fingerprint) -> None:
        """Has later pictures compared with this one. Raises as `find`."""
        self._names.add(str(len(self._hashes)), name)
        if self._thumbnails is None:
            self._thumbnails = Rows(fingerprint.thumbnail.size)
        self._thumbnails.append(fingerprint.thumbnail.tobytes())
        self._hashes.append(fingerprint.hash)

    def matches(self, fingerprint: Fingerprint) -> list[Match]:
        """All pictures that were added of which this is a near copy."""
        sides = (
            (False, fingerprint.hash, fingerprint.thumbnail),
            (True, fingerprint.mirrored_hash, fingerprint.thumbnail[:, :, ::-1]),
        )
        return [
            Match(distance, number, is_mirrored)
            for is_mirrored, value, thumbnail in sides
            for distance, number in self._near(value)
            if _are_alike(thumbnail, self._thumbnail(number), distance)
        ]

    def _near(self, value: int) -> list[tuple[int, int]]:
        """(distance, number) of the pictures with hashes near to one."""
        found = []
        hashes = np.frombuffer(self._hashes, np.uint64)
        for start in range(0, len(hashes), _BLOCK):
            distances = np.bitwise_count(hashes[start : start + _BLOCK] ^ np.uint64(value))
            numbers = np.flatnonzero(distances <= MAX_DISTANCE)
            found += zip(distances[numbers].tolist(), (numbers + start).tolist(), strict=True)
        return found

    def _thumbnail(self, number: int) -> np.ndarray:
        row = np.frombuffer(self._thumbnails[number], np.uint8)
        return row.reshape(-1, _THUMBNAIL, _THUMBNAIL)


KINDS = {"exact": ExactCopies, "near": NearCopies}


def fit_to_compare(kind: type[ExactCopies] | type[NearCopies], fit: Fit) -> Fit:
    """How pictures that become images by `fit` are compared.

    Opacity that files have is compared too. That of products that are cut out is not: where the
    pictures are the same, it is.
    """
    channels = 4 if fit.channels == 4 and fit.alpha == "file" else 3
    return replace(kind.FIT, channels=channels, box=fit.box, margin=fit.margin)


def _hash(pixels: np.ndarray) -> int:
    if len(pixels) == 4:  # Over white, white products would be as if they were not there.
        colors, opacity = pixels[:3].astype(np.uint16), pixels[3].astype(np.uint16)
        pixels = ((colors + 2 * opacity) // 3).astype(np.uint8)
    bits = imagehash.phash(to_picture(np.ascontiguousarray(pixels))).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _are_alike(a: np.ndarray, b: np.ndarray, distance: int) -> bool:
    """Whether thumbnails differ by little, measured by the one with less contrast.

    Those without contrast say nothing of what may be too fine or faint for them: they have to be
    the same, and the hashes, which are of larger pictures, too.

    Args:
        a, b: of pictures that may be copies.
        distance: bits of their hashes that differ.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    difference, contrast = np.sqrt(np.square(a - b).mean()), min(_contrast(a), _contrast(b))
    return bool(difference <= MAX_DIFFERENCE * contrast and (contrast > 0 or distance == 0))


def _contrast(thumbnail: np.ndarray) -> float:
    """Standard deviation, of colors and of opacity each, since that of photos is 255 throughout."""
    if len(thumbnail) == 3:
        return float(thumbnail.std())
    return float(np.sqrt((3 * thumbnail[:3].var() + thumbnail[3].var()) / 4))
