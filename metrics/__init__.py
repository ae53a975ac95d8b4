"""Metrics, one a file. `METRICS` names them for `--metrics`; there are none yet."""

from collections.abc import Callable

METRICS: dict[str, Callable] = {}
