"""Forms in which honest work arrives damaged, for every assignment: what tools and accidents do to a notebook with solution cells.

The work keeps its points, and the notes say what was repaired. A form is a function ``(folder, notebooks, file, *cells)``: the name of
the notebook that is damaged, and grade ids of solution cells in it, in their order.
"""

import copy
import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

from autograder.exam.building import code_cell, solution_cell
from autograder.exam.entries import Entry, entry_list

__all__ = ["shared"]

Notebooks = dict[str, dict[str, Any]]

ALL = ("every",)
ONE = ("first",)  # where a file, an archive or a folder is damaged: the same for every definition in it
FORMS, damaged = entry_list("damaged")


def shared(file: str, *cells: str) -> list[Entry]:
    """Entries of all forms.

    Args:
        file: Name of the notebook that is damaged.
        cells: Grade ids of at least two solution cells in it, in their order; a check of the same name grades each.
    """
    names = {"file": file, "first": cells[0], "second": cells[1], "last": cells[-1]}

    def said(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.format(**names) for word in words)

    def of(form: Entry) -> Entry:
        lost = {cell: loss for key, loss in form.lost.items() for cell in (cells if key == "every" else (names[key],))}
        checks = cells if form.checks == ALL else cells[:1]
        told = said(form.says), said(form.note)
        return dataclasses.replace(form, checks=checks, lost=lost, says=told[0], note=told[1], damages=(file, *cells))

    return [of(form) for form in FORMS]


def _nbgrader(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def _solution(notebooks: Notebooks, grade_id: str) -> dict[str, Any]:
    notebook, position = solution_cell(notebooks, grade_id)
    cell: dict[str, Any] = notebook["cells"][position]
    return cell


def _beside(notebooks: Notebooks, grade_id: str, body: str, below: int = 0) -> None:
    """Another cell right above the solution, or below it, with the same signature."""
    notebook, position = solution_cell(notebooks, grade_id)
    other = copy.deepcopy(notebook["cells"][position])
    other["source"] = _other(other["source"], body)
    notebook["cells"].insert(position + below, other)


def _other(source: str, body: str) -> str:
    signature = next(line for line in source.split("\n") if line.startswith("def "))
    return f"{signature}\n    {body}"


def _write(folder: Path, notebooks: Notebooks, file: str, encoding: str = "utf-8", name: str = "", newline: str = "\n") -> None:
    """Write the notebook in another way, and take it off the list of what is still to be written."""
    text = json.dumps(notebooks.pop(file), ensure_ascii=False, indent=1).replace("\n", newline)
    (folder / (name or file)).write_bytes(text.encode(encoding))


# ---------------------------------------------------------------------------------------------------------- cells
@damaged(ALL)
def deleted_test_cells(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Every graded test cell is deleted."""
    notebooks[file]["cells"][:] = [c for c in notebooks[file]["cells"] if not _nbgrader(c).get("grade")]


@damaged(ALL)
def deleted_everything_but_solutions(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Only the solution cells are left."""
    notebooks[file]["cells"][:] = [c for c in notebooks[file]["cells"] if _nbgrader(c).get("solution")]


@damaged(ALL, lost={"first": "all"}, cause="code.missing",
         says=["{first} was not found", "the cell with grade id '{first}' is missing"],
         note="no cell with the grade id {first}")  # fmt: skip
def deleted_solution_cell(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A solution cell is deleted: its check is lost, and no other."""
    notebooks[file]["cells"][:] = [c for c in notebooks[file]["cells"] if _nbgrader(c).get("grade_id") != cells[0]]


@damaged(ALL, note="{second} is defined 2 times: the last one counts")
def duplicated_solution_cell(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A solution cell was copied, grade id and all."""
    notebook, position = solution_cell(notebooks, cells[1])
    notebook["cells"].insert(position + 1, copy.deepcopy(notebook["cells"][position]))


@damaged(ALL)
def stub_below_the_solution(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """An untouched copy of the stub lies below the answer: the finished one counts."""
    _beside(notebooks, cells[-1], "# YOUR CODE HERE\n    raise NotImplementedError()", below=1)


@damaged(ALL, note="{last} is defined 2 times: the last one counts")
def wrong_attempt_above_the_right_one(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A first wrong attempt stands above: the last counts, as on a top-to-bottom run."""
    _beside(notebooks, cells[-1], "return 1.0")


@damaged(ALL, note="a markdown cell now; it was read as code")
def solution_retyped_to_markdown(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A code cell became a text cell by a slip of the keyboard (M)."""
    _solution(notebooks, cells[-1])["cell_type"] = "markdown"


@damaged(ALL, note="a raw cell now; it was read as code")
def solution_retyped_to_raw(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A code cell became a raw cell (R)."""
    _solution(notebooks, cells[0])["cell_type"] = "raw"


@damaged(ALL)
def cells_reversed(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """All cells in reverse order."""
    notebooks[file]["cells"].reverse()


@damaged(ALL)
def cells_rotated(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The first ten cells were moved to the end."""
    moved = notebooks[file]["cells"]
    moved[:] = moved[10:] + moved[:10]


@damaged(ALL)
def solution_split_in_two(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The cell was split: the imports kept the grade id, the function lost it."""
    notebook, position = solution_cell(notebooks, cells[0])
    cell = notebook["cells"][position]
    imports, _, function = cell["source"].partition("\n\n\n")
    cell["source"] = imports
    notebook["cells"].insert(position + 1, code_cell(function))


@damaged(ALL)
def solutions_merged(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Two solution cells were merged into the first."""
    notebook, position = solution_cell(notebooks, cells[-1])
    _solution(notebooks, cells[0])["source"] += "\n\n\n" + notebook["cells"][position]["source"]
    del notebook["cells"][position]


@damaged(ALL)
def all_cells_merged_into_one(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The whole notebook is one code cell without metadata."""
    sources = [c["source"] for c in notebooks[file]["cells"] if c["cell_type"] == "code"]
    notebooks[file]["cells"][:] = [code_cell("\n\n".join(sources))]


@damaged(ALL)
def grade_ids_changed(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Somebody renamed every grade id."""
    for number, cell in enumerate(notebooks[file]["cells"]):
        if _nbgrader(cell):
            cell["metadata"]["nbgrader"]["grade_id"] = f"cell-{number:04x}"


@damaged(ALL)
def grade_ids_exchanged(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Two solution cells carry each other's grade id: definitions are found by name then."""
    first, last = (_solution(notebooks, cell)["metadata"] for cell in (cells[0], cells[-1]))
    first["nbgrader"]["grade_id"], last["nbgrader"]["grade_id"] = cells[-1], cells[0]


@damaged(ONE)
def points_changed(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Points in the metadata are no evidence: the rubric's count."""
    for cell in notebooks[file]["cells"]:
        if _nbgrader(cell).get("grade"):
            cell["metadata"]["nbgrader"]["points"] = 1000


@damaged(ALL)
def import_cells_deleted(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The import lines are gone: the usual ones are filled in, and a note says so."""
    for cell in notebooks[file]["cells"]:
        if cell["cell_type"] == "code":
            lines = cell["source"].split("\n")
            cell["source"] = "\n".join(line for line in lines if not line.startswith(("import ", "from ")))


@damaged(ALL)
def metadata_of_another_form(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """nbgrader's metadata is null, a list, a text."""
    values: list[Any] = [None, [], "solution", 3, {"grade_id": 7}]
    for cell, value in zip(notebooks[file]["cells"], values * 20, strict=False):
        cell["metadata"]["nbgrader"] = value


@damaged(ALL)
def cells_of_another_form(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Cells without source, without metadata, of an unknown type, no dicts at all."""
    strange: list[Any] = [{}, {"cell_type": "code"}, {"cell_type": "chart", "source": 3, "metadata": None}, None, []]
    notebooks[file]["cells"][0:0] = strange


@damaged(ALL)
def magics_everywhere(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Magics, shell lines and questions among the code."""
    for cell in (_solution(notebooks, grade_id) for grade_id in cells):
        cell["source"] = f"%load_ext autoreload\n!pip install -q numpy\nnp.array?\n{cell['source']}\n%timeit 1 + 1\nfiles = !ls"


@damaged(ALL)
def cell_magic_on_top(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """%%time above a solution."""
    cell = _solution(notebooks, cells[0])
    cell["source"] = "%%time\n" + cell["source"]


@damaged(ONE, note="{file}, cell")
def syntax_error_in_another_cell(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A cell of notes that are no Python, above everything."""
    notebooks[file]["cells"].insert(0, code_cell("todo: ask about the palette (!!"))


# -------------------------------------------------------------------------------------------------- tools and editors
@damaged(ALL, note="no cell with the grade id")
def colab_round_trip(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Colab strips foreign metadata, gives cells ids of its own, and renames the kernel."""
    for name, notebook in notebooks.items():
        notebook["metadata"] = {"colab": {"provenance": [], "name": name, "gpuType": "T4"}, "accelerator": "GPU",
                                "kernelspec": {"name": "python3", "display_name": "Python 3"}}  # fmt: skip
        notebook["nbformat_minor"] = 0
        for number, cell in enumerate(notebook["cells"]):
            cell["metadata"] = {"id": f"aB3{number:09d}"}
            cell.pop("id", None)


@damaged(ONE)
def vs_code_round_trip(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """VS Code keeps metadata, writes sources as lines, and another kernel."""
    for notebook in notebooks.values():
        notebook["metadata"] = {"kernelspec": {"display_name": ".venv", "language": "python", "name": "python3"},
                                "language_info": {"name": "python", "version": "3.12.4"}, "orig_nbformat": 4}  # fmt: skip
        for cell in notebook["cells"]:
            cell["metadata"]["vscode"] = {"languageId": "python"}
            cell["source"] = cell["source"].splitlines(keepends=True)


@damaged(ALL, note="notebook format 3")
def notebook_format_3(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Saved by an old tool: worksheets, `input` in place of `source`."""
    notebook = notebooks[file]
    old_cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            old = {"input": cell["source"], "language": "python", "outputs": [], "metadata": cell["metadata"]}
            old_cells.append({"cell_type": "code", **old})
        else:
            old_cells.append({"cell_type": "markdown", "source": cell["source"], "metadata": cell["metadata"]})
    notebooks[file] = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": old_cells, "metadata": {}}]}


@damaged(ONE)
def outputs_left_in(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Megabytes of pictures and a traceback in the outputs."""
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo" * 40_000}, "metadata": {}}
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["\x1b[31mValueError\x1b[0m: no"]}
    for number, cell in enumerate(notebooks[file]["cells"]):
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [picture, error], number


@damaged(ONE)
def kernelspec_changed(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Another kernel, another language in the metadata."""
    notebooks[file]["metadata"] = {"kernelspec": {"name": "conda-env-dl-py", "language": "R", "display_name": "dl"}}


@damaged(ALL)
def metadata_gone(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """No metadata at all, neither of the notebook nor of cells."""
    notebooks[file].pop("metadata")
    for cell in notebooks[file]["cells"]:
        cell.pop("metadata")
        cell.pop("id", None)


@damaged(ONE)
def line_ends_of_windows(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """CRLF in the file."""
    _write(folder, notebooks, file, newline="\r\n")


@damaged(ALL)
def line_ends_of_windows_in_the_cells(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """CRLF in the sources of the cells."""
    for cell in notebooks[file]["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


@damaged(ONE)
def byte_order_mark(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """UTF-8 with a byte order mark."""
    _write(folder, notebooks, file, encoding="utf-8-sig")


@damaged(ONE)
def utf_16(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Saved as "Unicode" by an editor of Windows."""
    _write(folder, notebooks, file, encoding="utf-16")


@damaged(ONE)
def latin_1_comment(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A comment with an umlaut in Latin-1."""
    for cell in notebooks[file]["cells"]:
        cell["source"] = cell["source"].encode("ascii", "ignore").decode()
    _solution(notebooks, cells[-1])["source"] += "\n# für später"
    _write(folder, notebooks, file, encoding="latin-1")


@damaged(ALL)
def tabs_for_spaces(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Indented with tabs."""
    for cell in notebooks[file]["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = cell["source"].replace("    ", "\t")


# --------------------------------------------------------------------------------------------------------------- files
@damaged(ONE, note="not among the files: {file}")
def notebook_renamed(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The browser's name for a second download."""
    _write(folder, notebooks, file, name=file.replace(".", " (1)."))


@damaged(ONE)
def notebook_renamed_with_a_name(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A name with spaces, letters and a student's name in it."""
    _write(folder, notebooks, file, name="Übung 1 – Müller, Zoë (final FINAL).ipynb")


@damaged(ALL, note="has the same cells as {file}")
def older_copy_beside(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A copy with a wrong answer lies beside: the original name counts."""
    other = copy.deepcopy(notebooks[file])
    cell = _solution({"other": other}, cells[-1])
    cell["source"] = _other(cell["source"], "return 0")
    (folder / file.replace(".", "-Copy1.")).write_text(json.dumps(other), encoding="utf-8")


@damaged(ONE)
def checkpoint_folder_of_jupyter(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """.ipynb_checkpoints holds an old stub."""
    place = folder / ".ipynb_checkpoints"
    place.mkdir()
    stub = code_cell(_other(_solution(notebooks, cells[-1])["source"], "raise NotImplementedError()"))
    (place / file.replace(".", "-checkpoint.")).write_text(json.dumps({"cells": [stub], "nbformat": 4}), encoding="utf-8")


@damaged(ONE, note=": no readable notebook")
def another_notebook_cut_off(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """One notebook is truncated: the others are graded."""
    name = max(notebooks)
    text = json.dumps(notebooks.pop(name))
    (folder / name).write_text(text[: len(text) // 2], encoding="utf-8")


@damaged(ALL, lost={"every": "all"}, cause="code.missing", says="was not found", note="not among the files: {file}")
def notebook_missing(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """A notebook was not handed in: its checks are lost, and the notes say which file is missing."""
    del notebooks[file]


@damaged(ONE, unreadable=True, cause="submission.no_notebook", says=("only readme.txt", "Expected "))
def empty_folder(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Nothing but a text file: nobody's zero, but could_not_grade."""
    notebooks.clear()
    (folder / "readme.txt").write_text("see my e-mail", encoding="utf-8")


@damaged(ALL, note="not among the files")
def one_big_notebook(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """All five notebooks in one, in last year's manner."""
    every = [cell for notebook in notebooks.values() for cell in notebook["cells"]]
    notebooks.clear()
    notebooks["assignment3.ipynb"] = {"cells": every, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@damaged(ALL)
def scripts_in_place_of_notebooks(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """Exported as .py files."""
    for name in list(notebooks):
        code = [cell["source"] for cell in notebooks.pop(name)["cells"] if cell["cell_type"] == "code"]
        (folder / name.replace(".ipynb", ".py")).write_text("\n\n".join(code), encoding="utf-8")


@damaged(ONE)
def nested_folders(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """The work lies three folders down."""
    place = folder / "Downloads" / "dl course" / "fcn"
    place.mkdir(parents=True)
    for name in list(notebooks):
        (place / name).write_text(json.dumps(notebooks.pop(name)), encoding="utf-8")


@damaged(ONE)
def whole_release_handed_in(folder: Path, notebooks: Notebooks, file: str, *cells: str) -> None:
    """segkit/, data/ and an environment lie beside the notebooks: they are not searched."""
    other = _other(_solution(notebooks, cells[-1])["source"], "return 0\n")
    for path in ("segkit/facades.py", "segkit/checks/__init__.py", "data/label_names.txt", "venv/lib/site.py"):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(other, encoding="utf-8")
    (folder / "venv" / "pyvenv.cfg").write_text("home = /usr\n", encoding="utf-8")


def _zipped(prefix: str = "", extra: dict[str, str] | None = None):
    def pack(folder: Path) -> Path:
        archive = folder.parent / "exam.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
            for path in sorted(folder.rglob("*")):
                bundle.write(path, f"{prefix}{path.relative_to(folder)}")
            for name, text in (extra or {}).items():
                bundle.writestr(name, text)
        return archive

    return pack


@damaged(ONE)
def zip_file(folder: Path, notebooks: Notebooks, file: str, *cells: str):
    """A zip in place of a folder."""
    return _zipped()


@damaged(ONE)
def zip_of_a_mac(folder: Path, notebooks: Notebooks, file: str, *cells: str):
    """A zip with one folder around everything and __MACOSX beside it."""
    return _zipped("my homework/", {f"__MACOSX/my homework/._{file}": "\0\5\26\7", "my homework/.DS_Store": "Bud1"})


@damaged(ONE, unreadable=True, cause="submission.unreadable", says="cannot be unpacked")
def zip_cut_off(folder: Path, notebooks: Notebooks, file: str, *cells: str):
    """An upload that broke off: nobody's zero, but could_not_grade."""

    def pack(folder: Path) -> Path:
        archive = _zipped()(folder)
        archive.write_bytes(archive.read_bytes()[:-4000])
        return archive

    return pack
