"""What the command-line scripts share: parsing, option types, and how errors are shown."""

from __future__ import annotations

import argparse
import atexit
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TextIO, TypeVar

from dnnlib import output
from dnnlib.util import UserError, did_you_mean, one_line

T = TypeVar("T")
_LARGEST = 3e38  # What float32 holds, in which networks compute.


class ArgumentParser(argparse.ArgumentParser):
    """argparse with one-line errors, no abbreviations, and an example under the options.

    Attributes:
        raises: whether an error is a UserError, as for who calls from Python, and not the end.
    """

    raises = False

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else list(args)
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint(name, args)}")
        return parsed

    def given(self, args: Sequence[str] | None = None) -> list[str]:
        """Names (`dest`) of the options that a command line has, also with their default values."""
        marks = {a.dest: [] if isinstance(a.default, list) else object() for a in self._actions}
        parsed = vars(self.parse_args(args, argparse.Namespace(**marks)))
        return sorted(name for name, mark in marks.items() if parsed[name] is not mark)

    def print_help(self, file: TextIO | None = None) -> None:
        if file is None:
            output.printing_is_the_work()
        super().print_help(file)
        print(end="", flush=True)  # What cannot be printed is an error before the exit with 0.

    def error(self, message: str) -> NoReturn:
        commands = self._commands()
        if commands is not None and message.endswith(f"required: {commands.metavar}"):
            message = f"{commands.metavar} is missing: use {', '.join(commands.choices)}"
        if self.raises:
            raise UserError(message)
        self.exit(2, f"{self.prog}: error: {one_line(message, 2000)} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = did_you_mean(str(value), choices)
            text = f"invalid choice: {value!r}{hint and '; '}{hint}"
            raise argparse.ArgumentError(action, f"{text.strip()} (use {', '.join(choices)})")

    def _commands(self) -> argparse._SubParsersAction | None:
        found = [a for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        return found[0] if found else None

    def _hint(self, name: str, args: Sequence[str]) -> str:
        """What may have been meant by an argument that is none, with `; ` before it."""
        own = {option for action in self._actions for option in action.option_strings}
        commands = self._commands()
        parsers = {} if commands is None else commands.choices
        chosen = next((arg for arg in args if arg in parsers), None)
        options = {n: set(p._option_string_actions) for n, p in parsers.items()}
        if name in options.get(chosen, ()):
            return f"; {name} comes after the {commands.metavar.lower()}, {chosen}"
        if others := [command for command, names in options.items() if name in names]:
            return f"; {name} is an option of {', '.join(others)}, not of {chosen}"
        hint = did_you_mean(name, sorted(own | options.get(chosen, set())))
        return f"; {hint}".rstrip() if hint else ""


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a script's main function; errors the user can fix become one line and exit code 2.

    All that is printed is printable, and stdout and stderr that fail (`| head`, a full disk, closed
    streams, a terminal that is gone) do not end the work: when it is done the exit code is 0, and
    what stdout could not take, a full disk say, is said on stderr. Commands that only print (see
    `output.printing_is_the_work`) end instead, with 141 where nobody reads any more, else with 2.

    A file that cannot be read or written is an error that the user can fix. Ctrl-C exits with 130,
    SIGTERM with 143, a terminal that hangs up with 129; files and folders that were being made are
    removed by the code that makes them. Any other exception is a defect of ours and keeps its
    traceback.

    The process of a script ends as soon as its exit handlers have run: see `_Exit`.
    """
    process_exit = _Exit(sys._getframe(1).f_globals)
    try:
        _run(main)
    except SystemExit as end:
        process_exit.code = end.code
        raise


def _run(main: Callable[[], None]) -> NoReturn:
    output.install()
    try:
        with _signals_as_exceptions():
            main()
            sys.stdout.flush()
    except UserError as error:
        _say(f"error: {one_line(error, 2000)}")
        sys.exit(2)
    except KeyboardInterrupt as error:
        if threading.current_thread() is threading.main_thread():
            # As an exception, another one would meet an interpreter that is being taken down.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        number = error.number if isinstance(error, _Terminated) else signal.SIGINT
        _say("interrupted" if number == signal.SIGINT else "terminated")
        sys.exit(128 + number)
    except output.NobodyReads:
        sys.exit(141)
    except OSError as error:
        if error.strerror is None:  # No answer of the operating system.
            raise
        _say(f"error: {one_line(_os_error(error), 2000)}")
        sys.exit(2)
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None and not isinstance(failure, BrokenPipeError):
        _say(f"warning: not all could be printed: {output.reason(failure)}")
    sys.exit(0)


class _Exit:
    """The last handler of a script's exit: it ends the process without taking libraries down.

    TensorFlow has threads that still run when work was interrupted. Where such a thread needs
    Python while that is being finalized, or what a destructor of the library has freed, it ends
    the process by SIGABRT or SIGSEGV, after all has been saved. Other programs that call `run`
    and go on end in their own way.

    Args:
        caller: the globals of the module that calls `run`.

    Attributes:
        code: exit code, or None where Python is to end as it does, after a defect say.
    """

    def __init__(self, caller: dict[str, object]):
        self.code: int | str | None = None
        self._caller = caller
        atexit.register(self._leave, os.getpid())  # First to be registered is last to be called.

    def _leave(self, starter: int) -> None:
        is_script = vars(sys.modules["__main__"]) is self._caller and os.getpid() == starter
        if is_script and isinstance(self.code, int):
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # What cannot be printed has been told by now.
                    stream.flush()
            os._exit(self.code)


def _say(text: str) -> None:
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)


def _os_error(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {error.strerror}" if names else error.strerror


class _Terminated(KeyboardInterrupt):
    """A signal that ends us: what cleans up after Ctrl-C does so after this too."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raises `_Terminated` in the block for SIGTERM, whose second one ends the process, and SIGHUP.

    Whoever ignores a signal, as nohup does, or takes it otherwise, still does so.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        # A terminal that is closed says so twice: itself, and through the shell.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        raise _Terminated(number)

    is_main = threading.current_thread() is threading.main_thread()  # Others take no signals.
    numbers = [signal.SIGTERM]
    numbers += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none.
    taken = [n for n in numbers if is_main and signal.getsignal(n) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def add_result_dir(
    add: Callable, text: str = "root of the run directories (default: results)", *aliases: str
) -> None:
    """Adds --result-dir, with the method `add_argument` of a parser or a group.

    Args:
        add: the method.
        text: help text.
        aliases: other names of the option.
    """
    add("--result-dir", *aliases, type=folder_to_write, default="results", help=text)


def words(**options: object) -> list[str]:
    """A command line of options by their names, for who calls a script's functions from Python.

    Args:
        options: None is left out; lists become words with commas between them.
    """
    given = {name.replace("_", "-"): v for name, v in options.items() if v is not None}
    return [
        f"--{name}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}"
        for name, v in given.items()
    ]


def add_dataset_path(add: Callable, name: str, script: str) -> None:
    """Adds what a script of StyleGAN2-ADA has in the place of --data-dir and --dataset."""
    text = f"path of the dataset, in the place of both, as in {script} of StyleGAN2-ADA"
    add(name, type=path, metavar="PATH", help=text)


def add_num_gpus(add: Callable) -> None:
    """Adds --num-gpus, with the method `add_argument` of a parser or a group."""
    add("--num-gpus", "--gpus", type=integer(1), default=1, help="number of GPUs (default: 1)")


def add_precision(add: Callable) -> None:
    """Adds --precision, with the method `add_argument` of a parser or a group."""
    add(
        "--precision",
        choices=("fp32", "mixed"),
        default="fp32",
        help="mixed computes the four highest resolutions of the generator in float16 on GPUs, and "
        "in bfloat16 on CPUs that are faster in it; pixels differ a little (default: fp32)",
    )


def add_save_video(add: Callable) -> None:
    """Adds --save-video, with the method `add_argument` of a parser or a group."""
    add(
        "--save-video",
        type=boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="write a video of the steps (default: true)",
    )


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


def folder_to_write(text: str) -> str:
    """As `path`, of a folder, which need not be there yet."""
    found = path(text)
    if os.path.exists(found) and not os.path.isdir(found):
        raise argparse.ArgumentTypeError(f"{found} is a file, expected a folder")
    return found


def existing_path(text: str) -> str:
    """As `path`, of a file or folder that is there."""
    found = path(text)
    if not os.path.exists(found):
        raise argparse.ArgumentTypeError(f"there is no file or folder {found}")
    return found


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
        if value is None or not abs(value) <= _LARGEST:  # NaN is not.
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
