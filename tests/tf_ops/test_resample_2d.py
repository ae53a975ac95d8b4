"""Sampling of images against its definition in float64, with both derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from c_interface import examples, gathers, samplings
from hypothesis import given

from dnnlib import UserError
from tf_ops import native
from tf_ops.resample_2d import resample_2d, weighted_gather

RANDOM = np.random.default_rng(11)


def affine(angle=0.0, scale=(1.0, 1.0), shift=(0.0, 0.0)):
    """[2, 3]: a turn, then factors of x and y, then a shift."""
    c, s = np.cos(angle), np.sin(angle)
    return np.c_[np.diag(scale) @ [[c, -s], [s, c]], shift]


TRANSFORMS = {
    "identity": affine(),
    "shift": affine(shift=(0.25, -1.5)),
    "whole pixels": affine(shift=(-2, 1)),
    "turn": affine(0.7, shift=(2, -1)),
    "quarter turn": affine(np.pi / 2, shift=(4, 0)),
    "magnified": affine(0.2, (0.3, 0.45), (1, 2)),
    "reduced": affine(-0.4, (2.5, 3.1), (-3, -2)),
    "mirrored": affine(0, (-1, 1), (4.5, 0.5)),
    "sheared": np.array([[1.0, 0.8, -1], [-0.3, 0.5, 2]]),
    "singular": np.array([[0.0, 0.0, 1.3], [0.0, 0.0, 2.6]]),
    "elsewhere": affine(shift=(100, -50)),
    "far away": affine(shift=(1e15, -1e15)),
}
SIZES = [((5, 7), (6, 4)), ((8, 3), (9, 9)), ((1, 1), (3, 2))]


def sampling_matrix(transform, in_size, out_size):
    """[outH·outW, inH·inW]: how much each pixel counts, falling to 0 at a distance of 1."""
    matrix = np.zeros((*out_size, *in_size))
    for v, u in np.ndindex(*out_size):
        x, y = transform @ [u, v, 1]
        for i, j in np.ndindex(*in_size):
            matrix[v, u, i, j] = max(0, 1 - abs(x - j)) * max(0, 1 - abs(y - i))
    return matrix.reshape(np.prod(out_size), np.prod(in_size))


def apply(matrices, x, out_size):
    """[N, H, W, C] -> [N, *out_size, C], a matrix for each sample."""
    y = [matrix @ image.reshape(-1, x.shape[3]) for matrix, image in zip(matrices, x, strict=True)]
    return np.reshape(y, [len(x), *out_size, x.shape[3]])


def assert_close(actual, expected, tolerance=1e-6):
    assert actual.shape == expected.shape
    scale = max(1, np.abs(expected).max(initial=0))
    assert np.abs(actual - expected).max(initial=0) <= tolerance * scale


@pytest.mark.parametrize(("in_size", "out_size"), SIZES)
def test_value_and_gradients_are_those_of_the_definition(session, in_size, out_size):
    transforms = np.stack(list(TRANSFORMS.values()))
    matrices = [sampling_matrix(t, in_size, out_size) for t in transforms]
    x = RANDOM.normal(size=(len(transforms), *in_size, 3))
    dy = RANDOM.normal(size=(len(transforms), *out_size, 3))
    ddx = RANDOM.normal(size=x.shape)

    tx, tdy = tf.constant(x, tf.float32), tf.constant(dy, tf.float32)
    y = resample_2d(tx, transforms, out_size)
    assert y.shape.as_list() == list(dy.shape)
    first = tf.gradients(y, tx, grad_ys=tdy)[0]
    second = tf.gradients(first, tdy, grad_ys=tf.constant(ddx, tf.float32))[0]
    got_y, got_first, got_second = session.run([y, first, second])

    assert_close(got_y, apply(matrices, x, out_size))
    assert_close(got_first, apply([m.T for m in matrices], dy, in_size))
    assert_close(got_second, apply(matrices, ddx, out_size))


def test_random_transforms_have_the_adjoint_as_gradient(session):
    transforms = RANDOM.normal(size=(40, 2, 3)) * [1, 1, 4]
    x, dy = RANDOM.normal(size=(40, 9, 6, 2)), RANDOM.normal(size=(40, 7, 8, 2))
    tx = tf.constant(x)
    y = resample_2d(tx, transforms, (7, 8))
    got_y, got_dx = session.run([y, tf.gradients(y, tx, grad_ys=tf.constant(dy))[0]])
    inner_y, inner_x = np.sum(got_y * dy, axis=(1, 2, 3)), np.sum(got_dx * x, axis=(1, 2, 3))
    np.testing.assert_allclose(inner_y, inner_x, atol=1e-5)
    assert np.abs(inner_y).max() > 1


def test_gradient_of_a_penalty_on_the_gradient(session):
    """As in R1: the slope of |∇f|² for f = Σ w·y³, against finite differences in float64."""
    transforms = np.stack([TRANSFORMS["turn"], TRANSFORMS["reduced"]])
    matrices = [sampling_matrix(t, (4, 5), (3, 3)) for t in transforms]
    x, w = RANDOM.normal(size=(2, 4, 5, 1)), RANDOM.normal(size=(2, 3, 3, 1))

    def penalty(x):
        y = apply(matrices, x, (3, 3))
        return np.sum(apply([m.T for m in matrices], 3 * w * y**2, (4, 5)) ** 2)

    tx = tf.constant(x)
    slope = tf.gradients(tf.reduce_sum(w * resample_2d(tx, transforms, (3, 3)) ** 3), tx)[0]
    got = session.run(tf.gradients(tf.reduce_sum(slope**2), tx)[0])
    direction = RANDOM.normal(size=x.shape)
    expected = (penalty(x + 1e-5 * direction) - penalty(x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(np.sum(got * direction), expected, rtol=1e-5)


def test_positions_in_large_images_are_exact(session):
    x = np.arange(6000, dtype=np.float32).reshape(1, 1, -1, 1) / 6000
    transform = affine(shift=(5000.3, 0))[np.newaxis]
    y = session.run(resample_2d(x, transform, (1, 900)))
    np.testing.assert_allclose(y[0, 0, :, 0], (np.arange(900) + 5000.3) / 6000, atol=2e-7)


def test_all_sizes_may_be_unknown(session):
    x = RANDOM.normal(size=(2, 4, 5, 1)).astype(np.float32)
    transforms = np.stack([TRANSFORMS["turn"], TRANSFORMS["sheared"]]).astype(np.float32)
    tx = tf.placeholder(tf.float32, [None, None, None, 1])
    tt = tf.placeholder(tf.float32, [None, 2, 3])
    y = resample_2d(tx, tt, (6, 3))
    assert y.shape.as_list() == [None, 6, 3, 1]
    got, gradient = session.run([y, tf.gradients(y, tx)[0]], {tx: x, tt: transforms})
    matrices = [sampling_matrix(t, (4, 5), (6, 3)) for t in transforms]
    assert_close(got, apply(matrices, x, (6, 3)))
    assert_close(gradient, apply([m.T for m in matrices], np.ones_like(got), (4, 5)))


def test_every_run_gives_the_same_bits(session):
    """Many pixels of the result lie on the same pixel of the image."""
    x = tf.constant(RANDOM.normal(size=(4, 50, 50, 3)), tf.float32)
    y = resample_2d(x, np.stack([affine(0.3, (0.05, 0.05))] * 4), (300, 300))
    dy = tf.constant(RANDOM.normal(size=y.shape.as_list()), tf.float32)
    fetches = [y, tf.gradients(y, x, grad_ys=dy)[0]]
    first = session.run(fetches)
    for _ in range(3):
        for a, b in zip(first, session.run(fetches), strict=True):
            np.testing.assert_array_equal(a, b)


def test_transforms_are_constants_for_the_gradient(session):
    transforms = tf.constant(affine()[np.newaxis])
    assert tf.gradients(resample_2d(tf.ones([1, 3, 3, 1]), transforms, (3, 3)), transforms) == [
        None
    ]


@pytest.mark.parametrize(
    ("shape", "transforms_shape", "out_size", "message"),
    [
        ([4, 4, 1], [1, 2, 3], (2, 2), "images of shape"),
        ([1, 4, 4, None], [1, 2, 3], (2, 2), "images of shape"),
        ([1, 4, 4, 1], [1, 3, 3], (2, 2), "transforms of shape"),
        ([1, 4, 4, 1], [2, 3], (2, 2), "transforms of shape"),
        ([1, 4, 4, 1], [1, 2, 3], (0, 2), "result of"),
    ],
)
def test_bad_arguments_are_named(session, shape, transforms_shape, out_size, message):
    x = tf.placeholder(tf.float32, shape)
    with pytest.raises(UserError, match=message):
        resample_2d(x, tf.zeros(transforms_shape), out_size)


@pytest.mark.parametrize("impl", ["auto", "ref"])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_weighted_gather_along_any_axis(session, axis, impl):
    x = RANDOM.normal(size=(2, 3, 4, 5)).astype(np.float32)
    indices = RANDOM.integers(-1, x.shape[axis] + 1, size=(2, 6, 3)).astype(np.int32)
    weights = RANDOM.normal(size=indices.shape).astype(np.float32)
    tx = tf.placeholder(tf.float32, [None, 3, 4, 5])
    y = weighted_gather(tx, indices, weights, axis, impl)
    expected = np.zeros([6 if i == axis else size for i, size in enumerate(x.shape)])
    assert y.shape.as_list() == [None, *expected.shape[1:]]
    # The axis goes to the front for counting; `sums` is a view.
    slices, sums = np.moveaxis(x, axis, 1), np.moveaxis(expected, axis, 1)
    for i, r, k in np.ndindex(*indices.shape):
        if 0 <= indices[i, r, k] < x.shape[axis]:
            sums[i, r] += weights[i, r, k] * slices[i, indices[i, r, k]]
    got, gradient = session.run([y, tf.gradients(tf.square(y), tx)[0]], {tx: x})
    assert_close(got, expected)
    # A quadratic form of x: its slope along x is twice its value.
    np.testing.assert_allclose(np.sum(gradient * x), 2 * np.sum(expected**2), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precisions_are_rounded_at_the_end(session, dtype):
    x = tf.cast(tf.constant(RANDOM.normal(size=(1, 9, 9, 3)), tf.float32), dtype)
    exact, low = (
        tf.cast(resample_2d(v, affine(0.3)[np.newaxis], (7, 7)), tf.float32)
        for v in (tf.cast(x, tf.float32), x)
    )
    exact, low = session.run([exact, low])
    assert 0 < np.abs(exact - low).max() <= (2**-10 if dtype == "float16" else 2**-7) * 4


@pytest.mark.parametrize("axis", [0, 2])
def test_an_axis_that_is_not_there_is_named(session, axis):
    with pytest.raises(UserError, match=f"axis {axis}"):
        weighted_gather(tf.zeros([2, 3]), tf.zeros([2, 1, 1], tf.int32), tf.zeros([2, 1, 1]), axis)


@pytest.fixture(scope="module")
def native_operations():
    try:
        native.find("resample_2d", "native", tf.float32)
    except UserError as error:
        pytest.skip(str(error))


def linear_derivatives(function, x, direction, impl, weights):
    """y = A·x, Aᵀ·weights by the gradient and A·direction by the gradient of that."""
    y = function(x, impl)
    if not weights:
        weights.append(tf.random_normal(tf.shape(y), seed=8))
    first = tf.gradients(y, x, grad_ys=weights[0])[0]
    return y, first, tf.gradients(first, weights[0], grad_ys=direction)[0], weights[0]


def assert_exact_derivatives(x, function):
    """The twin against the reference, and each of its derivatives against its value."""
    with tf.Graph().as_default():
        tx = tf.constant(x)
        direction = tf.constant(np.random.default_rng(8).normal(size=x.shape), tf.float32)
        shared: list[tf.Tensor] = []
        fetches = [
            linear_derivatives(function, tx, direction, impl, shared) for impl in ("native", "ref")
        ]
        config = tf.ConfigProto()  # Optimizing a graph takes longer than running it once.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.Session(config=config) as session:
            got, expected = session.run(fetches)
    for actual, reference in zip(got, expected, strict=True):
        assert_close(actual, reference, 1e-5)
    y, first, _, weights = (np.asarray(v, np.float64) for v in got)
    inner = np.sum(y * weights), np.sum(first * x)
    assert abs(inner[0] - inner[1]) <= 1e-5 * max(1, np.sum(np.abs(y * weights)))


@examples(120)
@given(case=samplings())
def test_the_twin_of_sampling_equals_the_reference(native_operations, case):
    x, transforms, out_size = case
    assert_exact_derivatives(
        x, lambda tx, impl: resample_2d(tx, tf.constant(transforms), out_size, impl)
    )


@examples(60)
@given(case=gathers())
def test_the_twin_of_weighted_gather_equals_the_reference(native_operations, case):
    x, indices, weights = case
    assert_exact_derivatives(
        x, lambda tx, impl: weighted_gather(tx, indices, weights, axis=2, impl=impl)
    )
