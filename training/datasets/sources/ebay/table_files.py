"""Which files of a folder are its table of listings."""

from __future__ import annotations

import os
import re
from itertools import islice

from dnnlib import UserError
from dnnlib.file_kinds import KINDS, recognize
from dnnlib.util import one_line

# Of tables, and of packed ones.
_FEEDS = (".xml", ".rss", ".atom")
_MAX_FEEDS = 20  # that are looked into: a folder may have an XML file for each picture
SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet")
_PACKED = (".gz", ".bz2", ".xz")
# Hugging Face's name for the table of a folder of pictures.
_METADATA = re.compile(r"metadata\.(jsonl|csv|parquet)")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet")


def find_tables(root: str) -> list[str]:
    """The path of a table, or of several that are pages or parts of one.

    Args:
        root: The table; or a folder with one, with JSON files, which are pages of an API, or with
            all parts of a Parquet table; `metadata.csv` and the like go before others.
    """
    if not os.path.isdir(root) and os.path.exists(root):
        return [root]
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        raise UserError(f"cannot open {root}: {error.strerror}") from error
    tables = [n for n in names if _is_table(n) and os.path.isfile(os.path.join(root, n))]
    if not tables:
        feeds = (os.path.join(root, name) for name in names if name.endswith(_FEEDS))
        for path in islice(feeds, _MAX_FEEDS):
            if os.path.isfile(path) and (kind := recognize(path)) is KINDS["feed"]:
                raise UserError(f"{path} is {kind.said}")
        raise UserError(
            f"{root} holds neither Ebay_info.txt, Ebay_train.txt or Ebay_test.txt of Stanford "
            f"Online Products nor a table of listings ({', '.join(SUFFIXES)})"
        )
    metadata = [name for name in tables if _METADATA.fullmatch(name)]
    tables = metadata if len(metadata) == 1 else tables
    is_pages = all(name.lower().endswith(".json") for name in tables)
    shards = {match[1] if (match := _SHARD.fullmatch(name)) else None for name in tables}
    if len(tables) > 1 and not is_pages and (len(shards) > 1 or None in shards):
        names = one_line(", ".join(tables))
        raise UserError(f"{root} holds several tables, {names}: give the path of one")
    return [os.path.join(root, name) for name in tables]


def _is_table(name: str) -> bool:
    if name.startswith("."):
        return False
    stem, suffix = os.path.splitext(name.lower())
    return (stem if suffix in _PACKED else name.lower()).endswith(SUFFIXES)
