"""A run that is ended at random moments, again and again, becomes the run that never was.

    KILLS=10 pytest -n0 tests/training/test_resume_kills.py

kills a run of every configuration ten times, half of them while a file is written; without `KILLS`
one run is ended once in each way. Prints when.
"""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.run.file_names import find_states
from training.run.state import read_state

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--mapping-layers=1", "--snap=3"]
# 50 steps in 25 ticks. With labels; and path length regularization, which config-a does not have.
LONGER = ["--batch=32", "--total-kimg=1.6", "--keep=3"]
CONFIGS = {
    "config-e": ["--config=config-e", "--resolution=8", "--batch-gpu=8"],  # four rounds add up
    "ada": ["--cfg=auto", "--aug=ada", "--mirror=true", "--resolution=8"],
    "config-a": ["--config=config-a", "--lod-kimg=0.4"],  # 16x16 fades in from 0.4 to 0.8
    "unlabeled": ["--config=config-f", "--cond=false", "--resolution=8"],
    "adarv": ["--cfg=auto", "--aug=adarv", "--validation=9", "--resolution=8"],
}
KILLS = int(os.environ.get("KILLS", 0))
CODES = {"SIGINT": [130], "SIGTERM": [143], "SIGINT twice": [-signal.SIGINT, 130]}
CLOCK = ("time", "sec_per_tick", "sec_per_kimg", "maintenance", "peak_memory_gb")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    create_demo(Output(str(folder / "drawn"), shuffle=False, resolution=16), num_images=45)
    return [f"--data-dir={folder}", "--dataset=drawn", *SMALL]


def test_a_run_that_is_ended_in_every_way_is_the_same(tmp_path, data, run_script):
    args = [*data, "--config=config-e", "--resolution=4", "--batch=4", "--total-kimg=0.96"]
    ways = [*CODES, "kill", "kill while writing"]
    random.shuffle(ways)
    # Of 25 ticks; every signal takes the run some ticks further.
    check(tmp_path, args, ways, 12, run_script)


@pytest.mark.skipif(not KILLS, reason="takes minutes: set KILLS=10")
@pytest.mark.parametrize("config", list(CONFIGS))
def test_a_run_that_is_killed_again_and_again_is_the_same(tmp_path, data, config, run_script):
    ways = ["kill", "kill while writing"] * KILLS
    check(tmp_path, [*data, *LONGER, *CONFIGS[config]], ways[:KILLS], 20, run_script)


def check(tmp_path, args, ways, ticks, run_script):
    """Ends a run in these ways one after the other, and compares it with one that was not."""
    done = run_script(["run_training.py", f"--result-dir={tmp_path / 'whole'}", *args])
    assert done.returncode == 0, done.stderr
    [whole] = (tmp_path / "whole").iterdir()
    results = tmp_path / "ended"
    moments = sorted(random.uniform(0, ticks) for _ in ways)
    for moment, way in zip(moments, ways, strict=True):
        has_state = bool(list(results.glob("*/training-state-*.npz")))
        again = ["--resume=latest"] if has_state else args
        end_at(moment, way, [f"--result-dir={results}", *again], results)
        run_dir = max(results.iterdir())  # Those before it were ended before their first state.
        # What nobody writes again under this name is removed all the same.
        (run_dir / ".training-state-000000.001.npz.dead.partial").write_text("half")
        if "kill" in way and (run_dir / "stats.jsonl").exists():
            with open(run_dir / "stats.jsonl", "a") as file:
                file.write('{"kimg": 0.5')  # as a crash of the machine may leave it
    # The same command with --resume added, and from another folder.
    last = ["run_training.py", *args, f"--resume={run_dir}"]
    done = run_script(last, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(run_dir, whole)
    assert (run_dir / "log.txt").read_text().count("Resuming") >= min(len(ways), 2)


def end_at(moment, way, args, results):
    """Starts a process, and ends it after so many ticks, or then as soon as it writes a file.

    A process that is killed may not have begun to train yet; one that gets a signal has.
    """
    before = lines_of(results, "log.txt", b"tick ")
    abandoned = unfinished(results)
    command = [sys.executable, str(ROOT / "run_training.py"), *args]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while lines_of(results, "stats.jsonl", b"{") < moment or (
        way in CODES and lines_of(results, "log.txt", b"tick ") == before
    ):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(moment % 1 * 0.1)  # Anywhere in a tick.
    if way in CODES:
        assert_ends_well(process, way)
    else:
        while "writing" in way and unfinished(results) <= abandoned and process.poll() is None:
            pass
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it was killed"
    print(f"{way} after {moment:.1f} ticks", *(unfinished(results) - abandoned))


def unfinished(results):
    """Names of files that are being written, or were when a process was killed."""
    return {p.name for p in results.glob("*/.*-*.partial")}


def lines_of(results, name, start):
    paths = list(results.glob(f"*/{name}"))
    return sum(line.startswith(start) for p in paths for line in p.read_bytes().splitlines())


def assert_ends_well(process, way):
    """The step is finished, and all is saved that was not reported yet."""
    os.kill(process.pid, signal.SIGSTOP)
    process.send_signal(getattr(signal, way.split()[0]))
    os.kill(process.pid, signal.SIGCONT)
    while "twice" in way and process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, err = process.communicate(timeout=120)
    assert process.returncode in CODES[way], err
    assert "once more stops at once" in err and "Traceback" not in err


def assert_same_run(run_dir, whole):
    """Every file, every number: weights, moments of Adam, means, p, losses, pictures."""
    by_clock = ("log.txt", "stats.jsonl", "report.html")
    names, expected = (
        {p.name for p in f.iterdir() if not p.name.startswith("events")} for f in (run_dir, whole)
    )
    # A signal leaves a state where it ended the run, which takes the place of an older one.
    ended = re.findall(r"Ended at ([\d.]+) kimg", (run_dir / "log.txt").read_text())
    by_signals = {f"training-state-{float(kimg):010.3f}.npz" for kimg in ended}
    states, others = ({os.path.basename(s) for s in find_states(f)} for f in (run_dir, whole))
    assert states - others <= by_signals and max(states) == max(others)
    assert len(states) == len(others)
    assert names - states == expected - others
    for name in names - states:
        if not name.startswith(by_clock):
            assert (run_dir / name).read_bytes() == (whole / name).read_bytes(), name
    for name in states & others:
        assert_same_state(run_dir / name, whole / name)
    assert rows_of(run_dir) == rows_of(whole)
    assert curves_of(run_dir) == curves_of(whole)


def assert_same_state(path, expected):
    states = [read_state(p) for p in (path, expected)]
    assert len({str(uncounted(state.counters)) for state in states}) == 1
    variables, others = (state.arrays for state in states)
    for name in ("weight/TrainG_1", "weight/TrainD_1", "dlatent_avg", "augment_p", "pl_mean"):
        assert any(name in variable for variable in variables), (name, list(variables))
    assert list(variables) == list(others)
    for name, value in variables.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)


def uncounted(counters):
    """Without what depends on the clock."""
    return dataclasses.replace(counters, seconds=0.0, tick_seconds=0.0)


def rows_of(run_dir):
    rows = [json.loads(line) for line in open(run_dir / "stats.jsonl")]
    assert len(rows) >= 25
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def curves_of(run_dir):
    """What TensorBoard itself reads of the files of all sessions: {tag: [(step, value)]}."""
    reader = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    tags = [t for t in reader.Tags()["scalars"] if t.removeprefix("Progress/") not in CLOCK]
    assert any(t.startswith("Loss/") for t in tags)
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in tags}
