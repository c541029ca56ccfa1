"""Which entries an exam consists of, and sitting them: what was found before is not found again."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from autograder.exam.entries import Entry, read_corpus
from autograder.exam.generated import generate
from autograder.exam.journal import Journal
from autograder.exam.leaks import CLEAN, sit_leaks
from autograder.exam.sitting import SECRET, Outcome, sit
from autograder.judge.run import Settings
from autograder.sandbox.leftovers import owned_prefix

__all__ = ["choose", "sit_exam"]


def choose(folder: Path, source: Path, kinds: Iterable[str], only: Iterable[str] = (), every: int = 1) -> list[Entry]:
    """Entries of some kinds, and of some names where they are given.

    Args:
        folder: The assignment's folder.
        source: Folder of the source notebooks.
        kinds: Kinds, in the order wanted.
        only: Parts of names; empty for all.
        every: Of the generated mutants take one of so many.
    """
    corpus, only = read_corpus(folder), tuple(only)
    chosen: list[Entry] = []
    for kind in kinds:
        chosen += generate(corpus, source, every=every) if kind == "generated" else corpus.of_kind(kind)
        chosen += [CLEAN] if kind == "leaks" else []
    return [entry for entry in chosen if not only or any(part in entry.name for part in only)]


def sit_exam(
    entries: Sequence[Entry], assignment: str, root: Path, *, jobs: int = 1, with_seen: bool = True, with_parity: bool = False,
    journal: Journal | None = None, tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Sit an exam.

    Args:
        entries: From ``choose``.
        assignment: Name of the assignment.
        root: The repository.
        jobs: How many judges side by side.
        with_seen: Whether the visible checks are run too.
        with_parity: Whether nbgrader and plain pytest grade each entry too.
        journal: Holds what is known, and receives what is found; None for neither.
        tell: Called with each new outcome.

    Returns:
        The outcomes, in the order of the entries.
    """
    outcomes = journal.known(entries) if journal else {}
    left = [entry for position, entry in enumerate(entries) if position not in outcomes]

    def found(outcome: Outcome) -> None:
        if journal:
            journal.add(outcome)
        tell(outcome)

    graded = [entry for entry in left if entry.kind != "leaks"]
    with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-exam-out-")) as out:
        # attacks are let loose behind the strongest wall only
        wall = "bubblewrap" if any(entry.kind == "attacks" for entry in graded) else None
        # gates are measured on the embedded sample: the same pictures on every machine
        settings = Settings(assignment, Path(out), data="sample", isolation=wall, secret=SECRET, device="cpu", seconds=120.0)
        new = sit(graded, settings, root / "notebooks" / assignment, jobs, with_seen, found, with_parity)
    new += sit_leaks([entry for entry in left if entry.kind == "leaks"], assignment, root, found)
    fresh = {(outcome.entry.kind, outcome.entry.name): outcome for outcome in new}
    return [outcomes.get(position) or fresh[entry.kind, entry.name] for position, entry in enumerate(entries)]
