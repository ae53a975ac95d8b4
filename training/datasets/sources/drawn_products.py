"""Product pictures that are drawn, not photographed: the demo's own dataset.

A picture is a pure function of (seed, index). A recipe draws a design's numbers and returns its
parts in unit coordinates (x to the right, y down, the frame is [0, 1] x [0, 1]); the renderer draws
them on a larger canvas, reduces that and shades it. So a design is the same at every resolution.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dnnlib import UserError
from training.random_streams import generator

Color = tuple[int, int, int]
Points = list[tuple[float, float]]
Patches = list[tuple[Points, float]]

# (main color, second color for texture and trim). No main color is near white, so that every
# silhouette stands out from the background.
PALETTE: tuple[tuple[Color, Color], ...] = (
    ((205, 40, 48), (250, 214, 190)), ((238, 122, 36), (255, 222, 160)),  # red, orange
    ((222, 176, 40), (104, 78, 40)), ((48, 140, 72), (206, 226, 140)),  # mustard, green
    ((24, 146, 150), (160, 226, 212)), ((84, 164, 226), (24, 70, 142)),  # teal, sky
    ((34, 52, 112), (160, 190, 232)), ((128, 68, 168), (216, 184, 236)),  # navy, purple
    ((238, 118, 164), (160, 32, 92)), ((140, 88, 52), (232, 200, 156)),  # pink, brown
    ((66, 68, 76), (178, 182, 192)),  # charcoal
)  # fmt: skip
RESOLUTIONS = tuple(2**k for k in range(2, 11))
OUTLINE_WIDTH = 0.020  # of the frame: two thirds of a pixel at 32x32
CURVE_STEPS = 8  # a chord stays within a third of a pixel of its curve at 256x256


def draw_product(
    seed: int, index: int, resolution: int, with_opacity: bool = False
) -> tuple[np.ndarray, int]:
    """Draws picture `index` of the demo dataset `seed`: one product on a white background.

    Of every six indexes that start at a multiple of six, each class has one.

    Args:
        seed: The dataset, 0 to 2**64 - 1.
        index: The picture, 0 to 2**64 - 1.
        resolution: Height and width in pixels, a power of two from 4 to 1024.
        with_opacity: Whether opacity is a fourth channel, see `photos.arrays`. The colors on white
            are the same; shadows are of translucent black.

    Returns:
        The picture, uint8 [3 or 4, resolution, resolution] in [0, 255], channels R, G, B, and the
        number of its class, an index into DEMO_CLASSES.

    Raises:
        UserError: `seed`, `index` or `resolution` is not an integer in its range.
    """
    for name, value in (("seed", seed), ("index", index)):
        if not isinstance(value, (int, np.integer)) or not 0 <= value < 2**64:
            raise UserError(f"{name} is {value!r}: expected an integer from 0 to 2**64 - 1")
    if not isinstance(resolution, (int, np.integer)) or resolution not in RESOLUTIONS:
        raise UserError(f"resolution is {resolution!r}: expected one of {RESOLUTIONS}")

    label = class_of(seed, index)
    product = _PRODUCTS[DEMO_CLASSES[label]]
    rng = generator("drawn_products", "picture", np.array([seed, index], np.uint64))
    parts = product.recipe(rng)
    main, second = _pick(rng, PALETTE)
    patches = _pick(rng, _TEXTURES)(rng.uniform(0.13, 0.17), product.split)
    # The pose: every point and the texture go through the same shift and scale.
    scale, dx, dy = rng.uniform((0.91, -0.02, -0.02), (1.0, 0.02, 0.02)).tolist()
    size = max(256, min(4 * int(resolution), 2048))
    view = _View(size, scale, 0.5 + dx - 0.5 * scale, 0.5 + dy - 0.5 * scale)

    canvas = Image.new("RGB", (size, size), main)
    pen = ImageDraw.Draw(canvas)
    for patch, strength in patches:
        pen.polygon(view(patch), fill=_mix(main, second, strength))
    covered = _draw_parts(pen, parts, _inks(main, second), view)
    pixels = _finish(canvas, covered, product.standing, int(resolution))
    return pixels if with_opacity else pixels[:3], label


def class_of(seed: int, index: int) -> int:
    """Number of the class of picture `index`, an index into DEMO_CLASSES."""
    group, place = divmod(int(index), len(DEMO_CLASSES))
    rng = generator("drawn_products", "class", np.array([seed, group], np.uint64))
    return int(np.argsort(rng.random(len(DEMO_CLASSES)))[place])


def _pick(rng: np.random.Generator, choices: tuple):
    return choices[int(rng.random() * len(choices))]


# ---- Paths ---------------------------------------------------------------------------------------
def _path(*steps: tuple[float, ...]) -> Points:
    """A polyline: (x, y) is a corner, (cx, cy, x, y) a quadratic Bezier curve to (x, y)."""
    points: Points = []
    for step in steps:
        if len(step) == 2:
            points.append(step)
            continue
        (x0, y0), (cx, cy, x1, y1) = points[-1], step
        for t in (i / CURVE_STEPS for i in range(1, CURVE_STEPS + 1)):
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
            points.append((a * x0 + b * cx + c * x1, a * y0 + b * cy + c * y1))
    return points


def _mirrored(*steps: tuple[float, ...]) -> Points:
    """A path whose x counts from the middle of the frame, followed by its mirror image."""
    half = _path(*steps)
    return [(0.5 + x, y) for x, y in half] + [(0.5 - x, y) for x, y in reversed(half)]


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 4 * CURVE_STEPS, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1).tolist()


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


# ---- Recipes: a product's parts from back to front; every shoe has its toe on the left -----------
class _Part(NamedTuple):
    """A filled polygon, or with `width` an open line; `ink` names an entry of _inks.

    The ink "fabric" shows the texture; such a part comes first, the others paint over it.
    """

    points: Points
    ink: str
    width: float = 0.0


# fmt: off
def _t_shirt(rng: np.random.Generator) -> list[_Part]:
    neck, depth = rng.uniform(0.085, 0.12), rng.uniform(0.05, 0.11)
    hem, end = rng.uniform(0.20, 0.245), rng.uniform(0.87, 0.92)
    sleeve = rng.uniform(0.0, 0.25) if rng.random() < 0.75 else rng.uniform(0.85, 1.0)
    low, cuff = 0.11 + depth, 0.35 + 0.43 * sleeve
    body = _mirrored(
        (0.0, low), (neck, low, neck, 0.11), (0.19, 0.12, 0.25, 0.155),
        (0.37, 0.22, 0.44, cuff), (0.32 + 0.025 * sleeve, cuff + 0.09 - 0.08 * sleeve),
        (0.215, 0.36), (0.20, 0.62, hem, end), (0.12, end + 0.015, 0.0, end + 0.015))
    collar = _path((0.5 - neck, 0.11), (0.5 - neck, low, 0.5, low),
                   (0.5 + neck, low, 0.5 + neck, 0.11))
    return [_Part(body, "fabric"), _Part(collar, "dark", 0.03)]


def _dress(rng: np.random.Generator) -> list[_Part]:
    neck, strap = rng.uniform(0.06, 0.09), rng.uniform(0.045, 0.075)
    low, waist = rng.uniform(0.13, 0.21), rng.uniform(0.10, 0.13)
    hem, end, bell = rng.uniform(0.28, 0.40), rng.uniform(0.89, 0.93), rng.uniform(-0.05, 0.06)
    body = _mirrored(
        (0.0, low), (neck, low, neck, 0.06), (neck + strap, 0.06),
        (neck + strap, 0.20, 0.175, 0.25), (0.165, 0.35, waist, 0.44),
        (0.5 * (waist + hem) + bell, 0.64, hem, end), (0.5 * hem, end + 0.03, 0.0, end + 0.03))
    lines = [[(0.5 + k * waist, 0.44), (0.5 + k * hem, end)] for k in (-0.4, 0.4)]
    folds = [_Part(line, "seam", 0.014) for line in lines]
    waist += 0.005
    belt = _mirrored((0, 0.415), (waist, 0.415), (waist, 0.47), (0, 0.47))
    trim = [_Part(belt, _pick(rng, ("dark", "second")))] if rng.random() < 0.6 else []
    return [_Part(body, "fabric"), *folds, *trim]


def _trousers(rng: np.random.Generator) -> list[_Part]:
    flare, waist = rng.uniform(0.0, 1.0), rng.uniform(0.19, 0.215)
    end, crotch = rng.uniform(0.91, 0.95), rng.uniform(0.37, 0.42)
    body = _mirrored(
        (0.0, 0.06), (waist, 0.06), (0.265, 0.20, 0.265, 0.34),
        (0.25 - 0.02 * flare, 0.65, 0.22 + 0.125 * flare, end), (0.085 - 0.01 * flare, end),
        (0.05, 0.60, 0.012, crotch))
    band = _mirrored((0, 0.06), (waist, 0.06), (waist + 0.018, 0.12), (0, 0.12))
    pockets = [_Part(_path((0.5 + s * 0.12, 0.12), (0.5 + s * 0.14, 0.215, 0.5 + s * 0.24, 0.225)),
                     "seam", 0.014) for s in (-1, 1)]
    fly = _Part([(0.5, 0.12), (0.5, crotch)], "seam", 0.016)
    return [_Part(body, "fabric"), *pockets, fly, _Part(band, "dark")]


def _sneaker(rng: np.random.Generator) -> list[_Part]:
    top, toe, sole = rng.uniform(0.19, 0.33), rng.uniform(0.50, 0.54), rng.uniform(0.69, 0.72)
    upper = _path(
        (0.92, sole), (0.95, 0.5, 0.91, top), (0.76, top + 0.09, 0.58, top + 0.01),
        (0.53, toe - 0.08, 0.36, toe), (0.07, toe + 0.01, 0.06, sole))
    lining = _path(
        (0.91, top), (0.76, top + 0.09, 0.58, top + 0.01), (0.75, top - 0.045, 0.91, top))
    tread = _path(
        (0.065, sole - 0.01), (0.94, sole - 0.01), (0.965, 0.78, 0.93, 0.80), (0.09, 0.80),
        (0.02, 0.79, 0.065, sole - 0.01))
    eyelets = [(0.38 + 0.17 * t, toe - 0.01 + (top + 0.01 - toe) * t) for t in (0.2, 0.5, 0.8)]
    laces = [_Part([(x, y), (x + 0.11, y + 0.09)], "pale", 0.032) for x, y in eyelets]
    tread_ink = _pick(rng, ("pale", "pale", "dark"))
    return [_Part(upper, "fabric"), _Part(lining, "dark"), *laces, _Part(tread, tread_ink)]


def _pump(rng: np.random.Generator) -> list[_Part]:
    back, shaft, vamp = rng.uniform(0.26, 0.31), rng.uniform(0.07, 0.11), rng.uniform(0.34, 0.41)
    arch = 0.78 - shaft
    body = _path(
        (0.06, 0.82), (0.03, 0.72, 0.15, 0.66), (0.24, 0.60, vamp, 0.57),
        (vamp + 0.21, 0.68, 0.87, back), (0.97, 0.40, 0.925, 0.56), (0.905, 0.68, 0.915, 0.82),
        (0.915 - shaft, 0.82), (0.88 - shaft, 0.70, arch, 0.67), (0.62, 0.70, 0.46, 0.82))
    lining = _path((vamp, 0.57), (vamp + 0.21, 0.68, 0.87, back), (vamp + 0.25, 0.55, vamp, 0.57))
    sole = _path((0.06, 0.82), (0.46, 0.82), (0.62, 0.70, arch, 0.67))
    return [_Part(body, "fabric"), _Part(lining, "dark"), _Part(sole, "dark", 0.03)]


def _bag(rng: np.random.Generator) -> list[_Part]:
    top, fold, band = rng.uniform(0.36, 0.42), rng.uniform(0.19, 0.25), rng.uniform(0.045, 0.06)
    upper, lower = rng.uniform(0.29, 0.37), rng.uniform(0.36, 0.42)
    reach, peak = rng.uniform(0.15, 0.22), rng.uniform(0.07, 0.14)
    fold += top
    body = _mirrored(
        (0, top), (upper, top), (lower, 0.81), (lower + 0.005, 0.89, lower - 0.07, 0.89), (0, 0.89))
    handle = _mirrored(
        (0, peak), (reach, peak, reach, top + 0.02), (reach - band, top + 0.02),
        (reach - band, peak + band, 0, peak + band))
    flap = _mirrored(
        (0, top), (upper, top), (upper + 0.01, fold - 0.06), (upper - 0.02, fold, 0, fold))
    clasp = _Part(_ellipse(0.5, fold - 0.01, 0.038, 0.038), "gold")
    trim = [_Part(flap, _pick(rng, ("shade", "second"))), clasp] if rng.random() < 0.45 else []
    return [_Part(body, "fabric"), _Part(handle, "dark"), *trim]


def _mug(rng: np.random.Generator) -> list[_Part]:
    """The handle is always on the right: a small network would blend two sides into two handles."""
    top, right, taper = rng.uniform(0.17, 0.27), rng.uniform(0.66, 0.70), rng.uniform(0.0, 0.05)
    ear, low, band = rng.uniform(0.94, 0.97), rng.uniform(0.66, 0.74), rng.uniform(0.065, 0.08)
    high = top + rng.uniform(0.10, 0.14)
    turn = high + rng.uniform(0.35, 0.65) * (low - high)
    base, foot, root, hole = 0.06 + taper, right - taper, right - taper / 2, ear - band
    body = _path(
        (0.06, top), (base, 0.79), (base, 0.86, base + 0.09, 0.86), (foot - 0.09, 0.86),
        (foot, 0.86, foot, 0.79), (right, top))
    handle = _path(
        (root, high), (ear, high - 0.02, ear, turn), (ear, low + 0.02, root, low),
        (root, low - band), (hole, low - band, hole, turn),
        (hole, high + band - 0.02, root, high + band))
    middle, half = right / 2 + 0.03, right / 2 - 0.03
    rim = _Part(_ellipse(middle, top, half, 0.055), "main")
    inside = _Part(_ellipse(middle, top + 0.006, half - 0.035, 0.037), "dark")
    handle_ink = _pick(rng, ("main", "main", "second"))
    return [_Part(body, "fabric"), _Part(handle, handle_ink), rim, inside]
# fmt: on


class _Product(NamedTuple):
    recipe: Callable[[np.random.Generator], list[_Part]]
    split: float  # the height at which a two-tone product changes its color
    standing: bool  # on a floor, with a soft shadow below


_PRODUCTS = {
    "t-shirt": _Product(_t_shirt, 0.50, False),
    "dress": _Product(_dress, 0.44, False),
    "trousers": _Product(_trousers, 0.62, False),
    "shoe": _Product(lambda rng: _pick(rng, (_sneaker, _sneaker, _pump))(rng), 0.57, True),
    "bag": _Product(_bag, 0.62, True),
    "mug": _Product(_mug, 0.58, True),
}
DEMO_CLASSES: tuple[str, ...] = tuple(_PRODUCTS)


# ---- Textures: (polygon, strength of the second color) pairs over the whole frame ---------------
def _marks(pitch: float) -> list[float]:
    # From the middle outwards, so that a texture sits symmetrically on the product.
    return [0.5 + k * pitch for k in range(-4, 5)]


def _check(pitch: float, split: float) -> Patches:
    # Gingham: bands of a middle tone, and the second color where two bands cross.
    bands = [(y - 0.25 * pitch, y + 0.25 * pitch) for y in _marks(pitch)]
    across = [(_box(-1, a, 2, b), 0.4) for a, b in bands]
    down = [(_box(a, -1, b, 2), 0.4) for a, b in bands]
    return across + down + [(_box(a, c, b, d), 0.9) for a, b in bands for c, d in bands]


def _dots(pitch: float, split: float) -> Patches:
    rows, r = enumerate(_marks(0.75 * pitch)), 0.29 * pitch
    shifted = [(x + 0.6 * pitch * (k % 2), y) for k, y in rows for x in _marks(1.2 * pitch)]
    return [(_ellipse(x, y, r, r), 0.9) for x, y in shifted]


# Half of the pictures are plain: at 32x32 the shape and the color matter most.
_TEXTURES = (
    *[lambda p, split: []] * 5,
    lambda p, split: [(_box(-1, y, 2, y + 0.45 * p), 0.9) for y in _marks(p)],
    lambda p, split: [(_box(x - 0.22 * p, -1, x + 0.22 * p, 2), 0.9) for x in _marks(p)],
    _check,
    _dots,
    lambda p, split: [(_box(-1, split, 2, 2), 1.0)],  # two-tone
)


# ---- Rendering -----------------------------------------------------------------------------------
class _View(NamedTuple):
    """The canvas and the pose: canvas pixel = size * (scale * unit coordinate + (x, y))."""

    size: int
    scale: float
    x: float
    y: float

    def __call__(self, points: Points) -> Points:
        a, dx, dy = self.size * self.scale, self.size * self.x, self.size * self.y
        return [(a * x + dx, a * y + dy) for x, y in points]


def _mix(a: Color, b: Color, t: float) -> Color:
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))


def _inks(main: Color, second: Color) -> dict[str, Color]:
    darker = {"shade": 0.22, "seam": 0.34, "outline": 0.42, "dark": 0.48}
    inks = {name: _mix(main, (12, 12, 24), t) for name, t in darker.items()}
    return inks | {"main": main, "second": second, "pale": (226, 226, 230), "gold": (226, 186, 92)}


def _draw_parts(pen: ImageDraw.ImageDraw, parts: list[_Part], inks: dict, view: _View):
    """Paints the parts in their colors; returns the picture (mode L) of what they cover."""
    cover = ImageDraw.Draw(covered := Image.new("L", (view.size, view.size)))
    unit = view.size * view.scale  # pixels, over 230: no line below is thinner than three
    for part in parts:
        points = view(part.points)
        if part.width:
            pen.line(points, fill=inks[part.ink], width=round(unit * part.width), joint="curve")
            continue
        if part.ink != "fabric":
            pen.polygon(points, fill=inks[part.ink])
        cover.polygon(points, fill=255)
        edge = points + points[:2]  # the second point again: a joint where the line closes
        for to, ink in ((pen, inks["outline"]), (cover, 255)):
            to.line(edge, fill=ink, width=round(unit * OUTLINE_WIDTH), joint="curve")
    return covered


def _finish(canvas: Image.Image, covered: Image.Image, standing: bool, res: int) -> np.ndarray:
    """Reduces the canvas, shades the product and puts it on white; uint8 [4, res, res]."""
    left, _, right, ground = (v / canvas.width for v in covered.getbbox())
    # On black: color times coverage, which reduces exactly.
    product = Image.composite(canvas, Image.new("RGB", canvas.size), covered)
    product, covered = (p.reduce(canvas.width // res) for p in (product, covered))
    # Coverage blurred over a tenth of the frame is low near the edge: it rounds the product off.
    soft = covered.filter(ImageFilter.GaussianBlur(0.05 * res))
    roundness, alpha = (np.asarray(p, dtype=np.float32) / 255 for p in (soft, covered))
    x = (np.arange(res, dtype=np.float32) + 0.5) / res
    y = x[:, None]
    light = 0.80 + 0.27 * roundness - 0.14 * (x - 0.4) - 0.08 * (y - 0.4)  # [res, res]
    # The shadow is an ellipse on the floor, fading outwards.
    from_middle = (2 * x - left - right) / (right - left)
    distance = from_middle**4 + ((y - ground) / 0.035) ** 2
    white = 255 - 60 * standing * np.exp(-2 * distance)
    inside = np.asarray(product, dtype=np.float32).transpose(2, 0, 1)  # [3, res, res]
    background = white * (1 - alpha)
    pixels = np.concatenate([inside * light + background, 255 - background[np.newaxis]])
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
