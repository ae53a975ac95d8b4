"""Conversion as an Apache Beam pipeline (`--runner`): a shard is an element of work, see parts.py.

Beam is an optional extra and imported here only.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable

from dnnlib import UserError
from training.datasets.building import parts
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
    parts.check(output)
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(f'--runner={runner} needs Apache Beam: pip install -e ".[beam]"') from error
    arguments = [f"--runner={RUNNERS[runner]}", *options]
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what matters is raised
    try:
        with parts.folder_of(output) as folder:
            with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
                shards = pipeline | beam.Create(range(output.shards)) | beam.Reshuffle()
                _ = shards | beam.Map(_write_part, create, output, folder)
            merge(output.tfrecord_dir, [_part(folder, output, i) for i in range(output.shards)])
    except UserError as error:  # Beam adds where in the pipeline it was
        raise UserError(str(error).partition(" [while running")[0]) from error


def _part(folder: str, output: Output, shard: int) -> str:
    return os.path.join(folder, f"{shard:05}", output.name)


def _write_part(shard: int, create: Callable[[Output], None], output: Output, folder: str) -> int:
    part = _part(folder, output, shard)
    shutil.rmtree(part, ignore_errors=True)  # what a worker that failed has left
    parts.write(part, shard, create, output)
    return shard
