"""Proof that a finished release works: stubs parse, nothing is missing, the edition runs without this repository."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.course.numbers import check_id_of

__all__ = ["parsed_cell", "verify_edition", "verify_notebooks"]

IMPORT_SECONDS = 180
LINK = re.compile(r"""(?:\]\(\s*<?|\bsrc=["']?)([^\s"'<>()]+)""")  # of Markdown, and of pictures in HTML
CODE = re.compile(r"(`+).*?\1|\$[^$]*\$", re.DOTALL)

# Runs in a process of its own, isolated (-I: no PYTHONPATH, no user site, no working folder). Takes the repository off
# the path, the finders of an editable installation included, and imports every module of the release.
PROBE = r"""
import importlib, importlib.util, os, sys
from pathlib import Path
folder, repositories = Path(sys.argv[1]).resolve(), {Path(p).resolve() for p in sys.argv[2:]}
sys.dont_write_bytecode = True
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in getattr(f, "__module__", type(f).__module__)]
others = [p for p in sys.path if p and "__editable__" not in p and Path(p).resolve() not in repositories]
sys.path[:] = [str(folder), *others]
os.chdir(folder)
faults = []
for path in sorted((folder / "segkit").rglob("*.py")):
    parts = path.relative_to(folder).with_suffix("").parts
    if parts[-1] == "__main__":
        continue
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        faults.append(f"segkit/{path.relative_to(folder / 'segkit').as_posix()}: {type(error).__name__}: {error}")
        continue
    if not Path(module.__file__).resolve().is_relative_to(folder):
        faults.append(f"{name} was imported from {module.__file__}, not from the release")
for name in ("segkit.reference", "autograder"):
    if importlib.util.find_spec(name) is not None:
        faults.append(f"{name} can be imported beside the release")
print("\n".join(faults))
sys.exit(1 if faults else 0)
"""


def verify_notebooks(sources: dict[str, NotebookNode], folder: Path, checks: dict[str, float] | None) -> list[str]:
    """Check the notebooks of a finished release against their sources and the rubric.

    Args:
        sources: file name -> source notebook.
        folder: the release.
        checks: points by check id of the rubric, or None where there is none.

    Returns:
        Faults in plain words; empty means good.
    """
    faults: list[str] = []
    graded: dict[str, tuple[str, float]] = {}
    for name, source in sources.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: missing in the release")
            continue
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        faults += [f"{name}, {fault}" for fault in [*_code_faults(notebook, folder), *_link_faults(notebook, folder)]]
        wanted, found = _grade_ids(source), _grade_ids(notebook)
        faults += [f"{name}: the cell {grade_id} got lost" for grade_id in wanted if grade_id not in found]
        graded |= {grade_id: (name, points) for grade_id, points in found.items() if points is not None}
    return faults + _rubric_faults(graded, checks)


def parsed_cell(cell: NotebookNode) -> list[ast.stmt]:
    """Statements of a code cell, its magics turned into calls as IPython does. Raises SyntaxError."""
    from IPython.core.inputtransformer2 import TransformerManager

    return ast.parse(TransformerManager().transform_cell(cell.source)).body


def _code_faults(notebook: NotebookNode, folder: Path) -> list[str]:
    """Cells that do not parse, or import what neither this machine nor the release has."""
    faults = []
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        try:
            body = parsed_cell(cell)
        except SyntaxError as error:
            faults.append(f"cell {number}, line {error.lineno}: the stub does not parse: {error.msg}")
            continue
        absent = [name for name in _imported(body) if importlib.util.find_spec(name) is None and not (folder / name).exists()]
        faults += [f"cell {number}: it imports {name}, which is not installed here (`dependencies` of pyproject.toml)" for name in absent]
    return faults


def _imported(body: list[ast.stmt]) -> list[str]:
    """Packages that a cell imports in any case: not within a condition, such as whether it runs on Colab."""
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in body if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _link_faults(notebook: NotebookNode, folder: Path) -> list[str]:
    """Texts that point to files beside the source notebook: a release holds none of these."""
    return [
        f"cell {number}: it points to {link!r}, which is not in the release; drag a picture into the cell, or give a web address"
        for number, cell in enumerate(notebook.cells, start=1) if cell.cell_type == "markdown"
        for link in dict.fromkeys(LINK.findall(CODE.sub("", cell.source)))
        if not re.match(r"[a-z][a-z0-9+.-]*:|[#/]", link, re.IGNORECASE) and not (folder / unquote(link.partition("#")[0])).exists()
    ]  # fmt: skip


def _grade_ids(notebook: NotebookNode) -> dict[str, float | None]:
    """Grade id -> points (None for cells that carry none)."""
    found: dict[str, float | None] = {}
    for cell in notebook.cells:
        own = cell.metadata.get("nbgrader")
        if own and "grade_id" in own:
            found[own["grade_id"]] = float(own["points"]) if own.get("grade") else None
    return found


def _rubric_faults(graded: dict[str, tuple[str, float]], checks: dict[str, float] | None) -> list[str]:
    if checks is None:
        return []
    faults = []
    seen = {}
    for grade_id, (name, points) in graded.items():
        check = check_id_of(grade_id, checks)
        if check is None:
            faults.append(f"{name}: the graded cell {grade_id} belongs to no check of the rubric; there is: {', '.join(checks)}")
        elif points != checks[check]:
            faults.append(f"{name}: the cell {grade_id} is worth {points:g} points, the check {check} {checks[check]:g}")
        seen[check] = grade_id
    absent = [check for check in checks if check not in seen]
    return faults + [f"the check {c} of the rubric has no graded cell; make one with the grade id {c.replace('.', '-')}" for c in absent]


def verify_edition(folder: Path, repositories: list[Path]) -> list[str]:
    """Import the whole student edition in a clean process that cannot see this repository.

    Args:
        folder: the release.
        repositories: folders whose packages must not be importable there.

    Returns:
        Faults in plain words; empty means good.
    """
    if not (folder / "segkit").is_dir():
        return []
    folder, repositories = folder.resolve(), [path.resolve() for path in repositories]  # the process runs in another folder
    environment = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
    environment |= {"MPLBACKEND": "Agg", "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", ""), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-B", "-c", PROBE, str(folder), *map(str, repositories)]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        return [f"the student edition was not imported within {IMPORT_SECONDS} s"]
    if done.returncode == 0:
        return []
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return lines or [f"importing the student edition ended with code {done.returncode}: {done.stderr.strip()[-400:]}"]
