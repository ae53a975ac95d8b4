"""Values from files, checked to the last element of the last container."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest

from dnnlib import UserError, schema
from dnnlib.schema import Range, Size


@dataclasses.dataclass
class Options:
    steps: int = 1
    rate: float | None = None
    names: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Level:
    side: Annotated[int, Range(4, 4096)]
    files: Annotated[list[str], Size(3)] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Manifest:
    levels: list[Level]
    kind: Literal["a", "b"] = "a"
    size: tuple[int, int] | None = None
    by_size: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    title: Annotated[str | None, Size(5)] = None
    extra: Any = None


def test_fields_of_a_dataclass():
    good = [{}, {"steps": 5, "rate": 1, "names": {"x": 1}}, {"rate": None}]
    assert [schema.parse(Options, values) for values in good] == [
        Options(),
        Options(5, 1, {"x": 1}),
        Options(),
    ]
    for bad, words in (
        ({"steps": True}, "^a.steps is True, expected a whole number$"),
        ({"steps": 1.0}, "^a.steps is 1.0, expected a whole number$"),
        ({"rate": "1"}, "^a.rate is '1', expected a number or null$"),
        ({"names": [1]}, r"^a.names is \[1\], expected options by name$"),
        ({"x": 1, "y": 2}, "^there is no option a.x, a.y$"),
        ([], r"^a is \[\], expected options by name$"),
    ):
        with pytest.raises(UserError, match=words):
            schema.parse(Options, bad, "a")


def test_containers_are_made_of_what_they_should_be():
    values = {
        "levels": [{"side": 4, "files": ["x"]}, {"side": 4096}],
        "kind": "b",
        "size": [1, 2],
        "by_size": {"8": [1, 2.5], "16": []},
        "title": "five5",
        "extra": [{"any": None}],
    }
    levels = [Level(4, ["x"]), Level(4096)]
    by_size = {8: [1, 2.5], 16: []}
    expected = Manifest(levels, "b", (1, 2), by_size, "five5", [{"any": None}])
    assert schema.parse(Manifest, values) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": None}, "levels is None, expected a list of options by name"),
        ({"levels": [{"side": 4}, 5]}, "levels[1] is 5, expected options by name"),
        ({"levels": [{}]}, "levels[0].side is missing"),
        ({"levels": [{"side": 4, "files": ["x", 7]}]}, "levels[0].files[1] is 7, expected text"),
        ({"levels": [{"side": 3}]}, "levels[0].side is 3, expected a whole number from 4 to 4096"),
        ({"levels": [{"side": 4, "a": 0}]}, "there is no option levels[0].a"),
        (
            {"levels": [{"side": 4, "files": list("abcd")}]},
            "levels[0].files has 4 items, expected at most 3",
        ),
        ({"kind": "c"}, "kind is 'c', expected one of a, b"),
        ({"kind": 1}, "kind is 1, expected one of a, b"),
        ({"size": [1]}, "size is [1], expected a list of 2 items or null"),
        ({"size": [1, "2"]}, "size[1] is '2', expected a whole number"),
        ({"size": "12"}, "size is '12', expected a list of 2 items or null"),
        ({"by_size": {"8": [True]}}, "by_size[8][0] is True, expected a number"),
        ({"by_size": {"x": []}}, "by_size[x] has a name that is not a whole number"),
        ({"by_size": {"8": [float("nan")]}}, "by_size[8][0] is nan, expected a number"),
        ({"by_size": {"8": [10**400]}}, "a number of too many digits, expected a number"),
        ({"title": "sixsix"}, "title has 6 characters, expected at most 5"),
    ],
)
def test_errors_name_the_place(change, words):
    with pytest.raises(UserError) as error:
        schema.parse(Manifest, {"levels": [], **change})
    assert words in str(error.value)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


def test_other_annotations():
    assert schema.parse(Sequence[float] | None, (1, 2)) == [1, 2]
    assert schema.parse(tuple[str, ...], ["a", "b"]) == ("a", "b")
    with pytest.raises(UserError, match="it is 'x', expected a number or obj"):
        schema.parse(float | object, "x")
    for value in ("long" * 10**6, ["x" * 10**6] * 5, {"x": [[[]]] * 10**5}, 1 << 10**6):
        with pytest.raises(UserError) as error:
            schema.parse(bool, value)
        assert len(str(error.value)) < 200


def test_json_files(tmp_path):
    def problem(content):
        path = tmp_path / "x.json"
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            schema.read_json(str(path), Options, max_bytes=1000)
        return str(error.value)

    assert "too deeply" in schema_error(b"[" * 100_000)
    assert "no JSON" in problem(b"\xff{}")
    assert "no JSON" in problem(b"")
    assert "no JSON" in problem(b'{"steps": ' + b"9" * 900)
    assert "more than 1,000 bytes" in problem(b" " * 1001)
    assert "steps is nan" in problem(b'{"steps": NaN}')
    good = tmp_path / "good.json"
    good.write_bytes(b'\xef\xbb\xbf{"steps": 3}')
    assert schema.read_json(str(good), Options) == Options(3)


def schema_error(content):
    with pytest.raises(UserError) as error:
        schema.parse_json(content, Any)
    return str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            schema.read_json(str(path), Options)


def test_a_json_object_that_may_be_missing(tmp_path):
    path = tmp_path / "a.json"
    assert schema.read_json_object(str(path)) == {}
    path.write_text('{"a": [1]}')
    assert schema.read_json_object(str(path)) == {"a": [1]}
    for text in ("[1]", "{", "3"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"cannot read .*a\.json: it is"):
            schema.read_json_object(str(path))
    with pytest.raises(UserError, match="cannot read"):
        schema.read_json_object(str(tmp_path))
