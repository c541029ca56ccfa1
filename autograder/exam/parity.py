"""One submission, three ways: the command line, nbgrader's gradebook, plain pytest. All must give the same points.

The worker's replies are kept from the first way and given again in the others as long as these ask the same of the same code
(``replay``): what is compared is everything else, the collecting, reading, judging and bookkeeping of each way.
"""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from autograder.exam.course import Course
from autograder.exam.pytest_plugin import PlainChecks, points_in_junit
from autograder.exam.replay import Tape
from autograder.gradebook.judging import lend_run
from autograder.handins.submission import SubmissionError, read_submission
from autograder.judge.grade import Context
from autograder.judge.own_pytest import own_modules, own_pytest, plain_arguments
from autograder.judge.run import Run
from autograder.judge.student import Student
from autograder.sandbox.client import RemoteSubject
from autograder.sandbox.verbs import Worker

__all__ = ["differences", "nbgrader_points", "pytest_points"]

Points = Mapping[str, float | None]


def nbgrader_points(course: Course, run: Run, path: Path, student: str, tape: Tape | None = None) -> Points | None:
    """Points in the gradebook after ``collect`` and ``nbgrader autograde``; None if the hand-in cannot be collected.

    Args:
        course: The course; its assignment is that of the run.
        run: The open run, told which checks to grade.
        path: The raw hand-in.
        student: Name in the gradebook.
        tape: Replies of a worker that are known; None asks a worker.
    """
    lend_run(course.assignment, run, handover=tape)
    try:
        return course.points(path, student, run)
    finally:
        lend_run(course.assignment, None)


def pytest_points(run: Run, path: Path, report: Path, tape: Tape | None = None) -> Points | None:
    """Points in the JUnit report of plain pytest over the checks; None if the hand-in cannot be read.

    Args:
        run: The open run, told which checks to grade.
        path: The hand-in.
        report: Where the report goes.
        tape: Replies of a worker that are known; None asks a worker.
    """
    try:
        submission = read_submission(path, path.name, run.rubric)
    except SubmissionError:
        return None
    subject = (tape.open if tape else RemoteSubject)(run.worker_settings())
    checks = {name: check for name, check in run.wanted_checks.items() if not check.manual}
    try:
        with subject, contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said), own_pytest():
            files = {name: checkpoint.path for name, checkpoint in submission.checkpoints.items() if checkpoint.path is not None}
            gate = run.gate_settings()
            student = Student(submission.workbook, cast(Worker, subject), tuple(submission.checkpoints), lambda: RemoteSubject(gate, files))
            plugin = PlainChecks(student, Context(run, submission), checks, None)
            with own_modules(run.assignment.checks):
                arguments = plain_arguments(run.assignment.checks, run.empty_ini)
                pytest.main([*arguments, "--junitxml", str(report)], plugins=[plugin])
    finally:
        submission.close()
    return points_in_junit(report)


def differences(expected: Points | None, found: Points | None, way: str) -> list[str]:
    """Say in words where a way gives other points than the command line.

    Args:
        expected: Check id -> points of the command line; None if it could not read the submission.
        found: The same of the other way; may hold more checks.
        way: Its name.
    """
    if expected is None or found is None:
        return [] if expected is found else [f"{way} could {'not ' if found is None else ''}read it, the command line could"
                                             f"{'' if found is None else ' not'}"]  # fmt: skip
    lines = []
    for check, points in expected.items():
        if check not in found:
            lines.append(f"{way} has no points for {check}, the command line {_words(points)}")
        elif found[check] != points:
            lines.append(f"{way} gives {check} {_words(found[check])} points, the command line {_words(points)}")
    return lines


def _words(points: float | None) -> str:
    return "no" if points is None else f"{points:g}"
