"""In which precision activations are computed.

Variables, inputs, outputs, styles, the 4×4 level and the sum of images are float32 always; what is
lower is a matter of the graph that networks are built in, not of the networks: snapshots of a run
in mixed precision are ordinary ones.
"""

from __future__ import annotations

import contextlib

import tensorflow.compat.v1 as tf

from tf_ops import layout

PRECISIONS = ("fp32", "mixed")
_COLLECTION = "mixed_precision"
# As the ADA repository trains (appendix D).
_MIXED_RESOLUTIONS = 4
_FLOAT16_CLAMP = 256.0
# Flags by which Linux names instructions for bfloat16.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def use_mixed_precision() -> tf.DType | None:
    """Networks built in the default graph from now on compute in lower precision.

    Their four highest resolutions do: in float16 on GPUs, clamped to ±256, and in bfloat16 on CPUs
    that have it.

    Returns:
        The type, or None where the machine has none that is faster: the graph stays in float32.
    """
    dtype = tf.float16 if layout.has_float16() else tf.bfloat16 if has_bfloat16() else None
    if dtype is not None:
        tf.add_to_collection(_COLLECTION, dtype)
    return dtype


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith(("flags", "Features")):
                return not _BFLOAT16_FLAGS.isdisjoint(line.split())
    return False


def activation_dtype(stage: int, log2: int, num_fp16_res: int) -> tf.DType:
    """Precision of the activations at 2^stage pixels.

    The `num_fp16_res` highest resolutions of a network are computed in float16 on GPUs (ADA,
    appendix D), never 4×4, and never on a CPU; a graph of mixed precision has its own rule.

    Args:
        stage: log2 of the resolution, 2 for 4×4.
        log2: of the network's resolution.
        num_fp16_res: keyword argument of the network.
    """
    mixed = _mixed_dtype()
    dtype = mixed or (tf.float16 if layout.has_float16() else tf.float32)
    count = max(num_fp16_res, _MIXED_RESOLUTIONS) if mixed else num_fp16_res
    return dtype if stage > max(log2 - count, 2) else tf.float32


def clamp_for(dtype: tf.DType, clamp: float | None) -> float | None:
    """The limit of activations: that of the network, or what keeps float16 within its range."""
    if clamp is None and dtype == tf.float16 and _mixed_dtype() is not None:
        return _FLOAT16_CLAMP
    return clamp


def _mixed_dtype() -> tf.DType | None:
    return next(iter(tf.get_collection(_COLLECTION)), None)
