"""The whole way in a few minutes: draw a data set, train on it, generate a grid."""

from __future__ import annotations

import os

from dnnlib import tflib
from training import snapshots
from training.datasets.images import create_demo
from training.generate import generate_grid
from training.options import TrainingOptions, preset, set_network_size
from training.training_loop import train

RESOLUTION = 32
IMAGES = 3000


def demo_options(dataset_dir: str, seed: int | None) -> TrainingOptions:
    """A network that learns 32×32 drawings on two CPU cores in about four minutes."""
    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": dataset_dir}
    set_network_size(options, fmap_base=1024, fmap_max=64, latent_size=64, mapping_layers=2)
    options.D_loss_args["gamma"] = 0.2
    options.G_lrate = options.D_lrate = 0.004
    options.G_smoothing_kimg = 0.5
    options.total_kimg = 40
    options.kimg_per_tick = 2
    options.image_snapshot_ticks = options.network_snapshot_ticks = 2
    if seed is not None:
        options.seed = seed
    return options


def run_demo(result_dir: str, data_dir: str | None, seed: int | None) -> None:
    """Runs the demo and prints what to do next."""
    dataset_dir = os.path.join(data_dir or "datasets", "demo")
    if not os.path.isdir(dataset_dir):
        create_demo(dataset_dir, num_images=IMAGES, resolution=RESOLUTION)
    run_dir = train(demo_options(dataset_dir, seed), result_dir, "stylegan2-demo")
    snapshot = os.path.join(run_dir, "network-final.pkl")
    grid = os.path.join(run_dir, "grid.png")
    with tflib.graph_session():
        generate_grid(snapshots.load_generator(snapshot), (10, 6), range(60), 0.7, grid)
    print(
        f"""
Done. Look at what it learned:
  {grid}                  products that never existed, a row for each kind
  {run_dir}/reals.png     what it learned from
  {run_dir}/fakes*.png    how it learned

Next:
  python run_generator.py generate-grid --network={snapshot} --grid=10x6 --truncation-psi=1 --out=grid.png
  python dataset_tool.py create_from_images datasets/mine PHOTOS --resolution=64 --transform=pad-white
  python run_training.py --data-dir=datasets --dataset=mine --config=config-e
"""
    )
