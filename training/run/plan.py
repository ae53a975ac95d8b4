"""What a run is going to be, for `--dry-run`: how long, how large, what it writes."""

from __future__ import annotations

import re
import time

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network, tfutil
from dnnlib.util import format_time
from training.config.comparison_methods import find_method
from training.config.memory import describe_memory
from training.config.options import TrainingOptions
from training.config.schedule import DEFAULT_GROUP, schedule_notes, tick_kimg, training_schedule
from training.run.data import complete_options, open_dataset
from training.run.reports import kimg_text
from training.snapshots.build_functions import find_for_options

# Of what one plain convolution reaches, so much does a step (tests/benchmarks/train_step.py).
_EFFICIENCY = 0.8
# Ends of the names of losses that have them, unless `pl_weight` is 0.
_HAS_PATH_LENGTHS = ("pathreg", "G_zcr", "G_auxrot")


def describe(options: TrainingOptions) -> str:
    """Images, ticks, snapshots, parameters, and an estimate of the time.

    Raises:
        UserError: the dataset cannot be read, or the networks cannot be built.
    """
    dataset = open_dataset(options)
    dataset.close()
    options = complete_options(options, dataset)
    with tflib.graph_session():
        G = Network("G", **find_for_options(options.G_args, "G_args"))
        D = Network("D", **find_for_options(options.D_args, "D_args"))
        parameters = [_count(net) for net in (G, D)]
        flops = _flops(options, G, D)
    speed, device = convolution_speed()
    devices = options.num_gpus if tfutil.gpu_devices() else 1  # Replicas share a CPU.
    seconds = options.total_kimg * 1000 * flops / (speed * _EFFICIENCY * devices)
    memory = describe_memory(options, dataset.resolution, options.num_gpus)
    held_out = f" and {dataset.num_held_out} held out" if dataset.num_held_out else ""
    lines = [
        f"Images: {dataset.num_images} {dataset.shape}{held_out}, seen "
        f"{options.total_kimg * 1000 / dataset.num_images:.1f} times each",
        *_schedule_lines(options, dataset.resolution_log2),
        *filter(None, [memory]),
        f"Parameters: {parameters[0]:,} in G, {parameters[1]:,} in D",
        f"Time: about {format_time(seconds)} by {flops / 1e9:.1f} TFLOP a kimg, at "
        f"{_EFFICIENCY:.0%} of the {speed / 1e9:.0f} GFLOP/s that a convolution reaches now on "
        f"{device}; small networks and minibatches are slower than that",
    ]
    return "\n".join(lines)


def _schedule_lines(options: TrainingOptions, resolution_log2: int) -> list[str]:
    sched_args, num_gpus = options.sched_args, options.num_gpus
    start = training_schedule(0, resolution_log2, num_gpus, sched_args)
    tick_length = tick_kimg(start, options.total_kimg)
    tick_nimg = -(-tick_length * 1000 // start.minibatch_size) * start.minibatch_size
    ticks = 1 + round(options.total_kimg * 1000 / tick_nimg)
    snapshots = 1 + -(-(ticks - 1) // options.network_snapshot_ticks)
    rounds = start.minibatch_size // (start.minibatch_gpu * num_gpus)
    notes = schedule_notes(
        resolution_log2,
        num_gpus,
        options.D_args.get("mbstd_group_size", DEFAULT_GROUP),
        sched_args,
    )
    return [
        f"Length: {kimg_text(round(options.total_kimg * 1000))} kimg in steps of "
        f"{start.minibatch_size} images, {start.minibatch_gpu} at once on each of {num_gpus} "
        f"devices, {rounds} rounds",
        f"Ticks: about {ticks} of {kimg_text(round(tick_nimg))} kimg; snapshots: about "
        f"{snapshots}, every {options.network_snapshot_ticks} ticks and at the end",
        *(f"Warning: {note}" for note in notes),
    ]


def _count(network: Network) -> int:
    return sum(int(np.prod(v.shape.as_list())) for v in network.trainables.values())


def _flops(options: TrainingOptions, G: Network, D: Network) -> float:
    """Of a step for each image, roughly. A gradient by the weights, and one by the inputs of a
    layer, cost as much as the layer.
    """
    g, d = (_forward_flops(net) for net in (G, D))
    g_times, d_times = find_method(options.cmethod).passes
    G_step = 3 * g * g_times + 2 * d * d_times
    D_step = g * g_times + 6 * d * d_times  # Reals and fakes.
    lazy = options.lazy_regularization
    # Gradients of gradients. Path lengths are those of half a minibatch.
    G_reg = 3 * g / (options.G_reg_interval if lazy else 1)
    D_reg = 6 * d / (options.D_reg_interval if lazy else 1)
    loss = options.G_loss_args
    has_path_lengths = loss["func_name"].endswith(_HAS_PATH_LENGTHS) and loss.get("pl_weight", 1)
    return G_step + D_step + D_reg + G_reg * bool(has_path_lengths)


def _forward_flops(network: Network) -> float:
    """Of one image, at full resolution."""
    height, width = network.static_kwargs.get("base_size", (4, 4))
    total = 0.0
    for name, var in network.vars.items():
        shape = var.shape.as_list()
        scope = re.search(r"(\d+)x\1/", name)
        if len(shape) == 4 and scope and name.endswith("weight"):
            positions = int(scope[1]) ** 2 * (height * width / 16)
            # Computed at the lower of two resolutions.
            positions /= 4 if "_up" in name or "_down" in name else 1
            total += 2.0 * positions * np.prod(shape)
        elif len(shape) == 2:
            total += 2.0 * np.prod(shape)
    return total


def convolution_speed() -> tuple[float, str]:
    """FLOP/s of 3×3 kernels on [4, 64, 64, 128] in float32, and on which device it is."""
    device = next(iter(tfutil.gpu_devices()), "/cpu:0")
    with tflib.graph_session(), tf.device(device):
        images = tf.ones([4, 64, 64, 128]) + tf.random.uniform([])  # No constant to be folded.
        kernels = tf.ones([3, 3, 128, 128])
        op = tf.reduce_sum(tf.nn.conv2d(images, kernels, 1, "SAME"))
        tflib.run(op)
        times = []
        for _ in range(3):
            start = time.monotonic()
            tflib.run(op)
            times.append(time.monotonic() - start)
    return 2.0 * 4 * 64 * 64 * 9 * 128 * 128 / min(times), device
