"""Options that were read from a run directory lead to our own functions only, in sound values."""

from __future__ import annotations

import json
import os
import sys

import pytest

from dnnlib import UserError
from training.config.presets import preset
from training.loss import find_loss
from training.run.file_names import OPTIONS_FILE
from training.run.resume import resumed_options
from training.snapshots import build_functions


def stored(folder, **changes):
    """The options of a run after changes by hand, {"G_args.func_name": value}."""
    options = preset("config-f", 256)
    options.dataset_args = {"tfrecord_dir": "x"}
    values = json.loads(json.dumps(options.to_json()))
    for name, value in changes.items():
        *outer, last = name.split(".")
        inner = values
        for key in outer:
            inner = inner[key]
        inner[last] = value
    (folder / OPTIONS_FILE).write_text(json.dumps(values))
    return resumed_options(str(folder), None)


@pytest.mark.parametrize(
    "name",
    [
        "setuptools.setup",
        "this.s",
        "os.system",
        "training.networks",
        "training.networks.np.load",
        "training.networks.generate",
        "training.architecture.layers.get_weight",
        "training.networks_stylegan2.BUILD_FUNCTIONS",
        "training.networks.G_mapping",
        "training.networks_stylegan2.D_stylegan2",
        "G_main",
        "",
        5,
        None,
        ["training.networks.G_main"],
    ],
)
def test_networks_come_from_our_tables(tmp_path, name):
    options = stored(tmp_path, **{"G_args.func_name": name})
    with pytest.raises(UserError, match=r"G_args.func_name is .* which is no network; known are"):
        build_functions.find_for_options(options.G_args, "G_args")
    assert "this" not in sys.modules  # Which would have been imported.


def test_sizes_of_grids_come_from_our_table(tmp_path):
    with pytest.raises(UserError, match="grid_size is '9k'"):
        stored(tmp_path, grid_size="9k")


def test_a_generator_is_no_discriminator(tmp_path):
    options = stored(tmp_path, **{"D_args.func_name": "training.networks.G_main"})
    with pytest.raises(
        UserError, match=r"known are training\S+\.D_\w+(, training\S+\.D_\w+)*; one"
    ):
        build_functions.find_for_options(options.D_args, "D_args")


def test_losses_come_from_our_table(tmp_path):
    for name in ("os.system", "training.loss.tf.exit", "training.loss.D_logistic_r1", 5, None):
        options = stored(tmp_path, **{"G_loss_args.func_name": name})
        with pytest.raises(UserError, match="no loss of G"):
            find_loss("G", options.G_loss_args)
    with pytest.raises(UserError, match="no loss of D None: use one of"):
        find_loss("D", {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("G_args", 5, "G_args is 5"),
        ("G_loss_args.func_name", ["x"], "G_loss_args.func_name is a list of str"),
        ("G_opt_args.beta1", "x", "G_opt_args.beta1 is 'x', expected a number"),
        ("G_opt_args.tf_optimizer", "os.system", "tf_optimizer is 'os.system', expected one of"),
        ("D_opt_args.share", 1, "there is no option D_opt_args.share"),
        ("dataset_args.tfrecord_dir", 5, "dataset_args.tfrecord_dir is 5, expected text"),
        ("dataset_args.validation", -1, "dataset_args.validation is -1"),
        ("dataset_args.validation", None, "dataset_args.validation is None"),
        ("dataset_args.shuffle", 1, "there is no option dataset_args.shuffle"),
        ("sched_args.minibatch_size_base", 0, "minibatch_size_base is 0"),
        ("sched_args.minibatch_size_dict", {"a": 1}, "minibatch_size_dict[a] has a name"),
        ("sched_args.G_lrate_dict", {"8": "x"}, "sched_args.G_lrate_dict[8] is 'x'"),
        ("sched_args.tick_kimg_base", 0, "tick_kimg_base is 0"),
        ("sched_args.lod_initial_resolution", 0, "lod_initial_resolution is 0"),
        ("sched_args.lod_initial_resolution", -4, "lod_initial_resolution is -4"),
        ("augment_args.mode", "no", "augment_args.mode is 'no', expected one of noaug"),
        ("augment_args.p", 7, "augment_args.p is 7, expected a number from 0 to 1"),
        ("precision", "fp8", "precision is 'fp8'"),
        ("G_reg_interval", 0, "G_reg_interval is 0, expected a whole number from 1"),
        ("seed", 1 << 40, "seed is 1099511627776"),
        ("total_kimg", float("nan"), "total_kimg is nan"),
        ("surprise", 1, "there is no option surprise"),
    ],
)
def test_values_are_checked(tmp_path, name, value, words):
    with pytest.raises(UserError) as error:
        stored(tmp_path, **{name: value})
    assert words in str(error.value) and "it has been changed" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mapping_layers", 10**5, "'mapping_layers' is 100000, expected a whole number from 0"),
        ("resolution", 1 << 15, "'resolution' is 32768"),
        ("resample_kernel", [1, 3] * 4000, "'resample_kernel' has 8,000 items"),
        ("latent_size", "x", "'latent_size' is 'x', expected a whole number"),
        ("nonlinearity", [1], r"'nonlinearity' is [1], expected text"),
        ("fmap_decay", 1e6, "'fmap_decay' is 1000000.0"),
        ("name", "x", "has no keyword argument 'name'"),
        ("components", {}, "has no keyword argument 'components'"),
    ],
)
def test_keyword_arguments_of_networks(tmp_path, name, value, words):
    options = stored(tmp_path, **{f"G_args.{name}": value})
    with pytest.raises(UserError) as error:
        build_functions.find_for_options(options.G_args, "G_args")
    assert words in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_what_is_no_file_of_options(tmp_path):
    os.mkfifo(tmp_path / OPTIONS_FILE)
    with pytest.raises(UserError, match="not a regular file"):
        resumed_options(str(tmp_path), None)
    os.unlink(tmp_path / OPTIONS_FILE)
    for content, words in ((b"[" * 10**5, "too deeply"), (b"\xff", "no JSON"), (b"[]", "it is")):
        (tmp_path / OPTIONS_FILE).write_bytes(content)
        with pytest.raises(UserError, match=words):
            resumed_options(str(tmp_path), None)


def test_a_network_that_grows_has_time_to(tmp_path):
    never = {"lod_initial_resolution": 8, "lod_training_kimg": 0, "lod_transition_kimg": 0}
    with pytest.raises(UserError, match="a network that grows needs kimg at each resolution"):
        stored(tmp_path, **{f"sched_args.{name}": value for name, value in never.items()})
