"""submit_run: runs of the user's own functions."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import dnnlib
from dnnlib import UserError
from dnnlib.left_out import LeftOut
from dnnlib.submission import submit

ROOT = Path(__file__).resolve().parents[2]
SEEN = SimpleNamespace()


def train(submit_config, rate, steps=1):
    SEEN.config = submit_config
    SEEN.is_current = dnnlib.submit_config is submit_config
    SEEN.path = dnnlib.make_run_dir_path("sub", "file.txt")
    SEEN.context = dnnlib.RunContext.get()
    with ThreadPoolExecutor(1) as pool:
        SEEN.path_in_thread = pool.submit(dnnlib.make_run_dir_path, "sub", "file.txt").result()
    for _ in range(steps):
        SEEN.context.update(loss=0.5, cur_epoch=1, max_epoch=2)
    print(f"rate {rate}, stop {SEEN.context.should_stop()}")


def fail():
    print("before")
    raise ZeroDivisionError("by zero")


@pytest.fixture
def config(tmp_path):
    config = dnnlib.SubmitConfig()
    config.run_dir_root = str(tmp_path / "results")
    config.run_desc = "mine"
    return config


@pytest.mark.parametrize("function", [train, f"{__name__}.train"])
def test_a_run(config, tmp_path, function, capsys):
    extra = tmp_path / "extra.txt"
    extra.write_text("extra")
    config.run_dir_extra_files = [(str(extra), "files/extra.txt")]
    config.own = "kept"
    result = dnnlib.submit_run(config, function, rate=0.1, steps=2)
    run_dir = tmp_path / "results" / "00000-mine"
    assert result is SEEN.config and result.run_dir == str(run_dir)
    assert (result.run_id, result.run_name, result.own) == (0, "00000-mine", "kept")
    assert result.run_func_name == f"{__name__}.train"
    assert result.run_func_kwargs == {"rate": 0.1, "steps": 2}
    assert config.run_dir is None  # So that it can be used again.
    assert SEEN.is_current and SEEN.path == str(run_dir / "sub" / "file.txt")
    assert SEEN.path_in_thread == SEEN.path
    log = (run_dir / "log.txt").read_text()
    assert "rate 0.1, stop False\n" in log and "Finished" in log
    assert log == capsys.readouterr().out
    assert "'run_desc': 'mine'" in (run_dir / "submit_config.txt").read_text()
    assert (run_dir / "_finished.txt").exists()
    assert (run_dir / "files" / "extra.txt").read_text() == "extra"
    assert dnnlib.submit_run(config, function, rate=1).run_name == "00001-mine"


def test_a_run_that_fails(config, tmp_path):
    stdout = sys.stdout
    with pytest.raises(ZeroDivisionError):
        dnnlib.submit_run(config, fail)
    run_dir = tmp_path / "results" / "00000-mine"
    log = (run_dir / "log.txt").read_text()
    assert "before\n" in log and "ZeroDivisionError: by zero" in log
    assert not (run_dir / "_finished.txt").exists()
    assert sys.stdout is stdout and dnnlib.submit_config is None


def test_outside_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dnnlib.submit_config is None
    assert dnnlib.make_run_dir_path("a.txt") == str(tmp_path / "a.txt")
    with pytest.raises(UserError, match="submit_run"):
        dnnlib.RunContext.get()


def test_what_cannot_run(config, tmp_path):
    with pytest.raises(UserError, match="has no nothing"):
        dnnlib.submit_run(config, f"{__name__}.nothing")
    with pytest.raises(TypeError):
        dnnlib.submit_run(config, train, learning=1)
    config.submit_target = "cluster"
    with pytest.raises(UserError, match="expected LOCAL"):
        dnnlib.submit_run(config, fail)
    with pytest.raises(UserError, match="name no run directory"):
        submit.run_wrapper(config)
    names = [path.name for path in (tmp_path / "results").iterdir()]
    assert names == ["00000-mine"]  # Of the call that was wrong, which is in the log.


def test_run_context(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    with dnnlib.RunContext(dnnlib.SubmitConfig(), None) as outer:
        now[0] = 103.0
        outer.update()
        now[0] = 110.0
        outer.update(0.1, 1, 2)
        now[0] = 112.0
        assert outer.get_time_since_start() == 12
        assert outer.get_time_since_last_update() == 2
        assert outer.get_last_update_interval() == 7
        inner = dnnlib.RunContext(dnnlib.SubmitConfig())
        assert dnnlib.RunContext.get() is inner
        with ThreadPoolExecutor(1) as pool:  # Of two runs, a thread belongs to neither.
            assert pool.submit(lambda: dnnlib.submit_config).result() is None
        inner.close()
        inner.close()
        assert dnnlib.RunContext.get() is outer
    assert outer.has_closed
    with pytest.raises(UserError):
        dnnlib.RunContext.get()


def test_paths(monkeypatch):
    monkeypatch.setattr(submit, "get_user_name", lambda: "me")
    kind = dnnlib.PathType
    assert dnnlib.get_path_from_template("/a/<USERNAME>/b", kind.LINUX) == "/a/me/b"
    assert dnnlib.convert_path("a/b", kind.WINDOWS) == "a\\b"
    assert dnnlib.convert_path("a\\b", kind.LINUX) == "a/b"
    assert submit.get_template_from_path("a\\b") == "a/b"
    with pytest.raises(LeftOut, match=r"submit_config\.user_name"):
        submit.set_user_name_override("me")


def test_the_example_of_the_page(run_script, tmp_path):
    page = (ROOT / "docs/official-scripts.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import dnnlib\n\n\ndef train.*?)```", page, re.DOTALL)[1]
    (tmp_path / "train.py").write_text(code)
    result = run_script([tmp_path / "train.py"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run_dir = tmp_path / "results" / "00000-mine"
    assert (run_dir / "result.txt").exists() and (run_dir / "_finished.txt").exists()
    assert "2 0.1 0 s\n" in (run_dir / "log.txt").read_text()
