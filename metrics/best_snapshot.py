"""Which snapshot of a run is the best, by photos that it was not trained on; without a download."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib import UserError
from dnnlib.output import tqdm
from metrics.evaluation import MetricOptions
from metrics.feature_networks import FeatureSources
from metrics.kernel_inception_distance import KID
from metrics.measure import find_snapshots
from metrics.metric_base import MetricGroup

_FAKES = 1000
_MOST_SNAPSHOTS = 12  # Evenly over the run, the last one among them.
_FEWEST_PHOTOS = 20  # Held out, that a distance says something of.
_SEED = 1  # The same pictures for all.


@dataclass(frozen=True)
class Best:
    """The best snapshot.

    Attributes:
        path: of the file.
        distances: kernel distances of all that were compared to the photos, by path.
        compared_with: what photos, for people.
    """

    path: str
    distances: Mapping[str, float]
    compared_with: str


def find_best(
    run_dir: str,
    dataset_args: Mapping[str, Any],
    num_held_out: int,
    feature_net: str | None = None,
) -> Best:
    """The snapshot whose pictures are nearest to the photos that were held out.

    The distance is KID's of features of the last snapshot's discriminator, or of a network of the
    user's. Where too few photos are held out, it is to those trained on.

    Args:
        run_dir: of the run.
        dataset_args: of the run, see `MetricOptions`.
        num_held_out: photos that are.
        feature_net: file of a feature network, see `FeatureSources`.

    Raises:
        UserError: no snapshot, or none can be measured.
    """
    paths = find_snapshots(run_dir)
    chosen = np.linspace(len(paths) - 1, 0, min(len(paths), _MOST_SNAPSHOTS)).round().astype(int)
    paths = [paths[number] for number in sorted(chosen)]
    held_out = num_held_out >= _FEWEST_PHOTOS
    what = f"{num_held_out} photos that were held out" if held_out else "the photos trained on"
    if len(paths) == 1:
        return Best(paths[0], {}, what)
    options = MetricOptions(
        dataset_args,
        sources=FeatureSources(own_file=feature_net or paths[-1]),
        seed=_SEED,
        held_out=held_out,
    )
    metric = {"name": "kid", "func_name": f"{KID.__module__}.KID", "num_fakes": _FAKES}
    group = MetricGroup([{**metric, "max_reals": None, "mirror": False}], options)
    distances: dict[str, float] = {}
    for path in tqdm(paths, desc="Comparing snapshots", unit="snapshot", disable=None):
        reports = group.run(path, log_results=False)
        if reports:
            distances[path] = reports[0].results[""]
        else:
            print(f"NOTE: {os.path.basename(path)} is left out", file=sys.stderr)
    if not distances:
        raise UserError(f"{run_dir}: no snapshot could be measured")
    return Best(min(distances, key=distances.get), distances, what)
