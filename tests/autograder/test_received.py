"""The door for a worker's replies: what a check gets has the form that it asked for, and all else is the student's fault."""

import io
from pathlib import Path

import numpy as np
import pytest

from autograder.sandbox import client
from autograder.sandbox.client import GraderFault, RemoteSubject, WorkerSettings
from autograder.sandbox.wire import read_message, write_message
from segkit.layer import Layer
from segkit.layers import expected_layers
from segkit.subject import StudentError

CONV = {"in_channels": 3, "out_channels": 2, "kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True}


class Answering(RemoteSubject):
    """A subject whose worker answers all questions with the same, over the wire."""

    def __init__(self, answer: object) -> None:
        super().__init__(WorkerSettings("process", Path("edition")))
        self.answer = answer

    def _exchange(self, do: str, arguments: dict, seconds: float) -> dict:
        stream = io.BytesIO()
        write_message(stream, {"ok": True, "value": self.answer})
        stream.seek(0)
        return read_message(stream)

    def _start(self) -> None:
        self._process = object()

    def close(self) -> None:
        self._process = None


def layer(**settings: object) -> list[dict]:
    return [{"path": "conv", "kind": "Conv2d", "settings": CONV | settings, "same_as": None}]


X = np.zeros((2, 3), np.float32)
QUESTIONS = {
    "call": lambda subject: subject.call("f"), "method": lambda subject: subject.method("@object1", "f"),
    "build": lambda subject: subject.build("Net"), "carrier": lambda subject: subject.carrier([]),
    "describe": lambda subject: subject.describe("@object1"), "trace": lambda subject: subject.trace("@object1"),
    "shapes": lambda subject: subject.shapes("@object1"),
    "sample": lambda subject: subject.sample("@object1", {"w": np.arange(3)}),
    "forward": lambda subject: subject.forward("@object1", np.zeros((1, 3, 4, 5), np.float32)),
    "maps": lambda subject: subject.maps("@object1", np.zeros((1, 3, 4, 5), np.float32), ["x1", "x2"]),
    "gradients": lambda subject: subject.gradients("@object1", X, parameters=["w"]),
    "take_steps": lambda subject: subject.take_steps("f", [["@network"]] * 2, [Layer("a", "ReLU")], {"w": X}, {"lr": 1}),
    "predict": lambda subject: subject.predict("@object1", np.zeros((3, 4, 5), np.float32)),
    "probabilities": lambda subject: subject.predict("@object1", np.zeros((3, 4, 5), np.float32), kind="probabilities"),
    "instances": lambda subject: subject.predict("@object1", np.zeros((2, 3, 4, 5), np.float32), kind="instances"),
    "load_checkpoint": lambda subject: subject.load_checkpoint("@object1", "net", extra=True),
    "retrain": lambda subject: subject.retrain("@object1", seconds=1.0), "peak_bytes": lambda subject: subject.peak_bytes(),
}  # fmt: skip
NONSENSE = {
    "nothing": None, "a huge number": 10**400, "a long list": [0] * 150_000, "a long text": "x" * 3_000_000, "deep": [[[[[[[[[[1]]]]]]]]]],
    "ragged": [[[1, 2], [3]]], "a 0-d array": np.array(5), "bytes": b"abc", "nan": float("nan"), "a number": 7, "truth": True,
    "a map": {"1": [1, 2], "x" * 3000: 0}, "pairs": [["a", 1], ["b", None]], "wide rows of text": ["x" * 2000] * 5000,
    "arrays": [np.zeros(3), np.zeros((2, 2))], "a vector": np.zeros(4), "whole numbers": {"w": np.zeros(3, np.int64)},
    "too many values": {"w": np.zeros(4, np.float32)}, "of another": {"v": np.zeros(3, np.float32)},
}  # fmt: skip
SETTINGS = {
    "an array": np.zeros((3, 3)), "a map": {"a": 1}, "nan": float("nan"), "infinity": float("inf"), "a long word": "x" * 101,
    "a huge number": 10**400, "many": [3] * 10_000, "none of many": [], "a pair of texts": ["a", "b"], "nested": [[3, 3], 3],
    "too large": 2**31 + 1, "a large pair": [10**12, 1],
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_the_students_fault_or_plain_data(question, name):
    try:
        QUESTIONS[question](Answering(NONSENSE[name]))
    except StudentError as error:
        assert error.cause in ("answer.malformed", "forward.type") and "expected" in str(error) and len(str(error)) < 1000


@pytest.mark.parametrize(("question", "name"), [
    ("call", "a huge number"), ("call", "a long list"), ("call", "a long text"), ("call", "deep"), ("call", "ragged"), ("call", "a map"),
    ("call", "bytes"), ("call", "wide rows of text"), ("build", "a number"), ("build", "a long text"), ("describe", "pairs"),
    ("trace", "pairs"), ("shapes", "a map"), ("sample", "whole numbers"), ("sample", "too many values"), ("sample", "of another"),
    ("maps", "a map"), ("maps", "of another"), ("maps", "a vector"),
    ("predict", "a vector"), ("predict", "a 0-d array"), ("gradients", "a map"), ("gradients", "nothing"), ("take_steps", "pairs"),
    ("take_steps", "a map"), ("probabilities", "a vector"), ("instances", "nan"),
    ("load_checkpoint", "pairs"), ("retrain", "a map"), ("peak_bytes", "truth"),
])  # fmt: skip
def test_an_answer_of_another_form_is_named(question, name):
    with pytest.raises(StudentError) as found:
        QUESTIONS[question](Answering(NONSENSE[name]))
    assert found.value.cause == "answer.malformed"


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("setting", ["kernel_size", "padding", "in_channels", "bias"])
def test_settings_of_a_layer_are_numbers_words_or_pairs(setting, name):
    with pytest.raises(StudentError, match=f"Conv2d 'conv'.*{setting}.*expected") as found:
        Answering(layer(**{setting: SETTINGS[name]})).describe("@object1")
    assert found.value.cause == "answer.malformed" and len(str(found.value)) < 400


@pytest.mark.parametrize("value", [3, [3, 5], -1, 0, "same_", 2.0, None, True, 10**9])
def test_settings_that_are_only_wrong_come_through(value):
    assert Answering(layer(padding=value)).describe("@object1")[0].settings["padding"] == value


@pytest.mark.parametrize("network", ["fcn32s", "fcn8s"])
def test_the_layers_of_the_paper_come_through(network):
    layers = expected_layers(network)
    assert Answering([one.to_json() for one in layers]).describe("@object1") == layers


@pytest.mark.parametrize("value", [
    None, 3, -1.5, [1.0, [1.0, 2.0, 3.0], 2.0], [[1.0], [1.0, 2.0]], [[1, 2], [3, 4]], {"type": "Tensor"}, "text", float("inf"),
])  # fmt: skip
def test_results_of_functions_come_through(value):
    assert Answering(value).call("f") == value


def test_trees_of_any_form_come_from_methods_alone():
    tree = [[np.zeros(3), ["a", "b"]], {"a": [1, [2]]}]
    assert str(Answering(tree).method("@object1", "__iter__")) == str(tree)
    with pytest.raises(StudentError, match="rows are of one length"):
        Answering(tree).call("f")


GRADIENTS = {"value": 1.5, "inputs": [X], "parameters": {"w": np.full(4, np.nan, np.float32)}}
STEP = {"returned": 0.5, "graph": False, "values": {"w": X}, "gradients": {"w": None}, "mode": True, "steps": 1, "backwards": 1}


def test_gradients_and_steps_come_through_with_nan_and_none():
    assert np.isnan(QUESTIONS["gradients"](Answering(GRADIENTS))["parameters"]["w"]).all()
    assert QUESTIONS["gradients"](Answering(GRADIENTS | {"inputs": [None]}))["inputs"] == [None]
    assert QUESTIONS["take_steps"](Answering([STEP, STEP | {"mode": None}]))[1]["mode"] is None


@pytest.mark.parametrize("spoilt", [
    {"inputs": []}, {"inputs": [X, X]}, {"inputs": [X.T]}, {"inputs": [X.astype(np.float64)]}, {"inputs": [0.5]}, {"inputs": {"0": X}},
    {"parameters": {}}, {"parameters": {"w": X, "v": X}}, {"parameters": {"w": [1.0]}}, {"parameters": [X]}, {"more": 1},
    {"value": b"x"}, {"value": "x" * 3000}, {"value": [[[1], [1, 2]]]}, {"parameters": {"w": np.zeros(2**24 + 1, np.float32)}},
])  # fmt: skip
def test_gradients_of_another_form_are_refused(spoilt):
    with pytest.raises(StudentError) as found:
        QUESTIONS["gradients"](Answering(GRADIENTS | spoilt))
    assert found.value.cause == "answer.malformed"


@pytest.mark.parametrize("spoilt", [
    {"graph": 1}, {"mode": "train"}, {"mode": 1}, {"steps": -1}, {"steps": True}, {"steps": 10**400},
    {"backwards": -1}, {"backwards": None}, {"values": {"w": None}},
    {"values": {"w": X[0]}}, {"values": {}}, {"values": {"v": X}}, {"gradients": {"w": 0.5}}, {"gradients": {"w": X, "v": X}},
    {"gradients": [X]}, {"returned": b"x"}, {"more": 1},
])  # fmt: skip
def test_steps_of_another_form_are_refused(spoilt):
    for steps in ([STEP | spoilt, STEP], [STEP], STEP):
        with pytest.raises(StudentError) as found:
            QUESTIONS["take_steps"](Answering(steps))
        assert found.value.cause == "answer.malformed"


HALVES, MANY = np.full((2, 4, 5), 0.5, np.float16), np.full((257, 4, 5), 1 / 257, np.float16)


def test_probabilities_and_instances_come_through():
    assert np.array_equal(QUESTIONS["probabilities"](Answering(HALVES)), HALVES)
    ids = np.full((2, 4, 5), 65535, np.uint16)
    assert np.array_equal(QUESTIONS["instances"](Answering(ids)), ids)


@pytest.mark.parametrize("maps", [
    HALVES[0], HALVES.astype(np.float32), HALVES[:, :3], HALVES[None], HALVES[:0], HALVES * np.float16(1.1), -HALVES, MANY,
    np.where(np.arange(5) == 2, np.nan, HALVES).astype(np.float16), np.stack([HALVES[0] * 4, -HALVES[0] * 2]), HALVES.tolist(), None,
])  # fmt: skip
def test_probabilities_of_another_form_are_refused(maps):
    with pytest.raises(StudentError) as found:
        QUESTIONS["probabilities"](Answering(maps))
    assert found.value.cause == "answer.malformed"


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (2, 5, 4), (2, 1, 4, 5)])
def test_instances_of_another_size_are_refused(shape):
    for dtype in (np.uint16, np.int64):
        with pytest.raises(StudentError) as found:
            QUESTIONS["instances"](Answering(np.zeros(shape, dtype)))
        assert found.value.cause == "answer.malformed"


def test_a_worker_of_a_students_cannot_call_its_failure_the_graders(monkeypatch, tmp_path):
    subject = Answering(None)
    monkeypatch.setattr(subject, "_exchange", lambda *args: {"ok": False, "fault": "grader", "message": "KeyError: 'x'"})
    with pytest.raises(StudentError, match="KeyError"):
        subject.shapes("@object1")
    subject.strange = False  # the judge's own network runs there
    with pytest.raises(GraderFault):
        subject.shapes("@object1")
    subject.strange, subject._scratch = True, tmp_path
    monkeypatch.setattr(client, "ROOM", 2**80)  # a full disk is no student's fault
    with pytest.raises(GraderFault):
        subject.shapes("@object1")
