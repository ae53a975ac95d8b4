"""dataset_tool.py rank: the worst pictures by blur, size, border and score."""

import csv

import numpy as np
import pytest
from PIL import Image, ImageFilter
from small_networks import SHAPE

from training.datasets.building.build import build
from training.datasets.building.output import Output
from training.datasets.building.rank import sharpness, white_border
from training.datasets.items import Item, Source


def pattern(side, cell=16, seed=0):
    cells = np.random.default_rng(seed).integers(0, 2, [side // cell, side // cell, 1]) * 180 + 20
    return Image.fromarray(np.tile(np.kron(cells, np.ones([cell, cell, 1])), 3).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    """Four sharp pictures of the same blocks, a blurred, a small and a broken one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for seed in range(3):
        pattern(320, seed=seed).save(folder / f"sharp{seed}.png")
    pattern(320).filter(ImageFilter.GaussianBlur(4)).save(folder / "more/blurred.png")
    pattern(64, cell=4).save(folder / "small.png")
    white = Image.new("RGB", (400, 300), "white")
    white.paste(pattern(320).resize((200, 200), Image.Resampling.NEAREST), (100, 50))
    white.save(folder / "white.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def listed(out):
    return [line.split()[-1] for line in out.splitlines() if line.startswith(" ")]


def test_the_worst_come_first(photos, tmp_path, tool):
    code, out, error = tool("rank", photos, "--worst=2", f"--out={tmp_path / 'out'}")
    assert code == 0 and listed(out) == ["more/blurred.png", "small.png"]
    assert "6 pictures, 1 files skipped; the 2 with the least sharpness" in out
    assert "skipped broken.jpg: " in error
    rows = table(tmp_path / "out/rank.csv")
    assert sorted(row["file"] for row in rows) == sorted(
        ["more/blurred.png", "sharp0.png", "sharp1.png", "sharp2.png", "small.png", "white.png"]
    )
    values = [float(row["sharpness"]) for row in rows]
    assert values == sorted(values) and values[0] < 0.3 < 0.6 < values[2]
    of = {row["file"]: row for row in rows}
    assert (of["white.png"]["width"], of["white.png"]["height"]) == ("400", "300")
    assert of["white.png"]["shorter_side"] == "300" and of["small.png"]["shorter_side"] == "64"
    assert {row["score"] for row in rows} == {""}
    sheet = Image.open(tmp_path / "out/worst.png")
    assert sheet.size == (2 * 98, 98)
    assert np.asarray(sheet.convert("L"))[:, 1:97].std() > 20
    for by, first, last in (("size", "small.png", None), ("border", None, "white.png")):
        code, out, _ = tool("rank", photos, f"--by={by}")
        names = listed(out)
        assert code == 0 and len(names) == 6
        assert (first or names[0], last or names[-1]) == (names[0], names[-1])


def test_what_does_not_work_is_said_in_one_line(photos, tmp_path, tool):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_bytes(b"\xff\xd8\xff")
    new = f"--out={tmp_path / 'new'}"
    for args, words in (
        ((tmp_path / "empty", new), "no image files in"),
        ((tmp_path / "broken", new), "no picture is readable: cannot read a.jpg: "),
        ((tmp_path / "absent", new), "absent"),
        ((photos, new, "--by=score"), "--by=score needs a discriminator: add --network=SNAPSHOT"),
        ((photos, new, "--by=beauty"), "--by"),
        ((photos, f"--out={photos}"), "exists already"),
    ):
        code, out, error = tool("rank", *args)
        assert code == 2 and out == "" and words in error
        assert sum("error: " in line for line in error.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_sharpness_is_that_of_edges_whatever_their_contrast_and_number():
    rng = np.random.default_rng(0)
    faint = pattern(256, cell=64).point(lambda value: 100 + value // 5)
    stripes = np.kron(np.arange(32) % 2, np.ones(8)) * 200
    stripes = np.broadcast_to(stripes, [3, 256, 256]).astype(np.uint8)
    as_array = [np.asarray(p).transpose(2, 0, 1) for p in (pattern(256), faint)]
    for pixels in (*as_array, stripes):
        assert sharpness(pixels) == 1  # each edge is climbed in one step
    for radius, low, high in ((1, 0.3, 0.5), (2, 0.15, 0.3)):  # 1/(radius √(2π)) of a long edge
        blurred = Image.fromarray(stripes.transpose(1, 2, 0)).filter(
            ImageFilter.GaussianBlur(radius)
        )
        assert low < sharpness(np.asarray(blurred).transpose(2, 0, 1)) < high
    noise = rng.integers(120, 136, [3, 64, 64], np.uint8)
    assert sharpness(noise) == sharpness(np.zeros([1, 4, 4], np.uint8)) == 0


def test_white_border_is_the_mean_of_the_darkest_color_along_the_edges():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, [3, 64, 96], np.uint8)
    ring = [pixels[:, :2], pixels[:, -2:], pixels[:, 2:-2, :3], pixels[:, 2:-2, -3:]]
    expected = np.concatenate([part.min(axis=0).ravel() for part in ring]).mean() / 255
    assert white_border(pixels) == pytest.approx(expected)
    assert white_border(np.full([1, 4, 4], 255, np.uint8)) == 1


def test_discriminators_score_images_of_a_dataset_one_by_one(tmp_path, tool):
    from dnnlib import tflib
    from training.snapshots import pickles

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [21, 3, 16, 16], np.uint8)
    labels = rng.integers(0, 2, 21).tolist()
    items = (Item(str(number), label) for number, label in enumerate(labels))
    source = Source(items, lambda item: images[int(item.name)], {})
    build(source, Output(str(tmp_path / "data"), shuffle=False))
    with tflib.graph_session(seed=1):
        D, wide = (
            tflib.Network("D", "training.networks_stylegan2.D_stylegan2", label_size=size, **SHAPE)
            for size in (2, 3)
        )
        pickles.save((None, D, None), str(tmp_path / "net.pkl"))
        pickles.save((None, wide, None), str(tmp_path / "wide.pkl"))
        inputs = images.astype(np.float32) / 127.5 - 1
        rows = zip(inputs, np.eye(2, dtype=np.float32)[labels], strict=True)
        scores = [D.run(image[np.newaxis], label[np.newaxis]).item() for image, label in rows]
    network = f"--network={tmp_path / 'net.pkl'}"
    code, out, error = tool(
        "rank", tmp_path / "data", network, "--by=score", "--worst=3", f"--out={tmp_path / 'out'}"
    )
    assert code == 0, error
    order = np.argsort(scores)
    assert listed(out) == [f"img{number:08}.png" for number in order[:3]]
    found = {row["file"]: float(row["score"]) for row in table(tmp_path / "out/rank.csv")}
    expected = {f"img{number:08}.png": score for number, score in enumerate(scores)}
    assert list(found) == [f"img{number:08}.png" for number in order]
    assert found == pytest.approx(expected, rel=1e-4)
    code, _, error = tool("rank", tmp_path / "data", f"--network={tmp_path / 'wide.pkl'}")
    assert code == 2 and "has 2 labels, the discriminator of --network needs 3" in error
