"""A bundle without weights, from the student's `submit` to the points of the gate: the weights are found by their hash."""

import json
import os

import pytest
import torch
from click.testing import CliRunner
from tiny import DOUBLE, NET, open_run, weights, write_submission

from autograder.judge.grade import grade_path
from segkit.checkpoints import save_checkpoint
from segkit.cli.submit import submit

FACTS = {
    "assignment": "tiny", "solution_cells": {"double": "double", "net": "DotNet"}, "notebooks": ["1_double.ipynb", "2_dots.ipynb"],
    "checkpoints": ["dots"], "checks": {"double": 4, "net.forward": 3, "net.accuracy": 3},
}  # fmt: skip
SPARE = 6_000_000  # weights that the network does not use: 24 MB as they are, 12 MB in half precision
WIDE = NET.replace("\n    def forward", f"        self.spare = nn.Linear({SPARE}, 2, bias=False)\n\n    def forward")
LIMIT = 20 * 10**6


@pytest.fixture
def handed_in(tmp_path):
    """A student's work, its code-only bundle, and the shared drive that the bundle names."""
    work = write_submission(tmp_path / "ada", DOUBLE, WIDE)
    (work / "assignment.json").write_text(json.dumps(FACTS))
    (work / "checkpoints").mkdir()
    save_checkpoint(work / "checkpoints" / "dots.safetensors", weights() | {"spare.weight": torch.zeros(2, SPARE)})
    bundle = tmp_path / "ada.zip"
    outcome = CliRunner().invoke(
        submit, ["--folder", str(work), "--out", str(bundle), "--code-only", "--where", "drive/ada/dots.safetensors"]
    )
    assert outcome.exit_code == 0, outcome.output
    (tmp_path / "drive" / "ada").mkdir(parents=True)
    os.replace(work / "checkpoints" / "dots.safetensors", tmp_path / "drive" / "ada" / "dots.safetensors")
    return bundle, tmp_path / "drive", outcome.output


def gate(tmp_path, bundle, **more):
    with open_run(tmp_path / "out", only=("net.accuracy",), **more) as run:
        (check,) = grade_path(run, bundle, "ada")["checks"]
    return check


@pytest.mark.slow
def test_the_gate_has_its_points_although_the_bundle_holds_no_weights(tmp_path, handed_in):
    bundle, drive, said = handed_in
    weights_size = (drive / "ada" / "dots.safetensors").stat().st_size
    assert bundle.stat().st_size < 20_000 < LIMIT < weights_size
    assert "named by its hash; the file itself must lie in: drive/ada/dots.safetensors" in said
    check = gate(tmp_path, bundle, checkpoints=drive.parent)
    assert (check["points"], check["status"]) == (3.0, "earned")


@pytest.mark.slow
def test_the_file_is_found_wherever_it_lies_and_whatever_its_name(tmp_path, handed_in):
    bundle, drive, _ = handed_in
    (drive / "old").mkdir()
    os.replace(drive / "ada" / "dots.safetensors", drive / "old" / "epoch 25.safetensors")
    save_checkpoint(drive / "ada" / "dots.safetensors", weights(good=False))  # of the right name, and of no use
    assert gate(tmp_path, bundle, checkpoints=drive)["points"] == 3.0


def refused(check, *words):
    assert (check["points"], check["status"], check["cause"]) == (None, "could_not_grade", "checkpoint.elsewhere"), "never a zero"
    for word in words:
        assert word in check["message"]


def test_a_file_that_is_not_there_could_not_be_graded_and_says_what_to_do(tmp_path, handed_in):
    bundle, drive, _ = handed_in
    (drive / "ada" / "dots.safetensors").unlink()
    check = gate(tmp_path, bundle, checkpoints=drive)
    refused(check, "'drive/ada/dots.safetensors'", "no such file lies where the grader was told to look",
            "put it below the folder of --checkpoints and grade again")  # fmt: skip


def test_a_grader_that_was_not_told_where_says_so(tmp_path, handed_in):
    refused(gate(tmp_path, handed_in[0]), "the grader was given no --checkpoints FOLDER to look in")


def test_a_file_that_was_changed_after_the_hand_in_is_named(tmp_path, handed_in):
    bundle, drive, _ = handed_in
    path = drive / "ada" / "dots.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(gate(tmp_path, bundle, checkpoints=drive.parent), "the file there is another one", f"({len(content)} bytes, sha256 ",
            "Put back the file that was handed in, or hand in again, and grade again")  # fmt: skip


def test_another_students_file_of_the_same_name_is_not_mentioned(tmp_path, handed_in):
    bundle, drive, _ = handed_in
    (drive / "ada" / "dots.safetensors").unlink()
    (drive / "ben").mkdir()
    save_checkpoint(drive / "ben" / "dots.safetensors", weights())
    check = gate(tmp_path, bundle, checkpoints=drive)
    refused(check, "no such file lies")
    assert "ben" not in check["message"]
