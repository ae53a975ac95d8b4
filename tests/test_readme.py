"""README and docs: their commands as written, their links, and what they name in the code."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = "dataset_tool.py run_training.py run_generator.py run_projector.py run_metrics.py".split()
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", *DOCS]
PACKAGES = ("dnnlib", "tf_ops", "training", "metrics")
# Of the official repositories: pages say what takes their place.
OFFICIAL_SCRIPTS = {"train.py", "generate.py", "style_mixing.py", "calc_metrics.py", "legacy.py"}
OFFICIAL_SCRIPTS |= {"gen_video.py"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(*pages: str) -> list[str]:
    """Indented lines that start a program, with their continuation lines."""
    joined = "\n".join(map(read, pages)).replace("\\\n", " ")
    found = re.findall(r"^    ((?:python|pip) .*)$", joined, re.MULTILINE)
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


def source_paths() -> list[Path]:
    return [*ROOT.glob("*.py"), *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]


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


# Run directories that pages name.
RUNS = ("results/00000-stylegan2-mine-1gpu-auto",)
NETWORKS = (*RUNS, "clothing-64")  # Those without a file's name that are at hand.


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, make_cache):
    """The pictures, shop datasets and snapshots that the pages name, all very small."""
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training.config.presets import preset
    from training.snapshots import class_names, pickles

    folder = tmp_path_factory.mktemp("workplace")
    make_cache(folder / ".cache/dnnlib")  # It is the home of what runs there.
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 256, [90, 70 + i, 3], dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.jpg")
    make_shops(folder, photos)
    own_code = re.findall(r"```python\n(.*?)```", read("docs/own-code.md"), re.DOTALL)[:-1]
    (folder / "my_code.py").write_text("\n".join(own_code))
    run_dir = folder / RUNS[0]
    run_dir.mkdir(parents=True)
    with tflib.graph_session(seed=1):
        build = "training.networks_stylegan2."
        shape = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
        style = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
        G = Network("G", build + "G_main", **shape, **style)
        D = Network("D", build + "D_stylegan2", **shape)
        final = "network-final.pkl"
        for path in (folder / final, folder / "tuned.pkl", run_dir / final):
            pickles.save((G, D, G.clone("Gs")), str(path))
        labeled = Network("Gs", build + "G_main", **shape, **style, label_size=4)
        class_names.set_label_names(labeled, ["dress", "hat", "shoes", "shirt"])
        D = Network("D", build + "D_stylegan2", **shape, label_size=4)
        pickles.save((labeled, D, labeled), str(folder / "labeled.pkl"))
    shutil.copy(ROOT / "tests/golden/pt_auto16.pkl", folder / "pytorch.pkl")
    # As of a run that was interrupted; --dry-run only looks for it.
    (run_dir / "training-state-000000.npz").write_bytes(b"")
    options = preset("config-f")
    options.dataset_args = {"tfrecord_dir": "datasets/mine"}
    (run_dir / "training_options.json").write_text(json.dumps(options.to_json()))
    return folder


def test_the_readme_is_short_and_leads_to_every_page_once():
    assert len(read("README.md").splitlines()) <= 150
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read("README.md"))
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (ROOT / link).exists()]
    notebooks = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.ipynb")]
    linked = [link for link in local if link.startswith("docs/") and "images" not in link]
    assert sorted(linked) == sorted([*DOCS, *notebooks])


@pytest.mark.parametrize("page", [*DOCS, "CONTRIBUTING.md", "tests/benchmarks/README.md"])
def test_links_of_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page))
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_the_readme_opens_with_its_two_commands():
    assert commands("README.md")[:2] == [
        "pip install -e . && python run_training.py --demo",
        'pip install -e ".[test]" && pytest',
    ]
    assert 'pip install --quiet --disable-pip-version-check -e ".[test]" && pytest' in (
        (ROOT / ".ci" / "run").read_text()
    )


def is_served(port):
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_every_command_runs_as_written(workplace, run_script, interrupt_script):
    """Training is only planned (--dry-run): it would take days. Servers run until Ctrl-C."""
    from training.snapshots import pretrained

    ran = []
    for command in commands(*PAGES):
        if command.startswith("pip ") or "--prebuilt" in command:  # The wheel is made by .ci/run.
            continue
        args = shlex.split(command)[1:]
        network = next((a.split("=", 1)[1] for a in args if a.startswith("--network=")), "")
        if network and not network.endswith((".pkl", ".npz")) and network not in NETWORKS:
            assert pretrained.url_of(network), network  # Published: needs the internet.
            continue
        if args[:2] == ["run_generator.py", "explore"]:
            interrupt_script(args, lambda: is_served(7860), workplace, {"HOME": str(workplace)})
            continue
        if args[0] == "run_training.py" and "--dry-run" not in args:
            args.append("--dry-run")
        result = run_script(args, cwd=workplace, env={"HOME": str(workplace)})
        if "shop.pb" in command:  # The feature network is the reader's own.
            assert "no file shop.pb" in result.stderr, result.stderr
        else:
            assert result.returncode == 0, (command, result.stderr)
        ran.append(args[0])
    assert set(ran) == set(SCRIPTS)
    assert (workplace / "grid.png").exists() and (workplace / "weights.npz").exists()
    assert (workplace / "classes.png").exists()


def test_python_examples_run_as_written(workplace, run_script):
    """The first example, and the one that continues it; tests/test_docs_generation.py has more."""
    examples = re.findall(r"```python\n(.*?)```", read("docs/generation.md"), re.DOTALL)
    chosen = [text for text in examples if text.startswith(("import numpy", "psis"))]
    assert len(chosen) == 2
    result = run_script(["-c", "\n".join(chosen)], cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert (workplace / "picture3.png").exists()


def test_every_command_in_the_tables_exists(run_script):
    rows = re.findall(
        r"^\| `(\w+\.py) ([a-z][a-z_0-9-]+)", "\n".join(map(read, PAGES)), re.MULTILINE
    )
    named = set(rows)
    assert len(named) >= 15
    for script in SCRIPTS:
        text = run_script([script, "--help"]).stdout
        missing = [c for s, c in named if s == script and c not in text]
        assert not missing


def test_deviations_are_listed():
    """As many rows on the page as there are kinds of marks in the code, or more."""
    marks = []
    for path in source_paths():
        marks += re.findall(r"Deviation:.*", path.read_text(encoding="utf-8"))
    rows = [line for line in read("docs/deviations.md").splitlines() if line.startswith("| ")][1:]
    assert marks and len(rows) >= len(marks)


def names_of_code(text: str) -> list[str]:
    """Paths and dotted names in backticks that are in this project, or should be."""
    first = rf"(?:{'|'.join((*PACKAGES, 'tests', 'docs'))})"
    path = rf"{first}(?:/[\w.-]+)*/?|\w+\.py"
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    words = [word.rstrip(".,:") for span in spans for word in span.split()]
    found = [word for word in words if re.fullmatch(rf"{path}|{first}(?:\.\w+)+", word)]
    return [word for word in found if word not in OFFICIAL_SCRIPTS]


def is_there(name: str) -> bool:
    """Whether a path exists, or a dotted name's module and what the name says is in it."""
    if "/" in name or name.endswith(".py") or (ROOT / name).exists():
        return (ROOT / name).exists() or any(
            path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob(name)
        )
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ROOT.joinpath(*parts[:end])
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if path.exists():
                text = path.read_text(encoding="utf-8")
                return all(re.search(rf"\b{word}\b", text) for word in parts[end:])
    return False


# What docs/official-api.md names is looked up by tests/test_official_api.py.
NAMING = [page for page in PAGES if page != "docs/official-api.md"]


@pytest.mark.parametrize("page", [*NAMING, "CONTRIBUTING.md", "tests/benchmarks/README.md"])
def test_files_and_modules_that_a_page_names_exist(page):
    assert not [name for name in names_of_code(read(page)) if not is_there(name)]


def test_names_of_code_are_told():
    text = "`training/loss.py`, `python -m tf_ops.build --check`, `training.nowhere.x`, `a.jpg`"
    assert names_of_code(text) == ["training/loss.py", "tf_ops.build", "training.nowhere.x"]
    assert [is_there(name) for name in names_of_code(text)] == [True, True, False]


def test_the_picture_of_the_rooms_is_complete():
    listing = read("CONTRIBUTING.md").split("## Where things are")[1].split("\n## ")[0]
    named = set(re.findall(r"^    ([\w/]+/|\w[\w/]*\.py)", listing, re.MULTILINE))
    assert not [name for name in named if not (ROOT / name).exists()]
    rooms = {
        f"{path.parent.relative_to(ROOT)}/"
        for name in PACKAGES
        for path in (ROOT / name).glob("**/__init__.py")
        if len(path.relative_to(ROOT).parts) <= 4 and "sources/" not in str(path.parent)
    }
    assert rooms <= named, rooms - named


def test_messages_on_the_troubleshooting_page_are_those_of_the_code():
    """What a row quotes in its first column, between its omissions, numbers and file names."""
    texts = []
    for path in source_paths():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append("".join(str(getattr(v, "value", "")) for v in node.values))
    known = "\n".join(texts)
    lines = read("docs/troubleshooting.md").splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 30
    for text in quoted:
        pieces = re.split(r"…|\d+(?:x\d+)?|\w+\.jpg|--[a-z-]+=", text)
        missing = [p.strip(" :,") for p in pieces if p.strip(" :,") not in known]
        assert text in known or not missing, (text, missing)
