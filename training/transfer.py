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
_WEIGHT = re.compile(r"/(?:weight|bias)$")
_NOISE = re.compile(r"(?:^|/)noise\d+$")
# Networks that share no finer level have hardly learned anything from each other.
_COARSE = 16
# Layers that growing networks count from the finest level.
_FROM_FINEST = re.compile(r"(?<=RGB_lod)-?\d+")
_COLOUR = re.compile(r"(?:To|From)RGB$")  # Architectures but `skip` have them at the finest level.
# The output of the discriminators of StyleGAN2 and of StyleGAN.
_OUTPUT = re.compile(r"^(?:Output|4x4/Dense1)/(?:weight|bias)$")
_LABELS = re.compile(r"(?:^|/)(?:LabelConcat|LabelEmbed)/")
# Layers whose existence or size depends on labels, on the shape of images, on a --cmethod.
_ADAPTABLE = re.compile(
    r"(?:^|/)(?:LabelConcat|LabelEmbed|Mapping\d+|Output|4x4/Const|4x4/Dense0|FromRGB/Bits)$"
)
_MAX_NAMED = 4  # variables in a list


@dataclass(frozen=True)
class Weights:
    """The weights of a network, and what they do not tell of themselves.

    Attributes:
        values: {name: array}.
        score_max: scores of a discriminator, see `training.networks.D_main`.
    """

    values: Mapping[str, np.ndarray]
    score_max: int = 1

    @classmethod
    def of(cls, network: Network) -> Weights:
        """Those that a network has in the current session."""
        return cls(tflib.run(network.vars), network.static_kwargs.get("score_max", 1))


@dataclass
class Transfer:
    """What became of a network's variables.

    Attributes:
        values: {name: array} to set, copied or adapted.
        adapted: names of those that had another shape.
        new: names of those that the snapshot does not have, or in a shape that does not fit.
        unused: names that only the snapshot has.
        misfits: layers that are new or unused though neither labels nor the resolution are why.
        share: part of the parameters that was copied or adapted, 0 to 1; noise does not count.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    adapted: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    share: float = 0.0


def read_weights(path: str) -> dict[str, Weights]:
    """The weights of a snapshot, {"G": …, "D": …, "Gs": …}; of a single generator "Gs" alone.

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
        return {name: Weights.of(network) for name, network in networks.items()}


def transfer(
    weights: Mapping[str, Weights],
    networks: Mapping[str, Network],
    allow_partial: bool = False,
) -> None:
    """Sets the variables of networks to those of a snapshot as far as they fit; prints a table.

    Variables that differ in size because of labels are adapted: what the generator makes of a
    latent does not depend on labels that are new until it has learned them, and the output of
    StyleGAN2's discriminator is shared by all classes. That of ADA's is of another kind with
    labels, and starts anew.

    Args:
        weights: as from `read_weights`.
        networks: {"G": …, "D": …, "Gs": …} of the run.
        allow_partial: go on whatever fits.

    Raises:
        UserError: the networks are of another architecture or size, so that what is left of the
            snapshot would be of no use.
    """
    sources = {**weights, "G": weights.get("G", weights["Gs"])}
    results = {}
    for name, network in networks.items():
        results[name] = match(sources.get(name, Weights({})), Weights.of(network))
    _print_table(results)
    if "D" in networks and (frozen := _frozen(networks["D"], results["D"])):
        print(f"Warning: --freezed: {frozen} is not in the snapshot, and stays random as it is")
    for name, result in results.items():
        if name in sources and not allow_partial:
            _check(name, sources[name], result)
    for name, network in networks.items():
        tflib.set_vars({network.vars[n]: v for n, v in results[name].values.items()})


def match(source: Weights, target: Weights) -> Transfer:
    """What a network can take from another one.

    Args:
        source: of the snapshot.
        target: of the network, as it is initialised.
    """
    source = _align_levels(source, target)
    result = Transfer(unused=[name for name in source.values if name not in target.values])
    total = copied = 0
    for name, initial in target.values.items():
        size = 0 if _NOISE.search(name) else initial.size
        total += size
        value = source.values.get(name)
        scores = (w.score_max if _OUTPUT.search(name) else 1 for w in (source, target))
        if value is not None and (value.shape != initial.shape or len(set(scores)) > 1):
            value = _adapt(name, source, target)
            if value is not None:
                result.adapted.append(name)
        if value is None:
            result.new.append(name)
        else:
            result.values[name] = value.astype(initial.dtype)
            copied += size
    result.share = copied / max(total, 1)
    result.misfits = _misfits(source, target, result)
    return result


def _check(name: str, source: Weights, result: Transfer) -> None:
    """Raises a UserError if what a network takes from a snapshot is of no use to it."""
    if result.misfits:
        more = f" and {len(result.misfits) - 2} more" if len(result.misfits) > 2 else ""
        raise UserError(
            f"--resume: {name} of the snapshot is of another architecture or size: "
            f"{', '.join(result.misfits[:2])}{more}; choose the snapshot's own --config, "
            "--mapping-layers, --fmap-base and so on, or go on with --resume-partial"
        )
    # One more level is what networks that grow get too.
    known, wanted = _finest(source), max(map(_level, (*result.values, *result.new)), default=0)
    if known <= _COARSE and wanted > 2 * known:
        raise UserError(
            f"--resume: {name} of the snapshot ends at {known}x{known}, {wanted}x{wanted} would be "
            "learned almost from scratch: take a finer snapshot, or go on with --resume-partial"
        )


def _frozen(D: Network, result: Transfer) -> str | None:
    """A layer that is neither copied nor learned."""
    return next(
        (_layer(n) for n in result.new if n not in D.trainables and _WEIGHT.search(n)), None
    )


def _misfits(source: Weights, target: Weights, result: Transfer) -> list[str]:
    """What is new or unused though neither labels nor the resolution are why, in words."""
    finest = {True: _finest(source), False: _finest(target)}
    known, here = ({_layer(name) for name in weights.values} for weights in (source, target))
    found = {}
    for name in (*result.unused, *result.new):
        layer, is_unused = _layer(name), name in result.unused
        level = _level(name)
        if counted := _FROM_FINEST.search(name):
            level = int(finest[False] * 2.0 ** -int(counted[0]))
        is_edge = level == finest[is_unused] and _COLOUR.search(layer)
        if level > min(finest.values()) or (is_edge and len(set(finest.values())) > 1):
            continue
        if not layer or _ADAPTABLE.search(layer) or _NOISE.search(name):
            continue
        if layer not in here:
            found.setdefault(layer, f"only the snapshot has {layer}")
        elif layer not in known:
            found.setdefault(layer, f"the snapshot lacks {layer}")
        elif name in source.values and name in target.values:
            sizes = ("x".join(map(str, w.values[name].shape)) for w in (source, target))
            found.setdefault(layer, f"{name} is {', not '.join(sizes)}")
    return list(found.values())


def _align_levels(source: Weights, target: Weights) -> Weights:
    """`source` with the layers that are counted from the finest level named as in `target`."""
    finest, wanted = _finest(source), _finest(target)
    if not finest or not wanted:
        return source
    shift = wanted.bit_length() - finest.bit_length()
    aligned = {}
    for name, value in source.values.items():
        found = _FROM_FINEST.search(name)
        number = int(found[0]) + shift if found else 0
        aligned[_FROM_FINEST.sub(str(number), name)] = value  # Below 0: levels the target lacks.
    return Weights(aligned, source.score_max)


def _adapt(name: str, source: Weights, target: Weights) -> np.ndarray | None:
    """A variable for another number of labels or scores; None if it does not depend on them."""
    value, initial = source.values[name], target.values[name]
    labels = [any(map(_LABELS.search, weights.values)) for weights in (source, target)]
    if name == "G_mapping/Dense0/weight" and value.shape[1] == initial.shape[1]:
        if labels[0] == labels[1]:
            return None  # The latents differ.
        # Latents come first, then labels. Weights are scaled by the number of inputs when used.
        rows = min(len(value), len(initial))
        scale = np.sqrt(len(initial) / len(value), dtype=value.dtype)
        return np.concatenate([value[:rows] * scale, np.zeros_like(initial[rows:])])
    if not _OUTPUT.search(name) or value.shape[:-1] != initial.shape[:-1]:
        return None
    # The scores of comparison methods are the last.
    score, more = np.split(value, [value.shape[-1] - source.score_max + 1], axis=-1)
    wanted, others = np.split(initial, [initial.shape[-1] - target.score_max + 1], axis=-1)
    if score.shape != wanted.shape:
        if any(labels):
            return None  # No scores, but what ADA compares an embedded label with.
        # A score for each class, or one for all.
        score = np.repeat(score.mean(axis=-1, keepdims=True), wanted.shape[-1], axis=-1)
    return np.concatenate([score, more if more.shape == others.shape else others], axis=-1)


def _layer(name: str) -> str:
    return name.rpartition("/")[0]


def _level(name: str) -> int:
    found = _RESOLUTION.search(name)
    return int(found[1]) if found else 0


def _finest(weights: Weights) -> int:
    return max(map(_level, weights.values), default=0)


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
                listed = ", ".join(names[:_MAX_NAMED])
                more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
                print(f"  {name}, {what}: {listed}{more}")
