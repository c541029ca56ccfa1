"""What a check passes to a student's code: it arrives as documented, or the check is at fault at once."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from autograder.sandbox.arguments import plain
from autograder.sandbox.client import GraderFault, RemoteSubject, WorkerSettings


@pytest.mark.parametrize(("value", "expected"), [
    (np.int64(3), 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (torch.Size([2, 3]), [2, 3]), ((1, (2,)), [1, [2]]),
    ({"a": np.int8(1)}, {"a": 1}), ("text", "text"), (None, None), (b"x", b"x"),
])  # fmt: skip
def test_numbers_and_tuples_become_plain(value, expected):
    assert plain(value, "x") == expected and type(plain(value, "x")) is type(expected)


@pytest.mark.parametrize("tensor", [
    torch.arange(6).reshape(2, 3).T, torch.ones(2, requires_grad=True), torch.tensor(2.5), torch.nn.Parameter(torch.zeros(2)),
    torch.ones(2, dtype=torch.float16), torch.tensor([True, False]),
])  # fmt: skip
def test_tensors_become_arrays_with_dtype_and_values(tensor):
    found = plain(tensor, "x")
    assert isinstance(found, np.ndarray) and found.shape == tuple(tensor.shape)
    assert str(found.dtype) == str(tensor.dtype).removeprefix("torch.") and found.tolist() == tensor.tolist()


def test_not_a_number_and_infinity_arrive():
    found = plain([float("nan"), np.float64("inf")], "x")
    assert np.isnan(found[0]) and found[1] == float("inf")


@dataclasses.dataclass
class Point:
    x: int = 1


LOOP: list = []
LOOP.append(LOOP)
REFUSED = [
    {1, 2}, Path("a"), Point(), lambda: 1, np.array([None, 1]), np.array(["a"]), np.ones(2, complex), torch.ones(2, dtype=torch.bfloat16),
    torch.ones(2, dtype=torch.complex64), torch.ones(2).to_sparse(), torch.ones(2, device="meta"), {1: 2}, 1j, range(3),
    np.ma.masked_array([1, 2], [True, False]), np.ones([1] * 9), np.broadcast_to(np.float64(0), (2**27,)), LOOP, object(),
    np.datetime64("2026-01-01"),
]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_cannot_cross_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"^call\('f'\), argument 2"):
        plain(value, "call('f'), argument 2")


@pytest.mark.parametrize(("ask", "named"), [
    (lambda s: s.call("f", 1, {2}), "call('f'), argument 2"), (lambda s: s.call("f", x=[{2}]), "call('f'), argument x[0]"),
    (lambda s: s.method("h", "m", {2}), "method('m'), argument 1"), (lambda s: s.build("C", n={2}), "build('C'), argument n"),
    (lambda s: s.forward("h", {2}), "forward, x"), (lambda s: s.predict("h", {2}), "predict, x"),
    (lambda s: s.load("h", {"a": {2}}), "load, source"), (lambda s: s.sample("h", {"a": {2}}), "sample, indices"),
    (lambda s: s.change("h", "k", 0, {2}), "change, value"),
])  # fmt: skip
def test_every_question_refuses_before_a_worker_is_started(tmp_path, ask, named):
    with RemoteSubject(WorkerSettings("none", tmp_path)) as subject, pytest.raises(GraderFault) as caught:
        ask(subject)
    assert named in str(caught.value) and subject._process is None
