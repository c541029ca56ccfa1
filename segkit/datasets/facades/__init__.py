"""The CMP Facade Database: 606 rectified photographs of facades with twelve classes.

Tylecek & Sara, "Spatial Pattern Templates for Recognition of Objects with Regular Structure", GCPR 2013.
https://cmp.felk.cvut.cz/~tylecr1/facade/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.datasets.spec import DatasetSpec
from segkit.pictures import PHOTOGRAPHS, names_in

if TYPE_CHECKING:
    from segkit.datasets.survey import Survey

__all__ = ["SPEC"]


def _stems(name: str) -> tuple[str, str]:
    """``cmp_x...`` lies in ``extended/``, all others in ``base/``."""
    stem = f"{'extended' if name.startswith('cmp_x') else 'base'}/{name}"
    return stem, stem


def _split_of(root: Path) -> str:
    """``sample``, ``course`` (with ``extended/``) or ``base``."""
    base, extended = (names_in(Path(root) / part, PHOTOGRAPHS) for part in ("base", "extended"))
    if any(name.startswith("cmp_s") for name in base):
        return "sample"
    return "course" if any(name.startswith("cmp_x") for name in extended) else "base"


def _draw(root: Path, **options: int) -> tuple[str, ...]:
    from segkit.datasets.facades.drawing import make_sample

    return make_sample(root, **options)


def _fetch(root: Path, folders: tuple[str, ...], **options: Any) -> list[str]:
    from segkit.datasets.facades.archives import fetch

    return fetch(root, folders, **options)


def _verify(root: Path, progress: bool = True) -> "Survey":
    from segkit.datasets.facades.verifying import survey

    return survey(root, progress=progress)


SPEC = DatasetSpec(
    name="facades",
    title="CMP Facade Database",
    pictures="facades",
    citation="R. Tylecek, R. Sara, Spatial Pattern Templates ..., GCPR 2013",
    # Training label k is classes[k]; the file holds k + 1. This is the order of the database's label_names.txt.
    # The lists on its web page and in readme.txt are in another order and must not be used as numbers.
    classes=(
        "background", "facade", "window", "door", "cornice", "sill",
        "balcony", "blind", "deco", "molding", "pillar", "shop",
    ),
    colours=(
        (0, 0, 0), (0, 0, 170), (0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255), (85, 255, 170),
        (170, 255, 85), (255, 255, 0), (255, 170, 0), (255, 85, 0), (255, 0, 0), (170, 0, 0),
    ),
    stored=tuple(map(str, range(13))),
    home="cmp_facade",
    folders=("base", "extended"),
    stems=_stems,
    splits=("course", "base", "sample"),  # 500, 30, 76 of all 606; 300, 30, 48 of the 378 in base/; 24, 4, 4 drawn ones
    split_of=_split_of,
    draw=_draw,
    fetch=_fetch,
    verify=_verify,
    networks=("FCN32s", "FCN16s", "FCN8s"),
)  # fmt: skip
