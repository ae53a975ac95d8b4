"""How large the keyword arguments of networks may be in files.

Far more than any real network has, far less than what fills a machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from dnnlib.schema import Range

_WIDTH = Range(0, 1 << 16)
_COUNT = Range(0, 1 << 10)
RANGES: Mapping[str, Range] = {
    "resolution": Range(4, 1 << 12),
    "num_channels": Range(1, 1 << 10),
    "label_size": Range(0, 1 << 20),
    "latent_size": Range(1, 1 << 16),
    "dlatent_size": Range(1, 1 << 16),
    "dlatent_broadcast": _COUNT,
    "mapping_layers": Range(0, 128),
    "mapping_fmaps": _WIDTH,
    "label_fmaps": _WIDTH,
    "fmap_base": Range(1, 1 << 20),
    "fmap_decay": Range(-8, 8),
    "fmap_min": _WIDTH,
    "fmap_max": Range(1, 1 << 16),
    "fmap_const": Range(1, 1 << 16),
    "mbstd_num_features": _COUNT,
    "pagan_num": _COUNT,
    "score_size": _COUNT,
    "score_max": _COUNT,
}
