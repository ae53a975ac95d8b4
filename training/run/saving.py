"""What a run writes beside its reports: pictures, snapshots, states."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple, Protocol

from dnnlib import UserError, tflib
from dnnlib.cluster import WorkerLost
from dnnlib.files import atomic_write
from dnnlib.tflib import Network
from training.architecture.precision import computed_in
from training.config.options import TrainingOptions
from training.config.schedule import Schedule, tick_kimg
from training.dataset import TFRecordDataset
from training.pictures.grids import RunGrid
from training.run.clock import Clock
from training.run.divergence import REMEDY, Diverged, SkippedSteps, non_finite
from training.run.file_names import (
    FINAL,
    OPTIONS_FILE,
    REALS,
    kimg_of,
    position_name,
    state_path,
)
from training.run.interrupts import Interrupted, Interrupts
from training.run.reports import Reports, kimg_text, measured
from training.run.state import Counters, save_state
from training.snapshots import pickles

# Snapshots may be hours apart, and with them states: no more than this is lost by a SIGKILL, and a
# tick.
_STATE_SECONDS = 15 * 60


class Networks(NamedTuple):
    """Generator, discriminator, weight average of the generator."""

    G: Network
    D: Network
    Gs: Network


def has_snapshot(options: TrainingOptions, counters: Counters, done: bool) -> bool:
    """Whether the tick that ends has a snapshot: those of a run that is over, and every few."""
    return done or counters.cur_tick % options.network_snapshot_ticks == 0


class NoOutput:
    """In the place of `RunOutput` on workers that write nothing: only counts ticks."""

    has_news = False
    is_whole = True

    def __init__(self, counters: Counters):
        self._counters = counters

    def saved_at_the_end(self) -> AbstractContextManager:
        return nullcontext()

    def save_tick(self, sched: Schedule, done: bool) -> None:
        self._counters.add_tick()

    def save_end(self) -> None:
        pass

    def measure_again(self, metrics: None, interrupts: Interrupts, is_over: bool) -> None:
        pass


class Metrics(Protocol):
    """What measures snapshots; `metrics.metric_base.MetricGroup` is one.

    Attributes:
        names: of what it measures.
    """

    names: Sequence[str]

    def run(self, network_pkl: str, run_dir: str, *, only: Collection[str] | None = None) -> Any:
        """Measures a snapshot, by some of `names` or all, and writes the results to a folder;
        reports what fails.
        """

    def plot_missing(self, run_dir: str) -> None:
        """Draws what an interruption has kept from being drawn."""

    def scalars(self) -> dict[str, float]:
        """The results of the last run by name, so far."""


class RunOutput:
    """Writes the run directory. What cannot be written is reported, and the run continues.

    Args:
        run_dir: the run directory.
        options: of the run.
        networks: that are trained.
        training_set: what they are trained on.
        counters: of the run; the caller moves them.
        clock: of the run.
        is_resumed: whether an earlier session wrote the folder.

    Attributes:
        skipped: steps that optimizers skipped.
        has_news: whether the last tick wrote pictures or a snapshot.
        is_whole: whether the run is between two steps, outside a tick: only then its variables are
            a state.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(
        self,
        run_dir: str,
        options: TrainingOptions,
        networks: Networks,
        training_set: TFRecordDataset,
        counters: Counters,
        clock: Clock,
        is_resumed: bool,
    ):
        self._run_dir, self._options, self._networks = run_dir, options, networks
        self._counters, self._clock, self._training_set = counters, clock, training_set
        self._state_time = time.monotonic()  # Of the last state.
        self.skipped = SkippedSteps()
        self.has_news = False
        self.is_whole = True
        self._grid = RunGrid(
            training_set,
            options.grid_size,
            networks.G.input_shape[1:],
            options.seed,
            os.path.join(run_dir, REALS),
        )
        self._write_options()
        # Of a run that is being made longer: until the end it is of no use, and would say that the
        # run is over.
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(run_dir, FINAL))
        self.reports = Reports(run_dir, counters.cur_nimg if is_resumed else None)
        if not is_resumed:
            self.reports.image("Images/reals", self._grid.reals_preview, 0)
            self._save_fakes("fakes_init.png")

    @contextmanager
    def saved_at_the_end(self) -> Iterator[None]:
        """Whatever ends the block, what the run has learned is saved."""
        try:
            yield
        except (Diverged, WorkerLost) as error:
            # What was saved before is better, unless other workers ended between two steps.
            if isinstance(error, WorkerLost) and self.is_whole:
                with suppress(Diverged):
                    self.save_end()
            raise
        except BaseException as error:
            with suppress(Diverged):
                if self.is_whole:
                    self.save_end()
                else:
                    self.save_snapshot()
            print(f"Ended by {type(error).__name__} at {kimg_text(self._counters.cur_nimg)} kimg")
            raise

    def white_border(self) -> float | None:
        """How white the borders of fakes are, see `RunGrid.white_border`."""
        return self._grid.white_border(self._networks.Gs)

    def save_tick(self, sched: Schedule, done: bool) -> str | None:
        """Writes what is due at the end of a tick, and counts the tick.

        Args:
            sched: of this moment.
            done: the run is over: everything is due.

        Returns:
            Path of a snapshot that was written, or None.
        """
        counters, options = self._counters, self._options
        is_image = done or counters.cur_tick % options.image_snapshot_ticks == 0
        is_snapshot = has_snapshot(options, counters, done)
        self.has_news = is_image or is_snapshot
        if self.has_news:
            self._name_files(sched)
        path = self.save_snapshot() if is_snapshot else None
        if is_image:
            self._save_fakes(f"fakes{self._position()}.png")
        counters.add_tick()
        if is_snapshot:
            self.save_state(if_stuck=done)
        elif time.monotonic() - self._state_time >= _STATE_SECONDS:
            self.save_state()
        return path

    def _name_files(self, sched: Schedule) -> None:
        """Decides how the files of this tick are named: by whole kimg, like the official files,
        where that tells those of all ticks apart.
        """
        counters, options = self._counters, self._options
        ticks = min(options.image_snapshot_ticks, options.network_snapshot_ticks)
        is_first = counters.cur_tick == 0
        is_apart = counters.cur_nimg // 1000 > counters.saved_nimg // 1000
        counters.saved_whole = bool(
            is_first or (is_apart and tick_kimg(sched, options.total_kimg) * ticks >= 1)
        )
        counters.saved_nimg = counters.cur_nimg

    def _position(self) -> str:
        """What names of files say of the current position."""
        counters = self._counters
        return position_name(counters.cur_nimg, counters.is_named_whole)

    def _save_fakes(self, name: str) -> None:
        try:
            preview = self._grid.save_fakes(self._networks.Gs, os.path.join(self._run_dir, name))
            self.reports.image("Images/fakes", preview, self._counters.cur_nimg)
        except UserError as error:
            print(f"Warning: {error}")

    def save_snapshot(self) -> str | None:
        """Writes a snapshot and returns its path; None if it cannot.

        Raises:
            Diverged: a weight is not finite: the run cannot recover from that.
        """
        path = self._snapshot_path()
        try:
            self._write_snapshot(path)
        except Diverged:
            raise
        except UserError as error:
            print(f"Warning: {error}")
            return None
        return path

    def save_final(self) -> str:
        """Writes the final snapshot and returns its path; raises a UserError if it cannot."""
        path = os.path.join(self._run_dir, FINAL)
        self._write_snapshot(path)
        return path

    def _snapshot_path(self) -> str:
        return os.path.join(self._run_dir, f"network-snapshot-{self._position()}.pkl")

    def _write_snapshot(self, path: str) -> None:
        for network in self._networks:  # One at a time: copies of all are not there at once.
            bad = non_finite(tflib.run(dict(network.vars)))
            if not bad:
                continue
            raise Diverged(
                f"{network.name}/{bad[0]} is not finite at {kimg_text(self._counters.cur_nimg)} "
                "kimg, so that nothing is saved of this moment; start a new run, from an earlier "
                f"snapshot (--resume=FILE) or from the beginning: {REMEDY}"
            )
        pickles.save(tuple(self._networks), path)

    def save_state(self, if_stuck: bool = False) -> None:
        """Writes a state. Of a run that is stuck only where `if_stuck` says so: the states before
        it are better than one more.
        """
        if self.skipped.is_stuck and not if_stuck:
            return
        counters = self._counters
        stored = dataclasses.replace(
            counters,
            seconds=self._clock.seconds(),
            # Of the tick that has begun. What was done since the last one ended is maintenance.
            tick_seconds=0.0 if counters.is_between_ticks else self._clock.tick_seconds(),
            num_images=self._training_set.num_images,
            content=self._training_set.content,
        )
        path = state_path(self._run_dir, counters.cur_nimg, counters.is_named_whole)
        try:
            save_state(path, stored, self._options.keep_states)
            self._state_time = time.monotonic()
        except UserError as error:
            print(f"Warning: {error}")

    def save_end(self) -> None:
        """Saves what a run resumes from, and a snapshot unless there is one of the same kimg."""
        saved = (kimg_of(name) for name in os.listdir(self._run_dir) if name.endswith(".pkl"))
        whole = (int(kimg) for kimg in saved if kimg is not None)
        if self._counters.cur_nimg // 1000 not in whole:
            self.save_snapshot()
        self.save_state(if_stuck=True)

    def measure(
        self,
        snapshot: str,
        metrics: Metrics | None,
        interrupts: Interrupts,
        only: Collection[str] | None = None,
    ) -> None:
        """Measures a snapshot; a signal ends that, and the resumed run does the rest."""
        if metrics is None:
            return
        # Like everywhere else, whatever the precision of the run.
        with suppress(Interrupted), interrupts.raised(), computed_in("fp32"):
            try:
                metrics.run(snapshot, self._run_dir, only=only)
            finally:  # Not where a signal has kept it from beginning: they are of another snapshot.
                self.reports.scalars(metrics.scalars(), self._counters.cur_nimg)

    def measure_again(self, metrics: Metrics | None, interrupts: Interrupts, is_over: bool) -> None:
        """Measures what the snapshot of the last tick lacks if the run was ended before."""
        path, counters = self._snapshot_path(), self._counters
        if metrics is None or not counters.is_between_ticks or not os.path.exists(path):
            return
        is_due = (counters.cur_tick - 1) % self._options.network_snapshot_ticks == 0
        missing = set(metrics.names) - measured(path).keys()
        if missing and (is_due or is_over):
            self.measure(path, metrics, interrupts, only=missing)
        metrics.plot_missing(self._run_dir)

    def _write_options(self) -> None:
        path = os.path.join(self._run_dir, OPTIONS_FILE)
        try:
            with atomic_write(path, "w") as file:
                json.dump(self._options.to_json(), file, indent=2)
                file.write("\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
