"""A machine with the libraries and nothing of the kit, on which the first cell of the notebooks is run; with a drive, if wanted."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat

REPO = Path(__file__).resolve().parents[2]

# takes the kit's own installation away, which no student has, and torchvision's import, which takes as long as torch's
BARE = 'import sys; sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in getattr(f, "__module__", type(f).__module__)]\n'
BARE += "sys.modules['torchvision'] = type(sys)('torchvision')\n"
# what a hosted machine imports before the notebook begins: mounting makes a folder, or is refused, as {mounting} says
DRIVE = """
import os, pathlib
real = os.path.ismount
def mount(mountpoint, force_remount=False):
    assert mountpoint == "/content/drive"
    {mounting}
    pathlib.Path({drive!r}).mkdir(parents=True, exist_ok=True)
    pathlib.Path({machine!r}, "drive").symlink_to(pathlib.Path({drive!r}).parent)
    os.path.ismount = lambda path: str(path) == {machine!r} + "/drive" or real(path)
"""
REFUSED = 'raise RuntimeError("Error: credential propagation was unsuccessful")'


def first_cell() -> str:
    """The cell as the notebooks have it."""
    notebook = nbformat.read(REPO / "notebooks" / "fcn" / "1_data.ipynb", as_version=4)
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code")


def make_zip(path: Path) -> Path:
    """An ``fcn.zip`` with the parts that the first cell needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as bundle:
        for file in sorted((REPO / "segkit").rglob("*.py")):
            if "reference" not in file.parts:
                bundle.write(file, f"fcn/segkit/{file.relative_to(REPO / 'segkit')}")
        for folder in ("splits", "sample"):
            for file in sorted((REPO / "data" / "facades" / folder).rglob("*")):
                bundle.write(file, f"fcn/data/{file.relative_to(REPO / 'data')}")
        for file in sorted((REPO / "notebooks" / "fcn").glob("*.*")):
            bundle.write(file, f"fcn/{file.name}")
    return path


def run_cell(folder: Path, tail: str = "", before: str = "") -> subprocess.CompletedProcess:
    """Run the first cell in a fresh Python that knows nothing of the repository, with code before and after it."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SEGKIT_DATA")}
    command = [sys.executable, "-c", "\n".join([BARE + before, first_cell(), tail])]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600)


def hosted(machine: Path, drive: Path, mounting: str = "", tail: str = "") -> subprocess.CompletedProcess:
    """Run the first cell on a fresh hosted machine.

    Args:
        machine: Folder where its kernels start.
        drive: Folder ``MyDrive``, which outlives the machine.
        mounting: What else mounting does: ``REFUSED``, for one.
        tail: Code after the cell.
    """
    machine.mkdir(exist_ok=True)
    code = DRIVE.format(mounting=mounting or "pass", machine=str(machine), drive=str(drive))
    modules = "import types; google, colab = types.ModuleType('google'), types.ModuleType('google.colab'); google.colab = colab\n"
    modules += "colab.drive = types.ModuleType('google.colab.drive'); google.__path__ = colab.__path__ = []\n"
    modules += f"exec({code!r}, vars(colab.drive))\n"
    modules += "sys.modules |= {'google': google, 'google.colab': colab, 'google.colab.drive': colab.drive}\n"
    return run_cell(machine, tail, modules)
