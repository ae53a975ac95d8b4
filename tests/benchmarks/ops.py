"""Native operations beside their references and beside copying memory, on this machine's CPU.

    python tests/benchmarks/ops.py [--seconds=1] [--json=FILE]

Each figure is the fastest of many runs of one operation in a session. Bytes are those of the
tensors read and written, each counted once; `share` compares bytes per second with a copy of 16 MB
by as many threads, measured in the same run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib import cli, tflib  # isort: skip
import numpy as np
import tensorflow.compat.v1 as tf

from tf_ops import upfirdn_2d
from tf_ops.fused_bias_act import fused_bias_act

FILTER = [1, 3, 3, 1]


def filter_nhwc(x, impl):
    return upfirdn_2d.filter_2d(x, FILTER, data_format="NHWC", impl=impl)


def up_nhwc(x, impl):
    return upfirdn_2d.upsample_2d(x, FILTER, data_format="NHWC", impl=impl)


def down_nhwc(x, impl):
    return upfirdn_2d.downsample_2d(x, FILTER, data_format="NHWC", impl=impl)


def filter_nchw(x, impl):
    return upfirdn_2d.filter_2d(x, FILTER, impl=impl)


def up_nchw(x, impl):
    return upfirdn_2d.upsample_2d(x, FILTER, impl=impl)


def down_nchw(x, impl):
    return upfirdn_2d.downsample_2d(x, FILTER, impl=impl)


def long_filter_nchw(x, impl):
    """12 taps in both directions, as the wavelets of augmentation have."""
    return upfirdn_2d.filter_2d(x, np.hanning(14)[1:-1], impl=impl)


def act_nhwc(x, impl):
    b = tf.ones([x.shape[3]], x.dtype)
    return fused_bias_act(x, b, axis=3, act="lrelu", clamp=256, impl=impl)


def act_nchw(x, impl):
    b = tf.ones([x.shape[1]], x.dtype)
    return fused_bias_act(x, b, axis=1, act="lrelu", clamp=256, impl=impl)


def swish_nhwc(x, impl):
    return fused_bias_act(x, tf.ones([x.shape[3]], x.dtype), axis=3, act="swish", impl=impl)


# How many tensors their gradients read and write: that of lrelu is made from y, which has to be
# made first, that of swish from x and dy.
GRADIENT_TENSORS = {act_nhwc: 5, act_nchw: 5, swish_nhwc: 3}

CASES: list[tuple[Callable, list[int], str]] = [
    (filter_nhwc, [16, 64, 64, 64], "float32"),
    (up_nhwc, [16, 32, 32, 64], "float32"),
    (down_nhwc, [16, 64, 64, 64], "float32"),
    (filter_nhwc, [16, 128, 128, 3], "float32"),
    (up_nhwc, [16, 128, 128, 3], "float32"),
    (down_nhwc, [16, 128, 128, 3], "float32"),
    (filter_nchw, [16, 64, 64, 64], "float32"),
    (up_nchw, [16, 64, 32, 32], "float32"),
    (down_nchw, [16, 64, 64, 64], "float32"),
    (long_filter_nchw, [16, 3, 256, 256], "float32"),
    (filter_nhwc, [16, 64, 64, 64], "bfloat16"),
    (filter_nhwc, [16, 64, 64, 64], "float16"),
    (act_nhwc, [16, 64, 64, 64], "float32"),
    (act_nchw, [16, 64, 64, 64], "float32"),
    (swish_nhwc, [16, 64, 64, 64], "float32"),
    (act_nhwc, [16, 64, 64, 64], "bfloat16"),
    (act_nhwc, [16, 64, 64, 64], "float16"),
]


def best_seconds(function: Callable[[], object], seconds: float) -> float:
    """Time of the fastest call, of at least three and as many as fit."""
    function()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def copy_bytes_per_second(seconds: float, size: int = 1 << 24) -> float:
    """Bytes read and written per second when each core copies its part of a buffer."""
    cores = os.cpu_count() or 1
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        time_of_copy = best_seconds(
            lambda: list(pool.map(lambda part: np.copyto(*part), parts)), seconds
        )
    return 2 * size / time_of_copy


def measure(function: Callable, shape: list[int], dtype: str, seconds: float) -> list[dict]:
    """Figures of an operation and of its gradient."""
    rows = []
    times: dict[tuple[str, str], float] = {}
    for impl in ("native", "ref"):
        with tflib.graph_session(seed=1):
            x = tf.Variable(tf.cast(tf.random_normal(shape), dtype))
            y = function(x, impl)
            dy = tf.Variable(tf.cast(tf.random_normal(y.shape), dtype))
            dx = tf.gradients(y, x, grad_ys=dy)[0]
            tflib.init_uninitialized_vars()
            for name, output in (("value", y), ("gradient", dx)):
                run = tf.get_default_session().make_callable(output.op)
                times[name, impl] = best_seconds(run, seconds)
    small, large = np.prod(shape), np.prod(y.shape.as_list())
    for name in ("value", "gradient"):
        count = int(small + large) * tf.as_dtype(dtype).size
        if name == "gradient":
            count = count * GRADIENT_TENSORS.get(function, 2) / 2
        rows.append(
            {
                "op": function.__name__,
                "what": name,
                "shape": "x".join(map(str, shape)),
                "dtype": dtype,
                "ms_native": times[name, "native"] * 1e3,
                "ms_reference": times[name, "ref"] * 1e3,
                "gb_per_s": count / times[name, "native"] / 1e9,
            }
        )
    return rows


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=cli.number(0), default=1.0, help="for each figure")
    parser.add_argument("--json", type=cli.path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    copy = copy_bytes_per_second(args.seconds)
    print(f"copy: {copy / 1e9:.1f} GB/s read and written")
    print(f"{'op':17}{'what':9}{'shape':15}{'type':9} {'native':>8} {'ref':>8}   GB/s  share")
    rows = []
    for function, shape, dtype in CASES:
        for row in measure(function, shape, dtype, args.seconds):
            row["share_of_copy"] = row["gb_per_s"] * 1e9 / copy
            rows.append(row)
            print(
                f"{row['op']:17}{row['what']:9}{row['shape']:15}{row['dtype']:9}"
                f"{row['ms_native']:6.2f} ms{row['ms_reference']:6.2f} ms {row['gb_per_s']:6.1f} "
                f"{row['share_of_copy']:6.0%}",
                flush=True,
            )
    print(f"copy: {copy_bytes_per_second(args.seconds) / 1e9:.1f} GB/s at the end")
    if args.json:
        figures = {"copy_gb_per_s": copy / 1e9, "rows": rows}
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
