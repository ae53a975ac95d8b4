"""What lists and tables of items take on disk (`training.datasets.items`) and as Python's own.

    python tests/benchmarks/item_tables.py WAY [--rows 1000000]

Prints the seconds to fill one, the microseconds of a look-up, and the memory at its peak. One way a
process, since memory that was used once is not given back.
"""

from __future__ import annotations

import hashlib
import random
import time
from array import array
from collections.abc import Callable, Iterator

import numpy as np

from dnnlib import cli
from dnnlib.system import peak_memory_gb
from training.datasets.items import Item, ItemList, Lookup, Seen
from training.datasets.sources.names import PictureNames

_LOOKUPS = 200_000


def name_of(number: int, count: int) -> str:
    return f"folder{number // 1000:05}/{number * 7919 % count:08}.jpg"


def rows(count: int) -> Iterator[tuple[str, int]]:
    """Names and labels, names in no order."""
    return ((name_of(i, count), i % 50) for i in range(count))


def items(count: int) -> Iterator[Item]:
    return (Item(name, label) for name, label in rows(count))


def items_with_rows(count: int) -> Iterator[Item]:
    """With boxes, and rows of 40 ones and zeros as labels."""
    for name, label in rows(count):
        row = tuple(float(label > column) for column in range(40))
        yield Item(name, row, (label + 0.5, label + 1.5, label + 2.5, label + 3.5))


def digests(count: int) -> Iterator[bytes]:
    return (hashlib.sha256(b"%d" % i).digest()[:16] for i in range(count))


def as_arrays(count: int) -> Callable[[str], int | None]:
    """Names in one array of bytes, found by their hashes."""
    names, ends, labels = bytearray(), array("q", [0]), array("i")
    for name, label in rows(count):
        names.extend(name.encode())
        ends.append(len(names))
        labels.append(label)
    parts = (bytes(names[ends[i] : ends[i + 1]]) for i in range(count))
    hashes = np.fromiter(map(hash, parts), np.int64, count)
    order = np.argsort(hashes)
    hashes = hashes[order]

    def get(key: str) -> int | None:
        wanted = key.encode()
        begin, end = (np.searchsorted(hashes, hash(wanted), side) for side in ("left", "right"))
        for number in order[begin:end].tolist():
            if names[ends[number] : ends[number + 1]] == wanted:
                return labels[number]
        return None

    return get


def ends_of_paths(count: int) -> dict[str, str]:
    """What `PictureNames` keeps in a `Lookup`, in a dict."""
    table: dict[str, str] = {}
    for key, name in PictureNames(dict(rows(count)), "photos")._entries():
        table[key] = name if table.get(key, name) == name else ""
    return table


def seen(count: int) -> Seen:
    table = Seen()
    for digest in digests(count):
        table.add(digest)
    return table


WAYS: dict[str, tuple[Callable, Callable | None]] = {
    "Lookup": (lambda count: Lookup(rows(count)), lambda table: table.get),
    "dict": (lambda count: dict(rows(count)), lambda table: table.get),
    "arrays": (as_arrays, lambda table: table),
    "ItemList": (lambda count: ItemList(items(count)), None),
    "list": (lambda count: list(items(count)), None),
    "ItemList-rows": (lambda count: ItemList(items_with_rows(count)), None),
    "list-rows": (lambda count: list(items_with_rows(count)), None),
    "ends-dict": (ends_of_paths, None),
    "Seen": (seen, None),
    "set": (lambda count: set(digests(count)), None),
}


def main() -> None:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--rows", type=cli.integer(1), default=1_000_000)
    args = parser.parse_args()
    fill, getter = WAYS[args.way]
    before, start = peak_memory_gb(), time.perf_counter()
    table = fill(args.rows)
    print(f"{args.way}: {args.rows:,} rows, {time.perf_counter() - start:.1f} s to fill", end="")
    if getter is not None:
        get, numbers = getter(table), range(args.rows)
        chosen = random.Random(0).sample(numbers, min(args.rows, _LOOKUPS))
        names = [name_of(i, args.rows) for i in chosen]
        start = time.perf_counter()
        for name in names:
            get(name)
        print(f", {(time.perf_counter() - start) / len(names) * 1e6:.1f} µs a look-up", end="")
    print(f", {peak_memory_gb() - before:.2f} GiB")


if __name__ == "__main__":
    cli.run(main)
