"""Sort the files of a bulk download into submissions: of which system it is, whose each file is, and when it came."""

import datetime
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from autograder.handins.bulk.known import Known
from autograder.handins.bulk.people import whose
from autograder.handins.bulk.systems import SYSTEMS, Facts, Reading, System
from autograder.handins.bulk.times import TimeError, read_time
from autograder.handins.bulk.unpacking import BulkError, Bundle, Problem, path_of
from autograder.handins.roster import folder_name
from segkit.notebooks.reading import shown

__all__ = ["Attempt", "by_student", "sort_members", "system_of"]

MAX_RECEIPT = 64 * 2**20
MOST_LISTED = 10


@dataclass
class Attempt:
    """One submission of one student in the download."""

    label: str
    key: str
    title: str
    known: bool  # the title is a name of the roster
    time: str = ""
    late: bool = False
    members: list[tuple[zipfile.ZipInfo, str, int]] = field(default_factory=list)  # member, name in the submission, number
    unusable: dict[zipfile.ZipInfo, str] = field(default_factory=dict)  # of the members, and why
    submitted: datetime.datetime | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def age(self) -> tuple[Any, ...]:
        """Sorts by time, then by the system's own numbers, then by the times of the files."""
        first = datetime.datetime.min.replace(tzinfo=datetime.UTC)
        return (self.submitted or first, max(n for _, _, n in self.members), max(m.date_time for m, _, _ in self.members))


def system_of(members: Sequence[zipfile.ZipInfo], archive: Path) -> System:
    """The system that names at least half of the files so; of several the one whose students' names stand nearest to the top, then the
    first: what lies deeper was named by a student."""
    fitting: list[tuple[int, System]] = []
    for system in SYSTEMS:
        named = [(path, readings[0]) for member in members if (readings := system.readings(path := path_of(member)))]
        owned = sum(_is_own(system, path_of(member)) for member in members)
        if named and 2 * (len(named) + owned) >= len(members):
            fitting.append((min(path.removesuffix(one.file).rstrip("/").count("/") for path, one in named), system))
    if fitting:
        return min(fitting, key=lambda found: found[0])[1]
    there = ", ".join(repr(path_of(member)[:60]) for member in members[:3]) or "nothing"
    raise BulkError(
        f"{archive}: expected a bulk download of {', '.join(system.name for system in SYSTEMS)}; it holds {there}. Unpack it and "
        "give the folders to `grade` instead."
    )


def _is_own(system: System, path: str) -> bool:
    return system.own is not None and system.own.fullmatch(path) is not None


def sort_members(
    bundle: Bundle, members: Sequence[zipfile.ZipInfo], unusable: Mapping[zipfile.ZipInfo, str], known: Known, assignment: str, source: Path
) -> tuple[list[Attempt], list[str]]:
    """Sort the members into submissions; also notes on the whole."""
    system = system_of(members, source)
    facts = _facts(bundle, members, system)
    attempts: dict[tuple[str, str], Attempt] = {}
    left_out: list[str] = []
    decided: dict[str, None] = {}
    others: Counter[str] = Counter()
    for member in [*members, *unusable]:
        path = path_of(member)
        readings = system.readings(path)
        if not readings and not (_is_own(system, path) and member not in unusable):
            left_out.append(shown(path, 120) + (f" ({unusable[member]})" if member in unusable else ""))
        elif readings and readings[0].assignment not in ("", assignment):
            others[readings[0].assignment] += 1
        elif readings:
            found = _sorted_in(member, readings, facts, known, attempts)
            if found is None:
                decided[shown(readings[0].key, 120)] = None
            for attempt in found or () if member in unusable else ():
                attempt.unusable[member] = unusable[member]
    for attempt in attempts.values():
        _date(bundle, attempt, system, known)
        if system.renumbers:
            _undo_numbers(attempt)
    notes = [f"a bulk download of {system.name}"]
    notes += [f"{count} files belong to the assignment {name}, not to {assignment}" for name, count in others.items()]
    notes += [f"nobody's, as {known.decisions.path} says: {', '.join(decided)}"] if decided else []
    if left_out:
        more = ", ..." if len(left_out) > MOST_LISTED else ""
        notes.append(Problem(f"{len(left_out)} files were left out: {', '.join(left_out[:MOST_LISTED])}{more}"))
    if not attempts:
        raise BulkError(f"{source}: a download of {system.name} without anything of the assignment {assignment}. {'; '.join(notes[1:])}")
    return list(attempts.values()), notes


def _facts(bundle: Bundle, members: Sequence[zipfile.ZipInfo], system: System) -> dict[str, Facts]:
    """What the system says of hand-ins. A student's file of the same name would be in a deeper folder, or have a name before it."""
    facts: dict[str, Facts] = {}
    for member in members if system.receipts else ():
        path = path_of(member)
        if _is_own(system, path) and not system.readings(path) and member.file_size < MAX_RECEIPT and system.receipts:
            with bundle.open(member) as file:
                text = file.read(MAX_RECEIPT).decode("utf-8-sig", "replace")
            stem = PurePosixPath(path).name.removesuffix(".txt")
            facts |= {name or stem: fact for name, fact in system.receipts(text).items()}
    return facts


def _sorted_in(
    member: zipfile.ZipInfo, readings: Sequence[Reading], facts: Mapping[str, Facts], known: Known, attempts: dict[tuple[str, str], Attempt]
) -> list[Attempt] | None:
    """Add a file to the submission that it belongs to, or to one for each who handed in together.

    Returns:
        These submissions; None if it was decided that it is nobody's.
    """
    fact = facts.get(readings[0].attempt, Facts())
    claims = [_claim(readings[0], person, fact) for person in fact.people] or [list(readings)]
    verdicts = [verdict for claim in claims if not (verdict := whose(claim, known.roster, known.decisions)).dropped]
    found = []
    for verdict in verdicts:
        reading = verdict.reading
        names = [student.name for student in verdict.students] or [reading.title or reading.key]
        for name in names:
            is_known = bool(verdict.students)
            attempt = Attempt(reading.attempt, reading.key, name, is_known, reading.time, notes=list(verdict.notes))
            attempt = attempts.setdefault((name if is_known else f"\0{reading.key}", reading.attempt), attempt)
            others = [other for other in names if other != name]
            others += [claim[0].name for claim in claims if claim[0].key != reading.key] if fact.people else []
            note = f"handed in together with {', '.join(others)}"
            attempt.notes += [note] if others and note not in attempt.notes else []
            attempt.members.append((member, _original(member, fact) or reading.file, reading.number))
            attempt.late |= reading.late
            found.append(attempt)
    return found if verdicts else None


def _claim(reading: Reading, person: Mapping[str, str], fact: Facts) -> list[Reading]:
    """The only reading where the system itself says whose it is."""
    name, sid, email = (person.get(word, "") for word in ("name", "sid", "email"))
    raw = name or sid or email or reading.attempt
    key = reading.attempt if len(fact.people) == 1 else f"{reading.attempt} {raw}"
    title = f"{raw}_{sid}" if sid and raw != sid else raw
    return [replace(reading, key=key, title=title, name=name, ids=(sid, email), time=_time(fact, reading))]


def _time(fact: Facts, reading: Reading) -> str:
    """What the system says of the time, or the name of the file where that is in words that nobody here reads."""
    if reading.time:
        try:
            read_time(fact.time)
        except TimeError:
            return reading.time
    return fact.time


def _original(member: zipfile.ZipInfo, fact: Facts) -> str:
    """The name that a file had before the system changed it; what a student wrote, so a path is none."""
    name = fact.names.get(PurePosixPath(path_of(member)).name, "")
    return "" if re.search(r"[/\\\0]|^\.*$", name) else name


def _date(bundle: Bundle, attempt: Attempt, system: System, known: Known) -> None:
    """Say when it was handed in, by its name or by the file that the system put beside it."""
    text = attempt.time
    stamp = next((m for m, file, _ in attempt.members if system.stamp and file == system.stamp and m not in attempt.unusable), None)
    if stamp is not None and stamp.file_size < 100:
        with bundle.open(stamp) as file:
            text = file.read(100).decode("utf-8", "replace")
    if text.strip():
        try:
            attempt.submitted, note = read_time(text, known.terms.zone if system.local else datetime.UTC)
            attempt.notes += [note] * bool(note)
        except TimeError as error:
            attempt.notes.append(Problem(f"when it was handed in cannot be read: {error}"))


def _undo_numbers(attempt: Attempt) -> None:
    """Give files that were uploaded again their names back: ``a-1.py`` is ``a.py``, but ``a-1.py`` beside ``a-2.py`` alone is a name."""
    plain = {name: re.sub(r"-\d{1,2}(?=(\.[A-Za-z]\w*)?$)", "", name) for _, name, _ in attempt.members}
    count = Counter(plain.values())
    numbered = {name for name in plain if plain[name] not in plain and count[plain[name]] > 1}
    attempt.members = [(member, name if name in numbered else plain[name], number) for member, name, number in attempt.members]


def by_student(attempts: Iterable[Attempt]) -> list[tuple[str, list[Attempt]]]:
    """Name of a folder -> submissions of that student, newest first. Who is on the roster comes first: its names stay."""
    students: dict[tuple[bool, str, str], list[Attempt]] = {}
    for attempt in attempts:
        students.setdefault((not attempt.known, attempt.title, "" if attempt.known else attempt.key), []).append(attempt)
    named: dict[str, list[Attempt]] = {}
    for (_, title, _), group in sorted(students.items(), key=lambda item: item[0]):
        name = folder_name(title)
        while name in named:
            name += "_2"
        named[name] = sorted(group, key=lambda attempt: attempt.age, reverse=True)
    return sorted(named.items())
