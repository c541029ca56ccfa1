"""Damaged submissions: what tools and accidents do to honest work. It keeps its points, and the notes say what was repaired."""

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

DATA = ("read_label", "confusion_matrix", "scores")
ONE = ("read_label",)  # where a file, an archive or a folder is damaged: the same for every definition in it
FILE = "1_data.ipynb"
ENTRIES, damaged = entry_list("damaged")


def _cells(notebooks: Notebooks) -> list[dict]:
    return notebooks[FILE]["cells"]


def _nbgrader(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def _code(source: str, **metadata: Any) -> dict:
    return {"cell_type": "code", "metadata": metadata, "execution_count": None, "outputs": [], "source": source}


def _write(folder: Path, notebooks: Notebooks, encoding: str = "utf-8", name: str = FILE, **changes: str) -> None:
    """Write notebook 1 in another way, and take it off the list of what is still to be written."""
    text = json.dumps(notebooks.pop(FILE), ensure_ascii=False, indent=1)
    for old, new in changes.items():
        text = text.replace({"newline": "\n"}[old], new)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


# ---------------------------------------------------------------------------------------------------------- cells
@damaged(DATA)
def deleted_test_cells(folder: Path, notebooks: Notebooks) -> None:
    """Every graded test cell is deleted."""
    _cells(notebooks)[:] = [c for c in _cells(notebooks) if not _nbgrader(c).get("grade")]


@damaged(DATA)
def deleted_everything_but_solutions(folder: Path, notebooks: Notebooks) -> None:
    """Only the three solution cells are left."""
    _cells(notebooks)[:] = [c for c in _cells(notebooks) if _nbgrader(c).get("solution")]


@damaged(DATA, lost={"read_label": "all"}, cause="code.missing",
         says=["read_label was not found", "the cell with grade id 'read_label' is missing"],
         note="no cell with the grade id read_label")  # fmt: skip
def deleted_solution_cell(folder: Path, notebooks: Notebooks) -> None:
    """A solution cell is deleted: its check is lost, and no other."""
    _cells(notebooks)[:] = [c for c in _cells(notebooks) if _nbgrader(c).get("grade_id") != "read_label"]


@damaged(DATA, note="confusion_matrix is defined 2 times: the last one counts")
def duplicated_solution_cell(folder: Path, notebooks: Notebooks) -> None:
    """A solution cell was copied, grade id and all."""
    notebook, position = solution_cell(notebooks, "confusion_matrix")
    notebook["cells"].insert(position + 1, copy.deepcopy(notebook["cells"][position]))


@damaged(DATA)
def stub_below_the_solution(folder: Path, notebooks: Notebooks) -> None:
    """An untouched copy of the stub lies below the answer: the finished one counts."""
    notebook, position = solution_cell(notebooks, "scores")
    stub = copy.deepcopy(notebook["cells"][position])
    stub["source"] = "def scores(hist):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    notebook["cells"].insert(position + 1, stub)


@damaged(DATA, note="scores is defined 2 times: the last one counts")
def wrong_attempt_above_the_right_one(folder: Path, notebooks: Notebooks) -> None:
    """A first wrong attempt stands above: the last counts, as on a top-to-bottom run."""
    notebook, position = solution_cell(notebooks, "scores")
    attempt = copy.deepcopy(notebook["cells"][position])
    attempt["source"] = "def scores(hist):\n    return 1.0, hist.diagonal(), 1.0"
    notebook["cells"].insert(position, attempt)


@damaged(DATA, note="a markdown cell now; it was read as code")
def solution_retyped_to_markdown(folder: Path, notebooks: Notebooks) -> None:
    """A code cell became a text cell by a slip of the keyboard (M)."""
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["cell_type"] = "markdown"


@damaged(DATA, note="a raw cell now; it was read as code")
def solution_retyped_to_raw(folder: Path, notebooks: Notebooks) -> None:
    """A code cell became a raw cell (R)."""
    notebook, position = solution_cell(notebooks, "read_label")
    notebook["cells"][position]["cell_type"] = "raw"


@damaged(DATA)
def cells_reversed(folder: Path, notebooks: Notebooks) -> None:
    """All cells in reverse order."""
    _cells(notebooks).reverse()


@damaged(DATA)
def cells_rotated(folder: Path, notebooks: Notebooks) -> None:
    """The first ten cells were moved to the end."""
    cells = _cells(notebooks)
    cells[:] = cells[10:] + cells[:10]


@damaged(DATA)
def solution_split_in_two(folder: Path, notebooks: Notebooks) -> None:
    """The cell was split: the imports kept the grade id, the function lost it."""
    notebook, position = solution_cell(notebooks, "read_label")
    cell = notebook["cells"][position]
    imports, _, function = cell["source"].partition("\n\n\n")
    cell["source"] = imports
    notebook["cells"].insert(position + 1, _code(function))


@damaged(DATA)
def solutions_merged(folder: Path, notebooks: Notebooks) -> None:
    """Two solution cells were merged into the first."""
    notebook, position = solution_cell(notebooks, "confusion_matrix")
    other, place = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] += "\n\n\n" + other["cells"][place]["source"]
    del other["cells"][place]


@damaged(DATA)
def all_cells_merged_into_one(folder: Path, notebooks: Notebooks) -> None:
    """The whole notebook is one code cell without metadata."""
    sources = [c["source"] for c in _cells(notebooks) if c["cell_type"] == "code"]
    _cells(notebooks)[:] = [_code("\n\n".join(sources))]


@damaged(DATA)
def grade_ids_changed(folder: Path, notebooks: Notebooks) -> None:
    """Somebody renamed every grade id."""
    for number, cell in enumerate(_cells(notebooks)):
        if _nbgrader(cell):
            cell["metadata"]["nbgrader"]["grade_id"] = f"cell-{number:04x}"


@damaged(DATA)
def grade_ids_exchanged(folder: Path, notebooks: Notebooks) -> None:
    """Two solution cells carry each other's grade id: definitions are found by name then."""
    notebook, first = solution_cell(notebooks, "confusion_matrix")
    _, second = solution_cell(notebooks, "scores")
    a, b = notebook["cells"][first]["metadata"], notebook["cells"][second]["metadata"]
    a["nbgrader"]["grade_id"], b["nbgrader"]["grade_id"] = "scores", "confusion_matrix"


@damaged(ONE)
def points_changed(folder: Path, notebooks: Notebooks) -> None:
    """Points in the metadata are no evidence: the rubric's count."""
    for cell in _cells(notebooks):
        if _nbgrader(cell).get("grade"):
            cell["metadata"]["nbgrader"]["points"] = 1000


@damaged(DATA)
def import_cells_deleted(folder: Path, notebooks: Notebooks) -> None:
    """The import lines are gone: the usual ones are filled in, and a note says so."""
    for cell in _cells(notebooks):
        if cell["cell_type"] == "code":
            lines = cell["source"].split("\n")
            cell["source"] = "\n".join(line for line in lines if not line.startswith(("import ", "from ")))


@damaged(DATA)
def metadata_of_another_form(folder: Path, notebooks: Notebooks) -> None:
    """nbgrader's metadata is null, a list, a text."""
    values: list[Any] = [None, [], "solution", 3, {"grade_id": 7}]
    for cell, value in zip(_cells(notebooks), values * 20, strict=False):
        cell["metadata"]["nbgrader"] = value


@damaged(DATA)
def cells_of_another_form(folder: Path, notebooks: Notebooks) -> None:
    """Cells without source, without metadata, of an unknown type, no dicts at all."""
    strange: list[Any] = [{}, {"cell_type": "code"}, {"cell_type": "chart", "source": 3, "metadata": None}, None, []]
    _cells(notebooks)[0:0] = strange


@damaged(DATA)
def magics_everywhere(folder: Path, notebooks: Notebooks) -> None:
    """Magics, shell lines and questions among the code."""
    for grade_id in ("read_label", "confusion_matrix", "scores"):
        notebook, position = solution_cell(notebooks, grade_id)
        cell = notebook["cells"][position]
        cell["source"] = f"%load_ext autoreload\n!pip install -q numpy\nnp.array?\n{cell['source']}\n%timeit 1 + 1\nfiles = !ls"


@damaged(DATA)
def cell_magic_on_top(folder: Path, notebooks: Notebooks) -> None:
    """%%time above a solution."""
    notebook, position = solution_cell(notebooks, "read_label")
    notebook["cells"][position]["source"] = "%%time\n" + notebook["cells"][position]["source"]


@damaged(ONE, note="1_data.ipynb, cell")
def syntax_error_in_another_cell(folder: Path, notebooks: Notebooks) -> None:
    """A cell of notes that are no Python, above everything."""
    _cells(notebooks).insert(0, _code("todo: ask about the palette (!!"))


# -------------------------------------------------------------------------------------------------- tools and editors
@damaged(DATA, note="no cell with the grade id")
def colab_round_trip(folder: Path, notebooks: Notebooks) -> None:
    """Colab strips foreign metadata, gives cells ids of its own, and renames the kernel."""
    for name, notebook in notebooks.items():
        notebook["metadata"] = {"colab": {"provenance": [], "name": name, "gpuType": "T4"}, "accelerator": "GPU",
                                "kernelspec": {"name": "python3", "display_name": "Python 3"}}  # fmt: skip
        notebook["nbformat_minor"] = 0
        for number, cell in enumerate(notebook["cells"]):
            cell["metadata"] = {"id": f"aB3{number:09d}"}
            cell.pop("id", None)


@damaged(ONE)
def vs_code_round_trip(folder: Path, notebooks: Notebooks) -> None:
    """VS Code keeps metadata, writes sources as lines, and another kernel."""
    for notebook in notebooks.values():
        notebook["metadata"] = {"kernelspec": {"display_name": ".venv", "language": "python", "name": "python3"},
                                "language_info": {"name": "python", "version": "3.12.4"}, "orig_nbformat": 4}  # fmt: skip
        for cell in notebook["cells"]:
            cell["metadata"]["vscode"] = {"languageId": "python"}
            cell["source"] = cell["source"].splitlines(keepends=True)


@damaged(DATA, note="notebook format 3")
def notebook_format_3(folder: Path, notebooks: Notebooks) -> None:
    """Saved by an old tool: worksheets, `input` in place of `source`."""
    notebook = notebooks[FILE]
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            old = {"input": cell["source"], "language": "python", "outputs": [], "metadata": cell["metadata"]}
            cells.append({"cell_type": "code", **old})
        else:
            cells.append({"cell_type": "markdown", "source": cell["source"], "metadata": cell["metadata"]})
    notebooks[FILE] = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells, "metadata": {}}]}


@damaged(ONE)
def outputs_left_in(folder: Path, notebooks: Notebooks) -> None:
    """Megabytes of pictures and a traceback in the outputs."""
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo" * 40_000}, "metadata": {}}
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["\x1b[31mValueError\x1b[0m: no"]}
    for number, cell in enumerate(_cells(notebooks)):
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [picture, error], number


@damaged(ONE)
def kernelspec_changed(folder: Path, notebooks: Notebooks) -> None:
    """Another kernel, another language in the metadata."""
    notebooks[FILE]["metadata"] = {"kernelspec": {"name": "conda-env-dl-py", "language": "R", "display_name": "dl"}}


@damaged(DATA)
def metadata_gone(folder: Path, notebooks: Notebooks) -> None:
    """No metadata at all, neither of the notebook nor of cells."""
    notebooks[FILE].pop("metadata")
    for cell in _cells(notebooks):
        cell.pop("metadata")
        cell.pop("id", None)


@damaged(ONE)
def line_ends_of_windows(folder: Path, notebooks: Notebooks) -> None:
    """CRLF in the file."""
    _write(folder, notebooks, newline="\r\n")


@damaged(DATA)
def line_ends_of_windows_in_the_cells(folder: Path, notebooks: Notebooks) -> None:
    """CRLF in the sources of the cells."""
    for cell in _cells(notebooks):
        cell["source"] = cell["source"].replace("\n", "\r\n")


@damaged(ONE)
def byte_order_mark(folder: Path, notebooks: Notebooks) -> None:
    """UTF-8 with a byte order mark."""
    _write(folder, notebooks, encoding="utf-8-sig")


@damaged(ONE)
def utf_16(folder: Path, notebooks: Notebooks) -> None:
    """Saved as "Unicode" by an editor of Windows."""
    _write(folder, notebooks, encoding="utf-16")


@damaged(ONE)
def latin_1_comment(folder: Path, notebooks: Notebooks) -> None:
    """A comment with an umlaut in Latin-1."""
    for cell in _cells(notebooks):
        cell["source"] = cell["source"].encode("ascii", "ignore").decode()
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] += "\n# für später"
    _write(folder, notebooks, encoding="latin-1")


@damaged(DATA)
def tabs_for_spaces(folder: Path, notebooks: Notebooks) -> None:
    """Indented with tabs."""
    for cell in _cells(notebooks):
        if cell["cell_type"] == "code":
            cell["source"] = cell["source"].replace("    ", "\t")


# --------------------------------------------------------------------------------------------------------------- files
@damaged(ONE, note="not among the files: 1_data.ipynb")
def notebook_renamed(folder: Path, notebooks: Notebooks) -> None:
    """The browser's name for a second download."""
    _write(folder, notebooks, name="1_data (1).ipynb")


@damaged(ONE)
def notebook_renamed_with_a_name(folder: Path, notebooks: Notebooks) -> None:
    """A name with spaces, letters and a student's name in it."""
    _write(folder, notebooks, name="Übung 1 – Müller, Zoë (final FINAL).ipynb")


@damaged(DATA, note="has the same cells as 1_data.ipynb")
def older_copy_beside(folder: Path, notebooks: Notebooks) -> None:
    """A copy with a wrong answer lies beside: the original name counts."""
    other = copy.deepcopy(notebooks[FILE])
    notebook, position = solution_cell({"other": other}, "scores")
    notebook["cells"][position]["source"] = "def scores(hist):\n    return 0, 0, 0"
    (folder / "1_data-Copy1.ipynb").write_text(json.dumps(other), encoding="utf-8")


@damaged(ONE)
def checkpoint_folder_of_jupyter(folder: Path, notebooks: Notebooks) -> None:
    """.ipynb_checkpoints holds an old stub."""
    place = folder / ".ipynb_checkpoints"
    place.mkdir()
    cells = [_code("def scores(hist):\n    raise NotImplementedError()")]
    (place / "1_data-checkpoint.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}), encoding="utf-8")


@damaged(ONE, note="5_questions.ipynb: no readable notebook")
def another_notebook_cut_off(folder: Path, notebooks: Notebooks) -> None:
    """One notebook is truncated: the others are graded."""
    text = json.dumps(notebooks.pop("5_questions.ipynb"))
    (folder / "5_questions.ipynb").write_text(text[: len(text) // 2], encoding="utf-8")


@damaged(DATA, lost=dict.fromkeys(DATA, "all"), cause="code.missing", says="was not found", note="not among the files: 1_data.ipynb")
def notebook_missing(folder: Path, notebooks: Notebooks) -> None:
    """A notebook was not handed in: its checks are lost, and the notes say which file is missing."""
    del notebooks[FILE]


@damaged(ONE, unreadable=True, cause="submission.no_notebook", says=("only readme.txt", "Expected 1_data.ipynb"))
def empty_folder(folder: Path, notebooks: Notebooks) -> None:
    """Nothing but a text file: nobody's zero, but could_not_grade."""
    notebooks.clear()
    (folder / "readme.txt").write_text("see my e-mail", encoding="utf-8")


@damaged(DATA, note="not among the files")
def one_big_notebook(folder: Path, notebooks: Notebooks) -> None:
    """All five notebooks in one, in last year's manner."""
    cells = [cell for notebook in notebooks.values() for cell in notebook["cells"]]
    notebooks.clear()
    notebooks["assignment3.ipynb"] = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@damaged(DATA)
def scripts_in_place_of_notebooks(folder: Path, notebooks: Notebooks) -> None:
    """Exported as .py files."""
    for name in list(notebooks):
        code = [cell["source"] for cell in notebooks.pop(name)["cells"] if cell["cell_type"] == "code"]
        (folder / name.replace(".ipynb", ".py")).write_text("\n\n".join(code), encoding="utf-8")


@damaged(ONE)
def nested_folders(folder: Path, notebooks: Notebooks) -> None:
    """The work lies three folders down."""
    place = folder / "Downloads" / "dl course" / "fcn"
    place.mkdir(parents=True)
    for name in list(notebooks):
        (place / name).write_text(json.dumps(notebooks.pop(name)), encoding="utf-8")


@damaged(ONE)
def whole_release_handed_in(folder: Path, notebooks: Notebooks) -> None:
    """segkit/, data/ and an environment lie beside the notebooks: they are not searched."""
    for path in ("segkit/facades.py", "segkit/checks/__init__.py", "data/label_names.txt", "venv/lib/site.py"):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("def scores(hist):\n    return 0, 0, 0\n", encoding="utf-8")
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
def zip_file(folder: Path, notebooks: Notebooks):
    """A zip in place of a folder."""
    return _zipped()


@damaged(ONE)
def zip_of_a_mac(folder: Path, notebooks: Notebooks):
    """A zip with one folder around everything and __MACOSX beside it."""
    return _zipped("my homework/", {"__MACOSX/my homework/._1_data.ipynb": "\0\5\26\7", "my homework/.DS_Store": "Bud1"})


@damaged(ONE, unreadable=True, cause="submission.unreadable", says="cannot be unpacked")
def zip_cut_off(folder: Path, notebooks: Notebooks):
    """An upload that broke off: nobody's zero, but could_not_grade."""

    def pack(folder: Path) -> Path:
        archive = _zipped()(folder)
        archive.write_bytes(archive.read_bytes()[:-4000])
        return archive

    return pack


@damaged(("pretraining.copy", "read_label"))
def fcn32s_missing_but_copy_right(folder: Path, notebooks: Notebooks) -> None:
    """The copy is tried on a carrier where FCN32s cannot be built."""
    notebook, position = solution_cell(notebooks, "fcn32s")
    notebook["cells"][position]["source"] = "class FCN32s:\n    pass"
