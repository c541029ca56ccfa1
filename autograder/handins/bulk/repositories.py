"""Hand-ins of a roster that names each student's git repository, or folder."""

import datetime
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from autograder.handins.bulk.git import RepositoryError, fetch_commit, is_address
from autograder.handins.bulk.handins import BulkSubmission
from autograder.handins.bulk.known import Known
from autograder.handins.bulk.unpacking import BulkError, Problem, label, open_bundle, safe_members, write_files
from autograder.handins.roster import Student

__all__ = ["read_repositories"]


def read_repositories(known: Known, base: Path, folder: Path, say: Callable[[str], None]) -> tuple[list[BulkSubmission], list[str]]:
    """Fetch the hand-in of each student of the roster.

    Args:
        known: The class; its roster has repositories.
        base: Folder of the roster: where folders that it names begin.
        folder: Where submissions go, ``folder/NAME``; what is there is replaced when the new one is whole.
        say: Receives a line for each repository.

    Returns:
        The submissions, sorted by name; and notes on the class as a whole.

    Raises:
        BulkError: No repository could be fetched, or git is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owners: dict[str, list[Student]] = {}
    for student in known.roster.students:
        owners.setdefault(student.repository, []).append(student)
    absent = owners.pop("", [])
    found: list[BulkSubmission] = []
    notes: list[str] = [f"{len(owners)} repositories of the roster", *known.notes]
    for address, students in owners.items():
        say(f"fetching {address}")
        with TemporaryDirectory(prefix=".fetching-", dir=folder) as place:
            got = _fetch(address, base, Path(place, "work"))
            found += [submission for student in students if (submission := _submission(student, students, got, folder, known))]
        there = {one.name for one in found}
        notes += [Problem(f"{student.name}: {address}: {got.problem}") for student in students if student.name not in there]
    if absent:
        notes.append(f"{len(absent)} of the roster have no repository: {', '.join(student.name for student in absent)}")
    if not found:
        raise BulkError(f"No repository could be fetched. {'; '.join(notes)}")
    return sorted(found, key=lambda one: one.name), notes


@dataclass(frozen=True)
class _Fetched:
    """What came of an address: a folder or archive with notes, or why there is none."""

    path: Path
    submitted: datetime.datetime | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


def _fetch(address: str, base: Path, place: Path) -> _Fetched:
    local = base / address
    try:
        if not is_address(address) and local.is_dir() and not _is_repository(local):
            with open_bundle(local) as bundle:
                members, unusable = safe_members(bundle, local)
                files = {member.filename: member for member in members}
                path, problems = write_files(bundle, files, place, [f"{label(member)} {why}" for member, why in unusable.items()])
                return _Fetched(path, notes=tuple(problems))
        commit, notes = fetch_commit(address if is_address(address) or address.startswith("-") else str(local), place)
    except (RepositoryError, BulkError, OSError) as error:
        return _Fetched(place, problem=str(error))
    return _Fetched(place, commit, tuple(notes))


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists() or all((folder / name).exists() for name in ("HEAD", "objects", "refs"))


def _submission(student: Student, together: list[Student], got: _Fetched, folder: Path, known: Known) -> BulkSubmission | None:
    """Put what was fetched in its place; None where nothing was, and nothing is there from before."""
    others = [other.name for other in together if other is not student]
    notes = [f"handed in together with {', '.join(others)}"] if others else []
    target = folder / f"{student.name}{got.path.suffix if got.path.is_file() else ''}"
    if got.problem:
        if not target.is_dir():
            return None
        notes.append(Problem(f"{student.repository}: {got.problem}. What was fetched before is graded"))
    else:
        shutil.rmtree(target, ignore_errors=True)
        if got.path.is_file():
            shutil.copyfile(got.path, target)
        else:
            shutil.copytree(got.path, target)
    lateness = known.terms.of(student.name, got.submitted, said_late=False)
    told = (*notes, *got.notes, *lateness.notes)
    return BulkSubmission(student.name, target, lateness.came, lateness.shown, told, lateness.ended, lateness.penalty)
