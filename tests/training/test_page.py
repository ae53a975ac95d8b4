"""The page of run directories: whole, damaged, hostile, of other kinds and of older versions."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from dnnlib import UserError
from tests.browser import Browser, find_chromium
from training.augmentation.presets import MAX_STRENGTH
from training.datasets.building.build import Output
from training.datasets.photos.arrays import save_png
from training.datasets.sources.demo_dataset import create_demo
from training.pictures.xmp import find
from training.run.page import report, summary
from training.run.page.curves import draw
from training.run.page.report import Page, try_page, write_page
from training.run.page.run_files import MACHINE, read_run

RUNS = Path(__file__).resolve().parents[1] / "data/runs"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x^2$"
VOID = {"meta", "link", "img", "input", "br"}


class Parsed(HTMLParser):
    """What a browser makes of a page, as far as tests look: elements, text, scripts."""

    def __init__(self, folder, text=None):
        super().__init__()
        self.folder, self.open, self.elements = Path(folder), [], []
        self.texts = {}  # Of elements of each kind, one after the other.
        self.feed((self.folder / "report.html").read_text() if text is None else text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, name):
        """Values of an attribute, of all elements that have it."""
        return [attrs[name] for _, attrs in self.elements if name in attrs]

    def facts(self):
        return dict(zip(self.texts["dt"], self.texts["dd"], strict=True))


def parse(folder):
    """A page; whatever it points to is there, names are unique, and nothing is from outside."""
    page = Parsed(folder)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    for name in page.all("for") + page.all("aria-labelledby") + page.all("aria-describedby"):
        assert name in ids
    for address in page.all("href") + page.all("src"):
        if address.startswith("#"):
            assert address[1:] in ids
        elif not address.startswith("data:"):
            assert (page.folder / unquote(address)).is_file(), address
    for value in page.all("clip-path"):
        assert value.removeprefix("url(#").removesuffix(")") in ids
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    styles = " ".join(page.texts["style"])
    assert "url(" not in styles and "@import" not in styles
    # One script, which the page allows by its hash; and data.
    kinds = [attrs.get("type") for tag, attrs in page.elements if tag == "script"]
    assert kinds in ([None], ["application/json", None])
    digest = base64.b64encode(hashlib.sha256(page.texts["script"][-1].encode()).digest())
    policy = next(p for p in page.all("content") if "default-src" in p)
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest.decode()}'" in policy
    return page


@pytest.fixture
def run_dir(tmp_path):
    """A run on a drawn dataset, resumed once, as far as a page looks at it."""
    folder = tmp_path / "00000-run"
    folder.mkdir()
    create_demo(Output(str(tmp_path / "drawn"), shuffle=False, resolution=8), num_images=18)
    options = {
        "dataset_args": {"tfrecord_dir": str(tmp_path / "drawn"), "validation": 3, "seed": 5},
        "G_args": {"resolution": 8, "num_channels": 3},
        "sched_args": {"minibatch_size_base": 16},
        "augment_args": {"mode": "ada"},
        "total_kimg": 100.0,
    }
    (folder / "training_options.json").write_text(json.dumps(options))
    for kimg in range(9):
        add_row(folder, kimg=4 * kimg, tick=kimg, time=40.0 * kimg, augment=0.1,
                **{"Loss/G/loss": 2 - kimg / 10, "Loss/D/loss": 0.7})  # fmt: skip
    log = f"{MACHINE}old\nBuilding TensorFlow graph on /cpu:0...\n{MACHINE}2 cores of <b>X</b>\n"
    (folder / "log.txt").write_text(log)
    for name in ("reals", "fakes_init", "fakes000000", "fakes000008", "fakes001000.500"):
        picture = Image.fromarray(np.zeros([8, 16, 3], np.uint8))
        save_png(picture, str(folder / f"{name}.png"), b"<x:xmpmeta>made</x:xmpmeta>")
    (folder / "network-snapshot-000008.pkl").touch()
    (folder / "network-snapshot-000032.pkl").touch()
    return folder


def add_row(folder, **row):
    with open(folder / "stats.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")


def add_metric(folder, name, kimg, **results):
    row = {"snapshot": f"network-snapshot-{kimg:06d}", "kimg": kimg, "notes": ["few & far"]}
    row["results"] = results
    with open(folder / f"metric-{name}.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")


def test_a_page_tells_what_the_run_does(run_dir):
    assert write_page(str(run_dir)) == str(run_dir / "report.html")
    page = parse(run_dir)
    facts = page.facts()
    assert facts["Images seen"] == "32 of 100 thousand"
    assert facts["Time left"].startswith("11m 20s, by the last 9 ticks")  # 68 kimg of 10 s.
    assert facts["Machine"] == "2 cores of <b>X</b>; trained on /cpu:0"
    assert facts["Held out"] == "3 images, chosen by seed 5" and facts["Source"] == "demo"
    assert facts["SHA-256 of the manifest"] == (
        hashlib.sha256((run_dir.parent / "drawn/drawn.json").read_bytes()).hexdigest()
    )
    assert "shoe 3" in [text.strip() for text in page.texts["li"]]
    assert "Losses" in page.texts["h3"] and len(page.texts["svg"]) == 2  # And p.
    fakes = json.loads(page.texts["script"][0])
    assert [f["src"] for f in fakes] == [
        "fakes_init.png", "fakes000000.png", "fakes000008.png", "fakes001000.500.png"
    ]  # fmt: skip
    assert fakes[-1]["label"] == "1000.5 thousand images"
    commands = page.texts["code"]
    network = run_dir / "network-snapshot-000032.pkl"
    assert any(f"generate-catalog --network={network} " in text for text in commands)
    assert not any("--resume" in text for text in commands)  # There is no state.
    (run_dir / "best-snapshot.json").write_text(
        json.dumps({"snapshot": "network-snapshot-000008.pkl", "distances": {"a": 0.25}})
    )
    (run_dir / "network-final.pkl").touch()
    write_page(str(run_dir))
    page = parse(run_dir)
    facts = page.facts()
    assert facts["Time left"] == "none: the run is over"
    assert facts["Images seen"] == "32 thousand" and summary.progress(read_run(str(run_dir))) == {
        "value": 32,
        "max": 32,
    }
    options = run_dir / "training_options.json"
    options.write_text(json.dumps({**json.loads(options.read_text()), "total_seconds": 60}))
    write_page(str(run_dir))
    assert parse(run_dir).facts()["Time left"] == "none: the run is over, as its time was up"
    assert any("network-snapshot-000008.pkl" in text for text in page.texts["code"])


def test_text_from_outside_is_text(run_dir):
    """Names of classes, options, files and folders, metrics, the log, what was measured."""
    manifest = run_dir.parent / "drawn/drawn.json"
    content = json.loads(manifest.read_text())
    content |= {"label_names": [HOSTILE] * 6, "source": HOSTILE, "dedupe": HOSTILE}
    content["skipped"] = [{"file": "a", "reason": HOSTILE}]
    manifest.write_text(json.dumps(content))
    options = json.loads((run_dir / "training_options.json").read_text())
    options |= {"resume_pkl": HOSTILE, HOSTILE: HOSTILE}
    (run_dir / "training_options.json").write_text(json.dumps(options))
    (run_dir / "log.txt").write_text(MACHINE + HOSTILE)
    (run_dir / "best-snapshot.json").write_text(
        json.dumps({"snapshot": HOSTILE, "compared with": HOSTILE, "distances": {HOSTILE: 1}})
    )
    name = HOSTILE.replace("/", "")
    for kimg in (1, 2):
        add_metric(run_dir, name, kimg, **{HOSTILE: kimg, "": 1})
    shutil.copy(run_dir / "reals.png", run_dir / f"{name}.png")
    hostile_dir = run_dir.with_name(name)
    run_dir.rename(hostile_dir)
    write_page(str(hostile_dir))
    page = parse(hostile_dir)  # One script, nothing that begins with "on".
    facts = page.facts()
    assert facts["Source"] == facts["Starts from"] == facts["Machine"] == HOSTILE
    assert sum(HOSTILE in text for text in page.texts["li"]) == 6
    assert name in page.texts["h1"] and name + HOSTILE in page.texts["h3"]
    assert HOSTILE in page.texts["pre"][0].replace("\\", "")
    assert f"--network={hostile_dir}" in shlex.split(page.texts["code"][-1])


def test_damage_is_left_out_and_said(run_dir):
    with open(run_dir / "stats.jsonl", "ab") as file:
        file.write(
            b'{"kimg": 36, "Loss/G/loss": null, "augment": NaN}\n[]\n{"tick": 3}\n\xff\xfe\n'
        )
        file.write(b'{"kimg": 1' + b"0" * 400 + b"}\n" + b"[" * 100_000 + b"\n" + b'{"kimg": 40')
    (run_dir / "training_options.json").write_text("{")
    deep = '{"a":' * 900 + "1" + "}" * 900
    (run_dir / "training-state-000004.npz").write_bytes(b"PK\3\4 broken")
    (run_dir / "metric-x.jsonl").write_text('{"results": 1}\n3\n')
    (run_dir / "best-snapshot.json").write_text('{"snapshot": ["a"], "distances": 3}')
    (run_dir / "log.txt").unlink()
    run = read_run(str(run_dir))
    assert [row["kimg"] for row in run.stats] == [*range(0, 36, 4), 36]
    assert run.last == {"kimg": 36.0} and run.metrics == {}
    write_page(str(run_dir))
    alerts = "".join(parse(run_dir).texts["li"])
    assert "stats.jsonl: 7 damaged lines" in alerts and "metric-x.jsonl: 2 damaged" in alerts
    assert "training_options.json" in alerts
    odd = {"dataset_args": {"tfrecord_dir": "a\0b"}, "augment_args": {"mode": ["ada"]}, "seed": {}}
    for text in (json.dumps(odd), deep):
        (run_dir / "training_options.json").write_text(text)
        (run_dir / "best-snapshot.json").write_text(
            '{"snapshot": "a", "distances": {"a": 1' + "0" * 400 + "}}"
        )
        write_page(str(run_dir))
        assert "options" in parse(run_dir).all("id")


def test_rows_of_one_position_are_one(run_dir):
    """As where a run was killed and trained the same again."""
    add_row(run_dir, kimg=16, tick=4, augment=0.5)
    run = read_run(str(run_dir))
    assert len(run.stats) == 9 and run.stats[4]["augment"] == 0.5


def test_warnings_are_words(run_dir):
    add_metric(run_dir, "copies", 8, _share=0.2, _nearest=0.1, _z=-5)
    add_row(run_dir, kimg=40, tick=9, augment=MAX_STRENGTH, white_border=0.5,
            **{"TrainD/skipped_steps": 0.25})  # fmt: skip
    with open(run_dir / "log.txt", "a") as file:
        file.write("training.run.divergence.Diverged: TrainD skipped all\n")
    write_page(str(run_dir))
    page = parse(run_dir)
    diverged, skipped, copies, strength, borders = (text.strip() for text in page.texts["li"][:5])
    assert diverged == "The run diverged: TrainD skipped all"
    assert "TrainD skipped steps" in skipped and "in 1 of 10 ticks, last at 40 " in skipped
    assert "20.0% of the pictures" in copies and "C_T -5.0" in copies
    assert "at its limit, 0.8" in strength and "white in 50% of" in borders
    assert page.facts()["Time left"] == "none: it diverged"
    add_metric(run_dir, "copies", 32, _share=0.05, _z=-3)  # The last counts.
    add_row(run_dir, kimg=44, tick=10, augment=0.79, white_border=0.9)
    (run_dir / "log.txt").write_text("")
    write_page(str(run_dir))
    [skipped, *_] = parse(run_dir).texts["li"]
    assert "TrainD skipped steps" in skipped and "copies photos" not in "".join(page.texts["b"])
    assert len([text for text in parse(run_dir).texts["li"] if len(text) > 60]) == 1


def test_metrics_are_shown(run_dir):
    for kimg, value in ((8, 3.0), (32, 1.0), (8, 2.0)):
        add_metric(run_dir, "fid1k", kimg, **{"": value})
    write_page(str(run_dir))
    page = parse(run_dir)
    assert page.texts["td"] == ["2 (8 kimg)", "1 (32 kimg)", "3 (8 kimg)"]
    assert "fid1k: few & far" in page.texts["p"]
    assert "fid1k" in page.texts["h3"]


def test_pictures_can_be_in_the_page(run_dir, monkeypatch):
    monkeypatch.setattr(report, "_MOST_EMBEDDED", 3)
    (run_dir / "grid.png").write_bytes(b"no picture")
    write_page(str(run_dir), embed=True)
    page = parse(run_dir)
    fakes = json.loads(page.texts["script"][0])
    assert [f["label"].split()[0] for f in fakes] == ["before", "8", "1000.5"]
    begin = "data:image/webp;base64,"
    (run_dir / "out.webp").write_bytes(base64.b64decode(fakes[1]["src"].removeprefix(begin)))
    with Image.open(run_dir / "out.webp") as picture:
        assert picture.size == (16, 8) and b"made" in find(picture)
    assert sorted(s for s in page.all("src") if not s.startswith(begin)) == ["grid.png"]


def test_other_directories(tmp_path):
    """One of projections, and an empty one."""
    write_page(str(tmp_path))
    assert parse(tmp_path).texts["h1"] == [tmp_path.name]
    odd = os.fsdecode(b"\xff.png")  # What no text is.
    for name in ("seed0001-step0010.png", "seed0001-target.png", "seed0000-target.png", odd):
        (tmp_path / name).touch()
    write_page(str(tmp_path))
    pictures = Parsed(tmp_path).all("src")
    assert [s[7:15] for s in pictures[:-1]] == ["0-target", "1-target", "1-step00"]
    assert pictures[-1] == "%FF.png"


def test_runs_of_older_versions(tmp_path):
    for run in RUNS.glob("*/training_options.json"):
        folder = tmp_path / run.parent.name
        shutil.copytree(run.parent, folder)
        write_page(str(folder))
        facts = parse(folder).facts()
        assert facts["Trained on"] == "45 images" and facts["Seed"] == "1000"
        assert "cannot be read now" in facts["Manifest"]


def test_a_page_ends_nothing(run_dir, capsys, monkeypatch):
    (run_dir / "report.html").mkdir()
    (run_dir / "report.html/file").touch()
    with pytest.raises(UserError, match="cannot write"):
        write_page(str(run_dir))
    try_page(str(run_dir))
    monkeypatch.setattr(report, "read_run", lambda folder: 1 / 0)
    try_page(str(run_dir))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("NOTE: ") for line in lines)
    assert "division by zero" in lines[1]
    assert not list(run_dir.glob("*.partial"))


def test_pages_take_little_of_the_time(monkeypatch):
    now, written = [100.0], []

    def write(run_dir):
        written.append(now[0])
        now[0] += 2

    monkeypatch.setattr(report, "try_page", write)
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    page = Page("x")
    while now[0] < 190:
        page.update()
        now[0] += 1
    assert written == [100, 142, 184]


def test_plots_take_the_colors_of_the_page():
    svg = draw([[(0, 1), (5, 2)], [(0, 3), (5, 1)]], "a-")
    assert "var(--line0)" in svg and "var(--line1)" in svg and "currentColor" in svg
    assert "#0102" not in svg and "<style" not in svg and "http" not in svg.partition(">")[2]
    assert svg == draw([[(0, 1), (5, 2)], [(0, 3), (5, 1)]], "a-")
    assert len(draw([[(i, i % 7) for i in range(100_000)]], "a-")) < 20_000


@pytest.mark.skipif(find_chromium() is None, reason="needs a Chromium")
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_works_in_a_narrow_browser(run_dir, dark):
    address = Path(write_page(str(run_dir))).as_uri()
    with Browser(400, 800, dark) as browser:
        browser.open(address)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 400
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(json.loads(paper.replace("rgb(", "[").replace(")", "]"))) < 60) == dark
        # The slider over time, by the keyboard, which comes to everything that can be used.
        reached = []
        for _ in range(40):
            browser.press("Tab")
            reached.append(
                browser.evaluate("document.activeElement.id || document.activeElement.tagName")
            )
        assert {"when", "BUTTON", "A", "SUMMARY", "PRE"} <= set(reached)
        browser.evaluate("document.querySelector('#when').focus()")
        assert browser.evaluate("document.querySelector('#fakes').src").endswith("1000.500.png")
        browser.press("ArrowLeft")
        browser.wait_for("document.querySelector('#fakes').src.endsWith('fakes000008.png')")
        assert browser.evaluate("document.querySelector('#label').textContent").startswith("8")
        assert browser.complaints == []
        outside = [a for a in browser.addresses if not a.startswith(("file:", "data:"))]
        assert outside == []
