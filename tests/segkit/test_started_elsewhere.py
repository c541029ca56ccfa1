"""VS Code starts kernels in the folder that is opened, at home, or where a server runs. Does the notebook's own folder count?"""

import shutil
from pathlib import Path

import pytest
from bare_machine import make_zip, run_cell

TAIL = "import segkit; print('WORK', kit.work); print('KIT', segkit.__file__); print(kit.split)"
ELSEWHERE = "all notebooks lie in the work folder: open them there"


def started(folder: Path, notebook: Path, tail: str = TAIL) -> tuple[str, dict[str, str]]:
    """Run the first cell as VS Code does, which names the notebook: what it printed, and the paths in it."""
    done = run_cell(folder, tail, f"__vsc_ipynb_file__ = {str(notebook)!r}\n")
    assert done.returncode == 0, done.stderr
    return done.stdout, dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("WORK ", "KIT ")))


@pytest.fixture
def release(tmp_path) -> Path:
    make_zip(tmp_path / "fcn.zip")
    shutil.unpack_archive(tmp_path / "fcn.zip", tmp_path / "opened" / "uni" / "dl")
    (tmp_path / "fcn.zip").unlink()
    return tmp_path / "opened" / "uni" / "dl" / "fcn"


@pytest.mark.parametrize("above", [1, 2])
def test_a_kernel_above_the_notebook_works_beside_it_and_sends_nobody_elsewhere(above, release):
    """The cell is run twice, as after a change."""
    again = f"from segkit.lab import kit; {TAIL}"
    printed, paths = started(release.parents[above], release / "1_data.ipynb", again)
    assert paths["WORK"] == str(release) and ELSEWHERE not in printed and "[!!]" not in printed


def test_the_kit_beside_the_notebook_serves_where_the_cell_comes_upon_another_first(release):
    """Last year's release, in a folder that comes before this year's."""
    last = release.parents[1] / "a" / "fcn"
    shutil.copytree(release, last)
    _, paths = started(release.parents[2], release / "1_data.ipynb")
    assert paths == {"WORK": str(release), "KIT": str(release / "segkit" / "__init__.py")}
    _, paths = started(release.parents[2], last / "1_data.ipynb")
    assert paths == {"WORK": str(last), "KIT": str(last / "segkit" / "__init__.py")}


def test_a_notebook_on_another_machine_than_the_kernel_does_not_count(release):
    printed, paths = started(release.parents[2], Path("/Users/ada/fcn/1_data.ipynb"))
    assert paths["WORK"] == str(release) and ELSEWHERE in printed


def test_a_process_that_is_started_anew_finds_the_same_kit(release):
    """As Windows and macOS start the workers of a data loader: nothing is inherited but the list of folders."""
    tail = """
import inspect, multiprocessing
from concurrent.futures import ProcessPoolExecutor
from segkit.training import TrainConfig
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    print("KIT", pool.submit(inspect.getfile, TrainConfig).result())
"""
    _, paths = started(release.parents[2], release / "1_data.ipynb", tail)
    assert paths["KIT"] == str(release / "segkit" / "training" / "recipes.py")
