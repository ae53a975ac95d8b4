"""Networks of four channels: colors over white, and opacity."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image
from small_networks import STYLE

from dnnlib import tflib
from dnnlib.tflib import Network
from metrics.perceptual_path_length import prepare_images
from training.datasets.photos.arrays import to_pixels
from training.latents.attributes.measured import measure
from training.pictures import generation
from training.pictures.grids import convert_to_pil_image, create_image_grid, save_image_grid


def test_pictures_have_opacity_and_grids_are_on_white(session, tmp_path):
    small = {"resolution": 8, "fmap_base": 64, "fmap_max": 8, **STYLE}
    G = Network("G", "training.networks_stylegan2.G_main", num_channels=4, **small)
    tflib.set_vars({G.vars["G_synthesis/8x8/ToRGB/bias"]: [0.2, 0.6, -0.9, 0.4]})
    label = np.zeros([1, 0], np.float32)
    made = generation.image_of_seed(G, 3, label, 1.0)
    assert np.ptp(made[3]) > 0.05
    levels = np.rint(made * 127.5 + 127.5).clip(0, 255)
    generation.generate_images(G, [3], 1.0, str(tmp_path), outdir=str(tmp_path / "out"))
    picture = Image.open(tmp_path / "out/seed0003.png")
    assert picture.mode == "RGBA"
    # No color is darker on white than its opacity allows.
    expected = [*np.maximum(levels[:3], 255 - levels[3]), levels[3]]
    np.testing.assert_allclose(to_pixels(picture).astype(int), expected, atol=1)
    straight = np.asarray(picture)[..., :3].transpose(2, 0, 1) / 255
    on_white = 1 - levels[3] / 255 * (1 - straight)
    np.testing.assert_allclose(on_white, np.array(expected[:3]) / 255, atol=1 / 255)
    grid = str(tmp_path / "grid.png")
    generation.generate_grid(G, (1, 1), [3], 1.0, grid)
    z = np.random.RandomState(3).randn(1, 8)
    fixed = G.run(z, label, truncation_psi=1.0, randomize_noise=False)[0]
    assert Image.open(grid).mode == "RGB"
    seen = np.asarray(Image.open(grid)).transpose(2, 0, 1).astype(int)
    np.testing.assert_allclose(seen, np.rint(fixed[:3] * 127.5 + 127.5).clip(0, 255), atol=1)


def test_what_looks_at_pictures_sees_them_on_white(tmp_path, session):
    images = np.full([4, 4, 32, 32], 255, np.uint8)
    images[:, 3] = 0
    images[:, :, 8:20, 10:24] = np.array([20, 160, 90, 255]).reshape(-1, 1, 1)
    np.testing.assert_array_equal(measure(images), measure(images[:, :3]))
    assert np.isfinite(measure(images)).all()
    np.testing.assert_array_equal(create_image_grid(images), create_image_grid(images[:, :3]))
    save_image_grid(images, str(tmp_path / "grid.jpg"), (0, 255))
    with Image.open(tmp_path / "grid.jpg") as grid:
        assert (grid.format, grid.mode, grid.size) == ("JPEG", "RGB", (64, 64))
        assert min(grid.getpixel((2, 2))) >= 250
    alone = convert_to_pil_image(images[0], (0, 255))
    assert alone.getpixel((12, 12)) == (20, 160, 90, 255) and alone.getpixel((0, 0))[3] == 0
    floats = (images / 127.5 - 1).astype(np.float32)
    seen = session.run(prepare_images(tf.constant(floats), crop=False))
    np.testing.assert_allclose(seen, images[:, :3], atol=1e-3)
