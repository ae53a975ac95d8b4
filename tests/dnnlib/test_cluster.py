"""Which workers there are, as TF_CONFIG, options and SLURM say it; no other process is started."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib import UserError, cluster
from dnnlib.cluster import find_cluster, local_command, run_local_workers, tf_config

ROOT = Path(__file__).resolve().parents[2]
TWO = ("a:2222", "b:2222")


def find(workers=None, index=None, is_slurm=False, **env):
    return find_cluster(workers, index, is_slurm, env)


def test_options_and_tf_config_say_the_same():
    found = find(TF_CONFIG=tf_config(TWO, 1))
    assert (found.addresses, found.index) == (TWO, 1)
    assert found == find("a:2222, b:2222", 1)
    assert found == find("a:2222,b:2222", 1, TF_CONFIG="of somebody else")
    assert find("[2001:db8::1]:2222,b:2222", 0).addresses[0] == "[2001:db8::1]:2222"


def test_one_process_is_no_cluster():
    assert find() is None and find(TF_CONFIG="") is None
    assert find(TF_CONFIG=tf_config(TWO[:1], 0)) is None


@pytest.mark.parametrize(("kind", "index", "place"), [("chief", 0, 0), ("worker", "1", 2)])
def test_a_chief_is_the_first_worker(kind, index, place):
    config = {"cluster": {"worker": list(TWO), "chief": ["c:1"], "ps": ["d:1"]}}
    config |= {"task": {"type": kind, "index": index}, "environment": "cloud"}
    found = find(TF_CONFIG=json.dumps(config))
    assert (found.addresses, found.index) == (("c:1", *TWO), place)


@pytest.mark.parametrize(
    ("workers", "index", "message"),
    [
        ("a:2222,b:2222", 2, "--worker-index=2: expected the place of this worker, 0 to 1"),
        ("a:2222,b:2222", None, "--worker-index=None"),
        ("a:2222,b", 0, "'b' is no address: expected HOST:PORT"),
        ("a:2222,b:70000", 0, "'b:70000' is no address"),
        ("a:2222,b:22;rm", 0, "is no address"),
        ("a:2222,a:2222", 0, "names a:2222 twice"),
        ("a:2222,b..c:2222", 0, "'b..c:2222' is no address"),  # As of a name that is not set.
        (f"a:2222,{'b' * 64}:2222", 0, "is no address"),
        ("a:2222,b:２２", 0, "is no address"),
    ],
)
def test_lists_that_are_none(workers, index, message):
    with pytest.raises(UserError) as caught:
        find(workers, index)
    assert message in str(caught.value)


SLURM = {
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "1,2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURMD_NODENAME": "n9",
}


def test_slurm_tells_the_nodes_of_a_step():
    found = find(is_slurm=True, **SLURM)
    assert sorted(found.addresses) == ["n10:10240", "n10:10241", "n9:10240"]
    assert found.addresses[found.index] == "n9:10240"
    other = find(is_slurm=True, **{**SLURM, "SLURMD_NODENAME": "n10", "SLURM_LOCALID": "1"})
    assert other.addresses == found.addresses
    assert other.addresses[other.index] == "n10:10241"


@pytest.mark.parametrize(
    ("nodes", "tasks", "hosts"),
    [
        ("n[1-2]-ib,login", "1(x2),2", ["n1-ib", "n2-ib", "login", "login"]),
        (
            "r[0-1]n[08-10,12]",
            "1(x8)",
            [f"r{r}n{n}" for r in "01" for n in ("08", "09", "10", "12")],
        ),
    ],
)
def test_names_of_nodes_as_slurm_shortens_them(nodes, tasks, hosts):
    env = SLURM | {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_TASKS_PER_NODE": tasks}
    env["SLURMD_NODENAME"] = hosts[-1]
    found = find(is_slurm=True, **env)
    assert [address.split(":")[0] for address in found.addresses] == hosts
    assert len(set(found.addresses)) == len(hosts)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *(
            (f"SLURM_STEP_NODELIST={n}", "not understood")
            for n in ("n[1-", "n[1-3", "n[1", "n[1-99999999]", "a b")
        ),
        *((f"SLURM_STEP_TASKS_PER_NODE={n}", "not understood") for n in ("1", "2(x9999999)")),
        ("SLURM_STEP_TASKS_PER_NODE=1,21", "21 tasks on a node, at most 20"),
        ("SLURMD_NODENAME=n7", "SLURMD_NODENAME=n7"),
        ("SLURM_JOB_ID=-5", "not understood"),
        ("SLURM_STEP_NODELIST=n9],n10", "not understood"),
    ],
)
def test_what_slurm_tells_and_is_wrong(setting, message):
    name, _, value = setting.partition("=")
    with pytest.raises(UserError, match=message):
        find(is_slurm=True, **{**SLURM, name: value})


def test_slurm_without_srun_is_an_error():
    with pytest.raises(UserError, match="--slurm: start every worker by srun"):
        find(is_slurm=True, SLURM_JOB_ID="12")


def test_the_own_command_without_what_starts_workers(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "--num-workers", "2", "--a=1", "--num-workers=3"])
    assert local_command() == [sys.executable, "x.py", "--a=1"]


def test_local_workers_know_each_other_and_one_that_fails_is_told():
    code = "import json, os, sys; c = json.loads(os.environ['TF_CONFIG']); "
    code += "sys.exit(10 * len(set(c['cluster']['worker'])) * c['task']['index'])"
    assert run_local_workers(2, [sys.executable, "-c", code]) == 20
    assert run_local_workers(2, [sys.executable, "-c", "pass"]) == 0


def test_numbers_that_are_none_are_no_places():
    for index in ("9" * 5000, "٣", -1, "x"):
        config = {"cluster": {"worker": TWO}, "task": {"type": "worker", "index": index}}
        with pytest.raises(UserError, match=r"TF_CONFIG: task.index"):
            find(TF_CONFIG=json.dumps(config))


def test_who_fails_before_the_others_know_it_ends_them(monkeypatch):
    monkeypatch.setattr(cluster, "_GRACE_SECONDS", 0.3)
    code = "import json, os, sys, time; i = json.loads(os.environ['TF_CONFIG'])['task']['index']; "
    start = time.monotonic()
    assert run_local_workers(3, [sys.executable, "-c", f"{code} time.sleep(99 * i); exit(2)"]) == 2
    assert time.monotonic() - start < 50


@pytest.mark.parametrize(
    ("codes", "expected"), [((1, 75), 1), ((75, 9), 9), ((75, 75), 75), ((0, 3), 3), ((4, 3), 4)]
)
def test_the_code_of_who_has_a_reason(codes, expected):
    """The others end first, since the chief writes what there is to say."""
    code = "import json, os, sys, time; i = json.loads(os.environ['TF_CONFIG'])['task']['index']; "
    code += f"time.sleep(0.3 * (i == 0)); sys.exit({codes!r}[i])"
    assert run_local_workers(2, [sys.executable, "-S", "-c", code]) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl of Linux")
def test_workers_end_with_whoever_started_them(tmp_path):
    worker = "import os, time; open(str(os.getpid()), 'w').close(); time.sleep(60)"
    code = "import sys; from dnnlib.cluster import run_local_workers as run; "
    code += f"run(2, [sys.executable, '-S', '-c', {worker!r}])"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env)
    deadline = time.monotonic() + 60
    while len(os.listdir(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    launcher.kill()
    launcher.wait()
    workers = [int(name) for name in os.listdir(tmp_path)]
    assert len(workers) == 2
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in workers if is_running(pid)]


def is_running(pid):
    """Whether there is such a process that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
