"""The whole way in a few minutes: draw a dataset, train on it, generate a grid."""

from __future__ import annotations

import os
from collections.abc import Callable

from dnnlib import UserError, tflib
from training.config.command_line import DEMO_RESOLUTION
from training.config.options import TrainingOptions
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.datasets.sources.drawn_products import DEMO_CLASSES
from training.pictures.generation import generate_grid
from training.pictures.provenance import Provenance
from training.snapshots import pickles

_IMAGES = 3000
_GRID = (10, 6)  # A row for each kind of product.


def run_demo(options: TrainingOptions, result_dir: str, train: Callable[..., str]) -> str:
    """Draws the dataset where it is missing, trains, writes `grid.png`, says what to do next.

    Args:
        options: from `demo_options`.
        result_dir: root of the run directories.
        train: `training_loop.train`.

    Returns:
        The run directory.
    """
    dataset_dir = options.dataset_args["tfrecord_dir"]
    if not os.path.isdir(dataset_dir):
        print(f"Drawing {_IMAGES} product pictures...")
        output = Output(dataset_dir, shuffle=False, resolution=DEMO_RESOLUTION)
        create_demo(output, num_images=_IMAGES)
    dataset = TFRecordDataset(dataset_dir)
    dataset.close()
    if (dataset.resolution, dataset.label_size) != (DEMO_RESOLUTION, len(DEMO_CLASSES)):
        raise UserError(f"{dataset_dir} is not the demo's dataset: remove it, or use --data-dir")
    run_dir = train(options, result_dir, "stylegan2-demo-1gpu")
    snapshot = os.path.join(run_dir, "network-final.pkl")
    grid = os.path.join(run_dir, "grid.png")
    with tflib.graph_session():
        Gs = pickles.load_generator(snapshot)
        seeds, marks = range(_GRID[0] * _GRID[1]), Provenance.of(snapshot)
        generate_grid(Gs, _GRID, seeds, 1.0, grid, provenance=marks)
    print(
        f"""
Done. Look at what it learned:
  {grid}       products that never existed, a row for each kind
  {os.path.join(run_dir, "reals.png")}      what it learned from
  {os.path.join(run_dir, "fakes*.png")}     how it learned

Next, more of these, and your own photos:
  python run_generator.py generate-grid --network={snapshot} --grid=16x6 --seeds=100 --out=more.png
  python run_training.py --data=PHOTOS --hours=8"""
    )
    return run_dir
