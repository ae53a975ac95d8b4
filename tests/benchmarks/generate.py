"""Images per second of a generator, and the time to its first image.

python tests/benchmarks/generate.py --config=config-e --resolution=256 --batch=4
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import cli, tflib  # isort: skip
import numpy as np

from dnnlib.tflib import Network
from training.architecture.precision import PRECISIONS, computed_in
from training.config.presets import preset


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="config-e")
    parser.add_argument("--resolution", type=cli.integer(4), default=256)
    parser.add_argument("--batch", type=cli.integer(1), default=4)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--seconds", type=cli.number(1), default=10.0)
    args = parser.parse_args()
    options = preset(args.config, args.resolution)
    with tflib.graph_session(seed=0), computed_in(args.precision):
        start = time.perf_counter()
        G = Network("G", **options.G_args, num_channels=3, resolution=args.resolution)
        latents = np.random.RandomState(0).randn(args.batch, *G.input_shape[1:])
        kwargs = {"minibatch_size": args.batch, "randomize_noise": False}
        G.run(latents, None, **kwargs)
        first = time.perf_counter() - start
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < args.seconds:
            count += len(G.run(latents, None, **kwargs))
        rate = count / (time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {
        "images_per_second": round(rate, 2),
        "seconds_to_first_image": round(first, 1),
        "peak_memory_gb": round(memory, 2),
    }
    print(json.dumps({**vars(args), **figures}))


if __name__ == "__main__":
    cli.run(main)
