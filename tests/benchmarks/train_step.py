"""Seconds per kimg of training, beside what one plain TensorFlow convolution reaches here.

    python tests/benchmarks/train_step.py --resolution=64 --fmap-base=2048 --fmap-max=128 --batch=16

Random images; losses, regularisation intervals and weight average as in a real run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import tflib  # isort: skip
import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network, autosummary
from training.dataset import TFRecordDataset
from training.datasets.levels import finest_log2
from training.datasets.records import RecordWriter
from training.options import preset, set_network_size
from training.schedule import training_schedule
from training.train_graph import TrainGraph
from training.training_loop import complete_options


def conv_gflops(seconds: float = 2.0) -> float:
    """GFLOP/s of a 3×3 convolution of 128 to 128 maps on 16 images of 64×64."""
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


def seconds_per_kimg(args: argparse.Namespace, folder: str) -> float:
    """Mean over whole cycles of 16 minibatches, which hold every regularisation once."""
    path = Path(folder) / "noise"
    path.mkdir()
    rng = np.random.default_rng(0)
    with RecordWriter(str(path), "noise", list(range(finest_log2(*[args.resolution] * 2), 1, -1))) as writer:
        for _ in range(64):
            image = rng.integers(0, 256, [3, args.resolution, args.resolution], dtype=np.uint8)
            writer.add(image)
    options = preset(args.config)
    options.sched_args.minibatch_size_base = args.batch
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size)
    dataset = TFRecordDataset(str(path))
    options = complete_options(options, dataset)
    with tflib.graph_session(seed=0):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        graph = TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/cpu:0"])
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        batches = dataset.minibatches(0, args.batch)
        sched = training_schedule(0, dataset.resolution_log2, 1, options.sched_args)
        graph.step(sched, 0, 0, *next(batches))  # The first run of every op plans and allocates.
        start = time.perf_counter()
        for i in range(args.cycles * options.D_reg_interval):
            graph.step(sched, i * args.batch, i, *next(batches))
        images = args.cycles * options.D_reg_interval * args.batch
        result = (time.perf_counter() - start) / images * 1000
        batches.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="config-f")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--fmap-base", type=int, default=2048)
    parser.add_argument("--fmap-max", type=int, default=128)
    parser.add_argument("--latent-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cycles", type=int, default=1, help="of 16 minibatches")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "conv_gflops_before": round(conv_gflops(), 1),
            "sec_per_kimg": round(seconds_per_kimg(args, folder), 2),
            "conv_gflops_after": round(conv_gflops(), 1),
        }
    print(json.dumps({**vars(args), **figures}))


if __name__ == "__main__":
    main()
