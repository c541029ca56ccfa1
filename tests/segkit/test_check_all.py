"""``segkit check``: every visible check in one table, what is wrong with each, and that one bad cell costs the others nothing."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from submit_work import FACTS, RECALL, SCORES, STUB, in_this_process, write_work

from segkit import submit as module
from segkit.checking import check_all
from segkit.cli import main
from segkit.trying import run_trials

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_trials", in_this_process)
    return write_work(tmp_path / "my work")


def check(folder, code: int) -> str:
    done = CliRunner().invoke(main, ["check", "--folder", str(folder)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Check -> its mark, and points and words."""
    found = [re.match(r"\[(..)\] (confusion_matrix|scores|question_1) +(\d+ .*|\d+$)", line) for line in text.splitlines()]
    return {row[2]: (row[1], row[3]) for row in found if row}


def test_all_checks_stand_in_one_table_in_the_order_of_the_assignment(work):
    text = check(work, 0)
    assert "\n     check             points seconds\n" in f"\n{text}"
    assert list(rows(text)) == ["confusion_matrix", "scores", "question_1"]
    assert [mark for mark, _ in rows(text).values()] == ["ok", "ok", "  "]
    assert rows(text)["scores"][1].split()[0] == "4" and rows(text)["question_1"][1].split(maxsplit=1) == ["15", "a person reads it"]
    assert "3 checks: 2 passed, 1 not tested." in text


def test_a_long_name_widens_the_column_of_all(work):
    name = "a_check_with_a_long_name"
    checks = {name: FACTS["checks"]["scores"]} | FACTS["checks"]
    write_work(work, facts=FACTS | {"checks": checks, "needs": {name: ["scores"]} | FACTS["needs"]})
    head, *lines = check(work, 0).splitlines()
    found = [re.match(rf"\[..\] ({name}|confusion_matrix|scores|question_1) +\d+\b", line) for line in lines]
    ends = [len(row[0]) for row in found if row]
    assert ends == 4 * [head.index("points") + len("points")]


def test_a_fault_is_told_with_its_cause_and_ends_with_1(work):
    write_work(work, RECALL)
    mark, words = rows(check(work, 1))["scores"]
    assert mark == "!!" and "IoU of class 0 expected 0.5000, got 0.7500. Likely cause: " in words


def test_what_is_not_finished_is_one_row_that_names_all_it_lacks(work):
    facts = FACTS | {"checkpoints": ["net"], "needs": FACTS["needs"] | {"scores": ["scores", "checkpoint net"]}}
    write_work(work, STUB, facts)
    text = check(work, 1)
    mark, words = rows(text)["scores"]
    assert mark == "--" and "scores is not finished: 1_data.ipynb, cell 2; no checkpoint of net: " in words
    assert text.count("scores ") == 2 and "1 not finished" in text  # its row, and the words in it


def test_a_cell_gets_the_table_and_something_that_is_true_or_false(work, capsys):
    assert check_all(work)
    write_work(work, RECALL)
    found = check_all(work)
    assert not found and found.kinds == ["ok", "fault", "note"]
    assert found._ipython_display_() is None and capsys.readouterr().out.count("[ok] confusion_matrix") == 2


@pytest.mark.parametrize("text", ["docs/students.md", "autograder/release/passages/all_checks.md"])
def test_the_line_for_a_cell_that_the_texts_print_works(work, text, monkeypatch, capsys):
    (line,) = re.findall("`(from segkit[^`]*)`", (REPOSITORY / text).read_text(encoding="utf-8"))
    monkeypatch.chdir(work)
    exec(line, {})
    assert "3 checks: 2 passed" in capsys.readouterr().out


def test_the_work_is_only_read(work):
    before = {path: path.read_bytes() for path in work.rglob("*")}
    check(work, 0)
    assert {path: path.read_bytes() for path in work.rglob("*")} == before


def test_a_folder_without_notebooks_is_named(tmp_path):
    assert f"{tmp_path}: expected your notebooks here, found none" in check(tmp_path, 1)


def test_a_notebook_that_cannot_be_read_is_a_fault_below_the_table(work):
    (work / "3_more.ipynb").write_text("{")
    text = check(work, 1)
    assert rows(text)["scores"][0] == "ok" and "[!!] 3_more.ipynb" in text


def test_ctrl_c_leaves_a_row_for_every_check(work, monkeypatch):
    def stopped(trials, definitions, folder, told):
        in_this_process(trials[:1], definitions, folder, told)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_trials", stopped)
    found = rows(check(work, 0))
    assert found["confusion_matrix"][0] == "ok" and found["scores"] == ("  ", "4         stopped by Ctrl-C")


@pytest.mark.slow
def test_a_check_that_hangs_or_crashes_costs_no_other_definition_and_shows_its_time(work, monkeypatch):
    monkeypatch.setattr(module, "run_trials", lambda *args: run_trials(*args, seconds=3))
    for body, words, least in (("while True: pass", "no reply within 3 s", 3.0), ("import os; os._exit(3)", "ended the whole", 0.0)):
        write_work(work, f"def scores(hist):\n    {body}")
        text = check(work, 1)
        assert rows(text)["confusion_matrix"][0] == "ok"
        mark, row = rows(text)["scores"]
        assert mark == "!!" and words in row and float(row.split()[1]) >= least


def test_nothing_but_the_table_goes_into_a_file(work):
    assert "checks/s" not in check(work, 0) and "\r" not in check(work, 0)


def test_a_reader_sees_which_check_is_running(work, monkeypatch, capsys):
    monkeypatch.setattr("segkit.checking.reading_width", lambda: 80)
    check_all(write_work(work, SCORES))
    shown = capsys.readouterr().out
    assert "running confusion_matrix" in shown and "running scores" in shown
