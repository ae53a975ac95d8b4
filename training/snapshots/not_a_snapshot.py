"""What a file is that was given as a snapshot but is not one, and what to do about it."""

from __future__ import annotations

import io
import json
import re
import zipfile

from dnnlib.file_kinds import KINDS, recognize
from dnnlib.util import one_line

_USE_ANOTHER = (
    "this software reads snapshots (.pkl) of stylegan, stylegan2, stylegan2-ada and "
    "stylegan2-ada-pytorch; use the one that it was made from"
)
_TORCH_NAMES = re.compile(rb"torch\._utils|torch\.storage|ctorch[.\n]|\x8c\x05torch")
# The end of a table of LevelDB, which the index of a TensorFlow checkpoint is.
_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
# Kinds that may be a snapshot after all. Protocol 0 of pickles is text too.
_UNDECIDED = ("pickle", "npz", "zip", "unknown", "text", "json", "compress")


def describe_other(content: bytes) -> str | None:
    """What a file is that is certainly not a snapshot, to follow its name; None: it may be one."""
    if content.endswith(_TABLE_END) or content.startswith(b"model_checkpoint_path:"):
        return f"is the index of a TensorFlow checkpoint: {_USE_ANOTHER}"
    kind = recognize(content)
    if kind is KINDS["zip"]:
        return _describe_zip(content)
    if all(kind is not KINDS[key] for key in _UNDECIDED):
        is_network = kind.group == "network" or kind is KINDS["hdf5"]
        said = f"{kind.name}: {_USE_ANOTHER}" if is_network else kind.said
        return f"is not a snapshot but {said}"
    return _describe_pytorch(content) or _describe_text(content)


def _describe_pytorch(content: bytes) -> str | None:
    """Pickles of PyTorch without modules that bring their code, which `pytorch` reads."""
    if content[:1] != b"\x80" or not _TORCH_NAMES.search(content[: 1 << 20]):
        return None
    return f"is a PyTorch pickle without the networks of an official repository: {_USE_ANOTHER}"


def _describe_zip(content: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except Exception:  # Damaged in any way: what reads it says so.
        return None
    if any(name.endswith("variables.index") for name in names):
        return f"is a Keras model: {_USE_ANOTHER}"
    if not any(name.endswith(".npy") for name in names):
        shown = ", ".join(one_line(name, 40) for name in names[:3]) or "nothing"
        return f"is a zip file with {shown}, not a snapshot: unpack it and give the file in it"
    return None


def _describe_text(content: bytes) -> str | None:
    """Web pages and error messages that were saved in place of a file."""
    start = content[:200].removeprefix(b"\xef\xbb\xbf")
    # Protocol 0 of pickles is text too: it begins with a mark, a global name or a number.
    if not re.fullmatch(rb"[\t\r\n -~\x80-\xff]+", start) or b"\x00" in content[:4096]:
        return None
    try:
        text = start.decode("utf-8", "ignore")
        if start.lstrip()[:1] in b"{[":
            json.loads(content)
            return f"is not a snapshot but JSON that begins with {one_line(text, 60)!r}"
    except (ValueError, RecursionError):
        pass
    words = re.findall(r"[^\W\d_]{2,}", text)
    is_pickle = re.match(r"[(cI\]}{lptdgVSFLN)]", text) and re.search(rb"\.\s*$", content[-8:])
    if len(words) < 2 or is_pickle:
        return None
    return f"is not a snapshot but a text that begins with {one_line(text, 60)!r}"
