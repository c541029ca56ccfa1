"""What a run need not grade again, according to the journal."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.batch.journal import Entry, History
from autograder.batch.keys import changed, submission_key
from autograder.handins.submission import read_submission
from autograder.judge.run import Run

__all__ = ["Standing", "look"]

# results that the next run tries to improve
RETRIED = ("grader.fault", "grader.memory", "submission.unreadable", "submission.no_notebook", "submission.empty")
COULD_NOT = "could not be graded before"


@dataclass
class Standing:
    """Where a class stands before a run.

    Attributes:
        done: Results that still hold.
        left: What is to be graded, in its order.
        before: Of those, what the journal has of them.
        why: Reasons why some of them are graded again -> how many.
        regrade: Whether it is a regrade.
        continued: Whether that began in an earlier run.
    """

    done: dict[Path, dict[str, Any]] = field(default_factory=dict)
    left: list[Path] = field(default_factory=list)
    before: dict[Path, Entry] = field(default_factory=dict)
    why: Counter[str] = field(default_factory=Counter)
    regrade: bool = False
    continued: bool = False

    def words(self) -> str:
        """What the user is told; empty for a class that is new."""
        done, left = len(self.done), len(self.left)
        if self.regrade and not self.continued:
            return f"All {left} are graded again; results of before stay until the new ones are there." if self.before else ""
        if not done and not self.why:
            return ""
        again = ", ".join(f"{count} ({reason})" for reason, count in self.why.most_common())
        what = "were graded again before this regrade was stopped" if self.regrade else "were graded before"
        return f"{done} of {done + left} {what}, {left} left{f'; again: {again}' if again else ''}."


def look(
    run: Run, history: History, paths: Sequence[Path], names: Mapping[Path, str], key: Mapping[str, str], regrade: bool = False,
    glance: Callable[[], None] = lambda: None,
) -> Standing:  # fmt: skip
    """Find out which submissions have a result that still holds.

    Args:
        run: The open run.
        history: What the journal tells.
        paths: The class.
        names: Its names.
        key: The run's part of the keys.
        regrade: Whether everything is to be graded again; a regrade that was stopped goes on.
        glance: Called after each submission that was looked at.
    """
    continued = regrade and history.regrading
    standing = Standing(regrade=regrade, continued=continued)
    for path in paths:
        name = names[path]
        entry = history.latest.get(name)
        if entry is not None and regrade and not (continued and name in history.again):
            entry = None
        if entry is not None:
            reasons = _reasons(run, path, name, entry, key)
            if not reasons:
                standing.done[path] = entry.result
                glance()
                continue
            standing.why[" and ".join(reasons)] += 1
        standing.left.append(path)
        glance()
    known = history.before if continued else history.latest
    standing.before = {path: known[names[path]] for path in paths if names[path] in known}
    return standing


def _reasons(run: Run, path: Path, name: str, entry: Entry, key: Mapping[str, str]) -> list[str]:
    """Why a result is no longer valid; empty if it is."""
    reasons = changed({**entry.key, "submission": "", "elsewhere": ""}, {**key, "submission": "", "elsewhere": ""})
    if any(check["cause"] in RETRIED for check in entry.result["checks"]):
        reasons.append(COULD_NOT)
    if reasons:
        return reasons
    try:
        submission = read_submission(path, name, run.rubric, run.settings.checkpoints)
    except Exception:  # a judge will find the same error, and report it
        return ["submission changed"]
    try:
        return changed(entry.key, {**key, **submission_key(submission)})
    finally:
        submission.close()
