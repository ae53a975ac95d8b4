"""Which pictures of a benchmark are wanted, and by which labels."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dnnlib import UserError
from dnnlib.util import one_line
from training.datasets.items import Box, Item, Seen
from training.datasets.photos.decode import Unreadable
from training.datasets.sources.deepfashion.annotations import AnnotationFiles, LeftOut

MAX_ALTERNATIVES = 5  # names that a message proposes
MAX_LISTED = 1500  # characters of all names; the 50 categories have 500
TYPE_NAMES = {1: "upper-body", 2: "lower-body", 3: "full-body"}


@dataclass(frozen=True)
class Selection:
    """What the command line asks for; see `importer.create_from_deepfashion`.

    `labels` is one of a benchmark's, and `attribute` the name behind `attribute:`.
    """

    labels: str
    attribute: str = ""
    partition: str = "all"
    crop: str = "none"
    categories: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    anno: str = "auto"
    highres: bool = False

    @property
    def picture_kinds(self) -> tuple[bool, ...]:
        """Which folders hold the wanted pictures, for `Pictures`."""
        if self.highres:
            return (True,)
        return (False,) if self.crop == "bbox" else (False, True)

    def needs(self, kind: str) -> bool:
        """Whether `kind`, a key of `Entry.values`, has to be known of the pictures."""
        return (
            self.labels == kind
            or (kind == "category" and bool(self.categories))
            or (kind == "view" and bool(self.views))
            or (kind == "partition" and self.partition != "all")
            or (kind == "box" and self.crop == "bbox")
        )

    def reads(self, partition: str) -> bool:
        """Whether a partition has to be read: classes are those of all of them."""
        return self.labels != "none" or self.partition in ("all", partition)


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture in the annotations.

    Attributes:
        name: as in the annotation file.
        values: what is known of it, None or no key where nothing is: category, type, view,
            attribute, style (by original number), gender, gender/category, color, source, item,
            partition (text), and group, which is the folder above the category.
        box: x1, y1, x2, y2 in pixels.
    """

    name: str
    values: Mapping[str, int | str | None]
    box: Box | None = None


@dataclass
class Listing:
    """What a benchmark holds.

    Attributes:
        entries: a stream of all pictures, unfiltered.
        read: as in `Source`.
        exists: whether there is a picture of that name; may raise `Unreadable`.
        names: {kind: {original number: name}} for kinds with numbers.
        repeats: whether a picture may be listed several times in good order.
    """

    entries: Iterable[Entry]
    read: Callable[[Item], str]
    exists: Callable[[str], object]
    names: Mapping[str, Mapping[int | str, str]] = field(default_factory=dict)
    repeats: bool = False


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is and has.

    Attributes:
        title: its official name.
        labels: kinds of labels, the default first; "attribute:NAME" stands for many.
        fits: whether a folder holds this benchmark.
        read: lists the pictures; what it leaves out is noted.
        partitions: some of `annotations.PARTITIONS`.
        boxes: whether there are boxes.
    """

    title: str
    labels: tuple[str, ...]
    fits: Callable[[AnnotationFiles], bool]
    read: Callable[[AnnotationFiles, Selection, LeftOut], Listing]
    partitions: tuple[str, ...] = ("train", "val", "test")
    boxes: bool = True

    def check(self, selection: Selection) -> None:
        """Raises a UserError for what the benchmark does not have."""
        kinds = {"attribute:NAME": "attribute"}
        if selection.labels not in [kinds.get(label, label) for label in self.labels]:
            raise UserError(
                f"--labels={selection.labels}: the {self.title} benchmark has labels by "
                f"{', '.join(self.labels)}"
            )
        if selection.partition not in ("all", *self.partitions):
            has = ", ".join(self.partitions) or "no partitions"
            raise UserError(
                f"--partition={selection.partition}: the {self.title} benchmark has {has}"
            )
        if selection.crop == "bbox" and not self.boxes:
            raise UserError(f"--crop=bbox: the {self.title} benchmark has no boxes")
        for kind, wanted in (("category", selection.categories), ("view", selection.views)):
            if wanted and kind not in self.labels:
                raise UserError(f"--{kind}: the {self.title} benchmark does not tell the {kind}")


def select(
    listing: Listing, selection: Selection, left_out: LeftOut, root: str, classes: list[int | str]
) -> Iterator[Item]:
    """The wanted items of a listing.

    Args:
        listing: All pictures of the benchmark.
        selection: Which of them are wanted.
        left_out: Told of those that cannot be used.
        root: The folder of the benchmark, for messages.
        classes: Gets the labels of all partitions, ascending, when all items have been read.

    Raises:
        UserError: A filter names what is not there, no picture passes all filters, or none of the
            pictures is below `root`.
    """
    filters = _Filters(listing, selection)
    labels: set[int | str] = set()
    seen, found, listed, example = Seen(), False, 0, ""
    for entry in listing.entries:
        if not seen.add(os.fsencode(entry.name)):
            if not listing.repeats:
                left_out.add(entry.name, "listed a second time")
            continue
        missing = [kind for kind in _needed(selection) if _value(entry, kind) is None]
        if missing:
            left_out.add(entry.name, f"the annotation files do not tell its {missing[0]}")
            continue
        accepted, in_partition = filters.accept(entry)
        label = None if selection.labels == "none" else entry.values[selection.labels]
        if accepted and label is not None:
            labels.add(label)
        if not (accepted and in_partition):
            continue
        listed, example = listed + 1, entry.name
        found = found or _exists(listing, entry.name)
        yield Item(entry.name, label, entry.box if selection.crop == "bbox" else None)
    filters.check(listed)
    if listed and not found:
        raise UserError(
            f"none of the {listed} pictures is below {root}, for example "
            f"{one_line(example, 100)}: unpack the zip files with the pictures there, "
            "and keep the folders as they are"
        )
    classes.extend(sorted(labels))
    left_out.finish()


class _Filters:
    """What --category, --view and --partition let pass, and what would have passed instead."""

    def __init__(self, listing: Listing, selection: Selection):
        named = (("category", selection.categories), ("view", selection.views))
        self._named = [_Filter(k, names, listing.names.get(k)) for k, names in named if names]
        self._partition = []
        if selection.partition != "all":
            self._partition = [_Filter("partition", (selection.partition,), None)]
        self._count = 0

    def accept(self, entry: Entry) -> tuple[bool, bool]:
        """Whether a picture passes --category and --view, and whether it is in the partition."""
        self._count += 1
        filters = [*self._named, *self._partition]
        # All filters see every picture, since they learn which names there are.
        accepted = [wanted.accepts(entry) for wanted in filters]
        for i, wanted in enumerate(filters):
            name = wanted.name(entry)
            if all(accepted[:i] + accepted[i + 1 :]) and name != "none":  # that is no partition
                wanted.instead.add(name)
        return all(accepted[: len(self._named)]), all(accepted[len(self._named) :])

    def check(self, listed: int) -> None:
        """Raises a UserError for a name that is not there, or if no picture has passed."""
        for wanted in self._named:
            wanted.check()
        if listed or not self._count:
            return
        filters = [*self._named, *self._partition]
        options = " and ".join(wanted.option for wanted in filters)
        instead = ", or with ".join(wanted.alternatives for wanted in filters if wanted.instead)
        hint = f": there are some with {instead}" if instead else ""
        raise UserError(f"none of the {self._count} pictures has {options}{hint}")


class _Filter:
    """Names that are wanted, in any case; a category may have its folder before it.

    Attributes:
        option: as on the command line.
        instead: names that pictures have which all other filters let pass.
    """

    def __init__(self, kind: str, wanted: tuple[str, ...], names: Mapping[int, str] | None):
        self._kind, self._names = kind, names or {}
        self._wanted = {name.strip().casefold(): name.strip() for name in wanted}
        self._known = {name.casefold(): name for name in self._names.values()}
        self.option = f"--{kind}={','.join(self._wanted.values())}"
        self.instead: set[str] = set()

    @property
    def alternatives(self) -> str:
        """Some of the names that would let pictures pass."""
        names = sorted(self.instead, key=str.casefold)
        more = " ..." if len(names) > MAX_ALTERNATIVES else ""
        return f"the {self._kind} {one_line(', '.join(names[:MAX_ALTERNATIVES]))}{more}"

    def name(self, entry: Entry) -> str:
        """The name that a picture has."""
        value = entry.values[self._kind]
        return self._names.get(value, str(value))

    def accepts(self, entry: Entry) -> bool:
        names = [self.name(entry)]
        if self._kind == "category" and entry.values.get("group"):
            names.append(f"{entry.values['group']}/{names[0]}")
        self._known.update((name.casefold(), name) for name in names)
        return any(name.casefold() in self._wanted for name in names)

    def check(self) -> None:
        """Raises a UserError for a wanted name that no picture and no table has."""
        for key, name in self._wanted.items():
            if key not in self._known:
                close = difflib.get_close_matches(key, self._known, 1)
                hint = f"did you mean {self._known[close[0]]}? " if close else ""
                names = ", ".join(sorted(self._known.values(), key=str.casefold))
                names = one_line(names, MAX_LISTED)
                raise UserError(f"--{self._kind}: there is no {name!r}: {hint}There are: {names}")


def _needed(selection: Selection) -> list[str]:
    kinds = ("partition", "box", "category", "view", selection.labels)
    return [kind for kind in kinds if kind != "none" and selection.needs(kind)]


def _value(entry: Entry, kind: str) -> object:
    return entry.box if kind == "box" else entry.values.get(kind)


def _exists(listing: Listing, name: str) -> bool:
    try:
        return bool(listing.exists(name))
    except Unreadable:
        return False
