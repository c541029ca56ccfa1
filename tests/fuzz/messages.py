"""A worker's answers: what is no message is refused, what is one comes through whole, and the judge outlives all of it."""

import io
import json
import math
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autograder.sandbox import client, wire
from autograder.sandbox.client import GraderFault, RemoteSubject, WorkerSettings
from autograder.sandbox.isolation import GuardedProcess
from autograder.sandbox.wire import WireError, read_message, write_message
from segkit.layers import compare_layers, expected_layers
from segkit.subject import StudentError

from .json_trees import dump, mutate_tree
from .texts import mutate_bytes

__all__ = ["check_judge", "check_wire", "sent", "talker"]


def _value(rng: random.Random, depth: int = 0) -> Any:
    """A value that may be sent."""
    kind = rng.randrange(12 if depth < 5 else 9)
    if kind <= 1:
        shape = tuple(rng.randrange(4) for _ in range(rng.randrange(5)))
        return np.array([rng.randrange(2) for _ in range(math.prod(shape))]).reshape(shape).astype(rng.choice(wire.DTYPES))
    if kind >= 10:
        return {rng.choice(["a", "$array", "$dict", "", "\ud800", "ok"]): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == 9:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return [
        None,
        True,
        rng.randrange(-(10**9), 10**30),
        rng.random() * 1e300,
        -math.inf,
        "text \ud800\0ü" * rng.randrange(3),
        bytes(rng.randrange(9)),
    ][kind - 2]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def sent(message: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    write_message(stream, message)
    return stream.getvalue()


def _damaged(rng: random.Random, message: dict[str, Any]) -> bytes:
    """A message that was damaged as bytes, as JSON, or by a header that lies."""
    data = sent(message)
    _, length, _ = wire.HEADER.unpack(data[: wire.HEADER.size])
    text, arrays = data[wire.HEADER.size : wire.HEADER.size + length], data[wire.HEADER.size + length :]
    kind = rng.randrange(6)
    if kind == 0:
        return mutate_bytes(rng, data)
    if kind <= 3:
        text = dump(rng, mutate_tree(rng, json.loads(text), rng.choice([1, 2, 5]))).encode("utf-8", "surrogatepass")
    elif kind == 4:
        spec = [rng.choice([*wire.DTYPES, "object", "O", "S5", "V3", "", 3, None]),
                rng.choice([[0, 2**29, 2**29, 2**29], [2**29] * 8, [-1], [1.5], [True], [], [3] * 40, "x", [2**62], [0] * 8, None,
                    [1]])]  # fmt: skip
        mark = rng.choice([{"$array": spec}, {"$array": [*spec, 1]}, {"$bytes": rng.choice([-1, 2**62, 1.5, True, None, 3])},
                           {"$float": rng.choice(["nan", "1e999", [], None])}, {"$dict": rng.choice([{}, [["a"]], [[1, 2]], [["a", 1],
                               ["a", 2]]])}])  # fmt: skip
        text = json.dumps({"$dict": [["ok", True], ["value", mark]]}).encode()
    claimed = [len(text), len(arrays)]
    if kind == 5:
        claimed[rng.randrange(2)] = rng.choice([0, 1, 2**20, 2**24, 2**24 + 1, 2**29, 2**29 + 1, 2**63, 2**64 - 1])
    return struct.pack("<4sQQ", wire.MAGIC, *claimed) + text + arrays


def check_wire(rng: random.Random, folder: Path) -> None:
    """What was sent comes back as it was; what was damaged is refused, or read as a plain object."""
    message = {"ok": True, "value": _value(rng)}
    assert _same(message, read_message(io.BytesIO(sent(message)))), "a message was changed on its way"
    try:
        found = read_message(io.BytesIO(_damaged(rng, message)))
    except (WireError, EOFError):
        return
    assert isinstance(found, dict)


TALKER = """
import struct, sys
read, write = open(int(sys.argv[1]), "rb", 0), open(int(sys.argv[2]), "wb", 0)
answers = open(sys.argv[3], "rb").read()
first = struct.unpack("<Q", answers[:8])[0]
for answer in (answers[8:8 + first], answers[8 + first:]):
    magic, text, arrays = struct.unpack("<4sQQ", read.read(20))
    left = text + arrays
    while left:
        left -= len(read.read(left))
    while answer:
        answer = answer[write.write(answer):]
"""


def talker(file: Path, reply: bytes) -> Callable[..., GuardedProcess]:
    """In the place of ``launch``: starts a process that greets the judge and then says what it was told to say, read from a file."""
    hello = sent({"ok": True, "value": {"device": "cpu"}, "number": 1})
    file.write_bytes(struct.pack("<Q", len(hello)) + hello + reply)

    def start(level: str, room: Any, command: Any, descriptors: tuple[int, int], errors: int) -> GuardedProcess:
        return GuardedProcess([sys.executable, "-S", "-E", "-c", TALKER, *map(str, descriptors), str(file)], pass_fds=descriptors,
                              stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True)  # fmt: skip

    return start


def _questions(rng: random.Random) -> tuple[Any, Any]:
    """A question of the judge with what it does with the answer, and what an honest answer would be."""
    layers = expected_layers("fcn8s")
    described = [layer.to_json() for layer in layers]
    return rng.choice([
        (lambda s: compare_layers(s.describe("net"), layers), described),
        (lambda s: {key: tuple(shape) for key, shape in s.shapes("net").items()}, {"conv.weight": [2, 3, 1, 1], "conv.bias": [2]}),
        (lambda s: [value.sum() for value in s.sample("net", {"conv.weight": np.arange(3)}).values()], {"conv.weight": np.ones(3,
            np.float32)}),
        (lambda s: s.forward("net", np.zeros((1, 3, 2, 2), np.float32)).shape, np.zeros((1, 2, 2, 2), np.float32)),
        (lambda s: s.predict("net", np.zeros((3, 2, 2), np.float32)).shape, np.zeros((2, 2), np.uint8)),
        (lambda s: s.build("DotNet") + "", "net"),
        (lambda s: s.call("double", np.arange(3)), np.arange(3)),
    ])  # fmt: skip


def check_judge(rng: random.Random, folder: Path) -> None:
    """A worker that talks nonsense: the judge says whose fault it was, and the next worker answers as if nothing had been."""
    ask, honest = _questions(rng)
    answers = folder / "answers"
    good = {"ok": True, "value": honest, "number": 2}
    bad = rng.choice([good, good, {"ok": False, "fault": "student", "cause": "code.raises", "message": "no", "number": 2}])
    with RemoteSubject(WorkerSettings("none", folder, seconds=3.0)) as subject:
        client.launch = talker(answers, _damaged(rng, bad))
        try:
            ask(subject)
        except StudentError as error:
            assert str(error) and len(error.cause) <= 40
        except GraderFault:
            raise AssertionError("what a worker says was held to be the grader's fault") from None
        subject.close()
        subject._number = 0
        client.launch = talker(answers, sent(good))
        ask(subject)
