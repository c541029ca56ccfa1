"""Messages between judge and worker: length-prefixed JSON and the raw bytes of arrays. No pickle, sizes capped.

This file is copied next to the worker, so it imports nothing from the autograder.

A message is ``b"SGK1"``, the length of the JSON text and the total length of the arrays (two unsigned 64-bit integers), the
JSON text, then the arrays one after the other. The JSON writes an array as ``{"$array": [dtype, shape]}`` and bytes as
``{"$bytes": length}``; their data follow in the same order.
"""

import json
import math
import struct
from typing import Any, Protocol

import numpy as np

__all__ = ["MAX_ARRAYS", "MAX_JSON", "Readable", "WireError", "Writable", "encode_message", "read_message", "write_message"]

MAGIC = b"SGK1"
HEADER = struct.Struct("<4sQQ")
MAX_JSON = 16 * 2**20
MAX_ARRAYS = 512 * 2**20
MAX_CONTAINERS = 500_000  # three bytes of text become a list of a hundred
MAX_DEPTH = 32
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


class Readable(Protocol):
    """Gives at most so many bytes; none at its end."""

    def read(self, count: int, /) -> bytes: ...


class Writable(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class WireError(Exception):
    """A message is cut off, too large, or no message at all."""


def _pack(value: Any, parts: list[bytes], depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise WireError("a value is nested too deeply")
    if isinstance(value, np.ndarray):
        if value.dtype.name not in DTYPES:
            raise WireError(f"an array of dtype {value.dtype} cannot be sent")
        parts.append(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
        return {"$array": [value.dtype.name, list(value.shape)]}
    if isinstance(value, (bytes, bytearray)):
        parts.append(bytes(value))
        return {"$bytes": len(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {"$dict": [[str(key), _pack(item, parts, depth + 1)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, parts, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise WireError(f"a value of type {type(value).__name__} cannot be sent")


class _Parts:
    """Hands out the array bytes of a message in order."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.position = memoryview(data), 0

    def take(self, count: int) -> memoryview:
        if count < 0 or self.position + count > len(self.data):
            raise WireError("an array is longer than the message")
        self.position += count
        return self.data[self.position - count : self.position]


def _array(spec: Any, parts: _Parts) -> np.ndarray:
    if not isinstance(spec, list) or len(spec) != 2 or spec[0] not in DTYPES or not isinstance(spec[1], list):
        raise WireError("an array is not described by dtype and shape")
    name, shape = spec
    if len(shape) > 8 or not all(type(size) is int and 0 <= size <= MAX_ARRAYS for size in shape):
        raise WireError("an array has an impossible shape")
    dtype = np.dtype(name).newbyteorder("<")
    data = parts.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.dtype(name))


def _unpack(value: Any, parts: _Parts, depth: int = 0) -> Any:
    if depth > 2 * MAX_DEPTH:
        raise WireError("a value is nested too deeply")
    if isinstance(value, list):
        return [_unpack(item, parts, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise WireError("an object of a message must have one key")
    ((key, content),) = value.items()
    if key == "$array":
        return _array(content, parts)
    if key == "$bytes" and type(content) is int:
        return bytes(parts.take(content))
    if key == "$float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if key == "$dict" and isinstance(content, list):
        if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in content):
            raise WireError("a dictionary is not a list of pairs")
        return {pair[0]: _unpack(pair[1], parts, depth + 1) for pair in content}
    raise WireError(f"an unknown mark {key[:20]!r} stands in a message")


def encode_message(message: dict[str, Any]) -> list[bytes]:
    """The pieces of one message, in their order.

    Raises:
        WireError: If it holds what cannot be sent, or is too large.
    """
    parts: list[bytes] = []
    try:
        text = json.dumps(_pack(message, parts), ensure_ascii=True, allow_nan=False).encode("ascii")
    except (ValueError, TypeError) as error:  # an integer of thousands of digits
        raise WireError(f"a value cannot be sent ({error})") from error
    total = sum(map(len, parts))
    if len(text) > MAX_JSON or total > MAX_ARRAYS:
        raise WireError(f"a message of {(len(text) + total) / 2**20:.0f} MiB is too large")
    return [HEADER.pack(MAGIC, len(text), total) + text, *parts]


def write_message(stream: Writable, message: dict[str, Any]) -> None:
    """Write one message.

    Raises:
        WireError: If it holds what cannot be sent, or is too large.
        OSError: If the other side is gone.
    """
    for piece in encode_message(message):
        stream.write(piece)
    stream.flush()


def _read_exactly(stream: Readable, count: int) -> bytearray:
    data = bytearray()
    while len(data) < count:
        piece = stream.read(min(count - len(data), 2**20))
        if not piece:
            raise EOFError("the other side closed the pipe" + (" in the middle of a message" if data else ""))
        data += piece
    return data


def read_message(stream: Readable, most: int = MAX_ARRAYS) -> dict[str, Any]:
    """Read one message, with arrays of at most so many bytes.

    Raises:
        EOFError: If the other side closed the pipe.
        WireError: If what came is no message.
    """
    magic, length, total = HEADER.unpack(_read_exactly(stream, HEADER.size))
    if magic != MAGIC:
        raise WireError("something else than a message came through the pipe")
    if length > MAX_JSON or total > most:
        raise WireError("a message is too large")
    text, data = _read_exactly(stream, length), _read_exactly(stream, total)
    if text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
        raise WireError("a message holds too many values")
    try:
        content = json.loads(text.decode("ascii"))
        message = _unpack(content, _Parts(data))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message is no JSON ({type(error).__name__})") from error
    if not isinstance(message, dict):
        raise WireError("a message must be an object")
    return message
