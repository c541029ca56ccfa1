"""The workflow that courses copy: whoever runs student code can write nowhere, whoever publishes never sees student code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

FILE = Path(__file__).parents[3] / "docs" / "ci" / "grade-on-gpu.yml"


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"]


def scripts(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_nothing_is_permitted_but_reading(jobs):
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["permissions"] == {}
    assert all(set(job["permissions"].values()) == {"read"} for job in jobs.values())


def test_student_code_runs_in_the_first_job_only(jobs):
    assert any("autograder grade" in script and "--require-isolation bubblewrap" in script for script in scripts(jobs["judge"]))
    assert not any("autograder grade" in script for script in scripts(jobs["publish"]))
    assert "inputs." not in str(jobs["publish"]) and "secrets." not in str(jobs["publish"])


def test_no_checkout_leaves_its_token_in_a_folder(jobs):
    checkouts = [step for job in jobs.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_input_is_pasted_into_a_script(jobs):
    """A ``${{ }}`` in a script is replaced before the shell reads it: a repository's name could hold commands."""
    assert not any("${{" in script for job in jobs.values() for script in scripts(job))


def test_every_command_is_one_that_the_kit_has(jobs):
    from click.testing import CliRunner

    from autograder.cli import main

    text = "\n".join(script for job in jobs.values() for script in scripts(job)).replace("\\\n", " ")
    commands = re.findall(r"-m autograder ([\w-]+)(.*)", text)
    assert {name for name, _ in commands} == {"grade", "export"}
    for name, rest in commands:
        shown = CliRunner().invoke(main, [name, "--help"]).output
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in shown, f"{name} {option}"


def test_scripts_are_valid_bash(jobs):
    for job in jobs.values():
        for script in scripts(job):
            assert subprocess.run(["bash", "-n"], input=script.encode(), check=False).returncode == 0


def test_exporting_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import autograder.export, autograder.export.command, autograder.cli"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FILE.parents[2], check=False)
    assert outcome.returncode == 0, outcome.stderr
