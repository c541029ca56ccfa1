"""The hand-ins of a class as each course system gives them out, all written from one table.

Names of files follow the exporters' own code where that is public (Canvas: ``lib/content_zipper.rb`` of canvas-lms; Moodle:
``mod/assign/classes/downloader.php``; nbgrader 0.9: ``exchange/default/submit.py`` and ``collect.py``), and elsewhere what several public
programs expect that read such downloads (Gradescope's ``submission_metadata.yml``, Blackboard's receipts, Brightspace's folders).
"""

import datetime
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from class_of_sixty import ABSENT, LATE, ROSTER, Person, table, write_work

__all__ = ["DECISIONS", "DOWNLOADS", "SAYS_NO_TIME", "WORKSHEET", "write_download"]

Files = Iterator[tuple[str, str]]
Work = Callable[[Person], dict[str, str]]
SAYS_NO_TIME = ("Canvas", "Moodle")


def WORKSHEET(people: tuple[Person, ...]) -> str:
    """Moodle's grading worksheet before anything is graded, which is its class list too."""
    rows = [
        [f"Participant {one.participant}", one.name, one.email, "Submitted for grading" if one.came else "No submission", "", "20.00",
         "Yes", "-", "-", ""]
        for one in (*people, ABSENT)
    ]  # fmt: skip
    head = "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (submission)"
    return table(f"{head},Last modified (grade),Feedback comments", rows)


def _hand_ins(people: tuple[Person, ...]) -> Iterator[tuple[Person, ...]]:
    """Those who handed in together, once."""
    groups: dict[str, list[Person]] = {}
    for one in people:
        groups.setdefault(one.group or one.login, []).append(one)
    yield from map(tuple, groups.values())


def _canvas(people: tuple[Person, ...], work: Work) -> Files:
    """The name as it is sorted, in small letters, without anything but letters and digits; a group's own name with the id of one."""
    for number, (one, *_) in enumerate(_hand_ins(people)):
        person = one.group.lower() if one.group else re.sub(r"\W", "", f"{one.last}{one.first}".lower())
        for place, (name, text) in enumerate(work(one).items()):
            yield f"{person}{'_LATE' if one.came == LATE else ''}_{int(one.number)}_{90000 + 10 * number + place}_{name}", text


def _moodle(people: tuple[Person, ...], work: Work) -> Files:
    """The name as it is shown, less what no file may have; each of a group gets the work, under the group's name."""
    for one in people:
        group = f"{one.group}-" if one.group else ""
        for name, text in work(one).items():
            yield f"{group}{one.name.replace(chr(39), '')}_{one.participant}_assignsubmission_file_/{name}", text


def _gradescope(people: tuple[Person, ...], work: Work) -> Files:
    lines = []
    for number, group in enumerate(_hand_ins(people), 700):
        came = datetime.datetime.fromisoformat(f"{group[0].came}+01:00").astimezone(datetime.UTC)
        lines += [f"submission_{number}:", "  :submitters:"]
        for one in group:
            name = one.name.replace("'", "''")
            lines += [f"  - :name: '{name}'", f"    :sid: '{one.number}'", f"    :email: {one.email}"]
        lines += [f"  :created_at: {came:%Y-%m-%d %H:%M:%S}.123456 Z", "  :score: 0.0", "  :history: []"]
        for name, text in work(group[0]).items():
            yield f"assignment_5_export/submission_{number}/{name}", text
    yield "assignment_5_export/submission_metadata.yml", "\n".join([*lines, ""])


def _blackboard(people: tuple[Person, ...], work: Work) -> Files:
    """The login, or the name of a group; beside each a receipt."""
    for one, *_ in _hand_ins(people):
        came = datetime.datetime.fromisoformat(one.came)
        stem = f"FCN_Project_{one.group or one.login}_attempt_{came:%Y-%m-%d-%H-%M-%S}"
        yield (
            f"{stem}.txt",
            (
                f"Name: {one.group or f'{one.name} ({one.login})'}\nAssignment: FCN_Project\n"
                f"Date Submitted: {came:%A, %B %d, %Y %I:%M:%S %p} CET\nCurrent Grade: \n\nSubmission Field:\n"
                "There is no student submission text data for this assignment.\n\n"
                "Comments:\nThere are no student comments for this assignment.\n"
            ),
        )
        yield from ((f"{stem}_{name}", text) for name, text in work(one).items())


def _brightspace(people: tuple[Person, ...], work: Work) -> Files:
    """The number is Brightspace's own, so of namesakes nothing says who is who."""
    yield "FCN/index.html", "<html>who handed in what</html>"
    for number, (one, *_) in enumerate(_hand_ins(people), 39786):
        came = datetime.datetime.fromisoformat(one.came)
        place = f"FCN/{number}-640693 - {one.group or one.name} - {came:%b %d, %Y %I%M %p}".replace(" 0", " ")
        yield from ((f"{place}/{name}", text) for name, text in work(one).items())


def _exchange(people: tuple[Person, ...], work: Work) -> Files:
    for one in people:
        for name, text in {**work(one), "timestamp.txt": f"{one.came.replace('T', ' ')}.123456 CET"}.items():
            yield f"inbound/{one.login}+tiny+{one.came.replace('T', ' ')}.123456 CET+cmFuZG9t/{name}", text


def _submitted(people: tuple[Person, ...], work: Work) -> Files:
    for one in people:
        for name, text in {**work(one), "timestamp.txt": f"{one.came.replace('T', ' ')}.123456 Europe/Berlin"}.items():
            yield f"submitted/{one.login}/tiny/{name}", text


DOWNLOADS: dict[str, tuple[Callable[[tuple[Person, ...], Work], Files], Callable[[tuple[Person, ...]], str]]] = {
    "Canvas": (_canvas, ROSTER),
    "Moodle": (_moodle, WORKSHEET),
    "Gradescope": (_gradescope, ROSTER),
    "Blackboard": (_blackboard, ROSTER),
    "Brightspace": (_brightspace, ROSTER),
    "nbgrader's exchange": (_exchange, ROSTER),
    "nbgrader's folder submitted": (_submitted, ROSTER),
}
# what nobody but a person can say, and the lines by which it is said
DECISIONS = {
    "Blackboard": ["Team_7,ada", "Team_7,noor", "Team_7,tomas"],
    "Brightspace": ["39790-640693 - Wei Li,wli", "39791-640693 - Wei Li,wli2"],
}


def write_download(
    system: str, people: tuple[Person, ...], folder: Path, write: Callable[[Path, Person], Path] = write_work
) -> tuple[Path, Path]:
    """Write what a system gives out, and the class list beside it; returns both.

    Args:
        system: Key of ``DOWNLOADS``.
        people: Who hands in.
        folder: Receives both.
        write: Writes the files of one into a folder.
    """

    def work(one: Person) -> dict[str, str]:
        files = sorted(write(folder / "work" / one.login, one).iterdir())
        return {path.name: path.read_text(encoding="utf-8") for path in files}

    files, roster = DOWNLOADS[system]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roster.csv").write_text(roster(people), encoding="utf-8-sig")
    if system.startswith("nbgrader"):
        for name, text in files(people, work):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return folder / name.partition("/")[0], folder / "roster.csv"
    with zipfile.ZipFile(folder / "export.zip", "w") as bundle:
        for name, text in files(people, work):
            bundle.writestr(zipfile.ZipInfo(name, (2026, 3, 16, 12, 0, 0)), text)
    return folder / "export.zip", folder / "roster.csv"
