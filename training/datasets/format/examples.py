"""What is in a record: one image, as a tf.train.Example.

`shape` int64[3] (channels, height, width) and `data`, its raw uint8 bytes, as in the official
datasets; or, for compact records, `encoded`, the bytes of a picture file, and `format`, its name.
Readers that know only raw records miss `data` and say so.

TensorFlow is not needed here: a tf.train.Example is a few bytes of protocol buffers
(https://protobuf.dev/programming-guides/encoding) around the pixels.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnnlib.util import one_line
from training.datasets.format.levels import MAX_SIDE
from training.datasets.photos.arrays import to_picture, to_pixels
from training.datasets.photos.checks import JPEG_MAGIC, is_plain_jpeg
from training.datasets.photos.colors import to_srgb

ENCODINGS = ("raw", "png", "jpeg", "webp")
_VARINT, _BYTES = 0, 2  # wire types
_MAX_VARINT_BYTES = 10
_MAX_VALUES = 16  # of one feature, and of names in messages


@dataclass(frozen=True)
class Encoding:
    """How records hold pixels.

    Attributes:
        format: one of ENCODINGS.
        quality: 1 to 100, of jpeg and webp; 100 is lossless for webp.
    """

    format: str = "raw"
    quality: int = 95


RAW = Encoding()


def serialize_image(image: np.ndarray, encoding: Encoding) -> bytes:
    """The tf.train.Example of an image.

    An image that would not become smaller, as happens at the coarsest levels, stays raw.

    Args:
        image: uint8 [1, 3 or 4, height, width].
        encoding: how to hold the pixels.
    """
    if encoding.format != "raw":
        encoded = encode_picture(image, encoding)
        if len(encoded) < image.size:
            name = encoding.format.encode("ascii")
            features = _bytes_feature(b"encoded", encoded), _bytes_feature(b"format", name)
            return _example(*features, _shape_feature(image.shape))
    return _example(_bytes_feature(b"data", image.tobytes()), _shape_feature(image.shape))


def encode_picture(image: np.ndarray, encoding: Encoding) -> bytes:
    """The bytes of a picture file of uint8 [1, 3 or 4, height, width]; jpeg has no fourth."""
    options = {
        "png": {"compress_level": 6},
        "jpeg": {"quality": encoding.quality, "subsampling": "4:2:0", "optimize": True},
        "webp": {"quality": encoding.quality, "lossless": encoding.quality == 100},
    }[encoding.format]
    buffer = io.BytesIO()
    to_picture(image).save(buffer, encoding.format, **options)
    return buffer.getvalue()


def parse_image(payload: bytes) -> np.ndarray:
    """Decodes one record.

    Returns:
        uint8 [channels, height, width]; of raw records a read-only view of the payload's bytes.

    Raises:
        ValueError: The payload is not a tf.train.Example with a fitting shape and data.
    """
    try:
        features = _parse_example(memoryview(payload))
    except (ValueError, IndexError) as error:
        raise ValueError("not a tf.train.Example") from error
    pixels = features.get("data", features.get("encoded"))
    if "shape" not in features or pixels is None:
        names = [one_line(name, 40) for name in sorted(features)[:_MAX_VALUES]]
        hint = ""
        if any(_is_picture_file(value) for values in features.values() for value in values):
            hint = (
                "; it holds a picture file (JPEG or PNG), as other tools write them: build the "
                "dataset again from the pictures"
            )
        raise ValueError(f"expected features shape and data, got {names or 'none'}{hint}")
    shape = tuple(features["shape"])
    if (
        len(shape) != 3
        or not all(isinstance(length, int) and 1 <= length <= MAX_SIDE for length in shape)
        or len(pixels) != 1
        or isinstance(pixels[0], int)
    ):
        shown = one_line([length if isinstance(length, int) else "text" for length in shape], 100)
        raise ValueError(f"shape {shown} with {len(pixels)} data is not one CHW image")
    if "data" not in features:
        return _decode_picture(pixels[0], features.get("format", []), shape)
    if len(pixels[0]) != math.prod(shape):
        hint = ""
        if _is_picture_file(pixels[0]):
            hint = ": it is a picture file, not pixels: build the dataset again from the pictures"
        raise ValueError(f"shape {list(shape)} does not fit {len(pixels[0])} bytes of data{hint}")
    return np.frombuffer(pixels[0], np.uint8).reshape(shape)


def _is_picture_file(value: int | memoryview) -> bool:
    magics = (JPEG_MAGIC, b"\x89PNG\r\n", b"GIF8", b"RIFF")
    return isinstance(value, memoryview) and bytes(value[:8]).startswith(magics)


def _decode_picture(data: memoryview, names: list, shape: tuple[int, ...]) -> np.ndarray:
    is_name = len(names) == 1 and isinstance(names[0], memoryview) and len(names[0]) < 20
    name = bytes(names[0]).decode("ascii", "replace") if is_name else ""
    if name not in ENCODINGS[1:]:
        raise ValueError(f"an image encoded as {name!r} is none of {', '.join(ENCODINGS[1:])}")
    try:
        if name == "jpeg" and not is_plain_jpeg(bytes(data)):
            raise ValueError("its jpeg data has more scans than are decoded in a short time")

        with Image.open(io.BytesIO(data), formats=[name]) as picture:
            size = (picture.height, picture.width)
            if size != shape[1:] or shape[0] not in (1, 3, 4):
                raise ValueError(f"shape {list(shape)} does not fit a picture of {size}")
            # Only pictures that others have stored have a profile; ours are sRGB.
            if "icc_profile" in picture.info:
                picture, _ = to_srgb(picture)
            return to_pixels(picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[shape[0]]))
    except ValueError:
        raise
    except Exception as error:  # on damaged data Pillow's plugins raise whatever happens to them
        raise ValueError(f"its {name} data is damaged: {one_line(error)}") from error


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _field(number: int, *parts: bytes) -> bytes:
    """A length-delimited field."""
    return b"".join((_varint(number << 3 | _BYTES), _varint(sum(map(len, parts))), *parts))


def _bytes_feature(name: bytes, value: bytes) -> bytes:
    """An entry of the map of features: Feature.bytes_list is field 1."""
    return _field(1, _field(1, name), _field(2, _field(1, _field(1, value))))


@functools.lru_cache(maxsize=64)
def _shape_feature(shape: tuple[int, ...]) -> bytes:
    """Feature.int64_list is field 3, its values are packed."""
    values = b"".join(map(_varint, shape))
    return _field(1, _field(1, b"shape"), _field(2, _field(3, _field(1, values))))


def _example(*entries: bytes) -> bytes:
    """The entries of the map are in the order of their names, as a deterministic writer has it."""
    return _field(1, *entries)


def _parse_example(data: memoryview) -> dict[str, list]:
    """{name: the first numbers or bytes} of a tf.train.Example."""
    features: dict[str, list] = {}
    for example in _messages(data, 1):
        for entry in _messages(example, 1):
            name = b"".join(_messages(entry, 1)).decode("utf-8")
            values = (v for feature in _messages(entry, 2) for v in _values(feature))
            features[name] = list(itertools.islice(values, _MAX_VALUES))
    return features


def _values(feature: memoryview) -> Iterator[int | memoryview]:
    for content in _messages(feature, 1):  # a BytesList
        yield from _messages(content, 1)
    for content in _messages(feature, 3):  # an Int64List, packed or not
        for value in _fields(content, 1):
            if isinstance(value, int):
                yield _signed(value)
                continue
            position = 0
            while position < len(value):
                number, position = _read_varint(value, position)
                yield _signed(number)


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """As `_fields`, of those that have bytes."""
    for value in _fields(data, wanted):
        if isinstance(value, int):
            raise ValueError("a number stands where a message is expected")
        yield value


def _fields(data: memoryview, wanted: int) -> Iterator[int | memoryview]:
    """The values of a message's fields of one number."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _read_varint(data, position)
        elif kind == _BYTES:
            length, position = _read_varint(data, position)
            if length > len(data) - position:
                raise ValueError("a field is longer than its message")
            value, position = data[position : position + length], position + length
        else:
            raise ValueError(f"wire type {kind} has no place in it")
        if key >> 3 == wanted:
            yield value


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for i in range(_MAX_VARINT_BYTES):
        byte = data[position + i]
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number & (1 << 64) - 1, position + i + 1
    raise ValueError("a number is too long")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
