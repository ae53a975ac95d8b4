"""What the benchmarks count."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from small_networks import SHAPE

from dnnlib import tflib
from dnnlib.tflib import Network

# By its path: names of other benchmarks are those of packages.
_SPEC = importlib.util.spec_from_file_location(
    "op_work", Path(__file__).resolve().parent / "benchmarks/op_work.py"
)
op_work = importlib.util.module_from_spec(_SPEC)
sys.modules["op_work"] = op_work  # Its dataclass looks for its module.
_SPEC.loader.exec_module(op_work)

MAPS = SHAPE["fmap_max"]


def test_work_of_a_discriminator_and_of_its_gradient():
    images = 3
    with tflib.graph_session(seed=0):
        D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **SHAPE)
        x = tf.placeholder(tf.float32, [None, 3, 16, 16])
        scores = D.get_output_for(x, None)
        gradients = tf.gradients(scores, list(D.trainables.values()))
        tflib.init_uninitialized_vars()
        feed = {x: np.zeros([images, 3, 16, 16])}
        forward, both = (
            sum(op.flops for op in op_work.executed(fetches, feed))
            for fetches in (scores, gradients)
        )
    from_rgb = 16 * 16 * 3 * MAPS
    # Two kernels of 3×3, the second in every other place, beside one of 1×1.
    blocks = sum(s * s * (9 + 9 / 4 + 1 / 4) * MAPS * MAPS for s in (16, 8))
    last = 4 * 4 * 9 * (MAPS + 1) * MAPS + 4 * 4 * MAPS * MAPS + MAPS
    assert forward == 2 * images * (from_rgb + blocks + last)
    # Each layer again by its weights, and all but the first by their inputs.
    assert both == 3 * forward - 2 * images * from_rgb


def test_convolutions_are_timed_by_themselves():
    with tflib.graph_session(seed=0):
        x, w = tf.placeholder(tf.float32, [2, 9, 9, 4]), tf.random_normal([3, 3, 4, 6])
        y = tf.nn.conv2d(x, w, 2, "VALID")
        ops = op_work.executed([y, *tf.gradients(y, [x, w])], {x: np.ones([2, 9, 9, 4])})
    convolutions = {op.convolution for op in ops if op.convolution}
    assert {c.kind for c in convolutions} == {
        "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter",
    }  # fmt: skip
    for convolution in convolutions:
        assert convolution.values == (2, 9, 9, 4) and convolution.results == (2, 4, 4, 6)
        with tflib.graph_session():
            again = convolution.build()
            tflib.init_uninitialized_vars()
            (work,) = (op for op in op_work.executed(again) if op.convolution)
        assert work.convolution == convolution and work.flops == 2 * 2 * 16 * 6 * 9 * 4
    assert op_work.seconds_alone(ops, repeats=1) > 0


def test_work_of_transposed_convolutions_and_products():
    with tflib.graph_session(seed=0):
        x, w = tf.placeholder(tf.float32, [2, 5, 5, 4]), tf.random_normal([3, 3, 6, 4])
        up = tf.nn.conv2d_transpose(x, w, [2, 10, 10, 6], 2)
        a, b = tf.placeholder(tf.float32, [7, 2, 3]), tf.random_normal([7, 2, 5])
        product = tf.matmul(a, b, transpose_a=True)
        ops = op_work.executed([up, product], {x: np.ones([2, 5, 5, 4]), a: np.ones([7, 2, 3])})
    assert sum(op.flops for op in ops) == 2 * (2 * 5 * 5 * 9 * 4 * 6 + 7 * 3 * 5 * 2)
    kinds = op_work.by_kind(ops)
    assert len({op.kind for op in kinds}) == len(kinds) < len(ops)
    assert [op.seconds for op in kinds] == sorted((op.seconds for op in kinds), reverse=True)


def test_memory_of_a_run_is_told(run_script):
    done = run_script(["tests/benchmarks/run_memory.py", "--ticks=2", "--measure"])
    assert done.returncode == 0, done.stderr
    [megabytes] = re.findall(r"^tick 2: (\d+) MB$", done.stdout, re.MULTILINE)
    assert 100 < int(megabytes) < 10_000
