"""ICC profiles made by hand (ICC.1:2001-04), for tests and for the benchmark of builds."""

import struct

WHITE = (0.9642, 1.0, 0.8249)  # D50
# Red, green, blue adapted to D50, and the exponent.
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
PRO_PHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))


def rgb(colorants, gamma):
    """A matrix profile; `gamma` is a number, or a list of numbers from 0 to 1 as a curve."""
    tags = [(f"{c}XYZ".encode(), _xyz(v)) for c, v in zip("rgb", colorants, strict=True)]
    return _profile(
        b"RGB ", b"XYZ ", [*tags, *((f"{c}TRC".encode(), _curve(gamma)) for c in "rgb")]
    )


def grey(gamma):
    return _profile(b"GRAY", b"XYZ ", [(b"kTRC", _curve(gamma))])


def cmyk(padding=0):
    """Ink that is less pure than the formula has it; `padding` makes it as large as real ones."""
    clut = b""
    for i in range(16):
        c, m, y, k = (i >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = max(8, 95 - 35 * c - 45 * m - 8 * y) * (0.15 if k else 1)
        a, b = (-30 * c + 65 * m) * (1 - k), (-40 * c - 5 * m + 80 * y) * (1 - k)
        clut += bytes(round(v) for v in (lightness * 2.55, a + 128, b + 128))
    identity = b"".join(_fixed(float(i == j)) for i in range(3) for j in range(3))
    curve = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + curve * 4 + clut + curve * 3
    return _profile(b"CMYK", b"Lab ", [(b"A2B0", table), (b"padd", b"data" + bytes(4 + padding))])


def srgb_curve():
    linear = [i / 1023 for i in range(1024)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in linear]


def _profile(space, connection, tags):
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", description), (b"wtpt", _xyz(WHITE)), *tags, (b"cprt", b"text\0\0\0\0none\0")]
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(map(_fixed, WHITE))
    return head + bytes(128 - len(head)) + table + body


def _curve(gamma):
    if isinstance(gamma, list):
        values = [round(value * 65535) for value in gamma]
    else:
        values = [round(gamma * 256)]
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def _xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _fixed(value):
    return struct.pack(">i", round(value * 65536))
