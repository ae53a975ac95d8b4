"""A program for tests: runs scripts as on a system without Unix, as far as Linux can show that.

    python other_system.py ROOT FOLDER 'SCRIPT ARGUMENT...' ...

For code below ROOT there are no Unix modules; there is no /proc; `os` and `signal` lack what
Windows lacks; and below FOLDER names have no characters that Windows forbids, folders cannot be
opened, and nothing that is open, or has something open in it, can be renamed or removed.
"""

from __future__ import annotations

import builtins
import io
import os
import runpy
import shlex
import signal
import sys
import types

MODULES = "fcntl grp posix pty pwd resource syslog termios tty".split()
OS = "fchmod fchown getuid geteuid getgid getpgid killpg mkfifo pread pwrite sched_getaffinity"
OS += " setsid setuid statvfs uname getloadavg O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_CLOEXEC"
SIGNALS = "SIGHUP SIGKILL SIGALRM SIGPIPE SIGUSR1 SIGUSR2 SIGCHLD setitimer alarm pause"


def hide(root: str) -> None:
    real_import, real_open = builtins.__import__, io.open
    poorer = {"os": without(os, OS), "signal": without(signal, SIGNALS)}

    def import_(name, globals=None, *args, **kwargs):
        if str((globals or {}).get("__file__", "")).startswith(root):
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in poorer:
                return poorer[name]
        return real_import(name, globals, *args, **kwargs)

    def open_(file, *args, **kwargs):
        if str(file).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", file)
        return real_open(file, *args, **kwargs)

    builtins.__import__, builtins.open = import_, open_


def without(module: types.ModuleType, names: str) -> types.ModuleType:
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update({k: v for k, v in vars(module).items() if k not in names.split()})
    return copy


def opened_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    return found


def guard(folder: str) -> None:
    def hook(event: str, args: tuple) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        paths = [os.path.abspath(os.fsdecode(a)) for a in args[:2] if isinstance(a, (str, bytes))]
        paths = [path for path in paths if path.startswith(folder + os.sep)]
        for path in paths:
            if set(path) & set('<>:"|?*\\') or path.endswith((".", " ")):
                raise OSError(22, "Invalid argument", path)
            if event == "open" and os.path.isdir(path):
                raise PermissionError(13, "Permission denied", path)
            if event in ("os.rename", "os.remove", "os.rmdir"):
                for other in opened_files():
                    if other == path or other.startswith(path + os.sep):
                        raise PermissionError(13, f"In use by {other}", path)

    sys.addaudithook(hook)


def main() -> None:
    root, folder, *commands = sys.argv[1:]
    sys.path.insert(0, root)
    hide(root)
    guard(os.path.realpath(folder))
    for command in commands:
        script, *sys.argv[1:] = shlex.split(command)
        sys.argv[0] = script
        print("$", command, flush=True)
        try:
            runpy.run_path(os.path.join(root, script), run_name="__main__")
        except SystemExit as error:
            if error.code:
                sys.exit(f"{command} ended with {error.code}")


if __name__ == "__main__":
    main()
