"""The sheets of a class, one student after the other; a sheet that still holds is kept."""

import hashlib
import json
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autograder.handins.submission import Submission, SubmissionError, read_submission
from autograder.judge.kit import digest_of, kit_digest
from autograder.judge.run import Run, Settings
from autograder.judge.student import Student
from autograder.sandbox.capped import capped
from autograder.viva.asking import take_down
from autograder.viva.choosing import Choice, choose, subjects_of
from autograder.viva.effects import Effect
from segkit.atomic import replacing

__all__ = ["KEPT", "Plan", "Sheet", "asked_about", "automatic", "kept_sheet", "measure_one", "open_run", "sheet_of"]

KEPT = "measured"
MOST_CODE, MOST_WORDS = 900, 1500  # characters of what a student wrote, and of what was measured
MOST_EFFECTS = 3
Sheet = dict[str, Any]
"""What is kept of a student: ``key``, ``student``, ``note`` (why there are fewer questions), ``seconds``, and ``questions``."""


@dataclass(frozen=True)
class Plan:
    """What every sheet of a run has in common.

    Attributes:
        questions: How many.
        seed: Draws questions, pictures and weights.
        seconds: For the search of one student; what the checks take beforehand is not counted.
        folder: Where sheets are kept.
    """

    questions: int
    seed: int
    seconds: float
    folder: Path


def automatic(settings: Settings) -> tuple[str, ...]:
    """Ids of the checks that ask code: no gates, which ask checkpoints, and nothing that a person marks."""
    from autograder.course.assignment import open_assignment

    rubric = open_assignment(settings.assignment).rubric
    return tuple(
        check.id for check in rubric.checks.values() if not check.manual and not any(need.startswith("checkpoint ") for need in check.needs)
    )


def open_run(assignment: str, out: Path, seed: int, isolation: str | None) -> Run:
    """A run that asks as grading does, but draws by the viva's seed: no hidden input of the course comes before anybody's eyes."""
    settings = Settings(assignment, out, isolation=isolation, secret=f"viva {seed}", device="cpu", labels=False, total_seconds=300.0)
    return Run.create(replace(settings, only=automatic(settings)))


def sheet_of(
    run: Run, plan: Plan, path: Path, folder: str, name: str, avoid: Collection[tuple[str, str]],
    progress: Callable[[str], Any] = lambda doing: None,
) -> Sheet:  # fmt: skip
    """The sheet of one student: the one that is kept, or a new one.

    Args:
        run: From ``open_run``.
        plan: What is wanted.
        path: The submission.
        folder: The student's folder among the results; names the file.
        name: The student.
        avoid: What the neighbour is asked (see ``asked_about``).
        progress: Told what is done.

    Raises:
        GraderFault: A worker cannot be started; nothing is kept.
    """
    try:
        submission = read_submission(path, folder, run.rubric)
    except SubmissionError as error:
        return _sheet("", name, [], capped(str(error), MOST_WORDS), 0.0)
    try:
        key = _key(run, plan, submission, avoid)
        kept = kept_sheet(plan.folder, folder)
        if kept is not None and kept["key"] == key:
            return kept
        sheet = _made(run, plan, submission, key, name, avoid, progress)
    finally:
        submission.close()
    with replacing(plan.folder / KEPT / f"{folder}.json") as partial:
        partial.write_text(json.dumps(sheet, indent=1), encoding="utf-8")
    return sheet


def _key(run: Run, plan: Plan, submission: Submission, avoid: Collection[tuple[str, str]]) -> str:
    """All that a sheet depends on."""
    kit = [kit_digest(run.assignment), *(digest_of(place, place.rglob("*.py")) for place in (Path(__file__).parent, run.assignment.folder))]
    code = Student(submission.workbook, None).code  # type: ignore[arg-type]  # nothing is asked
    content = [plan.questions, plan.seed, plan.seconds, sorted(avoid), code, run.isolation, *kit]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def kept_sheet(place: Path, folder: str) -> Sheet | None:
    """The sheet that is kept of a student; None where there is none, or it cannot be read."""
    try:
        sheet = json.loads((place / KEPT / f"{folder}.json").read_text(encoding="utf-8"))
        return sheet if isinstance(sheet, dict) and isinstance(sheet["key"], str) and isinstance(sheet["questions"], list) else None
    except (OSError, ValueError, KeyError):
        return None


def _made(
    run: Run, plan: Plan, submission: Submission, key: str, name: str, avoid: Collection[tuple[str, str]], progress: Callable[[str], Any]
) -> Sheet:  # fmt: skip
    started = time.monotonic()
    asked = take_down(run, submission, progress)
    subjects = subjects_of(run, submission.workbook, asked)
    rng = random.Random(f"{plan.seed}/{name}")
    choices, over = choose(
        subjects, plan.questions, rng, avoid, plan.seconds, lambda found: progress(f"{found} of {plan.questions} questions")
    )
    note = ""
    if not subjects:
        errors = dict.fromkeys(str(one.reply.error).strip().split("\n")[0] for one in asked if one.reply.error is not None)
        note = f"None of the definitions runs, so that no change of one can be measured. {'; '.join([*errors][:3])}"
    elif len(choices) < plan.questions:
        ran = ", ".join(subject.defines for subject in subjects)
        why = (
            f"{plan.seconds:g} s were over; the same command tries again"
            if over
            else f"no other change of what runs ({ran}) showed anything"
        )
        note = f"Only {len(choices)} of {plan.questions} questions: {why}."
    return _sheet(
        "" if over and note else key, name, [_question(choice) for choice in choices], capped(note, MOST_WORDS), time.monotonic() - started
    )


def _sheet(key: str, name: str, questions: list[dict[str, Any]], note: str, seconds: float) -> Sheet:
    return {"key": key, "student": name, "note": note, "seconds": round(seconds, 1), "questions": questions}


def _question(choice: Choice) -> dict[str, Any]:
    """A question as it is kept: plain, and nothing of it endless."""
    change, first = choice.change, choice.effects[0]
    code = {part: capped(getattr(change, part), MOST_CODE) for part in ("old", "new", "keyword", "before", "after")}
    return {
        "name": choice.name, "defines": choice.subject.defines, "where": capped(change.place.label, 200), "line": change.line,
        "kind": change.kind, **code, "about": [choice.line, choice.key], "topic": first.topic,
        "ask": first.ask, "given": first.given, "was": first.was, "now": first.now,
        "answers": [capped(effect.words, MOST_WORDS) for effect in choice.effects[:MOST_EFFECTS]],
        "pictures": list(next((effect.pictures for effect in choice.effects if effect.pictures), ())),
    }  # fmt: skip


def asked_about(sheet: Sheet) -> list[tuple[str, str]]:
    """What a sheet asks about, so that a neighbour is asked something else."""
    return [(line, key) for line, key in (question["about"] for question in sheet["questions"])]


def measure_one(run: Run, path: Path, folder: str, change: str) -> tuple[Choice, Sequence[Effect]] | None:
    """Measure one change of one student again, by its name (``fcn8s-421``); None where there is none of this name.

    Raises:
        SubmissionError: The submission cannot be read.
        GraderFault: A worker cannot be started.
    """
    grade_id, _, number = change.rpartition("-")
    submission = read_submission(path, folder, run.rubric)
    try:
        for subject in subjects_of(run, submission.workbook, take_down(run, submission)):
            if subject.grade_id == grade_id and number.isdigit() and (found := subject.named(int(number))) is not None:
                return Choice(subject, found, ()), subject.measure(found)
    finally:
        submission.close()
    return None
