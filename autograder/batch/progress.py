"""The progress of a run and its remaining time: a bar in a terminal, otherwise one line per submission."""

import heapq
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

__all__ = ["Estimate", "Progress", "about", "elapsed", "put_mark"]

RECENT = 100  # submissions whose times count


def elapsed(started: float) -> str:
    """Minutes and seconds since ``started`` (``time.monotonic()``)."""
    seconds = time.monotonic() - started
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{seconds:.0f} s"


def about(seconds: float | None) -> str:
    """``about 5 min left``; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 90 else f"about {minutes // 60} h {minutes % 60} min left"


@dataclass
class Estimate:
    """Time left, from what was seen: a submission takes a time of its own, and another for each checkpoint's gate.

    Attributes:
        jobs: Judges side by side.
        left: Names that are not finished -> how many checkpoints they have.
        gates: How many gates may be measured at once; 0 for as many as there are judges.
    """

    jobs: int
    left: dict[str, int]
    gates: int = 0
    _seconds: list[float] = field(default_factory=list)
    _gate_seconds: float = 0.0
    _checkpoints: int = 0

    def finished(self, name: str, seconds: float, gate_seconds: float) -> None:
        """Learn from a finished submission and the part of its time that gates took (0 if predictions were kept)."""
        self._checkpoints += self.left.pop(name, 0)
        self._seconds.append(max(0.0, seconds - gate_seconds))
        self._gate_seconds += gate_seconds

    def seconds(self, marks: Mapping[str, Mapping[str, float]]) -> float | None:
        """Seconds until the last one is finished; None as long as nothing is known.

        Args:
            marks: Name of each submission in work -> ``{"began", "gate", "left"}``: when it was begun (``time.time()``), and of
                the gate being measured the seconds in all and the seconds left (0 for none).
        """
        running = [mark["gate"] for mark in marks.values() if mark["gate"]]
        recent = self._seconds[-RECENT:]
        own = sum(recent) / len(recent) if recent else 0.0
        gate = self._gate_seconds / self._checkpoints if self._checkpoints else sum(running) / len(running) if running else 0.0
        if not self._seconds and not running:
            return None
        needs = {name: own + gate * count for name, count in self.left.items()}
        for name in needs.keys() & marks.keys():
            needs[name] = max(needs[name] - (time.time() - marks[name]["began"]), marks[name]["left"], 0.0)
        places = [needs[name] for name in needs.keys() & marks.keys()]
        places += [0.0] * (max(1, self.jobs) - len(places))
        heapq.heapify(places)
        for name, seconds in needs.items():
            if name not in marks:  # the judge that is free first takes it
                heapq.heapreplace(places, places[0] + seconds)
        measured = sum(mark["gate"] - mark["left"] for mark in marks.values())
        at_the_gate = (gate * sum(self.left.values()) - measured) / self.gates if 0 < self.gates < self.jobs else 0.0
        return max(*places, at_the_gate)


def put_mark(path: Path, name: str, began: float, text: str, gate: float = 0.0, left: float = 0.0) -> None:
    """Tell the first process what a judge is doing."""
    path.write_text(json.dumps({"name": name, "text": text, "began": began, "gate": gate, "left": left}), encoding="utf-8")


def read_marks(folder: Path) -> dict[str, dict[str, Any]]:
    """What the judges are doing just now, by name of the submission."""
    marks = {}
    for path in sorted(folder.glob("*")):
        try:
            mark = json.loads(path.read_text(encoding="utf-8"))
            marks[mark["name"]] = mark
        except (OSError, ValueError):
            continue  # being written, or just finished
    return marks


class Progress:
    """The bar, or the lines.

    Args:
        before: How many of the class were graded before this run.
        estimate: For the others.
        marks: Folder of the judges' marks.
        say: Where lines go if there is no terminal.
    """

    def __init__(self, before: int, estimate: Estimate, marks: Path, say: Callable[[str], None]) -> None:
        self.estimate, self.marks, self.say = estimate, marks, say
        self.done, self.total = before, before + len(estimate.left)
        self.bar = tqdm(
            total=self.total, initial=before, desc="grading", file=sys.stdout, disable=None,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",  # tqdm's own rate does not consider gates
        )  # fmt: skip

    def finished(self, result: Mapping[str, Any], gate_seconds: float = 0.0) -> None:
        """One more submission has its result."""
        self.done += 1
        name, seconds = result["submission"], result["seconds"]
        self.estimate.finished(name, seconds, gate_seconds)
        self.bar.update()
        if self.bar.disable:
            left = about(self.estimate.seconds(self._marks())) if self.estimate.left else ""
            points = f"{result['score']:g} points, {seconds:.0f} s"
            self.say(f"  {self.done} of {self.total}: {name}: {points}{f'; {left}' if left else ''}")

    def show(self) -> None:
        """Show what the judges are doing."""
        if self.bar.disable:
            return
        marks = self._marks()
        doing = [f"{mark['name']}: {mark['text']}"[:48] for mark in list(marks.values())[:2]]
        self.bar.set_postfix_str(" | ".join(filter(None, [about(self.estimate.seconds(marks)), *doing])), refresh=True)

    def _marks(self) -> dict[str, dict[str, Any]]:
        return {name: mark for name, mark in read_marks(self.marks).items() if name in self.estimate.left}

    def close(self) -> None:
        self.bar.close()
