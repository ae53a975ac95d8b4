"""Metrics, one a file. `metric_defaults` says what the official names mean."""

from metrics.metric_defaults import metric_defaults

# Names that `--metrics` takes. Nothing here needs TensorFlow.
METRICS: tuple[str, ...] = tuple(metric_defaults)
__all__ = ["METRICS", "metric_defaults"]
