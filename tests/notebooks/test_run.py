"""Do the notebooks run top to bottom in quick mode, and do all visible checks pass?"""

import os
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

# lines that a notebook's checks print at the least; fewer would mean that a check cell printed nothing
LINES = {"1_data.ipynb": 25, "2_fcn32s.ipynb": 22, "3_pretraining.ipynb": 9, "4_fcn8s.ipynb": 25, "5_questions.ipynb": 0}
NAMES = tuple(LINES)
ON_FACADES = ("1_data.ipynb", "4_fcn8s.ipynb")  # what is seen of the pictures, and every network trained on them; 2 and 3 do no more


def run(path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> tuple[str, str]:
    """Execute a notebook in its folder; return what it wrote on stdout and on stderr."""
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the notebook must find segkit by itself
    monkeypatch.setenv("SEGKIT_QUICK", "1")
    monkeypatch.setenv("SEGKIT_DATA", data)
    notebook = nbformat.read(path, as_version=4)
    started = time.time()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    streams = {name: "".join(o.text for o in outputs if o.get("name") == name) for name in ("stdout", "stderr")}
    if folder := os.environ.get("SEGKIT_KEEP_NOTEBOOKS"):
        nbformat.write(notebook, Path(folder) / path.name)
    print(f"{path.name}: {time.time() - started:.0f} s")
    return streams["stdout"], streams["stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_with_its_solutions(name: str, course_folder: Path, monkeypatch: pytest.MonkeyPatch):
    stdout, stderr = run(course_folder / name, monkeypatch, "sample")
    assert "[!!]" not in stdout
    assert stdout.count("[ok]") >= LINES[name] + 6, stdout  # six lines prove the environment
    assert str(course_folder / "segkit") in stdout
    assert stderr == ""
    assert not list(course_folder.glob("checkpoints/*")), "a quick run must not leave a model to hand in"


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_FACADES)
def test_notebook_runs_on_real_facades(name: str, course_folder: Path, cmp_root: Path, monkeypatch: pytest.MonkeyPatch):
    stdout, _ = run(course_folder / name, monkeypatch, str(cmp_root))
    assert "[!!]" not in stdout
    assert "split base" in stdout or "split course" in stdout
