"""Runs a function of ours in a process that can be stopped, for data that may hang or crash it.

    with ChildProcess(decode, memory=2 << 30) as child:
        pixels = child.call(content, seconds=10, what="photo.jpg")

The process starts with the first call and serves all that follow; after a crash, or a call that
took too long, the next one starts another. It is a fresh interpreter that imports the function's
module and nothing else: neither threads nor TensorFlow of this process nor its main script.

Arguments and results are None, booleans, numbers, text, bytes, NumPy arrays of numbers, and lists
and dictionaries (with text as keys) of them. They travel as JSON and plain bytes, so that a process
that data has taken over has no way to make this one execute anything.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import importlib
import json
import multiprocessing.spawn
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from dnnlib.util import UserError, one_line

try:
    import resource
except ImportError:  # Windows
    resource = None

_START_SECONDS = 120.0  # To import the function's module, also on a busy machine.
_MAX_MESSAGE = 1 << 31
_LENGTH = struct.Struct("<Q")
# The path comes first, so that nothing is imported from the working folder.
_CODE = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from dnnlib.child_process import _serve; _serve(*sys.argv[1:4])"
)
# Where the parts of a message that are not JSON stand in it.
_BYTES, _ARRAY = "\0bytes", "\0array"
_NUMBERS = "biuf"  # Kinds of dtypes.


class ChildStopped(UserError):
    """The process took too long, ran out of memory or crashed."""


class ChildProcess:
    """A process that calls one function. Threads may share it: their calls wait for each other.

    Args:
        function: of a module, by its own name: the process imports it from there.
        memory: bytes that calls may take beyond what the imports took, where the system can limit
            this (not on Windows and macOS); None: no limit.
    """

    def __init__(self, function: Callable, memory: int | None = None):
        module, name = function.__module__, function.__qualname__
        if module == "__main__" or getattr(sys.modules.get(module), name, None) is not function:
            raise ValueError(f"{module}.{name} is not a function that a module has by this name")
        self._arguments = [module, name, str(memory or 0)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._stderr: deque[bytes] = deque(maxlen=200)
        self._drain: threading.Thread | None = None

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def call(self, *args: Any, seconds: float, what: str) -> Any:
        """Calls the function.

        Args:
            seconds: how long it may take.
            what: what the arguments are of, for messages: a file, for instance.

        Raises:
            ChildStopped: it took too long, ran out of memory or crashed.
            UserError: it raised one; any other exception becomes one with the name of its type.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            reply = self._exchange({"seconds": seconds, "args": list(args)}, seconds, what)
        if "memory" in reply:
            raise ChildStopped(f"{what} takes more memory than is allowed")
        if "error" in reply:
            raise UserError(str(reply["error"]))
        if "unexpected" in reply:
            raise UserError(f"{what}: {reply['unexpected']}")
        return reply["value"]

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        self._end()
        # The executable of multiprocessing is Python's also where Python is part of a program.
        python = os.fsdecode(multiprocessing.spawn.get_executable())
        path = [os.path.abspath(folder) for folder in sys.path]
        self._process = subprocess.Popen(
            [python, "-c", _CODE, *self._arguments, *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._stderr.clear()
        arguments = (self._process.stderr, self._stderr)
        self._drain = threading.Thread(target=_keep_end, args=arguments, daemon=True)
        self._drain.start()
        # Its thread would meet an interpreter that is being taken down, and may abort it.
        atexit.register(self._end_at_exit, os.getpid())
        self._exchange(None, _START_SECONDS, "starting a process")

    def _exchange(self, request: dict | None, seconds: float, what: str) -> dict:
        """Sends a request, if there is one, and waits for the reply."""
        process, is_late = self._process, threading.Event()

        def stop() -> None:
            is_late.set()
            process.kill()  # Whoever waits for its pipes need not any longer.

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        is_well = False
        try:
            if request is not None:
                _send(process.stdin, _pack(request))
            reply = _receive(process.stdout)
            if not isinstance(reply, dict) or len(reply) != 1:
                raise ValueError("no reply")
            is_well = True
            return reply
        except (OSError, EOFError, ValueError, RecursionError) as error:
            process.kill()
            code = process.wait()
            self._drain.join(1)
            reason = _reason(code, self._stderr)
            if is_late.is_set():
                reason = f"takes longer than the {seconds:g} s that are allowed"
            raise ChildStopped(f"{what} {reason}") from error
        finally:
            timer.cancel()
            timer.join()
            if is_late.is_set() or not is_well:  # After Ctrl-C, the reply to come is nobody's.
                self._end()

    def _end_at_exit(self, starter: int) -> None:
        if os.getpid() == starter:  # And not a fork of it.
            self._end()

    def _end(self) -> None:
        if self._process is None:
            return
        atexit.unregister(self._end_at_exit)
        self._process.kill()
        self._process.wait()
        self._drain.join(1)  # Whoever the process started may still hold its stderr.
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        self._process = None


def _keep_end(stderr: IO[bytes], lines: deque[bytes]) -> None:
    """Keeps the end of what a process prints, which is noise unless it crashes."""
    with contextlib.suppress(OSError, ValueError), stderr:
        while line := stderr.readline(1000):
            lines.append(line)


def _reason(code: int, stderr: deque[bytes]) -> str:
    """Why a process ended that was not asked to."""
    lines = [line.decode(errors="replace") for line in stderr if line.strip()]
    telling = [line for line in lines if re.search(r"check failed|terminate|what\(\)", line, re.I)]
    says = f": {one_line((telling or lines)[-1], 200)}" if lines else ""
    if code >= 0:
        return f"ended the process that read it (exit code {code}{says})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "took too much memory: the system has killed the process that read it"
    return f"crashed the process that read it ({name}{says if name == 'SIGABRT' else ''})"


def _pack(message: Any) -> list[bytes]:
    """The parts of a message: JSON, then bytes and arrays."""
    parts = [b""]

    def encode(value: Any) -> dict:
        if isinstance(value, (bytes, bytearray, memoryview)):
            parts.append(bytes(value))
            return {_BYTES: len(parts) - 1}
        if hasattr(value, "__array__"):
            import numpy as np

            array = np.asarray(value)
            if array.dtype.kind not in _NUMBERS:
                raise TypeError(f"an array of {array.dtype} cannot be passed on")
            parts.append(array.tobytes())
            return {_ARRAY: len(parts) - 1, "dtype": array.dtype.str, "shape": array.shape}
        raise TypeError(f"a {type(value).__name__} cannot be passed on")

    parts[0] = json.dumps(message, default=encode).encode()
    return parts


def _send(file: IO[bytes], parts: list[bytes]) -> None:
    """Writes a message: the lengths of its parts, then these."""
    sizes = json.dumps([len(part) for part in parts]).encode()
    file.write(_LENGTH.pack(len(sizes)) + sizes)
    for part in parts:
        file.write(part)
    file.flush()


def _receive(file: IO[bytes]) -> Any:
    """Reads a message. Raises EOFError, or ValueError if it is none."""
    sizes = json.loads(_read(file, _LENGTH.unpack(_read(file, _LENGTH.size))[0]))
    if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ValueError("lengths that are none")
    parts = [_read(file, size) for size in sizes]

    def decode(value: dict) -> Any:
        if _BYTES in value:
            return parts[value[_BYTES]]
        if _ARRAY in value:
            import numpy as np

            dtype = np.dtype(str(value["dtype"]))
            if dtype.kind not in _NUMBERS:
                raise ValueError("an array that is not of numbers")
            # A copy, since arrays of bytes cannot be written to.
            return np.frombuffer(parts[value[_ARRAY]], dtype).reshape(value["shape"]).copy()
        return value

    try:
        return json.loads(parts[0], object_hook=decode)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("a message that is none") from error


def _read(file: IO[bytes], count: int) -> bytes:
    if count > _MAX_MESSAGE:
        raise ValueError("a message that is too long")
    content = file.read(count)
    if len(content) != count:
        raise EOFError
    return content


def _serve(module: str, name: str, memory: str) -> None:
    """The child: imports the function, says that it is ready, answers calls until stdin ends."""
    # Whatever else is printed must not get between the replies.
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for number in (signal.SIGINT, signal.SIGTERM):  # Whoever is meant by them ends this process.
        signal.signal(number, signal.SIG_IGN)
    function = getattr(importlib.import_module(module), name)
    _leave_no_core()
    limit_memory(int(memory))
    _send(replies, _pack({"value": None}))
    while True:
        try:
            request = _receive(requests)
        except EOFError:
            return
        # Should the parent be killed during a call, nobody else would stop it. Needs no GIL.
        faulthandler.dump_traceback_later(request["seconds"] + 5, exit=True)
        _send(replies, _answer(function, request["args"]))
        faulthandler.cancel_dump_traceback_later()


def _answer(function: Callable, args: list) -> list[bytes]:
    try:
        return _pack({"value": function(*args)})
    except UserError as error:
        return _pack({"error": str(error)})
    except MemoryError:
        return _pack({"memory": True})
    except Exception as error:
        text = one_line(error)
        return _pack({"unexpected": type(error).__name__ + (text and f": {text}")})


def limit_memory(memory: int) -> None:
    """Limits what a child may take beyond what its imports took; 0: what the system gives."""
    if resource is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = _taken() + memory if memory else hard
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


@functools.cache
def _taken() -> int:
    """Bytes of data that this process had when it was first asked, where the system says."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _leave_no_core() -> None:
    """A crash leaves no file behind."""
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
