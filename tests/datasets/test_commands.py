"""What commands of dataset_tool.py make of their arguments."""

import argparse
import pickle
import subprocess
import sys

import pytest

from dnnlib import cli
from training.datasets.building import beam
from training.datasets.building.output import Output
from training.datasets.commands import inspection, official, pictures, shops
from training.datasets.commands.command import Command, option, path, take_output
from training.datasets.commands.options import makes_dataset

COMMANDS = {
    command.function.__name__: command
    for group in (pictures, shops, official, inspection)
    for command in group.COMMANDS
}


def parse(command: Command, *args: str) -> argparse.Namespace:
    parser = cli.ArgumentParser(prog="tool.py")
    command.add_to(parser.add_subparsers(metavar="COMMAND"), parser.prog)
    return parser.parse_args([command.function.__name__, *args])


def make_command():
    """A command, and the list that gets (values, output) of its runs."""
    calls = []

    @makes_dataset(
        "out in",
        path("source_dir", "where pictures are"),
        option("--how_many", "pictures", cli.integer(1), "N", default=3),
        option("--margin", "of boxes", cli.number(0), default=0.5),
        min_size=2,
    )
    def create(**given):
        """Make a dataset."""
        return lambda output: calls.append((given, output))

    return create, calls


def test_importers_get_their_own_values_and_an_output():
    create, calls = make_command()
    args = parse(create, "out", "in", "--how-many=4", "--shards=2", "--max_images=9")
    args.run(args)
    output = Output("out", margin=0.5, min_size=2, shards=2, max_images=9)
    assert calls == [({"source_dir": "in", "how_many": 4}, output)]


@pytest.mark.parametrize("name", ["--how_many", "--how-many"])
def test_official_names_have_dashes_too(name):
    assert parse(make_command()[0], "out", "in", f"{name}=7").how_many == 7


def test_what_runs_on_beam_can_be_pickled(monkeypatch):
    runs = []
    monkeypatch.setattr(beam, "run", lambda *args: runs.append(args))
    made = [name for name, command in COMMANDS.items() if command.makes_dataset]
    assert len(made) == 13
    for name in made:
        positional = [a for a in COMMANDS[name].arguments if getattr(a, "names", "-")[0][0] != "-"]
        args = parse(COMMANDS[name], *["x"] * len(positional), "--runner=flink", "--shards=2")
        args.run(args)
        importer, output, runner, options = runs.pop()
        again = pickle.loads(pickle.dumps(importer))
        assert (again.func, again.keywords) == (importer.func, importer.keywords)
        assert (output.tfrecord_dir, output.shards, runner, options) == ("x", 2, "flink", [])


def test_take_output_leaves_what_is_not_of_an_output():
    values = {"tfrecord_dir": "out", "seed": 3, "shards": 4}
    assert take_output(values) == Output("out", shards=4)
    assert values == {"seed": 3}


def test_importers_are_imported_only_when_a_command_runs():
    code = "import sys, dataset_tool; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "training.datasets.commands.official" in modules
    assert not [name for name in modules if name.startswith("training.datasets.sources")]
    assert not {"numpy", "PIL", "tensorflow"} & set(modules)
