"""What the cells of tables mean: pictures, classes, categories."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import unicodedata
import warnings
from typing import Any

# A URL ends where another begins, at a | that no URL holds, and at a separator before a blank.
# Other commas and semicolons are part of it.
_BETWEEN_URLS = re.compile(
    r"\s*\|\s*|\s*[;,]\s*(?=(?:https?:)?//)|[;,]\s+|\s+(?=https?://)", re.IGNORECASE
)
_LONGEST_LITERAL = 1 << 17  # characters; Python's parser needs 100 times the memory
# Where objects have the address of a picture, the largest first: Amazon, Etsy, eBay, others.
_PICTURE_KEYS = (
    "hi_res hiRes large url_fullxfull url_570xN imageUrl image_url imageURL url src href link "
    "contentUrl path file_name thumb thumbnail"
).split()
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});")
# What programs write for a number that is missing. "Infinity" may be a brand.
_NOT_FINITE = {"nan", "NaN", "NAN", "-nan", "inf", "-inf", "+inf", "Inf", "-Inf", "-Infinity"}


def class_of(cell: object) -> int | str | None:
    """The class that a cell names; None for an empty cell and for NaN.

    Text is in one form: HTML entities are resolved, letters composed (NFC), blanks single. Whole
    numbers as one writes them become numbers, since their order is 2, 10; 007 stays text.
    """
    if cell is None or (isinstance(cell, float) and not abs(cell) < float("inf")):
        return None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # whole numbers beside empty cells are stored as floats
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), str(cell))
    text = " ".join(unicodedata.normalize("NFC", text).replace("\ufeff", "").split())
    if text in _NOT_FINITE:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) < 19
    return int(text) if is_number and str(int(text)) == text else text or None


def classes_in(cell: object) -> list[int | str]:
    """All classes that a cell names: of a list, or of text with `|`, `;` or `,` between them."""
    cell = parsed(cell)
    if isinstance(cell, (list, tuple)):
        parts = [part for part in cell if not isinstance(part, (list, dict))]
    elif isinstance(cell, str):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), cell)
        parts = re.split("[|;]" if "|" in text or ";" in text else ",", text)
    else:
        parts = [cell]
    found = (class_of(part) for part in parts)
    return list(dict.fromkeys(part for part in found if part is not None))


def holds_several(cell: object) -> bool:
    """Whether a cell names several classes for certain; `, ` may be part of a name."""
    value = parsed(cell)
    if isinstance(value, (list, tuple)):
        return len(classes_in(value)) > 1
    if not isinstance(value, str):
        return False
    text = _ENTITY.sub("", value)
    return bool(re.search(r"[^\s|]\s*\|\s*[^\s|]|\S\s*;\s*\S|[^\W\d],(?=[^\W\d])", text))


def category_of(cell: object, leaves: object = None, names: dict[str, str] | None = None) -> Any:
    """The category that a cell of a listing names, as for `class_of`.

    Args:
        cell: Text, a number; a list from the root to the leaf, whose first counts of several; or
            eBay's list of {"categoryId", "categoryName"}, which begins with the leaf.
        leaves: eBay's `leafCategoryIds`.
        names: {categoryId: categoryName} of other listings, for categories without a name.
    """
    value = parsed(cell)
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        objects = [part for part in value if isinstance(part, dict)]
        wanted = {str(leaf) for leaf in leaves} if isinstance(leaves, list) else set()
        of_leaf = (part for part in objects if str(part.get("categoryId")) in wanted)
        value = next(of_leaf, objects[0])
    if isinstance(value, dict):
        number = value.get("categoryId", value.get("id"))
        name = value.get("categoryName") or value.get("name") or value.get("title")
        value = name or (names or {}).get(str(number)) or number
    elif isinstance(value, list):
        value = " > ".join(str(part) for part in value if part not in (None, ""))
    return value if isinstance(value, (str, int, float)) else None


def category_names(cell: object) -> dict[str, str]:
    """{categoryId: categoryName} of eBay's list of categories."""
    objects = cell if isinstance(cell, list) else []
    return {
        str(part["categoryId"]): str(part["categoryName"])
        for part in objects
        if isinstance(part, dict) and part.get("categoryId") and part.get("categoryName")
    }


def split_images(cell: object, folder: str) -> list[str]:
    """The URLs and paths in a cell.

    Args:
        cell: Text: a URL or path, several separated by `|`, `;` or `,`, or a JSON list of them;
            or a list; objects with a URL, as APIs give them, stand for the largest of theirs.
        folder: Where files may lie whose names hold separators.

    Returns:
        URLs with a scheme, and paths.
    """
    cell = parsed(cell)
    if isinstance(cell, dict):
        cell = _picture_objects(cell)
    if isinstance(cell, list):
        parts = [_picture_in(part) if isinstance(part, dict) else part for part in cell]
        parts = [part for part in parts if isinstance(part, str)]
    elif not isinstance(cell, str):
        return []
    elif "//" in cell:
        parts = _BETWEEN_URLS.split(cell.strip().strip("|;,"))
    else:
        parts = _split_paths(cell.strip(), folder, "|;,")
    parts = [html.unescape(part.strip()) if "&amp;" in part else part.strip() for part in parts]
    return ["https:" + part if part.startswith("//") else part for part in parts if part]


def parsed(cell: object) -> object:
    """A list or object written in JSON, or as Python's `str` writes it; other cells as they are."""
    text = cell.strip() if isinstance(cell, str) else ""
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")):
        return cell
    for parse in (json.loads, _literal):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, (list, dict)):
            return value
    return cell


def _literal(text: str) -> object:
    if len(text) > _LONGEST_LITERAL:
        raise ValueError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        return ast.literal_eval(text)


def _picture_objects(value: dict[str, Any]) -> list[object]:
    """One object, or columns of a list of objects: {"large": [...], "hi_res": [...]}."""
    columns = {key: value[key] for key in _PICTURE_KEYS if isinstance(value.get(key), list)}
    if not columns:
        return [value]
    count = max(map(len, columns.values()))
    return [
        {key: column[i] for key, column in columns.items() if i < len(column)} for i in range(count)
    ]


def _picture_in(value: dict[str, Any]) -> str | None:
    found = (value.get(key) for key in _PICTURE_KEYS)
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def _split_paths(text: str, folder: str, separators: str) -> list[str]:
    if not separators or _is_file(os.path.join(folder, text)):
        return [text]
    parts = text.split(separators[0])
    return [path for part in parts for path in _split_paths(part.strip(), folder, separators[1:])]


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a zero byte, or a lone surrogate
        return False
