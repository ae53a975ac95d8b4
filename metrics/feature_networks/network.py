"""What a feature network is to a metric."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnnlib import UserError
from dnnlib.files import open_regular

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

_CHUNK = 1 << 20


class FeatureNetworkMissing(UserError):
    """A feature network is not there and cannot be had: metrics that need it are left out."""


class FeatureNetwork:
    """Turns images into features, in any number of graphs.

    Attributes:
        name: for reports.
        sha256: of the file or files that it was read from.
        key: names the features in caches: what the numbers depend on.
        sees_opacity: whether it takes the fourth channel of transparent images.
    """

    sees_opacity = False

    def __init__(self, name: str, sha256: str):
        self.name, self.sha256 = name, sha256

    @property
    def key(self) -> str:
        return f"{type(self).__name__}-{self.sha256}"

    def build(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the network to the graph, on the current device.

        Args:
            images: float32 [N, 3, H, W], 0 to 255.

        Returns:
            "features" [N, D]; of Inception also "softmax" [N, 1008].
        """
        raise NotImplementedError


def sha256_of(*paths: str) -> str:
    """SHA-256 of files, in hexadecimal."""
    return checksum_of(paths, "sha256")


def checksum_of(paths: Sequence[str], algorithm: str) -> str:
    """Checksum of files by one of `hashlib`'s algorithms, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        for path in paths:
            with open_regular(path) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def files_of(folder: str) -> list[str]:
    """All files in a folder and below, sorted."""
    return sorted(os.path.join(d, f) for d, _, files in os.walk(folder) for f in files)
