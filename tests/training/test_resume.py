"""Runs that are ended and go on: exactly, in their own directory."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from dnnlib import UserError, tflib
from training import training_state
from training.datasets.build import Output
from training.datasets.demo_dataset import create_demo
from training.options import preset
from training.resume import find_run, find_states, resumed_options, state_path

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--config=config-e",
    "--batch=8",
    "--fmap-base=32",
    "--fmap-max=4",
    "--latent-size=4",
    "--mapping-layers=1",
    "--total-kimg=0.6",
    "--snap=3",
]
CLOCK = ("time", "sec_per_tick", "sec_per_kimg", "maintenance", "peak_memory_gb")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=8), num_images=36)
    return [f"--data-dir={folder}", "--dataset=drawn", *SMALL]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data, run_script):
    """A run that was never ended: its directory."""
    results = tmp_path_factory.mktemp("whole")
    done = run_script(["run_training.py", f"--result-dir={results}", *data])
    assert done.returncode == 0, done.stderr
    return next(results.iterdir())


def start(results, *args):
    command = [sys.executable, str(ROOT / "run_training.py"), f"--result-dir={results}", *args]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_rows(process, results, count):
    """Until the run has reported so many ticks."""
    while True:
        rows = sum(len(open(p).readlines()) for p in Path(results).glob("*/stats.jsonl"))
        if rows >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def rows_of(run_dir):
    rows = [json.loads(line) for line in open(run_dir / "stats.jsonl")]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def assert_same_run(run_dir, whole):
    """Every reported number, every weight, every picture."""
    assert rows_of(run_dir) == rows_of(whole)
    for name in ("network-final.pkl", "fakes000000.png"):
        assert (run_dir / name).read_bytes() == (whole / name).read_bytes(), name
    states = [np.load(find_states(str(d))[-1]) for d in (run_dir, whole)]
    assert states[0].files == states[1].files
    for name in states[0].files:
        if name != "meta":
            np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, data, whole_run, run_script):
    process = start(tmp_path, *data)
    wait_for_rows(process, tmp_path, random.randint(5, 15))
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    process.communicate()
    run_dir = next(tmp_path.iterdir())
    with open(run_dir / "stats.jsonl", "a") as file:
        file.write('{"kimg": 0.5')  # as a crash of the machine may leave it
    done = run_script(["run_training.py", f"--result-dir={tmp_path}", "--resume=latest"])
    assert done.returncode == 0, done.stderr
    assert "Resuming" in done.stdout and list(tmp_path.iterdir()) == [run_dir]
    assert_same_run(run_dir, whole_run)
    log = (run_dir / "log.txt").read_text()
    assert log.count("Constructing networks") == 2 and "tick 0 " in log
    events = [tf.train.summary_iterator(str(p)) for p in sorted(run_dir.glob("events*"))]
    assert len(events) == 2
    logs = [e.session_log.status for e in events[1] if e.HasField("session_log")]
    assert tf.SessionLog.START in logs  # by which TensorBoard forgets what happens again


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_saves(tmp_path, data, whole_run, run_script, number, code):
    """Between two states: with all of what was not reported yet."""
    process = start(tmp_path, *data)
    wait_for_rows(process, tmp_path, 5)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    run_dir = next(tmp_path.iterdir())
    assert f"--resume={run_dir}" in out and "once more stops at once" in err
    assert "Traceback" not in err
    # The same command with --resume added, and from another folder.
    args = ["run_training.py", f"--result-dir={tmp_path}", *data, f"--resume={run_dir}"]
    done = run_script(args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(run_dir, whole_run)


def test_a_second_signal_stops_at_once(tmp_path, data):
    process = start(tmp_path, *data, "--total-kimg=50", "--snap=1000")
    wait_for_rows(process, tmp_path, 1)
    os.kill(process.pid, signal.SIGSTOP)  # both arrive before the step is over
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    process.communicate()
    assert process.returncode in (-signal.SIGINT, 130)


def test_a_run_can_be_made_longer(tmp_path, whole_run, run_script):
    copy = tmp_path / whole_run.name
    shutil.copytree(whole_run, copy)
    assert len(find_states(str(copy))) == 1
    args = ["run_training.py", f"--resume={copy}"]
    done = run_script(args)
    assert done.returncode == 2 and "give a larger --total-kimg" in done.stderr
    # Ended after its last step, before its last file.
    (copy / "network-final.pkl").unlink()
    done = run_script(args)
    assert done.returncode == 0, done.stderr
    final = (copy / "network-final.pkl").read_bytes()
    assert final == (whole_run / "network-final.pkl").read_bytes()
    assert rows_of(copy) == rows_of(whole_run)
    done = run_script([*args, "--total-kimg=1.1", "--keep=1"])
    assert done.returncode == 0, done.stderr
    assert rows_of(copy)[-1]["kimg"] == 1.104
    assert [os.path.basename(p) for p in find_states(str(copy))] == ["training-state-000001.npz"]


def test_what_cannot_be_resumed_is_one_line(tmp_path, data, whole_run, run_script):
    (tmp_path / "empty").mkdir()
    shutil.copytree(whole_run, tmp_path / "stateless")
    for path in (tmp_path / "stateless").glob("training-state-*"):
        path.unlink()
    for args, words in [
        (["--resume=latest"], "no run in results has a training-state"),
        (["--resume=nowhere"], "--dataset is missing"),
        (["--resume=empty"], "the folder holds nothing to go on from"),
        (["--resume=stateless"], "holds no training-state-*.npz"),
        (["--resume=latest", "--gamma=5"], "leave out --gamma"),
        ([*data, f"--resume={whole_run}", "--gamma=5"], "was started with D_loss_args.gamma 100.0"),
        ([*data, f"--resume={whole_run}", "--batch=16"], "minibatch_size_base 8, not 16"),
    ]:
        done = run_script(["run_training.py", *args], cwd=tmp_path)
        assert done.returncode == 2, (args, done.stderr)
        assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_the_newest_run_is_found(tmp_path):
    for i, (name, kimg) in enumerate([("00000-a", 9), ("00001-b", 2), ("00002-a", 0)]):
        (tmp_path / name).mkdir()
        for number in range(kimg):
            path = tmp_path / name / f"training-state-{number * 1000:06}.npz"
            path.write_bytes(b"")
            os.utime(path, (100 - i, 100 - i))
    assert find_run(str(tmp_path), "latest")[1].endswith("00000-a/training-state-008000.npz")
    assert find_run(str(tmp_path), "latest", "b")[1].endswith("00001-b/training-state-001000.npz")
    with pytest.raises(UserError, match="no run called NNNNN-c"):
        find_run(str(tmp_path), "latest", "c")


def test_options_come_back(tmp_path):
    options = preset("config-a")
    options.dataset_args = {"tfrecord_dir": "/data/a"}
    path = tmp_path / "training_options.json"
    path.write_text(json.dumps(options.to_json()))
    assert resumed_options(str(tmp_path), None) == options
    options.total_kimg = 5.0
    options.dataset_args["tfrecord_dir"] = "/moved/a"
    assert resumed_options(str(tmp_path), options).dataset_args == options.dataset_args
    for content, reason in [("{", "cannot read"), ("[]", "cannot read"), ('{"x": 1}', "no 'x'")]:
        path.write_text(content)
        with pytest.raises(UserError, match=reason):
            resumed_options(str(tmp_path), None)


def test_states_are_whole_and_strict(tmp_path, session):
    a = tf.get_variable("a", initializer=np.float32([1, 2]))
    tflib.init_uninitialized_vars()
    path = state_path(str(tmp_path), 3_200)
    training_state.save_state(path, {"n": 5}, keep=2)
    tflib.set_vars({a: np.float32([7, 8])})
    assert training_state.load_state(path) == {"n": 5}
    np.testing.assert_array_equal(tflib.run(a), [1, 2])

    content = Path(path).read_bytes()
    for broken in (content[:-30], b"", b"text", content[:100]):
        Path(path).write_bytes(broken)
        with pytest.raises(UserError, match="cannot read state"):
            training_state.load_state(path)
    Path(path).write_bytes(content.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(UserError, match=r"cannot read state|has format 2, this version reads 1"):
        training_state.load_state(path)
    Path(path).write_bytes(content)
    b = tf.get_variable("b", initializer=np.float32(0))
    tflib.init_uninitialized_vars([b])
    with pytest.raises(UserError, match=r"does not fit this run: b:0 is missing"):
        training_state.load_state(path)

    for kimg in (4, 5, 6):
        training_state.save_state(state_path(str(tmp_path), kimg * 1000), {}, 2)
    names = [os.path.basename(p) for p in find_states(str(tmp_path))]
    assert names == ["training-state-000005.npz", "training-state-000006.npz"]
    with pytest.raises(UserError, match="cannot write state"):
        training_state.save_state(str(tmp_path / "no/x.npz"), {}, 2)


def test_another_graph_is_named(tmp_path):
    path = state_path(str(tmp_path), 0)
    for shape, names, reason in [
        ([2], ["a"], None),
        ([3], ["a"], r"a:0 has shape \[2\], not \[3\]"),
        ([2], ["b"], r"b:0 is missing; a:0 has no place"),
        ([2], [f"v{i}" for i in range(9)], "and 5 more"),
    ]:
        with tflib.graph_session():
            for name in names:
                tf.get_variable(name, initializer=np.zeros(shape, np.float32))
            tflib.init_uninitialized_vars()
            if reason is None:
                training_state.save_state(path, {}, 2)
                continue
            with pytest.raises(UserError, match=reason):
                training_state.load_state(path)
