"""The workflow that courses copy: student code runs where there are no labels and no points, points are given where it does not run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import Place, copy_of_the_repository, course_named_fcn

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docs" / "ci" / "grade-on-gpu.yml"
PAGE = ROOT / "docs" / "ci" / "README.md"


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"]


def scripts(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def commands(text):
    """Commands of the autograder in a text: name, and the rest of the line."""
    return re.findall(r"-m autograder ([\w-]+)(.*)", text.replace("\\\n", " "))


def test_nothing_is_permitted_but_reading(jobs):
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["permissions"] == {}
    assert all(set(job["permissions"].values()) == {"read"} for job in jobs.values())


def test_student_code_runs_in_the_first_job_only(jobs):
    assert list(jobs) == ["predict", "score"] and jobs["score"]["needs"] == "predict"
    predicting, scoring = (commands("\n".join(scripts(job))) for job in jobs.values())
    assert [name for name, _ in predicting] == ["predict"] and "--require-isolation bubblewrap" in predicting[0][1]
    assert [name for name, _ in scoring] == ["grade", "export", "export"]
    assert "--predictions" in scoring[0][1]


def test_labels_are_in_the_second_job_only(jobs):
    assert "CMP_ROOT" not in str(jobs["predict"]) and "$PICTURES" in str(jobs["predict"])
    assert "$CMP_ROOT" in str(jobs["score"])


def test_what_is_handed_over_is_what_predict_writes_and_nothing_else(jobs):
    from autograder.judge.predictions.bundle import FACTS_FILE, REPLIES_FILE

    (upload,) = [step["with"] for step in jobs["predict"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert upload["path"].split() == [f"handed/*/{FACTS_FILE}", f"handed/*/{REPLIES_FILE}"]
    (download,) = [step["with"] for step in jobs["score"]["steps"] if "download-artifact" in step.get("uses", "")]
    # upload-artifact leaves out the folder that all paths share
    assert (download["name"], download["path"]) == (upload["name"], "handed")


def test_no_checkout_leaves_its_token_in_a_folder(jobs):
    checkouts = [step for job in jobs.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(checkouts) == 4 and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_input_is_pasted_into_a_script(jobs):
    """A ``${{ }}`` in a script is replaced before the shell reads it: a repository's name could hold commands."""
    assert not any("${{" in script for job in jobs.values() for script in scripts(job))


def test_both_jobs_read_the_same_commit(jobs):
    read = [[step["with"] for step in job["steps"] if "submission" in step.get("name", "")] for job in jobs.values()]
    assert [(one["repository"], one["ref"], one["lfs"]) for (one,) in read] == [("${{ inputs.repository }}", "${{ inputs.ref }}", True)] * 2


@pytest.mark.parametrize("file", [FILE, PAGE], ids=lambda path: path.name)
def test_every_command_is_one_that_the_kit_has(file):
    from click.testing import CliRunner

    from autograder.cli import main

    found = commands(file.read_text(encoding="utf-8"))
    assert {"predict", "grade"} <= {name for name, _ in found}
    for name, rest in found:
        shown = CliRunner().invoke(main, [name, "--help"]).output
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert re.search(rf"{option}\b", shown), f"{name} {option}"


def test_targets_of_exports_are_targets(jobs):
    from autograder.export import WRITERS

    for name, rest in commands("\n".join(scripts(jobs["score"]))):
        if name == "export":
            assert re.search(r"--to (\w+)", rest)[1] in WRITERS


def test_scripts_are_valid_bash(jobs):
    for job in jobs.values():
        for script in scripts(job):
            assert subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_exporting_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import autograder.export, autograder.cli.export, autograder.cli"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert outcome.returncode == 0, outcome.stderr


def runner(folder, jobs, job, student, **environment):
    """Run the scripts of a job as a runner does, but for what needs another machine: the GPU and the isolation demanded."""
    results = []
    for script in scripts(jobs[job]):
        script = script.replace("--device cuda", "--device cpu").replace("--require-isolation bubblewrap", "")
        if script.startswith("rm -rf"):
            continue  # the last step, after the upload
        variables = os.environ | environment | {"STUDENT": student, "SEGKIT_PYTHON": sys.executable}
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        results.append(subprocess.run(command, cwd=folder / "kit", env=variables, capture_output=True, text=True, check=False))
    (result,) = results
    return result


@pytest.mark.parametrize("student", ["", "../x", "a b", "$(touch pwned)", ".hidden", "-x;y"])
def test_a_name_that_is_none_stops_both_jobs_before_anything_is_run(jobs, tmp_path, student):
    (tmp_path / "kit").mkdir()
    for job in jobs:
        done = runner(tmp_path, jobs, job, student)
        assert done.returncode == 2 and "student: expected letters" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "kit"]


@pytest.mark.slow
def test_the_two_jobs_grade_a_submission_as_they_stand(jobs, tmp_path):
    """In a small course named ``fcn``; that a split gives the real one's points is held by test_handover_fcn.py."""
    gpu, trusted, kit = tmp_path / "gpu", tmp_path / "trusted", copy_of_the_repository(tmp_path / "course" / "kit").folder
    course_named_fcn(Place(kit))
    for machine in (gpu, trusted):
        shutil.copytree(kit / "RAW" / "ada", machine / "work" / "submission")
        (machine / "kit").mkdir()
        for name in ("autograder", "segkit", "data", "notebooks"):
            (machine / "kit" / name).symlink_to(kit / name)
    (gpu / "pictures" / "base").mkdir(parents=True)
    secret = {"SEGKIT_COURSE_SECRET": "a secret of the tests only"}
    done = runner(gpu, jobs, "predict", "ada", PICTURES=str(gpu / "pictures"), **secret)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.move(gpu / "handed", trusted / "handed")
    assert sorted(path.name for path in (trusted / "handed" / "ada").iterdir()) == ["answers.gz", "predictions.json"]
    done = runner(trusted, jobs, "score", "ada", CMP_ROOT=str(ROOT / "data" / "facades" / "sample"), **secret)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((trusted / "graded" / "ada" / "result.json").read_text())
    assert {check["id"]: check["points"] for check in result["checks"]} == {
        "double": 4, "net.forward": 3, "net.accuracy": 3, "question": None
    }  # fmt: skip
    assert any("Graded from predictions" in note for note in result["notes"])
    assert (trusted / "published" / "junit" / "ada" / "junit.xml").is_file()
    assert '"10"' in (trusted / "published" / "grades.csv").read_text()
