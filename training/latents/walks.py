"""Closed ways through Z, W, labels and noise, for videos that loop.

A path is a function of times [T], 0 to 1, to values [T, …]; at 1 it is where it was at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from dnnlib import UserError, npz, tflib
from dnnlib.tflib import Network
from dnnlib.util import one_line
from training.latents.noise_maps import noise_variables
from training.latents.options import WalkOptions, split_direction
from training.latents.truncation import Centers

Path = Callable[[np.ndarray], np.ndarray]


def spline(keys: np.ndarray) -> Path:
    """Through keyframes [K, …] and back to the first: a periodic cubic spline."""
    knots = np.linspace(0, 1, len(keys) + 1)
    return CubicSpline(
        knots, np.concatenate([keys, keys[:1]]), bc_type="periodic", extrapolate=False
    )


def arcs(keys: np.ndarray) -> Path:
    """Through keyframes [K, …, size] and back, from each to the next by spherical interpolation.

    sin((1-t)·Ω)/sin Ω · p + sin(t·Ω)/sin Ω · q, with Ω the angle between p and q ("Sampling
    Generative Networks", White 2016, section 2.1); a line where they have one direction.
    """
    keys = np.asarray(keys, np.float64)

    def at(times: np.ndarray) -> np.ndarray:
        first, second, t = _between(keys, times)
        norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
        cosine = np.sum(first * second, axis=-1) / np.maximum(norms, 1e-30)
        angle = np.arccos(np.clip(cosine, -1, 1))[..., np.newaxis]
        is_line = np.sin(angle) < 1e-6
        sine = np.where(is_line, 1, np.sin(angle))
        left = np.where(is_line, 1 - t, np.sin((1 - t) * angle) / sine)
        right = np.where(is_line, t, np.sin(t * angle) / sine)
        return left * first + right * second

    return at


def eased(keys: np.ndarray) -> Path:
    """Through keyframes [K, …] and back, by lines, slowly near each: t becomes ½ - ½·cos(π·t)."""

    def at(times: np.ndarray) -> np.ndarray:
        first, second, t = _between(np.asarray(keys), times)
        share = 0.5 - 0.5 * np.cos(np.pi * t)
        return (1 - share) * first + share * second  # Exact at both ends.

    return at


def there_and_back(low: float, high: float) -> Path:
    """Numbers [T]: low at 0, high at ½, slowly near both."""
    return lambda times: low + (high - low) * (0.5 - 0.5 * np.cos(2 * np.pi * np.asarray(times)))


def circle(first: np.ndarray, second: np.ndarray) -> Path:
    """cos(2π·t)·first + sin(2π·t)·second: of two of normal numbers, all on the way are."""

    def at(times: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * _column(times, first.ndim)
        return np.cos(angle) * first + np.sin(angle) * second

    return at


@dataclass(frozen=True)
class Walk:
    """A closed way of pictures.

    Attributes:
        num_frames: of the whole way.
        dlatents: path of w, float [T, pictures, num_layers, dlatent_size].
        noise: paths of the noise inputs by the names of their variables; none: they stay.
    """

    num_frames: int
    dlatents: Path
    noise: dict[str, Path]

    def frames(self, Gs: Network, frames_at_once: int, minibatch_size: int) -> Iterator[np.ndarray]:
        """Images uint8 [pictures, C, H, W] of each frame in turn.

        Args:
            Gs: the generator; it is left with the noise inputs of the last frame.
            frames_at_once: of which w are made together.
            minibatch_size: images that are made together.
        """
        synthesis = Gs.components.synthesis
        frames_at_once = 1 if self.noise else frames_at_once
        for begin in range(0, self.num_frames, frames_at_once):
            times = np.arange(begin, min(begin + frames_at_once, self.num_frames)) / self.num_frames
            w = self.dlatents(times)
            if self.noise:
                paths = {synthesis.vars[name]: path for name, path in self.noise.items()}
                tflib.set_vars({variable: path(times)[0] for variable, path in paths.items()})
            images = synthesis.run(
                _flat(w),
                randomize_noise=False,
                output_transform={"func": tflib.convert_images_to_uint8},
                minibatch_size=minibatch_size,
            )
            yield from _unflat(images, w)


def make_walk(
    Gs: Network,
    options: WalkOptions,
    labels: np.ndarray,
    centers: Centers,
    direction: np.ndarray | None = None,
) -> Walk:
    """The way that options describe.

    Args:
        Gs: a generator.
        options: which way.
        labels: float [keyframes, pictures, label_size]; of the kind "class" the labels are the
            keyframes.
        centers: what truncation draws w to; between keyframes it moves as labels do.
        direction: [num_layers, dlatent_size], for the kind "direction".

    Raises:
        UserError: a walk through noise of a network without.
    """
    seeds, psi = options.keyframe_seeds, options.psi
    states = {seed: np.random.RandomState(seed) for seed in dict.fromkeys(seeds.ravel())}
    drawn = {seed: state.randn(*Gs.input_shape[1:]) for seed, state in states.items()}
    z = np.stack([[drawn[seed] for seed in row] for row in seeds])  # [keyframes, pictures, size]
    if options.kind == "class":
        z = np.repeat(z, len(labels), axis=0)
    w = _mapped(Gs, z, labels)
    middle = _unflat(centers.of(_flat(w), _flat(labels)), w)
    fixed = middle + (w - middle) * np.float32(psi)

    num_frames, noise = options.w_frames * len(z), {}
    if options.kind == "spline":
        path = spline(fixed)
    elif options.kind in ("slerp", "class"):
        z_path, label_path, middle_path = arcs(z), eased(labels), eased(middle)

        def path(times: np.ndarray) -> np.ndarray:
            center = middle_path(times)
            return center + (_mapped(Gs, z_path(times), label_path(times)) - center) * psi

    elif options.kind == "truncation":
        psi_path = there_and_back(*options.limits)

        def path(times: np.ndarray) -> np.ndarray:
            return middle + (w - middle) * _column(psi_path(times), w[0].ndim)

    elif options.kind == "direction":
        step_path = there_and_back(*options.limits)

        def path(times: np.ndarray) -> np.ndarray:
            return fixed + direction * _column(step_path(times), w[0].ndim)

    else:

        def path(times: np.ndarray) -> np.ndarray:
            return np.repeat(fixed, len(times), axis=0)

        # The first frame has the noise of the seed, as pictures of seeds do.
        rnd, maps = states[seeds[0, 0]], noise_variables(Gs.components.synthesis)
        if not maps:
            raise UserError("--walk=noise: the network has no noise inputs")
        shapes = {name: tflib.shape_to_list(v.shape) for name, v in maps.items()}
        first, second = ({n: rnd.randn(*s) for n, s in shapes.items()} for _ in range(2))
        noise = {name: circle(first[name], second[name]) for name in shapes}
    return Walk(num_frames, path, noise)


def read_direction(path: str, num_layers: int, size: int) -> np.ndarray:
    """A step in W, float32 [num_layers, size].

    Args:
        path: an `.npz` with an array `direction`, [num_layers, size] or [size] for all layers; or
            with two w, [2, num_layers, size] `dlatents` or `w`, from the first to the second; or
            `FILE.npz:NAME` for another array of it, like those of `directions.files`.
        num_layers, size: of the w of the network.

    Raises:
        UserError: it cannot be read, or does not fit.
    """
    file, name = split_direction(path)
    arrays = npz.read_option("--direction", file)
    pair = arrays.get("dlatents", arrays.get("w", np.zeros(0)))
    if name == "direction" not in arrays and pair.shape == (2, num_layers, size):
        arrays[name] = pair[1] - pair[0]
    if name not in arrays and name != "direction":
        raise UserError(f"--direction={path}: its arrays are {', '.join(map(one_line, arrays))}")
    found = arrays.get(name, np.zeros(0))
    if found.dtype.kind != "f" or found.shape not in ((num_layers, size), (size,)):
        raise UserError(
            f"--direction={path}: expected an array {name} of floats [{num_layers}, {size}] or "
            f"[{size}], or two w, dlatents [2, {num_layers}, {size}]"
        )
    if not np.isfinite(found).all():
        raise UserError(f"--direction={path}: its numbers are not finite")
    return np.broadcast_to(found.astype(np.float32), (num_layers, size))


def _mapped(Gs: Network, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """w [N, pictures, num_layers, dlatent_size] of z and labels [N, pictures, …]."""
    return _unflat(Gs.components.mapping.run(_flat(z), _flat(labels)), z)


def _flat(values: np.ndarray) -> np.ndarray:
    """[N, pictures, …] as [N·pictures, …]."""
    return values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])


def _unflat(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The inverse of `_flat`, with as many pictures as `like`."""
    return values.reshape(*like.shape[:2], *values.shape[1:])


def _between(keys: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(keyframe before each time, the one after it, part of the way between them, [T, 1, …])."""
    place = np.asarray(times) * len(keys)
    index = np.minimum(place.astype(int), len(keys) - 1)
    t = _column(place - index, keys[0].ndim)
    return keys[index], keys[(index + 1) % len(keys)], t


def _column(values: np.ndarray, dimensions: int) -> np.ndarray:
    """[T] as [T, 1, …] with so many more dimensions."""
    return np.reshape(values, [-1] + [1] * dimensions)
