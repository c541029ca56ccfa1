"""Assign the files of a bulk download to students, and choose what counts: the newest submission of each."""

import csv
import datetime
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from autograder.handins.bulk.systems import SYSTEMS, Facts, System, moment
from autograder.handins.bulk.unpacking import BROKEN_ZIP, BulkError, check_room, is_archive, label, safe_members, write_files
from autograder.handins.roster import Roster, folder_name, read_roster
from autograder.report.rendering import no_formula, write_page
from segkit.atomic import disk_is_full

__all__ = ["BulkSubmission", "read_bulk", "write_handins"]


@dataclass(frozen=True)
class BulkSubmission:
    """What counts of a student.

    Attributes:
        name: Name in the results: the roster's, else the export's.
        path: Folder or zip to grade.
        submitted: When, ISO 8601 in UTC, or empty where the export does not say.
        lateness: Empty (in time, or unknown), ``"late"`` (how much is unknown), ``"1 d 2 h"``.
        notes: What else there was: older submissions, files left out, doubts about who it is.
    """

    name: str
    path: Path
    submitted: str = ""
    lateness: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class _Attempt:
    """One submission of one student in the export."""

    label: str
    who: str
    members: list[tuple[zipfile.ZipInfo, str, int]] = field(default_factory=list)  # member, name in the submission, number
    unusable: dict[zipfile.ZipInfo, str] = field(default_factory=dict)  # of the members, and why
    submitted: datetime.datetime | None = None
    late: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def age(self) -> tuple[Any, ...]:
        """Sorts by time, then by the system's own numbers, then by the times of the files."""
        first = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        return (self.submitted or first, max(n for _, _, n in self.members), max(m.date_time for m, _, _ in self.members))


def read_bulk(
    archive: Path, folder: Path, roster: Path | None = None, due: str = "", assignment: str = "fcn"
) -> tuple[list[BulkSubmission], list[str]]:
    """Split a bulk download into one submission per student.

    Args:
        archive: The zip as the course system gave it.
        folder: Where submissions go, ``folder/NAME`` or ``folder/NAME.zip``; existing files of these names are replaced.
        roster: The class list, CSV or .xlsx, or None.
        due: When the work was due, ISO 8601 (UTC without an offset), or empty.
        assignment: Its name, for exports that hold several.

    Returns:
        The submissions, one per student, sorted by name; and notes on the export as a whole (what was not recognised, who of the
        roster handed in nothing).

    Raises:
        BulkError: The zip is damaged, unsafe, or of no known system.
        RosterError: The roster cannot be read.
    """
    limit = moment(due) if due else None
    if due and limit is None:
        raise BulkError(f"Expected a due date such as 2026-03-14T23:59 or 2026-03-14T23:59+01:00, but got {due!r}.")
    people = read_roster(roster) if roster else Roster()
    try:
        with zipfile.ZipFile(archive) as bundle:
            members, unusable = safe_members(bundle, archive)
            check_room(members, archive, folder)
            attempts, notes = _attempts(bundle, members, unusable, people, assignment)
            submissions = [_submission(bundle, name, group, folder, limit) for name, group in _by_student(attempts)]
    except BROKEN_ZIP as error:
        if isinstance(error, OSError) and disk_is_full(error):
            raise BulkError(f"{folder}: {error.strerror or error}. Free some space and give the same command again.") from error
        raise BulkError(f"{archive} cannot be unpacked ({error}). Download it again from the course system.") from error
    notes += people.notes
    there = {attempt.who for attempt in attempts}
    absent = [student.name for student in people.students if student.name not in there]
    if absent:
        notes.append(f"{len(absent)} of the roster handed in nothing: {', '.join(absent)}")
    return submissions, notes


def write_handins(submissions: Iterable[BulkSubmission], path: Path) -> Path:
    """Write ``handins.csv``: name, submitted, lateness, file, notes; quoted, and no cell is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["name", "submitted", "lateness", "file", "notes"])
    for submission in submissions:
        row = [submission.name, submission.submitted, submission.lateness, submission.path.name, "; ".join(submission.notes)]
        writer.writerow(map(no_formula, row))
    return write_page(path, text.getvalue())


def _system(members: list[zipfile.ZipInfo], archive: str | None) -> System:
    """The system that names at least half of the files so; of several the one whose students' names stand nearest to the top, then the
    first: what lies deeper was named by a student."""
    fitting: list[tuple[int, System]] = []
    for system in SYSTEMS:
        named = [match for member in members if (match := system.pattern.fullmatch(member.filename))]
        if named and 2 * len(named) >= len(members):
            fitting.append((min(match.string.count("/", 0, match.start(system.person)) for match in named), system))
    if fitting:
        return min(fitting, key=lambda found: found[0])[1]
    shown = ", ".join(repr(member.filename[:60]) for member in members[:3]) or "nothing"
    raise BulkError(
        f"{archive}: expected a bulk download of {', '.join(system.name for system in SYSTEMS)}; it holds {shown}. Unpack it and "
        "give the folders to `grade` instead."
    )


def _attempts(
    bundle: zipfile.ZipFile, members: list[zipfile.ZipInfo], unusable: Mapping[zipfile.ZipInfo, str], roster: Roster, assignment: str
) -> tuple[list[_Attempt], list[str]]:
    """Sort the members into submissions; also notes on the whole."""
    system = _system(members, bundle.filename)
    facts = _facts(bundle, members, system)
    attempts: dict[tuple[str, str], _Attempt] = {}
    skipped: list[str] = []
    for member in [*members, *unusable]:
        match = system.pattern.fullmatch(member.filename)
        groups = {name: text or "" for name, text in match.groupdict().items()} if match else {}
        if not groups or groups.get("text") or groups.get("assignment", assignment) != assignment:
            if member in unusable:
                skipped.append(f"{member.filename} ({unusable[member]})")
            elif not system.metadata or PurePosixPath(member.filename).name != system.metadata:
                skipped.append(member.filename)
            continue
        for attempt in _of_people(groups, facts, roster):
            found = attempts.setdefault((attempt.who, attempt.label), attempt)
            found.members.append((member, groups["file"] + groups.get("suffix", ""), int(groups.get("number") or 0)))
            found.late |= attempt.late
            if member in unusable:
                found.unusable[member] = unusable[member]
    for attempt in attempts.values() if system.stamp else ():
        attempt.submitted = _stamp(bundle, attempt, system.stamp)
    notes = [f"a bulk download of {system.name}"]
    if skipped:
        notes.append(f"{len(skipped)} files were left out: {', '.join(skipped[:10])}{', ...' if len(skipped) > 10 else ''}")
    return list(attempts.values()), notes


def _facts(bundle: zipfile.ZipFile, members: list[zipfile.ZipInfo], system: System) -> dict[str, Facts]:
    """The system's own metadata; a student's file of the same name would be in a deeper folder."""
    if system.reader is None:
        return {}
    for member in members:
        path = PurePosixPath(member.filename)
        if path.name == system.metadata and not system.pattern.fullmatch(member.filename):
            return system.reader(bundle.read(member).decode("utf-8", "replace"))
    return {}


def _of_people(groups: Mapping[str, str], facts: Mapping[str, Facts], roster: Roster) -> list[_Attempt]:
    """The submission that a file belongs to, once for each student of a group that handed in together."""
    label = groups.get("attempt") or groups.get("user") or groups.get("student", "")
    fact = facts.get(label, Facts())
    people = fact.people or ({"name": groups.get("student") or label, "sid": groups.get("user", "")},)
    attempts = []
    for person in people:
        who, notes = _identify(person, roster, label)
        others = [other.get("name", "?") for other in people if other is not person]
        notes += [f"handed in together with {', '.join(others)}"] if others else []
        time = moment(fact.time or groups.get("time", ""))
        attempts.append(_Attempt(label, who, submitted=time, late=bool(groups.get("late")), notes=notes))
    return attempts


def _identify(person: Mapping[str, str], roster: Roster, label: str) -> tuple[str, list[str]]:
    """Name in the results, and doubts about it. Two strangers of one name must not become one student."""
    name, sid, email = (person.get(key, "") for key in ("name", "sid", "email"))
    found = roster.find(sid, email, name, full_name=name)
    if len(found) == 1:
        return found[0].name, []
    raw = name or sid or email or label
    if len(found) > 1:
        fits = ", ".join(student.name for student in found[:5])
        notes = [f"{raw!r} fits {len(found)} students of the roster ({fits}): decide by hand"]
    else:
        notes = [f"{raw!r} is not in the roster"] if roster.students else []
    mark = sid or (label if label.isdecimal() else "")
    return (f"{raw}_{mark}" if mark else raw), notes


def _by_student(attempts: list[_Attempt]) -> list[tuple[str, list[_Attempt]]]:
    """Name of a folder -> submissions of that student, newest first."""
    students: dict[str, list[_Attempt]] = {}
    for attempt in attempts:
        students.setdefault(attempt.who, []).append(attempt)
    named: dict[str, list[_Attempt]] = {}
    for who, group in sorted(students.items()):
        name = folder_name(who)
        while name in named:
            name += "_2"
        named[name] = sorted(group, key=lambda attempt: attempt.age, reverse=True)
    return list(named.items())


def _submission(bundle: zipfile.ZipFile, name: str, group: list[_Attempt], folder: Path, due: datetime.datetime | None) -> BulkSubmission:
    """Write the submission that counts, and list the others."""
    newest, older = group[0], group[1:]
    notes = list(newest.notes)
    if older:
        notes.append(f"newest of {len(group)} submissions; not graded: {', '.join(attempt.label for attempt in older)}")
    files = _newest_files(newest, notes)
    submitted = newest.submitted
    path, more = write_files(bundle, files, folder / name, [f"{label(member)} {why}" for member, why in newest.unusable.items()])
    notes += more
    lateness = "late" if newest.late else ""
    if due and submitted and submitted > due:
        lateness = _duration(submitted - due)
    when = submitted.isoformat(timespec="seconds") if submitted else ""
    return BulkSubmission(name, path, when, lateness, tuple(notes))


def _newest_files(attempt: _Attempt, notes: list[str]) -> dict[str, zipfile.ZipInfo]:
    """Name in the submission -> member. Of several files of one name, and of several archives, the newest counts."""
    files: dict[str, zipfile.ZipInfo] = {}
    usable = [entry for entry in attempt.members if entry[0] not in attempt.unusable]
    for member, name, _ in sorted(usable, key=lambda entry: (entry[2], entry[0].date_time)):
        if name in files:
            notes.append(f"older file, not graded: {files.pop(name).filename}")
        files[name] = member  # in the order of age
    for name in [name for name in files if is_archive(name)][:-1]:
        notes.append(f"older file, not graded: {files.pop(name).filename}")
    return files


def _stamp(bundle: zipfile.ZipFile, attempt: _Attempt, name: str) -> datetime.datetime | None:
    """The time that the system wrote into a file beside the submission."""
    stamp = next((member for member, file, _ in attempt.members if file == name and member not in attempt.unusable), None)
    return moment(bundle.read(stamp).decode("utf-8", "replace")) if stamp and stamp.file_size < 100 else None


def _duration(late: datetime.timedelta) -> str:
    """``1 d 2 h``, ``35 min``: the two largest units, at least one minute."""
    days, minutes = divmod(max(1, round(late.total_seconds() / 60)), 24 * 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if value]
    return " ".join(parts[:2])
