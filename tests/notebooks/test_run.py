"""Do notebooks run top to bottom on the real facades, in quick mode? On the sample the tests of the browser run all of them."""

import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ON_FACADES = ("1_data.ipynb", "4_fcn8s.ipynb")  # what is seen of the pictures, and every network trained on them; 2 and 3 do no more


def run(path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> str:
    """Execute a notebook in its folder; return what it wrote on stdout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the notebook must find segkit by itself
    monkeypatch.setenv("SEGKIT_QUICK", "1")
    monkeypatch.setenv("SEGKIT_DATA", data)
    notebook = nbformat.read(path, as_version=4)
    started = time.time()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    print(f"{path.name}: {time.time() - started:.0f} s")
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_FACADES)
def test_notebook_runs_on_real_facades(name: str, course_folder: Path, cmp_root: Path, monkeypatch: pytest.MonkeyPatch):
    stdout = run(course_folder / name, monkeypatch, str(cmp_root))
    assert "[!!]" not in stdout
    assert "split base" in stdout or "split course" in stdout
