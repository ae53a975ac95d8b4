"""run_projector.py as its user runs it."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_networks import BUILD, SHAPE, STYLE, save_pair

import run_generator
import run_projector
from dnnlib import cli, tflib
from dnnlib.tflib import Network
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter
from training.latents import distances
from training.pictures import projections, video
from training.pictures.projection_files import snapshot_steps
from training.snapshots import pickles

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Snapshots, photos and a dataset with labels."""
    folder = tmp_path_factory.mktemp("projector")
    with tflib.graph_session(seed=3):
        D = save_pair(folder / "classes.pkl", ["hat", "shirt", "shoes"])
        gray = Network(
            "Gs", BUILD + "G_main", **STYLE, **{**SHAPE, "num_channels": 1, "base_size": (6, 4)}
        )
        pickles.save(gray, str(folder / "gray.pkl"))
        pickles.save(D, str(folder / "D.pkl"))
    rng = np.random.default_rng(0)
    (folder / "photos/more").mkdir(parents=True)
    for name, size in (("a.png", [30, 20, 3]), ("more/a.jpg", [16, 16, 3]), ("b.png", [9, 50, 3])):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / "photos" / name)
    (folder / "photos/broken.png").write_bytes((folder / "photos/a.png").read_bytes()[:90])
    (folder / "photos/notes.txt").write_text("hello")
    (folder / "data/shop").mkdir(parents=True)
    images = rng.integers(0, 256, [4, 3, 16, 16], dtype=np.uint8)
    with RecordWriter(str(folder / "data/shop"), "shop", [4, 3, 2]) as writer:
        for image in images:
            writer.add(image)
    labels = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    write_labels(str(folder / "data/shop/shop-rxx.labels"), iter([labels]), *labels.shape)
    np.save(folder / "images.npy", images)
    return folder


def run(run_script, folder, *args):
    result = run_script(["run_projector.py", *args], cwd=folder)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture
def run_here(workplace, monkeypatch, capsys):
    """Runs run_projector.py, or another script's function, in this process and the folder."""

    def run(*args, main=run_projector.main):
        monkeypatch.setattr(sys, "argv", ["script.py", *args])
        monkeypatch.chdir(workplace)
        with pytest.raises(SystemExit) as ended:
            cli.run(main)
        captured = capsys.readouterr()
        return SimpleNamespace(
            returncode=ended.value.code, stdout=captured.out, stderr=captured.err
        )

    return run


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_photos_and_folders(workplace, run_script):
    """One graph for all; what is no picture is passed over; files of the same name keep apart."""
    args = ["--network=classes.pkl", "--target", "photos", "photos/a.png", "--class=shoes,hat"]
    args += ["--outdir=out", "--num-steps=3", "--space=w+", "--batch=2", "--save-video=false"]
    result = run(run_script, workplace, "project", *args)
    assert "broken.png is passed over:" in result.stderr
    assert result.stdout.splitlines()[-1] == "Wrote 4 folders in out"
    files = ("dlatents.npz", "proj.png", "target.png")
    folders = ("a", "a-2", "b", "more_a")
    assert names(workplace / "out") == sorted(f"{f}/{n}" for f in folders for n in files)
    with np.load(workplace / "out/b/dlatents.npz") as file:
        assert file["dlatents"].shape == (1, 6, 8)
    first, second = (Image.open(workplace / f"out/{f}/target.png") for f in ("a", "a-2"))
    assert first.size == (16, 16) and first.tobytes() == second.tobytes()


def test_generated_images_project_with_pictures_of_the_way(workplace, run_here):
    args = ["--network=gray.pkl", "--seeds=7,9", "--num-steps=4", "--num-snapshots=2"]
    result = run_here("project-generated-images", *args)
    assert not result.returncode, result.stderr
    out = workplace / "results/00000-project-generated-images"
    files = ("dlatents.npz", "step0002.png", "step0004.png", "target.png")
    pictures = [f"seed000{s}-{n}" for s in (7, 9) for n in files]
    assert names(out) == ["report.html", *pictures]
    page = (out / "report.html").read_text()
    assert all(f'src="{name}"' in page for name in pictures if name.endswith(".png"))
    assert "distance of plain pixels" in result.stderr
    assert re.search(r"^seed0007: distance \d\.\d{4}$", result.stdout, re.MULTILINE)
    made = run_here("generate-images", "--network=gray.pkl", "--seeds=9", "--truncation-psi=1",
                    "--result-dir=made", main=run_generator.main)  # fmt: skip
    assert not made.returncode, made.stderr
    expected = np.asarray(Image.open(workplace / "made/00000-generate-images/seed0009.png"))
    shown = np.asarray(Image.open(out / "seed0009-target.png"))
    assert shown.shape == (24, 16) and np.abs(shown.astype(int) - expected).max() <= 1


def test_the_first_images_of_a_dataset(workplace, run_here):
    args = ["--network=classes.pkl", "--data-dir=data", "--dataset=shop", "--num-images=2"]
    args += ["--num-steps=4", "--num-snapshots=1", "--result-dir=real", "--noise-mode=const"]
    result = run_here("project-real-images", *args, "--distance=pixels")
    assert not result.returncode, result.stderr
    out = workplace / "real/00000-project-real-images"
    files = ("dlatents.npz", "step0004.png", "target.png")
    assert names(out) == [*(f"image000{i}-{n}" for i in (0, 1) for n in files), "report.html"]
    shown = np.asarray(Image.open(out / "image0001-target.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(shown, np.load(workplace / "images.npy")[1])


def test_the_official_steps_of_pictures():
    assert snapshot_steps(1000, 5) == {200, 400, 600, 800, 1000}
    assert snapshot_steps(3, 5) == {1, 2, 3} and snapshot_steps(10, 1) == {10}


# Labels, and what stays when it ends early: in this process


@pytest.fixture
def labels_seen(monkeypatch):
    """The labels that projections start with."""
    seen = []
    start = projections.Projection.start

    def note(self, targets, labels=None, noise_init=None):
        seen.extend(labels)
        start(self, targets, labels, noise_init)

    monkeypatch.setattr(projections.Projection, "start", note)
    return seen


@pytest.fixture
def setup(workplace, session):
    Gs = pickles.load_generator(str(workplace / "classes.pkl"))
    options = projections.ProjectionOptions(num_steps=3, dlatent_avg_samples=60)

    def make(**given):
        return projections.Setup(Gs, distances.pixel_distance, **{"options": options, **given})

    return make


def test_labels_are_those_of_the_option_of_the_target_or_of_all(
    workplace, setup, labels_seen, tmp_path
):
    def seen():
        found = [None if label is None else int(np.argmax(label)) for label in labels_seen]
        labels_seen.clear()
        return found

    data, out = str(workplace / "data/shop"), str(tmp_path)
    projections.project_dataset(setup(), data, 3, 1, out)
    assert seen() == [0, 2, 1]
    projections.project_dataset(setup(classes=[2, 0]), data, 3, 1, out)
    assert seen() == [2, 0, 2]
    projections.project_seeds(setup(), [4, 3], 1.0, 1, out)
    assert seen() == [1, 0]  # As generate-images has them.
    photos = [str(workplace / "photos/a.png"), str(workplace / "photos/b.png")]
    projections.project_files(setup(), photos, out, False)
    assert seen() == [None, None]


@pytest.mark.parametrize("has_mp4", [True, False])
def test_videos(workplace, setup, tmp_path, monkeypatch, capsys, has_mp4):
    if has_mp4:
        pytest.importorskip("imageio_ffmpeg")
    else:
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    projections.project_files(setup(), [str(workplace / "photos/a.png")], str(tmp_path), True)
    name = "proj.mp4" if has_mp4 else "proj.webp"
    assert names(tmp_path) == sorted(["dlatents.npz", name, "proj.png", "target.png"])
    assert ("pip install imageio-ffmpeg" in capsys.readouterr().err) == (not has_mp4)
    if has_mp4:
        import imageio_ffmpeg

        frames = imageio_ffmpeg.read_frames(str(tmp_path / name))
        size = next(frames)["size"]
        count = sum(1 for _ in frames)
    else:
        film = Image.open(tmp_path / name)
        size, count = film.size, film.n_frames
    assert (size, count) == ((32, 16), 3)


def test_a_film_of_many_frames_is_thinned_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    film = video.open_video(str(tmp_path / "film"), (600, 300), 250)
    for i in range(250):
        frame = np.zeros([300, 600, 3], np.uint8)
        frame[:, 2 * i : 2 * i + 20] = 255  # Else frames that look the same would become one.
        film.add(frame)
    film.close()
    shown = Image.open(tmp_path / "film.webp")
    assert (shown.size, shown.n_frames) == ((512, 256), 84)


def test_ctrl_c_keeps_what_was_found(workplace, interrupt_script):
    args = ["--network=gray.pkl", "--seeds=0-5", "--num-steps=1000000", "--num-snapshots=1000"]
    args += ["--result-dir=ended", "--batch=2"]
    out = workplace / "ended/00000-project-generated-images"
    stderr = interrupt_script(
        ["run_projector.py", "project-generated-images", *args],
        lambda: len(list(out.glob("*-target.png"))) == 2 and not time.sleep(0.3),
        workplace,
    )
    assert re.search(r"0 of 6 targets are in \S+, and 2 as they were after \d+ steps", stderr)
    for seed in (0, 1):
        with np.load(out / f"seed{seed:04d}-dlatents.npz") as file:
            assert np.isfinite(file["dlatents"]).all()


def test_bad_input_is_one_line(workplace, run_script):
    network, target = "--network=gray.pkl", "--target=photos/a.png"
    made, real = "project-generated-images", "project-real-images"
    for args, message in [
        (["project", "--network=none.pkl", target, "--outdir=x"], "cannot read snapshot none.pkl"),
        (["project", network, "--target=none.png", "--outdir=x"], "no file or folder none.png"),
        (
            ["project", network, target, "--outdir=gray.pkl"],
            "--outdir: gray.pkl is a file, expected a folder",
        ),
        (["project", network, target, "--outdir=x", "--space=z"], "invalid choice: 'z'"),
        (["project", "--network=photos", target, "--outdir=x"], "it is a folder; name a .pkl"),
        ([made, network, "--seeds=4294967296"], "seed 4294967296: expected 0 to"),
        ([made, network, "--num-steps=0"], "--num-steps: expected a whole number of at least 1"),
        ([made, network, "--feature-net=x.pb"], "there is no file x.pb"),
        ([real, network, "--dataset=none", "--data-dir=data"], "there is no folder data/none"),
        ([real, network], "--dataset"),
        (["projects", network], "did you mean project"),
    ]:
        check_one_line(run_script(["run_projector.py", *args], cwd=workplace), args, message)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("project classes --target=photos/notes.txt", "cannot read target .*txt: not an image"),
        ("project classes --target=data", "there is no picture in this folder"),
        ("project classes --target=photos --class=shoos", "did you mean 'shoes'"),
        ("project-generated-images D", "which is not a generator"),
        ("project-generated-images gray --distance=discriminator", "holds no discriminator"),
        (
            "project-generated-images gray --distance=lpips --feature-net=lpips=gray.pkl",
            "gray.pkl cannot be used as lpips: latents_in of network Gs has shape",
        ),
        ("project-real-images gray --dataset=data/shop", r"has images of \[3, 16, 16\]"),
    ],
)
def test_bad_input_that_needs_the_network(run_here, args, message):
    command, network, *rest = args.split()
    given = [command, f"--network={network}.pkl", "--num-steps=1", "--distance=pixels", *rest]
    given += ["--outdir=x"] if command == "project" else []
    result = run_here(*given)
    assert result.returncode == 2
    error = result.stderr
    errors = [line for line in error.splitlines() if not line.startswith("NOTE: videos")]
    assert len(errors) == 1 and re.search(message, error), error


def check_one_line(result, args, message):
    assert result.returncode == 2, (args, result.stdout, result.stderr)
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert re.search(message, result.stderr), (args, result.stderr)
