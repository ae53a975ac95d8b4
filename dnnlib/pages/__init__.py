"""What HTML pages share: how templates are filled in, and `copy.js`, for buttons that copy."""

from __future__ import annotations

import os

from jinja2 import Environment, PackageLoader, StrictUndefined

COPY_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "copy.js")


def templates(package: str) -> Environment:
    """The templates beside a package's modules: values are escaped, and none may be missing.

    Args:
        package: dotted name.
    """
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
