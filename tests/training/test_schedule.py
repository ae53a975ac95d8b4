"""Progressive growing: the schedule, and real images as it shows them."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training.config.presets import PRESETS, preset
from training.config.schedule import ScheduleOptions, check_schedule, is_new_lod, training_schedule
from training.run.data import fade_and_upscale


def at(kimg, config="config-d", log2=6, gpus=1):
    return training_schedule(int(kimg * 1000), log2, gpus, preset(config).sched_args)


@pytest.mark.parametrize(
    ("kimg", "lod", "resolution"),
    [
        (0, 3.0, 8),
        (599.999, 3.0, 8),
        (900, 2.5, 16),
        (1199.999, 2.000002, 16),
        (1200, 2.0, 16),
        (1800, 2.0, 16),
        (1950, 1.75, 32),
        (3500, 1 - 500 / 600, 64),
        (3600, 0.0, 64),
        (25000, 0.0, 64),
    ],
)
def test_levels_fade_in_every_600_kimg(kimg, lod, resolution):
    now = at(kimg)
    assert now.lod == pytest.approx(lod, abs=2e-6)
    assert now.resolution == resolution


def test_tables_are_by_current_resolution():
    assert [at(k).minibatch_size for k in (0, 1300, 2500, 3700)] == [256, 128, 64, 32]
    assert [at(k).minibatch_gpu for k in (0, 1300, 2500, 3700)] == [32, 16, 8, 4]
    assert at(3700).G_lrate == at(0).D_lrate == 0.001
    final = at(25000, log2=10)
    assert (final.resolution, final.G_lrate, final.minibatch_size, final.minibatch_gpu) == (
        1024,
        0.003,
        32,
        4,
    )
    assert [at(k).tick_kimg for k in (0, 3700)] == [28, 16]


def test_phases_of_no_length_stay_at_the_first_resolution():
    options = ScheduleOptions(lod_initial_resolution=8, lod_training_kimg=0, lod_transition_kimg=0)
    for nimg in (0, 5000, 10**7):
        now = training_schedule(nimg, 6, 1, options)
        assert (now.lod, now.resolution) == (3.0, 8)
    check_schedule(6, 1, 4, options)  # Comes to an end.


def test_no_growing_without_initial_resolution():
    for kimg in (0, 700, 5000):
        now = at(kimg, "config-f")
        assert (now.lod, now.resolution, now.minibatch_size) == (0.0, 64, 32)
        assert now.G_lrate == now.D_lrate == 0.002


def test_images_at_once_follow_the_resolution_and_fill_the_batch():
    assert at(0, "config-f", log2=10).minibatch_gpu == 4
    assert at(0, "config-f", log2=10, gpus=8).minibatch_gpu == 4
    assert at(0, "config-f", log2=5).minibatch_gpu == 32
    options = ScheduleOptions(minibatch_size_base=24)
    assert training_schedule(0, 8, 2, options).minibatch_gpu == 12


@pytest.mark.parametrize(
    ("batch", "batch_gpu", "gpus", "message"),
    [
        (8, 3, 1, "--batch=8 is not a multiple of --batch-gpu=3 times 1"),
        (8, 4, 3, "--batch=8 is not a multiple of --batch-gpu=4 times 3"),
        (12, 6, 1, "--batch-gpu=6 is not a multiple of 4"),
    ],
)
def test_minibatches_that_do_not_divide(batch, batch_gpu, gpus, message):
    options = ScheduleOptions(minibatch_size_base=batch, minibatch_gpu_base=batch_gpu)
    with pytest.raises(UserError, match=message):
        check_schedule(5, gpus, 4, options)


def test_minibatches_are_checked_at_every_resolution():
    options = preset("config-a").sched_args
    check_schedule(10, 8, 4, options)
    options.minibatch_size_dict[32] = 60
    with pytest.raises(UserError, match="--batch=60"):
        check_schedule(10, 1, 4, options)


def test_any_batch_has_a_size_that_fits():
    for batch in range(1, 65):
        check_schedule(6, 1, 4, ScheduleOptions(minibatch_size_base=batch))


def test_new_levels_are_noticed():
    levels = [at(k) for k in (500, 601, 900, 1200, 1300, 1801)]
    assert [is_new_lod(a, b) for a, b in itertools.pairwise(levels)] == [
        True,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("lod", [0.0, 0.25, 1.0, 1.5, 2.0])
def test_reals_are_faded_and_upscaled(session, lod):
    level = int(np.floor(lod))
    size = 16 >> level
    images = np.random.default_rng(1).normal(size=[2, 3, size, size]).astype(np.float32)
    shown = tflib.run(fade_and_upscale(tf.constant(images), tf.constant(lod, tf.float32)))
    boxes = images.reshape(2, 3, size // 2, 2, size // 2, 2).mean(axis=(3, 5))
    coarse = boxes.repeat(2, axis=2).repeat(2, axis=3)
    expected = images + (coarse - images) * (lod - level)
    expected = expected.repeat(2**level, axis=2).repeat(2**level, axis=3)
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_presets_are_the_papers_tables():
    names = [f"config-{c}" for c in "abcdef"]
    archs = ("orig", "skip", "resnet")
    names += [f"config-e-G{g}-D{d}" for g in archs for d in archs]
    assert sorted(PRESETS) == sorted(names)
    options = {name: preset(name) for name in names}
    assert [n for n in names if options[n].D_loss_args["gamma"] != 10] == [
        n for n in names if n.startswith("config-e")
    ]
    assert [n for n in names if not options[n].sched_args.is_constant] == names[:4]
    assert [n for n in names if not options[n].lazy_regularization] == names[:2]
    plain = [n for n in names if not options[n].G_loss_args["func_name"].endswith("pathreg")]
    assert plain == names[:3]
    assert options["config-e-Gorig-Dskip"].G_args["architecture"] == "orig"
    assert options["config-e-Gorig-Dskip"].D_args["architecture"] == "skip"
    with pytest.raises(UserError, match=r"config-z.*config-a"):
        preset("config-z")


def test_presets_do_not_share_their_tables():
    first, second = preset("config-a"), preset("config-a")
    first.sched_args.minibatch_size_dict[8] = 1
    first.G_opt_args["beta1"] = 0.5
    assert second.sched_args.minibatch_size_dict[8] == 256
    assert second.G_opt_args["beta1"] == 0.0
