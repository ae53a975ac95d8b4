"""What a file is that was given as a snapshot and is none, and what to do with it."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile

from dnnlib.util import one_line

_UNPACK = "unpack it first and give the file that is in it"
_TENSORFLOW = (
    "this software reads snapshots of the TensorFlow repositories stylegan, stylegan2 and "
    "stylegan2-ada; use the TensorFlow snapshot that it was made from"
)
# First bytes of files, and what they are.
_MAGIC = (
    (b"\x1f\x8b", f"is compressed with gzip: {_UNPACK} (gunzip)"),
    (b"BZh", f"is compressed with bzip2: {_UNPACK} (bunzip2)"),
    (b"\xfd7zXZ\x00", f"is compressed with xz: {_UNPACK} (unxz)"),
    (b"\x28\xb5\x2f\xfd", f"is compressed with Zstandard: {_UNPACK} (unzstd)"),
    (b"\x04\x22\x4d\x18", f"is compressed with LZ4: {_UNPACK} (unlz4)"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7-Zip archive: {_UNPACK}"),
    (b"Rar!", f"is a RAR archive: {_UNPACK}"),
    (b"\x89HDF\r\n", f"is an HDF5 file, as Keras writes its weights: {_TENSORFLOW}"),
    (
        b"version https://git-lfs.github.com/",
        "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
    ),
    (b"model_checkpoint_path:", f"is the index of a TensorFlow checkpoint: {_TENSORFLOW}"),
    (b"\x89PNG", "is a PNG picture, not a snapshot"),
    (b"\xff\xd8\xff", "is a JPEG picture, not a snapshot"),
    (b"%PDF", "is a PDF document, not a snapshot"),
    (b"\x7fELF", "is a program, not a snapshot"),
    (b"\x93NUMPY", "is a single NumPy array (.npy), not a snapshot"),
    (b"PAR1", "is a Parquet table, not a snapshot"),
)
# `torch.save` begins with this number as a pickle, by old protocols and by new ones.
_TORCH = struct.pack("<Q", 0x1950A86A20F9469CFC6C & (1 << 64) - 1)
_TORCH_NAMES = re.compile(rb"torch_utils\.|torch\._utils|torch\.storage|ctorch[.\n]|\x8c\x05torch")
_BOM = b"\xef\xbb\xbf"
# The end of a table of LevelDB, which the index of a TensorFlow checkpoint is.
_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


def describe_other(content: bytes) -> str | None:
    """What a file is if it is certainly no snapshot, to follow its name; None if it may be one."""
    if not content:
        return "is not a snapshot: it is empty, a download or copy that did not finish"
    if content[:512].removeprefix(_BOM).lstrip()[:1] == b"<":
        return "is an HTML page, not a snapshot: download the file itself"
    for magic, what in _MAGIC:
        if content.startswith(magic):
            return what
    if content.startswith(b"PK"):
        return _describe_zip(content)
    if content[257:262] == b"ustar":
        return f"is a tar archive: {_UNPACK}"
    if content.endswith(_TABLE_END):
        return f"is the index of a TensorFlow checkpoint: {_TENSORFLOW}"
    if content[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model: {_TENSORFLOW}"
    if content[8:10] == b'{"' and int.from_bytes(content[:8], "little") < len(content):
        return f"holds weights of PyTorch or another framework (safetensors): {_TENSORFLOW}"
    if _TORCH in content[:64]:
        return f"is a file of PyTorch (torch.save): {_TENSORFLOW}"
    return _describe_pytorch(content) or _describe_text(content)


def _describe_pytorch(content: bytes) -> str | None:
    """Pickles of the PyTorch repositories, which embed the code of their networks."""
    if content[:1] != b"\x80" or not _TORCH_NAMES.search(content[: 1 << 20]):
        return None
    is_third = b"stylegan3" in content[: 1 << 20].lower()
    of = "stylegan3" if is_third else "stylegan2-ada-pytorch, stylegan3 or another repository"
    return f"is a PyTorch pickle of {of}: {_TENSORFLOW}"


def _describe_zip(content: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except Exception:  # Damaged in any way: what reads it says so.
        return None
    if any(name.endswith("data.pkl") for name in names):
        return f"is a file of PyTorch (torch.save, .pt): {_TENSORFLOW}"
    if any(name.endswith(("model.weights.h5", "variables.index")) for name in names):
        return f"is a Keras model: {_TENSORFLOW}"
    if not any(name.endswith(".npy") for name in names):
        shown = ", ".join(one_line(name, 40) for name in names[:3]) or "nothing"
        return f"is a zip archive with {shown}, not a snapshot: {_UNPACK}"
    return None


def _describe_text(content: bytes) -> str | None:
    """Pages and messages that were saved in place of a file."""
    start = content[:200].removeprefix(_BOM)
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
