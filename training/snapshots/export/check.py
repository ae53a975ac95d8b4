"""Runs exported models without this project, and compares what they make with our own pictures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnnlib import UserError
from dnnlib.tflib import Network
from dnnlib.util import one_line
from training.snapshots.class_names import count_classes

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bare.py")
_ROOT = os.path.abspath(os.path.join(os.path.dirname(_SCRIPT), "../../.."))
# `-I` leaves out the folder of the script, whose modules have names of packages, and also packages
# of this user alone or of PYTHONPATH, where TensorFlow may be.
_START = (
    "import os, runpy, sys; sys.path += sys.argv[1].split(os.pathsep); del sys.argv[:2]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
# Values in [-1, 1] may be off by half of what a level of uint8 is, as rounding to one is.
MOST = 1 / 255
_PSIS = (0.5, 0.7, 1.0)
_LONGEST = 1800.0  # Seconds.


@dataclass(frozen=True)
class Found:
    """How near an exported model is.

    Attributes:
        difference: the largest of values in about [-1, 1], where they reach further of [-1, 1]
            scaled to them.
        programs: what ran it.
    """

    difference: float
    programs: str


def run_bare(*args: str) -> None:
    """Runs the script `bare` in a Python that sees installed packages and nothing else.

    Raises:
        UserError: it fails; says how.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _START, os.pathsep.join(_packages()), _SCRIPT, *args],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=tempfile.gettempdir(),
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"it takes more than {_LONGEST / 60:g} minutes") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in reversed(lines) if "Error" in line), (lines or ["?"])[-1])
        raise UserError(one_line(why, 300))


def _packages() -> list[str]:
    """Where this process finds packages; not the checkout of the project."""
    return [path for path in sys.path if path and os.path.abspath(path) != _ROOT]


def compare(Gs: Network, kind: str, folder: str) -> Found:
    """Compares a model that was written with the generator that it is of.

    Args:
        Gs: the generator.
        kind: a format, as `bare` knows it.
        folder: of the model.

    Raises:
        UserError: it does not run, or makes other pictures.
    """
    given = inputs(Gs)
    ours, our_w = pictures(Gs, given)
    with tempfile.TemporaryDirectory() as scratch:
        source, target = (os.path.join(scratch, name) for name in ("in.npz", "out.npz"))
        np.savez(source, **given)
        run_bare(f"run-{kind}", folder, source, target)
        with np.load(target, allow_pickle=False) as file:
            made = dict(file)
    return judge(made, ours, our_w)


def judge(made: dict[str, np.ndarray], ours: np.ndarray, our_w: np.ndarray) -> Found:
    """What the arrays that `bare` writes are worth.

    Args:
        made: by the exported model.
        ours: float32 [N, H, W, C].
        our_w: float32 [N, num_layers, dlatent_size].

    Raises:
        UserError: they are of other shapes, or too far off.
    """
    levels = np.floor(np.clip(ours * 127.5 + 128, 0, 255))
    parts = {
        "w": (made["w"], our_w, 2 * MOST),
        "values": (made["values"], ours, MOST),
        "images": (made["images"], levels, 1),
        "images of w": (made["w_images"], levels, 1),
        "the first image alone": (made["first"], levels[:1], 1),
    }
    for i in range(len(ours)):
        if f"png{i}" in made:
            picture = np.asarray(Image.open(io.BytesIO(made[f"png{i}"].tobytes())))
            parts[f"png {i}"] = (picture.reshape(ours[i].shape), levels[i], 1)
    for name, (found, expected, most) in parts.items():
        if found.shape != expected.shape:
            raise UserError(f"{name} has shape {list(found.shape)}, not {list(expected.shape)}")
        scale = max(1.0, float(np.abs(expected).max())) if most < 1 else 1.0
        if not (off := _largest(found, expected)) <= most * scale:
            raise UserError(f"{name} is up to {off:.2g} from our own, more than {most * scale:.2g}")
    scale = max(1.0, float(np.abs(ours).max()))
    return Found(_largest(made["values"], ours) / scale, str(made["programs"]))


def inputs(Gs: Network) -> dict[str, np.ndarray]:
    """Latents of three pictures, with labels of the first and the last class and of a mix."""
    count = len(_PSIS)
    z = np.random.RandomState(0).randn(count, Gs.input_shape[1])
    given = {"z": z.astype(np.float32), "psi": np.asarray(_PSIS, np.float32)}
    if size := count_classes(Gs):
        labels = np.zeros([count, size], np.float32)
        labels[0, 0] = labels[1, -1] = 1
        labels[2] = 1 / size
        given["labels"] = labels
    return given


def pictures(Gs: Network, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(values [N, H, W, C], w) of `inputs`, of the generator as all commands use it, in float32."""
    labels = given.get("labels", np.zeros([len(given["z"]), 0], np.float32))
    options = {"randomize_noise": False, "return_dlatents": True}
    if "num_fp16_res" in Gs.static_kwargs:
        options["num_fp16_res"] = 0
    made = [
        Gs.run(given["z"][i : i + 1], labels[i : i + 1], truncation_psi=float(psi), **options)
        for i, psi in enumerate(given["psi"])
    ]
    images, w = (np.concatenate(column) for column in zip(*made, strict=True))
    return images.transpose(0, 2, 3, 1), w


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found.astype(np.float64) - expected).max())
