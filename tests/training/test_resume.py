"""Going on with a run: which one, from what, and what cannot be gone on with.

That it resumes exactly is tested in `test_resume_kills.py`.
"""

import fcntl
import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from unittest.mock import Mock

import http_server
import numpy as np
import pytest

from dnnlib import UserError, downloads
from training import training_loop
from training.config.presets import preset
from training.dataset import TFRecordDataset
from training.datasets.building.build import Output
from training.datasets.sources.demo_dataset import create_demo
from training.run import saving
from training.run.file_names import find_states
from training.run.resume import find_run, resumed_options
from training.run.state import newest_state, save_state

ROOT = Path(__file__).resolve().parents[2]
# 25 steps, and as many ticks.
SMALL = ["--config=config-e", "--batch=64", "--resolution=4", "--total-kimg=1.6", "--snap=8"]
SMALL += ["--fmap-base=32", "--fmap-max=4", "--latent-size=4", "--mapping-layers=1"]


def draw(folder, resolution=8, num_images=20, seed=0):
    output = Output(str(folder), shuffle=False, resolution=resolution)
    create_demo(output, num_images=num_images, seed=seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw(folder / "drawn")
    return [f"--data-dir={folder}", "--dataset=drawn", *SMALL]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data, run_script):
    """A run that was never ended: its directory."""
    results = tmp_path_factory.mktemp("whole")
    done = run_script(["run_training.py", f"--result-dir={results}", *data])
    assert done.returncode == 0, done.stderr
    return next(results.iterdir())


@pytest.fixture
def run_dir(tmp_path, whole_run):
    """A copy of that run that was ended before its last file."""
    shutil.copytree(whole_run, tmp_path / whole_run.name)
    (tmp_path / whole_run.name / "network-final.pkl").unlink()
    return tmp_path / whole_run.name


def resume(run_dir, metrics=None, **changes):
    options = resumed_options(str(run_dir), None)
    for name, value in changes.items():
        setattr(options, name, value)
    training_loop.resume(options, str(run_dir), metrics)


def rows_of(run_dir):
    return [json.loads(line) for line in open(run_dir / "stats.jsonl")]


def final(run_dir):
    return (run_dir / "network-final.pkl").read_bytes()


def make_state(path, counters=(), number=1):
    """A state of no variables, as `save_state` writes it."""
    meta = {"format": number, "counters": dict(counters), "variables": []}
    np.savez(path, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))


def test_a_run_can_be_made_longer(run_dir, whole_run):
    resume(run_dir)  # only the last file
    assert final(run_dir) == final(whole_run) and rows_of(run_dir) == rows_of(whole_run)
    for limit in ({}, {"total_kimg": 9, "total_seconds": 0.1}):
        with pytest.raises(UserError, match=r"is over, after 1\.6 kimg: give a larger"):
            resume(run_dir, **limit)
    resume(run_dir, total_kimg=2.1, keep_states=1)
    assert rows_of(run_dir)[-1]["kimg"] == 2.112
    assert [os.path.basename(p) for p in find_states(str(run_dir))] == [
        "training-state-000002.112.npz"
    ]


def test_an_older_state_serves_if_the_newest_is_broken(run_dir, whole_run, capsys):
    _, newest = find_states(str(run_dir))
    content = Path(newest).read_bytes()
    Path(newest).write_bytes(content[:5000])
    resume(run_dir)
    out = capsys.readouterr().out
    assert f"Warning: {newest} is broken" in out and "from training-state-000001.088" in out
    assert out.replace("\r", "").split("Warning:")[1] in (run_dir / "log.txt").read_text()
    assert final(run_dir) == final(whole_run)
    assert len(rows_of(run_dir)) == len(rows_of(whole_run))
    assert newest_state(str(run_dir)).path == newest


class Metrics:
    """Notes what it measures, as a group of metrics writes it."""

    names = ("a", "b")

    def __init__(self):
        self.measured = []

    def run(self, network_pkl, run_dir, only=None):
        self.measured.append(os.path.basename(network_pkl))
        for name in only or self.names:
            with open(os.path.join(run_dir, f"metric-{name}.jsonl"), "a") as file:
                file.write(json.dumps({"snapshot": self.measured[-1][:-4]}) + "\n")

    def scalars(self):
        return {"Metrics/a": 1.0}

    def plot_missing(self, run_dir):
        self.plotted = run_dir


def test_while_a_run_is_made_longer_it_is_not_over(run_dir):
    """Ended before its last file, it would be taken for the shorter one."""
    resume(run_dir)
    metrics = Metrics()
    metrics.run = lambda *_, **__: metrics.measured.append((run_dir / "network-final.pkl").exists())
    resume(run_dir, metrics, total_kimg=2.1)
    assert metrics.measured and not any(metrics.measured)
    assert (run_dir / "network-final.pkl").exists()


def test_options_that_make_no_graph_together(run_dir, whole_run, monkeypatch):
    """Each is sound alone. One line, and the run can be resumed when they are as they were."""
    path = run_dir / "training_options.json"
    stored = path.read_text()
    options = json.loads(stored)
    options["D_args"]["num_channels"] = 1  # Of images in colour.
    path.write_text(json.dumps(options))
    before = {f.name: f.read_bytes() for f in run_dir.iterdir() if f.name != "log.txt"}
    with pytest.raises(UserError, match=r"options in \S+_options\.json do not fit together: ") as e:
        resume(run_dir)
    assert str(path) in str(e.value) and "\n" not in str(e.value)
    assert before == {f.name: f.read_bytes() for f in run_dir.iterdir() if f.name != "log.txt"}
    path.write_text(stored)
    with monkeypatch.context() as refused:  # What says itself what is wrong stays as it is.
        refused.setattr(training_loop, "_build_graph", Mock(side_effect=UserError("too large")))
        with pytest.raises(UserError, match="too large"):
            resume(run_dir)
    resume(run_dir)
    assert final(run_dir) == final(whole_run)


def test_a_defect_in_a_new_run_is_not_blamed_on_a_file(tmp_path, data, monkeypatch):
    options = preset("config-e")
    options.dataset_args = {"tfrecord_dir": str(Path(data[0].partition("=")[2]) / "drawn")}
    monkeypatch.setattr(training_loop, "_build_graph", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        training_loop.train(options, str(tmp_path), "new")


def test_secrets_of_an_url_are_not_kept(tmp_path, whole_run, run_script, monkeypatch, capsys):
    """A password and a token, as of a signed URL: in no file, name or message of the run."""
    asked = []

    def answer(request):
        asked.append((request.headers["Authorization"], request.path))
        request.send((whole_run / "network-final.pkl").read_bytes())

    options = resumed_options(str(whole_run), None)
    monkeypatch.setattr(downloads, "cache_folder", lambda: str(tmp_path / "cache"))
    with http_server.Server() as server:
        server.routes["/G.pkl"] = answer
        url = f"{server.url}/G.pkl?token=a/s3cret.b".replace("//", "//user:s3cret@")
        options.resume_pkl, options.total_kimg = url, 0.128
        run_dir = Path(training_loop.train(options, str(tmp_path / "runs"), "x"))
    assert asked == [("Basic dXNlcjpzM2NyZXQ=", "/G.pkl?token=a/s3cret.b")]
    stored = json.loads((run_dir / "training_options.json").read_text())
    assert stored["resume_pkl"] == options.to_json()["resume_pkl"] == f"{server.url}/G.pkl"
    resume(run_dir, total_kimg=0.256)  # The server is gone, and not needed.
    assert rows_of(run_dir)[-1]["kimg"] == 0.256
    texts = [*capsys.readouterr(), *map(str, tmp_path.rglob("*"))]
    for resumed, words in (("", "name a --dataset too"), ("/training-state-1", "name the run")):
        wrong = run_script(["run_training.py", f"--resume={url.replace('/G.pkl', resumed)}"])
        assert wrong.returncode == 2 and words in wrong.stderr
        texts.append(wrong.stderr)
    assert not [text for text in texts if "s3cret" in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if b"s3cret" in path.read_bytes()]


def test_an_error_between_steps_loses_nothing(run_dir, whole_run, monkeypatch):
    snapshot = (run_dir / "network-snapshot-000000.pkl").read_bytes()
    os.unlink(find_states(str(run_dir))[1])
    minibatches = TFRecordDataset.minibatches

    def fail(*args):
        yield from itertools.islice(minibatches(*args), 5)
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(TFRecordDataset, "minibatches", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            resume(run_dir)
    assert newest_state(str(run_dir)).counters.cur_nimg == 1088 + 5 * 64
    assert (run_dir / "network-snapshot-000000.pkl").read_bytes() == snapshot  # of its own tick
    resume(run_dir)
    assert final(run_dir) == final(whole_run)
    for row, whole in zip(rows_of(run_dir), rows_of(whole_run), strict=True):
        assert [row[key] for key in ("kimg", "Loss/G/loss")] == [
            whole[key] for key in ("kimg", "Loss/G/loss")
        ]


def test_states_are_saved_between_snapshots_that_are_far_apart(run_dir, whole_run, monkeypatch):
    os.unlink(find_states(str(run_dir))[1])
    saved = []

    def save(path, counters, keep):
        saved.append(counters.cur_nimg)
        save_state(path, counters, keep)

    monkeypatch.setattr(saving, "save_state", save)
    monkeypatch.setattr(saving, "_STATE_SECONDS", 0)
    resume(run_dir)
    assert saved == list(range(1152, 1601, 64))  # every tick
    assert final(run_dir) == final(whole_run)


def test_what_was_not_measured_is_measured(run_dir):
    """A run that is ended while metrics are measured has the state of that moment already."""
    # Ended between two metrics, and after both.
    row = '{"snapshot": "network-snapshot-000001.600"}\n'
    (run_dir / "metric-a.jsonl").write_text(row)
    for expected in (["network-snapshot-000001.600.pkl"], []):
        metrics = Metrics()
        resume(run_dir, metrics)
        assert metrics.measured == expected and metrics.plotted == str(run_dir)
        # What was there is not there twice.
        assert (run_dir / "metric-a.jsonl").read_text() == row
        assert json.loads((run_dir / "metric-b.jsonl").read_text()) == json.loads(row)
        (run_dir / "network-final.pkl").unlink()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_a_signal_ends_a_metric_which_is_measured_again(run_dir, whole_run, number, code, capfd):
    """Between two minibatches of it, of which there may be hours."""

    class Slow(Metrics):
        def run(self, network_pkl, run_dir, only=None):
            self.measured.append(os.path.basename(network_pkl))
            os.kill(os.getpid(), number)
            for _ in range(600):
                time.sleep(0.1)

    os.unlink(find_states(str(run_dir))[1])
    os.unlink(run_dir / "network-snapshot-000001.600.pkl")
    slow, start = Slow(), time.monotonic()
    with pytest.raises(KeyboardInterrupt if code is None else SystemExit) as ended:
        resume(run_dir, slow)
    assert time.monotonic() - start < 50 and getattr(ended.value, "code", None) == code
    assert "stopping what is measured, then saving" in capfd.readouterr().err
    assert slow.measured == ["network-snapshot-000001.088.pkl"]
    metrics = Metrics()
    resume(run_dir, metrics)
    assert metrics.measured == [
        "network-snapshot-000001.088.pkl",
        "network-snapshot-000001.600.pkl",
    ]
    assert final(run_dir) == final(whole_run)


def test_a_signal_before_a_metric_reports_no_other_snapshot(tmp_path):
    interrupts, output = saving.Interrupts(), Mock(_run_dir=str(tmp_path))
    saving.RunOutput.measure(output, "x.pkl", Metrics(), interrupts)
    assert output.reports.scalars.call_count == 1
    interrupts.received = signal.SIGTERM
    metrics = Metrics()
    saving.RunOutput.measure(output, "y.pkl", metrics, interrupts)
    assert metrics.measured == [] and output.reports.scalars.call_count == 1


def test_time_is_carried_on(run_dir):
    """Of a run that was ended within a tick."""
    path = find_states(str(run_dir))[0]
    with np.load(path) as arrays:
        arrays = dict(arrays)
    meta = json.loads(arrays["meta"].tobytes())
    meta["counters"] |= {"tick_seconds": 1000.0, "seconds": 5000.0}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)
    os.unlink(find_states(str(run_dir))[1])
    resume(run_dir)
    rows = rows_of(run_dir)
    row = next(row for row in rows if row["tick"] == meta["counters"]["cur_tick"])
    assert 1000 < row["sec_per_tick"] < 1100 and 5000 < row["time"] < 5100
    assert rows[-1]["sec_per_tick"] < 100


def errors_of(run_script, commands, cwd):
    """Standard errors of commands, all of which must fail with one line."""
    for args in commands:
        done = run_script(["run_training.py", *args], cwd=cwd)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (args, done.stderr)
        yield done.stderr


def test_what_cannot_be_resumed_is_one_line(tmp_path, data, whole_run, run_script):
    for name in ("empty", "stateless", "only-log", "no-options", "broken", "newer", "edited"):
        (tmp_path / name).mkdir()
    for path in whole_run.glob("*.pkl"):
        shutil.copy(path, tmp_path / "stateless")
    (tmp_path / "only-log/log.txt").write_text("Run directory\n")
    for name in ("no-options", "broken", "newer", "edited"):
        make_state(tmp_path / name / "training-state-000001.npz")
    stored = json.loads((whole_run / "training_options.json").read_text())
    (tmp_path / "broken/training_options.json").write_text(json.dumps(stored)[:100])
    (tmp_path / "newer/training_options.json").write_text(json.dumps({**stored, "x_args": {}}))
    edited = {**stored, "augment_args": {"p": "9"}}
    (tmp_path / "edited/training_options.json").write_text(json.dumps(edited))
    whole, results = f"--resume={whole_run}", whole_run.parent
    cases = [
        (["--resume=latest"], "no run in results has a training-state"),
        (["--resume=latest", "--result-dir=empty"], "no run in empty has a training-state"),
        (["--resume=nowhere"], "there is no such run directory"),
        (["--resume=empty"], "the folder is empty"),
        (["--resume=stateless"], "with --dataset and --resume=stateless/network-snapshot-000001"),
        (["--resume=only-log"], "holds no training-state-*.npz to resume from"),
        ([f"--resume={results}"], f"give --resume=latest --result-dir={results}"),
        (["--resume=no-options"], "cannot read no-options/training_options.json: No such file"),
        (["--resume=broken"], "cannot read broken/training_options.json"),
        (["--resume=newer"], "newer/training_options.json: there is no option x_args; it has been"),
        (
            ["--resume=edited"],
            "edited/training_options.json: augment_args.p is '9', expected a num",
        ),
        (["--resume=latest", "--gamma=5"], "leave out --gamma"),
        ([whole, "--config=config-a"], "leave out --config"),
        ([whole, "--cond=true", "--num-gpus=1"], "leave out --cond, --num-gpus"),  # The defaults.
        ([f"{whole}/training-state-000001.npz"], f"name the run directory, {whole}"),
        ([*data, "--resume-partial"], "new runs from the weights of --resume=SNAPSHOT"),
        ([*data, whole, "--resume-partial"], "new runs from the weights of --resume=SNAPSHOT"),
        ([*data, whole, "--gamma=5"], "was started with --gamma 100.0, not 5.0: give"),
        ([*data, whole, "--batch=16"], "--batch 64, not 16"),
        ([*data, whole, "--resolution=8"], "--resolution 4, not 8"),
        ([*data[:-1], whole], "G_args.mapping_layers 1, not none"),
        ([*data, whole, "--config=config-d"], "was started with"),
        ([*data, "--resume=latest", f"--result-dir={results}", "--config=config-d"], "no run call"),
    ]
    errors = errors_of(run_script, [args for args, _ in cases], tmp_path)
    for (args, words), error in zip(cases, errors, strict=True):
        assert words in error, (args, error)


def test_who_asks_for_more_has_more_time(run_dir, run_script):
    """The demo has a limit of time too."""
    stored = json.loads((run_dir / "training_options.json").read_text())
    (run_dir / "training_options.json").write_text(json.dumps({**stored, "total_seconds": 240}))
    for more, expected in (([], [1.6, 240]), (["--total-kimg=9"], [9, None])):
        done = run_script(["run_training.py", f"--resume={run_dir}", "--dry-run", *more])
        options = json.loads(done.stdout)
        assert [options["total_kimg"], options["total_seconds"]] == expected


def test_a_run_that_does_not_fit_is_one_line(tmp_path, whole_run, run_script):
    """What is seen only when state and dataset are read."""
    paths = {}
    for name in ("broken", "newer", "other-size", "other-count", "other-pictures", "running"):
        paths[name] = tmp_path / name
        shutil.copytree(whole_run, paths[name])
        (paths[name] / "network-final.pkl").unlink()
    for path in find_states(str(paths["broken"])):
        Path(path).write_bytes(Path(path).read_bytes()[:3000])
    make_state(paths["newer"] / "training-state-000002.npz", number=9)
    draw(tmp_path / "larger", 16)
    draw(tmp_path / "longer", 8, 21)
    draw(tmp_path / "others", 8, seed=1)
    datasets = {"other-size": "larger", "other-count": "longer", "other-pictures": "others"}
    for name, data in datasets.items():
        path = paths[name] / "training_options.json"
        options = json.loads(path.read_text())
        options["dataset_args"] = {"tfrecord_dir": str(tmp_path / data)}
        if name != "other-size":
            options["dataset_args"] |= {"resolution": 4}
        if name == "other-count":
            options["dataset_args"] |= {"max_label_size": 0}
        path.write_text(json.dumps(options))
    words = {
        "broken": "cannot read state broken/training-state-000001.088.npz",
        "newer": "training-state-000002.npz has format 9, this version reads 1: update",
        "other-size": "larger is not what the run was started with: resolution is 16, not 4",
        "other-count": "label_size is 0, not 6; num_images is 21, not 20",
        "other-pictures": "it has as many images of the same size, but other pictures or labels",
        "running": "another process is working in running: wait until it has ended",
    }
    with open(paths["running"] / "log.txt") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        log = (paths["running"] / "log.txt").read_text()
        errors = errors_of(run_script, [[f"--resume={name}"] for name in words], tmp_path)
        for expected, err in zip(words.values(), errors, strict=True):
            assert expected in err, err
    assert (paths["running"] / "log.txt").read_text() == log  # not mixed with the other's


def test_data_that_has_moved_is_found_where_it_is_said_to_be(tmp_path, run_dir, run_script):
    path = run_dir / "training_options.json"
    stored = json.loads(path.read_text())
    shutil.move(
        shutil.copytree(stored["dataset_args"]["tfrecord_dir"], tmp_path / "a"), tmp_path / "drawn"
    )
    stored["dataset_args"]["tfrecord_dir"] = "/gone/drawn"
    path.write_text(json.dumps(stored))
    command = ["run_training.py", f"--resume={run_dir}", "--dry-run"]
    done = run_script([*command, f"--data-dir={tmp_path}"])
    assert json.loads(done.stdout)["dataset_args"]["tfrecord_dir"] == str(tmp_path / "drawn")
    for where, words in (([], "/gone/drawn; --data-dir names"), (["--data-dir=b"], "nor b/drawn;")):
        done = run_script([*command, *where])
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    """Tests may run as somebody who can read everything."""
    for name in ("00000-mine", "00001-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training-state-000001.npz").write_bytes(b"")
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("other"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert find_run(str(tmp_path), "latest").endswith("00000-mine")
    with pytest.raises(UserError, match="00001-other: cannot read it: Permission denied"):
        find_run(str(tmp_path), str(tmp_path / "00001-other"))


def test_the_newest_run_is_found(tmp_path):
    for i, (name, kimg) in enumerate([("00000-a", 9), ("00001-b", 2), ("00002-a", 0)]):
        (tmp_path / name).mkdir()
        for number in range(kimg):
            path = tmp_path / name / f"training-state-{number * 1000:06}.npz"
            path.write_bytes(b"")
            os.utime(path, (100 - i, 100 - i))
    assert find_run(str(tmp_path), "latest").endswith("00000-a")
    assert find_run(str(tmp_path), "latest", "b").endswith("00001-b")
    with pytest.raises(UserError, match="no run called NNNNN-c"):
        find_run(str(tmp_path), "latest", "c")


def test_options_come_back(tmp_path):
    options = preset("config-a")
    options.dataset_args = {"tfrecord_dir": "/data/a"}
    path = tmp_path / "training_options.json"
    path.write_text(json.dumps(options.to_json()))
    assert resumed_options(str(tmp_path), None) == options
    options.total_kimg = 5.0
    options.dataset_args["tfrecord_dir"] = "/moved/a"
    assert resumed_options(str(tmp_path), options).dataset_args == options.dataset_args
    for content, reason in [
        ("{", "cannot read"),
        ("[]", "cannot read"),
        ('{"x": 1}', "no option x"),
    ]:
        path.write_text(content)
        with pytest.raises(UserError, match=reason):
            resumed_options(str(tmp_path), None)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"cannot read .*: it names no dataset; it has been"):
        resumed_options(str(tmp_path), None)


def test_every_option_is_compared(tmp_path):
    """Tables too, which an option empties, and options that are only on one side."""
    options = preset("config-a", minibatch=32)
    options.dataset_args = {"tfrecord_dir": "/data/a"}
    path = tmp_path / "training_options.json"
    for name, value, reason in [
        ("sched_args", {"minibatch_size_dict": {"8": 64}}, "minibatch_size_dict.8 64, not none"),
        ("D_args", {"freeze_layers": 2}, "--freezed 2, not none"),
        ("dataset_args", {"max_label_size": 0}, "--cond .max_label_size. 0, not none"),
        ("augment_args", {"interval": 8}, "interval 8, not 4"),
        ("G_args", {"resolution": 8, "base_size": [4, 6]}, None),  # what the dataset says
    ]:
        stored = options.to_json()
        stored[name] = {**stored[name], **value}
        path.write_text(json.dumps(stored))
        if reason is None:
            assert resumed_options(str(tmp_path), options).G_args["resolution"] == 8
            continue
        with pytest.raises(UserError, match=f"was started with .*{reason}: give"):
            resumed_options(str(tmp_path), options)
