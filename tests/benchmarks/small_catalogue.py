"""What ADA and fine-tuning bring on a small catalogue, by the commands that a user would run.

    python tests/benchmarks/small_catalogue.py PHOTOS WORKDIR

PHOTOS holds a folder of JPEG photos for each class, among them `dress` and `shoes`. Two questions:

- Trained on 1,000 photos, without augmentation and with ADA, how far are the pictures from photos
  that were held out, and what does the augmentation strength p do?
- After how many images does a network for dresses that started from one for shoes reach what one
  from scratch reaches?

Distances are Fréchet distances of features of a small classifier (feature_network.py), which learns
from the held-out photos only: no photo that a generator has seen shapes the features, so that
nothing is gained by repeating it.

Every command is printed. What WORKDIR has already is kept, and interrupted runs are resumed:
call it again. WORKDIR gets curves.png, fakes.png and a table on the screen.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import UserError, cli  # isort: skip
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TRAINING_PHOTOS = 1000
DATA_OPTIONS = "--resolution=32 --transform=pad-white"
NETWORK_OPTIONS = (
    "--cfg=cifar --fmap-base=512 --fmap-max=64 --latent-size=64 --ema-kimg=5 --precision=mixed"
)
GRID = "12x3"


class Run(NamedTuple):
    """A training: options of run_training.py, and the dataset that its pictures are measured by.

    Options may hold the network of an earlier run, {NAME}.
    """

    options: str
    reals: str | None
    label: str


# Small minibatches: a discriminator of this size needs tens of thousands of steps, rather than of
# images, to learn the photos by heart.
_CATALOGUE = "--dataset=train --cond=false --batch=8 --kimg=700 --snap=5"
_SINGLE = "--mirror=true --aug=ada --batch=32 --snap=2"
# A weight average of 5 thousand images would show more of the shoes than of what was learned since.
_DRESSES = f"--dataset=dresses {_SINGLE} --ema-kimg=1"
# Runs of a row are trained at the same time, each on a core of its own.
ROWS: tuple[dict[str, Run], ...] = (
    {
        "noaug": Run(f"{_CATALOGUE} --aug=noaug", "heldout", "no augmentation"),
        "ada": Run(f"{_CATALOGUE} --aug=ada", "heldout", "ADA"),
    },
    {
        "shoes": Run(f"--dataset=shoes {_SINGLE} --kimg=60", None, "shoes"),
        "scratch": Run(f"{_DRESSES} --kimg=60", "dresses", "from scratch"),
    },
    {
        "finetuned": Run(f"{_DRESSES} --kimg=20 --resume={{shoes}}", "dresses", "from shoes"),
    },
)
RUNS = {name: run for row in ROWS for name, run in row.items()}


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=cli.path)
    parser.add_argument("workdir", type=cli.path)
    args = parser.parse_args()
    work = Path(args.workdir).resolve()
    make_data(Path(args.photos).resolve(), work)
    features = work / "features.pb"
    if not features.exists():
        data = work / "data"
        script = "tests/benchmarks/feature_network.py"
        execute([script, f"{data}/heldout", str(features), f"--test={data}/train"])
    for row in ROWS:
        train(row, work)
    curves = {name: measure(name, work, features) for name, run in RUNS.items() if run.reals}
    floor = distance_of_reals(work, features)
    draw_curves(curves, floor, work)
    draw_fakes(work)
    print_table(curves, floor)


def execute(*commands: Sequence[str], parallel: bool = False) -> None:
    """Runs scripts of the project at the same time, and prints how one would call them.

    With `parallel`, each has a core of its own (where there is `taskset`), and is silent.
    """
    pinned = parallel and shutil.which("taskset") is not None
    with ExitStack() as stack:
        processes = []
        for i, command in enumerate(commands):
            print("$ python", shlex.join(map(str, command)), flush=True)
            prefix = ["taskset", "-c", str(i % (os.cpu_count() or 1))] if pinned else []
            process = subprocess.Popen(
                [*prefix, sys.executable, *command],
                cwd=ROOT,
                stdout=subprocess.DEVNULL if parallel else None,
            )
            processes.append(stack.enter_context(process))
    for command, process in zip(commands, processes, strict=True):
        if process.returncode:
            raise UserError(
                f"{command[0]} ended with {process.returncode}; what it printed says why"
            )


def make_data(photos: Path, work: Path) -> None:
    """Divides the photos at random, by links, and makes the datasets."""
    files = sorted(photos.glob("*/*.jpg"))
    if len(files) <= TRAINING_PHOTOS:
        raise UserError(
            f"{photos} has {len(files)} files CLASS/NAME.jpg, expected more than {TRAINING_PHOTOS}"
        )
    random.Random(0).shuffle(files)
    for part, chosen in (("train", files[:TRAINING_PHOTOS]), ("heldout", files[TRAINING_PHOTOS:])):
        for file in chosen:
            link = work / "photos" / part / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file)
    divided = work / "photos"
    for name, folder, labels in (
        ("train", divided / "train", ["--labels=folders"]),
        ("heldout", divided / "heldout", ["--labels=folders"]),
        ("shoes", photos / "shoes", []),
        ("dresses", photos / "dress", []),
    ):
        path = work / "data" / name
        if not path.exists():
            options = [*DATA_OPTIONS.split(), *labels]
            execute(["dataset_tool.py", "create_from_images", str(path), str(folder), *options])


def train(row: dict[str, Run], work: Path) -> None:
    """Trains what is not trained yet."""
    commands = []
    for name, run in row.items():
        folder = run_dir(name, work)
        if folder is None:
            networks = {n: run_dir(n, work) for n in RUNS if f"{{{n}}}" in run.options}
            finals = {n: shlex.quote(f"{path}/network-final.pkl") for n, path in networks.items()}
            places = [f"--result-dir={work}/runs/{name}", f"--data-dir={work}/data"]
            options = shlex.split(f"{NETWORK_OPTIONS} {run.options.format(**finals)}")
            commands.append(["run_training.py", *places, *options])
        elif not (folder / "network-final.pkl").exists():
            commands.append(["run_training.py", f"--resume={folder}"])
    execute(*commands, parallel=True)


def run_dir(name: str, work: Path) -> Path | None:
    """The run directory of a run that was started."""
    return next((work / "runs" / name).glob("0*"), None)


def measure(name: str, work: Path, features: Path) -> np.ndarray:
    """Distances of all snapshots of a run, [snapshots, 2]: thousands of images, distance."""
    folder = run_dir(name, work)
    count = len(list(folder.glob("network-snapshot-*.pkl")))
    results = work / "metrics" / name
    if len(curve := read_distances(results)) < count:
        command = f"run_metrics.py --metrics=fid5k_full --dataset={RUNS[name].reals} --seed=0"
        paths = [f"--network={folder}", f"--data-dir={work}/data", f"--feature-net={features}"]
        execute([*command.split(), *paths, f"--result-dir={results}"])
        curve = read_distances(results)
    return curve


def read_distances(results: Path) -> np.ndarray:
    """The distances in the newest run directory below a folder, [snapshots, 2]; [0, 2] if none."""
    files = sorted(results.glob("*/metric-frechet-*.jsonl"))
    lines = files[-1].read_text(encoding="utf-8").splitlines() if files else []
    rows = [json.loads(line) for line in lines]
    return np.array([(row["kimg"], row["results"][""]) for row in rows]).reshape(-1, 2)


def distance_of_reals(work: Path, features: Path) -> float:
    """Distance of the photos trained on and those held out: what a perfect generator would have."""
    from feature_network import read_images

    from dnnlib import tflib
    from dnnlib.tensorflow_loader import load_tensorflow
    from metrics.feature_networks.own_graph import OwnNetwork
    from metrics.frechet_inception_distance import fid_of_moments, streaming_moments

    tf = load_tensorflow()
    with tflib.graph_session() as session:
        x = tf.placeholder(tf.float32, [None, 3, None, None])
        output = OwnNetwork(str(features)).build(x)["features"]
        moments = []
        for name in ("heldout", "train"):
            images, _ = read_images(f"{work}/data/{name}")
            feeds = {x: images.transpose(0, 3, 1, 2)}
            moments.append(streaming_moments([session.run(output, feeds)]))
    return fid_of_moments(*moments)


def first_reach(curve: np.ndarray, level: float) -> float | None:
    """Thousands of images at which a curve [n, 2] is first at or below a level; None: never."""
    reached = curve[curve[:, 1] <= level, 0]
    return float(reached[0]) if len(reached) else None


def draw_curves(curves: dict[str, np.ndarray], floor: float, work: Path) -> None:
    """curves.png: distances of both questions, and p."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6))
    for axes, names in ((left, ("noaug", "ada")), (right, ("scratch", "finetuned"))):
        for name in names:
            axes.plot(*curves[name].T, label=RUNS[name].label)
        axes.set(xlabel="thousands of images", yscale="log")
        axes.legend()
    left.axhline(floor, color="grey", linestyle=":")
    left.set_ylim(top=20)  # What the first snapshots are at says nothing.
    left.set_title(f"{TRAINING_PHOTOS:,} photos: distance to held-out photos", fontsize=10)
    right.set_title("dresses: distance to photos", fontsize=10)
    draw_overfitting(middle, work)
    figure.tight_layout()
    figure.savefig(work / "curves.png", dpi=90)


def draw_overfitting(axes: plt.Axes, work: Path) -> None:
    """r_t of both runs beside its target, and p, from stats.jsonl."""
    for name in ("noaug", "ada"):
        stats = (run_dir(name, work) / "stats.jsonl").read_text(encoding="utf-8")
        ticks = [json.loads(line) for line in stats.splitlines()]
        kimg = [tick["kimg"] for tick in ticks]
        signs = [tick["Loss/signs/real"] for tick in ticks]
        axes.plot(kimg, signs, label=f"$r_t$, {RUNS[name].label}")
    axes.plot(kimg, [tick["augment"] for tick in ticks], label="p, ADA")
    axes.axhline(0.6, color="grey", linestyle=":")
    axes.set(xlabel="thousands of images", ylim=(0, 1))
    axes.set_title("overfitting and strength of augmentation", fontsize=10)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.37))


def draw_fakes(work: Path) -> None:
    """fakes.png: pictures of the last networks without and with ADA, by the same latents."""
    grids = []
    for name in ("noaug", "ada"):
        out = work / f"fakes-{name}.png"
        if not out.exists():
            network = run_dir(name, work) / "network-final.pkl"
            options = [f"--network={network}", f"--grid={GRID}", "--truncation-psi=1"]
            execute(["run_generator.py", "generate-grid", *options, f"--out={out}"])
        grids.append(np.asarray(Image.open(out)))
    space = np.full([16, *grids[0].shape[1:]], 255, np.uint8)
    Image.fromarray(np.concatenate([grids[0], space, grids[1]])).save(work / "fakes.png")


def print_table(curves: dict[str, np.ndarray], floor: float) -> None:
    print(f"{'run':18}{'best':>8} at kimg{'last':>8} at kimg")
    for name, curve in curves.items():
        (best_kimg, best), (last_kimg, last) = curve[curve[:, 1].argmin()], curve[-1]
        print(f"{RUNS[name].label:18}{best:8.2f} {best_kimg:7.0f}{last:8.2f} {last_kimg:7.0f}")
    print(f"Photos trained on: {floor:.2f} from those held out.")
    scratch, finetuned = curves["scratch"], curves["finetuned"]
    for what, level in (("best", scratch[:, 1].min()), ("last", scratch[-1, 1])):
        kimg = first_reach(finetuned, level)
        when = "never" if kimg is None else f"at {kimg:.0f} kimg"
        print(f"From shoes, the {what} distance from scratch ({level:.2f}) is reached {when}.")


if __name__ == "__main__":
    cli.run(main)
