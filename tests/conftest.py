"""What tests share: a session, the golden files, running the scripts of the repository.

The fixtures are few on purpose:

    session     a graph and session of its own for one test
    shared      path of ../shared, else the test is skipped
    clothing    folder of real photos, one subfolder a category, else skipped
    golden_dir  path of tests/golden
    golden      function: name of a file in tests/golden -> its arrays, and `meta` parsed
    run_script  function: runs a script of the repository as a user does
    interrupt_script  function: runs a script until Ctrl-C
    cache       a cache folder of the test's own; make_cache makes one
    tool        function: runs dataset_tool.py in this process
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from worker_processes import start_script_server

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# It logs that a graph is not optimized in one more way, whatever TF_CPP_MIN_LOG_LEVEL is.
_LOG_OF_TENSORFLOW_2_18 = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) .*\n"
    r"I0000 .* mlir_graph_optimization_pass\.cc.*\n"
)


def pytest_configure() -> None:
    """Tests of Ctrl-C work in the background of a shell too, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def session() -> Iterator:
    """A new graph with a session, the default ones while the test runs."""
    from dnnlib import tflib  # Here, so that tests without TensorFlow do not wait for it.

    with tflib.graph_session(seed=1) as new_session:
        yield new_session


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of files that all checkouts share."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def clothing(shared: Path) -> Path:
    """Real product photos: `dress`, `hat`, … with JPEGs in them."""
    path = shared / "data/clothing-small"
    if not path.is_dir():
        pytest.skip(f"needs {path}, which is not there")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers of the official code, see the README there."""
    return ROOT / "tests/golden"


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> Callable[[str], SimpleNamespace]:
    """`golden("tf_ops.npz")` has `arrays` {name: array} and `meta` (dict or list)."""

    def load(name: str) -> SimpleNamespace:
        with np.load(golden_dir / name) as file:
            arrays = {key: file[key] for key in file.files if key != "meta"}
            return SimpleNamespace(arrays=arrays, meta=json.loads(str(file["meta"])))

    return load


@pytest.fixture(scope="session")
def run_script() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Runs a script of the repository: `run_script(["run_generator.py", "--help"], cwd=tmp_path)`.

    The script is found in the root of the repository whatever `cwd` is; a first argument of `-c`
    or `-m` is passed to Python as it is. `env` adds to the environment. Scripts that need
    TensorFlow run in a fork of a process that has it, see script_server.py.
    """
    server = _ScriptServer()

    def run(
        args: Sequence[object],
        cwd: str | os.PathLike = ROOT,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess:
        script, *rest = map(str, args)
        command = [sys.executable, script if script.startswith("-") else str(ROOT / script), *rest]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        if script in _NEED_TENSORFLOW and not _STARTS_TENSORFLOW & set(env or {}):
            done = server.run(command, cwd, environment, timeout)
        else:
            done = subprocess.run(
                command, cwd=cwd, env=environment, timeout=timeout, capture_output=True, text=True
            )
        done.stderr = _LOG_OF_TENSORFLOW_2_18.sub("", done.stderr)
        return done

    yield run
    server.close()


# Scripts that run in a fork; and what counts when TensorFlow or Python start, so that a variable of
# the environment needs a start of its own.
_NEED_TENSORFLOW = ("run_generator.py", "run_metrics.py", "run_projector.py", "run_training.py")
_STARTS_TENSORFLOW = {"TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL", "OMP_NUM_THREADS"}
_STARTS_TENSORFLOW |= {"PYTHONPATH", "PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG"}


class _ScriptServer:
    """The process of script_server.py, started at first use."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def run(
        self, command: list[str], cwd: str | os.PathLike, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess:
        """As `subprocess.run` of a Python script."""
        process = self._started()
        _, script, *args = command
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: os.path.join(folder, name) for name in ("stdout", "stderr")}
            for path in paths.values():
                open(path, "w").close()
            request = {"script": script, "args": args, "cwd": str(cwd), "env": dict(env)}
            process.stdin.write(json.dumps({**request, **paths, "timeout": timeout}) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            texts = [Path(path).read_text(encoding="utf-8") for path in paths.values()]
        return subprocess.CompletedProcess(command, code, *texts)

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            self._process = start_script_server()
            assert self._process.stdout.readline() == "ready\n"
        return self._process


@pytest.fixture(scope="session")
def interrupt_script() -> Callable[..., str]:
    """Sends Ctrl-C to a script when `ready()`; returns its stderr, after exit code 130."""

    def run(
        args: Sequence[object],
        ready: Callable[[], bool],
        cwd: str | os.PathLike = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> str:
        script, *rest = map(str, args)
        command = [sys.executable, str(ROOT / script), *rest]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            deadline = time.monotonic() + 120
            while not ready() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, stderr
        return stderr

    return run


@pytest.fixture(scope="session")
def make_cache() -> Callable[[Path], Path]:
    """Makes a folder of downloads, of which only compiled operations are shared."""
    from dnnlib import downloads

    compiled = Path(downloads.cache_folder(), "tf_ops")

    def make(folder: Path) -> Path:
        compiled.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        (folder / "tf_ops").symlink_to(compiled)
        return folder

    return make


@pytest.fixture
def cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cache: Callable[[Path], Path]
) -> Path:
    """A cache folder for the test and what it starts, see `make_cache`."""
    folder = make_cache(tmp_path / "cache")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Runs dataset_tool.py in this process, which spares starting Python each time.

    `tool("info", folder)` returns exit code, stdout and stderr.
    """
    import dataset_tool  # Here, so that tests without it do not wait for it.
    from dnnlib import cli

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dataset_tool.py", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            cli.run(dataset_tool.main)
        return caught.value.code, *capsys.readouterr()

    return run
