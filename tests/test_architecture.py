"""Rules of the source tree (DESIGN, sections 2 and 3), read from the syntax trees."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A room may import itself, and what stands before it. Names are those of packages and modules, the
# longest that fits.
ROOMS = (
    "dnnlib",
    "dnnlib.submission",
    "dnnlib.tflib",
    "tf_ops",
    "dnnlib.tflib.ops",
    "training",
    "training.random_streams",
    "training.datasets",
    "training.datasets.items",
    "training.datasets.photos",
    "training.datasets.format",
    "training.datasets.tables",
    "training.datasets.building",
    "training.datasets.sources",
    "training.datasets.commands",
    "training.dataset",
    "training.architecture",
    "training.networks_stylegan",
    "training.networks_stylegan2",
    "training.networks",
    "training.augmentation",
    "training.augment",
    "training.losses",
    "training.loss",
    "training.config",
    "training.snapshots",
    "training.snapshots.export",
    "training.latents",
    "training.latents.attributes",
    "training.latents.directions",
    "training.pictures",
    "training.run",
    "training.run.page",
    "training.training_loop",
    "training.misc",
    "metrics.feature_networks",
    "metrics",
    "scripts",
)
PACKAGES = ("dnnlib", "tf_ops", "training", "metrics")
UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# The one place that executes text, for users who ask for it with --allow-pickled-code.
EXEC = ("dnnlib/tflib/pickled_code.py", "exec")


def sources():
    """Every module outside the tests: {path from the root: syntax tree}."""
    paths = [*ROOT.glob("*.py"), *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(paths)
    }


SOURCES = sources()


def test_pictures_are_opened_as_formats_that_are_named():
    """Others may be programs, as PostScript is, or decoders that crash."""
    calls = [
        (path, node)
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert len(calls) > 2
    # Of bytes that were made a moment ago.
    own = {"training/snapshots/export/check.py"}
    without = {p for p, node in calls if "formats" not in {k.arg for k in node.keywords}}
    assert without == own


def test_gradients_of_our_own_are_registered_in_one_place():
    """`tf.custom_gradient` keeps every graph that it is used in."""
    found = {
        (path, node.attr)
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("custom_gradient", "RegisterGradient")
    }
    assert found == {("tf_ops/gradients.py", "RegisterGradient")}


def room_of(module):
    """The longest name in ROOMS that a dotted name begins with; None if it is not ours."""
    scripts = {path.removesuffix(".py") for path in SOURCES if "/" not in path}
    if module.split(".")[0] in scripts:
        return "scripts"
    fitting = [room for room in ROOMS if f"{module}.".startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def imported(tree):
    """(line, dotted name) of everything a module imports, at the top or inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            if node.level:
                yield node.lineno, f"relative:{node.module}"


def module_of(path):
    """The dotted name of a module, that of the package for its `__init__`."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def cycles(trees):
    """Modules that import each other, at the top, in functions or for type checkers alone.

    Args:
        trees: {path: syntax tree}; imports of other modules do not count.
    """
    modules = {module_of(path): tree for path, tree in trees.items()}
    # `from package import name` is the module of that name, or else the package.
    known = {
        module: {name if name in modules else name.rpartition(".")[0] for _, name in imported(tree)}
        & modules.keys() - {module}
        for module, tree in modules.items()
    }
    # What imports nothing that is left, or is imported by nothing that is left, is in no cycle.
    while ends := {m for m in known if not known[m] & known.keys()} | (
        known.keys() - set().union(*known.values())
    ):
        known = {module: names for module, names in known.items() if module not in ends}
    return sorted(known)


def calls(tree):
    """(line, name) of calls of plain names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, node.func.id


def import_problems(path, tree):
    room = room_of(module_of(path))
    for line, name in imported(tree):
        target = room_of(name)
        is_far = target is not None and ROOMS.index(target) > ROOMS.index(room)
        is_script = target == "scripts" == room
        if name.startswith("relative:") or name.split(".")[0] == "tests" or is_far or is_script:
            yield f"{path}:{line} imports {name}"


def source_problems(path, tree):
    for line, name in calls(tree):
        if name in ("eval", "exec", "compile", "exit", "quit") and (path, name) != EXEC:
            yield f"{path}:{line} calls {name}()"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{path}:{node.lineno} has a bare except"
        elif isinstance(node, ast.Assert):
            yield f"{path}:{node.lineno} asserts"
        elif isinstance(node, ast.Global):
            yield f"{path}:{node.lineno} has a global statement"


def tensorflow_problems(path, tree):
    for line, name in imported(tree):
        known = name.startswith("tensorflow.compat.v1")
        if name.split(".")[0] in ("tensorflow", "keras", "tf_keras") and not known:
            yield f"{path}:{line} imports {name}"


def unpickling_problems(path, tree):
    """Reading a pickle without the allow-list would execute it (DESIGN D3)."""
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            name = f"{function.value.id}.{function.attr}"
            if name in ("pickle.load", "pickle.loads", "os.system", "yaml.load", "marshal.loads"):
                yield f"{path}:{node.lineno} calls {name}()"
            if any(k.arg == "allow_pickle" and k.value.value is True for k in node.keywords):
                yield f"{path}:{node.lineno} allows pickles in {name}()"


def system_problems(path, tree):
    """What not every system has is tried, and progress bars are ours: they need no stderr."""
    tried = set()
    for node in ast.walk(tree):
        suppresses = isinstance(node, ast.With) and "ImportError" in ast.dump(node.items[0])
        if isinstance(node, ast.Try) or suppresses:
            tried.update(range(node.lineno, node.end_lineno))
    for line, name in imported(tree):
        module = name.split(".")[0]
        if module in UNIX and line not in tried:
            yield f"{path}:{line} imports {module}, which Windows does not have"
        if module == "tqdm" and path != "dnnlib/output.py":
            yield f"{path}:{line} imports tqdm, and not dnnlib.output.tqdm"


RULES = (
    import_problems,
    source_problems,
    tensorflow_problems,
    unpickling_problems,
    system_problems,
)


def test_all_rooms_are_read():
    assert {room_of(module_of(path)) for path in SOURCES} == set(ROOMS)
    assert len(SOURCES) > 25


@pytest.mark.parametrize("rule", RULES)
def test_the_source_keeps_the_rule(rule):
    assert [problem for path, tree in SOURCES.items() for problem in rule(path, tree)] == []


def test_dnnlib_names_a_module_of_training_in_one_place():
    places = [
        path
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if path.startswith("dnnlib/") and isinstance(node, ast.Constant)
        if re.fullmatch(r"(training|metrics)(\.\w+)+", str(node.value))
    ]
    assert places == ["dnnlib/tflib/build_tables.py"]


def test_imports_have_no_cycles():
    assert cycles(SOURCES) == []


@pytest.mark.parametrize(
    "back",
    [
        "import dnnlib.a",
        "from dnnlib import a",
        "from dnnlib.a import name",
        "def f():\n    from dnnlib.a import name",
        "if TYPE_CHECKING:\n    from dnnlib.a import name",
    ],
)
def test_cycles_are_found(back):
    code = {"dnnlib/__init__.py": "from dnnlib.util import x", "dnnlib/util.py": ""}
    code |= {"dnnlib/a.py": "from dnnlib import b, x", "dnnlib/b.py": "import dnnlib.c"}
    code |= {"dnnlib/c.py": back, "dnnlib/d.py": "import dnnlib.a"}
    found = cycles({path: ast.parse(text) for path, text in code.items()})
    assert found == ["dnnlib.a", "dnnlib.b", "dnnlib.c"]
    code["dnnlib/c.py"] = "import os"
    assert cycles({path: ast.parse(text) for path, text in code.items()}) == []


@pytest.mark.parametrize(
    ("rule", "path", "code"),
    [
        (import_problems, "dnnlib/tflib/network.py", "import training.layers"),
        (import_problems, "dnnlib/files.py", "from dnnlib import tflib"),
        (import_problems, "training/architecture/layers.py", "from training import networks"),
        (import_problems, "training/losses/logistic.py", "from training.run import state"),
        (
            import_problems,
            "training/datasets/photos/decode.py",
            "import training.datasets.format.x",
        ),
        (import_problems, "training/run/demo.py", "def f():\n    import training.training_loop"),
        (import_problems, "dnnlib/util.py", "def f():\n    from tf_ops import native"),
        (import_problems, "tf_ops/layout.py", "from training import loss"),
        (import_problems, "training/loss.py", "import metrics"),
        (import_problems, "metrics/fid.py", "from run_training import main"),
        (import_problems, "run_training.py", "import run_generator"),
        (import_problems, "training/loss.py", "from . import layers"),
        (import_problems, "training/loss.py", "import tests.conftest"),
        (source_problems, "dnnlib/util.py", "exec('1')"),
        (source_problems, "dnnlib/tflib/pickled_code.py", "eval('1')"),
        (source_problems, "dnnlib/util.py", "x = eval('1')"),
        (source_problems, "dnnlib/util.py", "exit(1)"),
        (source_problems, "dnnlib/util.py", "try:\n    pass\nexcept:\n    pass"),
        (source_problems, "dnnlib/util.py", "assert True"),
        (source_problems, "dnnlib/util.py", "def f():\n    global x"),
        (tensorflow_problems, "training/loss.py", "import tensorflow as tf"),
        (tensorflow_problems, "training/loss.py", "from tensorflow import keras"),
        (tensorflow_problems, "training/loss.py", "from tensorflow.python import ops"),
        (system_problems, "training/loss.py", "import fcntl"),
        (system_problems, "training/loss.py", "def f():\n    from resource import getrusage"),
        (system_problems, "training/loss.py", "from tqdm import tqdm"),
        (unpickling_problems, "training/loss.py", "pickle.load(file)"),
        (unpickling_problems, "training/loss.py", "np.load(file, allow_pickle=True)"),
    ],
)
def test_the_rules_find_what_they_forbid(rule, path, code):
    assert len(list(rule(path, ast.parse(code)))) == 1


def test_the_rules_let_the_rest_pass():
    code = (
        "import tensorflow.compat.v1 as tf\n"
        "from dnnlib import tflib\n"
        "from training import layers\n"
        "try:\n"
        "    import resource\n"
        "except ImportError:\n"
        "    pass\n"
        "MODULES = ('metrics.fid',)\n"
        "np.load(path, allow_pickle=False)\n"
    )
    for rule in RULES:
        assert list(rule("training/loss.py", ast.parse(code))) == []
    assert list(import_problems("run_training.py", ast.parse("import metrics.fid"))) == []


def test_text_is_executed_in_one_place():
    places = [
        (path, name)
        for path, tree in SOURCES.items()
        for _, name in calls(tree)
        if name in ("exec", "eval")
    ]
    assert places == [EXEC]


def test_v2_behaviour_is_switched_off_in_one_place():
    places = [
        path
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "disable_v2_behavior"
    ]
    assert places == ["dnnlib/tflib/__init__.py"]
