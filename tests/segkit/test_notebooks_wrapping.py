"""Notebooks are known by their content, and read whatever browsers, editors, git and full disks made of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.notebooks import open_folder, own_files, read_document
from segkit.notebooks import reading as module
from segkit.notebooks.files import MAX_FILES, is_notebook, spare_files
from segkit.notebooks.reading import DocumentError, notebook_content

CELLS = {"double": "double", "net": "Net"}
DOUBLE = "def double(x):\n    return 2 * x"


def code(source, grade_id: str | None = None, **more) -> dict:
    metadata = {"nbgrader": {"grade_id": grade_id}} if grade_id else {}
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], **more}


def write(path: Path, *cells: dict, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, **more}), encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return [path.as_posix() for path in own_files(folder)]


# ----------------------------------------------------------------------------------------------------- known by content
@pytest.mark.parametrize("name", [
    "1_data.ipynb.txt", "1_data.json", "1_DATA.IPYNB", "1_data.ipynb.json", "1_data.ipynb (1)", "1_data", "1_data.txt", "1_data.ipynb_",
    "1_data.Ipynb", "1_data.ipynb.download", "homework.html",
])  # fmt: skip
def test_a_notebook_is_known_whatever_its_name_became(tmp_path, name):
    write(tmp_path / name, code(DOUBLE, "double"))
    book = open_folder(tmp_path, CELLS)
    assert book.find("double").cell.file == name and not book.errors
    assert (f"{name} was read as a notebook, by its content" in book.notes) == (not name.endswith(".ipynb"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("order", ["cells first", "cells last"])
def test_other_encodings_and_orders_of_keys_are_known_too(tmp_path, encoding, order):
    content = {"cells": [code("#" * 200_000), code(DOUBLE)], "metadata": {}, "nbformat": 4}
    content = content if order == "cells first" else dict(reversed(content.items()))
    (tmp_path / "data.txt").write_text(json.dumps(content, indent=1), encoding=encoding)
    assert open_folder(tmp_path, CELLS).find("double") is not None


@pytest.mark.parametrize(("name", "text"), [
    ("assignment.json", '{"solution_cells": {"double": "double"}, "notebooks": ["1.ipynb"]}'), ("history.json", '{"epochs": []}'),
    ("checkpoints.json", '{"fcn8s": {"sha256": "x"}}'), ("notes.txt", "{cells} are blue"), ("results.json", '[{"cells": []}]'),
    ("table.json", '{"cells": 3}'), ("grid.json", '{"cells": {"a": 1}}'), ("empty.json", ""), ("web.html", "<html>{</html>"),
])  # fmt: skip
def test_other_files_are_no_notebooks_and_no_errors(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    book = open_folder(tmp_path, CELLS)
    assert names(tmp_path) == [] and book.documents == [] and book.errors == []


def test_data_that_only_looks_like_a_notebook_is_passed_over_without_a_word(tmp_path):
    (tmp_path / "cells.json").write_text('{"nbformat": "mine", "rows": 3}')
    (tmp_path / "1_data.ipynb").write_text('{"nbformat": "mine", "rows": 3}')
    book = open_folder(tmp_path, CELLS)
    assert [error[:12] for error in book.errors] == ["1_data.ipynb"]


@pytest.mark.parametrize("name", ["nets.PY", "nets.py.txt", "Nets.Py"])
def test_a_script_is_known_and_imported_whatever_its_ending_became(tmp_path, name):
    (tmp_path / name).write_text(DOUBLE)
    book = open_folder(tmp_path, CELLS)
    assert book.find("double").cell.file == name[:4] + ".py"
    assert f"{name} was read as a script, by its content" in book.notes


@pytest.mark.parametrize("name", [
    ".ipynb_checkpoints/1_data-checkpoint.ipynb", "__MACOSX/._1_data.ipynb", "._1_data.ipynb", ".DS_Store", "Thumbs.db",
])  # fmt: skip
def test_leftovers_of_tools_are_passed_over_quietly(tmp_path, name):
    write(tmp_path / "1_data.ipynb", code(DOUBLE, "double"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\0\5\x16\7Mac OS X")
    book = open_folder(tmp_path, CELLS)
    assert names(tmp_path) == ["1_data.ipynb"] and book.errors == book.notes == []


def test_of_many_files_notebooks_are_read_before_scripts_and_shallow_before_deep(tmp_path):
    for number in range(230):
        (tmp_path / f"a{number:03}.py").write_text("x = 1")
    for place in ("z.ipynb", "deep/er/y.ipynb", "zz/helper.py"):
        write(tmp_path / place, code("x = 1"))
    found = names(tmp_path)
    assert len(found) == MAX_FILES and {"z.ipynb", "deep/er/y.ipynb"} <= set(found) and "zz/helper.py" not in found
    assert found == sorted(found, key=lambda name: (name.count("/"), name))  # the order is the usual one
    for number in range(MAX_FILES):
        write(tmp_path / "n" / f"{number}.ipynb")
    assert "z.ipynb" in names(tmp_path) and "deep/er/y.ipynb" not in names(tmp_path)
    assert any("the rest was not read" in error for error in open_folder(tmp_path, CELLS).errors)


# ----------------------------------------------------------------------------------------------- where there are several
def test_what_lies_in_folders_of_the_release_counts_only_where_it_is_nowhere_else(tmp_path):
    write(tmp_path / "1_data.ipynb", code(DOUBLE, "double"))
    write(tmp_path / "data" / "later.ipynb", code("def double(x):\n    return 0", "double"))
    write(tmp_path / "data" / "2_net.ipynb", code("class Net:\n    pass", "net"))
    book = open_folder(tmp_path, CELLS)
    assert book.find("double").cell.file == "1_data.ipynb" and book.find("Net").cell.file == "data/2_net.ipynb"
    assert [d.name for d in book.documents] == ["1_data.ipynb", "data/2_net.ipynb"] and names(tmp_path) == ["1_data.ipynb"]
    assert [path.as_posix() for path in spare_files(tmp_path)] == ["data/2_net.ipynb", "data/later.ipynb"]


STUB = "def double(x):\n    raise NotImplementedError()"


@pytest.mark.parametrize("worked", ["1_data (1).ipynb", "data/1_data.ipynb", "old/1_data.ipynb", "hw.zip/1_data.ipynb"])
def test_a_copy_that_was_worked_on_counts_before_the_one_that_was_handed_out(tmp_path, worked):
    write(tmp_path / "1_data.ipynb", code(STUB, "double"))
    write(tmp_path / worked, code(DOUBLE, "double"))
    os.utime(tmp_path / worked, (1e9, 1e9))
    book = open_folder(tmp_path, {"double": "double"}, ("1_data.ipynb",))
    assert book.find("double").cell.file == worked and not book.find("double").unfinished
    assert f"1_data.ipynb has the same cells as {worked}: {worked} was read" in book.notes


def test_untouched_copies_alone_are_read_by_their_names_as_before(tmp_path):
    for name in ("1_data.ipynb", "copy.ipynb"):
        write(tmp_path / name, code(STUB, "double"))
    book = open_folder(tmp_path, {"double": "double"}, ("1_data.ipynb",))
    assert book.find("double").cell.file == "1_data.ipynb" and book.find("double").unfinished


# --------------------------------------------------------------------------------------------------------- odd content
@pytest.mark.parametrize(("source", "expected"), [
    ("x = '\ud83d'", "x = '\ufffd'"), (["# \ud83d\n", "x = 1"], "# \ufffd\nx = 1"), (["s = '\ud83d", "\ude00'"], "s = '\U0001f600'"),
    ("\udc80", "\ufffd"),
])  # fmt: skip
def test_half_a_character_in_a_cell_costs_that_character(tmp_path, source, expected):
    (cell,) = read_document(write(tmp_path / "a.ipynb", code(source))).cells
    assert cell.source == expected
    cell.source.encode("utf-8")


CONFLICT = "<<<<<<< HEAD\n{0}\n=======\n{0}\n>>>>>>> 4e2b407b (my fix)\n"


def test_a_merge_conflict_is_named_with_line_and_way_out(tmp_path):
    path = write(tmp_path / "1_data.ipynb", code(DOUBLE))
    line = '   "cell_type": "code",'
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1).replace(f"{line}\n", CONFLICT.format(line)))
    with pytest.raises(DocumentError) as caught:
        read_document(path)
    text = str(caught.value)
    assert text.startswith("1_data.ipynb: an unresolved merge conflict of git (<<<<<<< in line 4)")
    assert "git checkout --theirs 1_data.ipynb" in text and "nbdime" in text


def test_a_merge_conflict_in_a_cell_and_in_a_script_is_named_beside_the_syntax_error(tmp_path):
    (tmp_path / "nets.py").write_text(CONFLICT.format("x = 1"))
    for path in (tmp_path / "nets.py", write(tmp_path / "a.ipynb", code(CONFLICT.format("x = 1")))):
        (cell,) = read_document(path).cells
        assert "merge conflict: keep one side" in cell.parsed[1]


@pytest.mark.parametrize(("content", "words"), [
    ("<!DOCTYPE html>\n<html>", "a web page, not the notebook. Download the file itself"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "git lfs pull"), ("", "may be cut off"),
    ("\0" * 4096, "may be cut off"),
])  # fmt: skip
def test_what_came_in_a_notebooks_place_is_named(tmp_path, content, words):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(DocumentError, match="^a.ipynb: ") as caught:
        read_document(tmp_path / "a.ipynb")
    assert words in str(caught.value)


@pytest.mark.parametrize("tail", ["}", '\n "metadata": {}\n}', "\0" * 500, '{"cells": []}'])
def test_what_an_older_and_longer_state_left_behind_the_end_is_passed_over(tmp_path, tail):
    path = write(tmp_path / "a.ipynb", code(DOUBLE))
    path.write_text(path.read_text() + tail)
    document = read_document(path)
    assert document.cells[0].source == DOUBLE and document.notes == ["a.ipynb: goes on behind its end; that was passed over"]


# ------------------------------------------------------------------------------------------------------ without outputs
TRICKY = [
    code('print("\\"outputs\\": [1, 2]")', "a"),
    code('x = {"outputs": [1], "attachments": {"a": ["]"]}, "widgets": "\\\\"}  # "]}'),
    {"cell_type": "markdown", "source": '{"outputs": []} \\', "metadata": {}, "attachments": {"a.png": {"image/png": ']]}}\\"['}}},
    code("x", outputs=[{"output_type": "stream", "text": [']}"\\', "\\\\"]}, {"data": {"outputs": [[], {}]}}]),
    code("y", outputs=None),
]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_notebook_is_read_as_without_its_outputs_and_else_the_same(tmp_path, monkeypatch, indent):
    path = write(tmp_path / "a.ipynb", *TRICKY)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"widgets": {"state": {"x": "]"}}}, indent=indent))
    full = json.loads(path.read_text())
    lean, notes = notebook_content(path, "a.ipynb", with_outputs=0)
    for cell in full["cells"]:
        for key in {"outputs", "attachments"} & cell.keys():
            cell[key] = None
    full["widgets"] = None
    assert lean == full and notes == []
    monkeypatch.setattr(module, "WITH_OUTPUTS", 10)
    assert [cell.source for cell in read_document(path).cells] == [cell["source"] for cell in TRICKY if cell["cell_type"] == "code"]


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 0.99])
def test_a_large_notebook_that_broke_off_is_no_notebook(tmp_path, keep):
    path = write(tmp_path / "a.ipynb", *TRICKY)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DocumentError, match="no readable notebook"):
        notebook_content(path, "a.ipynb", with_outputs=0)


def test_large_files_that_are_no_notebooks_are_refused_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BRACKETS", 1000)
    (tmp_path / "a.ipynb").write_text('{"cells": [{"outputs": [' + "[]," * 5000 + "1]}]}")
    with pytest.raises(DocumentError, match="no readable notebook"):
        notebook_content(tmp_path / "a.ipynb", "a.ipynb", with_outputs=0)


def test_seventy_megabytes_of_outputs_are_read_with_little_memory(tmp_path):
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo" * 100_000}, "metadata": {}}
    lines = {"output_type": "stream", "name": "stdout", "text": ["epoch 1: loss 0.1234\n"] * 20_000}
    path = write(tmp_path / "1_data.ipynb", *[code("x = 1", outputs=[picture, lines])] * 48, code(DOUBLE, "double"))
    assert path.stat().st_size > 70 * 2**20
    told = (  # private memory may grow by 64 MiB from here; the file is only mapped
        "import re, resource, sys; from pathlib import Path; from segkit.notebooks import read_document\n"
        "used = 1024 * int(re.search(r'VmData:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (used + 64 * 2**20, resource.RLIM_INFINITY))\n"
        "d = read_document(Path(sys.argv[1]))\n"
        "print(d.cells[-1].source.splitlines()[0], len(d.cells), d.notes, sep='|')\n"
    )
    done = subprocess.run([sys.executable, "-c", told, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    source, count, notes = done.stdout.strip().split("|")
    assert source == "def double(x):" and count == "49" and "nearly all of it outputs; it was read without them" in notes


def test_a_folder_of_pipes_and_links_is_no_trap(tmp_path):
    os.mkfifo(tmp_path / "1_data")
    (tmp_path / "2_data.ipynb").symlink_to(write(tmp_path / "x" / "real.ipynb"))
    assert names(tmp_path) == ["x/real.ipynb"] and not is_notebook(tmp_path / "nothing")
