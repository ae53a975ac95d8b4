"""The kinds of files that `dnnlib.file_kinds` tells apart, and the bytes that they begin with."""

from __future__ import annotations

from dataclasses import dataclass

_WAYS_ON = {
    "picture": "save it as JPEG or PNG",
    "raw": "develop it to JPEG, with the program of the camera, darktable or RawTherapee",
    "drawing": "export it as PNG or JPEG",
    "video": "save its frames as pictures first: ffmpeg -i VIDEO %06d.png",
    "archive": "unpack it first",
    "table": "save it as CSV",
}


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: for messages, with an article: `a Parquet table`.
        group: picture, raw (photos of cameras), drawing, video, archive, table, array, network,
            records (pictures in one file), text, placeholder (for a file that is elsewhere),
            special (what is no regular file), other.
        suffixes: in small letters with a dot; they decide where the bytes leave it open.
        way_on: what to do with such a file, as in `save it as JPEG`, or "".
    """

    name: str
    group: str
    suffixes: tuple[str, ...] = ()
    way_on: str = ""

    @property
    def said(self) -> str:
        """Name and way on: `a Parquet table: save it as CSV`."""
        return f"{self.name}: {self.way_on}" if self.way_on else self.name


def _kind(name: str, group: str, suffixes: str = "", way_on: str = "") -> FileKind:
    return FileKind(name, group, tuple(suffixes.split()), way_on or _WAYS_ON.get(group, ""))


KINDS = {
    "png": _kind("a PNG picture", "picture", ".png"),
    "jpeg": _kind("a JPEG picture", "picture", ".jpg .jpeg"),
    "gif": _kind("a GIF picture", "picture", ".gif"),
    "webp": _kind("a WebP picture", "picture", ".webp"),
    "bmp": _kind("a BMP picture", "picture", ".bmp"),
    "icon": _kind("an icon", "picture", ".ico"),
    "jxl": _kind("a JPEG XL picture", "picture", ".jxl"),
    "jpeg2000": _kind("a JPEG 2000 picture", "picture", ".jp2 .j2k .jpx .jpf"),
    "avif": _kind("an AVIF picture", "picture", ".avif .avifs"),
    "heic": _kind(
        "a HEIC picture, as telephones take them", "picture", ".heic .heif .hif .heics .heifs"
    ),
    "jpegxr": _kind("a JPEG XR picture", "picture", ".jxr .wdp .hdp"),
    "bpg": _kind("a BPG picture", "picture", ".bpg"),
    "flif": _kind("a FLIF picture", "picture", ".flif"),
    "exr": _kind("an OpenEXR picture", "picture", ".exr"),
    "hdr": _kind("a Radiance HDR picture", "picture", ".hdr"),
    "dicom": _kind("a DICOM picture", "picture", ".dcm"),
    "cr2": _kind("a RAW photo of a Canon camera", "raw", ".cr2 .cr3 .crw"),
    "raf": _kind("a RAW photo of a Fujifilm camera", "raw", ".raf"),
    "orf": _kind("a RAW photo of an Olympus camera", "raw", ".orf"),
    "rw2": _kind("a RAW photo of a Panasonic or Leica camera", "raw", ".rw2 .rwl .raw"),
    "x3f": _kind("a RAW photo of a Sigma camera", "raw", ".x3f"),
    "mrw": _kind("a RAW photo of a Minolta camera", "raw", ".mrw"),
    "nef": _kind("a RAW photo of a Nikon camera", "raw", ".nef .nrw"),
    "arw": _kind("a RAW photo of a Sony camera", "raw", ".arw .sr2 .srf"),
    "pef": _kind("a RAW photo of a Pentax camera", "raw", ".pef"),
    "srw": _kind("a RAW photo of a Samsung camera", "raw", ".srw"),
    "dng": _kind("a RAW photo (DNG)", "raw", ".dng"),
    "raw": _kind(
        "a RAW photo of a camera",
        "raw",
        ".3fr .fff .iiq .erf .kdc .dcr .mef .mos .gpr .cap .eip .bay",
    ),
    "tiff": _kind("a TIFF picture", "picture", ".tif .tiff"),
    "psd": _kind("a Photoshop file", "drawing", ".psd .psb"),
    "illustrator": _kind("an Adobe Illustrator file", "drawing", ".ai"),
    "pdf": _kind(
        "a PDF document",
        "drawing",
        ".pdf",
        "save its pages as pictures first: pdftoppm -png FILE PAGE",
    ),
    "postscript": _kind(
        "PostScript, which is a program and is not run", "drawing", ".eps .ps", "save it as PNG"
    ),
    "svg": _kind("an SVG drawing", "drawing", ".svg .svgz"),
    "xcf": _kind("a GIMP file", "drawing", ".xcf"),
    "drawing": _kind("a file of a drawing program", "drawing", ".kra .ora .cdr .sketch"),
    "video": _kind(
        "a video",
        "video",
        ".mp4 .mov .m4v .avi .mkv .webm .wmv .flv .mpg .mpeg .3gp .mts .m2ts .ogv",
    ),
    "sound": _kind("a sound file", "other"),
    "zip": _kind("a zip file", "archive", ".zip"),
    "tar": _kind("a tar file", "archive", ".tar"),
    "gzip": _kind("a gzip file", "archive", ".gz .tgz", "unpack it first, with gunzip"),
    "bzip2": _kind("a bzip2 file", "archive", ".bz2 .tbz2", "unpack it first, with bunzip2"),
    "xz": _kind("an xz file", "archive", ".xz .txz", "unpack it first, with unxz"),
    "zstandard": _kind("a Zstandard file", "archive", ".zst", "unpack it first, with unzstd"),
    "lz4": _kind("an LZ4 file", "archive", ".lz4", "unpack it first, with unlz4"),
    "7z": _kind("a 7-Zip archive", "archive", ".7z", "unpack it first, with 7z x"),
    "rar": _kind("a RAR archive", "archive", ".rar", "unpack it first, with unrar x"),
    "cab": _kind("a cabinet file", "archive", ".cab"),
    "compress": _kind("a compressed file", "archive", ".z"),
    "parquet": _kind("a Parquet table", "table", ".parquet"),
    "arrow": _kind(
        "an Arrow table, as Hugging Face keeps datasets",
        "table",
        ".arrow .feather",
        "save its pictures as files, and its other columns as CSV",
    ),
    "orc": _kind("an ORC table", "table", ".orc"),
    "avro": _kind("an Avro table", "table", ".avro"),
    "xls": _kind(
        "an old Excel or other Office file", "table", ".xls", "save the sheet as CSV (UTF-8)"
    ),
    "xlsx": _kind("an Excel file", "table", ".xlsx .xlsm .xlsb", "save the sheet as CSV (UTF-8)"),
    "ods": _kind("an OpenDocument spreadsheet", "table", ".ods", "save the sheet as CSV"),
    "numbers": _kind(
        "a file of Apple Numbers, Pages or Keynote", "table", ".numbers", "export the sheet as CSV"
    ),
    "sqlite": _kind(
        "an SQLite database",
        "table",
        ".db .sqlite .sqlite3",
        "export the table as CSV: sqlite3 -header -csv FILE 'select * from TABLE'",
    ),
    "access": _kind("an Access database", "table", ".mdb .accdb", "export the table as CSV"),
    "stata": _kind("a file of a statistics program", "table", ".dta .sav .rds"),
    "npy": _kind("a NumPy array (.npy)", "array", ".npy"),
    "npz": _kind("NumPy arrays (.npz)", "array", ".npz"),
    "matlab": _kind("a MATLAB file", "array", ".mat"),
    "hdf5": _kind("an HDF5 file", "array", ".h5 .hdf5"),
    "pytorch": _kind("a file of PyTorch (torch.save)", "network", ".pt .pth"),
    "safetensors": _kind("a safetensors file", "network", ".safetensors"),
    "pickle": _kind("a pickle of Python", "network", ".pkl .pickle"),
    "keras": _kind("a Keras model", "network", ".keras"),
    "tflite": _kind("a TensorFlow Lite model", "network", ".tflite"),
    "gguf": _kind("a GGUF model", "network", ".gguf"),
    "onnx": _kind("an ONNX model", "network", ".onnx"),
    "graph": _kind("a TensorFlow graph", "network", ".pb"),
    "tfrecord": _kind("TFRecords", "records", ".tfrecords .tfrecord"),
    "tfrecord-files": _kind(
        "TFRecords of picture files (JPEG, PNG; features like img), as other tools write them",
        "records",
        "",
        "build the dataset again from the pictures",
    ),
    "lmdb": _kind(
        "an LMDB database",
        "records",
        ".mdb",
        "give the folder with it to create_lsun, or save its pictures as files",
    ),
    "lfs": _kind(
        "a git-lfs pointer, not the file itself",
        "placeholder",
        "",
        "get the file with `git lfs pull`",
    ),
    "rtf": _kind("a formatted text (RTF)", "text", "", "save it as plain text"),
    "html": _kind(
        "a web page (HTML)",
        "text",
        "",
        "if it was downloaded, it says why the file itself did not come: open it in a browser",
    ),
    "feed": _kind(
        "a feed in XML (RSS, Atom), as of Google Merchant Center",
        "text",
        ".rss .atom",
        "export it from the shop as TSV, or convert it: a row for each item, and columns such as "
        "image_link and product_type",
    ),
    "xml": _kind("an XML file", "text", ".xml"),
    "json": _kind("JSON", "text", ".json .jsonl .ndjson"),
    "text": _kind("text", "text"),
    "appledouble": _kind(
        "a macOS file of attributes (._NAME)", "placeholder", "", "use the file without ._ in front"
    ),
    "icloud": _kind(
        "an iCloud placeholder, not the file itself",
        "placeholder",
        ".icloud",
        "have Finder download it",
    ),
    "shortcut": _kind(
        "a shortcut, not the file itself",
        "placeholder",
        ".lnk .url .webloc",
        "use the file it is for",
    ),
    "unfinished": _kind(
        "an unfinished download",
        "placeholder",
        ".crdownload .part .partial .download .opdownload",
        "download the file itself again",
    ),
    "disk": _kind(
        "an image of a disk", "archive", ".iso .dmg", "open it, and copy the files that are in it"
    ),
    "bplist": _kind("a property list of macOS", "other"),
    "program": _kind("a program", "other"),
    "empty": _kind("an empty file", "placeholder", "", "download the file itself again"),
    "zeros": _kind(
        "nothing but zero bytes, as if a copy had broken off",
        "placeholder",
        "",
        "download the file itself again",
    ),
    "unknown": _kind("a file of unknown kind", "other"),
    "folder": _kind("a folder", "special"),
    "pipe": _kind("a pipe", "special", "", "save what comes out of it as a file"),
    "device": _kind("no regular file", "special"),
}
# (kind, offset, one of these). Of kinds that share their first bytes, the special one comes first.
MAGIC = (
    ("png", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("jpeg", 0, (b"\xff\xd8\xff",)),
    ("gif", 0, (b"GIF87a", b"GIF89a")),
    ("webp", 8, (b"WEBP",)),
    ("icon", 0, (b"\x00\x00\x01\x00",)),
    ("jxl", 0, (b"\xff\n", b"\x00\x00\x00\x0cJXL \r\n")),
    ("jpeg2000", 0, (b"\x00\x00\x00\x0cjP  \r\n", b"\xffO\xffQ")),
    ("avif", 4, (b"ftypavif", b"ftypavis")),
    (
        "heic",
        4,
        (
            b"ftypheic",
            b"ftypheix",
            b"ftyphevc",
            b"ftyphevx",
            b"ftypheim",
            b"ftypheis",
            b"ftypmif1",
            b"ftypmsf1",
        ),
    ),
    ("jpegxr", 0, (b"II\xbc",)),
    ("bpg", 0, (b"BPG\xfb",)),
    ("flif", 0, (b"FLIF",)),
    ("exr", 0, (b"v/1\x01",)),
    ("hdr", 0, (b"#?RADIANCE",)),
    ("dicom", 128, (b"DICM",)),
    ("cr2", 8, (b"CR\x02\x00",)),
    ("cr2", 4, (b"ftypcrx ",)),
    ("cr2", 6, (b"HEAPCCDR",)),
    ("raf", 0, (b"FUJIFILMCCD-RAW",)),
    ("orf", 0, (b"IIRO", b"IIRS", b"MMOR")),
    ("rw2", 0, (b"IIU\x00",)),
    ("x3f", 0, (b"FOVb",)),
    ("mrw", 0, (b"\x00MRM",)),
    ("tiff", 0, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    ("psd", 0, (b"8BPS",)),
    ("pdf", 0, (b"%PDF",)),
    ("postscript", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("xcf", 0, (b"gimp xcf",)),
    ("video", 4, (b"ftyp", b"moov", b"mdat", b"wide")),
    ("video", 8, (b"AVI LIST",)),
    (
        "video",
        0,
        (
            b"\x1aE\xdf\xa3",
            b"\x00\x00\x01\xba",
            b"\x00\x00\x01\xb3",
            b"FLV\x01",
            b"0&\xb2u\x8ef\xcf\x11",
        ),
    ),
    ("sound", 0, (b"ID3", b"fLaC", b"OggS")),
    ("sound", 8, (b"WAVEfmt",)),
    ("zip", 0, (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")),
    ("tar", 257, (b"ustar",)),
    ("gzip", 0, (b"\x1f\x8b",)),
    ("bzip2", 0, (b"BZh",)),
    ("xz", 0, (b"\xfd7zXZ\x00",)),
    ("zstandard", 0, (b"(\xb5/\xfd",)),
    ("lz4", 0, (b'\x04"M\x18',)),
    ("7z", 0, (b"7z\xbc\xaf'\x1c",)),
    ("rar", 0, (b"Rar!\x1a\x07",)),
    ("cab", 0, (b"MSCF",)),
    ("compress", 0, (b"\x1f\x9d",)),
    ("parquet", 0, (b"PAR1", b"PARE")),
    ("arrow", 0, (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")),
    ("orc", 0, (b"ORC",)),
    ("avro", 0, (b"Obj\x01",)),
    ("xls", 0, (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    ("sqlite", 0, (b"SQLite format 3\x00",)),
    ("access", 4, (b"Standard Jet DB", b"Standard ACE DB")),
    ("stata", 0, (b"<stata_dta>", b"$FL2", b"RDX3\n", b"RDX2\n")),
    ("npy", 0, (b"\x93NUMPY",)),
    ("matlab", 0, (b"MATLAB 5.0 MAT-file",)),
    ("hdf5", 0, (b"\x89HDF\r\n\x1a\n",)),
    ("pytorch", 0, (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19",)),
    ("pickle", 0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")),
    ("tflite", 4, (b"TFL3",)),
    ("gguf", 0, (b"GGUF",)),
    ("lmdb", 16, (b"\xde\xc0\xef\xbe",)),
    ("lfs", 0, (b"version https://git-lfs",)),
    ("rtf", 0, (b"{\\rtf",)),
    ("shortcut", 0, (b"L\0\0\0\1\x14\2\0", b"[InternetShortcut]")),
    ("appledouble", 0, (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")),
    ("bplist", 0, (b"bplist00",)),
    ("program", 0, (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")),
)
