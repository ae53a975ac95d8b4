"""Workers: processes that train together by TensorFlow's own collectives (DESIGN D12).

Each has a graph and session of its own, on a `tf.train.Server` of its own. Where their graphs have
the same `CollectiveReduceV2`, numbered by `instance_key`, they compute a sum or maximum of all, to
the same bits everywhere. Only one session with variables may use a server, since another would
overwrite variables of the same names: metrics and the like have sessions of this process alone.

A process alone has the same methods (`Alone`), which add nothing to its graph.
"""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.cluster import Cluster, WorkerLost
from dnnlib.tflib import tfutil
from dnnlib.util import UserError, one_line

# Measured between two processes with 30 M gradients: 0.34 s in buckets of 10 MB, 1.4 s in one,
# 0.36 s with a reduction for each variable.
_BUCKET_BYTES = 12 << 20
_GROUP = 1  # All workers.
# Up to the end of the first step workers may wait for each other longer: one of them reads a
# state, or a dataset for the first time.
_START_LIMITS = 6
_MOST_TEXT = 4 << 20  # Characters that a worker tells the others.
_BEAT_SECONDS = 5.0
# How often it is looked whether the others are still there before a run begins, and how many times
# in a row one has to be missing.
_WATCH_SECONDS, _WATCH_TIMES = 3.0, 2
_END_SECONDS = 5.0  # Within which the port of a worker that has failed is closed.
_BUSY, _DONE, _FAILED = range(3)
_GONE = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


class Signals(Protocol):
    """Signals that came, as `training.run.interrupts.Interrupts` notes them.

    Attributes:
        received: number of the first one, or None.
    """

    received: int | None

    def take(self, number: int) -> None:
        """Notes one that came to another worker; ends what the main thread does."""


class Alone:
    """What a process does that has no others.

    Attributes:
        count: of workers.
        index: of this one; 0 is the chief, who alone writes files.
    """

    count = 1
    index = 0

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    # While a graph is built.

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor's mean over all workers."""
        return list(tensors)

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Its sum over all workers."""
        return tensor

    def once(self) -> bool | tf.Tensor:
        """Whether a statistic that is the same on all workers counts here."""
        return True

    def prepare(self, variables: Iterable[tf.Variable]) -> None:
        """Adds what the methods below need to a graph that is complete otherwise.

        Args:
            variables: for `share`.
        """

    # While it runs.

    @contextmanager
    def session(self, seed: int | None) -> Iterator[tf.Session]:
        """As `tfutil.graph_session`."""
        with tfutil.graph_session(seed) as session:
            yield session

    def run(self, fetches: Any, feed_dict: dict | None = None) -> Any:
        """As `tfutil.run`.

        Raises:
            WorkerLost: another worker does not take part within the limit.
        """
        return tfutil.run(fetches, feed_dict)

    def share(self) -> None:
        """Gives all workers the chief's variables."""

    def most(self, value: float) -> float:
        """The largest of the workers' numbers, in whole numbers if there are several."""
        return value

    def agree(self, signals: Signals) -> int | None:
        """The signal that came, on whichever worker; what `signals` has received from now on."""
        return signals.received

    def leave(self) -> None:
        """From here on the others may end, and nothing waits for them."""

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sums over the workers, of as many numbers every time."""
        return values

    @contextmanager
    def waiting_for_chief(self, signals: Signals) -> Iterator[bool]:
        """A block in which the chief works and the others have nothing to do; whether this is he.

        Raises:
            WorkerLost: one of them ended; the chief says why himself.
        """
        yield True

    # Before a graph is built.

    def tell(self, text: str) -> list[str]:
        """What every worker told."""
        return [text]

    def from_chief(self, compute: Callable[[], Any]) -> Any:
        """What the chief computes, on all workers: a value of JSON, or a UserError."""
        return compute()


ALONE = Alone()


class Workers(Alone):
    """One of several workers.

    Args:
        cluster: all of them.
        limit: seconds that one waits for the others in a step.

    Raises:
        UserError: the port is taken.
        WorkerLost: others could not be reached within the limit.
    """

    def __init__(self, cluster: Cluster, limit: float):
        self.count, self.index = len(cluster.addresses), cluster.index
        self._cluster, self._limit = cluster, limit
        self._keys, self._steps = itertools.count(1), 0
        self._has_left = False
        self._server = self._start_server()
        cluster.wait_for_others(limit)

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        means: list[tf.Tensor] = []
        with tf.name_scope("Workers"):
            for bucket in _buckets(tensors):
                total = self._reduce(_joined(bucket))
                means += _split(total / self.count, bucket)
        return means

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("Workers"):
            return self._reduce(tensor)

    def once(self) -> tf.Tensor:
        return tf.constant(self.is_chief)

    def prepare(self, variables: Iterable[tf.Variable]) -> None:
        with tf.name_scope("Workers"):
            self._pair = tf.placeholder(tf.int32, [2])
            self._most = self._reduce(self._pair, "Max")
            self._beat = self._reduce(self._pair, "Max")
            by_type: dict[tf.DType, list[tf.Variable]] = {}
            for variable in variables:
                by_type.setdefault(variable.dtype.base_dtype, []).append(variable)
            buckets = (b for group in by_type.values() for b in _buckets(group))
            self._share = tf.group(*map(self._give, buckets))
        self._total: tuple[tf.Tensor, tf.Tensor] | None = None

    @contextmanager
    def session(self, seed: int | None) -> Iterator[tf.Session]:
        s = tf.Session(self._server.target, graph=tf.Graph(), config=self._config())
        # Later TensorFlow mostly notices by itself who is gone, and the limit is shorter.
        watched = self._watched(s, lambda: self._steps > 1 or self._has_left)
        with s.graph.as_default(), s, watched:
            tfutil.seed_graph(seed)
            yield s

    def run(self, fetches: Any, feed_dict: dict | None = None) -> Any:
        return self._run(fetches, feed_dict)

    def share(self) -> None:
        self.run(self._share)

    def most(self, value: float) -> int:
        return int(self.run(self._most, {self._pair: [int(value), 0]})[0])

    def agree(self, signals: Signals) -> int | None:
        number = int(self.run(self._most, {self._pair: [0, signals.received or 0]})[1])
        self._steps += 1
        if number:
            signals.take(number)
        return number or None

    def leave(self) -> None:
        self._has_left = True

    def total(self, values: np.ndarray) -> np.ndarray:
        if self._total is None:
            with tf.name_scope("Workers"):
                parts = tf.placeholder(tf.float64, values.shape)
                self._total = parts, self._reduce(parts)
        parts, total = self._total
        return self.run(total, {parts: values})

    @contextmanager
    def waiting_for_chief(self, signals: Signals) -> Iterator[bool]:
        if self.is_chief:
            with self._beating(signals):
                yield True
            return
        yield False
        state = _BUSY
        while state == _BUSY:
            state = self._send_beat(_BUSY, signals)
        if state == _FAILED:
            raise WorkerLost(f"{self._cluster.name(0)} has ended the run, and says why")

    def tell(self, text: str) -> list[str]:
        own = np.frombuffer(text.encode("ascii"), np.uint8)
        length = int(self._reduce_now(np.array([len(own)], np.int32), "Max")[0])
        if length > _MOST_TEXT:
            raise UserError(f"a worker tells the others {length:,} characters, which is too much")
        table = np.zeros([self.count, length], np.int32)
        table[self.index, : len(own)] = own
        table = self._reduce_now(table, "Add")
        return [row[row > 0].astype(np.uint8).tobytes().decode("ascii") for row in table]

    def from_chief(self, compute: Callable[[], Any]) -> Any:
        if not self.is_chief:
            said = json.loads(self.tell("")[0])
            if "error" in said:
                raise UserError(f"{self._cluster.name(0)}: {one_line(said['error'], 2000)}")
            return said["value"]
        try:
            value = compute()
        except UserError as error:
            self.tell(json.dumps({"error": str(error)}))
            raise
        self.tell(json.dumps({"value": value}))
        return value

    def name(self, index: int) -> str:
        """A worker for people."""
        return self._cluster.name(index)

    def _start_server(self) -> tf.train.Server:
        address = self._cluster.addresses[self.index]
        try:
            return tf.train.Server(
                {"worker": list(self._cluster.addresses)},
                job_name="worker",
                task_index=self.index,
                config=self._config(),
            )
        except tf.errors.OpError as error:
            port = address.rpartition(":")[2]
            raise UserError(
                f"worker {self.index} cannot listen on port {port} of {address}: another process, "
                "maybe of an earlier run, has it; end that, or give another port "
                f"({one_line(error.message, 100)})"
            ) from error

    def _config(self) -> tf.ConfigProto:
        config = tfutil.session_config()
        config.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
        # Ops without a device, and those on "/gpu:0", are ours.
        config.device_filters.append(f"/job:worker/replica:0/task:{self.index}")
        return config

    def _reduce(self, tensor: tf.Tensor, operation: str = "Add") -> tf.Tensor:
        """Of all workers; the shape has to be the same whenever it is evaluated."""
        with tf.device("/cpu:0"):
            return tf.raw_ops.CollectiveReduceV2(
                input=tensor,
                group_size=self.count,
                group_key=_GROUP,
                instance_key=next(self._keys),
                ordering_token=[],
                merge_op=operation,
                final_op="Id",
                communication_hint="ring",
            )

    def _give(self, variables: Sequence[tf.Variable]) -> tf.Operation:
        """An op that sets variables of one type to the chief's."""
        group = {"group_size": self.count, "group_key": _GROUP, "instance_key": next(self._keys)}
        if self.is_chief:
            values = _joined([v.read_value() for v in variables])
            with tf.device("/cpu:0"):
                return tf.raw_ops.CollectiveBcastSendV2(input=values, **group).op
        size = sum(v.shape.num_elements() for v in variables)
        dtype = variables[0].dtype.base_dtype
        with tf.device("/cpu:0"):
            values = tf.raw_ops.CollectiveBcastRecvV2(T=dtype, shape=[size], **group)
        parts = zip(variables, _split(values, variables), strict=True)
        return tf.group(*(v.assign(part, read_value=False) for v, part in parts))

    def _reduce_now(self, value: np.ndarray, operation: str) -> np.ndarray:
        """In a graph without variables, which does not disturb another one."""
        with tf.Graph().as_default():
            total = self._reduce(tf.constant(value), operation)
            session = tf.Session(self._server.target, config=self._config())
            session.run(tf.no_op())  # The server knows it now, and can close it.
            with session, self._watched(session):
                return self._run(total, None)

    def _run(self, fetches: Any, feed_dict: dict | None) -> Any:
        limit = self._limit * (1 if self._steps > 1 else _START_LIMITS)
        options = tf.RunOptions(timeout_in_ms=int(limit * 1000))
        start = time.monotonic()
        try:
            return tfutil.run(fetches, feed_dict, options=options)
        except tf.errors.OpError as error:
            text = one_line(error.message, 2000)
            if isinstance(error, tf.errors.InternalError) and "size" in text and "group" in text:
                raise UserError(
                    f"the workers do not agree on how many they are, {self.count} here: give all "
                    "of them the same list"
                ) from error
            if isinstance(error, _GONE) or "Collective ops is aborted" in text:
                waited = time.monotonic() - start >= limit
                raise self._lost(limit if waited else None) from error
            raise

    def _lost(self, limit: float | None = None) -> WorkerLost:
        """Says who is gone; `limit` are the seconds for which somebody has been waited for."""
        deadline = time.monotonic() + (_END_SECONDS if limit is None else 0)
        while not (gone := self._cluster.unreachable()) and time.monotonic() < deadline:
            time.sleep(0.2)  # Who fails takes a moment to end.
        names = ", ".join(map(self._cluster.name, gone))
        what = f"{names} {'has' if len(gone) == 1 else 'have'} ended"
        if not gone and limit is None:
            what = "another worker has left the run"
        elif not gone:
            what = f"another worker does not answer, within {limit:g} seconds (--worker-timeout)"
        return WorkerLost(f"{what}: see what it says, and start all again with --resume=latest")

    @contextmanager
    def _watched(
        self, session: tf.Session, until: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Closes a session, which ends what it runs, when a worker has ended that it waits for.

        Whoever leads an operation waits for all others to begin it, and does not notice that one of
        them is gone.

        Args:
            session: of this worker.
            until: whether it is watched no more.

        Raises:
            WorkerLost: in the place of what the closed session raises in the block.
        """
        is_over, is_closed, lock = threading.Event(), threading.Event(), threading.Lock()

        def watch() -> None:
            missing: dict[int, int] = {}
            while not is_over.wait(_WATCH_SECONDS) and not until():
                missing = {i: missing.get(i, 0) + 1 for i in self._cluster.unreachable()}
                if max(missing.values(), default=0) < _WATCH_TIMES:
                    continue
                with lock:
                    if not is_over.is_set():
                        is_closed.set()
                        session.close()
                return

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except (RuntimeError, tf.errors.OpError) as error:
            if not is_closed.is_set():
                raise
            raise self._lost() from error
        finally:
            with lock:
                is_over.set()

    @contextmanager
    def _beating(self, signals: Signals) -> Iterator[None]:
        """Tells the others now and then that the chief is at work; at the end, how that went."""
        seconds = min(_BEAT_SECONDS, self._limit / 4)
        beats = _Beats(partial(self._send_beat, _BUSY, signals), signals, seconds)
        state = _FAILED
        try:
            yield
            state = _DONE
        finally:
            beats.stop()
            if beats.error is None:
                self._send_beat(state, signals)
        if beats.error is not None:
            raise beats.error

    def _send_beat(self, state: int, signals: Signals) -> int:
        """The state of the chief; takes a signal that came to another worker."""
        own = signals.received
        state, number = map(int, self.run(self._beat, {self._pair: [state, own or 0]}))
        if number and own is None:
            signals.take(number)
        return state


class _Beats:
    """A thread that calls a function now and then until it is stopped or the function fails.

    Attributes:
        error: of the function, whose failure ends the work of the main thread too.
    """

    def __init__(self, beat: Callable[[], Any], signals: Signals, seconds: float):
        self.error: UserError | tf.errors.OpError | None = None
        self._beat, self._signals, self._seconds = beat, signals, seconds
        self._session = tf.get_default_session()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _work(self) -> None:
        with self._session.graph.as_default(), self._session.as_default():
            while not self._is_over.is_set():
                try:
                    self._beat()
                except (UserError, tf.errors.OpError) as error:
                    self.error = error
                    self._signals.take(signal.SIGTERM)
                    return
                self._is_over.wait(self._seconds)


def _buckets(tensors: Sequence[Any]) -> Iterator[list[Any]]:
    """Tensors or variables of one type in groups of some megabytes."""
    bucket, size = [], 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.shape.num_elements() * tensor.dtype.size
        if size >= _BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def _joined(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    flat = [tfutil.flatten(tensor) for tensor in tensors]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=0)


def _split(joined: tf.Tensor, like: Sequence[Any]) -> list[tf.Tensor]:
    """The reverse, in the shapes of other tensors."""
    parts = tf.split(joined, [tensor.shape.num_elements() for tensor in like])
    return [tf.reshape(part, t.shape) for part, t in zip(parts, like, strict=True)]
