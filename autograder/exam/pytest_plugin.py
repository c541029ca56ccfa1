"""The checks of an assignment under plain pytest, for one submission: with ``-k``, ``--pdb`` and reports as in any project.

    python -m pytest -n 0 -p autograder.exam.pytest_plugin --submission DIR autograder/assignments/fcn/checks

A check that lost points fails, with what the student would read. The points stand in ``--junitxml`` as properties.
The assignment is the folder that the checks lie in; the course's secret is that of ``python -m autograder grade``.
"""

import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from autograder.judge.checking import CheckPlugin
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["PlainChecks", "points_in_junit"]


class PlainChecks(CheckPlugin):
    """Offers the fixtures, and tells pytest what a check gave."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(  # type: ignore[override] # the same hook, around the others
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        before = dict(self.results)
        super().pytest_runtest_makereport(item, call)
        fresh = [result for name, result in self.results.items() if before.get(name) is not result]
        for result in fresh:
            item.user_properties += [("check", result.id), ("points", "none" if result.points is None else repr(result.points))]
            if report.passed and result.points != result.max_points:
                report.outcome = "failed"
                report.longrepr = f"{result.points:g} of {result.max_points:g} points\n{result.message}"
        return report


def points_in_junit(path: Path) -> dict[str, float | None]:
    """Read points by check id from a report that pytest wrote with ``--junitxml``; a check's last entry counts."""
    found: dict[str, float | None] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        check = None
        for entry in case.iter("property"):
            if entry.get("name") == "check":
                check = entry.get("value")
            elif entry.get("name") == "points" and check is not None:
                value = entry.get("value")
                found[check] = None if value == "none" else float(cast(str, value))
    return found


# --------------------------------------------------------------------------------------------------- as a plugin of pytest
def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("autograder")
    group.addoption("--submission", metavar="DIR", help="Folder or zip that the checks are run on.")
    group.addoption("--only-check", action="append", default=[], metavar="ID", help="This check of the rubric only (repeatable).")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--submission"):
        config.pluginmanager.register(_Session(config), "autograder-session")


class _Session:
    """Opens the run of the assignment whose checks were named, and closes it when pytest ends."""

    def __init__(self, config: pytest.Config) -> None:
        from autograder.handins.submission import SubmissionError, read_submission
        from autograder.judge.grade import Context
        from autograder.judge.run import Run, Settings
        from autograder.judge.student import Student
        from autograder.sandbox.client import RemoteSubject

        material = _material(config)
        path, only = Path(config.getoption("--submission")).resolve(), tuple(config.getoption("--only-check"))
        self._out = tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-pytest-"))
        self._run = Run.create(Settings(str(material), Path(self._out.name), device="cpu", only=only))
        try:
            self._submission = read_submission(path, path.name, self._run.rubric)
        except SubmissionError as error:
            self._run.close()
            raise pytest.UsageError(str(error)) from error
        self._subject = RemoteSubject(self._run.worker_settings())
        student = Student(self._submission.workbook, self._subject, tuple(self._submission.checkpoints))
        automatic: Mapping[str, Any] = {name: check for name, check in self._run.wanted_checks.items() if not check.manual}
        config.pluginmanager.register(PlainChecks(student, Context(self._run, self._submission), automatic, None), "autograder-checks")

    def pytest_unconfigure(self) -> None:
        self._subject.close()
        self._submission.close()
        self._run.close()
        self._out.cleanup()


def _material(config: pytest.Config) -> Path:
    """The assignment's folder: the nearest one above the first argument that has a rubric."""
    first = Path(str(config.args[0]).partition("::")[0]).resolve()
    for folder in (first, *first.parents):
        if (folder / "rubric.toml").is_file():
            return folder
    raise pytest.UsageError(f"{first}: expected checks of an assignment (below a folder with rubric.toml)")
