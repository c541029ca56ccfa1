"""The student release: what is in it, what is not, and what happens when it cannot be made."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from small_course import POINTS, SCHEME_LINE, SECRET_LINE, check_cell, notebooks, write_course

from autograder.cli.release import release_command
from autograder.course.assignment import open_assignment
from autograder.course.sources import ReleaseError, find_sources, rubric_facts
from autograder.release import build as building
from autograder.release.build import LeakError, build_release
from autograder.release.checkpoints import publish_checkpoints

REPOSITORY = Path(__file__).resolve().parents[2]
FACTS = {"padding": 103, "checks": POINTS}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return write_course(tmp_path_factory.mktemp("a course"))


@pytest.fixture(scope="module")
def built(course, tmp_path_factory):
    """One release made with everything on, in a folder with spaces in its name."""
    return build_release(course, tmp_path_factory.mktemp("release") / "out of house", facts=FACTS, checks=POINTS)


@pytest.fixture
def quick(monkeypatch):
    """Leave out the import of the edition in a fresh process, which takes seconds and is tried by ``built``."""
    monkeypatch.setattr(building, "verify_edition", lambda folder, repositories: [])


def cells(folder: Path, name: str) -> dict[str, str]:
    notebook = nbformat.read(folder / name, as_version=4)
    return {c.metadata.nbgrader.grade_id: c.source for c in notebook.cells if "nbgrader" in c.metadata}


def test_solutions_become_nbgraders_stub(built):
    first = cells(built.folder, "1_first.ipynb")
    assert first["double"].split("\n") == [
        "def double(values):", '    """Twice every value."""', "    # YOUR CODE HERE", "    raise NotImplementedError()", "",
    ]  # fmt: skip
    second = cells(built.folder, "2_second.ipynb")
    assert second["last"] == "# YOUR CODE HERE\nraise NotImplementedError()"
    assert second["question_1"] == "YOUR ANSWER HERE"


def test_cells_agree_with_nbgrader_generate_assignment(built, course, tmp_path):
    """Same text and checksum on both routes, or an untouched answer would not be recognised as such."""
    (tmp_path / "source").mkdir()
    shutil.copytree(course.notebooks, tmp_path / "source" / "tiny")
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.ClearMarkScheme.enforce_metadata = False\n")
    done = subprocess.run([sys.executable, "-m", "nbgrader", "generate_assignment", "tiny"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("1_first.ipynb", "2_second.ipynb"):
        theirs = nbformat.read(tmp_path / "release" / "tiny" / name, as_version=4)
        ours = nbformat.read(built.folder / name, as_version=4)
        assert [c.source for c in ours.cells] == [c.source for c in theirs.cells]
        assert [c.metadata.get("nbgrader") for c in ours.cells] == [c.metadata.get("nbgrader") for c in theirs.cells]


def test_release_holds_the_students_things_and_nothing_else(built):
    top = {path.name for path in built.folder.iterdir()}
    files = {"assignment.json", "START_HERE.md", "requirements.txt"}
    assert top == {"1_first.ipynb", "2_second.ipynb", "segkit", "data"} | files
    assert not (built.folder / "segkit" / "reference").exists()
    assert not (built.folder / "segkit" / "edition.py").exists()
    assert [path.name for path in (built.folder / "data").iterdir()] == ["tiles"], "neither another data set nor real pictures"
    everything = b"".join(path.read_bytes() for path in built.folder.rglob("*") if path.is_file())
    assert SECRET_LINE.encode() not in everything and SCHEME_LINE.encode() not in everything


def test_assignment_json_holds_the_facts_and_the_notebooks(built):
    content = json.loads((built.folder / "assignment.json").read_text())
    assert content == {"assignment": "tiny", "notebooks": ["1_first.ipynb", "2_second.ipynb"], **FACTS}


def test_zip_holds_the_same_bytes_as_the_folder(built):
    with zipfile.ZipFile(built.archive) as bundle:
        packed = {member.filename: bundle.read(member) for member in bundle.infolist()}
    files = [path for path in built.folder.rglob("*") if path.is_file()]
    loose = {f"tiny/{path.relative_to(built.folder).as_posix()}": path.read_bytes() for path in files}
    assert packed == loose


def test_two_releases_are_the_same_bytes(built, course, tmp_path, quick):
    again = build_release(course, tmp_path, facts=FACTS, checks=POINTS)
    assert again.archive.read_bytes() == built.archive.read_bytes()


def times_in(archive: Path) -> set[tuple[int, ...]]:
    with zipfile.ZipFile(archive) as bundle:
        return {member.date_time for member in bundle.infolist()}


def test_files_of_the_zip_have_the_time_of_the_newest_notebook_where_there_is_no_repository(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    course = write_course(tmp_path / "c")
    for path, moment in zip(course.notebook_paths(), (1_700_000_000, 1_600_000_000), strict=True):
        os.utime(path, (moment, moment))
    built = build_release(course, tmp_path / "out", facts={}, checks=POINTS)
    assert times_in(built.archive) == {(2023, 11, 14, 22, 13, 20)}


def test_files_of_the_zip_have_the_time_of_the_last_commit(tmp_path, quick):
    course = write_course(tmp_path / "c")
    own = {"GIT_COMMITTER_DATE": "2026-03-14T15:09:26Z", "GIT_CONFIG_GLOBAL": os.devnull}
    names = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(course.root), *names, *command], env=os.environ | own, check=True)
    assert times_in(build_release(course, tmp_path / "out", facts={}, checks=POINTS).archive) == {(2026, 3, 14, 15, 9, 26)}


@pytest.mark.parametrize(("seconds", "moment"), [("1700000000", (2023, 11, 14, 22, 13, 20)), ("0", (1980, 1, 1, 0, 0, 0)),
                                                 ("99999999999", (2107, 12, 31, 23, 59, 58))])  # fmt: skip
def test_files_of_the_zip_have_the_time_that_the_environment_asks_for(tmp_path, quick, monkeypatch, seconds, moment):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
    assert times_in(build_release(write_course(tmp_path / "c"), tmp_path / "out", facts={}, checks=POINTS).archive) == {moment}


def test_a_time_that_is_none_is_refused(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert "SOURCE_DATE_EPOCH: expected seconds since 1970, found 'yesterday'" in failing(tmp_path, write_course(tmp_path / "c"))


def test_nothing_temporary_stays_behind(built):
    assert sorted(path.name for path in built.folder.parent.iterdir()) == ["tiny", "tiny.zip"]


def test_outputs_counts_and_persons_are_cleared(tmp_path, quick):
    books = notebooks()
    first = books["1_first.ipynb"]
    first.cells[1].outputs = [nbformat.v4.new_output("stream", text="seen by me")]
    first.cells[1].execution_count = 7
    first.cells[0].attachments = {"plan.png": {"image/png": "aGFsbG8="}}
    first.metadata.kernelspec = {"name": "my-env", "display_name": "Ada (/home/ada/env)", "language": "python"}
    first.metadata.authors = [{"name": "Ada"}]
    first.cells[0].metadata["vscode"] = {"user": "ada"}
    built = build_release(write_course(tmp_path / "c", books), tmp_path / "out", facts={}, checks=POINTS)
    text = (built.folder / "1_first.ipynb").read_text()
    assert not any(word in text for word in ("seen by me", "/home", "Ada", "aGFsbG8=", "vscode"))


def test_a_cell_that_stands_folded_in_the_source_is_handed_out_folded(tmp_path, quick):
    books = notebooks()
    cell = books["1_first.ipynb"].cells[1]
    cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
    built = build_release(write_course(tmp_path / "c", books), tmp_path / "out", facts={}, checks=POINTS)
    found = nbformat.read(built.folder / "1_first.ipynb", as_version=4).cells
    assert [dict(one.metadata.get("jupyter", {})) for one in found] == [{}, {"source_hidden": True}] + [{}] * (len(found) - 2)


def failing(tmp_path, quick_sources, **options) -> str:
    with pytest.raises(ReleaseError) as caught:
        build_release(quick_sources, tmp_path / "out", facts={}, checks=options.get("checks", POINTS))
    return str(caught.value)


def test_older_release_survives_a_failure(tmp_path, quick):
    course = write_course(tmp_path / "c")
    built = build_release(course, tmp_path / "out", facts={}, checks=POINTS)
    before = {p: p.read_bytes() for p in [built.archive, *built.folder.rglob("*")] if p.is_file()}
    (course.notebooks / "2_second.ipynb").write_text("{")
    text = failing(tmp_path, course)
    assert "2_second.ipynb: not a valid notebook" in text
    assert {p: p.read_bytes() for p in [built.archive, *built.folder.rglob("*")] if p.is_file()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny", "tiny.zip"]


def test_older_release_is_replaced_on_success(tmp_path, quick):
    course = write_course(tmp_path / "c")
    built = build_release(course, tmp_path / "out", facts={}, checks=POINTS)
    (built.folder / "old.txt").write_text("from before")
    build_release(course, tmp_path / "out", facts={}, checks=POINTS)
    assert not (built.folder / "old.txt").exists()


def test_unclosed_solution_is_named_by_cell(tmp_path, quick):
    books = notebooks()
    books["1_first.ipynb"].cells[2].source = "### BEGIN SOLUTION\nx = 1"
    text = failing(tmp_path, write_course(tmp_path / "c", books))
    assert "1_first.ipynb, cell 3 (double): ClearSolutions failed: no end solution statement found" in text


def test_duplicate_grade_id_is_named(tmp_path, quick):
    books = notebooks()
    books["1_first.ipynb"].cells.append(check_cell("double-check", 4.0))
    text = failing(tmp_path, write_course(tmp_path / "c", books))
    assert "1_first.ipynb" in text and "Duplicate grade id: double-check" in text


def test_cell_and_rubric_must_agree_on_points(tmp_path, quick):
    text = failing(tmp_path, write_course(tmp_path / "c"), checks=POINTS | {"double": 3.0, "extra": 1.0})
    assert "the cell double-check is worth 4 points, the check double 3" in text
    assert "the check extra of the rubric has no graded cell" in text


def test_stub_that_does_not_parse_is_named(tmp_path, quick):
    books = notebooks()
    books["1_first.ipynb"].cells[1].source = "import numpy as np\nif True:"
    text = failing(tmp_path, write_course(tmp_path / "c", books))
    assert "1_first.ipynb, cell 2, line 2: the stub does not parse" in text


def test_magics_count_as_python(tmp_path, quick):
    books = notebooks()
    books["1_first.ipynb"].cells[1].source = "%matplotlib inline\n!ls\nimport numpy as np"
    build_release(write_course(tmp_path / "c", books), tmp_path / "out", facts={}, checks=POINTS)


def test_leak_stops_the_release(tmp_path, quick):
    books = notebooks()
    books["2_second.ipynb"].cells[2].source = f"Hint: `{SECRET_LINE}`"
    # the hint makes the line public; the mark scheme in a template does not
    course = write_course(tmp_path / "c", books)
    (course.material / "release" / "START_HERE.md").write_text(f"For graders: {SCHEME_LINE}\n")
    with pytest.raises(LeakError) as caught:
        build_release(course, tmp_path / "out", facts={}, checks=POINTS)
    assert {finding.file for finding in caught.value.findings} == {"START_HERE.md", "tiny.zip!START_HERE.md"}
    assert not (tmp_path / "out" / "tiny").exists() and not (tmp_path / "out" / "tiny.zip").exists()


def test_full_disk_is_reported_and_leaves_nothing(tmp_path, quick, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "fcn.zip")

    monkeypatch.setattr(building, "write_zip", full)
    text = failing(tmp_path, write_course(tmp_path / "c"))
    assert "No space left on device" in text and "Make room" in text
    assert list((tmp_path / "out").iterdir()) == []


def test_broken_edition_is_named(tmp_path):
    """Does the trial in a clean process notice a module that needs what students do not have?"""
    course = write_course(tmp_path / "c")
    package = tmp_path / "package" / "segkit"
    shutil.copytree(course.package, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.rglob("*.py"):
        path.write_text("" if path.name != "facades.py" else "from segkit.reference import FCN32s\n")
    changed = course.__class__(**{**course.__dict__, "package": package})
    text = failing(tmp_path, changed)
    assert "segkit/facades.py: ModuleNotFoundError: No module named 'segkit.reference'" in text


def test_pinned_dependency_is_refused(tmp_path, quick):
    course = write_course(tmp_path / "c")
    (course.root / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.11"\ndependencies = ["torch==2.11"]\n')
    assert "expected lower bounds only" in failing(tmp_path, course)


def test_unknown_assignment_says_what_there_is(tmp_path):
    write_course(tmp_path / "c")
    done = CliRunner().invoke(release_command, ["unet", "--out", str(tmp_path / "o"), "--root", str(tmp_path / "c")])
    assert done.exit_code == 1 and "No assignment 'unet'" in done.output and "There is: tiny" in done.output


def test_bad_usage_exits_with_2():
    assert CliRunner().invoke(release_command, ["fcn"]).exit_code == 2


def test_missing_notebooks_are_reported(tmp_path):
    course = write_course(tmp_path / "c")
    for path in course.notebook_paths():
        path.unlink()
    with pytest.raises(ReleaseError, match="expected the notebooks of the assignment, found none"):
        find_sources("tiny", tmp_path / "c")


def test_trained_models_are_published_with_a_manifest(tmp_path):
    import hashlib

    import torch
    from safetensors.torch import save_file

    (tmp_path / "models").mkdir()
    save_file({"score.weight": torch.ones(3)}, tmp_path / "models" / "fcn32s.safetensors")
    (tmp_path / "models" / "notes.txt").write_text("private")
    archive = publish_checkpoints(tmp_path / "models", tmp_path / "out", "fcn")
    assert archive == tmp_path / "out" / "fcn-checkpoints.zip"
    with zipfile.ZipFile(archive) as bundle:
        assert bundle.namelist() == ["published/checkpoints.json", "published/fcn32s.safetensors"]
        manifest = json.loads(bundle.read("published/checkpoints.json"))
        data = bundle.read("published/fcn32s.safetensors")
    digest = hashlib.sha256(data).hexdigest()
    assert manifest == {"fcn32s": {"file": "fcn32s.safetensors", "sha256": digest, "bytes": len(data)}}


def test_damaged_model_is_not_published(tmp_path):
    (tmp_path / "fcn8s.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{broken")
    with pytest.raises(ReleaseError, match="Nothing was published"):
        publish_checkpoints(tmp_path, tmp_path / "out", "fcn")


@pytest.mark.slow
def test_real_assignment_is_released_and_works_in_an_empty_folder(tmp_path):
    """Release, unpack into a folder with spaces, hand in from there without this repository.

    That the command tries the release of each assignment before is held by test_every_assignment.py.
    """
    sources = find_sources("fcn", REPOSITORY)
    facts, checks = rubric_facts(sources.material)
    built = build_release(sources, tmp_path / "out", facts=facts, checks=checks)
    with zipfile.ZipFile(built.archive) as bundle:
        bundle.extractall(tmp_path / "my course work")
    folder = tmp_path / "my course work" / "fcn"
    assert len(list(folder.glob("*.ipynb"))) == 5
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')];"
        "sys.path.insert(0, '.'); sys.argv[:] = ['segkit', 'submit']; from segkit.cli import main; main()"
    )
    submit = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True)
    assert submit.returncode == 1, submit.stdout + submit.stderr
    unfinished = {line.split()[1] for line in submit.stdout.splitlines() if line.startswith("[--]")}
    wanted = set(open_assignment("fcn").rubric.checks)
    assert unfinished == wanted and "[!!]" not in submit.stdout, submit.stdout
    assert f"0 of {len(wanted)} checks were tested and passed" in submit.stdout
    assert (folder / "submission.zip").is_file()


ACCIDENTS = (
    "No matching distribution found for torch", "externally-managed-environment", "running scripts is disabled", "Error #15", "Extract All",
    "python: command not found", "No module named pip", "No module named 'segkit'", "kernel appears to have died", "/kaggle/input",
    "-m ipykernel install", "-m segkit check", "--code-only",
)  # fmt: skip


# Pierian-Data/Complete-Python-3-Bootcamp#298: Windows unpacks no path of more than 260 characters, and the folder has some
@pytest.mark.parametrize("name", ["fcn", "satellite"])
def test_names_in_a_release_are_short_and_any_system_can_write_them(name):
    names = [f"{name}/{file}" for file in building.expected_files(find_sources(name, REPOSITORY))]
    assert max(map(len, names)) <= 100 and all(re.fullmatch(r"[A-Za-z0-9_./-]+", file) for file in names)
    assert len({file.lower() for file in names}) == len(names)


@pytest.mark.parametrize("name", ["fcn", "satellite"])
def test_templates_of_the_real_releases_can_be_filled(name, tmp_path):
    import tomllib

    sources = find_sources(name, REPOSITORY)
    for path in sources.templates():
        (tmp_path / path.name).write_text(building._filled(path, building._words(sources)))
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == sources.requirements()
    assert all(">=" in line for line in project["dependencies"])
    text = (tmp_path / "START_HERE.md").read_text()
    assert sources.notebook_paths()[0].name in text
    assert [told for told in ACCIDENTS if told not in text] == [], "what people meet on their machines is told with every assignment"
    pair = " ".join(f'"{line}"' for line in sources.requirements() if line.startswith("torch"))
    assert f"`{pair}`" in text, "the versions that the release asks for"


def test_a_release_into_a_relative_folder_is_tried_where_it_lies(course, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built = build_release(course, Path("build/release"), facts=FACTS, checks=POINTS)
    assert built.archive.is_file() and (tmp_path / "build" / "release").is_dir()
