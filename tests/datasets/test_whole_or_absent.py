"""Builds that are killed, interrupted, or run out of disk: a dataset is whole or not there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, str(ROOT / "dataset_tool.py"), "create_from_images"]


def make_photos(folder, count, size):
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", size, (i, i, i)).save(folder / f"{i}.png")
    return folder


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    photos = make_photos(tmp_path / "photos", 60, (64, 64))
    shell = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *COMMAND]  # files up to 100 kB
    done = subprocess.run(
        [*shell, str(tmp_path / "foo"), str(photos)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("dataset_tool.py: error: cannot write dataset foo in ")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_interrupt_leaves_nothing(tmp_path, number, code, word):
    Image.effect_noise((512, 512), 90).save(tmp_path / "noise.jpg")
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2000):
        os.link(tmp_path / "noise.jpg", photos / f"{i}.jpg")
    parent = tmp_path / "datasets"
    parent.mkdir()
    building = subprocess.Popen(
        [*COMMAND, str(parent / "foo"), str(photos), "--resolution=256"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(parent.glob(".foo.*.partial/*-r08.tfrecords")):
        assert building.poll() is None, building.communicate()
        time.sleep(0.02)
    building.send_signal(number)
    out, err = building.communicate(timeout=60)
    assert (building.returncode, out, err) == (code, "", f"dataset_tool.py: {word}\n")
    assert os.listdir(parent) == []


KILL_LOOP = """
import os, random, signal, sys, time
from training.datasets.building.build import Output
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.tfrecords import index_records
from training.datasets.format.manifest import read_manifest
from training.datasets.sources import images
photos, target = sys.argv[1:]

def build():  # in a copy of this process, which spares the imports
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        images.create_from_images(Output(target, resolution=64), photos)
        os._exit(0)
    return child

def clear():
    for name in os.listdir(target):
        os.unlink(os.path.join(target, name))
    os.rmdir(target)

start = time.monotonic()
os.waitpid(build(), 0)
duration = time.monotonic() - start
clear()
random.seed(0)
for trial in range(30):
    child = build()
    time.sleep(random.uniform(0, 1.1 * duration))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if os.path.exists(target):
        dataset = find_dataset(target)
        levels = dataset.levels
        counts = [len(index_records(path)) for [path] in levels.values()]
        images_promised = read_manifest(dataset)["images"]
        assert list(levels) == [2, 3, 4, 5, 6], levels
        assert counts == [images_promised] * 5 == [40] * 5, counts
        clear()
        print("whole")
    else:
        print("absent")
print(len(os.listdir(os.path.dirname(target))), "left behind")
os.waitpid(build(), 0)
print(os.listdir(os.path.dirname(target)))
"""


def test_killed_at_any_moment_a_dataset_is_whole_or_absent(tmp_path):
    photos = make_photos(tmp_path / "photos", 40, (200, 150))
    parent = tmp_path / "datasets"
    parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILL_LOOP, str(photos), str(parent / "foo")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *trials, left_behind, finally_there = done.stdout.splitlines()
    assert len(trials) == 30 and trials.count("absent") > 5
    assert int(left_behind.split()[0]) <= 1  # each run removes what the one before it left
    assert finally_there == "['foo']"
