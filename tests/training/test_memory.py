"""What a step takes is known beforehand, and images at once are as many as memory holds."""

import copy
import json

import pytest

from dnnlib import UserError
from dnnlib.system import memory_gb
from dnnlib.tflib import tfutil
from training.config import memory
from training.config.options import set_network_size
from training.config.presets import preset
from training.config.schedule import training_schedule
from training.run import resume
from training.run.resume import resumed_options

CONFIG = "config-f"


@pytest.fixture
def machine(monkeypatch):
    """Function: sets what the machine has, in GiB."""

    def has(total, free=None):
        monkeypatch.setattr(memory, "memory_gb", lambda: (total, total if free is None else free))

    monkeypatch.setattr(tfutil, "gpu_devices", lambda: {})
    return has


def at_once(options, log2):
    return training_schedule(0, log2, options.num_gpus, options.sched_args).minibatch_gpu


@pytest.mark.parametrize(
    ("resolution", "fmap_base", "fmap_max", "images", "measured"),
    [(64, 2048, 128, 4, 1.09), (64, 2048, 128, 16, 1.35), (256, 2048, 128, 2, 1.31),
     (1024, None, None, 4, 15.4)],
)  # fmt: skip
def test_estimates_are_near_what_was_measured(resolution, fmap_base, fmap_max, images, measured):
    options = preset(CONFIG, resolution)
    set_network_size(options, fmap_base, fmap_max, None)
    assert memory.step_gb(options, resolution, images) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("total", "fits"), [(64, 4), (23.5, 2), (8, 2), (None, 4)])
def test_a_step_takes_half_of_the_memory_if_two_images_do(machine, total, fits):
    machine(total)
    options = preset(CONFIG, 1024, minibatch=4)
    memory.fit_to_memory(options, 1024)
    assert at_once(options, 10) == fits


def test_images_at_once_divide_a_step_and_split_into_groups(machine):
    machine(20)
    options = preset(CONFIG, 256, minibatch=24)  # 12 at once, in groups of 4.
    assert at_once(options, 8) == 12
    assert memory.fit_to_memory(options, 256).startswith("NOTE: 8 images at once, not 12")
    assert at_once(options, 8) == 8
    assert memory.step_gb(options, 256, 8) <= 10 < memory.step_gb(options, 256, 12)


@pytest.mark.parametrize("minibatch", [9, 15, 7, 5])
def test_what_does_not_divide_stays(machine, minibatch):
    machine(6)
    options = preset(CONFIG, 512, minibatch=minibatch)
    memory.fit_to_memory(options, 512)
    assert minibatch % at_once(options, 9) == 0


def test_networks_of_others_are_not_estimated(machine):
    machine(6)
    options = preset(CONFIG, 1024, minibatch=4)
    options.G_args["func_name"] = "mine.G_mine"
    assert memory.fit_to_memory(options, 1024) is memory.describe_memory(options, 1024, 1) is None


def test_a_run_is_resumed_on_another_machine(machine, tmp_path, monkeypatch):
    options = preset(CONFIG, 1024, minibatch=4)
    options.dataset_args = {"tfrecord_dir": "data"}
    given = copy.deepcopy(options)
    machine(16)
    memory.fit_to_memory(options, 1024)
    (tmp_path / "training_options.json").write_text(json.dumps(options.to_json()))
    resumed = resumed_options(str(tmp_path), copy.deepcopy(given), at_once_is_given=False)
    assert at_once(resumed, 10) == 2
    monkeypatch.setattr(resume, "find_dataset", {"data": "the dataset"}.get)
    monkeypatch.setattr(resume, "choose_level", lambda dataset, resolution: 10)
    with pytest.raises(UserError, match=r"minibatch_gpu_dict"):
        resumed_options(str(tmp_path), copy.deepcopy(given), at_once_is_given=True)
    # As it is said: --batch-gpu=2 does the same on every machine.
    given.sched_args.minibatch_gpu_base, given.sched_args.minibatch_gpu_dict = 2, {}
    resumed = resumed_options(str(tmp_path), copy.deepcopy(given), at_once_is_given=True)
    assert at_once(resumed, 10) == 2
    given.sched_args.minibatch_gpu_base = 4
    with pytest.raises(UserError, match=r"was started with --batch-gpu None, not 4"):
        resumed_options(str(tmp_path), given, at_once_is_given=True)


@pytest.mark.parametrize("method", ["auxrot", "bcr", "zcr"])
def test_methods_that_show_more_images_take_more(method):
    options = preset("auto", 64)
    usual = memory.step_gb(options, 64, 8)
    options.cmethod = method
    assert memory.step_gb(options, 64, 8) > 1.1 * usual


def test_memory_of_this_machine():
    total, free = memory_gb()
    assert total is None or 0 < total < 1 << 16
    assert total is None or free is None or 0 < free <= total


def test_gpus_have_memory_of_their_own(machine, monkeypatch):
    machine(8)
    monkeypatch.setattr(tfutil, "gpu_devices", lambda: {"/gpu:0": "a GPU"})
    options = preset(CONFIG, 1024, minibatch=4)
    memory.fit_to_memory(options, 1024)
    assert at_once(options, 10) == 4 and memory.describe_memory(options, 1024, 1) is None


def test_what_is_said(machine):
    options = preset(CONFIG, 1024, minibatch=4)
    machine(64, 60)
    text = memory.describe_memory(options, 1024, 1)
    assert text.startswith("Memory: about 14.4 GiB for 4 images at once, of 64.0 GiB")
    machine(64, 9)
    text = memory.describe_memory(options, 1024, 1)
    assert text.startswith("Warning: Memory") and "--batch-gpu" in text and "\n" not in text


@pytest.mark.skipif(tfutil.gpu_devices() or memory_gb()[1] is None, reason="nobody knows")
def test_the_plan_says_it(run_script, tmp_path):
    run_script(["dataset_tool.py", "create_demo", tmp_path / "demo", "--images=8"])
    args = ["--dataset=demo", "--dry-run", "--fmap-base=64", "--fmap-max=4"]
    args += [f"--data-dir={tmp_path}", f"--result-dir={tmp_path}"]
    result = run_script(["run_training.py", *args])
    assert "Memory: about 1.0 GiB for " in result.stderr
