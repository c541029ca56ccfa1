"""Leaks planted in a release: the clean one passes, every spoiled one is found out, in the folder or in the zip."""

import importlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from autograder.course.sources import find_sources, rubric_facts
from autograder.exam.entries import Entry
from autograder.exam.outcome import Outcome
from autograder.release.archive import write_zip
from autograder.release.build import build_release, expected_files
from autograder.release.leaks import Release, check_leaks, collect_secrets
from autograder.release.notebooks import read_source
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["CLEAN", "sit_leaks"]

CLEAN = Entry("leaks", "the-clean-release", "nothing planted")


def sit_leaks(entries: Sequence[Entry], assignment: str, root: Path, tell: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Build a release, then spoil copies of it one by one.

    Args:
        entries: Of kind ``leaks``; ``CLEAN``, which has no building function, is the clean release.
        assignment: Name of the assignment.
        root: The repository.
        tell: Called with each outcome.
    """
    if not entries:
        return []
    sources = find_sources(assignment, root)
    originals = {path.name: read_source(path) for path in sources.notebook_paths()}
    secrets = collect_secrets(originals, sources.check_files(), sources.reference_files(), sources.student_files())
    release = Release(secrets, expected_files(sources))
    outcomes = []
    with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-leaks-")) as place:
        facts, checks = rubric_facts(sources.material)
        clean = build_release(sources, Path(place) / "out", facts=facts, checks=checks).folder
        for number, entry in enumerate(entries):
            outcomes.append(_sit(entry, clean, Path(place) / str(number) / assignment, release))
            if tell:
                tell(outcomes[-1])
    return outcomes


def _sit(entry: Entry, clean: Path, folder: Path, release: Release) -> Outcome:
    outcome, started = Outcome(entry), time.monotonic()
    shutil.copytree(clean, folder)
    archive = folder.with_suffix(".zip")
    try:
        findings = _findings(entry, folder, archive, release)
    except Exception as error:  # a leak check that breaks is a surprise like any other
        outcome.problem = f"{type(error).__name__}: {error}"
        return outcome
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
        outcome.seconds = time.monotonic() - started
    if not entry.build:
        outcome.exact, outcome.false_alarm = not findings, bool(findings)
        outcome.problem = f"the clean release is refused: {findings[:3]}" if findings else ""
        return outcome
    outcome.caught = outcome.exact = bool(findings)
    missing = [word for word in entry.says if not any(word in finding for finding in findings)]
    outcome.named = not missing
    if not findings:
        outcome.problem = "nothing was found"
    elif missing:
        outcome.problem = f"the findings lack {missing}: {findings[:3]}"
    return outcome


def _findings(entry: Entry, folder: Path, archive: Path, release: Release) -> list[str]:
    """Spoil the release and check it. What stands in the folder is put into the zip too, as a build does."""
    if not entry.build:
        write_zip(archive, folder, folder.name)
        return [str(finding) for finding in check_leaks(folder, archive, release)]
    module, _, name = entry.build.partition(":")
    plant = getattr(importlib.import_module(module), name)
    zip_first = "zip" in name
    if zip_first:
        write_zip(archive, folder, folder.name)
    plant(folder, archive)
    return [str(finding) for finding in check_leaks(folder, archive if zip_first else None, release)]
