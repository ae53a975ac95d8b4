"""Scripts for TensorFlow 1, run by dnnlib.run_script."""

from __future__ import annotations

import builtins
import re
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

import dnnlib
from dnnlib import run_script as runner
from dnnlib.left_out import LeftOut

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf
import tensorflow.contrib
import tensorflow.contrib.slim as slim
import tensorflow.compat.v1 as tf1
from tensorflow.python.framework import ops
import beside
import installed
import pretrained_networks
from training import misc

print(sys.argv, __name__, beside.tf is tf, installed.is_2)
with tf.Session(config=tf.ConfigProto()) as session:
    assert tf.get_default_session() is session
    x = tf.placeholder(tf.float32, [None])
    print(session.run(tf.reduce_sum(x * 2), {x: [1, 2]}), isinstance(x.graph, ops.Graph))
print(tf1.Session is tf.Session, tf.executing_eagerly(), tf.keras is not None)
for use in (
    lambda: tf.contrib.layers.xavier_initializer,
    lambda: slim.conv2d,
    lambda: tf.layers.dense,
    lambda: __import__("train"),
):
    try:
        use()
    except ImportError as error:
        print("gone:", error)
beside.fail()
"""
BESIDE = """
import tensorflow as tf

def fail():
    raise tf.errors.InvalidArgumentError(None, None, "my own error")
"""
INSTALLED = "import tensorflow as tf\nis_2 = not hasattr(tf, 'Session')\n"


def write(folder, **modules):
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def test_a_script(run_script, tmp_path):
    write(tmp_path, script=SCRIPT, beside=BESIDE, **{"site-packages__installed": INSTALLED})
    # The script's folder and the checkout are found by themselves.
    result = run_script(
        ["-m", "dnnlib.run_script", tmp_path / "script.py", "--help", "x"],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path / 'site-packages'}"},
        cwd=tmp_path,
    )
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        f"{[str(tmp_path / 'script.py'), '--help', 'x']} __main__ True True",
        "6.0 True",
        "True False True",
    ], result.stderr
    gone = [line.removeprefix("gone: ") for line in lines[3:]]
    assert gone[0] == (
        "tensorflow.contrib.layers.xavier_initializer went away with TensorFlow 1: use "
        "tf.keras.layers and tf.initializers, or the package tf_slim"
    )
    assert gone[1].startswith("tensorflow.contrib.slim.conv2d went away")
    assert gone[2] == "tensorflow.layers.dense is in Keras 2 only: pip install tf_keras"
    assert gone[3].startswith("train.py of the official code is not here: use run_training.py")
    # The traceback is that of the script, and of nothing around it.
    assert result.returncode == 1
    trace = result.stderr.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[1].strip().startswith(f'File "{tmp_path / "script.py"}", line')
    assert "my own error" in trace[-1]
    assert "runpy" not in result.stderr and "run_script.py" not in result.stderr


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script in this process, without TensorFlow."""
    monkeypatch.setattr(runner, "use_tensorflow_1", lambda: None)
    monkeypatch.setattr(sys, "argv", ["unchanged"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def run(text, *args):
        write(tmp_path, script=text)
        return runner.run_script(str(tmp_path / "script.py"), args)

    return run


def test_exit_codes(run, capsys):
    assert run("print('done')") == 0
    with pytest.raises(SystemExit) as caught:
        run("import sys; sys.exit(3)")
    assert caught.value.code == 3
    assert run("raise KeyboardInterrupt") == 130
    assert run("raise SystemError('own')") == 1
    assert run("a b") == 1
    error = capsys.readouterr().err
    assert "SystemError: own" in error and "SyntaxError" in error and "runpy" not in error


def test_whose_modules_are_found(run, tmp_path, capsys):
    assert run("import sys; print(sys.path[:2])") == 0
    assert capsys.readouterr().out == f"{[str(tmp_path), str(ROOT)]}\n"
    # In a copy of the official code, its modules are not those that are meant.
    (tmp_path / "dnnlib").mkdir()
    assert run("import sys; print(sys.path[:2])") == 0
    assert capsys.readouterr().out == f"{[str(ROOT), str(tmp_path)]}\n"


def test_absent_official_modules(run, tmp_path, capsys):
    for name, use in (
        ("generate", "run_generator.py generate-images"),
        ("style_mixing", "run_generator.py style-mixing-example"),
        ("calc_metrics", "run_metrics.py"),
    ):
        assert run(f"from {name} import main") == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"{name}.py of the official code is not here: use {use}" in last
    assert run("import no_such_module") == 1
    assert "No module named 'no_such_module'" in capsys.readouterr().err
    write(tmp_path, generate="print('their own')")
    assert run("import generate") == 0
    assert capsys.readouterr().out == "their own\n"


def test_the_command_line(run_script, tmp_path):
    for args, message in (
        (["none.py"], "none.py does not exist; expected the path of a Python script"),
        ([str(tmp_path)], "is a folder"),
        ([], "SCRIPT.py"),
    ):
        result = run_script(["-m", "dnnlib.run_script", *args], cwd=tmp_path)
        assert result.returncode == 2 and result.stdout == ""
        assert message in result.stderr and len(result.stderr.splitlines()) == 1
    result = run_script(["-m", "dnnlib.run_script", "--help"])
    assert result.returncode == 0
    assert "python -m dnnlib.run_script my_script.py" in result.stdout


def test_in_a_notebook(monkeypatch):
    import tensorflow.compat.v1 as tf

    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    module = dnnlib.use_tensorflow_1()
    assert dnnlib.use_tensorflow_1() is module  # Once is enough.

    def cell(statement, **names):
        exec(statement, names)
        return names

    names = cell("import tensorflow as tf, tensorflow.nn as nn\nimport os.path")
    assert names["tf"] is module and names["nn"] is tf.nn
    assert module.Session is tf.Session and "placeholder" in dir(module)
    # Names that only TensorFlow 2 has, and names that nobody has.
    assert not hasattr(tf, "optimizers") and hasattr(module, "optimizers")
    assert not hasattr(module, "no_such_name")
    names = cell("from tensorflow import Session\nfrom tensorflow.python.framework import ops")
    assert names["Session"] is tf.Session
    with pytest.raises(LeftOut, match=r"contrib.rnn.BasicLSTMCell went away"):
        cell("from tensorflow.contrib.rnn import BasicLSTMCell")
    # As copies of the official training loop ask how much memory a GPU has given.
    with tf.Graph().as_default(), tf.Session() as session:
        names = cell("import tensorflow as tf\nop = tf.contrib.memory_stats.MaxBytesInUse()")
        assert session.run(names["op"]) >= 0
        gpu = SimpleNamespace(
            list_physical_devices=lambda kind: [kind], get_memory_info=lambda name: {"peak": 7}
        )
        monkeypatch.setattr(tf.config, "experimental", gpu)
        with tf.device("/gpu:0"):
            op = module.contrib.memory_stats.MaxBytesInUse()
        assert op.device.endswith("CPU:0") and session.run(op) == 7
    with pytest.raises(LeftOut, match=r"contrib.opt.X went away with TensorFlow 1: the optimizers"):
        cell("from tensorflow.contrib import opt\nopt.X")
    with pytest.raises(ModuleNotFoundError):
        cell("import tensorflow.examples.tutorials")
    library = "/usr/lib/python3/dist-packages/library.py"
    assert cell("import tensorflow", __file__=library)["tensorflow"] is sys.modules["tensorflow"]
    assert cell("import tensorflow", __file__="mine.py")["tensorflow"] is module


def test_the_example_of_the_page():
    page = (ROOT / "docs/official-scripts.md").read_text(encoding="utf-8")
    assert re.search(r"^python -m dnnlib.run_script \w+\.py", page, re.MULTILINE)
    assert "dnnlib.use_tensorflow_1()\nimport tensorflow as tf\n" in page
