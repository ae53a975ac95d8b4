"""dnnlib.file_kinds against files as programs write them."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import sqlite3
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from dnnlib.file_kinds import HEAD_BYTES, KINDS, by_suffix, read_ends, recognize


def picture(format, **options):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format, **options)
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def array_file(save, *args, **arrays):
    file = io.BytesIO()
    save(file, *args, **arrays)
    return file.getvalue()


def tar_file():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    return file.getvalue()


def tiff(*tags, order="<"):
    """A TIFF file with a list of (tag, type, value) only."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    values = {3: "HHIHH", 4: "HHII"}
    entries = (
        struct.pack(order + values[kind], tag, kind, 1, value, *[0] * (kind == 3))
        for tag, kind, value in tags
    )
    return start + b"".join(entries) + bytes(300)


def record(content):
    return struct.pack("<Q", len(content)) + b"\x12\x34\x56\x78" + content + b"\x9a\xbc\xde\xf0"


RAW_RECORD = record(b"\n\x90\2\n\x18\n\5shape\x12\x0f" + bytes(300))
JPEG_RECORD = record(b"\n\x90\2\n\x18\n\3img\x12\x0f\n\x0d" + picture("JPEG"))
SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
TABLE = "image,category\n0.jpg,a\n"


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("png", picture("PNG")),
        ("jpeg", picture("JPEG")),
        ("gif", picture("GIF")),
        ("webp", picture("WebP")),
        ("bmp", picture("BMP")),
        ("tiff", picture("TIFF")),
        ("tiff", tiff((256, 3, 8), (262, 3, 2), order=">")),
        ("jpeg2000", bytes.fromhex("0000000c6a5020200d0a870a") + bytes(20)),
        ("heic", bytes.fromhex("0000002466747970") + b"heic\0\0\0\0mif1"),
        ("avif", bytes.fromhex("0000002066747970") + b"avif\0\0\0\0mif1"),
        ("jxl", bytes.fromhex("ff0a") + bytes(200)),
        ("jxl", bytes.fromhex("0000000c4a584c200d0a870a") + bytes(200)),
        ("cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(300)),
        ("cr2", bytes.fromhex("0000001866747970") + b"crx \0\0\0\1crx isom"),
        ("dng", tiff((254, 4, 1), (50706, 4, 0x0401))),
        ("dng", tiff((254, 4, 1), (330, 4, 900), order=">")),
        ("dng", tiff((262, 3, 32803), order=">")),
        ("raf", b"FUJIFILMCCD-RAW 0201" + bytes(60)),
        ("orf", b"IIRO\x08\0\0\0"),
        ("psd", b"8BPS\0\1" + bytes(60)),
        ("pdf", b"%PDF-1.7\n1 0 obj\n"),
        ("postscript", b"%!PS-Adobe-3.0\n"),
        ("svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("svg", gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg"/>')),
        ("video", bytes.fromhex("0000002066747970") + b"isom\0\0\2\0isomiso2"),
        ("video", b"RIFF\0\0\1\0AVI LIST"),
        ("zip", zipped(a="b")),
        ("xlsx", zipped(**{"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"})),
        ("ods", zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet", x="y")),
        ("numbers", zipped(**{"Index/Document.iwa": "x"})),
        ("pytorch", zipped(**{"archive/data.pkl": pickle.dumps({}), "archive/data/0": "x"})),
        ("keras", zipped(**{"metadata.json": "{}", "model.weights.h5": "x"})),
        ("npz", array_file(np.savez, a=np.zeros(3), b=np.zeros(3))),
        ("npy", array_file(np.save, np.zeros(3))),
        ("pytorch", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\2M\xe9\3."),
        ("pickle", pickle.dumps({"G": 1}, 2)),
        ("pickle", pickle.dumps({"G": 1}, 5)),
        ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(60)),
        ("safetensors", struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4)),
        ("tar", tar_file()),
        ("7z", b"7z\xbc\xaf\x27\x1c\0\4"),
        ("rar", b"Rar!\x1a\7\1\0"),
        ("zstandard", b"\x28\xb5\x2f\xfd\x04\0"),
        ("parquet", b"PAR1\x15\4\x15\x20\0\0PAR1"),
        ("arrow", b"ARROW1\0\0\xff\xff\xff\xff"),
        ("xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)),
        ("tfrecord", RAW_RECORD),
        ("tfrecord-files", JPEG_RECORD),
        ("lmdb", bytes(16) + b"\xde\xc0\xef\xbe\1\0\0\0" + bytes(40)),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        ("html", b"<!DOCTYPE html>\n<html><body>Quota exceeded</body></html>"),
        ("html", "\ufeff<table><tr><td>1</td></tr></table>".encode()),
        ("xml", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
        ("xml", b"<?xml version='1.0'?><!-- <rss> --><products/>"),
        ("feed", b'<?xml version="1.0"?>\n<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">'),
        ("feed", "\ufeff<!-- <a> -->\n<?xml-stylesheet href='a'?><!DOCTYPE rss><RSS>".encode()),
        ("feed", '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom">'.encode("utf-16")),
        ("feed", b"<rdf:RDF xmlns:rdf='a'><item><description>&lt;svg> <svg/>"),
        ("text", b"<rsss>,<feeds>\n"),
        ("text", b"<?" * 2048),
        ("text", (b"<!-- <??> --" * 400)[:4096]),
        ("json", b'{"labels": null}'),
        ("text", TABLE.encode()),
        ("text", TABLE.encode("utf-16")),
        ("text", "größe;länge\r\n".encode("cp1252")),
        ("text", "商品,画像\nシャツ,a.jpg\n".encode("shift-jis")),
        ("text", "商品" .encode() * 2000),
        ("text", b"ORCHID,BZh,MZ\n"),
        ("text", b"MZ;image\n1;a.jpg\n"),
        ("text", b"The wide shoe,a.jpg\n"),
        ("text", b"ID3,FLIF\n"),
        ("appledouble", bytes.fromhex("00051607") + bytes(40)),
        ("empty", b""),
        ("zeros", bytes(500)),
        ("unknown", bytes(range(1, 30)) * 9),
    ],
    # Contents are no names: a gzip file holds the time it was written.
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_recognizes_bytes(key, content):
    assert recognize(content).said == KINDS[key].said


def test_a_reduced_tiff_picture_is_no_raw_photo():
    """That takes the whole picture beside it, in SubIFDs."""
    for tags, key in (({254: 1}, "tiff"), ({254: 1, 330: 8}, "dng"), ({330: 8}, "tiff")):
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
        head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
        assert recognize(head) is KINDS[key], tags


def test_xml_without_a_declaration_has_its_suffix():
    assert recognize(b" <products><a/></products>", "a.xml") is KINDS["xml"]
    assert recognize(b"<rss>", "a.xml") is KINDS["feed"]
    assert recognize(b"<products>,b\n", "a.csv") is recognize(b"a,b\n", "a.xml") is KINDS["text"]


def test_looks_into_compressed_files():
    for compress, outer in (
        (gzip.compress, "gzip"),
        (bz2.compress, "bzip2"),
        (lzma.compress, "xz"),
    ):
        assert f"{outer} file with text in it" in recognize(compress(TABLE.encode())).name
        assert "with TFRecords in it" in recognize(compress(RAW_RECORD)).name
        assert "with a pickle of Python in it" in recognize(compress(pickle.dumps({}))).name
    assert "gzip file with a tar file in it" in recognize(gzip.compress(tar_file())).name
    bomb = gzip.compress(bytes(1 << 26))
    assert recognize(bomb).name == "a gzip file"
    assert "damaged" in recognize(gzip.compress(b"x")[:2] + b"\xff" * 40).name


def test_suffixes_decide_where_bytes_do_not():
    assert recognize(tiff((256, 3, 8)), "a.NEF") is KINDS["nef"]
    assert recognize(bytes(range(1, 200)), "a.3fr") is KINDS["raw"]
    assert recognize(b"%PDF-1.5", "logo.ai") is KINDS["illustrator"]
    assert recognize(b"<!-- " + b"a" * HEAD_BYTES, "a.svg") is KINDS["svg"]
    assert recognize(zipped(a="b"), "a.sketch") is KINDS["drawing"]
    assert recognize(picture("PNG"), "a.dng") is KINDS["png"]
    assert recognize(b"bplist00\xd1\1\2", ".a.jpg.icloud") is KINDS["icloud"]
    assert recognize(bytes(range(200)), "a.DMG") is KINDS["disk"]
    assert by_suffix("A.HEIC") is KINDS["heic"]
    assert by_suffix("heic") is by_suffix("a.unheard") is None


def test_reads_files(tmp_path):
    path = str(tmp_path / "t.db")
    with sqlite3.connect(path) as base:
        base.execute("create table t(image)")
    base.close()
    assert recognize(path) is KINDS["sqlite"]
    with open(tmp_path / "big.bin", "wb") as file:
        file.write(zipped(a="b"))
        file.truncate(1 << 34)  # without taking up space
    assert [len(piece) for piece in read_ends(str(tmp_path / "big.bin"))] == [4096, 1 << 16]
    assert recognize(str(tmp_path / "big.bin")) is KINDS["zip"]
    with pytest.raises(OSError, match="No such file"):
        recognize(str(tmp_path / "absent"))


def test_waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert recognize(str(tmp_path / "pipe")) is KINDS["pipe"]
    assert recognize(str(tmp_path)) is KINDS["folder"]
    assert recognize("/dev/null") is KINDS["device"]
    with pytest.raises(OSError, match="not a regular file"):
        read_ends(str(tmp_path / "pipe"))


def test_any_bytes_are_some_kind():
    rng = np.random.default_rng(1)
    starts = [tiff((256, 3, 8)), zipped(a="b"), gzip.compress(b"x"), RAW_RECORD, bytes(40)]
    for i in range(500):
        content = bytearray(starts[i % len(starts)])
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(0, 256)
        assert recognize(bytes(content[: rng.integers(0, len(content))]), "a.nef").said
