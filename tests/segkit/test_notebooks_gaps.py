"""Does a notebook name the cell that is to be written or run first, and leave every other error as it is?"""

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from segkit.notebooks.gaps import tell_gaps

STUB = "def pad(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
NET = "class Net:\n    def __init__(self):\n        self.n = 1\n\n    def forward(self):\n        raise NotImplementedError()"
CELLS = [
    ("markdown", "# 1 · A title\n\nprose # of many words"), ("code", STUB), ("markdown", "some words"), ("code", "n, m = pad(1), 2"),
    ("markdown", "## 1.1 Use it\n\n### Your turn: `net`"), ("code", NET), ("code", "%matplotlib inline\nm = n + 1"), ("code", "print(m)"),
    ("code", "m = 0"),
]  # fmt: skip


@pytest.fixture
def shell(tmp_path):
    """A kernel beside a notebook, and one of another topic that makes the same names."""
    for name, cells in (("1.ipynb", CELLS), ("2.ipynb", [("markdown", "# Another"), ("code", "m = n = 1")])):
        made = [getattr(nbformat.v4, f"new_{kind}_cell")(source) for kind, source in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=made), tmp_path / name)
    (tmp_path / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    tell_gaps(shell, tmp_path)
    return shell


@pytest.fixture
def run(shell, capsys):
    def run(*sources: str) -> str:
        for source in sources:
            capsys.readouterr()
            result = shell.run_cell(source, store_history=True)
        assert not result.success, "a notebook that runs all cells must stop here"
        return capsys.readouterr().out.strip()

    return run


def test_an_exercise_that_is_still_to_be_written_is_named(run):
    assert run(STUB, "n, m = pad(1), 2") == "NotImplementedError: pad is still to be written: fill in its cell, run it, then run this cell."
    told = run(NET, "Net().forward()")
    assert told == "NotImplementedError: Net.forward is still to be written: fill in its cell, run it, then run this cell."


def test_a_name_is_traced_to_the_last_cell_above_that_makes_it(run):
    """The cell below makes it, too, and so does another notebook."""
    told = 'NameError: m is not there yet. The cell under "Your turn: `net`" makes it, by `m = n + 1`, and has not run to its end: '
    assert run(STUB, "print(m)") == f"{told}run that cell first."


def test_a_name_is_traced_within_a_function_and_to_a_title_with_prose_between(run):
    told = 'NameError: n is not there yet. The cell under "1 · A title" makes it, by `n, m = pad(1), 2`, and has not run to its end: '
    assert run(NET, "def mine():\n    return n", "mine()") == f"{told}run that cell first."


@pytest.mark.parametrize("sources", [
    ["print(mm)"],  # a slip
    ["def f():\n    m += 1", "f()"],  # UnboundLocalError, a kind of NameError
    [STUB.replace("Error()", "Error('give a number')"), "pad(1)"],
    ["import abc, numbers", "numbers.Complex.__abs__(1)"],  # of a library
    ["raise NotImplementedError()"],
    ["class Wrong(NotImplementedError): pass", "def f():\n    raise Wrong()", "f()"],
    ["1 / 0"],
])  # fmt: skip
def test_any_other_error_keeps_its_traceback(run, sources):
    shown = run(*sources)
    assert "Traceback (most recent call last)" in shown and "still to be written" not in shown and "is not there yet" not in shown
    assert len(shown.splitlines()) > 3
