"""``new`` writes an assignment that goes round at once: exam, release, hand-in, grade."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from autograder.cli.new import new_command

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A copy of the repository."""
    root = tmp_path_factory.mktemp("clone") / "kit"
    leave = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("autograder", "segkit", "notebooks"):
        shutil.copytree(REPO / name, root / name, ignore=leave)
    shutil.copytree(REPO / "data", root / "data", ignore=shutil.ignore_patterns("cmp_facade", "weights"))
    for name in ("nbgrader_config.py", "pyproject.toml", "requirements.lock"):
        shutil.copyfile(REPO / name, root / name)
    return root


def run(*arguments: str, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    environment = os.environ | {"SEGKIT_COURSE_SECRET": "a secret of tests", "PYTHONPATH": str(cwd)}
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(("name", "like", "words"), [
    ("Dots", "fcn", "'Dots' cannot be the name of an assignment"),
    ("fcn", "fcn", "is there already"),
    ("dots", "nothing", "No assignment 'nothing'"),
])  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(root, name, like, words):
    done = CliRunner().invoke(new_command, [name, "--like", like, "--root", str(root)])
    assert done.exit_code == 1 and words in done.output
    assert not (root / "notebooks" / "dots").exists()


@pytest.mark.slow
def test_a_new_assignment_is_examined_released_handed_in_and_graded(root):
    assert "Next: python -m autograder release dots" in run("autograder", "new", "dots", "--like", "fcn", "--title", "Dots", cwd=root)
    said = run("autograder", "release", "dots", "--out", "build/release", cwd=root)
    assert "entries depend on what has changed" in said and "reference solution: 4 of 4 points" in said and "UNEXAMINED" not in said
    release = root / "build" / "release" / "dots"
    path = release / "1_first.ipynb"
    book = json.loads(path.read_text())
    cells = {cell["metadata"].get("nbgrader", {}).get("grade_id"): cell for cell in book["cells"]}
    cells["pixel_accuracy"]["source"] = "def pixel_accuracy(pred, label):\n    return float((pred == label).mean())\n"
    cells["question_1"]["source"] = "It hides the rare classes; mean IoU shows them."
    path.write_text(json.dumps(book))
    run("segkit", "submit", "--fast", cwd=release)
    run("autograder", "grade", str(release / "submission.zip"), "--assignment", "dots", "--out", "graded", cwd=root)
    checks = json.loads((root / "graded" / "submission" / "result.json").read_text())["checks"]
    assert [(check["points"], check["cause"]) for check in checks] == [(3, "accuracy.ignored"), (None, None)]
    assert run("autograder", "release", "dots", "--out", "build/release", cwd=root).count("no surprise") == 1
