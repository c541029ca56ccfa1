"""The release as students get it: zipped, unpacked into a folder of their own, and opened in JupyterLab."""

import shutil
from pathlib import Path

import pytest
from course_release import release_zip


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``fcn.zip``, built without trying the reference on it."""
    return release_zip(tmp_path_factory.mktemp("release"))


@pytest.fixture
def course(release: Path, tmp_path: Path) -> Path:
    """The unpacked release, in a folder whose name has spaces and umlauts."""
    shutil.unpack_archive(release, tmp_path / "Übungen für Ada, part 2")
    return tmp_path / "Übungen für Ada, part 2" / "fcn"
