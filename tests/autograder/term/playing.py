"""The commands of a term, as somebody gives them in a terminal; students' code runs in this process, so that sixty cost seconds."""

import csv
import json
from pathlib import Path

from class_of_sixty import DUE, ZONE, Person, late_table
from click.testing import CliRunner
from quick_class import QuickJudges
from term_downloads import SAYS_NO_TIME, write_download

from autograder.cli import main

__all__ = ["Term", "command"]


def command(*words, status=0) -> str:
    """Give a command, demand its exit status, return what it said."""
    outcome = CliRunner().invoke(main, [str(word) for word in words])
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == status, outcome.output
    return outcome.output


class Term:
    """One class in the download of one system, and the folder in which it is graded."""

    def __init__(self, monkeypatch, root: Path, course: Path, system: str, people: tuple[Person, ...]) -> None:
        monkeypatch.setenv("SEGKIT_COURSE_SECRET", "a secret of the tests only")
        QuickJudges(monkeypatch, root)
        self.root, self.course, self.people, self.graded = root, course, people, root / "graded"
        self.download, self.roster = write_download(system, people, root / "download")
        self.late = root / "late.csv"
        self.late.write_text(late_table(system in SAYS_NO_TIME), encoding="utf-8")

    def grade(self, *more, status=0) -> str:
        terms = ("--due", DUE, "--zone", ZONE, "--late", self.late, "--penalty", "10% per day")
        where = ("--bulk", self.download, "--roster", self.roster, "--out", self.graded, "--assignment", self.course)
        return command("grade", *where, *terms, *more, status=status)

    def decide(self, *lines: str) -> None:
        (self.roster.parent / "decisions.csv").write_text("\n".join(["handin,student", *lines, ""]), encoding="utf-8")

    def results(self) -> dict[str, dict]:
        found = [json.loads(path.read_text(encoding="utf-8")) for path in self.graded.glob("*/result.json")]
        return {one["submission"]: {check["id"]: check["points"] for check in one["checks"]} for one in found}

    def answers(self) -> dict[str, dict[str, str]]:
        found = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in self.graded.glob("*/answers.json")}
        return {name: {one["check"]: "".join(text["text"] for text in one["texts"]) for one in all_} for name, all_ in found.items()}

    def rows(self, name: str) -> dict[str, dict[str, str]]:
        """A table of the graded folder, by name."""
        with (self.graded / name).open(encoding="utf-8-sig", newline="") as file:
            return {row["name"]: row for row in csv.DictReader(file)}
