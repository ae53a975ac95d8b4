"""A dataset that workers of a cluster make in parts: what its engines, Beam and Dask, share.

One shard is one part. Every worker lists the source and writes its shard with the code of the local
run, as `--only-shards` does, so that the records are the same; the folders must be shared by all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable

from dnnlib import UserError
from dnnlib.files import check_free, folder_beside
from training.datasets.building.output import Output


def check(output: Output) -> None:
    """Raises a UserError for a dataset that cannot be made in parts, before anything is started."""
    output.check()
    if output.only_shards or output.dedupe:
        raise UserError("--runner distributes shards: leave out --only-shards and --dedupe")
    if output.shards == 1:
        raise UserError("--runner distributes shards: give --shards, some for each worker")
    check_free(output.tfrecord_dir)


def folder_of(output: Output) -> contextlib.AbstractContextManager[str]:
    """A folder for the parts beside the dataset; it is removed when the block ends."""
    return folder_beside(output.tfrecord_dir)


def write(part: str, shard: int, create: Callable[[Output], None], output: Output) -> None:
    """Writes one shard of a dataset, on a worker, whose own log is spared the summary of a part.

    Args:
        part: folder to make, named like the dataset.
        shard: its number.
        create: an importer with all its arguments but the output bound.
        output: the whole dataset.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        create(dataclasses.replace(output, tfrecord_dir=part, only_shards=(shard, shard)))
