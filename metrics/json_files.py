"""Small JSON files that a user can edit."""

from __future__ import annotations

from typing import Any

from dnnlib import UserError, schema
from dnnlib.util import one_line


def read_object(path: str) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is no file.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        return schema.read_json(path, dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, UserError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
