"""``python -m autograder grade``: submissions, or a bulk download of them, to results, reports and class page."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from autograder.cli.beforehand import demand_own_handins, demand_pictures
from autograder.cli.bulk import BulkOptions, bulk_handins, bulk_options, demand_one_source, say_problems

__all__ = ["grade_command"]

MOST_NAMED = 5


@click.command("grade")
@click.argument("submissions", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where results, reports and class pages go.")
@click.option("--assignment", default="fcn", show_default=True, help="Name of the assignment, or its folder.")
@click.option("--data", default=None, help="CMP_ROOT (holds base/), or 'sample' for the embedded sample.")
@click.option("--gate-data", default=None, help="Your own labelled pictures (for fcn: with base/), in place of the public test list.")
@click.option("--checkpoints", default=None, type=click.Path(path_type=Path), help="Where checkpoints lie that were only named.")
@click.option(
    "--predictions",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What `predict` wrote: no student code is run here.",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="How many submissions side by side.")
@click.option(
    "--memory",
    default=None,
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Memory for the whole run; fewer submissions side by side if it is short.  [default: what is free]",
)
@click.option(
    "--cluster",
    default="",
    metavar="tcp://HOST:PORT|slurm:PROFILE",
    help="Grade on the workers of a Dask scheduler, or in --jobs jobs of Slurm; gates on GPUs with --device cuda.",
)
@click.option("--regrade", is_flag=True, help="Grade everything again, and show whose points changed and why.")
@click.option("--require-isolation", default=None, help="Weakest isolation to accept: bubblewrap, landlock or process.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="For the gates.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Of gates; bfloat16 counts only where no step of points is near. auto takes it on a CPU that has it in hardware.",
)
@click.option("--retrain", is_flag=True, help="Train each network again with the kit's recipe, and grade that in place of the checkpoint.")
@click.option(
    "--retrain-minutes",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="For each network; when they are over, its best epoch so far counts.",
)
@click.option("--retrain-recipe", default="fast", show_default=True, type=click.Choice(["course", "fast"]))
@click.option(
    "--retrain-weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Weights of VGG-16, which the student's own function copies first.  [default: from scratch]",
)
@click.option("--only", multiple=True, metavar="CHECK", help="Grade this check only (may be repeated).")
@bulk_options
def grade_command(
    submissions: Sequence[Path], out: Path, assignment: str, data: str | None, gate_data: str | None, checkpoints: Path | None,
    predictions: Path | None, jobs: int, memory: float | None, regrade: bool, require_isolation: str | None, device: str, precision: str,
    retrain: bool, retrain_minutes: float, retrain_recipe: str, retrain_weights: Path | None, only: tuple[str, ...], cluster: str,
    **wanted: Any,
) -> None:  # fmt: skip
    """Grade SUBMISSIONS (folders or zips), those in a bulk download, or the repositories of a roster.

    A run that was stopped, killed or cut off goes on when the same command is given again; what was graded and did not change
    is not graded again.

    Exit 0: all was graded, whatever the points; 1: something could not be graded, was left out of a download, or waits for a decision;
    2: bad usage.
    """
    from autograder.batch import ClusterError, MemoryShortError, OutOfSpaceError, elapsed, grade_many
    from autograder.course.rubric import RubricError
    from autograder.course.seeds import SecretError
    from autograder.judge.retraining import Retraining
    from autograder.judge.run import Settings
    from autograder.marking import MarksError
    from autograder.report import format_table
    from autograder.sandbox.isolation import IsolationError
    from autograder.sandbox.locks import FolderBusyError, hold_folder

    options = BulkOptions(**wanted)
    demand_one_source(submissions, options, "grade")
    if retrain and predictions:
        raise click.UsageError("--retrain runs student code, and with --predictions none is run here: give one of them")
    retraining = Retraining(retrain_minutes, retrain_recipe, retrain_weights and retrain_weights.resolve()) if retrain else None
    settings = Settings(
        assignment, out.resolve(), data, gate_data, checkpoints, require_isolation, device="cpu" if predictions else device,
        only=tuple(only), predictions=predictions and predictions.resolve(), precision=precision,
        retraining=retraining,
    )  # fmt: skip
    if options.roster:
        from autograder.cli.people import keep_people, say_notes

        people = keep_people(settings.out, options.roster)
        if submissions:  # downloads say it with all else
            say_notes(people)
    started = time.monotonic()
    problems: list[str] = []
    try:
        demand_pictures(settings)
        if not submissions:
            # the hand-ins of a run at work must not be taken from under it
            with hold_folder(settings.out):
                handins = bulk_handins(options, settings.out, assignment, click.echo)
            submissions, problems = handins.paths, handins.problems
        paths = [path.resolve() for path in submissions]
        problems = [*problems, *demand_own_handins(paths, assignment)]
        results = grade_many(paths, settings, jobs, click.echo, regrade=regrade, memory=memory, cluster=cluster)
    except (RubricError, IsolationError, SecretError, MemoryShortError, MarksError) as error:
        raise click.UsageError(str(error)) from error
    except ClusterError as error:
        raise click.ClickException(f"{error} What was graded is kept; the same command goes on.") from error
    except FolderBusyError as error:
        raise click.ClickException(str(error)) from error
    except OutOfSpaceError as error:
        raise click.ClickException(f"{error.strerror}.") from error
    except OSError as error:
        raise click.ClickException(f"{error}. Nothing that was written before is lost.") from error
    except KeyboardInterrupt:
        sys.exit(130)
    click.echo(format_table(results))
    click.echo(f"{len(results)} graded in {elapsed(started)}; class page: {out / 'index.html'}")
    if others := sorted({path.parent.name for path in out.glob("*/result.json")} - {result["submission"] for result in results}):
        named = ", ".join(others[:MOST_NAMED]) + (", ..." if others[MOST_NAMED:] else "")
        click.echo(
            f"{len(others)} results of earlier runs lie there too ({named}), and are not on this page: "
            f"`python -m autograder mark {out} --pages` writes it of all."
        )
    failed = [check["id"] for result in results for check in result["checks"] if check["status"] == "could_not_grade"]
    if failed:
        click.echo(f"{len(failed)} checks could not be graded: {', '.join(sorted(set(failed)))}; the reports say why.")
    say_problems(problems, click.echo)
    if failed or problems:
        sys.exit(1)
