"""What stands around a drawn house: sky, neighbours, roof, what passes by, and the light of the day.

None of it has a class of its own. As in the database, neighbours are background, a roof belongs to the facade, and what stands before a
house is labelled as what it hides.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from segkit.datasets.facades.painting import Box, Brush, Colour, darker, lighter, mix

__all__ = ["CLUTTER", "camera", "paint_car", "paint_neighbour", "paint_people", "paint_roof", "paint_sky", "paint_tree", "paint_wires"]

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 158, 222), (196, 222, 242)), ((70, 130, 210), (170, 206, 240)),  # fair
    ((168, 182, 204), (208, 216, 228)), ((120, 146, 206), (244, 206, 176)),  # overcast, evening
)  # fmt: skip
ROOFS: tuple[Colour, ...] = ((168, 82, 56), (148, 66, 50), (112, 84, 76))
CARS: tuple[Colour, ...] = ((178, 34, 40), (36, 74, 132), (226, 226, 224), (240, 190, 40), (60, 64, 68))
COATS: tuple[Colour, ...] = ((60, 70, 120), (140, 40, 50), (50, 50, 54), (196, 160, 90), (70, 110, 80))


def paint_sky(brush: Brush, box: Box) -> None:
    """A fair, an overcast or an evening sky with soft clouds."""
    brush.gradient(box, *brush.pick(SKIES))
    width, height = brush.picture.size
    clouds = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(clouds)
    for _ in range(9):
        x, y = brush.rng.uniform(0, width), brush.rng.uniform(0, height * 0.2)
        w, h = brush.rng.uniform(0.06, 0.2) * width, brush.rng.uniform(0.01, 0.03) * height
        pen.ellipse((x - w, y - h, x + w, y + h), fill=200)
    clouds = clouds.filter(ImageFilter.GaussianBlur(width / 60))
    brush.picture.paste(Image.new("RGB", (width, height), (250, 250, 252)), (0, 0), clouds)


def paint_neighbour(brush: Brush, box: Box) -> None:
    """The edge of the next house, in the haze: a wall and small dark windows."""
    left, top, right, bottom = box
    wall = mix(brush.pick(((150, 160, 176), (160, 158, 170), (140, 152, 160))), (168, 190, 216), 0.3)
    brush.box(box, wall)
    brush.box((left, top, right, top + 4 * brush.scale), darker(wall, 0.35))
    step = 34 * brush.scale
    for y in range(top + step // 2, bottom - step // 2, step):
        for x in range(left + step // 4, right, step):
            brush.box((x, y, min(right, x + step // 3), y + step // 2), darker(wall, 0.4))


def paint_roof(brush: Brush, box: Box) -> None:
    """Tiles in courses, and a chimney."""
    left, top, right, bottom = box
    tile, rise = brush.pick(ROOFS), bottom - top
    chimney = left + int((right - left) * brush.rng.uniform(0.15, 0.75))
    brush.box((chimney, top - rise // 4, chimney + rise // 3, bottom), (130, 78, 62))
    brush.box((left, top, right, bottom), tile)
    for row, y in enumerate(range(top, bottom, 4 * brush.scale)):
        brush.box((left, y, right, y + brush.scale), darker(tile, 0.3))
        for x in range(left + row % 2 * 3 * brush.scale, right, 6 * brush.scale):
            brush.box((x, y, x + 1, y + 4 * brush.scale), darker(tile, 0.2))
    brush.box((left, top, right, top + brush.scale), lighter(tile, 0.3))


def paint_tree(brush: Brush, centre: tuple[float, float], radius: float) -> None:
    """The crown and trunk of a street tree that hides a piece of the facade."""
    x, y = centre
    brush.box((int(x - radius / 8), int(y), int(x + radius / 8), brush.picture.height), (84, 62, 48))
    for _ in range(160):
        turn, reach = brush.rng.uniform(0, 2 * np.pi), radius * 0.86 * np.sqrt(brush.rng.random())
        px, py, leaf = x + reach * np.cos(turn), y + reach * np.sin(turn), radius * brush.rng.uniform(0.08, 0.14)
        light = 0.5 - (py - y) / radius / 2 + brush.rng.uniform(-0.2, 0.2)
        colour = mix((38, 70, 34), (134, 170, 70), float(np.clip(light, 0, 1)))
        brush.draw.ellipse((px - leaf, py - leaf, px + leaf, py + leaf), fill=colour)


def paint_car(brush: Brush, x: float, bottom: float, unit: float) -> None:
    """A parked car, seen from the side; ``unit`` is a third of its height and ``x`` its rear end."""
    colour, draw = brush.pick(CARS), brush.draw
    draw.polygon([(x + a * unit, bottom - b * unit) for a, b in ((1, 1.7), (1.9, 2.7), (4, 2.7), (5, 1.7))], fill=darker(colour, 0.2))
    for left, right in ((1.5, 2.8), (3.0, 4.4)):
        draw.rectangle((x + left * unit, bottom - 2.5 * unit, x + right * unit, bottom - 1.8 * unit), fill=(70, 90, 110))
    draw.rounded_rectangle((x, bottom - 1.8 * unit, x + 6.4 * unit, bottom - 0.4 * unit), radius=unit / 2, fill=colour)
    for wheel in (1.4, 5.0):
        centre = x + wheel * unit
        draw.ellipse((centre - 0.6 * unit, bottom - 1.1 * unit, centre + 0.6 * unit, bottom + 0.1 * unit), fill=(24, 24, 26))
        draw.ellipse((centre - 0.25 * unit, bottom - 0.75 * unit, centre + 0.25 * unit, bottom - 0.25 * unit), fill=(170, 170, 174))


def paint_people(brush: Brush, x: float, bottom: float, unit: float) -> None:
    """Two who walk by; ``unit`` is a quarter of their height."""
    for shift in (0.0, 1.6):
        left, coat = x + shift * unit, brush.pick(COATS)
        for leg in (0.15, 0.6):
            brush.draw.rectangle((left + leg * unit, bottom - 1.4 * unit, left + (leg + 0.25) * unit, bottom), fill=(40, 42, 52))
        brush.draw.rounded_rectangle((left, bottom - 3.1 * unit, left + unit, bottom - 1.2 * unit), radius=unit / 3, fill=coat)
        brush.draw.ellipse((left + 0.2 * unit, bottom - 3.8 * unit, left + 0.8 * unit, bottom - 3.1 * unit), fill=(214, 168, 140))


def paint_lamp(brush: Brush, x: float, bottom: float, unit: float) -> None:
    """A lantern on a post; ``unit`` is a tenth of its height."""
    thick = 0.16 * unit
    brush.draw.rectangle((x - thick, bottom - 9 * unit, x + thick, bottom), fill=(44, 48, 50))
    brush.draw.polygon([(x + a * unit, bottom - b * unit) for a, b in ((-0.4, 9), (0.4, 9), (0.7, 10), (-0.7, 10))], fill=(250, 226, 160))
    brush.draw.polygon([(x + a * unit, bottom - b * unit) for a, b in ((-0.8, 10), (0.8, 10), (0, 10.7))], fill=(44, 48, 50))


def paint_wires(brush: Brush) -> None:
    """Two sagging lines from side to side."""
    width, height = brush.picture.size
    start, sag = brush.rng.uniform(0.04, 0.2) * height, brush.rng.uniform(0.02, 0.06) * height
    xs = np.linspace(0, width, 30)
    for shift in (0.0, 0.03 * height):
        line = [(float(x), float(start + shift + sag * (1 - (2 * x / width - 1) ** 2))) for x in xs]
        brush.draw.line(line, fill=(40, 42, 48), width=max(1, brush.scale // 2))


CLUTTER: dict[str, tuple[Callable[[Brush, float, float, float], None], float]] = {  # painter, and its unit in units of the house
    "car": (paint_car, 0.26),
    "people": (paint_people, 0.24),
    "lamp": (paint_lamp, 0.30),
}


def camera(picture: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The photograph (H, W, 3): straightened almost, in the light of an hour, with a house's shadow on it and a camera's grain.

    Corners are cut by up to 1.2 % of a side each, so that what is labelled by upright boxes is not quite upright.
    """
    width, height = picture.size
    inwards = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * rng.uniform(0, 0.012, (4, 2))
    corners = (np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) + inwards) * (width, height)
    picture = picture.transform((width, height), Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BILINEAR)
    seen = np.asarray(picture.resize(size[::-1], Image.Resampling.LANCZOS), dtype=float)
    rows, columns = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    light = rng.uniform(0.96, 1.1) * (1 + rng.uniform(-0.1, 0.1) * (columns - 0.5))
    if rng.random() < 0.3:
        edge = rng.uniform(0.35, 0.6) + rng.uniform(-0.4, 0.4) * (columns - 0.5) - rows
        light = light * (1 - 0.16 / (1 + np.exp(np.clip(80 * edge, -50, 50))))  # below a slanted line
    cast = rng.uniform(0.96, 1.04, 3)
    return np.clip(seen * light[..., None] * cast + rng.normal(0, 2.0, (*size, 1)), 0, 255).astype(np.uint8)
