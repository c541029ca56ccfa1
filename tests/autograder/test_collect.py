"""Clean copies of raw hand-ins: names, encodings, formats, doubled cells, files that must not come along."""

import json
import os
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbgrader.nbgraderformat import MetadataValidator
from small_course import edit_notebook, write_course

from autograder.cli.collect import collect_command
from autograder.gradebook.cells import grade_id_of, release_cells, restore

WORK = "def double(values):\n    return values + values"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return write_course(tmp_path_factory.mktemp("course"))


@pytest.fixture
def raw(course, tmp_path):
    """A hand-in with one finished definition."""
    folder = tmp_path / "raw" / "alice"
    folder.mkdir(parents=True)
    for path in course.notebook_paths():
        nbformat.write(release_cells(path), folder / path.name)
    edit_notebook(folder / "1_first.ipynb", lambda c: cell_of(c, "double").update(source=WORK))
    return folder


def cell_of(content: dict, grade_id: str) -> dict:
    return next(c for c in content["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def collect(course, *paths, code=0, options=()):
    out = paths[0].parent.parent / "submitted"
    arguments = [*map(str, paths), "--out", str(out), "--assignment", "tiny", "--root", str(course.root), *options]
    done = CliRunner().invoke(collect_command, arguments)
    assert done.exit_code == code, done.output
    return out, done.output


def ids(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    MetadataValidator().validate_nb(notebook)  # nbgrader refuses the whole class for one notebook that fails here
    return [grade_id for cell in notebook.cells if (grade_id := grade_id_of(cell))]


def source_of(path: Path, grade_id: str) -> str:
    return next(c.source for c in nbformat.read(path, as_version=4).cells if grade_id_of(c) == grade_id)


def test_clean_hand_in_is_copied_as_it_is(course, raw):
    out, _ = collect(course, raw)
    assert sorted(p.name for p in (out / "alice" / "tiny").iterdir()) == ["1_first.ipynb", "2_second.ipynb"]
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK


def test_renamed_notebook_gets_its_name_back(course, raw):
    (raw / "1_first.ipynb").rename(raw / "alice final (2).ipynb")
    out, text = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK
    assert "alice final (2).ipynb was known by its cells and is 1_first.ipynb now" in text


def test_notebook_without_any_metadata_is_known_by_its_texts(course, raw):
    edit_notebook(raw / "1_first.ipynb", lambda c: [cell.update(metadata={}) for cell in c["cells"]])
    (raw / "1_first.ipynb").rename(raw / "x.ipynb")
    out, _ = collect(course, raw)
    assert "return values + values" in (out / "alice" / "tiny" / "1_first.ipynb").read_text()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings_are_repaired(course, raw, encoding):
    path = raw / "1_first.ipynb"
    text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
    path.write_bytes((b"\xff\xfe" if encoding == "utf-16-le" else b"") + text.encode(encoding))
    out, _ = collect(course, raw)
    copy = out / "alice" / "tiny" / "1_first.ipynb"
    assert copy.read_bytes().startswith(b"{") and b"\r" not in copy.read_bytes()
    assert source_of(copy, "double") == WORK


def test_format_3_becomes_format_4(course, raw):
    path = raw / "1_first.ipynb"
    content = json.loads(path.read_text())
    cells = [
        {"cell_type": c["cell_type"], "metadata": c["metadata"], "input": c["source"], "outputs": [], "language": "python"}
        if c["cell_type"] == "code"
        else {"cell_type": "heading", "level": 2, "metadata": c["metadata"], "source": c["source"]}
        for c in content["cells"]
    ]
    path.write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}))
    out, text = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK
    assert "was saved in notebook format 3" in text


def test_doubled_grade_id_is_resolved_for_the_worked_one(course, raw):
    def double(content):
        cell = cell_of(content, "double")
        stub = json.loads(json.dumps(cell)) | {"id": "again", "source": "# YOUR CODE HERE\nraise NotImplementedError()"}
        content["cells"].append(stub)

    edit_notebook(raw / "1_first.ipynb", double)
    out, text = collect(course, raw)
    path = out / "alice" / "tiny" / "1_first.ipynb"
    assert ids(path).count("double") == 1 and source_of(path, "double") == WORK
    assert "the cell double is there 2 times" in text


def test_everything_in_one_notebook_keeps_its_name_and_the_others_get_check_cells(course, raw):
    """A stub beside the student's own definition could be taken for it."""
    one = nbformat.read(raw / "1_first.ipynb", as_version=4)
    two = nbformat.read(raw / "2_second.ipynb", as_version=4)
    two.cells[-1].source = "Because."
    one.cells += two.cells
    nbformat.write(one, raw / "everything.ipynb")
    (raw / "1_first.ipynb").unlink()
    (raw / "2_second.ipynb").unlink()
    out, _ = collect(course, raw)
    folder = out / "alice" / "tiny"
    assert ids(folder / "1_first.ipynb") == ["double-check"]
    assert ids(folder / "2_second.ipynb") == ["last-value", "question_1"]
    assert source_of(folder / "2_second.ipynb", "question_1") == "Because."
    assert source_of(folder / "everything.ipynb", "double") == WORK


def test_unreadable_notebook_is_kept_aside(course, raw):
    (raw / "2_second.ipynb").write_text('{"cells": [')
    out, text = collect(course, raw)
    assert (out / "alice" / "tiny" / "2_second.ipynb.unreadable").is_file()
    assert ids(out / "alice" / "tiny" / "2_second.ipynb") == ["last-value", "question_1"]
    assert "no readable notebook" in text


@pytest.mark.parametrize("name", ["1_first.ipynb.txt", "1_first.json", "1_FIRST.IPYNB", "first homework"])
def test_a_notebook_gets_its_name_back_whatever_became_of_it(course, raw, name):
    (raw / "1_first.ipynb").rename(raw / name)
    out, text = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK
    assert f"{name} was known by its cells and is 1_first.ipynb now" in text
    assert sorted(p.name for p in (out / "alice" / "tiny").iterdir()) == ["1_first.ipynb", "2_second.ipynb"]


@pytest.mark.parametrize("place", ["data/1_first.ipynb", "work.zip"])
def test_what_the_reader_of_submissions_finds_is_collected(course, raw, place):
    if place.endswith("zip"):
        with zipfile.ZipFile(raw / place, "w") as bundle:
            bundle.write(raw / "1_first.ipynb", "old\\1_first.ipynb".replace("\\", "/"))
        (raw / "1_first.ipynb").unlink()
    else:
        (raw / "data").mkdir()
        (raw / "1_first.ipynb").rename(raw / place)
        (raw / "data" / "label_names.txt").write_text("facade")
    out, _ = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK
    assert not (out / "alice" / "tiny" / "data" / "label_names.txt").exists()
    assert (raw / place).exists()


def test_of_two_copies_the_one_that_was_worked_on_is_collected(course, raw):
    (raw / "1_first.ipynb").rename(raw / "1_first (1).ipynb")
    nbformat.write(release_cells(course.notebook_paths()[0]), raw / "1_first.ipynb")
    out, _ = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK


def test_a_large_notebook_is_collected_without_its_outputs(course, raw, monkeypatch):
    monkeypatch.setattr("autograder.gradebook.repair.WITH_OUTPUTS", 1000)
    output = {"output_type": "stream", "name": "stdout", "text": "epoch\n" * 1000}
    edit_notebook(raw / "1_first.ipynb", lambda c: cell_of(c, "double").update(outputs=[output]))
    out, _ = collect(course, raw)
    assert source_of(out / "alice" / "tiny" / "1_first.ipynb", "double") == WORK
    assert (out / "alice" / "tiny" / "1_first.ipynb").stat().st_size < 5000


def test_checkpoints_of_any_name_are_collected_as_links(course, raw):
    (raw / "checkpoints").mkdir()
    for name in ("Net (1).ckpt", "net.pth.tar"):
        (raw / "checkpoints" / name).write_bytes(b"weights")
    out, _ = collect(course, raw)
    kept = out / "alice" / "tiny" / "checkpoints"
    assert {p.name: p.stat().st_nlink for p in kept.iterdir()} == {"Net (1).ckpt": 2, "net.pth.tar": 2}


def test_a_hand_in_without_any_notebook_is_not_collected_and_the_others_are(course, raw):
    (raw.parent / "dora").mkdir()
    (raw.parent / "dora" / "work.rar").write_bytes(b"Rar!\x1a\x07\1\0")
    _, text = collect(course, raw, raw.parent / "dora", code=1)
    assert "dora: not collected: No notebook of the assignment was found, only work.rar (a RAR archive)" in text


def test_links_release_files_and_leftovers_stay_out(course, raw):
    (raw / "passwords.py").symlink_to("/etc/passwd")
    (raw / "linked").symlink_to("/etc")
    os.mkfifo(raw / "pipe.py")
    for place in ("segkit", "data", ".ipynb_checkpoints", "__pycache__"):
        (raw / place).mkdir()
        (raw / place / "a.py").write_text("x")
    (raw / "helpers.py").write_text("x = 1")
    (raw / "checkpoints").mkdir()
    (raw / "checkpoints" / "net.safetensors").write_bytes(b"weights")
    out, text = collect(course, raw)
    files = {p.relative_to(out / "alice" / "tiny").as_posix() for p in (out / "alice").rglob("*") if p.is_file()}
    assert files == {"1_first.ipynb", "2_second.ipynb", "helpers.py", "checkpoints/net.safetensors"}
    assert "passwords.py: a link, left out" in text and "pipe.py: not a regular file, left out" in text


def test_oversized_file_is_left_out(course, raw):
    with open(raw / "huge.csv", "wb") as file:
        file.truncate(70 * 2**20)
    out, text = collect(course, raw)
    assert not (out / "alice" / "tiny" / "huge.csv").exists() and "huge.csv: too large" in text


def test_zip_that_writes_outside_is_refused_that_file(course, raw):
    archive = raw.parent / "bob.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in raw.iterdir():
            bundle.write(path, f"work/{path.name}")
        bundle.writestr("../../escaped.py", "x = 1")
    out, text = collect(course, archive)
    assert ids(out / "bob" / "tiny" / "1_first.ipynb")
    assert not list(raw.parent.parent.rglob("escaped.py")) and "lies outside of the folder" in text


def test_broken_zip_does_not_stop_the_others(course, raw):
    (raw.parent / "carol.zip").write_bytes(b"PK\x03\x04 broken")
    out, text = collect(course, raw, raw.parent / "carol.zip", code=1)
    assert (out / "alice" / "tiny").is_dir() and not (out / "carol" / "tiny").exists()
    assert "carol: not collected" in text and "1 of 2 hand-ins collected" in text


def test_collected_copy_is_replaced_only_on_demand(course, raw):
    out, _ = collect(course, raw)
    (out / "alice" / "tiny" / "mark.txt").write_text("x")
    _, text = collect(course, raw)
    assert (out / "alice" / "tiny" / "mark.txt").exists() and "--force" in text
    collect(course, raw, options=["--force"])
    assert not (out / "alice" / "tiny" / "mark.txt").exists()


def test_scripts_in_outputs_are_left_out(course, raw):
    output = {"output_type": "display_data", "metadata": {},
              "data": {"text/html": "<script>alert(1)</script>", "text/plain": "plot", "image/png": "aGFsbG8="}}  # fmt: skip
    edit_notebook(raw / "1_first.ipynb", lambda c: cell_of(c, "double").update(outputs=[output]))
    out, _ = collect(course, raw)
    text = (out / "alice" / "tiny" / "1_first.ipynb").read_text()
    assert "script" not in text and "aGFsbG8=" in text


# ---------------------------------------------------------------- restoring, as nbgrader's sanitising step does it


def restored(course, change) -> tuple[nbformat.NotebookNode, list[str]]:
    source = release_cells(course.notebooks / "2_second.ipynb")
    notebook = release_cells(course.notebooks / "2_second.ipynb")
    notebook.cells[0].source = "def last_of_all(values):\n    return values[-1]"
    notebook.cells[3].source = "Because."
    change(notebook)
    notes = restore(notebook, source, {"last": "last_of_all"})
    MetadataValidator().validate_nb(notebook)
    wanted = {grade_id_of(c): c.metadata.nbgrader for c in source.cells if grade_id_of(c)}
    assert {grade_id_of(c): c.metadata.nbgrader for c in notebook.cells if grade_id_of(c)} == wanted
    by_id = {grade_id_of(c): c for c in notebook.cells}
    assert by_id["last-value"].source == "# 6 points: judged elsewhere"
    return notebook, notes


def text_of(notebook, grade_id: str) -> str:
    return next(c.source for c in notebook.cells if grade_id_of(c) == grade_id)


def test_untouched_structure_needs_no_restoring(course):
    assert restored(course, lambda nb: None)[1] == []


def test_deleted_check_cell_is_put_back_in_its_place(course):
    notebook, notes = restored(course, lambda nb: nb.cells.pop(1))
    assert [grade_id_of(c) for c in notebook.cells] == ["last", "last-value", None, "question_1"]
    assert notes == ["the cell last-value was missing and was put back"]


@pytest.mark.parametrize("keep_ids", [True, False])
def test_stripped_metadata_is_put_back_and_answers_are_kept(course, keep_ids):
    def strip(notebook):
        for number, cell in enumerate(notebook.cells):
            cell.metadata = nbformat.from_dict({})
            cell["id"] = cell["id"] if keep_ids else f"new{number}"

    notebook, _ = restored(course, strip)
    assert len(notebook.cells) == 4
    assert text_of(notebook, "last").endswith("return values[-1]") and text_of(notebook, "question_1") == "Because."


def test_broken_cell_without_metadata_is_known_by_its_cell_id(course):
    """It defines nothing that it could be known by."""

    def strip(notebook):
        notebook.cells[0].source = "def last_of_all(values:\n    return ("
        notebook.cells[0].metadata = nbformat.from_dict({})

    notebook, _ = restored(course, strip)
    assert len(notebook.cells) == 4 and text_of(notebook, "last").startswith("def last_of_all(values:")


def test_doubled_cell_keeps_one_identity(course):
    def double(notebook):
        notebook.cells.append(nbformat.from_dict({**notebook.cells[3], "id": "again", "source": "Better."}))

    notebook, _ = restored(course, double)
    assert text_of(notebook, "question_1") == "Better."
    assert "Because." in [c.source for c in notebook.cells]


def test_retyped_cells_get_their_type_back(course):
    def retype(notebook):
        notebook.cells[3] = nbformat.v4.new_code_cell("Because.", metadata=notebook.cells[3].metadata)
        notebook.cells[1] = nbformat.v4.new_markdown_cell("gone", metadata=notebook.cells[1].metadata)
        notebook.cells[0] = nbformat.v4.new_raw_cell(notebook.cells[0].source, metadata=notebook.cells[0].metadata)

    notebook, notes = restored(course, retype)
    assert [c.cell_type for c in notebook.cells] == ["code", "code", "markdown", "markdown"]
    assert "the cell question_1 was a code cell and is a markdown cell again" in notes


def test_changed_points_and_flags_are_put_back(course):
    def change(notebook):
        notebook.cells[1].metadata.nbgrader.update(points=600.0, solution=True)
        notebook.cells[2].metadata["nbgrader"] = {"grade_id": "mine", "grade": True, "points": 100}

    _, notes = restored(course, change)
    assert notes == ["a cell with the unknown grade id 'mine' is an ordinary cell now"]


def test_damaged_metadata_is_no_obstacle(course):
    def damage(notebook):
        notebook.cells[1].metadata["nbgrader"] = ["nonsense"]
        notebook.cells[3].metadata["nbgrader"] = {"grade_id": 7}

    assert text_of(restored(course, damage)[0], "question_1") == "Because."
