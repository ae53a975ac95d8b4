"""The README's commands, as written, in a folder like the one that the README imagines."""

from __future__ import annotations

import json
import re
import shlex
import shutil
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


def make_shops(home: Path, photos: Path) -> None:
    """~/shop, ~/deepfashion, ~/Stanford_Online_Products and ~/listings.csv from six photos."""
    rows = []
    for i in range(6):
        kind = ("dress", "hat")[i % 2]
        places = (
            home / f"shop/{kind}/{i}.jpg",
            home / f"deepfashion/Img/img/{kind}/img_0000000{i}.jpg",
            home / f"Stanford_Online_Products/{kind}_final/{i}_0.JPG",
        )
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / f"{i}.jpg", place)
        rows.append((kind, i % 2 + 1, i))
    table = "".join(f"{kind}/{i}.jpg,{label}\n" for kind, label, i in rows)
    (home / "shop/labels.csv").write_text("file,label\n" + table)
    listings = "".join(f"A {kind},{kind},photos/{i}.jpg\n" for kind, _, i in rows)
    (home / "listings.csv").write_text("title,category,image\n" + listings)
    sop = "".join(f"{i + 1} {i + 1} {n} {kind}_final/{i}_0.JPG\n" for kind, n, i in rows)
    for part in ("info", "train"):
        path = home / f"Stanford_Online_Products/Ebay_{part}.txt"
        path.write_text("image_id class_id super_class_id path\n" + sop)
    names = [(f"img/{kind}/img_0000000{i}.jpg", n) for kind, n, i in rows]
    tables = {
        "Anno_coarse/list_category_cloth.txt": (
            "category_name  category_type",
            [("Dress", 3), ("Hat", 1), ("Romper", 3)],
        ),
        "Anno_coarse/list_category_img.txt": ("image_name  category_label", names),
        "Anno_coarse/list_bbox.txt": (
            "image_name  x_1  y_1  x_2  y_2",
            [(name, "005 005 060 080") for name, _ in names],
        ),
        "Eval/list_eval_partition.txt": (
            "image_name  evaluation_status",
            [(name, "train") for name, _ in names],
        ),
    }
    for name, (columns, lines) in tables.items():
        path = home / "deepfashion" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{first}    {second}\n" for first, second in lines)
        path.write_text(f"{len(lines)}\n{columns}\n{text}")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The pictures, shop datasets and snapshots that the README names, all very small."""
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training.config.options import preset
    from training.snapshots import pickles

    folder = tmp_path_factory.mktemp("workplace")
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, [90, 70 + i, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.jpg")
    make_shops(folder, photos)
    run_dir = folder / "results" / "00000-stylegan2-mine-1gpu-config-f"
    run_dir.mkdir(parents=True)
    with tflib.graph_session(seed=1):
        build = "training.networks_stylegan2."
        shape = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
        style = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
        G = Network("G", build + "G_main", **shape, **style)
        D = Network("D", build + "D_stylegan2", **shape)
        for path in (folder / "network-final.pkl", run_dir / "network-final.pkl"):
            pickles.save((G, D, G.clone("Gs")), str(path))
    # As of a run that was interrupted; --dry-run only looks for it.
    (run_dir / "training-state-000000.npz").write_bytes(b"")
    options = preset("config-f")
    options.dataset_args = {"tfrecord_dir": "datasets/mine"}
    (run_dir / "training_options.json").write_text(json.dumps(options.to_json()))
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
    from training.snapshots import pretrained

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
        *(p for d in ("dnnlib", "tf_ops", "training", "metrics") for p in (ROOT / d).rglob("*.py")),
    ]:
        marks += re.findall(r"Deviation:.*", path.read_text(encoding="utf-8"))
    table = readme().split("## Deviations", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert marks and len(rows) >= len(marks)
