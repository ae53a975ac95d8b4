"""Classes of pictures: in which order, how many of each, in one or several at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from dnnlib import UserError
from dnnlib.output import tqdm
from dnnlib.util import one_line
from training.datasets.items import Item, Source, sorted_classes

_NAMED_CLASSES = 20


def split_mode(labels: str) -> tuple[str, str | None]:
    """`labels.csv:multi` is ("labels.csv", "multi")."""
    what, colon, mode = labels.rpartition(":")
    return (what, mode) if colon and mode in ("multi", "single") else (labels, None)


def multi_hot(found: Iterable[int | str], classes: Sequence[int | str]) -> tuple[float, ...]:
    """1 for each class that a picture is in, else 0."""
    wanted = set(found)
    return tuple(float(label in wanted) for label in classes)


def with_counts(
    items: Iterable[Item], source: Source, what: str, is_multi: bool = False
) -> Iterator[Item]:
    """Passes items on, and prints which classes they have at the end.

    Args:
        items: See there.
        source: Has the names of classes; and which they are, for "multi".
        what: What has them, for the message.
        is_multi: Whether labels are rows as by `multi_hot`.
    """
    counts: Counter = Counter()
    for item in items:
        if is_multi:
            pairs = zip(source.classes, item.label, strict=True)
            counts.update(label for label, value in pairs if value)
        elif not isinstance(item.label, tuple):
            counts[item.label] += 1
        yield item
    counts.pop(None, None)
    if counts:
        classes, names = sorted_classes(counts), source.label_names
        named = [f"{names.get(c, c)} ({counts[c]})" for c in classes[:_NAMED_CLASSES]]
        more = ", ..." if len(classes) > _NAMED_CLASSES else ""
        text = f"{what}: {count_of(len(classes), 'class')}: {', '.join(named)}{more}"
        tqdm.write(one_line(text, 2000))


def count_of(count: int, noun: str) -> str:
    """`1 class`, `2 classes`."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count} {noun if count == 1 else plural}"


def check_missing(missing: int, total: int, where: str, allowed: bool) -> None:
    """Raises a UserError if most pictures that a file names are missing."""
    if missing * 2 > total and not allowed:
        raise UserError(
            f"{missing} of {total} pictures that {where} names are missing: check its paths and "
            "the folder, or use --allow-missing"
        )
