"""What a gate of the assignment reads: a picture without its label, a label without its picture."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sk_confusion_matrix

from autograder.assignments.fcn.networks import FCN32S, NETWORKS
from autograder.assignments.fcn.prepare import open_data
from autograder.course.assignment import open_assignment
from autograder.judge.checking import CannotGrade, Grading, NeedsPerson
from autograder.segmentation import gate
from autograder.segmentation.gate import _count, judge
from autograder.segmentation.gate_network import GateNetwork
from segkit.datasets.facades import SPEC
from segkit.facades import N_CLASS, find_root, image_path, label_path
from segkit.layers import expected_layers
from segkit.reference import FCN8s, FCN32s
from segkit.subject import StudentError
from segkit.upsampling import crop_offsets

NAMES = ("cmp_s0029", "cmp_s0030")


@pytest.fixture
def facades(tmp_path):
    """Two facades as the instructor's own, and the folder they lie in."""
    (tmp_path / "base").mkdir()
    for name in NAMES:
        for path in (image_path, label_path):
            shutil.copy(path(find_root("sample"), name), path(tmp_path, name))
    return open_data(str(tmp_path), open_assignment("fcn").rubric, True), tmp_path


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


def test_a_picture_is_read_without_its_label(facades):
    data, root = facades
    before = data.image(NAMES[0])
    damage(label_path(root, NAMES[0]))
    assert np.array_equal(data.image(NAMES[0]), before) and before.shape == (3, *data.size(NAMES[0]))
    with pytest.raises(OSError):
        data.label(NAMES[0])


def test_labels_are_counted_without_reading_a_picture(facades):
    data, root = facades
    maps = {name: np.random.default_rng(0).integers(0, N_CLASS, data.size(name)).astype(np.uint8) for name in NAMES}
    for name in NAMES:
        damage(image_path(root, name))
    hist = _count(maps, data, N_CLASS)
    labels = np.concatenate([data.label(name).ravel() for name in NAMES])
    found = np.concatenate([maps[name].ravel() for name in NAMES])
    assert np.array_equal(hist, sk_confusion_matrix(labels[labels < 255], found[labels < 255], labels=range(N_CLASS)))
    with pytest.raises(OSError):
        data.image(NAMES[0])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reference"), [("fcn32s", FCN32s), ("fcn8s", FCN8s)])
def test_the_judges_network_computes_what_the_reference_does_under_a_students_names(name, reference):
    torch.manual_seed(0)
    network = reference(n_class=3).eval()
    for parameter in network.parameters():  # zero score layers would hide everything
        torch.nn.init.normal_(parameter, std=0.05)
    layers, crops = expected_layers(name, 3), crop_offsets(100)
    paths = {layer.path: f"parts.{layer.path}" for layer in layers if layer.kind != "MaxPool2d"}
    offsets, graph = {"output": [crops[name]] * 2, "pool4": [crops["pool4"]] * 2, "pool3": [crops["pool3"]] * 2}, NETWORKS[name].graph
    steps = [[up.layer, up.skip and [up.skip.name, up.skip.tap, up.skip.layer]] for up in graph.upsamplings]
    settings = {layer.path: dict(layer.settings) for layer in layers}
    own = GateNetwork([*graph.trunk, *graph.head], graph.score, steps, settings, paths, offsets).eval()
    own.load_state_dict({f"parts.{key}": value for key, value in network.state_dict().items()})
    picture = torch.randn(1, 3, 41, 57)
    with torch.inference_mode():
        expected, found = network(picture), own(picture)
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


class Measured:
    """Stands in for the measurements of one gate: mean IoU by the judge's network (None: there is none) and by the class."""

    def __init__(self, monkeypatch, judged, same, theirs):
        self.asked = []
        run = type("Run", (), {"settings": type("S", (), {"retraining": None}), "uses_gpu": False, "gate_precision": "float32"})
        data = type("Data", (), {"split": "base", "label": staticmethod(lambda name: np.arange(12).reshape(3, 4))})
        rubric = open_assignment("fcn").rubric
        context = type("Context", (), {"run": run, "handover": None, "data": data, "predictions": {},
                                       "rubric": rubric})()  # fmt: skip
        self.grading = Grading(rubric.checks["pretraining.miou"], None, context, None)
        self.values = {True: judged, False: theirs}
        monkeypatch.setattr(gate, "checkpoint_of", lambda grading, name: None)
        monkeypatch.setattr(gate, "judges_network", lambda network: (None if judged is None else "network", same))
        monkeypatch.setattr(gate, "predictions", self.predictions)

    def predictions(self, student, grading, class_name, checkpoint, exact, network, again):
        self.asked.append("judge" if network else "class")
        value = self.values[bool(network)]
        if isinstance(value, Exception):
            raise value
        right = np.arange(12).reshape(3, 4).astype(np.uint8)  # one pixel of each class
        wrong = np.where(np.arange(12).reshape(3, 4) < round(12 * value), right, (right + 1) % 12)
        return {"a": wrong.astype(np.uint8)}

    def points(self):
        judge(None, self.grading, FCN32S, SPEC)
        return self.grading.result().points


@pytest.mark.parametrize(("gpu", "handed_over", "value", "ways"), [
    (False, None, 5 / 12, [False]), (True, None, 1.0, [False]), (True, None, 5 / 12, [False, True]),
    (False, "bfloat16", 5 / 12, [False, True]), (True, "float32", 5 / 12, [False]),
])  # fmt: skip
def test_a_score_near_a_step_of_points_is_measured_again_where_it_was_rounded(monkeypatch, gpu, handed_over, value, ways):
    """By hand: four classes are right and one half is, (4 + 1/2) / 12 = 0.375, between the limits of 0.40 and 0.30."""
    measured, exact = Measured(monkeypatch, judged=value, same=True, theirs=0.0), []
    measured.grading.context.run.uses_gpu = gpu
    measured.grading.context.handover = handed_over and SimpleNamespace(facts={"precision": handed_over})
    real = measured.predictions
    monkeypatch.setattr(gate, "predictions", lambda *asked, **more: (exact.append(asked[4]), real(*asked, **more))[1])
    measured.points()
    assert exact == ways


def test_good_weights_earn_the_gate_whatever_forward_does(monkeypatch):
    measured = Measured(monkeypatch, judged=1.0, same=False, theirs=0.0)
    assert measured.points() == 6 and measured.asked == ["judge"]


@pytest.mark.parametrize(("value", "mean"), [(1.0, 1.0), (11 / 12, 10.5 / 12), (0.5, 5.5 / 12), (5 / 12, 4.5 / 12), (0.0, 0.0)])
def test_what_a_gate_measured_stands_in_its_result_whether_it_is_passed_or_not(monkeypatch, value, mean):
    """By hand: of twelve pixels, one for each class, the last ones are taken for the next class; the first of them halves its IoU."""
    measured = Measured(monkeypatch, judged=value, same=True, theirs=0.0)
    passed, result = measured.points() == 6, measured.grading.result()
    assert passed == (mean >= 0.4) and (result.cause is None) == passed
    assert result.measured == {"mean_iou": round(mean, 4), "pixel_accuracy": round(value, 4), "full": 0.4}
    assert f"mean IoU {mean:.4f}" in result.message.replace("Mean", "mean")


def test_weights_alone_count_where_forward_computes_the_same(monkeypatch):
    measured = Measured(monkeypatch, judged=0.0, same=True, theirs=1.0)
    assert measured.points() == 0 and measured.asked == ["judge"], "the class has nothing to add"


def test_a_gate_that_only_forward_passes_waits_for_a_person_with_both_numbers(monkeypatch):
    for judged in (0.0, None):
        measured = Measured(monkeypatch, judged=judged, same=False, theirs=1.0)
        with pytest.raises(NeedsPerson) as raised:
            measured.points()
        assert raised.value.cause == "gate.differs" and "A person will look at your code" in str(raised.value)
        assert raised.value.measured["mean_iou"] == 1.0 and measured.asked[-1] == "class"
        assert (raised.value.measured["of_the_network"] is None) == (judged is None)


def test_a_gate_that_neither_passes_is_lost(monkeypatch):
    assert Measured(monkeypatch, judged=0.0, same=False, theirs=0.0).points() == 0
    assert Measured(monkeypatch, judged=0.0, same=False, theirs=StudentError("no")).points() == 0
    with pytest.raises(StudentError):
        Measured(monkeypatch, judged=None, same=False, theirs=StudentError("no")).points()


def test_where_predictions_are_only_taken_down_both_are(monkeypatch):
    made = CannotGrade("predicted", "predictions.made")
    for same, asked in ((True, ["judge"]), (False, ["judge", "class"])):
        measured = Measured(monkeypatch, judged=made, same=same, theirs=made)
        with pytest.raises(CannotGrade):
            measured.points()
        assert measured.asked == asked
