"""Runs of people's own training functions in run directories of this machine."""

from dnnlib.submission import run_context, submit

__all__ = ["run_context", "submit"]
