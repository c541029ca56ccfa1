"""Run an assignment's checks with pytest, and turn what happened into their results.

A check is a pytest function marked with its id; it asks the fixture ``student`` for evidence and tells the fixture
``grading`` what it lost::

    @check("scores")
    def test_iou_is_not_recall(student, grading):
        accuracy, iou, mean = student.call("scores", HIST)
        if not np.allclose(iou, EXPECTED):
            grading.lose("iou", cause="iou.recall", message="...")

A plain ``assert`` will do too: its text is what the student reads. Points need a test that came to its end.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from autograder.course.rubric import CheckRubric, Rubric
from autograder.course.seeds import Seeds
from autograder.judge.context import Context
from autograder.judge.own_pytest import run_pytest
from autograder.judge.student import Student
from autograder.sandbox.capped import REPORT, capped, measured_values
from autograder.sandbox.client import GraderFault
from segkit.subject import StudentError

__all__ = [
    "CannotGrade", "CheckPlugin", "CheckResult", "Fault", "Grading", "NeedsPerson", "check", "inspect_checks", "places_of_checks",
    "run_checks",
]  # fmt: skip


class CannotGrade(Exception):
    """The check cannot be done here (no data, a file that was only named): no points, and no zero either."""

    def __init__(self, message: str, cause: str = "grader.data") -> None:
        super().__init__(message)
        self.cause = cause


class NeedsPerson(CannotGrade):
    """The evidence speaks for and against points: neither they nor a zero, until a person has looked at it."""

    def __init__(self, message: str, cause: str, measured: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, cause)
        self.measured = dict(measured or {})


def check(identifier: str) -> pytest.MarkDecorator:
    """Mark a pytest function as the check with this id."""
    return pytest.mark.check(identifier)


@dataclass
class CheckResult:
    """What became of one check, as a result says it.

    Attributes:
        lost: Lost part -> share of it, in (0, 1]; None where the check could not be graded. It is in no result: the exam asks for it.
    """

    id: str
    points: float | None
    max_points: float
    status: str
    cause: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0
    lost: dict[str, float] | None = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "points": self.points, "max_points": self.max_points, "status": self.status,
            "cause": self.cause, "measured": self.measured or None, "message": self.message,
            "seconds": round(self.seconds, 2),
        }  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What a check lost, as ``Grading.lose`` took it down."""

    part: str
    share: float
    cause: str
    measured: dict[str, Any]
    message: str


@dataclass
class Grading:
    """The fixture ``grading``: what a check loses, and where its random numbers come from.

    Attributes:
        check: The rubric's entry.
        seeds: Seeds of the course.
        context: What the run offers to checks.
        student: The fixture.
        faults: What was lost so far.
        notes: What the student is told besides.
        measured: Values behind these; they stand in the result where nothing is lost.
    """

    check: CheckRubric
    seeds: Seeds
    context: Context
    student: Student
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def rubric(self) -> Rubric:
        return self.context.rubric

    def lose(self, part: str = "all", *, cause: str, message: str, measured: Mapping[str, Any] | None = None, share: float = 1.0) -> None:
        """Take away a share of a part's points.

        Args:
            part: Name of the part in the rubric.
            cause: Stable code, counted over the class.
            message: What the student reads: expected, got, likely cause.
            measured: Small object of measured values.
            share: How much of the part, in (0, 1].
        """
        if part not in self.check.parts:
            raise GraderFault(f"check {self.check.id}: the rubric has no part {part!r} (it has: {', '.join(self.check.parts)})")
        self.faults.append(Fault(part, share, cause, measured_values(measured), capped(message)))

    def note(self, text: str, measured: Mapping[str, Any] | None = None) -> None:
        """Tell the student something that costs nothing.

        Args:
            text: What the student reads.
            measured: Small object of measured values.
        """
        self.notes.append(capped(text))
        self.measured |= measured_values(measured)

    def rng(self, *names: str) -> np.random.Generator:
        """Random numbers of the whole class."""
        return self.seeds.generator(self.check.id, *names)

    def own_rng(self, *names: str) -> np.random.Generator:
        """Random numbers that depend on the student's code too: on every letter of it that reaches a worker."""
        return self.seeds.generator(self.check.id, *names, self.student.code)

    def result(self) -> CheckResult:
        """Points by parts, rounded down to halves; any fault at all keeps a check from being earned."""
        full = self.check.points
        message = capped("\n\n".join(filter(None, [*(fault.message for fault in self.faults), *self.notes])), REPORT)
        if not self.faults:
            return CheckResult(self.check.id, full, full, "earned", measured=measured_values(self.measured), message=message)
        lost: dict[str, float] = {}
        for fault in self.faults:
            lost[fault.part] = min(1.0, lost.get(fault.part, 0.0) + fault.share)
        points, first = self.check.earned(lost), self.faults[0]
        status = "partial" if points > 0 else "not_earned"
        return CheckResult(self.check.id, points, full, status, first.cause, first.measured, message, lost=lost)


class CheckPlugin:
    """The pytest plugin that offers the fixtures and collects the results of the checks."""

    def __init__(self, student: Student, context: Context, checks: Mapping[str, CheckRubric],
                 progress: Callable[..., None] | None) -> None:  # fmt: skip
        self.student, self.context, self.checks = student, context, checks
        self.results: dict[str, CheckResult] = {}
        self.gradings: dict[str, Grading] = {}
        self.collect_errors: list[str] = []
        self.faults: list[str] = []
        self.interrupted = False
        self.progress = progress or (lambda identifier: None)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "check(id): the check of the rubric that this function is")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the checks that are asked for, in the order of the rubric; of an id that is there twice none."""
        places = _places(items)
        self.faults = _doubled(places)
        items[:] = [item for item in items if len(places.get(_check_of(item), ())) == 1]
        order = {identifier: number for number, identifier in enumerate(self.checks)}
        items[:] = sorted((i for i in items if _identifier(i) in order), key=lambda i: order[_check_of(i)])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.collect_errors.append(str(report.longrepr)[-1500:])
            _forget(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = issubclass(excinfo.type, KeyboardInterrupt)

    @pytest.fixture(name="student")
    def _student(self) -> Student:
        return self.student

    @pytest.fixture(name="grading")
    def _grading(self, request: pytest.FixtureRequest) -> Grading:
        return self.gradings[_check_of(request.node)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        identifier = _check_of(item)
        self.progress(identifier)
        self.gradings[identifier] = Grading(self.checks[identifier], self.context.seeds, self.context, self.student)
        started = time.monotonic()
        result = yield
        if identifier in self.results:
            self.results[identifier].seconds = time.monotonic() - started
        return result

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        identifier = _check_of(item)
        if call.excinfo is not None:
            self.results[identifier] = self._failed(identifier, call.excinfo.value)
        elif call.when == "call":
            self.results[identifier] = self.gradings[identifier].result()

    def _failed(self, identifier: str, error: BaseException) -> CheckResult:
        full, everything = self.checks[identifier].points, dict.fromkeys(self.checks[identifier].parts, 1.0)
        if isinstance(error, StudentError):
            return CheckResult(identifier, 0.0, full, "not_earned", error.cause, message=capped(str(error)), lost=everything)
        if isinstance(error, (AssertionError, pytest.fail.Exception)):
            return CheckResult(identifier, 0.0, full, "not_earned", "check.failed", message=capped(_said(str(error))), lost=everything)
        if isinstance(error, (CannotGrade, pytest.skip.Exception)):
            cause, measured = getattr(error, "cause", "grader.data"), getattr(error, "measured", {})
            return CheckResult(identifier, None, full, "could_not_grade", cause, measured_values(measured), capped(str(error)), lost=None)
        text = capped(f"The grader failed here, not you ({type(error).__name__}: {error}).")
        return CheckResult(identifier, None, full, "could_not_grade", "grader.fault", message=text, lost=None)


def _said(text: str) -> str:
    """What an assert of a check says: its own text, without pytest's account of the values, which may hold hidden inputs."""
    own = text.strip().partition("\nassert ")[0]
    if own.startswith("assert "):  # it has no text of its own: numbers that were compared, no arrays
        own = own.splitlines()[0]
        own = "" if len(own) > 100 or "(" in own or "[" in own else own
    return own or "the check failed"


def _identifier(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("check")
    return str(mark.args[0]) if mark and mark.args else None


def _check_of(item: pytest.Item) -> str:
    """The same of a test that is kept: it has one."""
    return cast(str, _identifier(item))


def _places(items: list[pytest.Item]) -> dict[str, list[str]]:
    """Id of a check -> the tests that are marked with it, as ``file: function``."""
    places: dict[str, list[str]] = {}
    for item in items:
        if (identifier := _identifier(item)) is not None:
            places.setdefault(identifier, []).append(f"{item.path.name}: {item.name}")
    return places


def _doubled(places: Mapping[str, list[str]]) -> list[str]:
    return [
        f"the check {identifier!r} is there {len(tests)} times ({', '.join(tests)}): give each function an id of its own, "
        "and a line of the rubric with its points"
        for identifier, tests in places.items() if len(tests) > 1
    ]  # fmt: skip


def _forget(report: pytest.CollectReport) -> None:
    """Take a file that failed to import out of the loaded modules: pytest leaves it there, half made, and would find no check in it."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").replace(os.sep, "/").endswith(f"/{report.nodeid}"):
            del sys.modules[name]


class _Inspection:
    """The pytest plugin that looks at which checks there are, and runs none."""

    def __init__(self) -> None:
        self.places: dict[str, list[str]] = {}
        self.functions: dict[str, tuple[Path, str]] = {}
        self.broken = False

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "check(id): the check of the rubric that this function is")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = True
            _forget(report)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.places = _places(items)
        found = {name: cast(pytest.Function, item) for item in items if (name := _identifier(item)) is not None}
        self.functions = {name: (item.path, item.function.__name__) for name, item in found.items()}
        items.clear()


def inspect_checks(folder: Path, checks: Mapping[str, CheckRubric], empty_ini: Path) -> list[str]:
    """Hold the checks of a folder against the rubric, without running one.

    Args:
        folder: Where the pytest files are.
        checks: All checks of the rubric.
        empty_ini: An ini file of pytest without settings.

    Returns:
        Faults in plain words: ids that are there twice, ids without a test, ids without a line of the rubric. A file that cannot
        be imported is no fault here: its checks could not be graded, and the results say why.
    """
    plugin = _inspected(folder, empty_ini)
    faults = _doubled(plugin.places)
    faults += [
        f"{', '.join(tests)} is the check {identifier!r}, which the rubric does not have: add [checks.\"{identifier}\"] with its points"
        for identifier, tests in plugin.places.items() if identifier not in checks
    ]  # fmt: skip
    if not plugin.broken:
        faults += [
            f"the rubric's check {name!r} has no test: mark a function with @check({name!r}), or give it manual = true"
            for name, entry in checks.items() if not entry.manual and name not in plugin.places
        ]  # fmt: skip
    return faults


def places_of_checks(folder: Path, empty_ini: Path) -> dict[str, tuple[Path, str]]:
    """Find the file and the function of each check, without running one.

    Args:
        folder: Where the pytest files are.
        empty_ini: An ini file of pytest without settings.

    Returns:
        Id of a check -> its file, and the name of its function.
    """
    return _inspected(folder, empty_ini).functions


def _inspected(folder: Path, empty_ini: Path) -> _Inspection:
    plugin = _Inspection()
    run_pytest(folder, empty_ini, plugin)
    return plugin


def run_checks(
    student: Student, context: Context, folder: Path, checks: Mapping[str, CheckRubric], progress: Callable[..., None] | None = None
) -> list[CheckResult]:
    """Run the checks of a folder in this process (the judge's).

    Args:
        student: The fixture.
        context: What the run offers.
        folder: Where the pytest files are.
        checks: Which checks, in which order; those a person grades become ``needs_manual``.
        progress: Called with the id of each check before it runs.

    Returns:
        One result for each check; a check without one of its own could not be graded.
    """
    automatic = {name: entry for name, entry in checks.items() if not entry.manual}
    plugin = CheckPlugin(student, context, automatic, progress)
    code, printed = run_pytest(folder, context.empty_ini, plugin)
    if plugin.interrupted:
        raise KeyboardInterrupt  # somebody wants the run to end: what is missing is no result
    results = []
    for name, entry in checks.items():
        if entry.manual:
            results.append(CheckResult(name, None, entry.points, "needs_manual", message="Graded by a person.", lost=None))
        elif name in plugin.results:
            results.append(plugin.results[name])
        else:
            known = [*plugin.collect_errors, *(fault for fault in plugin.faults if repr(name) in fault)]
            reason = known[0] if known else printed[-500:]
            text = f"The grader has no verdict for this check (pytest ended with code {code}). {reason}".strip()
            results.append(CheckResult(name, None, entry.points, "could_not_grade", "grader.fault", message=text, lost=None))
    return results
