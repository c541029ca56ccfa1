"""One submission -> its result."""

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segkit
from autograder.handins.answers import forget_answers, keep_answers
from autograder.handins.submission import Submission, SubmissionError, read_submission
from autograder.judge.checking import CheckResult, run_checks
from autograder.judge.context import Context, Handover
from autograder.judge.pictures import write_pictures
from autograder.judge.predictions import BundleError, Replay
from autograder.judge.retraining import WEIGHTS
from autograder.judge.run import Run
from autograder.judge.student import Student
from autograder.sandbox.capped import capped
from autograder.sandbox.client import GraderFault, RemoteSubject
from segkit.atomic import DiskFullError

__all__ = ["Context", "grade_path", "grade_submission", "unreadable_result"]

MOST_NOTES, LONGEST_NOTE = 200, 4000


def _result(run: Run, name: str, checks: list[CheckResult], **more: Any) -> dict[str, Any]:
    data = run.data
    bonus = {check.id for check in run.rubric.checks.values() if check.bonus}
    return {
        "schema": "segkit-result/1",
        "assignment": run.rubric.assignment,
        "submission": name,
        "score": sum(check.points for check in checks if check.points is not None),
        "max_score": sum(run.rubric.checks[check.id].in_total for check in checks),
        "needs_manual": sum(check.max_points for check in checks if check.status == "needs_manual"),
        "isolation": run.isolation,
        "kit_version": segkit.__version__,
        "started": more["started"],
        "seconds": round(more["seconds"], 2),
        "seed": run.seeds.name,
        "device": more["device"],
        "data": {"source": data.source, "split": data.split, "images": len(data.names)} if data else None,
        "submission_sha256": more["sha256"],
        "notes": _notes(more["notes"]),
        "checks": [check.to_json() | ({"bonus": True} if check.id in bonus else {}) for check in checks],
    }


def _notes(notes: list[str]) -> list[str]:
    """The first notes, none of them endless: a submission may give reason for thousands."""
    left = [f"and {len(notes) - MOST_NOTES} more notes"] if len(notes) > MOST_NOTES else []
    return [capped(note, LONGEST_NOTE) for note in notes[:MOST_NOTES]] + left


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def grade_submission(
    run: Run, submission: Submission, pictures: Path | None = None, progress: Callable[..., None] | None = None,
    gate_progress: Callable[..., None] | None = None, handover: Handover | None = None, told: list[CheckResult] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Grade a submission that was read.

    Args:
        run: The open run.
        submission: From ``read_submission``.
        pictures: Folder for pictures of predictions (``pictures.json`` and ``pictures/``), or None.
        progress: Called with each check id; while a network is trained again, also with how long that has taken.
        gate_progress: Called with (check id, pictures done, of, seconds so far).
        handover: What stands in the place of the worker, or None.
        told: Receives the results of the checks themselves, which know the lost parts.

    Returns:
        The result, of schema ``segkit-result/1``.
    """
    started, clock = _now(), time.monotonic()
    context = Context(run, submission, handover=handover)
    context.progress, context.gate_progress = progress or context.progress, gate_progress or context.gate_progress
    files = {name: c.path for name, c in submission.checkpoints.items() if c.path is not None}
    if (retraining := run.settings.retraining) is not None:  # the checkpoints are out of reach of a network that is trained again
        files = {WEIGHTS: retraining.weights} if retraining.weights else {}
    gate = run.gate_settings()
    context.device_name = "cuda" if gate.gpu else "cpu"
    progress = handover.watch(progress) if handover else progress
    with (handover.open if handover else RemoteSubject)(run.worker_settings()) as subject:
        student = Student(submission.workbook, subject, tuple(submission.checkpoints), lambda: RemoteSubject(gate, files))
        checks = run_checks(student, context, run.assignment.checks, run.wanted_checks, progress)
    if told is not None:
        told += checks
    if pictures is not None and context.predictions:
        write_pictures(pictures, context)
    notes = list(dict.fromkeys([*submission.notes, *submission.workbook.notes, *student.notes]))
    result = _result(
        run, submission.name, checks, started=started, seconds=time.monotonic() - clock, device=context.device_name,
        sha256=submission.sha256, notes=notes,
    )  # fmt: skip
    return handover.sign(result) if handover else result


def unreadable_result(run: Run, name: str, message: str, cause: str, status: str = "could_not_grade") -> dict[str, Any]:
    """Result of a submission that could not be read or graded at all."""
    message = capped(message, LONGEST_NOTE)
    checks = [
        CheckResult(n, None, c.points, "needs_manual" if c.manual else status, None if c.manual else cause, message=message)
        for n, c in run.wanted_checks.items()
    ]
    return _result(run, name, checks, started=_now(), seconds=0.0, device="cpu", sha256=None, notes=[message])


def grade_path(
    run: Run, path: Path, name: str, out: Path | None = None, opened: Callable[[Submission], None] | None = None,
    handover: Handover | None = None, **progress: Any,
) -> dict[str, Any]:  # fmt: skip
    """Read and grade a folder or zip; a submission or grader that fails altogether gives a result that says so.

    Args:
        run: The open run.
        path: The submission.
        name: Its name in the result.
        out: Folder for pictures of predictions, and for what a person will read and grade; or None.
        opened: Called with the submission once it was read.
        handover: As for ``grade_submission``; None takes what the run is told to use.
        **progress: As for ``grade_submission``.

    Raises:
        DiskFullError: There was no room for the pictures.
    """
    if out is not None:
        forget_answers(out)
    try:
        submission = read_submission(path, name, run.rubric, run.settings.checkpoints)
    except SubmissionError as error:
        return unreadable_result(run, name, str(error), error.cause)
    try:
        if opened is not None:
            opened(submission)
        if out is not None:
            keep_answers(out, submission, run.wanted_checks)
        return grade_submission(run, submission, out, handover=handover or _handed_over(run, submission), **progress)
    except BundleError as error:
        return unreadable_result(run, name, str(error), "predictions.missing")
    except DiskFullError:
        raise  # it would meet the next submission too: better to stop than to call everybody ungradable
    except (GraderFault, OSError) as error:
        return unreadable_result(run, name, f"The grader failed, not the student: {error}", "grader.fault")
    finally:
        submission.close()


def _handed_over(run: Run, submission: Submission) -> Replay | None:
    """What ``predict`` handed over for a submission, where the run is told to use that."""
    return Replay(run.settings.predictions, run, submission) if run.settings.predictions else None
