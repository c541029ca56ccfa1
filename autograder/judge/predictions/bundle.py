"""What ``predict`` hands over for one submission: facts in ``predictions.json``, replies and predictions beside it.

The second file is a gzip of wire messages: plain data, read with the same limits and the same care as what a worker sends. Whoever
reads a bundle trusts nothing in it: it says what student code replied, perhaps only what it wants to have replied.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from autograder.sandbox.isolation import LEVELS
from autograder.sandbox.wire import Readable, WireError, Writable, read_message, write_message
from segkit.atomic import replacing
from segkit.subject import CAUSE

__all__ = ["FACTS_FILE", "REPLIES_FILE", "SCHEMA", "Bundle", "BundleError", "BundleWriter", "Gate", "Reply", "read_bundle", "read_facts",
           "writing"]  # fmt: skip

SCHEMA = "segkit-predictions/1"
FACTS_FILE, REPLIES_FILE = "predictions.json", "answers.gz"
MAX_UNPACKED = 2**30
_SHORT = {"type": "string", "maxLength": 200}
_FACTS = {
    "type": "object",
    "required": ["schema", "assignment", "submission", "submission_sha256", "kit_version", "settings", "seed", "data", "isolation",
                 "device", "device_name", "precision", "lost"],
    "properties": {
        "schema": {"const": SCHEMA}, "assignment": _SHORT, "submission": _SHORT, "submission_sha256": _SHORT, "kit_version": _SHORT,
        "settings": _SHORT, "seed": _SHORT, "data": {"type": ["string", "null"], "maxLength": 200}, "isolation": {"enum": list(LEVELS)},
        "device": {"enum": ["cpu", "cuda"]}, "device_name": _SHORT, "precision": _SHORT,
        "lost": {"type": "array", "items": {"type": "string", "maxLength": 2000}, "maxItems": 1000},
    },
}  # fmt: skip


class BundleError(Exception):
    """Predictions are missing, damaged, or not those of this submission; the text says what to do."""


@dataclass(frozen=True)
class Reply:
    """A reply of student code.

    Attributes:
        value: What came back, if nothing failed.
        fault: Message and cause, or None.
        ended: Whether the worker was ended with it.
    """

    value: Any = None
    fault: tuple[str, str] | None = None
    ended: bool = False


@dataclass(frozen=True)
class Gate:
    """Predictions of one network with one checkpoint.

    Attributes:
        network: Hash of the network's code.
        sha256: Hash of the checkpoint.
        pictures: Name -> (hash of the picture as it was asked, label map).
        fault: Message and cause of what the student's code did, or None.
        lost: Why there are no predictions although it is not the student's fault, or empty.
    """

    network: str
    sha256: str
    pictures: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    fault: tuple[str, str] | None = None
    lost: str = ""


@dataclass(frozen=True)
class Bundle:
    """Everything that was handed over for a submission.

    Attributes:
        facts: Content of ``predictions.json``.
        replies: By the hash of the question.
        gates: By class and checkpoint.
    """

    facts: Mapping[str, Any]
    replies: Mapping[str, Reply]
    gates: Mapping[tuple[str, str], Gate]


class BundleWriter:
    """Takes down replies and predictions as they come."""

    def __init__(self, stream: Writable) -> None:
        self._stream, self.count = stream, 0

    def reply(self, question: str, reply: Reply) -> None:
        self._write({"kind": "answer", "question": question, "value": reply.value, "fault": reply.fault, "ended": reply.ended})

    def gate(self, class_name: str, checkpoint: str, gate: Gate) -> None:
        pictures = {name: {"asked": asked, "map": found} for name, (asked, found) in gate.pictures.items()}
        self._write({"kind": "gate", "class": class_name, "checkpoint": checkpoint, "network": gate.network, "sha256": gate.sha256,
                     "pictures": pictures, "fault": gate.fault, "lost": gate.lost})  # fmt: skip

    def end(self) -> None:
        """Say that this was all: a file that was cut off is seen."""
        write_message(self._stream, {"kind": "end", "count": self.count})

    def _write(self, message: dict[str, Any]) -> None:
        write_message(self._stream, message)
        self.count += 1


@contextmanager
def writing(folder: Path, facts: dict[str, Any]) -> Iterator[BundleWriter]:
    """Write a bundle; it is there when ``predictions.json`` is, which comes last.

    Args:
        folder: Of the submission.
        facts: Content of ``predictions.json``; may be completed within the context.

    Raises:
        DiskFullError: There was no room; no half bundle is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).unlink(missing_ok=True)
    with replacing(folder / REPLIES_FILE) as partial, partial.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        writer = BundleWriter(packed)
        yield writer
        writer.end()
    with replacing(folder / FACTS_FILE) as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of a bundle; None where there is none.

    Raises:
        BundleError: It is none of ours.
    """
    path = folder / FACTS_FILE
    if not path.is_file() or path.is_symlink():
        return None
    try:
        if path.stat().st_size > 2**20:
            raise ValueError("too large")
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(facts, _FACTS)
    except (OSError, ValueError, RecursionError, jsonschema.ValidationError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise BundleError(f"{path} cannot be read: {reason[:300]}. Run `python -m autograder predict` again.") from error
    return facts


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: There is none, or it is damaged.
    """
    facts = read_facts(folder)
    if facts is None:
        raise BundleError(
            f"There are no predictions of this submission: expected {folder.name}/{FACTS_FILE} in {folder.parent}. Run `python -m "
            "autograder predict SUBMISSION --out FOLDER` where student code may run, and hand that folder over."
        )
    replies: dict[str, Reply] = {}
    gates: dict[tuple[str, str], Gate] = {}
    try:
        for message in _messages(folder / REPLIES_FILE):
            if message["kind"] == "answer":
                replies[_text(message["question"])] = Reply(message["value"], _fault(message["fault"]), message["ended"] is True)
            else:
                gates[_text(message["class"]), _text(message["checkpoint"])] = _gate(message)
    except (OSError, EOFError, zlib.error, WireError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder.name}/{REPLIES_FILE} is damaged ({type(error).__name__}: {error}). Hand it over again, or run `python -m autograder "
            "predict` again."
        ) from error
    return Bundle(facts, replies, gates)


def _messages(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_symlink():
        raise ValueError("it is a link")
    with gzip.open(path, "rb") as file:
        stream, count = _Capped(file), 0
        while (message := read_message(stream)).get("kind") != "end":
            if message.get("kind") not in ("answer", "gate"):
                raise ValueError("a message of an unknown kind")
            count += 1
            yield message
        if message.get("count") != count:
            raise ValueError(f"expected {message.get('count')!r} messages, found {count}")


class _Capped:
    """Reads so much and no more: a small file may unpack to any size."""

    def __init__(self, file: Readable) -> None:
        self._file, self._left = file, MAX_UNPACKED

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED / 2**30:g} GiB")
        return data


def _gate(message: Mapping[str, Any]) -> Gate:
    pictures = {}
    for name, picture in message["pictures"].items():
        if not isinstance(picture["map"], np.ndarray):
            raise TypeError("a prediction is no array")
        pictures[name] = (_text(picture["asked"]), picture["map"])
    return Gate(_text(message["network"]), _text(message["sha256"]), pictures, _fault(message["fault"]), _text(message["lost"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _fault(value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    message, cause = (_text(part) for part in value)
    return message, cause if CAUSE.fullmatch(cause) else "code.raises"
