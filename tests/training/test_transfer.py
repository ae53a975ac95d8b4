"""New runs from the weights of snapshots."""

import json

import numpy as np
import pytest
from small_networks import STYLE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.snapshots import pickles
from training.snapshots.adapt import Weights
from training.snapshots.transfer import match, read_weights, transfer

SIZE = {"fmap_base": 64, "fmap_max": 8}
STYLEGAN2 = ("training.networks_stylegan2.G_main", "training.networks_stylegan2.D_stylegan2")
ADA = ("training.networks.G_main", "training.networks.D_main")
STYLEGAN = ("training.networks_stylegan.G_style", "training.networks_stylegan.D_basic")


def networks(functions=STYLEGAN2, resolution=16, label_size=0, G_args=(), D_args=()):
    shape = {"resolution": resolution, "label_size": label_size, **SIZE}
    G = Network("G", functions[0], **{**shape, **STYLE, **dict(G_args)})
    D = Network("D", functions[1], **{**shape, **dict(D_args)})
    return {"G": G, "D": D, "Gs": G.clone("Gs")}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """An unlabeled 16×16 network of StyleGAN2, and its variables."""
    path = str(tmp_path_factory.mktemp("snapshot") / "network.pkl")
    with tflib.graph_session(seed=5):
        nets = networks()
        tflib.set_vars({v: tflib.run(v) + 0.5 for v in nets["Gs"].vars.values()})
        pickles.save(tuple(nets.values()), path)
        values = {name: tflib.run(net.vars) for name, net in nets.items()}
    return path, values


def test_the_same_networks_are_copied_whole(snapshot, session, capsys):
    path, values = snapshot
    nets = networks()
    weights = read_weights(path)
    transfer(weights, nets)
    for name, net in nets.items():
        for variable, value in tflib.run(net.vars).items():
            np.testing.assert_array_equal(value, values[name][variable])
    assert "100.0%" in capsys.readouterr().out


def test_another_resolution_and_labels_are_adapted(snapshot, session, capsys):
    path, values = snapshot
    nets = networks(resolution=32, label_size=3)
    before = {name: tflib.run(net.vars) for name, net in nets.items()}
    transfer(read_weights(path), nets)
    G, D = tflib.run(nets["G"].vars), tflib.run(nets["D"].vars)
    for name in ("G_synthesis/16x16/Conv1/weight", "G_synthesis/noise3", "dlatent_avg"):
        np.testing.assert_array_equal(G[name], values["G"][name])
    name = "G_synthesis/32x32/Conv1/weight"
    np.testing.assert_array_equal(G[name], before["G"][name])
    output = values["D"]["Output/weight"]
    np.testing.assert_array_equal(D["Output/weight"], np.repeat(output, 3, axis=1))
    np.testing.assert_array_equal(D["Output/bias"], np.repeat(values["D"]["Output/bias"], 3))
    text = capsys.readouterr().out
    assert "G, adapted: G_mapping/Dense0/weight" in text and "D, adapted: Output/weight" in text
    assert "G, new: " in text and "32x32" in text


@pytest.mark.parametrize("functions", [STYLEGAN2, ADA], ids=["stylegan2", "ada"])
def test_labels_that_are_new_change_no_picture(functions, session):
    """Of a latent; in StyleGAN2 the label makes it longer or shorter in the common norm."""
    plain, labeled = networks(functions), networks(functions, label_size=3)
    transfer({name: Weights.of(net) for name, net in plain.items()}, labeled)
    latents = np.random.default_rng(0).standard_normal([6, 8], dtype=np.float32)
    ws = [
        nets["Gs"].components.mapping.run(latents, labels)
        for nets, labels in ((plain, None), (labeled, np.eye(3, dtype=np.float32)[[0, 1, 2] * 2]))
    ]
    cosines = np.sum(ws[0] * ws[1], axis=-1) / np.prod(np.linalg.norm(ws, axis=-1), axis=0)
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    if functions == ADA:
        np.testing.assert_allclose(ws[0], ws[1], rtol=1e-5, atol=1e-6)


def test_labels_may_be_given_up():
    def match_arrays(source, target):
        return match(Weights(source), Weights(target))

    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = match_arrays({"Output/weight": scores}, {"Output/weight": np.zeros([2, 1], "f4")})
    np.testing.assert_array_equal(result.values["Output/weight"], [[1], [4]])
    # Other classes: what they have in common.
    result = match_arrays({"4x4/Dense1/weight": scores}, {"4x4/Dense1/weight": np.zeros([2, 2])})
    np.testing.assert_array_equal(result.values["4x4/Dense1/weight"], [[1, 1], [4, 4]])
    result = match_arrays({"w": scores}, {"w": np.zeros([3, 2], np.float32), "x": np.zeros(2)})
    assert result.new == ["w", "x"] and result.share == 0
    result = match_arrays({"4x4/Dense0/weight": scores}, {"4x4/Dense0/weight": np.zeros([5, 3])})
    assert result.new == ["4x4/Dense0/weight"]  # another size, not another number of labels
    embedded = {"Output/weight": np.zeros([2, 3], "f4"), "LabelEmbed/weight": scores}
    result = match_arrays({"Output/weight": np.ones([2, 1], "f4")}, embedded)
    assert result.new == ["Output/weight", "LabelEmbed/weight"] and not result.misfits
    result = match_arrays({"w": scores, "y": scores}, {"w": np.float64(scores)})
    assert result.unused == ["y"] and result.values["w"].dtype == np.float64


def test_scores_of_rotations_are_no_scores_of_being_real():
    rows = np.arange(10, dtype=np.float32).reshape(2, 5)  # The score, and one for each turn.
    initial = -np.ones([2, 5], np.float32)

    def output(source, target):
        pairs = ((w, {"score_max": n}) for w, n in (source, target))
        weights = (Weights({"Output/weight": w}, kwargs) for w, kwargs in pairs)
        return match(*weights).values["Output/weight"]

    np.testing.assert_array_equal(output((rows, 5), (initial[:, :1], 1)), rows[:, :1])
    expected = np.concatenate([rows[:, :1], initial[:, 1:]], axis=1)
    np.testing.assert_array_equal(output((rows[:, :1], 1), (initial, 5)), expected)
    np.testing.assert_array_equal(output((rows, 5), (initial, 5)), rows)
    # Five classes: StyleGAN2 has a score for each, of as many as there are.
    np.testing.assert_array_equal(output((rows, 5), (initial, 1)), np.repeat(rows[:, :1], 5, 1))


def test_levels_of_growing_networks_are_those_of_the_same_resolution():
    """They are counted from the finest, which is another one."""

    def levels(*names):
        convolutions = {f"{4 << i}x{4 << i}/Conv/weight": np.zeros(1) for i in range(len(names))}
        colours = {
            f"{layer}_lod{i}/weight": np.array([name])
            for layer in ("G_synthesis/ToRGB", "FromRGB")
            for i, name in enumerate(names)
        }
        return convolutions | colours

    def fit(source, target):
        result = match(Weights(source), Weights(target))
        assert not result.misfits
        return result

    small, large = levels(8.0, 4.0), levels(16.0, 8.0, 4.0)
    for source, target in ((small, large), (large, small)):
        result = fit(source, {name: np.zeros(1) for name in target})
        for name in small if target is small else list(target)[4:]:
            if "lod" in name and name not in result.new:
                assert result.values[name] == target[name], name
    result = fit(small, {name: np.zeros(1) for name in large})
    assert [n for n in result.new if "lod" in n] == [
        "G_synthesis/ToRGB_lod0/weight",
        "FromRGB_lod0/weight",
    ]
    assert len([n for n in fit(large, small).unused if "lod-1" in n]) == 2


OTHERS = {
    "stylegan": (STYLEGAN, {}, "only the snapshot has G_synthesis/4x4/ToRGB"),
    "D-skip": (ADA, {"D_args": {"architecture": "skip"}}, "D of .* has 16x16/Skip"),
    "D-orig": (ADA, {"D_args": {"architecture": "orig"}}, "D of .* has 16x16/Skip"),
    "G-orig": (ADA, {"G_args": {"architecture": "orig"}}, "G of .* has G_synthesis/4x4/ToRGB"),
    "mapping": (ADA, {"G_args": {"mapping_layers": 1}}, r"mapping_layers 2, not 1\): only the sn"),
    "latents": (ADA, {"G_args": {"latent_size": 6}}, "Dense0/weight is 8x8, not 6x8"),
    "maps": (ADA, {"D_args": {"fmap_base": 32}}, r"fmap_base 64, not 32\).* 1x1x3x8, not 1x1x3x4"),
    "norm": (ADA, {"D_args": {"use_spectral_norm": True}}, "the snapshot lacks 16x16/Conv0/sn"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_architectures_are_refused(what, session):
    """Most of the parameters fit all of them."""
    functions, changes, words = OTHERS[what]
    weights = {name: Weights.of(net) for name, net in networks(ADA).items()}
    nets = networks(functions, **changes)
    before = tflib.run(nets["G"].vars)
    with pytest.raises(UserError, match=f"{words}.*--resume-partial"):
        transfer(weights, nets)
    for name, value in tflib.run(nets["G"].vars).items():
        np.testing.assert_array_equal(value, before[name])
    transfer(weights, nets, allow_partial=True)


@pytest.mark.parametrize("functions", [STYLEGAN2, ADA, STYLEGAN], ids=["2", "ada", "1"])
def test_resolution_and_labels_are_no_other_architecture(functions, session):
    """In any direction, and with the architectures that have colours at the finest level only."""
    ends = [(16, 0, "resnet"), (32, 3, "resnet"), (16, 0, "orig"), (32, 2, "orig")]
    nets = {
        end: networks(functions, end[0], end[1], *[architecture(functions, end[2])] * 2)
        for end in ends
    }
    for pair in (ends[:2], ends[2:]):
        for source, target in (pair, pair[::-1]):
            transfer({name: Weights.of(net) for name, net in nets[source].items()}, nets[target])


def architecture(functions, name):
    return {} if functions == STYLEGAN else {"architecture": name}


def test_a_snapshot_can_be_too_coarse(session):
    weights = {name: Weights.of(net) for name, net in networks(resolution=16).items()}
    with pytest.raises(UserError, match="level of G is 16x16 in the snapshot and 64x64 in this"):
        transfer(weights, networks(resolution=64))


def test_layers_that_are_frozen_come_from_the_snapshot(session, capsys):
    weights = {name: Weights.of(net) for name, net in networks(ADA).items()}
    frozen = {"freeze_layers": 1}
    transfer(weights, networks(ADA, D_args=frozen))
    assert "Warning" not in capsys.readouterr().out
    transfer(weights, networks(ADA, resolution=32, D_args=frozen))
    assert "Warning: --freezed: 32x32/FromRGB is not in the snapshot" in capsys.readouterr().out


def test_random_bits_change_nothing_where_a_run_begins(session):
    plain, other = networks(ADA), networks(ADA, D_args={"use_pagan": True})
    for source, target in ((plain, other), (other, plain)):
        transfer({name: Weights.of(net) for name, net in source.items()}, target)


@pytest.mark.parametrize("functions", [STYLEGAN2, ADA, STYLEGAN], ids=["2", "ada", "1"])
def test_grey_is_all_colours(functions, session):
    rng = np.random.default_rng(0)
    latents = rng.standard_normal([2, 8], dtype=np.float32)
    images = rng.uniform(-1, 1, [2, 1, 16, 16]).astype(np.float32)
    channels = [{"num_channels": count} for count in (1, 3)]
    grey, colour = (networks(functions, G_args=args, D_args=args) for args in channels)
    for net in (grey["D"], colour["D"]):  # Initial biases are zero.
        values = {v: rng.normal(size=v.shape) for n, v in net.vars.items() if n.endswith("bias")}
        tflib.set_vars(values)
    for source, target in ((grey, colour), (colour, grey)):
        transfer({name: Weights.of(net) for name, net in source.items()}, target)
        pictures = [nets["G"].run(latents, None, randomize_noise=False) for nets in (grey, colour)]
        np.testing.assert_allclose(
            pictures[0], pictures[1].mean(axis=1, keepdims=True), rtol=1e-3, atol=1e-4
        )
        if source is grey:
            np.testing.assert_allclose(pictures[1], pictures[0].repeat(3, 1), rtol=1e-3, atol=1e-4)
        scores = grey["D"].run(images, None), colour["D"].run(images.repeat(3, 1), None)
        np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-4)


def test_opacity_that_is_new_is_complete():
    """What is seen on white stays, D looks at colors alone, and one bias makes all opaque."""
    rng = np.random.default_rng(0)

    def weights(colors, levels=("8x8/ToRGB", "16x16/ToRGB", "ToRGB_lod0", "ToRGB_lod1")):
        values = {f"{level}/weight": rng.normal(size=[1, 1, 5, colors]) for level in levels}
        values |= {f"{level}/bias": rng.normal(size=[colors]) for level in levels}
        return Weights(values | {"16x16/FromRGB/weight": rng.normal(size=[1, 1, colors, 5])})

    for now, wanted in ((3, 4), (1, 4), (4, 3), (4, 1)):
        source, target = weights(now), weights(wanted)
        result = match(source, target)
        assert result.values.keys() == target.values.keys() and not result.misfits
        for name, value in result.values.items():
            old = source.values[name]
            assert value.shape == target.values[name].shape
            if "From" in name:  # Of opaque gray pixels of 0.7: used divided by the root.
                sums = [
                    np.array([*[0.7] * min(n, 3), 1][:n]) @ w[0, 0, :] / np.sqrt(n)
                    for n, w in ((now, old), (wanted, value))
                ]
                known = sums[0] - (old[0, 0, 3] / 2 if now == 4 else 0)
                np.testing.assert_allclose(sums[1], known)
                continue
            if 1 in (now, wanted):
                mean = old[..., :3].mean(axis=-1, keepdims=True)
                np.testing.assert_allclose(value[..., :3], mean.repeat(min(wanted, 3), axis=-1))
            else:
                np.testing.assert_array_equal(value[..., :3], old[..., :3])
            if wanted == 4:
                opaque = name.endswith("bias") and name != "8x8/ToRGB/bias"
                np.testing.assert_array_equal(value[..., 3], float(opaque))


def test_another_grid_is_resized():
    """As of a network for squares that continues with upright pictures."""
    square, upright = ({"base_size": size} for size in ((4, 4), (6, 4)))
    ramp = np.arange(4, dtype=np.float32)[:, None] + np.zeros([1, 3, 1, 4], np.float32)
    const = "G_synthesis/4x4/Const/const"
    result = match(
        Weights({const: ramp}, square), Weights({const: np.zeros([1, 3, 6, 4], "f4")}, upright)
    )
    rows = result.values[const][0, 0, :, 0]
    np.testing.assert_allclose(rows, [0, 0.5, 7 / 6, 11 / 6, 2.5, 3], atol=1e-6)
    assert not result.misfits
    # The layer above sees the same in total.
    weight = np.random.default_rng(0).normal(size=[2, 4, 4, 5]).astype("f4")
    dense = "4x4/Dense0/weight"
    result = match(
        Weights({dense: weight.reshape(32, 5)}, square),
        Weights({dense: np.zeros([48, 5], "f4")}, upright),
    )
    totals = result.values[dense].reshape(2, 24, 5).sum(axis=1) / np.sqrt(48)
    np.testing.assert_allclose(totals, weight.sum(axis=(1, 2)) / np.sqrt(32), rtol=1e-5, atol=1e-5)
    assert match(Weights({dense: weight.reshape(32, 5)}), Weights({dense: np.zeros([8, 5])})).new


def test_other_classes_begin_as_the_mean_of_all(session):
    nets = networks(ADA, label_size=2), networks(ADA, label_size=3)
    transfer({name: Weights.of(net) for name, net in nets[0].items()}, nets[1])
    for name, layer in (("G", "G_mapping/LabelEmbed/weight"), ("D", "LabelEmbed/weight")):
        rows, new = (
            net[name].get_var(layer) / np.sqrt(n) for net, n in zip(nets, (2, 3), strict=True)
        )
        np.testing.assert_allclose(new, rows.mean(axis=0, keepdims=True).repeat(3, 0), rtol=1e-5)
    nets = networks(label_size=2), networks(label_size=3)
    transfer({name: Weights.of(net) for name, net in nets[0].items()}, nets[1])
    rows, new = (net["G"].get_var("G_mapping/LabelConcat/weight") for net in nets)
    np.testing.assert_allclose(new, rows.mean(axis=0, keepdims=True).repeat(3, 0), rtol=1e-5)


def test_scores_of_classes_are_nothing_that_labels_are_compared_with():
    scores = {"Output/weight": np.ones([8, 8])}
    embedded = {"Output/weight": np.zeros([8, 8]), "LabelEmbed/weight": np.zeros([8, 8])}
    for source, target in ((scores, embedded), (embedded, scores)):
        assert "Output/weight" in match(Weights(source), Weights(target)).new


def test_the_other_family_can_be_the_source(snapshot, session):
    """The networks of StyleGAN2 and of ADA have the same variables, but for `lod`."""
    path, values = snapshot
    nets = networks(functions=ADA)
    transfer(read_weights(path), nets)
    name = "G_synthesis/16x16/Conv1/weight"
    np.testing.assert_array_equal(tflib.run(nets["Gs"].vars[name]), values["Gs"][name])


def test_as_much_as_fits_on_request(snapshot, session):
    path, values = snapshot
    nets = networks(G_args={"fmap_max": 4}, D_args={"fmap_max": 4})
    weights = read_weights(path)
    with pytest.raises(UserError, match=r"G of the snapshot is of another .*--resume-partial"):
        transfer(weights, nets)
    before = tflib.run(nets["G"].vars)
    transfer(weights, nets, allow_partial=True)
    after = tflib.run(nets["G"].vars)
    changed = [n for n in before if (before[n] != after[n]).any()]
    assert changed and all(after[n].shape == values["G"][n].shape for n in changed)


def test_a_single_generator_is_enough(snapshot, session, tmp_path):
    path = str(tmp_path / "Gs.pkl")
    nets = networks()
    pickles.save(nets["Gs"], path)
    weights = read_weights(path)
    assert list(weights) == ["Gs"]
    tflib.set_vars({v: tflib.run(v) + 1 for v in nets["G"].vars.values()})
    transfer(weights, nets)
    name = "G_synthesis/8x8/Conv1/weight"
    np.testing.assert_array_equal(tflib.run(nets["G"].vars[name]), weights["Gs"].values[name])


def test_from_the_command_line(tmp_path, run_script):
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=16), num_images=12)
    small = ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--mapping-layers=1"]
    small += [f"--data-dir={tmp_path}", "--dataset=drawn", "--batch=8", "--total-kimg=0.016"]

    def train(result, *args):
        done = run_script(["run_training.py", f"--result-dir={tmp_path / result}", *small, *args])
        return done, next((tmp_path / result).glob("*"), None)

    done, first = train("first", "--config=auto", "--resolution=8", "--cond=false")
    assert done.returncode == 0, done.stderr
    final = first / "network-final.pkl"
    done, second = train("second", "--config=auto", f"--resume={final}", "--freezed=1")
    assert done.returncode == 0, done.stderr
    assert "Weights of the snapshot:" in done.stdout and "adapted" in done.stdout
    options = json.loads((second / "training_options.json").read_text())
    assert options["augment_args"]["kimg"] == 100 and options["G_smoothing_rampup"] is None
    assert options["D_args"]["freeze_layers"] == 1
    # A run that started from a snapshot is resumed from its state.
    args = ["run_training.py", f"--resume={second}", "--total-kimg=0.024"]
    done = run_script(args)
    assert done.returncode == 0 and "Weights of the snapshot" not in done.stdout, done.stderr

    for args, words in [
        (["--resume=nowhere.pkl"], "cannot read snapshot nowhere.pkl: No such file"),
        (["--resume=afhqcot"], "did you mean the network afhqcat"),
        (["--config=config-e", f"--resume={final}", "--freezed=1"], "has no layers to freeze"),
        (["--config=auto", "--mapping-layers=2", f"--resume={final}"], "lacks G_mapping/Dense1"),
    ]:
        done, folder = train("wrong", *args)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and folder is None
