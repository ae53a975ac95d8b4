"""Metrics, one a file."""

# Names that `run_training.py --metrics` takes beside `none`. There are none yet.
METRICS: tuple[str, ...] = ()
