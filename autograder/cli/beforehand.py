"""What is said before a class is graded, and not after the night: another assignment's hand-ins, pictures of a gate that cannot be read."""

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from autograder.course.rubric import Rubric
    from autograder.judge.run import Settings

__all__ = ["demand_own_handins", "demand_pictures", "in_words", "strange_handins"]

GRADE_ID = re.compile(rb'"grade_id"\s*:\s*"([\w.-]+)"')
MOST_BYTES, MOST_NOTEBOOKS = 32 * 2**20, 50  # that are looked at; what else there is says the same
TOLD = 3


def strange_handins(paths: Sequence[Path], assignment: str) -> tuple[dict[Path, str], int]:
    """Look whose cells are in the notebooks of hand-ins; nothing is unpacked or run.

    Args:
        paths: Folders and archives; of archives, zips are looked into, and zips in a folder.
        assignment: Name or folder of the one that is to be graded.

    Returns:
        Hand-ins that hold more cells of another assignment -> its name; and of how many anything is known.

    Raises:
        RubricError: The assignment cannot be used.
    """
    from autograder.course.assignment import ASSIGNMENTS, open_assignment

    chosen = open_assignment(assignment).rubric
    others = [open_assignment(path.parent).rubric for path in sorted(ASSIGNMENTS.glob("*/rubric.toml"))]
    strange, known = {}, 0
    for path in paths:
        found = _grade_ids(path)
        best = max([chosen, *others], key=lambda rubric: len(_cells(rubric) & found))  # of equals the first
        known += bool(_cells(best) & found)
        if best is not chosen:
            strange[path] = best.assignment
    return strange, known


def in_words(strange: Mapping[Path, str], assignment: str) -> list[str]:
    """A line for each hand-in that ``strange_handins`` found; who made them chose their names."""
    from autograder.report.labels import clean_text

    return [clean_text(f"{path.name}: holds cells of the assignment {name}, not of {assignment}") for path, name in strange.items()]


def demand_own_handins(paths: Sequence[Path], assignment: str) -> list[str]:
    """Refuse a class that worked on another assignment; all would lose everything.

    Returns:
        A line for each hand-in that holds another assignment's cells, where these are few.

    Raises:
        click.UsageError: They are most.
        RubricError: The assignment cannot be used.
    """
    from autograder.report.labels import clean_text

    strange, known = strange_handins(paths, assignment)
    if 2 * len(strange) > known:
        (name, count), *_ = Counter(strange.values()).most_common(1)
        examples = clean_text(", ".join([path.name for path in strange][:TOLD])) + (", ..." if len(strange) > TOLD else "")
        raise click.UsageError(
            f"{count} of {len(paths)} hand-ins hold the cells of the assignment {name} ({examples}), and --assignment says {assignment}. "
            f"For the other one: --assignment {name}"
        )
    return in_words(strange, assignment)


def _cells(rubric: "Rubric") -> set[str]:
    manual = {check.id.replace(".", "-") for check in rubric.checks.values() if check.manual}
    return {*rubric.defines, *manual}


def _grade_ids(path: Path) -> set[str]:
    """Grade ids in the notebooks of a hand-in; none where it cannot be read: the grader says that."""
    try:
        return {found.decode() for text in islice(_notebooks(path), MOST_NOTEBOOKS) for found in GRADE_ID.findall(text)}
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return set()


def _notebooks(path: Path) -> Iterator[bytes]:
    """The first bytes of each notebook in a folder or zip, and in the zips in that folder."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix in (".ipynb", ".zip") and file.is_file() and not file.is_symlink():
                yield from _notebooks(file)
    elif path.suffix == ".ipynb":
        with open(path, "rb") as opened:
            yield opened.read(MOST_BYTES)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".ipynb"):
                    with archive.open(name) as packed:
                        yield packed.read(MOST_BYTES)


def demand_pictures(settings: "Settings") -> None:
    """Open the pictures that were named for the gates, and read an instructor's own once.

    Raises:
        click.UsageError: They cannot be used; the text names the option and, where it is one, the picture.
        RubricError: The assignment cannot be used.
    """
    from autograder.course.assignment import open_assignment

    source = settings.gate_data or settings.data
    assignment = open_assignment(settings.assignment)
    open_data = assignment.hook("open_data" if settings.labels else "open_pictures")
    if not source or open_data is None:
        return
    option, name = "--gate-data" if settings.gate_data else "--data", ""
    try:
        data = open_data(source, assignment.rubric, bool(settings.gate_data))
        for name in data.names if settings.gate_data else ():
            data.image(name), data.label(name)
    except (OSError, ValueError, LookupError) as error:
        raise click.UsageError(f"{option} {source}: {f'{name}: ' if name else ''}{str(error).rstrip('.')}. Nothing was graded.") from error
