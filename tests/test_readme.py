"""The README's commands, as written, in a folder like the one that the README imagines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("dataset_tool.py", "run_training.py", "run_generator.py")


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Indented lines that start a program, with their continuation lines."""
    joined = readme().replace("\\\n", " ")
    return [
        " ".join(c.split()) for c in re.findall(r"^    (python .*|pip .*)$", joined, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """~/photos with a few pictures, and an untrained snapshot by the names that the README uses."""
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training import snapshots

    folder = tmp_path_factory.mktemp("workplace")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, [90, 70 + i, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.jpg")
    run_dir = folder / "results" / "00000-stylegan2-mine-1gpu-config-f"
    run_dir.mkdir(parents=True)
    with tflib.graph_session(seed=1):
        build = "training.networks_stylegan2."
        shape = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
        style = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
        G = Network("G", build + "G_main", **shape, **style)
        D = Network("D", build + "D_stylegan2", **shape)
        for path in (folder / "network-final.pkl", run_dir / "network-final.pkl"):
            snapshots.save((G, D, G.clone("Gs")), str(path))
    return folder


def test_the_readme_opens_with_its_two_commands():
    assert commands()[:2] == [
        "pip install -e . && python run_training.py --demo",
        'pip install -e ".[test]" && pytest',
    ]
    assert 'pip install --quiet --disable-pip-version-check -e ".[test]" && pytest' in (
        (ROOT / ".ci" / "run").read_text()
    )


def test_every_command_runs_as_written(workplace, run_script):
    """Training is only planned (--dry-run): it would take days."""
    from training import pretrained

    ran = []
    for command in commands():
        if command.startswith("pip "):
            continue
        args = shlex.split(command)[1:]
        network = next((a.split("=", 1)[1] for a in args if a.startswith("--network=")), "")
        if network and not network.endswith((".pkl", ".npz")):
            assert pretrained.url_of(network), network  # Published: needs the internet.
            continue
        if args[0] == "run_training.py":
            args.append("--dry-run")
        result = run_script(args, cwd=workplace, env={"HOME": str(workplace)})
        assert result.returncode == 0, (command, result.stderr)
        ran.append(args[0])
    assert set(ran) == set(SCRIPTS)
    assert (workplace / "grid.png").exists() and (workplace / "weights.npz").exists()


def test_python_examples_run_as_written(workplace, run_script):
    examples = re.findall(r"```python\n(.*?)```", readme(), re.DOTALL)
    assert examples
    for text in examples:
        result = run_script(["-c", text], cwd=workplace)
        assert result.returncode == 0, result.stderr


def test_every_command_in_the_table_exists(run_script):
    rows = re.findall(r"^\| `(\w+\.py) ([a-z-]+)", readme(), re.MULTILINE)
    rows += re.findall(r"^\| `(\w+\.py) ([a-z_]+) ", readme(), re.MULTILINE)
    named = {(script, command) for script, command in rows if script != "run_training.py"}
    assert len(named) >= 10
    for script in ("dataset_tool.py", "run_generator.py"):
        text = run_script([script, "--help"]).stdout
        missing = [c for s, c in named if s == script and c not in text]
        assert not missing


def test_deviations_are_listed():
    """As many rows in the README as there are kinds of marks in the code, or more."""
    marks = []
    for path in [
        *ROOT.glob("*.py"),
        *(p for d in ("dnnlib", "tf_ops", "training") for p in (ROOT / d).rglob("*.py")),
    ]:
        marks += re.findall(r"Deviation:.*", path.read_text(encoding="utf-8"))
    table = readme().split("## Deviations", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert marks and len(rows) >= len(marks)
