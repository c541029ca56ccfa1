"""A visible check that breaks by itself is a fault of the notebook; one that student code breaks is a complaint."""

import sys

import pytest
from tiny import cell, notebook

from autograder.exam.seen import CheckCellError, _complaint
from segkit.notebooks import open_folder


def complaint(folder, check: str, code: str = "def f(x):\n    return x\n") -> str:
    notebook(folder / "work.ipynb", cell("# work", kind="markdown"), cell(code, "f"))
    return _complaint(check, open_folder(folder, {"f": "f"}), {"f"})


@pytest.mark.parametrize("check", ["f(1)\nno_such_name", "import no_such_module\nf(1)", "from segkit import nothing_of_that\nf(1)"])
def test_a_check_cell_that_lacks_a_name_or_module_is_no_complaint(tmp_path, check):
    with pytest.raises(CheckCellError, match="breaks by itself"):
        complaint(tmp_path, check)


@pytest.mark.parametrize("code", [
    "def f(x):\n    return missing\n", "def f(x):\n    import no_such_module\n", "def f(x):\n    return [][1]\n",
])  # fmt: skip
def test_an_exception_of_the_students_code_is_a_complaint(tmp_path, code):
    assert "Error" in complaint(tmp_path, "f(1)", code)


def test_a_wrong_return_value_that_breaks_the_check_is_a_complaint(tmp_path):
    assert "AttributeError" in complaint(tmp_path, "f(None).shape")


def test_only_a_line_of_a_fault_counts_of_what_is_printed(tmp_path):
    assert complaint(tmp_path, "f(1)\nprint('[ok] fine')") == ""
    assert complaint(tmp_path, "f(1)\nprint('[!!] wrong')") == "[!!] wrong"


def test_a_helper_beside_the_notebook_is_there_as_where_work_is_graded(tmp_path, monkeypatch):
    (tmp_path / "hw").mkdir()
    (tmp_path / "hw" / "seen_helper.py").write_text("def twice(x):\n    return 2 * x\n")
    code = "from seen_helper import twice\ndef f(x):\n    return twice(x)"
    notebook(tmp_path / "hw" / "work.ipynb", cell("# work", kind="markdown"), cell(code))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    assert _complaint("print('[!!]', f(2))", open_folder(tmp_path, {"f": "f"}), {"f"}) == "[!!] 4"
