"""``grade --retrain``: the class is trained in the worker and graded; labels of the test list and checkpoints stay out of reach."""

import itertools
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix as sk_confusion_matrix
from sklearn.metrics import jaccard_score
from tiny import NET, TINY, InProcess, open_run, weights, write_submission
from torch import nn

from autograder.cli.grade import grade_command
from autograder.course.rubric import RubricError
from autograder.judge.grade import grade_path
from autograder.judge.retraining import Retraining, retrained_in_words
from autograder.sandbox import retraining
from segkit.facades import FacadeDataset


def graded(tmp_path, name, net=NET, checkpoint=None, minutes=1.0, **more):
    folder = write_submission(tmp_path / name, net=net, checkpoint=checkpoint)
    settings = {"only": ("net.accuracy",), "retraining": Retraining(minutes, "course", **more)}
    with open_run(tmp_path / "out", **settings) as run:
        result = grade_path(run, folder, name)
        return result | {"cached": len(list((run.settings.out / ".gates").glob("gate-*.npz")))}


@pytest.mark.slow
def test_a_class_without_a_checkpoint_is_trained_and_graded(tmp_path):
    first = graded(tmp_path, "ada", epochs=2)
    check = first["checks"][0]
    assert check["status"] in ("earned", "partial", "not_earned") and check["cause"] in (None, "gate.low"), check
    (note,) = first["notes"]
    assert re.match(r"net.accuracy: trained again from scratch, recipe course: 2 epochs in \d+\.\d min \(best epoch [12], mean ", note)
    assert first["cached"] == 1
    again = graded(tmp_path, "bob", epochs=2)
    assert again["notes"] == first["notes"] and again["cached"] == 1  # the same class, training and pictures
    assert graded(tmp_path, "eve", epochs=3)["cached"] == 2


@pytest.mark.slow
def test_a_perfect_checkpoint_is_of_no_use(tmp_path):
    with_it = graded(tmp_path / "a", "ada", checkpoint=weights(), epochs=1)["checks"][0]
    without = graded(tmp_path / "b", "ada", epochs=1)["checks"][0]
    assert {k: with_it[k] for k in ("points", "measured")} == {k: without[k] for k in ("points", "measured")} and with_it["points"] < 3


@pytest.mark.slow
def test_a_network_that_cannot_be_trained_earns_nothing_and_is_told_why(tmp_path):
    with open_run(tmp_path / "out", only=("net.accuracy",), retraining=Retraining(1.0, "course", epochs=1)) as run:
        for forward, words in {
            "return self.conv(x)[:, :, 1:]": "expected network output", "return self.conv(x) * float('nan')": "NaN|nan|finite",
            "raise ValueError('not mine')": "not mine",
        }.items():  # fmt: skip
            net = NET.replace("return self.conv(x)", forward)
            (check,) = grade_path(run, write_submission(tmp_path / "ada", net=net), "ada")["checks"]
            assert check["status"] == "not_earned" and re.search(words, check["message"]), check


@pytest.mark.slow
def test_when_the_time_is_over_what_there_is_is_graded(tmp_path):
    slow = NET.replace("return self.conv(x)", "import time; time.sleep(0.02); return self.conv(x)")
    result = graded(tmp_path, "ada", net=slow, minutes=0.2, epochs=1000)
    (note,) = result["notes"]
    assert re.search(r"stopped after 0.2 min, with [1-9]\d* of 1000 epochs done", note), note
    assert result["checks"][0]["status"] != "could_not_grade"


@pytest.mark.slow
def test_time_that_does_not_do_for_one_epoch_is_not_the_students_fault(tmp_path):
    slow = NET.replace("return self.conv(x)", "import time; time.sleep(1); return self.conv(x)")
    check = graded(tmp_path, "ada", net=slow, minutes=0.05)["checks"][0]
    assert (check["points"], check["status"], check["cause"]) == (None, "could_not_grade", "grader.budget")
    assert "DotNet was trained again for 0.05 minutes" in check["message"] and "--retrain-minutes" in check["message"]


class Forger(InProcess):
    """Trains for a moment, and answers what it likes."""

    def retrain(self, handle, seconds, **how):
        time.sleep(0.5)
        return {"epochs": 9**9, "best_epoch": 1, "mean_iou": 1.0, "seconds": 1.0, "in_time": True}


def test_how_long_a_training_has_taken_is_told_by_the_judges_own_clock(tmp_path, monkeypatch):
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", Forger)
    monkeypatch.setattr("autograder.judge.retraining.GLANCE", 0.1)
    monkeypatch.setattr("autograder.judge.retraining.time", SimpleNamespace(monotonic=itertools.count(0, 90).__next__))
    told = []
    with open_run(tmp_path / "out", only=("net.accuracy",), retraining=Retraining(30)) as run:
        grade_path(run, write_submission(tmp_path / "ada"), "ada", progress=told.append)
    assert told[:3] == ["net.accuracy", "net.accuracy 1.5/30 min of training", "net.accuracy 3.0/30 min of training"]
    assert len(told) <= 6


# ------------------------------------------------------------------------------------------------------- within the worker
@pytest.fixture
def pictures(tmp_path):
    with open_run(tmp_path / "out", retraining=Retraining(1)) as run:
        folder = run.folder / "training"
        listed = json.loads((folder / "list.json").read_text())
        yield folder, listed


class Learner(nn.Module):
    def __init__(self, pause=0.0, spoiled=0):
        super().__init__()
        self.spoiled = spoiled
        torch.manual_seed(0)
        self.conv, self.steps, self.pause = nn.Conv2d(3, 2, 1), 0, pause

    def forward(self, x):
        import time

        self.steps += self.training
        time.sleep(self.pause)
        if self.training and 0 < self.spoiled < self.steps:
            with torch.no_grad():
                self.conv.bias.copy_(torch.tensor([9.0, -9.0]))
        return self.conv(x)


def run(model, pictures, tmp_path, epochs=3, seconds=60.0):
    folder, listed = pictures
    return retraining.retrain(model, folder, listed["train"], listed["held_out"], "course", epochs, seconds, "cpu", tmp_path / "work")


def test_held_out_pictures_are_not_learnt_from(pictures, tmp_path):
    folder, listed = pictures
    assert not set(listed["train"]) & set(listed["held_out"]) and len(listed["train"]) + len(listed["held_out"]) == 12
    model = Learner()
    found = run(model, pictures, tmp_path)
    assert model.steps == 3 * len(listed["train"]) and found["epochs"] == 3 and found["in_time"]


def test_the_network_has_the_weights_of_its_best_epoch(pictures, tmp_path):
    model = Learner()
    found = run(model, pictures, tmp_path)
    assert found["best_epoch"] > 0 and found["mean_iou"] == pytest.approx(held_out_iou(model, pictures))


def held_out_iou(model, pictures):
    """Mean IoU on the held-out pictures by scikit-learn."""
    folder, listed = pictures
    truth, guess = [], []
    for image, label in FacadeDataset(folder, names=listed["held_out"], read_label=retraining.read_label):
        with torch.no_grad():
            guess.append(model.eval()(image[None]).argmax(1).flatten())
        truth.append(label.flatten())
    return jaccard_score(torch.cat(truth), torch.cat(guess), average="macro")


def test_the_clock_stops_the_training_and_the_best_epoch_counts(pictures, tmp_path):
    model = Learner(pause=0.01, spoiled=30)  # one class is all that it knows from the third epoch on
    found = run(model, pictures, tmp_path, epochs=10_000, seconds=4.0)
    assert not found["in_time"] and 0 < found["best_epoch"] <= found["epochs"] < 1000 and found["seconds"] < 20
    assert found["mean_iou"] == pytest.approx(held_out_iou(model, pictures))
    short = Learner(pause=1.0)
    before = short.conv.weight.detach().clone()
    found = run(short, pictures, tmp_path / "short", epochs=5, seconds=6.0)
    assert (found["epochs"], found["best_epoch"], found["mean_iou"]) == (0, 0, None)
    assert 0 < short.steps < 12 and not torch.equal(short.conv.weight, before)


def test_counts_and_scores_within_the_worker_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, 400), rng.integers(0, 5, 400)
    truth[:50] = 255
    hist = retraining.confusion_matrix(torch.from_numpy(guess).view(20, 20), torch.from_numpy(truth).view(20, 20), 6)
    assert np.array_equal(hist, sk_confusion_matrix(truth[50:], guess[50:], labels=range(6)))
    accuracy, iou, mean = retraining.scores(hist)
    assert accuracy == pytest.approx((truth[50:] == guess[50:]).mean()) and np.isnan(iou[5])
    assert mean == pytest.approx(jaccard_score(truth[50:], guess[50:], average="macro"))


# ------------------------------------------------------------------------------------------------------------- bad input
def test_an_assignment_without_training_pictures_says_so(tmp_path, monkeypatch):
    from autograder.course.assignment import Assignment

    hook = Assignment.hook
    monkeypatch.setattr(Assignment, "hook", lambda self, name: None if name == "write_training" else hook(self, name))
    with pytest.raises(RubricError, match="has no training pictures"), open_run(tmp_path / "out", retraining=Retraining(1)):
        pass


def test_retraining_and_handed_over_predictions_exclude_each_other(tmp_path):
    (tmp_path / "p").mkdir()
    done = CliRunner().invoke(grade_command, [str(write_submission(tmp_path / "ada")), "--out", str(tmp_path / "out"), "--assignment",
                                              str(TINY), "--retrain", "--predictions", str(tmp_path / "p")])  # fmt: skip
    assert done.exit_code == 2 and "give one of them" in done.output and not Path(tmp_path / "out").exists()


def test_words_tell_a_stop_from_an_end():
    facts = {"epochs": 3, "of": 25, "seconds": 600.0, "minutes": 10, "best_epoch": 2, "mean_iou": 0.1234, "recipe": "fast",
             "begun": "from scratch", "in_time": False}  # fmt: skip
    text = retrained_in_words(facts)
    assert text == ("trained again from scratch, recipe fast: stopped after 10 min, with 3 of 25 epochs done (best epoch 2, mean IoU 0.123 "
                    "on held-out training pictures)")  # fmt: skip
    assert "25 epochs in 10.0 min" in retrained_in_words(facts | {"epochs": 25, "in_time": True})
