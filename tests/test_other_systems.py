"""From photos to pictures on a system without Unix modules, and on file systems of shares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TINY = "--config=config-e --batch=4 --fmap-base=256 --fmap-max=16 --latent-size=16 --snap=1"
COMMANDS = [
    "dataset_tool.py create_from_images sets/ds photos --labels=folders --resolution=8",
    "dataset_tool.py info sets/ds",
    "dataset_tool.py create_from_images sets/ds2 t.tar --resolution=8",
    "dataset_tool.py compare sets/ds sets/ds",
    f"run_training.py --data-dir=sets --dataset=ds --total-kimg=0.008 {TINY}",
    "run_training.py --resume=results/00000-stylegan2-ds-1gpu-config-e --total-kimg=0.016",
    "run_generator.py generate-grid --network=results/00000-stylegan2-ds-1gpu-config-e/"
    "network-final.pkl --grid=2x2 --out=grid.png",
]


# A share without locks, shared mappings, modes, syncing of folders, renames over what is there.
SHARE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#define NEXT(name) dlsym(RTLD_NEXT, name)
int flock(int fd, int operation) { errno = ENOLCK; return -1; }
int chmod(const char *path, mode_t mode) { errno = EPERM; return -1; }
int fchmodat(int fd, const char *path, mode_t mode, int flags) { errno = EPERM; return -1; }
int fsync(int fd) {
    struct stat status;
    if (!fstat(fd, &status) && S_ISDIR(status.st_mode)) { errno = EINVAL; return -1; }
    return ((int (*)(int))NEXT("fsync"))(fd);
}
int rename(const char *from, const char *to) {
    if (!access(to, F_OK)) { errno = EEXIST; return -1; }
    return ((int (*)(const char *, const char *))NEXT("rename"))(from, to);
}
#define MMAP(name) void *name(void *a, size_t size, int protection, int flags, int fd, off_t o) { \
    if (fd >= 0 && (flags & MAP_SHARED)) { errno = ENODEV; return MAP_FAILED; } \
    return ((void *(*)(void *, size_t, int, int, int, off_t))NEXT(#name))( \
        a, size, protection, flags, fd, o); }
MMAP(mmap)
MMAP(mmap64)
"""


@pytest.fixture
def photos(tmp_path):
    for name in ("hat", "shoe"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full([8, 8, 3], 40 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    shutil.make_archive(str(tmp_path / "t"), "tar", tmp_path / "photos")
    return tmp_path


def test_without_unix(photos, cache):
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/other_system.py"), str(ROOT), str(photos), *COMMANDS],
        cwd=photos,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert "Warning: cannot" not in result.stdout
    run_dir = photos / "results" / "00000-stylegan2-ds-1gpu-config-e"
    assert (run_dir / "network-final.pkl").exists()
    with Image.open(photos / "grid.png") as grid:
        assert grid.size == (16, 16)
    assert not [n for n in os.listdir(run_dir) if n.endswith((".partial", ".old"))]


def run(folder, command, **environment):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOOL": str(ROOT / "dataset_tool.py")}
        | {"PY": sys.executable, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
def test_a_share_that_lacks_everything(photos):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (photos / "share.c").write_text(SHARE)
    flags = ["-shared", "-fPIC", "-o", "share.so", "share.c", "-ldl"]
    subprocess.run([compiler, *flags], cwd=photos, check=True)
    result = run(
        photos,
        'mkdir -p sets/ds && "$PY" $TOOL create_from_images sets/ds photos --labels=folders && '
        '"$PY" $TOOL info sets/ds && "$PY" $TOOL compare sets/ds sets/ds && '
        '"$PY" $TOOL create_from_images sets/ds2 photos --encoding=png --levels=all && '
        '"$PY" $TOOL info sets/ds2',
        LD_PRELOAD=str(photos / "share.so"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(os.listdir(photos / "sets")) == ["ds", "ds2"]
    assert "hat: 3 images" in result.stdout and result.stdout.count("check:      passed") == 2


@pytest.mark.parametrize("kib", [1, 12])
def test_a_limit_on_the_size_of_files(photos, kib):
    """EFBIG, as a quota gives EDQUOT: temporary lists at 0, then files of the dataset."""
    for i in range(20):
        shutil.copy(photos / "photos/hat/0.png", photos / f"photos/hat/copy{i}.png")
    command = f'ulimit -f {kib}; exec "$PY" $TOOL create_from_images sets/ds photos --resolution=64'
    result = run(photos, command)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("dataset_tool.py: error: cannot write")
    assert "File too large" in result.stderr and "Traceback" not in result.stderr
    assert not (photos / "sets").exists() or os.listdir(photos / "sets") == []
