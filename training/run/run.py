"""One training run: steps, ticks, grids, snapshots, states."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from dnnlib import UserError, tflib
from dnnlib.output import tqdm
from dnnlib.system import peak_memory_gb
from dnnlib.tflib import Network, autosummary, tfutil
from dnnlib.util import format_time
from training.architecture.precision import lower_dtype
from training.augmentation.adaptive import overfitting
from training.config.options import TrainingOptions
from training.config.schedule import (
    DEFAULT_GROUP,
    Schedule,
    is_new_lod,
    schedule_notes,
    tick_kimg,
    training_schedule,
)
from training.dataset import TFRecordDataset
from training.pictures.grids import RunGrid
from training.run.divergence import REMEDY, Diverged, SkippedSteps, non_finite
from training.run.interrupts import Interrupted, Interrupts
from training.run.reports import Reports, closing, kimg_text, measured
from training.run.resume import kimg_of, position_name, read_counters, state_path
from training.run.state import load_state, save_state
from training.run.train_graph import TrainGraph
from training.snapshots import pickles
from training.snapshots.adapt import Weights
from training.snapshots.build_functions import find_for_options
from training.snapshots.class_names import set_label_names
from training.snapshots.transfer import transfer

FINAL = "network-final.pkl"
# What a run counts, by attributes of `Run`.
_COUNTERS = ("cur_nimg", "last_nimg", "minibatch", "cur_tick", "tick_start_nimg")
_SAVED = ("saved_nimg", "saved_whole")
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
        if options.augment_args.mode == "adarv" or training_set.num_held_out:
            self.data.append(training_set.validation_set())
        print(_describe_data(training_set))
        for note in schedule_notes(
            training_set.resolution_log2,
            len(devices),
            options.D_args.get("mbstd_group_size", DEFAULT_GROUP),
            options.sched_args,
        ):
            print(f"Warning: {note}")
        if os.path.exists("/proc/driver/nvidia") and not tfutil.gpu_devices():
            print(
                "Warning: this machine has an NVIDIA GPU that TensorFlow cannot use: "
                'pip install -e ".[gpu]" brings what it needs'
            )
        if options.precision == "mixed":
            dtype = lower_dtype()
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
        print(f"Building TensorFlow graph on {', '.join(devices)}...", flush=True)
        start = time.monotonic()
        self.graph = TrainGraph(self.G, self.D, self.Gs, training_set, options, devices)
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        print(f"Built the graph in {format_time(time.monotonic() - start)}")
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
        # Where a tick wrote files last, and whether their names say so in whole kimg.
        self.saved_nimg, self.saved_whole = 0, True
        self.skipped = SkippedSteps()
        self.interrupts = Interrupts()
        self._is_whole = True  # Not in the middle of a step or a tick.

    def restore(self, path: str) -> None:
        """Goes on from a state."""
        load_state(path)
        counters = read_counters(path)
        for name in (*_COUNTERS, "seconds", "tick_seconds", *_SAVED):
            setattr(self, name, getattr(counters, name))
        if self.saved_nimg is None:
            self.saved_nimg = self.tick_start_nimg
        self.is_resumed = True

    def train(self) -> str:
        """Runs to the end, or to Ctrl-C or SIGTERM, which finish the step and save first."""
        options = self.options
        self.reports = Reports(self.run_dir, self.cur_nimg if self.is_resumed else None)
        if not self.is_resumed:
            self.reports.image("Images/reals", self.grid.reals_preview, 0)
            self._save_fakes("fakes_init.png")
        limit = options.total_seconds
        at_most = "" if limit is None else f", at most {format_time(limit)}"
        length = kimg_text(round(options.total_kimg * 1000))
        way = f"from {kimg_text(self.cur_nimg)} to" if self.is_resumed else "for"
        print(f"Training {way} {length} kimg{at_most}. The first step takes longer than others.\n")
        now = time.monotonic()
        self.session_start = (now, self.cur_nimg)  # After the first tick: when that was over.
        self.is_first_tick = True
        self.start_time = now - self.seconds
        self.tick_start = now - self.tick_seconds
        self.state_time = now  # Of the last state.
        self.maintenance = 0.0
        with self.interrupts:
            try:
                if self.is_resumed:
                    self._measure_again()
                self._steps()
            except Diverged:  # What was saved before is better.
                raise
            except BaseException as error:  # Whatever ends the run, what it learned is saved.
                with suppress(Diverged):
                    if self._is_whole:
                        self._save_end()
                    else:
                        self._save_snapshot()
                print(f"Ended by {type(error).__name__} at {kimg_text(self.cur_nimg)} kimg")
                raise
            finally:
                self.reports.close()
            if self.interrupts.received is not None:
                self._save_end()
                print(f"Ended at {kimg_text(self.cur_nimg)} kimg. To go on:")
                print(f"  python run_training.py --resume={self.run_dir}")
                raise self.interrupts.exception()
        return self._finish()

    def _finish(self) -> str:
        """Writes the final snapshot, and says what can be done with it."""
        final = os.path.join(self.run_dir, FINAL)
        self._write_snapshot(final)
        took = format_time(time.monotonic() - self.start_time)
        names = [] if self.metrics is None else self.metrics.metrics
        print(f"\nDone: {kimg_text(self.cur_nimg)} kimg in {took}.")
        print(closing(self.run_dir, final, names), flush=True)
        return final

    def _steps(self) -> None:
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
            bar_format="{l_bar}{bar}| {n:.3f}/{total:.3f} kimg [{elapsed}<{remaining}, {rate_fmt}]",
        )
        # As of a run that was ended between its last step and its last file.
        done = self._is_over()
        try:
            while not done and self.interrupts.received is None:
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
                is_long = tick_nimg >= tick_kimg(sched, self.options.total_kimg) * 1000
                if done or self.minibatch == 1 or is_long:
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
        held-out images if there are any; each with labels.
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
        moments = autosummary.read_autosummaries()
        self.reports.tick(stats, self._values(moments), self.cur_nimg, self._progress(now))
        for line in self.skipped.add_tick(moments):
            print(f"Warning: {line}")
        options = self.options
        is_image = done or self.cur_tick % options.image_snapshot_ticks == 0
        is_snapshot = done or self.cur_tick % options.network_snapshot_ticks == 0
        if is_image or is_snapshot:
            self._name_position(sched)
        path = self._save_snapshot() if is_snapshot else None
        if is_image:
            self._save_fakes(f"fakes{self._position()}.png")
        self.cur_tick += 1
        self.tick_start_nimg = self.cur_nimg
        if is_snapshot:
            self._save_state(if_stuck=done)
            if path is not None:
                self._measure(path)
        elif time.monotonic() - self.state_time >= _STATE_SECONDS:
            self._save_state()
        self.tick_start = time.monotonic()
        self.maintenance = self.tick_start - now
        if self.is_first_tick:
            self.session_start, self.is_first_tick = (self.tick_start, self.cur_nimg), False

    def _progress(self, now: float) -> str:
        """For the status line: time that is left, by what this session needed after its first tick,
        which starts the graph; and the length of the run.
        """
        total = self.options.total_kimg * 1000
        text = f"of {kimg_text(round(total))} kimg"
        if self.is_first_tick:
            return f"{text}, starts the graph"
        start, start_nimg = self.session_start
        left = (now - start) / (self.cur_nimg - start_nimg) * max(total - self.cur_nimg, 0)
        if self.options.total_seconds is not None:
            left = min(left, max(self.options.total_seconds - (now - self.start_time), 0))
        return f"{text}, {format_time(left)} left"

    def _name_position(self, sched: Schedule) -> None:
        """Decides how the files of this tick are named: by whole kimg, as officially, where that
        tells those of all ticks apart.
        """
        options = self.options
        ticks = min(options.image_snapshot_ticks, options.network_snapshot_ticks)
        is_first = self.cur_tick == 0
        is_apart = self.cur_nimg // 1000 > self.saved_nimg // 1000
        self.saved_whole = bool(
            is_first or (is_apart and tick_kimg(sched, self.options.total_kimg) * ticks >= 1)
        )
        self.saved_nimg = self.cur_nimg

    def _write_snapshot(self, path: str) -> None:
        """Raises `Diverged` if a weight is not finite: the run cannot recover from that."""
        networks = (self.G, self.D, self.Gs)
        variables = {f"{net.name}/{name}": v for net in networks for name, v in net.vars.items()}
        if bad := non_finite(tflib.run(variables)):
            raise Diverged(
                f"{bad[0]} is not finite at {kimg_text(self.cur_nimg)} kimg, so that nothing is "
                f"saved of this moment; start a new run, from an earlier snapshot "
                f"(--resume=FILE) or from the beginning: {REMEDY}"
            )
        pickles.save(networks, path)

    def _measure_again(self) -> None:
        """Measures the snapshot of the last tick if the run was ended before that was done."""
        path = self._snapshot_path()
        if self.metrics is None or not self._is_between_ticks() or not os.path.exists(path):
            return
        is_due = (self.cur_tick - 1) % self.options.network_snapshot_ticks == 0
        if (is_due or self._is_over()) and len(measured(path)) < len(self.metrics.metrics):
            self._measure(path)

    def _measure(self, snapshot: str) -> None:
        """Measures a snapshot; a signal ends it, and the resumed run repeats it."""
        if self.metrics is not None:
            with suppress(Interrupted), self.interrupts.raised():
                self.metrics.run(snapshot, self.run_dir)
                self.reports.scalars(self.metrics.scalars(), self.cur_nimg)

    def _values(self, moments: Mapping[str, autosummary.Moments]) -> dict[str, float]:
        """Means of what the graph reported since the last tick."""
        values = {name: m.mean for name, m in moments.items()}
        scores = [values.get(f"Loss/scores/{name}") for name in ("real", "validation", "fake")]
        if None not in scores and not self.graph.augment.needs_validation:
            r_v = overfitting(*scores)
            values |= {} if r_v is None else {"r_v": r_v}
        return {**values, "pl_mean": float(tflib.run(self.graph.pl_mean.var))}

    def _save_fakes(self, name: str) -> None:
        try:
            preview = self.grid.save_fakes(self.Gs, os.path.join(self.run_dir, name))
            self.reports.image("Images/fakes", preview, self.cur_nimg)
        except UserError as error:
            print(f"Warning: {error}")

    def _save_snapshot(self) -> str | None:
        """Writes a snapshot and returns its path; None if it cannot."""
        path = self._snapshot_path()
        try:
            self._write_snapshot(path)
        except Diverged:
            raise
        except UserError as error:
            print(f"Warning: {error}")
            return None
        return path

    def _save_end(self) -> None:
        """Saves what a run goes on from, and a snapshot unless there is one of the same kimg."""
        saved = (kimg_of(name) for name in os.listdir(self.run_dir) if name.endswith(".pkl"))
        if self.cur_nimg // 1000 not in (int(kimg) for kimg in saved if kimg is not None):
            self._save_snapshot()
        self._save_state(if_stuck=True)

    def _is_whole_kimg(self) -> bool:
        """Whether names of files give the current position in whole kimg."""
        return self.saved_whole and self.cur_nimg == self.saved_nimg

    def _position(self) -> str:
        """What names of files say of the current position."""
        return position_name(self.cur_nimg, self._is_whole_kimg())

    def _snapshot_path(self) -> str:
        return os.path.join(self.run_dir, f"network-snapshot-{self._position()}.pkl")

    def _is_between_ticks(self) -> bool:
        return self.cur_nimg == self.tick_start_nimg

    def _save_state(self, if_stuck: bool = False) -> None:
        if self.skipped.is_stuck and not if_stuck:
            return  # The states before it are better than one more of these.
        counters = {name: getattr(self, name) for name in (*_COUNTERS, *_SAVED)}
        now = time.monotonic()
        counters["seconds"] = now - self.start_time
        # Of the tick that has begun. What was done since the last one ended is maintenance.
        counters["tick_seconds"] = 0.0 if self._is_between_ticks() else now - self.tick_start
        counters["num_images"] = self.training_set.num_images
        counters["content"] = self.training_set.content
        try:
            path = state_path(self.run_dir, self.cur_nimg, self._is_whole_kimg())
            save_state(path, counters, self.options.keep_states)
            self.state_time = now
        except UserError as error:
            print(f"Warning: {error}")


def _describe_data(dataset: TFRecordDataset) -> str:
    text = f"Dataset {dataset.tfrecord_dir}: {dataset.num_images} images {dataset.shape}"
    if dataset.num_held_out:
        text += f" and {dataset.num_held_out} held out"
    if not dataset.label_size:
        return text + ", no labels used"
    names = f": {', '.join(dataset.label_names)}" if dataset.label_names else ""
    return f"{text}, conditional on {dataset.label_size} labels{names}"
