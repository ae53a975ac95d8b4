"""The explorer: a real server in a process of its own, and real requests; commands and browsers."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser, find_chromium
from tests.small_networks import SHAPE, STYLE
from training.latents.directions.files import DirectionInfo, Directions, DirectionsInfo, save

pytest.importorskip("starlette", reason='needs pip install -e ".[explore]"')
pytest.importorskip("uvicorn", reason='needs pip install -e ".[explore]"')
ROOT = Path(__file__).resolve().parents[2]
needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="needs a Chromium")


class Server:
    """An explorer that is running, and requests to it.

    Attributes:
        where: folder that it runs in; it saves to `where/results`.
        url: of the page, without a slash at the end.
    """

    def __init__(self, where, *words):
        self.where, self.scratch = where, where / "scratch"
        self.scratch.mkdir(exist_ok=True)
        command = [sys.executable, str(ROOT / "run_generator.py"), "explore", "--port=0", *words]
        self.process = subprocess.Popen(
            command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.scratch)},
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        self.url = re.match(r"(http://127\.0\.0\.1:\d+)/ ", line)[1]

    def ask(self, address, wanted=None, headers=None, content=None):
        """(status, headers, content) of an answer; a POST where something is wanted."""
        data = content if wanted is None else json.dumps(wanted).encode()
        request = urllib.request.Request(self.url + address, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def make(self, kind, **wanted):
        """What was made, as the page is told."""
        status, _, content = self.ask(f"/api/{kind}", wanted)
        assert status == 200, content
        return json.loads(content)

    def error(self, kind, wanted, **kwargs):
        """The one line that an error is."""
        status, _, content = self.ask(f"/api/{kind}", wanted, **kwargs)
        told = json.loads(content)
        assert status == 400 and list(told) == ["error"] and "\n" not in told["error"], told
        return told["error"]

    def content(self, told, suffix=".png"):
        status, _, content = self.ask(told["files"][suffix])
        assert status == 200
        return content

    def pixels(self, told):
        with Image.open(io.BytesIO(self.content(told))) as picture:
            return np.asarray(picture)

    def save(self, told):
        status, _, content = self.ask(f"/api/save/{told['id']}", content=b"")
        assert status == 200, content
        return json.loads(content)


def make_directions(path, network, layers=6, size=8):
    """A file with two directions of a network: one of them is an attribute."""
    import hashlib

    rng = np.random.RandomState(0)
    arrays = {n: rng.randn(layers, size).astype(np.float32) for n in ("lightness", "ganspace-0")}
    infos = {name: DirectionInfo("a step", list(range(layers)), sigma=2.0) for name in arrays}
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    info = DirectionsInfo(sha256, network.name, "ridge", layers, size, 1.0, 10, 1.0, {}, infos)
    save(str(path), Directions(info, arrays))


def make_networks(folder):
    """labeled.pkl with three classes, and plain.pkl without."""
    from dnnlib import tflib
    from dnnlib.tflib import Network
    from training.snapshots import class_names, pickles

    build = "training.networks_stylegan2."
    with tflib.graph_session(seed=1):
        for name, labels in (("labeled", 3), ("plain", 0)):
            G = Network("Gs", build + "G_main", **SHAPE, **STYLE, label_size=labels)
            D = Network("D", build + "D_stylegan2", **SHAPE, label_size=labels)
            # Else noise is without strength at first, and pictures of all classes are alike.
            for variable in G.components.synthesis.own_vars:
                if variable.endswith("noise_strength"):
                    G.components.synthesis.set_var(variable, 0.5)
            if labels:
                class_names.set_label_names(G, ["dress", "hat", "long sleeve"])
            pickles.save((G, D, G), str(folder / f"{name}.pkl"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    make_networks(folder)
    make_directions(folder / "directions.npz", folder / "labeled.pkl")
    return folder


@pytest.fixture(scope="module")
def server(networks):
    found = Server(networks, "--network=labeled.pkl")
    yield found
    found.process.kill()
    found.process.communicate()


def run_shown(run_script, command, where):
    """Runs a command as the page shows it."""
    words = shlex.split(command)
    assert words[0] == "python"
    result = run_script(words[1:], cwd=where)
    assert result.returncode == 0, (command, result.stderr)
    return result.stdout


class Controls(HTMLParser):
    """Names of the controls of a page, and all addresses in it."""

    def __init__(self, text):
        super().__init__()
        self.controls, self.labels, self.addresses, self.nameless = [], set(), [], []
        self._button = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "href", "action") if name in attrs]
        if tag in ("input", "select", "progress"):
            self.controls.append(attrs["id"])
        elif tag == "label":
            self.labels.add(attrs["for"])
        elif tag == "button":
            self._button = attrs.get("aria-label", "")

    def handle_data(self, data):
        if self._button is not None:
            self._button += data.strip()

    def handle_endtag(self, tag):
        if tag == "button":
            if not self._button:
                self.nameless.append(self.getpos())
            self._button = None


def test_the_page_is_whole_without_the_internet_and_says_what_each_control_is(server):
    _, headers, content = server.ask("/")
    page = Controls(content.decode())
    assert {"seed", "psi", "class", "step-1", "columns", "row-seeds", "file", "kind"} <= set(
        page.controls
    )
    assert set(page.controls) <= page.labels and not page.nameless
    assert set(page.addresses) - {"/page.css", "/page.js", "/copy.js", "data:,"} == {
        "#picture", "#grid", "#mixing", "#photo", "#walk", "#saved"
    }  # fmt: skip
    assert "long sleeve" in content.decode() and b"<style" not in content
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for name in ("/page.css", "/page.js", "/copy.js"):
        text = server.ask(name)[2].decode()
        assert "://" not in text.replace("http://www.w3.org", "") and "url(" not in text


def test_a_picture_is_what_its_command_makes(server, run_script, tmp_path, networks):
    told = server.make("picture", seed=5, psi=0.8, class_number=2)
    assert "'--class=long sleeve'" in told["command"]
    where = tmp_path / "made"
    (tmp_path / "labeled.pkl").symlink_to(networks / "labeled.pkl")
    run_shown(run_script, told["command"].replace("--outdir=.", "--outdir=made"), tmp_path)
    assert (where / "seed0005.png").read_bytes() == server.content(told)
    others = [{"seed": 6}, {"psi": 0.2}, {"class_number": 0}]
    for other in others:
        made = server.make("picture", **{"seed": 5, "psi": 0.8, "class_number": 2, **other})
        assert (server.pixels(made) != server.pixels(told)).any(), other


def test_grids_and_mixes_are_what_their_commands_make(server, run_script, tmp_path, networks):
    (tmp_path / "labeled.pkl").symlink_to(networks / "labeled.pkl")
    grid = server.make("grid", columns=3, rows=2, seed=7, psi=0.5)
    assert grid["cells"][4] == {"seed": 11, "class": 1} and grid["columns"] == 3
    run_shown(run_script, grid["command"], tmp_path)
    assert (tmp_path / "grid.png").read_bytes() == server.content(grid)
    cell = server.make("picture", seed=11, psi=0.5, class_number=1)
    assert np.abs(server.pixels(grid)[16:, 16:32].astype(int) - server.pixels(cell)).max() <= 1
    mix = server.make("mix", row_seeds="1,2", col_seeds="3", col_styles="0-1", class_number=0)
    run_shown(run_script, mix["command"], tmp_path)
    assert (tmp_path / "mixing/grid.png").read_bytes() == server.content(mix)


def test_what_is_saved_is_reproduced(server, run_script):
    edited = server.make("picture", seed=3, steps={"lightness": 2, "ganspace-0": 0})
    plain = server.make("picture", seed=3)
    assert (server.pixels(edited) != server.pixels(plain)).any()
    for told in (plain, edited):
        saved = server.save(told)
        text = run_shown(run_script, saved["command"], server.where)
        assert "all pixels are equal" in text
    assert [Path(f).name for f in server.save(edited)["files"]] == [
        "0002-seed0003-edited.npz", "0002-seed0003-edited.png"
    ]  # fmt: skip


def test_sliders_say_what_they_did(networks, tmp_path, monkeypatch, session):
    """By a measure that knows every picture: those of the network have no clean background."""
    from training.latents.attributes.measured import Measure
    from training.latents.directions import files
    from training.pictures.explorer import explorer
    from training.pictures.explorer.desk import Desk
    from training.snapshots.pickles import load_subject

    mean = Measure(("lightness",), lambda images: images.mean(axis=(1, 2, 3))[:, np.newaxis])
    monkeypatch.setattr(explorer, "PICTURE", mean)
    path = str(networks / "directions.npz")
    subject = load_subject(str(networks / "labeled.pkl"))
    materials = explorer.Materials("labeled.pkl", subject, (path, files.load(path)), None)
    made = explorer.Explorer(materials, Desk(str(tmp_path), "results", None))
    edited = made.picture(explorer.PictureRequest(seed=2, steps={"lightness": 1.5}))
    plain = made.picture(explorer.PictureRequest(seed=2))
    for result, name in ((edited, "values"), (plain, "values"), (plain, "before")):
        with Image.open(result.picture) as picture:
            assert result.facts[name]["lightness"] == float(f"{np.asarray(picture).mean():.4g}")
    # The picture without sliders is made from w there, and from the seed here.
    assert edited.facts["before"]["lightness"] == pytest.approx(
        plain.facts["values"]["lightness"], abs=0.1
    )
    assert abs(edited.facts["values"]["lightness"] - edited.facts["before"]["lightness"]) > 0.1


def test_every_thread_gets_its_own_picture(server):
    seeds = [*range(12)]
    alone = [server.content(server.make("picture", seed=seed)) for seed in seeds]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda seed: server.make("picture", seed=seed), seeds))
    assert [server.content(told) for told in together] == alone
    assert len(set(alone)) == len(seeds)


def test_walks_are_films_and_leave_pictures_as_they_were(server):
    before = server.content(server.make("picture", seed=1))
    for kind, frames in (("noise", 4), ("class", 12), ("direction", 4)):
        told = server.make("walk", walk=kind, seeds="1", w_frames=4, direction="ganspace-0")
        with Image.open(io.BytesIO(server.content(told, ".webp"))) as film:
            assert film.n_frames == frames
    assert server.content(server.make("picture", seed=1)) == before


def photo_of(color=(200, 30, 40), size=(40, 24)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG")
    return file.getvalue()


def test_a_photo_is_projected_and_changed(server, run_script, tmp_path):
    how = "photo?how=" + urllib.request.quote(json.dumps({"num_steps": 10}))
    status, _, content = server.ask(f"/api/{how}", content=photo_of())
    told = json.loads(content)
    assert status == 200 and server.pixels(told).shape == (16, 16, 3)
    # Of the photo, w makes the same picture, and sliders change it.
    picture = server.make("picture", photo=told["id"])
    assert (server.pixels(picture) == server.pixels(told)).all()
    changed = server.make("picture", photo=told["id"], steps={"lightness": 3})
    assert (server.pixels(changed) != server.pixels(told)).any()
    saved = server.save(told)
    assert saved["command"].endswith("--outdir=.")
    command = saved["command"].removesuffix(".") + str(tmp_path)
    run_shown(run_script, command, server.where)
    [again] = tmp_path.glob("*.png")
    with Image.open(again) as picture:
        assert (np.asarray(picture) == server.pixels(told)).all()
    assert [Path(file).suffix for file in server.save(changed)["files"]] == [".npz", ".png"]


def wait_for_steps(server):
    """The progress of a projection that has done a few steps."""
    pause = threading.Event()
    for _ in range(2400):
        progress = json.loads(server.ask("/api/progress")[2])
        # Before its steps, the mean w is sampled.
        if progress["text"] == "Projecting" and progress["done"] >= 3:
            break
        pause.wait(0.05)
    assert progress["text"] == "Projecting"
    return progress


def test_a_projection_shows_how_far_it_is_and_is_stopped(server):
    how = "photo?how=" + urllib.request.quote(json.dumps({"num_steps": 2000}))
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(server.ask, f"/api/{how}", content=photo_of())
        assert wait_for_steps(server)["total"] == 2000
        server.ask("/api/stop", content=b"")
        told = json.loads(pending.result()[2])
    steps = int(re.fullmatch(r"Stopped after (\d+) steps\.", told["note"])[1])
    assert 3 <= steps < 2000 and server.pixels(told).shape == (16, 16, 3)
    assert json.loads(server.ask("/api/progress")[2])["total"] is None


@pytest.mark.parametrize(
    ("kind", "wanted", "text"),
    [
        ("picture", {"seed": -1}, "seed is -1"),
        ("picture", {"seed": 1.5}, "expected a whole number"),
        ("picture", {"psi": "</script>"}, "expected a number"),
        ("picture", {"class_number": 3}, "classes 0 to 2"),
        ("picture", {"steps": {"lightness": 1e9}}, "steps"),
        ("picture", {"steps": {"lightnes": 1}}, "did you mean lightness"),
        ("picture", {"photo": "../../etc/passwd"}, "not known any more"),
        ("picture", {"sede": 1}, "sede"),
        ("picture", [1], "expected"),
        ("grid", {"columns": 1000}, "columns is 1000"),
        ("mix", {"row_seeds": "1-999999", "col_seeds": "1"}, "at most at once"),
        ("mix", {"row_seeds": "x", "col_seeds": "1"}, "row seeds: expected numbers like"),
        ("mix", {"row_seeds": "1", "col_seeds": "1", "col_styles": "9"}, "layer 9"),
        ("walk", {"seeds": "1", "walk": "__import__"}, "walk"),
        ("walk", {"seeds": "1", "walk": "direction"}, "no direction"),
        ("walk", {"seeds": "1", "film": "../x"}, "film"),
    ],
)
def test_wrong_values_are_one_line(server, kind, wanted, text):
    assert text in server.error(kind, wanted)


def test_wrong_requests_are_one_line(server):
    assert "no JSON" in server.error("picture", None, content=b"{")
    assert "65,536 bytes" in server.error("picture", None, content=b" " * 70_000)
    assert "the photo" in server.error("photo", None, content=b"no picture at all")
    assert "33,554,432 bytes" in server.error("photo", None, content=bytes(33 << 20))
    told = server.make("picture")
    for address in (f"/files/{told['id']}/..%2f..%2fx", f"/files/x/{told['id']}"):
        assert server.ask(address)[0] in (400, 404)


def test_pages_of_others_can_do_nothing(server):
    text = server.error("picture", {}, headers={"Origin": "https://example.com"})
    assert text == "another page asked for this"
    assert server.ask("/", headers={"Host": "example.com"})[0] == 400
    assert server.ask("/api/picture", {}, headers={"Origin": server.url})[0] == 200


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--network=missing.pkl"], "missing.pkl"),
        (["--network=labeled.pkl", "--directions=none.npz"], "there is no such file"),
        (["--network=plain.pkl", "--directions=directions.npz"], "of another network"),
        (["--network=labeled.pkl", "--host=192.0.2.1"], "--host=192.0.2.1"),
    ],
)
def test_what_cannot_be_explored_is_said_in_one_line(networks, run_script, words, text):
    result = run_script(["run_generator.py", "explore", "--port=0", *words], cwd=networks)
    assert result.returncode == 2 and result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("NOTE")]
    assert len(lines) == 1 and text in lines[0]


def test_a_port_that_is_taken_is_said_in_one_line(server, run_script):
    port = server.url.rpartition(":")[2]
    words = ["run_generator.py", "explore", "--network=labeled.pkl", f"--port={port}"]
    result = run_script(words, cwd=server.where)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert f"--port={port}" in result.stderr and "--port=0" in result.stderr


def test_without_the_extra_a_line_names_the_command(networks, run_script):
    code = (
        "import runpy, sys; sys.modules['uvicorn'] = None; "
        f"sys.argv = ['run_generator.py', 'explore', '--network=labeled.pkl']; "
        f"sys.path.insert(0, {str(ROOT)!r}); "
        f"runpy.run_path({str(ROOT / 'run_generator.py')!r}, run_name='__main__')"
    )
    result = run_script(["-c", code], cwd=networks)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert 'pip install -e ".[explore]"' in result.stderr


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_works_in_a_narrow_browser(server, dark):
    with Browser(400, 800, dark) as browser:
        browser.open(server.url + "/")
        browser.wait_for("document.querySelector('#grid-result .cells button')")
        source = "document.querySelector('#picture-result img').src"
        first = browser.evaluate(source)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 400
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper)[:3])) < 60) == dark
        # A slider by the keyboard: another picture, and the numbers beside it.
        browser.evaluate("document.querySelector('.step').focus()")
        browser.press("ArrowRight", 4)
        browser.wait_for("document.querySelector('.step').value === '1'")
        browser.wait_for(f"{source} !== {first!r}")
        idle = "document.querySelector('#picture-result').getAttribute('aria-busy') === 'false'"
        browser.wait_for(idle)
        assert browser.evaluate("document.querySelector('#seed').value") == "0"
        # A picture of the grid, and saving.
        browser.evaluate("document.querySelectorAll('.cells button')[5].click()")
        browser.wait_for("document.querySelector('#seed').value === '5'")
        browser.wait_for(idle)
        browser.evaluate("document.querySelector('#picture-result .save').click()")
        browser.wait_for("document.querySelector('#saved-list pre')")
        shown = browser.evaluate("document.querySelector('#picture-result code').textContent")
        assert "edited.npz" in shown and "FILE.npz" not in shown
        # A photo, which then is the picture.
        photo = server.where / "photo.jpg"
        photo.write_bytes(photo_of())
        browser.choose_file("#file", str(photo))
        browser.evaluate("document.querySelector('#num-steps').value = 10")
        browser.evaluate("document.querySelector('#photo-form button').click()")
        browser.wait_for("document.querySelectorAll('#photo-result img').length === 2")
        browser.wait_for("!document.querySelector('#photo-used').hidden")
        browser.wait_for("document.querySelector('#picture-result img').alt.includes('photo')")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 400
        # An error is a line.
        browser.evaluate("document.querySelector('#row-seeds').value = 'x'")
        browser.evaluate("document.querySelector('#mixing-form button').click()")
        error = "document.querySelector('#mixing-result .error')"
        browser.wait_for(f"!{error}.hidden")
        assert "expected numbers like" in browser.evaluate(f"{error}.textContent")
        assert [a for a in browser.addresses if not a.startswith(server.url)] == []
        # The answer 400 of the wrong seeds is the only thing that the console knows of.
        assert [c for c in browser.complaints if "400 (Bad Request)" not in c] == []


@needs_chromium
def test_every_control_is_reached_by_the_keyboard(server):
    with Browser() as browser:
        browser.open(server.url + "/")
        browser.wait_for("document.querySelector('#grid-result .cells button')")
        reached = set()
        for _ in range(90):
            browser.press("Tab")
            reached.add(browser.evaluate("document.activeElement.id || 'none'"))
        visible = browser.evaluate(
            "[...document.querySelectorAll('main input, main select')].filter((e) => "
            "e.getClientRects().length && !e.disabled).map((e) => e.id)"
        )
        assert set(visible) <= reached and len(visible) > 15
        browser.evaluate("document.querySelector('#seed-after').focus()")
        browser.press("Enter")
        browser.wait_for("document.querySelector('#seed').value === '1'")
        assert browser.complaints == []


def test_a_network_without_classes_and_directions(networks):
    found = Server(networks, "--network=plain.pkl")
    try:
        page = found.ask("/")[2].decode()
        assert 'id="class"' not in page and "There are no sliders yet" in page
        assert "<option>class</option>" not in page and "<option>direction</option>" not in page
        told = found.make("grid", columns=2, rows=1)
        assert told["cells"] == [{"seed": 0, "class": None}, {"seed": 1, "class": None}]
        assert "no directions" in found.error("picture", {"steps": {"lightness": 1}})
        assert "no classes" in found.error("picture", {"class_number": 0})
    finally:
        found.process.send_signal(signal.SIGTERM)
        _, stderr = found.process.communicate(timeout=60)
    assert found.process.returncode == 143
    lines = stderr.splitlines()
    assert "NOTE: no sliders for attributes" in lines[0] and "terminated" in lines[-1]


def test_ctrl_c_ends_it_within_a_projection(server):
    """The last test of this server."""
    how = "photo?how=" + urllib.request.quote(json.dumps({"num_steps": 2000}))
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(server.ask, f"/api/{how}", content=photo_of())
        wait_for_steps(server)
        server.process.send_signal(signal.SIGINT)
        _, stderr = server.process.communicate(timeout=60)
        assert pending.exception() is not None or pending.result()[0] in (200, 400)
    assert server.process.returncode == 130 and "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "run_generator.py: interrupted"
    assert not list(server.scratch.glob("explore.*"))


@pytest.mark.parametrize(
    ("host", "header", "known"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "localhost:7860", True),
        ("::1", "[::1]:7860", True),
        ("127.0.0.1", "192.0.2.1:7860", False),
        ("127.0.0.1", "example.com", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "[::1", False),
        ("0.0.0.0", "192.0.2.1:7860", True),
        ("0.0.0.0", "example.com:7860", False),
        ("shop.example", "Shop.example:7860", True),
        ("shop.example", "shop.example.com", False),
    ],
)
def test_pages_of_the_web_have_no_name_for_it(host, header, known):
    from training.pictures.explorer import server

    assert server._KnownHosts(None, host)._knows(header) is known
    assert server.is_local(host) is (host in ("127.0.0.1", "::1"))
