"""What checks ask of objects, gradients, training steps and maps: the same answers in this process and from a worker."""

import inspect
import io
from collections.abc import Iterator
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image
from test_worker import edition  # noqa: F401 - a fixture
from tiny import cell, notebook

from autograder.judge.student import Student
from autograder.sandbox import client
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.isolation import best_level
from autograder.sandbox.verbs import VERBS, Questions
from segkit.layer import Layer
from segkit.notebooks import open_folder
from segkit.step_mistakes import step_mistakes
from segkit.subject import LocalSubject, StudentError
from segkit.training_step import Exercise

CODE = """
import itertools
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler

class Pictures(Dataset):
    def __init__(self, folder, mirror=False):
        self.files, self.mirror = sorted(Path(folder).glob("images/*.png")), mirror
    def __len__(self):
        return len(self.files)
    def __getitem__(self, index):
        picture = np.array(Image.open(self.files[index]))
        return torch.from_numpy(picture[:, ::-1].copy() if self.mirror else picture), self.files[index].stem
    def pair(self, first, second):
        return {"names": (self[first][1], self[second][1])}

class Backwards(Sampler):
    def __init__(self, source):
        self.source = source
    def __iter__(self):
        return iter(range(len(self.source) - 1, -1, -1))

class Odd:
    def __array__(self, *more, **how):
        raise RuntimeError("no array")

class Liar:
    def __init__(self, length):
        self.length = length
    def __len__(self):
        return self.length
    def __getitem__(self, index):
        return {"odd": Odd(), "large": torch.zeros(1).expand(2**27), "many": [np.zeros(9)] * 10_001}[index]
    def __iter__(self):
        return itertools.count()

def collate(items):
    return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])

def cross_entropy(predictions, labels, weights):
    predictions -= predictions.max(dim=1, keepdim=True).values
    return F.cross_entropy(predictions, labels, weights)

class Criterion(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights
    def forward(self, predictions, labels):
        return F.cross_entropy(predictions, labels, torch.tensor(self.weights))

def root(x): return (x - x).sqrt()
def number(x): return x.sum().item()
def detached(x): return x.sum().detach()
def large(x): return torch.zeros(2**17) + x.sum()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.idle = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.conv.requires_grad_(True)
    def forward(self, x):
        return self.conv(x)

class Logits(nn.Module):
    def forward(self, x):
        return torch.cat([x, x[:, :1] * 2], dim=1)

class Ids(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
    def forward(self, x):
        ids = x[:, 0] * self.factor
        return ids.long() if self.factor != 0.5 else ids

def train_step(network, images, labels, optimizer):
    network.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()

def lazy_step(optimizer, network, batch):
    return network(batch[0]).sum()

def step_that_removes(network, images, labels, optimizer):
    del network.score
"""
PICTURES = {name: np.random.default_rng(len(name)).integers(0, 256, (4, 5, 3), dtype=np.uint8) for name in ("a", "bb", "ccc")}


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FOLDER = {f"images/{name}.png": png(pixels) for name, pixels in PICTURES.items()}


@pytest.fixture(scope="module", params=["this process", "worker"])
def student(request, edition, tmp_path_factory) -> Iterator[Student]:  # noqa: F811
    folder = tmp_path_factory.mktemp("work")
    notebook(folder / "work.ipynb", cell("# work", kind="markdown"), cell(CODE))
    remote = request.param == "worker"
    subject = RemoteSubject(WorkerSettings(best_level(), edition, seconds=20.0)) if remote else LocalSubject(folder)
    yield Student(open_folder(folder, {}), subject)
    if remote:
        subject.close()


def failure(ask) -> StudentError:
    with pytest.raises(StudentError) as caught:
        ask()
    return caught.value


def test_every_verb_is_a_question_and_has_its_arguments_in_this_process_too():
    assert {name for name in vars(Questions) if not name.startswith("_")} | set(dir(Questions)) >= set(VERBS)
    for name in set(VERBS) - {"retrain"}:
        asked, here = (list(inspect.signature(getattr(owner, name)).parameters.items()) for owner in (Questions, LocalSubject))
        assert [(key, value.kind, value.default) for key, value in asked] == [(key, value.kind, value.default) for key, value in here], name


# ------------------------------------------------------------------------------------------------------------- objects
def test_a_dataset_of_a_folder_has_a_length_and_items(student):
    dataset = student.build("Pictures", FOLDER, mirror=True, module=False)
    assert student.method(dataset, "__len__") == 3
    image, name = student.method(dataset, "__getitem__", 1)
    assert name == "bb" and np.array_equal(image, PICTURES["bb"][:, ::-1])
    assert student.method(dataset, "pair", 0, 2) == {"names": ["a", "ccc"]}


def test_samplers_and_loaders_are_objects_that_are_listed(student):
    dataset = student.build("Pictures", FOLDER, module=False)
    assert student.method(student.build("Backwards", dataset, module=False), "__iter__") == [2, 1, 0]
    loader = student.build("torch.utils.data:DataLoader", dataset, batch_size=2, module=False)
    first, last = student.method(loader, "__iter__")
    assert first[0].shape == (2, 4, 5, 3) and first[1] == ["a", "bb"] and np.array_equal(last[0][0], PICTURES["ccc"])


def test_arrays_in_lists_become_tensors_for_code_that_wants_them(student):
    images, labels = student.call("collate", [[np.ones(3), 1], [np.zeros(3), 2]])
    assert images.tolist() == [[1, 1, 1], [0, 0, 0]] and labels.tolist() == [1, 2]


def test_a_criterion_class_is_called(student):
    criterion = student.build("Criterion", [1.0, 1.0])
    assert student.method(criterion, "__call__", np.zeros((1, 2), np.float32), np.array([0])) == pytest.approx(np.log(2))
    told = failure(lambda: student.method(criterion, "__call__", np.zeros((1, 2)), np.array([0])))
    assert "Float" in str(told) and "numpy" not in str(told)  # of two tries that with tensors is told
    assert failure(lambda: student.build("Pictures", FOLDER)).cause == "code.type"


@pytest.mark.parametrize(("name", "args", "cause", "words"), [
    ("__getitem__", (7,), "code.raises", "IndexError"), ("__getitem__", (), "code.signature", ""),
    ("pair", (1, 2, 3), "code.signature", "pair"),
    ("nothing", (), "code.raises", "nothing"), ("__iter__", (1, 2), "code.signature", ""),
])  # fmt: skip
def test_what_an_object_cannot_do_is_named(student, name, args, cause, words):
    dataset = student.build("Pictures", FOLDER, module=False)
    error = failure(lambda: student.method(dataset, name, *args))
    assert error.cause == cause and words in str(error)


def test_a_class_of_other_arguments_is_named_with_its_signature(student):
    error = failure(lambda: student.build("Pictures", FOLDER, size=3, module=False))
    assert error.cause == "code.signature" and "with 1 argument and size" in str(error) and "(folder, mirror=False)" in str(error)


@pytest.mark.parametrize(("length", "found"), [(10**9, 10**9), (-1, "ValueError"), ("many", "TypeError"), (10**30, "OverflowError")])
def test_a_length_that_lies_is_a_number_or_an_error(student, length, found):
    liar = student.build("Liar", str(length) if length == 10**30 else length, module=False)
    if length == 10**30:
        assert failure(lambda: student.method(liar, "__len__")).cause == "code.raises"
    elif isinstance(found, int):
        assert student.method(liar, "__len__") == found
    else:
        assert found in str(failure(lambda: student.method(liar, "__len__")))


def test_items_without_a_plain_form_are_told_by_their_type_and_large_or_endless_ones_refused(student):
    liar = student.build("Liar", 3, module=False)
    assert student.method(liar, "__getitem__", "odd") == {"type": "Odd"}
    assert student.method(liar, "__getitem__", "many") == {"type": "list"}
    assert failure(lambda: student.method(liar, "__getitem__", "large")).cause == "code.type"
    error = failure(lambda: student.method(liar, "__iter__"))
    assert error.cause == "code.type" and "Does it end?" in str(error)


def test_a_reply_that_is_too_large_is_refused_and_the_next_question_answered(student, monkeypatch):
    if isinstance(student.subject, LocalSubject):
        pytest.skip("there is no reply in this process")
    monkeypatch.setattr(client, "MAX_REPLY", 2**16)
    assert failure(lambda: student.call("large", np.zeros(1, np.float32))).cause == "code.garbage"
    assert failure(lambda: student.gradients("large", np.zeros(1, np.float32))).cause == "code.garbage"
    assert student.gradients("root", np.ones(1, np.float32))["value"].tolist() == [0]


# ----------------------------------------------------------------------------------------------------------- gradients
def cross_entropy_by_hand(x: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted cross entropy (N, C) with its gradient: weights * (softmax - one hot) / sum of weights."""
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    w = weights[labels]
    value = -(w * np.log(p[np.arange(len(x)), labels])).sum() / w.sum()
    return value, w[:, None] * (p - np.eye(x.shape[1])[labels]) / w.sum()


X, LABELS, WEIGHTS = np.float32([[1, 2, 0], [0.5, -1, 3]]), np.array([0, 2]), np.float32([1, 5, 0.5])


def test_value_and_gradient_of_a_criterion_even_one_that_works_in_place(student):
    value, gradient = cross_entropy_by_hand(X, LABELS, WEIGHTS)
    found = student.gradients("cross_entropy", X, LABELS, WEIGHTS)
    assert np.isclose(found["value"], value) and np.allclose(found["inputs"][0], gradient, atol=1e-6) and found["parameters"] == {}
    criterion = student.build("Criterion", WEIGHTS.tolist())
    other = student.gradients(criterion, X, LABELS)
    assert np.isclose(other["value"], value) and np.allclose(other["inputs"][0], gradient, atol=1e-6)


def test_gradients_of_a_networks_parameters_by_name(student):
    net, x = student.build("Net"), np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    found = student.gradients(net, x, wrt=(), parameters=["conv.weight", "conv.bias", "idle.weight"])
    assert found["inputs"] == [] and found["parameters"]["idle.weight"] is None and found["value"].shape == (2, 2, 4, 5)
    assert found["parameters"]["conv.bias"].tolist() == [40, 40]
    assert np.allclose(found["parameters"]["conv.weight"][1, :, 0, 0], x.sum(axis=(0, 2, 3)), atol=1e-4)


def test_gradients_that_are_no_numbers_or_not_there_are_told(student):
    assert np.isnan(student.gradients("root", X)["inputs"][0]).all()
    assert student.gradients("number", X) == {"value": 6 - 0.5, "inputs": [None], "parameters": {}}
    assert student.gradients("detached", X) == {"value": 6 - 0.5, "inputs": [None], "parameters": {}}
    assert failure(lambda: student.gradients("cross_entropy", X)).cause == "code.signature"


# ------------------------------------------------------------------------------------------------------- training steps
SCORE = [Layer("score", "Conv2d", {"in_channels": 2, "out_channels": 3, "kernel_size": 1})]
RNG = np.random.default_rng(1)
IMAGES, IDS = RNG.standard_normal((2, 2, 3, 4)).astype(np.float32), RNG.integers(0, 3, (2, 3, 4))
START = {"score.weight": RNG.standard_normal((3, 2, 1, 1)).astype(np.float32), "score.bias": RNG.standard_normal(3).astype(np.float32)}
SGD = {"lr": 0.5, "momentum": 0.9}


def steps_by_hand(calls: int) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Softmax regression over pixels, SGD with momentum: loss, weights and bias after each step."""
    x, labels = IMAGES.transpose(0, 2, 3, 1).reshape(-1, 2).astype(float), IDS.reshape(-1)
    weight, bias = START["score.weight"].reshape(3, 2).astype(float), START["score.bias"].astype(float)
    speeds, told = [np.zeros((3, 2)), np.zeros(3)], []
    for _ in range(calls):
        loss, gradient = cross_entropy_by_hand(x @ weight.T + bias, labels, np.ones(3))
        speeds = [0.9 * speed + slope for speed, slope in zip(speeds, (gradient.T @ x, gradient.sum(0)), strict=True)]
        weight, bias = weight - 0.5 * speeds[0], bias - 0.5 * speeds[1]
        told.append((loss, weight, bias))
    return told


def test_a_training_step_is_told_with_its_weights_gradients_and_mode(student):
    calls = [["@network", IMAGES, IDS, "@optimizer"]] * 3
    found = student.take_steps("train_step", calls, SCORE, START, SGD)
    for step, (loss, weight, bias) in zip(found, steps_by_hand(3), strict=True):
        assert np.isclose(step["returned"], loss, atol=1e-5) and not step["graph"] and step["mode"] is True and step["steps"] == 1
        assert np.allclose(step["values"]["score.weight"].reshape(3, 2), weight, atol=1e-5)
        assert np.allclose(step["values"]["score.bias"], bias, atol=1e-5) and step["gradients"]["score.bias"].any()


def test_a_step_that_does_nothing_is_told_too(student):
    (found,) = student.take_steps("lazy_step", [["@optimizer", "@network", [IMAGES, IDS]]], SCORE, START, SGD)
    assert found["graph"] and found["mode"] is False and found["steps"] == 0 and found["gradients"] == dict.fromkeys(START)
    assert all(np.array_equal(found["values"][key], START[key]) for key in START)


def test_a_step_of_other_arguments_or_that_breaks_the_network_is_the_students_mistake(student):
    error = failure(lambda: student.take_steps("lazy_step", [["@network"]], SCORE, START, SGD))
    assert error.cause == "code.signature" and "(optimizer, network, batch)" in str(error)
    broken = failure(lambda: student.take_steps("step_that_removes", [["@network", IMAGES, IDS, "@optimizer"]], SCORE, START, SGD))
    assert broken.cause == "code.raises" and "score" in str(broken)


def test_the_classical_mistake_of_a_step_is_named(student):
    ((_, code, _),) = step_mistakes(student, "train_step", Exercise(np.random.default_rng(5)))
    assert code == "step.ignore"  # it gives its criterion no ignore_index
    assert step_mistakes(student, "train_step", Exercise(np.random.default_rng(5), ignore=0)) == [("loss", code, ANY)]


# ---------------------------------------------------------------------------------------------------------------- maps
def test_probabilities_are_the_softmax_of_the_logits_in_16_bits(student):
    x = np.random.default_rng(2).standard_normal((2, 3, 4, 5)).astype(np.float32)
    handle, logits = student.build("Logits"), np.concatenate([x, 2 * x[:, :1]], axis=1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = student.predict(handle, x, kind="probabilities")
    assert found.dtype == np.float16 and np.abs(found - expected).max() < 1e-3
    assert np.array_equal(student.predict(handle, x[1], kind="probabilities"), found[1])
    assert np.array_equal(student.predict(handle, x), logits.argmax(axis=1))


def test_instances_are_ids_of_16_bits(student):
    x = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    found = student.predict(student.build("Ids", 1000), x, kind="instances")
    assert found.dtype == np.uint16 and np.array_equal(found, 1000 * x[0])


@pytest.mark.parametrize(("factor", "kind", "cause"), [
    (5000, "instances", "forward.type"), (-1, "instances", "forward.type"), (0.5, "instances", "forward.type"),
    (1, "probabilities", "shape.size"),
])  # fmt: skip
def test_maps_of_another_kind_are_named(student, factor, kind, cause):
    handle, x = student.build("Ids", factor), np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    assert failure(lambda: student.predict(handle, x, kind=kind)).cause == cause
    logits = student.build("Logits")
    assert failure(lambda: student.predict(logits, x, kind="instances")).cause == "shape.size"
