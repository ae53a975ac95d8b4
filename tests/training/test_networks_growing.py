"""Networks that grow: against the official numbers, NumPy, and each other."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import (
    assert_close,
    check_networks,
    check_structures_agree,
    give_random_values,
    official_networks,
    outputs_and_gradients,
    refused_by_growing,
    set_lod,
)

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training import networks_stylegan2
from training.architecture import growing
from training.architecture.layers import to_images, to_internal
from training.snapshots import pickles

RANDOM = np.random.default_rng(11)
MODULE = "training.networks_stylegan2"
# Each structure once; that they agree everywhere is another test.
GOLDEN = (("lod0", "fixed"), ("lod0.4", "recursive"), ("lod1", "linear"))
SHAPE = {"resolution": 16, "fmap_base": 48, "fmap_max": 6}
STYLE = {"latent_size": 5, "dlatent_size": 5, "mapping_fmaps": 5, "mapping_layers": 1}
LODS = (0, 0.3, 1, 1.5, 2)


def make_G(**kwargs):
    kwargs = {"synthesis_func": "G_synthesis_stylegan_revised", **STYLE, **SHAPE, **kwargs}
    G = Network("G", f"{MODULE}.G_main", **kwargs)
    give_random_values(G)
    return G


def make_synthesis(**kwargs):
    kwargs = {"dlatent_size": 5, **SHAPE, **kwargs}
    net = Network("G_synthesis", networks_stylegan2.G_synthesis_stylegan_revised, **kwargs)
    give_random_values(net)
    return net


def make_D(**kwargs):
    D = Network("D", networks_stylegan2.D_stylegan, **{**SHAPE, **kwargs})
    give_random_values(D)
    return D


@pytest.mark.parametrize(("name", "structure"), GOLDEN)
def test_parity_with_the_official_code(session, golden, name, structure):
    file = golden(f"sg2_revised_growing_{name}.npz")
    G, D = official_networks(file, MODULE)
    check_networks(file.arrays, G, D, structure=structure)


# How networks grow, with stages of plain arithmetic


def test_pixels_are_repeated_and_averaged(session):
    x = RANDOM.normal(size=(2, 3, 4, 8))
    internal = to_internal(tf.constant(x, tf.float32))
    for factor in (1, 2, 4):
        repeated = tflib.run(to_images(growing.repeat_pixels(internal, factor)))
        assert_close(repeated, np.kron(x, np.ones((factor, factor))))
        averaged = tflib.run(to_images(growing.average_pixels(internal, factor)))
        boxes = x.reshape(2, 3, 4 // factor, factor, 8 // factor, factor)
        assert_close(averaged, boxes.mean(axis=(3, 5)))


def growing_to_32(function, size, structure, **layers):
    """Random x of `size` pixels, the placeholder of the lod, what `function` makes up to 32."""
    x = RANDOM.normal(size=(1, 1, size, size))
    lod = tf.placeholder(tf.float32, [])
    y = function(to_internal(tf.constant(x, tf.float32)), 5, lod, structure, **layers)
    return x, lod, to_images(y)


def scaled(x, res):
    """In place of the layers between images and activations."""
    return x * res


@pytest.mark.parametrize("structure", ["linear", "recursive"])
def test_images_are_blended_of_two_levels(session, structure):
    """PGGAN, figure 2: the finer level has the weight 1 - fraction, the coarser the fraction."""

    def block(x, res):
        return growing.repeat_pixels(x, 2) + res

    x, lod, images = growing_to_32(growing.grow_images, 4, structure, block=block, torgb=scaled)
    levels = []  # Images of 32 pixels that have the details of 4, 8, 16 and 32 pixels.
    for res, total in ((2, 0), (3, 3), (4, 3 + 4), (5, 3 + 4 + 5)):
        levels.append((np.kron(x, np.ones((8, 8))) + total) * res)
    for level in (0, 0.25, 1, 1.5, 2, 2.9, 3):
        whole, fraction = int(level), level - int(level)
        expected = levels[3 - whole]
        if fraction:
            expected = expected * (1 - fraction) + levels[2 - whole] * fraction
        assert_close(tflib.run(images, {lod: level}), expected)


@pytest.mark.parametrize("structure", ["linear", "recursive"])
def test_activations_are_blended_of_two_levels(session, structure):
    def block(x, res):
        return growing.average_pixels(tf.square(x), 2) / res

    x, lod, features = growing_to_32(
        growing.shrink_images, 32, structure, block=block, fromrgb=scaled
    )

    def shrunk(x, factor):
        n = x.shape[2] // factor
        return x.reshape(1, 1, n, factor, n, factor).mean(axis=(3, 5))

    def expected(level):
        whole, fraction = int(level), level - int(level)
        y = shrunk(x, 2**whole) * (5 - whole)
        for res in range(5 - whole, 2, -1):
            y = shrunk(y**2, 2) / res
            if fraction and res == 5 - whole:
                coarse = shrunk(x, 2 ** (whole + 1)) * (res - 1)
                y = y * (1 - fraction) + coarse * fraction
        return y

    for level in (0, 0.25, 1, 1.5, 2, 2.9, 3):
        assert_close(tflib.run(features, {lod: level}), expected(level))


# The networks


def test_structures_agree_to_the_second_derivative(session):
    synthesis, D = make_synthesis(resolution=8), make_D(resolution=8, label_size=2)
    w = RANDOM.normal(size=(4, 4, 5))
    images, labels = RANDOM.normal(size=(4, 3, 8, 8)), np.eye(2)[[0, 1, 1, 0]]
    check_structures_agree(synthesis, D, (w, images, labels), lods=(0, 0.3, 1), tolerance=1e-4)


def test_images_fade_linearly(session):
    G = make_G()
    z = RANDOM.normal(size=(2, 5))
    images = {}
    for lod in (*LODS, 1.4):
        set_lod(G, lod)
        images[lod] = G.run(z, None, randomize_noise=False)
        blocks = images[lod].reshape(2, 3, 16 >> int(lod), 1 << int(lod), -1, 1 << int(lod))
        assert not np.ptp(blocks, axis=(3, 5)).any()  # Pixels of the level floor(lod), repeated.
    assert_close(images[1.4], images[1] * 0.6 + images[2] * 0.4)
    assert_close(images[1.5], images[1] * 0.5 + images[2] * 0.5)


def test_the_generator_hands_its_lod_on(session):
    G = make_G()
    z = RANDOM.normal(size=(2, 5))
    before = G.run(z, None, randomize_noise=False)
    G.set_var("lod", 1.5)
    images = G.run(z, None, randomize_noise=False)
    assert G.components.synthesis.get_var("lod") == 1.5
    assert np.abs(images - before).max() > 1e-3
    set_lod(G, 1.5)
    np.testing.assert_array_equal(images, G.run(z, None, randomize_noise=False))


def test_the_discriminator_sees_the_details_of_its_level_only(session):
    D = make_D()
    images = RANDOM.normal(size=(4, 3, 16, 16))
    coarse = images.reshape(4, 3, 8, 2, 8, 2).mean(axis=(3, 5)).repeat(2, 2).repeat(2, 3)
    for lod, same in ((0.9, False), (1, True), (1.5, True), (2, True)):
        set_lod(D, lod)
        fine_scores, coarse_scores = D.run(images, None), D.run(coarse, None)
        assert np.allclose(fine_scores, coarse_scores, rtol=1e-4, atol=1e-4) == same


def test_recursive_structures_leave_out_what_is_not_needed(session):
    synthesis, D = make_synthesis(), make_D()
    for net in (synthesis, D):
        (name,) = (n for n in net.vars if n.startswith("16x16/Conv0") and n.endswith("/weight"))
        net.set_var(name, np.full(net.vars[name].shape.as_list(), np.nan))
        set_lod(net, 1)
    w, images = RANDOM.normal(size=(2, 6, 5)), RANDOM.normal(size=(2, 3, 16, 16))
    assert np.isfinite(synthesis.run(w)).all()
    assert np.isfinite(D.run(images, None)).all()
    assert np.isnan(synthesis.run(w, structure="linear")).all()
    assert np.isnan(D.run(images, None, structure="linear")).all()


@pytest.mark.parametrize("structure", ["auto", "fixed", "linear", "recursive"])
@pytest.mark.parametrize("resolution", [4, 8])
def test_every_structure_can_be_the_static_one(session, structure, resolution):
    """Labels and one channel, from the first graph on."""
    options = {"structure": structure, "resolution": resolution, "num_channels": 1}
    G, D = make_G(**options, label_size=3), make_D(**options, label_size=3)
    assert G.output_shape == [None, 1, resolution, resolution]
    torgb = {name.split("/")[-2] for name in G.vars if "/ToRGB" in name}
    levels = 1 if structure == "fixed" else resolution // 4
    assert torgb == {f"ToRGB_lod{i}" for i in range(levels)}
    set_lod(G, 0.5)
    set_lod(D, 0.5)
    labels = np.eye(3)[[0, 1, 2, 0]]
    images = G.run(RANDOM.normal(size=(4, 5)), labels, is_training=True)
    values = tflib.run(outputs_and_gradients(D, images, labels))
    assert values[0].shape == (4, 1)
    assert all(np.isfinite(value).all() for value in values)


def test_clean_graphs_have_no_conditionals_or_random_numbers(session):
    G, D = make_G(), make_D()

    def kinds(operations):
        return {op.type for op in operations}

    unwanted = {"Switch", "Merge", "If", "StatelessIf"}
    for net in (G.components.synthesis, D):
        assert not unwanted & kinds(net.list_ops())
    before = len(session.graph.get_operations())
    w = tf.zeros([1, 6, 5])
    G.components.synthesis.get_output_for(w, force_clean_graph=True)
    added = kinds(session.graph.get_operations()[before:])
    assert not (unwanted | {"RandomStandardNormal"}) & added
    G.components.synthesis.get_output_for(w)
    assert {"Merge", "RandomStandardNormal"} <= kinds(session.graph.get_operations()[before:])


def test_noise_is_a_function_of_the_seed(session):
    synthesis = make_synthesis()
    seed = tf.placeholder(tf.int32, [2])
    images = synthesis.get_output_for(tf.zeros([2, 6, 5]), random_seed=seed)
    for lod in (0, 1.5):
        set_lod(synthesis, lod)
        first, again, other = (tflib.run(images, {seed: s}) for s in ([1, 0], [1, 0], [1, 1]))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-3
        assert np.abs(first[0] - first[1]).max() > 1e-3


def test_snapshots_hold_them(session, tmp_path):
    networks = make_G(resolution=8), make_D(resolution=8), make_G(resolution=8)
    set_lod(networks[2], 0.5)
    z, images = RANDOM.normal(size=(4, 5)), RANDOM.normal(size=(4, 3, 8, 8))
    expected = networks[2].run(z, None, randomize_noise=False), networks[1].run(images, None)
    pickles.save(networks, str(tmp_path / "a.pkl"))
    _G, D, Gs = pickles.load(str(tmp_path / "a.pkl"))
    np.testing.assert_array_equal(Gs.run(z, None, randomize_noise=False), expected[0])
    np.testing.assert_array_equal(D.run(images, None), expected[1])
    # The official code reads snapshots by the modules that it has.
    assert b"training.architecture" not in (tmp_path / "a.pkl").read_bytes()


def test_their_module_is_the_official_one(session):
    options = {"resolution": 8, "fmap_base": 32, "fmap_max": 4}
    for function in ("training.networks_stylegan2.D_stylegan", networks_stylegan2.D_stylegan):
        D = Network("D", function, **options)
        assert D.build_module == D.clone("E").build_module == "training.networks_stylegan2"
        assert D.build_module_src == "from training.networks_stylegan2 import *\n"


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [*refused_by_growing(make_synthesis, make_D), (make_G, {"fmap_bass": 3}, "'fmap_bass'")],
)
def test_bad_keyword_arguments_are_named(session, make, kwargs, message):
    with pytest.raises(UserError, match=message):
        make(**kwargs)
