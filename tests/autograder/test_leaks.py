"""The leak check: every planted leak is found, in the folder and in the zip; the clean release passes."""

import base64
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_course import POINTS, SCHEME_LINE, SECRET_LINE, edit_notebook, notebooks, write_course

from autograder.release import build as building
from autograder.release.archive import write_zip
from autograder.release.build import build_release, expected_files
from autograder.release.leaks import Release, check_folder, check_leaks, collect_secrets
from autograder.release.leaks.lines import split_solution
from autograder.release.notebooks import read_source


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return write_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def release(course):
    originals = {path.name: read_source(path) for path in course.notebook_paths()}
    found = collect_secrets(originals, course.check_files(), course.reference_files(), course.student_files())
    return Release(found, expected_files(course))


@pytest.fixture(scope="module")
def clean(course, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "verify_edition", lambda folder, repositories: [])
        return build_release(course, tmp_path_factory.mktemp("out"), facts={}, checks=POINTS).folder


@pytest.fixture
def folder(clean, tmp_path) -> Path:
    """A clean release to spoil."""
    return Path(shutil.copytree(clean, tmp_path / "tiny"))


def findings(folder: Path, release: Release) -> list[str]:
    """The findings of folder and zip; both must agree on the files."""
    archive = folder.parent / "tiny.zip"
    write_zip(archive, folder, "tiny")
    found = check_leaks(folder, archive, release)
    loose = [str(f) for f in found if "zip!" not in f.file]
    packed = [str(f).replace("tiny.zip!", "") for f in found if "zip!" in f.file]
    folders = [text for text in loose if ": a folder that has no place" in text]
    assert sorted(set(loose) - set(folders)) == sorted(packed)
    return loose


def first_cell(content: dict) -> dict:
    return content["cells"][0]


def test_clean_release_passes(folder, release):
    assert len(release.secrets.lines) > 50
    assert findings(folder, release) == []


PLANTED = {
    "solution in another cell": lambda c: first_cell(c).update(source=[f"so: {SECRET_LINE}\n"]),
    "solution wrapped over lines": lambda c: first_cell(c).update(source=SECRET_LINE.replace("(", "(\n    ")),
    "solution in a docstring": lambda c: c["cells"][2].update(source=f'def f():\n    """{SECRET_LINE}"""'),
    "solution commented out": lambda c: c["cells"][1].update(source=f"# {SECRET_LINE}"),
    "solution in cell metadata": lambda c: first_cell(c)["metadata"].update(segkit={"hint": SECRET_LINE}),
    "mark scheme": lambda c: first_cell(c).update(source=SCHEME_LINE),
}


@pytest.mark.parametrize("how", PLANTED)
def test_solution_is_found_wherever_it_stands(how, folder, release):
    edit_notebook(folder / "1_first.ipynb", PLANTED[how])
    found = findings(folder, release)
    assert any("1_first.ipynb, cell" in text and "a line of a solution (" in text for text in found), found


def test_report_names_file_cell_text_and_origin(folder, release):
    edit_notebook(folder / "1_first.ipynb", PLANTED["solution in another cell"])
    text = findings(folder, release)[0]
    assert text == f"1_first.ipynb, cell 1: a line of a solution (1_first.ipynb, cell 3): {SECRET_LINE}"


def test_solution_in_base64_is_found(folder, release):
    data = base64.b64encode(f"some text before {SECRET_LINE} and after".encode()).decode()
    edit_notebook(folder / "1_first.ipynb", lambda c: first_cell(c).update(attachments={"a.txt": {"text/plain": data}}))
    found = findings(folder, release)
    assert any("cell 1 (base64): a line of a solution" in text for text in found)
    assert any("attachments were left in: a.txt" in text for text in found)


def test_outputs_and_counts_are_found(folder, release):
    output = {"output_type": "stream", "name": "stdout", "text": ["hello"]}
    edit_notebook(folder / "1_first.ipynb", lambda c: c["cells"][1].update(outputs=[output], execution_count=3))
    found = findings(folder, release)
    assert "1_first.ipynb, cell 2: outputs were left in: 1 outputs" in found
    assert "1_first.ipynb, cell 2: an execution count was left in: 3" in found


def test_escaped_solution_in_an_output_is_found(folder, release):
    line = SECRET_LINE.replace("(", "(\n")
    output = {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["\x1b[31m", line]}
    edit_notebook(folder / "1_first.ipynb", lambda c: c["cells"][1].update(outputs=[output]))
    assert any("a line of a solution" in text for text in findings(folder, release))


@pytest.mark.parametrize("line", ["### BEGIN SOLUTION", "### END HIDDEN TESTS", "=== BEGIN MARK SCHEME ===", "### BEGIN HIDDEN TESTS"])
def test_markers_are_found(line, folder, release):
    edit_notebook(folder / "2_second.ipynb", lambda c: first_cell(c).update(source=line))
    assert any("a marker of a solution, mark scheme or hidden test" in text for text in findings(folder, release))


def test_hidden_checks_are_found_as_file_and_as_line(folder, release, course):
    check = course.material / "checks" / "test_small.py"
    shutil.copy(check, folder / "segkit" / "test_small.py")
    line = 'answer = student.call("last_of_all", np.array([3, 9, 1]))'
    (folder / "START_HERE.md").write_text(f"try this: {line}\n")
    found = findings(folder, release)
    assert "segkit/test_small.py: not on the list of files of this release: test_small.py" in found
    assert f"START_HERE.md, line 1: a line of a hidden check (test_small.py, line 14): {line}" in found


def test_reference_is_found_as_folder_file_and_line(folder, release, course):
    (folder / "segkit" / "reference").mkdir()
    source = course.package / "reference" / "fcn" / "metrics.py"
    shutil.copy(source, folder / "segkit" / "reference" / "metrics.py")
    found = findings(folder, release)
    assert "segkit/reference: a folder that has no place in a release: reference" in found
    assert any("segkit/reference/metrics.py, line" in text and "a line of a reference" in text for text in found)


def test_reference_line_under_another_name_is_found(folder, release, course):
    text = (course.package / "reference" / "fcn" / "networks.py").read_text()
    target = folder / "segkit" / "facades.py"
    target.write_text(target.read_text() + "\n" + text)
    assert sum("a line of a reference (networks.py" in t for t in findings(folder, release)) > 10


@pytest.mark.parametrize("name", ["segkit/__pycache__/facades.cpython-311.pyc", "segkit/facades.pyc", "segkit/fast.so"])
def test_compiled_files_are_found(name, folder, release):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\0compiled")
    assert any("a compiled file" in text for text in findings(folder, release))


UNEXPECTED = [".git/config", "checkpoints/fcn32s.safetensors", "notes.txt", ".ipynb_checkpoints/a.ipynb"]


@pytest.mark.parametrize("name", UNEXPECTED)
def test_unexpected_files_are_found(name, folder, release):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert any(text.startswith(name) for text in findings(folder, release))


PERSONS = {
    "author": lambda c: c["metadata"].update(authors=[{"name": "Ada"}]),
    "kernel": lambda c: c["metadata"]["kernelspec"].update(display_name="Python (ada)"),
    "home folder": lambda c: first_cell(c).update(source="data = '/home/ada/facades'"),
    "mac home folder": lambda c: first_cell(c).update(source="data = '/Users/ada/facades'"),
    "windows home folder": lambda c: first_cell(c).update(source="data = r'C:\\Users\\ada\\facades'"),
    "root's home folder": lambda c: first_cell(c).update(source="see /root/course"),
    "e-mail": lambda c: first_cell(c).update(source="ask ada@cs.uni-somewhere.edu"),
}


@pytest.mark.parametrize("what", PERSONS)
def test_traces_of_a_person_are_found(what, folder, release):
    edit_notebook(folder / "1_first.ipynb", PERSONS[what])
    assert findings(folder, release) != []


def test_examples_of_nobody_pass(folder, release):
    text = "cd /home/you/course; in C:\\Users\\student; you@example.org; /content/drive/MyDrive\n"
    (folder / "START_HERE.md").write_text(text)
    assert findings(folder, release) == []


def test_author_of_a_picture_is_found(folder, course, release):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    note = PngInfo()
    note.add_text("Author", "Ada")
    (folder / "data" / "tiles" / "sample").mkdir()
    Image.new("P", (2, 2)).save(folder / "data" / "tiles" / "sample" / "a.png", pnginfo=note)
    allowed = Release(release.secrets, release.expected | {"data/tiles/sample/a.png"})
    assert findings(folder, allowed) == ["data/tiles/sample/a.png: metadata inside a picture: Author = Ada"]


def test_link_is_found(folder, release):
    (folder / "data" / "all").symlink_to("/etc")
    assert any("a link in place of a file" in str(f) for f in check_folder(folder, release))


def test_hidden_data_of_the_zip_is_found(folder, release):
    archive = folder.parent / "tiny.zip"
    write_zip(archive, folder, "tiny")
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.comment = SECRET_LINE.encode()
        info = zipfile.ZipInfo("../outside.txt")
        info.comment = b"made by Ada"
        bundle.writestr(info, "x")
    found = [str(f) for f in check_leaks(folder, archive, release)]
    assert any("comment: a line of a solution" in text for text in found)
    assert any("lies outside the folder tiny/" in text for text in found)
    assert any("comment or extra field" in text for text in found)


def test_line_that_students_see_anyway_is_no_secret():
    books = notebooks()
    books["1_first.ipynb"].cells[0].source = f"The idea is `{SECRET_LINE}`."
    found = collect_secrets(books, [], [], [])
    assert SECRET_LINE not in {secret.text for secret in found.lines.values()}


def test_copy_in_the_student_edition_does_not_excuse_a_solution(tmp_path):
    (tmp_path / "helper.py").write_text(SECRET_LINE)
    found = collect_secrets(notebooks(), [], [], [tmp_path / "helper.py"])
    assert SECRET_LINE in {secret.text for secret in found.lines.values()}


def test_solution_cell_without_markers_is_secret_as_a_whole():
    cell = notebooks()["1_first.ipynb"].cells[2]
    cell.source = "def f():\n    return 'everything here'"
    assert split_solution(cell) == ([], ["def f():", "    return 'everything here'"])


def test_unreadable_notebook_is_a_finding(folder, release):
    (folder / "1_first.ipynb").write_text(json.dumps(["no notebook"]))
    assert any("not a readable notebook" in text for text in findings(folder, release))


def test_of_recorded_runs_label_maps_may_be_handed_out_and_weights_may_not(clean, release, tmp_path):
    folder = Path(shutil.copytree(clean, tmp_path / "tiny"))
    name = "data/facades/recorded/fcn8s/stages.npz"
    listed = Release(release.secrets, release.expected | {name})
    maps, path = {"1/house": np.zeros((4, 6), np.uint8), "2/house": np.ones((4, 6), np.uint8)}, folder / name
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, **maps)
    assert findings(folder, listed) == []
    assert findings(folder, release) == [f"{name}: not on the list of files of this release: stages.npz"]
    np.savez_compressed(path, **maps, weight=np.zeros((8, 4, 3, 3), np.float32), flat=np.zeros(7, np.uint8))
    why = "an array that is no label map (uint8, H x W)"
    assert findings(folder, listed) == [f"{name}: {why}: weight: float32 (8, 4, 3, 3)", f"{name}: {why}: flat: uint8 (7,)"]
    path.write_bytes(b"PK\3\4 cut off")
    assert findings(folder, listed) == [f"{name}: not a readable file of arrays, so it cannot be checked: BadZipFile"]
    (folder / "data" / "stages.npz").write_bytes(b"")
    assert "data/stages.npz: a checkpoint or array file: .npz" in findings(folder, listed)
