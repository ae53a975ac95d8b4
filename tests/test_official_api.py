"""The public names of the official repositories are here, or say why they are not.

    python tests/test_official_api.py

writes docs/official-api.md, the table of what this test found.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]

from dnnlib.left_out import LeftOut  # noqa: E402

PAGE = ROOT / "docs" / "official-api.md"
REPOSITORIES = {"NVlabs/stylegan2": "2", "NVlabs/stylegan2-ada": "ADA"}
# Scripts of the ADA repository, which have one command each.
SCRIPTS = {
    "calc_metrics": "run_metrics.py",
    "generate": "run_generator.py generate-images",
    "style_mixing": "run_generator.py style-mixing-example",
    "train": "run_training.py",
}
# Parameters that differ, and why. `Class.method` or function: reason.
PARAMETERS = {
    "dnnlib.tflib.network.Network.__init__": "`name` and `func_name` have to be given, as there "
    "(None is refused)",
    "metrics.metric_base.MetricGroup.__init__": "the first parameter is `metrics`: names, or "
    "constructor arguments with `func_name` as there",
    "training.dataset.TFRecordDataset.__init__": "`max_label_size` is 'full', since labels are not "
    "left out unasked; `validation_set()` takes the place of `_is_validation`",
    "training.dataset.load_dataset": "`class_name` is that of the class, the only one there is",
    "training.training_loop.training_loop": "takes one `TrainingOptions`, checked as a whole; "
    "`run_training.run` and `run_training.run_training` have the official parameters",
}
HEAD = """\
# The official Python interface

What scripts for NVlabs/stylegan2 ("2") and NVlabs/stylegan2-ada ("ADA") import, and whether it
is here, with the same names of parameters and defaults. How to run such scripts:
[official scripts](official-scripts.md); commands: [official names](official-names.md). This page
is written by `python tests/test_official_api.py`.

"""


def official_names():
    """{module: {name: {repository: line}}} of tests/data/official_api.txt."""
    found, repository, module = {}, None, None
    for line in (ROOT / "tests/data/official_api.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            repository = line[3:]
        elif repository and line.startswith("    "):
            text = line.strip()
            name = text.removeprefix("class ").partition(":" if "class " in text else "(")[0]
            found.setdefault(module, {}).setdefault(name, {})[repository] = text
        elif repository:
            module = line
    return found


OFFICIAL = official_names()


def functions_of(name, line):
    """{path below the module: list of parameters as text} of a line."""
    if not line.startswith("class "):
        return {name: line[len(name) + 1 : -1]}
    methods = [m.strip() for m in line.partition(":")[2].split(";") if m.strip()]
    return {f"{name}.{m.partition('(')[0]}": m[m.index("(") + 1 : -1] for m in methods}


def parameters_of(text):
    """{name: default} of a list of parameters; what is cut off, or not a literal, has `...`."""
    while "…" in text or not is_signature(text):  # Cut off where the list was too long.
        text = text.rpartition(",")[0]
    arguments = ast.parse(f"def f({text}): pass").body[0].args
    names = [a.arg for a in (*arguments.args, *arguments.kwonlyargs)]
    defaults = [inspect.Parameter.empty] * (len(arguments.args) - len(arguments.defaults))
    defaults += [*map(literal, arguments.defaults), *map(literal, arguments.kw_defaults)]
    return dict(zip(names, defaults, strict=True))


def is_signature(text):
    try:
        return bool(ast.parse(f"def f({text}): pass"))
    except SyntaxError:
        return False


def literal(node):
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...


def find(module, path):
    """The object, or a LeftOut exception; AttributeError if it is neither."""
    try:
        found = getattr(importlib.import_module(module), path.partition(".")[0])
    except LeftOut as error:
        return error
    for part in path.split(".")[1:]:
        if part not in ("", "__init__") and not hasattr(found, part):
            if re.search(rf"\b{part}\b", inspect.getdoc(found)):  # Set by the constructor.
                return None
        found = getattr(found, part)
    return found


def differences(found, lists):
    """What is wrong with the parameters of a function: of each official list of parameters."""
    try:
        ours = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in ours.values())
    known = [parameters_of(text) for text in lists]
    for name in dict.fromkeys(name for names in known for name in names):
        if name not in ours:
            if not takes_any:
                yield f"{name} is missing"
            continue
        defaults = [names[name] for names in known if name in names]
        default = ours[name].default
        if ... not in defaults and not any(same(default, other) for other in defaults):
            if inspect.Parameter.empty not in defaults:
                yield f"{name} is {default!r}, not {defaults[0]!r}"


def same(ours, theirs):
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return list(ours) == list(theirs)
    return ours == theirs or (ours in (None, (), {}) and theirs in (None, [], {}))


def check(module):
    """Problems of a module, and {name: why it is absent} of what is."""
    problems, absent = [], {}
    if module in SCRIPTS:
        assert importlib.util.find_spec(module) is None
        return [], dict.fromkeys(OFFICIAL[module], f"use {SCRIPTS[module]}")
    for name, lines in OFFICIAL[module].items():
        lists: dict[str, list[str]] = {name: []}
        for line in lines.values():
            for path, text in functions_of(name, line).items():
                lists.setdefault(path, []).append(text)
        for path, texts in lists.items():
            try:
                found = find(module, path)
            except (AttributeError, ImportError) as error:
                problems.append(f"{module}.{path}: {error}")
                break
            if isinstance(found, LeftOut):
                absent[path] = str(found).partition("is not here: ")[2]
                break
            if f"{module}.{path}" not in PARAMETERS and texts and callable(found):
                problems += [f"{module}.{path}: {d}" for d in differences(found, texts)]
    return problems, absent


@pytest.mark.parametrize("module", OFFICIAL)
def test_every_name_is_here_or_says_why_not(module):
    problems, _ = check(module)
    assert not problems


def test_the_page_says_what_is_here():
    assert page() == PAGE.read_text(encoding="utf-8"), "run python tests/test_official_api.py"


def test_what_is_missing_is_found(monkeypatch):
    lines = {"NVlabs/stylegan2": "format_time(seconds, digits=3)"}
    monkeypatch.setitem(OFFICIAL, "dnnlib.util", {"format_time": lines})
    assert check("dnnlib.util")[0] == ["dnnlib.util.format_time: digits is missing"]
    monkeypatch.setitem(OFFICIAL, "dnnlib.util", {"no_such": {"": "no_such(x)"}})
    assert len(check("dnnlib.util")[0]) == 1
    method = {"": "class EasyDict: __getattr__(name, other=1)"}
    monkeypatch.setitem(OFFICIAL, "dnnlib.util", {"EasyDict": method})
    assert check("dnnlib.util")[0] == ["dnnlib.util.EasyDict.__getattr__: other is missing"]


def page():
    rows, num_names, num_absent = [], 0, 0
    for module, names in sorted(OFFICIAL.items()):
        absent = check(module)[1]
        whose = " ".join(v for k, v in REPOSITORIES.items() if any(k in n for n in names.values()))
        here = [f"`{name}`" for name in sorted(names) if name not in absent]
        gone = [f"`{name}`: {reason}" for name, reason in sorted(absent.items())]
        if len(gone) > 1 and len(set(absent.values())) == 1:
            gone = [f"{', '.join(f'`{name}`' for name in absent)}: {next(iter(absent.values()))}"]
        num_names += len(names)
        num_absent += len(absent)
        rows.append(f"| `{module}` | {whose} | {', '.join(here)} | {'; '.join(gone)} |\n")
    differing = "".join(f"- `{name}`: {reason}\n" for name, reason in PARAMETERS.items())
    return (
        f"{HEAD}{num_names - num_absent} of {num_names} names are here; the others say why not "
        "when they are used.\n\n| module | of | here | left out |\n|---|---|---|---|\n"
        f"{''.join(rows)}" + (f"\nOther parameters:\n\n{differing}" if differing else "")
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
