"""The networks that come with the code: found by name, small, whole, and good for something."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dnnlib import UserError, tflib
from training.latents.attributes.measured import PICTURE
from training.pictures.samples import Studio
from training.snapshots import description, pickles, pretrained
from training.snapshots.class_names import label_names
from training.snapshots.roles import by_role
from training.snapshots.transfer import read_weights

NAMES = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt"]


@pytest.mark.parametrize("name", pretrained.OWN)
def test_a_network_has_weights_and_a_card(name):
    path = pretrained.OWN[name]
    assert os.path.getsize(path) <= 8 << 20
    card = open(os.path.splitext(path)[0] + ".md", encoding="utf-8").read()
    for word in ("Data", "CC0", "Licence", "thousand images", "cannot"):
        assert word in card, word
    assert pretrained.local_path(name) == path == pretrained.local_path(path)
    assert pretrained.existing_file(name) == name


def test_a_name_that_is_nearly_right():
    with pytest.raises(UserError, match="did you mean the network clothing-64"):
        pretrained.existing_file("clothing64")


@pytest.fixture(scope="module")
def clothing():
    with tflib.graph_session():
        yield pickles.load_subject("clothing-64")


def test_what_is_in_it(clothing):
    assert clothing.D is not None and clothing.Gs.output_shape[1:] == [3, 64, 64]
    assert label_names(clothing.Gs) == [*NAMES, "t-shirt"]
    with clothing.Gs.as_default():
        text = description.describe("clothing-64")
    assert "clothing-64.md" in text and "Lacks      G" in text
    half = {v.dtype for v in np.load(pretrained.OWN["clothing-64"]).values() if v.dtype.kind == "f"}
    assert half == {np.dtype(np.float16)}


def test_its_pictures_show_products(clothing):
    """Different ones, most of them on a ground that they can be told from."""
    with clothing.Gs.as_default():
        studio = Studio(clothing.Gs, 0.7)
        images = studio.images(studio.draw(range(30)).dlatents)
    values = PICTURE.function(images)
    assert np.isfinite(values[:, 0]).mean() > 0.5
    assert images.std(axis=0).mean() > 20
    area = values[:, PICTURE.names.index("area")]
    assert 0.1 < np.nanmedian(area) < 0.9


def test_a_run_can_start_from_it():
    weights = read_weights("clothing-64")
    assert set(weights) == {"D", "Gs"}  # Where there is no G, it begins as Gs.
    assert set(by_role(pickles.load("clothing-64"))) == {"D", "Gs"}
