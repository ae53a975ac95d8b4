"""What the command-line scripts share: parsing, option types, and how errors are shown."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from dnnlib.util import UserError, one_line

T = TypeVar("T")


class ArgumentParser(argparse.ArgumentParser):
    """argparse with one-line errors, no abbreviations, and an example under the options."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_args(self, args=None, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(name, set(self._option_names()), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return parsed

    def given(self, args: Sequence[str] | None = None) -> list[str]:
        """Names (`dest`) of the options that a command line has, also with their default values."""
        marks = {a.dest: [] if isinstance(a.default, list) else object() for a in self._actions}
        parsed = vars(self.parse_args(args, argparse.Namespace(**marks)))
        return sorted(name for name, mark in marks.items() if parsed[name] is not mark)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")

    def _option_names(self) -> Iterator[str]:
        """All options, those of commands too."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    yield from parser._option_names()


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a script's main function; errors the user can mend become one line and exit code 2.

    Ctrl-C exits with 130, SIGTERM with 143; files and folders that were being made are removed by
    the code that makes them. A reader that closes our output early (`| head`) ends us quietly. Any
    other exception is a defect of ours and keeps its traceback.
    """
    try:
        with _sigterm_as_exception():
            main()
            sys.stdout.flush()
    except UserError as error:
        print(f"{os.path.basename(sys.argv[0])}: error: {one_line(error, 2000)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        if threading.current_thread() is threading.main_thread():
            # As an exception, another one would meet an interpreter that is being taken down.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        ended = isinstance(error, _Terminated)
        what = "terminated" if ended else "interrupted"
        print(f"{os.path.basename(sys.argv[0])}: {what}", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if ended else signal.SIGINT))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(0)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what cleans up after Ctrl-C does so after this too."""


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Raises `_Terminated` in the block for a SIGTERM; a second one ends the process at once.

    Whoever ignores the signal, or takes it otherwise, goes on to do so.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Terminated

    is_main = threading.current_thread() is threading.main_thread()  # Others take no signals.
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Type of an option whose parser raises a UserError for what it cannot take."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def path(text: str) -> str:
    """A path; `~` stands for the home folder, which a shell expands only at the start of a word."""
    return os.path.expanduser(text)


def boolean(text: str) -> bool:
    """`true`/`false`, `1`/`0`, `yes`/`no`, `t`/`f`, `y`/`n`, `on`/`off`, in any case."""
    if text.lower() in ("true", "1", "yes", "t", "y", "on"):
        return True
    if text.lower() in ("false", "0", "no", "f", "n", "off"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def integer(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """Type of a whole-number option within [low, high]."""
    return _bounded(int, "a whole number", low, high)


def number(low: float | None = None, high: float | None = None) -> Callable[[str], float]:
    """Type of a finite-number option within [low, high]."""
    return _bounded(float, "a number", low, high)


def _bounded(convert, what, low, high):
    bounds = "" if low is None else f" of at least {low}"
    bounds += "" if high is None else f"{' and' if bounds else ' of'} at most {high}"

    def parse(text: str):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or value != value or value in (float("inf"), float("-inf")):
            raise argparse.ArgumentTypeError(f"expected {what}{bounds}, got {text!r}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"expected {what}{bounds}, got {text!r}")
        return value

    return parse


def int_list(text: str) -> list[int]:
    """Whole numbers separated by commas, with ranges: `1,2,5-8` is [1, 2, 5, 6, 7, 8]."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise argparse.ArgumentTypeError(f"expected numbers like 1,2,5-8, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"range {part.strip()!r} runs backwards")
        if len(numbers) + last - first >= 1_000_000:
            raise argparse.ArgumentTypeError(f"{text!r} names more than a million numbers")
        numbers.extend(range(first, last + 1))
    return numbers


def int_range(text: str) -> tuple[int, int]:
    """`3-7` is (3, 7), `5` is (5, 5)."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(f"expected numbers like 0-7, got {text!r}")
    return int(match[1]), int(match[2] or match[1])
