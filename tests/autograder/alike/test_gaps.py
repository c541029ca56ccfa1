"""The gap between training and test pictures: measured by the gates themselves, and who is far from the class."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_class import fake_result, set_check
from PIL import Image
from torch import nn

from autograder.alike.gaps import Gap, Gaps, find_gaps, gap_notes, gates_of, link_training, score_of
from autograder.alike.page import write_notes
from autograder.assignments.fcn import prepare as fcn
from autograder.assignments.satellite import measuring
from autograder.assignments.satellite import prepare as satellite
from autograder.cli import main
from autograder.course.assignment import open_assignment
from segkit.checkpoints import save_checkpoint
from segkit.datasets import DataError, PairDataset
from segkit.datasets.satellite import make_sample
from segkit.reference import confusion_matrix, read_label, scores

NARROW = """import torch
from torch import nn

class FCN8s(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.features, self.score = nn.Conv2d(3, 24, 5, padding=2), nn.Conv2d(24, n_class, 1)

    def forward(self, x):
        return self.score(torch.relu(self.features(x)))
"""


def gaps_of(*pairs, name="fcn8s.miou"):
    found = [Gap(f"student{number:02}", training, test) for number, (training, test) in enumerate(pairs)]
    return Gaps(name, "mean IoU", 12, tuple(sorted(found, key=lambda gap: (gap.size, gap.name))), {})


def usual(count, seed=0):
    """People who trained on the training pictures, each for themselves."""
    draw = random.Random(seed)
    tests = [draw.gauss(0.45, 0.03) for _ in range(count)]
    return [(round(test + draw.gauss(0.12, 0.02), 4), round(test, 4)) for test in tests]


# -------------------------------------------------------------------------------------------------------- who is far off
def test_a_class_of_honest_people_has_no_note():
    noted = sum(bool(list(gap_notes([gaps_of(*usual(60, seed))]))) for seed in range(100))
    assert noted <= 5, f"of 100 drawn classes {noted} have one"


def test_who_trained_on_the_test_pictures_and_who_knows_the_others_by_heart_are_noted_with_both_numbers():
    notes = list(gap_notes([gaps_of(*usual(30), (0.55, 0.56), (0.93, 0.41))]))
    assert [note.names for note in notes] == [("student30",), ("student31",)] and {note.kind for note in notes} == {"gap"}
    assert "0.550 on 12 training pictures, 0.560 on the test pictures" in notes[0].says and "far below" in notes[0].says
    assert "0.930" in notes[1].says and "far above" in notes[1].says


def test_who_learnt_little_has_a_small_gap_and_no_note():
    assert list(gap_notes([gaps_of(*usual(30), (0.13, 0.13))])) == []


def test_those_who_did_the_same_do_not_hide_each_other():
    """By mean and standard deviation none of these eight would be three deviations off."""
    pairs = [*usual(52), *[(0.52 + 0.001 * number, 0.53) for number in range(8)]]
    sizes = [training - test for training, test in pairs]
    assert min(sizes) > np.mean(sizes) - 3 * np.std(sizes)
    assert [note.names[0] for note in gap_notes([gaps_of(*pairs)])] == [f"student{number}" for number in range(52, 60)]


def test_seven_networks_say_nothing_of_what_is_usual_nor_do_copies_of_one():
    assert list(gap_notes([gaps_of(*usual(6), (0.5, 0.6))])) == []
    assert list(gap_notes([gaps_of(*usual(6), *[(0.57, 0.45)] * 20, (0.5, 0.6))])) != [], "eight different ones"
    assert list(gap_notes([gaps_of(*usual(5), *[(0.57, 0.45)] * 20, (0.5, 0.6))])) == []


# ------------------------------------------------------------------------------------------------------------- two results
@pytest.mark.parametrize(("measured", "message", "expected"), [
    ({"mean_iou": 0.35, "full": 0.4}, "Expected mean IoU of ...", 0.35),
    ({"mean_iou": 0.6, "of_the_network": 0.2}, "Your class FCN8s has ...", 0.2),
    ({"mean_iou": 0.6, "of_the_network": 0.0}, "Your class FCN8s has ...", 0.0),
    ({"mean_iou": 0.6, "of_the_network": None}, "Your class FCN8s has ...", 0.6),
    ({"accuracy": 0.8, "full": 0.65}, "Accuracy 0.8000 on ...", 0.8),
    ({"mean_iou": 0.7, "fcn16s": 0.7, "fcn8s": 0.6, "fcn32s": 0.5}, "Mean IoU: fcn16s 0.7000, ...", 0.7),
    (None, "forward raised ValueError: Mean IoU 0.9999, pixel accuracy 1.0000", None),
    ({}, "No checkpoint: expected ...", None),
])  # fmt: skip
def test_the_number_is_the_judges_own(measured, message, expected):
    assert score_of({"measured": measured, "message": message}) == expected


@pytest.mark.parametrize(("assignment", "gates"), [
    ("fcn", ["pretraining.miou", "fcn8s.miou"]), ("satellite", ["fcn32s.miou", "improved.miou"]),
])  # fmt: skip
def test_gates_are_measured_on_what_was_laid_out(assignment, gates, tmp_path):
    """The classifier has pictures of another kind, which may not be there."""
    assert [check.id for check in gates_of(open_assignment(assignment).rubric, tmp_path)] == gates
    (tmp_path / "val_50").mkdir()
    found = [check.id for check in gates_of(open_assignment(assignment).rubric, tmp_path)]
    assert found == [*(["classifier.accuracy"] if assignment == "satellite" else []), *gates]


def test_hand_ins_without_a_measured_gate_are_listed_with_the_reason(tmp_path):
    tested = {name: set_check(fake_result(name), "fcn8s.miou", 3, "gate.low", {"mean_iou": 0.3}, "low") for name in ("ada", "ben", "cleo")}
    trained = {name: set_check(fake_result(name), "fcn8s.miou", 6, "gate.low", {"mean_iou": 0.4}, "") for name in ("ada", "ben")}
    set_check(tested["ben"], "fcn8s.miou", 0, "checkpoint.missing", {}, "No checkpoint: expected one.\nTrain.")
    _, gate = find_gaps(tested, trained, gates_of(open_assignment("fcn").rubric, tmp_path))
    assert gate.found == (Gap("ada", 0.4, 0.3),) and gate.pictures == 48
    assert gate.nothing["ben"] == "not measured on the test pictures: No checkpoint: expected one."
    assert gate.nothing["cleo"] == "not measured on the training pictures: it has no such gate"
    page = write_notes([], tmp_path, "fcn", [], [gate]).read_text(encoding="utf-8")
    assert page.count("nothing to compare") == 2 and "0.4000</td><td>0.3000</td><td>+0.1000" in page
    kept = json.loads((tmp_path / "alike.json").read_text())["gaps"]
    assert kept[0]["found"] == {"ada": {"training": 0.4, "test": 0.3, "gap": 0.1}} and list(kept[0]["nothing"]) == ["ben", "cleo"]


# ---------------------------------------------------------------------------------------------------------------- pictures
@pytest.mark.parametrize("prepare", [fcn, satellite], ids=["fcn", "satellite"])
def test_training_pictures_are_laid_out_as_own_ones(prepare, tmp_path):
    """The judge opens as many, and in them it reads what the notebooks' data set has in the training list."""
    spec = prepare.SPEC
    assert link_training(spec, None, "sample", 3, tmp_path) == 3
    data = prepare.open_data(str(tmp_path), open_assignment(spec.name if spec.name != "facades" else "fcn").rubric, own=True)
    reader = read_label if prepare is fcn else satellite.read_mask
    pairs = PairDataset(spec, spec.find_root("sample"), "sample", "train", read_label=reader)
    known = [label.numpy() for _, label in pairs]
    assert len(data.names) == 3 and data.split == "own"
    found = [[np.array_equal(data.label(name), label) for label in known].index(True) for name in data.names]
    assert found == sorted(set(found)) and found[0] < len(known) / 3 and found[-1] > len(known) / 2, "spread over the list"


def test_a_classifier_is_asked_about_training_pictures_in_the_place_of_as_many_of_the_others(tmp_path):
    """The judge's own reader finds them there."""
    make_sample(place := tmp_path / "in", 3)
    for part, count in (("train_50", 90), ("val_50", 10)):
        (place / part).mkdir()
        for number in range(count):
            Image.new("RGB", (32, 32), (2 * number, 0, 0 if part == "train_50" else 255)).save(
                place / part / f"{number // 9}_{number:03}.png"
            )
    link_training(satellite.SPEC, str(place), "sample", 2, tmp_path / "out")
    settings, check = (
        SimpleNamespace(gate_data=str(tmp_path / "out"), data=None),
        open_assignment("satellite").rubric.checks["classifier.accuracy"],
    )
    grading = SimpleNamespace(context=SimpleNamespace(run=SimpleNamespace(settings=settings)), check=check)
    pictures, limits = measuring._pictures(grading)
    assert limits == check.settings["course"] and list(pictures.labels) == list(range(10)), "one of each ninth"
    assert all(image[2].max() < 0 for image, _ in pictures), "no blue: none of those to test"


def test_the_page_says_of_which_number_a_gap_is(tmp_path):
    (gate,) = [one for one in gates_of(open_assignment("satellite").rubric) if one.id == "classifier.accuracy"]
    sides = [
        {f"s{n}": fake_result(f"s{n}", checks=[{"id": gate.id, "measured": {"accuracy": value(n)}}]) for n in range(9)}
        for value in (lambda n: 0.7 + 0.01 * n, lambda n: 0.72 + 0.01 * n if n else 1.0)
    ]
    (found,) = find_gaps(*sides, [gate])
    page = write_notes([*gap_notes([found])], tmp_path, "satellite", [], [found]).read_text(encoding="utf-8")
    assert "Accuracy on as many training pictures less that on the test pictures, for 9 submissions" in page
    assert "classifier.accuracy: accuracy 1.000 on as many training pictures, 0.700 on the test pictures." in page and "ean IoU" not in page


def test_a_folder_without_training_pictures_is_named(tmp_path):
    (tmp_path / "in" / "base").mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected the training pictures of split base, found none of 300. .* --data"):
        link_training(fcn.SPEC, str(tmp_path / "in"), "base", 3, tmp_path / "out")


# ----------------------------------------------------------------------------------------------------------------- command
def run(*words):
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def fitted(part):
    """A small network, its last layer fitted by least squares to the pictures of a part of the sample."""
    pairs = PairDataset(fcn.SPEC, fcn.SPEC.find_root("sample"), "sample", part, read_label=read_label)
    torch.manual_seed(0)
    names: dict = {}
    exec(NARROW, names)
    net, rows, wanted = names["FCN8s"](), [], []
    with torch.no_grad():
        for image, label in (pairs[number] for number in range(4)):
            rows.append(torch.relu(net.features(image[None]))[0, :, ::2, ::2].flatten(1).T.double())
            wanted.append(label[::2, ::2].flatten())
        known = (labels := torch.cat(wanted)) < 12
        x = torch.cat([torch.cat(rows), torch.ones(len(known), 1)], 1)[known]
        solved = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(25), x.T @ nn.functional.one_hot(labels[known], 12).double())
        net.score.weight.copy_(solved[:-1].T[:, :, None, None])
        net.score.bias.copy_(solved[-1])
    return net


def by_hand(net, part, numbers):
    """Mean IoU without judge, worker or gate."""
    pairs = PairDataset(fcn.SPEC, fcn.SPEC.find_root("sample"), "sample", part, read_label=read_label)
    with torch.no_grad():
        maps = [(net(pairs[number][0][None])[0].argmax(0), pairs[number][1]) for number in numbers]
    return scores(sum(confusion_matrix(pred.numpy(), gt.numpy(), 12) for pred, gt in maps))[2]


@pytest.mark.slow
def test_networks_are_measured_on_training_pictures_behind_the_walls_and_once(tmp_path):
    nets = {"ada": fitted("train"), "mallory": fitted("test")}
    for name, net in nets.items():
        folder = tmp_path / "in" / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "fcn8s.py").write_text(NARROW)
        save_checkpoint(folder / "checkpoints" / "fcn8s.safetensors", net.state_dict())
    (tmp_path / "in" / "nora").mkdir()
    (tmp_path / "in" / "nora" / "fcn8s.py").write_text(NARROW)
    people, out = sorted((tmp_path / "in").iterdir()), tmp_path / "graded"
    done = run("grade", *people, "--out", out, "--only", "fcn8s.miou", "--data", "sample", "--device", "cpu")
    assert done.exit_code == 0, done.output
    before = {path: path.read_bytes() for path in out.glob("*/result.json")}
    done = run("alike", out, "--training", 4, "--device", "cpu")
    assert "pretraining.miou, fcn8s.miou on 4 training pictures:" in done.output and done.exit_code == 0, done.output
    gate = json.loads((out / "alike.json").read_text())["gaps"][1]
    assert list(gate["nothing"]) == ["nora"] and "No checkpoint" in gate["nothing"]["nora"] and gate["limit"] is None
    for name, net in nets.items():
        expected = {"test": by_hand(net, "test", range(4)), "training": by_hand(net, "train", [3, 9, 15, 21])}
        for of, value in expected.items():
            assert gate["found"][name][of] == pytest.approx(value, abs=0.01), (name, of)
    assert before == {path: path.read_bytes() for path in out.glob("*/result.json")}, "no result is touched"
    (tmp_path / "in" / "nora" / "checkpoints.json").write_text('{"fcn8s": {"sha256": "%s", "bytes": 9, "where": "drive"}}' % ("a" * 64))
    again = run("alike", out, "--training", 4, "--device", "cpu")
    assert "2 of 3 were graded before, 1 left" in again.output
    assert again.exit_code == 1 and "On training pictures 1 could not be measured: nora." in again.output


def test_options_for_training_pictures_are_not_passed_over(tmp_path):
    done = run("alike", tmp_path, "--data", "sample")
    assert done.exit_code == 2 and "--data: expected --training N too" in done.output


def test_an_assignment_without_such_gates_says_so(tmp_path, monkeypatch):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "result.json").write_text(json.dumps(fake_result("ada")))
    monkeypatch.setattr("autograder.alike.gaps.gates_of", lambda rubric, root=None: [])
    done = run("alike", tmp_path, "--training", 3)
    assert done.exit_code == 2 and "has no gate on labelled pictures" in done.output
