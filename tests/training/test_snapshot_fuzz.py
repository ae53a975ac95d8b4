"""Thousands of damaged snapshots, options, states and weights: one line each, nothing else."""

from __future__ import annotations

import json
import os
import pickle

import fuzzing
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.config.presets import preset
from training.run import file_names, resume, state
from training.snapshots import build_functions, npz_weights, pickles
from training.snapshots.roles import by_role

SIZE = {"resolution": 4, "latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "fmap_max": 2}
SIZE |= {"mapping_layers": 1, "num_channels": 1}


def read_snapshot(path):
    for network in by_role(pickles.load(path)).values():
        network.get_state(4)


def read_options(path):
    options = resume.resumed_options(os.path.dirname(path), None)
    for name in ("G_args", "D_args"):
        build_functions.find_for_options(getattr(options, name), name)


def read_state(path):
    state.newest_state(os.path.dirname(path))


def build_network(path):
    """Keyword arguments that are plain text and numbers, as a snapshot holds them."""
    try:
        with open(path, encoding="utf-8") as file:
            kwargs = json.load(file)
    except (ValueError, RecursionError):
        raise UserError("the mutation is no JSON") from None
    description = {"version": 5, "name": "G", "static_kwargs": kwargs, "variables": []}
    network = Network.__new__(Network)
    network.set_state({**description, "build_func_name": "G_main"})
    with (
        tflib.graph_session(),
        pytest.raises(UserError, match=r"^(variables|a layer|arch|act|res|base|no|dtype|net)"),
    ):
        _ = network.vars  # No values are there; what counts is that it gets as far.


@pytest.fixture(scope="module")
def networks():
    with tflib.graph_session(seed=1):
        G = Network("G", "training.networks_stylegan2.G_main", **SIZE)
        D = Network("D", "training.networks.D_main", resolution=4, fmap_max=2, num_channels=1)
        yield G, D, G.clone("Gs")


def test_snapshots(tmp_path, networks):
    seeds = [tmp_path / f"protocol-{protocol}.pkl" for protocol in range(2, 6)]
    for protocol, path in enumerate(seeds, 2):
        path.write_bytes(pickle.dumps(networks, protocol=protocol))
    pickles.save(networks, str(tmp_path / "own.pkl"))
    fuzzing.check_reader(read_snapshot, [*seeds, tmp_path / "own.pkl"], 2000)


def test_weights(tmp_path, networks):
    npz_weights.save(networks, str(tmp_path / "weights.npz"))
    fuzzing.check_reader(read_snapshot, [tmp_path / "weights.npz"], 2000)


def test_options(tmp_path):
    seeds = []
    for config in ("config-a", "config-f", "paper256"):
        options = preset(config, 256)
        options.dataset_args = {"tfrecord_dir": "x", "resolution": None, "max_label_size": "full"}
        options.augment_args.mode, options.seed = "ada", 5
        seeds.append(tmp_path / config / file_names.OPTIONS_FILE)
        seeds[-1].parent.mkdir()
        seeds[-1].write_text(json.dumps(options.to_json(), indent=2))
    fuzzing.check_reader(read_options, seeds, 2000)


def test_states(tmp_path, session):
    for name in ("G/4x4/Const/const", "D/Output/weight", "Autosummary/x"):
        tf.get_variable(name, initializer=np.float32([[1, 2]]))
    tflib.init_uninitialized_vars()
    path = file_names.state_path(str(tmp_path), 3_200)
    counters = state.Counters(3200, 3168, 100, 4, 3168, 1.5, content="abc")
    state.save_state(path, counters, keep=2)
    fuzzing.check_reader(read_state, [path], 2000)


def test_keyword_arguments(tmp_path):
    path = tmp_path / "kwargs.json"
    more = {"resample_kernel": [1, 3, 3, 1], "mapping_nonlinearity": "lrelu", "fmap_decay": 1.0}
    more |= {"truncation_psi": 0.5, "dlatent_avg_beta": 0.995, "conv_clamp": None, "label_size": 0}
    more |= {"architecture": "skip", "base_size": [4, 4], "fmap_base": 64, "num_fp16_res": 0}
    more |= {"use_noise": True, "mapping_lrmul": 0.01, "fmap_const": None, "style_mixing_prob": 0.9}
    path.write_text(json.dumps({**SIZE, **more}))
    fuzzing.check_reader(build_network, [path], 120)
