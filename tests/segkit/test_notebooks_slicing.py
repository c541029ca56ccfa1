"""A definition is cut out with all it needs and nothing else."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from segkit.notebooks import Program, UnfinishedError, Unrunnable, Workbook, execute, open_folder, student_traceback, take
from segkit.notebooks.reading import Cell, Document, python_source

CELLS = {"answer": "answer", "net": "Net"}


def book(*sources: str | tuple[str, str], **scripts: str) -> Workbook:
    """One notebook of code cells (a pair is (grade id, source)), and scripts."""
    cells = [Cell("a.ipynb", n, python_source(s if isinstance(s, str) else s[1]), None if isinstance(s, str) else s[0])
             for n, s in enumerate(sources, 1)]  # fmt: skip
    documents = [Document("a.ipynb", cells)] + [Document(f"{n}.py", [Cell(f"{n}.py", 0, s)]) for n, s in scripts.items()]
    return Workbook(documents, CELLS)


def books(**notebooks: list[str]) -> Workbook:
    documents = [Document(f"{n}.ipynb", [Cell(f"{n}.ipynb", i, s) for i, s in enumerate(sources, 1)]) for n, sources in notebooks.items()]
    return Workbook(documents, CELLS)


def program(workbook: Workbook, name: str) -> Program:
    return workbook.program(workbook.find(name))


def run(workbook: Workbook, name: str = "answer"):
    return execute(program(workbook, name))[name]


BOOM = "raise RuntimeError('this cell must not run')"


# ---------------------------------------------------------------------------------------------------- what comes along
@pytest.mark.parametrize("cells", [
    ["import math", "def answer():\n    return math.floor(42.5)"],
    ["from math import floor as down", "def answer():\n    return down(42.5)"],
    ["BASE = 40", "TWO = 2", "def answer():\n    return BASE + TWO"],
    ["def helper():\n    return other()", "def other():\n    return 42", "def answer():\n    return helper()"],
    ["def answer():\n    return helper()", "def helper():\n    return 42"],  # below
    ["def answer():\n    return Below().value", "class Base:\n    value = 42", "class Below(Base):\n    pass"],
    ["class Base:\n    def get(self):\n        return 42", "class Child(Base):\n    pass", "def answer():\n    return Child().get()"],
    ["def twice(f):\n    return lambda: 2 * f()", "@twice\ndef answer():\n    return 21"],
    ["LIMIT = 42", "def answer(n=LIMIT):\n    return n"],
    ["a, (b, *c) = 40, (2, 3)", "def answer():\n    return a + b"],
    ["answer = lambda: 42"],
    ["def first():\n    return 42", "answer = first"],
    ["import functools", "def add(a, b):\n    return a + b", "answer = functools.partial(add, 40, 2)"],
    ["table = {}", "table['x'] = 42", "def answer():\n    return table['x']"],
    ["N = 40", "N += 2", "def answer():\n    return N"],
    ["try:\n    import no_such_module as fast\nexcept ImportError:\n    fast = None",
        "def answer():\n    return 42 if fast is None else 0"],
    ["if True:\n    value = 42\nelse:\n    value = 0", "def answer():\n    return value"],
    ["x = 1", "def answer(n=5):\n    return 42 if n == 0 else answer(n - 1)"],  # calls itself
    ["from __future__ import annotations", "def answer(x: NoSuchType = 3) -> AlsoNot:\n    return 42"],
    ["value: int = 42", "def answer():\n    return value"],
    ["class Config:\n    size = 42\n    half = size // 2", "def answer():\n    return Config.half * 2"],
    ["%matplotlib inline\nimport math", "def answer():\n    return math.ceil(41.2)"],
])  # fmt: skip
def test_what_a_definition_uses_comes_along_and_nothing_else_runs(cells):
    cells = [BOOM, cells[0], f"for i in range(3):\n    {BOOM}", f"heavy = [x for x in range(9) if 1 / 0]\n{BOOM}", *cells[1:], BOOM]
    assert run(book(*cells))() == 42


def test_training_displays_and_checks_are_not_run():
    used = program(book("import math\nimport os", "model = os.no_such_thing()", "history = train(model)",
        "def answer():\n    return math.pi",
                        "assert answer() == 3", "answer()", "print(answer())", "while True:\n    pass"), "answer")  # fmt: skip
    assert [(c.label, c.statements) for c in used.chunks] == [("a.ipynb, cell 1", (0,)), ("a.ipynb, cell 4", (0,))]


def test_a_local_variable_of_the_same_name_brings_nothing_along():
    used = program(book("data = load_everything()", "def answer(x):\n    data = x\n    return [data for y in data]"), "answer")
    assert len(used.chunks) == 1


def test_a_class_over_several_cells_has_its_later_methods():
    workbook = book("class Net:\n    def one(self):\n        return 40", "def two(self):\n    return 2", "Net.two = two",
                    "Net.three = lambda self: self.one() + self.two()")  # fmt: skip
    assert run(workbook, "Net")().three() == 42


def test_a_subclass_of_the_same_name_extends_the_earlier_one():
    workbook = book(
        "class Net:\n    def one(self):\n        return 40", "class Net(Net):\n    def two(self):\n        return self.one() + 2"
    )
    assert run(workbook, "Net")().two() == 42


def test_the_value_above_the_definition_counts_for_what_is_used_at_once():
    assert run(book("N = 42", "def answer(n=N):\n    return n", "N = 7"))() == 42


@pytest.mark.parametrize(("name", "line"), [("np", "import numpy as np"), ("torch", "import torch"), ("nn", "from torch import nn")])
def test_a_lost_import_is_filled_in_with_a_note(name, line):
    used = program(book(f"def answer():\n    return {name}.__name__"), "answer")
    assert execute(used)["answer"]() in ("numpy", "torch", "torch.nn")
    assert used.notes == (f"answer uses {name}, which no cell imports: graded with `{line}`",)


def test_a_name_that_is_nowhere_fails_only_when_it_is_used():
    answer = run(book("def answer(x):\n    return nowhere if x else 42"))
    assert answer(0) == 42
    with pytest.raises(NameError):
        answer(1)


def test_definitions_of_another_notebook_are_used():
    workbook = books(one=["import math\ndef helper():\n    return math.floor(42.9)"], two=["def answer():\n    return helper()"])
    assert run(workbook)() == 42


def test_work_that_was_taken_is_followed_to_its_notebook():
    workbook = books(
        one=["def helper():\n    return 21"],
        two=["from segkit.notebooks import take", "mine = take('helper')", "def answer():\n    return 2 * mine()"],
    )
    assert run(workbook)() == 42
    assert workbook.find("mine") is None or workbook.find("helper").document.name == "one.ipynb"


def test_scripts_are_imported_by_the_cells_that_ask_for_them():
    used = program(book("from nets import Net", "def answer():\n    return Net().value", nets="class Net:\n    value = 42"), "answer")
    assert used.modules == {"nets.py": "class Net:\n    value = 42"}
    assert program(book("def answer():\n    return 1", nets="x = 1"), "answer").modules == {}


def test_a_definition_in_a_script_is_found():
    workbook = book("from nets import answer", nets="import math\ndef answer():\n    return math.floor(42.1)")
    assert workbook.find("answer").where == "nets.py" and run(workbook)() == 42


# ------------------------------------------------------------------------------------------------------ which one counts
def test_the_last_definition_counts_with_a_note():
    workbook = book("def answer():\n    return 1", "def answer():\n    return 42")
    assert run(workbook)() == 42
    assert workbook.notes == ["answer is defined 2 times: the last one counts, a.ipynb, cell 2 (also: a.ipynb, cell 1)"]


def test_the_solution_cell_counts_before_other_cells_of_the_name():
    assert run(book(("answer", "def answer():\n    return 42"), "def answer():\n    return 1"))() == 42


def test_a_finished_definition_elsewhere_counts_before_the_stub():
    workbook = book(("answer", "def answer():\n    raise NotImplementedError()"), "def answer():\n    return 42")
    assert run(workbook)() == 42


def test_a_function_counts_before_a_method_of_the_name():
    workbook = book(
        "class Net:\n    def answer(self):\n        return 1",
        "def answer():\n    return 42",
        "class Late:\n    def answer(self):\n        return 2",
    )
    assert workbook.find("answer").owner is None and run(workbook)() == 42


def test_a_method_is_found_by_its_class():
    workbook = book("class Net:\n    def answer(self):\n        return 42")
    definition = workbook.find("answer")
    assert definition.owner == "Net" and workbook.program(definition).name == "Net"
    assert book("class Net:\n    pass", "def f(self):\n    return 1", "Net.answer = f").find("answer").owner == "Net"


@pytest.mark.parametrize(("source", "unfinished"), [
    ("def answer():\n    # YOUR CODE HERE\n    raise NotImplementedError()", True),
    ("def answer():\n    raise NotImplementedError", True),
    ("def answer(x):\n    if x:\n        raise NotImplementedError('no such mode')\n    return 1", False),
    ("def answer():\n    return 1\n    raise NotImplementedError()", False),
    ("class answer:\n    def one(self):\n        return 1\n    def two(self):\n        raise NotImplementedError()", True),
    ("def answer():\n    pass", False), ("def answer():\n    raise ValueError()", False),
])  # fmt: skip
def test_stubs_are_known(source, unfinished):
    assert book(source).find("answer").unfinished is unfinished


def test_a_cell_with_a_syntax_error_is_named_and_the_others_are_used():
    workbook = book(("net", "class Net(:\n  pass"), "def helper():\n    return 42", "def answer():\n    return helper()")
    assert run(workbook)() == 42 and workbook.find("Net") is None
    assert workbook.syntax_error_in("net").startswith("a.ipynb, cell 1, line 1") and len(workbook.syntax_errors()) == 1


# --------------------------------------------------------------------------------------------------------- running it
def test_an_error_shows_cell_and_line_of_the_students_own_code():
    answer = run(book("import json", "def inner(x):\n    y = 1\n    return y / x", "def answer():\n    return inner(0)"))
    with pytest.raises(ZeroDivisionError) as caught:
        answer()
    assert student_traceback(caught.value) == (
        "a.ipynb, cell 3, line 2, in answer:  return inner(0)\na.ipynb, cell 2, line 3, in inner:  return y / x\n"
        "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(("cells", "words"), [
    (["def answer(x=1 / 0):\n    pass"], "cell 1, line 1:  def answer(x=1 / 0):\nZeroDivisionError"),
    (["N = 1 / 0", "def answer(x=N):\n    pass"], "ZeroDivisionError"),
    (["import sys\nN = sys.exit(3)", "def answer(x=N):\n    pass"], "SystemExit"),
    (["class answer:\n    def f(self):\n        nonlocal missing"], "SyntaxError"),
])  # fmt: skip
def test_a_definition_that_cannot_be_run_says_where(cells, words):
    workbook = book(*cells)
    with pytest.raises(Unrunnable) as caught:
        run(workbook)
    assert words in str(caught.value) and "a.ipynb, cell" in str(caught.value)


def test_a_helper_that_fails_is_passed_over():
    assert run(book("helper = open('/no/such/file')", "def answer(use=False):\n    return helper if use else 42"))() == 42


def test_a_program_survives_the_pipe_and_its_digest_knows_code_from_comments():
    one = program(book("import math", "def answer():\n    return math.pi  # nearly"), "answer")
    assert Program.from_json(json.loads(json.dumps(one.to_json()))) == one
    same = program(book("# title", "import math", "def answer():\n\n    return math.pi"), "answer")
    other = program(book("import math", "def answer():\n    return math.e"), "answer")
    assert one.digest == same.digest != other.digest


def test_a_very_long_expression_has_a_digest_and_needs():
    source = "def answer():\n    return " + "+".join(["1"] * 900)
    assert len(program(book(source), "answer").digest) == 64


# ------------------------------------------------------------------------------------------------------------------ take
def folder_with(tmp_path: Path, source: str, name: str = "2_net.ipynb") -> Path:
    (tmp_path / "assignment.json").write_text(json.dumps({"assignment": "x", "padding": 100, "crops": {}, "solution_cells": CELLS}))
    cell = {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "net"}}, "source": source}
    (tmp_path / name).write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ""}, cell]}))
    return tmp_path


def test_take_gives_the_object_and_says_where_it_came_from(tmp_path, capsys):
    folder = folder_with(tmp_path, "class Net:\n    value = 42")
    os.utime(folder / "2_net.ipynb", (time.time() - 14 * 60 - 5,) * 2)
    assert take("Net", folder).value == 42
    assert capsys.readouterr().out == "Net  from 2_net.ipynb, cell 2, saved 14 minutes ago\n"


@pytest.mark.parametrize(("source", "words"), [
    ("class Net:\n    raise NotImplementedError()", "complete the cell in 2_net.ipynb, cell 2"),
    ("class Nett:\n    pass", "Net is defined in no notebook"),
    ("class Net(:\n    pass", "2_net.ipynb, cell 2, line 1"),
    ("class Net(1 / 0):\n    pass", "ZeroDivisionError"),
])  # fmt: skip
def test_take_of_what_is_not_ready_names_the_cell(tmp_path, source, words):
    with pytest.raises(UnfinishedError, match="Net") as caught:
        take("Net", folder_with(tmp_path, source))
    assert words in str(caught.value)


def test_a_notebook_shows_of_what_is_not_ready_the_text_alone(tmp_path, capsys):
    """It is what a student meets first who opens notebook 2 before notebook 1 is done."""
    from IPython.core.interactiveshell import InteractiveShell

    folder = folder_with(tmp_path, "class Net:\n    raise NotImplementedError()")
    InteractiveShell().run_cell(f"from segkit.notebooks import take; take('Net', {str(folder)!r})")
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("UnfinishedError: Net is not finished yet: complete the cell in 2_net.ipynb, cell 2")


def test_reading_a_folder_executes_nothing(tmp_path):
    (tmp_path / "evil.py").write_text("import sys\nsys.modules['evil_was_here'] = sys")
    folder = folder_with(tmp_path, "import evil\nclass Net:\n    pass")
    workbook = open_folder(folder)
    workbook.program(workbook.find("Net"))
    assert "evil_was_here" not in sys.modules
