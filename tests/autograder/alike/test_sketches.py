"""Checkpoints are compared by a few of their values; a hostile file is none."""

import json
import struct

import numpy as np
import pytest
import torch
from torch import nn

from autograder.alike.notes import LIKE_NETWORKS
from autograder.alike.sketches import VALUES, distances, packed, sketch, unpacked
from segkit.checkpoints import save_checkpoint


def kept(folder, state):
    path = save_checkpoint(folder / "some.safetensors", state)
    return unpacked(packed(sketch(path)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_values_are_those_of_the_tensor_in_any_type(tmp_path, dtype):
    tensor = torch.arange(1, 1001, dtype=torch.float32).to(dtype).reshape(10, 100)
    places = np.unique(np.linspace(0, 999, VALUES).astype(int))
    found = sketch(save_checkpoint(tmp_path / "some.safetensors", {"layer.weight": tensor, "steps": torch.tensor(3)}))
    assert list(found) == ["layer.weight"]
    assert found["layer.weight"].tolist() == tensor.float().flatten()[places].tolist()


def header(**entry):
    table = json.dumps({"layer": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry}).encode()
    return struct.pack("<Q", len(table)) + table + bytes(16)


@pytest.mark.parametrize("content", [
    b"", b"PK\x03\x04", b"\xff" * 64, struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 2) + b"[]", b"\x09" + bytes(7) + b'{"a": 1}',
    struct.pack("<Q", 400_000) + b"[" * 400_000, header(data_offsets=[0, 2**60]), header(data_offsets=[-8, 8]),
    header(data_offsets=[0, 15]), header(data_offsets="all"),
    header(data_offsets=[0.0, 16.0]), header(dtype="I64"), header(dtype=["F32"]), header(data_offsets=[8, 8]),
])  # fmt: skip
def test_what_is_no_table_of_numbers_has_no_sketch(tmp_path, content):
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    assert sketch(path) == {}


def test_infinite_values_are_compared_too(tmp_path):
    wild = {"a": torch.tensor([1e30, float("inf"), float("nan"), -float("inf")])}
    tame = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    assert np.isfinite(distances({"wild": kept(tmp_path, wild), "tame": kept(tmp_path, tame)})).all()


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))


@pytest.fixture(scope="module")
def trained():
    """A class whose networks begin at the same weights, as after a copy of VGG-16, and see the pictures in another order each."""
    torch.manual_seed(0)
    start = network().state_dict()
    images = torch.randn(24, 3, 10, 10)
    labels = (images.mean(1) * 4).round().clamp(-2, 2).long() + 2

    def train(state, seed, epochs):
        model = network()
        model.load_state_dict(state)
        optimizer, generator = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.randperm(24, generator=generator).split(4):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
        return {name: value.clone() for name, value in model.state_dict().items()}

    return {f"student{number}": train(start, number, 8) for number in range(6)}


def test_networks_that_were_trained_apart_are_far_and_those_that_were_taken_are_near(tmp_path, trained):
    honest = trained
    taken = {
        "taken0": {name: value.half() for name, value in honest["student0"].items()},
        "taken1": {name: value * (1 + 1e-3 * torch.randn_like(value)) for name, value in honest["student1"].items()},
    }
    table = distances({name: kept(tmp_path, state) for name, state in [*honest.items(), *taken.items()]})
    apart = table[: len(honest), : len(honest)][np.triu_indices(len(honest), 1)]
    near = table[[0, 1], [6, 7]]
    assert apart.min() > 1.3 * LIKE_NETWORKS, apart
    assert near.max() < LIKE_NETWORKS and near[0] < 1e-6, near
