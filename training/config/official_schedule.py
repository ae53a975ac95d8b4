"""The schedule of training by its official signature."""

from __future__ import annotations

import dataclasses
from typing import Any

from dnnlib import EasyDict
from training.config import schedule
from training.dataset import TFRecordDataset


def training_schedule(
    cur_nimg: int,
    training_set: TFRecordDataset,
    lod_initial_resolution: int | None = None,
    *,
    minibatch_gpu_base: int = 4,
    lrate_rampup_kimg: float = 0,
    **options: Any,
) -> EasyDict:
    """What changes in the course of training, at one moment.

    Args:
        cur_nimg: images seen.
        training_set: has `resolution_log2`.
        lod_initial_resolution: that progressive growing begins with; None: no growing.
        minibatch_gpu_base: images at once on one device.
        lrate_rampup_kimg: learning rates grow from 0 in the first so many thousands of images.
        options: further fields of `training.config.schedule.ScheduleOptions`.

    Returns:
        The attributes of `training.config.schedule.Schedule`, and `kimg`.
    """
    given = schedule.ScheduleOptions(
        lod_initial_resolution, minibatch_gpu_base=minibatch_gpu_base, **options
    )
    log2 = training_set.resolution_log2
    found = schedule.training_schedule(cur_nimg, log2, num_gpus=1, options=given)
    now = EasyDict(dataclasses.asdict(found), kimg=cur_nimg / 1000)
    if lrate_rampup_kimg > 0:
        share = min(now.kimg / lrate_rampup_kimg, 1)
        now.G_lrate, now.D_lrate = now.G_lrate * share, now.D_lrate * share
    return now
