"""All visible checks at once, on the work as it is saved: what ``python -m segkit check`` runs, and a cell with ``check_all()``."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.checks.report import Line, as_shown, reading_width

if TYPE_CHECKING:
    from segkit.handin import Work

__all__ = ["Checked", "check_all"]

ORDER = ("fault", "unfinished", "note", "ok")
NARROW = 18  # the column of names; longer ones widen it


class Checked:
    """What the checks found; true where everything is there and nothing failed.

    Attributes:
        work: The work as it was read, with the outcome of each check.
    """

    def __init__(self, work: "Work") -> None:
        self.work = work

    def __bool__(self) -> bool:
        return not self.work.faults and not {"fault", "unfinished"} & set(self.kinds)

    def _ipython_display_(self) -> None:
        """Nothing: the table is printed already, and a notebook would show the object below it."""

    @property
    def kinds(self) -> list[str]:
        """What became of each check: ``fault``, ``unfinished``, ``note`` or ``ok``."""
        return [_finding(self.work, check)[0] for check in self.work.needs]

    @property
    def summary(self) -> str:
        """The last line of the table."""
        words = {"ok": "passed", "fault": "failed", "unfinished": "not finished", "note": "not tested"}
        counts = [f"{self.kinds.count(kind)} {word}" for kind, word in words.items() if kind in self.kinds]
        return f"{len(self.kinds)} checks: {', '.join(counts)}. The grade comes from others like them, with other inputs."


def check_all(folder: str | Path = ".") -> Checked:
    """Run the visible checks of all notebooks and print a table: check, points, seconds, and what is wrong.

    They run in a process of their own, as the grader would run the work: on the notebooks and scripts as they are saved, without a GPU.
    What hangs is given up, what crashes is told, and the checks of other definitions go on.

    Args:
        folder: Folder with the notebooks.

    Returns:
        What was found.

    Raises:
        SubmitError: The folder holds no notebook and no script.
        AssignmentError: ``assignment.json`` is missing or damaged.
    """
    from segkit.assignment import facts as assignment_facts
    from segkit.handin import Item, inspect_work
    from segkit.progress import bar, say
    from segkit.submit import CHECKPOINTS, checkpoint_of, copy_files, named_once, no_checkpoint, run_checks, work_files

    folder = Path(folder).resolve()
    files, facts = work_files(folder), assignment_facts(folder)
    with tempfile.TemporaryDirectory(prefix="segkit-check-", ignore_cleanup_errors=True) as place:
        unreadable = copy_files(folder, files, Path(place))
        work = inspect_work(Path(place), facts)
        work.faults = named_once(folder, [*unreadable, *work.faults])
        checkpoints: dict[str, Path] = {}
        for name in facts.get("checkpoints", CHECKPOINTS):
            path = checkpoint_of(folder, name)
            item = no_checkpoint(folder, name) if path is None else Item(f"checkpoint {name}", "ready", path.name)
            work.items[item.need] = item
            checkpoints |= {name: path} if path else {}
        shown = partial(bar, show=reading_width() > 0, leave=False)  # into a file goes the table alone
        rows = _Rows(work, [trial.check for trial in work.trials(checkpoints, facts)], say)
        rows.show()
        for check, outcome in run_checks(work, checkpoints, facts, Path(place), shown, rows.told).items():
            rows.told(check, outcome)  # those that were not begun, too
    for fault in work.faults:
        say(as_shown(Line("fault", fault)))
    checked = Checked(work)
    say(checked.summary)
    return checked


def _finding(work: "Work", check: str) -> tuple[str, str]:
    """The worst kind of a check's findings, and all their words."""
    found = work.findings(check)
    return min((kind for kind, _ in found), key=ORDER.index), "; ".join(text for _, text in found)


class _Rows:
    """Prints the rows of the table in the order of the assignment, each as soon as it and those above it are known."""

    def __init__(self, work: "Work", waiting: list[str], say: Callable[[str], None]) -> None:
        self.work, self.waiting, self.say = work, set(waiting), say
        self.checks = list(work.needs)
        self.wide = max([NARROW, *map(len, self.checks)])
        say(f"     {'check':<{self.wide}}{'points':>6}{'seconds':>8}")

    def told(self, check: str, outcome: Any) -> None:
        """One more check is done."""
        self.work.outcomes[check] = outcome
        self.waiting.discard(check)
        self.show()

    def show(self) -> None:
        """Print what is known."""
        while self.checks and self.checks[0] not in self.waiting:
            check = self.checks.pop(0)
            outcome = self.work.outcomes.get(check)
            seconds = f"{outcome.seconds:.1f}" if outcome and outcome.seconds else ""
            points = f"{self.work.points[check]:g}" if check in self.work.points else ""
            kind, text = _finding(self.work, check)
            detail, _, cause = text.partition(". Likely cause: ")
            self.say(as_shown(Line(kind, f"{check:<{self.wide}}{points:>6}{seconds:>8}", detail, cause)))


if __name__ == "__main__":  # python -m segkit.checking
    raise SystemExit("This is no command, and nothing was checked. A space in the place of the dot makes it one: python -m segkit check")
