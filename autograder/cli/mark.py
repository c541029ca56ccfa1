"""``python -m autograder mark``: written answers in the marking room, marks from elsewhere, other points for a check."""

import contextlib
import getpass
import os
import re
import secrets
import socket
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from autograder.course.assignment import Assignment
    from autograder.export.entries import Entry
    from autograder.marking.keeping import Keeper
    from autograder.marking.room import Question

__all__ = ["mark_command", "open_assignment_of", "write_pages"]

SCHEME = re.compile(r"^[^\n]*BEGIN MARK SCHEME[^\n]*\n(.*?)^[^\n]*END MARK SCHEME", re.MULTILINE | re.DOTALL)


@click.command("mark")
@click.argument("graded", type=click.Path(file_okay=False, path_type=Path))
@click.option("--as", "person", default="", help="Who marks; it stands beside every mark.  [default: your user name]")
@click.option("--assignment", default="", help="Name of the assignment, or its folder.  [default: as the results say]")
@click.option("--port", default=0, show_default="any that is free", type=click.IntRange(0, 65535))
@click.option("--no-browser", is_flag=True, help="Print the address, and open nothing.")
@click.option(
    "--take",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take points by hand from a copy of summary.csv, or from nbgrader's gradebook (gradebook.db), into your marks.",
)
@click.option("--change", nargs=3, type=str, metavar="NAME CHECK POINTS", help="Change the points of an automatic check; needs --reason.")
@click.option("--reason", default="", help="Why; the student reads it.")
@click.option("--pages", is_flag=True, help="Only write reports, summary and class page again, as the marks are now.")
@click.option(
    "--roster",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The class list, for the class page: names, sections, addresses, who is missing. It is kept for later.",
)
def mark_command(
    graded: Path, person: str, assignment: str, port: int, no_browser: bool, take: Path | None, change: tuple[str, str, str] | None,
    reason: str, pages: bool, roster: Path | None,
) -> None:  # fmt: skip
    """Mark the written answers of GRADED (what `grade --out` wrote) in the browser: question by question, by keyboard, names hidden.

    Every key is saved at once, in GRADED/marks/PERSON.toml; several people may mark at the same time. Ctrl+C leaves the room and writes
    reports and class page again. With --take, --change or --pages nothing is opened in the browser.
    Exit 0: done; 1: something has to be looked at, or a page could not be written; 2: bad usage.
    """
    from autograder.cli.people import keep_people, say_notes
    from autograder.course.rubric import RubricError
    from autograder.export.entries import ExportError, read_results
    from autograder.marking import MarksError
    from autograder.marking.keeping import Keeper, write_rubric_criteria

    if bool(change) != bool(reason):
        raise click.UsageError("--change NAME CHECK POINTS and --reason TEXT belong together.")
    lines: list[str] = []
    try:
        entries = read_results(graded, lines.append)
        opened = open_assignment_of(assignment, entries)
        if roster:
            people = keep_people(graded, roster)
            say_notes(people)
            click.echo(f"{len(people.students)} people of {roster} are on the class page.")
        if not pages:
            keeper = Keeper(graded, person or getpass.getuser())
            write_rubric_criteria(graded, opened.rubric)
            if take:
                click.echo(_take(take, entries, keeper, graded, opened))
            if change:
                click.echo(_change(change, reason, entries, keeper, graded))
            if not take and not change:
                _serve(graded, opened, keeper, port, not no_browser)
        lines += write_pages(graded, opened)
    except (ExportError, MarksError, RubricError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(str(error)) from error
    for line in lines:
        click.echo(line, err=True)
    click.echo(f"Class page: {graded / 'index.html'}")
    sys.exit(1 if lines else 0)


def open_assignment_of(name: str, entries: "Sequence[Entry]") -> "Assignment":
    """The assignment that is named, or else that of the results.

    Raises:
        click.UsageError: There are several, or it cannot be opened.
    """
    from autograder.course.assignment import open_assignment
    from autograder.course.rubric import RubricError

    names = sorted({entry.result["assignment"] for entry in entries})
    if len(names) > 1:
        raise click.UsageError(f"expected results of one assignment, found {', '.join(names)}.")
    try:
        return open_assignment(name or names[0])
    except RubricError as error:
        raise click.UsageError(f"{error} Name it, or its folder: --assignment FOLDER") from None


def _questions(opened: "Assignment") -> "dict[str, Question]":
    """The checks that a person marks, with the mark schemes of the source notebooks where they are there."""
    from autograder.course.sources import repository
    from autograder.marking.room import Question
    from autograder.release.notebooks import NotebookFault, read_source

    schemes: dict[str, str] = {}
    for name in opened.rubric.notebooks:
        try:
            notebook = read_source(repository() / "notebooks" / opened.name / name, opened)
        except NotebookFault:  # a course that keeps its notebooks elsewhere marks without schemes
            continue
        for cell in notebook.cells:
            grade_id = (cell.metadata.get("nbgrader") or {}).get("grade_id")
            if grade_id and (found := SCHEME.search(cell.source)):
                schemes[grade_id] = found[1]
    manual = [check for check in opened.rubric.checks.values() if check.manual]
    return {check.id: Question(check.id, check.title, check.points, schemes.get(check.id.replace(".", "-"), "")) for check in manual}


def _serve(graded: Path, opened: "Assignment", keeper: "Keeper", port: int, browser: bool) -> None:
    import uvicorn

    from autograder.marking.app import room_app
    from autograder.marking.room import Room

    room = Room(graded, _questions(opened), keeper)
    if not room.questions:
        raise click.UsageError(f"the assignment {opened.name} has no check that a person marks (manual = true in its rubric).")
    room.overview()  # what is wrong is said here, not in the browser
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # who follows the address before the server has begun waits, and is not refused
    except OSError as error:
        raise click.ClickException(f"--port {port}: {error.strerror}. Another program has it; leave --port out.") from None
    token = secrets.token_urlsafe(24)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/#{token}"
    click.echo(f"Marking room for {keeper.person}: {address}\nKeep the address to yourself: whoever has it can mark. Ctrl+C ends.")
    server = uvicorn.Server(uvicorn.Config(room_app(room, token), log_level="warning", access_log=False, server_header=False))
    with contextlib.suppress(KeyboardInterrupt), _opened(keeper.path.with_suffix(".html"), address if browser else ""):
        server.run(sockets=[listening])
    click.echo(f"Marks are in {keeper.path}.")


@contextlib.contextmanager
def _opened(path: Path, address: str) -> Iterator[None]:
    """Open the room in the browser, by a file that nobody else can read: other users see the words of a command, and so the token."""
    path = path.with_name(f".{path.name}")
    if address:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Marking room</a>\n')
        webbrowser.open(path.resolve().as_uri())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_pages(graded: Path, opened: "Assignment") -> list[str]:
    """Write reports, summary and class page again, unless a run is at work in the folder; returns what somebody should look at."""
    from autograder.batch.writing import write_again
    from autograder.sandbox.locks import FolderBusyError, hold_folder

    try:
        with hold_folder(graded):
            return write_again(graded, opened.rubric)
    except FolderBusyError:
        return ["The pages are not written: a run is grading into this folder; it writes them at its end."]


def _take(path: Path, entries: "Sequence[Entry]", keeper: "Keeper", graded: Path, opened: "Assignment") -> str:
    """Take what people gave elsewhere into the person's marks; what is there already as it was given is left alone."""
    from autograder.marking import marked
    from autograder.report.labels import given_by_hand

    before = marked(graded, {entry.folder: entry.result for entry in entries}).results
    taken = 0
    for student, check, points, comment, reason in _given(path, entries, before, opened):
        now = next(one for one in before[student]["checks"] if one["id"] == check)
        if now["points"] == points and (not comment or comment in now["message"]):
            continue
        if not given_by_hand(now):
            reason = reason or f"taken from {path.name}"
        _put(keeper, graded, before[student], now, points, comment, reason)
        taken += 1
    return f"{taken} taken from {path} into {keeper.path}."


def _given(
    path: Path, entries: "Sequence[Entry]", before: dict[str, dict[str, Any]], opened: "Assignment"
) -> list[tuple[str, str, float, str, str]]:
    """Folder, check, points, comment and reason of all that a table or a gradebook gives."""
    from autograder.export.entries import Entry, ExportError

    with path.open("rb") as file:
        is_database = file.read(16) == b"SQLite format 3\0"
    if not is_database:
        from autograder.export.manual import with_manual_points

        after = with_manual_points([Entry(entry.folder, before[entry.folder]) for entry in entries], path)
        pairs = [
            (entry.folder, old, new)
            for entry in after
            for old, new in zip(before[entry.folder]["checks"], entry.result["checks"], strict=True)
        ]
        return [(folder, new["id"], new["points"], "", new["hand"]["reason"]) for folder, old, new in pairs if new is not old]
    from autograder.export.gradebook_marks import read_manual_scores
    from autograder.marking.applying import points_from

    folders = {entry.result["submission"]: entry.folder for entry in entries}
    given = read_manual_scores(path, opened.name, {check.id: check.points for check in opened.rubric.checks.values()})
    known = [one for one in given if one.student in folders]
    for one in known:
        try:
            points_from(repr(one.points), opened.rubric.checks[one.check].points)
        except ValueError as error:
            raise ExportError(f"{path}, {one.student}, {one.check}: {error}") from None
    return [(folders[one.student], one.check, one.points, one.comment, "") for one in known]


def _change(change: tuple[str, str, str], reason: str, entries: "Sequence[Entry]", keeper: "Keeper", graded: Path) -> str:
    """An override, as an appeal asks for it."""
    from autograder.marking.applying import points_from

    name, check_id, text = change
    result = next((entry.result for entry in entries if entry.result["submission"] == name), None)
    if result is None:
        raise click.UsageError(f"--change: there is no result of {name!r} in {graded}.")
    check = next((one for one in result["checks"] if one["id"] == check_id), None)
    if check is None:
        raise click.UsageError(f"--change: there is no check {check_id!r}; there is: {', '.join(one['id'] for one in result['checks'])}.")
    try:
        points = points_from(text, check["max_points"])
    except ValueError as error:
        raise click.UsageError(f"--change: {error}") from None
    _put(keeper, graded, result, check, points, "", reason)
    return f"{name}, {check_id}: {points:g} points, in {keeper.path}."


def _put(
    keeper: "Keeper", graded: Path, result: "dict[str, Any] | Any", check: "dict[str, Any]", points: float, comment: str, reason: str
) -> None:
    """Keep points that were given outside of the room, in knowledge of what others gave."""
    from autograder.marking import read_marks
    from autograder.report.labels import given_by_hand

    marks, student = read_marks(graded), result["submission"]
    if given_by_hand(check):
        saw = {one.by: one.when for one in marks.marks(student, check["id"]) if one.what.when and one.by != keeper.person}
        keeper.put_mark(student, check["id"], {"points": points, "comment": comment, "reason": reason}, saw)
    else:
        changes = marks.overrides(student, check["id"])
        saw = {one.by: one.when for one in changes if one.by != keeper.person}
        was = check["hand"]["was"] if check.get("hand") else check["points"]
        keeper.put_override(student, check["id"], {"points": points, "reason": reason, "was": was}, saw)
