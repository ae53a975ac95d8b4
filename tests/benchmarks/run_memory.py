"""Memory of a run after 100 ticks and after 1,000, each with pictures, a snapshot and a state.

With `--measure`, each snapshot is loaded and used too, in a session of its own, as by metrics.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import numpy as np

from dnnlib import tflib
from training import training_loop
from training.config.options import set_network_size
from training.config.presets import preset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.snapshots import pickles


class Memory:
    """Takes the place of metrics: notes the memory at every snapshot."""

    names = ()

    def __init__(self, measures: bool) -> None:
        self._measures = measures
        self.megabytes: list[float] = []

    def run(self, network_pkl: str, run_dir: str, only: None = None) -> None:
        """Notes the resident memory of this process."""
        if self._measures:
            with tflib.graph_session():
                Gs = pickles.load(network_pkl)[2]
                Gs.run(np.zeros([4, 4], np.float32), np.eye(6, dtype=np.float32)[:4])
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        os.unlink(network_pkl)  # A thousand of them would fill the disk.

    def scalars(self) -> dict[str, float]:
        """Nothing for TensorBoard."""
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=1000)
    parser.add_argument("--measure", action="store_true", help="load and use every snapshot")
    args = parser.parse_args()
    options = preset("config-e", minibatch=4)
    set_network_size(options, fmap_base=32, fmap_max=4, latent_size=4, mapping_layers=1)
    options.sched_args.tick_kimg_base, options.sched_args.tick_kimg_dict = 0.004, {}
    options.total_kimg = args.ticks * 0.004
    options.image_snapshot_ticks = options.network_snapshot_ticks = 1
    options.grid_size = "1080p"
    memory = Memory(args.measure)
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        create_demo(Output(data, shuffle=False, resolution=8), num_images=24)
        options.dataset_args = {"tfrecord_dir": data}
        training_loop.train(options, folder, "memory", memory)
    for tick in (10, 100, 300, 1000, args.ticks):
        if tick <= len(memory.megabytes):
            print(f"tick {tick}: {memory.megabytes[tick - 1]:.0f} MB")


if __name__ == "__main__":
    main()
