"""Snapshots of stylegan2-ada-pytorch, and StyleGAN2 networks of stylegan3, as networks of ours.

The networks are those of the ADA repository under other names. What they are is taken from the
attributes and the sizes of their layers, since defaults differ between the repositories; every
tensor must have its place here, so that no layer that we do not have is passed over.

What PyTorch keeps in another way: weights have the output first; convolutions that upsample have
their kernel turned by 180°; styles come with the 1 that is added to them; w is averaged in the
mapping network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dnnlib.tflib import Network
from dnnlib.tflib.network_state import module_source
from dnnlib.torch_modules import Module, ModuleFile, is_module_file
from dnnlib.util import UserError, one_line
from training.snapshots.build_functions import ADA
from training.snapshots.pytorch_layers import FILTER, Layers

_NAMES = {"G": "G", "D": "D", "G_ema": "Gs", "Gs": "Gs"}
_NOT_CLAMPED = "b4.fromrgb"  # In PyTorch, where D is of the architecture `skip`.
_MAX_PADDED = 1 << 26  # Numbers in the layers of labels that get another width.

_SYNTHESIS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
_SYNTHESIS_LEAVES = {"weight": "weight", "bias": "bias", "noise_strength": "noise_strength"}
_SYNTHESIS_LEAVES |= {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}
_SCORING = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
_SCORING |= {"conv": "Conv", "fc": "Dense0"}


def is_snapshot(content: bytes) -> bool:
    """Whether a file is for `loads`."""
    return is_module_file(content)


def loads(content: bytes, make: Callable[[dict[str, Any]], Network]) -> Any:
    """The networks of a snapshot of PyTorch; nothing that it holds is executed.

    Args:
        content: of the file.
        make: makes a network of its state in the official layout of TensorFlow.

    Returns:
        {"G", "D", "G_ema": network} as far as they are there, or a network that is alone.

    Raises:
        UserError: they cannot be expressed here; says why.
        Exception: the file is broken; any kind.
    """
    file = ModuleFile(content)
    if isinstance(file.root, Module):
        key = "D" if file.root.class_name == "Discriminator" else "G"
        return _network(key, file.root, file, make)
    root = file.root if isinstance(file.root, Mapping) else {}
    found = {key: root[key] for key in _NAMES if isinstance(root.get(key), Module)}
    if not found:
        raise UserError("it holds no G, D or G_ema, but other modules")
    return {key: _network(key, module, file, make) for key, module in found.items()}


def _network(
    key: str, module: Module, file: ModuleFile, make: Callable[[dict[str, Any]], Network]
) -> Network:
    layers = Layers(key, module, file)
    if module.class_name == "Generator":
        return _generator(layers, make)
    if module.class_name == "Discriminator":
        return make(_state("D", "D_main", *_discriminator(layers)))
    raise UserError(f"its {key} is of the class {module.class_name}, which is a part of a network")


def _generator(layers: Layers, make: Callable[[dict[str, Any]], Network]) -> Network:
    resolutions = layers.resolutions(r"synthesis\.b(\d{1,5})")
    blocks, styled = layers.paths("SynthesisBlock"), layers.paths("SynthesisLayer")
    dense = layers.paths("FullyConnectedLayer", r"mapping\.fc")
    widths = {r: layers.size(f"synthesis.b{r}.conv1.weight", 0) for r in resolutions}
    kwargs = {
        **layers.images(resolutions, blocks),
        **layers.fmaps(widths, "synthesis"),
        "architecture": layers.common(blocks, "architecture"),
        "nonlinearity": layers.common(styled, "activation"),
        "conv_clamp": layers.common([*styled, *layers.paths("ToRGBLayer")], "conv_clamp"),
        "use_noise": layers.common(styled, "use_noise"),
        "latent_size": layers.attribute("", "z_dim"),
        "dlatent_size": layers.attribute("", "w_dim"),
        "mapping_layers": len(dense),
    }
    if dense:
        kwargs["mapping_fmaps"] = layers.size("mapping.fc0.weight", 0)
        kwargs["mapping_lrmul"] = layers.common(dense, "bias_gain")
        kwargs["mapping_nonlinearity"] = layers.common(dense, "activation")
    if len(dense) == 1:
        del kwargs["mapping_fmaps"]  # The only layer is the last, of the size of w.
    if "mapping.embed.weight" in layers.tensors:
        kwargs["label_fmaps"] = layers.size("mapping.embed.weight", 0)
    variables = _variables(layers, _generator_variable)
    if "dlatent_avg" not in variables[""]:
        raise UserError(f"its {layers.name} has no mean of w (mapping.w_avg)")
    count = {"dlatent_broadcast": 2 * len(resolutions)}
    components = {
        "mapping": _state("G_mapping", "G_mapping", {**kwargs, **count}, variables["mapping"]),
        "synthesis": _state("G_synthesis", "G_synthesis", kwargs, variables["synthesis"]),
    }
    state = _state(_NAMES[layers.name], "G_main", kwargs, variables[""])
    return make({**state, "components": {k: make(s) for k, s in components.items()}})


def _discriminator(layers: Layers) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Keyword arguments and variables."""
    resolutions = layers.resolutions(r"b(\d{1,5})")
    blocks, convolutions = layers.paths("DiscriminatorBlock"), layers.paths("Conv2dLayer")
    active = [path for path in convolutions if not path.endswith(".skip")]
    clamped = [path for path in active if path != _NOT_CLAMPED]
    dense = layers.paths("FullyConnectedLayer", r"mapping\.fc")
    widths = {r: layers.size(f"b{r}.conv{'0' * (r > 4)}.weight", 0) for r in resolutions}
    kwargs = {
        **layers.images(resolutions, blocks),
        **layers.fmaps(widths, ""),
        "architecture": layers.common([*blocks, "b4"], "architecture"),
        "nonlinearity": layers.common([*active, "b4.fc", *dense], "activation"),
        "conv_clamp": layers.common(clamped, "conv_clamp"),
        "mapping_layers": len(dense),
        "mbstd_num_features": 0,
        "freeze_layers": sum("weight" in layers.modules[p].buffers for p in convolutions),
    }
    if "b4.mbstd" in layers.modules:
        kwargs["mbstd_num_features"] = layers.attribute("b4.mbstd", "num_channels")
        kwargs["mbstd_group_size"] = layers.attribute("b4.mbstd", "group_size")
    _check_not_clamped(layers, kwargs["conv_clamp"])
    variables = _variables(layers, _discriminator_variable)[""]
    if kwargs["label_size"]:
        if not layers.attribute("b4", "cmap_dim"):
            raise UserError(f"its {layers.name} has labels that it does not use (cmap_dim 0)")
        if dense:
            kwargs["mapping_lrmul"] = layers.common(dense, "bias_gain")
        kwargs["mapping_fmaps"] = _equal_widths(layers, variables, len(dense))
    return kwargs, variables


def _state(
    name: str, function: str, kwargs: Mapping[str, Any], variables: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The state of a network as the ADA repository's snapshots have it."""
    return {
        "version": 5,
        "name": name,
        "static_kwargs": dict(kwargs),
        "components": {},
        "build_module_src": module_source(ADA),
        "build_func_name": function,
        "variables": list(variables.items()),
    }


def _variables(
    layers: Layers, rename: Callable[[str], tuple[str, str] | None]
) -> dict[str, dict[str, np.ndarray]]:
    """{component: {name: array}} as TensorFlow has them; itself is the component "".

    Args:
        layers: of the network.
        rename: gives the component and the name of a variable by the path of its tensor.
    """
    found: dict[str, dict[str, np.ndarray]] = {"": {}, "mapping": {}, "synthesis": {}}
    unknown = []
    for path, tensor in layers.tensors.items():
        if path.rpartition(".")[2] == FILTER:
            continue
        target = rename(path)
        if target is None:
            unknown.append(one_line(path, 60))
        else:
            found[target[0]][target[1]] = _value(target[1], layers.array(tensor))
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UserError(
            f"its {layers.name} has {', '.join(unknown[:3])}{more}, which no StyleGAN2 network of "
            "PyTorch has"
        )
    return found


def _generator_variable(path: str) -> tuple[str, str] | None:
    """Component and name of a variable by the path of its tensor; None: there is none."""
    if path == "mapping.w_avg":
        return "", "dlatent_avg"
    if name := _mapping_variable(path, "Dense"):
        return "mapping", name
    if not (match := re.fullmatch(r"synthesis\.b(\d+)\.(?:(\w+)\.)?([\w.]+)", path)):
        return None
    resolution, layer, leaf = match.groups()
    scope = f"{resolution}x{resolution}"
    if layer is None:
        return ("synthesis", f"{scope}/Const/const") if leaf == "const" else None
    if leaf == "noise_const" and layer in ("conv0", "conv1"):
        level = int(resolution).bit_length() - 1
        return "synthesis", f"noise{2 * level - (5 if layer == 'conv0' else 4)}"
    if layer not in _SYNTHESIS or leaf not in _SYNTHESIS_LEAVES:
        return None
    name = "Conv" if (layer, resolution) == ("conv1", "4") else _SYNTHESIS[layer]
    return "synthesis", f"{scope}/{name}/{_SYNTHESIS_LEAVES[leaf]}"


def _discriminator_variable(path: str) -> tuple[str, str] | None:
    if name := _mapping_variable(path, "Mapping"):
        return "", name
    if not (match := re.fullmatch(r"b(\d+)\.(\w+)\.(weight|bias)", path)):
        return None
    resolution, layer, leaf = match.groups()
    if (layer, resolution) == ("out", "4"):
        return "", f"Output/{leaf}"
    scope = f"{resolution}x{resolution}"
    return ("", f"{scope}/{_SCORING[layer]}/{leaf}") if layer in _SCORING else None


def _mapping_variable(path: str, scope: str) -> str | None:
    match = re.fullmatch(r"mapping\.(?:embed|fc(\d+))\.(weight|bias)", path)
    if match is None:
        return None
    return f"LabelEmbed/{match[2]}" if match[1] is None else f"{scope}{match[1]}/{match[2]}"


def _value(name: str, value: np.ndarray) -> np.ndarray:
    """The value of a variable: [kh, kw, in, out], [in, out], [1, maps, H, W], [1, 1, H, W]."""
    if name.endswith("weight") and value.ndim in (2, 4):
        value = value.transpose((1, 0) if value.ndim == 2 else (2, 3, 1, 0))
        is_turned = name.endswith("Conv0_up/weight")
        return value[::-1, ::-1] if is_turned and value.ndim == 4 else value
    if name.endswith("/mod_bias"):
        return value - np.float32(1)
    if name.endswith("/const"):
        return value[np.newaxis]
    return value[np.newaxis, np.newaxis] if re.fullmatch(r"noise\d+", name) else value


def _check_not_clamped(layers: Layers, clamp: Any) -> None:
    """Raises a UserError if a clamp could matter to the one layer that PyTorch does not clamp."""
    path = _NOT_CLAMPED
    if clamp is None or f"{path}.weight" not in layers.tensors:
        return
    weight = layers.array(layers.tensors[f"{path}.weight"]) * layers.attribute(path, "weight_gain")
    reach = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    if f"{path}.bias" in layers.tensors:
        reach = reach + np.abs(layers.array(layers.tensors[f"{path}.bias"])).reshape(-1)
    largest = float(np.max(reach, initial=0)) * layers.attribute(path, "act_gain")
    if largest > clamp:
        raise UserError(
            f"its {layers.name} does not clamp {path}, which reaches {largest:.4g}, as it does all "
            f"other layers, at {one_line(clamp, 20)}"
        )


def _equal_widths(layers: Layers, variables: dict[str, np.ndarray], depth: int) -> int:
    """Gives the layers of the labels one width: here, that of D's mapping network is one number.

    Units are added that neither get nor give anything. Weights are scaled by what the added units
    change: roots of the number of inputs, the mean square of the embedded label, and the root of
    the width that scores are divided by.

    Returns:
        The width.
    """
    names = ["LabelEmbed", *(f"Mapping{i}" for i in range(depth)), "Output"]
    for name in names:
        weight, bias = (variables.get(f"{name}/{leaf}") for leaf in ("weight", "bias"))
        if weight is None or bias is None or weight.shape[1:] != bias.shape:
            raise UserError(f"its {layers.name} lacks {name}, or it has another shape")
    widths = [variables[f"{name}/bias"].size for name in names]
    width = max(widths)
    if set(widths) == {width}:
        return width
    most = max(width, *(len(variables[f"{name}/weight"]) for name in names))
    if width * most * len(names) > _MAX_PADDED:
        raise UserError(f"its {layers.name} has layers of labels of widths {one_line(widths, 60)}")
    for i, name in enumerate(names):
        weight, bias = variables[f"{name}/weight"], variables[f"{name}/bias"]
        is_mapping = name.startswith("Mapping")
        rows = width if is_mapping else len(weight)
        factor = np.float32(1)
        if name == "Output":
            factor = np.sqrt(width / widths[i], dtype=np.float32)
            bias = bias * factor
        elif is_mapping and i > 1:  # The first one sees the embedded label, scaled.
            factor = np.sqrt(width / len(weight), dtype=np.float32)
        room = ((0, rows - len(weight)), (0, width - weight.shape[1]))
        variables[f"{name}/weight"] = np.pad(weight * factor, room)
        variables[f"{name}/bias"] = np.pad(bias, (0, width - len(bias)))
    return width
