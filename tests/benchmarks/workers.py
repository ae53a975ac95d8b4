"""Seconds of a training step with 1, 2 and 3 workers on this machine, and the share of reduction.

    python tests/benchmarks/workers.py --resolution=32 --fmap-base=2048 --fmap-max=128 --batch-gpu=8

Each worker is a process with one replica and as many images, so that the work of a worker stays
the same; what cores it has does not, unless there are as many as `--threads` times workers. The
reduction is timed alone too, of as many numbers as the networks have weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import tflib  # isort: skip
import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.cluster import TF_CONFIG, find_cluster, free_ports, tf_config
from dnnlib.tflib import Network, autosummary
from dnnlib.tflib.workers import ALONE, Alone, Workers
from tests.benchmarks.train_step import add_network_options, make_dataset
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.run.data import Minibatches, complete_options
from training.run.state import trained_variables
from training.run.train_graph import TrainGraph


def measure(args: argparse.Namespace, workers: Alone, folder: str) -> dict[str, float]:
    """Seconds of a step over whole cycles of 16, and of a step's reductions alone."""
    options = preset(args.config, args.resolution, workers.count)
    options.sched_args.minibatch_size_base = args.batch_gpu * workers.count
    options.sched_args.minibatch_gpu_base = args.batch_gpu
    options.num_gpus = workers.count
    set_network_size(options, args.fmap_base, args.fmap_max, args.latent_size)
    dataset = make_dataset(folder, args.resolution)
    options = complete_options(options, dataset)
    with workers.session(seed=0):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        graph = TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/cpu:0"], workers)
        like = [list(net.trainables.values()) for net in (G, D)]
        ones = [[tf.ones(v.shape) * (1 + v[(0,) * v.shape.ndims]) for v in vs] for vs in like]
        reductions = [tf.group(*workers.mean(values)) for values in ones]
        workers.prepare(trained_variables())
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        workers.share()
        sched = training_schedule(0, dataset.resolution_log2, workers.count, options.sched_args)
        batches = Minibatches(dataset, options, workers)
        size = sched.minibatch_size
        steps = args.steps
        graph.step(sched, 0, 0, *batches.fetch(sched, 0)[0])  # The first run plans and allocates.
        start = time.perf_counter()
        for i in range(1, steps + 1):
            graph.step(sched, i * size, i, *batches.fetch(sched, i * size)[0])
        step = (time.perf_counter() - start) / steps
        seconds = [_median(workers, op) for op in reductions]
        batches.close()
        counts = [sum(int(np.prod(v.shape.as_list())) for v in vs) for vs in like]
    # G and D in every step, their regularizers in some.
    share = sum(s * (1 + 1 / n) for s, n in zip(seconds, (4, 16), strict=True))
    return {
        "workers": workers.count,
        "parameters_G_D": counts,
        "step_seconds": round(step, 3),
        "reduction_seconds_G_D": [round(s, 4) for s in seconds],
        "reduction_share": round(share / step, 3),
    }


def _median(workers: Alone, op: tf.Operation, times: int = 5) -> float:
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        workers.run(op)
        found.append(time.perf_counter() - start)
    return sorted(found[1:])[times // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_network_options(parser, resolution=32)
    parser.add_argument("--batch-gpu", type=int, default=8, help="images of a worker")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--counts", default="1,2,3", help="numbers of workers")
    args = parser.parse_args()
    cluster = find_cluster(None, None, False, os.environ)
    if cluster is not None or os.environ.get("ALONE"):
        workers = ALONE if cluster is None else Workers(cluster, 600)
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(args, workers, folder)
        if workers.is_chief:
            print(json.dumps(figures), flush=True)
        os._exit(0)  # Without taking the servers down, as run_training.py ends.
    for count in map(int, args.counts.split(",")):
        processes = []
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        for index in range(count):
            env = {**os.environ, TF_CONFIG: tf_config(addresses, index)}
            env["ALONE"] = "1" if count == 1 else ""
            processes.append(subprocess.Popen([sys.executable, *sys.argv], env=env))
        for process in processes:
            process.wait()


if __name__ == "__main__":
    main()
