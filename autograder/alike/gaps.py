"""How much better a network is on training pictures than on the test pictures, and whose gap is far from that of the class.

A network that was trained on the test pictures is as good there as on those that it was given; one that learnt its pictures by heart is
much better on them. Everybody is measured on the same pictures, so that how hard these are moves the whole class, and nobody in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from autograder.alike.notes import Note
from autograder.course.rubric import CheckRubric, Rubric
from autograder.report.labels import first_line
from segkit.datasets import DataError, DatasetSpec

__all__ = ["LEAST_NETWORKS", "Gap", "Gaps", "find_gaps", "gap_notes", "gates_of", "link_training", "score_of"]

LEAST_NETWORKS = 8
"""So many different ones are needed to say what is usual; among fewer, only the numbers are shown."""

FAR, LEAST_FAR = 4.0, 0.05
"""A gap is far off beyond so many standard deviations from the median, taken from the median deviation, and beyond so much mean IoU. Of
drawn classes of 8, 60 and 300 honest people, 1 in 17, 66 and 33 had a note."""

SCORES = ("of_the_network", "mean_iou", "accuracy")  # what a gate measured, the first that is there
SINGLE = ("train_", "val_")  # folders with pictures of one thing each begin so
Item = TypeVar("Item")


@dataclass(frozen=True)
class Gap:
    """Mean IoU or accuracy of one network on training pictures and on the test pictures."""

    name: str
    training: float
    test: float

    @property
    def size(self) -> float:
        return self.training - self.test


@dataclass(frozen=True)
class Gaps:
    """Those of a gate.

    Attributes:
        check: The gate.
        what: ``mean IoU``, or ``accuracy`` where pictures show one thing each.
        pictures: How many training pictures were asked; 0 of pictures of one thing each: as many as there are to test.
        found: A gap for each submission that has one, the smallest first.
        nothing: Name of a submission without one -> why there is nothing to compare.
    """

    check: str
    what: str
    pictures: int
    found: tuple[Gap, ...]
    nothing: Mapping[str, str]

    @property
    def training(self) -> str:
        """The training pictures in words."""
        return f"{self.pictures} training pictures" if self.pictures else "as many training pictures"

    @property
    def middle(self) -> float:
        """The median; networks that are the same count once."""
        return median(self._sizes) if self.found else 0.0

    @property
    def limit(self) -> float | None:
        """How far from the median a gap may lie; None among too few networks."""
        spread = [abs(size - self.middle) for size in self._sizes]
        return max(LEAST_FAR, FAR * 1.4826 * median(spread)) if len(spread) >= LEAST_NETWORKS else None

    @property
    def _sizes(self) -> list[float]:
        return [training - test for training, test in {(gap.training, gap.test) for gap in self.found}]

    def far(self) -> list[Gap]:
        """Those far off. A small gap counts only where the test pictures went better than for half of the class: who learnt little has
        a small one too."""
        if (limit := self.limit) is None:
            return []
        usual = median(gap.test for gap in self.found)
        return [
            gap for gap in self.found if gap.size > self.middle + limit or (gap.size < self.middle - limit and gap.test >= usual)
        ]  # fmt: skip


def gates_of(rubric: Rubric, root: Path | None = None) -> list[CheckRubric]:
    """The gates that can be measured on training pictures: all, or those with what was laid out below a root."""
    singles = root is None or any(root.glob(f"{SINGLE[1]}*"))
    return [check for check in rubric.checks.values() if "own" in check.settings or (singles and "checkpoint" in check.settings)]


def link_training(spec: DatasetSpec, source: str | None, split: str, count: int, root: Path) -> int:
    """Lay some of the training pictures out as an instructor's own ones; returns how many.

    Of pictures of one thing each, where they lie beside the others (``train_50``, ``val_50``), as many take the place of those that a gate
    reads as there are of these.

    Args:
        spec: The data set.
        source: A folder, ``"sample"``, or None for the usual place.
        split: Whose test list the class was graded on; of another name (the instructor's own pictures), that of the source is taken.
        count: How many are wanted; they are spread evenly over the list.
        root: Where they go, as links; it holds nothing yet.

    Raises:
        DataError: There are none.
    """
    place = spec.find_root(source or ("sample" if split == "sample" else None))
    split = split if split in spec.splits else spec.split_of(place)
    files = {name: (spec.image_path(place, name), spec.label_path(place, name)) for name in spec.split_names(split, "train")}
    there = [pair for pair in files.values() if all(path.is_file() for path in pair)]
    if not there:
        raise DataError(f"{place}: expected the training pictures of split {split}, found none of {len(files)}. Name their folder: --data")
    chosen = _spread(there, count)
    for folder in spec.folders:  # a name says which folder it means, and own pictures are looked for in one of them
        (root / folder).mkdir(parents=True)
        for pair in chosen:
            for path in pair:
                (root / folder / path.name).symlink_to(path.resolve())
    for tests in place.glob(f"{SINGLE[1]}*"):
        singles = sorted((place / tests.name.replace(SINGLE[1], SINGLE[0], 1)).glob("*.*"))
        for path in _spread(singles, len([*tests.glob("*.*")])):
            (root / tests.name).mkdir(exist_ok=True)
            (root / tests.name / path.name).symlink_to(path.resolve())
    return len(chosen)


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of them, or all, from all over the list."""
    count = min(count, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def find_gaps(
    tested: Mapping[str, Mapping[str, Any]], trained: Mapping[str, Mapping[str, Any]], gates: Sequence[CheckRubric]
) -> list[Gaps]:  # fmt: skip
    """Set results side by side.

    Args:
        tested: Folder name -> the result of a submission.
        trained: The same of its gates on training pictures.
        gates: What was measured on these.
    """
    return [_gaps(gate, tested, trained) for gate in gates]


def _gaps(gate: CheckRubric, tested: Mapping[str, Mapping[str, Any]], trained: Mapping[str, Mapping[str, Any]]) -> Gaps:
    found, nothing = [], {}
    for name, result in tested.items():
        sides = (result, trained.get(name, {}))
        both: list[Mapping[str, Any]] = [next((one for one in side.get("checks", ()) if one["id"] == gate.id), {}) for side in sides]
        values = [score_of(one) for one in both]
        if values[0] is None or values[1] is None:
            of, open_one = ("test", both[0]) if values[0] is None else ("training", both[1])
            nothing[name] = f"not measured on the {of} pictures: {first_line(open_one.get('message') or '') or 'it has no such gate'}"
        else:
            found.append(Gap(name, values[1], values[0]))
    what = "mean IoU" if "own" in gate.settings else "accuracy"
    pictures = next((one["data"]["images"] for one in trained.values() if one["data"] and "own" in gate.settings), 0)
    return Gaps(gate.id, what, pictures, tuple(sorted(found, key=lambda gap: (gap.size, gap.name))), nothing)


def score_of(gate: Mapping[str, Any]) -> float | None:
    """What a gate measured, of the network that the judge makes of a submission where there is one; None where it measured nothing."""
    measured = gate.get("measured") or {}
    return next((float(measured[name]) for name in SCORES if measured.get(name) is not None), None)


def gap_notes(gaps: Sequence[Gaps]) -> Iterator[Note]:
    """A note for each gap that is far from the class's."""
    for gate in gaps:
        for gap in gate.far():
            small = gap.size < gate.middle
            may = (
                "One that was trained on the test pictures looks like this, and one that was stopped in time."
                if small
                else "One that learnt its pictures by heart looks like this, and one that was trained for long without variation."
            )
            says = (
                f"{gate.check}: {gate.what} {gap.training:.3f} on {gate.training}, {gap.test:.3f} on the test pictures. "
                f"The gap of {gap.size:+.3f} is far {'below' if small else 'above'} the class's {gate.middle:+.3f}. {may}"
            )
            yield Note("gap", gate.check, (gap.name,), says)
