"""Who could have put a file where it is: what others can write must not be executed."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_MAX_LINKS = 40  # As the system has it.


def exposure(path: str) -> str | None:
    """Why others than this user and root could have put something at a path; None if not.

    The path itself, every folder above it and what links in it lead to must belong to this user or
    root, and nobody else may write there. A folder with the sticky bit, such as /tmp, passes, since
    what lies in it can be replaced by its owner only, and is looked at next. What does not exist is
    nobody's yet.

    Looked at from the root downwards, so that nothing that was looked at can be replaced afterwards
    by those who are kept out: between this and the use of the file there is no race.
    """
    if not hasattr(os, "geteuid"):  # Windows has no owners of this kind.
        return None
    *rest, here = reversed(Path(os.path.abspath(path)).parts)
    links = 0
    if problem := _problem(here, os.lstat(here)):
        return problem
    while rest:
        name = rest.pop()
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        entry = os.path.join(here, name)
        try:
            status = os.lstat(entry)
        except OSError:  # Nothing is there, or nothing that this user could read.
            return None
        if problem := _problem(entry, status):
            return problem
        if not stat.S_ISLNK(status.st_mode):
            here = entry
            continue
        links += 1
        if links > _MAX_LINKS:
            return f"{entry}: too many links"
        target = Path(os.readlink(entry))
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        here = target.root if target.is_absolute() else here
    return None


def make_folders(path: str) -> None:
    """Makes a folder and those above it, which only this user can write whatever the umask is."""
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        make_folders(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)


def _problem(path: str, status: os.stat_result) -> str | None:
    mode = status.st_mode
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return None
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_own_group(path, status.st_gid)):
        return f"others can write in {path}" if stat.S_ISDIR(mode) else f"others can write {path}"
    return None


def _is_own_group(path: str, gid: int) -> bool:
    """Whether a group is that of this user alone, as many systems make one for each user."""
    try:
        import grp
        import pwd

        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
        # An access list shows as rights of the group.
        has_list = "system.posix_acl_access" in os.listxattr(path)
    except (ImportError, AttributeError, KeyError, OSError):
        return False
    is_private = gid == user.pw_gid and group.gr_name == user.pw_name
    return is_private and set(group.gr_mem) <= {user.pw_name} and not has_list
