"""A roster, and what writes bulk downloads."""

import zipfile

import pytest
from downloads import ROSTER


@pytest.fixture
def roster(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text(ROSTER, encoding="utf-8-sig")
    return path


@pytest.fixture
def export(tmp_path):
    """Write a zip: name -> text, or (text, date_time)."""

    def make(files, name="export.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as bundle:
            for member, content in files.items():
                text, date = content if isinstance(content, tuple) else (content, (2026, 3, 14, 12, 0, 0))
                bundle.writestr(zipfile.ZipInfo(member, date), text)
        return tmp_path / name

    return make
