"""What pictures say of themselves, and making them again from it."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features
from small_networks import SHAPE, STYLE

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from training.datasets.photos.arrays import read_picture, save_picture
from training.latents.options import TruncationOptions
from training.latents.truncation import find_centers
from training.pictures import animations, generation, provenance, reproduction, xmp
from training.pictures.provenance import SOFTWARE, Provenance
from training.snapshots import pickles
from training.snapshots.class_names import Mix

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
PIXELS = np.random.default_rng(0).integers(0, 256, [8, 12, 3], np.uint8)


def packets(content):
    """XMP of any file, found without a reader of its format."""
    begin = content.index(b"<x:xmpmeta")
    return ElementTree.fromstring(content[begin : content.index(b"</x:xmpmeta>") + 12])


def test_the_version_is_that_of_the_package():
    assert f'version="{SOFTWARE.split()[1]}"' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    mark = Provenance("ab" * 32).xmp("generate-images", "é<&.png", seeds=np.arange(2))
    save_picture(Image.fromarray(PIXELS), str(path), mark)
    assert packets(path.read_bytes()).find(f".//{IPTC}").text == GENERATED
    with Image.open(path) as picture:
        by_pillow = json.dumps(picture.getxmp())  # Another reader than ours.
        assert GENERATED in by_pillow
        assert provenance.read(picture) == provenance.Record(
            SOFTWARE, "ab" * 32, "generate-images", "é<&.png", {"seeds": [0, 1]}
        )
    save_picture(Image.fromarray(PIXELS), str(path), Provenance(is_kept=False).xmp("x"))
    with Image.open(path) as picture:
        assert provenance.read(picture) is None
    assert b"xmp" not in path.read_bytes().lower()


def png_chunks(content):
    place = 8
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        yield kind
        place += 12 + size


@pytest.mark.parametrize("kind, suffix", [("Gif", "gif"), ("Apng", "png"), ("WebP", "webp")])
def test_animations(tmp_path, kind, suffix):
    path = tmp_path / f"a.{suffix}"
    mark = Provenance().xmp("generate-video", seeds=[3])
    with open(path, "w+b") as file:
        writer = getattr(animations, kind)(file, (12, 8), 40, mark)
        for frame in (PIXELS, 255 - PIXELS):
            writer.add(Image.fromarray(frame))
        writer.finish()
    assert packets(path.read_bytes()).find(f".//{IPTC}").text == GENERATED
    with Image.open(path) as picture:
        assert picture.n_frames == 2
        picture.seek(1)
        assert np.abs(np.asarray(picture.convert("RGB"), int) - (255 - PIXELS)).mean() < 60
        picture.seek(0)
        if kind != "Gif":  # Whose XMP Pillow does not read.
            assert provenance.read(picture).options == {"seeds": [3]}
    if kind == "Apng":
        assert list(png_chunks(path.read_bytes()))[:3] == [b"IHDR", b"acTL", b"iTXt"]


def test_mp4(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    from training.pictures import video

    path = str(tmp_path / "a.mp4")
    film = video.open_film(path, (16, 16), 10, Provenance().xmp("generate-video"))
    for value in range(3):
        film.add(np.full([16, 16, 3], value, np.uint8))
    film.close()
    frames, _ = imageio_ffmpeg.count_frames_and_secs(path)
    assert frames == 3
    content = Path(path).read_bytes()
    assert packets(content).find(f".//{IPTC}").text == GENERATED
    kinds, place = [], 0
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        kinds.append(kind)
        place += size
    assert place == len(content) and kinds[0] == b"ftyp" and kinds[-1] == b"uuid"


def test_damaged_and_hostile_packets():
    picture = Image.fromarray(PIXELS)
    good = Provenance().xmp("x").decode()
    bomb = '<!DOCTYPE a [<!ENTITY b "cc">]>'
    for content, message in (
        (good.replace("</rdf:RDF>", ""), "XMP is broken"),
        (good.replace("<x:xmpmeta", bomb + "<x:xmpmeta"), "defines what XMP does not have"),
        (good + " " * 70_000, "too large"),
        (good.replace('"software"', '"hardware"'), "record is broken, .* no option hardware"),
        (good.replace("{", "[", 1), "no JSON"),
    ):
        picture.info["xmp"] = content
        with pytest.raises(UserError, match=message):
            provenance.read(picture)
    picture.info["xmp"] = xmp.packet({"a": "urn:a"}, {"a:b": "c"})  # Of another program.
    assert provenance.read(picture) is None


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """Path of an untrained network with three classes."""
    path = str(tmp_path_factory.mktemp("networks") / "Gs.pkl")
    with tflib.graph_session(seed=3):
        Gs = Network("Gs", "training.networks_stylegan2.G_main", label_size=3, **SHAPE, **STYLE)
        Gs.set_var("dlatent_avg", np.linspace(-1, 1, 8))
        tflib.set_vars({v: 0.5 for n, v in Gs.vars.items() if n.endswith("noise_strength")})
        pickles.save(Gs, path)
    return path


def again(picture, snapshot, tmp_path, **options):
    """What `reproduce` says of a picture, in a session of its own."""
    out = str(tmp_path / "again.png")
    with tflib.graph_session(seed=9):
        text = reproduction.reproduce(str(picture), snapshot, out, **options)
    with Image.open(out) as new, Image.open(picture) as old:
        assert provenance.read(new) == provenance.read(old)
        if text == "all pixels are equal":
            np.testing.assert_array_equal(np.asarray(new), np.asarray(old))
    return text


def test_what_generation_writes_is_made_again(snapshot, tmp_path):
    marks = {"provenance": Provenance.of(snapshot)}
    with tflib.graph_session(seed=5):
        Gs = pickles.load_generator(snapshot)
        images = str(tmp_path / "images")
        mix = Mix(((0, 0.25), (2, 0.75)))
        generation.generate_images(Gs, [7, 8], 0.6, "", [1, 2], images, "none", **marks)
        generation.generate_images(Gs, [5], 0.6, "", [mix], images, "const", **marks)
        generation.generate_images(Gs, [9], 1, "", (), images, "random", **marks)
        generation.generate_images(Gs, [3], 1, "", (), images)
        centers = find_centers(Gs, TruncationOptions("cluster", 5), snapshot)
        grid = str(tmp_path / "grid.png")
        generation.generate_grid(Gs, (3, 2), [4, 6], 0.5, grid, [2], centers, **marks)
        mixes = str(tmp_path / "mixes")
        generation.style_mixing_example(Gs, [1], [2, 3], 0.8, range(2), "", (), mixes, **marks)
        w = Gs.components.mapping.run(np.ones([3, 8]), np.eye(3))
        w *= np.arange(1, 4)[:, np.newaxis, np.newaxis]
        np.savez(tmp_path / "w.npz", dlatents=w)
        generation.generate_from_dlatents(Gs, str(tmp_path / "w.npz"), "", images, **marks)
        for mode in ("none", "random"):
            place = str(tmp_path / mode)
            w_file = str(tmp_path / "w.npz")
            generation.generate_from_dlatents(Gs, w_file, "", place, **marks, noise_mode=mode)
        many = str(tmp_path / "many.png")
        generation.generate_grid(Gs, (20, 7), [*range(50, 188), 7, 9], 0.5, many, [2], **marks)
    names = [f"{images}/seed{n}.png" for n in ("0007-1", "0008-2", "0005")]
    for name in (*names, grid, many, f"{mixes}/1-3.png", f"{mixes}/2-2.png", f"{mixes}/grid.png"):
        assert again(name, snapshot, tmp_path) == "all pixels are equal", name
    w_file = {"dlatents_npz": str(tmp_path / "w.npz")}
    for folder in (images, tmp_path / "none"):
        told = again(f"{folder}/dlatent02.png", snapshot, tmp_path, **w_file)
        assert told == "all pixels are equal"
    folders = (images, tmp_path / "none", tmp_path / "random")
    of_w = [Image.open(f"{folder}/dlatent02.png").tobytes() for folder in folders]
    assert len(set(of_w)) == 3
    with pytest.raises(UserError, match="--noise-mode=random"):
        again(tmp_path / "random/dlatent02.png", snapshot, tmp_path, **w_file)
    np.savez(tmp_path / "w.npz", dlatents=w[:2])
    for name, options, message in (
        ("dlatent02", {}, "give --dlatents"),
        ("dlatent02", w_file, "none of its w made this picture"),
        ("seed0009", {}, "--noise-mode=random"),
        ("seed0003", {}, "a network not recorded"),
    ):
        with pytest.raises(UserError, match=message):
            again(f"{images}/{name}.png", snapshot, tmp_path, **options)
    with Image.open(names[0]) as picture:  # Retouched, with its metadata.
        pixels, info = np.array(picture), picture.info
    pixels[3, 3] ^= 64
    text = (
        info[xmp._PNG_KEY] if isinstance(info[xmp._PNG_KEY], bytes) else info[xmp._PNG_KEY].encode()
    )
    save_picture(Image.fromarray(pixels), names[0], text)
    assert "it was changed, or made" in again(names[0], snapshot, tmp_path)
    save_picture(Image.fromarray(pixels), f"{images}/a.jpg", text)
    assert "was compressed" in again(f"{images}/a.jpg", snapshot, tmp_path)


MANY_MIXES = {"row_seeds": [*range(200)], "col_seeds": [*range(200)], "col_styles": [0]}
MANY_MIXES |= {"truncation_psi": 1, "minibatch_size": 4}


@pytest.mark.parametrize(
    "command, options",
    [
        ("generate-images", {"seeds": [-1]}),
        ("generate-images", {"seeds": [1, 2]}),
        ("generate-images", {"seeds": [1], "classes": [0, 1], "truncation_psi": 1}),
        ("style-mixing-example", {**MANY_MIXES, "row_seeds": []}),
        ("generate-images", {"seeds": [1], "classes": [5]}),
        ("generate-images", {"seeds": [1], "classes": [[[0, "x"]]]}),
        ("generate-images", {"seeds": [1], "noise_mode": "loud"}),
        ("generate-images", {"seeds": [1], "truncation": "cluster", "clusters": 10**9}),
        ("generate-images", {"seeds": [1], "func_name": "os.system"}),
        ("generate-grid", {"seeds": [1], "grid": [10_000, 2], "truncation_psi": 1}),
        ("generate-video", {"seeds": [1]}),
        ("style-mixing-example", MANY_MIXES),
        ("generate-images", {"seeds": [1], "truncation_psi": 1e308}),
        ("os.system", {}),
    ],
)
def test_records_that_are_wrong(snapshot, tmp_path, command, options):
    path = str(tmp_path / "a.png")
    mark = Provenance.of(snapshot).xmp(command, "a.png", **options)
    save_picture(Image.fromarray(PIXELS), path, mark)
    with pytest.raises(UserError) as error:
        again(path, snapshot, tmp_path)
    assert "\n" not in str(error.value) and path in str(error.value)


@pytest.mark.parametrize("kind", ["EPS", "AVIF", "DDS", "GIF", "cut", "text"])
def test_only_pictures_that_are_written_are_read(tmp_path, monkeypatch, kind):
    """Whatever the name says: an EPS is a program, which Pillow gives to Ghostscript."""
    path = tmp_path / "a.png"
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    picture = Image.fromarray(PIXELS)
    picture.save(path, format="PNG" if kind in ("cut", "text") else kind)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:100], "text": b"text"}.get(kind, content))
    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: called.append(args))
    with pytest.raises(UserError, match=r"cannot read \S+a.png: "):
        read_picture(str(path))
    assert not called
    save_picture(picture, str(path))
    np.testing.assert_array_equal(np.asarray(read_picture(str(path))), PIXELS)


def test_seeds_in_records():
    few, many = [5, 5, 4], [*range(200), 7, 9, *range(5, 8)]
    assert provenance.seeds_to_plain(few) == few
    assert provenance.seeds_to_plain(many) == "0-199,7,9,5-7"
    for seeds in (few, many):
        assert provenance.seeds_from_plain(provenance.seeds_to_plain(seeds)) == seeds
    for bad in ("x", "1-", "9" * 5000, [2**32], [-1]):
        with pytest.raises(UserError, match="seed"):
            provenance.seeds_from_plain(bad)


def test_a_record_that_is_a_hash_says_so(snapshot, tmp_path):
    path = str(tmp_path / "a.png")
    options = {"seeds": [*range(0, 20_000, 2)], "grid": (100, 100)}
    mark = Provenance.of(snapshot).xmp("generate-grid", "a.png", **options)
    save_picture(Image.fromarray(PIXELS), path, mark)
    with pytest.raises(UserError, match="its record has only a hash of how it was made"):
        again(path, snapshot, tmp_path)


def test_a_grid_that_no_memory_holds_is_refused(snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "MOST_PIXELS", 16 * 16 * 11)
    out = str(tmp_path / "grid.png")
    with tflib.graph_session(seed=5):
        Gs = pickles.load_generator(snapshot)
        with pytest.raises(UserError, match="--grid=4x3: 4x3 pictures of 16x16 have 0 million"):
            generation.generate_grid(Gs, (4, 3), [1], 1, out)
        with pytest.raises(UserError, match="--col-seeds, --row-seeds: 4x3 pictures"):
            generation.style_mixing_example(Gs, [1, 2], [3, 4, 5], 1, [0], str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_options_of_seeds_are_refused_for_w(snapshot, tmp_path, run_script):
    np.savez(tmp_path / "w.npz", dlatents=np.zeros([1, 6, 8], np.float32))
    for option, message in (
        ("--class=1", "--class is for --seeds"),
        ("--trunc=0.7", "--truncation-psi is for --seeds"),
        ("--truncation=class", "--truncation is for --seeds"),
        ("--noise-mode=seed", "--noise-mode=seed is for --seeds"),
    ):
        command = ["run_generator.py", "generate-images", f"--network={snapshot}", option]
        done = run_script([*command, f"--dlatents={tmp_path / 'w.npz'}"], tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert message in done.stderr


def test_the_command(snapshot, run_script, tmp_path):
    common = [f"--network={snapshot}", "--seeds=4", f"--outdir={tmp_path}"]
    assert run_script(["run_generator.py", "generate-images", *common]).returncode == 0
    picture, out = str(tmp_path / "seed0004.png"), str(tmp_path / "out.png")
    common = ["run_generator.py", "reproduce", f"--network={snapshot}", f"--out={out}"]
    done = run_script([*common, picture])
    assert done.stdout == f"Wrote {out}: all pixels are equal\n", done.stderr
    with Image.open(picture) as image:
        image.save(out)  # Without metadata.
    done = run_script([*common, out])
    assert done.returncode == 2
    assert "has no record of how it was made" in done.stderr
