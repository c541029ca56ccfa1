"""What students get back: a page for each, as a zip that Moodle takes, or with a table of addresses for a mail merge.

Moodle takes a zip of feedback files whose folders are called as in its own downloads, ``FULL NAME_PARTICIPANT_assignsubmission_file_``
(``mod/assign/feedback/file/importziplib.php``): it reads the number between the first two underscores.
"""

import csv
import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from autograder.course.assignment import open_assignment
from autograder.course.rubric import RubricError
from autograder.export.entries import Entry, Options, open_checks, shown
from autograder.export.lms import Line
from autograder.export.matching import student_of
from autograder.report import late_of, read_answers, read_pictures, same_page, write_student_page
from autograder.report.rendering import no_formula
from segkit.atomic import replacing

__all__ = ["moodle_folder", "pages_of", "write_mail", "write_moodle_zip"]

ADDRESSES = ("email", "first_name", "last_name", "name", "points", "max_points", "open_points", "file")
LATE = ("late_penalty", "points_after_penalty")  # columns that are there where lateness costs somebody points
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same contents give the same bytes


def pages_of(graded: Path) -> Callable[[Entry], str]:
    """Gives the page of each result of a graded folder: the one that lies there, or a new one if points were given since."""

    def page(entry: Entry) -> str:
        folder = graded if (graded / "result.json").is_file() else graded / entry.folder
        if same_page(dict(entry.result), folder):
            return (folder / "report.html").read_text(encoding="utf-8")
        return _new_page(entry, folder)

    return page


def _new_page(entry: Entry, folder: Path) -> str:
    try:
        rubric = open_assignment(entry.result["assignment"]).rubric
        titles, checks = rubric.causes, {name: {"title": check.title} for name, check in rubric.checks.items()}
    except RubricError:  # an assignment outside of the kit: ids serve as titles
        titles, checks = {}, {}
    with tempfile.TemporaryDirectory() as place:
        if (folder / "pictures").is_dir():
            shutil.copytree(folder / "pictures", Path(place, "pictures"))
        made = write_student_page(
            dict(entry.result),
            Path(place),
            titles=titles,
            checks=checks,
            pictures=read_pictures(folder),
            answers=read_answers(folder),
            late=late_of(folder),
        )
        return made.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------------- mail
def write_mail(entries: Iterable[Entry], options: Options) -> Iterator[tuple[PurePosixPath, str]]:
    """A page for each result, and ``addresses.csv``, of which a mail merge makes a message with a file for each line."""
    text = io.StringIO(newline="")
    table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    entries = list(entries)
    penalised = any(entry.late and entry.late.penalty for entry in entries)
    table.writerow([*ADDRESSES, *(LATE if penalised else ())])
    for entry in entries:
        file = PurePosixPath(entry.folder, "feedback.html")
        yield file, options.page(entry)
        result, name = entry.result, entry.result["submission"]
        student = student_of(name, options.roster)
        email = student.email if student else name if re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", name) else ""
        if not email:
            options.say(f"{entry.folder}: no mail address on the roster: its page is written, but it is not in addresses.csv")
            continue
        waiting = sum(check["max_points"] for check in open_checks(result))
        points = "" if waiting else f"{result['score']:g}"
        person = [student.first_name, student.last_name] if student else ["", ""]
        row = [email, *person, name, points, f"{result['max_score']:g}", f"{waiting:g}", str(file)]
        row += _late_cells(entry, bool(waiting), options) if penalised else []
        table.writerow(" ".join(no_formula(shown(cell)).split()) for cell in row)
    yield PurePosixPath("addresses.csv"), "\ufeff" + text.getvalue()  # with the mark a spreadsheet shows all letters right


def _late_cells(entry: Entry, waiting: bool, options: Options) -> list[str]:
    taken = entry.penalty(entry.result["checks"])
    if taken is None:
        options.say(f"{entry.folder}: no points after the penalty: {entry.late_line(entry.result['checks'])}")
    return ["", ""] if waiting or taken is None else [f"{taken:g}", f"{entry.result['score'] - taken:g}"]


# ----------------------------------------------------------------------------------------------------------------- Moodle
def moodle_folder(line: Line, participant: str) -> str:
    """The name of a student's folder as Moodle's downloads have it; an underscore in a name would move the number."""
    number = re.sub(r".*?(\d*)$", r"\1", line.ids[participant])
    name = " ".join(re.sub(r"[^\w .'-]|_", " ", next(iter(line.names), "")).split()) or "Participant"
    return f"{name}_{number}_assignsubmission_file_"


def write_moodle_zip(out: Path, pages: Iterable[tuple[str, str]]) -> None:
    """Write a zip of feedback files, whole or not at all.

    Args:
        out: The zip.
        pages: Folder -> page, for each student.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as bundle:
        for folder, page in pages:
            info = zipfile.ZipInfo(f"{folder}/feedback.html", FIXED_TIME)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            bundle.writestr(info, page)
