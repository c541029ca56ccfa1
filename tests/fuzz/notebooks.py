"""Damaged hand-ins: reading, slicing, collecting and grading them keeps every promise that is made to students and staff."""

import contextlib
import copy
import functools
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nbformat

from autograder.course.rubric import read_rubric
from autograder.gradebook.copying import collect_folder
from autograder.gradebook.repair import Unreadable, repair
from autograder.handins.submission import SubmissionError, read_submission
from segkit.notebooks import Workbook, read_document
from segkit.notebooks.program import Program
from segkit.notebooks.reading import DocumentError

from .json_trees import dump, mutate_tree
from .python_sources import mutate_source
from .texts import mutate_text_file, mutate_zip

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "autograder"))  # beside the tests of the grader
import tiny

__all__ = ["check_grading", "check_reading", "check_zip", "damaged_notebook"]

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_RUBRIC = read_rubric(tiny.TINY / "rubric.toml")
FCN_RUBRIC = read_rubric(REPOSITORY / "autograder/assignments/fcn/rubric.toml")
WRONG = tiny.DOUBLE.replace("* 2", "+ 7")  # what it gives is never the double, whatever is cut off or doubled
HELPERS = "import numpy as np\n%matplotlib inline\nfactor = 2\n\ndef helper(x):\n    return factor * x\n"


def utf8(text: str) -> str:
    """Fail where a text cannot be written to a file or a terminal."""
    text.encode("utf-8")
    return text


@functools.cache
def _real_notebooks() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "notebooks/fcn").glob("*.ipynb"))}


def tiny_notebooks(double: str = tiny.DOUBLE) -> dict[str, dict[str, Any]]:
    """The two notebooks of a good hand-in (with another ``double`` on request), as trees."""
    output = {"output_type": "execute_result", "data": {"text/plain": "2", "text/html": "<b>2</b>"}, "metadata": {}, "execution_count": 1}
    first = [
        tiny.cell("# Doubles", kind="markdown"),
        tiny.cell(HELPERS) | {"outputs": [output], "id": "helpers"},
        tiny.cell(double, "double"),
    ]
    books = {"1_double.ipynb": first, "2_dots.ipynb": [tiny.cell(tiny.NET, "net") | {"id": "net"}]}
    return {name: {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells} for name, cells in books.items()}


def _as_format_3(rng: random.Random, tree: dict[str, Any]) -> dict[str, Any]:
    cells = []
    for cell in tree["cells"]:
        cells.append({**cell, "input": cell["source"]} if cell["cell_type"] == "code" else cell)
        if cell["cell_type"] == "code":
            del cells[-1]["source"]
    heading = {"cell_type": "heading", "level": rng.choice([1, 6, "2", 10**9, None, [], -3]), "source": "Title"}
    return {
        "nbformat": 3,
        "metadata": {},
        "worksheets": rng.choice([[{"cells": [heading, *cells]}], [{"cells": cells}, {"cells": 5}], [3]]),
    }


def damaged_notebook(rng: random.Random, tree: dict[str, Any], sources: float = 0.6, trees: float = 0.5) -> bytes:
    """Damage a notebook on each level: the Python of its cells, the tree of its JSON, the bytes of its file."""
    tree = copy.deepcopy(tree)
    for cell in tree["cells"]:
        if cell["cell_type"] == "code" and rng.random() > 1 - sources:
            cell["source"] = mutate_source(rng, "".join(cell["source"]))
    if rng.random() > 0.95:
        tree = _as_format_3(rng, tree)
    if rng.random() > 1 - trees:
        tree = mutate_tree(rng, tree, rng.choice([1, 1, 2, 6]))
    return mutate_text_file(rng, dump(rng, tree))


def _write_class(rng: random.Random, folder: Path) -> Any:
    """Write a damaged hand-in; returns the rubric that it belongs to."""
    if rng.random() > 0.85:
        name, text = rng.choice(list(_real_notebooks().items()))
        (folder / name).write_bytes(damaged_notebook(rng, json.loads(text), sources=0.1))
        return FCN_RUBRIC
    for name, tree in tiny_notebooks().items():
        if rng.random() > 0.1:
            (folder / name).write_bytes(damaged_notebook(rng, tree))
    if rng.random() > 0.8:
        (folder / "helper.py").write_bytes(mutate_text_file(rng, mutate_source(rng, HELPERS)))
    if rng.random() > 0.8:
        named = {"dots": {"sha256": "0" * 64, "bytes": 7, "where": "there"}}
        (folder / "checkpoints.json").write_bytes(mutate_text_file(rng, dump(rng, mutate_tree(rng, named))))
    return TINY_RUBRIC


def _read(path: Path, rubric: Any) -> None:
    """Read one hand-in, and hold what was read against what was promised."""
    try:
        submission = read_submission(path, "alice", rubric)
    except SubmissionError as error:
        utf8(str(error))
        return
    try:
        for note in submission.notes:
            assert len(utf8(note)) < 5000, f"a note of {len(note)} characters"
        for checkpoint in submission.checkpoints.values():
            utf8(checkpoint.problem + checkpoint.sha256)
        read = {document.name for document in submission.workbook.documents}
        for file in submission.folder.rglob("*.ipynb"):
            name = file.relative_to(submission.folder).as_posix()
            if file.is_file() and not file.is_symlink() and not name.startswith((".", "checkpoints/")):
                assert name in read or any(name in note for note in submission.notes), f"{name} was lost without a word"
        _slice(submission.workbook)
    finally:
        submission.close()
    if path.is_file():
        assert not submission.folder.exists(), "the unpacked copy is still there"


def _slice(workbook: Workbook) -> None:
    """Cut out every definition; its code must come from the cells, be no error, and cross the pipe unchanged."""
    cells = {cell.source for document in workbook.documents for cell in document.cells}
    for name in [*dict.fromkeys(workbook.cells.values()), "helper", "x"]:
        definition = workbook.find(name)
        if definition is None:
            continue
        assert definition.unfinished in (True, False)
        program = workbook.program(definition)
        own = [chunk for chunk in program.chunks if " cell " in chunk.label or chunk.label.endswith(".py")]
        assert own and all(chunk.source in cells for chunk in own), "code that stands in no cell"
        assert len(program.digest) == 64 and Program.from_json(json.loads(json.dumps(program.to_json()))) == program
        for note in (*program.notes, definition.where):
            utf8(note)


def check_reading(rng: random.Random, folder: Path) -> None:
    """Folders: every notebook is read or named in a note; nothing else than the documented errors gets out."""
    rubric = _write_class(rng, folder)
    for path in folder.glob("*.ipynb"):
        _repair(path, rubric)
    _read(folder, rubric)
    if rubric is TINY_RUBRIC:
        handed_out = {name: nbformat.from_dict(tree) for name, tree in tiny_notebooks().items()}
        collected = collect_folder(folder, folder.parent / f"{folder.name}-clean" / "alice", handed_out)
        try:
            for note in collected.notes:
                utf8(note)
            for path in collected.target.rglob("*.ipynb"):
                nbformat.validate(nbformat.read(path, as_version=4))
        finally:
            with contextlib.suppress(OSError):
                _remove(collected.target.parent)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def _repair(path: Path, rubric: Any) -> None:
    """The repaired notebook is valid, can be written, and holds the code that the grader reads in the damaged one."""
    try:
        document = read_document(path, None, frozenset(rubric.defines))
    except DocumentError as error:
        assert path.name in utf8(str(error)) and len(str(error)) < 1000
        document = None
    try:
        notebook, notes = repair(path)
    except Unreadable as error:
        assert path.name in utf8(str(error)) and document is None, f"read by the grader, refused by collect: {error}"
        return
    assert document is not None, "read by collect, refused by the grader"
    nbformat.validate(notebook)
    target = path.with_suffix(".repaired")
    nbformat.write(notebook, target)
    target.unlink()
    assert all(utf8(note) for note in notes)


def check_zip(rng: random.Random, folder: Path) -> None:
    """Zips: nothing lands outside, nothing stays behind, what cannot be unpacked is told."""
    files = {name: damaged_notebook(rng, tree, 0.1, 0.1) for name, tree in tiny_notebooks().items()}
    files |= {"checkpoints/dots.safetensors": b"\0" * 40, "helper.py": HELPERS.encode()}
    if rng.random() > 0.7:
        files = {f"fcn/{name}": data for name, data in files.items()}
    area = folder / "area"
    area.mkdir()
    archive = area / "alice.zip"
    archive.write_bytes(mutate_zip(rng, files))
    temporary, tempfile.tempdir = tempfile.tempdir, str(area)
    try:
        _read(archive, TINY_RUBRIC)
    finally:
        tempfile.tempdir = temporary
    assert [path.name for path in area.iterdir()] == ["alice.zip"], f"left behind: {sorted(p.name for p in area.iterdir())}"
    outside = [Path("/tmp/segkit-fuzz-outside.txt"), folder / "outside.txt"]
    assert not any(path.exists() for path in outside), "written outside of its folder"
    assert zipfile.is_zipfile(archive) or True


@functools.cache
def _run() -> Any:
    return tiny.open_run(Path(tempfile.mkdtemp(prefix="segkit-fuzz-out-")))


def check_grading(rng: random.Random, folder: Path) -> None:
    """Points: a wrong answer stays wrong whatever happens to its file, and no damage is ever the grader's fault."""
    import autograder.judge.grade

    autograder.judge.grade.RemoteSubject = tiny.InProcess
    wrong = rng.random() > 0.5
    trees = tiny_notebooks(WRONG if wrong else tiny.DOUBLE)
    damaged = rng.choice(["1_double.ipynb", "2_dots.ipynb"])
    for name, tree in trees.items():
        intact = json.dumps(tree).encode()
        (folder / name).write_bytes(damaged_notebook(rng, tree) if name == damaged else intact)
    result = tiny.grade(_run(), folder)
    for name, check in result["checks"].items():
        utf8(check["message"])
        if name in ("question", "net.accuracy"):
            continue
        assert check["status"] in ("earned", "partial", "not_earned"), f"{name}: {check['status']}: {check['message']}"
        assert 0 <= check["points"] <= check["max_points"]
        assert check["points"] == check["max_points"] or check["message"], f"{name} lost points without a word"
    double, net = result["checks"]["double"], result["checks"]["net.forward"]
    if wrong:
        assert double["points"] <= 1, f"a wrong answer earned {double['points']}: {double['message']}"  # 1 is for the dtype alone
    if damaged == "1_double.ipynb":
        assert net["status"] == "earned", f"an intact notebook lost points: {net['message']}"
    elif not wrong:
        assert double["status"] == "earned", f"an intact notebook lost points: {double['message']}"
    text = json.dumps(result | {"checks": list(result["checks"].values())}, ensure_ascii=False)
    utf8(text)
