"""Time per image and memory of metrics, beside generator and feature network alone.

    python tests/benchmarks/metrics.py --resolution=64 --inception=inception-2015-12-05.tgz

Without --inception a network of its shapes with random weights serves, which is many times faster,
so that everything around it weighs more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "metrics"))

from dnnlib import tflib  # isort: skip
import numpy as np
import standins

from dnnlib.tflib import Network
from metrics.evaluation import Evaluation, MetricOptions
from metrics.feature_networks import FeatureSources
from metrics.frechet_inception_distance import FID, fid_of_moments, streaming_moments
from metrics.kernel_inception_distance import KID


def memory_mb() -> int:
    """The most that this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measure(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    rng = np.random.default_rng(0)
    shape = [256, 3, args.resolution, args.resolution]
    dataset = standins.make_dataset(folder / "noise", rng.integers(0, 256, shape, dtype=np.uint8))
    inception = args.inception or str(standins.save_inception(folder / "inception.tgz"))
    sources = FeatureSources({"inception": inception})
    options = MetricOptions({"tfrecord_dir": dataset}, seed=0, sources=sources)
    size = {"num_channels": 3, "resolution": args.resolution}
    size |= {"fmap_base": args.fmap_base, "fmap_max": args.fmap_max}
    figures: dict[str, float] = {}
    with tflib.graph_session(seed=0):
        Gs = Network("Gs", "training.networks_stylegan2.G_main", **size)
        with Evaluation(Gs, "x", options) as evaluation:
            network, n = sources.get("inception"), evaluation.minibatch
            graph = evaluation._feature_graph(network, "features")
            rows = {"latents": evaluation.latents(0, n), "labels": evaluation.labels(0, n)}
            # The first runs plan and allocate.
            list(evaluation.fake_features(network, 4 * n))
            steps = max(args.images // n, 1)

            def networks_alone() -> float:
                start = time.perf_counter()
                for _ in range(steps):
                    graph.run(rows, evaluation.noise_seed(0))
                return (time.perf_counter() - start) / steps / n * 1e3

            figures["networks_alone_before_ms"] = networks_alone()
            for factor in (1, args.factor):
                metric = FID("fid", steps * n * factor, max_reals=None)
                metric.use_features(sources)
                start = time.perf_counter()
                moments = streaming_moments(evaluation.fake_features(network, metric.num_fakes))
                seconds = time.perf_counter() - start
                figures[f"fid_{metric.num_fakes}_images_ms"] = seconds / metric.num_fakes * 1e3
                figures[f"memory_mb_after_{metric.num_fakes}_images"] = memory_mb()
            figures["networks_alone_after_ms"] = networks_alone()
            start = time.perf_counter()
            fid_of_moments(moments, moments)
            figures["distance_of_moments_s"] = time.perf_counter() - start
            metric = KID("kid", steps * n, max_reals=None)
            metric.use_features(sources)
            start = time.perf_counter()
            metric.run(evaluation)
            figures["kid_s"] = time.perf_counter() - start
            figures["memory_mb_after_kid"] = memory_mb()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--fmap-base", type=int, default=2048)
    parser.add_argument("--fmap-max", type=int, default=128)
    parser.add_argument("--images", type=int, default=2304)
    parser.add_argument("--factor", type=int, default=3, help="so many times as many, for memory")
    parser.add_argument("--inception", help="inception-2015-12-05.tgz")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # What was compiled is kept; statistics are not.
        os.environ["DNNLIB_CACHE_DIR"] = os.path.join(folder, "cache")
        figures = measure(args, Path(folder))
    print(json.dumps({**vars(args), **{k: round(v, 3) for k, v in figures.items()}}, indent=1))


if __name__ == "__main__":
    main()
