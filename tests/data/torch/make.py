"""Writes state_dict.zip.pth and state_dict.row.pth; needs PyTorch (2.13.0 wrote those here)."""

from __future__ import annotations

import sys
from collections import OrderedDict

import torch

numbers = torch.arange(24, dtype=torch.float32)
state = OrderedDict(
    whole=numbers.reshape(2, 3, 4),
    turned=numbers.reshape(4, 6).t(),
    part=numbers.reshape(4, 6)[1:3, ::2],
    scalar=torch.tensor(2.5, dtype=torch.float64),
    empty=torch.zeros(0, 3),
    half=numbers[:4].half() / 8,
    brain=numbers[:4].bfloat16() / 8,
    count=torch.tensor([-1, 1 << 40]),
    flags=torch.tensor([True, False]),
    parameter=torch.nn.Parameter(torch.ones(2, 2)),
)
linear = torch.nn.Linear(2, 1)
torch.nn.init.constant_(linear.weight, 0.25)
torch.nn.init.constant_(linear.bias, -1)
with_metadata = linear.state_dict(prefix="linear.")
with_metadata.update(state)
for kind, is_zip in (("zip", True), ("row", False)):
    path = f"{sys.argv[1]}/state_dict.{kind}.pth"
    torch.save(with_metadata, path, _use_new_zipfile_serialization=is_zip)
