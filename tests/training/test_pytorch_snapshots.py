"""Snapshots of stylegan2-ada-pytorch: what their networks make, and files made to harm."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import pytorch_snapshots as written
import snapshot_writers as others
import torch_files as torch
from golden_checks import assert_close

from dnnlib import UserError, torch_modules
from training.snapshots import conversion, description, pickles, transfer

GOLDEN = Path(__file__).parents[1] / "golden" / "pt_auto16.pkl"
CONDITIONED = {"c_dim": 3, "num_layers": 3, "embed_features": 4, "layer_features": 7}
G_CASES = {
    "orig": CONDITIONED
    | {"architecture": "orig", "use_noise": False, "activation": "swish", "lr_multiplier": 0.1}
    | {"mapping_activation": "relu", "resample_filter": [1, 2, 1]},
    "resnet": {"architecture": "resnet", "img_channels": 1, "num_layers": 1}
    | {"conv_clamp": 0.9, "resample_filter": [1, 3, 2, 0.5], "num_fp16_res": 1},
    "4x4": {"img_resolution": 4, "c_dim": 2, "channel_base": 10},
}
D_CASES = {
    "skip": CONDITIONED
    | {"architecture": "skip", "cmap_dim": 5, "mbstd_group_size": None, "mbstd_num_channels": 2}
    | {"activation": "relu", "mapping_activation": "relu", "conv_clamp": 200.0}
    | {"resample_filter": [1, 2, 2, 0.5, 1]},
    "orig": {"architecture": "orig", "mbstd_num_channels": 0, "freeze_layers": 2}
    | {"conv_clamp": 0.9, "resample_filter": None},
    "resnet": {"c_dim": 2, "img_channels": 4, "channel_base": 24, "lr_multiplier": 0.1}
    | {"num_layers": 3, "layer_features": 9, "activation": "tanh", "mapping_activation": "tanh"},
}


def load(tmp_path, content):
    path = tmp_path / "pytorch.pkl"
    path.write_bytes(content)
    return pickles.load(str(path))


def labels_of(network, count):
    return np.eye(max(network.options["c_dim"], 1))[:, : network.options["c_dim"]][
        np.arange(count) % max(network.options["c_dim"], 1)
    ]


def test_what_the_official_code_computes(session):
    golden = dict(np.load(GOLDEN.with_suffix(".npz")))
    _, D, Gs = pickles.load(str(GOLDEN))
    z, labels = golden["z"], golden["labels"]
    for name in [n for n in golden if n.startswith("images")]:
        psi, cutoff = name.removeprefix("images_psi").split("_cut")
        cutoff = None if cutoff == "None" else int(cutoff)
        options = {"truncation_psi": float(psi), "truncation_cutoff": cutoff}
        images = Gs.run(z, labels, randomize_noise=False, **options)
        assert_close(images, golden[name], 1e-5)
    assert_close(Gs.components.mapping.run(z, labels), golden["dlatents"], 1e-5)
    assert_close(D.run(golden["D_images"], golden["D_labels"]), golden["scores"], 1e-5)
    assert (Gs.static_kwargs["fmap_base"], Gs.static_kwargs["fmap_max"]) == (128, 24)


@pytest.mark.parametrize(("seed", "case"), [*enumerate(G_CASES)])
def test_generators(session, tmp_path, seed, case):
    G = written.Generator(seed, **G_CASES[case])
    content = written.snapshot(protocol=2 + 2 * (seed % 2), G_ema=G.pickled())
    Gs = load(tmp_path, content)[2]
    z = np.random.default_rng(9).normal(size=(3, 5))
    labels = labels_of(G, 3)
    w = G.apply_mapping(z, labels)
    assert_close(Gs.components.mapping.run(z, labels)[:, 0], w, 1e-5)
    w = G.tensors["mapping.w_avg"] + 0.6 * (w - G.tensors["mapping.w_avg"])
    w = np.repeat(w[:, np.newaxis], 2 * len(G.levels), axis=1)
    images = Gs.run(z, labels, truncation_psi=0.6, randomize_noise=False)
    assert_close(images, G(w), 1e-5)


@pytest.mark.parametrize(("seed", "case"), [*enumerate(D_CASES)])
def test_discriminators(session, tmp_path, seed, case):
    network = written.Discriminator(seed, **D_CASES[case])
    D = load(tmp_path, written.snapshot(D=network.pickled()))[1]
    o, count = network.options, 4
    shape = (count, o["img_channels"], o["img_resolution"], o["img_resolution"])
    images = np.random.default_rng(5).uniform(-1, 1, shape)
    labels = labels_of(network, count)
    assert_close(D.run(images, labels), network(images, labels), 1e-5)
    assert len(D.trainables) == len(D.vars) - 2 * o["freeze_layers"]
    pickles.save(D, str(tmp_path / "ours.pkl"))
    again = pickles.load(str(tmp_path / "ours.pkl")).run(images, labels)
    np.testing.assert_array_equal(again, D.run(images, labels))


def test_everything_takes_such_a_file(session, tmp_path):
    small = {"img_resolution": 4, "architecture": "skip"}
    G, D = written.Generator(**small), written.Discriminator(**small)
    path, out = tmp_path / "pytorch.pkl", str(tmp_path / "out.pkl")
    path.write_bytes(written.snapshot(G=G.pickled(), D=D.pickled(), G_ema=G.pickled()))
    weights = transfer.read_weights(str(path))
    assert list(weights) == ["G", "D", "Gs"]
    np.testing.assert_array_equal(weights["Gs"].values["dlatent_avg"], G.tensors["mapping.w_avg"])
    for layout in ("4", "5"):
        conversion.convert(str(path), out, layout)
        names, kwargs = others.read_like_pytorch(out)[1]
        assert others.unknown_to_pytorch(names, "D") == [] and kwargs["mbstd_group_size"] == 4
        for name, value in others.read_like_pytorch(out)[2][0].items():
            name = name.removeprefix("synthesis/").replace("mapping/", "G_mapping/")
            found = [v for n, v in weights["Gs"].values.items() if n.endswith(name)]
            assert name == "lod" or any(np.array_equal(v, value) for v in found), name
    path.write_bytes(torch.pickled(G.pickled(), protocol=4))  # Alone.
    assert "made of a PyTorch snapshot" in description.describe(str(path))


def generator(change=None, **options):
    """A snapshot with a generator, its tensors and attributes changed."""
    G = written.Generator(**options)
    if change:
        change(G)
    return written.snapshot(G=G.pickled())


def discriminator(change=None, **options):
    D = written.Discriminator(**options)
    if change:
        change(D)
    return written.snapshot(D=D.pickled())


def put(path, value):
    return lambda network: network.tensors.update({path: np.float32(value)})


def tell(path, **attributes):
    return lambda network: network.attributes.setdefault(path, {}).update(attributes)


def raw(state, class_name="Generator"):
    return written.snapshot(G=written.module(class_name, state))


def named(module, name, *args):
    """A snapshot in which something else is called."""
    call = torch.Call(torch.Named(module, name), args)
    return written.snapshot(G=written.module("Generator", {"x": call}))


def nested():
    """Modules that hold themselves."""
    modules = {}
    modules["a"] = written.module("Generator", {"_modules": modules})
    return raw({"_modules": modules})


def shared_storage():
    """One storage of a megabyte that stands for many tensors."""
    content = torch.row(torch.storage("0", 1 << 18), {"0": bytes(1 << 20)})
    tensor = torch.tensor(torch.Call(written.LOAD, (content,)), 0, (1 << 18,), (1,))
    G = written.Generator().pickled()
    modules = G.args[0]["state"]["_modules"]["synthesis"].args[0]["state"]["_modules"]
    for block in modules.values():
        for layer in block.args[0]["state"]["_modules"].values():
            layer.args[0]["state"]["_buffers"]["noise_const"] = tensor
    return written.snapshot(G=G)


def storage(content, offset=0):
    tensor = torch.tensor(torch.Call(written.LOAD, (content,)), offset, (4,), (1,))
    return raw({"_parameters": {"a": tensor}})


ROW = torch.row(torch.storage("0", 4), {"0": bytes(16)})
BAD = {
    "a name": (lambda: named("os", "system", "echo"), r"names os\.system"),
    "a part of torch": (lambda: named("torch.hub", "load", "x"), r"names torch\.hub\.load"),
    "torch.load": (lambda: named("torch", "load", "x"), r"names torch\.load"),
    "StyleGAN3": (
        lambda: raw({"_modules": {"input": written.module("SynthesisInput", {})}}),
        "its G is a network of StyleGAN3",
    ),
    "another class": (lambda: raw({}, "SuperresGenerator"), "the class SuperresGenerator"),
    "a part": (lambda: raw({}, "MappingNetwork"), "MappingNetwork, which is a part"),
    "no state": (lambda: raw(None), "module without class or state"),
    "no attributes": (lambda: raw({}), "its G lacks img_resolution"),
    "no networks": (
        lambda: written.snapshot(x=written.module("Generator", {})),
        "no G, D or G_ema",
    ),
    "itself": (nested, "without end: a bomb"),
    "a shared storage": (shared_storage, "its tensors make more data than it holds: a bomb"),
    "a short storage": (lambda: storage(ROW[:-4]), "storage 0 of 4 numbers has 12 bytes"),
    "a storage that is none": (lambda: storage(b"PK\3\4"), "has a storage that is none"),
    "a storage of a pickle": (
        lambda: storage(pickle.dumps(5, protocol=2)),
        "none that torch.save wrote",
    ),
    "an absurd size": (
        lambda: generator(tell("", img_resolution=1 << 40)),
        r"blocks of 4, 8 pixels for images of 1099511627776",
    ),
    "a strange size": (lambda: generator(tell("", z_dim=1 << 30)), "'latent_size' is"),
    "a view beyond": (lambda: storage(ROW, offset=1), r"a tensor of shape \[4\], offset 1"),
    "a nest in a set": (
        lambda: written.snapshot(G=written.module("Generator", {"a": {(1, 2)}})),
        "set of things that are not names",
    ),
    "another layer": (
        lambda: generator(put("synthesis.b8.conv1.attention", 1)),
        r"synthesis\.b8\.conv1\.attention, which no StyleGAN2",
    ),
    "no mean": (
        lambda: generator(lambda G: G.tensors.pop("mapping.w_avg")),
        "no mean of w",
    ),
    "activations": (
        lambda: generator(tell("synthesis.b8.conv1", activation="relu")),
        "activation='lrelu' and 'relu'",
    ),
    "nested lists": (
        lambda: generator(tell("synthesis.b8.conv1", activation=[[0]])),
        r"synthesis\.b8\.conv1\.activation of the type list",
    ),
    "filters": (
        lambda: generator(put("synthesis.b8.resample_filter", np.eye(4))),
        "filters that are not one and separable",
    ),
    "feature maps": (
        lambda: generator(put("synthesis.b8.conv1.weight", np.zeros((9, 8, 3, 3)))),
        "feature maps that no fmap_base gives: 8 at 4, 9 at 8",
    ),
    "a clamp": (
        lambda: discriminator(architecture="skip", conv_clamp=0.1),
        r"does not clamp b4\.fromrgb",
    ),
    "unused labels": (
        lambda: discriminator(tell("b4", cmap_dim=0), c_dim=2),
        "labels that it does not use",
    ),
    "D's activations": (
        lambda: discriminator(c_dim=2, mapping_activation="relu"),
        "activation='lrelu' and 'relu'",
    ),
    "padding": (
        lambda: discriminator(put("mapping.fc0.bias", np.zeros(3)), c_dim=2),
        "its D lacks Mapping0, or it has another shape",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path, case):
    make, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, make())
    assert str(error.value).startswith(f"PyTorch snapshot {tmp_path}")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_storages_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_modules, "_MAX_STORAGES", 3)
    with pytest.raises(UserError, match="more than 3 storages"):
        load(tmp_path, generator(img_resolution=4))


def test_weights_that_do_not_fit(session, tmp_path):
    change = put("synthesis.b8.conv0.noise_const", np.zeros((4, 4)))
    with pytest.raises(UserError, match=r"noise1 has shape \[1, 1, 4, 4\], expected \[1, 1, 8"):
        _ = load(tmp_path, generator(change))[0].vars


def test_damaged_files(tmp_path):
    whole = generator(img_resolution=4)
    random = np.random.default_rng(1)
    for place in random.integers(len(whole), size=30):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        try:
            load(tmp_path, bytes(damaged[: len(whole) - place % 3]))
        except UserError as error:
            assert "\n" not in str(error)


def test_a_command_ends_with_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "harm.pkl"
    path.write_bytes(named("posix", "system", f"touch {tmp_path}/executed"))
    code, said = others.command_line(monkeypatch, capsys, "info", f"--network={path}")
    assert code == 2 and said.count("\n") == 1 and "names posix.system" in said
    assert not (tmp_path / "executed").exists()
