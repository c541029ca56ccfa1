"""The stored verdict of the exam: what is known of each entry, committed with the assignment, asked for by ``release``.

One JSON object a line. Each passed entry has one, with the key of what it depends on (``keys``); it is written as soon as the entry
was sat, so that a killed exam goes on where it was. An entry whose key is not there must be sat. Surprises are not kept. When all
entries are known, the file is put in order, and its first line sums up.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from autograder.exam.entries import Entry
from autograder.exam.keys import Keys
from autograder.exam.outcome import Outcome
from autograder.exam.table import count_kinds, count_real
from segkit.atomic import replacing

__all__ = ["VERDICT", "Verdicts", "read_summary"]

SCHEMA = "segkit-exam-verdict/2"
CORES = os.cpu_count() or 1
ALL_WAYS = 2.0  # how much longer an entry takes by all ways of grading than by one, as measured
VERDICT = Path("corpus", "verdict.jsonl")

# Of an outcome, what tables are made of; the rest is told when it comes, and not kept.
KEPT = ("exact", "caught", "by", "named", "false_alarm", "points_lost", "undeserved", "parity", "seconds")
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Outcome) if field.name in KEPT}


def read_summary(material: Path) -> dict[str, Any] | None:
    """The first line of the stored verdict of a complete exam; None if there is none.

    Args:
        material: The assignment's folder.
    """
    for line in _lines(material / VERDICT):
        if line.get("schema") == SCHEMA:
            return line
    return None


class Verdicts:
    """What is known of the entries of an exam.

    Args:
        material: The assignment's folder.
        entries: All entries of the exam, in order.
        keys: Their keys.
        fresh: Forget what is known.

    Attributes:
        known: Position among ``entries`` -> outcome of an entry that need not be sat. Grows with ``add``.
    """

    def __init__(self, material: Path, entries: Sequence[Entry], keys: Keys, fresh: bool = False) -> None:
        self.path, self.entries = material / VERDICT, entries
        self._keys = {_name(entry): keys.of(entry) for entry in entries}
        self._caught = {_name(entry): keys.caught(entry) for entry in entries}
        self._places = {_name(entry): position for position, entry in enumerate(entries)}
        lines = [line for line in _lines(self.path) if "key" in line]
        stored = {} if fresh else {line["key"]: line for line in lines}
        self.known = {
            position: _outcome(entry, stored[key])
            for position, entry in enumerate(entries) for key in self._fitting(entry) if key in stored
        }  # fmt: skip
        self._ways = {_name(entry): keys.ways(entry) for entry in entries}
        self._agreed = set() if fresh else {line["ways"] for line in lines if line.get("parity") and "ways" in line}
        self._seconds = {line.get("entry"): line.get("seconds", 0.0) for line in lines}
        self._file: BinaryIO | None = None

    @property
    def left(self) -> list[Entry]:
        """The entries that must be sat."""
        return [entry for position, entry in enumerate(self.entries) if position not in self.known]

    def _fitting(self, entry: Entry) -> list[str]:
        """Keys of the lines that would tell its outcome."""
        return [self._keys[_name(entry)], *self._caught[_name(entry)].values()]

    def key_of(self, entry: Entry) -> str:
        """The key of an entry when the verdict was read."""
        return self._keys[_name(entry)]

    def may_differ(self, entry: Entry) -> bool:
        """Whether all ways must grade an entry: not where they agreed on it already and only checks have changed, but one in four."""
        name = _name(entry)
        return self._ways[name] not in self._agreed or hashlib.sha256(name.encode()).digest()[0] % 4 == 0

    def minutes(self, jobs: int) -> float:
        """About how long the entries that are left will take: as long as they, or others of their kind, took before.

        Args:
            jobs: How many judges side by side; more than there are cores do not help.
        """
        usual = {kind: self._mean(kind) for kind in {entry.kind for entry in self.left}}
        times = ((self._seconds.get(_name(entry), usual[entry.kind]), self.may_differ(entry)) for entry in self.left)
        return sum(seconds if all_ways else seconds / ALL_WAYS for seconds, all_ways in times) / min(jobs, CORES) / 60

    def _mean(self, kind: str) -> float:
        known = [seconds for name, seconds in self._seconds.items() if str(name).startswith(f"{kind}/")]
        return sum(known) / len(known) if known else 4.0

    def add(self, outcome: Outcome) -> None:
        """Keep the outcome of an entry; it is on the disk when this returns. A surprise is not kept."""
        if outcome.problem:
            return
        outcome.seconds *= _share_of_a_core()
        if outcome.parity is None and self._ways[_name(outcome.entry)] in self._agreed:
            outcome.parity, outcome.seconds = True, outcome.seconds * ALL_WAYS  # as it was found before
        if self._file is None:
            torn = self.path.is_file() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
            self._file = self.path.open("ab")
            self._file.write(b"\n" if torn else b"")  # an exam was killed in the middle of a line
        self._file.write(self._line(outcome))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.known[self._places[_name(outcome.entry)]] = outcome

    def _line(self, outcome: Outcome) -> bytes:
        found = {name: getattr(outcome, name) for name in KEPT if getattr(outcome, name) != DEFAULTS[name]}
        found["seconds"] = round(outcome.seconds, 1)
        name = _name(outcome.entry)
        found |= {"ways": self._ways[name]} if outcome.parity else {}
        line = {"entry": name, "key": self._caught[name].get(outcome.by, self._keys[name]), **found}
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def sum_up(self, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> dict[str, Any]:
        """Put the file of a complete exam without surprises in order; what belongs to no entry any more is dropped.

        Args:
            outcomes: Of all entries, in their order.
            about: More to be kept (isolation).

        Returns:
            The first line.
        """
        import torch

        import segkit

        self.close()
        summary = {
            "schema": SCHEMA, "entries": len(outcomes), "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(outcome.seconds for outcome in outcomes)), "kit_version": segkit.__version__,
            "python": platform.python_version(), "torch": torch.__version__, **about,
            "table": count_kinds(outcomes), "real": count_real(outcomes),
        }  # fmt: skip
        with replacing(self.path) as partial:
            lines = [json.dumps(summary, ensure_ascii=False).encode() + b"\n", *(self._line(outcome) for outcome in outcomes)]
            partial.write_bytes(b"".join(lines))
        return summary


def _share_of_a_core() -> float:
    """How much of a core each program of this machine gets at the moment, by the load of the last minute; 1 where that is not told."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return CORES / max(load, CORES)


def _name(entry: Entry) -> str:
    return f"{entry.kind}/{entry.name}"


def _outcome(entry: Entry, line: Mapping[str, Any]) -> Outcome:
    return Outcome(entry, **{name: line[name] for name in KEPT if name in line})


def _lines(path: Path) -> list[dict[str, Any]]:
    """Lines of the stored verdict; a torn one is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            found.append(content)
    return found
