"""`submit_run`: calls a function of the user's own in a new run directory with a log.

Runs happen on this machine, in this process. What the official code has besides is for its
authors' cluster.
"""

from __future__ import annotations

import enum
import getpass
import inspect
import os
import platform
import pprint
from collections.abc import Callable
from typing import Any

from dnnlib import dotted_names, official_util, run_dir
from dnnlib.files import atomic_write
from dnnlib.left_out import left_out
from dnnlib.submission.run_context import RunContext, current
from dnnlib.util import EasyDict, UserError, format_time

_USER = "<USERNAME>"
_FINISHED = "_finished.txt"


class SubmitTarget(enum.Enum):
    """Where a run happens."""

    LOCAL = 1


class PathType(enum.Enum):
    """How paths are written."""

    WINDOWS = 1
    LINUX = 2
    AUTO = 3


class PlatformExtras:
    """Official settings of readers of data, which nothing here depends on."""

    def __init__(self):
        self.data_reader_buffer_size = 1 << 30
        self.data_reader_process_count = 0


class SubmitConfig(EasyDict):
    """The settings of a run; the function gets them as `submit_config` if it takes that.

    Attributes:
        run_dir_root: root of the run directories.
        run_desc: what the name of the run directory says after its number.
        run_dir_extra_files: [(file, path in the run directory)], which are copied there.
        submit_target: LOCAL.
        num_gpus: for the function.
        print_info: print these settings.
        task_name, user_name, host_name: for the log.
        run_id, run_name, run_dir, run_func_name, run_func_kwargs: set by `submit_run`.
        run_dir_ignore, nvprof, local, datasets, platform_extras: without effect.
    """

    def __init__(self):
        super().__init__(
            run_dir_root="results",
            run_desc="",
            run_dir_ignore=[],
            run_dir_extra_files=[],
            submit_target=SubmitTarget.LOCAL,
            num_gpus=1,
            print_info=False,
            nvprof=False,
            local=EasyDict(),
            datasets=[],
            platform_extras=PlatformExtras(),
            run_id=None,
            run_name=None,
            run_dir=None,
            run_func_name=None,
            run_func_kwargs=None,
            user_name=None,
            task_name=None,
            host_name="localhost",
        )


def submit_run(
    submit_config: SubmitConfig, run_func_name: str | Callable, **run_func_kwargs: Any
) -> SubmitConfig:
    """Makes the run directory `NNNNN-DESC` and calls a function, with a log of what it prints.

    Args:
        submit_config: settings, which are not changed.
        run_func_name: `module.function`, or the function.
        run_func_kwargs: its keyword arguments.

    Returns:
        The settings with the run directory.

    Raises:
        UserError: there is no such function, it is to run elsewhere, or the directory cannot be
            made.
        Exception: whatever the function raises, which is in the log too.
    """
    if submit_config.submit_target is not SubmitTarget.LOCAL:
        raise UserError(f"submit_target is {submit_config.submit_target}, expected LOCAL")
    config = SubmitConfig()
    config.update(submit_config)
    config.run_func_kwargs = run_func_kwargs
    config.run_func_name = run_func_name
    if callable(run_func_name):
        config.run_func_name = f"{run_func_name.__module__}.{run_func_name.__qualname__}"
    function = _function(run_func_name)
    root = get_path_from_template(config.run_dir_root or "results", PathType.AUTO)
    config.run_dir = run_dir.make_run_dir(root, config.run_desc or config.run_func_name)
    config.run_name = os.path.basename(config.run_dir)
    config.run_id = int(config.run_name.partition("-")[0])
    config.user_name = config.user_name or get_user_name()
    config.host_name = platform.node() or config.host_name
    config.task_name = config.task_name or f"{config.user_name}-{config.run_name}"
    official_util.copy_files_and_create_dirs(
        (file, os.path.join(config.run_dir, path)) for file, path in config.run_dir_extra_files
    )
    # Deviation: the official code copies the source, and writes the settings as a pickle too.
    with atomic_write(os.path.join(config.run_dir, "submit_config.txt"), "w") as file:
        file.write(pprint.pformat(dict(config), indent=4, width=200) + "\n")
    return _run(config, function)


def run_wrapper(submit_config: SubmitConfig) -> SubmitConfig:
    """Calls the function of settings that `submit_run` completed, in their run directory."""
    if not submit_config.run_dir or not submit_config.run_func_name:
        raise UserError("run_wrapper: the settings name no run directory; use submit_run")
    return _run(submit_config, _function(submit_config.run_func_name))


def _function(function: str | Callable) -> Callable:
    return function if callable(function) else dotted_names.get_obj_by_name(function)


def _run(config: SubmitConfig, function: Callable) -> SubmitConfig:
    kwargs = dict(config.run_func_kwargs or {})
    if "submit_config" in inspect.signature(function).parameters:
        kwargs["submit_config"] = config
    log = os.path.join(config.run_dir, run_dir.LOG)
    with run_dir.log_output(log), RunContext(config) as context:
        if config.print_info:
            print(pprint.pformat(dict(config)))
        print(f"Running {config.run_func_name}() in {config.run_dir}")
        function(**kwargs)
        seconds = context.get_time_since_start()
        print(f"Finished {config.run_func_name}() in {format_time(seconds)}")
    with open(os.path.join(config.run_dir, _FINISHED), "w", encoding="utf-8"):
        pass
    return config


def make_run_dir_path(*paths: str) -> str:
    """A path in the directory of the run that is under way, or in the current one without a run."""
    return os.path.join(current_run_dir() or os.getcwd(), *paths)


def current_run_dir() -> str | None:
    """The directory of the run that is under way; None without a run."""
    config = _current_config()
    return None if config is None else config.run_dir


def get_path_from_template(path_template: str, path_type: PathType = PathType.AUTO) -> str:
    """A path with `<USERNAME>` filled in, written as `path_type` says."""
    if _USER in path_template:
        path_template = path_template.replace(_USER, get_user_name())
    return convert_path(path_template, path_type)


def get_template_from_path(path: str) -> str:
    """A path with slashes, whatever system it is of."""
    return path.replace("\\", "/")


def convert_path(path: str, path_type: PathType = PathType.AUTO) -> str:
    """A path with the slashes of a system; AUTO: of this one, where backslashes are ordinary
    characters unless it is Windows."""
    if path_type is PathType.AUTO:
        return path.replace("/", os.sep)
    return path.replace("/", "\\") if path_type is PathType.WINDOWS else path.replace("\\", "/")


def get_user_name() -> str:
    """The name of the user."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # A user of a container without an account.
        return "unknown"


def _current_config() -> SubmitConfig | None:
    context = current()
    return context.submit_config if context is not None else None


_absent = left_out(
    __name__,
    {
        "set_user_name_override": "set submit_config.user_name, or write the name in the path",
    },
)


def __getattr__(name: str) -> Any:
    # The settings of the run that is under way, or None, as an official module attribute.
    return _current_config() if name == "submit_config" else _absent(name)


__getattr__.reasons = _absent.reasons
