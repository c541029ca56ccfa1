"""Damaged checkpoints: refused with a reason, or read as finite tensors that fit; the network is changed wholly or not at all."""

import copy
import io
import json
import random
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from segkit.checkpoints import CheckpointError, load_checkpoint, read_state_dict

from .json_trees import dump, mutate_tree
from .texts import mutate_bytes

__all__ = ["check_checkpoint"]

DTYPES = (
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64",
    "X", "", None, 3,
)  # fmt: skip
ODD = (
    torch.tensor([1j]), torch.tensor([True]), torch.zeros(1).expand(2**50), torch.zeros(2).to(torch.float8_e4m3fn), torch.zeros(0),
    torch.zeros((), dtype=torch.int64),
    torch.full((2, 3, 1, 1), float("nan")), torch.full((2, 3, 1, 1), float("inf")), torch.zeros(2, 3, 1, 1, dtype=torch.int8),
    torch.zeros(2, 3, 1, 1).to(torch.float8_e5m2), torch.zeros(2, 3, 1, 1, dtype=torch.complex64),
    torch.zeros(2, 3, 1, 1, dtype=torch.bool),
    torch.zeros(2, 3, 1, 1).to_sparse(), torch.zeros(2, 3, 1, 1, dtype=torch.float64), torch.zeros(2, 3, 1, 1, dtype=torch.bfloat16),
    torch.zeros(2, 3, 1, 1, dtype=torch.uint16), torch.zeros(2, 3, 1, 1, device="meta"), nn.Parameter(torch.zeros(2, 3, 1, 1)),
    torch.zeros(1).expand(2, 3, 1, 1),
)  # fmt: skip


def _network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def _safetensors(rng: random.Random) -> bytes:
    """A safetensors file whose header was damaged as JSON, as numbers, or in its length."""
    data = save(_network().state_dict())
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    for entry in header.values():
        if rng.random() > 0.7:
            entry["dtype"] = rng.choice(DTYPES)
        if rng.random() > 0.8:
            entry["shape"] = rng.choice([[], [0], [2**40], [2**32, 2**32], [-1], [1.5], "x", [6], [3, 2, 1, 1], [2**63], [10**30]])
        if rng.random() > 0.8:
            entry["data_offsets"] = rng.choice([[0, 0], [0, 2**60], [8, 4], [-4, 0], [0, len(body)], [0, 24], [], [24, 24]])
    if rng.random() > 0.7:
        header = mutate_tree(rng, header, rng.choice([1, 3]))
    text = dump(rng, header).encode("utf-8", "surrogatepass")
    claimed = rng.choice([len(text)] * 8 + [0, 1, len(text) - 1, len(text) + 1, 2**26, 2**40, 2**64 - 1])
    return struct.pack("<Q", claimed) + text + body


def _torch_file(rng: random.Random) -> bytes:
    """A file of torch.save: other contents, the old format, or a zip that was tampered with."""
    state: object = dict(_network().state_dict())
    kind = rng.randrange(8)
    if kind <= 2:
        state["0.weight" if rng.random() > 0.5 else "extra"] = rng.choice(ODD)
    elif kind == 3:
        state = rng.choice([[], {}, 3, None, "x", {"model": state}, {"state_dict": {"model": 3}}, {"model": {}}, {3: torch.zeros(1)},
            {(1, 2): torch.zeros(1)},
                            {"module.0.bias": torch.zeros(2), "0.bias": torch.zeros(2)}, {"epoch": 3, "model_state_dict": state},
                            list(state.items()),
                            {"\ud800": torch.zeros(1)}, {"x" * 100_000: torch.zeros(1)}, {"module." * 50_000: torch.zeros(1)},
                            torch.zeros(3),
                            {"": torch.zeros(1)}, {f"w{i}": torch.zeros(1) for i in range(3000)}])  # fmt: skip
    elif kind == 4:
        state = _network()  # the whole object, pickled
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=rng.random() > 0.3)
    data = stream.getvalue()
    return _tampered(rng, data) if data[:2] == b"PK" and rng.random() > 0.6 else data


def _tampered(rng: random.Random, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for record in old.infolist():
            content, name = old.read(record), record.filename
            kind = rng.randrange(10)
            info = zipfile.ZipInfo(name if kind else rng.choice(["x", "archive/data.pkl", "../" + name, "data.pkl", name + "x"]))
            info.compress_type = zipfile.ZIP_DEFLATED if kind == 1 else zipfile.ZIP_STORED
            if kind == 2:
                continue
            new.writestr(info, mutate_bytes(rng, content) if kind == 3 else content)
    return stream.getvalue()


def check_checkpoint(rng: random.Random, folder: Path) -> None:
    """Only ``CheckpointError`` gets out; it says which file; a network that was not filled is as it was."""
    data = rng.choice([_safetensors, _torch_file])(rng)
    if rng.random() > 0.6:
        data = mutate_bytes(rng, data)
    path = folder / f"fcn32s{rng.choice(['.safetensors', '.pth', '.pt'])}"
    path.write_bytes(data)
    try:
        state = read_state_dict(path)
        assert state and all(isinstance(name, str) and type(value.numel()) is int for name, value in state.items())
        assert sum(value.numel() * value.element_size() for value in state.values()) <= 2**31
    except CheckpointError as error:
        _told(error, path)
    network = _network()
    before = copy.deepcopy(network.state_dict())
    try:
        load_checkpoint(network, path)
        assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()), "NaN came through"
        with torch.device("meta"):
            other = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        load_checkpoint(other, path)
        assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True))
    except CheckpointError as error:
        _told(error, path)
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()), "half filled"


def _told(error: CheckpointError, path: Path) -> None:
    text = str(error)
    text.encode("utf-8")
    assert path.name in text and len(text) < 5000, f"a message of {len(text)} characters"
