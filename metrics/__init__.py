"""Metrics, one a file. The module `metric_defaults` says what the official names mean."""

# The name of the table stays that of its module here, as scripts for the official code import it.
from metrics.metric_defaults import metric_defaults as _table

# Names that `--metrics` takes. Nothing here needs TensorFlow.
METRICS: tuple[str, ...] = tuple(_table)
__all__ = ["METRICS"]
