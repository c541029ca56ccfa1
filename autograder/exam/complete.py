"""Which entries an exam consists of, and sitting them. What is known of an entry, and still holds, is not found again."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autograder.exam.entries import KINDS, Entry, read_corpus
from autograder.exam.generated import generate
from autograder.exam.keys import Keys
from autograder.exam.leaks import CLEAN, sit_leaks
from autograder.exam.outcome import Outcome
from autograder.exam.sitting import SECRET, sit
from autograder.exam.verdict import Verdicts
from autograder.judge.run import Settings
from autograder.sandbox.isolation import best_level
from autograder.sandbox.leftovers import owned_prefix
from autograder.sandbox.locks import try_lock

__all__ = ["Exam", "ExamError", "choose", "sit_exam"]

PYTORCH = "TORCHINDUCTOR_CACHE_DIR"
Tell = Callable[[Outcome], None]


class ExamError(Exception):
    """The exam cannot be sat, or its verdict cannot be kept; the text says why."""


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
    entries: Sequence[Entry], assignment: str, root: Path, *, jobs: int = 1, with_parity: Callable[[Entry], bool] = lambda entry: False,
    tell: Tell = lambda outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Sit an exam.

    Args:
        entries: From ``choose``.
        assignment: Name of the assignment.
        root: The repository.
        jobs: How many judges side by side.
        with_parity: Whether nbgrader and plain pytest grade an entry too.
        tell: Called with each new outcome.

    Returns:
        The outcomes, in the order of the entries.
    """
    graded = [entry for entry in entries if entry.kind != "leaks"]
    with tempfile.TemporaryDirectory(prefix=owned_prefix("segkit-exam-out-")) as out:
        # attacks are let loose behind the strongest wall only
        wall = "bubblewrap" if any(entry.kind == "attacks" for entry in graded) else None
        # gates are measured on the embedded sample: the same pictures on every machine
        settings = Settings(assignment, Path(out), data="sample", isolation=wall, secret=SECRET, device="cpu", seconds=120.0)
        with _place_of_pytorch(Path(out, "torch")):
            found = sit(graded, settings, root / "notebooks" / assignment, jobs, tell, with_parity)
    found += sit_leaks([entry for entry in entries if entry.kind == "leaks"], assignment, root, tell)
    outcomes = {(outcome.entry.kind, outcome.entry.name): outcome for outcome in found}
    return [outcomes[entry.kind, entry.name] for entry in entries]


@contextmanager
def _place_of_pytorch(folder: Path) -> Iterator[None]:
    """Where judges let PyTorch make the folder that it makes with the first optimiser: not where one looks for what students leave."""
    before = os.environ.get(PYTORCH)
    os.environ[PYTORCH] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[PYTORCH]
        else:
            os.environ[PYTORCH] = before


class Exam:
    """The complete exam of an assignment: what is known of it, and sitting the rest.

    Args:
        material: The assignment's folder, with a corpus.
        assignment: Its name.
        root: The repository.
        fresh: Forget what is known.

    Raises:
        CorpusError: If the corpus cannot be used.
    """

    def __init__(self, material: Path, assignment: str, root: Path, fresh: bool = False) -> None:
        self.material, self.assignment, self.root = material, assignment, root
        self.entries = choose(material, self._notebooks, KINDS)
        self.verdicts = Verdicts(material, self.entries, self._keys(), fresh)

    @property
    def _notebooks(self) -> Path:
        return self.root / "notebooks" / self.assignment

    def _keys(self) -> Keys:
        return Keys(self.material, self._notebooks, self.root)

    @property
    def left(self) -> list[Entry]:
        """The entries that must be sat: they are new, or what they depend on has changed."""
        return self.verdicts.left

    def words(self, jobs: int) -> str:
        """What must be sat, in a line."""
        if not self.left:
            return f"The grader's exam was passed: {len(self.entries)} entries, no surprise."
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(entry.kind for entry in self.left).items())
        minutes = self.verdicts.minutes(jobs)
        time = f"about {minutes:.0f} minutes" if minutes >= 1.5 else "a minute or less"
        return f"The grader's exam: {len(self.left)} of {len(self.entries)} entries depend on what has changed ({kinds}): {time}."

    def sit(self, jobs: int, tell: Tell) -> list[Outcome]:
        """Sit what is left. Each outcome is kept as soon as it is there, so a killed exam goes on where it was.

        Args:
            jobs: How many judges side by side.
            tell: Called with each new outcome.

        Returns:
            The outcomes of all entries, in their order. Without surprises among them the verdict is summed up.

        Raises:
            ExamError: Another exam of the assignment is being sat, or its files have changed in the meantime.
        """

        def found(outcome: Outcome) -> None:
            self.verdicts.add(outcome)
            tell(outcome)

        with self._alone():
            before = self.verdicts.path.stat().st_size if self.verdicts.path.is_file() else 0
            try:
                new = sit_exam(self.left, self.assignment, self.root, jobs=jobs, with_parity=self.verdicts.may_differ, tell=found)
            finally:
                self.verdicts.close()
            keys = self._keys()
            if any(keys.of(entry) != self.verdicts.key_of(entry) for entry in self.entries):
                if self.verdicts.path.is_file():
                    os.truncate(self.verdicts.path, before)
                raise ExamError("While the exam was sat, files that it depends on have changed. Its verdict is not kept; run it again.")
            fresh = {(outcome.entry.kind, outcome.entry.name): outcome for outcome in new}
            outcomes = [
                self.verdicts.known.get(position) or fresh[entry.kind, entry.name] for position, entry in enumerate(self.entries)
            ]  # fmt: skip
            if not any(outcome.problem for outcome in outcomes):
                self.verdicts.sum_up(outcomes, {"assignment": self.assignment, "isolation": best_level(None)})
            return outcomes

    def _alone(self) -> Any:
        """Only one exam at a time keeps its outcomes."""
        place = self.root / "build" / "selftest" / f"{self.assignment}.lock"
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = try_lock(place)
        if lock is None:
            raise ExamError(f"Another exam of {self.assignment} is being sat (it holds {place}). Wait until it has ended.")
        return os.fdopen(lock)
