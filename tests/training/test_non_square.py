"""Networks, training and pictures whose height is not their width."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from golden_checks import assert_close, give_random_values, outputs_and_gradients, set_lod
from PIL import Image

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from training.architecture.sizes import level_size
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output, build
from training.datasets.items import Item, ItemList, Source
from training.loss import path_lengths
from training.pictures import generation
from training.run.data import complete_options, fade_and_upscale
from training.run.train_graph import TrainGraph
from training.snapshots import conversion, description, pickles

RANDOM = np.random.default_rng(5)
STYLE = {"latent_size": 5, "dlatent_size": 5, "mapping_layers": 1}
SHAPE = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 5}
BASES = {(8, 6): (32, 24), (4, 6): (16, 24)}

STYLEGAN2 = "training.networks_stylegan2"
ADA = "training.networks"
STYLEGAN = "training.networks_stylegan"
GROWING = {"synthesis_func": "G_synthesis_stylegan_revised"}
# {what: (module, build functions of G and of D, keyword arguments of both, of G alone)}
FAMILIES = {
    "orig": (STYLEGAN2, "G_main", "D_stylegan2", {"architecture": "orig"}, {}),
    "skip": (STYLEGAN2, "G_main", "D_stylegan2", {"architecture": "skip"}, {}),
    "resnet": (STYLEGAN2, "G_main", "D_stylegan2", {"architecture": "resnet"}, {}),
    "ada": (ADA, "G_main", "D_main", {}, {}),
    "config-d": (STYLEGAN2, "G_main", "D_stylegan", {}, GROWING),
    "config-a": (STYLEGAN, "G_style", "D_basic", {}, {}),
}
GROWS = ("config-d", "config-a")


def make(family, **kwargs):
    """(G, D) with random values in all variables."""
    module, G_func, D_func, common, G_args = FAMILIES[family]
    common = {**SHAPE, **common, **kwargs}
    networks = (
        Network("G", f"{module}.{G_func}", **STYLE, **common, **G_args),
        Network("D", f"{module}.{D_func}", **common),
    )
    for network in networks:
        give_random_values(network)
    return networks


# Networks


@pytest.mark.parametrize(
    ("family", "base"),
    [
        *((architecture, base) for architecture in ("orig", "skip", "resnet") for base in BASES),
        ("ada", (8, 6)),
        ("config-d", (4, 6)),
        ("config-a", (8, 6)),
    ],
)
def test_every_network_has_the_shapes_and_finite_gradients(session, family, base):
    G, D = make(family, base_size=base)
    height, width = BASES[base]
    synthesis = G.components.synthesis
    assert G.output_shape == synthesis.output_shape == D.input_shape == [None, 3, height, width]
    assert synthesis.vars["4x4/Const/const"].shape.as_list()[2:] == [*base]
    sizes = [v.shape.as_list() for n, v in synthesis.vars.items() if n.startswith("noise")]
    doublings = [0, 0, 1, 1, 2, 2] if family == "config-a" else [0, 1, 1, 2, 2]
    assert sizes == [[1, 1, base[0] << k, base[1] << k] for k in doublings]
    assert D.vars["4x4/Dense0/weight"].shape.as_list()[0] == 5 * base[0] * base[1]

    images = G.run(RANDOM.normal(size=(4, 5)), None, is_training=True)
    w = tf.constant(RANDOM.normal(size=(2, synthesis.input_shape[1], 5)), tf.float32)
    fakes = synthesis.get_output_for(w, is_training=True)
    lengths = path_lengths(fakes, w, tf.ones([2, 3, height, width]))
    gradients = tf.gradients(tf.reduce_sum(tf.square(lengths)), list(synthesis.trainables.values()))
    values = tflib.run([*outputs_and_gradients(D, images, np.zeros([4, 0])), lengths])
    values += tflib.run([g for g in gradients if g is not None])
    assert images.shape == (4, 3, height, width)
    assert all(np.isfinite(value).all() for value in [images, *values])
    assert all(np.abs(value).max() > 0 for value in values[:2])
    assert (values[list(D.trainables).index("4x4/Dense0/weight") + 2] != 0).any()


def transpose_values(source, target):
    """Gives a network of transposed images the values of another one."""
    height, width = level_size(2, source.static_kwargs["base_size"])
    values = {}
    for name, value in tflib.run(source.vars).items():
        if name.endswith("4x4/Dense0/weight"):  # Columns of the discriminator's last grid.
            grid = value.reshape(-1, height, width, value.shape[1])
            value = grid.transpose(0, 2, 1, 3).reshape(value.shape)
        elif value.ndim == 4 and name.endswith("weight"):
            value = value.transpose(1, 0, 2, 3)
        elif value.ndim == 4:  # The constant and the noise.
            value = value.transpose(0, 1, 3, 2)
        values[target.vars[name]] = value
    tflib.set_vars(values)


@pytest.mark.parametrize("family", FAMILIES)
def test_height_and_width_are_treated_alike(session, family):
    """Transposed weights make transposed images, and scores of them are the same."""
    upright, lying = (make(family, resolution=8, base_size=base) for base in ((8, 6), [6, 8]))
    for pair in zip(upright, lying, strict=True):
        transpose_values(*pair)
    if family in GROWS:
        for network in (*upright, *lying):
            set_lod(network, 0.4)
    z = RANDOM.normal(size=(4, 5))
    images = [G.run(z, None, randomize_noise=False) for G, _ in (upright, lying)]
    assert images[0].std() > 0
    assert_close(images[0], images[1].transpose(0, 1, 3, 2), 1e-4)
    scores = [D.run(x, None) for (_, D), x in zip((upright, lying), images, strict=True)]
    assert_close(scores[0], scores[1], 1e-3)


@pytest.mark.parametrize("family", GROWS)
def test_all_structures_grow_alike(session, family):
    G, D = make(family, base_size=(5, 7), resolution=8)  # Sides that cannot be halved.
    z, images = RANDOM.normal(size=(4, 5)), RANDOM.normal(size=(4, 3, 10, 14))
    for lod in (0, 0.4, 1):
        set_lod(G, lod)
        set_lod(D, lod)
        made = [
            (
                G.run(z, None, randomize_noise=False, structure=structure),
                D.run(images, None, structure=structure),
            )
            for structure in ("linear", "recursive")
        ]
        for linear, recursive in zip(*made, strict=True):
            assert_close(recursive, linear, 1e-4)
    coarse = made[0][0]
    assert_close(coarse, np.kron(coarse[..., ::2, ::2], np.ones((2, 2))))


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0])
def test_reals_fade_down_to_an_odd_grid(session, lod):
    size = (10, 14) if lod < 1 else (5, 7)
    images = RANDOM.normal(size=(2, 3, *size)).astype(np.float32)
    feeds = tf.placeholder(tf.float32, [None, 3, None, None]), tf.placeholder(tf.float32, [])
    shown = tflib.run(fade_and_upscale(*feeds), dict(zip(feeds, (images, lod), strict=True)))
    expected = images
    if lod == 0.5:
        boxes = images.reshape(2, 3, 5, 2, 7, 2).mean(axis=(3, 5))
        expected = (images + np.kron(boxes, np.ones((2, 2)))) / 2
    assert_close(shown, np.kron(expected, np.ones((2, 2))) if lod == 1 else expected)


@pytest.mark.parametrize(
    "base", [0, 3.5, (8, 3.5), (0, 6), (8, -6), (8, 17), (400, 600), (8,), (8, 6, 4), "86", None]
)
def test_wrong_base_sizes_are_named(session, base):
    shown = re.escape(repr(base))
    for module, name, kwargs in [
        (STYLEGAN2, "G_main", STYLE),
        (STYLEGAN2, "D_stylegan2", {}),
        (ADA, "D_main", {}),
        (STYLEGAN2, "D_stylegan", {}),
        (STYLEGAN, "G_style", STYLE),
    ]:
        with pytest.raises(UserError, match=f"base_size {shown}: expected height and width"):
            Network("N", f"{module}.{name}", **SHAPE, **kwargs, base_size=base)


# Snapshots


@pytest.mark.parametrize(("family", "layouts"), [("skip", ("5", "npz")), ("ada", ("4",))])
def test_snapshots_and_conversions_keep_the_size(tmp_path, family, layouts):
    z, images = RANDOM.normal(size=(2, 5)), RANDOM.normal(size=(4, 3, 8, 12))

    def results(networks):
        _, D, Gs = networks
        return Gs.run(z, None, randomize_noise=False), D.run(images, None)

    files = {layout: f"{layout}.{'npz' if layout == 'npz' else 'pkl'}" for layout in layouts}
    own = str(tmp_path / "own.pkl")
    with tflib.graph_session():
        G, D = make(family, resolution=8, base_size=(4, 6))
        expected = results((G, D, G))
        pickles.save((G, D, G.clone("Gs")), own)
        for layout, name in files.items():
            conversion.convert(own, str(tmp_path / name), layout)
    for name in ("own.pkl", *files.values()):
        with tflib.graph_session():
            networks = pickles.load(str(tmp_path / name))
            for value, reference in zip(results(networks), expected, strict=True):
                assert_close(value, reference, 1e-6)
            assert [n.static_kwargs["base_size"] for n in networks] == [[4, 6]] * 3


def test_description_of_a_snapshot(session, tmp_path):
    module, function, *_ = FAMILIES["skip"]
    G = Network(
        "G", f"{module}.{function}", **STYLE, **{**SHAPE, "resolution": 8}, base_size=(4, 6)
    )
    pickles.save(G, str(tmp_path / "G.pkl"))
    text = description.describe(str(tmp_path / "G.pkl"))
    assert "12×8, 3 channels" in text and "base_size=[4, 6]" in text
    assert "images_out [N, 3, 8, 12]" in text


def test_weights_of_a_square_do_not_fit(session):
    (square, _), (G, _) = make("skip"), make("skip", base_size=(4, 6))
    with pytest.raises(ValueError, match=r"shape \[.*4, 6\], the value has \[.*4, 4\]"):
        G.copy_vars_from(square)
    state = square.components.synthesis.get_state()
    stretched = Network.__new__(Network)
    stretched.set_state({**state, "static_kwargs": {**state["static_kwargs"], "base_size": [4, 6]}})
    message = r"4x4/Const/const has shape \[1, 5, 4, 4\], expected \[1, 5, 4, 6\]"
    with pytest.raises(UserError, match=message):
        _ = stretched.vars


# Training


def make_dataset(folder, height, width):
    """Pictures that darken downwards and redden to the right, so that a turned one is seen."""

    def draw(item):
        picture = np.zeros([3, height, width])
        picture += np.linspace(255, 0, height)[:, np.newaxis]
        picture[0] += np.linspace(0, 200, width)
        return (picture * (0.5 + int(item.name) / 48)).clip(0, 255).astype(np.uint8)

    items = ItemList([Item(str(i)) for i in range(24)])
    build(Source(items, draw, {"source": "drawn"}), Output(str(folder), shuffle=False))
    return str(folder)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, size in (("upright", (32, 24)), ("lying", (16, 24)), ("square", (16, 16))):
        make_dataset(folder / name, *size)
    return folder


def small_options(config="config-e"):
    options = preset(config)
    options.sched_args.minibatch_size_base = 8
    set_network_size(options, fmap_base=32, fmap_max=8, latent_size=8, mapping_layers=2)
    return options


def test_only_networks_that_are_not_square_are_told(session, data_dir):
    for name, resolution, base in [
        ("square", None, None),
        ("upright", None, (8, 6)),
        ("upright", 8, (8, 6)),
        ("lying", 4, (4, 6)),
    ]:
        dataset = TFRecordDataset(str(data_dir / name), resolution)
        options = complete_options(small_options(), dataset)
        assert options.G_args.get("base_size") == options.D_args.get("base_size") == base
        D = Network("D", **options.D_args)
        assert D.input_shape[1:] == dataset.shape
        assert ("base_size" in D.get_state()["static_kwargs"]) == (base is not None)
        dataset.close()


def test_growing_from_the_base_grid(data_dir):
    dataset = TFRecordDataset(str(data_dir / "upright"), resolution=8)
    options = complete_options(small_options("config-d"), dataset)
    schedule = options.sched_args
    schedule.lod_initial_resolution = 4
    schedule.lod_training_kimg = schedule.lod_transition_kimg = 0.008
    schedule.minibatch_size_dict = schedule.minibatch_gpu_dict = {}
    with tflib.graph_session(seed=1):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        graph = TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/cpu:0"])
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        before = tflib.run(list(D.trainables.values()))
        sizes = []
        for i, position in enumerate(range(0, 24, 4)):
            now = training_schedule(position, dataset.resolution_log2, 1, options.sched_args)
            reals, labels = dataset.get_minibatch_np(8, int(now.lod))
            graph.step(now, position, i, reals, labels)
            sizes.append(reals.shape[2:])
        after = tflib.run([*D.trainables.values(), *G.trainables.values()])
        images = G.run(RANDOM.normal(size=(2, 8)), None)
    dataset.close()
    assert sorted(set(sizes)) == [(8, 6), (16, 12)]
    assert images.shape == (2, 3, 16, 12)
    assert all(np.isfinite(value).all() for value in [images, *after])
    assert all((a != b).any() for a, b in zip(before, after, strict=False) if a.ndim == 4)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, data_dir, run_script):
    """A short run on pictures of 32×24, by the command line."""
    results = tmp_path_factory.mktemp("results")
    args = [f"--data-dir={data_dir}", "--dataset=upright", f"--result-dir={results}"]
    args += ["--config=config-e", "--batch=8", "--total-kimg=0.04", "--mirror-augment=true"]
    args += ["--fmap-base=32", "--fmap-max=8", "--latent-size=8", "--mapping-layers=2"]
    result = run_script(["run_training.py", *args])
    assert result.returncode == 0, result.stderr
    return next(results.iterdir())


def test_grids_of_a_run(run_dir, data_dir):
    reals, fakes = (np.asarray(Image.open(run_dir / f"{n}.png")) for n in ("reals", "fakes000000"))
    assert reals.shape == fakes.shape
    assert reals.shape[0] % 32 == reals.shape[1] % 24 == 0
    dataset = TFRecordDataset(str(data_dir / "upright"), seed=1000)
    images = dataset.read_images(dataset.image_index(np.arange(24)))
    dataset.close()
    for i in (0, 1, reals.shape[1] // 24):  # Next to each other, then the first of the second row.
        y, x = i // (reals.shape[1] // 24) * 32, i % (reals.shape[1] // 24) * 24
        np.testing.assert_array_equal(
            reals[y : y + 32, x : x + 24], images[i % 24].transpose(1, 2, 0)
        )
    assert fakes.std() > 1


def test_pictures_of_its_snapshot(run_dir, run_script, tmp_path):
    network = run_dir / "network-final.pkl"
    args = [f"--network={network}", "--seeds=1-2", f"--result-dir={tmp_path}"]
    result = run_script(["run_generator.py", "generate-images", *args])
    assert result.returncode == 0, result.stderr
    made = sorted(tmp_path.glob("00000-generate-images/*.png"))
    assert [path.name for path in made] == ["seed0001.png", "seed0002.png"]
    assert {Image.open(path).size for path in made} == {(24, 32)}
    with tflib.graph_session():
        Gs = pickles.load_generator(str(network))
        folder = generation.style_mixing_example(Gs, [1], [2, 3], 1.0, None, str(tmp_path))
        generation.generate_grid(Gs, (3, 2), [1], 1.0, str(tmp_path / "grid.png"))
    assert Image.open(f"{folder}/1-2.png").size == (24, 32)
    assert Image.open(f"{folder}/grid.png").size == (3 * 24, 2 * 32)
    assert Image.open(tmp_path / "grid.png").size == (3 * 24, 2 * 32)
