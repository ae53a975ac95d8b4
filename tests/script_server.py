"""Runs scripts of the repository, each in a process of its own that has TensorFlow already.

Importing TensorFlow takes seconds, and some hundred tests run a script. This process imports it
once and then forks for each script: what the script does is done as if Python had been started
for it. Requests are lines of JSON on stdin, {"script", "args", "cwd", "env", "stdout", "stderr",
"timeout"}, the last two of them files to write; each is answered by the exit code on a line, and a
script that takes too long is killed.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from typing import Any

_POLL = 0.005  # Seconds.


def _run(request: dict[str, Any]) -> None:
    """Becomes the script; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, request["stdout"], os.O_WRONLY | os.O_TRUNC),
            (2, request["stderr"], os.O_WRONLY | os.O_TRUNC),
        ):
            os.dup2(os.open(name, flags), number)
        sys.stdin = open(0)
        sys.stdout = open(1, "w", encoding="utf-8")  # Buffered, as a pipe is.
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace")
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = [request["script"], *request["args"]]
        sys.path[0] = os.path.dirname(request["script"])
        runpy.run_path(request["script"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        import atexit

        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _wait(child: int, seconds: float) -> int:
    """The exit code of a child, below 0 for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_POLL)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jinja2  # noqa: F401
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import PIL.Image  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import tensorflow.compat.v1 as tf

    # What the scripts import of ours; more than one of them needs each.
    import training.config.command_line
    import training.pictures.walk_videos
    import training.training_loop  # noqa: F401

    tf.logging.set_verbosity(tf.logging.ERROR)
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        print(_wait(child, request["timeout"]), file=answers, flush=True)


if __name__ == "__main__":
    main()
