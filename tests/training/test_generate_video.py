"""generate-video, blend, and what truncation and mixed labels do on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from small_networks import SHAPE, STYLE

import run_generator
from dnnlib import UserError, cli, tflib
from dnnlib.tflib import Network
from training.pictures import video
from training.snapshots import class_names, pickles

ROOT = Path(__file__).resolve().parents[2]
FRAMES = [np.full([16, 24, 3], 30 * i, np.uint8) for i in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Snapshots of untrained networks: with three classes, and one that is gray without."""
    path = tmp_path_factory.mktemp("networks")
    with tflib.graph_session(seed=3):
        Gs = Network("Gs", "training.networks.G_main", label_size=3, **SHAPE, **STYLE)
        class_names.set_label_names(Gs, ["hat", "T:shirt", "shoes"])
        pickles.save(Gs, str(path / "classes.pkl"))
        gray = {**SHAPE, "num_channels": 1, "resolution": 8}
        unlabeled = Network("Gs", "training.networks.G_main", **gray, **STYLE)
        pickles.save(unlabeled, str(path / "gray.pkl"))
    np.savez(path / "step.npz", direction=np.ones(8, np.float32))
    return path


@pytest.fixture
def generate(folder, monkeypatch, capsys):
    """Runs the script in this process, which spares loading TensorFlow: (code, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["run_generator.py", *args])
        with pytest.raises(SystemExit) as caught:
            cli.run(run_generator.main)
        return caught.value.code, *capsys.readouterr()

    return run


def count_frames(path):
    """The frames that Pillow sees, or for MP4 ffmpeg; and their size."""
    if path.suffix == ".mp4":
        import imageio_ffmpeg

        frames = imageio_ffmpeg.read_frames(str(path))
        size = next(frames)["size"]
        return sum(1 for _ in frames), size
    picture = Image.open(path)
    return sum(1 for _ in ImageSequence.Iterator(picture)), picture.size


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "mp4"])
def test_films_have_every_frame(tmp_path, suffix):
    if suffix == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / f"film.{suffix}"
    film = video.open_film(str(path), (24, 16))
    for frame in FRAMES:
        film.add(frame)
    assert not path.exists()
    film.close()
    assert count_frames(path) == (7, (24, 16)) and len(list(tmp_path.iterdir())) == 1
    if suffix != "mp4":
        picture = Image.open(path)
        assert (picture.format, picture.n_frames) == (suffix.upper(), 7)
        assert picture.info["loop"] == 0  # Without end.
        for frame, shown in zip(FRAMES, ImageSequence.Iterator(picture), strict=True):
            assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - frame).max() <= 2
            assert shown.info["duration"] == 40
    abandoned = tmp_path / f".other.{suffix}.dead.partial"  # By a process that was killed.
    abandoned.mkdir()
    other = video.open_film(str(tmp_path / f"other.{suffix}"), (24, 16), 10)
    other.add(FRAMES[0])
    assert len([p for p in tmp_path.iterdir() if p.suffix == ".partial"]) == 1
    other.discard()
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="20000x16 are too large"):
        video.open_film(str(path), (20000, 16))
    with pytest.raises(UserError, match="cannot write"):
        video.open_film(str(tmp_path / "none" / f"film.{suffix}"), (24, 16))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_frames_are_not_kept_in_memory(tmp_path, suffix):
    """What Python and NumPy allocate for ten times the frames is about the same."""
    import tracemalloc

    frame, peaks = np.zeros([64, 64, 3], np.uint8), []
    for count in (10, 100):
        film = video.open_film(str(tmp_path / f"film.{suffix}"), (64, 64))
        tracemalloc.start()
        for i in range(count):
            frame[:] = np.random.RandomState(i).randint(0, 255, frame.shape)
            film.add(frame)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        film.close()
    assert peaks[1] < 1.5 * peaks[0] + frame.nbytes


def test_walks_become_videos(generate, folder):
    network, wide = "--network=classes.pkl", (32, 16)
    for options, name, frames, size, said in [
        ("--seeds=1-3", "a.gif", 6, (16, 16), "class 1 (T:shirt): seed 1"),
        ("--walk=class --seeds=1-2", "b.webp", 6, wide, "0 (hat), 1 (T:shirt), 2"),
        ("--walk=slerp --seeds=1-8 --grid=2x2", "c.png", 4, (32, 32), "seeds 3, 6"),
        ("--walk=noise --seeds=1,2 --class=hat:1,shoes:3", "d.GIF", 2, wide, "0.75 of 2 (shoes)"),
        (
            "--walk=truncation --seeds=1 --truncation=cluster --clusters=3",
            "e.apng",
            2,
            (16, 16),
            "",
        ),
        ("--walk=direction --direction=step.npz --seeds=1 --range=-1,1", "f.gif", 2, (16, 16), ""),
    ]:
        args = [*options.split(), f"--out={name}"]
        code, stdout, stderr = generate("generate-video", network, "--w-frames=2", *args)
        assert (code, stderr) == (0, ""), stderr
        assert f"Wrote {name}" in stdout and said in stdout
        assert count_frames(folder / name) == (frames, size)
    code, _, stderr = generate("generate-video", "--network=gray.pkl", "--seeds=1", "--w-frames=3",
                               "--walk=noise", "--out=gray.webp", "--fps=10")  # fmt: skip
    assert code == 0 and count_frames(folder / "gray.webp") == (3, (8, 8)), stderr
    assert (folder / "classes-centers-cluster3.npz").exists()


def test_labels_and_truncation_of_pictures(generate, folder):
    """A mix is its label, and its class is what psi 0 gives."""

    def picture(*args):
        code, _, stderr = generate("generate-images", "--network=classes.pkl", "--seeds=1",
                                   "--noise-mode=const", "--outdir=out", *args)  # fmt: skip
        assert code == 0, stderr
        return np.asarray(Image.open(folder / "out/seed0001.png"))

    hat, shoes, half = (picture(f"--class={c}") for c in ("hat", "shoes", "hat:2,shoes:2"))
    assert not np.array_equal(hat, half) and not np.array_equal(shoes, half)
    with tflib.graph_session():
        Gs = pickles.load_generator(str(folder / "classes.pkl"))
        z = np.random.RandomState(1).randn(1, 8)
        image = Gs.run(z, [[0.5, 0, 0.5]], truncation_psi=0.5, randomize_noise=False)[0]
        from training.latents.starting_point import sample_dlatents

        mean = np.tile(sample_dlatents(Gs, 10000, np.eye(3)[2]).mean(axis=0), [1, 6, 1])
        middle = Gs.components.synthesis.run(mean, randomize_noise=False)[0]
    mean_shoe = picture("--class=2", "--truncation=class", "--trunc=0")
    for found, expected in [(half, image), (mean_shoe, middle)]:
        pixels = (expected.transpose(1, 2, 0) + 1) * 127.5
        assert np.abs(found - pixels.clip(0, 255)).max() <= 1
    code, _, _ = generate("generate-grid", "--network=classes.pkl", "--grid=2x3",
                          "--truncation=class", "--trunc=0", "--out=grid.png")  # fmt: skip
    rows = np.asarray(Image.open(folder / "grid.png")).reshape(3, 16, 2, 16, 3)
    np.testing.assert_array_equal(rows[:, :, 0], rows[:, :, 1])
    assert code == 0 and np.abs(rows[2, :, 0] - pixels.clip(0, 255)).max() <= 1


def test_blend_of_the_command_line(generate, folder):
    args = ["blend", "classes.pkl", "classes.pkl", "--resolution=8", "--width=1", "--out=new.pkl"]
    code, stdout, stderr = generate(*args)
    assert code == 0 and "Wrote new.pkl" in stdout and "4 38%, 8 62%, 16 82%" in stdout, stderr
    with tflib.graph_session():
        Gs = pickles.load_generator(str(folder / "new.pkl"))
        assert class_names.label_names(Gs) == ["hat", "T:shirt", "shoes"]


VIDEO = ["generate-video", "--network=classes.pkl", "--seeds=1,2"]
BAD = [
    ([*VIDEO, "--out=bad.avi"], "the name of a video ends with .gif, .png, .apng, .webp or .mp4"),
    ([*VIDEO, "--out=none/bad.gif"], "there is no folder"),
    ([*VIDEO, "--out=bad.gif", "--fps=60"], "--fps=60: a GIF has at most 50"),
    ([*VIDEO, "--out=bad.gif", "--grid=3x1"], "--seeds: 2 do not divide among 3x1 pictures"),
    ([*VIDEO, "--out=bad.gif", "--num-keyframes=400000000"], "pictures: at most 10000 in all"),
    ([*VIDEO, "--out=bad.gif", "--walk=spiral"], "--walk: invalid choice"),
    ([*VIDEO, "--out=bad.gif", "--walk=direction"], "--direction=FILE.npz go together"),
    ([*VIDEO, "--out=bad.gif", "--direction=none.npz"], "there is no file or folder none.npz"),
    ([*VIDEO, "--out=bad.gif", "--range=1"], "--range: expected two numbers like 0,1"),
    ([*VIDEO, "--out=bad.gif", "--clusters=9"], "--clusters=9: it is for --truncation=cluster"),
    (["blend", "none.pkl", "classes.pkl", "--resolution=8", "--out=bad.pkl"], "none.pkl: No such"),
    (["blend", "classes.pkl", "--resolution=8", "--out=bad.pkl"], "required: HIGH"),
]
BAD_FOR_THE_NETWORK = [
    ([*VIDEO, "--out=bad.gif", "--class=hat:1,shoes"], "give all classes a weight"),
    ([*VIDEO, "--out=bad.gif", "--walk=class", "--class=hat"], "two classes or more"),
    ([*VIDEO, "--out=bad.gif", "--walk=class", "--network=gray.pkl"], "the network has no classes"),
    ([*VIDEO, "--out=bad.gif", "--truncation=class", "--network=gray.pkl"], "has no classes"),
    ([*VIDEO, "--out=bad.gif", "--walk=direction", "--direction=classes.pkl"], "cannot read --dir"),
    (["blend", "classes.pkl", "gray.pkl", "--resolution=8", "--out=bad.pkl"], "do not match"),
    (["blend", "classes.pkl", "classes.pkl", "--resolution=32", "--out=bad.pkl"], "have 8, 16 to"),
]


@pytest.mark.parametrize(("args", "message"), [*BAD, *BAD_FOR_THE_NETWORK])
def test_bad_input_is_one_line(generate, folder, args, message):
    code, _, stderr = generate(*args)
    assert code == 2 and message in stderr and len(stderr.strip().splitlines()) == 1, stderr
    assert not list(folder.glob("bad.*"))


def test_mp4_without_its_extra(generate, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, _, stderr = generate(*VIDEO, "--out=bad.mp4")
    assert code == 2 and "--out=bad.mp4: MP4 needs more: pip install imageio-ffmpeg" in stderr


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_ctrl_c_finishes_the_file(folder, tmp_path, suffix, interrupt_script):
    if suffix == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / f"long.{suffix}"
    args = ["generate-video", f"--network={folder / 'gray.pkl'}", "--seeds=1-2", f"--out={out}"]
    stderr = interrupt_script(
        ["run_generator.py", *args, "--w-frames=1000000"],
        lambda: sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) >= 2000,
    )
    said = f" of 2000000 frames are in {out}"
    assert said in stderr and list(tmp_path.iterdir()) == [out]
    assert count_frames(out)[0] == int(stderr.partition(said)[0].split()[-1])
