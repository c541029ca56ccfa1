"""Draws facades with labels, in the CMP database's own file format: for the sample, for tests and for demos.

A facade has at least two bays and one storey above the ground floor, and shows all twelve classes:

    background   background   background
    pillar        cornice        pillar
    pillar   deco  .           . pillar       storey: ornament, window and flower box, or a shuttered
    pillar  window .  blind    . pillar       window with a balcony
    pillar   sill  .  balcony  . pillar
    pillar        molding        pillar
    pillar   door  .   shop    . pillar       ground floor
"""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segkit.datasets.facades import SPEC
from segkit.datasets.facades.painting import PAINTERS, Brush, Style, paint_tree

__all__ = ["Facade", "LabelBox", "draw_facade", "make_sample", "sample_size", "write_facade"]

OVERSAMPLING = 3  # everything is drawn three times as large and reduced, which smooths the edges

# heights and widths in units; a unit is about a seventh of the shorter side
SKY, CORNICE, STOREY, MOLDING, GROUND, PAVEMENT = 0.8, 0.9, 2.3, 0.7, 2.6, 0.35
MARGIN, PILLAR, BAY = 0.3, 0.8, 2.6
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

    def place(self, what: str, top: float, left: float, bottom: float, right: float, like: str = "") -> None:
        """Paints ``what`` at these units and labels it so (or as ``like``)."""
        y0, y1 = (round(value * self.row_unit) for value in (top, bottom))
        x0, x1 = (round(value * self.column_unit) for value in (left, right))
        name = like or what
        box = (x0 * OVERSAMPLING, y0 * OVERSAMPLING, x1 * OVERSAMPLING, y1 * OVERSAMPLING)
        if what in RAISED:
            self.brush.shadow(box, self.wall, round(0.12 * self.column_unit * OVERSAMPLING) + 3)
        elif what == "facade":
            self.wall = box
        PAINTERS[what](self.brush, box, self.style)
        self.ids[y0:y1, x0:x1] = SPEC.classes.index(name) + 1
        if name != "background":  # as in the database, where background has no boxes
            self.boxes.append(LabelBox(SPEC.classes.index(name) + 1, y0, x0, y1, x1))


def draw_facade(seed: int, size: tuple[int, int] = (256, 256), *, unknown: bool = False, unit: float | None = None) -> Facade:
    """Draws one facade; the same arguments give the same facade.

    Args:
        seed: any whole number from 0.
        size: (H, W) in pixels, at least 64 each.
        unknown: a street tree hides a corner of the facade, and its pixels get id 0.
        unit: pixels per unit of the layout (a window is about two units wide); a small one gives more storeys and
            bays. None: about a seventh of the shorter side, so that there are few and large elements.

    Returns:
        A facade that shows all twelve classes.

    Raises:
        ValueError: a side under 64 pixels, where not all classes would fit.
    """
    height, width = size
    if min(size) < 64:
        raise ValueError(f"Expected a facade of at least 64 x 64 pixels, but got {height} x {width}.")
    unit = unit or min(size) / np.random.default_rng(seed).uniform(6.4, 7.6)
    fixed = SKY + CORNICE + GROUND + PAVEMENT
    storeys = max(1, int((height / unit - fixed) / (STOREY + MOLDING)))
    bays = max(2, int((width / unit - 2 * (MARGIN + PILLAR)) / BAY))
    rows, columns = fixed + storeys * (STOREY + MOLDING), 2 * (MARGIN + PILLAR) + bays * BAY
    site = _Site(seed, (height, width), rows, columns)
    _shell(site, rows, columns, storeys)
    for storey in range(storeys):
        _storey(site, SKY + CORNICE + storey * (STOREY + MOLDING), bays)
    _ground_floor(site, rows - PAVEMENT - GROUND, bays)
    if unknown:
        _tree(site)
    picture = site.brush.picture.resize((width, height), Image.Resampling.LANCZOS)
    return Facade(_weathered(np.asarray(picture), site.rng), site.ids, tuple(site.boxes))


def _shell(site: _Site, rows: float, columns: float, storeys: int) -> None:
    site.place("background", 0, 0, rows, columns)
    site.place("pavement", rows - PAVEMENT, 0, rows, columns, like="background")
    site.place("facade", SKY, MARGIN, rows - PAVEMENT, columns - MARGIN)
    for storey in range(storeys):
        bottom = SKY + CORNICE + (storey + 1) * (STOREY + MOLDING)
        site.place("molding", bottom - MOLDING, MARGIN, bottom, columns - MARGIN)
    for left in (MARGIN, columns - MARGIN - PILLAR):
        site.place("pillar", SKY + CORNICE, left, rows - PAVEMENT, left + PILLAR)
    site.place("cornice", SKY, MARGIN / 2, SKY + CORNICE, columns - MARGIN / 2)


def _storey(site: _Site, top: float, bays: int) -> None:
    """Windows with ornament and flower box, and shuttered ones with a balcony; every storey has both."""
    first = int(site.rng.integers(2))
    closed = 0.55 + 0.45 * site.rng.random()  # how far down the shutters are
    for bay in range(bays):
        left = MARGIN + PILLAR + bay * BAY
        x0, x1 = left + 0.35, left + BAY - 0.35
        if (bay + first) % 2 == 0:
            site.place("deco", top + 0.1, x0, top + 0.65, x1)
            site.place("window", top + 0.65, x0, top + 1.75, x1)
            site.place("sill", top + 1.7, x0 - 0.1, top + 2.2, x1 + 0.1)
        else:
            site.place("window", top + 0.15, x0 + 0.1, top + STOREY - 0.4, x1 - 0.1)
            site.place("blind", top + 0.15, x0 + 0.1, top + 0.15 + closed * 1.2, x1 - 0.1)
            site.place("balcony", top + 1.35, x0 - 0.25, top + STOREY, x1 + 0.25)


def _ground_floor(site: _Site, top: float, bays: int) -> None:
    """One door, shops in the other bays."""
    door = int(site.rng.integers(bays))
    for bay in range(bays):
        left = MARGIN + PILLAR + bay * BAY
        if bay == door:
            site.place("door", top + 0.45, left + 0.45, top + GROUND, left + BAY - 0.45)
        else:
            site.place("shop", top + 0.3, left + 0.1, top + GROUND, left + BAY - 0.1)


def _tree(site: _Site) -> None:
    height, width = site.ids.shape
    radius = 0.11 * min(height, width)
    x = float(site.rng.choice([0.06, 0.94])) * width
    y = 0.8 * height
    paint_tree(site.brush, (x * OVERSAMPLING, y * OVERSAMPLING), radius * OVERSAMPLING)
    rows, columns = np.ogrid[:height, :width]
    site.ids[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 0
    site.ids[(rows >= y) & (abs(columns - x) <= radius / 8)] = 0


def _weathered(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Evening light from the left, and the grain of a camera."""
    height, width, _ = picture.shape
    light = np.linspace(1.05, 0.92, width)[None, :, None] * rng.uniform(0.94, 1.04)
    grain = rng.normal(0, 2.5, (height, width, 1))
    return np.clip(picture * light + grain, 0, 255).astype(np.uint8)


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
