"""Runs a script that was written for the official code on TensorFlow 1."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import TracebackType
from typing import NoReturn

from dnnlib import cli
from dnnlib.left_out import LeftOut
from dnnlib.tensorflow_1 import use_tensorflow_1
from dnnlib.util import UserError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EXAMPLE = """example:
  # `import tensorflow` in the script and in modules beside it gives TensorFlow 1:
  python -m dnnlib.run_script my_script.py --network=network-final.pkl
"""
_DESCRIPTION = (
    "Runs a script that was written for the official code: `import tensorflow` gives TensorFlow 1, "
    "and the modules of this project are found by their official names."
)
# Scripts of the ADA repository that other scripts have imported.
_INSTEAD = {
    "train": "run_training.py, whose options have the official names too",
    "generate": "run_generator.py generate-images, or run_generator.generate_images",
    "style_mixing": "run_generator.py style-mixing-example, or run_generator.style_mixing_example",
    "calc_metrics": "run_metrics.py",
}


class _AbsentModules(MetaPathFinder):
    """Asked last, for modules that nobody else has found."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname in _INSTEAD:
            raise LeftOut(
                f"{fullname}.py of the official code is not here: use {_INSTEAD[fullname]}"
            )


def run_script(script: str, args: Sequence[str] = ()) -> int:
    """Runs a script as `python script` does, with TensorFlow 1 by the name of `tensorflow`.

    Args:
        script: path.
        args: what the script finds in `sys.argv`.

    Returns:
        The exit code: 1 after an exception, whose traceback is shown, 130 after Ctrl-C.

    Raises:
        SystemExit: the script ended itself.
    """
    folder = os.path.dirname(os.path.abspath(script))
    places = [folder, _ROOT]
    if os.path.isdir(os.path.join(folder, "dnnlib")):
        places.reverse()  # A copy of the official code beside the script is not what is meant.
    sys.path[:0] = places
    sys.argv = [script, *args]
    sys.meta_path.append(_AbsentModules())
    use_tensorflow_1()
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit:
        raise
    except BaseException as error:  # Shown as if Python itself had run the script.
        trace = _from_script(error.__traceback__, script)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _from_script(trace: TracebackType | None, script: str) -> TracebackType | None:
    """The part of a traceback that begins in the script; None for an error of its syntax."""
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    return trace


def _existing(path: str) -> str:
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UserError(f"{path} {what}; expected the path of a Python script")
    return path


def main() -> NoReturn:
    parser = cli.ArgumentParser(
        prog="python -m dnnlib.run_script", description=_DESCRIPTION, epilog=_EXAMPLE
    )
    parser.add_argument("script", type=cli.checked(_existing), metavar="SCRIPT.py", help="its path")
    parser.add_argument(
        "args", nargs=argparse.REMAINDER, metavar="ARGS", help="arguments of the script"
    )
    args = parser.parse_args()
    sys.exit(run_script(args.script, args.args))


if __name__ == "__main__":
    main()
