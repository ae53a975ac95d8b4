"""Writing a snapshot in another layout: weights only, or what the other official code reads.

The two official repositories have the same bodies under different names, modules and defaults.
Each reads only its own: a snapshot of the other names a module that it lacks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.tflib import Network
from dnnlib.tflib.network_state import module_source
from training.snapshots import npz_weights, pickles
from training.snapshots.build_functions import ADA, BUILD_MODULES, STYLEGAN2
from training.snapshots.roles import by_role, from_roles

# Format versions, and the family whose official code writes them.
_FAMILIES = {4: STYLEGAN2, 5: ADA}
_TITLES = {STYLEGAN2: "StyleGAN2", ADA: "StyleGAN2-ADA"}
_TO_ADA = {
    "G_main": "G_main",
    "G_mapping": "G_mapping",
    "G_synthesis_stylegan2": "G_synthesis",
    "D_stylegan2": "D_main",
}
_TO_STYLEGAN2 = {ada: stylegan2 for stylegan2, ada in _TO_ADA.items()}

# Keyword arguments that only ADA has: {name: values that mean what StyleGAN2 does anyway}.
_ADA_ONLY_G: Mapping[str, tuple[Any, ...]] = {
    "fmap_const": (None,),
    "use_noise": (True,),
    "num_fp16_res": (0, None),
    "conv_clamp": (None,),
}
_ADA_ONLY_D: Mapping[str, tuple[Any, ...]] = {
    "mapping_layers": (0,),
    "num_fp16_res": (0, None),
    "conv_clamp": (None,),
    "freeze_layers": (0,),
    "augment_strength": (0,),
    "use_pagan": (False,),
    "score_size": (1,),
    "score_max": (1,),
    "use_spectral_norm": (False,),
    "adaptive_dropout": (0,),
}
# Those that have no effect without labels, or without `use_pagan`.
_UNUSED_G = ("label_fmaps",)
_UNUSED_D = ("mapping_fmaps", "mapping_lrmul", "pagan_num", "pagan_fade")
# Group of the minibatch standard deviation that stands for all of any minibatch: the smaller of
# the two is taken.
_WHOLE_MINIBATCH = 1 << 16


def convert(path: str, out: str, layout: str, allow_pickled_code: bool = False) -> None:
    """Writes a snapshot in another layout; the weights are checked against the networks.

    Args:
        path: see `snapshots.load`.
        out: file to write.
        layout: `4` or `5`, a pickle of that format version for the official code that writes it
            (see `to_family`), or `npz` or `npz-float16`, weights only.
        allow_pickled_code: see `snapshots.load`.

    Raises:
        UserError: it cannot be read or written; the name of `out` does not fit the layout; the
            official code of that layout does not have such a network.
    """
    suffix = ".npz" if layout.startswith("npz") else ".pkl"
    if not out.endswith(suffix):
        raise UserError(f"--out={out}: the name of this format ends with {suffix}")
    folder = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(folder):
        raise UserError(f"cannot write {out}: there is no folder {folder}")
    result = pickles.load(path, allow_pickled_code)
    networks = by_role(result)
    for network in networks.values():
        _ = network.vars  # Builds it, so that what does not fit is not passed on.
    if suffix == ".npz":
        npz_weights.save(result, out, half=layout == "npz-float16")
        return
    networks = {role: to_family(n, int(layout)) for role, n in networks.items()}
    for network in networks.values():
        _ = network.vars
    pickles.save(from_roles(networks), out, int(layout))


def to_family(network: Network, version: int) -> Network:
    """The same network for the family of official code that reads a format version.

    Args:
        network: one that is built. Where it belongs to the family, or brings its own code, it is
            returned as it is.
        version: 4 for StyleGAN2 (config A included), 5 for StyleGAN2-ADA.

    Raises:
        UserError: the family does not have such a network; says why.
    """
    module, family = network.build_module, _FAMILIES[version]
    if module == family or module not in BUILD_MODULES or (version == 4 and module != ADA):
        return network
    state = network.get_state(4)
    name, kwargs = network.build_func_name, dict(state["static_kwargs"])
    functions = _TO_ADA if family == ADA else _TO_STYLEGAN2
    problems = []
    for function in [name, *(kwargs.pop(k, None) for k in ("mapping_func", "synthesis_func"))]:
        if function is not None and (module not in _TITLES or function not in functions):
            problems.append(f"it has no {module}.{function}")
    if kwargs.get("label_size"):
        problems.append(f"labels (label_size={kwargs['label_size']}) are used in another way")
    if not problems:
        problems = (_to_ada if family == ADA else _to_stylegan2)(name, kwargs)
    if problems:
        raise UserError(
            f"network {network.name} cannot be converted to format {version}, which is that of "
            f"{_TITLES[family]}: {'; '.join(problems)}"
        )
    variables = [(n, value) for n, value in state["variables"] if n != "lod"]
    if family == STYLEGAN2 and name == "G_main":
        variables.append(("lod", np.float32(0)))
    converted = Network.__new__(Network)
    converted.set_state(
        {
            **state,
            "version": version,
            "static_kwargs": kwargs,
            "components": {k: to_family(c, version) for k, c in state["components"].items()},
            "build_module_src": module_source(family),
            "build_func_name": functions[name],
            "variables": variables,
        }
    )
    return converted


def _to_ada(name: str, kwargs: dict[str, Any]) -> list[str]:
    """Changes keyword arguments of StyleGAN2 to those of ADA; returns what cannot be expressed."""
    if name in ("G_main", "G_mapping"):
        kwargs.setdefault("mapping_fmaps", 512)
    if name == "D_stylegan2" and kwargs.setdefault("mbstd_group_size", 4) <= 1:
        kwargs["mbstd_num_features"] = 0  # Which is how ADA leaves the layer out.
    return []


def _to_stylegan2(name: str, kwargs: dict[str, Any]) -> list[str]:
    """Changes keyword arguments of ADA to those of StyleGAN2; returns what cannot be expressed."""
    is_discriminator = name == "D_main"
    problems = []
    for key, neutral in (_ADA_ONLY_D if is_discriminator else _ADA_ONLY_G).items():
        value = kwargs.pop(key, neutral[0])
        if value not in neutral:
            problems.append(f"it has no {key}={value}")
    for key in _UNUSED_D if is_discriminator else _UNUSED_G:
        kwargs.pop(key, None)
    if name in ("G_main", "G_mapping"):
        kwargs["mapping_fmaps"] = kwargs.get("mapping_fmaps") or kwargs.get("dlatent_size", 512)
    elif kwargs.get("mapping_fmaps", 0) is None:
        del kwargs["mapping_fmaps"]  # A synthesis network makes nothing of it.
    if is_discriminator:
        group = kwargs.pop("mbstd_group_size", None)
        if kwargs.get("mbstd_num_features", 1) == 0:
            del kwargs["mbstd_num_features"]
            group = 1  # Which is how StyleGAN2 leaves the layer out.
        elif group is not None and group <= 1:
            problems.append(f"it has no layer for mbstd_group_size={group}")
        kwargs["mbstd_group_size"] = _WHOLE_MINIBATCH if group is None else group
    return problems
