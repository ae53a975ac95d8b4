"""Which workers there are, as TF_CONFIG, options and SLURM say it; no other process is started."""

import json
import sys

import pytest

from dnnlib import UserError
from dnnlib.cluster import find_cluster, local_command, run_local_workers, tf_config

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


def test_slurm_tells_the_nodes_of_a_step(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    found = find(is_slurm=True, **SLURM)
    assert sorted(found.addresses) == ["n10:10240", "n10:10241", "n9:10240"]
    assert found.addresses[found.index] == "n9:10240"
    other = find(is_slurm=True, **{**SLURM, "SLURMD_NODENAME": "n10", "SLURM_LOCALID": "1"})
    assert other.addresses == found.addresses
    assert other.addresses[other.index] == "n10:10241"


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
