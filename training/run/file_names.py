"""Names of the files in a run directory."""

from __future__ import annotations

import os
import re

OPTIONS_FILE = "training_options.json"
FINAL = "network-final.pkl"
BEST = "best-snapshot.json"
REALS = "reals.png"
STATS = "stats.jsonl"
METRICS = "metric-*.jsonl"
PAGE = "report.html"
_POSITION = r"(\d{6,})(\.\d{3})?"  # See `position_name`.


def position_name(nimg: int, whole_kimg: bool) -> str:
    """A position in names of files, in thousands of images: `000012`, or exactly `000012.345`."""
    # Deviation: the official names are always whole thousands; files of short runs overwrite each
    # other.
    kimg, rest = divmod(nimg, 1000)
    return f"{kimg:06d}" if whole_kimg else f"{kimg:06d}.{rest:03d}"


def kimg_of(path: str) -> int | float | None:
    """Thousands of images that the name of a numbered snapshot, state or picture of fakes tells."""
    name = os.path.basename(path)
    kind = "network-snapshot-|training-state-|fakes"
    match = re.fullmatch(rf"(?:{kind}){_POSITION}(?:\.pkl|\.npz|\.png)?", name)
    if match is None:
        return None
    return int(match[1]) if match[2] is None else float(match[1] + match[2])


def state_path(run_dir: str, nimg: int, whole_kimg: bool = True) -> str:
    """Where the state belongs that a run has after so many images."""
    return os.path.join(run_dir, f"training-state-{position_name(nimg, whole_kimg)}.npz")


def find_states(run_dir: str) -> list[str]:
    """Paths of the states in a run directory, the newest last."""
    found = [n for n in os.listdir(run_dir) if re.fullmatch(rf"training-state-{_POSITION}\.npz", n)]
    return [os.path.join(run_dir, name) for name in sorted(found, key=kimg_of)]
