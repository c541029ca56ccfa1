"""The exam's section for what people really hand in: where it comes from, and what it says of the grader."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from autograder.course.assignment import open_assignment
from autograder.course.rubric import CheckRubric
from autograder.exam.entries import CorpusError, Entry, read_corpus
from autograder.exam.outcome import Outcome
from autograder.exam.sitting import _judge
from autograder.exam.table import count_real, format_real, markdown_table, to_json
from autograder.exam.verdict import read_summary

REPO = Path(__file__).resolve().parents[2]
FCN = open_assignment("fcn").folder


def corpus_with(folder: Path, entry: str) -> Path:
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus" / "corpus.toml").write_text('control = []\n[touches]\nscores = ["scores"]\n', encoding="utf-8")
    (folder / "corpus" / "real.toml").write_text(entry, encoding="utf-8")
    return folder


def test_an_entry_that_was_seen_nowhere_is_refused(tmp_path):
    entry = '[[real]]\nname = "made-up"\ncell = "scores"\nsource = "x = 1"\n'
    with pytest.raises(CorpusError, match="do not say in `origin` where they were seen: made-up"):
        read_corpus(corpus_with(tmp_path / "a", entry))
    (found,) = read_corpus(corpus_with(tmp_path / "b", f'{entry}origin = "owner/repository#7"\n')).entries
    assert (found.kind, found.origin, found.checks) == ("real", "owner/repository#7", ("scores",))


def test_many_people_of_many_places_stand_in_it():
    entries = read_corpus(FCN).of_kind("real")
    assert len(entries) >= 60 and len({entry.origin for entry in entries}) >= 20
    assert all("#" in entry.origin or "/" in entry.origin for entry in entries), "a thread or a repository"


def outcome(lost: float = 0.0, undeserved: float = 0.0, named: bool | None = None, kind: str = "real") -> Outcome:
    return Outcome(Entry(kind, f"entry-{lost}-{undeserved}"), points_lost=lost, undeserved=undeserved, named=named)


def test_points_taken_and_given_and_causes_named_are_counted_over_the_section_alone():
    outcomes = [outcome(), outcome(lost=1.5, named=False), outcome(undeserved=2, named=True), outcome(lost=9, kind="mutants")]
    assert count_real(outcomes) == {"entries": 3, "honest points lost": 1.5, "undeserved points": 2.0, "causes named": (1, 2)}
    assert format_real(outcomes) == ("real: 3 hand-ins as people make them, 1.5 honest points lost, 2 undeserved points given, "
                                     "1 of 2 causes named right")  # fmt: skip
    assert to_json(outcomes, {})["real"]["entries"] == 3


def test_an_exam_without_the_section_says_nothing_of_it():
    assert count_real([outcome(kind="mutants")]) is None and format_real([]) == ""


def test_what_was_lost_and_given_is_measured_against_the_entry():
    rubric = SimpleNamespace(checks={name: CheckRubric(name, name, 4.0, {"x": 1.0, "y": 1.5, "z": 1.5}) for name in "abc"})
    entry = Entry("real", "x", checks=("a", "b", "c"), lost={"b": {"y": 1.0, "z": 1.0}, "c": "open"}, origin="a/b")
    found = Outcome(entry, results=[
        {"id": "a", "points": 2.5, "lost": {"y": 1.0}, "cause": "x.y", "message": ""},
        {"id": "b", "points": 3, "lost": {"x": 1.0}, "cause": "x.y", "message": ""},
        {"id": "c", "points": None, "lost": None, "cause": "x.y", "message": ""},
    ])  # fmt: skip
    _judge(found, SimpleNamespace(rubric=rubric), [])
    assert (found.points_lost, found.undeserved) == (1.5, 2.0) and not found.exact
    losses = {"a": {"y": 1.0}, "b": {"x": 1.0}, "c": "open"}
    right = Outcome(dataclasses.replace(entry, lost=losses), results=found.results)
    _judge(right, SimpleNamespace(rubric=rubric), [])
    assert (right.points_lost, right.undeserved, right.exact, right.false_alarm) == (0, 0, True, False)


def test_the_table_of_the_design_is_that_of_the_stored_verdict():
    """``python -c "...markdown_table..."`` of this test's last line writes it anew."""
    verdict = read_summary(FCN)
    text = (REPO / "docs" / "design.md").read_text(encoding="utf-8")
    assert markdown_table(verdict) in text, f"docs/design.md should hold:\n{markdown_table(verdict)}"


def test_the_table_of_the_page_of_satellite_has_the_numbers_of_its_verdict():
    """Two kinds have words of their own there: what another year is, and that no leak is planted."""
    text = (REPO / "docs" / "satellite.md").read_text(encoding="utf-8")
    table = markdown_table(read_summary(open_assignment("satellite").folder)).splitlines()[2:-2]
    numbers = [row.split(" | ", 1)[1] for row in table]
    assert [row.split(" | ", 1)[1] for row in text.splitlines() if row.endswith(tuple(numbers))] == numbers, table
