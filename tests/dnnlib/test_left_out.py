"""Names of the official code that are absent on purpose say so."""

import sys
import types

import pytest

from dnnlib.left_out import LeftOut, left_out


def test_absent_names_say_why(monkeypatch):
    module = types.ModuleType("faces")
    module.__getattr__ = left_out("faces", {"old": "use new"})
    monkeypatch.setitem(sys.modules, "faces", module)
    with pytest.raises(LeftOut, match=r"^faces\.old of the official code is not here: use new$"):
        from faces import old  # noqa: F401
    with pytest.raises(LeftOut):
        module.old  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'other'"):
        from faces import other  # noqa: F401
    assert not hasattr(module, "other")
