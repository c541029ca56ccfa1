"""The marks of all persons together: which one stands, and where two persons said different things without knowing of each other."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autograder.marking.books import BY_RUBRIC, Book, Criterion, Mark, MarksError, Override, read_book

__all__ = ["FOLDER", "Marks", "Said", "mark_points", "marks_files", "read_marks", "standing"]

FOLDER, SINGLE = "marks", "marks.toml"
NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)

Kind = TypeVar("Kind", Mark, Override, Criterion)


@dataclass(frozen=True)
class Said(Generic[Kind]):
    """Something, and who said it."""

    by: str
    what: Kind
    book: Book

    @property
    def when(self) -> datetime.datetime:
        return self.what.when or NEVER


def standing(said: Iterable[Said[Kind]], same: Callable[[Kind], Any]) -> list[Said[Kind]]:
    """What holds of all that was said of one thing.

    Whoever changes what another person gave, and has it on the screen, replaces it. What was said without knowing of each other stands
    side by side, unless it comes to the same.

    Args:
        said: What was said.
        same: What two must have equal to say the same.

    Returns:
        The newest first; more than one where persons disagree.
    """
    said = list(said)
    left = [one for one in said if not any(_replaces(other, one) for other in said if other is not one)] or said
    found: dict[Any, Said[Kind]] = {}
    for one in sorted(left, key=lambda one: one.when, reverse=True):
        found.setdefault(same(one.what), one)
    return list(found.values())


def _replaces(one: Said[Kind], other: Said[Kind]) -> bool:
    seen = one.what.saw.get(other.by)
    return seen is not None and other.what.when is not None and seen >= other.what.when


class Marks:
    """The marks of a class.

    Args:
        books: One for each person.
    """

    def __init__(self, books: Sequence[Book] = ()) -> None:
        self.books = list(books)

    def criteria(self, check: str) -> dict[str, list[Said[Criterion]]]:
        """Name of each criterion of a question -> what is said of it (see ``standing``); those of the rubric come first."""
        rubric = [book for book in self.books if book.by == BY_RUBRIC]
        own = [book for book in self.books if book.by != BY_RUBRIC]
        names = [name for book in rubric for name in book.criteria.get(check, {})]
        added = [(one.when or NEVER, name) for book in own for name, one in book.criteria.get(check, {}).items()]
        found = {}
        for name in dict.fromkeys([*names, *(name for _, name in sorted(added))]):
            said = [one for book in own for one in self._of(book, check, name)]
            said = said or [one for book in rubric for one in self._of(book, check, name)]
            found[name] = standing(said, lambda one: (one.text, one.points))
        return found

    def _of(self, book: Book, check: str, name: str) -> list[Said[Criterion]]:
        one = book.criteria.get(check, {}).get(name)
        return [Said(book.by, one, book)] if one else []

    def marks(self, student: str, check: str) -> list[Said[Mark]]:
        """The marks of an answer that hold (see ``standing``); more than one where persons came to different points."""
        criteria = self.criteria(check)
        said = [Said(book.by, mark, book) for book in self.books if (mark := book.answers.get(student, {}).get(check))]
        given = [one for one in said if one.what.given]
        return standing(given or said, lambda mark: mark_points(mark, criteria))

    def overrides(self, student: str, check: str) -> list[Said[Override]]:
        """The overrides of a check that hold; more than one where persons gave different points."""
        said = [Said(book.by, one, book) for book in self.books if (one := book.overrides.get(student, {}).get(check))]
        return standing(said, lambda one: one.points)

    def checks(self, student: str) -> set[str]:
        """Ids of the checks of a student of which somebody said something."""
        return {check for book in self.books for table in (book.answers, book.overrides) for check in table.get(student, {})}

    def students(self) -> dict[str, Book]:
        """Everybody of whom something is said -> a book in which it stands."""
        return {student: book for book in self.books for table in (book.answers, book.overrides) for student in table}


def mark_points(mark: Mark, criteria: Mapping[str, Sequence[Said[Criterion]]], top: float | None = None) -> float | None:
    """The points of a mark.

    Args:
        mark: The mark.
        criteria: Those of its question.
        top: The most points there are; the sum of criteria is cut there, and at 0.

    Returns:
        The points; None where none are given, or where it uses a criterion that is unknown or of which persons say different points.
    """
    if mark.points is not None or mark.criteria is None:
        return mark.points
    worth = {name: said[0].what.points for name, said in criteria.items() if len({one.what.points for one in said}) == 1}
    if not {*mark.criteria, *mark.half} <= worth.keys():
        return None
    points = sum(worth[name] for name in mark.criteria) + sum(worth[name] for name in mark.half) / 2 + mark.adjust
    points = points * 2 // 1 / 2  # half of a half point is rounded down, as everywhere
    return points if top is None else min(max(points, 0.0), top)


def marks_files(graded: Path) -> list[Path]:
    """The files with marks of a graded folder."""
    single = graded / SINGLE
    return [*([single] if single.is_file() else []), *sorted((graded / FOLDER).glob("[!.]*.toml"))]


def read_marks(graded: Path) -> Marks:
    """Read all marks of a graded folder: ``marks.toml``, and one file per person in the folder ``marks``.

    Raises:
        MarksError: A file cannot be used, or two are of one person; the text lists it all.
    """
    books, faults = [], []
    for path in marks_files(graded):
        try:
            books.append(read_book(path))
        except MarksError as error:
            faults.append(str(error))
    for book in books:
        first = next(other for other in books if other.by == book.by)
        if first is not book:
            faults.append(f"{book.where('by')}: by = {book.by!r} stands in {first.path.name} too; put all of one person into one file")
        if (book.by == BY_RUBRIC) != (book.path == graded / FOLDER / f"{BY_RUBRIC}.toml"):
            faults.append(f"{book.where('by')}: {BY_RUBRIC!r} means the criteria in {FOLDER}/{BY_RUBRIC}.toml; take another name")
    if faults:
        raise MarksError("\n".join(faults))
    return Marks(books)
