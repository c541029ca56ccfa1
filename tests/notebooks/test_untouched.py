"""What does a student see who runs a notebook as it was handed out, cell after cell?"""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder.release.notebooks import read_source, student_version, write_notebook
from tests.notebooks.conftest import NAMES, make_course

REPO = Path(__file__).resolve().parents[2]
RUN = """
import json, sys
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
for number, source in json.load(sys.stdin):
    print(f"=== {number}", flush=True)
    shell.run_cell(source, store_history=True)
"""
ASKS = re.compile(
    r"NotImplementedError: \w+(\.\w+)* is still to be written: fill in its cell, run it, then run this cell\."
    r"|NameError: \w+ is not there yet\. The cell under \".+\" makes it, by `.+`, and has not run to its end: run that cell first\."
    r"|UnfinishedError: \w+ is not finished yet: complete the cell in .+, then run this cell again\."
)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's folder as students unpack it."""
    home = make_course(tmp_path_factory.mktemp("course"))
    for path in (REPO / "notebooks" / "fcn").glob("*.ipynb"):
        write_notebook(home / path.name, student_version(read_source(path), path.name))
    return home


def run(folder: Path, cells: list[tuple[int, str]]) -> dict[int, str]:
    """Run cells in a fresh IPython, going on after errors: number -> what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=folder, input=json.dumps(cells), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {int(number): text for number, text in re.findall(r"=== (\d+)\n(.*?)(?==== |\Z)", done.stdout, re.DOTALL)}


def errors(printed: dict[int, str]) -> list[str]:
    return [line for text in printed.values() for line in text.splitlines() if re.match(r"\w+(Error|Exception|Fault)\b", line)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_that_cannot_run_names_what_to_write_or_to_run_and_shows_no_traceback(name, untouched, monkeypatch):
    monkeypatch.setenv("SEGKIT_QUICK", "1")
    monkeypatch.setenv("SEGKIT_DATA", "sample")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    cells = nbformat.read(untouched / name, as_version=4).cells
    printed = run(untouched, [(i, cell.source) for i, cell in enumerate(cells) if cell.cell_type == "code"])
    assert "Traceback" not in "".join(printed.values())
    assert errors(printed) and all(ASKS.fullmatch(line) for line in errors(printed)), errors(printed)
