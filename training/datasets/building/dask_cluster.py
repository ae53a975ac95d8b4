"""Conversion by the workers of a Dask cluster (`--runner=dask`): a shard is a task, see parts.py.

The client sends shards to workers, again where a worker has died, and publishes the whole dataset.
Scheduler, workers and client execute what they send each other: they belong in a private network.
`distributed` is an optional extra and imported here only.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import queue
import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.features

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.building import parts
from training.datasets.building.merge import merge
from training.datasets.building.output import Output

if TYPE_CHECKING:
    from distributed import Client, Future

_ANSWER_SECONDS = 20.0  # In which a scheduler takes a client.
_WORKERS_SECONDS = 60.0  # In which it has a worker, at first and after the last one has died.
_MARK = "client-is-waiting"  # In the folder of the parts.
_ROOT = Path(__file__).resolve().parents[3]
_ONE_AT_A_TIME = threading.Lock()  # The working folder and stdout are those of a whole process.


def run(create: Callable[[Output], None], output: Output, scheduler: str) -> None:
    """Makes a dataset on a Dask cluster; whole or not at all.

    Args:
        create: an importer with all its arguments but the output bound; is pickled for workers.
        output: The dataset to make. Its shards are what is done in parallel.
        scheduler: its address, like "node7:8786", or "tls://node7:8786" with the certificates that
            Dask's own configuration names.

    Raises:
        UserError: Dask is not installed, no scheduler or worker answers, workers have another
            version of the package or do not see the files, or a shard cannot be made.
    """
    parts.check(output)
    address = _address(scheduler)
    try:
        import distributed
    except ImportError as error:
        raise UserError('--runner=dask needs Dask: pip install -e ".[dask]"') from error
    for name in filter(re.compile(r"distributed\b").match, list(logging.root.manager.loggerDict)):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # What matters is raised.
    with parts.folder_of(output) as folder, warnings.catch_warnings():
        Path(folder, _MARK).touch()
        warnings.filterwarnings("ignore", module="distributed")  # Of versions, which we compare.
        _probe(address)
        work = _Work(create, output, folder, os.getcwd())
        try:
            with distributed.Client(
                address, timeout=_ANSWER_SECONDS, set_as_default=False
            ) as client:
                _check_workers(client, address, work)
                done = _do_shards(client, address, work)
        except (OSError, distributed.TimeoutError, CancelledError) as error:
            if getattr(error, "errno", None) is not None:  # Of a file, on a worker.
                raise
            raise UserError(f"lost Dask's scheduler {address}: {one_line(error)}") from error
        merge(output.tfrecord_dir, done)


@dataclass(frozen=True)
class _Work:
    """What a worker has to know; the method that it calls gets the number of a shard.

    Attributes:
        create, output: see `run`.
        folder: for the parts, on a disk that all share.
        cwd: working folder of the client, which paths may be relative to.
        versions: of what decides on the bytes of a dataset, as the client has it.
    """

    create: Callable[[Output], None]
    output: Output
    folder: str
    cwd: str
    versions: dict[str, str] = field(default_factory=lambda: _versions())

    def check(self) -> None:
        """Raises a UserError if this process is no worker that can help."""
        other = _versions()
        if different := sorted(k for k in other if other[k] != self.versions.get(k)):
            here, there = ((v.get(different[0]) or "none") for v in (self.versions, other))
            raise UserError(
                f"has {different[0]} {there}, and the client has {here}: install the same there, "
                "and start the worker again"
            )
        for path in (self.cwd, os.path.join(self.folder, _MARK)):
            if not os.path.exists(path):
                raise UserError(f"does not see {path}: it must lie on a disk that all share")

    def write(self, shard: int) -> str:
        """Writes a shard; returns the folder of the part.

        Each attempt has a folder of its own: a worker that was taken for dead may still be writing.
        """
        from distributed import get_worker

        part = os.path.join(self.folder, f"{shard:05}-{uuid.uuid4().hex[:8]}", self.output.name)
        with _ONE_AT_A_TIME:
            before = os.getcwd()
            try:
                self.check()
                os.chdir(self.cwd)
                parts.write(part, shard, self.create, self.output)
            except UserError as error:
                raise UserError(f"worker {get_worker().address}: {error}") from error
            finally:
                os.chdir(before)
                try:
                    os.stat(os.path.join(self.folder, _MARK))
                except FileNotFoundError:  # The client has ended.
                    shutil.rmtree(self.folder, ignore_errors=True)
                except OSError:  # A shared folder that is not there for a moment.
                    pass
        return part


@functools.cache  # As of when a process has imported it.
def _versions() -> dict[str, str]:
    """What must be the same for workers to write the same bytes: our code and the image codecs."""
    code = hashlib.sha256()
    for folder in ("dnnlib", "training/datasets"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            code.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    found = {"code": code.hexdigest()[:12], "Pillow": PIL.__version__, "NumPy": np.__version__}
    # Not zlib: which one a process has depends on what it has loaded before, and pixels do not.
    codecs = ("jpg", "webp", "littlecms2")
    return found | {name: str(PIL.features.version(name)) for name in codecs}


def _address(scheduler: str) -> str:
    match = re.fullmatch(r"(?:(tcp|tls)://)?(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", scheduler)
    if not match or not 0 < int(match[3]) < 65536:
        raise UserError(f"--scheduler is {scheduler!r}: expected HOST:PORT, like node7:8786")
    return f"{match[1] or 'tcp'}://{match[2]}:{match[3]}"


def _probe(address: str) -> None:
    """Raises a UserError if no scheduler answers: Dask's client would wait forever for some."""
    from distributed.comm import connect
    from distributed.security import Security

    async def attempt() -> None:
        arguments = Security().get_connection_args("client")
        opening = connect(address, timeout=_ANSWER_SECONDS / 2, **arguments)
        comm = await asyncio.wait_for(opening, _ANSWER_SECONDS)
        comm.abort()

    try:
        asyncio.run(attempt())
    except Exception as error:  # What answers may be anything.
        reason = one_line(error) or "no answer"
        raise UserError(
            f"no Dask scheduler at {address} ({reason}): start one with dask scheduler, or correct "
            "--scheduler"
        ) from error


def _check_workers(client: Client, address: str, work: _Work) -> None:
    """Raises a UserError if there are no workers, or one of them cannot help."""
    from distributed import TimeoutError

    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
    answers = _ask_all(client, work)
    if not answers:
        raise UserError(
            f"scheduler {address} has no workers: start some with dask worker {address}"
        )
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, UserError):
            raise UserError(f"worker {worker} {answer}") from answer
        if answer is not None:
            raise UserError(
                f"worker {worker} cannot use this package: {one_line(answer)}: install it there, "
                "in the same version"
            ) from answer


def _ask_all(client: Client, work: _Work) -> dict[str, Any]:
    """What `work.check` returns, or raises, on each worker.

    Raises:
        UserError: a worker does not answer, as one that is stopped.
    """
    from distributed import TimeoutError

    answers: dict[str, Any] = {}

    def ask(worker: str) -> None:
        with suppress(OSError, TimeoutError, CancelledError):  # It has gone, or the client has.
            answers.update(client.run(work.check, workers=[worker], on_error="return"))

    threads = {
        worker: threading.Thread(target=ask, args=[worker], daemon=True)
        for worker in client.nthreads()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + _WORKERS_SECONDS
    for worker, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise UserError(
                f"worker {worker} does not answer, within {_WORKERS_SECONDS:g} seconds: end it, or "
                "start it again"
            )
    return answers


def _do_shards(client: Client, address: str, work: _Work) -> list[str]:
    """The folders of all parts, in order."""
    from distributed.scheduler import KilledWorker

    futures = client.map(work.write, range(work.output.shards), pure=False)
    finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(finished.put)
    for _ in tqdm(futures, unit="shard", desc="shards", disable=None):
        future = _next(finished, client, address)
        try:
            future.result()
        except KilledWorker as error:
            raise UserError(
                "several workers died while writing the same shard, perhaps out of memory: see "
                "their logs, or give more --shards"
            ) from error
        except RuntimeError as error:
            if "deserialization" not in str(error):
                raise
            raise UserError(
                f"scheduler {address} cannot use this package: install it there, in the same "
                "version"
            ) from error
    return [future.result() for future in futures]


def _next(finished: queue.SimpleQueue[Any], client: Client, address: str) -> Future:
    """The next task that has ended; raises a UserError if there are no workers any more."""
    while True:
        with suppress(queue.Empty):
            return finished.get(timeout=_WORKERS_SECONDS)
        if not client.nthreads() and client.status == "running":
            raise UserError(f"all workers of {address} have died: see their logs")
