"""The process in which a student's definitions are tried: it may end, hang, never begin, and costs nobody else anything."""

import json
import sys
from pathlib import Path

import pytest

from segkit import trying
from segkit.notebooks import open_folder, take
from segkit.trying import Bench, Outcome, Trial, run_trial, run_trials

CELLS = {"good": "good", "bad": "bad", "copy_vgg16": "copy_params_from_vgg16"}
GOOD = """
import numpy as np
def good(hist):
    hist = np.asarray(hist).astype(float)
    hit, union = hist.diagonal(), hist.sum(0) + hist.sum(1) - hist.diagonal()
    iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
    return hit.sum() / hist.sum(), iou, np.nanmean(iou)
"""
TRIALS = [
    Trial("one", "check_scores(bad)", ("bad",)),
    Trial("two", "check_shapes(bad)", ("bad",)),
    Trial("three", "check_scores(good)", ("good",)),
]


def definitions(folder, source):
    (folder / "work.py").write_text(source)
    workbook = open_folder(folder, CELLS)
    found = {name: workbook.find(name) for name in CELLS.values()}
    return {name: workbook.program(definition).to_json() for name, definition in found.items() if definition}


@pytest.mark.slow
@pytest.mark.parametrize(("body", "words"), [
    ("import os; os._exit(3)", "bad ended the whole program (exit code 3): look there for exit(), or for more memory than there is"),
    ("while True: pass", "no reply within 8 s, and the grader does not wait longer either: look in bad for an endless loop"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "bad ended the whole program (exit code -9)"),
])  # fmt: skip
def test_a_definition_that_ends_the_process_costs_its_own_checks_only(tmp_path, body, words):
    told = []
    found = run_trials(TRIALS, definitions(tmp_path, f"{GOOD}\ndef bad(hist):\n    {body}\n"), tmp_path,
                       lambda check, outcome: told.append(check), seconds=8)  # fmt: skip
    assert found["one"].state == "failed" and found["one"].text.startswith(words)
    assert found["two"] == Outcome("untested", "bad could not be tried to the end, see above")  # not three more seconds
    assert found["three"] == Outcome("passed")
    assert told == ["one", "two", "three"]


@pytest.mark.slow
def test_code_that_hangs_before_the_definition_is_no_more_than_that(tmp_path):
    source = GOOD + "\ndef forever():\n    while True: pass\nTABLE = forever()\ndef bad(hist, table=TABLE):\n    return table\n"
    found = run_trials(TRIALS, definitions(tmp_path, source), tmp_path, seconds=8)
    assert found["one"].state == "failed" and found["three"] == Outcome("passed")


@pytest.mark.slow
def test_memory_without_end_is_the_students_and_not_the_machines(tmp_path, monkeypatch):
    if not trying.sys.platform.startswith("linux"):
        pytest.skip("only Linux holds a process to its memory")
    source = f"{GOOD}\ndef bad(hist):\n    return [bytearray(2**30) for _ in range(64)]\n"
    found = run_trials(TRIALS, definitions(tmp_path, source), tmp_path)
    assert found["one"].state == "failed" and "MemoryError" in found["one"].text and found["three"] == Outcome("passed")


@pytest.mark.slow
def test_a_machine_where_the_checks_do_not_run_is_no_fault_of_the_student(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    (broken / "torch").mkdir(parents=True)
    (broken / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    found = run_trials([Trial("one", "check_shapes(bad)", ("bad",))], definitions(tmp_path, "def bad(hist): return 1"), tmp_path)
    assert found["one"].state == "untested"
    assert found["one"].text == "the checks do not run on this machine: ImportError: libcudart.so.13: cannot open shared object file"


def test_a_python_that_cannot_be_started_is_no_fault_of_the_student(tmp_path, monkeypatch):
    monkeypatch.setattr(trying.sys, "executable", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):  # `submit` says of all checks that they were not tested
        run_trials(TRIALS, {}, tmp_path)


def test_all_checks_together_have_an_end(tmp_path):
    found = run_trials(TRIALS, {}, tmp_path, total_seconds=-1)
    assert {outcome.state for outcome in found.values()} == {"untested"} and "took more than" in found["one"].text


def test_a_copy_that_is_a_method_is_tried_as_a_function_of_both(tmp_path):
    source = "class Net:\n    name = 'net'\n    def copy_params_from_vgg16(self, vgg16):\n        return self.name, vgg16\n"
    copy = Bench(definitions(tmp_path, source)).value("copy_params_from_vgg16")
    other = type("Other", (), {"name": "other"})()
    assert copy(other, 5) == ("other", 5)
    (tmp_path / "assignment.json").write_text(json.dumps({"solution_cells": CELLS}))
    assert take("copy_params_from_vgg16", tmp_path)(other, 5) == ("other", 5)  # as notebook 4 calls it


def test_a_check_without_its_optional_helpers_gets_none(tmp_path):
    values = {"checkpoint": "x", "limits": {}}
    trial = Trial("one", "check_checkpoint(good, checkpoint, limits, untrained=0.1, scores=bad)", ("good",), values)
    assert trial.names == (["good"], ["bad"])
    outcome = run_trial(trial, Bench(definitions(tmp_path, "def good(): return 1"), ["bad"]))
    assert outcome.state == "failed" and "bad" not in outcome.text


def test_a_check_of_an_assignments_own_module_is_found_there(tmp_path):
    trial = Trial("one", "satellite.check_read_mask(good)", ("good",))
    outcome = run_trial(trial, Bench(definitions(tmp_path, "def good(path):\n    return 7")))
    assert outcome.state == "failed" and "int" in outcome.text, outcome


def test_texts_of_students_are_cut_and_can_be_shown(tmp_path):
    source = "def bad(hist):\n    raise ValueError('\\ud800' + 'x' * 10**6)\n"
    outcome = run_trial(TRIALS[0], Bench(definitions(tmp_path, source)))
    assert outcome.state == "failed" and len(outcome.text) <= 610
    outcome.text.encode("utf-8")


@pytest.fixture
def _own_modules_forgotten():
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


@pytest.mark.usefixtures("_own_modules_forgotten")
def test_definitions_import_from_the_folder_of_their_notebook_as_where_they_are_graded(tmp_path, monkeypatch):
    for folder, name in (("one", "first"), ("two", "second")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tried_helper.py").write_text(f"def value():\n    return {name!r}\n")
        cells = [{"cell_type": "code", "metadata": {}, "source": f"from tried_helper import value\ndef {name}():\n    return value()"}]
        (tmp_path / folder / "work.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    book = open_folder(tmp_path, {"a": "first", "b": "second"})
    monkeypatch.chdir(tmp_path)
    bench = Bench({name: book.program(book.find(name)).to_json() for name in ("first", "second")})
    assert [bench.value(name)() for name in ("first", "second", "first")] == ["first", "second", "first"]
    assert Path.cwd() == tmp_path
