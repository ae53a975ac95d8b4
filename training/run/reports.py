"""What a run tells: the status line of a tick, stats.jsonl, TensorBoard."""

from __future__ import annotations

import glob
import io
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from dnnlib.files import append, append_line, atomic_write, lines_of
from dnnlib.util import format_time, one_line
from training.datasets.format.tfrecords import frame
from training.run.file_names import METRICS, PAGE, STATS

_IMAGE_SIDE = 1024


class Reports:
    """Writes the statistics of a run to its directory.

    A full disk must not end a run (DESIGN D8): what cannot be written is said, and left out.

    Args:
        run_dir: the run directory.
        resumed_nimg: position from which a run is resumed, in images: what was reported of later
            positions is going to happen again, and is forgotten. None for a new run.
    """

    def __init__(self, run_dir: str, resumed_nimg: int | None = None):
        self._path = os.path.join(run_dir, STATS)
        self._run_dir = run_dir
        self._events: str | None = None  # TensorBoard's file of this session.
        if resumed_nimg is not None:
            _forget_after(self._path, resumed_nimg / 1000)
            start = tf.SessionLog(status=tf.SessionLog.START)
            # TensorBoard forgets what is at this step or later.
            self._write_event(tf.Event(session_log=start), resumed_nimg + 1)

    def tick(
        self, stats: dict[str, Any], values: dict[str, float], nimg: int, progress: str
    ) -> None:
        """Reports a tick.

        Args:
            stats: kimg, time, resolution and so on, for the status line too.
            values: losses and the like by name.
            nimg: images seen.
            progress: how much of the run is left, for the status line.
        """
        print(
            f"tick {stats['tick']:<5d} kimg {kimg_text(nimg):<8s} "
            f"time {format_time(stats['time']):<12s} sec/tick {stats['sec_per_tick']:<7.1f} "
            f"sec/kimg {stats['sec_per_kimg']:<7.2f} maintenance {stats['maintenance']:<6.1f} "
            f"{progress:<30s} "
            f"res {stats['resolution']:<5d} lod {stats['lod']:<5.2f} "
            f"batch {stats['minibatch']:<4d} augment {stats['augment']:<6.3f} "
            f"{_overfitting(values):<10s} {_white_border(values)}"
            f"mem {stats['peak_memory_gb']:.1f}",
            flush=True,
        )
        row = {**stats, **values}
        try:
            # JSON knows no NaN and no infinity.
            known = {n: v if np.isfinite(v) else None for n, v in row.items()}
            append_line(self._path, json.dumps(known))
        except OSError as error:
            print(f"Warning: cannot write statistics: {error}")
        self.scalars({n if "/" in n else f"Progress/{n}": v for n, v in row.items()}, nimg)

    def scalars(self, values: dict[str, float], nimg: int) -> None:
        """Adds numbers to TensorBoard."""
        summary = tf.Summary()
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
        self._write_event(tf.Event(summary=summary), nimg)

    def image(self, name: str, image: Image.Image, nimg: int) -> None:
        """Adds a picture to TensorBoard, reduced to at most `_IMAGE_SIDE` pixels, as JPEG."""
        image.thumbnail((_IMAGE_SIDE, _IMAGE_SIDE))
        content = io.BytesIO()
        image.save(content, format="JPEG", quality=90)
        value = tf.Summary.Image(
            width=image.width,
            height=image.height,
            colorspace=len(image.getbands()),
            encoded_image_string=content.getvalue(),
        )
        summary = tf.Summary(value=[tf.Summary.Value(tag=name, image=value)])
        self._write_event(tf.Event(summary=summary), nimg)

    def _write_event(self, event: tf.Event, step: int) -> None:
        """Adds to TensorBoard's file, whole or not at all.

        TensorFlow's own writer has a thread, which a full disk ends by a traceback.
        """
        event.step, event.wall_time = step, time.time()
        begin = b""
        if self._events is None:
            first = tf.Event(file_version="brain.Event:2", wall_time=event.wall_time)
            begin = b"".join(frame(first.SerializeToString()))
            # Sorted by time, as TensorBoard reads them.
            now, rest = divmod(time.time_ns(), 10**9)
            name = f"events.out.tfevents.{now:010d}.{socket.gethostname()}.{os.getpid()}.{rest:09d}"
            path = os.path.join(self._run_dir, name)
        else:
            path = self._events
        try:
            append(path, begin + b"".join(frame(event.SerializeToString())))
            self._events = path
        except OSError as error:
            print(f"Warning: cannot write statistics: {one_line(error)}")
            if self._events is None:
                with suppress(OSError):
                    os.unlink(path)


def kimg_text(nimg: int) -> str:
    """Thousands of images, to the last image: 0.8, 12.032, 25000."""
    return f"{nimg / 1000:.3f}".rstrip("0").rstrip(".")


def what_next(run_dir: str, snapshot: str, metrics: Sequence[str]) -> str:
    """What can be done with a run that is over."""
    names = ",".join(metrics) or "fid50k"
    grid = os.path.join(run_dir, "grid.png")
    return (
        f"Run directory: {run_dir}\n"
        f"Page: {os.path.join(run_dir, PAGE)}\n"
        "Pictures, quality of all snapshots, and a longer run:\n"
        f"  python run_generator.py generate-grid --network={snapshot} --grid=8x4 --out={grid}\n"
        f"  python run_metrics.py --network={run_dir} --metrics={names}\n"
        f"  python run_training.py --resume={run_dir} --total-kimg=N"
    )


def _overfitting(values: dict[str, float]) -> str:
    """r_v (ADA, equation 1) where it is known, else r_t."""
    for name, key in {"r_v": "r_v", "r_t": "Loss/signs/real"}.items():
        if key in values:
            return f"{name} {values[key]:.3f}"
    return ""


def _white_border(values: dict[str, float]) -> str:
    """How white the borders of fakes are, where reals are on white."""
    return f"white {values['white_border']:<6.3f} " if "white_border" in values else ""


def metric_row(line: str) -> dict[str, Any] | None:
    """A line of a `metric-NAME.jsonl`; None if it is damaged, or none of ours."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("snapshot"), str) else None


def measured(snapshot: str) -> dict[str, str]:
    """{metric as --metrics calls it: path} of the `metric-NAME.jsonl` beside a snapshot that have a
    row of it.
    """
    name = os.path.splitext(os.path.basename(snapshot))[0]
    return {
        metric: path
        for metric, of_snapshot, path in _measurements(os.path.dirname(snapshot))
        if of_snapshot == name
    }


def measured_metrics(run_dir: str) -> str:
    """Names of the metrics of which a run directory has results, as --metrics takes them."""
    return ",".join(dict.fromkeys(metric for metric, _, _ in _measurements(run_dir)))


def _measurements(folder: str) -> Iterator[tuple[str, str, str]]:
    """(metric, snapshot, path) of all rows of a folder's `metric-NAME.jsonl`."""
    begin, end = METRICS.split("*")
    for name in sorted(glob.glob(METRICS, root_dir=folder)):
        path = os.path.join(folder, name)
        # Versions that did not store what --metrics calls it: mostly what the file is called.
        of_file = name.removeprefix(begin).removesuffix(end)
        for line in lines_of(path):
            if row := metric_row(line):
                option = row.get("option")
                option = option if isinstance(option, str) and option else of_file
                yield one_line(option), row["snapshot"], path


def _forget_after(path: str, kimg: float) -> None:
    """Removes the rows of later positions, and those that are not whole."""
    if not os.path.exists(path):
        return
    kept = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                later = json.loads(line)["kimg"] > kimg
            except (ValueError, KeyError, TypeError, RecursionError):
                later = True
            if not later:
                kept.append(line)
    try:
        with atomic_write(path, "w") as file:
            file.writelines(kept)
    except OSError as error:
        print(f"Warning: cannot write statistics: {error}")
