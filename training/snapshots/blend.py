"""Two networks become one: coarse layers of the first, fine layers of the second.

"Resolution Dependent GAN Interpolation for Controllable Image Synthesis Between Domains" (Pinkney
and Adler 2020, arXiv 2010.05334, section 2): p = (1 - α)·p_low + α·p_high for the parameters p of a
resolution r, where α steps from 0 to 1 at a resolution R. Here the step can be soft.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.architecture.specs import SynthesisSpec
from training.snapshots import pickles
from training.snapshots.adapt import Weights
from training.snapshots.roles import ALONE, Networks, by_role, from_roles
from training.snapshots.transfer import resolution_of

# What may differ without changing what the weights mean.
_NEUTRAL = {"num_fp16_res", "conv_clamp", "fused_modconv", "dtype"}
_NEUTRAL |= {"truncation_psi", "truncation_cutoff", "style_mixing_prob", "dlatent_avg_beta"}
_NOISE = re.compile(r"(?:^|/)noise\d+$")
_UNKNOWN = "?"
_MOST_NAMED = 3


def share_of_high(resolution: int, switch: int, width: float) -> float:
    """α of a resolution: 0 below `switch` and 1 from it on, or a logistic step between.

    1/(1 + exp(-(log₂ resolution - log₂ switch + ½)/width)), so that the middle lies between
    `switch` and half of it.

    Args:
        resolution, switch: powers of two.
        width: of the step, in doublings of the resolution; 0 for none.
    """
    distance = math.log2(resolution / switch) + 0.5
    if width <= 0:
        return float(distance > 0)
    return 0.5 + 0.5 * math.tanh(0.5 * distance / width)


def blend_files(
    low: str, high: str, out: str, switch: int, width: float, allow_pickled_code: bool = False
) -> str:
    """Writes a snapshot that is blended of two.

    Args:
        low, high: see `snapshots.load`.
        out: file to write, `.pkl`.
        switch, width: see `blend`.
        allow_pickled_code: see `snapshots.load`.

    Returns:
        Lines that say what came from where.

    Raises:
        UserError: as `blend`; a snapshot cannot be read or written.
    """
    if not out.endswith(".pkl"):
        raise UserError(f"--out={out}: the name of a snapshot ends with .pkl")
    first, second = (pickles.load(path, allow_pickled_code) for path in (low, high))
    result = blend(first, second, switch, width)
    pickles.save(result, out)
    finest = pickles.choose_generator(result, out).output_shape[-1]
    levels = [2**level for level in range(2, finest.bit_length())]
    shares = ", ".join(f"{r} {share_of_high(r, switch, width):.0%}" for r in levels)
    parts = f"mapping network{', discriminator' * ('D' in by_role(result))}"
    return (
        f"Wrote {out}\n  share of {high} by resolution: {shares}\n  {parts} and mean of w: {low}\n"
    )


def blend(low: Networks, high: Networks, switch: int, width: float = 0) -> Networks:
    """Networks with coarse layers of `low` and fine ones of `high`, and all that has no resolution.

    G and Gs are blended, as far as both have them. The mapping network, the mean of w, D, and the
    names of classes are those of `low`. Noise inputs, which are no parameters, are those of the
    network that has the larger share.

    Args:
        low, high: as `snapshots.load` returns them; they are not changed.
        switch: the coarsest resolution that is of `high`.
        width: see `share_of_high`.

    Raises:
        UserError: the networks do not match; there is no such resolution, or no generator in
            both.
    """
    networks, others = _generators(low), _generators(high)
    common = [role for role in networks if role in others]
    if not common:
        raise UserError("the two snapshots have no network in common: expected a generator in each")
    result = {role: n for role, n in by_role(low).items() if role == "D"}
    for role in common:
        result[role] = _blend(role, networks[role], others[role], switch, width)
    if len(result) == 1 and ALONE in by_role(low):
        return result[common[0]]
    return from_roles(result)


def _generators(networks: Networks) -> dict[str, Network]:
    """{"G": …, "Gs": …}; a generator alone is Gs."""
    named = {"Gs" if role == ALONE else role: n for role, n in by_role(networks).items()}
    named.pop("D", None)
    return named


def _blend(role: str, low: Network, high: Network, switch: int, width: float) -> Network:
    values, others = Weights.of(low).values, Weights.of(high).values
    if problems := _differences(low, high, values, others):
        raise UserError(
            f"{role} of the two snapshots do not match ({'; '.join(problems)}): the second network "
            "must be trained from the first, or both from the same"
        )
    finest = max(resolution_of(name, 0) for name in values)
    choices = [2**level for level in range(3, finest.bit_length())]
    if switch not in choices:
        listed = ", ".join(map(str, choices))
        raise UserError(f"--resolution={switch}: the networks have {listed} to switch at")
    blended = {}
    for name, value in values.items():
        if _NOISE.search(name):
            level = finest * value.shape[2] // low.output_shape[2]
            if share_of_high(level, switch, width) >= 0.5:
                blended[name] = others[name]
        elif level := resolution_of(name, finest):
            share = np.float32(share_of_high(level, switch, width))
            blended[name] = (1 - share) * value + share * others[name]
    result = low.clone(low.name)
    tflib.set_vars({result.vars[name]: value for name, value in blended.items()})
    return result


def _differences(
    low: Network,
    high: Network,
    values: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
) -> list[str]:
    """What keeps two networks from being blended, in words; the first of it."""
    found = []
    functions = [f"{n.build_module}.{n.build_func_name}" for n in (low, high)]
    if functions[0] != functions[1]:
        found.append(f"built by {functions[0]}, not {functions[1]}")
    usual = {f.name: f.default for f in dataclasses.fields(SynthesisSpec)}
    for key in sorted({*low.static_kwargs, *high.static_kwargs} - _NEUTRAL):
        # One that names a default is like one that does not.
        pair = [n.static_kwargs.get(key, usual.get(key, _UNKNOWN)) for n in (low, high)]
        pair = [list(value) if isinstance(value, tuple) else value for value in pair]
        if _UNKNOWN not in pair and pair[0] != pair[1]:
            found.append(f"{key} {pair[0]}, not {pair[1]}")
    for name in [*values, *(n for n in others if n not in values)]:
        if name not in others or name not in values:
            found.append(f"only the {'first' if name in values else 'second'} has {name}")
        elif values[name].shape != others[name].shape:
            shapes = ("x".join(map(str, v[name].shape)) for v in (values, others))
            found.append(f"{name} is {', not '.join(shapes)}")
    more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
    return found[:_MOST_NAMED] + more
