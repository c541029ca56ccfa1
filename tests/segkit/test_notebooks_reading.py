"""Notebooks and scripts become cells of Python, however they were saved; line numbers stay those of the cell."""

import ast
import json
import os
from pathlib import Path

import pytest

from segkit.notebooks import DocumentError, open_folder, own_files, read_document
from segkit.notebooks import reading as module
from segkit.notebooks.reading import decode, python_source


def write(path: Path, *sources: object, **more: object) -> Path:
    cells = [s if isinstance(s, dict) else {"cell_type": "code", "metadata": {}, "source": s} for s in sources]
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells} | more), encoding="utf-8")
    return path


def test_cells_keep_their_number_grade_id_and_source(tmp_path):
    path = write(tmp_path / "a.ipynb", {"cell_type": "markdown", "source": "# Title"}, "x = 1",
                 {"cell_type": "code", "source": ["y = 2\n", "z = 3"], "metadata": {"nbgrader": {"grade_id": "answer"}}})  # fmt: skip
    document = read_document(path)
    assert [(c.number, c.grade_id, c.source) for c in document.cells] == [(2, None, "x = 1"), (3, "answer", "y = 2\nz = 3")]
    assert document.cells[1].label == "a.ipynb, cell 3" and document.notes == []
    assert document.modified == pytest.approx(path.stat().st_mtime)


def test_answers_are_kept_as_they_stand_by_grade_id(tmp_path):
    """Whatever type their cells have now, and all of them: one may have been copied before it was filled in."""
    answers = [("markdown", "Because."), ("code", "Why?\n%%bash\n"), ("markdown", "YOUR ANSWER HERE")]
    metadata = {"nbgrader": {"grade_id": "question_1"}}
    cells = [{"cell_type": kind, "source": source, "metadata": metadata} for kind, source in answers]
    document = read_document(write(tmp_path / "a.ipynb", *cells), code_ids=frozenset({"answer"}))
    assert document.texts == {"question_1": [(1, "Because."), (2, "Why?\n%%bash\n"), (3, "YOUR ANSWER HERE")]}
    assert document.grade_ids == {"question_1"}


def test_a_script_is_one_cell(tmp_path):
    (tmp_path / "nets.py").write_text("x = 1\n")
    (cell,) = read_document(tmp_path / "nets.py").cells
    assert cell.label == "nets.py" and cell.number == 0 and cell.source == "x = 1\n"


@pytest.mark.parametrize("broken", [
    {"cell_type": "code"}, {"cell_type": "code", "source": None}, {"cell_type": "code", "source": 7, "metadata": []}, {}, "text", 5, None,
    {"cell_type": "code", "source": ["a", 3], "metadata": {"nbgrader": "x"}}, {"cell_type": "code", "source": "",
        "metadata": {"nbgrader": {"grade_id": 7}}},
])  # fmt: skip
def test_a_damaged_cell_leaves_the_others_readable(tmp_path, broken):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [broken, {"cell_type": "code", "source": "x = 1"}]}))
    assert read_document(path).cells[-1].source == "x = 1"


@pytest.mark.parametrize(("content", "words"), [
    (b"", "no readable notebook"), (b'{"cells": [', "cut off"), (b"[]", "JSON list"), (b"{}", "list of cells"), (b"\xff\xfe{", "notebook"),
])  # fmt: skip
def test_what_is_no_notebook_is_answered_with_the_file_and_what_to_do(tmp_path, content, words):
    (tmp_path / "a.ipynb").write_bytes(content)
    with pytest.raises(DocumentError, match="^a.ipynb") as caught:
        read_document(tmp_path / "a.ipynb")
    assert words in str(caught.value)


def test_missing_and_oversized_files_are_answered(tmp_path, monkeypatch):
    with pytest.raises(DocumentError, match="cannot be opened"):
        read_document(tmp_path / "none.ipynb")
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(DocumentError, match="Clear all outputs"):
        read_document(write(tmp_path / "a.ipynb", "x = 1"))
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    monkeypatch.setattr(module, "MAX_CELLS", 2)
    with pytest.raises(DocumentError, match="at most 2 cells, but got 3"):
        read_document(write(tmp_path / "a.ipynb", "a", "b", "c"))


@pytest.mark.parametrize(("content", "text"), [
    ("größe".encode(), "größe"), ("größe".encode("utf-8-sig"), "größe"), ("größe".encode("utf-16"), "größe"), ("größe".encode("latin-1"),
     "größe"),
    (b"\xfe\xff" + "größe".encode("utf-16-be"), "größe"), (b"a\r\nb\rc\n", "a\nb\nc\n"),
])  # fmt: skip
def test_text_is_decoded(content, text):
    assert decode(content) == text


def in_vscode(source: str, language: object, grade_id: str = "") -> dict:
    own = {"nbgrader": {"grade_id": grade_id}} if grade_id else {}
    return {"cell_type": "code", "source": source, "metadata": own | {"vscode": {"languageId": language}}}


# as in public notebooks: begun before a kernel was chosen, or taken for another language because of a line in them
@pytest.mark.parametrize("language", ["plaintext", "shellscript", "markdown", "javascript", "python", "bat", None, 7, ["r"]])
@pytest.mark.parametrize("source", ["x = 1", "!pip install torch\nx = 1", "%matplotlib inline\nx = 1", "%%time\nx = 1"])
def test_a_cell_of_python_is_read_whatever_language_an_editor_keeps_of_it(tmp_path, language, source):
    document = read_document(write(tmp_path / "a.ipynb", in_vscode(source, language)))
    assert [ast.unparse(statement) for statement in document.statements][-1] == "x = 1" and document.notes == []


@pytest.mark.parametrize(("language", "source"), [
    ("shellscript", "#!/bin/bash\nset -u\necho 'Running'"), ("plaintext", "Next I try a larger rate, see the table."),
    ("markdown", "# Results\n* one: 0.3"), ("javascript", "const a = {b: 1};"), ("\ud800" * 100, "git add a.txt"),
], ids=["shell", "prose", "markdown", "javascript", "broken"])  # fmt: skip
def test_a_cell_of_another_language_is_no_broken_python_but_left_out_and_named(tmp_path, language, source):
    book = open_folder(write(tmp_path / "a.ipynb", in_vscode(source, language), "x = 1").parent)
    assert book.syntax_errors() == [] and [note[:17] for note in book.notes] == ["a.ipynb, cell 1: "]
    book.notes[0].encode("utf-8")
    assert [cell.source for cell in book.documents[0].cells] == ["", "x = 1"]
    write(tmp_path / "a.ipynb", source)
    assert len(open_folder(tmp_path).syntax_errors()) == 1, "of no language, it is Python that does not work"


def test_a_solution_cell_is_read_whatever_language_an_editor_keeps_of_it(tmp_path):
    write(tmp_path / "a.ipynb", in_vscode("def net(x:\n    return x", "plaintext", "net"))
    book = open_folder(tmp_path, {"net": "net"})
    assert book.syntax_error_in("net").startswith("a.ipynb, cell 1, line 1: ") and book.notes == []
    write(tmp_path / "a.ipynb", in_vscode("def net(x):\n    return x", "shellscript", "net"))
    assert open_folder(tmp_path, {"net": "net"}).find("net").where == "a.ipynb, cell 1"


# -------------------------------------------------------------------------------------------------------------- magics
@pytest.mark.parametrize("line", [
    "%matplotlib inline", "!pip install torch", "?nn.Conv2d", "nn.Conv2d?", "nn.Conv2d??", "files = !ls", "%time x = 2", "a, b = %sx ls",
    "    %load_ext autoreload",
])  # fmt: skip
def test_a_magic_is_dropped_and_the_lines_keep_their_numbers(line):
    indent = line[: len(line) - len(line.lstrip())]
    source = f"if True:\n    x = 1\n{line}\ny = 3" if indent else f"x = 1\n{line}\ny = 3"
    cleaned = python_source(source)
    assert ast.parse(cleaned).body[-1].lineno == len(source.split("\n"))
    assert cleaned.split("\n")[-1] == "y = 3"


def test_a_magic_that_goes_on_in_the_next_line_is_dropped_whole():
    assert ast.parse(python_source("!pip install torch \\\n    torchvision\nx = 1")).body[-1].lineno == 3


@pytest.mark.parametrize("source", ["x = 7\\\n% 4", "x = (5\n% 3)", "a = b = 1\nx = a != b", "print('!ls')\ns = '''\n%x\n'''"])
def test_python_that_looks_like_a_magic_is_left_alone(source):
    assert python_source(source) == source


def test_a_percent_in_a_continued_line_survives_a_magic_elsewhere():
    cleaned = python_source("%matplotlib inline\nx = (5\n     % 3)")
    assert ast.literal_eval("2") == eval(compile(ast.Expression(ast.parse(cleaned).body[-1].value), "x", "eval"))


@pytest.mark.parametrize(("source", "expected"), [
    ("%%bash\nrm -rf /", ""), ("%%html\n<b>", ""), ("%%time\nx = 1", "\nx = 1"), ("\n%%capture out\nx = 1", "\n\nx = 1"),
])  # fmt: skip
def test_cell_magics(source, expected):
    assert python_source(source) == expected


def test_a_syntax_error_names_cell_line_and_text(tmp_path):
    (cell,) = read_document(write(tmp_path / "a.ipynb", "x = 1\ndef f(:\n  pass")).cells
    statements, error = cell.parsed
    assert statements == [] and error.startswith("a.ipynb, cell 1, line 2: ") and "def f(:" in error


def test_source_that_breaks_the_parser_is_an_error_like_another(tmp_path):
    for source in ("x = \0", "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1"):
        (cell,) = read_document(write(tmp_path / "a.ipynb", source)).cells
        assert cell.parsed[0] == [] and cell.parsed[1].startswith("a.ipynb, cell 1")


# --------------------------------------------------------------------------------------------------------------- files
def test_own_files_are_notebooks_and_scripts_that_are_the_students(tmp_path):
    for name in (
        "b.ipynb",
        "a.py",
        "sub/c.ipynb",
        "segkit/x.py",
        "data/x.py",
        ".hidden/x.py",
        ".x.py",
        "env/lib/x.py",
        "notes.txt",
        "__pycache__/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert [p.as_posix() for p in own_files(tmp_path)] == ["a.py", "b.ipynb", "sub/c.ipynb"]


# ------------------------------------------------------------------------------------------------ no more than people write
def test_a_cell_of_too_much_code_is_named_and_the_others_are_read(tmp_path):
    much = [{"cell_type": "code", "metadata": {}, "source": source} for source in ("a;" * 40_000, "b" * 600_000, "c = 1")]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": much}), encoding="utf-8")
    words, characters, good = read_document(path).cells
    assert words.parsed[0] == characters.parsed[0] == [] and len(good.parsed[0]) == 1
    assert "n.ipynb, cell 1: expected at most 50000 words" in words.parsed[1]
    assert "n.ipynb, cell 2: expected at most 524288 characters" in characters.parsed[1]
    assert len(characters.source) < 530_000


def test_a_notebook_of_too_much_code_is_not_read_and_its_cell_is_named(tmp_path):
    path = tmp_path / "n.ipynb"
    cells = [{"cell_type": "code", "metadata": {}, "source": "a;" * 20_000}] * 4
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}), encoding="utf-8")
    with pytest.raises(DocumentError, match="n.ipynb, cell 4: expected at most 150000 words") as found:
        read_document(path)
    assert found.value.words == 160_000


def test_of_files_with_too_much_code_the_notebooks_are_read_and_the_rest_is_named(tmp_path):
    for name in ("a.py", "b.py", "c.py", "d.py", "e.py", "f.py"):
        (tmp_path / name).write_text("a;" * 20_000, encoding="utf-8")
    (tmp_path / "z.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = 1"}]}), encoding="utf-8")
    book = open_folder(tmp_path, {})
    assert "z.ipynb" in [document.name for document in book.documents]
    assert len(book.documents) == 5 and "e.py and what comes behind it were not read" in book.errors[0]


def test_json_of_millions_of_lists_is_no_notebook(tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text('{"cells": [' + "[]," * 2_100_000 + "[]]}", encoding="utf-8")
    with pytest.raises(DocumentError, match="lists and objects"):
        read_document(path)


def test_each_line_is_looked_at_once_for_magics(monkeypatch):
    seen = []
    monkeypatch.setattr(module._Statement, "read", lambda self, line: (seen.append(line), setattr(self, "depth", 1)))
    lines = ["x = ("] + ["%time f()"] * 1000
    assert module._without_magics(lines) == "\n".join(lines) and seen == lines


@pytest.mark.parametrize(("before", "inside"), [
    ("x = (", True), ("x = (1)", False), ("x = '('", False), ("x = 1  # (", False), ('"""doc', True), ('"""doc"""', False),
    ("x = 1 \\", True), ("# no \\", False), ("x = ')' + (", True), ('"""a\n" b', True), ('"""a\n" b"""', False), ("x = ]", False),
    ("f'{a[0]}'", False), ("x = 'it\\'s ('", False), ("x = [\n1,\n]", False), ("x = 'open", False), ("x = 'open\\", True),
])  # fmt: skip
def test_a_magic_in_the_middle_of_a_statement_is_none(before, inside):
    source = f"{before}\n%time f()\n)("
    assert ("%time" in python_source(source)) == inside
