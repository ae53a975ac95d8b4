"""The conversion as a Beam pipeline. Beam is an optional package."""

import functools
import os
import sys

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building import beam, inspect
from training.datasets.building.build import Output
from training.datasets.sources.images import create_from_images


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, [20, 24, 3], dtype=np.uint8)).save(path)
    (tmp_path / "photos/a/broken.png").write_bytes(b"x")
    return str(tmp_path / "photos")


def run(output, photos, options=()):
    create = functools.partial(create_from_images, image_dir=photos, labels="folders")
    beam.run(create, output, "direct", list(options))


def test_records_are_those_of_the_local_run(tmp_path, photos, capfd):
    pytest.importorskip("apache_beam", reason="needs Apache Beam (the extra beam)")
    run(Output(str(tmp_path / "beam"), resolution=16, shards=3), photos)
    assert "10 images in 3 shards, 1 files skipped" in capfd.readouterr().out
    create_from_images(Output(str(tmp_path / "local"), resolution=16), photos, "folders")
    assert inspect.compare(str(tmp_path / "beam"), str(tmp_path / "local"))
    assert sorted(os.listdir(tmp_path)) == ["beam", "local", "photos"]


def test_a_failing_worker_is_one_error_and_leaves_nothing(tmp_path, photos):
    pytest.importorskip("apache_beam", reason="needs Apache Beam (the extra beam)")
    with pytest.raises(UserError, match=r"^--labels=x\.csv: No such file.*a table$"):
        create = functools.partial(create_from_images, image_dir=photos, labels="x.csv")
        beam.run(create, Output(str(tmp_path / "foo"), resolution=16, shards=2), "direct", [])
    with pytest.raises(UserError, match="hold no images"):
        (tmp_path / "wrecks").mkdir()
        (tmp_path / "wrecks/a.png").write_bytes(b"x")
        create = functools.partial(create_from_images, image_dir=str(tmp_path / "wrecks"))
        beam.run(create, Output(str(tmp_path / "foo"), resolution=16, shards=2), "direct", [])
    assert sorted(os.listdir(tmp_path)) == ["photos", "wrecks"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "give --shards"),
        ({"shards": 2, "only_shards": (0, 0)}, "leave out --only-shards"),
        ({"shards": 2, "dedupe": "exact"}, "leave out --only-shards and --dedupe"),
        ({"shards": 2, "resolution": 17}, "--resolution is 17"),
    ],
)
def test_options_that_do_not_fit(tmp_path, photos, options, reason):
    with pytest.raises(UserError, match=reason):
        run(Output(str(tmp_path / "foo"), **options), photos)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/x").write_bytes(b"")
    with pytest.raises(UserError, match="exists already"):
        run(Output(str(tmp_path / "taken"), shards=2), photos)


def test_without_beam_the_cure_is_named(tmp_path, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"needs Apache Beam: pip install -e"):
        run(Output(str(tmp_path / "foo"), shards=2), photos)
