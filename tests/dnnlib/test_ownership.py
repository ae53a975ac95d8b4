"""Who could have put a file at a path, with real owners, modes, groups and access lists."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from types import SimpleNamespace

import pytest

from dnnlib.ownership import exposure, make_folders

ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "folder/code.so"
    file.parent.mkdir(mode=0o755)
    file.write_text("code")
    file.chmod(0o644)
    return file


def test_what_others_can_write(path):
    assert exposure(str(path)) is None
    path.chmod(0o646)
    assert exposure(str(path)) == f"others can write {path}"
    path.chmod(0o644)
    path.parent.chmod(0o757)
    assert exposure(str(path)) == f"others can write in {path.parent}"
    path.parent.chmod(0o1757)  # Like /tmp: what lies in it is its owner's.
    assert exposure(str(path)) is None
    assert exposure(str(path.parent / "new/x")) is None  # Nobody's yet.


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")
def test_owners_and_links(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("folder/../folder/code.so")
    assert exposure(str(link)) is None
    os.chown(link, 65534, 65534, follow_symlinks=False)
    assert exposure(str(link)) == f"{link} belongs to another user"
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(path.parent, 65534, 65534)
    assert exposure(str(link)) == f"{path.parent} belongs to another user"
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert exposure(str(loop)) == f"{loop}: too many links"


@pytest.mark.parametrize(
    ("changes", "is_safe"),
    [
        ({}, True),
        ({"gr_mem": [ME.pw_name]}, True),
        ({"gr_mem": [ME.pw_name, "somebody"]}, False),
        ({"gr_name": "staff"}, False),
        ({"own_gid": 1}, False),
        ({"unknown": True}, False),
    ],
)
def test_a_group_of_one_user_is_that_user(path, monkeypatch, changes, is_safe):
    """As many systems make one for each user. Others of a group could write."""
    gid = path.stat().st_gid
    user = SimpleNamespace(pw_name=ME.pw_name, pw_gid=changes.pop("own_gid", gid))
    group = SimpleNamespace(**{"gr_name": ME.pw_name, "gr_mem": [], **changes})

    def find(number):
        if "unknown" in changes:
            raise KeyError(number)
        return group

    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    monkeypatch.setattr(grp, "getgrgid", find)
    path.chmod(0o664)
    assert exposure(str(path)) == (None if is_safe else f"others can write {path}")


def test_an_access_list_shows_as_rights_of_the_group(path, monkeypatch):
    own = SimpleNamespace(pw_name=ME.pw_name, pw_gid=path.stat().st_gid)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: own)
    monkeypatch.setattr(
        grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=own.pw_name, gr_mem=[])
    )
    # The user may read and write, the user of number 65534 too, and the mask allows it.
    entries = [(1, 6, -1), (2, 6, 65534), (4, 0, -1), (16, 6, -1), (32, 0, -1)]
    rights = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", rights)
    except (AttributeError, OSError):
        pytest.skip("needs access lists in the file system")
    assert exposure(str(path)) == f"others can write {path}"


def test_folders_that_only_this_user_can_write(tmp_path):
    umask = os.umask(0)
    try:
        make_folders(str(tmp_path / "a/b"))
    finally:
        os.umask(umask)
    make_folders(str(tmp_path / "a/b"))  # Which is there.
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755] * 2
