"""Runs that an older version began: snapshots load, options are read, states are resumed.

`data/runs` has what commit b4baace wrote after 160 images of three small runs, and, as
`whole-run.pkl`, the final snapshot of each after 320 images without a break. Their dataset:

    dataset_tool.py create-demo, 45 images of 16x16
    run_training.py --dataset=drawn --fmap-base=32 --fmap-max=4 --latent-size=4 --mapping-layers=1
        --batch=8 --snap=1 --keep=9 and
        --config=config-f --cond=false --resolution=8 --batch-gpu=4 --gamma=2, or
        --config=config-a --lod-kimg=0.1, or
        --cfg=auto --aug=ada --mirror=true --resolution=8
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from dnnlib import tflib
from training import training_loop
from training.run.file_names import FINAL, find_states
from training.run.resume import find_data, resumed_options
from training.run.state import read_state
from training.snapshots import pickles

RUNS = Path(__file__).resolve().parents[1] / "data/runs"


# How far from where the run would have ended, as a part of how far it went. Gradients of config-a
# begin near zero, where Adam turns other roundings into other steps: 17 % without AVX-512.
TOLERANCES = {"config-f": 1e-2, "config-a": 0.4, "auto": 1e-2}


@pytest.fixture(params=TOLERANCES)
def run_dir(request, tmp_path):
    shutil.copytree(RUNS / request.param, tmp_path / request.param)
    return tmp_path / request.param


def weights(path):
    with tflib.graph_session():
        Gs = pickles.load_generator(str(path))
        return {name: Gs.get_var(name) for name in Gs.vars}


def test_an_older_run_is_resumed_as_if_it_had_not_ended(run_dir):
    tolerance = TOLERANCES[run_dir.name]
    options = resumed_options(str(run_dir), None)
    stored = json.loads((run_dir / "training_options.json").read_text())
    found = json.loads(json.dumps(options.to_json()))
    assert {name: found[name] for name in stored} == stored
    find_data(options, str(RUNS))
    options.total_kimg = 0.32
    options.network_snapshot_ticks = options.image_snapshot_ticks = 100
    begun = weights(run_dir / "network-snapshot-000000.pkl")
    training_loop.resume(options, str(run_dir))
    resumed, whole = weights(run_dir / FINAL), weights(run_dir / "whole-run.pkl")
    # Other machines round differently. Bit for bit they are compared on one machine only.
    missed = sum(np.sum((resumed[name] - value) ** 2) for name, value in whole.items())
    moved = sum(np.sum((begun[name] - value) ** 2) for name, value in whole.items())
    assert missed**0.5 < tolerance * moved**0.5
    assert read_state(find_states(str(run_dir))[-1]).counters.cur_nimg == 320


def test_an_older_snapshot_has_the_weights_of_its_state(run_dir, session):
    with open(run_dir / "network-snapshot-000000.pkl", "rb") as file:
        networks = pickle.load(file)
    stored = read_state(find_states(str(run_dir))[0]).arrays
    for network in networks:  # Built in the order of the run's, so that scopes are the same.
        assert len(network.vars) > 10
        for name, var in network.vars.items():
            np.testing.assert_array_equal(network.get_var(name), stored[var.name])
