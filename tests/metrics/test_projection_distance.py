"""Which distance a projection minimizes, and LPIPS as one."""

from __future__ import annotations

import numpy as np
import pytest
import standins
import tensorflow.compat.v1 as tf
from small_networks import STYLE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from metrics import projection_distance
from metrics.feature_networks import FeatureSources
from training.latents.distances import DiscriminatorDistance, pixel_distance
from training.latents.projector import project
from training.snapshots import pickles

SCALE = 64
SHAPE = {"num_channels": 1, "resolution": 16, "fmap_base": 64, "fmap_max": 8}


@pytest.fixture
def lpips(tmp_path):
    """A file of LPIPS with a narrow VGG16 of random weights."""
    rng = np.random.default_rng(0)
    weights = standins.vgg16_weights(rng, SCALE)
    widths = [64, 128, 256, 512, 512]
    heads = {f"lin{i}": rng.uniform(0.2, 1, c // SCALE) for i, c in enumerate(widths)}
    path = str(tmp_path / "lpips.npz")
    np.savez(path, **heads, **weights)
    return path


def networks(**options):
    G = Network("Gs", "training.networks_stylegan2.G_main", **{**SHAPE, **STYLE, **options})
    D = Network("D", "training.networks_stylegan2.D_stylegan2", **{**SHAPE, **options})
    return G, D


def test_the_first_distance_that_is_at_hand(session, lpips, capsys):
    Gs, D = networks()
    given, nothing = FeatureSources({"lpips": lpips}), FeatureSources()

    def choose(*args):
        found = projection_distance.choose(*args)
        return found, capsys.readouterr().err

    found, said = choose("auto", Gs, D, given)
    assert type(found).__name__ == "_Lpips" and not said
    found, said = choose("auto", Gs, D, nothing)
    assert isinstance(found, DiscriminatorDistance)
    line = "NOTE: distance of features of the snapshot's discriminator: LPIPS is not at hand"
    assert said == f"{line} (see --distance)\n"
    found, said = choose("auto", Gs, None, nothing)
    assert found is pixel_distance and "distance of plain pixels" in said
    found, said = choose("pixels", Gs, D, given)
    assert found is pixel_distance and not said
    with pytest.raises(UserError, match="the snapshot holds no discriminator"):
        choose("discriminator", Gs, None, nothing)
    found, _ = choose("auto", Gs, Gs, nothing)  # A snapshot may call anything D.
    assert found is pixel_distance
    with pytest.raises(UserError, match="--distance=ssim: use auto, lpips"):
        choose("ssim", Gs, D, nothing)
    small, _ = networks(resolution=8)
    with pytest.raises(UserError, match="images of 8 pixels are too small for LPIPS"):
        choose("lpips", small, None, given)
    found, said = choose("auto", small, D, given)
    assert isinstance(found, DiscriminatorDistance) and "too small for LPIPS" in said


def test_gray_images_are_projected_by_lpips(session, lpips):
    Gs, _ = networks()
    distance = projection_distance.choose("lpips", Gs, None, FeatureSources({"lpips": lpips}))
    target = np.random.default_rng(0).integers(0, 256, [1, 1, 16, 16]).astype(np.uint8)
    options = {"distance": distance, "dlatent_avg_samples": 50}
    start = project(Gs, target, num_steps=1, **options)  # Its learning rate is 0.
    found = project(Gs, target, num_steps=30, **options)
    assert found.distance < 0.9 * start.distance


def test_the_slope_of_lpips_is_finite_where_no_feature_is_active(session, tmp_path):
    weights = standins.vgg16_weights(np.random.default_rng(0), SCALE)
    weights = {k: v * 0 - 1 if k.endswith("bias") else v * 0 for k, v in weights.items()}
    path = str(tmp_path / "dead.npz")
    np.savez(
        path,
        **{f"lin{i}": np.ones(c // SCALE) for i, c in enumerate([64, 128, 256, 512, 512])},
        **weights,
    )
    x = tf.ones([1, 3, 32, 32])
    distance = FeatureSources({"lpips": path}).get("lpips").distance(x, x * 2)
    found, slope = tflib.run([distance, tf.gradients(distance, x)[0]])
    assert found == 0 and np.isfinite(slope).all()


def test_generator_and_distance_of_a_snapshot(session, tmp_path, capsys):
    Gs, D = networks()
    pickles.save((Gs, D, Gs), str(tmp_path / "all.pkl"))
    pickles.save(Gs, str(tmp_path / "alone.pkl"))
    for name, kind in (("all.pkl", DiscriminatorDistance), ("alone.pkl", type(pixel_distance))):
        loaded, distance = projection_distance.load(str(tmp_path / name))
        assert loaded.build_func_name == "G_main" and isinstance(distance, kind)
