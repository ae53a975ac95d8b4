"""What a browser may ask for: checked to the last value before anything is done with it.

The values mean what they mean in the commands; `class_number` is None for what these do without
--class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from dnnlib import UserError
from dnnlib.schema import Range, Size
from training.latents.options import SPACES, WALKS

T = TypeVar("T")
MOST_STEP = 10.0  # Of a slider; the command `edit` takes larger ones.
FILMS = ("webp", "gif", "mp4")
_Seed = Annotated[int, Range(0, 2**32 - 1)]
_Psi = Annotated[float, Range(-2, 2)]
_Class = Annotated[int, Range(0, 1_000_000)] | None
_Text = Annotated[str, Size(200)]
_Side = Annotated[int, Range(1, 32)]


@dataclass(frozen=True)
class PictureRequest:
    """One picture: of a seed or a photo that was projected, changed by steps of directions."""

    seed: _Seed = 0
    psi: _Psi = 0.7
    class_number: _Class = None
    photo: _Text | None = None
    steps: Annotated[dict[_Text, Annotated[float, Range(-MOST_STEP, MOST_STEP)]], Size(1000)] = (
        field(default_factory=dict)
    )


@dataclass(frozen=True)
class GridRequest:
    columns: _Side = 4
    rows: _Side = 2
    seed: _Seed = 0
    psi: _Psi = 0.7
    class_number: _Class = None


@dataclass(frozen=True)
class MixRequest:
    """Style mixing; `col_styles` is empty for the default of the command."""

    row_seeds: _Text
    col_seeds: _Text
    col_styles: _Text = ""
    psi: _Psi = 0.7
    class_number: _Class = None


@dataclass(frozen=True)
class WalkRequest:
    seeds: _Text
    walk: Literal[WALKS] = "spline"
    w_frames: Annotated[int, Range(1, 240)] = 30
    direction: _Text | None = None
    film: Literal[FILMS] = "webp"
    psi: _Psi = 0.7
    class_number: _Class = None


@dataclass(frozen=True)
class PhotoRequest:
    num_steps: Annotated[int, Range(10, 2000)] = 100
    space: Literal[SPACES] = "w"
    class_number: _Class = None


def typed(name: str, parse: Callable[[str], T], text: str) -> T:
    """What the type of a command's option makes of a text.

    Raises:
        UserError: it cannot take it; names the field.
    """
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{name}: {error}") from error
