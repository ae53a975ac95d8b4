"""Seconds per kimg of training, by phase, beside what plain TensorFlow convolutions reach here.

    python tests/benchmarks/train_step.py --resolution=64 --fmap-base=2048 --fmap-max=128 --batch=16

Random images; losses, regularization intervals and weight average as in a real run. The share of
the peak is the work of all convolutions and matrix products that are executed, forward and in
gradients, over the time and over what a plain convolution reaches in the same run. `--ops` prints
where the time goes, by kinds of operations. `--alone` runs the convolutions of a step again, each
by itself: their share is what a step could reach that did nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import tflib  # isort: skip
import numpy as np
import tensorflow.compat.v1 as tf
from op_work import OpWork, by_kind, executed, seconds_alone

from dnnlib.tflib import Network, autosummary
from training.architecture.precision import PRECISIONS, computed_in
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.dataset import TFRecordDataset
from training.datasets.format.level_files import RecordWriter
from training.datasets.format.levels import finest_log2
from training.run.data import complete_options
from training.run.train_graph import TrainGraph


def conv_gflops(seconds: float = 2.0) -> float:
    """GFLOP/s of a 3×3 convolution of 128 to 128 maps on 16 images of 64×64 in float32."""
    with tflib.graph_session():
        x = tf.Variable(tf.random_normal([16, 64, 64, 128]))
        w = tf.Variable(tf.random_normal([3, 3, 128, 128]))
        y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME").op
        tflib.init_uninitialized_vars()
        tflib.run(y)
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            tflib.run(y)
            count += 1
        flops = 2 * 16 * 64 * 64 * 9 * 128 * 128
        return flops * count / (time.perf_counter() - start) / 1e9


def make_dataset(folder: str, resolution: int) -> TFRecordDataset:
    path = Path(folder) / "noise"
    path.mkdir()
    rng = np.random.default_rng(0)
    log2 = finest_log2(resolution, resolution)
    with RecordWriter(str(path), "noise", list(range(log2, 1, -1))) as writer:
        for _ in range(64):
            writer.add(rng.integers(0, 256, [3, resolution, resolution], dtype=np.uint8))
    return TFRecordDataset(str(path))


def measure(args: argparse.Namespace, folder: str) -> tuple[dict[str, float], list[OpWork]]:
    """Seconds of each phase, and per kimg over whole cycles of 16 minibatches; TFLOP a kimg.

    And what is executed for a step in which everything takes place.
    """
    options = preset(args.config, args.resolution, 1, args.batch)
    options.sched_args.minibatch_size_base = args.batch
    options.augment_args.mode = args.aug
    options.augment_args.p = 0.5
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size)
    dataset = make_dataset(folder, args.resolution)
    options = complete_options(options, dataset)
    with tflib.graph_session(seed=0), computed_in(args.precision):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        graph = TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/cpu:0"])
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        batches = dataset.minibatches(0, args.batch)
        sched = training_schedule(0, dataset.resolution_log2, 1, options.sched_args)
        graph.step(sched, 0, 0, *next(batches))  # The first run of every op plans and allocates.
        figures = {}
        feeds = graph._feeds(sched, 0, *next(batches))
        phases = {  # And every how many steps.
            "G": (graph._G_op, 1),
            "G_reg": (graph._G_reg_op, options.G_reg_interval),
            "D": (graph._D_op, 1),
            "D_reg": (graph._D_reg_op, options.D_reg_interval),
            "Gs": (graph._Gs_op, 1),
        }
        ops, flops = [], 0.0
        for name, (op, interval) in phases.items():
            work = [work for feed in feeds for work in executed(op, feed)]
            ops += work
            flops += sum(w.flops for w in work) / interval / args.batch
            start = time.perf_counter()
            for _ in range(3):
                for feed in feeds:
                    tflib.run(op, feed)
            figures[f"{name}_seconds"] = round((time.perf_counter() - start) / 3, 3)
        start = time.perf_counter()
        for i in range(args.cycles * options.D_reg_interval):
            graph.step(sched, i * args.batch, i, *next(batches))
        images = args.cycles * options.D_reg_interval * args.batch
        figures["sec_per_kimg"] = round((time.perf_counter() - start) / images * 1000, 2)
        batches.close()
    return figures | {"tflop_per_kimg": round(flops / 1e9, 2)}, ops


def add_network_options(parser: argparse.ArgumentParser, resolution: int) -> None:
    """`--config`, and sizes with small networks as defaults."""
    parser.add_argument("--config", default="config-f")
    parser.add_argument("--resolution", type=int, default=resolution)
    parser.add_argument("--fmap-base", type=int, default=2048)
    parser.add_argument("--fmap-max", type=int, default=128)
    parser.add_argument("--latent-size", type=int, default=128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_network_options(parser, resolution=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--aug", choices=("noaug", "fixed"), default="noaug", help="p is 0.5")
    parser.add_argument("--cycles", type=int, default=1, help="of 16 minibatches")
    parser.add_argument("--ops", action="store_true", help="print where the time goes")
    parser.add_argument("--alone", action="store_true", help="time its convolutions by themselves")
    args = parser.parse_args()
    before = conv_gflops()
    with tempfile.TemporaryDirectory() as folder:
        figures, ops = measure(args, folder)
    alone = seconds_alone(ops) if args.alone else None
    after = conv_gflops()
    gflops = figures["tflop_per_kimg"] * 1000 / figures["sec_per_kimg"]
    figures |= {
        "conv_gflops_before": round(before, 1),
        "conv_gflops_after": round(after, 1),
        "share_of_conv_peak": round(gflops / ((before + after) / 2), 3),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    if alone is not None:
        gflops_alone = sum(op.flops for op in ops if op.convolution) / alone / 1e9
        figures["share_of_convs_alone"] = round(gflops_alone / ((before + after) / 2), 3)
    for name, value in figures.items():
        print(f"{name:20} {value}")
    if args.ops:
        total = sum(op.seconds for op in ops)
        for op in by_kind(ops)[:20]:
            print(f"{op.kind:30} {op.seconds:7.3f} s {op.seconds / total:6.1%} {op.flops:.2e} FLOP")
    print(json.dumps({**vars(args), **figures}))


if __name__ == "__main__":
    main()
