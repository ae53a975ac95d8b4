"""What scripts for the official code import from the training loop."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training import augment, loss, training_loop
from training.dataset import TFRecordDataset, load_dataset
from training.datasets.format.level_files import RecordWriter

RNG = np.random.default_rng(0)


def build(folder, images):
    folder.mkdir()
    with RecordWriter(str(folder), folder.name, [3, 2]) as writer:
        for image in images:
            writer.add(image)
    return str(folder)


def test_reals_are_processed(session):
    pixels = RNG.integers(0, 256, [3, 2, 4, 4], dtype=np.uint8)
    x, labels = tf.constant(pixels), tf.zeros([3, 1])

    def process(lod, drange_data=(0, 255), drange_net=(-1, 1), mirror=False):
        images, passed = training_loop.process_reals(
            x, labels, lod, mirror, drange_data, drange_net
        )
        assert passed is labels
        return images

    plain = process(0)
    assert plain.shape.as_list() == [3, 2, 4, 4]
    values = pixels / 127.5 - 1
    np.testing.assert_allclose(tflib.run(plain), values, atol=1e-6)
    other = tflib.run(process(0.0, (0, 100), (2, 4)))
    np.testing.assert_allclose(other, pixels / 50 + 2, rtol=1e-6)
    # lod 1.25: a quarter of the way to the next coarser level, then twice the size.
    coarse = values.reshape(3, 2, 2, 2, 2, 2).mean(axis=(3, 5)).repeat(2, axis=2).repeat(2, axis=3)
    faded = (0.75 * values + 0.25 * coarse).repeat(2, axis=2).repeat(2, axis=3)
    for lod in (1.25, tf.constant(1.25)):
        found = process(lod)
        assert found.shape.as_list() == [3, 2, 8, 8]
        np.testing.assert_allclose(tflib.run(found), faded, atol=1e-6)
    mirrored = tflib.run([process(0, mirror=True) for _ in range(8)])
    kinds = [
        [np.abs(a - b).max() < 1e-6 for b in (image, image[..., ::-1])]
        for batch in mirrored
        for a, image in zip(batch, values, strict=True)
    ]
    assert all(sum(kind) == 1 for kind in kinds) and 0 < sum(k[0] for k in kinds) < len(kinds)


def test_the_schedule_of_training():
    dataset = SimpleNamespace(resolution_log2=6)
    now = training_loop.training_schedule(0, dataset)
    assert (now.kimg, now.lod, now.resolution, now.minibatch_size) == (0, 0, 64, 32)
    assert (now.minibatch_gpu, now.G_lrate, now.D_lrate, now.tick_kimg) == (4, 0.002, 0.002, 16)
    now = training_loop.training_schedule(
        900_000,
        dataset,
        lod_initial_resolution=8,
        minibatch_size_dict={16: 64},
        minibatch_gpu_dict={16: 8},
        G_lrate_dict={16: 0.004},
        lrate_rampup_kimg=1000,
    )
    assert (now.kimg, now.lod, now.resolution) == (900, 2.5, 16)
    assert (now.minibatch_size, now.minibatch_gpu) == (64, 8)
    assert now.G_lrate == pytest.approx(0.9 * 0.004) and now.D_lrate == pytest.approx(0.9 * 0.002)
    later = training_loop.training_schedule(2_000_000, dataset, lrate_rampup_kimg=1000)
    assert later.G_lrate == 0.002
    with pytest.raises(TypeError, match="lod_kimg"):
        training_loop.training_schedule(0, dataset, lod_kimg=1)


def test_grids_of_the_ada_repository(tmp_path):
    images = RNG.integers(0, 256, [5, 3, 8, 8], dtype=np.uint8)
    dataset = TFRecordDataset(build(tmp_path / "shop", images))
    size, reals, labels = training_loop.setup_snapshot_image_grid(dataset)
    assert size == (32, 32) and reals.shape == (1024, 3, 8, 8) and labels.shape == (1024, 0)
    shown = {image.tobytes() for image in reals}
    assert shown == {image.tobytes() for image in images}
    path = tmp_path / "reals.png"
    training_loop.save_image_grid(reals, str(path), drange=[0, 255], grid_size=size)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_official_keywords_say_what_to_use():
    with pytest.raises(UserError, match="takes no G_args, total_kimg here: start runs with"):
        training_loop.training_loop(G_args={}, run_dir=".", total_kimg=1)


def test_a_loop_of_ones_own(session, tmp_path):
    """Dataset, networks, losses, augmentation and optimizer as a script puts them together."""
    images = RNG.integers(0, 256, [6, 3, 8, 8], dtype=np.uint8)
    training_set = load_dataset(path=build(tmp_path / "shop", images), mirror_augment=True, seed=1)
    size = {"resolution": 8, "num_channels": 3, "label_size": 0, "fmap_base": 32, "fmap_max": 4}
    style = {"latent_size": 4, "dlatent_size": 4, "mapping_layers": 1, "mapping_fmaps": 4}
    G = tflib.Network("G", func_name="training.networks.G_main", **size, **style)
    D = tflib.Network("D", func_name="training.networks.D_main", mbstd_group_size=2, **size)
    aug = augment.AdaptiveAugment(
        apply_func="training.augment.augment_pipeline",
        apply_args={"xflip": 1},
        tune_heuristic="rt",
        tune_target=-1.1,
        tune_kimg=1,
    )
    reals, labels = training_set.get_minibatch_tf()
    reals, labels = training_loop.process_reals(
        reals, labels, 0.0, False, training_set.dynamic_range, [-1, 1]
    )
    reals.set_shape([None, *training_set.shape])
    G_loss, D_loss, G_reg, D_reg = loss.stylegan2(
        G=G,
        D=D,
        aug=aug,
        fake_labels=training_set.get_random_labels_tf(4),
        real_images=reals,
        real_labels=labels,
    )
    steps = []
    for net, value, reg in ((G, G_loss, G_reg), (D, D_loss, D_reg)):
        optimizer = tflib.Optimizer(name=f"Train{net.name}", learning_rate=0.01)
        optimizer.register_gradients(tf.reduce_mean(value) + tf.reduce_mean(reg), net.trainables)
        steps.append(optimizer.apply_updates())
    tflib.init_uninitialized_vars()
    tflib.autosummary.init_autosummaries()
    training_set.configure(4)
    before = tflib.run([G.trainables, D.trainables])
    for _ in range(2):
        for step in steps:
            tflib.run(step)
        aug.tune(100)
    after = tflib.run([G.trainables, D.trainables])
    for net, old, new in zip((G, D), before, after, strict=True):
        assert all(np.isfinite(value).all() for value in new.values())
        assert any((old[name] != new[name]).any() for name in old), net.name
    # Signs are never below -1, and twice 100 images are a fifth of the way.
    assert tflib.run(aug.get_strength_var()) == pytest.approx(0.2)
    assert tflib.autosummary.read_autosummaries()["Loss/D/loss"].num == 8
    training_set.close()
