"""Messages between judge and worker: what goes in comes out, and nothing else gets through."""

import ast
import io
import json
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from autograder.sandbox import client, wire
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.wire import WireError, read_message, write_message
from segkit.subject import StudentError


def sent(message: dict) -> bytes:
    stream = io.BytesIO()
    write_message(stream, message)
    return stream.getvalue()


def received(data: bytes) -> dict:
    return read_message(io.BytesIO(data))


def raw(content: object, arrays: bytes = b"", magic: bytes = b"SGK1", total: int | None = None) -> bytes:
    """A message written by hand, as a hostile worker might."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<4sQQ", magic, len(text), len(arrays) if total is None else total) + text + arrays


@pytest.mark.parametrize("value", [
    None, True, 3, -1.5, "ü\ud800 \0", [], {}, [1, [2, ["x"]]], {"a": {"$array": 1}}, {"$bytes": 3}, 10**30, b"", b"\0\xff",
])  # fmt: skip
def test_plain_values_come_back_as_they_were(value):
    assert received(sent({"value": value})) == {"value": value}


def test_tuples_come_back_as_lists_and_keys_as_text():
    assert received(sent({"value": (1, (2,)), "map": {3: "x"}})) == {"value": [1, [2]], "map": {"3": "x"}}


@pytest.mark.parametrize("dtype", wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_arrays_come_back_with_dtype_shape_and_values(dtype, shape):
    array = np.array(np.arange(math.prod(shape)).reshape(shape) % 2, dtype)
    found = received(sent({"value": array}))["value"]
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)


def test_arrays_of_any_memory_order_come_back_right():
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-3].T
    assert np.array_equal(received(sent({"value": array}))["value"], array)


def test_received_arrays_may_be_written_to_and_are_independent():
    first = np.zeros(3)
    found = received(sent({"a": first, "b": first}))
    found["a"][:] = 1
    assert found["b"].tolist() == [0, 0, 0]


def test_floats_without_a_finite_value_come_back():
    found = received(sent({"value": [math.nan, math.inf, -math.inf]}))["value"]
    assert math.isnan(found[0]) and found[1:] == [math.inf, -math.inf]


def test_several_messages_follow_each_other():
    stream = io.BytesIO(sent({"n": 1}) + sent({"n": np.ones(2)}) + sent({"n": 3}))
    assert [read_message(stream)["n"] is not None for _ in range(3)] == [True] * 3
    with pytest.raises(EOFError, match="closed"):
        read_message(stream)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, np.array(["a"]), np.array([1j]), np.array([object()]), lambda: 0])
def test_what_has_no_plain_form_cannot_be_sent(value):
    with pytest.raises(WireError, match="cannot be sent"):
        sent({"value": value})


def test_an_integer_too_long_to_print_cannot_be_sent():
    with pytest.raises(WireError):
        sent({"value": 10**5000})


def test_too_deep_a_value_cannot_be_sent_or_read():
    value: object = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(WireError, match="deep"):
        sent({"value": value})
    with pytest.raises(WireError, match="deep"):
        received(raw({"$dict": [["value", value]]}))


def test_json_too_deep_for_python_is_a_wire_error():
    with pytest.raises(WireError):
        received(raw(b"[" * 200_000))


@pytest.mark.parametrize("cut", [1, 4, 19, 20, 25, -1])
def test_a_message_that_is_cut_off_is_an_end(cut):
    with pytest.raises(EOFError, match="closed the pipe"):
        received(sent({"value": np.arange(9)})[:cut])


def test_nothing_at_all_is_an_end():
    with pytest.raises(EOFError):
        received(b"")


@pytest.mark.parametrize("data", [b"hello, this is what a print would do", b"\x80\x04\x95" + b"." * 40, b"\0" * 64])
def test_garbage_is_told_from_a_message(data):
    with pytest.raises(WireError, match="something else"):
        received(data)


@pytest.mark.parametrize("header", [(2**40, 0), (0, 2**40), (2**63, 2**63)])
def test_oversized_messages_are_refused_before_they_are_read(header):
    with pytest.raises(WireError, match="too large"):
        received(struct.pack("<4sQQ", b"SGK1", *header))


def test_oversized_messages_are_not_sent(monkeypatch):
    monkeypatch.setattr(wire, "MAX_ARRAYS", 1000)
    with pytest.raises(WireError, match="too large"):
        sent({"value": np.zeros(1001, np.uint8)})


@pytest.mark.parametrize("content", [
    [1, 2], "text", {"ok": 1, "two": 2}, {"$pickle": "x"}, {"$float": "1"}, {"$dict": [[1, 2]]}, {"$dict": {"a": 1}},
    {"$dict": [["a", {"$array": ["object", [1]]}]]}, {"$dict": [["a", {"$array": ["int64", [-1]]}]]},
    {"$dict": [["a", {"$array": ["int64", [True]]}]]}, {"$dict": [["a", {"$array": ["int64", [2**28] * 3]}]]},
    {"$dict": [["a", {"$array": ["float64", [4]]}]]}, {"$dict": [["a", {"$bytes": -5}]]}, {"$dict": [["a", {"$bytes": 50}]]},
    {"$dict": [["a", {"$array": ["int8", [1] * 9]}]]}, {"$dict": [["a", {"$array": ["int64", [0, 2**28, 2**28, 2**28]]}]]},
    {"$dict": [["a", {"$float": ["nan"]}]]}, {"$dict": [["a", {"$array": [["int8"], [1]]}]]},
])  # fmt: skip
def test_forged_contents_are_refused(content):
    with pytest.raises(WireError):
        received(raw(content, b"\0" * 8))


@pytest.mark.parametrize("text", [b"\xff\xfe{}", b"{", b'{"$dict": [["a", ' + b"9" * 5000 + b"]]}", b""])
def test_text_that_is_no_ascii_json_is_refused(text):
    with pytest.raises(WireError):
        received(raw(text))


def test_the_wire_imports_nothing_that_can_run_code():
    tree = ast.parse(Path(wire.__file__).read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"json", "math", "struct", "typing", "numpy"}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"np.load", "eval", "exec", "pickle.loads", "getattr"}


# -- what the judge believes of a reply -----------------------------------------------------------------


def asked(monkeypatch, **reply):
    """What a question gives if a worker that is in strange hands replies so."""
    subject = RemoteSubject(WorkerSettings("process", Path("edition")))
    subject._process, subject._requests, subject._replies = object(), io.BytesIO(), SimpleNamespace(deadline=0.0)
    monkeypatch.setattr(subject, "_abandon", lambda: None)
    monkeypatch.setattr(client, "read_message", lambda stream, most: {"ok": False, "number": 1} | reply)
    with pytest.raises(StudentError) as found:
        subject.call("torch:is_tensor", 1)
    return found.value


@pytest.mark.parametrize("number", [np.array([1, 1]), True, 1.0, "1", None, [1]], ids=str)
def test_a_reply_is_numbered_by_a_number_and_nothing_like_one(monkeypatch, number):
    assert asked(monkeypatch, number=number, message="x").cause == "code.garbage"


@pytest.mark.parametrize("value", [np.array([1, 2]), np.zeros(0), {"a": 1}, 5, True, None], ids=str)
def test_words_of_a_reply_that_are_no_words_are_left_out(monkeypatch, value):
    error = asked(monkeypatch, message=value, fault=value, cause=value)
    assert (str(error), error.cause) == ("the worker gave no reason", "code.raises")


def test_a_reply_can_be_written_down_whatever_it_says(monkeypatch):
    error = asked(monkeypatch, message="lone \ud800 " + "x" * 10_000, cause="no cause\n<b>")
    assert len(str(error).encode("utf-8")) < 8100 and "lone \\ud800" in str(error) and error.cause == "code.raises"


@pytest.mark.parametrize(("said", "taken"), [
    ("code.timeout", "code.timeout"), ("checkpoint.unreadable", "checkpoint.unreadable"), ("grader.fault", "code.raises"),
    ("iou.recall", "code.raises"),
])  # fmt: skip
def test_a_worker_names_causes_of_code_alone(monkeypatch, said, taken):
    """The student's own code could name any: what a check finds, and a fault of the grader."""
    assert asked(monkeypatch, message="m", cause=said).cause == taken
