"""The training loop: steps, ticks, grids, snapshots, logs."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from dnnlib import UserError, tflib
from dnnlib.files import atomic_write
from dnnlib.run_dir import log_output, make_run_dir
from dnnlib.tflib import Network, autosummary, tfutil
from dnnlib.util import format_time
from training import snapshots
from training.dataset import TFRecordDataset
from training.datasets.levels import BASE_LOG2
from training.image_grid import save_image_grid, setup_snapshot_image_grid
from training.interrupts import Interrupts
from training.layers import SQUARE_BASE
from training.options import TrainingOptions
from training.precision import use_mixed_precision
from training.reports import Reports
from training.resume import OPTIONS_FILE, state_path
from training.schedule import Schedule, check_schedule, is_new_lod, training_schedule
from training.train_graph import TrainGraph
from training.training_state import load_state, save_state
from training.transfer import read_weights, transfer

FINAL = "network-final.pkl"
_GRID_STREAM = [0, 0, 0, 2]
# What a run counts, by attributes of `_Run`.
_COUNTERS = ("cur_nimg", "last_nimg", "minibatch", "cur_tick", "tick_start_nimg")
# Deviation: fakes in a grid without a GPU, where the official thousand would take minutes.
_CPU_GRID_IMAGES = 96
# Deviation: short runs have shorter ticks, so that there is something to see while one waits.
_MIN_TICKS = 25
# Fakes that are made at once: bounded by pixels, so that high resolutions fit in memory.
_GRID_MINIBATCH_PIXELS = 1 << 20


class Metrics(Protocol):
    """What measures snapshots; `metrics.metric_base.MetricGroup` is one."""

    def run(self, network_pkl: str, run_dir: str) -> Any:
        """Measures a snapshot and writes the results to a folder; reports what fails."""

    def scalars(self) -> dict[str, float]:
        """The results by name."""


def train(
    options: TrainingOptions, result_dir: str, desc: str, metrics: Metrics | None = None
) -> str:
    """Trains in a new run directory `result_dir/NNNNN-desc`, which is returned.

    Args:
        options: of the run.
        result_dir: root of the run directories.
        desc: what the name of the run directory ends with.
        metrics: measured on every snapshot.

    Raises:
        UserError: as `training_loop`, or `result_dir` cannot be written.
    """
    # What can be checked without networks leaves no run directory behind.
    dataset = TFRecordDataset(**options.dataset_args)
    dataset.close()
    num_replicas = len(tfutil.replica_devices(options.num_gpus))
    group_size = options.D_args.get("mbstd_group_size", 4) or 1
    check_schedule(dataset.resolution_log2, num_replicas, group_size, options.sched_args)
    if options.resume_pkl is not None:
        snapshots.load(options.resume_pkl)
    run_dir = make_run_dir(result_dir, desc)
    with log_output(os.path.join(run_dir, "log.txt")):
        print(f"Run directory: {run_dir}")
        training_loop(options, run_dir, metrics=metrics)
    return run_dir


def resume(
    options: TrainingOptions, run_dir: str, state: str, metrics: Metrics | None = None
) -> None:
    """Goes on with a run in its own directory, as if it had never ended.

    Args:
        options: of the run, as from `training.resume.resumed_options`.
        run_dir: its directory.
        state: path of the state to go on from.
        metrics: measured on every snapshot.

    Raises:
        UserError: as `training_loop`, or the state does not fit.
    """
    with log_output(os.path.join(run_dir, "log.txt")):
        print(f"Resuming {run_dir} from {os.path.basename(state)}")
        training_loop(options, run_dir, state, metrics)


def training_loop(
    options: TrainingOptions,
    run_dir: str,
    state: str | None = None,
    metrics: Metrics | None = None,
) -> str:
    """Trains networks and writes a run directory.

    Args:
        options: of the run; the shape of the data set is filled in here.
        run_dir: existing folder that gets reals.png, fakes*.png, network-snapshot-*.pkl,
            network-final.pkl, training-state-*.npz, stats.jsonl, training_options.json and
            TensorBoard events.
        state: path of a state to go on from; None starts anew.
        metrics: measured on every snapshot.

    Returns:
        Path of the final snapshot.

    Raises:
        UserError: data set or options do not fit.
    """
    devices = tfutil.replica_devices(options.num_gpus)
    training_set = TFRecordDataset(**options.dataset_args, seed=options.seed)
    options = complete_options(options, training_set)
    start = options.resume_pkl if state is None else None
    weights = None if start is None else read_weights(start)
    with tflib.graph_session(options.seed):
        try:
            run = _Run(options, run_dir, training_set, devices, metrics)
            if state is not None:
                run.restore(state)
            if weights is not None:
                networks = {"G": run.G, "D": run.D, "Gs": run.Gs}
                transfer(weights, networks, options.resume_partial)
            _write_options(options, run_dir)
            return run.train()
        finally:
            training_set.close()


def complete_options(options: TrainingOptions, training_set: TFRecordDataset) -> TrainingOptions:
    """The options with the shape of the data filled in."""
    shape = {
        "num_channels": training_set.shape[0],
        "resolution": training_set.resolution,
        "label_size": training_set.label_size,
    }
    doublings = training_set.resolution_log2 - BASE_LOG2
    base_size = tuple(side >> doublings for side in training_set.shape[1:])
    if base_size != SQUARE_BASE:  # Official readers of square networks do not know the keyword.
        shape["base_size"] = base_size
    # A run is resumed from any folder.
    path = os.path.abspath(training_set.tfrecord_dir)
    return dataclasses.replace(
        options,
        dataset_args={**options.dataset_args, "tfrecord_dir": path},
        G_args={**shape, **options.G_args},
        D_args={**shape, **options.D_args},
    )


@dataclass
class _Grid:
    """The images that a run shows at every snapshot."""

    size: tuple[int, int]
    latents: np.ndarray
    labels: np.ndarray


class _Run:
    """One training run in the current graph and session."""

    def __init__(
        self,
        options: TrainingOptions,
        run_dir: str,
        training_set: TFRecordDataset,
        devices: list[str],
        metrics: Metrics | None,
    ):
        self.options = options
        self.metrics = metrics
        self.run_dir = run_dir
        self.training_set = training_set
        self.num_replicas = len(devices)
        print(_describe_data(training_set))
        if os.path.exists("/proc/driver/nvidia") and not tfutil.gpu_devices():
            print(
                "Warning: this machine has an NVIDIA GPU that TensorFlow cannot use: "
                'pip install -e ".[gpu]" brings what it needs'
            )
        if options.precision == "mixed":
            dtype = use_mixed_precision()
            lower = f"in {dtype.name}" if dtype else "not at all: this machine has none faster"
            print(f"Mixed precision: the highest resolutions are computed {lower}")
        print("Constructing networks...")
        self.G = Network("G", **options.G_args)
        self.D = Network("D", **options.D_args)
        self.Gs = self.G.clone("Gs")
        self.G.print_layers()
        self.D.print_layers()
        print(f"Building TensorFlow graph on {', '.join(devices)}...")
        self.graph = TrainGraph(self.G, self.D, self.Gs, training_set, options, devices)
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        self.grid = self._setup_grid()
        self.is_resumed = False
        self.cur_nimg = 0
        self.last_nimg = 0  # Before the last minibatch.
        self.minibatch = 0
        self.cur_tick = 0
        self.tick_start_nimg = 0
        self.seconds = 0.0  # That earlier sessions of the run took.

    def restore(self, path: str) -> None:
        """Goes on from a state."""
        counters = load_state(path)
        images, shape = counters.pop("num_images"), counters.pop("shape")
        data = self.training_set
        if (images, shape) != (data.num_images, data.shape):
            raise UserError(
                f"the data set {data.tfrecord_dir} has changed: it has {data.num_images} images "
                f"{data.shape}, the run was started with {images} images {shape}"
            )
        for name, value in counters.items():
            setattr(self, name, value)
        self.is_resumed = True
        if self._is_over() and os.path.exists(os.path.join(self.run_dir, FINAL)):
            raise UserError(
                f"the run has its {self.cur_nimg / 1000:g} kimg already: "
                "give a larger --total-kimg to train longer"
            )

    def train(self) -> str:
        """Runs to the end, or to Ctrl-C or SIGTERM, which finish the step and save first."""
        options = self.options
        self.reports = Reports(self.run_dir, self.cur_nimg if self.is_resumed else None)
        if not self.is_resumed:
            self._save_fakes("fakes_init.png")
        limit = options.total_seconds
        at_most = "" if limit is None else f", at most {format_time(limit)}"
        start = f" from {self.cur_nimg / 1000:g}" if self.is_resumed else ""
        print(f"Training{start} for {options.total_kimg:g} kimg{at_most}...\n")
        self.tick_start = time.monotonic()
        self.start_time = self.tick_start - self.seconds
        self.maintenance = 0.0
        with Interrupts() as interrupts:
            try:
                self._steps(interrupts)
            except BaseException as error:  # Whatever ends the run, what it learned is saved.
                print(f"Ended by {type(error).__name__} at {self.cur_nimg / 1000:g} kimg")
                self._save_snapshot()
                raise
            finally:
                self.reports.close()
            if interrupts.received is not None:
                self._save_snapshot()
                self._save_state()
                print(f"Ended at {self.cur_nimg / 1000:g} kimg. To go on:")
                print(f"  python run_training.py --resume={self.run_dir}")
                raise interrupts.exception()
        final = os.path.join(self.run_dir, FINAL)
        snapshots.save((self.G, self.D, self.Gs), final)
        return final

    def _steps(self, interrupts: Interrupts) -> None:
        """Trains until the run is over or a signal is received."""
        options = self.options
        sched = self._schedule(self.last_nimg)
        batches = self._minibatches(self._schedule(self.cur_nimg))
        bar = tqdm(
            total=options.total_kimg,
            initial=self.cur_nimg / 1000,
            unit="kimg",
            disable=None,
            leave=False,
            smoothing=0.05,
        )
        # As of a run that was ended between its last step and its last file.
        done = self._is_over()
        try:
            while not done and interrupts.received is None:
                previous, sched = sched, self._schedule(self.cur_nimg)
                if is_new_lod(previous, sched) and options.reset_opt_for_new_lod:
                    self.graph.reset_optimizers()
                if (previous.resolution, previous.minibatch_size) != (
                    sched.resolution,
                    sched.minibatch_size,
                ):
                    batches.close()
                    batches = self._minibatches(sched)
                self.graph.step(sched, self.cur_nimg, self.minibatch, *next(batches))
                self.last_nimg = self.cur_nimg
                self.cur_nimg += sched.minibatch_size
                self.minibatch += 1
                bar.update(sched.minibatch_size / 1000)
                done = self._is_over() or self._out_of_time()
                tick_nimg = self.cur_nimg - self.tick_start_nimg
                tick_kimg = min(sched.tick_kimg, options.total_kimg / _MIN_TICKS)
                if done or self.minibatch == 1 or tick_nimg >= tick_kimg * 1000:
                    with tqdm.external_write_mode():
                        self._tick(sched, tick_nimg, done)
        finally:
            bar.close()
            batches.close()

    def _schedule(self, nimg: int) -> Schedule:
        return training_schedule(
            nimg,
            self.training_set.resolution_log2,
            self.num_replicas,
            self.options.sched_args,
        )

    def _minibatches(self, sched: Schedule) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Reals from the current position on, of the level and size that the schedule says."""
        lod = int(np.floor(sched.lod))
        return self.training_set.minibatches(self.cur_nimg, sched.minibatch_size, lod)

    def _is_over(self) -> bool:
        return self.cur_nimg >= int(self.options.total_kimg * 1000)

    def _out_of_time(self) -> bool:
        limit = self.options.total_seconds
        return limit is not None and time.monotonic() - self.start_time >= limit

    def _tick(self, sched: Schedule, tick_nimg: int, done: bool) -> None:
        """Reports what happened since the last tick, and writes images and snapshots."""
        now = time.monotonic()
        seconds = now - self.tick_start
        stats = {
            "tick": self.cur_tick,
            "kimg": self.cur_nimg / 1000,
            "time": now - self.start_time,
            "sec_per_tick": seconds,
            "sec_per_kimg": seconds / tick_nimg * 1000,
            "maintenance": self.maintenance,
            "resolution": sched.resolution,
            "lod": sched.lod,
            "minibatch": sched.minibatch_size,
            "augment": float(tflib.run(self.graph.augment.strength)),
            "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        self.reports.tick(stats, self._values(), self.cur_nimg)
        options = self.options
        kimg = self.cur_nimg // 1000
        if done or self.cur_tick % options.image_snapshot_ticks == 0:
            self._save_fakes(f"fakes{kimg:06d}.png")
        is_snapshot = done or self.cur_tick % options.network_snapshot_ticks == 0
        self.cur_tick += 1
        self.tick_start_nimg = self.cur_nimg
        if is_snapshot:
            path = self._save_snapshot()
            self._save_state()
            if self.metrics is not None and path is not None:
                self.metrics.run(path, self.run_dir)
                self.reports.scalars(self.metrics.scalars(), self.cur_nimg)
        self.tick_start = time.monotonic()
        self.maintenance = self.tick_start - now

    def _values(self) -> dict[str, float]:
        """Means of what the graph reported since the last tick."""
        moments = autosummary.read_autosummaries()
        skipped = {n: m for n, m in moments.items() if n.endswith("/skipped_steps") and m.mean}
        for name, m in skipped.items():
            print(f"Warning: {name}: {m.mean * m.num:.0f} of {m.num:.0f}: gradients not finite")
        values = {name: m.mean for name, m in moments.items()}
        return {**values, "pl_mean": float(tflib.run(self.graph.pl_mean.var))}

    def _setup_grid(self) -> _Grid:
        limit = None if tfutil.gpu_devices() else _CPU_GRID_IMAGES
        size, reals, labels = setup_snapshot_image_grid(
            self.training_set, self.options.grid_size, limit
        )
        reals_png = os.path.join(self.run_dir, "reals.png")
        if not os.path.exists(reals_png):  # A resumed run has it.
            save_image_grid(reals, reals_png, (0, 255), size)
        # Counters above those of the data set's own streams.
        rng = np.random.Generator(
            np.random.Philox(key=[self.options.seed, 0], counter=_GRID_STREAM)
        )
        latents = rng.standard_normal([len(reals), *self.G.input_shape[1:]], dtype=np.float32)
        return _Grid(size, latents, labels)

    def _save_fakes(self, name: str) -> None:
        pixels = int(np.prod(self.training_set.shape[1:]))
        images = self.Gs.run(
            self.grid.latents,
            self.grid.labels,
            is_validation=True,
            randomize_noise=False,
            minibatch_size=int(np.clip(_GRID_MINIBATCH_PIXELS // pixels, 1, 32)),
        )
        try:
            save_image_grid(images, os.path.join(self.run_dir, name), (-1, 1), self.grid.size)
        except UserError as error:
            print(f"Warning: {error}")

    def _save_snapshot(self) -> str | None:
        """Writes a snapshot and returns its path; None if it cannot."""
        path = os.path.join(self.run_dir, f"network-snapshot-{self.cur_nimg // 1000:06d}.pkl")
        try:
            snapshots.save((self.G, self.D, self.Gs), path)
        except UserError as error:
            print(f"Warning: {error}")
            return None
        return path

    def _save_state(self) -> None:
        counters = {name: getattr(self, name) for name in _COUNTERS}
        counters["seconds"] = time.monotonic() - self.start_time
        counters |= {"num_images": self.training_set.num_images, "shape": self.training_set.shape}
        try:
            path = state_path(self.run_dir, self.cur_nimg)
            save_state(path, counters, self.options.keep_states)
        except UserError as error:
            print(f"Warning: {error}")


def _describe_data(dataset: TFRecordDataset) -> str:
    text = f"Data set {dataset.tfrecord_dir}: {dataset.num_images} images {dataset.shape}"
    if not dataset.label_size:
        return text + ", no labels used"
    names = f": {', '.join(dataset.label_names)}" if dataset.label_names else ""
    return f"{text}, conditional on {dataset.label_size} labels{names}"


def _write_options(options: TrainingOptions, run_dir: str) -> None:
    path = os.path.join(run_dir, OPTIONS_FILE)
    try:
        with atomic_write(path, "w") as file:
            json.dump(options.to_json(), file, indent=2)
            file.write("\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
