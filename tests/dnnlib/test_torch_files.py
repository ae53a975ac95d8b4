"""Files of PyTorch: those that it wrote, and others that were made to harm."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_files as made
from torch_files import Call, Named, Persistent, storage, tensor

from dnnlib import UserError
from dnnlib.torch_files import read_state_dict

DATA = Path(__file__).parents[1] / "data/torch"
NUMBERS = np.arange(24, dtype=np.float32)
# What data/torch/make.py saves.
SAVED = {
    "linear.weight": np.float32([[0.25, 0.25]]),
    "linear.bias": np.float32([-1]),
    "whole": NUMBERS.reshape(2, 3, 4),
    "turned": NUMBERS.reshape(4, 6).T,
    "part": NUMBERS.reshape(4, 6)[1:3, ::2],
    "scalar": np.float64(2.5),
    "empty": np.zeros([0, 3], np.float32),
    "half": np.float16(NUMBERS[:4] / 8),
    "brain": NUMBERS[:4] / 8,
    "count": np.array([-1, 1 << 40]),
    "flags": np.array([True, False]),
    "parameter": np.ones([2, 2], np.float32),
}
FOUR = np.float32([1, 2, 3, 4]).tobytes()


def read(content, folder, *names):
    path = folder / "x.pth"
    path.write_bytes(content)
    return read_state_dict(str(path), *names)


def one(made_tensor, storages=None):
    """A file with one tensor and a storage of four numbers."""
    return made.archive({"x": made_tensor}, {"0": FOUR} if storages is None else storages)


def view(offset, shape, strides, count=4):
    return tensor(storage("0", count), offset, shape, strides)


def laughs():
    """Lists of the same lists: a small file that takes for ever to print, compare or copy."""
    value = [0]
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize("kind", ["zip", "row"])
def test_what_pytorch_wrote(kind):
    found = read_state_dict(str(DATA / f"state_dict.{kind}.pth"))
    assert list(found) == list(SAVED)
    for name, expected in SAVED.items():
        np.testing.assert_array_equal(found[name], expected, strict=True)
    some = read_state_dict(str(DATA / f"state_dict.{kind}.pth"), ["part", "none"])
    assert list(some) == ["part"]


def test_the_heads_of_lpips():
    path = DATA / "lpips-0.1.4-vgg.pth"
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("a78928a0af1e5f0f")
    found = read_state_dict(str(path))
    shapes = {f"lin{i}.model.1.weight": n for i, n in enumerate([64, 128, 256, 512, 512])}
    assert {name: array.shape for name, array in found.items()} == {
        name: (1, n, 1, 1) for name, n in shapes.items()
    }
    assert all((array > 0).all() for array in found.values())  # The authors clip them at 0.


@pytest.mark.parametrize("form", ["archive", "row"])
def test_how_older_versions_wrote_parameters(tmp_path, form):
    old = Call(Named("torch._utils", "_rebuild_tensor"), (storage("0", 4), 1, (3,), (1,)))
    parameter = Named("torch.nn.parameter", "Parameter")
    rebuild = Named("torch._utils", "_rebuild_parameter")
    root = {
        "tensor": old,
        "late": Call(parameter, (), (old, None, {}, True, False)),
        "early": Call(parameter, (old,), (True, False, {})),
        "rebuilt": Call(rebuild, (old, True, {})),
        "steps": 7,
    }
    found = read(getattr(made, form)(root, {"0": FOUR}), tmp_path)
    assert list(found) == ["tensor", "late", "early", "rebuilt"]
    for array in found.values():
        np.testing.assert_array_equal(array, np.float32([2, 3, 4]), strict=True)


VIEW = view(0, (4,), (1,))
HOSTILE = {
    "a call": (one(Call(Named("os", "system"), ("true",))), r"names os\.system, .* not|executed"),
    "a module": (one(Call(Named("torch.nn.modules.linear", "Linear"), (), {})), "names torch.nn"),
    "a code": (one(Call(Named("torch", "_utils"), ())), r"names torch\._utils, which has no place"),
    "numbers that are not there": (one(view(0, (5,), (1,))), "in a storage of 4 numbers"),
    "a storage that is not there": (one(VIEW, {}), "its storage 0 of 4 numbers has 0 bytes"),
    "a short storage": (one(VIEW, {"0": FOUR[:8]}), "its storage 0 of 4 numbers has 8 bytes"),
    "an offset": (one(view(2, (3,), (1,))), "offset 2 and strides"),
    "a negative offset": (one(view(-1, (2,), (1,))), "offset -1"),
    "a negative step": (one(view(3, (4,), (-1,))), r"strides \[-1\]"),
    "a step of 0": (one(view(0, (1 << 40,), (0,))), r"strides \[0\]"),
    "overlaps": (one(view(0, (2, 2), (1, 1))), r"strides \[1, 1\]"),
    "more overlaps": (one(view(0, (3, 2), (1, 1))), r"strides \[1, 1\]"),
    "a negative size": (one(view(0, (-1, -4), (1, 1))), r"shape \[-1, -4\]"),
    "a size beyond 64 bits": (one(view(0, (1 << 70,), (1,))), "which|storage of 4"),
    "a size of truth": (one(view(0, (True,), (1,))), r"shape \[True\]"),
    "a shape of laughs": (one(view(0, (laughs(),), (1,))), "sizes that are no numbers"),
    "an offset of laughs": (one(view(laughs(), (4,), (1,))), "sizes that are no numbers"),
    "strides of laughs": (
        one(view(0, (2, 2), (laughs(), laughs()))), "sizes that are no numbers"
    ),
    "storages of laughs": (
        made.row({"x": VIEW}, {"0": FOUR}).replace(
            made.pickled(["0"], is_row=True), made.pickled([laughs()], is_row=True)
        ),
        "not those that its tensors need",
    ),
    "many sizes": (one(view(0, (1,) * 17, (1,) * 17)), "makes a tensor in a way"),
    "sizes that differ": (one(view(0, (2, 2), (1,))), "makes a tensor in a way"),
    "no storage": (one(tensor("x", 0, (1,), (1,))), "makes a tensor in a way"),
    "a huge storage": (one(view(0, (1,), (1,), 1 << 45)), "35184372088832 numbers has 16 bytes"),
    "a negative storage": (one(view(0, (0,), (1,), -1)), "without name or size"),
    "a part of a storage": (
        one(tensor(storage("0", 4, "FloatStorage", ("1", 0, 2)), 0, (1,), (1,))),
        "storage of an unknown kind",
    ),
    "a storage of objects": (one(tensor(storage("0", 4, "Storage"), 0, (1,), (1,))), "names torch"),
    "something else outside": (one(Persistent(("module", "x"))), "refers to something else"),
    "a storage of two kinds": (
        made.archive([VIEW, view(0, (1,), (1,), 2)], {"0": FOUR}), "describes its storage 0 in two",
    ),
    "a bomb": (made.archive({str(i): VIEW for i in range(2000)}, {"0": FOUR * 99}), "bytes"),
    "views without end": (
        made.archive(
            {str(i): view(0, (99_999,), (1,), 99_999) for i in range(3)}, {"0": bytes(399_996)}
        ),
        "more data than it holds: a bomb",
    ),
    "a list": (made.archive([VIEW], {"0": FOUR}), "holds no tensors with names"),
    "a zip bomb": (
        made.archive({"x": VIEW}, {"0": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED),
        "it is compressed",
    ),
    "another zip file": (made.archive({}, {}).replace(b"data.pkl", b"data.txt"), "something else"),
    "a program": (made.archive({}, {}, {"constants.pkl": b""}), "program.*state_dict"),
    "another byte order": (made.archive({}, {}, {"byteorder": b"big"}), "another byte order"),
    "a large pickle": (made.archive(bytes((16 << 20) + 1), {}), "pickle of more than"),
    "no pickle": (made.archive(b"nothing", {}), "cannot read|operation"),
    "a row of another kind": (made.row({}, {}, (1, 2, {})), "none that torch.save wrote"),
    "another order in a row": (
        made.row({}, {}, (made.MAGIC, made.PROTOCOL, {"little_endian": False})), "byte order",
    ),
    "a row without storages": (made.row({"x": VIEW}, {}), "not those that its tensors need"),
    "a row of other storages": (made.row({}, {"0": FOUR}), "not those that its tensors need"),
    "a short row": (made.row({"x": VIEW}, {"0": FOUR})[:-1], "its storage 0 of 4 numbers has 15"),
    "a row of a wrong count": (
        made.row({"x": VIEW}, {"0": FOUR})[:-24] + struct.pack("<q", 1 << 62) + FOUR,
        "its storage 0 of 4 numbers",
    ),
    "text": (b"<html>", "no file that torch.save wrote"),
    "nothing": (b"", "no file that torch.save wrote"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_claim_what_is_not_so(name, tmp_path):
    content, message = HOSTILE[name]
    with pytest.raises(UserError, match=message) as refused:
        read(content, tmp_path)
    assert str(refused.value).count("\n") == 0 and "x.pth" in str(refused.value)


def test_members_that_lie_in_each_other(tmp_path):
    """A zip file whose second member is the first one, as bombs have it."""
    content = made.archive({"x": VIEW}, {"0": bytes(4000), "1": bytes(4000)})
    place = content.rindex(b"state/data/1")
    where = content.rindex(b"PK\1\2", 0, place) + 42  # Offset of the local header.
    first = content.rindex(b"PK\1\2", 0, content.rindex(b"state/data/0")) + 42
    content = content[:where] + content[first : first + 4] + content[where + 4 :]
    with pytest.raises(UserError, match="bytes"):
        read(content, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "row"])
def test_damaged_files(kind, tmp_path):
    """Whatever was cut off or changed: what it should be, or one line."""
    whole = (DATA / f"state_dict.{kind}.pth").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in rng.integers(0, len(whole), 60)]
    for place in rng.integers(0, len(whole), 240):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        try:
            read(content, tmp_path)
        except UserError as error:
            refused += 1
            assert str(error).count("\n") == 0
    assert refused > 100


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(UserError, match="pipe"):
        read_state_dict(str(tmp_path / "x.pth"))
