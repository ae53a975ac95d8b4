"""In which precision activations are computed.

Variables, inputs, outputs, styles, the 4×4 level and the sum of images are float32 always. What is
lower belongs to the block of code in which networks are built, not to the networks: snapshots of a
run in mixed precision are ordinary ones.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar

import tensorflow.compat.v1 as tf

from dnnlib.util import value_within
from tf_ops import layout

PRECISIONS = ("fp32", "mixed")
# As the ADA repository trains (appendix D).
_MIXED_RESOLUTIONS = 4
_FLOAT16_CLAMP = 256.0
# Flags by which Linux names instructions for bfloat16 that are fast whoever makes the processor.
_BFLOAT16_FLAGS = {"amx_bf16", "bf16"}
# The lower precision of the block of `computed_in` that is being executed, if it has one.
_lower_dtype: ContextVar[tf.DType | None] = ContextVar("lower_dtype", default=None)


def computed_in(precision: str) -> AbstractContextManager[None]:
    """Networks whose expressions are built within the block compute in this precision.

    In `mixed` precision their four highest resolutions are computed in `lower_dtype()`.

    Args:
        precision: one of `PRECISIONS`.
    """
    return value_within(_lower_dtype, lower_dtype() if precision == "mixed" else None)


def name_of_lower() -> str | None:
    """In what the block of `computed_in` computes some of its activations, if not in float32."""
    dtype = _lower_dtype.get()
    return None if dtype is None else dtype.name


def lower_dtype() -> tf.DType | None:
    """What mixed precision is on this machine; None where nothing is faster than float32.

    That is float16 on GPUs, clamped to ±256, and bfloat16 on CPUs that are faster in it.
    """
    return tf.float16 if layout.has_float16() else tf.bfloat16 if has_fast_bfloat16() else None


def has_fast_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this CPU computes faster in bfloat16 than in float32.

    Those of AMD that have it do. Those of Intel need matrix units (AMX), which virtual machines may
    hide: without, a convolution takes up to twice as long as in float32. Those of Arm, and AMX
    itself, are taken to be faster, and were not measured.

    Args:
        cpuinfo: what Linux says of the processors; without it there is none.
    """
    vendor = ""
    with suppress(OSError), open(cpuinfo, encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "vendor_id":
                vendor = value.strip()
            if name.strip() in ("flags", "Features"):
                flags = set(value.split())
                fast_avx512 = "avx512_bf16" in flags and vendor != "GenuineIntel"
                return fast_avx512 or not _BFLOAT16_FLAGS.isdisjoint(flags)
    return False


def activation_dtype(stage: int, log2: int, num_fp16_res: int) -> tf.DType:
    """Precision of the activations at 2^stage pixels.

    The `num_fp16_res` highest resolutions of a network are computed in float16 on GPUs (ADA,
    appendix D), never 4×4, and never on a CPU; mixed precision has its own rule, see `computed_in`.

    Args:
        stage: log2 of the resolution, 2 for 4×4.
        log2: of the network's resolution.
        num_fp16_res: keyword argument of the network.
    """
    mixed = _lower_dtype.get()
    dtype = mixed or (tf.float16 if layout.has_float16() else tf.float32)
    count = max(num_fp16_res, _MIXED_RESOLUTIONS) if mixed else num_fp16_res
    return dtype if stage > max(log2 - count, 2) else tf.float32


def clamp_for(dtype: tf.DType, clamp: float | None) -> float | None:
    """The limit of activations: that of the network, or what keeps float16 within its range."""
    if clamp is None and dtype == tf.float16 and _lower_dtype.get() is not None:
        return _FLOAT16_CLAMP
    return clamp
