"""URLs as text: what is one, and what of it may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from dnnlib.util import UserError, one_line

# Where a query or parameters begin, also in a path that has been encoded once too often.
_SECRET = re.compile(r"[?#;]|%(25)*(3f|23|3b|40)", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is a URL and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def show(url: str) -> str:
    """An URL for messages and records, without what may be a secret: user, password, query.

    Raises:
        UserError: it is not valid.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises where a password with a slash in it is taken for a port)
    except ValueError as error:
        raise UserError("a URL is not valid") from error
    host = re.split("@|%40", parts.netloc, flags=re.IGNORECASE)[-1]
    return one_line(f"{parts.scheme}://{host}{_SECRET.split(parts.path, maxsplit=1)[0]}")


def show_source(text: str) -> str:
    """A path as it is, a URL as `show` gives it."""
    return show(text) if is_url(text) else text
