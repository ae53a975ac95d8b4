"""From items to datasets: labels, shards and parts, encodings, sizes, boxes, duplicates, memory."""

import json
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.dataset import TFRecordDataset
from training.datasets import items as items_module
from training.datasets.building import build as build_module
from training.datasets.building import inspect
from training.datasets.building.build import Output, build
from training.datasets.building.merge import merge
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.levels import image_levels
from training.datasets.format.manifest import count_skipped, read_manifest
from training.datasets.items import Item, ItemList, Lookup, Seen, Source
from training.datasets.photos.decode import Unreadable


def pixels(index, height=16, width=16):
    values = np.random.RandomState(index).randint(0, 256, [3, height // 4, width // 4])
    return values.astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)


def source(labels=None, count=30, size=(16, 16), broken=(), names=None):
    """Arrays that are a function of their number."""

    def read(item):
        if int(item.name) in broken:
            raise Unreadable("broken on purpose")
        return pixels(int(item.name), *size)

    items = (Item(str(i), labels[i] if labels else None) for i in range(count))
    return Source(items, read, {"source": "arrays"}, names or {})


def load(folder):
    """(images, labels, manifest) as the reader of training has them."""
    dataset = TFRecordDataset(str(folder))
    images = dataset.read_images(np.arange(dataset.num_images))
    manifest = read_manifest(find_dataset(str(folder)))
    return images, dataset.labels, manifest


def numbers(images):
    """Which of the arrays of `source` they are."""
    known = {pixels(i, *images.shape[2:]).tobytes(): i for i in range(100)}
    return [known[image.tobytes()] for image in images]


def test_labels_are_dense_and_the_manifest_knows_the_originals(tmp_path):
    labels = [[7, 3, 40][i % 3] for i in range(30)]
    names = {3: "Tee", 7: "Dress"}
    build(source(labels, broken=(4, 5), names=names), Output(str(tmp_path / "foo")))
    images, rows, manifest = load(tmp_path / "foo")
    order = np.random.RandomState(123).permutation(30)
    assert numbers(images) == [i for i in order if i not in (4, 5)]
    assert rows.shape == (28, 3) and rows.dtype == np.float32
    dense = [{3: 0, 7: 1, 40: 2}[labels[i]] for i in numbers(images)]
    np.testing.assert_array_equal(rows, np.eye(3)[dense])
    assert (manifest["label_names"], manifest["label_ids"]) == (["Tee", "Dress", "40"], [3, 7, 40])
    assert manifest["skipped"] == [{"file": i, "reason": "broken on purpose"} for i in "45"]
    assert (manifest["found"], manifest["images"]) == (30, 28)


def test_labels_may_be_rows_of_numbers_or_text(tmp_path):
    rows = [(i / 7, -i) for i in range(9)]
    build(source(rows, count=9), Output(str(tmp_path / "rows"), shuffle=False))
    np.testing.assert_allclose(load(tmp_path / "rows")[1], rows, rtol=1e-6)
    text = ["b", "a", "a", "ü"]
    build(source(text, count=4), Output(str(tmp_path / "text"), shuffle=False))
    _, labels, manifest = load(tmp_path / "text")
    assert labels.argmax(1).tolist() == [1, 0, 0, 2]
    assert manifest["label_names"] == ["a", "b", "ü"]
    for mixed in ([1, None], [(1.0, 2.0), (1.0,)], [(1.0,), None]):
        with pytest.raises(UserError, match="has no label"):
            build(source(mixed, count=2), Output(str(tmp_path / "mixed"), shuffle=False))
    assert not (tmp_path / "mixed").exists()


@pytest.mark.parametrize("shards", [2, 7, 40])
def test_shards_hold_the_same_records_as_one_file(tmp_path, shards):
    labels = [i % 4 for i in range(30)]
    options = {"max_images": 25}
    build(source(labels, broken=(3,)), Output(str(tmp_path / "one"), **options))
    build(source(labels, broken=(3,)), Output(str(tmp_path / "all"), shards=shards, **options))
    assert len(find_dataset(str(tmp_path / "all")).levels[4]) == shards
    assert inspect.compare(str(tmp_path / "one"), str(tmp_path / "all"))
    inspect.info(str(tmp_path / "all"))


def test_parts_of_several_machines_are_joined(tmp_path, capsys):
    labels = [i % 4 for i in range(30)]

    def part(first, last, count=30, **options):
        folder = tmp_path / f"machine{first}-{last}-{count}-{options}" / "foo"
        output = Output(str(folder), shards=5, only_shards=(first, last), **options)
        build(source(labels, count, broken=(3,)), output)
        return str(folder)

    build(source(labels, broken=(3,)), Output(str(tmp_path / "one")))
    parts = [part(0, 1), part(2, 2), part(3, 4)]
    for one, several in ((parts[1], "1 of 5"), (parts[2], "2 of 5")):
        with pytest.raises(UserError, match=f"holds {several} shards of a dataset: join"):
            TFRecordDataset(one)
        inspect.info(one)
    merge(str(tmp_path / "joined"), parts[::-1])
    capsys.readouterr()
    assert inspect.compare(str(tmp_path / "one"), str(tmp_path / "joined"))
    inspect.info(str(tmp_path / "joined"))
    assert "shards:     5 of 5" in capsys.readouterr().out
    manifest = load(tmp_path / "joined")[2]
    assert manifest["images"] == 29 == sum(manifest["shard_images"])
    assert [entry["file"] for entry in manifest["skipped"]] == ["3"]

    for wrong, reason in [
        (parts[:2], "shards 3, 4 of 5 are in none"),
        ([*parts, parts[0]], "shard 0 of 5 is in"),
        ([*parts[:2], part(3, 3), part(4, 4, levels="finest")], "differ in finest_only"),
        ([*parts[:2], part(3, 4, margin=0.5)], "differ in margin"),
        ([*parts[:2], part(3, 4, max_images=30)], "differ in max_images"),
        ([*parts[:2], part(3, 4, count=29)], "differ in found, items_sha256"),
        ([str(tmp_path / "one")], "is no part"),
    ]:
        with pytest.raises(UserError, match=reason):
            merge(str(tmp_path / "wrong"), wrong)
    assert not (tmp_path / "wrong").exists()
    # Damaged on its way from one machine to another: the file is named that was damaged.
    damaged = Path(parts[2]) / "foo-r03-00004-of-00005.tfrecords"
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.unlink()  # It is linked to the dataset above.
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{damaged} is damaged: record ")):
        merge(str(tmp_path / "wrong"), parts)
    assert not (tmp_path / "wrong").exists()


def test_the_finest_level_alone_is_read_as_all_of_them(tmp_path):
    build(source(), Output(str(tmp_path / "foo"), levels="finest", shuffle=False))
    assert [f.name for f in sorted((tmp_path / "foo").glob("*.tfrecords"))] == ["foo-r04.tfrecords"]
    dataset = TFRecordDataset(str(tmp_path / "foo"))
    assert dataset.shape == [3, 16, 16]
    for lod in (0, 1, 2):
        images = dataset.read_images(np.arange(30), lod)
        expected = [image_levels(pixels(i))[lod] for i in range(30)]
        np.testing.assert_array_equal(images, expected)
    coarse = TFRecordDataset(str(tmp_path / "foo"), resolution=8)
    assert coarse.shape == [3, 8, 8]
    np.testing.assert_array_equal(
        coarse.read_images(np.arange(3)), dataset.read_images(range(3), 1)
    )
    with pytest.raises(UserError, match="no level of resolution 32"):
        TFRecordDataset(str(tmp_path / "foo"), resolution=32)


@pytest.mark.parametrize(("encoding", "error"), [("png", 0), ("jpeg", 200), ("webp", 200)])
def test_encoded_datasets_are_read_like_raw_ones(tmp_path, encoding, error):
    size = (64, 96)
    output = Output(str(tmp_path / "foo"), encoding=encoding, shuffle=False)
    build(source(count=4, size=size), output)
    images, _, manifest = load(tmp_path / "foo")
    expected = np.stack([pixels(i, *size) for i in range(4)]).astype(int)
    assert images.shape == (4, 3, 64, 96)
    assert np.abs(images - expected).mean() <= error / 10 and manifest["encoding"] == encoding
    inspect.info(str(tmp_path / "foo"))
    batch, _ = next(TFRecordDataset(str(tmp_path / "foo")).minibatches(0, 4, lod=4))
    assert batch.shape == (4, 3, 4, 6)
    assert list(find_dataset(str(tmp_path / "foo")).levels) == [6]
    output = Output(str(tmp_path / "all"), encoding=encoding, levels="all", shuffle=False)
    build(source(count=4, size=size), output)
    assert list(find_dataset(str(tmp_path / "all")).levels) == [2, 3, 4, 5, 6]
    inspect.info(str(tmp_path / "all"))
    batch, _ = next(TFRecordDataset(str(tmp_path / "all")).minibatches(0, 4, lod=2))
    assert batch.shape == (4, 3, 16, 24)


def test_pictures_that_are_not_square(tmp_path):
    build(source(count=5, size=(32, 24)), Output(str(tmp_path / "foo"), shuffle=False))
    dataset = TFRecordDataset(str(tmp_path / "foo"))
    assert dataset.shape == [3, 32, 24] and dataset.resolution_log2 == 4
    np.testing.assert_array_equal(dataset.read_images([2], 2)[0].shape, [3, 8, 6])
    output = Output(str(tmp_path / "fitted"), width=48, height=32, transform="pad-white")
    build(source(count=5, size=(32, 24)), output)
    images = load(tmp_path / "fitted")[0]
    assert images.shape == (5, 3, 32, 48)
    assert (images[..., :12] == 255).all() and (images[..., 36:] == 255).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"width": 100, "height": 100}, "--width and --height is 100 and 100"),
        ({"width": 64}, "--width and --height belong together"),
        ({"width": 64, "height": 64, "resolution": 64}, "--resolution stands for"),
        ({"resolution": 48}, "--resolution is 48"),
        ({"shards": 0}, "--shards is 0"),
        (
            {"shards": 4, "only_shards": (2, 4)},
            "--only-shards is 2-4: expected numbers from 0 to 3",
        ),
        ({"shards": 4, "only_shards": (2, 3), "dedupe": "exact"}, "--dedupe needs to see all"),
        ({"encoding": "gif"}, "--encoding is 'gif'"),
        ({"levels": "some"}, "--levels is 'some'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, reason):
    with pytest.raises(UserError, match=reason):
        build(source(), Output(str(tmp_path / "foo"), **options))
    assert os.listdir(tmp_path) == []


def test_boxes_are_cut_out_of_the_stored_picture(tmp_path):
    photo = Image.new("RGB", (1200, 800), (0, 0, 255))
    photo.paste((255, 0, 0), (100, 200, 500, 600))
    photo.save(tmp_path / "photo.jpg", quality=95)
    boxes = {
        "whole": (100, 200, 500, 600),
        "beyond": (-50, -50, 100, 200),
        "empty": (5, 5, 5, 9),
        "outside": (1300, 0, 1400, 50),
    }
    items = [Item(name, box=box) for name, box in boxes.items()]
    for margin in (0.0, 0.5):
        made = Source(items, lambda item: str(tmp_path / "photo.jpg"), {})
        folder = tmp_path / f"foo{margin}"
        build(made, Output(str(folder), resolution=16, margin=margin, shuffle=False))
        images, _, manifest = load(folder)
        assert len(images) == 2
        reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
        assert set(reasons) == {"empty", "outside"} and "1200x800" in reasons["outside"]
        center, corner = images[0][:, 8, 8], images[0][:, 0, 0]
        assert center[0] > 240 and center[2] < 15
        assert (corner[0] > 200) == (margin == 0.0)
        assert images[1][2].mean() > 200


def test_a_picture_twice_is_stored_once(tmp_path, capsys):
    def read(item):
        return pixels(int(item.name) % 10)

    made = Source((Item(str(i)) for i in range(25)), read, {})
    build(made, Output(str(tmp_path / "foo"), dedupe="exact"))
    images, _, manifest = load(tmp_path / "foo")
    assert sorted(numbers(images)) == list(range(10)) and manifest["duplicates"] == 15
    assert "10 images of 16x16, 15 duplicates left out" in capsys.readouterr().out


def test_a_source_that_changes_while_it_is_read(tmp_path):
    """A picture vanishes, another is replaced by one of another size after the listing."""
    for i in range(6):
        Image.new("RGB", (16, 16), (i, i, i)).save(tmp_path / f"{i}.png")

    def read(item):
        path = tmp_path / item.name
        if reading and item.name == "2.png":
            path.unlink()
        if reading and item.name == "4.png":
            Image.new("RGB", (8, 8)).save(path)
        return str(path)

    reading = []

    def items():
        yield from (Item(f"{i}.png") for i in range(6))

    made = Source(items(), read, {})
    output = Output(str(tmp_path / "sized"), resolution=16, shuffle=False)
    reading.append(True)
    build(made, output)
    assert load(tmp_path / "sized")[2]["skipped"][0]["file"] == "2.png"
    (tmp_path / "4.png").unlink()
    Image.new("RGB", (16, 16)).save(tmp_path / "4.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "2.png")
    reading.clear()
    calls = []

    def read_later(item):
        calls.append(item.name)
        if len(calls) > 6:  # the first look was at the sizes
            reading.append(True)
        return read(item)

    build(
        Source(items(), read_later, {}), Output(str(tmp_path / "found"), shuffle=False, workers=1)
    )
    reasons = {e["file"]: e["reason"] for e in load(tmp_path / "found")[2]["skipped"]}
    assert set(reasons) == {"2.png", "4.png"} and "it is 8x8 now" in reasons["4.png"]


def test_lists_and_tables_lie_on_disk():
    count = 50_000
    item = Item("img/Sheer_Pleated-Front_Blouse/img_00000001.jpg", 3, (72, 79, 232, 273))
    items = ItemList(item for _ in range(10))  # what Python keeps for good does not count
    tracemalloc.start()
    items = ItemList(item for _ in range(count))
    table = Lookup((f"img/Sheer_Pleated-Front_Blouse/img_{i:08}.jpg", i) for i in range(count))
    seen = Seen()
    fresh = sum(seen.add(i.to_bytes(16, "little")) for i in (5, 6, 5, 7))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 20 * count, used  # a list of these items takes some 300 bytes for each
    assert items[count - 1] == item and len(items) == count and items.classes == [3]
    assert table.get("img/Sheer_Pleated-Front_Blouse/img_00000077.jpg") == 77
    assert len(table) == count and "img/other" not in table and table.get("img/other", 5) == 5
    assert fresh == 3


def test_a_table_takes_any_file_name_and_keeps_the_first_value():
    names = ["b/\udcff.jpg", "a/ü\n.jpg", "a-1.jpg", "a-1.jpg"]
    table = Lookup((name, [i, "x"]) for i, name in enumerate(names))
    assert list(table) == ["a-1.jpg", "a/ü\n.jpg", "b/\udcff.jpg"]
    assert table.get("a-1.jpg") == [2, "x"]
    assert ItemList([Item(names[0], "é")])[0] == Item(names[0], "é")


def test_manifest_is_plain_json(tmp_path):
    build(source([1] * 30), Output(str(tmp_path / "foo"), shards=2, encoding="jpeg", quality=80))
    manifest = json.loads((tmp_path / "foo/foo.json").read_text())
    assert manifest["quality"] == 80 and manifest["shards"] == 2
    assert manifest["levels"][0]["file"] == "foo-r04-00000-of-00002.tfrecords"


def test_a_half_copied_dataset_is_not_whole(tmp_path):
    build(source([1, 2] * 15), Output(str(tmp_path / "foo")))
    for name, reason in [("foo-r04.tfrecords", "r04"), ("foo-rxx.labels", "labels")]:
        os.rename(tmp_path / "foo" / name, tmp_path / "aside")
        with pytest.raises(UserError, match=f"incomplete: .*{reason}.* is missing"):
            TFRecordDataset(str(tmp_path / "foo"))
        os.rename(tmp_path / "aside", tmp_path / "foo" / name)
    with open(tmp_path / "foo/foo-r03.tfrecords", "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=r"foo-r03\.tfrecords is damaged: it has"):
        TFRecordDataset(str(tmp_path / "foo"))


def test_what_is_skipped_is_named_up_to_a_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_module, "MAX_SKIPPED", 4)
    build(source(broken=range(7)), Output(str(tmp_path / "foo")))
    manifest = load(tmp_path / "foo")[2]
    assert len(manifest["skipped"]) == 4 and manifest["more_skipped"] == 3
    assert "23 images of 16x16, 7 files skipped" in capsys.readouterr().out


def test_counts_add_up_whatever_the_number(tmp_path, monkeypatch, capsys):
    """Of what the importer leaves out and of what is unreadable, in one dataset and in parts."""
    monkeypatch.setattr(items_module, "MAX_NAMED", 5)
    monkeypatch.setattr(build_module, "MAX_SKIPPED", 7)

    def pictures():
        made = source(broken=range(0, 30, 3))
        for i in range(12):
            made.skipped.append({"file": f"x{i:02}", "reason": "not wanted"})
        return made

    build(pictures(), Output(str(tmp_path / "one"), shards=3))
    parts = [str(tmp_path / f"part{i}" / "foo") for i in range(3)]
    for i, part in enumerate(parts):
        build(pictures(), Output(part, shards=3, only_shards=(i, i)))
    merge(str(tmp_path / "joined"), parts)
    out = capsys.readouterr().out
    assert "one: 20 images of 16x16, 22 files skipped" in out
    assert "joined: 20 images in 3 shards, 22 files skipped" in out
    for name in ("one", "joined"):
        manifest = load(tmp_path / name)[2]
        assert manifest["found"] == 42 == manifest["images"] + count_skipped(manifest)
        assert len(manifest["skipped"]) >= 7 and "listing_skipped" not in manifest
        inspect.info(str(tmp_path / name))
        assert "22 files skipped" in capsys.readouterr().out


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e39])
def test_labels_that_are_not_finite_are_refused(tmp_path, bad):
    rows = [(0.0, float(i)) for i in range(29)] + [(0.5, bad)]
    with pytest.raises(UserError, match="29 has a label that is not finite"):
        build(source(rows), Output(str(tmp_path / "foo")))
    assert not os.listdir(tmp_path)
