"""Does every notebook stand alone on a hosted machine: is the drive asked for, the kit found, the work kept there?"""

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from bare_machine import BARE, REFUSED, REPO, first_cell, hosted, make_zip, run_cell

TAIL = "from pathlib import Path; print('WORK', kit.work)"
WARNING = "the work folder is not on your drive, and is lost with this machine"


def work_of(done: subprocess.CompletedProcess) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(next(line for line in done.stdout.splitlines() if line.startswith("WORK ")).removeprefix("WORK "))


@pytest.mark.parametrize("name", ["fcn", "satellite"])
def test_the_cell_is_three_lines_and_the_same_in_every_notebook(name):
    paths = sorted((REPO / "notebooks" / name).glob("*.ipynb"))
    cells = [next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code").source for path in paths]
    assert len(set(cells)) == 1 and program(cells[0]) == program(first_cell().replace("/fcn", f"/{name}"))
    assert len(cells[0].splitlines()) == 3 and max(map(len, cells[0].splitlines())) <= 88


def program(source: str) -> str:
    """What a cell does: a longer name of an assignment leaves less room for spaces and names."""
    return ast.dump(ast.parse(source)).replace("id='z'", "id='top'")


@pytest.mark.parametrize("place", ["fcn.zip", "Colab Notebooks/fcn.zip", "Uni/fcn (1).zip"])
def test_a_zip_on_the_drive_is_unpacked_there(place, tmp_path):
    drive = tmp_path / "drive of ada" / "MyDrive"
    make_zip(drive / place)
    done = hosted(tmp_path / "content", drive, tail=TAIL)
    assert work_of(done) == drive / "fcn" and WARNING not in done.stdout
    assert done.stderr == "" and "Traceback" not in done.stdout


@pytest.mark.parametrize("place", ["", "Uni"])
def test_an_unpacked_folder_on_the_drive_is_used_where_it_lies(place, tmp_path):
    drive = tmp_path / "drive" / "MyDrive"
    make_zip(tmp_path / "fcn.zip")
    shutil.unpack_archive(tmp_path / "fcn.zip", drive / place)
    assert work_of(hosted(tmp_path / "content", drive, tail=TAIL)) == drive / place / "fcn"


def test_a_zip_in_the_session_goes_to_the_drive_and_the_next_machine_keeps_what_lies_there(tmp_path):
    """A machine is lost; the same zip is uploaded to the next one, and the work is still there."""
    drive = tmp_path / "drive" / "MyDrive"
    make_zip(tmp_path / "one" / "fcn.zip")
    write = "kit.runs.mkdir(); (kit.runs / 'best').write_text('hours of training'); Path('1_data.ipynb').write_text('my work')"
    assert work_of(hosted(tmp_path / "one", drive, tail=f"{TAIL}; {write}")) == drive / "fcn"
    shutil.rmtree(tmp_path / "one")
    make_zip(tmp_path / "two" / "fcn.zip")
    assert work_of(hosted(tmp_path / "two", drive, tail=TAIL)) == drive / "fcn"
    assert (drive / "fcn" / "1_data.ipynb").read_text() == "my work"
    assert (drive / "fcn" / "runs" / "best").read_text() == "hours of training"


def test_the_next_notebook_on_a_fresh_machine_takes_the_work_of_the_one_before(tmp_path):
    drive = tmp_path / "drive" / "MyDrive"
    make_zip(drive / "fcn.zip")
    work_of(hosted(tmp_path / "one", drive, tail=TAIL))
    take = "from segkit.notebooks import take; print('TOOK', take('scores').__name__)"
    done = hosted(tmp_path / "two", drive, tail=f"{TAIL}; {take}")
    assert work_of(done) == drive / "fcn" and "TOOK scores" in done.stdout


def test_a_refused_drive_is_said_in_one_line_and_the_session_serves(tmp_path):
    make_zip(tmp_path / "content" / "fcn.zip")
    done = hosted(tmp_path / "content", tmp_path / "drive" / "MyDrive", REFUSED, TAIL)
    assert work_of(done) == tmp_path / "content" / "fcn" and done.stdout.count(WARNING) == 1
    assert done.stderr == ""


def test_a_folder_named_like_the_drive_is_no_drive(tmp_path):
    """Somebody made the folder before the drive was mounted: mounting says "Mountpoint must not already contain files"."""
    machine = tmp_path / "content"
    (machine / "drive" / "MyDrive").mkdir(parents=True)
    make_zip(machine / "fcn.zip")
    done = hosted(machine, tmp_path / "drive" / "MyDrive", 'raise ValueError("Mountpoint must not already contain files")', TAIL)
    assert work_of(done) == machine / "fcn" and WARNING in done.stdout


@pytest.mark.parametrize("mounting", ["", REFUSED])
@pytest.mark.parametrize("zip_file", [None, b"PK\x03\x04 half of an upload"])
def test_without_a_whole_zip_there_is_one_traceback_and_the_text_above_says_what_to_do(zip_file, mounting, tmp_path):
    (tmp_path / "content").mkdir()
    if zip_file:
        (tmp_path / "content" / "fcn.zip").write_bytes(zip_file)
    done = hosted(tmp_path / "content", tmp_path / "drive" / "MyDrive", mounting)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'segkit'\n")
    for path in (REPO / "notebooks").glob("*/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        above = cells[next(i for i, cell in enumerate(cells) if cell.cell_type == "code") - 1].source
        assert "*No module named 'segkit'* means" in above and f"{path.parent.name}.zip" in above


def test_a_plain_machine_unpacks_the_zip_beside_the_notebook_and_keeps_your_files(tmp_path):
    folder = tmp_path / "my course, part 2"
    make_zip(folder / "fcn.zip")
    done = run_cell(folder, TAIL)
    assert work_of(done) == folder / "fcn" and WARNING not in done.stdout
    assert "so the drawn sample serves" in done.stdout
    mine = folder / "fcn" / "2_fcn32s.ipynb"
    mine.write_text("my work", encoding="utf-8")
    again = run_cell(folder, "import sys; print([entry for entry in sys.path if 'zip/fcn' in entry or '*' in entry])")
    assert again.returncode == 0 and again.stdout.endswith("[]\n")
    assert mine.read_text(encoding="utf-8") == "my work"


def test_the_folder_of_the_notebook_comes_before_a_zip_left_in_it(tmp_path):
    make_zip(tmp_path / "fcn.zip")
    shutil.unpack_archive(tmp_path / "fcn.zip", tmp_path)
    shutil.move(tmp_path / "fcn.zip", tmp_path / "fcn")
    assert work_of(run_cell(tmp_path / "fcn", TAIL)) == tmp_path / "fcn"
    assert not (tmp_path / "fcn" / "fcn").exists()


def test_a_module_of_yours_with_a_library_s_name_is_not_taken_for_the_library(tmp_path):
    """Does a folder that the cell guesses come after the libraries?"""
    make_zip(tmp_path / "fcn.zip")
    (tmp_path / "fcn").mkdir()
    (tmp_path / "fcn" / "tempfile.py").write_text("raise SystemExit('shadowed')")
    assert work_of(run_cell(tmp_path, TAIL)) == tmp_path / "fcn"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    """As the input folder of some hosts."""
    make_zip(tmp_path / "fcn.zip")
    closed = "import zipfile\ndef refuse(*_): raise OSError(30, 'Read-only file system')\nzipfile.ZipFile.extractall = refuse"
    command = [sys.executable, "-c", f"{BARE}{closed}\n{first_cell()}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert "Read-only file system. Make room there, or begin in a folder that you may write to." in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_the_pictures_of_start_here_come_with_the_release_and_are_light():
    release = REPO / "autograder" / "assignments" / "fcn" / "release"
    named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (release / "START_HERE.md").read_text(encoding="utf-8"))
    assert len(named) == len(list(release.glob("*.svg"))) == 3
    assert sum((release / name).stat().st_size for name in named) < 150_000
    assert all(ElementTree.parse(release / name).getroot().tag.endswith("svg") for name in named)


def test_the_pictures_are_as_their_script_draws_them_and_quote_the_cell():
    """Each ``...`` of the sketch stands for what the cell has there."""
    drawn = runpy.run_path(str(REPO / "docs" / "make_hosted_pictures.py"))["pictures"]()
    release = REPO / "autograder" / "assignments" / "fcn" / "release"
    assert {path.name: path.read_text(encoding="utf-8") for path in release.glob("*.svg")} == drawn
    quoted = [node.text for node in ElementTree.fromstring(drawn["hosted-2-cell.svg"]).iter() if "Menlo" in node.get("font-family", "")]
    assert len(quoted) == 2
    for line, quote in zip(first_cell().splitlines(), quoted, strict=False):
        assert all(part.strip() in line for part in quote.split("..."))
