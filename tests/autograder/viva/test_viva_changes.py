"""Is a change written into the student's own text, and is it the one that the generator made?"""

import ast

import pytest
from viva_forms import FORMS, PLAIN

from autograder.exam.generated import changes_of
from autograder.viva.changes import Changes, Place, changed, places_of
from segkit.notebooks import Chunk, Program

NET = PLAIN["net"]


def written(source: str, *statements: int) -> list:
    changes = Changes(Place("1.ipynb, cell 2", source, statements or tuple(range(len(ast.parse(source).body)))))
    return [change for number in changes.lines if (change := changes.write(number)) is not None]


@pytest.mark.parametrize("source", {text for form in FORMS.values() for text in form.values() if "import SmallFCN" not in text} | {NET})
def test_every_change_that_is_written_is_one_of_the_generators(source):
    found, made = written(source), {ast.dump(ast.parse(change.source)) for change in changes_of(source)}
    usual = [change for change in found if change.kind != "crop"]
    assert len(usual) > 0.8 * len(made)
    assert {ast.dump(ast.parse(change.source)) for change in usual} <= made


def test_all_but_the_change_stays_to_the_letter():
    source = "def f(x):   # doubles\n    return x  *  2   # twice\n"
    change = next(change for change in written(source) if (change.kind, change.new) == ("constant", "3"))
    assert change.source == "def f(x):   # doubles\n    return x  *  3   # twice\n"
    assert (change.line, change.before, change.after) == (2, "return x  *  2   # twice", "return x  *  3   # twice")


def test_a_crop_begins_elsewhere_and_cuts_out_as_much():
    crops = [change for change in written(NET) if change.kind == "crop"]
    assert [change.after for change in crops] == [
        "return h[:, :, 15 : 15 + x.size(2), 16 : 16 + x.size(3)].contiguous()",
        "return h[:, :, 17 : 17 + x.size(2), 16 : 16 + x.size(3)].contiguous()",
        "return h[:, :, 16 : 16 + x.size(2), 15 : 15 + x.size(3)].contiguous()",
        "return h[:, :, 16 : 16 + x.size(2), 17 : 17 + x.size(3)].contiguous()",
    ]


def test_columns_are_found_behind_letters_of_several_bytes():
    source = "def f(x):\n    größe = 'äöü'; return g(x, größe, 3)\n"
    assert "    größe = 'äöü'; return g(x, größe, 4)" in {change.source.split("\n")[1] for change in written(source)}


def test_a_change_within_brackets_keeps_them():
    assert "    return a * (b - c)" in {change.source.split("\n")[1] for change in written("def f(a, b, c):\n    return a * (b + c)\n")}


@pytest.mark.parametrize(
    ("line", "kind", "old", "new"),
    [
        ("F.max_pool2d(x, 2, ceil_mode=True)", "argument", "ceil_mode=True", "F.max_pool2d(x, 2)"),
        ("F.max_pool2d(x, 2, ceil_mode=True)", "truth", "True", "False"),
        ("x.sum(axis=1)", "constant", "1", "0"),
        ("g(x, y)", "exchanged", "g(x, y)", "g(y, x)"),
        ("F.relu(x)", "call", "F.relu(x)", "x"),
        ("x >= y", "comparison", "x >= y", "x > y"),
        ("x + y", "operator", "x + y", "x - y"),
    ],
)  # fmt: skip
def test_kinds_of_changes(line, kind, old, new):
    found = {(change.kind, change.old, change.new) for change in written(f"def f(x, y):\n    return {line}\n")}
    assert (kind, old, new) in found


def test_statements_are_removed_negated_and_assigned_anew():
    source = "def f(x):\n    if x:\n        x += 1\n    g.step()\n    return x\n"
    found = {(change.kind, change.line): change.after for change in written(source)}
    assert found["removed", 4] == "pass"
    assert found["condition", 2] == "if not x:"
    assert found["assigned", 3] == "x = 1"


def test_only_chosen_statements_are_changed():
    assert {change.line for change in written("def f():\n    return 1\n\ndef g():\n    return 1\n", 1)} == {5}


def program(source: str, label: str = "1.ipynb, cell 2", **more) -> Program:
    return Program("f", "1.ipynb, cell 2", (Chunk(label, source, tuple(range(len(ast.parse(source).body)))),), **more)


def test_a_definition_stands_in_its_cell_with_its_helpers_and_without_its_imports():
    source = "import torch\n\ndef crop(x):\n    return x[1:]\n\ndef f(x):\n    return crop(x)\n"
    assert places_of(program(source), "f") == [Place("1.ipynb, cell 2", source, (1, 2))]


def test_a_definition_of_a_script_stands_there_and_is_changed_there():
    script = "def f(x):\n    return x + 1\n"
    whole = program("from nets import f\n", modules={"nets.py": script, "data.csv": "f,1"})
    place = places_of(whole, "f")[0]
    assert (place.label, place.source) == ("nets.py", script)
    change = next(change for change in written(script) if change.new == "2")
    other = changed(whole, type(change)(**(vars(change) | {"place": place})))
    assert other.modules == {"nets.py": "def f(x):\n    return x + 2\n", "data.csv": "f,1"}
    assert other.chunks == whole.chunks


def test_a_method_stands_in_its_class():
    source = "class Data:\n    def f(self, x):\n        return x\n"
    assert places_of(program(source), "f") == [Place("1.ipynb, cell 2", source, (0,))]
