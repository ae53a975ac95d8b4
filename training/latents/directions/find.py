"""Finds directions by each method, and measures what they do on pictures they were not found with.

A direction is a step of +1, [num_layers, dlatent_size], to add to w of every layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.latents.directions.boundary import find_boundary
from training.latents.directions.combine import Combination
from training.latents.directions.effects import ROUNDS, Effect, calibrated
from training.latents.directions.files import DirectionInfo
from training.latents.directions.ganspace import principal_components
from training.latents.directions.ridge import RidgeFit, centered
from training.latents.directions.search import LEAST_SAMPLES, Found, Search
from training.latents.directions.sefa import sefa
from training.latents.directions.style_layers import StyleLayer

_ROUNDS = 1  # Of corrections.
_COMPONENTS = 16  # Principal components among the candidates.
_LONGEST = 4.0  # A corrected step may be that many times as long as the first one.
_FAR_OFF = 0.4  # Share that moves the wrong way, and distance from the target, of a failure.
_LABELS = 3  # Attributes that the name of an unsupervised direction tells of.
_LEAST_LABEL = 0.2


def find(
    search: Search,
    method: str,
    names: Sequence[str],
    count: int,
    styles: Sequence[StyleLayer],
    found: Found,
) -> None:
    """Finds directions by a method of `files.METHODS`, one after the other, into `found`.

    Args:
        search: with what.
        method: its name.
        names: attributes, for methods that are for these.
        count: how many, for the others.
        styles: of the network, for SeFa.
        found: gets what is found.
    """
    if method == "ridge":
        ridge_directions(search, names, found)
    elif method == "boundary":
        boundary_directions(search, names, found)
    else:
        unsupervised_directions(search, method, count, styles, found)


def pictures_needed(
    method: str, attributes: int, candidates: int, ranges: int, count: int
) -> tuple[int, int]:
    """How often at most the pictures of (`ground`, `check`) are made, to show progress.

    Args:
        method: see `find`.
        attributes: how many directions are for attributes.
        candidates: attributes whose candidates are tried, those to keep included.
        ranges: of layers.
        count: directions of the other methods.
    """
    if method == "ridge":
        tried = (candidates + _COMPONENTS) * ranges + attributes * (_ROUNDS + 1)
        return tried, attributes
    return (attributes * ROUNDS, attributes) if method == "boundary" else (0, count)


def ridge_directions(search: Search, names: Sequence[str], found: Found) -> None:
    """Directions for attributes, from ridge regression.

    For each attribute and range of layers there is a candidate, the slope of the regression in
    these layers, as long as a predicted standard deviation; so there is for the first 16 principal
    components of w. What candidates do is measured on pictures. A direction is the `Combination`
    of these components and of the candidates of its own attribute and of those to keep that moves
    its own by one standard deviation and these by none, corrected by what it was measured to do.

    Attributes that are only known of given samples cannot be measured on others: their direction
    is the slope, orthogonal to the slopes of those to keep.
    """
    fits, refused = search.fits(search.all_of(names))
    found.refused |= {name: reason for name, reason in refused.items() if name in names}
    measured = [name for name in fits if name in search.ground.names]
    candidates, effects = _candidates(search, fits, measured)
    for name in (name for name in names if name in fits):
        kept = [other for other in search.kept(name) if other in measured]
        if name in measured:
            step = _combined(search, candidates, effects, [name, *kept])
        else:
            others = [fits[other].slope for other in search.kept(name) if other in fits]
            slope = orthogonal(fits[name].slope, others)
            length = float(slope @ fits[name].slope)
            step = search.step(slope * fits[name].sigma / max(length, 1e-12), search.layers)
        effect, lacking = search.checked(name, step)
        _add(found, name, step, kept, effect, lacking, fits[name].sigma, r2=fits[name].r2)


def boundary_directions(search: Search, names: Sequence[str], found: Found) -> None:
    """Directions for attributes, InterFaceGAN's: normals of boundaries, orthogonal to those of the
    attributes to keep (section 3.2).

    They are as long as a standard deviation of the attribute: as measured, or else as predicted by
    a line through the samples along the normal.
    """
    normals: dict[str, tuple[np.ndarray, float]] = {}
    for name in search.all_of(names):
        w, values, _ = search.sampled.of(name)
        if len(values) >= LEAST_SAMPLES and np.std(values) > 0:
            normals[name] = find_boundary(w, values)
        elif name in names:
            found.refused[name] = f"only {len(values)} samples have it, or it is the same in all"
    for name in (name for name in names if name in normals):
        kept = [other for other in search.kept(name) if other in normals]
        normal, accuracy = normals[name]
        normal = orthogonal(normal, [normals[other][0] for other in kept])
        w, values, _ = search.sampled.of(name)
        (variance, covariance), (_, square) = np.cov(w @ normal, values)
        sigma = float(np.sqrt(square))
        if covariance <= 0:
            found.refused[name] = "it does not rise along the normal of its boundary"
            continue
        step = search.step(normal * sigma * variance / covariance, search.layers)
        if name in search.ground.names:
            step = calibrated(search.ground, step, name, len(search.ground.dlatents))
        effect, lacking = search.checked(name, step)
        _add(found, name, step, kept, effect, lacking, sigma, accuracy=accuracy)


def unsupervised_directions(
    search: Search, method: str, count: int, styles: Sequence[StyleLayer], found: Found
) -> None:
    """SeFa's or GANSpace's directions, `sefa-0`, `ganspace-0`, …, with what they do as measured.

    A step of +1 is a standard deviation of w along the direction.

    Args:
        search: with what.
        method: "sefa" or "ganspace".
        count: how many.
        styles: of the network, for SeFa.
        found: gets what is found.
    """
    w = search.sampled.w
    if method == "sefa":
        chosen = [style.matrix for style in styles if style.layer in search.layers]
        vectors = sefa(chosen, min(count, w.shape[1]))
        vectors = vectors * (w @ vectors.T).std(axis=0)[:, np.newaxis]
    else:
        vectors = principal_components(w, min(count, *w.shape))
    for number, vector in enumerate(vectors):
        step = search.step(vector, search.layers)
        effect = search.check.effect(step)
        unit = f"one standard deviation of w along it; {describe(effect)}"
        name = f"{method}-{number}"
        found.arrays[name] = step.astype(np.float32)
        found.infos[name] = DirectionInfo(
            unit=unit,
            layers=search.layers,
            effect=_rounded(effect),
            pictures=effect.pictures,
        )


def orthogonal(vector: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """A vector [D] without its part in the span of others."""
    if not others:
        return vector
    basis, _ = np.linalg.qr(np.stack(others, axis=1))
    return vector - basis @ (basis.T @ vector)


def describe(effect: Effect) -> str:
    """The attributes that move most, like `lightness +0.8, area -0.3`."""
    order = sorted(effect.moved, key=lambda name: -abs(effect.moved[name]))
    large = [name for name in order if abs(effect.moved[name]) >= _LEAST_LABEL][:_LABELS]
    return ", ".join(f"{n} {effect.moved[n]:+.1f}" for n in large) or "no attribute moves much"


def _candidates(search: Search, fits: dict[str, RidgeFit], names: Sequence[str]):
    """Steps by (attribute or "", number), and their effects, [N, A] each."""
    candidates, effects = {}, {}
    ground, sampled = search.ground, search.sampled
    vectors = [(n, fits[n].slope * fits[n].sigma / (fits[n].slope @ fits[n].slope)) for n in names]
    w = centered(sampled.w, sampled.classes)
    components = principal_components(w, min(_COMPONENTS, *w.shape)) if names else []
    vectors += [("", component) for component in components]
    for name, vector in vectors:
        first = len(candidates)
        for number, layers in enumerate(search.ranges, first):
            step = search.step(vector, layers)
            after = ground.measure(ground.dlatents + step.astype(np.float32))
            candidates[name, number] = step
            effects[name, number] = (after - ground.values) / ground.sigmas
    return candidates, effects


def _combined(search: Search, candidates: dict, effects: dict, names: Sequence[str]) -> np.ndarray:
    """The step that moves the first attribute by 1 and the others by 0.

    Where effects do not add up, so that this fails, it is the slope of the attribute itself, scaled
    to what it was measured to do, if that is better.
    """
    ground, own = search.ground, names[0]
    columns = [ground.names.index(name) for name in names]
    chosen = [key for key in candidates if key[0] in ("", *names)]
    steps = np.stack([candidates[key] for key in chosen])
    combination = Combination(np.stack([effects[key][:, columns] for key in chosen], axis=1))
    tried: list[tuple[float, np.ndarray]] = []

    def attempt(step: np.ndarray) -> np.ndarray:
        """What a step moves, [A]; notes how far that is from what it should."""
        effect = ground.effect(step, own)
        moved = np.array([effect.moved.get(name, 0.0) for name in names])
        wrong = 1 - (effect.right or 0.0)
        tried.append((wrong + float(np.linalg.norm(moved - np.eye(len(names))[0])), step))
        return moved

    x = first = combination.factors
    for _ in range(_ROUNDS + 1):
        x = x * min(1.0, _LONGEST * float(np.linalg.norm(first) / max(np.linalg.norm(x), 1e-12)))
        x = combination.corrected(x, attempt(np.tensordot(x, steps, axes=1)))
    if min(off for off, _ in tried) > _FAR_OFF:
        slope = sum(candidates[key] for key in candidates if key[0] == own)
        attempt(calibrated(ground, slope, own, len(ground.dlatents)))
    return min(tried, key=lambda pair: pair[0])[1]


def _add(
    found: Found,
    name: str,
    step: np.ndarray,
    kept: Sequence[str],
    effect: Effect,
    lacking: Sequence[str],
    sigma: float,
    **more: float,
) -> None:
    found.arrays[name] = step.astype(np.float32)
    found.infos[name] = DirectionInfo(
        unit=f"one standard deviation of {name}, {sigma:.4g}",
        layers=np.flatnonzero(np.abs(step).max(axis=1)).tolist(),
        keep=list(kept),
        sigma=sigma,
        effect=_rounded(effect),
        right=effect.right,
        pictures=effect.pictures,
        shortfalls=list(lacking),
        **{key: round(value, 4) for key, value in more.items() if np.isfinite(value)},
    )


def _rounded(effect: Effect) -> dict[str, float]:
    return {name: round(moved, 4) for name, moved in effect.moved.items()}
