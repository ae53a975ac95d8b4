"""Official names of dnnlib and dnnlib.util."""

from __future__ import annotations

import ast
import ctypes
import io
import math
import os
import sys
from pathlib import Path

import http_server
import numpy as np
import pytest

import dnnlib
from dnnlib import UserError, downloads, util

ROOT = Path(__file__).resolve().parents[2]
# Interface facts of both official repositories.
NAMES = """
    EasyDict Logger ask_yes_no call_func_by_name construct_class_by_name copy_files_and_create_dirs
    format_time get_dtype_and_ctype get_module_dir_by_obj_name get_module_from_obj_name
    get_obj_by_name get_obj_from_module get_top_level_function_name is_pickleable
    is_top_level_function is_url list_dir_recursively_with_ignore make_cache_dir_path open_url
    set_cache_dir tuple_product
""".split()


@pytest.fixture
def server():
    with http_server.Server() as server:
        yield server


def test_official_names():
    assert all(callable(getattr(util, name)) for name in NAMES)
    names = """EasyDict RunContext SubmitConfig SubmitTarget PathType submit_run make_run_dir_path
        make_cache_dir_path get_path_from_template use_tensorflow_1"""
    assert all(callable(getattr(dnnlib, name)) for name in names.split())
    assert dnnlib.submission.submit.SubmitConfig is dnnlib.SubmitConfig
    for module in (dnnlib, util):
        assert not hasattr(module, "nowhere")


def test_nothing_more_is_imported_than_before(run_script):
    code = "import sys, dnnlib, dnnlib.util; print(*sorted(m for m in sys.modules))"
    loaded = run_script(["-c", code]).stdout.split()
    assert [m for m in loaded if m.startswith("dnnlib")] == [
        "dnnlib",
        "dnnlib.lazy_names",
        "dnnlib.util",
    ]
    assert not {"requests", "numpy", "tensorflow"}.intersection(loaded)


def test_names_are_looked_up_for_code_of_the_user_alone():
    """`dotted_names` is imported by `submit_run`, and nowhere else: `dnnlib.util` looks there for
    what people's own scripts ask it for.
    """
    places = set()
    for package in ("dnnlib", "tf_ops", "training", "metrics", "."):
        paths = (ROOT / package).rglob("*.py") if package != "." else ROOT.glob("*.py")
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = {getattr(node, "attr", None), getattr(node, "module", None)}
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    names.update(alias.name for alias in node.names)
                words = {word for name in filter(None, names) for word in name.split(".")}
                if words & {"dotted_names", "call_func_by_name", "get_obj_by_name"}:
                    places.add(path.relative_to(ROOT).as_posix())
    assert places == {"dnnlib/submission/submit.py"}


def test_logger(tmp_path, monkeypatch):
    screen, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", errors)
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    with util.Logger(str(path)) as logger:
        print("out")
        print("err", file=sys.stderr)
        logger.write(b"bytes\n")
        assert path.read_text() == "out\nerr\nbytes\n"
    assert sys.stdout is screen and sys.stderr is errors
    print("after")
    second = util.Logger(str(path), file_mode="a", should_flush=False)
    print("more")
    second.close()
    assert path.read_text() == "out\nerr\nbytes\nmore\n"
    assert screen.getvalue() == "out\nerr\nbytes\nafter\nmore\n"
    assert errors.getvalue() == ""
    with pytest.raises(UserError, match="file_mode"):
        util.Logger(str(path), file_mode="x")
    assert sys.stdout is screen


def test_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "unused")
    util.set_cache_dir(str(tmp_path / "cache"))
    assert downloads.cache_folder() == str(tmp_path / "cache")
    assert util.make_cache_dir_path("a", "b") == str(tmp_path / "cache" / "a" / "b")
    assert dnnlib.make_cache_dir_path() == str(tmp_path / "cache")


def test_what_is_a_url():
    for url in ("https://example.com/a.pkl", "http://127.0.0.1:80/"):
        assert util.is_url(url)
    for other in ("a.pkl", "/a/b", "https://", "http://[x", "ftp://a.b/c", "file:///a", None, 3):
        assert not util.is_url(other)
    assert util.is_url("file:///a/b", allow_file_urls=True)


def test_open_url_downloads_once(server, tmp_path, capsys):
    server.routes["/a.pkl"] = b"content"
    url, cache = f"{server.url}/a.pkl", str(tmp_path / "cache")
    with util.open_url(url, cache) as file:
        assert file.read() == b"content"
    assert "Downloading" in capsys.readouterr().err
    path = util.open_url(url, cache_dir=cache, return_filename=True)
    assert Path(path).parent == tmp_path / "cache" and Path(path).read_bytes() == b"content"
    assert server.paths == ["/a.pkl"]
    Path(path).write_bytes(b"changed")  # What is in the cache is checked.
    assert util.open_url(url, cache, verbose=False).read() == b"content"
    assert capsys.readouterr().err == ""


def test_open_url_without_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    server.routes["/a"] = b"content"
    for _ in range(2):
        assert util.open_url(f"{server.url}/a", cache=False, verbose=False).read() == b"content"
    assert server.paths == ["/a", "/a"] and not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="needs cache=True"):
        util.open_url(f"{server.url}/a", cache=False, return_filename=True)


def test_open_url_opens_files(tmp_path):
    path = tmp_path / "a b.txt"
    path.write_bytes(b"content")
    for name in (str(path), path.as_uri()):
        assert util.open_url(name).read() == b"content"
        assert util.open_url(name, return_filename=True) == str(path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.com/a", "only https"),
        ("ftp://example.com/a", "expected an https URL"),
        ("no/such/file", "cannot read no/such/file"),
    ],
)
def test_what_open_url_refuses(url, message, tmp_path):
    with pytest.raises(UserError, match=message):
        util.open_url(url, str(tmp_path), num_attempts=1, verbose=False)


def test_attempts_and_redirects(server, tmp_path):
    server.routes["/a"] = http_server.status(404)
    server.routes["/away"] = http_server.status(302, {"Location": "http://10.0.0.1/a"})
    with pytest.raises(UserError, match="only https"):
        util.open_url(f"{server.url}/away", str(tmp_path), num_attempts=1, verbose=False)
    server.paths.clear()
    with pytest.raises(UserError, match="404"):
        util.open_url(f"{server.url}/a", str(tmp_path), num_attempts=1, verbose=False)
    assert server.paths == ["/a"]
    with pytest.raises(UserError, match="num_attempts is 0"):
        util.open_url(f"{server.url}/a", num_attempts=0)


def test_ask_yes_no(monkeypatch):
    answers = iter(["", "maybe", "Y", "no"])
    questions = []
    monkeypatch.setattr("builtins.input", lambda q: questions.append(q) or next(answers))
    assert util.ask_yes_no("Really?") is True
    assert util.ask_yes_no("Again?") is False
    assert questions == ["Really? [y/n] "] * 3 + ["Again? [y/n] "]

    def closed(_question):
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    with pytest.raises(UserError, match="stdin is closed"):
        util.ask_yes_no("Really?")


def test_small_helpers():
    assert util.tuple_product((2, 3, 4)) == 24 and util.tuple_product(()) == 1
    assert util.is_pickleable([1, "a"]) and not util.is_pickleable(lambda: 0)
    for name in ("float32", np.float32, np.dtype("float32"), ctypes.c_float):
        assert util.get_dtype_and_ctype(name) == (np.dtype("float32"), ctypes.c_float)
    assert util.get_dtype_and_ctype("uint8") == (np.dtype("uint8"), ctypes.c_uint8)
    for name in ("nothing", "float16"):
        with pytest.raises(UserError, match="no type of numbers"):
            util.get_dtype_and_ctype(name)


# Functions by name


def test_dotted_names():
    assert util.get_obj_by_name("math.hypot") is math.hypot
    assert util.get_obj_by_name("os.path.join") is os.path.join
    assert util.get_obj_by_name("dnnlib.util.EasyDict.get") is dnnlib.EasyDict.get
    assert util.get_obj_by_name("np.linalg.norm") is np.linalg.norm
    assert util.get_module_from_obj_name("pathlib.Path.exists") == (
        sys.modules["pathlib"],
        "Path.exists",
    )
    assert util.get_obj_from_module(math, "pi") == math.pi
    assert util.call_func_by_name(3, 4, func_name="math.hypot") == 5
    assert util.construct_class_by_name(a=1, class_name="dnnlib.EasyDict").a == 1
    assert util.get_module_dir_by_obj_name("dnnlib.util.EasyDict") == str(ROOT / "dnnlib")


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    for name in ("no_such_module.function", "math.nothing", "os.path.nothing", ""):
        with pytest.raises(UserError, match=r"no module for|has no"):
            util.get_obj_by_name(name)
    for name in ("math.pi", None):
        with pytest.raises(UserError, match="expected a"):
            util.call_func_by_name(func_name=name)
    # A module with an error of its own says so.
    (tmp_path / "incomplete.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        util.get_obj_by_name("incomplete.function")


def test_top_level_functions(monkeypatch):
    assert util.is_top_level_function(http_server.status)
    assert util.get_top_level_function_name(http_server.status) == "http_server.status"

    def inner():
        pass

    assert not util.is_top_level_function(inner) and not util.is_top_level_function(3)
    with pytest.raises(UserError, match="not a function at the top level"):
        util.get_top_level_function_name(inner)
    # The script that runs is a module by the name of its file.
    main = type(sys)("__main__")
    main.__file__ = "folder/train.py"
    inner.__module__, main.inner = "__main__", inner
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert util.get_top_level_function_name(inner) == "train.inner"


# Files


def test_listing_and_copying(tmp_path):
    for name in ("a.py", "a.pyc", "sub/b.py", "sub/skip/c.py", "__pycache__/d.py"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    found = util.list_dir_recursively_with_ignore(
        str(tmp_path / "source"), ["*.pyc", "skip", "__pycache__"], add_base_to_relative=True
    )
    assert [relative for _, relative in found] == ["source/a.py", "source/sub/b.py"]
    assert all(os.path.isabs(path) for path, _ in found)
    assert len(util.list_dir_recursively_with_ignore(str(tmp_path / "source"))) == 5
    util.copy_files_and_create_dirs((a, str(tmp_path / "copy" / b)) for a, b in found)
    assert (tmp_path / "copy/source/sub/b.py").read_text() == "sub/b.py"
    with pytest.raises(UserError, match="not a folder"):
        util.list_dir_recursively_with_ignore(str(tmp_path / "nowhere"))
