"""Where compiled twins of the reference operations plug in (DESIGN D5).

An operation asks `find` for its twin each time it is added to a graph. There is none yet for any
operation, so that the reference always serves.
"""

from __future__ import annotations

from collections.abc import Callable

from dnnlib import UserError

IMPLEMENTATIONS = ("auto", "ref", "cuda")


def find(op_name: str, impl: str) -> Callable | None:
    """The compiled twin of `op_name`, or None where the reference is to be used.

    Args:
        op_name: `upfirdn_2d` or `fused_bias_act`.
        impl: `ref` always takes the reference; `auto` and `cuda` (the official default) take the
            twin where there is one.

    Raises:
        UserError: unknown `impl`.
    """
    if impl not in IMPLEMENTATIONS:
        raise UserError(f"impl={impl!r} of {op_name}: use one of {', '.join(IMPLEMENTATIONS)}")
    return None
