"""Bounded maps in threads."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing

import pytest

from dnnlib.threads import map_in_threads


def test_results_are_in_order_and_bounded():
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield number

    def slowest_first(number):
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number * number

    with closing(map_in_threads(slowest_first, endless(), threads=4, ahead=6)) as results:
        assert list(itertools.islice(results, 20)) == [n * n for n in range(20)]
        assert len(taken) == 25  # The one that was yielded last, and five that wait.


def test_results_come_as_they_are_ready():
    first_may_end = threading.Event()

    def run(number):
        return first_may_end.wait(60) if number == 0 else number

    results = map_in_threads(run, range(4), threads=2, ahead=2, in_order=False)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    first_may_end.set()
    assert list(results) == [True]


def test_nothing_to_do():
    assert list(map_in_threads(str, [])) == []
    assert list(map_in_threads(str, [1, 2])) == ["1", "2"]


def test_a_failure_stands_in_the_place_of_its_result():
    begun = []

    def run(number):
        begun.append(number)
        return 1 // (number - 2)

    results = map_in_threads(run, range(1000), threads=1, ahead=4)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == [] and len(begun) <= 6


@pytest.mark.parametrize("in_order", [True, False])
def test_closing_stops_running_calls_and_begins_no_others(in_order):
    stop, begun = threading.Event(), []

    def run(number):
        begun.append(number)
        return number == 0 or stop.wait(60)

    with closing(map_in_threads(run, range(9), 2, 8, in_order, stop.set)) as results:
        assert next(results) is True
    assert len(begun) <= 3 and stop.is_set()
