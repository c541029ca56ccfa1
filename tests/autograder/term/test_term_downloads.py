"""Sixty hand-ins in the download of each system: the same sixty results, and nobody is left out with exit status 0."""

import shutil

import pytest
from class_of_sixty import ABSENT, CLASS, LATE, term_course
from playing import Term
from term_downloads import DECISIONS, DOWNLOADS

pytestmark = pytest.mark.slow

MANUAL = ("question_1", "question_2")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return term_course(tmp_path_factory.mktemp("term") / "course")


@pytest.mark.parametrize("system", DOWNLOADS)
def test_the_same_sixty_results_come_out_of_every_systems_download(monkeypatch, tmp_path, course, system):
    term = Term(monkeypatch, tmp_path, course, system, CLASS)
    if system in DECISIONS:
        said = term.grade(status=1)
        for line in DECISIONS[system]:
            assert line in " ".join(said.split()), "what is to be decided is said with the line that decides it"
        term.decide(*DECISIONS[system])
        said = term.grade()
        assert "delete what is no longer anybody's" in said
        for name in term.results().keys() - {one.login for one in CLASS}:
            assert str(term.graded / name) in said
            shutil.rmtree(term.graded / name)
    said = term.grade()
    assert f"a bulk download of {system}" in said and "1 of the roster handed in nothing: zora" in said
    assert len(CLASS) == 60 and term.results() == {one.login: one.points | dict.fromkeys(MANUAL) for one in CLASS}
    assert term.answers() == {one.login: one.texts for one in CLASS}
    handed_in = term.rows("handins.csv")
    late = {name: (row["lateness"], row["penalty"]) for name, row in handed_in.items() if row["lateness"]}
    assert handed_in.keys() == {one.login for one in CLASS} and late == {"dmitri": ("1 d 9 h", "20%")}
    assert (handed_in["eve"]["submitted"], handed_in["eve"]["due"]) == (f"{LATE}+01:00", "2026-03-16T12:00:00+01:00")
    page = (term.graded / "index.html").read_text(encoding="utf-8")
    assert "Tomáš Dvořák-Šťastný" in page and ABSENT.name in page
