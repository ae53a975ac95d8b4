"""Workers as real processes, each forked from one that has TensorFlow already (script_server.py).

pair = Group(2)
runs = pair.start(["run_training.py", …])     the same command for each, with TF_CONFIG
runs[1].send(signal.SIGKILL)
runs[0].wait()                                exit code; then .stdout and .stderr
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from dnnlib.cluster import TF_CONFIG, free_ports, tf_config

ROOT = Path(__file__).resolve().parents[1]


def start_script_server():
    """A process that runs scripts by forks of itself, see script_server.py; it may not be ready."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests/script_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )


class Group:
    """Processes that can run scripts, a number of times one after the other."""

    def __init__(self, count):
        self._folder = tempfile.TemporaryDirectory()
        self._servers = [start_script_server() for _ in range(count)]
        for server in self._servers:
            assert server.stdout.readline() == "ready\n"
        self._number = 0

    def start(self, args, others=(), cwd=ROOT, env=None, count=None):
        """Runs a script in some or all processes, as workers of each other.

        Args:
            args: script and arguments, for worker 0 and, where `others` has no others, for all.
            others: arguments of the workers after it.
            cwd, env: of all; `env` is added to the environment.
            count: how many run; all without.
        """
        commands = [args, *others] if others else [args] * (count or len(self._servers))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
        self._number += 1
        runs = []
        for index, (server, command) in enumerate(zip(self._servers, commands, strict=False)):
            added = {"PYTHONPATH": str(ROOT), TF_CONFIG: tf_config(addresses, index)}
            added |= env or {}
            place = Path(self._folder.name, f"{self._number}-{index}")
            runs.append(Run(server, command, cwd, {**os.environ, **added}, place))
        return runs

    def close(self):
        for server in self._servers:
            server.stdin.close()
            server.wait()
        self._folder.cleanup()


class Run:
    """A script that runs in a process."""

    def __init__(self, server, command, cwd, env, place):
        self._paths = [place.with_suffix(".stdout"), place.with_suffix(".stderr")]
        for path in self._paths:
            path.touch()
        script, *args = map(str, command)
        request = {"script": str(ROOT / script), "args": args, "cwd": str(cwd), "env": env}
        request |= {"stdout": str(self._paths[0]), "stderr": str(self._paths[1]), "timeout": 300}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        self._children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        self.code = None
        self._thread = threading.Thread(target=self._read, args=(server.stdout,), daemon=True)
        self._thread.start()

    def _read(self, stdout):
        self.code = int(stdout.readline())

    @property
    def pid(self):
        while not (found := self._children.read_text().split()) and self.code is None:
            time.sleep(0.01)
        return int(found[0])

    def send(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=300):
        """The exit code, below 0 for a signal."""
        self._thread.join(timeout)
        assert self.code is not None, f"it does not end: {self.stderr}"
        return self.code

    @property
    def stdout(self):
        return self._paths[0].read_text(encoding="utf-8")

    @property
    def stderr(self):
        return self._paths[1].read_text(encoding="utf-8")
