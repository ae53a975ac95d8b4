"""A network of PyTorch as it was pickled, and what its layers have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dnnlib.torch_files import Tensor
from dnnlib.torch_modules import Module, ModuleFile
from dnnlib.util import UserError, one_line

FILTER = "resample_filter"  # The buffer of this name.
_CLASSES = frozenset(
    "Generator MappingNetwork SynthesisNetwork SynthesisBlock SynthesisLayer ToRGBLayer "
    "Discriminator DiscriminatorBlock DiscriminatorEpilogue MinibatchStdLayer Conv2dLayer "
    "FullyConnectedLayer".split()
)
_OF_STYLEGAN3 = "SynthesisInput"
_SCALARS = (bool, int, float, str, np.generic)
_USUAL_FILTER = (1, 3, 3, 1)
_CHANNEL_BASE = 32768  # Where a network does not say.


class Layers:
    """A network as PyTorch has it.

    Attributes:
        name: what messages call it.
        modules: {path: module}, itself at "".
        tensors: {path: tensor}, those of all modules.

    Raises:
        UserError: it has modules that no StyleGAN2 network has.
    """

    def __init__(self, name: str, root: Module, file: ModuleFile):
        self.name, self._file = name, file
        self.modules = root.walk()
        for module in self.modules.values():
            if module.class_name == _OF_STYLEGAN3:
                raise UserError(
                    f"its {name} is a network of StyleGAN3, and this software has those of "
                    "StyleGAN2 only"
                )
            if module.class_name not in _CLASSES:
                raise UserError(
                    f"its {name} has the class {one_line(module.class_name, 60)}, which no "
                    "StyleGAN2 network of PyTorch has"
                )
        self.tensors = {
            f"{path}.{key}" if path else key: tensor
            for path, module in self.modules.items()
            for key, tensor in module.tensors.items()
        }

    def array(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor."""
        return self._file.array(tensor)

    def attribute(self, path: str, name: str) -> Any:
        """An attribute of a module, a number or a name, which has to be there."""
        module, shown = self.modules.get(path), one_line(f"{path}.{name}".lstrip("."), 80)
        if module is None or name not in module.state:
            raise UserError(f"its {self.name} lacks {shown}")
        value = module.state[name]
        # Others are not even compared: lists of lists of the same lists take for ever.
        if value is not None and not isinstance(value, _SCALARS):
            raise UserError(f"its {self.name} has {shown} of the type {type(value).__name__}")
        return value

    def size(self, path: str, axis: int) -> int:
        """An axis of a tensor, which has to be there."""
        tensor = self.tensors.get(path)
        if tensor is None or len(tensor.shape) <= axis:
            raise UserError(f"its {self.name} lacks {path}, or it has another shape")
        return tensor.shape[axis]

    def paths(self, classes: str, pattern: str = "") -> list[str]:
        """Modules of classes, apart by spaces, whose path begins with a pattern."""
        return [
            path
            for path, module in self.modules.items()
            if module.class_name in classes.split() and re.match(pattern, path)
        ]

    def common(self, paths: Iterable[str], name: str) -> Any:
        """The attribute that modules have in common; None without modules."""
        values = [self.attribute(path, name) for path in paths]
        for value in values:
            if type(value) is not type(values[0]) or value != values[0]:
                shown = (one_line(repr(v), 40) for v in (values[0], value))
                raise UserError(f"its {self.name} has layers of {name}={' and '.join(shown)}")
        return values[0] if values else None

    def resolutions(self, pattern: str) -> list[int]:
        """Those of its blocks, 4 first, up to the resolution of the images."""
        matches = (re.fullmatch(pattern, path) for path in self.modules)
        found, size = sorted(int(m[1]) for m in matches if m), self.attribute("", "img_resolution")
        if not found or found != [4 << i for i in range(len(found))] or found[-1] != size:
            raise UserError(
                f"its {self.name} has blocks of {', '.join(map(str, found[:12])) or 'no'} pixels "
                f"for images of {one_line(size, 20)}"
            )
        return found

    def resample_kernel(self) -> dict[str, Any]:
        """The keyword argument, which layers that change the size have in common."""
        found: list[np.ndarray] = []
        for module in self.modules.values():
            changes = 2 in (module.state.get("up"), module.state.get("down"))
            if (changes or module.class_name.endswith("Block")) and FILTER in module.buffers:
                taps = self.array(module.buffers[FILTER])
                if not any(np.array_equal(taps, known) for known in found):
                    found.append(taps)
        if not found:
            return {}
        taps = found[0].sum(axis=1) if found[0].ndim == 2 else found[0]
        total = taps.sum()
        is_whole = taps.ndim == 1 and bool(np.isfinite(total)) and total != 0
        if is_whole and found[0].ndim == 2:
            is_whole = found[0].shape == (len(taps),) * 2
            is_whole = is_whole and np.allclose(np.outer(taps, taps), found[0] * total, atol=1e-6)
        if len(found) > 1 or not is_whole:
            raise UserError(f"its {self.name} has filters that are not one and separable")
        usual = np.divide(_USUAL_FILTER, sum(_USUAL_FILTER))
        is_usual = taps.shape == usual.shape and np.array_equal(taps, usual.astype(np.float32))
        return {"resample_kernel": [*(_USUAL_FILTER if is_usual else map(float, taps))]}

    def images(self, resolutions: list[int], blocks: list[str]) -> dict[str, Any]:
        """Keyword arguments of every network with images at one end.

        Args:
            resolutions: of its blocks.
            blocks: paths of those that may be computed in float16.
        """
        return {
            "num_channels": self.attribute("", "img_channels"),
            "resolution": resolutions[-1],
            "label_size": self.attribute("", "c_dim"),
            "num_fp16_res": sum(self.attribute(path, "use_fp16") is True for path in blocks),
            **self.resample_kernel(),
        }

    def fmaps(self, widths: Mapping[int, int], path: str) -> dict[str, int]:
        """Keyword arguments that give feature maps {resolution: number}.

        Args:
            widths: the numbers.
            path: of the module that was told how many there should be.
        """
        told = self.modules[path].state.get("_init_kwargs")
        told = told.get("channel_base") if isinstance(told, Mapping) else None
        # With as many at all resolutions, several bases fit; fmap_max is also that of D's Dense0.
        least, most = max(r * n for r, n in widths.items()), widths[4]
        for base in (told if type(told) is int else _CHANNEL_BASE, least):
            if all(min(base // r, most) == n for r, n in widths.items()):
                return {"fmap_base": base // 2, "fmap_max": most}
        shown = ", ".join(f"{n} at {r}" for r, n in widths.items())
        raise UserError(f"its {self.name} has feature maps that no fmap_base gives: {shown}")
