"""The conversion by real workers of a Dask cluster, one of which is killed half-way."""

import functools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from training.datasets.building import dask_cluster
from training.datasets.building.output import Output
from training.datasets.sources.images import create_from_images

ROOT = Path(__file__).parents[2]
distributed = pytest.importorskip("distributed", reason="needs Dask (the extra dask)")


class Cluster:
    """A scheduler and its workers, all of them processes of their own."""

    def __init__(self, folder, **environment):
        self.folder, self.processes = folder, []
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.scheduler = self.start(
            "scheduler", "--host=127.0.0.1", f"--port={port}", **environment
        )

    def start(self, kind, *options, **environment):
        """Starts a part of the cluster as `dask KIND OPTIONS`."""
        command = [sys.executable, "-m", "dask", kind, *options, "--no-dashboard"]
        environment = {"PYTHONPATH": str(ROOT), **environment}
        with open(self.folder / f"{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **environment}, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def start_worker(self, name, **environment):
        options = ("--nthreads=1", "--no-nanny", f"--name={name}", "--host=127.0.0.1")
        return self.start("worker", self.address, *options, **environment)

    def wait_for(self, count):
        with self.client() as client:
            client.wait_for_workers(count, timeout=120)

    def client(self):
        return distributed.Client(f"tcp://{self.address}", timeout=120, set_as_default=False)

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, a and b, of which a test may end b."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.a, made.b = made.start_worker("a"), made.start_worker("b")
        made.wait_for(2)
        yield made
    finally:
        made.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def photos(tmp_path):
    """A folder `photos` that keeps a process busy for a while, and is named in all manifests."""
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = Image.fromarray(rng.integers(0, 256, [12, 16, 3], dtype=np.uint8))
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.resize((800, 600)).save(path)
        for copy in range(12):
            os.link(path, path.with_name(f"{i}-{copy}.png"))
    pixels.save(tmp_path / "photos/b/in-a-child-process.webp", lossless=True)
    (tmp_path / "photos/a/broken.png").write_bytes(b"x")
    return tmp_path / "photos"


COMMAND = ["create_from_images", "datasets/far", "photos", "--resolution=64", "--labels=folders"]


def start_conversion(cluster, folder):
    command = [sys.executable, str(ROOT / "dataset_tool.py"), *COMMAND, "--shards=12"]
    return subprocess.Popen(
        [*command, "--runner=dask", f"--scheduler={cluster.address}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def parts(folder, pattern="far"):
    """What is there of the shards, in the hidden folder beside the dataset."""
    return list(folder.glob(f"datasets/.far.*.partial/*/{pattern}"))


def kill_half_way(cluster, process, name, folder):
    """Kills a worker while it writes a shard; returns the number of shards that were done."""
    deadline = time.monotonic() + 240
    with cluster.client() as client:
        while time.monotonic() < deadline:
            if parts(folder):
                process.send_signal(signal.SIGSTOP)  # What it does now, it does not finish.
                time.sleep(0.3)
                workers = client.scheduler_info(n_workers=-1)["workers"]
                [address] = [a for a, facts in workers.items() if facts["id"] == name]
                if client.processing()[address] and parts(folder, ".far.*.partial"):
                    process.kill()
                    return len(parts(folder))
                process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
    raise AssertionError("no worker was seen at work")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_are_those_of_the_local_run_though_a_worker_is_killed(tmp_path, photos, cluster):
    running = start_conversion(cluster, tmp_path)
    try:
        done = kill_half_way(cluster, cluster.b, "b", tmp_path)
        stdout, stderr = running.communicate(timeout=240)
    finally:
        running.kill()
    assert 0 < done < 12
    assert (running.returncode, stderr) == (0, "")
    assert "157 images in 12 shards, 1 files skipped" in stdout
    assert os.listdir(tmp_path / "datasets") == ["far"]
    local = tmp_path / "local/far"
    create_from_images(Output(str(local), resolution=64, shards=12), str(photos), "folders")
    assert contents(tmp_path / "datasets/far") == contents(local)
    cluster.b = cluster.start_worker("b")


def test_ctrl_c_leaves_nothing_and_workers_for_others(tmp_path, photos, cluster, interrupt_script):
    cluster.wait_for(2)
    args = [*COMMAND, "--shards=12", "--runner=dask", f"--scheduler={cluster.address}"]
    ready = functools.partial(parts, tmp_path, ".far.*.partial")
    stderr = interrupt_script(["dataset_tool.py", *args], ready, tmp_path)
    assert stderr == "dataset_tool.py: interrupted\n"

    def wait_for_the_end():
        with dask_cluster._ONE_AT_A_TIME:
            pass

    with cluster.client() as client:  # Workers finish what they are at, and remove it.
        assert len(client.run(wait_for_the_end)) == 2
    assert list(tmp_path.glob("datasets/*")) == []


def test_the_command_of_the_page_runs_as_written(tmp_path, photos, cluster, tool, monkeypatch):
    page = (ROOT / "docs/datasets.md").read_text(encoding="utf-8").replace("\\\n", " ")
    [command] = re.findall(r"^ *python dataset_tool\.py (.*--runner=dask.*)$", page, re.MULTILINE)
    photos.rename(tmp_path / "shop")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    args = re.sub(r"--scheduler=\S+", f"--scheduler={cluster.address}", command)
    code, stdout, stderr = tool(*shlex.split(args))
    assert (code, stderr) == (0, "") and "157 images" in stdout


def convert(folder, address, photos="photos", **options):
    create = functools.partial(create_from_images, image_dir=str(photos))
    options = {"resolution": 16, "shards": 2, **options}
    dask_cluster.run(create, Output(str(folder / "foo"), **options), address)


def test_a_failing_worker_is_one_error_and_leaves_nothing(tmp_path, cluster):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"x")
    with pytest.raises(UserError, match="hold no images"):
        convert(tmp_path, cluster.address, tmp_path / "photos")
    with pytest.raises(UserError, match=r"^worker tcp://127\S+: .*cannot read a\.png"):
        convert(tmp_path, cluster.address, tmp_path / "photos", strict=True)
    with pytest.raises(UserError, match=r"^worker tcp://127\S+: .*nowhere"):
        convert(tmp_path, cluster.address, tmp_path / "nowhere")
    assert os.listdir(tmp_path) == ["photos"]


def test_workers_without_the_files_or_with_other_versions_are_named(tmp_path, cluster, monkeypatch):
    gone = tmp_path / "gone"
    monkeypatch.setattr(dask_cluster.os, "getcwd", lambda: str(gone))
    with pytest.raises(UserError, match=rf"^worker tcp\S+ does not see {gone}: it must lie on a"):
        convert(tmp_path, cluster.address)
    monkeypatch.undo()
    other = {**dask_cluster._versions(), "Pillow": "10.0.0"}
    monkeypatch.setattr(dask_cluster, "_versions", lambda: other)
    with pytest.raises(UserError, match=r"^worker tcp\S+ has Pillow .* client has 10\.0\.0: inst"):
        convert(tmp_path, cluster.address)
    monkeypatch.undo()
    # One that joins later is asked by each task.
    work = dask_cluster._Work(create_from_images, Output("x/foo", shards=2), "x", str(tmp_path))
    with cluster.client() as client, pytest.raises(UserError, match=r"^worker tcp.* does not see"):
        client.submit(work.write, 0).result()


@pytest.fixture
def without_package(tmp_path_factory):
    """Environment of a process that cannot import our package, installed or not."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "training.py").write_text("raise ModuleNotFoundError(\"No module named 'training'\")")
    return {"PYTHONPATH": str(folder)}


def test_a_worker_that_does_not_answer_is_named(tmp_path, cluster, monkeypatch):
    cluster.wait_for(2)
    monkeypatch.setattr(dask_cluster, "_WORKERS_SECONDS", 2.0)
    cluster.b.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(UserError, match=r"^worker tcp\S+ does not answer, within 2 seconds"):
            convert(tmp_path, cluster.address)
    finally:
        cluster.b.send_signal(signal.SIGCONT)
    assert os.listdir(tmp_path) == []


def test_a_worker_without_the_package_is_named(tmp_path, cluster, without_package):
    stranger = cluster.start_worker("stranger", **without_package)
    cluster.wait_for(3)
    try:
        with pytest.raises(UserError, match=r"^worker tcp\S+ cannot use this package: .*No module"):
            convert(tmp_path, cluster.address)
    finally:
        stranger.kill()
    assert os.listdir(tmp_path) == []


def test_a_scheduler_without_workers_or_the_package(
    tmp_path, tmp_path_factory, without_package, monkeypatch
):
    monkeypatch.setattr(dask_cluster, "_WORKERS_SECONDS", 1.0)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), **without_package)
    try:
        cluster.client().close()  # It is there.
        with pytest.raises(UserError, match=r"has no workers: start some with dask worker tcp://"):
            convert(tmp_path, cluster.address)
        monkeypatch.setattr(dask_cluster, "_check_workers", lambda *_: None)
        with pytest.raises(UserError, match=r"^scheduler tcp\S+ cannot use this package: install"):
            convert(tmp_path, cluster.address)
    finally:
        cluster.close()
    assert os.listdir(tmp_path) == []


def test_schedulers_that_do_not_answer_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_ANSWER_SECONDS", 1.0)
    with pytest.raises(
        UserError, match=r"^no Dask scheduler at tcp://127.*start one with dask sch"
    ):
        convert(tmp_path, f"127.0.0.1:{free_port()}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(UserError, match="no answer"):
            convert(tmp_path, f"127.0.0.1:{silent.getsockname()[1]}")
    for wrong in ("node7", "node7:0", "http://node7:80", "node7:99999", "a b:1", ""):
        with pytest.raises(UserError, match=r"^--scheduler is .*expected HOST:PORT"):
            convert(tmp_path, wrong)
    assert os.listdir(tmp_path) == []


def test_options_that_do_not_fit(tmp_path, tool, monkeypatch):
    for options in (["--runner=dask"], ["--scheduler=node7:8786"]):
        code, _, stderr = tool("create_demo", tmp_path / "foo", "--shards=2", *options)
        assert code == 2 and "--runner=dask and --scheduler=HOST:PORT belong together" in stderr
    with pytest.raises(UserError, match="give --shards"):
        convert(tmp_path, "node7:8786", shards=1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs Dask: pip install -e"):
        convert(tmp_path, "node7:8786")


def test_workers_and_a_scheduler_that_die_are_one_line(tmp_path, photos, cluster, monkeypatch):
    """The last test, which leaves nothing of the cluster."""
    cluster.wait_for(2)
    running = start_conversion(cluster, tmp_path)
    while not parts(tmp_path, ".far.*.partial"):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    for worker in (cluster.a, cluster.b):
        worker.kill()
    monkeypatch.setattr(dask_cluster, "_WORKERS_SECONDS", 1.0)
    monkeypatch.setattr(dask_cluster, "_check_workers", lambda *_: None)  # They die after it.
    with pytest.raises(UserError, match=r"^all workers of tcp\S+ have died: see their logs$"):
        convert(tmp_path, cluster.address, photos)
    cluster.scheduler.kill()
    stdout, stderr = running.communicate(timeout=120)
    assert (running.returncode, stdout) == (2, "")
    assert stderr.startswith("dataset_tool.py: error: lost Dask's scheduler tcp://127.0.0.1:")
    assert stderr.count("\n") == 1
    assert list(tmp_path.glob("datasets/*")) == []
