"""The course's notebooks, and a folder in which they run as students run them: away from the repository."""

import shutil
from pathlib import Path

import nbformat
import pytest

REPO = Path(__file__).resolve().parents[2]
FCN = REPO / "notebooks" / "fcn"
NAMES = ("1_data.ipynb", "2_fcn32s.ipynb", "3_pretraining.ipynb", "4_fcn8s.ipynb", "5_questions.ipynb")


@pytest.fixture(scope="session")
def notebooks() -> dict[str, nbformat.NotebookNode]:
    """The five notebooks as they are committed, by file name."""
    return {name: nbformat.read(FCN / name, as_version=4) for name in NAMES}


def make_course(folder: Path) -> Path:
    """Lay out ``fcn/`` as a release does, with solutions in place and without ``segkit.reference``."""
    home = folder / "fcn"
    ignore = shutil.ignore_patterns("reference", "__pycache__")
    shutil.copytree(REPO / "segkit", home / "segkit", ignore=ignore)
    for part in ("splits", "sample", "recorded"):
        shutil.copytree(REPO / "data" / "facades" / part, home / "data" / "facades" / part)
    for name in (*NAMES, "assignment.json"):
        shutil.copy(FCN / name, home)
    return home


@pytest.fixture(scope="session")
def course_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course in a folder with spaces in its name."""
    return make_course(tmp_path_factory.mktemp("my course, part 2"))
