"""Assign the files of a bulk download to students, and choose what counts: the newest submission of each."""

import csv
import io
import zipfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autograder.handins.bulk.attempts import Attempt, by_student, sort_members, system_of
from autograder.handins.bulk.known import Known
from autograder.handins.bulk.unpacking import (
    BROKEN_ZIP,
    BulkError,
    Bundle,
    check_room,
    is_archive,
    label,
    open_bundle,
    path_of,
    safe_members,
    write_files,
)  # fmt: skip
from autograder.report.rendering import no_formula, own_rows, write_page
from segkit.atomic import disk_is_full
from segkit.notebooks.reading import shown

__all__ = ["BulkSubmission", "looks_like_bulk", "notes_of", "of_before", "read_bulk", "write_handins"]

HEAD = ("name", "submitted", "due", "lateness", "penalty", "file", "notes")


@dataclass(frozen=True)
class BulkSubmission:
    """What counts of a student.

    Attributes:
        name: Name in the results: the roster's, else the export's.
        path: Folder or zip to grade.
        submitted, due: When, ISO 8601 in the stated zone, or empty where nobody says.
        lateness: Empty (in time, or unknown), ``"late"`` (how much is unknown), ``"1 d 2 h"``.
        penalty: What the rule takes off: ``"20%"``, ``"5 points"``; or empty.
        notes: What else there was: older submissions, files left out, doubts about who it is. Those that must not be passed over are
            ``Problem``.
    """

    name: str
    path: Path
    submitted: str = ""
    lateness: str = ""
    notes: tuple[str, ...] = ()
    due: str = ""
    penalty: str = ""


def read_bulk(source: Path, folder: Path, known: Known, assignment: str = "fcn") -> tuple[list[BulkSubmission], list[str]]:
    """Split a bulk download into one submission per student.

    Args:
        source: The zip as the course system gave it, or a folder: the same unpacked, or nbgrader's ``inbound`` or ``submitted``.
        folder: Where submissions go, ``folder/NAME`` or ``folder/NAME.zip``; existing files of these names are replaced.
        known: What is known of the class beforehand (``know``); ``Known()`` for nothing.
        assignment: Its name, for downloads that hold several.

    Returns:
        The submissions, one per student, sorted by name; and notes on the download as a whole (what was not recognised, who of the roster
        handed in nothing).

    Raises:
        BulkError: The download is damaged, unsafe, or of no known system.
    """
    try:
        with open_bundle(source) as bundle:
            members, unusable = safe_members(bundle, source)
            check_room(members, source, folder)
            attempts, notes = sort_members(bundle, members, unusable, known, assignment, source)
            submissions = [_submission(bundle, name, group, folder, known) for name, group in by_student(attempts)]
    except BROKEN_ZIP as error:
        if isinstance(error, OSError) and disk_is_full(error):
            raise BulkError(f"{folder}: {error.strerror or error}. Free some space and give the same command again.") from error
        raise BulkError(f"{source} cannot be unpacked ({error}). Download it again from the course system.") from error
    notes += known.notes
    there = {attempt.title for attempt in attempts if attempt.known}
    absent = [student.name for student in known.roster.students if student.name not in there]
    if absent:
        notes.append(f"{len(absent)} of the roster handed in nothing: {', '.join(absent)}")
    return submissions, notes


def looks_like_bulk(path: Path, least: int = 2) -> str:
    """The system whose download of several students this file is; empty if it is one student's work, or no zip.

    Args:
        path: Any file.
        least: How many students there must be; a watched folder may get the download of the first.
    """
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return ""
    try:
        with zipfile.ZipFile(path) as bundle:
            members = [member for member in bundle.infolist() if not member.is_dir()]
        system, paths = system_of(members, path), [path_of(member) for member in members]
    except (BulkError, *BROKEN_ZIP):
        return ""
    if system.own and system.receipts and not any(system.own.fullmatch(name) for name in paths):
        return ""  # a student may call a folder submission_2; the system alone writes the other file
    people = {readings[0].key for name in paths if (readings := system.readings(name))}
    return system.name if len(people) >= least else ""


def notes_of(source: str, handins: Iterable[BulkSubmission], notes: Iterable[str]) -> list[str]:
    """What there is to say of a download and of each hand-in, a line each, with whom it concerns in front; problems stay ``Problem``."""
    told = [(source, note) for note in notes] + [(handin.name, note) for handin in handins for note in handin.notes]
    return [type(note)(f"{name}: {note}") for name, note in told]


def of_before(folder: Path, names: Collection[str], out: Path) -> list[str]:
    """A note on results of an earlier download, of names that this one does not have: a decision may have given them to somebody else.

    Args:
        folder: Where hand-ins of this and of earlier downloads were written.
        names: The names that there are now.
        out: Folder of the results.
    """
    before = {path.name if path.is_dir() else path.stem for path in folder.iterdir()} - set(names) if folder.is_dir() else set()
    stale = sorted(name for name in before if (out / name).is_dir())
    words = "of earlier downloads, and nobody here has these names: delete what is no longer anybody's, or exports hold it too"
    return [f"{', '.join(str(out / name) for name in stale)}: {words}"] if stale else []


def write_handins(submissions: Iterable[BulkSubmission], path: Path) -> Path:
    """Write ``handins.csv``: who handed in what and when; a spreadsheet opens it right, and no cell is a formula.

    Lines of others stay as long as results of theirs lie beside it: a result that is still shown keeps what its lateness costs.
    """
    rows = {
        one.name: [one.name, one.submitted, one.due, one.lateness, one.penalty, one.path.name, "; ".join(one.notes)] for one in submissions
    }
    before = {row.get("name", ""): [row.get(column, "") for column in HEAD] for row in own_rows(path) or ()}
    rows |= {name: row for name, row in before.items() if name not in rows and name and (path.parent / name / "result.json").is_file()}
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(HEAD)
    for name in sorted(rows):
        writer.writerow(map(no_formula, rows[name]))
    content = "\ufeff" + text.getvalue()
    with suppress(OSError):
        if path.read_bytes() == content.encode("utf-8", "backslashreplace"):
            return path  # a watch looks for weeks: what says the same is not written again
    return write_page(path, content)


def _submission(bundle: Bundle, name: str, group: Sequence[Attempt], folder: Path, known: Known) -> BulkSubmission:
    """Write the submission that counts, and list the others."""
    newest, older = group[0], group[1:]
    notes = list(newest.notes)
    if older:
        notes.append(f"newest of {len(group)} submissions; not graded: {', '.join(shown(attempt.label, 120) for attempt in older)}")
    files = _newest_files(newest, notes)
    path, more = write_files(bundle, files, folder / name, [f"{label(member)} {why}" for member, why in newest.unusable.items()])
    lateness = known.terms.of(name, newest.submitted, newest.late)
    return BulkSubmission(name, path, lateness.came, lateness.shown, (*notes, *more, *lateness.notes), lateness.ended, lateness.penalty)


def _newest_files(attempt: Attempt, notes: list[str]) -> dict[str, zipfile.ZipInfo]:
    """Name in the submission -> member. Of several files of one name, and of several archives, the newest counts."""
    files: dict[str, zipfile.ZipInfo] = {}
    usable = [entry for entry in attempt.members if entry[0] not in attempt.unusable]
    for member, name, _ in sorted(usable, key=lambda entry: (entry[2], entry[0].date_time)):
        if name in files:
            notes.append(f"older file, not graded: {shown(path_of(files.pop(name)), 120)}")
        files[name] = member  # in the order of age
    for name in [name for name in files if is_archive(name)][:-1]:
        notes.append(f"older file, not graded: {shown(path_of(files.pop(name)), 120)}")
    return files
