"""Every assignment of the repository goes round: it is released, its solutions are handed in and graded, and the grader's exam is sat.

Nothing here knows an assignment by name.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autograder.course.assignment import open_assignment
from autograder.exam.complete import choose, sit_exam
from segkit.assignment import facts
from segkit.datasets import dataset

REPO = Path(__file__).resolve().parents[1]
NAMES = sorted(path.name for path in (REPO / "notebooks").iterdir() if path.is_dir() and not path.name.startswith("."))
SAMPLED = tomllib.loads((REPO / "tests" / "autograder" / "exam_sample.toml").read_text())["assignment"]
every_assignment = pytest.mark.parametrize("name", NAMES)
# names under which people import modules beside a network
MODULES = set("F T TF copy datasets functional init io itertools math models nn np ops optim os plt random time torch".split())


def run(*arguments: object, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    environment = os.environ | {"SEGKIT_COURSE_SECRET": "a secret of tests", "PYTHONPATH": str(cwd)}
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def read_notebook(path: Path) -> dict[str, str]:
    """Grade id -> source."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {cell["metadata"]["nbgrader"]["grade_id"]: "".join(cell["source"]) for cell in cells if "nbgrader" in cell["metadata"]}


def test_the_folders_of_notebooks_are_the_assignments_with_a_rubric():
    assert len(NAMES) > 1, "one assignment alone shows nothing about the others"
    assert sorted(path.parent.name for path in (REPO / "autograder" / "assignments").glob("*/rubric.toml")) == NAMES


@every_assignment
def test_the_source_notebooks_find_the_facts_of_their_own_rubric(name):
    assert facts(REPO / "notebooks" / name) == open_assignment(name).facts


@every_assignment
def test_the_sample_has_the_pairs_of_its_lists(name):
    spec = dataset(open_assignment(name).rubric.dataset)
    root = spec.find_root("sample")
    names = [pair for part in ("train", "val", "test") for pair in spec.split_names("sample", part)]
    assert spec.split_of(root) == "sample" and len(set(names)) == len(names) > 0
    assert all(spec.image_path(root, pair).is_file() and spec.label_path(root, pair).is_file() for pair in names)


@every_assignment
def test_no_given_cell_takes_the_name_of_a_module(name):
    """The last binding of a name counts where work is graded: with a training of ours bound to ``models``, an honest
    ``from torchvision import models`` above it would be no module any more, and the network that uses it would fail."""
    bound = set()
    for notebook in open_assignment(name).rubric.notebooks:
        cells = json.loads((REPO / "notebooks" / name / notebook).read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code" and not cell["metadata"].get("nbgrader", {}).get("solution"):
                source = re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", "".join(cell["source"]))
                bound |= {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert "model" in bound and not bound & MODULES


@pytest.mark.slow
@every_assignment
def test_solutions_are_handed_in_from_the_release_and_earn_all_that_needs_no_model_or_person(name, tmp_path):
    release, rubric, stubs = tmp_path / name, open_assignment(name).rubric, {}
    alone = {key for key, check in rubric.checks.items() if not any(need.startswith(("checkpoint", "answer")) for need in check.needs)}
    points, automatic = sum(rubric.checks[key].points for key in alone), sum(c.points for c in rubric.checks.values() if not c.manual)
    said = run("autograder", "release", name, "--out", tmp_path, "--unexamined", cwd=REPO)
    assert "none found" in said and (tmp_path / f"{name}.zip").is_file()
    assert f"reference solution: {points:g} of {points:g} points" in said and f"stub as released: 0 of {automatic:g} points" in said
    assert not (release / "segkit" / "reference").exists()
    for notebook in rubric.notebooks:
        stubs |= read_notebook(release / notebook)
        shutil.copy(REPO / "notebooks" / name / notebook, release / notebook)
    assert all("raise NotImplementedError()" in stubs[grade_id] for grade_id in rubric.defines)
    run("segkit", "submit", "--fast", cwd=release, codes=(0, 1))  # 1: a trained model is missing
    run("autograder", "grade", release / "submission.zip", "--assignment", name, "--data", "sample", "--out", tmp_path / "graded", cwd=REPO)
    (file,) = (tmp_path / "graded").glob("*/result.json")
    result = json.loads(file.read_text())
    assert result["assignment"] == name and [check["id"] for check in result["checks"]] == list(rubric.checks)
    for check in result["checks"]:
        if check["id"] in alone:
            assert check["points"] == check["max_points"] == rubric.checks[check["id"]].points, check


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != SAMPLED])  # of that one, a larger part is sat elsewhere
def test_entries_of_its_exam_come_out_as_expected(name):
    chosen = choose(open_assignment(name).folder, REPO / "notebooks" / name, ("mutants", "variants"))
    first = {(entry.kind, cell): entry for entry in reversed(chosen) for cell in entry.cells}  # one of a kind and cell
    outcomes = sit_exam(list({entry.name: entry for entry in first.values()}.values()), name, REPO)
    assert len(outcomes) >= 4 and [f"{o.entry.name}: {o.problem}" for o in outcomes if o.problem] == []


@every_assignment
def test_the_pictures_of_gates_can_be_shown_where_labels_must_not_be(name, tmp_path):
    """What `predict` needs, on the one of two machines that runs student code."""
    assignment = open_assignment(name)
    spec = dataset(assignment.rubric.dataset)
    data = assignment.hook("open_data")("sample", assignment.rubric, False)
    for pair in data.names:
        spec.image_path(tmp_path, pair).parent.mkdir(exist_ok=True)
        shutil.copy(spec.image_path(spec.find_root("sample"), pair), spec.image_path(tmp_path, pair))
    shown = assignment.hook("open_pictures")(str(tmp_path), assignment.rubric, True)
    first = shown.names[0]
    assert sorted(shown.names) == sorted(data.names) and shown.label(first) is None
    assert (shown.image(first) == data.image(first)).all()
