"""Work done by several threads, with bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from dnnlib.system import processor_count

T = TypeVar("T")
R = TypeVar("R")


def map_in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int | None = None,
    ahead: int | None = None,
    in_order: bool = True,
    stop: Callable[[], None] | None = None,
) -> Iterator[R]:
    """`map` in threads; a bounded number of results wait, so memory does not grow.

    Close it to end early (`contextlib.closing`): what has not begun is left out, and what has begun
    is waited for.

    Args:
        function: called with each item.
        items: read as needed, in the caller's thread; may be endless.
        threads: calls at the same time; None is one for each core that this process may use.
        ahead: most calls that run or wait, and results that nobody has taken yet; None is four for
            each thread.
        in_order: yield results in the order of `items`, else as they come.
        stop: called at the end, before threads are waited for: has running calls end soon.

    Raises:
        What `function` raises, in place of its result.
    """
    threads = threads or processor_count()
    ahead = ahead or 4 * threads
    with ThreadPoolExecutor(threads) as pool:
        pending: list[Future] = []
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= ahead:
                    yield _take(pending, in_order)
            while pending:
                yield _take(pending, in_order)
        finally:
            if stop is not None:
                stop()
            pool.shutdown(cancel_futures=True)


def _take(pending: list[Future], in_order: bool):
    if in_order:
        return pending.pop(0).result()
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    future = next(future for future in pending if future in done)
    pending.remove(future)
    return future.result()
