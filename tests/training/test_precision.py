"""Mixed precision: the same training within its digits, and ordinary snapshots."""

import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from PIL import Image

import run_generator
import run_training
from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from tf_ops import layout
from training.architecture import precision, synthesis
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.loss import path_lengths, r1_penalty
from training.pictures import provenance
from training.snapshots import pickles

SHAPE = {"resolution": 32, "fmap_base": 256, "fmap_max": 16}
STYLE = {"latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16, "mapping_layers": 2}
RNG = np.random.default_rng(0)
LATENTS = RNG.normal(size=[4, 16]).astype(np.float32)
IMAGES = RNG.uniform(-1, 1, [4, 3, 32, 32]).astype(np.float32)


def measure(mixed):
    """Images, scores, R1, path lengths and their gradients; and the types of convolutions."""
    with tflib.graph_session(seed=3), precision.computed_in("mixed" if mixed else "fp32"):
        assert precision.lower_dtype() == tf.bfloat16
        G = Network("G", "training.networks_stylegan2.G_main", **SHAPE, **STYLE)
        D = Network("D", "training.networks_stylegan2.D_stylegan2", **SHAPE)
        images, dlatents = G.get_output_for(
            LATENTS, None, return_dlatents=True, randomize_noise=False, is_training=True,
            style_mixing_prob=None, dlatent_avg_beta=None,
        )  # fmt: skip
        reals = tf.constant(IMAGES)
        scores = D.get_output_for(reals, None, is_training=True)
        r1 = tf.reduce_mean(r1_penalty(scores, reals))
        lengths = path_lengths(images, dlatents, tf.constant(IMAGES))
        values = [images, scores, r1, lengths]
        values += [
            tf.norm(g) for g in tf.gradients(r1, list(D.trainables.values())) if g is not None
        ]
        pl = tf.gradients(tf.reduce_mean(lengths), list(G.trainables.values()))
        values += [tf.norm(g) for g in pl if g is not None]
        tflib.init_uninitialized_vars()
        types = {
            op.get_attr("T")
            for op in tf.get_default_graph().get_operations()
            if op.type == "Conv2D"
        }
        assert all(v.dtype == tf.float32 for v in values)
        return [np.asarray(v) for v in tflib.run(values)], types, G.static_kwargs


@pytest.mark.skipif(layout.has_float16(), reason="is of CPUs")
def test_bfloat16_computes_the_same_within_its_digits(monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    (exact, types, kwargs), (mixed, mixed_types, mixed_kwargs) = measure(False), measure(True)
    assert types == {tf.float32} and mixed_types == {tf.float32, tf.bfloat16}
    assert kwargs == mixed_kwargs
    for a, b in zip(exact[:4], mixed[:4], strict=True):
        assert np.isfinite(b).all() and np.abs(a - b).max() <= 0.05 * np.abs(a).max()
    norms, mixed_norms = np.array(exact[4:]), np.array(mixed[4:])
    assert (np.abs(norms - mixed_norms) <= 0.2 * norms + 0.01 * norms.max()).all()
    assert np.abs(exact[0] - mixed[0]).max() > 0


def test_which_resolutions_are_lower(session, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    assert precision.activation_dtype(7, 7, 4) == tf.float32  # a CPU computes as asked for
    with precision.computed_in("mixed"):
        types = {stage: precision.activation_dtype(stage, 8, 0) for stage in range(2, 9)}
        assert [s for s, t in types.items() if t == tf.bfloat16] == [5, 6, 7, 8]
        assert precision.activation_dtype(2, 3, 0) == tf.float32
        assert precision.clamp_for(tf.bfloat16, None) is None
        with precision.computed_in("fp32"):
            assert precision.activation_dtype(8, 8, 0) == tf.float32
    with pytest.raises(RuntimeError), precision.computed_in("mixed"):
        raise RuntimeError
    assert precision.activation_dtype(8, 8, 0) == tf.float32  # the choice ends with the block


def test_float16_is_clamped(session, monkeypatch):
    assert precision.clamp_for(tf.float16, None) is None
    monkeypatch.setattr(layout, "has_float16", lambda: True)
    with precision.computed_in("mixed"):
        assert precision.clamp_for(tf.float16, None) == 256
        assert precision.clamp_for(tf.float16, 7.0) == 7
        assert precision.clamp_for(tf.float32, None) is None
        assert precision.activation_dtype(5, 5, 0) == tf.float16


def test_which_cpus_are_fast_in_bfloat16(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    assert not precision.has_fast_bfloat16(str(cpuinfo))
    for is_fast, vendor, flags in (
        (True, "vendor_id\t: AuthenticAMD", "flags\t\t: fpu avx512f avx512_bf16"),
        (False, "vendor_id\t: GenuineIntel", "flags\t\t: fpu avx512f avx512_bf16"),
        (True, "vendor_id\t: GenuineIntel", "flags\t\t: avx512_bf16 amx_bf16 amx_tile"),
        (False, "vendor_id\t: AuthenticAMD", "flags\t\t: fpu avx512f"),
        (True, "BogoMIPS\t: 2100.00", "Features\t: fp asimd sve bf16"),
        (False, "", ""),
    ):
        cpuinfo.write_text(f"processor\t: 0\n{vendor}\nmodel name\t: of a test\n{flags}\n")
        assert precision.has_fast_bfloat16(str(cpuinfo)) is is_fast, (vendor, flags)


def test_a_machine_without_stays_in_float32(session, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    assert precision.lower_dtype() is None
    with precision.computed_in("mixed"):
        assert precision.activation_dtype(8, 8, 0) == tf.float32


@pytest.mark.parametrize("chosen", precision.PRECISIONS)
def test_runs_are_in_the_precision_that_is_asked_for(chosen, tmp_path, monkeypatch):
    create_demo(Output(str(tmp_path / "drawn"), resolution=16), num_images=8)
    dtypes = []

    class NetworksAreBuilt(Exception):
        pass

    def activation_dtype(*args):
        dtypes.append(precision.activation_dtype(*args))
        if len(dtypes) == 2:
            raise NetworksAreBuilt
        return dtypes[-1]

    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(synthesis, "activation_dtype", activation_dtype)
    args = [f"--data-dir={tmp_path}", "--dataset=drawn", "--config=config-f", "--total-kimg=0.1"]
    args += [f"--result-dir={tmp_path / 'results'}", "--fmap-base=64", "--fmap-max=4"]
    monkeypatch.setattr(sys, "argv", ["run_training.py", *args, f"--precision={chosen}"])
    with pytest.raises(NetworksAreBuilt):
        run_training.main()
    assert set(dtypes) == {tf.bfloat16 if chosen == "mixed" else tf.float32}
    assert precision.activation_dtype(8, 8, 0) == tf.float32


def test_growing_networks_are_refused(run_script, tmp_path):
    (tmp_path / "data").mkdir()
    args = ["--data-dir=.", "--dataset=data", "--config=config-b", "--precision=mixed", "--dry-run"]
    done = run_script(["run_training.py", *args], cwd=tmp_path)
    assert done.returncode == 2 and "config-b grows" in done.stderr


def test_pictures_in_mixed_precision_say_so_and_are_made_again(tmp_path, monkeypatch, capsys):
    if not precision.has_fast_bfloat16():  # Computed in software, slowly.
        monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: True)
    snapshot = str(tmp_path / "Gs.pkl")
    with tflib.graph_session(seed=3):
        Gs = Network("Gs", "training.networks_stylegan2.G_main", num_channels=3, **SHAPE, **STYLE)
        pickles.save(Gs, snapshot)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["run_generator.py", *words, f"--network={snapshot}"])
        run_generator.main()
        return capsys.readouterr().out

    def picture(name, *words):
        run("generate-images", "--seeds=5", f"--outdir={tmp_path / name}", *words)
        with Image.open(tmp_path / name / "seed0005.png") as image:
            record = provenance.read(image).options
            return np.asarray(image).astype(int), record.get("precision")

    (exact, of_exact), (mixed, of_mixed) = picture("fp32"), picture("mixed", "--precision=mixed")
    assert (of_exact, of_mixed) == (None, "bfloat16")
    assert 0 < np.abs(exact - mixed).max() <= 4
    out = str(tmp_path / "again.png")
    text = run("reproduce", str(tmp_path / "mixed" / "seed0005.png"), f"--out={out}")
    assert text.endswith("all pixels are equal\n")
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda: False)
    with pytest.raises(UserError, match="was made in bfloat16, which this machine does not"):
        run("reproduce", str(tmp_path / "mixed" / "seed0005.png"), f"--out={out}")
