"""The harness notices what it is there for."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import fuzzing
import pytest

from dnnlib import UserError


def read_well(path):
    try:
        json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError):
        raise UserError("it is no JSON") from None


def read_badly(path):
    if not isinstance(json.loads(Path(path).read_bytes()), dict):
        raise UserError("it is no dict")


def crash(path):
    if b"NaN" in Path(path).read_bytes():
        os.kill(os.getpid(), signal.SIGSEGV)


def hang(path):
    if b"NaN" in Path(path).read_bytes():
        time.sleep(60)


def take_memory(path):
    if b"NaN" in Path(path).read_bytes():
        bytearray(b"x") * (300 << 20)


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (read_badly, "JSONDecodeError"),
        (crash, "the process ended with -11"),
        (hang, "nothing after 1 s"),
        (take_memory, "MiB of memory"),
    ],
)
def test_what_breaks_the_rules_is_found(tmp_path, monkeypatch, reader, words):
    if reader is hang:
        monkeypatch.setattr(fuzzing, "TIME_LIMIT_S", 1)
    if reader is take_memory:
        monkeypatch.setattr(fuzzing, "MEMORY_LIMIT", 200 << 20)
    monkeypatch.setattr(fuzzing, "_MAX_FAILURES", 1)
    with pytest.raises(AssertionError, match=words):
        fuzzing.check_reader(reader, [_seed(tmp_path)], 60)


def test_what_keeps_to_them_passes(tmp_path):
    fuzzing.check_reader(read_well, [_seed(tmp_path)], 60)
    contents = [_seed(tmp_path).read_bytes()]
    mutations = {fuzzing.mutate(contents, number) for number in range(60)}
    assert len(mutations) > 50 and fuzzing.mutate(contents, 7) == fuzzing.mutate(contents, 7)


def _seed(folder):
    path = folder / "seed.json"
    path.write_text(json.dumps({"a": [1, 2, {"b": "c"}], "d": 1.5}))
    return path
