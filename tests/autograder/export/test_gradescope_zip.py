"""The zip for Gradescope: what it holds, what stays at home, and that it grades when run as Gradescope runs it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from tiny import TINY, weights, write_submission

from autograder.cli import main
from autograder.course.assignment import open_assignment
from autograder.export.gradescope_zip import build_gradescope_zip

SECRET = "a secret of the tests only"


def build(tmp_path, assignment="fcn", **more):
    return zipfile.ZipFile(build_gradescope_zip(tmp_path / "autograder.zip", open_assignment(assignment), SECRET, **more))


def test_the_two_scripts_lie_at_the_top_and_can_be_run(tmp_path):
    with build(tmp_path) as bundle:
        top = {name for name in bundle.namelist() if "/" not in name}
        assert top == {"setup.sh", "run_autograder"}
        for name in top:
            info = bundle.getinfo(name)
            assert (info.external_attr >> 16) & 0o111 == 0o111
            assert bundle.read(name).startswith(b"#!/usr/bin/env bash\n") and b"\r" not in bundle.read(name)


def test_scripts_are_valid_bash_and_name_no_index(tmp_path):
    with build(tmp_path) as bundle:
        for name in ("setup.sh", "run_autograder"):
            text = bundle.read(name)
            assert subprocess.run(["bash", "-n"], input=text, check=False).returncode == 0
            assert b"http" not in text


def test_it_holds_what_a_judge_needs_and_the_secret_for_its_owner_only(tmp_path):
    with build(tmp_path) as bundle:
        names = set(bundle.namelist())
        assert {
            "kit/autograder/__main__.py",
            "kit/segkit/reference/fcn/networks.py",
            "kit/autograder/assignments/fcn/rubric.toml",
            "kit/autograder/report/templates/student.html.j2",
            "kit/autograder/report/result.schema.json",
        } <= names
        assert not any("__pycache__" in name or "/corpus/" in name or name.startswith("kit/notebooks") for name in names)
        assert bundle.read("kit/.segkit-secret").decode().strip() == SECRET
        assert (bundle.getinfo("kit/.segkit-secret").external_attr >> 16) & 0o777 == 0o600
        wanted = bundle.read("kit/requirements.txt").decode()
        assert "torch>=" in wanted and "jsonschema>=" in wanted and "nbgrader" not in wanted


def test_the_same_kit_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        build(tmp_path / name).close()
    assert (tmp_path / "a/autograder.zip").read_bytes() == (tmp_path / "b/autograder.zip").read_bytes()


def test_of_the_data_only_the_test_list_is_packed(tmp_path):
    root = open_assignment("fcn").folder.parents[2] / "data" / "facades" / "sample"

    class Sample:
        rubric = open_assignment("fcn").rubric
        folder = open_assignment("fcn").folder

        def hook(self, name):
            real = open_assignment("fcn").hook(name)
            return lambda source, rubric, own: real("sample", rubric, own)

    with zipfile.ZipFile(build_gradescope_zip(tmp_path / "z.zip", Sample(), SECRET, root)) as bundle:
        packed = {name for name in bundle.namelist() if name.startswith("kit/data/gate/") and name.endswith(".png")}
    assert packed == {f"kit/data/gate/base/cmp_s00{number}.png" for number in range(29, 33)}


def test_the_command_says_the_points_for_gradescope_and_warns(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", SECRET)
    outcome = CliRunner().invoke(main, ["gradescope-zip", "--out", str(tmp_path / "z.zip")])
    assert outcome.exit_code == 0, outcome.output
    assert "Autograder points on Gradescope: 70; give the rest there by hand." in outcome.output
    assert "keep it from students" in outcome.output
    assert "gates of handed-in checkpoints stay open" in outcome.output


@pytest.fixture
def machine(tmp_path):
    """A folder like Gradescope's /autograder, with the tiny assignment unpacked in it."""
    with build(tmp_path, TINY) as bundle:
        bundle.extractall(tmp_path / "autograder" / "source")
    (tmp_path / "autograder" / "results").mkdir()
    return tmp_path / "autograder"


def run_autograder(machine):
    environment = {**os.environ, "AUTOGRADER_ROOT": str(machine), "AUTOGRADER_PYTHON": sys.executable}
    environment.pop("PYTHONPATH", None)
    script = machine / "source" / "run_autograder"
    return subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=300, cwd=machine, check=False)


@pytest.mark.slow
def test_run_as_gradescope_runs_it_it_grades(machine):
    write_submission(machine / "submission", checkpoint=weights())
    outcome = run_autograder(machine)
    assert outcome.returncode == 0, outcome.stderr
    content = json.loads((machine / "results" / "results.json").read_text())
    assert content["score"] > 0
    open_tests = [test["name"] for test in content["tests"] if "score" not in test]
    assert any("could not be graded" in name for name in open_tests), "no pictures were packed: the gate is open, not 0"


@pytest.mark.slow
def test_a_grader_that_fails_writes_no_results_at_all(machine):
    (machine / "source" / "kit" / "assignment" / "rubric.toml").write_text("no toml [")
    (machine / "results" / "results.json").write_text("{}")
    write_submission(machine / "submission")
    outcome = run_autograder(machine)
    assert outcome.returncode == 1
    assert not (machine / "results" / "results.json").exists()
    check_what_workers_may_read(machine / "source")


def check_what_workers_may_read(source):
    """Another user, without any right, reads the scripts that a worker is, and nothing else of the kit."""
    from autograder.sandbox.client import WorkerSettings

    sandbox = source / "kit" / "autograder" / "sandbox"
    needed = {sandbox / path.name for path in WorkerSettings("process", source, training=source).readable() if path.suffix == ".py"}
    assert needed and {path for path in source.rglob("*") if path.is_file() and path.stat().st_mode & 0o004} == needed
    on_the_way = {above for path in needed for above in path.parents if source in (above, *above.parents)}
    for folder in [source, *filter(Path.is_dir, source.rglob("*"))]:
        assert folder.stat().st_mode & 0o007 == (0o001 if folder in on_the_way else 0), folder


class OwnPictures:
    """An assignment whose pictures are not called like the course's."""

    rubric, folder = open_assignment("fcn").rubric, open_assignment("fcn").folder

    def __init__(self, *names: str, files=()) -> None:
        self.names, self.files = names, files

    def hook(self, name):
        return lambda source, rubric, own: SimpleNamespace(names=self.names, files=self.files)


def packed_gates(bundle: Path) -> set[str]:
    with zipfile.ZipFile(bundle) as opened:
        return {name for name in opened.namelist() if name.startswith("kit/data/gate/") and not name.endswith("about.txt")}


def test_pictures_are_packed_whatever_they_are_called(tmp_path):
    root = tmp_path / "data"
    (root / "house").mkdir(parents=True)
    for name in ("front view.JPG", "front view.png", "other.png"):
        (root / "house" / name).write_bytes(b"x")
    files = (root / "house" / "front view.JPG", root / "house" / "front view.png")
    assignment = OwnPictures("house 1", files=files)
    assert packed_gates(build_gradescope_zip(tmp_path / "z.zip", assignment, SECRET, root)) == {
        "kit/data/gate/house/front view.JPG", "kit/data/gate/house/front view.png",
    }  # fmt: skip


def test_gates_without_any_file_are_an_error_and_leave_no_zip(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(LookupError, match="expected the pictures of the gates"):
        build_gradescope_zip(tmp_path / "z.zip", OwnPictures("house"), SECRET, tmp_path / "data")
    assert not list(tmp_path.glob("*z.zip*"))
