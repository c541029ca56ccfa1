"""Whole runs of ``grade_many`` without judge and worker processes, for tests of what a run keeps and repeats."""

import json
import re
from pathlib import Path
from typing import Any

from tiny import DOUBLE, InProcess, settings, write_submission

from autograder.batch import grading, write_result
from autograder.batch.keys import submission_key
from autograder.batch.pool import Graded
from autograder.judge.grade import grade_path

__all__ = ["QuickJudges", "journal_of", "timeless"]


class QuickJudges:
    """Grades in this process; knows whom it graded, and can be told to fail.

    Attributes:
        graded: Names of the last run, in order.
        stop_after: Raise ``KeyboardInterrupt`` after so many submissions.
        places: How many gates the last run would have measured at once.
    """

    def __init__(self, monkeypatch: Any, root: Path) -> None:
        self.root, self.out, self.graded, self.said = root, root / "out", [], []
        self.stop_after: int | None = None
        self.places = 0
        monkeypatch.setattr(grading, "grade_side_by_side", self._grade)
        monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)

    def write(self, *names: str, code: str = DOUBLE) -> list[Path]:
        """Write submissions, or other code into them."""
        return [write_submission(self.root / "submitted" / name, code, net=None) for name in names]

    def run(self, paths: list[Path], regrade: bool = False, jobs: int = 1, memory: float = 8, **more: Any) -> list[dict[str, Any]]:
        """Grade a class; only cheap checks unless others are asked for."""
        self.graded.clear()
        self.said.clear()
        chosen = settings(self.out, **({"only": ("double",)} | more))
        return grading.grade_many(paths, chosen, jobs, self.said.append, regrade=regrade, memory=memory)

    def _grade(self, run, paths, names, jobs, progress, keep, say) -> None:
        self.places = len(list((run.folder / "gates").iterdir()))
        for path in paths:
            if len(self.graded) == self.stop_after:
                raise KeyboardInterrupt
            found, folder = Graded({}), run.settings.out / names[path]
            folder.mkdir(parents=True, exist_ok=True)
            found.result = grade_path(run, path, names[path], out=folder, opened=lambda s, key=found.key: key.update(submission_key(s)))
            write_result(found.result, folder, run.rubric)
            keep(path, found)
            progress.finished(found.result)
            self.graded.append(names[path])


def journal_of(out: Path, do: str = "graded") -> list[dict[str, Any]]:
    """Lines of one kind in a folder's journal."""
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_bytes().splitlines()]
    return [line for line in lines if line["do"] == do]


def timeless(result: dict[str, Any]) -> str:
    """A result as text, without its times and what else was measured of the machine."""
    checks = [check | {"seconds": 0} for check in result["checks"]]
    notes = [re.sub(r"pictures in [\d.]+ s on |, at most \d+ MiB", "", note) for note in result["notes"]]
    return json.dumps(result | {"started": "", "seconds": 0, "checks": checks, "notes": notes}, sort_keys=True)
