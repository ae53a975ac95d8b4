"""Conversion as an Apache Beam pipeline (`--runner`): one shard is one element of work.

Every worker lists the source and writes its shard with the code of the local run, so that the
records are the same; the folders must be reachable from all workers. Beam is an optional extra and
imported here only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable

from dnnlib import UserError
from dnnlib.files import check_free
from training.datasets.building.merge import merge
from training.datasets.building.output import Output

RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}


def run(create: Callable[[Output], None], output: Output, runner: str, options: list[str]) -> None:
    """Makes a dataset with a Beam pipeline; whole or not at all.

    Args:
        create: an importer with all its arguments but the output bound; is pickled for workers.
        output: The dataset to make. Its shards are what is done in parallel.
        runner: A key of RUNNERS.
        options: of the pipeline, like `--parallelism=8`.

    Raises:
        UserError: Beam is not installed, or a shard cannot be made.
    """
    output.check()
    if output.only_shards or output.dedupe:
        raise UserError("--runner distributes shards: leave out --only-shards and --dedupe")
    if output.shards == 1:
        raise UserError("--runner distributes shards: give --shards, some for each worker")
    check_free(output.tfrecord_dir)
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(f'--runner={runner} needs Apache Beam: pip install -e ".[beam]"') from error
    parent, name = os.path.split(os.path.abspath(output.tfrecord_dir))
    os.makedirs(parent, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{name}.", suffix=".parts", dir=parent)
    arguments = [f"--runner={RUNNERS[runner]}", *options]
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what matters is raised
    try:
        with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
            shards = pipeline | beam.Create(range(output.shards)) | beam.Reshuffle()
            _ = shards | beam.Map(_write_part, create, output, folder)
        merge(output.tfrecord_dir, [_part(folder, output, i) for i in range(output.shards)])
    except UserError as error:  # Beam adds where in the pipeline it was
        raise UserError(str(error).partition(" [while running")[0]) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _part(folder: str, output: Output, shard: int) -> str:
    return os.path.join(folder, f"{shard:05}", output.name)


def _write_part(shard: int, create: Callable[[Output], None], output: Output, folder: str) -> int:
    part = _part(folder, output, shard)
    shutil.rmtree(part, ignore_errors=True)  # what a worker that failed has left
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        create(dataclasses.replace(output, tfrecord_dir=part, only_shards=(shard, shard)))
    return shard
