"""Copies of pictures are left out: exact ones, and resized, recompressed or mirrored ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from training.datasets.building.build import build
from training.datasets.building.inspect import read_images
from training.datasets.building.output import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.items import Item, Source
from training.datasets.photos import copies
from training.datasets.photos.copies import Fingerprint, NearCopies
from training.datasets.photos.decode import Fitted
from training.datasets.sources.images import create_from_images


def made(folder, photos, **options):
    """(images, manifest) of a dataset of photos, in the order of their names."""
    output = Output(str(folder), shuffle=False, resolution=32, levels="finest", **options)
    create_from_images(output, str(photos))
    manifest = json.loads((folder / f"{folder.name}.json").read_text())
    return list(read_images(find_dataset(str(folder)))), manifest


def reasons(manifest):
    return {entry["file"]: entry["reason"] for entry in manifest["skipped"]}


@pytest.fixture(scope="module")
def photos(clothing, tmp_path_factory):
    """Eight photos `NAME-0.jpg`, and copies of each that come after it."""
    folder = tmp_path_factory.mktemp("photos")
    names = [name for kind in ("dress", "hat") for name in sorted((clothing / kind).glob("*"))[:4]]
    for number, path in enumerate(names):
        photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        Image.open(path).save(folder / f"{number}-0.jpg", quality="keep")
        half, most = ImageOps.scale(photo, 0.5), ImageOps.scale(photo, 0.75)
        half.save(folder / f"{number}-half.jpg", quality=90)
        most.save(folder / f"{number}-most.png")
        photo.save(folder / f"{number}-q60.jpg", quality=60)
        ImageOps.mirror(photo).save(folder / f"{number}-mirrored.webp", quality=80)
    return folder


def test_near_copies_are_left_out_whatever_the_number_of_threads(photos, tmp_path, capsys):
    images, manifest = made(tmp_path / "near", photos, dedupe="near", workers=4)
    said = capsys.readouterr()
    assert "8 images of 32x32, 32 duplicates left out, 0 files skipped" in said.out
    assert (manifest["dedupe"], manifest["duplicates"], manifest["found"]) == ("near", 32, 40)
    found = reasons(manifest)
    assert len(images) == 8 and len(found) == 32
    for name, reason in found.items():
        side = ", mirrored" if "mirrored" in name else ""
        assert reason.startswith(f"near-duplicate of {name[0]}-0.jpg (distance "), name
        assert reason.endswith(f"{side})") and (", mirrored" in reason) == bool(side), name
    assert f"skipped 0-half.jpg: {found['0-half.jpg']}" in said.err
    # What stays is the same as without the option, and with one thread.
    every, everything = made(tmp_path / "every", photos)
    assert len(every) == 40 and "dedupe" not in everything
    np.testing.assert_array_equal(images, every[::5])
    made(tmp_path / "one/near", photos, dedupe="near", workers=1)
    for path in (tmp_path / "near").iterdir():
        assert path.read_bytes() == (tmp_path / "one/near" / path.name).read_bytes(), path


def test_exact_copies_have_the_same_pixels_before_they_are_resized(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.open(photos / "0-0.jpg").convert("RGB")
    photo.save(folder / "a.png")
    (folder / "b.jpg").write_bytes((photos / "0-0.jpg").read_bytes())  # is decoded at half its size
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "c.png", exif=exif)  # stored sideways
    other = photo.copy()
    other.putpixel((3, 5), tuple(255 - value for value in photo.getpixel((3, 5))))
    other.save(folder / "d.png")
    ImageOps.mirror(photo).save(folder / "e.png")
    images, manifest = made(tmp_path / "exact", folder, dedupe="exact")
    assert reasons(manifest) == {"b.jpg": "duplicate of a.png", "c.png": "duplicate of a.png"}
    assert len(images) == 3 and manifest["duplicates"] == 2
    every, _ = made(tmp_path / "every", folder)
    np.testing.assert_array_equal(images, [every[0], every[3], every[4]])


def test_cut_out_parts_are_compared_and_not_the_pictures_that_they_are_of(tmp_path):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, [8, 16, 3], np.uint8))
    path = str(tmp_path / "two.png")
    small.resize((256, 128), Image.Resampling.BICUBIC).save(path)
    boxes = [(0, 0, 128, 128), (128, 0, 256, 128), (1, 1, 127, 127), (0, 0, 128, 128)]
    for kind, kept in (("near", 2), ("exact", 3)):
        items = [Item(f"item {number}", None, box) for number, box in enumerate(boxes)]
        source = Source(iter(items), lambda item: path, {})
        build(source, Output(str(tmp_path / kind), shuffle=False, resolution=16, dedupe=kind))
        manifest = json.loads((tmp_path / kind / f"{kind}.json").read_text())
        assert manifest["images"] == kept
        assert "duplicate of item 0" in reasons(manifest)["item 3"]


def test_pictures_alike_in_gray_but_not_in_color_are_kept(tmp_path):
    """Their hashes are those of copies; so are those of flat pictures, which say nothing."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, [8, 8], np.uint8)).resize((64, 64))
    gray = np.asarray(small, np.float32)
    red, blue = (np.stack([gray * r, gray * 0.3, gray * b]) for r, b in ((0.9, 0.1), (0.3, 1.0)))
    flat = [np.full([3, 64, 64], value, np.float32) for value in (200, 100)]
    near = NearCopies()
    prints = [
        NearCopies.fingerprint(Fitted(image.astype(np.uint8))) for image in (red, blue, *flat)
    ]
    assert (prints[0].hash ^ prints[1].hash).bit_count() <= copies.MAX_DISTANCE
    assert [near.find(str(i), fingerprint) for i, fingerprint in enumerate(prints)] == [None] * 4
    assert near.find("5", prints[3]) == "near-duplicate of 3 (distance 0)"


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """White products of three shapes on nothing, one of them twice more, and blank pictures."""
    folder = tmp_path_factory.mktemp("products")
    for number, shape in enumerate(("ellipse", "rectangle", "polygon")):
        opacity = Image.new("L", (256, 256))
        outline = {"polygon": [(20, 30), (230, 60), (90, 200)]}.get(
            shape, [40, 40 + number, 200, 180]
        )
        getattr(ImageDraw.Draw(opacity), shape)(outline, fill=255)
        product = Image.new("RGBA", opacity.size, "white")
        product.putalpha(opacity.filter(ImageFilter.GaussianBlur(2)))
        product.save(folder / f"{number}.png")
    product.save(folder / "a-same.webp", lossless=True)
    ImageOps.mirror(product).resize((150, 150)).save(folder / "b-smaller.png")
    Image.new("RGB", (256, 256), "white").save(folder / "c-blank.png")
    Image.new("RGBA", (256, 256), (255, 255, 255, 0)).save(folder / "d-nothing.png")
    return folder


@pytest.mark.parametrize(
    ("dedupe", "channels", "left_out"),
    [
        ("exact", "rgba", {"a-same.webp": "2"}),
        ("near", "rgba", {"a-same.webp": "2", "b-smaller.png": "2"}),
        # On white, nothing is seen of them.
        (
            "exact",
            "rgb",
            dict.fromkeys("1.png 2.png a-same.webp c-blank.png d-nothing.png".split(), "0"),
        ),
    ],
)
def test_opacity_that_files_have_is_compared_where_it_counts(
    products, tmp_path, dedupe, channels, left_out
):
    images, manifest = made(tmp_path / "new", products, dedupe=dedupe, channels=channels)
    found = reasons(manifest)
    assert found.keys() == left_out.keys() and len(images) == 7 - len(left_out)
    assert all(f"duplicate of {left_out[name]}.png" in found[name] for name in found)
    assert "mirrored" in found.get("b-smaller.png", "mirrored")


def test_opaque_pictures_are_compared_by_their_colors_alone():
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, [8, 8, 3], np.uint8))
    pixels = np.asarray(small.resize((64, 64)), np.uint8).transpose(2, 0, 1)
    opaque = np.concatenate([pixels, np.full([1, 64, 64], 255, np.uint8)])
    rgb, rgba = (NearCopies.fingerprint(Fitted(image)) for image in (pixels, opaque))
    assert (rgb.hash ^ rgba.hash).bit_count() <= 2
    change = np.zeros([4, 16, 16])
    change[:3] = rng.normal(0, 1, [3, 16, 16])
    change *= rgb.thumbnail.std() / change[:3].std()
    for part, alike in ((0.09, True), (0.11, False)):
        thumbnails = rgba.thumbnail, rgba.thumbnail + part * change
        assert copies._are_alike(*thumbnails, 0) == alike
        assert copies._are_alike(*(thumbnail[:3] for thumbnail in thumbnails), 0) == alike


def test_flat_thumbnails_are_no_proof():
    """What is too fine or too faint for thumbnails shows in hashes."""
    flat, near = np.full([3, 16, 16], 255, np.uint8), NearCopies()
    near.add("blank", Fingerprint(1 << 63, 1 << 63, flat))
    assert near.find("x", Fingerprint((1 << 63) + 1, 5, flat)) is None
    assert near.find("y", Fingerprint(1 << 63, 5, flat)) == "near-duplicate of blank (distance 0)"


def test_every_pair_of_hashes_within_the_limit_is_found(monkeypatch):
    monkeypatch.setattr(copies, "_BLOCK", 7)
    rng = np.random.default_rng(2)
    thumbnail = rng.integers(0, 256, [3, 16, 16], np.uint8)
    thumbnail = np.maximum(thumbnail, thumbnail[:, :, ::-1])  # the same when it is mirrored
    base = int(rng.integers(2**63)) * 2 + 1
    hashes = [base]
    for _ in range(60):
        flips = rng.choice(64, rng.integers(1, 20), replace=False)
        hashes.append(base ^ sum(1 << int(bit) for bit in flips))
    near = NearCopies()
    for number, value in enumerate(hashes):
        near.add(str(number), Fingerprint(value, 0, thumbnail))
    for value, mirrored in zip(hashes, reversed(hashes), strict=True):
        expected = {
            ((one ^ other).bit_count(), number, side)
            for side, one in ((False, value), (True, mirrored))
            for number, other in enumerate(hashes)
            if (one ^ other).bit_count() <= 10
        }
        assert 1 < len(expected) < 120
        assert set(near.matches(Fingerprint(value, mirrored, thumbnail))) == expected


def test_names_of_files_are_shown_in_one_line(tmp_path):
    picture = Image.effect_noise((32, 32), 90).filter(ImageFilter.GaussianBlur(2))
    for name in ("a\nb.png", "c.png"):
        try:
            picture.save(tmp_path / name)
        except OSError:
            pytest.skip("this system has no such names")
    _, manifest = made(tmp_path / "out/near", tmp_path, dedupe="near")
    assert reasons(manifest)["c.png"] == "near-duplicate of a\\nb.png (distance 0)"


def test_options(photos, tmp_path, tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create = ("create_from_images", "new", photos, "--resolution=32")
    code, _, error = tool(*create, "--dedupe=nearly")
    assert code == 2 and "--dedupe" in error and error.count("\n") == 1
    code, _, error = tool(*create, "--dedupe=near", "--shards=4", "--only-shards=0-1")
    assert code == 2 and "--dedupe needs to see all pictures" in error
    assert not Path("new").exists()
    code, out, _ = tool(*create, "--dedupe", "--max-images=3")
    assert code == 0 and "0 duplicates left out" in out
    code, out, _ = tool(*create[:1], "near", *create[2:], "--dedupe=near")
    assert code == 0 and "32 duplicates left out, 0 files skipped" in out
    code, out, _ = tool("info", "near")
    assert "0 files skipped, 32 duplicates left out" in out
