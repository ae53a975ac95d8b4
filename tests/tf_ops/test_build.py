"""How the library of native operations is built, and what happens when it cannot be."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from planting import plant

from dnnlib import UserError
from tf_ops import artifacts, build, compilers, native, nvrtc, prebuilt, upfirdn_2d
from tf_ops.fused_bias_act import fused_bias_act

# Stands for a compiler: notes its arguments, does BODY, and writes what -o names.
COMPILER = """#!/bin/sh
echo "$@" >> "{folder}/calls"
case "$*" in *--version*) echo "Fake compiler 1.0"; exit 0;; esac
{body}
while [ $# -gt 1 ]; do [ "$1" = "-o" ] && echo made > "$2"; shift; done
exit 0
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Function that puts a compiler in place; an empty cache; the state of a new process."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_OPS_IMPL", raising=False)
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")  # Whatever a checkout has.

    def forget():
        native._load.cache_clear()
        native._warn_once.cache_clear()
        artifacts._say_once.cache_clear()

    def install(body=""):
        path = tmp_path / "fake-c++"
        path.write_text(COMPILER.format(folder=tmp_path, body=body))
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        return path

    forget()
    yield install
    forget()


def calls(tmp_path):
    """The command lines that the compiler was called with, without questions for its version."""
    log = tmp_path / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "--version" not in line]


def entries(tmp_path):
    """What is in the cache, hidden files too."""
    return sorted(p.name for p in (tmp_path / "cache/tf_ops").iterdir())


def the_reference_serves(capfd):
    """Both operations work; returns the one line on stderr that says why they are slow."""
    capfd.readouterr()
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.ones([1, 4, 4, 1])
        for _ in range(2):
            y = fused_bias_act(upfirdn_2d.upfirdn_2d(x, np.ones((2, 2))), act="lrelu")
        assert session.run(y).shape == (1, 3, 3, 1)
    (line,) = [n for n in capfd.readouterr().err.splitlines() if "Warning" in n]
    cost = "the slower reference serves, which takes 13 % longer to train"
    assert line.startswith(f"Warning: no native operations, {cost}")
    with pytest.raises(UserError, match="no native operations"):
        upfirdn_2d.upfirdn_2d(x, np.ones((2, 2)), impl="native")
    return line


def test_a_library_is_built_once_and_whole(compiler, tmp_path):
    compiler()
    path = Path(build.library())
    assert path.read_text() == "made\n"
    key = build.find_recipe().key
    assert path == tmp_path / "cache/tf_ops" / key / "ops.so"
    assert sorted(p.name for p in path.parent.iterdir()) == ["build.json", "log", "ops.so"]
    assert entries(tmp_path) == [key, f"{key}.lock"]
    sources = len(list(nvrtc.SOURCES.glob("*.cc"))) - len(build.PLAIN)
    assert len(calls(tmp_path)) == sources + 1  # And the linker.
    assert build.library() == str(path)
    assert len(calls(tmp_path)) == sources + 1
    assert "\noperations: built with Fake compiler 1.0: " in build.describe()


def test_what_a_library_depends_on(compiler):
    compiler()
    recipe = build.find_recipe()
    keys = {recipe.key}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        other = (*value, "x") if isinstance(value, tuple) else f"{value}x"
        keys.add(dataclasses.replace(recipe, **{field.name: other}).key)
    assert len(keys) == 1 + len(dataclasses.fields(recipe))


def test_checking_builds_nothing(compiler, tmp_path, monkeypatch, capsys):
    compiler()
    monkeypatch.setattr(sys, "argv", ["build.py", "--check"])
    build.main()
    printed = capsys.readouterr().out
    assert "\noperations: not built yet; to be built with Fake compiler" in printed
    assert calls(tmp_path) == [] and not (tmp_path / "cache").exists()


def test_no_compiler(compiler, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert "no C++ compiler found (CXX=/nowhere/c++)" in the_reference_serves(capfd)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(compilers.BuildError, match=r"g\+\+, c\+\+, clang\+\+"):
        build.library()
    cost = "the slower reference serves, which takes 13 % longer to train"
    assert f"\noperations: cannot be built, {cost}" in build.describe()


@pytest.fixture
def prebuilt_by(compiler, monkeypatch, tmp_path):
    """What a fake compiler makes of all libraries, and no compiler any more."""
    compiler()
    made = build.make_prebuilt()
    monkeypatch.setenv("CXX", "/nowhere/c++")
    return made


def test_prebuilt_libraries_serve_where_none_can_be_built(prebuilt_by, tmp_path, monkeypatch):
    operations, resize = prebuilt_by
    assert Path(operations).name.startswith(f"operations-{tf.version.VERSION}-")
    assert build.library() == operations and build.plain_library("resize_8bit.cc") == resize
    assert Path(operations).read_text() == "made\n"
    lines = build.describe().splitlines()
    assert f"operations: prebuilt: {operations}; cannot be built for this processor: " in lines[1]
    assert "C++" not in lines[-1]
    compiled = [line for line in calls(tmp_path) if " -c " in line]
    assert compiled and not any("-march=native" in line for line in compiled)
    flags = prebuilt.MACHINE_FLAGS.get(platform.machine(), ())
    kernels = [line for line in compiled if "tensorflow_" not in line]
    assert kernels and all(flag in line for flag in flags for line in kernels)
    # What a machine builds for itself is better.
    monkeypatch.setenv("CXX", str(tmp_path / "fake-c++"))
    assert build.library() == build.find_recipe().path


def test_prebuilt_libraries_of_others_do_not_serve(prebuilt_by, monkeypatch):
    for name, replaced in (
        ("processor", lambda: '["x86_64", "", {"flags": "fpu sse2"}]'),
        ("artifacts.digest", lambda files: "0" * 64),
        ("platform.machine", lambda: "aarch64"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"tf_ops.prebuilt.{name}", replaced)
            patch.setattr(prebuilt, "_NEEDED", {"x86_64": {"avx2"}})
            with pytest.raises(compilers.BuildError, match="no C\\+\\+ compiler"):
                build.library()
    with monkeypatch.context() as patch:
        patch.setattr(build, "_version_of_tensorflow", lambda: "2.99.0")
        with pytest.raises(compilers.BuildError, match="no C\\+\\+ compiler"):
            build.library()
    assert "operations: cannot be built" not in build.describe()


def test_a_prebuilt_library_that_cannot_be_loaded(prebuilt_by, capfd):
    line = the_reference_serves(capfd)
    assert f"{prebuilt_by[0]} cannot be loaded" in line and "made on a newer system" in line
    assert "to have it built again" not in line


def test_older_prebuilt_libraries_go(prebuilt_by, tmp_path):
    folder = tmp_path / "prebuilt"
    older = folder / f"{Path(prebuilt_by[0]).name[: -len('0123456789abcdef.so')]}{'0' * 16}.so"
    older.write_text("older")
    other = folder / f"operations-2.99.0-x86_64-{'0' * 16}.so"
    other.write_text("of another version")
    library = tmp_path / "library"
    library.write_text("new")
    assert prebuilt.keep(str(library), build._sources_of_operations(), tf.version.VERSION)
    assert not older.exists() and other.exists()
    assert Path(prebuilt_by[0]).read_text() == "new"


@pytest.mark.parametrize(
    ("there", "command"),
    [
        (["apt-get"], "apt-get install g++,"),
        (["dnf"], "dnf install gcc-c++,"),
        (["apt-get", "conda"], "conda install -c conda-forge gxx,"),
        ([], "conda install -c conda-forge gxx or apt-get install g++ or dnf install gcc-c++,"),
    ],
)
def test_how_to_install_a_compiler(monkeypatch, tmp_path, there, command):
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    if "conda" in there:
        monkeypatch.setenv("CONDA_PREFIX", str(tmp_path))
    with pytest.raises(compilers.BuildError) as error:
        compilers.find_compiler()
    assert f"): {command} or name one in CXX" in str(error.value)


@pytest.mark.parametrize("words", ["g++ '", "/bin/false"])
def test_what_is_no_compiler(compiler, monkeypatch, words):
    monkeypatch.setenv("CXX", words)
    with pytest.raises(compilers.BuildError):
        build.library()
    lines = build.describe().splitlines()
    assert lines[1].startswith("operations: cannot be built, ") and "longer to train" in lines[1]
    assert lines[2].startswith("resize_8bit: cannot be built, ") and "to train" not in lines[2]
    assert "a C++ compiler" in lines[-1]


def test_a_compiler_named_from_here(compiler, monkeypatch, tmp_path):
    compiler()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", "./fake-c++")
    assert Path(build.library()).read_text() == "made\n"


def test_a_full_disk_is_named(compiler, monkeypatch):
    """It takes what compilers say, too."""
    compiler("exit 1")
    monkeypatch.setattr(build, "_LEAST_FREE", 1 << 60)
    with pytest.raises(compilers.BuildError, match=r"failed: no space is left in \S+/tf_ops"):
        build.library()


def test_a_compiler_that_fails(compiler, capfd, tmp_path):
    compiler("echo remark; echo 'x.cc:1: fatal error: no such header' >&2; exit 1")
    assert the_reference_serves(capfd).endswith(
        "fake-c++ failed: x.cc:1: fatal error: no such header"
    )
    key = build.find_recipe().key
    assert entries(tmp_path) == [f"{key}.lock", f"{key}.log"]
    assert "remark" in (tmp_path / f"cache/tf_ops/{key}.log").read_text()
    assert "failed: x.cc:1: fatal error: no such header (all: " in build.describe()
    compiler()  # Mended: builds, and the log of the failure goes.
    build.library()
    assert entries(tmp_path) == [key, f"{key}.lock"]


def test_a_compiler_that_says_nothing(compiler, capfd):
    compiler("kill -9 $$")
    assert the_reference_serves(capfd).endswith("fake-c++ failed: exit code -9")


def test_a_compiler_that_does_not_run(compiler, capfd):
    compiler().write_text("not a program")
    assert "--version does not run: " in the_reference_serves(capfd)


def test_a_compiler_that_never_ends(compiler, tmp_path):
    compiler("exec sleep 60")
    start = time.monotonic()
    with pytest.raises(compilers.BuildError, match=r"fake-c\+\+ did not end within 0.3 s"):
        build.library(timeout=0.3)
    assert time.monotonic() - start < 20
    assert not [n for n in entries(tmp_path) if n.endswith(".partial")]


def test_a_library_that_cannot_be_loaded(compiler, capfd):
    compiler()
    line = the_reference_serves(capfd)
    assert "ops.so cannot be loaded" in line and "to have it built again" in line


def test_a_cache_that_cannot_be_written(compiler, capfd, tmp_path, monkeypatch):
    compiler()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "file/cache"))
    assert f"cannot write in {tmp_path}/file/cache/tf_ops: " in the_reference_serves(capfd)


def test_a_read_only_cache(compiler, capfd, tmp_path):
    compiler()
    folder = tmp_path / "cache/tf_ops"
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert f"cannot write in {folder}: Permission denied" in the_reference_serves(capfd)


def test_a_library_in_a_read_only_cache_is_used(compiler, tmp_path):
    compiler()
    path = build.library()
    for name in ("", f"{build.find_recipe().key}.lock"):
        (tmp_path / "cache/tf_ops" / name).chmod(0o400 if name else 0o555)
    assert build.library() == path


@pytest.mark.parametrize("how", ["owner", "mode", "parent", "link", "sticky"])
def test_what_others_could_have_planted_is_not_loaded(compiler, tmp_path, monkeypatch, capfd, how):
    """Neither loaded nor built upon: the cache of the home takes its place."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to others")
    compiler()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    recipe = build.find_recipe()
    planted = plant(recipe.path, tmp_path / "cache", how)
    for _ in range(2):
        path = build.library()
        assert path == str(tmp_path / f"home/.cache/dnnlib/tf_ops/{recipe.key}/ops.so")
    assert planted.read_text() == "code of others" and Path(path).read_text() == "made\n"
    warnings = capfd.readouterr().err.splitlines()
    assert len(warnings) == 1 and "native operations are kept in" in warnings[0]
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    (tmp_path / "home/.cache").rename(planted.parent.parent.parent / ".cache")
    os.chown(planted.parent.parent.parent / ".cache", 65534, 65534)
    with pytest.raises(compilers.BuildError, match=r"not loaded: .*(belongs to|others can)"):
        build.library()


def test_folders_like_tmp_and_own_links_serve(compiler, tmp_path):
    compiler()
    (tmp_path / "scratch/mine").mkdir(parents=True)
    (tmp_path / "scratch").chmod(0o1777)
    (tmp_path / "cache").symlink_to("scratch/../scratch/mine")
    umask = os.umask(0)  # Not even then can others write where a library is to be.
    try:
        path = build.library()
    finally:
        os.umask(umask)
    assert Path(path).resolve().is_relative_to(tmp_path / "scratch/mine")


def test_waiting_has_an_end(compiler, tmp_path):
    compiler()
    recipe = build.find_recipe()
    os.makedirs(artifacts.folders()[0])
    with open(recipe.folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(compilers.BuildError, match=r"another process holds .* more than 0.4 s"):
            build.library(timeout=0.2)
    build.library()


def start_building():
    code = "from tf_ops import build; print(build.library())"
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)


def test_two_processes_build_once(compiler, tmp_path):
    compiler("sleep 0.3")
    processes = [start_building() for _ in range(2)]
    paths = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(paths) == 1
    assert sum(" -shared " in f" {line} " for line in calls(tmp_path)) == 1


def test_killed_half_way(compiler, tmp_path):
    """Its lock is free, and what it left is removed by the next, which builds."""
    compiler(f"echo $$ >> {tmp_path}/pids; touch {tmp_path}/started; exec sleep 60")
    process = start_building()
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=60)
        assert [n for n in entries(tmp_path) if n.endswith(".partial")]
        compiler()
        start = time.monotonic()
        build.library()
        assert time.monotonic() - start < 20
        key = build.find_recipe().key
        assert entries(tmp_path) == [key, f"{key}.lock"]
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def test_importing_compiles_nothing(compiler, tmp_path, run_script):
    compiler()
    code = "import tf_ops.upfirdn_2d, tf_ops.fused_bias_act, training.networks_stylegan2"
    assert run_script(["-c", code]).returncode == 0
    assert not (tmp_path / "calls").exists()
