"""What workers have to agree on before they train together: they compare, and take the chief's."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import UserError, own_code
from dnnlib.tflib.workers import Alone, Workers
from dnnlib.util import one_line
from tf_ops import native
from training.config.options import TrainingOptions
from training.dataset import TFRecordDataset
from training.run.resume import differences

_MOST_NAMED = 5  # differences in an error
_PACKAGES = ("dnnlib", "tf_ops", "training")


def check_same_start(workers: Workers, is_resumed: bool) -> None:
    """Raises a UserError on all workers if some of them resume a run and others begin one, or if
    they have other versions of anything that computes.
    """
    _compare(
        workers,
        {
            "start": "a resumed run" if is_resumed else "a new run",
            "number of workers": workers.count,
            "version of TensorFlow": tf.__version__,
            "version of NumPy": np.__version__,
            "version of Python": platform.python_version(),
            "source of this software": _source_hash(),
            "source of your own functions": _own_hash(),
            "kind of operations": "reference" if _is_reference() else "native",
        },
    )


def check_same_run(workers: Alone, options: TrainingOptions, training_set: TFRecordDataset) -> None:
    """Raises a UserError on all workers if their options or datasets differ.

    Args:
        workers: any number of them; one has nobody to agree with.
        options: of the run. Where its dataset and the snapshot that it starts from lie may differ.
        training_set: the dataset.
    """
    if workers.count == 1:
        return
    facts = options.to_json()
    facts["dataset_args"] = {**facts["dataset_args"], "tfrecord_dir": None}
    facts["resume_pkl"] = "a snapshot" if options.resume_pkl else None
    own = {"number of images": training_set.num_images, "content of the dataset": None}
    own["content of the dataset"] = training_set.content
    _compare(workers, {**facts, **own})


def chiefs_options(workers: Workers, options: TrainingOptions | None) -> TrainingOptions:
    """The options that the chief has, on all workers."""
    told = workers.from_chief(lambda: options.to_json())
    return options if workers.is_chief else TrainingOptions.from_json(told)


def _compare(workers: Workers, facts: dict[str, Any]) -> None:
    told = [json.loads(text) for text in workers.tell(json.dumps(facts))]
    found = []
    for index, other in enumerate(told[1:], 1):
        for name, value, expected in differences(other, told[0], ""):
            values = [one_line(json.dumps(v), 60) for v in (value, expected)]
            found.append(f"{name} is {values[0]} on {workers.name(index)}, not {values[1]}")
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise UserError(
            f"the workers differ: {'; '.join(found[:_MOST_NAMED])}{more} as on "
            f"{workers.name(0)}: start all of them with the same command, programs and data"
        )


def _source_hash() -> str:
    """Of all our own modules that compute something."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    modules = [p for name in _PACKAGES for p in (root / name).rglob("*.py")]
    for path in sorted([*modules, *(root / "tf_ops/kernels").iterdir()]):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _own_hash() -> str | None:
    """Of the modules whose networks and losses the command line names; None if there are none."""
    tables = own_code.networks.by_module() | own_code.losses.by_module()
    digest = hashlib.sha256()
    for module in sorted(tables):
        file = getattr(sys.modules.get(module), "__file__", None)
        digest.update(module.encode() + (Path(file).read_bytes() if file else b""))
    return digest.hexdigest()[:16] if tables else None


def _is_reference() -> bool:
    return native.find("training", "auto", tf.float32) is None
