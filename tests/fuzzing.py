"""Readers under thousands of damaged files.

    def read(path):                       # at the top level of a test module
        snapshots.load(path)

    fuzzing.check_reader(read, [seed_path, …], count=2000)

Every input is a mutation of one of the seeds, a function of its number alone, so that a failure can
be looked at again: `fuzzing.mutate(contents, number)`. Readers run in a child process, many inputs
in one, which is started again after a crash only. What may come out is a result or a UserError;
anything else, more than 30 s an input, or more than 2 GB of memory fails the test.
"""

from __future__ import annotations

import copy
import importlib
import io
import itertools
import json
import os
import pickletools
import random
import re
import select
import subprocess
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TIME_LIMIT_S = 30
MEMORY_LIMIT = 2 << 30
_STARTING_S = 120  # Importing TensorFlow on a busy machine.
_MAX_FAILURES = 5
_NUMBERS = (
    0,
    1,
    -1,
    127,
    255,
    1 << 15,
    (1 << 16) - 1,
    10**6,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
_NUMBERS += (1 << 33, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_VALUES = (
    None,
    True,
    -1,
    0,
    1.5,
    1 << 40,
    1 << 70,
    1e308,
    float("nan"),
    "",
    "x",
    "../x",
    "\x1b[2J",
)
_VALUES += ([], {}, [1], {"x": 1}, [[[[[]]]]], ["x"] * 1000, "é" * 5000)


def check_reader(
    reader: Callable[[str], Any], seeds: Sequence[str | os.PathLike], count: int
) -> None:
    """Runs a reader on mutations of files and fails where it does not keep to the rules.

    Args:
        reader: top-level function of a test module; gets the path of a file by the name of its
            seed, alone in a folder.
        seeds: good files; the reader must take each of them as it is.
        count: how many mutations.
    """
    reader_name = f"{reader.__module__}:{reader.__qualname__}"
    failures: list[str] = []
    number = -len(seeds)  # The seeds themselves come first.
    with tempfile.TemporaryDirectory() as folder:
        while number < count and len(failures) < _MAX_FAILURES:
            number = _run_child(reader_name, seeds, (number, count), folder, failures)
    if failures:
        raise AssertionError(
            f"{reader_name} on {', '.join(map(str, seeds))}:\n" + "\n".join(failures)
        )


def _run_child(
    reader: str, seeds: Sequence, numbers: tuple[int, int], folder: str, failures: list[str]
) -> int:
    """Inputs in one process, as many as it survives; returns the number of the next input."""
    number, count = numbers
    inputs = Path(folder, "inputs")
    inputs.mkdir(exist_ok=True)
    arguments = map(str, (*numbers, MEMORY_LIMIT, inputs, *seeds))
    command = [sys.executable, __file__, reader, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    log = Path(folder, "log")
    with log.open("wb") as log_file:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log_file, env=environment, bufsize=0
        )
    limit, buffer, started = _STARTING_S, b"", False
    try:
        while True:
            if not select.select([child.stdout], [], [], limit)[0]:
                failures.append(f"input {number}: nothing after {limit} s")
                return number + 1
            data = child.stdout.read(1 << 16)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                what, _, text = line.decode().partition(" ")
                if what == "begin":
                    number, limit, started = int(text), TIME_LIMIT_S, True
                elif what == "fail":
                    failures.append(f"input {number}: {json.loads(text)}")
                elif what == "full":  # A new process has room again.
                    return number + 1
            if len(failures) >= _MAX_FAILURES:
                return count
        if (code := child.wait()) or not started:
            end = log.read_text(errors="replace")[-1500:]
            failures.append(f"input {number}: the process ended with {code}: {end}")
            return number + 1 if started else count
        return count
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _child(reader_name: str, begin: str, end: str, memory: str, folder: str, *seeds: str) -> None:
    """What the child does: a line before each input, and one for each that fails."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # What readers print has no place among our lines.
    from dnnlib import UserError  # The project's: only there where the child runs.

    module, _, name = reader_name.partition(":")
    reader = getattr(importlib.import_module(module), name)
    contents = [Path(seed).read_bytes() for seed in seeds]
    before = None
    for number in range(int(begin), int(end)):
        print("begin", number, file=out)
        path = Path(folder, Path(seeds[number % len(seeds)]).name)
        path.write_bytes(contents[number % len(seeds)] if number < 0 else mutate(contents, number))
        failure = None
        try:
            reader(str(path))
        except UserError as error:
            if number < 0 or len(str(error)) > 2000 or not str(error).strip():
                failure = f"UserError of {len(str(error))} characters: {str(error)[:500]}"
        except BaseException:
            failure = traceback.format_exc(limit=-4)
        if before is None:
            before = _peak()
            _limit_memory(2 * int(memory))
        if failure is not None:
            print("fail", json.dumps(failure), file=out)
        if _peak() - before > int(memory):
            print("fail", json.dumps(f"{(_peak() - before) >> 20} MiB of memory"), file=out)
            print("full", number, file=out)
            return


def _peak() -> int:
    """The most memory that this process had, in bytes."""

    # Not what getrusage says: a process starts with the peak of the one that started it.
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def _limit_memory(size: int) -> None:
    """Twice what is allowed can be claimed at all, so that the machine survives."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + size, resource.RLIM_INFINITY))


def mutate(contents: Sequence[bytes], number: int) -> bytes:
    """The mutation of that number: of the first seed if it is 0, of the second if it is 1, …"""
    rng = random.Random(number)
    content = contents[number % len(contents)]
    ways = [_mutate_bytes] * 2
    for way, fits in (
        (_mutate_json, _is_json),
        (_mutate_zip, _is_zip),
        (_mutate_pickle, _is_pickle),
    ):
        if fits(content):
            ways = [way, way, way, _mutate_bytes]
    return rng.choice(ways)(content, rng, contents)


def _mutate_bytes(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            return bytes(data)
        _mutate_once(data, rng, others or [content])
    return bytes(data)


def _mutate_once(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    # Heads and tails of files say most; what lies between is mostly pixels and weights.
    size = len(data)
    near = min(size - 1, int(rng.expovariate(1) * min(size / 3, 200)))
    place = rng.choice((near, size - 1 - near, rng.randrange(size)))
    length = min(int(rng.expovariate(1) * 40) + 1, size)
    way = rng.randrange(8)
    if way == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif way == 1:
        data[place] = rng.choice((0, 255, 128, 10, 32, rng.randrange(256)))
    elif way == 2:
        del data[place:]
    elif way == 3:
        del data[place : place + length]
    elif way == 4:
        data[place:place] = data[place : place + length] * rng.choice((1, 1, 2, 100))
    elif way == 5:
        width = rng.choice((1, 2, 4, 8))
        value = rng.choice(_NUMBERS) & (1 << 8 * width) - 1
        data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))
    elif way == 6:
        other = rng.choice(others)
        begin = rng.randrange(len(other) or 1)
        data[place : place + length] = other[begin : begin + length * rng.choice((1, 10))]
    else:
        numbers = list(re.finditer(rb"\d+", bytes(data[place : place + 200])))
        if numbers:
            found = rng.choice(numbers)
            data[place + found.start() : place + found.end()] = str(rng.choice(_NUMBERS)).encode()


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), (dict, list))
    except ValueError:
        return False


def _mutate_json(content: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    """Other values in some of the places, names taken away, doubled and mistyped."""
    root = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places: list[tuple[Any, Any]] = []
        stack = [root]
        while stack:
            node = stack.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node))
            places += [(node, key) for key in keys]
            stack += [node[key] for key in keys if isinstance(node[key], (dict, list))]
        if not places:
            return json.dumps(rng.choice(_VALUES)).encode()
        node, key = rng.choice(places)
        way = rng.randrange(6)
        if way == 0:
            del node[key]
        elif way == 1 and isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        elif way == 2:
            other, other_key = rng.choice(places)
            present = other_key in other if isinstance(other, dict) else other_key < len(other)
            node[key] = copy.deepcopy(other[other_key]) if present else None
        else:
            node[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(root).encode()


def _is_zip(content: bytes) -> bool:
    return content.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(content))


def _mutate_zip(content: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    """Mutated members with right checksums, members left out, doubled and renamed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        members = source.infolist()
        chosen = rng.choice(members)
        way = rng.randrange(8)
        for member in members:
            name, data = member.filename, source.read(member)
            if member is chosen:
                if way == 0:
                    continue
                if way == 1:
                    name += rng.choice(("", "x", ".npy", "/", "\x1b[31m"))
                else:
                    data = (_mutate_json if _is_json(data) else _mutate_bytes)(data, rng, [data])
            how = rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
            target.writestr(zipfile.ZipInfo(name), data, how)
    return buffer.getvalue()


def _is_pickle(content: bytes) -> bool:
    try:
        for _ in pickletools.genops(content):  # To the end: many texts begin like a pickle.
            pass
    except ValueError:
        return False
    return True


def _mutate_pickle(content: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    """Operations taken away, doubled, swapped, put elsewhere; arguments mutated."""
    starts = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    parts = [content[a:b] for a, b in itertools.pairwise(starts)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        way = rng.randrange(6)
        if way == 0:
            del parts[place]
        elif way == 1:
            parts[place:place] = parts[other : other + rng.randrange(1, 8)] * rng.choice((1, 2))
        elif way == 2:
            parts[place], parts[other] = parts[other], parts[place]
        elif way == 3:
            parts[place] = parts[other]
        else:
            parts[place] = _mutate_bytes(parts[place], rng)
        parts = parts or [b"."]
    return b"".join(parts)


if __name__ == "__main__":
    sys.path.pop(0)  # The folder of this file, which comes again by PYTHONPATH where it is due.
    _child(*sys.argv[1:])
