"""``python -m autograder predict``: the half of grading that runs student code."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["predict_command"]


@click.command("predict")
@click.argument("submissions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where predictions and answers go.")
@click.option("--assignment", default="fcn", show_default=True, help="Name of the assignment, or its folder.")
@click.option("--data", default=None, help="CMP_ROOT with the pictures of the test list; labels are not read and need not be there.")
@click.option("--gate-data", default=None, help="Your own pictures (a folder with base/), in place of the public test list.")
@click.option("--checkpoints", default=None, type=click.Path(path_type=Path), help="Where checkpoints lie that were only named.")
@click.option("--require-isolation", default=None, help="Weakest isolation to accept: bubblewrap, landlock or process.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="For the gates.")
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="Of gates, where the device has it; bfloat16 counts only where no step of points is near.",
)
def predict_command(
    submissions: tuple[Path, ...], out: Path, assignment: str, data: str | None, gate_data: str | None, checkpoints: Path | None,
    require_isolation: str | None, device: str, precision: str,
) -> None:  # fmt: skip
    """Run the code of SUBMISSIONS (folders or zips) in sealed workers and keep what it answers; no points are given.

    `python -m autograder grade SUBMISSIONS --predictions OUT` gives the points, on a machine that runs no student code. A second
    run predicts only what is not there yet.

    Exit 0: everything was asked; 1: something could not be; 2: bad usage.
    """
    from autograder.cli.beforehand import demand_own_handins, demand_pictures
    from autograder.course.rubric import RubricError
    from autograder.course.seeds import SecretError
    from autograder.judge.run import Run, Settings
    from autograder.report.labels import clean_text
    from autograder.sandbox.isolation import IsolationError

    settings = Settings(
        assignment, out.resolve(), data, gate_data, checkpoints, require_isolation, device=device, labels=False, precision=precision
    )
    try:
        demand_pictures(settings)
        for line in demand_own_handins(submissions, assignment):
            click.echo(line)
        settings.out.mkdir(parents=True, exist_ok=True)
        with Run.create(settings) as run:
            screen = sys.stdout  # while checks run, what is printed is kept from it
            faults = _predict_all(run, [path.resolve() for path in submissions], lambda text: click.echo(clean_text(text), file=screen))
    except (RubricError, IsolationError, SecretError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error}. What was handed over before is not lost.") from error
    except KeyboardInterrupt:
        sys.exit(130)
    click.echo(f"{len(submissions)} submissions, {faults} with something that could not be asked. Hand over: {out}")
    sys.exit(1 if faults else 0)


def _predict_all(run: Any, paths: Sequence[Path], say: Callable[[str], None]) -> int:
    """Predict one after the other; returns how many lack something that is not the student's fault."""
    from autograder.handins.submission import SubmissionError, read_submission, submission_names

    if run.data is None:
        say(f"No pictures for the gates: {run.data_problem}. Their predictions will be missing.")
    faults = 0
    for path, name in submission_names(paths, run.assignment.name).items():
        try:
            submission = read_submission(path, name, run.rubric, run.settings.checkpoints)
        except SubmissionError as error:
            say(f"{name}: {error}")
            faults += 1
            continue
        try:
            lost = _predict(run, submission, say)
        finally:
            submission.close()
        for line in lost:
            say(f"{name}: {line}")
        faults += bool(lost)
    return faults


def _predict(run: Any, submission: Any, say: Callable[[str], None]) -> list[str]:
    """Predict one submission; returns what could not be asked."""
    from autograder.judge.grade import grade_submission
    from autograder.judge.predictions.bundle import BundleError, read_facts, writing
    from autograder.judge.predictions.handover import Recorder, facts_of
    from autograder.sandbox.client import GraderFault

    folder, facts = run.settings.out / submission.name, facts_of(run, submission)
    try:
        if read_facts(folder) == facts:  # nothing is lost in these, and nothing changed since
            say(f"{submission.name}: is there already")
            return []
    except BundleError:
        pass  # written anew

    def gate(check: str, done: int, of: int, seconds: float) -> None:
        if done == of or done % 10 == 0:
            say(f"{submission.name}: {check}: {done} of {of} pictures, {seconds:.0f} s")

    with writing(folder, facts) as writer:
        recorder = Recorder(writer)
        try:
            result = grade_submission(run, submission, gate_progress=gate, handover=recorder)
            say(f"{submission.name}: asked in {result['seconds']:.0f} s ({run.isolation}, {facts['device_name']})")
        except GraderFault as error:
            recorder.lost.append(str(error)[:2000])
        facts["lost"] = recorder.lost
    return recorder.lost
