"""Joining the parts of a dataset that several machines have written (`merge`)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress

import numpy as np

from dnnlib import UserError
from dnnlib.files import check_free, staged_directory
from dnnlib.output import tqdm
from training.datasets.building.inspect import first_images
from training.datasets.format.dataset_files import DatasetFiles, Shard, level_path
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels, write_labels
from training.datasets.format.manifest import count_skipped, read_manifest, write_manifest
from training.datasets.format.tfrecords import read_payloads

# What may differ between the parts of one dataset.
_OF_A_PART = {"images", "skipped", "more_skipped", "shard_images", "only_shards", "levels"}
_OF_A_PART |= {"source", "duplicates", "profiles"}

_ONLY_OF_PARTS = ("only_shards", "levels", "listing_skipped")


def merge(tfrecord_dir: str, parts: list[str]) -> None:
    """Puts the shards of all parts into one dataset; prints a summary.

    Files are linked where the parts are on the same file system, and copied where not; the parts
    stay as they are.

    Args:
        tfrecord_dir: The dataset folder to make; its basename is the dataset's NAME.
        parts: Folders that were written with --only-shards.

    Raises:
        UserError: A part is missing, there twice, damaged, or made with other options.
    """
    datasets = [find_dataset(part, allow_part=True) for part in parts]
    manifests = [_manifest(dataset) for dataset in datasets]
    _check_same(datasets, manifests)
    owners = _owners(datasets)
    check_free(os.path.abspath(tfrecord_dir))  # Before all is read.
    _check_records(datasets)
    name = os.path.basename(os.path.abspath(tfrecord_dir))
    with staged_directory(tfrecord_dir) as folder:
        count = len(owners)
        for log2 in datasets[0].levels:
            for index, (dataset, place) in enumerate(owners):
                target = level_path(folder, name, log2, Shard(index, count))
                _link(dataset.levels[log2][place], target)
        by_folder = {d.folder: m for d, m in zip(datasets, manifests, strict=True)}
        images = [by_folder[d.folder]["shard_images"][place] for d, place in owners]
        _merge_labels(os.path.join(folder, f"{name}-rxx.labels"), datasets, owners, by_folder)
        merged = {k: v for k, v in manifests[0].items() if k not in _ONLY_OF_PARTS}
        merged |= {"images": sum(images), "shard_images": images}
        if not sum(images):
            raise UserError("the parts hold no images: none of their pictures is readable")
        merged |= _joined_counts(manifests)
        write_manifest(folder, name, merged)
        first_images(find_dataset(folder)).save(os.path.join(folder, f"{name}-contact-sheet.png"))
    skipped = count_skipped(merged)
    print(f"{tfrecord_dir}: {sum(images)} images in {count} shards, {skipped} files skipped")


def _manifest(dataset: DatasetFiles) -> dict:
    manifest = read_manifest(dataset) or {}
    counts = manifest.get("shard_images")
    if counts is None or len(counts) != len(dataset.shards[0]):
        raise UserError(f"{dataset.folder} is no part of a dataset: its manifest names no shards")
    return manifest


def _joined_counts(manifests: list[dict]) -> dict:
    """What was skipped, and what became of color profiles, in all parts together."""
    # What was left out while the source was listed is in the manifest of each part.
    listed = manifests[0].get("listing_skipped", 0)
    total = listed + sum(count_skipped(manifest) - listed for manifest in manifests)
    named = {(e["file"], e["reason"]): e for m in manifests for e in m.get("skipped", [])}
    profiles = sum((Counter(m.get("profiles", {})) for m in manifests), Counter())
    joined = {"skipped": list(named.values()), "profiles": dict(profiles)}
    return joined | ({"more_skipped": total - len(named)} if total > len(named) else {})


def _check_same(datasets: list[DatasetFiles], manifests: list[dict]) -> None:
    first = {key: value for key, value in manifests[0].items() if key not in _OF_A_PART}
    for dataset, manifest in zip(datasets, manifests, strict=True):
        other = {key: value for key, value in manifest.items() if key not in _OF_A_PART}
        different = sorted(k for k in first | other if first.get(k) != other.get(k))
        if different or list(dataset.levels) != list(datasets[0].levels):
            raise UserError(
                f"{dataset.folder} and {datasets[0].folder} are not parts of one dataset: they "
                f"differ in {', '.join(different) or 'their levels'}"
            )


def _check_records(datasets: list[DatasetFiles]) -> None:
    """Reads all records, whose checksums tell what was damaged on the way between machines."""
    with closing(tqdm(unit="record", desc="checking", disable=None, leave=False)) as bar:
        for dataset in datasets:
            for path in (path for paths in dataset.levels.values() for path in paths):
                for _ in read_payloads(path, may_be_empty=True):
                    bar.update()


def _owners(datasets: list[DatasetFiles]) -> list[tuple[DatasetFiles, int]]:
    """For each shard the part that holds it, and its place among that part's shards."""
    count = datasets[0].shards[1]
    owners: dict[int, tuple[DatasetFiles, int]] = {}
    for dataset in datasets:
        for place, shard in enumerate(dataset.shards[0]):
            if shard in owners:
                folders = f"{owners[shard][0].folder} and in {dataset.folder}"
                raise UserError(f"shard {shard} of {count} is in {folders}: leave one of them out")
            owners[shard] = dataset, place
    missing = [str(shard) for shard in range(count) if shard not in owners]
    if missing:
        raise UserError(f"shards {', '.join(missing[:10])} of {count} are in none of the parts")
    return [owners[shard] for shard in range(count)]


def _merge_labels(path: str, datasets, owners, manifests: dict[str, dict]) -> None:
    labels = {
        dataset.folder: read_labels(dataset, count=sum(manifests[dataset.folder]["shard_images"]))
        for dataset in datasets
    }
    present = [rows for rows in labels.values() if rows is not None]
    if not present:
        return
    if len(present) != len(labels) or len({rows.shape[1] for rows in present}) > 1:
        raise UserError("some of the parts have labels that the others do not have")

    def rows() -> Iterator[np.ndarray]:
        for dataset, place in owners:
            counts = manifests[dataset.folder]["shard_images"]
            begin = sum(counts[:place])
            yield labels[dataset.folder][begin : begin + counts[place]]

    write_labels(path, rows(), sum(map(len, present)), present[0].shape[1])


def _link(source: str, target: str) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"cannot copy {source} to {target}: {error.strerror}") from error
