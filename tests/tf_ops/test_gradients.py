"""Gradients of our own: values, and graphs that are freed."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_networks import conditional_pair

from dnnlib import tflib
from tf_ops.fused_bias_act import fused_bias_act
from tf_ops.gradients import custom_gradient
from tf_ops.resample_2d import resample_2d, weighted_gather
from tf_ops.upfirdn_2d import upfirdn_2d


@custom_gradient
def parts(x, y):
    """(x·y, x + y) with gradients that tell where they come from."""
    return (x * y, x + y), lambda d_product, d_sum: (10 * d_product + d_sum, None)


def test_gradients_are_those_that_are_given(session):
    x, y = tf.constant([2.0, 3.0]), tf.constant([5.0, 7.0])
    product, total = parts(x, y)
    np.testing.assert_array_equal(session.run(product), [10, 21])
    np.testing.assert_array_equal(session.run(total), [7, 10])
    dx, dy = tf.gradients([product, 2 * total], [x, y])
    np.testing.assert_array_equal(session.run(dx), [12, 12])
    assert dy is None


def test_each_call_has_its_own_and_gradients_have_gradients(session):
    def power(x, n):
        if n == 0:
            return tf.ones_like(x)

        @custom_gradient
        def op(x):
            return x**n, lambda dy: dy * n * power(x, n - 1)

        return op(x)

    x = tf.constant(3.0)
    value = power(x, 3) + power(x, 2)
    for expected in (36.0, 33.0, 20.0, 6.0):
        assert session.run(value) == expected
        value = tf.gradients(value, x)[0]


def fused(x, impl):
    return fused_bias_act(x, tf.ones([4]), act="swish", impl=impl)


def filtered(x, impl):
    return upfirdn_2d(x, np.ones([2, 2]), upx=2, impl=impl)


def sampled(x, impl):
    return resample_2d(x, tf.ones([2, 2, 3]), (3, 3), impl=impl)


def gathered(x, impl):
    weights = tf.ones([2, 3, 1])
    return weighted_gather(x, tf.zeros([2, 3, 1], tf.int32), weights, axis=1, impl=impl)


def pair(x, impl):
    G, D = conditional_pair(2)
    z = x[:, :, 0, 0] @ tf.ones([4, 8])
    return D.get_output_for(G.get_output_for(z, tf.ones([2, 2])), tf.ones([2, 2]))


@pytest.mark.parametrize("impl", ["ref", "native"])
@pytest.mark.parametrize("function", [fused, filtered, sampled, gathered, pair])
def test_graphs_are_freed(function, impl):
    """A run measures and makes grids for weeks in graphs of their own."""
    with tflib.graph_session(seed=1):
        x = tf.ones([2, 4, 2, 2])
        y = function(x, impl) ** 2
        gradient = tf.gradients(tf.gradients(y, x)[0] ** 2, x)
        tflib.init_uninitialized_vars()
        tflib.run([y, gradient])
        graph = weakref.ref(tf.get_default_graph())
    del x, y, gradient
    gc.collect()
    assert graph() is None
