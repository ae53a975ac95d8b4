"""What is made of a run that began with photos: the best snapshot, and a catalog of it."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from dnnlib import UserError, tflib
from dnnlib.files import atomic_write
from training.config.options import TrainingOptions
from training.pictures.catalog import CatalogOptions, generate_catalog
from training.run.data import open_dataset
from training.run.file_names import BEST, FINAL, PAGE, REALS
from training.snapshots.class_names import count_classes
from training.snapshots.pickles import load_subject

_PICTURES = 60  # Of the catalog, about, in all classes together.
_OF_CLASS = (3, 20)


class BestSnapshot(Protocol):
    """See `metrics.best_snapshot.Best`."""

    path: str
    distances: dict[str, float]
    compared_with: str


def is_finished(run_dir: str) -> bool:
    """Whether `finish_run` has come to its end."""
    pattern = os.path.join(glob.escape(run_dir), "catalog-*", "contact-sheet.png")
    return bool(glob.glob(pattern))


def finish_run(
    run_dir: str, options: TrainingOptions, find_best: Callable[..., BestSnapshot]
) -> None:
    """Names the best snapshot, in `best-snapshot.json` too, and makes a catalog of its pictures.

    Args:
        run_dir: of a run that is over.
        options: of the run.
        find_best: `metrics.best_snapshot.find_best`.

    Raises:
        UserError: the files cannot be written.
    """
    with closing(open_dataset(options)) as photos:
        path = _best(run_dir, options, photos.num_held_out, find_best)
        name = os.path.basename(path)
        # Of this snapshot: a run that is resumed may have a better one later.
        number = os.path.splitext(name)[0].removeprefix("network-").removeprefix("snapshot-")
        catalog = os.path.join(run_dir, f"catalog-{number}")
        with tflib.graph_session():
            subject = load_subject(path)
            classes = max(count_classes(subject.Gs), 1)
            per_class = min(max(_PICTURES // classes, _OF_CLASS[0]), _OF_CLASS[1])
            try:
                made = generate_catalog(subject, photos, CatalogOptions(per_class), catalog)
                print(f"Wrote {made}")
            except UserError as error:  # The run itself is done, and what there is is written.
                print(f"NOTE: {error}", file=sys.stderr)
    print(
        f"""
Done. Look at:
  {os.path.join(catalog, "contact-sheet.png")}   pictures of products that never existed
  {os.path.join(run_dir, REALS)}   what it learned from
  {os.path.join(run_dir, PAGE)}   how it learned, and what to do next

More of them, and more training:
  python run_generator.py generate-catalog --network={path} --per-class=100 --out=catalog
  python run_training.py --resume={run_dir} {_longer(options)}"""
    )


def _best(
    run_dir: str,
    options: TrainingOptions,
    num_held_out: int,
    find_best: Callable[..., BestSnapshot],
) -> str:
    """The path of the best snapshot, which is written and said; else that of the last."""
    try:
        best = find_best(run_dir, options.dataset_args, num_held_out)
    except UserError as error:  # A network of the user's, say, that has no features to look at.
        print(f"NOTE: the last snapshot is taken, since no distance: {error}", file=sys.stderr)
        return os.path.join(run_dir, FINAL)
    name = os.path.basename(best.path)
    found = {"snapshot": name, "compared with": best.compared_with}
    found["distances"] = {os.path.basename(p): d for p, d in best.distances.items()}
    try:
        with atomic_write(os.path.join(run_dir, BEST), "w") as file:
            json.dump(found, file, indent=1)
    except OSError as error:
        raise UserError(f"cannot write to {run_dir}: {error.strerror or error}") from error
    if best.distances:
        print(f"Best snapshot: {name}, of {len(best.distances)}, by {best.compared_with}")
    return best.path


def _longer(options: TrainingOptions) -> str:
    """The option for as long again: hours and images are those of all sessions."""
    if options.total_seconds is None:
        return f"--total-kimg={2 * options.total_kimg:g}"
    return f"--hours={max(round(2 * options.total_seconds / 3600, 1), 0.1):g}"
