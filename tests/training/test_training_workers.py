"""Several workers, real processes, against one process with as many replicas; and their ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from worker_processes import Group

from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.run.file_names import find_states
from training.run.state import read_state

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
pytestmark = pytest.mark.skipif(not CHILDREN.exists(), reason="needs /proc, as Linux has it")

SMALL = ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--mapping-layers=1"]
# 25 ticks of eight steps, in rounds of two images on each of two replicas; with labels.
LAZY = ["--config=config-e", "--resolution=4", "--batch=8", "--batch-gpu=2", "--total-kimg=1.6"]
LAZY += ["--snap=4", "--keep=9"]
# 16x16 fades in from 0.04 to 0.08 kimg; p follows held-out images.
GROWING = ["--config=config-a", "--lod-kimg=0.04", "--batch=4", "--total-kimg=0.1", "--snap=99"]
GROWING += ["--aug=adarv", "--validation=9", "--augpipe=blit", "--target=0"]
LIMIT, SHORT = 90, 15  # Seconds.
CLOCK = {"time", "sec_per_tick", "sec_per_kimg", "maintenance", "peak_memory_gb"}


@pytest.fixture(scope="module")
def pair():
    group = Group(2)
    yield group
    group.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=16), num_images=45)
    return [f"--data-dir={folder}", "--dataset=drawn", *SMALL]


def command(*args):
    return ["run_training.py", f"--worker-timeout={LIMIT}", *args]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data, pair):
    """A run of two workers that nothing disturbs."""
    results = tmp_path_factory.mktemp("whole")
    run_in_pair(pair, command(*data, *LAZY, f"--result-dir={results}"))
    [run_dir] = results.iterdir()
    return run_dir


def run_in_pair(pair, args, **kwargs):
    runs = pair.start(args, **kwargs)
    for run in runs:
        assert run.wait() == 0, run.stderr
    return runs


def variables(run_dir):
    arrays = read_state(find_states(str(run_dir))[-1]).arrays
    return {name: a for name, a in arrays.items() if not name.startswith("Autosummary")}


def rows(run_dir):
    lines = (run_dir / "stats.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def assert_same_variables(run_dir, expected):
    found, others = variables(run_dir), variables(expected)
    assert found.keys() == others.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-4, atol=1e-5, err_msg=name)


def assert_up_to_rounding(run_dir, expected):
    assert_same_variables(run_dir, expected)
    for row, other in zip(rows(run_dir), rows(expected), strict=True):
        assert row == pytest.approx(other, rel=1e-2, abs=1e-4)


@pytest.fixture
def alone(run_script, tmp_path):
    """Trains in one process, with two replicas."""

    def run(*args):
        done = run_script(["run_training.py", "--num-gpus=2", f"--result-dir={tmp_path}", *args])
        assert done.returncode == 0, done.stderr
        assert "TensorFlow graph on /cpu:0, /cpu:0..." in done.stdout
        return tmp_path / "00000-stylegan2-drawn-2gpu-config-e"

    return run


def test_two_workers_are_one_machine_with_two_replicas(data, whole, alone):
    one = alone(*data, *LAZY)
    assert whole.name == one.name
    assert len(rows(one)) == 26 and rows(one)[-1]["kimg"] == 1.6
    assert_up_to_rounding(whole, one)
    assert {p.name for p in whole.iterdir() if "event" not in p.name} == {
        p.name for p in one.iterdir() if "event" not in p.name
    }


def test_one_process_resumes_what_two_workers_began(tmp_path, data, whole, pair, run_script):
    """And before that, these go on by the path of the run, which the chief alone has."""
    results = tmp_path / "results"
    run_in_pair(pair, command(*data, *LAZY, "--total-kimg=0.4", f"--result-dir={results}"))
    [run_dir] = results.iterdir()
    go_on = command("--total-kimg=0.8", f"--resume={run_dir}")
    elsewhere = command("--total-kimg=0.8", "--resume=elsewhere/00000-run", data[0])
    run_in_pair(pair, go_on, others=[elsewhere])
    done = run_script(["run_training.py", f"--resume={run_dir}", "--total-kimg=1.6"])
    assert done.returncode == 0, done.stderr
    assert_same_variables(run_dir, whole)


def test_the_chief_alone_has_the_snapshot_that_they_begin_with(tmp_path, data, whole, pair):
    short = [*data, *LAZY, "--total-kimg=0.016", f"--result-dir={tmp_path}"]
    runs = run_in_pair(
        pair,
        command(*short, f"--resume={whole / 'network-final.pkl'}"),
        others=[command(*short, "--resume=elsewhere.pkl")],
    )
    assert "100.0%" in runs[0].stdout
    for run in pair.start(command(*short), others=[command(*short, "--resume=elsewhere.pkl")]):
        assert run.wait() == 2 and 'resume_pkl is "a snapshot" on worker 1' in run.stderr


def test_a_growing_run_with_adarv_too(tmp_path, data, pair, run_script):
    args = [*data, *GROWING]
    run_in_pair(pair, command(*args, f"--result-dir={tmp_path / 'two'}"))
    one = ["run_training.py", "--num-gpus=2", *args, f"--result-dir={tmp_path / 'one'}"]
    done = run_script(one)
    assert done.returncode == 0, done.stderr
    [two], [one] = ((tmp_path / name).iterdir() for name in ("two", "one"))
    assert rows(one)[-1]["augment"] > 0
    assert {row["resolution"] for row in rows(one)} == {8, 16}
    assert_up_to_rounding(two, one)


def test_a_run_that_is_ended_in_every_way_is_the_same(tmp_path, data, whole, pair):
    """SIGTERM, SIGKILL, SIGSTOP of one of them: both end, and together they resume."""
    results = [f"--result-dir={tmp_path}"]
    again = command("--resume=latest", *results)
    runs = pair.start(command(*data, *LAZY, *results))
    wait_for_tick(tmp_path, 3)
    runs[1].send(signal.SIGTERM)
    assert [run.wait() for run in runs] == [143, 143], runs[0].stderr
    assert "Traceback" not in runs[0].stderr + runs[1].stderr
    assert "SIGTERM: finishing the step" in runs[1].stderr
    [run_dir] = tmp_path.iterdir()
    tick = len(rows(run_dir))

    # One that does not resume with the others.
    for run in pair.start(again, others=[command(*data, *LAZY, *results)]):
        assert run.wait() == 2 and 'start is "a new run" on worker 1 (127.0.0.1:' in run.stderr

    # The chief goes on alone for no longer than the limit.
    runs = pair.start(again)
    wait_for_tick(tmp_path, tick + 4)
    runs[1].send(signal.SIGKILL)
    assert_lost(runs[0], r"worker 1 (127.0.0.1:")
    assert runs[1].wait() == -signal.SIGKILL

    # Nor do the others without the chief, even if he only hangs.
    runs = pair.start([*again, f"--worker-timeout={SHORT}"])
    wait_for_tick(tmp_path, tick + 8)
    runs[0].send(signal.SIGSTOP)
    start = time.monotonic()
    assert_lost(runs[1], f"does not answer, within {SHORT} seconds")
    assert time.monotonic() - start > SHORT / 2
    runs[0].send(signal.SIGKILL)
    assert runs[0].wait() == -signal.SIGKILL

    run_in_pair(pair, again)
    found, expected = variables(run_dir), variables(whole)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    final = "network-final.pkl"
    assert (run_dir / final).read_bytes() == (whole / final).read_bytes()


def test_one_that_is_killed_before_the_first_step_is_missed_at_once(tmp_path, data, pair):
    """While the chief writes its first pictures, and waits for nobody."""
    runs = pair.start(command(*data, *LAZY, f"--result-dir={tmp_path}"))
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("*/reals.png")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    runs[1].send(signal.SIGKILL)
    start = time.monotonic()
    assert_lost(runs[0], r"worker 1 (127.0.0.1:")
    assert time.monotonic() - start < LIMIT / 2  # Of six times the limit.
    assert runs[1].wait() == -signal.SIGKILL


def wait_for_tick(results, count):
    deadline = time.monotonic() + 200
    while sum(len(p.read_bytes().splitlines()) for p in results.glob("*/stats.jsonl")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_lost(run, text):
    assert run.wait() == 75
    [line] = [line for line in run.stderr.splitlines() if "error" in line]
    assert text in line and "--resume=latest" in line
    assert "Traceback" not in run.stderr


NAN = """
import json, os
import tensorflow.compat.v1 as tf
from training.loss import G_logistic_ns

def G_sometimes(G, D, opt, training_set, minibatch_size, seed):
    loss, reg = G_logistic_ns(G, D, opt, training_set, minibatch_size, seed=seed)
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        step = tf.Variable(0, trainable=False, name="steps")
        loss /= tf.cast(step.assign_add(1) % 4, tf.float32)
    else:
        tf.Variable(0, trainable=False, name="steps")
    return loss, reg
"""


def test_what_is_not_finite_on_one_worker_skips_the_step_on_all(tmp_path, data, pair):
    (tmp_path / "mine.py").write_text(NAN)
    args = [*data, "--config=config-a", "--resolution=4", "--batch=4", "--total-kimg=0.048"]
    args += ["--snap=99"]  # What is written at the first tick resets the count of steps.
    args += ["--lod-kimg=9", "--G-loss=mine.G_sometimes", f"--result-dir={tmp_path / 'results'}"]
    run_in_pair(pair, command(*args), cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    [run_dir] = (tmp_path / "results").iterdir()
    skipped = [row["TrainG/skipped_steps"] for row in rows(run_dir)]
    assert skipped == [0, *[0, 0, 0, 1] * 2, 0, 0, 0]
    assert all(row["TrainD/skipped_steps"] == 0 for row in rows(run_dir))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (["--gamma=3"], r"D_loss_args.gamma is 3.0 on worker 1 (127.0.0.1:"),
        (["--num-gpus=3", "--batch=24"], "num_gpus is 6 on worker 1"),
        (["--dataset=others"], "content of the dataset is"),
        (["--resume=latest"], 'start is "a resumed run" on worker 1 (127.0.0.1:'),
    ],
)
def test_what_differs_is_refused_on_all(tmp_path, data, pair, other, named):
    folder = data[0].partition("=")[2]
    if not Path(folder, "others").exists():
        out = Output(str(Path(folder, "others")), shuffle=False, resolution=16)
        create_demo(out, num_images=45, seed=7)
    args = command(*data, *LAZY, f"--result-dir={tmp_path / 'results'}")
    runs = pair.start(args, others=[[*args, *other]])
    for run in runs:
        assert run.wait() == 2, run.stderr
        assert named in run.stderr and len(run.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("results/*"))


def alone_with(run_script, data, config, *args, code=2):
    text = config if isinstance(config, str) else json.dumps(config)
    done = run_script(command(*data, *LAZY, *args), env={"TF_CONFIG": text})
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    return line


def cluster_of(*addresses, index=0, kind="worker"):
    return {"cluster": {"worker": list(addresses)}, "task": {"type": kind, "index": index}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG: it is no JSON"),
        ({"cluster": {"worker": ["a:1", "b:1"]}}, "TF_CONFIG: task is None, expected"),
        (cluster_of("a:1", "b:1", index=2), "TF_CONFIG: task.index is 2, but worker has 2"),
        (cluster_of("a:1", "b"), "'b' is no address: expected HOST:PORT"),
        (cluster_of("a:1", "a:1"), "names a:1 twice"),
        (cluster_of("a:1", "b:1", kind="ps"), "the task is of type 'ps'"),
    ],
)
def test_a_cluster_that_is_none_is_one_line(run_script, data, config, message):
    assert message in alone_with(run_script, data, config)


def test_a_peer_that_does_not_come_and_a_port_that_is_taken(run_script, data):
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.bind(("127.0.0.1", 0))
        taken, missing = (f"127.0.0.1:{s.getsockname()[1]}" for s in (one, other))
        one.listen()
        line = alone_with(run_script, data, cluster_of(taken, missing))
        assert f"worker 0 cannot listen on port {taken[10:]}" in line
    line = alone_with(run_script, data, cluster_of(taken, missing), "--worker-timeout=1", code=75)
    assert f"worker 1 ({missing}) could not be reached within 1 seconds" in line


def test_a_batch_that_does_not_divide_is_one_line_on_all(tmp_path, data, pair):
    args = command(*data, *LAZY, "--batch=6", f"--result-dir={tmp_path}")
    for run in pair.start(args):
        assert run.wait() == 2
        assert "--batch=6 is not a multiple of --batch-gpu=2 times 2 replicas" in run.stderr


def test_workers_of_one_machine_end_by_ctrl_c(tmp_path, data):
    """--num-workers starts them, and passes signals on."""
    args = command(*data, *LAZY, "--total-kimg=9", "--num-workers=2", f"--result-dir={tmp_path}")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / args[0]), *args[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    wait_for_tick(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert out.count("Ended at") == out.count("Constructing networks") == 1
    assert err.count("interrupted") == 2 and "Traceback" not in err
    [run_dir] = tmp_path.iterdir()
    assert find_states(str(run_dir))
