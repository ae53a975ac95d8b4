"""projector.py: the official class as scripts use it, and ADA's command."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_networks import SHAPE, STYLE

import projector
import run_projector
from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.latents.distances import pixel_distance
from training.latents.options import ProjectionOptions
from training.latents.projector import project
from training.snapshots import pickles

BUILD = "training.networks_stylegan2."
# Interface facts of the official repositories.
DEFAULTS = {
    "num_steps": 1000,
    "dlatent_avg_samples": 10000,
    "initial_learning_rate": 0.1,
    "initial_noise_factor": 0.05,
    "lr_rampdown_length": 0.25,
    "lr_rampup_length": 0.05,
    "noise_ramp_length": 0.75,
    "regularize_noise_weight": 1e5,
    "verbose": False,
    "clone_net": True,
}


@pytest.fixture
def Gs(session):
    network = Network("Gs", BUILD + "G_main", **SHAPE, **STYLE)
    strengths = [v for n, v in network.vars.items() if n.endswith("noise_strength")]
    tflib.set_vars(dict.fromkeys(strengths, 0.2))
    return network


def targets(count=1):
    return np.random.default_rng(3).uniform(-1, 1, [count, 3, 16, 16]).astype(np.float32)


def make_projector(Gs, num_steps=6, **given):
    proj = projector.Projector(num_steps=num_steps)
    proj.dlatent_avg_samples, proj.distance = 100, pixel_distance
    proj.set_network(Gs, **given)
    return proj


def test_official_attributes_and_keywords():
    proj = projector.Projector()
    assert {name: getattr(proj, name) for name in DEFAULTS} == DEFAULTS
    proj = projector.Projector(
        vgg16_pkl="vgg16_zhang_perceptual.pkl",
        num_steps=7,
        initial_learning_rate=0.2,
        initial_noise_factor=0.1,
        verbose=True,
    )
    assert (proj.num_steps, proj.initial_learning_rate, proj.initial_noise_factor) == (7, 0.2, 0.1)
    with pytest.raises(TypeError):
        projector.Projector(steps=7)
    with pytest.raises(UserError, match="call set_network first"):
        proj.start(targets())


def test_as_stylegan2_uses_it(Gs):
    """Steps, what it found so far, the same through `run`, and what the room behind it finds."""
    proj = make_projector(Gs, minibatch_size=2)
    proj.start(targets(2))
    while proj.get_cur_step() < proj.num_steps:
        proj.step()
    assert proj.get_cur_step() == 6 and proj.step() is None and proj.get_cur_step() == 6
    found = make_projector(Gs, minibatch_size=2).run(targets(2))
    options = ProjectionOptions(num_steps=6, dlatent_avg_samples=100)
    expected = project(Gs, targets(2), distance=pixel_distance, **vars(options))
    for dlatents in (proj.get_dlatents(), found.dlatents):
        np.testing.assert_array_equal(dlatents, expected.dlatents)
    np.testing.assert_array_equal(proj.get_images(), expected.images)
    np.testing.assert_array_equal(found.images, expected.images)
    for got in (proj.get_noises(), found.noises):
        assert [n.shape for n in got] == [(2, 1, s, s) for s in (4, 8, 8, 16, 16)]
        np.testing.assert_array_equal(got[4], expected.noises[4])
    # Anything can be set after set_network.
    proj.num_steps, proj.initial_noise_factor = 3, 0
    assert proj.run(targets()).dlatents.shape == (1, 6, 8) and proj.get_cur_step() == 3


def test_as_ada_uses_it(Gs):
    proj = make_projector(Gs, minibatch_size="float16")  # Its second parameter is dtype.
    proj.start([targets()[0]])
    dist, loss = proj.step()
    assert dist.shape == (1,) and loss > dist[0] and proj.cur_step == 1
    proj.step()
    image = proj.images_uint8
    assert image.shape == (1, 16, 16, 3) and image.dtype == np.uint8
    expected = np.rint(proj.images_float[0].transpose(1, 2, 0) * 127.5 + 127.5).clip(0, 255)
    np.testing.assert_array_equal(image[0], expected)
    assert proj.dlatents.shape == (1, 6, 8) and len(proj.noises) == 5
    with pytest.raises(AttributeError):
        proj.cur_step = 3


def test_clone_net_decides_whether_the_network_keeps_the_noise(Gs):
    before = Gs.components.synthesis.get_var("noise3")
    proj = make_projector(Gs)
    proj.run(targets())
    np.testing.assert_array_equal(Gs.components.synthesis.get_var("noise3"), before)
    proj.clone_net = False
    found = proj.run(targets())
    np.testing.assert_array_equal(Gs.components.synthesis.get_var("noise3"), found.noises[3])
    images = Gs.components.synthesis.run(found.dlatents, randomize_noise=False)
    np.testing.assert_allclose(images, found.images, atol=1e-4)


def test_without_lpips_pixels_are_compared_and_that_is_said(Gs, capsys):
    proj = projector.Projector(num_steps=2)
    proj.dlatent_avg_samples = 50
    proj.set_network(Gs)
    assert "NOTE: distance of plain pixels: LPIPS is not at hand" in capsys.readouterr().err
    assert np.isfinite(proj.run(targets()).images).all()


def test_the_official_function_project_image(Gs, tmp_path):
    proj = make_projector(Gs, num_steps=4)
    run_projector.project_image(proj, targets(), f"{tmp_path}/image0000-", num_snapshots=2)
    names = [f"image0000-{name}.png" for name in ("step0002", "step0004", "target")]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    shown = np.asarray(Image.open(tmp_path / names[1])).astype(int)
    assert np.abs(shown - proj.images_uint8[0]).max() == 0


def test_the_command_of_ada(Gs, tmp_path, run_script):
    D = Network("D", BUILD + "D_stylegan2", **SHAPE)
    pickles.save((Gs, D, Gs), str(tmp_path / "network.pkl"))
    photo = np.random.default_rng(0).integers(0, 256, [40, 20, 3], dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    args = ["--network=network.pkl", "--target=photo.png", "--outdir=out", "--num-steps=4"]
    result = run_script(["projector.py", *args, "--save-video=false", "--seed=5"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "features of the snapshot's discriminator" in result.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"target.png", "proj.png", "dlatents.npz"}
    assert Image.open(tmp_path / "out/target.png").size == (16, 16)
    with np.load(tmp_path / "out/dlatents.npz") as file:
        assert file.files == ["dlatents"] and file["dlatents"].shape == (1, 6, 8)
