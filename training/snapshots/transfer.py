"""Starting a run from the weights of a snapshot (`--resume=FILE`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dnnlib import UserError, tflib, urls
from dnnlib.tflib import Network
from training.snapshots import pickles
from training.snapshots.adapt import Weights, adapt
from training.snapshots.roles import ALONE, by_role

_RESOLUTION = re.compile(r"(?:^|/)(\d+)x\d+/")
_WEIGHT = re.compile(r"/(?:weight|bias)$")
_NOISE = re.compile(r"(?:^|/)noise\d+$")
# Networks that share no finer level have hardly learned anything from each other.
_COARSE = 16
# Layers that growing networks count from the finest level.
_FROM_FINEST = re.compile(r"(?<=RGB_lod)-?\d+")
_COLOR = re.compile(r"(?:To|From)RGB$")  # Architectures but `skip` have them at the finest level.
_OF_LABELS = re.compile(r"(?:^|/)(?:LabelConcat|LabelEmbed|Mapping\d+|Output)$")
_OF_METHODS = re.compile(r"/Bits$")  # Without effect where a run begins.
_NORM = re.compile(r"/sn$")  # Weights that are normalized mean something else.
# Keyword arguments that decide about layers, and what they are where a network does not say.
_DECISIVE = {"fmap_base": 16 << 10, "fmap_max": 512, "latent_size": 512, "mapping_layers": 8}
_DECISIVE |= {"architecture": None, "use_spectral_norm": False}
_MAX_NAMED = 4  # variables in a list


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
        loaded = pickles.load(path)
        networks = by_role(loaded)
        if ALONE in networks:
            networks = {"Gs": pickles.choose_generator(loaded, path)}
        elif "Gs" not in networks and "G" in networks:
            networks["Gs"] = networks["G"]
        if "Gs" not in networks:
            raise UserError(
                f"{urls.show_source(path)} holds a discriminator alone, and a run starts from a "
                "generator"
            )
        return {name: Weights.of(network) for name, network in networks.items()}


def transfer(
    weights: Mapping[str, Weights],
    networks: Mapping[str, Network],
    allow_partial: bool = False,
) -> None:
    """Sets the variables of networks to those of a snapshot as far as they fit; prints a table.

    Variables that differ because of labels or the shape of images are adapted, see
    `training.snapshots.adapt`, or start anew, as levels do that the snapshot does not have.

    Args:
        weights: as from `read_weights`.
        networks: {"G": …, "D": …, "Gs": …} of the run.
        allow_partial: continue however little fits.

    Raises:
        UserError: the networks are of another architecture or size, so that what is left of the
            snapshot would be of no use.
    """
    sources = {**weights, "G": weights.get("G", weights["Gs"])}
    targets = {name: Weights.of(network) for name, network in networks.items()}
    results = {name: match(sources.get(name, Weights({})), targets[name]) for name in targets}
    _print_table(results)
    if "D" in networks and (frozen := _frozen(networks["D"], results["D"])):
        print(f"Warning: --freezed: {frozen} is not in the snapshot, and stays random as it is")
    for name, result in results.items():
        if name in sources and not allow_partial:
            _check(name, sources[name], targets[name], result)
    for name, network in networks.items():
        tflib.set_vars({network.vars[n]: v for n, v in results[name].values.items()})


def match(source: Weights, target: Weights) -> Transfer:
    """What a network can take from another one.

    Args:
        source: of the snapshot.
        target: of the network, as it is initialized.
    """
    source = _align_levels(source, target)
    result = Transfer(unused=[name for name in source.values if name not in target.values])
    total = copied = 0
    for name, initial in target.values.items():
        size = 0 if _NOISE.search(name) else initial.size
        total += size
        value = source.values.get(name)
        if value is not None:
            known, value = value, adapt(name, source, target)
            if value is not None and value is not known:
                result.adapted.append(name)
        if value is None:
            result.new.append(name)
        else:
            result.values[name] = value.astype(initial.dtype)
            copied += size
    result.share = copied / max(total, 1)
    result.misfits = _misfits(source, target, result)
    return result


def resolution_of(name: str, finest: int) -> int:
    """The resolution that a variable belongs to, by its name; 0 for none.

    Args:
        name: of the variable.
        finest: the finest resolution of the network, which some layers are counted from.
    """
    if counted := _FROM_FINEST.search(name):
        return int(finest * 2.0 ** -int(counted[0]))
    return _level(name)


def _check(name: str, source: Weights, target: Weights, result: Transfer) -> None:
    """Raises a UserError if what a network takes from a snapshot is of no use to it."""
    if result.misfits:
        more = f" and {len(result.misfits) - 2} more" if len(result.misfits) > 2 else ""
        pairs = {
            key: [w.kwargs.get(key, default) for w in (source, target)]
            for key, default in _DECISIVE.items()
        }
        different = {
            k: pair for k, pair in pairs.items() if None not in pair and len(set(pair)) > 1
        }
        options = [f"{key} {was}, not {now}" for key, (was, now) in different.items()]
        raise UserError(
            f"--resume: {name} of the snapshot is of another architecture or size"
            f"{' (' + ', '.join(options) + ')' if options else ''}: "
            f"{', '.join(result.misfits[:2])}{more}; choose the snapshot's own --config, "
            "--mapping-layers, --fmap-base and so on, or use --resume-partial"
        )
    # One more level is what networks that grow get too.
    known, wanted = _finest(source), _finest(target)
    if known <= _COARSE and wanted > 2 * known:
        raise UserError(
            f"--resume: the finest level of {name} is {known}x{known} in the snapshot and "
            f"{wanted}x{wanted} in this run, which would be learned almost from scratch: take a "
            "snapshot of a higher resolution, or use --resume-partial"
        )


def _frozen(D: Network, result: Transfer) -> str | None:
    """A layer that is neither copied nor learned."""
    return next(
        (_layer(n) for n in result.new if n not in D.trainables and _WEIGHT.search(n)), None
    )


def _misfits(source: Weights, target: Weights, result: Transfer) -> list[str]:
    """What is new or unused though neither labels nor the resolution are why, in words."""
    finest = {True: _finest(source), False: _finest(target)}
    known, here = (set(map(_layer, weights.values)) for weights in (source, target))
    found = {}
    for name in (*result.unused, *result.new):
        layer, is_unused = _layer(name), name in result.unused
        level = resolution_of(name, finest[False])
        is_edge = level == finest[is_unused] and _COLOR.search(layer)
        if level > min(finest.values()) or (is_edge and len(set(finest.values())) > 1):
            continue
        if not layer or _NOISE.search(name) or _OF_METHODS.search(layer):
            continue
        if _OF_LABELS.search(layer) and source.embeds_labels != target.embeds_labels:
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
    return Weights(aligned, source.kwargs)


def _layer(name: str) -> str:
    """The layer of a variable; normalization counts as one."""
    return name if _NORM.search(name) else name.rpartition("/")[0]


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
