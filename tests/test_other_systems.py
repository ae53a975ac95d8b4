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


@pytest.fixture
def photos(tmp_path):
    for name in ("hat", "shoe"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full([8, 8, 3], 40 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    shutil.make_archive(str(tmp_path / "t"), "tar", tmp_path / "photos")
    return tmp_path


def test_without_unix(photos):
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/other_system.py"), str(ROOT), str(photos), *COMMANDS],
        cwd=photos,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DNNLIB_CACHE_DIR": str(photos / "cache")},
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
