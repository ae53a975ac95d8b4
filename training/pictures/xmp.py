"""XMP packets: what programs and platforms read of a picture besides its pixels.

XMP is ISO 16684-1. A packet lies in PNG as text "XML:com.adobe.xmp", in JPEG in a segment APP1, in
WebP, GIF and MP4 in a chunk, an extension and a box of their own (XMP Specification Part 3).
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from dnnlib import UserError
from dnnlib.util import one_line

MAX_BYTES = 60_000  # What one segment of a JPEG takes.
_PNG_KEY = "XML:com.adobe.xmp"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MP4_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# After the packet come bytes that lead readers of blocks, wherever in the packet they are, to the
# end: each says how many bytes are left to the last.
_GIF_TRAILER = b"\1" + bytes(range(255, -1, -1)) + b"\0"


def packet(namespaces: Mapping[str, str], properties: Mapping[str, str]) -> bytes:
    """A packet of properties that are texts.

    Args:
        namespaces: URI by prefix.
        properties: text by `prefix:name`.
    """
    declared = "".join(f"\n    xmlns:{p}={quoteattr(uri)}" for p, uri in namespaces.items())
    lines = "".join(f"   <{name}>{escape(text)}</{name}>\n" for name, text in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about=""{declared}>\n{lines}  </rdf:Description>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>'
    ).encode()


def find(picture: Image.Image) -> bytes | None:
    """The packet of a picture that was opened, or None; of a GIF Pillow does not read it."""
    content = picture.info.get("xmp") or picture.info.get(_PNG_KEY)
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    return content or None


def read_property(content: bytes, namespace: str, name: str) -> str | None:
    """A text in a packet, whether it is an element or an attribute; None if it is not there.

    Raises:
        UserError: it is no packet, an absurdly large one, or one that defines entities.
    """
    if len(content) > MAX_BYTES or b"<!" in content:
        raise UserError("its XMP is too large, or defines what XMP does not have")
    try:
        root = ElementTree.fromstring(content.decode("utf-8").strip("\ufeff\0 \n"))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UserError(f"its XMP is broken: {one_line(error, 200)}") from None
    key = f"{{{namespace}}}{name}"
    for description in root.iter(f"{{{_RDF}}}Description"):
        if (value := description.get(key, description.findtext(key))) is not None:
            return value
    return None


def gif_extension(content: bytes) -> bytes:
    """The extension of a GIF that holds a packet."""
    return b"\x21\xff\x0bXMP DataXMP" + content + _GIF_TRAILER


def png_text(content: bytes) -> bytes:
    """The data of a chunk iTXt: key, not compressed, no language, text."""
    return _PNG_KEY.encode() + b"\0\0\0\0\0" + content


def mp4_box(content: bytes) -> bytes:
    """The box of an MP4 that holds a packet; it may stand after all others."""
    return struct.pack(">I", 24 + len(content)) + b"uuid" + _MP4_BOX + content
