"""Starting a run from the weights of a snapshot (`--resume=FILE`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training import snapshots

_NAMES = ("G", "D", "Gs")
_RESOLUTION = re.compile(r"(?:^|/)(\d+)x\d+/")
_NOISE = re.compile(r"(?:^|/)noise\d+$")
# Networks that share only their coarsest levels have hardly learned anything from each other.
_COARSE = 16
_MIN_SHARE = 0.5
# Layers that growing networks count from the finest level.
_FROM_FINEST = re.compile(r"(?<=RGB_lod)\d+")


@dataclass
class Transfer:
    """What became of a network's variables.

    Attributes:
        values: {name: array} to set, copied or adapted.
        adapted: names of those that had another shape.
        new: names of those that the snapshot does not have, or in a shape that does not fit.
        unused: names that only the snapshot has.
        share: part of the parameters that was copied or adapted, 0 to 1; noise does not count.
        variable_share: the same of the variables up to the snapshot's resolution: kernels are most
            of the parameters, but without the styles between them they are of no use.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    adapted: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    share: float = 0.0
    variable_share: float = 0.0

    @property
    def is_coarse_only(self) -> bool:
        """Whether there are levels above 16×16, and nothing was copied there."""
        above = [n for n in (*self.values, *self.new) if _level(n) > _COARSE]
        return bool(above) and not any(_level(name) > _COARSE for name in self.values)


def read_weights(path: str) -> dict[str, dict[str, np.ndarray]]:
    """The variables of a snapshot, {"G": …, "D": …, "Gs": …}; of a single generator "Gs" alone.

    Args:
        path: file, URL or name, see `snapshots.load`.

    Raises:
        UserError: as `snapshots.load`.
    """
    with tflib.graph_session():
        loaded = snapshots.load(path)
        if isinstance(loaded, tuple):
            networks = dict(zip(_NAMES, loaded, strict=True))
        else:
            networks = {"Gs": snapshots.load_generator(path)}
        return {name: tflib.run(network.vars) for name, network in networks.items()}


def transfer(
    weights: Mapping[str, Mapping[str, np.ndarray]],
    networks: Mapping[str, Network],
    allow_partial: bool = False,
) -> None:
    """Sets the variables of networks to those of a snapshot as far as they fit; prints a table.

    Variables that differ in size because of labels are adapted: inputs that are new keep their
    initial weights, and the output of StyleGAN2's discriminator is shared by all classes. That of
    ADA's is of another kind with labels, and starts anew.

    Args:
        weights: as from `read_weights`.
        networks: {"G": …, "D": …, "Gs": …} of the run.
        allow_partial: go on even if hardly anything fits.

    Raises:
        UserError: hardly anything fits, so that the run would start from scratch unnoticed.
    """
    sources = {**weights, "G": weights.get("G", weights["Gs"])}
    results = {}
    for name, network in networks.items():
        results[name] = match(sources.get(name, {}), tflib.run(network.vars))
    _print_table(results)
    for name, result in results.items():
        if allow_partial or (name == "D" and name not in sources):
            continue
        share, what = result.share, "parameters"
        if name != "D":  # Which has new layers for labels, and nothing between its kernels.
            share, what = min((share, what), (result.variable_share, "variables"))
        if result.is_coarse_only or share < _MIN_SHARE:
            raise UserError(
                f"--resume: only {share:.0%} of the {what} of {name} fit, "
                f"{'nothing above 16x16, ' if result.is_coarse_only else ''}as in networks of "
                "another architecture or size: choose the snapshot's own --config, --fmap-base and "
                "so on, or go on with --resume-partial"
            )
    for name, network in networks.items():
        tflib.set_vars({network.vars[n]: v for n, v in results[name].values.items()})


def match(source: Mapping[str, np.ndarray], target: Mapping[str, np.ndarray]) -> Transfer:
    """What a network can take from another one.

    Args:
        source: variables of the snapshot.
        target: variables of the network, as they are initialised.
    """
    source = _align_levels(source, target)
    result = Transfer(unused=[name for name in source if name not in target])
    total = copied = 0
    finest = max(map(_level, source), default=0)
    counted = [n for n in target if not _NOISE.search(n) and _level(n) <= finest]
    for name, initial in target.items():
        size = 0 if _NOISE.search(name) else initial.size
        total += size
        value = source.get(name)
        if value is not None and value.shape != initial.shape:
            value = _adapt(name, source, target)
            if value is not None:
                result.adapted.append(name)
        if value is None:
            result.new.append(name)
        else:
            result.values[name] = value.astype(initial.dtype)
            copied += size
    result.share = copied / max(total, 1)
    result.variable_share = sum(name in result.values for name in counted) / max(len(counted), 1)
    return result


def _align_levels(
    source: Mapping[str, np.ndarray], target: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """`source` with the layers that are counted from the finest level named as in `target`."""
    finest, wanted = (max(map(_level, names), default=0) for names in (source, target))
    if not finest or not wanted:
        return dict(source)
    shift = wanted.bit_length() - finest.bit_length()
    aligned = {}
    for name, value in source.items():
        found = _FROM_FINEST.search(name)
        number = int(found[0]) + shift if found else 0
        aligned[_FROM_FINEST.sub(str(number), name)] = value  # Below 0: levels the target lacks.
    return aligned


def _adapt(
    name: str,
    source: Mapping[str, np.ndarray],
    target: Mapping[str, np.ndarray],
) -> np.ndarray | None:
    """A variable for another number of labels; None if it is none of those that depend on it."""
    value, initial = source[name], target[name]
    layer = "/".join(name.split("/")[-2:])
    if layer == "Dense0/weight" and "mapping" in name and value.shape[1] == initial.shape[1]:
        # Latents come first, then labels. Weights are scaled by the number of inputs when used.
        rows = min(len(value), len(initial))
        scale = np.sqrt(len(initial) / len(value), dtype=value.dtype)
        return np.concatenate([value[:rows] * scale, initial[rows:]])
    by_class = not any("LabelEmbed" in other for other in (*source, *target))
    sizes = value.shape[-1], initial.shape[-1]
    fits = value.shape[:-1] == initial.shape[:-1] and 1 in sizes
    if layer in ("Output/weight", "Output/bias") and by_class and fits:
        # A score for each class, or one for all. ADA's output is something else.
        return np.repeat(value.mean(axis=-1, keepdims=True), sizes[1], axis=-1)
    return None


def _level(name: str) -> int:
    found = _RESOLUTION.search(name)
    return int(found[1]) if found else 0


def _print_table(results: Mapping[str, Transfer]) -> None:
    print("Weights of the snapshot:")
    print(f"  {'':4} {'copied':>8} {'adapted':>8} {'new':>8} {'unused':>8} {'parameters':>11}")
    for name, result in results.items():
        copied = len(result.values) - len(result.adapted)
        print(
            f"  {name:4} {copied:8} {len(result.adapted):8} {len(result.new):8} "
            f"{len(result.unused):8} {result.share:11.1%}"
        )
    for name, result in results.items():
        for what in ("adapted", "new", "unused"):
            names = getattr(result, what)
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                print(f"  {name}, {what}: {', '.join(names[:4])}{more}")
