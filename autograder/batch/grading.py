"""Grade a whole class: what is not graded yet, saving each result as soon as it is known, and then the class pages."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autograder.alike.kept import keep_work
from autograder.batch.changes import changes_of, format_changes, read_changes, write_changes
from autograder.batch.cluster import at_home, grade_on_cluster
from autograder.batch.journal import JOURNAL, Journal
from autograder.batch.keys import run_key
from autograder.batch.memory import plan_memory
from autograder.batch.pool import Graded, furnish, grade_side_by_side
from autograder.batch.progress import Estimate, Progress
from autograder.batch.resume import Standing, look
from autograder.batch.writing import going_on, remove_leftovers, restore, titles_of, writable
from autograder.handins.answers import keep_answers
from autograder.handins.archives import UNPACKING_ERRORS, open_zip
from autograder.handins.submission import read_submission, submission_names
from autograder.judge.run import Run, Settings
from autograder.marking import MarksError, marked, read_marks
from autograder.marking.pictures import keep_pictures
from autograder.report import write_class_page, write_summary
from autograder.sandbox.locks import hold_folder
from segkit.atomic import disk_is_full

__all__ = ["OutOfSpaceError", "estimate_gate_seconds", "grade_many"]

# seconds per padded pixel of one forward call with two threads. Measured with FCN-8s on 48 real facades: 94 s a gate, 3.2e-6.
# In 16 bits, on a processor that has them, it is a third: `segkit evaluate` took 31 s for the same; near a step both are needed.
# A little more is assumed, so that a gate rather ends before its estimate than after it
SECONDS_PER_PIXEL = {"float32": 3.5e-6, "bfloat16": 1.3e-6}


class OutOfSpaceError(OSError):
    """The folder of results is full. What was graded stays, and nothing is half-written."""


def estimate_gate_seconds(run: Run) -> float:
    """Seconds that one gate takes on this machine's CPU, from the sizes of its pictures (measured: 2 cores)."""
    data = run.data
    if data is None:
        return 0.0
    size = data.size or (lambda name: data.photo(name).shape[:2])
    return SECONDS_PER_PIXEL[run.gate_precision] * float(sum((height + 198) * (width + 198) for height, width in map(size, data.names)))


def grade_many(
    paths: Sequence[Path], settings: Settings, jobs: int = 1, say: Callable[[str], None] = print, *, regrade: bool = False,
    memory: float | None = None, cluster: str = "",
) -> list[dict[str, Any]]:  # fmt: skip
    """Grade submissions and write everything a class needs.

    Writes ``out/<name>/result.json`` and ``report.html`` for each, then ``summary.csv`` and ``index.html``. What
    ``out/journal.jsonl`` holds and is still valid is not graded again.

    Args:
        paths: Folders and zips.
        settings: What the run is told.
        jobs: How many judges work side by side, as far as the memory allows.
        say: Where messages go.
        regrade: Grade everything again, and write ``regrade.csv``: who changed, and why.
        memory: GiB for the whole run; None for what the machine has.
        cluster: Where judges work in the place of this machine (see ``autograder.batch.cluster``); empty for here. Gates are measured on
            the CPU there, on GPUs where the settings say ``"cuda"``.

    Returns:
        The results in the order of ``paths``.

    Raises:
        FolderBusyError: Another run is grading into the folder.
        MarksError: There are marks in the folder that cannot be used.
        MemoryShortError: The given memory is not enough for one submission.
        OutOfSpaceError: The folder is full.
        ClusterError: The cluster cannot be used.
    """
    gpu = cluster and settings.device == "cuda"
    settings = at_home(settings) if cluster else settings
    paths = list(dict.fromkeys(paths))
    done: list[Path] = []
    try:
        with hold_folder(settings.out) as killed:
            if killed:
                say(f"An earlier run into this folder ({killed}) was killed; what it graded is kept.")
            remove_leftovers(settings.out)
            read_marks(settings.out)  # a slip in them is said now, not after the night
            with Run.open(settings) as run, Journal(settings.out / JOURNAL) as journal:
                if gpu:
                    vars(run)["uses_gpu"] = True  # of the workers; this machine may have none
                return _Class(run, journal, paths, say, done, cluster).grade(jobs, regrade, memory)
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise OutOfSpaceError(
            error.errno, f"No space left in {settings.out}: {error.strerror or error} {len(done)} of {len(paths)} submissions are "
            "graded, and stay. Free some space and give the same command again: it grades the rest"
        ) from error  # fmt: skip


class _Class:
    """The submissions of one run."""

    def __init__(
        self, run: Run, journal: Journal, paths: Sequence[Path], say: Callable[[str], None], done: list[Path], cluster: str = ""
    ) -> None:
        self.run, self.journal, self.paths, self.say, self.done, self.cluster = run, journal, paths, say, done, cluster
        self.names = submission_names(paths, run.assignment.name)
        self.key = run_key(run)
        self.results: dict[Path, dict[str, Any]] = {}
        self.keys: dict[Path, Mapping[str, Any]] = {}

    def grade(self, jobs: int, regrade: bool, memory: float | None) -> list[dict[str, Any]]:
        gates = self.run.data is not None and any(check.settings for check in self.run.wanted_checks.values())
        plan = plan_memory(jobs, memory, gates)
        history = self.journal.history()
        with tqdm(total=len(self.paths), desc="looking", leave=False, disable=None if history.latest else True, delay=2) as bar:
            standing = look(self.run, history, self.paths, self.names, self.key, regrade, bar.update)
        if standing.words():
            self.say(standing.words())
        self.journal.append("run", regrade=regrade, of=len(self.paths))
        places = {self.names[path]: _place(path, self.run.settings.out) for path in self.paths}
        if new := {name: place for name, place in places.items() if place and history.places.get(name) != place}:
            self.journal.append("places", places=new)
        for path, result in standing.done.items():
            self._restore(path, result)
            self.results[path] = result
            self.done.append(path)
        if standing.left:
            if plan.words and not self.cluster:
                self.say(plan.words)
            self._grade_left(standing, jobs if self.cluster else plan.jobs, plan.gates if gates else 0)
        self._changes(standing, history.latest, regrade)
        ordered = self._with_marks()
        self._write_pages(ordered)
        self.journal.append("end")
        return ordered

    def _grade_left(self, standing: Standing, jobs: int, gates: int) -> None:
        run = self.run
        if not self.cluster:
            run.prepare()
            furnish(run, gates)
        if run.data is not None and not run.uses_gpu:
            seconds = estimate_gate_seconds(run)
            if seconds > 30:
                self.say(f"Gates on the CPU: about {seconds / 60:.1f} minutes per model for {len(run.data.names)} pictures.")
        if run.settings.retraining is not None:
            self.say(f"Each network is trained again, for {run.settings.retraining.minutes:g} minutes at most.")
        counts = {self.names[path]: _checkpoints(path, run.rubric.checkpoints) if gates else 0 for path in standing.left}
        progress = Progress(len(standing.done), Estimate(jobs, counts, gates), run.folder / "marks", self.say)
        try:
            if self.cluster:
                grade_on_cluster(run, standing.left, self.names, self.cluster, jobs, self.key, progress, self._keep, self.say)
            else:
                grade_side_by_side(run, standing.left, self.names, jobs, progress, self._keep, self.say)
        except KeyboardInterrupt:
            graded = f"{len(self.results)} of {len(self.paths)}"
            self.say(f"Interrupted: {graded} submissions are graded and written; run again for the rest.")
            raise
        finally:
            progress.close()

    def _restore(self, path: Path, result: dict[str, Any]) -> None:
        """Write the files of a result again if necessary; if that fails, the other submissions are graded nevertheless."""
        name = self.names[path]
        with going_on(self.say, f"{name}: its result could not be written: "):
            if restore(result, self.run.settings.out / name, self.run.rubric, lambda: self._read_answers_again(path)):
                self.say(f"{name}: its files are written again from the journal.")

    def _read_answers_again(self, path: Path) -> None:
        """The journal has results, but not what students wrote for a person to grade."""
        name = self.names[path]
        with (
            going_on(self.say, f"{name}: its answers could not be read again: "),
            contextlib.closing(read_submission(path, name, self.run.rubric)) as submission,
        ):
            keep_answers(self.run.settings.out / name, submission, self.run.wanted_checks)
            keep_pictures(self.run.settings.out / name, submission, self.run.wanted_checks)
            keep_work(self.run.settings.out / name, submission)

    def _keep(self, path: Path, graded: Graded) -> None:
        """Write a result into the journal, so that no later run grades it again."""
        name, key, result = self.names[path], {**self.key, **graded.key}, writable(graded.result)
        self.results[path], self.keys[path] = result, key
        with going_on(self.say, f"{name}: the journal could not take its result (", "): the next run grades it again."):
            self.journal.append("graded", name=name, key=key, result=result)
        self.done.append(path)

    def _changes(self, standing: Standing, latest: Mapping[str, Any], regrade: bool) -> None:
        """Say and write who changed, and in a regrade that nobody did; of what a stopped regrade had graded, the journal has the keys."""
        keys = {path: self.keys.get(path) or latest[self.names[path]].key for path in standing.before}
        changes = [change for path, entry in standing.before.items() for change in changes_of(entry, keys[path], self.results[path])]
        if changes or regrade:
            write_changes(changes, self.run.settings.out)
            self.say(format_changes(changes, len(standing.before)))

    def _with_marks(self) -> list[dict[str, Any]]:
        """The results in their order, with what people gave."""
        by_name = {self.names[path]: self.results[path] for path in self.paths}
        try:
            found = marked(self.run.settings.out, by_name)
        except MarksError as error:  # changed since the run began
            self.say(f"The pages show no marks: {error}")
            return list(by_name.values())
        for line in [*found.faults, *found.notices]:
            self.say(line)
        return list(found.results.values())

    def _write_pages(self, results: Sequence[dict[str, Any]]) -> None:
        run, out = self.run, self.run.settings.out
        write_summary(results, out, check_ids=list(run.wanted_checks))
        write_class_page(results, out, titles=run.rubric.causes, checks=titles_of(run.rubric), changes=read_changes(out))


def _place(path: Path, out: Path) -> str:
    """Where a submission lies, from the folder of results on: no output says how folders of this computer are called. Empty where no way
    leads there, on another drive."""
    try:
        return Path(os.path.relpath(path.absolute(), out.absolute())).as_posix()
    except ValueError:
        return ""


def _checkpoints(path: Path, names: Sequence[str]) -> int:
    """How many checkpoints a submission seems to have, without reading it. Used only to estimate times."""
    try:
        if path.is_dir():
            files = [entry.name for folder in (path, *path.glob("**/checkpoints")) for entry in folder.iterdir()]
        else:
            with open_zip(path) as bundle:
                files = [name.rpartition("/")[2] for name in bundle.namelist()]
    except UNPACKING_ERRORS:
        return 0
    return sum(any(file.startswith(f"{name}.") for file in files) for name in names)
