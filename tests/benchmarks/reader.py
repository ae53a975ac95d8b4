"""How fast training data is read: minibatches of a dataset, shuffled over epochs.

    python tests/benchmarks/reader.py datasets/shirts [--batch=32] [--seconds=5] [--lod=0]

Prints images per second by one consumer, with the background threads that training has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import cli
from training.dataset import TFRecordDataset


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("tfrecord_dir", type=cli.path)
    parser.add_argument("--batch", type=cli.integer(1), default=32)
    parser.add_argument("--seconds", type=cli.number(0.1), default=5.0)
    parser.add_argument("--lod", type=cli.integer(0), default=0)
    args = parser.parse_args()
    dataset = TFRecordDataset(args.tfrecord_dir)
    batches = dataset.minibatches(0, args.batch, args.lod)
    next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < args.seconds:
        count += len(next(batches)[0])
    seconds = time.perf_counter() - start
    batches.close()
    result = {"shape": dataset.shape, "batch": args.batch, "cores": os.cpu_count()}
    print(json.dumps({**result, "images_per_second": round(count / seconds, 1)}))


if __name__ == "__main__":
    cli.run(main)
