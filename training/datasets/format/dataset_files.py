"""The official dataset format: a folder with one TFRecord file per resolution level.

    NAME/NAME-r02.tfrecords ... NAME-rNN.tfrecords   4x4 ... 2^NN x 2^NN, see `examples`
    NAME/NAME-rxx.labels                             np.save of float32 [images, label_size]
    NAME/NAME.json                                   the manifest: how it was made; may be missing

Beyond the official format, as the manifest says: a level may be split into shards
(`NAME-r08-00000-of-00032.tfrecords`, in order), levels but the finest may be missing
(`"finest_only": true`), records may be encoded (`"encoding": "jpeg"`), and images need not be
square (`levels`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

# Appended to the folder of a dataset, the folder of its pictures for validation.
VALIDATION = "-validation"
LEVEL_FILE = re.compile(r"(?s)(.*?)-r(0[2-9]|[1-9]\d)(?:-(\d{5})-of-(\d{5}))?\.tfrecords")


@dataclass(frozen=True)
class Shard:
    """Which part of a level a file holds: number `index` of `count`."""

    index: int = 0
    count: int = 1


WHOLE = Shard()


def level_path(folder: str, name: str, log2: int, shard: Shard = WHOLE) -> str:
    """Path of a level's file, or of one shard of it."""
    part = f"-{shard.index:05}-of-{shard.count:05}" if shard.count > 1 else ""
    return os.path.join(folder, f"{name}-r{log2:02}{part}.tfrecords")


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a dataset.

    Attributes:
        folder, name: NAME in the names of the files; differs from the folder's when that was
            renamed.
        levels: log2 of the level -> its files in the order of the images; ascending.
        shards: numbers of the shards that are there, and how many there should be.
    """

    folder: str
    name: str
    levels: dict[int, list[str]]
    shards: tuple[list[int], int]

    @property
    def finest(self) -> int:
        """log2 of the finest level."""
        return max(self.levels)

    @property
    def is_part(self) -> bool:
        """Whether shards are missing, as where several machines write one dataset."""
        return len(self.shards[0]) < self.shards[1]

    def path(self, suffix: str) -> str:
        """Path of `NAME<suffix>`."""
        return os.path.join(self.folder, self.name + suffix)
