"""The graph of a training step, in this process."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network, autosummary
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.run.data import complete_options
from training.run.train_graph import TrainGraph


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data") / "drawn")
    create_demo(Output(folder, shuffle=False, resolution=8), num_images=24)
    return folder


def small_options(batch=8, batch_gpu=None):
    options = preset("config-f")
    options.sched_args.minibatch_size_base = batch
    options.sched_args.minibatch_gpu_base = batch_gpu
    set_network_size(options, fmap_base=32, fmap_max=8, latent_size=8, mapping_layers=2)
    options.mirror_augment = True
    return options


def train(dataset_dir, options, devices=("/cpu:0",), steps=3):
    """Statistics and weights after a few steps, and how many ops the steps added to the graph."""
    dataset = TFRecordDataset(dataset_dir)
    options = complete_options(options, dataset)
    with tflib.graph_session(seed=options.seed):
        G, D = Network("G", **options.G_args), Network("D", **options.D_args)
        Gs = G.clone("Gs")
        graph = TrainGraph(G, D, Gs, dataset, options, list(devices))
        tflib.init_uninitialized_vars()
        autosummary.init_autosummaries()
        now = training_schedule(0, 3, len(devices), options.sched_args)
        batches = dataset.minibatches(0, now.minibatch_size)
        graph.step(now, 0, 0, *next(batches))
        count = len(tf.get_default_graph().get_operations())
        for i in range(1, steps):
            graph.step(now, i * now.minibatch_size, i, *next(batches))
        stats = autosummary.read_autosummaries()
        added = len(tf.get_default_graph().get_operations()) - count
        batches.close()
        weights = tflib.run([*G.vars.values(), *D.vars.values(), *Gs.vars.values()])
        pl_mean = float(tflib.run(graph.pl_mean.var))
    dataset.close()
    return stats, weights, pl_mean, added


def assert_same(a, b):
    assert a[0] == b[0] and a[2] == b[2]
    for x, y in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("batch_gpu", "replicas"), [(None, 1), (2, 2)])
def test_same_seed_same_weights_and_no_op_is_added(dataset_dir, batch_gpu, replicas):
    """Two replicas on one CPU stand for two GPUs; with batch_gpu=2 they take two rounds."""
    runs = [
        train(dataset_dir, small_options(batch_gpu=batch_gpu), ["/cpu:0"] * replicas)
        for _ in range(2)
    ]
    assert_same(*runs)
    stats, _, pl_mean, added = runs[0]
    assert added == 0
    assert pl_mean > 0
    assert stats["Loss/scores/real"].num == 8 * (3 + 1)  # Three steps; R1 scores once more.
    assert all(np.isfinite(m.mean) for m in stats.values())
    assert stats["TrainG/skipped_steps"].mean == stats["TrainD/skipped_steps"].mean == 0


def test_another_seed_another_run(dataset_dir):
    runs = []
    for seed in (1, 2):
        options = small_options()
        options.seed = seed
        runs.append(train(dataset_dir, options, steps=1))
    assert runs[0][0]["Loss/D/loss"] != runs[1][0]["Loss/D/loss"]


@pytest.mark.parametrize(
    ("G_loss", "D_loss"),
    [
        ({"func_name": "G_logistic"}, {"func_name": "D_logistic"}),
        ({"func_name": "G_logistic_ns"}, {"func_name": "D_logistic_r2", "gamma": 3.0}),
        ({"func_name": "G_wgan"}, {"func_name": "D_wgan"}),
        ({"func_name": "G_wgan"}, {"func_name": "D_wgan_gp", "wgan_target": 750.0}),
    ],
)
def test_every_loss_trains(dataset_dir, G_loss, D_loss):
    options = small_options()
    options.G_loss_args = {**G_loss, "func_name": "training.loss." + G_loss["func_name"]}
    options.D_loss_args = {**D_loss, "func_name": "training.loss." + D_loss["func_name"]}
    stats = train(dataset_dir, options, steps=2)[0]
    assert all(np.isfinite(m.mean) for m in stats.values())
    assert {"Loss/G/loss", "Loss/D/loss", "Loss/scores/fake"} <= set(stats)


def test_without_lazy_regularization_every_step_has_it(dataset_dir):
    options = small_options()
    options.lazy_regularization = False
    stats = train(dataset_dir, options)[0]
    assert stats["Loss/D/r1_penalty"].num == 8 * 3
    assert stats["Loss/pl_lengths"].num == 4 * 3
    assert "RegD/skipped_steps" not in stats
    assert stats["TrainG/learning_rate"].mean == pytest.approx(0.002)


def test_wrong_options_are_named(dataset_dir):
    options = small_options()
    options.D_loss_args["gama"] = 1
    with pytest.raises(UserError, match=r"D_logistic_r1\(\) has no keyword argument gama"):
        train(dataset_dir, options)
    options.D_loss_args = {"func_name": "os.system"}
    with pytest.raises(UserError, match=r"no loss of D 'os\.system'"):
        train(dataset_dir, options)
