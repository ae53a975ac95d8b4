"""Which processes work together, as the command line or a cluster's manager says. No TensorFlow.

A cluster is a list of addresses HOST:PORT, the same in every process, and the place of this one in
it. Whoever starts the processes says so: by `TF_CONFIG` (Kubernetes), by options, or by SLURM.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from dnnlib import schema
from dnnlib.util import UserError, one_line

TF_CONFIG = "TF_CONFIG"
TRY_AGAIN = 75  # Exit code after another worker was lost, as sysexits.h has it.
_LABEL = r"[A-Za-z0-9_-]{1,63}"  # Of a name, between two dots.
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\]")
_MOST = 4096  # Workers.
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0  # For workers to see by themselves that another one has failed.
_PR_SET_PDEATHSIG = 1
# Two jobs may share a machine: a range of ports for each, below those that Linux gives away.
_SLURM_PORTS, _SLURM_RANGES, _SLURM_RANGE = 10_000, 1000, 20


class WorkerLost(UserError):
    """Another worker did not come, ended or does not answer: nothing is wrong here, and all can be
    restarted.
    """


@dataclass(frozen=True)
class Cluster:
    """The processes that work together.

    Attributes:
        addresses: HOST:PORT of each.
        index: of this process.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """A worker for people."""
        return f"worker {index} ({self.addresses[index]})"

    def unreachable(self) -> list[int]:
        """The other workers at whose address nobody listens."""
        others = (i for i in range(len(self.addresses)) if i != self.index)
        return [i for i in others if not _listens(self.addresses[i])]

    def wait_for_others(self, seconds: float) -> None:
        """Waits until there is a server at every address.

        Raises:
            WorkerLost: not within that time; names who is missing.
        """
        deadline = time.monotonic() + seconds
        while missing := self.unreachable():
            if time.monotonic() >= deadline:
                names = ", ".join(map(self.name, missing[:5]))
                more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
                raise WorkerLost(
                    f"{names}{more} could not be reached within {seconds:g} seconds: start all "
                    "workers, look whether one of them ended with an error, and whether a firewall "
                    "is between them (--worker-timeout waits longer)"
                )
            time.sleep(_POLL_SECONDS)


def find_cluster(
    workers: str | None, index: int | None, is_slurm: bool, env: Mapping[str, str]
) -> Cluster | None:
    """The cluster that options or the environment name; None for one process alone.

    Args:
        workers: addresses with commas between them.
        index: place of this process.
        is_slurm: whether SLURM says both.
        env: the environment.

    Raises:
        UserError: says what is wrong.
    """
    if is_slurm:
        found = _of_slurm(env)
    elif workers is not None:
        found = _checked("--workers", workers.split(","), index, "--worker-index")
    elif env.get(TF_CONFIG):
        found = _of_tf_config(env[TF_CONFIG])
    else:
        return None
    return found if len(found.addresses) > 1 else None


def _of_tf_config(text: str) -> Cluster:
    """{"cluster": {"worker": [..]}, "task": {"type": "worker", "index": 0}}; what else TensorFlow
    knows there has no meaning for us, except that a "chief" is the first worker.
    """
    try:
        config = schema.parse_json(text, dict[str, Any])
        jobs = schema.parse(dict[str, list[str]], config.get("cluster"), "cluster")
        task = schema.parse(dict[str, Any], config.get("task"), "task")
        kind = schema.parse(str, task.get("type"), "task.type")
        index = task.get("index")
        index = int(index) if re.fullmatch("[0-9]{1,9}", str(index)) else index
        index = schema.parse(int, index, "task.index")
    except UserError as error:
        raise UserError(
            f"{TF_CONFIG}: {error}; expected "
            '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    kinds = [name for name in ("chief", "worker") if name in jobs]
    if kind not in kinds:
        raise UserError(
            f"{TF_CONFIG}: the task is of type {one_line(kind, 40)!r}: runs have workers only, the "
            "first of which may be called chief"
        )
    if not 0 <= index < len(jobs[kind]):
        raise UserError(f"{TF_CONFIG}: task.index is {index}, but {kind} has {len(jobs[kind])}")
    before = len(jobs["chief"]) if kind == "worker" and "chief" in jobs else 0
    addresses = [address for name in kinds for address in jobs[name]]
    return _checked(f"{TF_CONFIG}: cluster", addresses, before + index, "task.index")


def _checked(where: str, addresses: Sequence[str], index: int | None, place: str) -> Cluster:
    addresses = [address.strip() for address in addresses]
    for address in addresses:
        host, _, port = address.rpartition(":")
        is_port = re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 1 << 16
        if not (is_port and _HOST.fullmatch(host)):
            shown = one_line(address, 60)
            raise UserError(f"{where}: {shown!r} is no address: expected HOST:PORT")
    if twice := [address for i, address in enumerate(addresses) if address in addresses[:i]]:
        raise UserError(f"{where} names {twice[0]} twice: every worker has an address of its own")
    if not 0 < len(addresses) <= _MOST:
        raise UserError(f"{where} names {len(addresses)} workers, expected 1 to {_MOST}")
    if index is None or not 0 <= index < len(addresses):
        last = len(addresses) - 1
        raise UserError(f"{place}={index}: expected the place of this worker, 0 to {last}")
    return Cluster(tuple(addresses), index)


def _of_slurm(env: Mapping[str, str]) -> Cluster:
    """The tasks of a job step, as `srun` tells each of them."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
    names += ("SLURMD_NODENAME", "SLURM_LOCALID")
    if missing := [name for name in names if not env.get(name)]:
        raise UserError(
            f"--slurm: start every worker by srun, which tells it of the others: {missing[0]} is "
            "not set"
        )
    job, nodes, tasks, node, number = (env[name] for name in names)
    try:
        if not (job.isdecimal() and number.isdecimal()):
            raise ValueError("numbers that are none")
        port = _SLURM_PORTS + int(job[-9:]) % _SLURM_RANGES * _SLURM_RANGE
        hosts, counts = _slurm_hosts(nodes), _slurm_counts(tasks)
        own = f"{node}:{port + int(number)}"
        addresses = [
            f"{host}:{port + i}"
            for host, count in zip(hosts, counts, strict=True)
            for i in range(count)
        ]
        index = addresses.index(own)
    except ValueError as error:
        shown = ", ".join(f"{name}={one_line(env[name], 60)}" for name in names)
        raise UserError(
            f"--slurm: what srun tells is not understood ({shown}): give --workers=HOST:PORT,… and "
            "--worker-index=$SLURM_PROCID"
        ) from error
    if max(counts) > _SLURM_RANGE:
        raise UserError(
            f"--slurm: {max(counts)} tasks on a node, at most {_SLURM_RANGE} have ports of their "
            "own: ask for fewer by --ntasks-per-node, and for more devices by --num-gpus"
        )
    return _checked("--slurm", addresses, index, "SLURM_LOCALID")


def _slurm_hosts(text: str) -> list[str]:
    """Names of nodes in the order of SLURM's list, like `n[1-2,5]-ib,login`.

    Raises:
        ValueError: it is something else, or more than there are workers.
    """
    hosts: list[str] = []
    if not re.fullmatch(r"(?:[^\[\]]|\[[0-9,-]+\])+", text):
        raise ValueError(f"no list of nodes: {text}")
    for entry in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        found = [""]
        for literal, ranges in re.findall(r"([^\[\]]+)|\[([\d,-]+)\]", entry):
            parts = [literal] if literal else [n for r in ranges.split(",") for n in _numbers(r)]
            if len(hosts) + len(found) * len(parts) > _MOST:
                raise ValueError("too many nodes")
            found = [begin + part for begin in found for part in parts]
        hosts += found
    if not all(re.fullmatch(r"[\w.-]+", host, re.ASCII) for host in hosts):
        raise ValueError(f"no names of nodes: {hosts[:3]}")
    return hosts


def _numbers(text: str) -> list[str]:
    """`08-10` is 08, 09, 10."""
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 0 <= high - low < _MOST:
        raise ValueError("a range that is none")
    return [f"{number:0{len(first)}}" for number in range(low, high + 1)]


def _slurm_counts(text: str) -> list[int]:
    """`2(x3),1` is 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", part)
        if match is None or len(counts) + int(match[2] or 1) > _MOST:
            raise ValueError(f"no number of tasks: {part}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except (OSError, UnicodeError):  # The latter of names that cannot be.
        return False


def run_local_workers(count: int, command: Sequence[str]) -> int:
    """Runs a command in several processes of this machine, which know each other by `TF_CONFIG`.

    Ctrl-C, SIGTERM and SIGHUP are passed on to all. Where one fails before it knows the others,
    these would wait for it in vain, and are ended.

    Args:
        count: of processes.
        command: program and arguments.

    Returns:
        0 if all ended well, else the exit code of the first one with a reason of its own, which is
        not TRY_AGAIN; the first worker's comes first.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    processes: list[subprocess.Popen] = []
    end_with_parent = _ends_with_parent()
    with ExitStack() as stack:
        stack.enter_context(_passed_on(processes))
        for index in range(count):
            env = {**os.environ, TF_CONFIG: tf_config(addresses, index)}
            # In a group of its own, so that a terminal's Ctrl-C does not come twice.
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
            stack.callback(_end, process)
            processes.append(process)
        return _wait(processes)


def _ends_with_parent() -> Callable[[], Any] | None:
    """What a child calls so that it gets SIGTERM if its parent is killed, where Linux does that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return prctl and partial(prctl, _PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait(processes: list[subprocess.Popen]) -> int:
    codes, running = [], list(processes)
    failed = None  # When one ended by an error of its own, not by a signal.
    while running:
        for process in list(running):
            if (code := process.poll()) is not None:
                running.remove(process)
                failed = failed or (time.monotonic() if code in (1, 2) else None)
                codes.append(code if code >= 0 else 128 - code)
                if process is processes[0]:  # The chief, whom the others follow.
                    codes.insert(0, codes.pop())
        if failed and time.monotonic() - failed > _GRACE_SECONDS:
            reason = next(code for code in codes if code in (1, 2))
            for process in running:
                with suppress(OSError):
                    process.terminate()
            deadline = time.monotonic() + _GRACE_SECONDS
            for process in running:  # Whoever does not end by itself is killed by the caller.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(deadline - time.monotonic(), 0))
            return reason
        time.sleep(0.05)
    reasons = [code for code in codes if code not in (0, TRY_AGAIN)]
    return next(iter(reasons), max(codes))


@contextmanager
def _passed_on(processes: list[subprocess.Popen]):
    def forward(number: int, _frame: Any) -> None:
        for process in processes:
            with suppress(OSError):
                process.send_signal(number)

    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    previous: dict[int, Callable | int | None] = {}
    for number in numbers:
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def tf_config(addresses: Sequence[str], index: int) -> str:
    """`TF_CONFIG` of a worker."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def local_command() -> list[str]:
    """This process's own command without --num-workers, for `run_local_workers`."""
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if word == "--num-workers":
            next(words, None)
        elif not word.startswith("--num-workers="):
            kept.append(word)
    return [sys.executable, sys.argv[0], *kept]
