"""Builds the student release: folder and zip, checked and tried before they take the place of an older one."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nbformat.notebooknode import NotebookNode

from autograder.course.assignment import assignment_of
from autograder.course.numbers import values_of, write_template
from autograder.course.rubric import RubricError
from autograder.course.sources import ReleaseError, Sources
from autograder.release.agreement import notebook_faults, template_faults
from autograder.release.archive import source_time, write_zip
from autograder.release.leaks import Finding, Release, check_leaks, collect_secrets
from autograder.release.notebooks import NotebookFault, read_notebook, read_source, student_version, write_notebook
from autograder.release.solutions import source_faults
from autograder.release.verify import verify_edition, verify_notebooks
from segkit.edition import EditionError, write_edition

__all__ = ["Built", "LeakError", "ReleaseGuard", "build_release", "expected_files"]

LOCK = "requirements.lock"
README = "START_HERE.md"
PASSAGES = Path(__file__).with_name("passages")  # what START_HERE of every assignment says of machines, checks and accidents


class LeakError(ReleaseError):
    """The release was made but holds something that must not leave the house; it was thrown away."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        lines = "\n".join(f"  {finding}" for finding in findings)
        super().__init__(f"The leak check found {len(findings)} thing(s); nothing was released.\n{lines}")


@dataclass(frozen=True)
class Built:
    """A finished release.

    Attributes:
        folder: the folder with the notebooks at its top level.
        archive: the zip of it.
        files: number of files.
        secrets: number of lines that the leak check looked for.
    """

    folder: Path
    archive: Path
    files: int
    secrets: int


class ReleaseGuard(Protocol):
    """What stands between a release and its students; ``autograder.exam.guard.Guard`` is the one of the command line."""

    @property
    def stamp(self) -> str:
        """What the release must say of itself; empty if there is nothing to say."""

    def approve(self, folder: Path) -> None:
        """Refuse by an error what was built."""


def build_release(
    sources: Sources,
    out: Path,
    *,
    facts: dict[str, Any],
    checks: dict[str, float] | None,
    say: Callable[[str], None] = lambda text: None,
    guard: ReleaseGuard | None = None,
) -> Built:
    """Build, check, try and publish a release.

    Args:
        sources: where the parts lie.
        out: folder that receives ``<assignment>/`` and ``<assignment>.zip``; an older pair is replaced on success only.
        facts: content of ``assignment.json``; the names of the assignment and its notebooks are added.
        checks: points by check id of the rubric; None leaves that comparison out.
        say: receives one line per step.
        guard: has the last word before the release is published, and says what it must be stamped with; None for neither.

    Raises:
        GuardError: the guard refuses.
        ReleaseError: a source is missing or invalid, the result does not work, or there is no room.
        LeakError: the leak check found something.
    """
    try:
        with _workshop(out) as workshop:
            return _build(sources, out, workshop, facts, checks, say, guard)
    except (NotebookFault, EditionError, RubricError) as error:
        raise ReleaseError(str(error)) from None
    except OSError as error:
        raise ReleaseError(_disk_text(out, error)) from error


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A temporary folder beside the target, so that publishing is a rename; always removed."""
    out.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".release-", dir=out))
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _build(
    sources: Sources, out: Path, workshop: Path, facts: dict[str, Any], checks: dict[str, float] | None,
    say: Callable[[str], None], guard: ReleaseGuard | None,
) -> Built:  # fmt: skip
    name = sources.assignment
    folder = workshop / name
    folder.mkdir()
    originals = {path.name: read_source(path) for path in sources.notebook_paths()}
    _demand_agreement(sources)
    _demand_solutions(sources, originals)
    _write_notebooks(folder, originals)
    _write_rest(folder, sources, facts, guard.stamp if guard else "")
    say(f"{len(originals)} notebooks without solutions, student edition of segkit, data sample, instructions")
    archive = workshop / f"{name}.zip"
    write_zip(archive, folder, name, source_time(sources.root, sources.notebook_paths()))

    worth = checks and checks | dict.fromkeys(facts.get("bonus", ()), 0.0)  # nbgrader's maximum knows no bonus
    faults = verify_notebooks(originals, folder, worth)
    faults += verify_edition(folder, [sources.root, sources.package.parent])
    if faults:
        raise ReleaseError("The release does not work; nothing was released.\n" + "\n".join(f"  {f}" for f in faults))
    say("every stub parses, every grade id is there, the student edition runs without this repository")

    release = Release(
        collect_secrets(originals, sources.check_files(), sources.reference_files(), sources.student_files()),
        expected_files(sources),
    )
    findings = check_leaks(folder, archive, release)
    if findings:
        raise LeakError(findings)
    say(f"leak check: {len(release.secrets.lines)} secret lines looked for in folder and zip, none found")
    if guard is not None:
        guard.approve(folder)
    count = sum(path.is_file() for path in folder.rglob("*"))
    _publish(folder, out / name, workshop / "older")
    os.replace(archive, out / archive.name)
    return Built(out / name, out / archive.name, count, len(release.secrets.lines))


def _demand_agreement(sources: Sources) -> None:
    """Refuse numbers that the rubric contradicts."""
    assignment = assignment_of(sources.notebooks)
    if assignment is None:
        return
    notebooks = {path.name: read_notebook(path) for path in sources.notebook_paths()}
    faults = notebook_faults(notebooks, assignment.rubric, values_of(assignment))
    for path in sources.templates():
        faults += template_faults(path.name, path.read_text(encoding="utf-8"), assignment.rubric)
    if faults:
        raise ReleaseError("The notebooks and the rubric disagree; nothing was released.\n" + "\n".join(f"  {fault}" for fault in faults))


def _demand_solutions(sources: Sources, originals: dict[str, NotebookNode]) -> None:
    """Refuse notebooks that do not hold what the rubric says, or hold a solution where students would get it."""
    assignment = assignment_of(sources.notebooks)
    faults = source_faults(originals, assignment.rubric) if assignment else []
    if faults:
        raise ReleaseError("The notebooks cannot be released; nothing was released.\n" + "\n".join(f"  {fault}" for fault in faults))


def _write_notebooks(folder: Path, originals: dict[str, NotebookNode]) -> None:
    for name, source in originals.items():
        write_notebook(folder / name, student_version(source, name))


def _write_rest(folder: Path, sources: Sources, facts: dict[str, Any], stamp: str) -> None:
    write_edition(folder, sources.package, readers=sources.readers())
    for path in sources.data_files():
        target = folder / "data" / path.relative_to(sources.data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    words = _words(sources)
    for path in sources.templates():
        (folder / path.name).write_text(_filled(path, words), encoding="utf-8", newline="\n")
    names = [path.name for path in sources.notebook_paths()]
    facts = {"assignment": sources.assignment, "notebooks": names} | facts | ({"unexamined": stamp} if stamp else {})
    if stamp:
        _stamp_readme(folder / README, stamp)
    text = json.dumps(facts, indent=2) + "\n"
    (folder / "assignment.json").write_text(text, encoding="utf-8", newline="\n")
    lines = ["# lower bounds only: what is installed already and new enough stays", *sources.requirements()]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    if (sources.root / LOCK).is_file():
        shutil.copyfile(sources.root / LOCK, folder / LOCK)


def _stamp_readme(path: Path, stamp: str) -> None:
    """Put a stamp below the title of the text that students read first; where there is none, a text of its own."""
    title, _, rest = path.read_text(encoding="utf-8").partition("\n") if path.is_file() else ("# Start here", "", "")
    path.write_text(f"{title}\n\n*This copy was {stamp}.*\n{rest}", encoding="utf-8", newline="\n")


def _words(sources: Sources) -> dict[str, str]:
    """What ``{{words}}`` of a template mean: passages, facts of the release, and every number of the rubric by its name.

    Passages come first, for they have words, too.
    """
    notebooks = [path.name for path in sources.notebook_paths()]
    assignment = assignment_of(sources.notebooks)
    values = values_of(assignment) if assignment else {}
    due = assignment.rubric.due if assignment else None
    passages = {path.stem: path.read_text(encoding="utf-8").rstrip() for path in sorted(PASSAGES.glob("*.md"))}
    return (
        passages
        | {word: write_template(f"{{{word}}}", values, "rubric.toml") for word in values}
        | {
            "assignment": sources.assignment,
            "notebooks": "\n".join(f"- `{name}`" for name in notebooks),
            "first_notebook": notebooks[0],
            "python": sources.python_version(),
            "due": f", by {due:%H:%M on %A, {due.day} %B %Y}{f' ({due:%Z})' if due.tzinfo else ''}" if due else "",
            "dependencies": "\n".join(f'    "{line}",' for line in sources.requirements()),
        }
    )


def _filled(path: Path, words: dict[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    if "{{" in text:
        unknown = text.split("{{", 1)[1].split("}}", 1)[0]
        raise ReleaseError(f"{path}: {{{{{unknown}}}}} is no word of a template. There is: {', '.join(sorted(words))}.")
    return text


def expected_files(sources: Sources) -> frozenset[str]:
    """Every path that a release of these sources may hold, computed from the sources and not from the result."""
    names = {path.name for path in sources.notebook_paths()}
    names |= {"segkit/" + path.relative_to(sources.package).as_posix() for path in sources.student_files()}
    names |= {"data/" + path.relative_to(sources.data).as_posix() for path in sources.data_files()}
    names |= {path.name for path in sources.templates()}
    return frozenset(names | {"assignment.json", "requirements.txt", LOCK, README})


def _publish(new: Path, target: Path, older: Path) -> None:
    """Put a folder in place of another one; if the second rename fails, the first is taken back."""
    had_one = target.exists()
    if had_one:
        os.replace(target, older)
    try:
        os.replace(new, target)
    except OSError:
        if had_one:
            os.replace(older, target)
        raise


def _disk_text(out: Path, error: OSError) -> str:
    free = shutil.disk_usage(out).free // 2**20 if out.exists() else 0
    place = getattr(error, "filename", None) or out
    return (
        f"{place}: {error.strerror or error}. {free} MiB are free there. An older release is untouched. "
        "Make room or take another --out, and run it again."
    )
