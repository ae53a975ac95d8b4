"""The training loop by its official name: a new run, or one that is resumed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from typing import Any

import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.files import remove_abandoned
from dnnlib.output import tqdm
from dnnlib.run_dir import LOG, locked, log_output, make_run_dir
from dnnlib.system import describe_machine, peak_memory_gb
from dnnlib.tflib import Network, autosummary, tfutil
from dnnlib.tflib.autosummary import Moments
from dnnlib.tflib.workers import ALONE, Alone
from dnnlib.util import format_time
from training.architecture.precision import computed_in, lower_dtype
from training.augmentation.adaptive import overfitting
from training.config import schedule
from training.config.memory import describe_memory
from training.config.official_schedule import training_schedule
from training.config.options import TrainingOptions
from training.config.schedule import (
    DEFAULT_GROUP,
    Schedule,
    check_schedule,
    is_new_lod,
    schedule_notes,
    tick_kimg,
)
from training.dataset import TFRecordDataset
from training.pictures.grids import save_image_grid
from training.run.agreement import check_same_run
from training.run.clock import Clock
from training.run.data import (
    Minibatches,
    check_same_data,
    complete_options,
    copies_of_held_out,
    describe_data,
    open_dataset,
    process_reals,
)
from training.run.file_names import FINAL, OPTIONS_FILE, PAGE
from training.run.interrupts import Interrupts
from training.run.official_loop import refusing_official_keywords, setup_snapshot_image_grid
from training.run.page.report import Page, page_of_failure, try_page
from training.run.page.run_files import MACHINE
from training.run.reports import kimg_text, measured_metrics, what_next
from training.run.saving import Metrics, Networks, NoOutput, RunOutput, has_snapshot
from training.run.state import Counters, State, newest_state, trained_variables
from training.run.train_graph import TrainGraph
from training.snapshots.adapt import Weights
from training.snapshots.build_functions import find_for_options
from training.snapshots.class_names import set_label_names
from training.snapshots.transfer import read_weights, transfer

__all__ = [
    "process_reals",
    "resume",
    "save_image_grid",
    "setup_snapshot_image_grid",
    "train",
    "training_loop",
    "training_schedule",
]


def train(
    options: TrainingOptions,
    result_dir: str,
    desc: str,
    metrics: Metrics | None = None,
    workers: Alone = ALONE,
) -> str:
    """Trains in a new run directory.

    Args:
        options: of the run.
        result_dir: root of the run directories.
        desc: what the name of the run directory ends with.
        metrics: measured on every snapshot.
        workers: that train together; the chief writes.

    Returns:
        The run directory, `result_dir/NNNNN-desc`.

    Raises:
        UserError: as `training_loop`, or `result_dir` cannot be written.
    """
    # What can be checked without networks leaves no run directory behind.
    with closing(open_dataset(options)) as training_set:
        _replica_devices(options, workers)
        group_size = options.D_args.get("mbstd_group_size", DEFAULT_GROUP) or 1
        log2, num_replicas = training_set.resolution_log2, options.num_gpus
        check_schedule(log2, num_replicas, group_size, options.sched_args)
        is_transfer = options.resume_pkl is not None and workers.is_chief
        weights = read_weights(options.resume_pkl) if is_transfer else None
        check_same_run(workers, options, training_set)
        run_dir = workers.from_chief(lambda: make_run_dir(result_dir, desc))
        if not workers.is_chief:
            training_loop(options, run_dir, training_set, workers=workers)
            return run_dir
        try:
            with (
                locked(run_dir),
                page_of_failure(run_dir),
                log_output(os.path.join(run_dir, LOG)),
            ):
                print(f"Run directory: {run_dir}")
                training_loop(
                    options, run_dir, training_set, metrics, weights=weights, workers=workers
                )
        except UserError:
            if not os.path.exists(os.path.join(run_dir, OPTIONS_FILE)):  # It had not begun.
                shutil.rmtree(run_dir, ignore_errors=True)
            raise
    return run_dir


class RunIsOver(UserError):
    """There is nothing left of a run to train."""


def resume(
    options: TrainingOptions,
    run_dir: str,
    metrics: Metrics | None = None,
    workers: Alone = ALONE,
) -> None:
    """Resumes a run in its own directory, from its newest state, as if it had never ended.

    Args:
        options: of the run, as from `training.run.resume.resumed_options`.
        run_dir: its directory, which only the chief looks at.
        metrics: measured on every snapshot.
        workers: that train together.

    Raises:
        UserError: as `training_loop`; no state is whole or fits; another process is training there,
            or the run is over.
    """
    with ExitStack() as stack:
        states = []

        def open_run() -> dict[str, Any]:
            stack.enter_context(locked(run_dir))
            stack.enter_context(page_of_failure(run_dir))
            stack.enter_context(log_output(os.path.join(run_dir, LOG)))
            states.append(_newest_state(options, run_dir, metrics))
            return states[0].counters.to_json()

        counters = Counters.from_json(workers.from_chief(open_run))
        state = states[0] if states else State("", counters, {})
        with closing(open_dataset(options)) as training_set:
            check_same_data(options, state.counters, training_set)
            check_same_run(workers, options, training_set)
            training_loop(options, run_dir, training_set, metrics, state=state, workers=workers)


def _newest_state(options: TrainingOptions, run_dir: str, metrics: Metrics | None) -> State:
    """The state that a run is resumed from, unless the run is over."""
    remove_abandoned(run_dir)  # Killed at a moment that this session does not come to again.
    state = newest_state(run_dir)
    counters = state.counters
    if _is_over(options, counters, counters.seconds) and os.path.exists(
        os.path.join(run_dir, FINAL)
    ):
        option = "--total-kimg" if options.total_seconds is None else "--hours, of all sessions,"
        raise RunIsOver(
            f"the run in {run_dir} is over, after {counters.cur_nimg / 1000:g} kimg: give a "
            f"larger {option} to train longer"
        )
    print(f"Resuming {run_dir} from {os.path.basename(state.path)}")
    if metrics is None and (measured := measured_metrics(run_dir)):
        print(f"Nothing is measured any more: {measured} were; --metrics names what is to be")
    return state


@refusing_official_keywords
def training_loop(
    options: TrainingOptions,
    run_dir: str,
    training_set: TFRecordDataset,
    metrics: Metrics | None = None,
    weights: Mapping[str, Weights] | None = None,
    state: State | None = None,
    workers: Alone = ALONE,
) -> str | None:
    """Trains networks and writes a run directory.

    Args:
        options: of the run; the shape of the dataset is filled in here.
        run_dir: existing folder that gets reals.png, fakes*.png, network-snapshot-*.pkl,
            network-final.pkl, training-state-*.npz, stats.jsonl, training_options.json,
            report.html and TensorBoard events.
        training_set: what is trained on.
        metrics: measured on every snapshot.
        weights: of the snapshot that a new run starts from, if it has been read already.
        state: that a run is resumed from, of which other workers than the chief need the counters
            only; None starts anew.
        workers: that train together, each in a process of its own. The chief writes.

    Returns:
        Path of the final snapshot; None on other workers.

    Raises:
        UserError: dataset or options do not fit.
    """
    options = complete_options(options, training_set)
    devices = _replica_devices(options, workers)
    schedule_at = partial(
        schedule.training_schedule,
        resolution_log2=training_set.resolution_log2,
        num_gpus=options.num_gpus,
        options=options.sched_args,
    )
    minibatches = Minibatches(training_set, options, workers)
    counters = Counters.of_new_run() if state is None else state.counters
    is_transfer = options.resume_pkl is not None and workers.is_chief
    if state is None and weights is None and is_transfer:
        weights = read_weights(options.resume_pkl)
    interrupts = Interrupts()
    with workers.session(options.seed), computed_in(options.precision):
        # Networks, from the weights of a snapshot if a run begins with one; the graph of a step.
        gpus = "".join(f", {name}" for name in tfutil.gpu_models())
        print(f"{MACHINE}{describe_machine()}{gpus}, TensorFlow {tf.__version__}")
        print(describe_data(training_set))
        for note in _notes(options, training_set, options.num_gpus):
            print(f"Warning: {note}")
        # Resumed runs keep their split, and have been told.
        if state is None and workers.is_chief and (copies := copies_of_held_out(training_set)):
            print(
                f"Warning: {copies} of the {training_set.num_held_out} images held out have "
                "near-duplicates among those trained on, which hides overfitting: build the "
                "dataset with --dedupe=near"
            )
        where = f"the options in {os.path.join(run_dir, OPTIONS_FILE)}"
        with nullcontext() if state is None else tfutil.fitting(where):
            networks = _build_networks(options, training_set)
            if weights is not None:
                transfer(weights, networks._asdict(), options.resume_partial)
            graph = _build_graph(options, training_set, networks, devices, workers)

        # Resume.
        if state is not None and workers.is_chief:
            state.restore()
        workers.share()
        clock = Clock(counters.seconds, counters.tick_seconds)
        with workers.waiting_for_chief(interrupts) as is_chief:
            if is_chief:
                is_resumed = state is not None
                output = RunOutput(
                    run_dir, options, networks, training_set, counters, clock, is_resumed
                )
            else:
                output = NoOutput(counters)
        if memory := describe_memory(options, training_set.resolution, len(devices)):
            print(memory)
        _print_length(options, counters, state is not None)
        print(f"Page, from the first tick on: {os.path.join(run_dir, PAGE)}\n")
        page = Page(run_dir)
        clock.start()

        with interrupts:
            with output.saved_at_the_end():
                with workers.waiting_for_chief(interrupts):
                    output.measure_again(metrics, interrupts, _is_over(options, counters))
                sched = schedule_at(counters.last_nimg)
                # As of a run that was ended between its last step and its last file.
                done = _is_over(options, counters)
                with (
                    _progress_bar(options, counters, workers) as bar,
                    closing(minibatches),
                ):
                    while not done and workers.agree(interrupts) is None:
                        # Fetch a minibatch.
                        previous = sched
                        sched = schedule_at(counters.cur_nimg)
                        reals, *held_out = minibatches.fetch(sched, counters.cur_nimg)

                        # Train on it.
                        if is_new_lod(previous, sched) and options.reset_opt_for_new_lod:
                            graph.reset_optimizers()
                        output.is_whole = False
                        graph.step(sched, counters.cur_nimg, counters.minibatch, *reals, *held_out)
                        counters.add_step(sched.minibatch_size)
                        _advance(bar, sched.minibatch_size / 1000)

                        # Once a tick: report, and write pictures, snapshots and states.
                        done = _is_over(options, counters, workers.most(clock.seconds()))
                        if done or _is_tick(options, sched, counters):
                            if has_snapshot(options, counters, done):
                                workers.share()  # Rounding of different processors ends here.
                            moments = autosummary.read_autosummaries(workers)
                            waiting = workers.waiting_for_chief(interrupts)
                            with waiting, tqdm.external_write_mode():
                                if workers.is_chief:
                                    _report(options, graph, sched, counters, clock, output, moments)
                                snapshot = output.save_tick(sched, done)
                                if snapshot is not None:
                                    output.measure(snapshot, metrics, interrupts)
                                if output.has_news and not done:
                                    page.update()
                            clock.start_tick(counters.cur_nimg)
                        output.is_whole = True

            # Ended by a signal.
            if workers.agree(interrupts) is not None:
                autosummary.move_to_chief(workers)
                output.save_end()
                print(f"Ended at {kimg_text(counters.cur_nimg)} kimg. To resume:")
                print(f"  python run_training.py --resume={run_dir}")
                raise interrupts.exception()

        # The end.
        workers.leave()
        if not workers.is_chief:
            return None
        final = output.save_final()
        try_page(run_dir)
        seen = f"{kimg_text(counters.cur_nimg)} kimg in {format_time(clock.seconds())}."
        if options.makes_catalog:
            print(f"\nTrained: {seen} Next: the best snapshot, and a catalog of it.", flush=True)
            return final
        print(f"\nDone: {seen}")
        print(what_next(run_dir, final, [] if metrics is None else metrics.names), flush=True)
        return final


def _notes(
    options: TrainingOptions, training_set: TFRecordDataset, num_replicas: int
) -> Iterator[str]:
    """What the user should know before a run begins."""
    yield from schedule_notes(
        training_set.resolution_log2,
        num_replicas,
        options.D_args.get("mbstd_group_size", DEFAULT_GROUP),
        options.sched_args,
    )
    if os.path.exists("/proc/driver/nvidia") and not tfutil.gpu_devices():
        yield (
            "this machine has an NVIDIA GPU that TensorFlow cannot use: "
            'pip install -e ".[gpu]" brings what it needs'
        )


def _replica_devices(options: TrainingOptions, workers: Alone) -> list[str]:
    """One device for each of this worker's replicas; raises a UserError if they do not divide."""
    own, rest = divmod(options.num_gpus, workers.count)
    if rest:
        raise UserError(
            f"the run has {options.num_gpus} replicas, which {workers.count} workers cannot share: "
            "use a number of workers that divides it"
        )
    return tfutil.replica_devices(own)


def _build_networks(options: TrainingOptions, training_set: TFRecordDataset) -> Networks:
    if options.precision == "mixed":
        dtype = lower_dtype()
        lower = f"in {dtype.name}" if dtype else "not at all: this machine has none faster"
        print(f"Mixed precision: the highest resolutions are computed {lower}")
    print("Constructing networks...")
    G = Network("G", **find_for_options(options.G_args, "G_args"))
    D = Network("D", **find_for_options(options.D_args, "D_args"))
    set_label_names(G, training_set.label_names)
    G.print_layers()
    D.print_layers()
    return Networks(G, D, G.clone("Gs"))


def _build_graph(
    options: TrainingOptions,
    training_set: TFRecordDataset,
    networks: Networks,
    devices: list[str],
    workers: Alone,
) -> TrainGraph:
    where = f"{', '.join(devices)}" + f" of each of {workers.count} workers" * (workers.count > 1)
    print(f"Building TensorFlow graph on {where}...", flush=True)
    start = time.monotonic()
    graph = TrainGraph(*networks, training_set, options, devices, workers)
    workers.prepare(trained_variables())
    tflib.init_uninitialized_vars()
    autosummary.init_autosummaries()
    print(f"Built the graph in {format_time(time.monotonic() - start)}")
    return graph


def _print_length(options: TrainingOptions, counters: Counters, is_resumed: bool) -> None:
    limit = options.total_seconds
    at_most = "" if limit is None else f", at most {format_time(limit)}"
    way = f"from {kimg_text(counters.cur_nimg)} to" if is_resumed else "for"
    length = kimg_text(round(options.total_kimg * 1000))
    print(f"Training {way} {length} kimg{at_most}. The first step takes longer than others.")


def _progress_bar(options: TrainingOptions, counters: Counters, workers: Alone) -> tqdm:
    return tqdm(
        total=options.total_kimg,
        initial=counters.cur_nimg / 1000,
        unit="kimg",
        disable=None if workers.is_chief else True,
        leave=False,
        smoothing=0.05,
        bar_format="{l_bar}{bar}| {n:.3f}/{total:.3f} kimg [{elapsed}<{remaining}, {rate_fmt}]",
    )


def _advance(bar: tqdm, kimg: float) -> None:
    """Moves the bar, not beyond its end: the last step may show more images than are left."""
    bar.update(min(kimg, max(bar.total - bar.n, 0)))


def _is_over(options: TrainingOptions, counters: Counters, seconds: float | None = None) -> bool:
    """Whether a run has its length, in images or, where they are given, in seconds."""
    limit = options.total_seconds
    out_of_time = seconds is not None and limit is not None and seconds >= limit
    return out_of_time or counters.cur_nimg >= int(options.total_kimg * 1000)


def _is_tick(options: TrainingOptions, sched: Schedule, counters: Counters) -> bool:
    """Whether a tick ends at this step; the first has one step, so that it is seen soon."""
    tick_nimg = counters.cur_nimg - counters.tick_start_nimg
    return counters.minibatch == 1 or tick_nimg >= tick_kimg(sched, options.total_kimg) * 1000


def _report(
    options: TrainingOptions,
    graph: TrainGraph,
    sched: Schedule,
    counters: Counters,
    clock: Clock,
    output: RunOutput,
    moments: Mapping[str, Moments],
) -> None:
    """Reports what happened since the last tick."""
    seconds, tick_seconds = clock.end_tick()
    tick_nimg = counters.cur_nimg - counters.tick_start_nimg
    stats = {
        "tick": counters.cur_tick,
        "kimg": counters.cur_nimg / 1000,
        "time": seconds,
        "sec_per_tick": tick_seconds,
        "sec_per_kimg": tick_seconds / tick_nimg * 1000,
        "maintenance": clock.maintenance,
        "resolution": sched.resolution,
        "lod": sched.lod,
        "minibatch": sched.minibatch_size,
        "augment": float(tflib.run(graph.augment.strength)),
        "peak_memory_gb": peak_memory_gb(),
    }
    values = {name: m.mean for name, m in moments.items()}
    scores = [values.get(f"Loss/scores/{name}") for name in ("real", "validation", "fake")]
    if None not in scores and not graph.augment.needs_validation:
        r_v = overfitting(*scores)
        values |= {} if r_v is None else {"r_v": r_v}
    white = output.white_border()
    values |= {} if white is None else {"white_border": white}
    values["pl_mean"] = float(tflib.run(graph.pl_mean.var))
    progress = clock.progress(counters.cur_nimg, options.total_kimg, options.total_seconds)
    output.reports.tick(stats, values, counters.cur_nimg, progress)
    for line in output.skipped.add_tick(moments):
        print(f"Warning: {line}")
