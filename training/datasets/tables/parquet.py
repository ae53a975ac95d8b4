"""Tables in Parquet files, with the extra `parquet` (pyarrow)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dnnlib import UserError
from dnnlib.util import one_line

_ROWS = 64  # decoded at once; a row may hold a picture
_GROUP_BYTES = 1 << 32  # unpacked, of a group of rows
_NAMES_BYTES = 100_000_000  # of the description of a file


def parquet_columns(path: str, title: str) -> list[str]:
    """The names of the columns.

    Raises:
        UserError: The file cannot be read, or pyarrow is not installed.
    """
    with _opened(path, title) as file:
        return [str(name) for name in file.schema_arrow.names]


def parquet_rows(path: str, title: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers of rows, from 1, and their values by column; few are in memory at a time.

    Numbers of classes are given by their names where the file has those (`ClassLabel` of Hugging
    Face).

    Raises:
        UserError: The file is damaged, or is larger when unpacked than any table.
    """
    number = 0
    with _opened(path, title) as file:
        names = _class_names(file.schema_arrow.metadata)
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).total_byte_size
            if not 0 <= size <= _GROUP_BYTES:
                raise UserError(f"{title}: its group of rows {group} has {size} bytes: a bomb?")
        for batch in file.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                for column, known in names.items():
                    value = row.get(column)
                    if isinstance(value, int) and 0 <= value < len(known):
                        row[column] = known[value]
                yield number, row


@contextmanager
def _opened(path: str, title: str) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f'{title} is a Parquet table, which needs pip install -e ".[parquet]"; or save it as '
            "CSV"
        ) from error
    limits = dict.fromkeys(
        ("thrift_string_size_limit", "thrift_container_size_limit"), _NAMES_BYTES
    )
    try:
        with parquet.ParquetFile(path, **limits) as file:
            yield file
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"the Parquet table {title} is damaged: {one_line(error)}") from error


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """{column: names of its classes}, as Hugging Face's `datasets` writes them."""
    try:
        described = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
