"""The configurations of the ADA repository, and how the command line changes them."""

import inspect
import json
import re
import sys

import pytest

import run_training
from dnnlib import UserError
from training.config.presets import preset
from training.config.schedule import check_schedule, training_schedule
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo

COLUMNS = ("kimg", "minibatch", "minibatch_gpu", "mbstd", "fmap_base", "lrate", "gamma")
COLUMNS += ("ema_kimg", "ema_ramp", "map_layers", "pl", "mixing", "D_arch")
COMMON = (True, 0.9, "resnet")
ROWS = {
    "stylegan2": (25000, 32, 4, 4, 16384, 0.002, 10, 10, None, 8, *COMMON),
    "paper256": (25000, 64, 8, 8, 8192, 0.0025, 1, 20, None, 8, *COMMON),
    "paper512": (25000, 64, 8, 8, 16384, 0.0025, 0.5, 20, None, 8, *COMMON),
    "paper1024": (25000, 32, 4, 4, 16384, 0.002, 2, 10, None, 8, *COMMON),
    "cifar": (100000, 64, 32, 32, 8192, 0.0025, 0.01, 500, 0.05, 2, False, None, "orig"),
    "cifarbaseline": (100000, 64, 32, 32, 8192, 0.0025, 0.01, 500, 0.05, 8, *COMMON),
}
# (resolution, GPUs): values.
AUTO = {
    (4, 1): (25000, 32, 32, 4, 8192, 0.0025, 0.0001, 10, 0.05, 2, *COMMON),
    (32, 1): (25000, 32, 32, 4, 8192, 0.0025, 0.0064, 10, 0.05, 2, *COMMON),
    (32, 4): (25000, 64, 16, 4, 8192, 0.0025, 0.0032, 20, 0.05, 2, *COMMON),
    (128, 2): (25000, 64, 32, 4, 8192, 0.0025, 0.0512, 20, 0.05, 2, *COMMON),
    (256, 1): (25000, 16, 16, 4, 8192, 0.0025, 0.8192, 5, 0.05, 2, *COMMON),
    (256, 8): (25000, 64, 8, 4, 8192, 0.0025, 0.2048, 20, 0.05, 2, *COMMON),
    (512, 2): (25000, 16, 8, 4, 16384, 0.0025, 3.2768, 5, 0.05, 2, *COMMON),
    (1024, 1): (25000, 4, 4, 4, 16384, 0.002, 52.4288, 1.25, 0.05, 2, *COMMON),
    (1024, 8): (25000, 32, 4, 4, 16384, 0.002, 6.5536, 10, 0.05, 2, *COMMON),
    (64, 32): (25000, 64, 2, 2, 8192, 0.0025, 0.0128, 20, 0.05, 2, *COMMON),
    (64, 128): (25000, 128, 1, 1, 8192, 0.0025, 0.0064, 40, 0.05, 2, *COMMON),
    (4096, 1): (25000, 1, 1, 1, 16384, 0.002, 3355.4432, 0.3125, 0.05, 2, *COMMON),
}


def values(options):
    """What a configuration varies, from options as they are written in JSON."""
    G, D, schedule = (options[name] for name in ("G_args", "D_args", "sched_args"))
    loss = options["G_loss_args"]["func_name"]
    assert loss in ("training.loss.G_logistic_ns_pathreg", "training.loss.G_logistic_ns")
    assert G["fmap_base"] == D["fmap_base"] and schedule["G_lrate_base"] == schedule["D_lrate_base"]
    row = (
        options["total_kimg"],
        schedule["minibatch_size_base"],
        schedule["minibatch_gpu_base"],
        D["mbstd_group_size"],
        G["fmap_base"],
        schedule["G_lrate_base"],
        options["D_loss_args"]["gamma"],
        options["G_smoothing_kimg"],
        options["G_smoothing_rampup"],
        G["mapping_layers"],
        loss.endswith("pathreg"),
        G.get("style_mixing_prob", 0.9),
        D.get("architecture", "resnet"),
    )
    return dict(zip(COLUMNS, row, strict=True))


def expected(row):
    row = dict(zip(COLUMNS, row, strict=True))
    return {**row, "gamma": pytest.approx(row["gamma"], rel=1e-9)}


@pytest.mark.parametrize("name", ROWS)
def test_values_on_the_gpus_that_they_were_made_for(name):
    options = preset(name, num_gpus=2 if name.startswith("cifar") else 8)
    assert values(options.to_json()) == expected(ROWS[name])


@pytest.mark.parametrize(("resolution", "num_gpus"), AUTO)
def test_auto_follows_resolution_and_gpus(resolution, num_gpus):
    options = preset("auto", resolution, num_gpus)
    assert options.num_gpus == num_gpus
    assert values(options.to_json()) == expected(AUTO[resolution, num_gpus])


@pytest.mark.parametrize("name", ["auto", *ROWS])
def test_what_all_have_in_common(name):
    options = preset(name, resolution=256)
    for args, function in ((options.G_args, "G_main"), (options.D_args, "D_main")):
        assert args["func_name"] == f"training.networks.{function}"
        assert (args["fmap_max"], args["num_fp16_res"], args["conv_clamp"]) == (512, 4, 256)
    assert "mapping_layers" not in options.D_args
    for adam in (options.G_opt_args, options.D_opt_args):
        assert (adam["beta1"], adam["beta2"]) == (0.0, 0.99)
    assert options.D_loss_args["func_name"] == "training.loss.D_logistic_r1"
    assert (options.lazy_regularization, options.G_reg_interval, options.D_reg_interval) == (
        True,
        4,
        16,
    )
    rates = [training_schedule(0, n, 1, options.sched_args) for n in range(2, 11)]
    assert len({(now.G_lrate, now.D_lrate, now.minibatch_size) for now in rates}) == 1
    assert options.sched_args.is_constant
    assert {now.tick_kimg for now in rates} == {4}
    assert (options.image_snapshot_ticks, options.network_snapshot_ticks) == (50, 50)


def test_defaults_that_the_configurations_rely_on(session):
    from training import loss, networks

    path_length = inspect.signature(loss.G_logistic_ns_pathreg).parameters
    assert {k: path_length[k].default for k in path_length if k.startswith("pl_")} == {
        "pl_mean": None,
        "pl_minibatch_shrink": 2,
        "pl_decay": 0.01,
        "pl_weight": 2.0,
    }
    assert inspect.signature(networks.G_main).parameters["style_mixing_prob"].default == 0.9
    assert inspect.signature(networks.G_synthesis).parameters["architecture"].default == "skip"
    D = inspect.signature(networks.D_main).parameters
    assert (D["architecture"].default, D["mapping_layers"].default) == ("resnet", 0)


@pytest.mark.parametrize(
    ("name", "num_gpus", "minibatch", "minibatch_gpu"),
    [
        ("paper256", 1, None, 8),
        ("paper256", 2, None, 8),
        ("paper256", 16, None, 4),
        ("stylegan2", 1, None, 4),
        ("cifar", 1, None, 32),
        ("cifar", 8, None, 8),
        ("paper256", 1, 16, 8),
        ("paper256", 1, 4, 4),
        ("paper256", 1, 12, 6),
        ("cifar", 1, 66, 22),
        ("auto", 1, 6, 3),
        ("auto", 1, 128, 16),
        ("auto", 3, 48, 16),
    ],
)
def test_what_does_not_fit_at_once_is_accumulated(name, num_gpus, minibatch, minibatch_gpu):
    options = preset(name, 256, num_gpus, minibatch)
    assert options.sched_args.minibatch_gpu_base == minibatch_gpu
    check_schedule(8, num_gpus, options.D_args["mbstd_group_size"], options.sched_args)


def test_what_cannot_be_shared():
    with pytest.raises(UserError, match=r"3 GPUs cannot share a minibatch of 64.*multiple of 3"):
        preset("paper256", num_gpus=3)
    with pytest.raises(UserError, match=r"4 GPUs cannot share a minibatch of 2 .*multiple of 4"):
        preset("auto", 64, 4, 2)
    with pytest.raises(UserError, match=r"^7 images for each GPU .*a --batch .* multiple of 4 for"):
        preset("auto", 64, 2, 14)
    with pytest.raises(UserError, match="--config=auto depends on the resolution"):
        preset("auto")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder of datasets: `drawn` 32×32, and one without files."""
    folder = tmp_path_factory.mktemp("data")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=32), num_images=6)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def plan(data_dir, run_script):
    """Runs `run_training.py --dry-run` as a user does."""

    def run(*args):
        return run_script(["run_training.py", f"--data-dir={data_dir}", "--dry-run", *args])

    return run


@pytest.fixture
def quick_plan(data_dir, monkeypatch, capsys):
    """The same in this process, which has TensorFlow loaded; returns the options."""

    def run(*args):
        args = ["run_training.py", f"--data-dir={data_dir}", "--dry-run", *args]
        monkeypatch.setattr(sys, "argv", args)
        monkeypatch.setattr(run_training, "_print_plan", lambda *_: None)  # Takes seconds.
        run_training.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(
    ("args", "row"),
    [
        ("--config=auto", AUTO[32, 1]),
        ("--cfg=cifar --num-gpus=2", ROWS["cifar"]),
        ("--cfg=paper1024", ROWS["paper1024"]),
        ("--cfg=paper256", ROWS["paper256"]),
    ],
)
def test_dry_run_prints_the_final_values(plan, args, row):
    result = plan("--dataset=drawn", *args.split())
    assert result.returncode == 0, result.stderr
    assert re.match(r"Run directory: results/\d{5}-stylegan2-drawn-", result.stderr)
    assert values(json.loads(result.stdout)) == expected(row)


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        ("--gpus=4", {"minibatch": 64, "minibatch_gpu": 16, "gamma": 0.0032, "ema_kimg": 20}),
        ("--resolution=16", {"gamma": 0.0016}),
        ("--batch=8", {"minibatch": 8, "minibatch_gpu": 8}),
        ("--batch=2", {"minibatch": 2, "minibatch_gpu": 2}),
        (
            "--batch=64 --ema-kimg=7 --lrate=0.5 --kimg=9",
            {"minibatch": 64, "minibatch_gpu": 32, "ema_kimg": 7, "lrate": 0.5, "kimg": 9},
        ),
        ("--batch-gpu=8 --gamma=3", {"minibatch_gpu": 8, "gamma": 3}),
        ("--fmap-base=512 --mapping-layers=3", {"fmap_base": 512, "map_layers": 3}),
    ],
)
def test_what_is_given_comes_before_what_is_derived(quick_plan, args, changes):
    row = dict(zip(COLUMNS, AUTO[32, 1], strict=True))
    options = quick_plan("--dataset=drawn", "--cfg=auto", *args.split())
    assert values(options) == expected({**row, **changes}.values())


def test_short_runs_of_short_ticks_save_more_often(quick_plan):
    def ticks(*args):
        options = quick_plan("--dataset=drawn", *args)
        assert options["image_snapshot_ticks"] == options["network_snapshot_ticks"]
        return options["network_snapshot_ticks"]

    assert [ticks("--cfg=cifar", f"--kimg={kimg}") for kimg in (100, 99)] == [50, 10]
    assert ticks("--cfg=cifar", "--kimg=9", "--snap=40") == 40
    assert ticks("--config=config-e", "--kimg=9") == ticks("--config=config-e") == 10


def test_official_names_of_options(quick_plan):
    options = quick_plan("--dataset=drawn", "--cfg=config-e", "--gpus=2", "--kimg=3", "--mirror=1")
    names = ("--config=config-e", "--num-gpus=2", "--total-kimg=3", "--mirror-augment=true")
    assert options == quick_plan("--dataset=drawn", *names)
    assert (options["num_gpus"], options["total_kimg"], options["mirror_augment"]) == (2, 3, True)
    assert options["G_args"]["func_name"] == "training.networks_stylegan2.G_main"


def test_a_batch_for_configurations_of_stylegan2(quick_plan):
    schedule = quick_plan("--dataset=drawn", "--config=config-a", "--batch=24")["sched_args"]
    assert (schedule["minibatch_size_base"], schedule["minibatch_gpu_base"]) == (24, None)
    assert schedule["minibatch_size_dict"] == schedule["minibatch_gpu_dict"] == {}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "--dataset=drawn --config=paper-256",
            r"paper-256: did you mean paper256\? use one of .*auto",
        ),
        ("--dataset=drawn --cfg=paper256 --gpus=3", "3 GPUs cannot share a minibatch of 64"),
        ("--dataset=drawn --cfg=paper256 --gpus=2 --batch=7", "share a minibatch of 7 evenly"),
        ("--dataset=empty --cfg=auto", "empty is no dataset"),
        ("--dataset=drawn --cfg=auto --resolution=64", "drawn has no level of resolution 64"),
        ("--dataset=none --cfg=auto", "no folder .*none"),
        ("--cfg=auto", "--dataset is missing"),
        ("--dataset=drawn --cfg=auto --kimg=0", "--total-kimg/--kimg: expected a number"),
    ],
)
def test_bad_input_is_one_line(plan, args, message):
    result = plan(*args.split())
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert re.search(message, result.stderr), result.stderr
