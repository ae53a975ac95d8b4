"""Keyword arguments of the smallest networks that still have every kind of layer."""

from __future__ import annotations

SHAPE = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 8}
STYLE = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
