"""Snapshots as stylegan2-ada-pytorch writes them, and its networks in NumPy; without PyTorch."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import numpy as np
import torch_files as torch
from scipy.signal import fftconvolve

RECONSTRUCT = torch.Named("torch_utils.persistence", "_reconstruct_persistent_obj")
LOAD = torch.Named("torch.storage", "_load_from_bytes")
PARAMETER = torch.Named("torch._utils", "_rebuild_parameter")
EASY_DICT = torch.Named("dnnlib.util", "EasyDict")
SOURCE = "raise RuntimeError('source of a snapshot was executed')\n"
GAINS = {"lrelu": 2**0.5, "relu": 2**0.5, "swish": 2**0.5, "linear": 1, "tanh": 1}
G_OPTIONS = {"z_dim": 5, "c_dim": 0, "w_dim": 6, "img_resolution": 8, "img_channels": 3}
G_OPTIONS |= {"channel_base": 64, "channel_max": 8, "architecture": "skip", "num_layers": 2}
G_OPTIONS |= {"embed_features": None, "layer_features": None, "mapping_activation": "lrelu"}
G_OPTIONS |= {"lr_multiplier": 0.01, "activation": "lrelu", "use_noise": True, "conv_clamp": None}
G_OPTIONS |= {"resample_filter": [1, 3, 3, 1], "num_fp16_res": 0}
D_OPTIONS = {**G_OPTIONS, "architecture": "resnet", "cmap_dim": None, "freeze_layers": 0}
D_OPTIONS |= {"mbstd_group_size": 4, "mbstd_num_channels": 1}


# What a snapshot is made of


def stored(array: np.ndarray) -> torch.Call:
    """A tensor with a storage of its own."""
    array = np.asarray(array, np.float32)
    content = torch.row(torch.storage("7", array.size), {"7": array.tobytes()})
    strides = tuple(s // 4 for s in np.ascontiguousarray(array).strides[: array.ndim])
    return torch.tensor(torch.Call(LOAD, (content,)), 0, array.shape, strides)


def parameter(tensor: Any) -> torch.Call:
    return torch.Call(PARAMETER, (tensor, False, OrderedDict()))


def module(class_name: str, state: dict) -> torch.Call:
    """A persistent object."""
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": class_name}
    return torch.Call(RECONSTRUCT, ({**meta, "state": state},))


def snapshot(protocol: int = 4, **networks: Any) -> bytes:
    """A file, with what else is in one."""
    content = {"training_set_kwargs": {"path": "x.zip"}, "augment_pipe": None, **networks}
    return torch.pickled(content, protocol=protocol)


def build(classes: dict, tensors: dict, attributes: dict, frozen: tuple = ()) -> torch.Call:
    """Modules within modules.

    Args:
        classes: {pattern of paths: class}, the first that fits.
        tensors: {path: array}.
        attributes: {path of a module: attributes}.
        frozen: paths of tensors that are buffers.
    """

    def make(path: str) -> torch.Call:
        begin = f"{path}." if path else ""
        below = [name.removeprefix(begin) for name in tensors if name.startswith(begin)]
        children = dict.fromkeys(n.split(".")[0] for n in below if "." in n)
        children |= dict.fromkeys(
            p.removeprefix(begin)
            for p in attributes
            if p.startswith(begin) and p != path and "." not in p.removeprefix(begin)
        )
        own = {name: tensors[begin + name] for name in below if "." not in name}
        buffers = {"resample_filter", "noise_const", "w_avg"}
        buffers |= {name for name in own if begin + name in frozen}
        state = {
            "training": False,
            "_parameters": {n: parameter(stored(a)) for n, a in own.items() if n not in buffers},
            "_buffers": {n: stored(a) for n, a in own.items() if n in buffers},
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": {name: make(begin + name) for name in children},
            **attributes.get(path, {}),
            "_init_args": (),
        }
        class_name = next(c for pattern, c in classes.items() if re.fullmatch(pattern, path))
        return module(class_name, state)

    return make("")


class _Network:
    """Options, tensors by path, and attributes of modules by path."""

    def __init__(self, options: dict, defaults: dict, seed: int):
        assert options.keys() <= defaults.keys()
        self.options, self.random = {**defaults, **options}, np.random.default_rng(seed)
        self.tensors: dict[str, np.ndarray] = {}
        self.attributes: dict[str, dict] = {"": {}}
        o = self.options
        taps = np.float64([1] if o["resample_filter"] is None else o["resample_filter"])
        self.filter = np.outer(taps, taps) / taps.sum() ** 2
        self.levels = [2**i for i in range(2, o["img_resolution"].bit_length())]
        self.widths = {r: min(o["channel_base"] // r, o["channel_max"]) for r in self.levels}
        told = {"channel_base": o["channel_base"]}
        self.init = {"_init_kwargs": torch.Call(EASY_DICT, (), {}) if seed % 2 else told}

    def draw(self, path: str, *shape: int, scale: float = 1) -> None:
        self.tensors[path] = self.random.normal(size=shape).astype(np.float32) * np.float32(scale)

    def dense(self, path: str, n: int, fmaps: int, activation="linear", lr=1.0, bias=0) -> None:
        self.draw(f"{path}.weight", fmaps, n, scale=1 / lr)
        self.draw(f"{path}.bias", fmaps)
        self.tensors[f"{path}.bias"] += np.float32(bias)
        gain = np.float64(lr / np.sqrt(n))
        more = {"activation": activation, "weight_gain": gain, "bias_gain": lr}
        self.attributes[path] = more

    def conv(self, path: str, n: int, fmaps: int, kernel: int, **attributes: Any) -> None:
        self.draw(f"{path}.weight", fmaps, n, kernel, kernel)
        self.tensors[f"{path}.resample_filter"] = self.filter
        gain = np.float64(1 / np.sqrt(n * kernel**2))
        gains = {"weight_gain": gain, "act_gain": GAINS[attributes["activation"]]}
        self.attributes[path] = {"up": 1, "down": 1, **attributes, **gains}

    def mapping(self, n: int, width: int, activation: str) -> None:
        o = self.options
        if o["c_dim"]:
            embedded = o["embed_features"] or width
            self.dense("mapping.embed", o["c_dim"], embedded)
            n += embedded
        hidden = [o["layer_features"] or width] * (o["num_layers"] - 1)
        for i, fmaps in enumerate([*hidden, width]):
            self.dense(f"mapping.fc{i}", n, fmaps, activation, o["lr_multiplier"])
            n = fmaps

    def act(self, x: np.ndarray, kind: str, clamp: float | None = None) -> np.ndarray:
        y = {
            "lrelu": lambda: np.where(x < 0, x * 0.2, x),
            "relu": lambda: np.maximum(x, 0),
            "swish": lambda: x / (1 + np.exp(-x)),
            "linear": lambda: x,
            "tanh": lambda: np.tanh(x),
        }[kind]()
        y = y * GAINS[kind]
        return y if clamp is None else np.clip(y, -clamp, clamp)

    def apply_dense(self, path: str, x: np.ndarray) -> np.ndarray:
        a, w = self.attributes[path], self.tensors[f"{path}.weight"].astype(np.float64)
        y = x.reshape(len(x), -1) @ w.T * a["weight_gain"] + self.bias(path) * a["bias_gain"]
        return self.act(y, a["activation"])

    def bias(self, path: str) -> np.ndarray:
        return self.tensors[f"{path}.bias"].astype(np.float64)

    def apply_mapping(self, z: np.ndarray | None, c: np.ndarray) -> np.ndarray:
        parts = [] if z is None else [normalized(z)]
        if self.options["c_dim"]:
            parts.append(normalized(self.apply_dense("mapping.embed", c)))
        x = np.concatenate(parts, axis=1)
        for i in range(self.options["num_layers"]):
            x = self.apply_dense(f"mapping.fc{i}", x)
        return x

    def resample(self, x: np.ndarray, w: np.ndarray | None, up=1, down=1) -> np.ndarray:
        """Convolution with resampling; PyTorch turns the kernel only where it upsamples."""
        w = np.ones([1, 1, 1, 1]) if w is None else w
        kernel, pad, size = w.shape[-1], w.shape[-1] // 2, x.shape[-1] * up
        if up == 2:
            larger = np.zeros([*x.shape[:2], size, size])
            larger[..., ::2, ::2] = x
            x = larger
        else:
            w = w[..., ::-1, ::-1]
        if w.shape[:2] == (1, 1) and kernel == 1:
            y = x * w[0, 0]
        else:
            y = fftconvolve(x[:, np.newaxis], w[np.newaxis], axes=(-2, -1)).sum(axis=2)
        begin = kernel - 1 - pad
        if up * down > 1:
            f, taps = self.filter[np.newaxis, np.newaxis] * up**2, len(self.filter)
            y = fftconvolve(y, f, axes=(-2, -1))
            begin += taps - 1 - ((taps + up - 1) // 2 if up > 1 else (taps - down + 1) // 2)
        y = np.pad(y, [(0, 0), (0, 0), (0, size), (0, size)])
        return y[:, :, begin : begin + size : down, begin : begin + size : down]


class Generator(_Network):
    """The generator, with random weights; `options` as in `G_OPTIONS`."""

    def __init__(self, seed: int = 0, **options: Any):
        super().__init__(options, G_OPTIONS, seed)
        o, n = self.options, 0
        self.mapping(o["z_dim"], o["w_dim"], o["mapping_activation"])
        self.draw("mapping.w_avg", o["w_dim"])
        for r, fmaps in self.widths.items():
            block, common = f"synthesis.b{r}", {"conv_clamp": o["conv_clamp"]}
            is_last = r == self.levels[-1]
            is_fp16 = r >= max(2 * self.levels[-1] >> o["num_fp16_res"], 8)
            self.attributes[block] = {"architecture": o["architecture"], "use_fp16": is_fp16}
            self.tensors[f"{block}.resample_filter"] = self.filter
            if not n:
                self.draw(f"{block}.const", fmaps, 4, 4)
            for name, m, up in [("conv0", n, 2), ("conv1", fmaps, 1)][not n :]:
                more = {"activation": o["activation"], "use_noise": o["use_noise"], "up": up}
                self.conv(f"{block}.{name}", m, fmaps, 3, **common, **more)
                self.draw(f"{block}.{name}.bias", fmaps)
                self.dense(f"{block}.{name}.affine", o["w_dim"], m, bias=1)
                if o["use_noise"]:
                    self.draw(f"{block}.{name}.noise_const", r, r)
                    self.draw(f"{block}.{name}.noise_strength")
            if o["architecture"] == "skip" or is_last:
                self.draw(f"{block}.torgb.weight", o["img_channels"], fmaps, 1, 1)
                self.draw(f"{block}.torgb.bias", o["img_channels"])
                self.dense(f"{block}.torgb.affine", o["w_dim"], fmaps, bias=1)
                self.attributes[f"{block}.torgb"] = common
            if n and o["architecture"] == "resnet":
                self.conv(f"{block}.skip", n, fmaps, 1, activation="linear", up=2)
            n = fmaps
        names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
        self.attributes[""] = {name: o[name] for name in names}
        self.attributes["synthesis"] = self.init

    def pickled(self) -> torch.Call:
        classes = {
            "": "Generator",
            "mapping": "MappingNetwork",
            "synthesis": "SynthesisNetwork",
            r"synthesis\.b\d+": "SynthesisBlock",
            r".*\.conv\d": "SynthesisLayer",
            r".*\.torgb": "ToRGBLayer",
            r".*\.skip": "Conv2dLayer",
            ".*": "FullyConnectedLayer",
        }
        return build(classes, self.tensors, self.attributes)

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """Images of w [N, layers, w_dim] with the constant noise."""
        o, image, layer = self.options, None, iter(range(99))
        x = np.repeat(self.tensors["synthesis.b4.const"][np.newaxis], len(w), axis=0)
        for r in self.levels:
            block, before = f"synthesis.b{r}", x
            if r > 4:
                x = self._styled(f"{block}.conv0", x, w[:, next(layer)], up=2)
            x = self._styled(f"{block}.conv1", x, w[:, next(layer)])
            if f"{block}.skip.weight" in self.tensors:
                skip = self._weight(f"{block}.skip") / np.sqrt(before.shape[1])
                x = (self.resample(before, skip, up=2) + x) * 0.5**0.5
            image = None if image is None else self.resample(image, None, up=2)
            if f"{block}.torgb.weight" in self.tensors:
                path = f"{block}.torgb"
                style = self.apply_dense(f"{path}.affine", w[:, 2 * r.bit_length() - 5])
                style = style / np.sqrt(style.shape[1])
                y = self.resample(x * style[:, :, np.newaxis, np.newaxis], self._weight(path))
                y = y + self.bias(path)[:, np.newaxis, np.newaxis]
                y = self.act(y, "linear", o["conv_clamp"])
                image = y if image is None else image + y
        return image

    def _weight(self, path: str) -> np.ndarray:
        return self.tensors[f"{path}.weight"].astype(np.float64)

    def _styled(self, path: str, x: np.ndarray, w: np.ndarray, up: int = 1) -> np.ndarray:
        style, weight = self.apply_dense(f"{path}.affine", w), self._weight(path)
        energy = np.einsum("nc,ochw->no", style**2, weight**2)
        y = self.resample(x * style[:, :, np.newaxis, np.newaxis], weight, up=up)
        y = y * (1 / np.sqrt(energy + 1e-8))[:, :, np.newaxis, np.newaxis]
        if self.options["use_noise"]:
            y = y + self.tensors[f"{path}.noise_const"] * self.tensors[f"{path}.noise_strength"]
        y = y + self.bias(path)[:, np.newaxis, np.newaxis]
        return self.act(y, self.options["activation"], self.options["conv_clamp"])


class Discriminator(_Network):
    """The discriminator, with random weights; `options` as in `D_OPTIONS`."""

    def __init__(self, seed: int = 0, **options: Any):
        super().__init__(options, D_OPTIONS, seed)
        o, n, frozen = self.options, 0, []
        act, is_skip = o["activation"], o["architecture"] == "skip"
        cmap = (o["cmap_dim"] or self.widths[4]) if o["c_dim"] else 0
        if cmap:
            self.mapping(0, cmap, o["mapping_activation"])
        for r in self.levels[:0:-1]:
            block, fmaps, fewer = f"b{r}", self.widths[r], self.widths[r // 2]
            is_fp16 = r >= max(2 * self.levels[-1] >> o["num_fp16_res"], 8)
            self.attributes[block] = {"architecture": o["architecture"], "use_fp16": is_fp16}
            self.tensors[f"{block}.resample_filter"] = self.filter
            layers = [("conv0", fmaps, fmaps, 3, 1), ("conv1", fmaps, fewer, 3, 2)]
            if is_skip or not n:
                layers.insert(0, ("fromrgb", o["img_channels"], fmaps, 1, 1))
            if o["architecture"] == "resnet":
                layers.append(("skip", fmaps, fewer, 1, 2))
            for name, inputs, outputs, kernel, down in layers:
                kind, clamp = ("linear", None) if name == "skip" else (act, o["conv_clamp"])
                more = {"activation": kind, "conv_clamp": clamp, "down": down}
                self.conv(f"{block}.{name}", inputs, outputs, kernel, **more)
                if name != "skip":
                    self.draw(f"{block}.{name}.bias", outputs)
                frozen.append(f"{block}.{name}")
            n = fewer
        n, more = self.widths[4], {"activation": act, "conv_clamp": o["conv_clamp"]}
        if is_skip:
            self.conv("b4.fromrgb", o["img_channels"], n, 1, activation=act, conv_clamp=None)
            self.draw("b4.fromrgb.bias", n)
        self.conv("b4.conv", n + o["mbstd_num_channels"], n, 3, **more)
        self.draw("b4.conv.bias", n)
        self.dense("b4.fc", n * 16, n, act)
        self.dense("b4.out", n, cmap or 1)
        self.attributes["b4"] = {"architecture": o["architecture"], "cmap_dim": cmap}
        if o["mbstd_num_channels"]:
            sizes = {"group_size": o["mbstd_group_size"], "num_channels": o["mbstd_num_channels"]}
            self.attributes["b4.mbstd"] = sizes
        else:
            self.attributes["b4"]["mbstd"] = None
        names = ("c_dim", "img_resolution", "img_channels")
        self.attributes[""] = {**{name: o[name] for name in names}, **self.init}
        frozen = frozen[: o["freeze_layers"]]
        self.frozen = tuple(f"{p}.{leaf}" for p in frozen for leaf in ("weight", "bias"))

    def pickled(self) -> torch.Call:
        classes = {
            "": "Discriminator",
            "mapping": "MappingNetwork",
            r"b4": "DiscriminatorEpilogue",
            r"b\d+": "DiscriminatorBlock",
            r"b4\.mbstd": "MinibatchStdLayer",
            r"b\d+\.(conv\d?|fromrgb|skip)": "Conv2dLayer",
            ".*": "FullyConnectedLayer",
        }
        return build(classes, self.tensors, self.attributes, self.frozen)

    def __call__(self, images: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Scores [N, 1]."""
        o, x, y = self.options, None, images.astype(np.float64)
        for r in self.levels[:0:-1]:
            x = self._from_rgb(f"b{r}", x, y)
            before = x
            x = self._conv(f"b{r}.conv1", self._conv(f"b{r}.conv0", x))
            if o["architecture"] == "resnet":
                x = (x + self._conv(f"b{r}.skip", before)) * 0.5**0.5
            if o["architecture"] == "skip":
                y = self.resample(y, None, down=2)
        x = self._from_rgb("b4", x, y)
        if o["mbstd_num_channels"]:
            x = np.concatenate([x, self._deviation(x)], axis=1)
        x = self.apply_dense("b4.out", self.apply_dense("b4.fc", self._conv("b4.conv", x)))
        if not o["c_dim"]:
            return x
        m = self.apply_mapping(None, c)
        return (x * m).sum(axis=1, keepdims=True) / np.sqrt(m.shape[1])

    def _from_rgb(self, block: str, x: np.ndarray | None, y: np.ndarray) -> np.ndarray:
        if f"{block}.fromrgb.weight" not in self.tensors:
            return x
        new = self._conv(f"{block}.fromrgb", y)
        return new if x is None else x + new

    def _conv(self, path: str, x: np.ndarray) -> np.ndarray:
        a = self.attributes[path]
        weight = self.tensors[f"{path}.weight"].astype(np.float64) * a["weight_gain"]
        y = self.resample(x, weight, down=a["down"])
        if f"{path}.bias" in self.tensors:
            y = y + self.bias(path)[:, np.newaxis, np.newaxis]
        return self.act(y, a["activation"], a["conv_clamp"])

    def _deviation(self, x: np.ndarray) -> np.ndarray:
        features = self.options["mbstd_num_channels"]
        group = min(self.options["mbstd_group_size"] or len(x), len(x))
        found = np.zeros([len(x), features, 4, 4])
        groups = len(x) // group
        for g in range(groups):
            deviation = np.sqrt(x[g::groups].var(axis=0) + 1e-8)
            found[g::groups] = deviation.reshape(features, -1).mean(axis=1)[:, None, None]
        return found


def normalized(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
