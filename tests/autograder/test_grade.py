"""One submission becomes one result: valid, repeatable, and fair to whoever is not at fault."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import DOUBLE, NET, SECRET, InProcess, cell, grade, notebook, open_run, weights, write_submission

from autograder.course.seeds import SECRET_FILE, SECRET_VARIABLE, SecretError, Seeds, course_secret
from autograder.judge.gates import _predict_all, grained, mirrored
from autograder.judge.grade import grade_path
from autograder.judge.run import Run
from autograder.report.result_schema import validate
from segkit.checkpoints import save_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    with open_run(tmp_path_factory.mktemp("out")) as run:
        yield run


@pytest.fixture
def in_process(monkeypatch) -> None:
    """The student's code runs in this process: a tenth of the time where the worker is not what is tested."""
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)


@pytest.fixture(scope="module")
def perfect(run, tmp_path_factory) -> dict:
    return grade(run, write_submission(tmp_path_factory.mktemp("alice"), checkpoint=weights()))


def statuses(result: dict) -> dict[str, str]:
    return {name: check["status"] for name, check in result["checks"].items()}


def causes(result: dict) -> list:
    return [check["cause"] for check in result["checks"].values()]


def test_a_perfect_submission_earns_everything_and_its_result_is_valid(perfect, run):
    validate(perfect | {"checks": list(perfect["checks"].values())})
    assert perfect["score"] == 10 and perfect["max_score"] == 15 and perfect["needs_manual"] == 5
    assert list(perfect["checks"]) == ["double", "net.forward", "net.accuracy", "question"]
    assert perfect["assignment"] == "tiny" and perfect["isolation"] == run.isolation
    (note,) = perfect["notes"]
    assert re.fullmatch(r"net.accuracy: 4 pictures in \d+\.\d s on the CPU, float32, at most \d+ MiB\.", note)
    assert perfect["data"] == {"source": "drawn dots", "split": "drawn", "images": 4} and len(perfect["submission_sha256"]) == 64
    json.dumps(perfect, allow_nan=False)


def test_workers_have_the_file_of_an_assignment_that_writes_none_of_its_own(run):
    """An assignment without ``assignment_file`` is a whole one: its exam and ``take`` read the file too."""
    content = json.loads((run.folder / "edition" / "assignment.json").read_text())
    assert content["solution_cells"] == {"double": "double", "net": "DotNet"} and content["checkpoints"] == ["dots"]


def test_the_secret_itself_stands_in_no_result(perfect):
    assert SECRET not in json.dumps(perfect) and perfect["seed"] == Seeds(SECRET).name != Seeds("other").name


def test_an_untouched_submission_earns_nothing_and_each_check_says_where_to_work(run, in_process, tmp_path):
    stub = "def double(values):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    net = "from torch import nn\nclass DotNet(nn.Module):\n    def __init__(self, n_class=2):\n        super().__init__()\n" \
          "        raise NotImplementedError()"  # fmt: skip
    result = grade(run, write_submission(tmp_path, stub, net))
    assert result["score"] == 0 and causes(result)[:3] == ["code.unfinished", "code.unfinished", "checkpoint.missing"]
    assert "1_double.ipynb, cell 2" in result["checks"]["double"]["message"]
    assert "2_dots.ipynb, cell 1, line 5" in result["checks"]["net.forward"]["message"]


@pytest.mark.parametrize(("double", "cause", "words"), [
    (None, "code.missing", "grade id 'double' is missing"),
    ("def double(values:\n    return values", "code.syntax", "1_double.ipynb, cell 2, line 1"),
    ("raise ValueError('first')\ndef double(values):\n    return values * 2", None, ""),
    ("FACTOR = 1 / 0\ndef double(values, factor=FACTOR):\n    return values * factor", "code.raises", "ZeroDivisionError"),
    ("def double(values):\n    return values + values.missing", "code.raises", "cell 2, line 2, in double"),
    ("def double(values):\n    return values * 3", "double.wrong", "every value twice"),
    ("class double:\n    return 5", "code.raises", "1_double.ipynb, cell 2, line 2"),
])  # fmt: skip
def test_a_mistake_costs_its_own_check_and_no_other(run, in_process, tmp_path, double, cause, words):
    result = grade(run, write_submission(tmp_path, double))
    assert result["checks"]["double"]["cause"] == cause
    assert words in result["checks"]["double"]["message"]
    assert result["checks"]["double"]["status"] == ("not_earned" if cause not in (None, "double.wrong") else
                                                    "partial" if cause else "earned")  # fmt: skip
    assert result["checks"]["net.forward"]["status"] == "earned"


@pytest.mark.parametrize(("double", "cause", "words"), [
    ("import os\ndef double(values):\n    os._exit(0)", "code.died", "os._exit"),
    ("def double(values):\n    while True: pass", "code.timeout", "no reply within 3 s"),
])  # fmt: skip
def test_a_worker_that_dies_or_hangs_costs_its_own_check_and_no_other(run, monkeypatch, tmp_path, double, cause, words):
    monkeypatch.setattr(run, "settings", replace(run.settings, seconds=3.0))
    result = grade(run, write_submission(tmp_path, double))
    assert causes(result)[:2] == [cause, None] and words in result["checks"]["double"]["message"]


def test_partial_credit_names_the_cause_and_what_was_measured(run, in_process, tmp_path):
    check = grade(run, write_submission(tmp_path, "def double(values):\n    return values * 3"))["checks"]["double"]
    assert (check["points"], check["cause"], check["measured"]) == (1, "double.wrong", {"n": 7})


def test_the_same_seed_gives_the_same_result(run, perfect, tmp_path):
    again = grade(run, write_submission(tmp_path, checkpoint=weights()))
    fixed = [{k: v for k, v in check.items() if k != "seconds"} for check in again["checks"].values()]
    assert fixed == [{k: v for k, v in check.items() if k != "seconds"} for check in perfect["checks"].values()]
    assert again["seed"] == perfect["seed"] and again["submission_sha256"] == perfect["submission_sha256"]


# --------------------------------------------------------------------------------------------------------------- gates
def test_a_weak_checkpoint_earns_its_share_and_says_what_was_measured(run, in_process, tmp_path):
    check = grade(run, write_submission(tmp_path, checkpoint=weights(good=False)))["checks"]["net.accuracy"]
    assert check["status"] in ("partial", "not_earned") and check["cause"] == "gate.low"
    labels = np.concatenate([run.data.label(name).ravel() for name in run.data.names])
    assert check["measured"]["accuracy"] == pytest.approx(labels.mean(), abs=1e-6)


@pytest.mark.parametrize(("make", "status", "cause", "words"), [
    (lambda folder: None, "not_earned", "checkpoint.missing", "checkpoints/dots.safetensors"),
    (lambda folder: (folder / "dots.pth").write_bytes(b"rubbish"), "not_earned", "checkpoint.unreadable", "not a checkpoint"),
    (lambda folder: torch.save(torch.nn.Linear(1, 1), folder / "dots.pth"), "not_earned", "checkpoint.unreadable",
     "torch.save(model.state_dict()"),
    (lambda folder: save_checkpoint(folder / "dots.pth", {"conv.weight": torch.zeros(3, 3, 1, 1), "conv.bias": torch.zeros(3)}),
     "not_earned", "checkpoint.unreadable", "expected (2, 3, 1, 1), found (3, 3, 1, 1)"),
    (lambda folder: save_checkpoint(folder / "dots.pth", weights(), torch.float16), "earned", None, ""),
    (lambda folder: torch.save({"model_state_dict": {f"module.{k}": v for k, v in weights().items()}}, folder / "dots.pth"),
     "earned", None, ""),
    (lambda folder: (folder.parent / "checkpoints.json").write_text('{"dots": {"sha256": "ab", "bytes": 3, "where": "my drive"}}'),
     "could_not_grade", "checkpoint.elsewhere", "my drive"),
])  # fmt: skip
def test_a_checkpoint_is_read_or_the_reason_is_given(run, in_process, tmp_path, make, status, cause, words):
    folder = write_submission(tmp_path)
    (folder / "checkpoints").mkdir()
    make(folder / "checkpoints")
    result = grade(run, folder)
    check = result["checks"]["net.accuracy"]
    assert (check["status"], check["cause"]) == (status, cause) and words in check["message"]
    assert statuses(result)["double"] == statuses(result)["net.forward"] == "earned"
    validate(result | {"checks": list(result["checks"].values())})


def test_without_pictures_a_gate_with_a_checkpoint_cannot_be_graded_and_one_without_is_not_earned(in_process, tmp_path):
    with open_run(tmp_path / "out", data=None) as run:
        without = grade(run, write_submission(tmp_path / "a"))
        having = grade(run, write_submission(tmp_path / "b", checkpoint=weights()))
    assert without["data"] is None and statuses(without)["net.accuracy"] == "not_earned"
    check = having["checks"]["net.accuracy"]
    assert (check["points"], check["status"], check["cause"]) == (None, "could_not_grade", "grader.data")
    assert "no pictures of dots were given" in check["message"] and having["score"] == 7


def test_pictures_are_asked_mirrored_as_the_seed_says_and_answers_are_turned_back(run):
    class Recorder:
        asked: list = []
        device = "cpu"

        def build(self, *_, **__):
            return "net"

        def load_checkpoint(self, *_):
            pass

        def forget(self, *_):
            pass

        def peak_bytes(self):
            return 2**30

        def predict(self, handle, image, precision="float32"):
            assert precision == "float32"
            self.asked.append(image)
            return (image[0] > 0.5).astype(np.uint8)

    class Grading:
        seeds = Seeds(SECRET)
        context = type("C", (), {"gate_progress": staticmethod(lambda *_: None), "data": run.data, "run": run})
        check = type("K", (), {"id": "net.accuracy"})

    flips = [mirrored(Grading, name) for name in run.data.names]
    assert set(flips) == {True, False}, "the drawn seed must mirror some pictures and not others"
    found = _predict_all(Recorder(), Grading, "DotNet", "dots")
    for flip, name, image in zip(flips, run.data.names, Recorder.asked, strict=True):
        shown = grained(Grading, name, run.data.image(name))
        assert np.array_equal(image, shown[:, :, ::-1] if flip else shown)
        assert np.array_equal(found[name], run.data.label(name))


def test_no_picture_of_a_gate_is_asked_as_it_lies_on_the_disk_and_its_change_cannot_be_seen():
    class Grading:
        seeds = Seeds(SECRET)

    class OtherCourse:
        seeds = Seeds("another secret")

    picture = np.random.default_rng(0).uniform(-2, 2, (3, 40, 64)).astype(np.float32)
    kept = picture.copy()
    changed = grained(Grading, "a", picture)
    step = np.abs(changed - picture)
    assert np.array_equal(picture, kept) and changed.dtype == np.float32
    assert 35 < (step > 0).sum() <= 3 * 40 * 64 // 200 and step.max() == pytest.approx(picture.std() / 60, rel=1e-3)
    assert (np.abs(changed - picture.mean()) <= np.abs(picture - picture.mean()) + 0.01).all(), "no value leaves its range"
    assert np.array_equal(changed, grained(Grading, "a", picture)), "the same for everybody in the course"
    assert not np.array_equal(changed, grained(Grading, "b", picture))
    assert not np.array_equal(changed, grained(OtherCourse, "a", picture))


def test_predictions_are_reused_for_the_same_network_and_checkpoint_and_for_no_other(in_process, tmp_path):
    asked = []
    with open_run(tmp_path / "out") as run:
        for name, net, checkpoint in (("a", NET, weights()), ("b", NET + "# mine\n", weights()), ("c", NET, weights(False)),
                                      ("d", NET.replace("self.conv(x)", "self.conv(x) * 1"), weights())):  # fmt: skip
            before = len(asked)
            grade_path(run, write_submission(tmp_path / name, net=net, checkpoint=checkpoint), name,
                       gate_progress=lambda *a: asked.append(a))  # fmt: skip
            assert len(asked) - before == (0 if name == "b" else 4), name
        cached = sorted((run.settings.out / ".gates").glob("gate-*.npz"))
    assert len(cached) == 3


def test_pictures_of_predictions_are_written_beside_the_result(run, in_process, tmp_path):
    grade_path(run, write_submission(tmp_path / "a", checkpoint=weights()), "a", tmp_path / "r")
    entries = json.loads((tmp_path / "r" / "pictures.json").read_text())
    assert {e["check"] for e in entries} == {"net.accuracy"} and len(entries) == 3
    for entry in entries:
        label, prediction = (np.array(Image.open(tmp_path / "r" / entry[key])) for key in ("label", "prediction"))
        assert (tmp_path / "r" / entry["image"]).is_file()
        assert entry["note"] == f"{100 * (label == prediction).mean():.0f}% of its pixels right"


# ---------------------------------------------------------------------------------------------------------------- faults
def test_what_cannot_be_read_at_all_could_not_be_graded(run, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK")
    result = grade(run, tmp_path / "broken.zip", "broken")
    validate(result | {"checks": list(result["checks"].values())})
    assert set(statuses(result).values()) == {"could_not_grade", "needs_manual"} and result["score"] == 0
    assert "ask for it again" in result["checks"]["double"]["message"]


def test_a_worker_that_cannot_be_started_is_nobodys_zero(tmp_path):
    with open_run(tmp_path / "out") as run:
        shutil.rmtree(run.folder / "edition" / "segkit")
        result = grade(run, write_submission(tmp_path / "a"))
    assert statuses(result)["double"] == "could_not_grade" and "did not start" in result["checks"]["double"]["message"]


def test_only_some_checks_may_be_asked_for(in_process, tmp_path):
    with open_run(tmp_path / "out", only=("double",)) as run:
        result = grade(run, write_submission(tmp_path / "a"))
    validate(result | {"checks": list(result["checks"].values())})
    assert list(result["checks"]) == ["double"] and result["max_score"] == 4


def test_definitions_of_another_notebook_and_of_scripts_are_found(run, in_process, tmp_path):
    notebook(tmp_path / "all.ipynb", cell("from nets import DotNet\n%matplotlib inline"), cell(DOUBLE))
    (tmp_path / "nets.py").write_text(NET)
    assert grade(run, tmp_path)["score"] == 7


# --------------------------------------------------------------------------------------------------------------- secret
def test_the_secret_is_made_once_and_is_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    first = course_secret(tmp_path)
    assert len(first) == 64 and course_secret(tmp_path) == first
    assert [p.name for p in tmp_path.iterdir()] == [SECRET_FILE]
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o077 == 0
    (tmp_path / SECRET_FILE).write_text("\n")
    with pytest.raises(SecretError, match="Remove the file"):
        course_secret(tmp_path)
    monkeypatch.setenv(SECRET_VARIABLE, "from the environment")
    assert course_secret(tmp_path) == "from the environment"


def test_the_project_never_commits_its_secret():
    ignored = Path(__file__).resolve().parents[2].joinpath(".gitignore").read_text().splitlines()
    assert SECRET_FILE in [line.strip("/") for line in ignored]
