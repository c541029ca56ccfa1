"""How the parts of a drawn facade look: one function per part, each paints one box.

The functions share one signature, ``paint(brush, box, style)``; boxes are (left, top, right, bottom) in the
pixels of the oversized canvas on which everything is drawn, so that edges come out smooth when it is reduced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["PAINTERS", "Box", "Brush", "Colour", "Style", "darker", "lighter", "mix"]

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
T = TypeVar("T")

WALLS: tuple[Colour, ...] = (
    (221, 178, 128), (206, 140, 112), (222, 196, 150), (199, 158, 150), (214, 168, 98), (196, 200, 160), (230, 206, 120), (186, 118, 98),
    (226, 160, 140), (170, 190, 176), (232, 218, 190), (204, 176, 190),
)  # fmt: skip
STONES: tuple[Colour, ...] = ((232, 226, 212), (222, 214, 200), (238, 230, 210))
WOODS: tuple[Colour, ...] = ((104, 62, 36), (92, 48, 40), (120, 76, 40))
SLATS: tuple[Colour, ...] = ((64, 128, 84), (52, 140, 110), (86, 132, 60))
AWNINGS: tuple[Colour, ...] = ((190, 40, 48), (176, 30, 80), (200, 70, 40))
CURTAINS: tuple[Colour, ...] = ((206, 218, 232), (186, 204, 226), (214, 210, 222))
GILT: Colour = (226, 176, 60)
IRON: Colour = (38, 40, 46)
GLASS: tuple[Colour, Colour] = (44, 66, 104), (132, 168, 204)


@dataclass(frozen=True)
class Style:
    """The choices that one building keeps throughout."""

    wall: Colour
    stone: Colour
    wood: Colour
    slat: Colour
    awning: Colour
    brick: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Style":
        def pick(colours: tuple[Colour, ...]) -> Colour:
            return colours[int(rng.integers(len(colours)))]

        return cls(pick(WALLS), pick(STONES), pick(WOODS), pick(SLATS), pick(AWNINGS), bool(rng.random() < 0.4))


class Brush:
    """A picture to draw on, with the length of one final pixel and the random source."""

    def __init__(self, size: tuple[int, int], scale: int, rng: np.random.Generator) -> None:
        self.picture = Image.new("RGB", (size[1] * scale, size[0] * scale))
        self.draw = ImageDraw.Draw(self.picture)
        self.scale = scale
        self.rng = rng

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def box(self, box: Box, colour: Colour) -> None:
        left, top, right, bottom = box
        if right > left and bottom > top:
            self.draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def gradient(self, box: Box, top_colour: Colour, bottom_colour: Colour) -> None:
        left, top, right, bottom = box
        for y in range(top, bottom):
            self.box((left, y, right, y + 1), mix(top_colour, bottom_colour, (y - top) / max(1, bottom - top)))

    def shadow(self, box: Box, wall: Box, depth: int, strength: float = 0.45) -> None:
        """Darkens the wall right of and below a box that stands out of it; the light is at the upper left."""
        left, top, right, bottom = box
        region = (max(left, wall[0]), top, min(right + depth, wall[2]), min(bottom + depth, wall[3]))
        patch = self.picture.crop(region)
        mask = Image.new("L", patch.size, 0)
        ImageDraw.Draw(mask).rectangle((depth // 2, depth // 2, *patch.size), fill=int(255 * strength))
        mask = mask.filter(ImageFilter.GaussianBlur(depth / 3))
        self.picture.paste(Image.composite(Image.new("RGB", patch.size, (30, 24, 30)), patch, mask), region)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` at share 0, ``b`` at share 1."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def lighter(colour: Colour, share: float) -> Colour:
    return mix(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float) -> Colour:
    return mix(colour, (0, 0, 0), share)


def inset(box: Box, dx: int, dy: int) -> Box:
    return box[0] + dx, box[1] + dy, box[2] - dx, box[3] - dy


def paint_pavement(brush: Brush, box: Box, style: Style) -> None:
    brush.gradient(box, (150, 152, 158), (110, 112, 120))
    left, top, right, bottom = box
    step = max(4, (bottom - top) * 2)
    for x in range(left + step // 2, right, step):
        brush.draw.line((x, top, x - (bottom - top) // 2, bottom), fill=(92, 94, 100), width=brush.scale // 2 or 1)
    brush.box((left, top, right, top + brush.scale), (196, 196, 198))


def paint_facade(brush: Brush, box: Box, style: Style) -> None:
    """The wall: brick courses, or plaster with faint clouds in it."""
    left, top, right, bottom = box
    brush.box(box, style.wall)
    if style.brick:
        height, mortar = 4 * brush.scale, lighter(style.wall, 0.35)
        for row, y in enumerate(range(top, bottom, height)):
            brush.box((left, y, right, y + 2), mortar)
            for x in range(left - (row % 2) * height, right, 2 * height):
                stone = mix(style.wall, (150, 70, 50), float(brush.rng.uniform(0.1, 0.45)))
                brush.box((max(left, x + 2), y + 2, min(right, x + 2 * height), min(bottom, y + height)), stone)
        return
    shape = (max(2, (bottom - top) // (12 * brush.scale)), max(2, (right - left) // (12 * brush.scale)))
    noise = Image.fromarray(brush.rng.integers(0, 60, shape, dtype=np.uint8))
    noise = noise.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    brush.picture.paste(Image.new("RGB", noise.size, lighter(style.wall, 0.5)), (left, top), noise)


def paint_window(brush: Brush, box: Box, style: Style) -> None:
    """White frame, mullion and transom, glass with the sky in it, and behind some of it curtains."""
    frame = max(2, (box[2] - box[0]) // 14)
    brush.box(box, (246, 244, 238))
    glass = inset(box, frame, frame)
    brush.gradient(glass, *GLASS)
    left, top, right, bottom = glass
    shift = (right - left) // 3
    for x in (left + shift, left + 2 * shift):
        brush.draw.line((x, top, x - shift, bottom), fill=(168, 196, 222), width=max(1, brush.scale))
    if brush.rng.random() < 0.5:
        cloth = brush.pick(CURTAINS)
        brush.draw.polygon([(left, top), (left + shift, top), (left + shift // 3, bottom), (left, bottom)], fill=cloth)
        brush.draw.polygon([(right, top), (right - shift, top), (right - shift // 3, bottom), (right, bottom)], fill=cloth)
    middle, bar = (left + right) // 2, max(1, frame // 2)
    brush.box((middle - bar, top, middle + bar, bottom), (246, 244, 238))
    transom = top + (bottom - top) // 3
    brush.box((left, transom - bar, right, transom + bar), (246, 244, 238))
    brush.gradient((left, top, right, min(bottom, top + 2 * brush.scale)), (20, 26, 40), (70, 90, 120))


def paint_blind(brush: Brush, box: Box, style: Style) -> None:
    """Slatted shutter."""
    left, top, right, bottom = box
    brush.box(box, darker(style.slat, 0.35))
    step = 3 * brush.scale
    for y in range(top, bottom, step):
        brush.gradient((left, y, right, min(bottom, y + step - 2)), lighter(style.slat, 0.35), style.slat)
    middle, edge = (left + right) // 2, 2 * brush.scale
    for x in (left, middle - edge // 2, right - edge):
        brush.box((x, top, x + edge, bottom), lighter(style.slat, 0.1))
    brush.box((middle, top, middle + 1, bottom), darker(style.slat, 0.6))


def paint_sill(brush: Brush, box: Box, style: Style) -> None:
    """A ledge with a planted box on it, as on many a street: flowers over terracotta."""
    left, top, right, bottom = box
    middle = top + (bottom - top) // 2
    brush.gradient((left, middle, right, bottom), (196, 92, 54), (150, 62, 40))
    brush.box((left, middle, right, middle + brush.scale), (220, 128, 84))
    brush.box((left, top, right, middle), (52, 92, 44))
    radius = max(2, (bottom - top) // 7)
    for _ in range(max(6, (right - left) // radius * 2)):
        x = float(brush.rng.uniform(left + radius, right - radius))
        y = float(brush.rng.uniform(top + radius, max(top + radius + 1, middle)))
        colour = ((236, 74, 120), (250, 240, 246), (72, 124, 56))[int(brush.rng.integers(3))]
        brush.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def paint_balcony(brush: Brush, box: Box, style: Style) -> None:
    """Wrought iron before a shaded recess, on a stone slab."""
    left, top, right, bottom = box
    slab = max(2, (bottom - top) // 5)
    brush.gradient(box, (120, 108, 104), (84, 76, 78))
    step = 5 * brush.scale
    for x in range(left + step // 2, right, step):
        brush.box((x, top, x + max(2, brush.scale + 1), bottom - slab), IRON)
    ring = step // 2
    for x in range(left + step, right - ring, step * 2):
        y = (top + bottom - slab) // 2
        brush.draw.ellipse((x - ring, y - ring, x + ring, y + ring), outline=IRON, width=max(1, brush.scale // 2 + 1))
    brush.box((left, top, right, top + 2 * brush.scale), IRON)
    brush.box((left, bottom - slab - brush.scale, right, bottom - slab), IRON)
    brush.gradient((left, bottom - slab, right, bottom), style.stone, darker(style.stone, 0.3))


def paint_deco(brush: Brush, box: Box, style: Style) -> None:
    """A relief panel: gilt rosettes and leaves on a dark field."""
    left, top, right, bottom = box
    brush.box(box, darker(GILT, 0.3))
    brush.box(inset(box, brush.scale, brush.scale), (122, 44, 52))
    radius = max(3, (bottom - top) // 2 - 2 * brush.scale)
    count = max(1, (right - left) // (2 * radius + 2 * brush.scale))
    for i in range(count):
        x, y = left + (right - left) * (2 * i + 1) // (2 * count), (top + bottom) // 2
        for turn in np.linspace(0, 2 * np.pi, 8, endpoint=False):
            px, py = x + 0.62 * radius * np.cos(turn), y + 0.62 * radius * np.sin(turn)
            leaf = 0.34 * radius
            brush.draw.ellipse((px - leaf, py - leaf, px + leaf, py + leaf), fill=GILT)
        core = 0.36 * radius
        brush.draw.ellipse((x - core, y - core, x + core, y + core), fill=lighter(GILT, 0.45))


def paint_cornice(brush: Brush, box: Box, style: Style) -> None:
    """Projecting stone in three steps, with a row of dentils."""
    left, top, right, bottom = box
    height = bottom - top
    stone = mix(style.stone, (180, 190, 200), 0.4)
    brush.gradient((left, top, right, top + height // 3), lighter(stone, 0.5), stone)
    brush.box((left, top + height // 3, right, bottom), darker(stone, 0.45))
    step = max(4, 6 * brush.scale)
    for x in range(left, right, step):
        brush.box((x, top + height // 3, min(right, x + step * 3 // 5), top + height * 3 // 4), lighter(stone, 0.25))
    brush.gradient((left, top + height * 3 // 4, right, bottom), stone, darker(stone, 0.25))


def paint_molding(brush: Brush, box: Box, style: Style) -> None:
    """A band of dressed stone between two ledges: two courses of blocks, each lit at the upper left, dark in the joints."""
    left, top, right, bottom = box
    stone, edge = mix(style.stone, (132, 122, 112), 0.5), max(brush.scale, (bottom - top) // 8)
    brush.box(box, darker(stone, 0.5))
    height = max(2, (bottom - top - 2 * edge) // 2)
    for row in range(2):
        y, length = top + edge + row * height, 3 * height
        for x in range(left - row * length // 2, right, length):
            block = (max(left, x + 1), y + 1, min(right, x + length - brush.scale), y + height - brush.scale + 1)
            if block[2] - block[0] > 2 * brush.scale:
                brush.box(block, lighter(stone, 0.35))
                face = (block[0] + brush.scale, block[1] + brush.scale, block[2], block[3])
                brush.box(face, darker(stone, float(brush.rng.uniform(0, 0.16))))
    brush.gradient((left, top, right, top + edge), lighter(stone, 0.7), lighter(stone, 0.3))
    brush.gradient((left, bottom - edge, right, bottom), lighter(stone, 0.2), darker(stone, 0.3))


def paint_pillar(brush: Brush, box: Box, style: Style) -> None:
    """A fluted pilaster with capital and base."""
    left, top, right, bottom = box
    stone = mix(style.stone, (250, 244, 225), 0.6)
    brush.box(box, stone)
    flutes = 4
    for i in range(flutes):
        x0 = left + (right - left) * (4 * i + 1) // (4 * flutes)
        x1 = left + (right - left) * (4 * i + 3) // (4 * flutes)
        brush.box((x0, top, x1, bottom), darker(stone, 0.34))
        brush.box((x1 - brush.scale // 2, top, x1, bottom), lighter(stone, 0.6))
    cap = max(3, (right - left) // 2)
    for y0, y1 in ((top, top + cap), (bottom - cap, bottom)):
        brush.gradient((left, y0, right, y1), lighter(stone, 0.4), darker(stone, 0.12))
        brush.box((left, (y0 + y1) // 2, right, (y0 + y1) // 2 + brush.scale), darker(stone, 0.4))


def paint_door(brush: Brush, box: Box, style: Style) -> None:
    """Two panelled leaves of dark wood under a fanlight."""
    left, top, right, bottom = box
    frame = max(2, (right - left) // 12)
    brush.box(box, darker(style.wood, 0.45))
    light = top + (bottom - top) // 5
    brush.gradient((left + frame, top + frame, right - frame, light), (214, 178, 104), (170, 120, 60))
    middle = (left + right) // 2
    for x0, x1 in ((left + frame, middle - 1), (middle + 1, right - frame)):
        brush.gradient((x0, light + frame // 2, x1, bottom), lighter(style.wood, 0.16), style.wood)
        pad, height = max(2, (x1 - x0) // 6), bottom - light
        for y0, y1 in ((0.1, 0.42), (0.5, 0.92)):
            panel = (x0 + pad, light + int(height * y0), x1 - pad, light + int(height * y1))
            brush.box(panel, darker(style.wood, 0.4))
            brush.box((panel[0] + brush.scale, panel[1] + brush.scale, panel[2], panel[3]), lighter(style.wood, 0.05))
    knob, y = max(1, brush.scale), light + (bottom - light) // 2
    brush.draw.ellipse((middle + knob, y - knob, middle + 4 * knob, y + 2 * knob), fill=(240, 206, 110))


def paint_shop(brush: Brush, box: Box, style: Style) -> None:
    """A lit display under a striped awning with a scalloped edge."""
    left, top, right, bottom = box
    brush.box(box, (34, 52, 46))
    awning = top + (bottom - top) * 2 // 5
    frame = max(2, (right - left) // 24)
    brush.gradient((left + frame, top, right - frame, bottom - 3 * frame), (255, 226, 150), (238, 180, 92))
    for x in np.linspace(left + 4 * frame, right - 8 * frame, 5):
        height = float(brush.rng.uniform(0.12, 0.3)) * (bottom - top)
        colour = ((120, 60, 90), (70, 96, 130), (150, 70, 40), (90, 110, 60))[int(brush.rng.integers(4))]
        brush.draw.rounded_rectangle((x, bottom - 3 * frame - height, x + 4 * frame, bottom - 3 * frame), radius=frame, fill=colour)
    middle = (left + right) // 2
    brush.box((middle - frame // 2, awning, middle + frame // 2, bottom), (34, 52, 46))
    count = max(4, (right - left) // (7 * brush.scale) // 2 * 2 + 1)
    for i in range(count):
        x0, x1 = left + (right - left) * i // count, left + (right - left) * (i + 1) // count
        colour = style.awning if i % 2 == 0 else (250, 244, 236)
        drop = (x1 - x0) // 2
        brush.gradient((x0, top, x1, awning - drop), darker(colour, 0.2), colour)
        brush.draw.pieslice((x0, awning - 2 * drop, x1 - 1, awning), 0, 180, fill=colour)


PAINTERS: dict[str, Callable[[Brush, Box, Style], None]] = {
    "pavement": paint_pavement,
    "facade": paint_facade,
    "window": paint_window,
    "door": paint_door,
    "cornice": paint_cornice,
    "sill": paint_sill,
    "balcony": paint_balcony,
    "blind": paint_blind,
    "deco": paint_deco,
    "molding": paint_molding,
    "pillar": paint_pillar,
    "shop": paint_shop,
}
