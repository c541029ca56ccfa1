"""Beginning with another network's layers."""

import pytest
import torch
from torch import nn

from segkit.checkpoints import CheckpointError, save_checkpoint
from segkit.training.staging import start_from


class Coarse(nn.Module):
    def __init__(self, n_class=4):
        super().__init__()
        self.conv1_1, self.score = nn.Conv2d(3, 8, 3), nn.Conv2d(8, n_class, 1)
        self.upscore2 = nn.ConvTranspose2d(n_class, n_class, 32, 16, bias=False)


class Fine(Coarse):
    def __init__(self, n_class=4):
        super().__init__(n_class)
        self.score_pool_3 = nn.Conv2d(8, n_class, 1)
        self.upscore2 = nn.ConvTranspose2d(n_class, n_class, 4, 2, bias=False)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    coarse = Coarse()
    return coarse, save_checkpoint(tmp_path / "coarse.safetensors", coarse)


def test_shared_layers_are_copied_by_value_and_others_stay(checkpoint):
    coarse, path = checkpoint
    fine = Fine()
    before = {name: value.clone() for name, value in fine.state_dict().items()}
    assert start_from(fine, path) == ["upscore2.weight", "score_pool_3.weight", "score_pool_3.bias"]
    for name, value in fine.state_dict().items():
        same = coarse.state_dict()[name] if name.startswith(("conv1_1", "score.")) else before[name]
        assert torch.equal(value, same), name
    coarse.conv1_1.weight.data.zero_()
    assert fine.conv1_1.weight.any()


def refusal(model, path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        start_from(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return str(caught.value)


def test_another_number_of_classes_is_named(checkpoint):
    text = refusal(Fine(5), checkpoint[1])
    assert "score.weight expected (5, 8, 1, 1), found (4, 8, 1, 1)" in text and "another number of classes" in text


def test_a_foreign_or_broken_checkpoint_is_refused(tmp_path, checkpoint):
    foreign = save_checkpoint(tmp_path / "foreign.safetensors", nn.Linear(2, 2))
    assert "has no layer of Fine: it holds" in refusal(Fine(), foreign)
    coarse = checkpoint[0]
    coarse.score.bias.data[0] = float("nan")
    broken = save_checkpoint(tmp_path / "broken.safetensors", coarse)
    assert "NaN or infinite weights in score.bias" in refusal(Fine(), broken)
    assert "no such file" in refusal(Fine(), tmp_path / "gone.safetensors")
