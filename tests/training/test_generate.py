"""run_generator.py as its user runs it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_networks import BUILD, SHAPE, STYLE, save_pair

from dnnlib import tflib
from dnnlib.tflib import Network
from training.snapshots import pickles

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Snapshots of untrained networks: (G, D, Gs) with three classes, and Gs alone without."""
    folder = tmp_path_factory.mktemp("networks")
    with tflib.graph_session(seed=3):
        names = ["hat", "T/shirt", "shoes"]
        D = save_pair(folder / "classes.pkl", names, np.linspace(-1, 1, 8))
        plain = Network("Gs", BUILD + "G_main", **SHAPE, **STYLE)
        pickles.save(plain, str(folder / "plain.pkl"))
        pickles.save(D, str(folder / "D.pkl"))
    return folder


def run(run_script, *args):
    result = run_script(["run_generator.py", *map(str, args)])
    assert result.returncode == 0, result.stderr
    return result


def test_generate_images_follows_the_official_random_numbers(networks, run_script, tmp_path):
    network = networks / "plain.pkl"
    args = [f"--network={network}", "--seeds=3,5-6", "--truncation-psi=0.7"]
    run(run_script, "generate-images", *args, f"--result-dir={tmp_path}")
    out = tmp_path / "00000-generate-images"
    assert sorted(p.name for p in out.iterdir()) == ["seed0003.png", "seed0005.png", "seed0006.png"]
    with tflib.graph_session():
        Gs = pickles.load_generator(str(network))
        rnd = np.random.RandomState(5)  # First the latents, then every noise input in turn.
        z = rnd.randn(1, 8)
        for name, var in Gs.components.synthesis.vars.items():
            if name.startswith("noise"):
                tflib.set_vars({var: rnd.randn(*var.shape.as_list())})
        image = Gs.run(z, None, truncation_psi=0.7, randomize_noise=False)[0]
    expected = np.floor((image.transpose(1, 2, 0) + 1) * 127.5 + 0.5).clip(0, 255)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "seed0005.png")), expected)


def test_style_mixing_takes_the_named_layers(networks, run_script, tmp_path):
    network = networks / "plain.pkl"
    args = ["--row-seeds=1-2", "--col-seeds=3,4", "--truncation-psi=1"]
    for styles in ("0-5", "1"):
        extra = [f"--network={network}", f"--col-styles={styles}", f"--result-dir={tmp_path}"]
        run(run_script, "style-mixing-example", *args, *extra)
    everything, one = (tmp_path / f"0000{i}-style-mixing-example" for i in (0, 1))
    run(
        run_script,
        "style-mixing-example",
        *args,
        f"--network={network}",
        f"--result-dir={tmp_path}",
    )
    default = (
        tmp_path / "00002-style-mixing-example"
    )  # The first seven layers, of which it has six.
    assert (default / "1-3.png").read_bytes() == (everything / "1-3.png").read_bytes()

    def picture(folder, name):
        return np.asarray(Image.open(folder / f"{name}.png")).astype(int)

    names = {"1-1", "2-2", "3-3", "4-4", "1-3", "1-4", "2-3", "2-4", "grid"}
    assert {p.stem for p in one.iterdir()} == names
    # All six layers of the column make the column's own image.
    np.testing.assert_array_equal(picture(everything, "1-3"), picture(one, "3-3"))
    assert (picture(one, "1-3") != picture(one, "1-1")).any()
    assert (picture(one, "1-3") != picture(one, "3-3")).any()
    grid = picture(one, "grid")
    assert grid.shape == (48, 48, 3)
    np.testing.assert_array_equal(grid[32:48, 16:32], picture(one, "2-3"))
    assert (grid[:16, :16] == 255).all()


def test_grid_rows_are_classes(networks, run_script, tmp_path):
    network, out = networks / "classes.pkl", tmp_path / "grid.png"
    args = ["--grid=4x3", "--seeds=10", "--truncation-psi=1"]
    result = run(run_script, "generate-grid", f"--network={network}", *args, f"--out={out}")
    rows = ["class 0 (hat): row 1", "class 1 (T/shirt): row 2", "class 2 (shoes): row 3"]
    assert result.stdout.splitlines() == [f"Wrote {out}", *(f"  {row}" for row in rows)]
    with tflib.graph_session():
        Gs = pickles.load_generator(str(network))
        z = np.concatenate([np.random.RandomState(10 + i).randn(1, 8) for i in range(12)])
        labels = np.eye(3)[np.repeat([0, 1, 2], 4)]
        images = Gs.run(z, labels, truncation_psi=1, randomize_noise=False)
    expected = np.floor((images + 1) * 127.5 + 0.5).clip(0, 255).reshape(3, 4, 3, 16, 16)
    expected = expected.transpose(0, 3, 1, 4, 2).reshape(48, 64, 3)
    shown = np.asarray(Image.open(out)).astype(int)
    # Another minibatch size may round the last bit differently.
    assert np.abs(shown - expected).max() <= 1


def test_classes_by_name(networks, run_script, tmp_path):
    """The same pictures as by number; every seed of each class; classes of a grid's rows."""
    args = [f"--network={networks / 'classes.pkl'}", f"--result-dir={tmp_path}"]
    images = ["generate-images", *args, "--seeds=7,8"]
    result = run(run_script, *images, "--class=shoes,T/shirt")
    assert len(result.stdout.splitlines()) == 1
    by_name = {p.name: p.read_bytes() for p in (tmp_path / "00000-generate-images").iterdir()}
    assert sorted(by_name) == [
        f"seed000{s}-{c}.png" for s in (7, 8) for c in ("1-T_shirt", "2-shoes")
    ]
    result = run(run_script, *images)  # By the seed: classes 1 and 2.
    assert "  class 1 (T/shirt): seed 7\n  class 2 (shoes): seed 8\n" in result.stdout
    out = tmp_path / "00001-generate-images"
    assert (out / "seed0007.png").read_bytes() == by_name["seed0007-1-T_shirt.png"]
    assert (out / "seed0008.png").read_bytes() == by_name["seed0008-2-shoes.png"]
    mixing = ["style-mixing-example", *args, "--row-seeds=1", "--col-seeds=2-3"]
    result = run(run_script, *mixing, "--class=hat,shoes")
    assert "  class 0 (hat): seeds 1, 3\n  class 2 (shoes): seed 2\n" in result.stdout


def test_only_the_generator_is_built(networks):
    import tensorflow.compat.v1 as tf

    with tflib.graph_session():
        Gs = pickles.load_generator(str(networks / "classes.pkl"))
        assert not tf.get_default_graph().get_operations()
        Gs.run(np.zeros([1, 8]), np.eye(3)[:1])
        scopes = {v.name.split("/")[0] for v in tf.global_variables()}
    assert scopes == {"Gs", "G_mapping", "G_synthesis"}


def test_bad_input_is_one_line(networks, run_script, tmp_path):
    (tmp_path / "page.pkl").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    (tmp_path / "text.pkl").write_text("hello")
    (tmp_path / "empty.pkl").write_bytes(b"")
    whole = (networks / "plain.pkl").read_bytes()
    (tmp_path / "half.pkl").write_bytes(whole[: len(whole) // 2])
    plain, classes = networks / "plain.pkl", networks / "classes.pkl"
    out = f"--out={tmp_path / 'x.png'}"
    for args, message in [
        ([f"--network={tmp_path / 'none.pkl'}", out], "cannot read snapshot .*none.pkl"),
        ([f"--network={tmp_path / 'page.pkl'}", out], "page.pkl is not a snapshot but a web page"),
        ([f"--network={tmp_path / 'text.pkl'}", out], "text.pkl is not a snapshot"),
        ([f"--network={tmp_path / 'empty.pkl'}", out], "empty.pkl is not a snapshot"),
        ([f"--network={tmp_path / 'half.pkl'}", out], "half.pkl is not a snapshot"),
        ([f"--network={networks / 'D.pkl'}", out], "D_stylegan2, which is not a generator"),
        ([f"--network={plain}", "--out=/nowhere/x.png"], "cannot write /nowhere/x.png"),
        ([f"--network={plain}", "--grid=8by4"], "--grid: expected COLUMNSxROWS"),
        ([f"--network={plain}", "--seeds=4294967296", out], "seed 4294967296"),
    ]:
        result = run_script(["run_generator.py", "generate-grid", *args])
        assert result.returncode == 2, (args, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert re.search(message, result.stderr), result.stderr
    args = ["generate-images", f"--network={classes}", "--seeds=1", "--class=3"]
    result = run_script(["run_generator.py", *args, f"--result-dir={tmp_path}"])
    assert (result.returncode, "classes 0 to 2" in result.stderr) == (2, True)
    args = ["generate-images", f"--network={plain}", "--seeds=1", "--class=0"]
    result = run_script(["run_generator.py", *args, f"--result-dir={tmp_path}"])
    assert (result.returncode, "has no classes" in result.stderr) == (2, True)
    args = ["generate-images", f"--network={classes}", "--seeds=1", "--class=shoe"]
    result = run_script(["run_generator.py", *args, f"--result-dir={tmp_path}"])
    assert (result.returncode, "did you mean 'shoes'" in result.stderr) == (2, True)
    assert not list(tmp_path.glob("0*"))  # No run directory is left behind.


EARLY = """
import sys
import run_generator
from dnnlib import cli
try:
    sys.argv[0] = "run_generator.py"
    cli.run(run_generator.main)
except SystemExit as end:
    print(end.code, "tensorflow" in sys.modules)
"""


def test_files_and_seeds_are_checked_before_tensorflow_loads(networks, run_script, tmp_path):
    network = f"--network={networks / 'plain.pkl'}"
    (tmp_path / "file").write_text("")
    for args, message in [
        (["info", f"--network={tmp_path / 'none.pkl'}"], "none.pkl: No such file"),
        (["info", "--network=stylegan2-ffhq-config-g"], "network stylegan2-ffhq-config-"),
        (["info", f"--network={tmp_path}"], "it is a folder; name a .pkl file in it"),
        (["convert", network, "--format=5", "--out=/nowhere/a.pkl"], "there is no folder /nowhere"),
        (["generate-grid", network, f"--out={tmp_path}"], "it is a folder"),
        (["generate-images", network, "--seeds=4294967296"], "seed 4294967296: expected 0 to"),
        (
            ["generate-images", network, "--seeds=1", f"--result-dir={tmp_path / 'file'}"],
            "file is a file, expected a folder",
        ),
    ]:
        result = run_script(["-c", EARLY, *args])
        assert result.stdout == "2 False\n", (args, result.stdout, result.stderr)
        assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_ctrl_c_keeps_the_pictures_so_far(networks, tmp_path, interrupt_script):
    args = [f"--network={networks / 'plain.pkl'}", "--seeds=1-100000", f"--result-dir={tmp_path}"]
    stderr = interrupt_script(
        ["run_generator.py", "generate-images", *args],
        lambda: len(list(tmp_path.glob("*/seed*.png"))) >= 3,
    )
    pictures = list((tmp_path / "00000-generate-images").iterdir())
    [count] = re.findall(rf"(\d+) of 100000 pictures are in {tmp_path}", stderr)
    assert len(pictures) - int(count) in (0, 1)  # The signal may come before one is counted.
    for picture in pictures:
        Image.open(picture).load()
