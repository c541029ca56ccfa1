"""What stands between a release and its students: the verdict of the grader's exam, and two submissions that are really graded."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.course.sources import ReleaseError, Sources
from autograder.exam.complete import Exam, ExamError
from autograder.exam.entries import CorpusError
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["UNEXAMINED", "Guard", "GuardError", "grade_tries", "surprises_of"]

UNEXAMINED = "released without a valid verdict of the grader's exam"
SECRET = "the release's own two tries"  # fixed: what a try finds must not depend on whose machine it is
MOST_SURPRISES = 10
NEEDS_CHECKPOINT = "checkpoint.missing"

Grade = Callable[[Path, Mapping[str, Path]], dict[str, dict[str, Any]]]


class GuardError(ReleaseError):
    """The grader is not fit for this release; the text says why and what to do."""


def grade_tries(material: Path, tries: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Grade submissions with all checks, behind whatever wall there is, in one run: its weights and expected outputs are made once.

    Args:
        material: The assignment's folder.
        tries: Name in the result -> submission.

    Returns:
        The results by name, of schema ``segkit-result/1``.
    """
    from autograder.judge.grade import grade_path
    from autograder.judge.run import Run, Settings

    with (
        tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-try-")) as out,
        Run.create(Settings(str(material), Path(out), secret=SECRET, device="cpu", seconds=120.0)) as run,
    ):
        return {name: grade_path(run, path, name) for name, path in tries.items()}


@dataclass
class Guard:
    """Lets a release pass, or refuses it.

    Attributes:
        sources: What it is made from.
        unexamined: Do without what is left of the exam; the two tries are made all the same.
        say: Receives one line per finding.
        grade: Grades submissions: (material, name -> folder) -> name -> result.
        jobs: How many judges sit the exam side by side.
    """

    sources: Sources
    unexamined: bool = False
    say: Callable[[str], None] = lambda text: None
    grade: Grade = grade_tries
    jobs: int = 1

    @cached_property
    def exam(self) -> Exam | None:
        """The exam, opened where it is first asked for; None for an assignment without a corpus.

        Raises:
            GuardError: The corpus does not fit rubric and notebooks.
        """
        if not (self.sources.material / "corpus" / "corpus.toml").is_file():
            return None
        try:
            return Exam(self.sources.material, self.sources.assignment, self.sources.root)
        except CorpusError as error:
            raise GuardError(f"The grader's exam cannot be opened; nothing was released.\n{error}") from None

    @property
    def stamp(self) -> str:
        """What the release must say of itself; empty if there is nothing to say."""
        return f"{UNEXAMINED} (--unexamined)" if self.unexamined and self.exam and self.exam.left else ""

    def _ask_verdict(self) -> None:
        """Sit what is left of the exam.

        Raises:
            GuardError: An entry did not come out as it must, and the release is not to do without.
        """
        if self.exam is None or not self.exam.left or self.unexamined:
            return
        self.say(self.exam.words(self.jobs))
        try:
            outcomes = self.exam.sit(self.jobs, lambda outcome: None)
        except ExamError as error:
            raise GuardError(f"{error}\nNothing was released.") from error
        surprises = [outcome for outcome in outcomes if outcome.problem]
        if surprises:
            lines = "\n".join(f"  {one.entry.kind}/{one.entry.name}: {one.problem[:600]}" for one in surprises[:MOST_SURPRISES])
            raise GuardError(
                f"The grader's exam had {len(surprises)} surprise(s); nothing was released. Repair the grader or the corpus.\n{lines}\n"
                "(--unexamined releases without the exam, and stamps the release.)"
            )

    def approve(self, folder: Path) -> None:
        """Try the reference solution and the release itself, then sit what is left of the exam, and say what is known of it.

        The tries come first: they take a minute at most, and what they find would cost the exam an hour of surprises.

        Args:
            folder: The finished release.

        Raises:
            GuardError: One of them is not as it must be.
        """
        if (self.sources.material / "rubric.toml").is_file():
            self._try_both(folder)
        else:
            self.say(f"{self.sources.assignment} has no rubric: nothing can be graded, and nothing was tried")
        self._ask_verdict()
        self.say_standing()

    def say_standing(self) -> None:
        """Say what is known of the exam."""
        if self.exam is None:
            self.say(f"{self.sources.assignment} has no corpus ({self.sources.material / 'corpus'}): no exam guards its releases.")
        else:
            self.say(f"UNEXAMINED, and stamped so: {self.exam.words(self.jobs)}" if self.stamp else self.exam.words(self.jobs))

    def _try_both(self, folder: Path) -> None:
        from autograder.exam.building import solved_notebooks, write_notebooks

        faults: list[str] = []
        with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-reference-")) as place:
            write_notebooks(solved_notebooks(self.sources.notebooks), Path(place))
            for name, result in self.grade(self.sources.material, {"reference": Path(place), "stub": folder}).items():
                found = surprises_of(result, solved=name == "reference")
                self.say(_line(name, result, found))
                faults += [f"{name}: {fault}" for fault in found]
        if faults:
            lines = "\n".join(f"  {fault}" for fault in faults)
            raise GuardError(f"The grader does not grade as it must; nothing was released.\n{lines}")


def surprises_of(result: dict[str, Any], solved: bool) -> list[str]:
    """Say in words what is wrong with the result of a try.

    Args:
        result: Of schema ``segkit-result/1``.
        solved: Whether it is the reference solution: it must earn everything that needs no checkpoint. The stub must earn
            nothing, and be graded in everything.
    """
    found, earned = [], 0
    for check in _automatic(result):
        points, full = check["points"], check["max_points"]
        first = next(iter(str(check["message"]).strip().splitlines()), "no message")
        if points is None:
            found.append(f"{check['id']} could not be graded: {first}")
        elif solved and points != full and check["cause"] != NEEDS_CHECKPOINT:
            found.append(f"{check['id']} gave {points:g} of {full:g} points: {first}")
        elif not solved and points != 0:
            found.append(f"{check['id']} gave {points:g} points for nothing")
        earned += bool(points)
    if solved and not earned:
        found.append("no check at all was earned")
    return found


def _automatic(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in result["checks"] if check["status"] != "needs_manual"]


def _line(name: str, result: dict[str, Any], faults: list[str]) -> str:
    """One line for a try: its points, of how many, and what was left out."""
    checks = _automatic(result)
    waiting = [check for check in checks if name == "reference" and check["cause"] == NEEDS_CHECKPOINT]
    of = sum(check["max_points"] for check in checks) - sum(check["max_points"] for check in waiting)
    points = sum(check["points"] or 0 for check in checks)
    left_out = f"; {len(waiting)} checks need a trained model" if waiting else ""
    what = {"reference": "reference solution", "stub": "stub as released"}[name]
    verdict = f"{len(faults)} surprise(s)" if faults else "as it must be"
    return f"{what}: {points:g} of {of:g} points ({result['isolation']}{left_out}): {verdict}"
