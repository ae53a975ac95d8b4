"""How far a run is, what it was asked for, and what can be done next."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator

from dnnlib.util import format_time, one_line
from training.run.file_names import STATS, find_states
from training.run.page.run_files import RunFiles, finite

_RECENT = 20  # Ticks by which the time that is left is estimated.
_SETTINGS = {
    "Length, thousand images": ("total_kimg",),
    "At most, seconds": ("total_seconds",),
    "Images a step": ("sched_args", "minibatch_size_base"),
    "Generator": ("G_args", "func_name"),
    "Feature maps": ("G_args", "fmap_base"),
    "… at most": ("G_args", "fmap_max"),
    "Size of w": ("G_args", "dlatent_size"),
    "Learning rate": ("sched_args", "G_lrate_base"),
    "Gamma of R1": ("D_loss_args", "gamma"),
    "Augmentation": ("augment_args", "mode"),
    "Transformations": ("augment_args", "preset"),
    "Mirrored": ("mirror_augment",),
    "Precision": ("precision",),
    "GPUs": ("num_gpus",),
    "Starts from": ("resume_pkl",),
    "Seed": ("seed",),
}


def progress(run: RunFiles) -> dict[str, float] | None:
    """How much of its length a run has, as the element of that name takes it."""
    total, kimg = run.number("total_kimg"), run.last.get("kimg")
    if not total or kimg is None:
        return None
    return {"value": min(kimg, total), "max": kimg if run.is_over and kimg > 0 else total}


def summary(run: RunFiles) -> Iterator[tuple[str, str]]:
    """How far a run is, for people; nothing for directories of other kinds."""
    last, total = run.last, run.number("total_kimg")
    if last:
        of = f" of {total:g}" if total and not run.is_over else ""
        yield "Images seen", f"{last['kimg']:g}{of} thousand"
        yield "Time", format_time(last["time"]) if last.get("time", -1) >= 0 else "not known"
        yield "Time left", _time_left(run)
        changed = os.path.getmtime(os.path.join(run.folder, STATS))
        yield "Last tick", time.strftime("%Y-%m-%d %H:%M", time.localtime(changed))
    if run.machine:
        yield "Machine", run.machine
    if "peak_memory_gb" in last:
        yield "Memory", f"{last['peak_memory_gb']:.1f} GiB at most"
    if run.snapshot:
        yield "Snapshot", run.snapshot


def _time_left(run: RunFiles) -> str:
    if run.failure:
        return "none: it diverged"
    if run.is_over:
        total, limit = run.number("total_kimg"), run.number("total_seconds")
        by_time = limit is not None and total is not None and run.last.get("kimg", total) < total
        return f"none: the run is over{', as its time was up' * by_time}"
    rows = [row for row in run.stats[-_RECENT:] if "time" in row]
    total, last = run.number("total_kimg"), run.last
    if len(rows) < 2 or total is None or rows[-1]["time"] <= rows[0]["time"]:
        return "not known yet"
    first, last = rows[0], rows[-1]
    pace = (last["time"] - first["time"]) / (last["kimg"] - first["kimg"])
    left = pace * max(total - last["kimg"], 0)
    limit = run.number("total_seconds")
    if limit is not None:
        left = min(left, max(limit - last["time"], 0))
    return f"{format_time(left)}, by the last {len(rows)} ticks"


def settings(run: RunFiles) -> Iterator[tuple[str, str]]:
    """The options that matter most, by their names for people."""
    for title, path in _SETTINGS.items():
        value = run.option(*path)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif (number := finite(value)) is not None:
            value = f"{number:g}"
        if value is not None:
            yield title, one_line(value)


def commands(run: RunFiles) -> Iterator[tuple[str, str]]:
    """(what it does, command) of what can be done next."""
    folder = os.path.abspath(run.folder)
    folder = folder.removeprefix(os.path.join(os.getcwd(), ""))  # As one would type it.
    here = shlex.quote(folder)
    if run.options and find_states(run.folder):
        if run.is_over:
            longer = f"{2 * (run.last.get('kimg') or 1000):g}"
            yield "Train longer", f"python run_training.py --resume={here} --total-kimg={longer}"
        else:
            yield "Resume", f"python run_training.py --resume={here}"
    if run.snapshot:
        network = shlex.quote(os.path.join(folder, run.snapshot))
        make = "python run_generator.py"
        yield (
            "A grid of pictures",
            f"{make} generate-grid --network={network} --grid=8x4 --out=grid.png",
        )
        yield (
            "A catalog",
            f"{make} generate-catalog --network={network} --per-class=20 --out=catalog",
        )
        measure = "python run_metrics.py"
        yield "Quality of all snapshots", f"{measure} --network={here} --metrics=fid50k"
        yield "Copies of photos", f"{measure} --network={network} --metrics=copies"
    page = "python run_metrics.py page"
    yield "This page again, with pictures in it, to send", f"{page} --network={here} --embed"
