"""One training run: steps, ticks, grids, snapshots, states."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from dnnlib.system import peak_memory_gb
from dnnlib.tflib import Network, autosummary, tfutil
from dnnlib.tflib.build_functions import find_for_options
from dnnlib.util import format_time
from training import snapshots
from training.adapt_weights import Weights
from training.class_names import set_label_names
from training.dataset import TFRecordDataset
from training.image_grid import RunGrid
from training.interrupts import Interrupts
from training.options import TrainingOptions
from training.precision import use_mixed_precision
from training.reports import Reports, measured
from training.resume import state_path
from training.schedule import MIN_TICKS, Schedule, is_new_lod, training_schedule
from training.train_graph import TrainGraph
from training.training_state import load_state, save_state
from training.transfer import transfer

FINAL = "network-final.pkl"
# What a run counts, by attributes of `Run`.
_COUNTERS = ("cur_nimg", "last_nimg", "minibatch", "cur_tick", "tick_start_nimg")
# Snapshots may be hours apart, and with them states: no more than this is lost by a SIGKILL, and a
# tick.
_STATE_SECONDS = 15 * 60


class Metrics(Protocol):
    """What measures snapshots; `metrics.metric_base.MetricGroup` is one.

    Attributes:
        metrics: names of what it measures.
    """

    metrics: Sequence[str]

    def run(self, network_pkl: str, run_dir: str) -> Any:
        """Measures a snapshot and writes the results to a folder; reports what fails."""

    def scalars(self) -> dict[str, float]:
        """The results by name."""


class Run:
    """One training run in the current graph and session.

    Args:
        options: of the run, complete.
        run_dir: where it writes.
        training_set: what it trains on.
        devices: one a replica.
        metrics: measured on every snapshot.
        weights: of a snapshot that the networks start from.

    Attributes:
        G, D, Gs: the networks.

    Raises:
        UserError: the weights do not fit.
    """

    def __init__(
        self,
        options: TrainingOptions,
        run_dir: str,
        training_set: TFRecordDataset,
        devices: list[str],
        metrics: Metrics | None,
        weights: Mapping[str, Weights] | None = None,
    ):
        self.options = options
        self.metrics = metrics
        self.run_dir = run_dir
        self.training_set = training_set
        self.num_replicas = len(devices)
        self.data = [training_set]  # What every step is given minibatches of.
        if options.augment_args.mode == "adarv":
            self.data.append(training_set.validation_set())
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
        self.G = Network("G", **find_for_options(options.G_args, "G_args"))
        self.D = Network("D", **find_for_options(options.D_args, "D_args"))
        set_label_names(self.G, training_set.label_names)
        self.Gs = self.G.clone("Gs")
        self.G.print_layers()
        self.D.print_layers()
        if weights is not None:
            networks = {"G": self.G, "D": self.D, "Gs": self.Gs}
            transfer(weights, networks, options.resume_partial)
        print(f"Building TensorFlow graph on {', '.join(devices)}...")
        self.graph = TrainGraph(self.G, self.D, self.Gs, training_set, options, devices)
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        reals_png = os.path.join(run_dir, "reals.png")
        latent_shape = self.G.input_shape[1:]
        self.grid = RunGrid(training_set, options.grid_size, latent_shape, options.seed, reals_png)
        self.is_resumed = False
        self.cur_nimg = 0
        self.last_nimg = 0  # Before the last minibatch.
        self.minibatch = 0
        self.cur_tick = 0
        self.tick_start_nimg = 0
        self.seconds = 0.0  # That earlier sessions of the run took.
        self.tick_seconds = 0.0  # That they took of the tick.
        self._is_whole = True  # Not in the middle of a step or a tick.

    def restore(self, path: str) -> None:
        """Goes on from a state."""
        counters = load_state(path)
        for name in _COUNTERS:
            setattr(self, name, counters[name])
        self.seconds = counters["seconds"]
        self.tick_seconds = counters.get("tick_seconds", 0.0)  # Older states do not have it.
        self.is_resumed = True

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
        now = time.monotonic()
        self.start_time = now - self.seconds
        self.tick_start = now - self.tick_seconds
        self.state_time = now  # Of the last state.
        self.maintenance = 0.0
        with Interrupts() as interrupts:
            try:
                if self.is_resumed:
                    self._measure_again()
                self._steps(interrupts)
            except BaseException as error:  # Whatever ends the run, what it learned is saved.
                print(f"Ended by {type(error).__name__} at {self.cur_nimg / 1000:g} kimg")
                if self._is_whole:
                    self._save_end()
                else:
                    self._save_snapshot()
                raise
            finally:
                self.reports.close()
            if interrupts.received is not None:
                self._save_end()
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
                reals, *held_out = next(batches)
                self._is_whole = False
                self.graph.step(sched, self.cur_nimg, self.minibatch, *reals, *held_out)
                self.last_nimg = self.cur_nimg
                self.cur_nimg += sched.minibatch_size
                self.minibatch += 1
                bar.update(sched.minibatch_size / 1000)
                done = self._is_over() or self._out_of_time()
                tick_nimg = self.cur_nimg - self.tick_start_nimg
                tick_kimg = min(sched.tick_kimg, options.total_kimg / MIN_TICKS)
                if done or self.minibatch == 1 or tick_nimg >= tick_kimg * 1000:
                    with tqdm.external_write_mode():
                        self._tick(sched, tick_nimg, done)
                self._is_whole = True
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

    def _minibatches(self, sched: Schedule) -> Generator[tuple, None, None]:
        """From the current position on, of the level and size that the schedule says: reals, and
        held-out images where p follows them; each with labels.
        """
        lod = int(np.floor(sched.lod))
        parts = [d.minibatches(self.cur_nimg, sched.minibatch_size, lod) for d in self.data]
        try:
            yield from zip(*parts, strict=True)
        finally:
            for part in parts:
                part.close()

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
            "peak_memory_gb": peak_memory_gb(),
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
            if path is not None:
                self._measure(path)
        elif time.monotonic() - self.state_time >= _STATE_SECONDS:
            self._save_state()
        self.tick_start = time.monotonic()
        self.maintenance = self.tick_start - now

    def _measure_again(self) -> None:
        """Measures the snapshot of the last tick if the run was ended before that was done."""
        path = self._snapshot_path()
        if self.metrics is None or not self._is_between_ticks() or not os.path.exists(path):
            return
        is_due = (self.cur_tick - 1) % self.options.network_snapshot_ticks == 0
        if (is_due or self._is_over()) and len(measured(path)) < len(self.metrics.metrics):
            self._measure(path)

    def _measure(self, snapshot: str) -> None:
        if self.metrics is not None:
            self.metrics.run(snapshot, self.run_dir)
            self.reports.scalars(self.metrics.scalars(), self.cur_nimg)

    def _values(self) -> dict[str, float]:
        """Means of what the graph reported since the last tick."""
        moments = autosummary.read_autosummaries()
        skipped = {n: m for n, m in moments.items() if n.endswith("/skipped_steps") and m.mean}
        for name, m in skipped.items():
            print(f"Warning: {name}: {m.mean * m.num:.0f} of {m.num:.0f}: gradients not finite")
        values = {name: m.mean for name, m in moments.items()}
        return {**values, "pl_mean": float(tflib.run(self.graph.pl_mean.var))}

    def _save_fakes(self, name: str) -> None:
        try:
            self.grid.save_fakes(self.Gs, os.path.join(self.run_dir, name))
        except UserError as error:
            print(f"Warning: {error}")

    def _save_snapshot(self) -> str | None:
        """Writes a snapshot and returns its path; None if it cannot."""
        path = self._snapshot_path()
        try:
            snapshots.save((self.G, self.D, self.Gs), path)
        except UserError as error:
            print(f"Warning: {error}")
            return None
        return path

    def _save_end(self) -> None:
        """Saves what a run goes on from, and a snapshot unless its name is that of a tick's."""
        if not os.path.exists(self._snapshot_path()):
            self._save_snapshot()
        self._save_state()

    def _snapshot_path(self) -> str:
        return os.path.join(self.run_dir, f"network-snapshot-{self.cur_nimg // 1000:06d}.pkl")

    def _is_between_ticks(self) -> bool:
        return self.cur_nimg == self.tick_start_nimg

    def _save_state(self) -> None:
        counters = {name: getattr(self, name) for name in _COUNTERS}
        now = time.monotonic()
        counters["seconds"] = now - self.start_time
        # Of the tick that has begun. What was done since the last one ended is maintenance.
        counters["tick_seconds"] = 0.0 if self._is_between_ticks() else now - self.tick_start
        counters["num_images"] = self.training_set.num_images
        counters["content"] = self.training_set.content
        try:
            path = state_path(self.run_dir, self.cur_nimg)
            save_state(path, counters, self.options.keep_states)
            self.state_time = now
        except UserError as error:
            print(f"Warning: {error}")


def _describe_data(dataset: TFRecordDataset) -> str:
    text = f"Data set {dataset.tfrecord_dir}: {dataset.num_images} images {dataset.shape}"
    if dataset.num_held_out:
        text += f" and {dataset.num_held_out} held out"
    if not dataset.label_size:
        return text + ", no labels used"
    names = f": {', '.join(dataset.label_names)}" if dataset.label_names else ""
    return f"{text}, conditional on {dataset.label_size} labels{names}"
