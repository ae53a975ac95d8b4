"""How CUDA kernels are compiled and kept; tests/gpu has them compiled for real, and launched."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from planting import plant

from dnnlib import UserError
from tf_ops import artifacts, build, compilers, gpu_kernels, native, nvrtc, prebuilt


class Compiler:
    """Stands for NVRTC: notes what it is asked to compile."""

    def __init__(self, version=(12, 9), capabilities=(50, 70, 75, 90, 120)):
        self.path = "libnvrtc.so.12"
        self.version = version
        self.capabilities = capabilities
        self.calls = []
        self.problem = None

    def compile(self, source, headers, architecture, *flags):
        self.calls.append(architecture)
        if self.problem:
            raise nvrtc.CompileError(self.problem)
        assert all(name in headers for name in ("common.h", "upfirdn_2d_cuda.cu"))
        return f"code for {architecture}".encode()


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")  # Whatever a checkout has.
    artifacts._say_once.cache_clear()
    stand_in = Compiler()
    monkeypatch.setattr(nvrtc, "find", lambda: stand_in)
    yield stand_in
    artifacts._say_once.cache_clear()


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [(70, "sm_70"), (90, "sm_90"), (120, "sm_120"), (86, "compute_75"), (121, "compute_120")],
)
def test_choice_of_the_architecture(compiler, capability, architecture):
    """The GPU's own, or else PTX of the newest that is older."""
    path = Path(gpu_kernels.image(capability))
    assert path.read_bytes() == f"code for {architecture}".encode()
    assert compiler.calls == [architecture]


def test_gpus_that_are_too_old(compiler):
    with pytest.raises(compilers.BuildError, match=r"capability is 6\.1: the kernels need 7\.0"):
        gpu_kernels.image(61)
    compiler.capabilities = (75, 90)
    with pytest.raises(compilers.BuildError, match=r"7\.0 is older than .* from 7\.5 on: an older"):
        gpu_kernels.image(70)
    assert compiler.calls == []


def test_compiled_once_and_whole(compiler, tmp_path):
    paths = {gpu_kernels.image(90) for _ in range(3)}
    assert len(paths) == 1 and compiler.calls == ["sm_90"]
    folder = Path(paths.pop()).parent
    assert folder.parent == tmp_path / "cache/tf_ops"
    assert sorted(p.name for p in folder.iterdir()) == ["build.json", "kernels.cubin"]
    assert json.loads((folder / "build.json").read_text())["architecture"] == "sm_90"
    gpu_kernels.image(75)
    compiler.version = (12, 8)
    gpu_kernels.image(90)
    assert compiler.calls == ["sm_90", "sm_75", "sm_90"]


def test_what_the_kernels_depend_on(compiler):
    recipe = gpu_kernels.recipe_of(compiler, 90)
    keys = {recipe.key}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        other = (*value, "x") if isinstance(value, tuple) else f"{value}x"
        keys.add(dataclasses.replace(recipe, **{field.name: other}).key)
    assert len(keys) == 1 + len(dataclasses.fields(recipe)) == 6


def test_kernels_that_do_not_compile(compiler, tmp_path):
    compiler.problem = "a remark\nx.cu(3): error: no such thing\n1 error detected"
    with pytest.raises(
        compilers.BuildError, match=r"^NVRTC failed: x\.cu\(3\): error: no such thi"
    ):
        gpu_kernels.image(90)
    recipe = gpu_kernels.recipe_of(compiler, 90)
    assert Path(recipe.log).read_text() == compiler.problem
    assert not Path(recipe.folder).exists()
    compiler.problem = None
    gpu_kernels.image(90)
    assert not Path(recipe.log).exists()


def test_real_errors_of_the_compiler():
    try:
        real = nvrtc.find()
    except compilers.BuildError as error:
        pytest.skip(str(error))
    with pytest.raises(nvrtc.CompileError, match=r"NVRTC failed: a\.h\(1\): error: .*nothing") as e:
        real.compile('#include "a.h"', {"a.h": b"nothing x;"}, "compute_75")
    assert e.value.log.endswith('detected in the compilation of "kernels.cu".\n')
    assert real.compile("__global__ void f() {}", {}, "compute_75").endswith(b"\0")


@pytest.mark.parametrize("how", ["owner", "mode", "parent"])
def test_what_others_could_have_planted_is_not_loaded(compiler, tmp_path, monkeypatch, capfd, how):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to others")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    planted = plant(gpu_kernels.recipe_of(compiler, 90).path, tmp_path / "cache", how)
    for _ in range(2):
        path = Path(gpu_kernels.image(90))
        assert path.is_relative_to(tmp_path / "home/.cache/dnnlib/tf_ops")
        assert path.read_bytes() == b"code for sm_90"
    assert planted.read_text() == "code of others" and compiler.calls == ["sm_90"]
    assert "native operations are kept in" in capfd.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(compilers.BuildError, match=r"not loaded: .*(belongs to|others can)"):
        gpu_kernels.image(90)


def test_nvrtc_is_found_where_wheels_put_it(tmp_path, monkeypatch):
    folder = tmp_path / "site/nvidia/cuda_nvrtc/lib"
    folder.mkdir(parents=True)
    (folder / "libnvrtc.so.12").write_text("damaged")
    (folder / "libnvrtc.alt.so.12").write_text("another")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    monkeypatch.delitem(__import__("sys").modules, "nvidia", raising=False)
    assert list(nvrtc._candidates()) == [
        str(folder / "libnvrtc.so.12"),
        "libnvrtc.so.12",
        "libnvrtc.so.13",
    ]
    # The system's own is none of this test's business.
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter([str(folder / "libnvrtc.so.12")]))
    with pytest.raises(
        compilers.BuildError, match=r"libnvrtc\.so\.12 cannot be used: .*(ELF|short)"
    ):
        nvrtc.find()


def test_no_nvrtc(monkeypatch, capsys):
    """Neither a silent slow path nor a failure: one line says what to install."""
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(["libnvrtc.so.0"]))
    with pytest.raises(compilers.BuildError, match="pip install nvidia-cuda-nvrtc-cu12"):
        gpu_kernels.image(90)
    text = build.describe()
    assert "NVRTC: missing: no NVRTC (libnvrtc.so.12) found" in text
    assert text.endswith("for a GPU: missing: NVRTC")


def test_a_gpu_without_nvrtc_takes_the_reference(monkeypatch, capfd):
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(["libnvrtc.so.0"]))
    monkeypatch.setattr(gpu_kernels, "capabilities", lambda: [90])
    native._load.cache_clear()
    native._warn_once.cache_clear()
    try:
        assert native.find("upfirdn_2d", "auto", native.DTYPES[0]) is None
        line = capfd.readouterr().err
        assert "the slower reference serves" in line
        assert "no NVRTC" in line or "no C++ compiler" in line
    finally:
        native._load.cache_clear()
        native._warn_once.cache_clear()


START = """
import numpy as np
import tensorflow.compat.v1 as tf
from tf_ops import gpu_kernels, native, nvrtc, upfirdn_2d

gpu_kernels.capabilities = lambda: [75, 90]
gpu_kernels.image = lambda capability: nvrtc.__file__
with tf.Graph().as_default(), tf.Session() as session, tf.device("/cpu:0"):
    y = upfirdn_2d.upfirdn_2d(tf.ones([1, 4, 4, 1]), np.ones((2, 2)), impl="native")
    print(session.run(y).sum())
"""


def test_a_process_that_sees_gpus(run_script):
    """Finds operations in the library that the kernels are handed to."""
    try:
        native.find("upfirdn_2d", "native", native.DTYPES[0])
    except UserError as error:
        pytest.skip(str(error))
    result = run_script(["-c", START])
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["36.0"]


def test_checking_says_what_is_there(compiler, monkeypatch):
    assert "NVRTC: 12.9, for GPUs from 7.0 to 12.0, PTX for newer ones" in build.describe()
    assert build.describe().endswith("everything is installed; only the GPU is missing")
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "/nowhere/c++")
        assert build.describe().endswith("for a GPU: missing: a C++ compiler")
    monkeypatch.setattr(gpu_kernels, "capabilities", lambda: [61, 90, 121])
    lines = build.describe().splitlines()
    assert "kernels for 6.1: cannot be compiled: the GPU's compute capability is 6.1" in lines[-4]
    assert lines[-3].startswith("kernels for 9.0: not built yet; to be built with NVRTC as sm_90")
    assert lines[-2].startswith("kernels for 12.1: not built yet; to be built with NVRTC as comp")
    assert lines[-1] == "for a GPU: everything needed is there"
    gpu_kernels.image(90)
    assert "kernels for 9.0: compiled as sm_90: " in build.describe()
