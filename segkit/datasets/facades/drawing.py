"""Draws a street of houses with labels, in the CMP database's own file format: for the sample, for tests and for demos.

A house is a number, and what it has goes by the number: storeys and bays, roof, pillars, ornament, balconies, shutters, shops. No house
has all; any four whose first number is a multiple of four show all twelve classes between them:

    background   background   background
    pillar        cornice        pillar
    pillar   deco  .           . pillar       storey: ornament, window and flower box, or a shuttered
    pillar  window .  blind    . pillar       window, or one with a balcony
    pillar   sill  .  balcony  . pillar
    pillar        molding        pillar
    pillar   door  .   shop    . pillar       ground floor
"""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segkit.datasets.facades import SPEC
from segkit.datasets.facades.house import CORNICE, GROUND, MOLDING, PAVEMENT, PILLAR, STOREY, House
from segkit.datasets.facades.painting import PAINTERS, Box, Brush, Style
from segkit.datasets.facades.street import CLUTTER, camera, paint_neighbour, paint_roof, paint_sky, paint_tree, paint_wires

__all__ = ["Facade", "LabelBox", "draw_facade", "make_sample", "sample_size", "write_facade"]

OVERSAMPLING = 3  # everything is drawn three times as large and reduced, which smooths the edges

RAISED = {"cornice", "sill", "balcony", "deco", "molding", "pillar", "shop"}  # these throw a shadow


@dataclass(frozen=True)
class LabelBox:
    """One object of a facade: class id 1..12 as in the label file, rows ``top:bottom``, columns ``left:right``."""

    id: int
    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Facade:
    """A drawn facade.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        ids: uint8 (H, W), ids as the label file holds them: 1..12, and 0 for unknown.
        boxes: the objects, in the order in which they were drawn; background is none of them.
    """

    image: np.ndarray
    ids: np.ndarray
    boxes: tuple[LabelBox, ...]


class _Site:
    """Draws boxes into picture and label map at once, in units that are stretched to fill the picture."""

    def __init__(self, seed: int, size: tuple[int, int], rows: float, columns: float) -> None:
        self.rng = np.random.default_rng([seed, *size])
        self.brush = Brush(size, OVERSAMPLING, self.rng)
        self.style = Style.draw(self.rng)
        self.ids = np.ones(size, dtype=np.uint8)
        self.boxes: list[LabelBox] = []
        self.wall = (0, 0, 0, 0)
        self.row_unit, self.column_unit = size[0] / rows, size[1] / columns

    def pixels(self, top: float, left: float, bottom: float, right: float) -> Box:
        """A box in units as one of the oversized canvas, cut at the picture's border."""
        y0, y1 = (min(max(0, round(value * self.row_unit)), self.ids.shape[0]) for value in (top, bottom))
        x0, x1 = (min(max(0, round(value * self.column_unit)), self.ids.shape[1]) for value in (left, right))
        return x0 * OVERSAMPLING, y0 * OVERSAMPLING, x1 * OVERSAMPLING, y1 * OVERSAMPLING

    def place(self, what: str, top: float, left: float, bottom: float, right: float) -> None:
        """Paints ``what`` at these units, and labels it so; pavement is background."""
        box = self.pixels(top, left, bottom, right)
        x0, y0, x1, y1 = (value // OVERSAMPLING for value in box)
        if what in RAISED:
            self.brush.shadow(box, self.wall, round(0.12 * self.column_unit * OVERSAMPLING) + 3)
        elif what == "facade":
            self.wall = box
        PAINTERS[what](self.brush, box, self.style)
        if what != "pavement":  # as in the database, where background has no boxes
            number = SPEC.classes.index(what) + 1
            self.ids[y0:y1, x0:x1] = number
            self.boxes.append(LabelBox(number, y0, x0, y1, x1))


def draw_facade(seed: int, size: tuple[int, int] = (256, 256), *, unknown: bool = False, unit: float = 29) -> Facade:
    """Draws one house of the street; the same arguments give the same house.

    Args:
        seed: the house's number: any whole number from 0.
        size: (H, W) in pixels, at least 64 each.
        unknown: a street tree hides a corner of the facade, and its pixels get id 0.
        unit: pixels per unit of the layout (a window is about two units wide), more or less; a small one gives more storeys and bays.

    Returns:
        A facade; each has at least background, facade, window, cornice and molding.

    Raises:
        ValueError: a side under 64 pixels, where thin parts would vanish.
    """
    height, width = size
    if min(size) < 64:
        raise ValueError(f"Expected a facade of at least 64 x 64 pixels, but got {height} x {width}.")
    house = House.draw(seed, height / unit, width / unit)
    site = _Site(seed, (height, width), house.rows, house.columns)
    _shell(site, house)
    for storey in range(house.storeys):
        _storey(site, house, house.eaves + CORNICE + storey * (STOREY + MOLDING))
    _ground_floor(site, house, house.rows - PAVEMENT - GROUND)
    _passers_by(site)
    if unknown:
        _tree(site)
    return Facade(camera(site.brush.picture, size, site.rng), site.ids, tuple(site.boxes))


def _shell(site: _Site, house: House) -> None:
    rows, columns, left, right = house.rows, house.columns, house.left, house.right
    paint_sky(site.brush, site.pixels(0, 0, rows, columns))
    for x0, x1 in ((0, left), (right, columns)):
        paint_neighbour(site.brush, site.pixels(site.rng.uniform(0.2, 2.0), x0, rows, x1))
    site.place("pavement", rows - PAVEMENT, 0, rows, columns)
    site.place("facade", house.eaves - house.roof, left, rows - PAVEMENT, right)
    if house.roof:
        paint_roof(site.brush, site.pixels(house.eaves - house.roof, left, house.eaves, right))
    for storey in range(house.storeys):
        bottom = house.eaves + CORNICE + (storey + 1) * (STOREY + MOLDING)
        site.place("molding", bottom - MOLDING, left, bottom, right)
    if "pillar" in house.has:
        for x in (left, right - PILLAR):
            site.place("pillar", house.eaves + CORNICE, x, rows - PAVEMENT, x + PILLAR)
    site.place("cornice", house.eaves, left - 0.15, house.eaves + CORNICE, right + 0.15)


def _storey(site: _Site, house: House, top: float) -> None:
    """Windows: plain, with ornament and a flower box, shuttered, or with a balcony; what a house has alternates with plain ones."""
    for bay in range(house.bays):
        x0, x1 = house.bay(bay)
        x0, x1, bottom = x0 + 0.45, x1 - 0.45, top + 1.95
        site.place("window", top + 0.5, x0, bottom, x1)
        if "deco" in house.has:
            site.place("deco", top + 0.08, x0 - 0.1, top + 0.5, x1 + 0.1)
        if "blind" in house.has and (bay + house.first) % 2 == 0:
            site.place("blind", top + 0.5, x0, top + 0.5 + house.closed * 1.3, x1)
        if "balcony" in house.has and (bay + house.first) % 2:
            site.place("balcony", top + 1.45, x0 - 0.35, top + STOREY, x1 + 0.35)
        else:
            site.place("sill", bottom, x0 - 0.15, bottom + 0.4, x1 + 0.15)


def _ground_floor(site: _Site, house: House, top: float) -> None:
    """A door, shops beside it, and windows."""
    door = int(site.rng.integers(house.bays))
    for bay in range(house.bays):
        x0, x1 = house.bay(bay)
        if bay == door and "door" in house.has:
            site.place("door", top + 0.6, x0 + 0.55, top + GROUND, x1 - 0.55)
        elif "shop" in house.has and (bay - door) % 2:
            site.place("shop", top + 0.35, x0 + 0.15, top + GROUND, x1 - 0.15)
        else:
            site.place("window", top + 0.45, x0 + 0.5, top + 1.7, x1 - 0.5)


def _passers_by(site: _Site) -> None:
    """Cars, people, a lamp, wires: painted, not labelled."""
    unit = site.row_unit * OVERSAMPLING
    for paint, length in CLUTTER.values():
        if site.rng.random() < 0.5:
            x, foot = site.rng.uniform(0, 0.9) * site.brush.picture.width, site.brush.picture.height - site.rng.uniform(0, 0.15) * unit
            paint(site.brush, x, foot, length * unit)
    if site.rng.random() < 0.2:
        paint_wires(site.brush)


def _tree(site: _Site) -> None:
    height, width = site.ids.shape
    radius = 0.11 * min(height, width)
    x = float(site.rng.choice([0.06, 0.94])) * width
    y = 0.8 * height
    paint_tree(site.brush, (x * OVERSAMPLING, y * OVERSAMPLING), radius * OVERSAMPLING)
    rows, columns = np.ogrid[:height, :width]
    site.ids[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 0
    site.ids[(rows >= y) & (abs(columns - x) <= radius / 8)] = 0


def write_facade(root: str | os.PathLike, name: str, facade: Facade) -> None:
    """Writes ``name.jpg``, ``name.png`` and ``name.xml`` into ``base/`` (``extended/`` for ``cmp_x...``) of a root.

    The label is a palette PNG whose index is the id, with the database's own palette. The ``.xml`` follows the
    database too: no root element, lines end in CR, ``<x>`` holds fractions of the height and ``<y>`` of the width.
    """
    image, label = SPEC.image_path(root, name), SPEC.label_path(root, name)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(facade.image).save(image, quality=88)
    indexed = Image.fromarray(facade.ids, mode="L")
    indexed.putpalette(SPEC.palette.tobytes())
    indexed.save(label, optimize=True)
    text = "".join(_xml(box, facade.ids.shape) for box in facade.boxes)
    image.with_suffix(".xml").write_bytes(text.replace("\n", "\r").encode("ascii"))


def _xml(box: LabelBox, size: tuple[int, int]) -> str:
    height, width = size
    lines = ["<object>", "<points>"]
    for tag, values in (("x", (box.top / height, box.bottom / height)), ("y", (box.left / width, box.right / width))):
        for value in values:
            lines += [f"<{tag}>", f"{value:.5g}", f"</{tag}>"]
    lines += ["</points>", "<label>", str(box.id), "</label>", "<labelname>", SPEC.classes[box.id - 1], "</labelname>"]
    lines += ["<flag>", "1", "</flag>", "</object>"]
    return "\n".join(lines) + "\n"


def sample_size(index: int, seed: int) -> tuple[int, int]:
    """Size (H, W) of the facade ``index`` (from 0) of the sample: 192 to 320 px, from the 29th on at most 224 px."""
    upper = 320 if index < 28 else 224
    lower = 192 if index < 28 else 200
    height, width = np.random.default_rng([seed, index]).integers(lower, upper, 2, endpoint=True)
    return int(height), int(width)


def make_sample(root: str | os.PathLike, count: int = 32, seed: int = 2026) -> tuple[str, ...]:
    """Draws ``cmp_s0001`` ... into ``root/base``; with the defaults, the sample that comes with the kit.

    Its last four (the test list of split ``sample``) are small, so that a network can be tried on them in seconds;
    every eighth facade has a tree before it, whose pixels are unknown.

    Args:
        root: folder to write to; it is made if need be.
        count: how many.
        seed: another seed draws another sample.

    Returns:
        The names.
    """
    names = tuple(f"cmp_s{index + 1:04d}" for index in range(count))
    for index, name in enumerate(names):
        facade = draw_facade(seed * 1000 + index, sample_size(index, seed), unknown=index % 8 == 3)
        write_facade(root, name, facade)
    return names
