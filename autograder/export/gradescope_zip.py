"""``python -m autograder gradescope-zip``: the grader packed as Gradescope wants it (``setup.sh`` and ``run_autograder`` at the top)."""

import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click

from autograder.course.assignment import ASSIGNMENTS, Assignment, open_assignment
from autograder.course.rubric import RubricError
from autograder.course.seeds import SECRET_FILE, SecretError, course_secret
from autograder.export.gradescope import VISIBILITIES

__all__ = ["build_gradescope_zip", "gradescope_zip_command"]

IMAGE = Path(__file__).with_name("gradescope_image")
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same contents give the same bytes
LEFT_OUT = {"__pycache__", "corpus", ".ipynb_checkpoints"}
DATA = ("label_names.txt", "splits/**/*", "sample/**/*")
NOT_FOR_JUDGES = ("jupyter", "nbgrader", "nbclient", "openpyxl", "starlette", "uvicorn", "tomli-w", "scikit-learn")
UPLOAD_LIMIT = 100 * 2**20  # of Gradescope, for an autograder


def build_gradescope_zip(out: Path, assignment: Assignment, secret: str, data: Path | None = None, visibility: str = "visible") -> Path:
    """Pack the grader for one assignment.

    Args:
        out: The zip to write.
        assignment: What it grades; the other assignments of the kit are left out.
        secret: The course's secret, so that Gradescope measures with the same hidden inputs as the command line.
        data: Root of the pictures of the gates; only those of the test list are packed. Without it gates are left open.
        visibility: When students see results.

    Returns:
        ``out``.

    Raises:
        LookupError, OSError, ValueError: The pictures are not there.
    """
    kit = Path(__file__).resolve().parents[2]
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name in ("setup.sh", "run_autograder"):
                _add(bundle, name, (IMAGE / name).read_bytes(), 0o755)
            for name, path in [*_code(kit, assignment), *_gate_files(assignment, data)]:
                _add(bundle, f"kit/{name}", path.read_bytes())
            inside = "assignment" if ASSIGNMENTS not in assignment.folder.parents else assignment.folder.name
            texts = {"assignment.txt": inside, "visibility.txt": visibility, "requirements.txt": "\n".join(_requirements(kit))}
            for name, text in texts.items():
                _add(bundle, f"kit/{name}", f"{text}\n".encode())
            _add(bundle, f"kit/{SECRET_FILE}", f"{secret}\n".encode(), 0o600)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def _add(bundle: zipfile.ZipFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = zipfile.ZipInfo(name, FIXED_TIME)
    info.external_attr, info.create_system, info.compress_type = mode << 16, 3, zipfile.ZIP_DEFLATED
    bundle.writestr(info, content)


def _code(kit: Path, assignment: Assignment) -> Iterator[tuple[str, Path]]:
    """The kit's code and small data, with this assignment only."""
    for package in ("segkit", "autograder"):
        for path in sorted((kit / package).rglob("*")):
            other = ASSIGNMENTS in path.parents and path.parent != ASSIGNMENTS and assignment.folder not in path.parents
            if path.is_file() and not other and not LEFT_OUT & set(path.parts):
                yield path.relative_to(kit).as_posix(), path
    own = kit / "data" / assignment.rubric.dataset
    for path in sorted(path for pattern in DATA for path in own.glob(pattern) if assignment.rubric.dataset and path.is_file()):
        yield path.relative_to(kit).as_posix(), path
    if ASSIGNMENTS not in assignment.folder.parents:  # a course's own, outside of the kit
        for path in sorted(assignment.folder.rglob("*")):
            if path.is_file() and not LEFT_OUT & set(path.parts):
                yield f"assignment/{path.relative_to(assignment.folder).as_posix()}", path


def _gate_files(assignment: Assignment, data: Path | None) -> Iterator[tuple[str, Path]]:
    """The files of the pictures for the gates: those that the gate data names, otherwise those named like a picture."""
    open_data = assignment.hook("open_data")
    if data is None or open_data is None:
        return
    opened, root = open_data(str(data), assignment.rubric, False), data.resolve()
    names = set(opened.names)
    called = (path for path in root.rglob("*") if path.is_file() and names & {path.stem, path.name, str(path.relative_to(root))})
    files = sorted(path.resolve() for path in opened.files or called)
    if not files:
        raise LookupError(f"{data}: expected the pictures of the gates ({', '.join(sorted(names)[:3])}, ...), but no file is called so.")
    if outside := [path for path in files if not path.is_relative_to(root)]:
        raise LookupError(f"{outside[0]} is a picture of the gates, but lies outside of --data {data}: give the folder that holds all.")
    for path in files:
        yield f"data/gate/{path.relative_to(root).as_posix()}", path
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        # an empty base/ beside extended/ still says which split it is
        yield f"data/gate/{folder.name}/about.txt", Path(__file__).with_name("gradescope_image") / "about.txt"


def _requirements(kit: Path) -> list[str]:
    """What a judge needs of the project's dependencies."""
    project = tomllib.loads((kit / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["course"]
    return [*project["dependencies"], *(line for line in extra if not line.startswith(NOT_FOR_JUDGES))]


@click.command("gradescope-zip")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The zip to write.")
@click.option("--assignment", default="fcn", show_default=True, help="Name of the assignment, or its folder.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="CMP_ROOT: packs the test list for the gates.")
@click.option("--visibility", default="visible", show_default=True, type=click.Choice(VISIBILITIES), help="When students see results.")
def gradescope_zip_command(out: Path, assignment: str, data: Path | None, visibility: str) -> None:
    """Pack the grader for Gradescope: upload the file as the assignment's autograder.

    It holds the checks, the reference and the course's secret: it is for Gradescope and nobody else.
    """
    try:
        opened = open_assignment(assignment)
        build_gradescope_zip(out, opened, course_secret(), data, visibility)
    except (RubricError, SecretError) as error:
        raise click.UsageError(str(error)) from error
    except (LookupError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    size = out.stat().st_size
    points = sum(check.points for check in opened.rubric.checks.values() if not check.manual)
    click.echo(f"{out} ({size / 2**20:.1f} MiB). Autograder points on Gradescope: {points:g}; give the rest there by hand.")
    click.echo("It holds checks, reference solutions and the course's secret: keep it from students.")
    if data is None and opened.rubric.checkpoints:
        click.echo("Without --data the gates of handed-in checkpoints stay open (could not be graded), they are not lost.")
    if size > UPLOAD_LIMIT:
        click.echo(f"More than {UPLOAD_LIMIT // 2**20} MiB: Gradescope may refuse it; leave --data out and grade the gates at home.")
