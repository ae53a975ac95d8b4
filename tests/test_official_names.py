"""Options and functions by their names in the official repositories, on the command line and in
Python.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_tool
import run_generator
import run_metrics
import run_projector
import run_training
from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.config.options import TrainingOptions

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/official-names.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Datasets `datasets/mine` and `datasets/unlabeled`, 16×16, and a snapshot of such a
    network.
    """
    from training.snapshots import pickles

    folder = tmp_path_factory.mktemp("workplace")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, [16, 16, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"photos/{i}.png")
    dataset_tool.create_from_images(str(folder / "datasets/mine"), str(folder / "photos"), 0)
    with tflib.graph_session(seed=1):
        shape = {"resolution": 16, "fmap_base": 64, "fmap_max": 8, "mapping_layers": 2}
        style = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}
        Gs = Network("Gs", "training.networks_stylegan2.G_main", **shape, **style)
        Gs.set_var("dlatent_avg", np.linspace(-1, 1, 8))
        pickles.save(Gs, str(folder / "network-final.pkl"))
    return folder


@pytest.fixture(autouse=True)
def in_workplace(workplace, monkeypatch):
    monkeypatch.chdir(workplace)


def training(*words):
    options = vars(run_training._parse_args(words))
    del options["given"]  # What was typed, whatever it means.
    return options


def generating(*words):
    return vars(run_generator._parse_args([*words, "--network=network-final.pkl"]))


def projecting(*words):
    return vars(run_projector._parse_args([*words, "--network=network-final.pkl"]))


def measuring(*words):
    return vars(run_metrics._parse_args([*words, "--network=network-final.pkl"]))


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("--outdir=out", "--result-dir=out"),
        ("--gpus=2", "--num-gpus=2"),
        ("--res=16", "--resolution=16"),
        ("--mirror=1", "--mirror-augment=true"),
        ("--cfg=paper256", "--config=paper256"),
        ("--kimg=3", "--total-kimg=3"),
        ("-n", "--dry-run"),
        ("--resume=noresume", ""),
        ("--snap=3 --seed=4 --gamma=5 --freezed=6", "--snap=3 --seed=4 --gamma=5 --freezed=6"),
    ],
)
def test_names_of_train_py(official, ours):
    given = ["--data=datasets/mine"]
    assert training(*given, *official.split()) == training(*given, *ours.split())


def test_data_is_the_whole_path_and_has_the_defaults_of_train_py():
    ada = training("--data=datasets/mine/")
    assert (ada["dataset"], ada["data_dir"]) == ("datasets/mine", None)
    assert (ada["config"], training("--dataset=mine")["config"]) == ("auto", "config-f")
    assert training("--data=datasets/mine", "--cfg=cifar")["config"] == "cifar"
    desc, options = run_training.setup_training_options(
        data="datasets/mine", mirror=True, gpus=1, metrics=[]
    )
    assert desc == "stylegan2-mine-1gpu-auto"
    assert isinstance(options, TrainingOptions)
    assert (options.mirror_augment, options.augment_args.mode) == (True, "ada")
    assert options.G_args.func_name == "training.networks.G_main"
    assert options.augment_args.preset == "bgc" and options.network_snapshot_ticks == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data=nowhere", "--data: there is no folder or archive nowhere"),
        ("--data=network-final.pkl", "--data=network-final.pkl holds no TFRecords: to train on"),
        ("--data=datasets/mine --dataset=mine", "--data names the whole path: leave out --dat"),
        ("--outdirs=x", r"unrecognized arguments: --outdirs=x; did you mean --outdir\?"),
        ("--data=datasets/mine --resume=nowhere.pkl", "--resume: cannot read snapshot nowhere"),
    ],
)
def test_bad_options_for_training(words, message):
    with pytest.raises(UserError, match=message):
        training(*words.split())


def test_a_run_without_data_says_all_ways_to_name_it(monkeypatch):
    with pytest.raises(UserError, match=r"--dataset is missing.*--data=PATH.*official-names.md"):
        run_training.run_training("results", None, dry_run=True)


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("--seeds=1 --trunc=1", "generate-images --seeds=1 --truncation-psi=1"),
        ("--seeds=1,3-4 --class=2", "generate-images --seeds=1,3,4 --class=2"),
        ("--seeds 1 --outdir out", "generate-images --seeds=1 --outdir=out"),
        ("--projected-w=w.npz", "generate-images --dlatents=w.npz"),
        ("--rows=1 --cols=2-3", "style-mixing-example --row-seeds=1 --col-seeds=2,3"),
        ("--styles=0-2", "style-mixing-example --col-styles=0,1,2"),
    ],
)
def test_names_of_generate_py_and_style_mixing_py(official, ours):
    assert generating(*official.split()) == generating(*ours.split())


def test_names_of_projector_py(capsys):
    official = ["--target=photos/0.png", "--outdir=out", "--save-video=false", "--seed=3"]
    assert projecting(*official) == projecting("project", *official)
    default = projecting(*official[:2])
    assert (default["save_video"], default["seed"], default["num_steps"]) == (True, 303, 1000)
    for words in (["--seeds=1"], ["--outdir=out", "--seeds=1"], []):  # Not of projector.py.
        with pytest.raises(SystemExit):
            projecting(*words)
    assert "COMMAND is missing: use project, project-gen" in capsys.readouterr().err


def test_defaults_of_generate_py_and_style_mixing_py():
    psi = "truncation_psi"
    assert generating("--seeds=1", "--outdir=out")[psi] == 0.5
    mixing = generating("style-mixing-example", "--outdir=out")
    assert mixing[psi] == 1 and generating("style-mixing-example")[psi] == 0.5
    assert generating("style-mixing-example", "--outdir=out", "--trunc=0.5")[psi] == 0.5
    assert mixing["row_seeds"] == [85, 100, 75, 458, 1500]
    assert mixing["col_seeds"] == [55, 821, 1789, 293]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "one of the arguments --seeds --dlatents/--projected-w is required"),
        ("generate-imges --seeds=1", r"did you mean generate-images\?"),
        ("--grid=2x2", "COMMAND is missing: use generate-images"),
        ("--seeds=1 --outdir=a --result-dir=b", "argument --result-dir: not allowed with argument"),
        ("--seeds=1 --noise-mode=loud", "invalid choice: 'loud' .use seed, const, random, none"),
        ("--seeds=1 --rows=2", "COMMAND is missing"),
    ],
)
def test_bad_options_for_generating(words, message, capsys):
    with pytest.raises(SystemExit):
        generating(*words.split())
    assert re.search(message, capsys.readouterr().err)


def test_names_of_calc_metrics_py(capsys):
    ada = measuring("--metricdata=datasets/mine", "--mirror=1", "--gpus=1")
    assert (ada["metrics"], ada["mirror_augment"]) == (["fid50k_full"], True)
    assert measuring()["metrics"] == ["fid50k"]
    with pytest.raises(UserError, match="--metricdata names the whole path"):
        measuring("--metricdata=datasets/mine", "--dataset=mine")
    with pytest.raises(UserError, match="--metricdata: there is no folder nowhere"):
        run_metrics.calc_metrics("network-final.pkl", ["ppl_wend"], "nowhere", None, 1)


@pytest.mark.parametrize("command", re.findall(r"`((?:run_\w+|dataset_tool)\.py [^`…]+)`", PAGE))
def test_commands_in_the_tables_are_understood(command, monkeypatch, workplace):
    script, *words = shlex.split(command)
    if {"OPTIONS", "COMMAND"} & set(words):
        return
    if script == "dataset_tool.py":
        monkeypatch.setattr("sys.argv", [script, *words])
        assert dataset_tool.parse_arguments().run
    else:
        parsers = (run_training, run_generator, run_metrics, run_projector)
        {f"{m.__name__}.py": m for m in parsers}[script]._parse_args(words)


def pictures(folder):
    return {p.name: np.asarray(Image.open(p)).astype(int) for p in Path(folder).glob("*.png")}


def test_generate_images_with_the_parameters_of_both_repositories(tmp_path):
    first = run_generator.generate_images("network-final.pkl", [3, 5], 0.7)
    assert re.fullmatch(r"results/\d{5}-generate-images", first)
    out = str(tmp_path / "a/b")
    assert run_generator.generate_images("network-final.pkl", [5], 0.7, out, None, None) == out
    made = pictures(out)
    assert made.keys() == {"seed0005.png"} and pictures(first).keys() - made == {"seed0003.png"}
    np.testing.assert_array_equal(made["seed0005.png"], pictures(first)["seed0005.png"])
    with pytest.raises(UserError, match="class 1: the network has no classes"):
        run_generator.generate_images("network-final.pkl", [5], 0.7, out, 1, None)


def test_pictures_of_a_submitted_run_are_in_its_directory():
    import dnnlib

    config = dnnlib.SubmitConfig()
    config.run_dir_root, config.run_desc = "runs", "pictures"
    given = {"network_pkl": "network-final.pkl", "seeds": [3], "truncation_psi": 0.7}
    config = dnnlib.submit_run(config, "run_generator.generate_images", **given)
    assert (Path(config.run_dir) / "seed0003.png").exists()


def test_projections_of_a_submitted_run_are_in_its_directory(monkeypatch, tmp_path):
    import dnnlib
    from training.pictures import projections

    places = []
    monkeypatch.setattr(run_projector, "_setup", lambda network_pkl: None)
    for name in ("project_seeds", "project_dataset"):
        monkeypatch.setattr(
            projections, name, lambda *args, **where: places.append(where) or str(tmp_path)
        )
    run_projector.project_generated_images("network-final.pkl", [1], 2, 1.0)
    run_projector.project_real_images("network-final.pkl", "mine", "datasets", 1, 2, "there")
    assert places == [
        {"result_dir": "results", "outdir": None},
        {"result_dir": "there", "outdir": None},
    ]
    config = dnnlib.SubmitConfig()
    config.run_dir_root = str(tmp_path)
    given = {"network_pkl": "network-final.pkl", "dataset_name": "mine", "data_dir": "datasets"}
    given |= {"num_images": 1, "num_snapshots": 2}
    config = dnnlib.submit_run(config, "run_projector.project_real_images", **given)
    assert places[-1]["outdir"] == config.run_dir


def test_the_example_of_the_page_runs(workplace, tmp_path, monkeypatch):
    for name in ("datasets", "network-final.pkl"):
        (tmp_path / name).symlink_to(workplace / name)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
    assert len(pictures("pictures")) == 6 and pictures("ada").keys() == {"seed0085.png"}
    assert pictures("results/00000-generate-images").keys() == {"seed0085.png", "seed0265.png"}


def test_noise_modes(tmp_path):
    from training.pictures import generation

    with tflib.graph_session():
        from training.snapshots import pickles

        Gs = pickles.load_generator("network-final.pkl")
        Gs.set_var("G_synthesis/noise0", np.full(Gs.vars["G_synthesis/noise0"].shape, 9.0))
        for name in Gs.vars:
            if name.endswith("noise_strength"):
                Gs.set_var(name, 1.0)
        made = {}
        for mode in ("const", "seed", "none", "random"):
            where = str(tmp_path / mode)
            const = Gs.get_var("G_synthesis/noise0")
            generation.generate_images(Gs, [5], 0.7, "", outdir=where, noise_mode=mode)
            made[mode] = pictures(where)["seed0005.png"]
            np.testing.assert_array_equal(Gs.get_var("G_synthesis/noise0"), const)
        for name in Gs.vars:
            if "/noise" in name and name[-1].isdigit():
                Gs.set_var(name, np.zeros(Gs.vars[name].shape))
        where = str(tmp_path / "zeros")
        generation.generate_images(Gs, [5], 0.7, "", outdir=where, noise_mode="const")
        assert pictures(where)["seed0005.png"].tobytes() == made["none"].tobytes()
    assert len({picture.tobytes() for picture in made.values()}) == 4


def test_pictures_of_dlatents(tmp_path):
    from training.pictures.generation import generate_from_dlatents
    from training.snapshots import pickles

    with tflib.graph_session():
        Gs = pickles.load_generator("network-final.pkl")
        w = Gs.components.mapping.run(np.random.RandomState(0).randn(2, 8), np.zeros([2, 0]))
        w = w.astype(np.float32)
        image = Gs.components.synthesis.run(w, randomize_noise=False)[1]
        np.savez(tmp_path / "dlatents.npz", dlatents=w)
        np.savez(tmp_path / "w.npz", w=w)
        np.savez(tmp_path / "bad.npz", dlatents=w[:, :2])
        (tmp_path / "text.npz").write_text("no archive")
        for name, message in (
            ("bad.npz", r"expected an array dlatents .* \[N, 6, 8\].*got float32 \[2, 2, 8\]"),
            ("text.npz", r"cannot read --dlatents=.*text\.npz"),
            ("none.npz", r"cannot read --dlatents=.*none\.npz: No such file"),
        ):
            with pytest.raises(UserError, match=message):
                generate_from_dlatents(Gs, str(tmp_path / name), str(tmp_path / "no"))
        made = generate_from_dlatents(Gs, str(tmp_path / "w.npz"), str(tmp_path / "runs"))
    assert made == str(tmp_path / "runs/00000-generate-images") and not (tmp_path / "no").exists()
    out, file = str(tmp_path / "out"), str(tmp_path / "dlatents.npz")
    assert run_generator.generate_images("network-final.pkl", None, None, out, None, file) == out
    assert pictures(out).keys() == pictures(made).keys() == {"dlatent00.png", "dlatent01.png"}
    shown = np.floor((image.transpose(1, 2, 0) + 1) * 127.5 + 0.5).clip(0, 255)
    for folder in (out, made):
        assert np.abs(pictures(folder)["dlatent01.png"] - shown).max() <= 1


def test_style_mixing_example_with_the_parameters_of_both_repositories(tmp_path):
    args = ("network-final.pkl", [1], [2, 3], 1.0, [0, 1])
    first = run_generator.style_mixing_example(*args, 2)  # minibatch_size of StyleGAN2
    assert re.fullmatch(r"results/\d{5}-style-mixing-example", first)
    out = str(tmp_path / "out")
    assert run_generator.style_mixing_example(*args, out, minibatch_size=3) == out
    assert pictures(out).keys() == {f"{n}.png" for n in ("1-1", "2-2", "3-3", "1-2", "1-3", "grid")}
    assert np.abs(pictures(out)["1-2.png"] - pictures(first)["1-2.png"]).max() <= 1


def test_functions_of_training(monkeypatch, workplace):
    from training import training_loop

    calls = []

    def train(options, result_dir, desc, metrics):
        calls.append((options, result_dir, desc, metrics))
        return "the run"

    monkeypatch.setattr(training_loop, "train", train)
    args = ("mine", "datasets", "out", "config-e", 1, 3, None, True, ["fid50k", "ppl_wend"])
    assert run_training.run(*args) == "the run"
    options, result_dir, desc, metrics = calls.pop()
    assert (result_dir, desc) == ("out", "stylegan2-mine-1gpu-config-e")
    assert options.total_kimg == 3 and options.mirror_augment
    assert options.D_loss_args["gamma"] == 100 and metrics.metrics == ["fid50k", "ppl_wend"]
    given = {"data": "datasets/mine", "cfg": "paper256", "aug": "fixed", "p": 0.2, "kimg": None}
    assert run_training.run_training("runs", 7, False, **given, gamma=3) == "the run"
    options, result_dir, desc, metrics = calls.pop()
    assert (result_dir, options.seed, options.augment_args.p) == ("runs", 7, 0.2)
    assert options.D_loss_args["gamma"] == 3 and metrics is None
    with pytest.raises(UserError, match=r"unrecognized arguments: --gpu=1; did you mean --gpus\?"):
        run_training.run_training("runs", 7, False, data="datasets/mine", gpu=1)
    with pytest.raises(UserError, match="--metrics=fid5k: did you mean fid50k"):
        run_training.run(*args[:-1], ["fid5k"])
    assert not calls


def test_functions_of_metrics(monkeypatch):
    from metrics import measure

    calls = []

    def stand_in(network, metrics, result_dir, folder, mirror, **options):
        options = options["num_gpus"], options["is_other"]
        calls.append((network, metrics, result_dir, folder, mirror, *options))
        return "the run"

    monkeypatch.setattr(measure, "measure", stand_in)
    network = "network-final.pkl"
    assert run_metrics.run(network, ["ppl_wend"], "mine", "datasets", True) == "the run"
    assert calls.pop() == (network, ["ppl_wend"], "results", "datasets/mine", True, 1, False)
    assert run_metrics.calc_metrics(network, ["is50k"], "datasets/mine", None, None) == "the run"
    assert calls.pop() == (network, ["is50k"], "results", "datasets/mine", None, 1, True)


def test_functions_of_the_dataset_tool(tmp_path, capsys):
    there = str(tmp_path / "there")
    dataset_tool.extract("datasets/mine", there)
    extracted = pictures(there)
    assert sorted(extracted)[0] == "img00000000.png" and len(extracted) == 6
    dataset_tool.unpack("datasets/mine", str(tmp_path / "small"), resolution=8)
    assert pictures(tmp_path / "small")["img00000000.png"].shape == (8, 8, 3)
    dataset_tool.pack(there, str(tmp_path / "packed"), 4, 2, mirror=1)
    dataset_tool.create_from_images(str(tmp_path / "again"), there, shuffle=False)
    capsys.readouterr()
    assert dataset_tool.compare("datasets/mine", str(tmp_path / "again"), True) is True
    assert not dataset_tool.compare("datasets/mine", str(tmp_path / "packed"))
    dataset_tool.info(str(tmp_path / "packed"))
    assert "images:     8" in capsys.readouterr().out
    with pytest.raises(UserError, match="no level of resolution 32"):
        dataset_tool.unpack("datasets/mine", str(tmp_path / "no"), 32)
    with pytest.raises(TypeError):
        dataset_tool.create_mnist(there, there, resolution=8)


def test_hdf5_of_images(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name, compress in (("plain.h5", False), ("small.h5", True)):
        dataset_tool.hdf5_from_images(str(tmp_path / name), "photos", compress)
        with h5py.File(tmp_path / name) as file:
            assert sorted(file) == ["data16x16", "data4x4", "data8x8"]
            assert file["data16x16"].compression == ("gzip" if compress else None)
            expected = pictures("photos")["2.png"].transpose(2, 0, 1)
            np.testing.assert_array_equal(file["data16x16"][2], expected)
    dataset_tool.create_from_hdf5(str(tmp_path / "back"), str(tmp_path / "small.h5"), shuffle=0)
    assert dataset_tool.compare(str(tmp_path / "back"), "datasets/mine")
    dataset_tool.convert_to_hdf5(str(tmp_path / "c.h5"), "datasets/mine", True)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["data8x8"].compression == "gzip"
    odd = tmp_path / "odd"
    odd.mkdir()
    Image.new("RGB", (16, 16)).save(odd / "a.png")
    Image.new("RGB", (16, 8)).save(odd / "b.png")
    with pytest.raises(UserError, match=r"b\.png: "):
        dataset_tool.hdf5_from_images(str(tmp_path / "odd.h5"), str(odd))
    assert not (tmp_path / "odd.h5").exists()


def test_crops_of_brecahad(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, [32, 42, 3], dtype=np.uint8)
    Image.fromarray(pixels).save(images / "Case_1.tif")
    dataset_tool.extract_brecahad_crops(str(images), str(tmp_path / "crops"), 16)
    made = pictures(tmp_path / "crops")
    assert len(made) == 4 * 3  # As of pictures of 1360×1024, with crops of 512×512.
    np.testing.assert_array_equal(made["Case_1_24_16.png"], pixels[16:32, 24:40])
    for size, message in ((33, "expected an even number"), (64, "smaller than --cropsize=64")):
        with pytest.raises(UserError, match=message):
            dataset_tool.extract_brecahad_crops(str(images), str(tmp_path / "no"), size)


def test_scripts_say_the_same_to_users_of_a_shell(workplace, run_script):
    args = ["--outdir=shell", "--trunc=1", "--seeds=85", "--network=network-final.pkl"]
    result = run_script(["run_generator.py", *args], cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert (workplace / "shell/seed0085.png").exists()
    args = ["--outdir=runs", "--gpus=1", "--data=nowhere", "--aug=ada", "-n"]
    result = run_script(["run_training.py", *args], cwd=workplace)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "--data: there is no folder" in result.stderr


def test_scripts_are_light_to_import(run_script):
    code = "import json, sys, run_training, run_generator, run_metrics, dataset_tool; "
    result = run_script(["-c", code + "print(json.dumps(sorted(sys.modules)))"])
    assert not {"tensorflow", "scipy", "h5py"} & set(json.loads(result.stdout))
