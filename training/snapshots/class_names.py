"""Classes of a conditional generator: their names in snapshots, and finding them by name."""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dnnlib import UserError
from dnnlib.tflib import Network

_KEY = "label_names"  # In `Network.metadata`, and in the manifest of a dataset.
_MAX_LISTED = 20  # Names in an error message.
_WEIGHTED = re.compile(r"(.+):\s*(\d{0,9}\.?\d{1,15})", re.ASCII | re.DOTALL)


class Mix(NamedTuple):
    """A label between classes.

    Attributes:
        shares: (class, its share) of several; shares are positive and sum to 1.
    """

    shares: tuple[tuple[int, float], ...]


# What stands for a label: the number of a class, or several of them together.
Class = int | Mix


def set_label_names(network: Network, names: Sequence[str] | None) -> None:
    """Lets snapshots of a network keep the names of its classes; None: there are none."""
    if names:
        network.metadata[_KEY] = [str(name) for name in names]


def label_names(network: Network) -> list[str] | None:
    """Names of the classes in order, or None where the snapshot does not have them.

    Raises:
        UserError: the snapshot does not hold a list of one name for each class.
    """
    names = network.metadata.get(_KEY)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"network {network.name}: its {_KEY} are not a list of names")
    if len(names) != count_classes(network):
        raise UserError(
            f"network {network.name} has {len(names)} {_KEY} for {count_classes(network)} classes"
        )
    return names


def count_classes(network: Network) -> int:
    """Size of the labels; 0 for a network without."""
    shapes = dict(zip(network.input_names, network.input_shapes, strict=True))
    return shapes.get("labels_in", [None, 0])[1] or 0


def class_labels(network: Network, classes: Sequence[Class]) -> np.ndarray:
    """Labels float32 [N, label_size] that sum to 1: of a class one-hot, of a mix its shares.

    Of a network without labels [N, 0].

    Raises:
        UserError: a class that the network does not have.
    """
    size = count_classes(network)
    if not size:
        if any(classes):
            raise UserError(f"class {next(filter(None, classes))}: the network has no classes")
        return np.zeros([len(classes), 0], np.float32)
    labels = np.zeros([len(classes), size], np.float32)
    for label, entry in zip(labels, classes, strict=True):
        for number, share in entry.shares if isinstance(entry, Mix) else [(entry, 1.0)]:
            if not 0 <= number < size:
                raise UserError(f"class {number}: the network has classes 0 to {size - 1}")
            label[number] += share
    return labels


def show_class(network: Network, entry: Class) -> str:
    """A class for people: its number and its name, if it has one; of a mix, shares too."""
    if isinstance(entry, Mix):
        return " + ".join(f"{share:.3g} of {show_class(network, n)}" for n, share in entry.shares)
    names = label_names(network)
    return f"{entry} ({names[entry]})" if names else str(entry)


def describe_places(
    network: Network, classes: Sequence[Class], what: str, places: Iterable[object]
) -> str:
    """Lines that say where each class is, like `0 (hat): rows 1, 5`; none without labels.

    Args:
        network: a generator.
        classes: the class of each place.
        what: `row`, or what else the places are.
        places: numbers or names of the places.
    """
    if not count_classes(network):
        return ""
    places_of: dict[Class, list[str]] = {}
    for number, place in zip(classes, places, strict=True):
        places_of.setdefault(number, []).append(str(place))
    lines = []
    for number, found in sorted(places_of.items()):
        more = ", …" if len(found) > _MAX_LISTED else ""
        plural = "s" if len(found) > 1 else ""
        listed = ", ".join(found[:_MAX_LISTED])
        lines.append(f"  class {show_class(network, number)}: {what}{plural} {listed}{more}\n")
    return "".join(lines)


def find_classes(network: Network, text: str) -> list[Class]:
    """Classes by number or name: `hat`, `hat,shoes`, `0,2`, `0-3`; or one mix: `hat:0.7,shoes:0.3`.

    A number comes before a name of the same digits. Names are compared without regard to case if
    none is equal. A name with a comma is put in double quotes, or stands alone. Weights are
    divided by their sum.

    Raises:
        UserError: there is no such class, which names the nearest; weights that make no mix.
    """
    count, names = count_classes(network), label_names(network)
    if not count:
        raise UserError(f"--class={text}: the network has no classes")
    known = set(map(_plain, names or []))
    if _plain(text) in known:
        parts = [text]
    else:
        (row,) = csv.reader([text], skipinitialspace=True)
        parts = [part.strip() for part in row] or [""]
    # A name may hold a colon.
    weighted = [None if _plain(part) in known else _WEIGHTED.fullmatch(part) for part in parts]
    if any(weighted):
        return [_mix(text, weighted, names, count)]
    classes: list[Class] = []
    for part in parts:
        numbers = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if first <= last < count:
            classes += range(first, last + 1)
        else:
            classes.append(_find_name(part, names, count))
    return classes


def _mix(
    text: str, parts: Sequence[re.Match[str] | None], names: list[str] | None, count: int
) -> Mix:
    """Of `class:weight` each."""
    if not all(parts):
        raise UserError(
            f"--class={text}: give all classes a weight, for a mix like hat:0.7,shoes:0.3, or none "
            "of them, for each by itself"
        )
    weights: dict[int, float] = {}
    for part in parts:
        name, weight = part[1].strip(), float(part[2])
        is_number = re.fullmatch(r"\d{1,9}", name, re.ASCII) and int(name) < count
        number = int(name) if is_number else _find_name(name, names, count)
        weights[number] = weights.get(number, 0) + weight
    total = sum(weights.values())
    if not 0 < total < float("inf"):
        raise UserError(f"--class={text}: the weights sum to {total:g}, expected more than 0")
    return Mix(tuple((number, w / total) for number, w in weights.items() if w > 0))


def _find_name(text: str, names: list[str] | None, count: int) -> int:
    wrong = f"--class: the network has classes 0 to {count - 1}, got {text!r}"
    if not names:
        raise UserError(f"{wrong}; its snapshot does not hold their names: use a number")
    plain = [_plain(name) for name in names]
    for candidates, wanted in ((names, text), (plain, _plain(text))):
        found = [i for i, name in enumerate(candidates) if name == wanted]
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise UserError(f"--class: {text!r} is the name of classes {listed}: use a number")
        if found:
            return found[0]
    close = difflib.get_close_matches(_plain(text), plain, 1, cutoff=0.5)
    hint = f"; did you mean {names[plain.index(close[0])]!r}?" if close else ""
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names[:_MAX_LISTED]))
    more = ", …" if count > _MAX_LISTED else ""
    raise UserError(f"{wrong}{hint} (classes: {listed}{more})")


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
