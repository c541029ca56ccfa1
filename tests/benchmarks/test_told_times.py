"""Is every time that a text promises to students one that the script measures, and does the script measure?"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = [
    *sorted((ROOT / "notebooks").glob("*/*.ipynb")), *sorted((ROOT / "autograder" / "assignments").glob("*/release/*.md")),
    *sorted((ROOT / "autograder" / "release" / "passages").glob("*.md")), ROOT / "docs" / "students.md",
]  # fmt: skip


@pytest.fixture
def told_times(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import told_times

    return told_times


def prose(path: Path) -> str:
    """A text in one line; of a notebook, what students get of its Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell.source for cell in nbformat.reads(text, 4).cells if cell.cell_type == "markdown"]
        text = "\n\n".join(source for source in cells if "BEGIN MARK SCHEME" not in source)
    return " ".join(text.split())


def test_every_promise_stands_in_its_text_in_just_these_words(told_times):
    assert [told.sentence for told in told_times.TOLD if told.sentence not in prose(ROOT / told.file)] == []


@pytest.mark.parametrize("path", READ, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_time_stands_in_what_students_read(told_times, path):
    text, file = prose(path), path.relative_to(ROOT).as_posix()
    known = [told.sentence for told in told_times.TOLD if told.file == file] + [
        one for some in told_times.ELSEWHERE.values() for one in some
    ]
    for words in known:
        text = text.replace(words, "")
    assert re.findall(r".{0,60}\b(?:seconds|minutes?|hours?)\b.{0,30}", text) == [], "measure it in benchmarks/told_times.py, or drop it"


def test_nothing_is_listed_that_no_text_says(told_times):
    everything = " ".join(map(prose, READ))
    assert [words for some in told_times.ELSEWHERE.values() for words in some if words not in everything] == []


def test_what_is_run_has_its_variables_for_itself(told_times, tmp_path):
    """What comes after it is measured as if it came first: with the release's own kit, and in the mode of its own."""
    seen = "open('seen', 'a').write(' '.join(os.environ.get(name, '-') for name in ('SEGKIT_QUICK', 'SEGKIT_DATA', 'PYTHONPATH')))"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"import os; {seen}")]), tmp_path / "a.ipynb")
    before = dict(os.environ)
    told_times.notebook(tmp_path / "a.ipynb")
    told_times.command("-c", f"import os; {seen}", folder=tmp_path, PYTHONPATH="/kit")
    assert os.environ == before
    words = [before.get(name, "-") for name in ("PYTHONPATH", "SEGKIT_QUICK", "SEGKIT_DATA")]
    assert (tmp_path / "seen").read_text() == f"1 sample {words[0]}{words[1]} {words[2]} /kit"


@pytest.mark.slow
def test_a_notebook_is_run_and_its_cells_are_held_against_what_is_told(tmp_path):
    command = [sys.executable, "benchmarks/told_times.py", "--only", "fcn/5_questions", "--out", str(tmp_path / "told.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    written = json.loads((tmp_path / "told.json").read_text())
    (promise,) = written["promises"]
    cells = written["runs"]["notebooks/fcn/5_questions.ipynb"]
    assert set(cells) >= {"show-environment", "show-work", "submit-run"}
    assert promise["wall"] == pytest.approx(sum(cell["wall"] for cell in cells.values())) and promise["core"] > 0.2
    assert "5_questions.ipynb: the cells take seconds" in done.stdout
