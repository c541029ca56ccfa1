"""Construction of large networks in a worker: cheap, and the same for whatever is looked at."""

import resource

import pytest
import torch
from torch import nn

from autograder.sandbox.lazy import DRAWN, LARGE, lazy_weights


def test_small_tensors_are_as_without_it():
    torch.manual_seed(3)
    usual = nn.Conv2d(8, 16, 3)
    torch.manual_seed(3)
    with lazy_weights():
        lazy = nn.Conv2d(8, 16, 3)
    assert torch.equal(usual.weight, lazy.weight) and torch.equal(usual.bias, lazy.bias)


@pytest.mark.parametrize("fill", [nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.normal_])
def test_the_beginning_of_a_large_tensor_is_drawn_with_the_spread_of_the_whole(fill):
    with lazy_weights():
        layer = nn.Conv2d(512, 4096, 7)
        fill(layer.weight)
    flat, small = layer.weight.detach().view(-1), torch.empty(512, 512, 7, 7)
    assert flat.numel() > LARGE and not flat[DRAWN:].any() and flat[:DRAWN].all()
    usual = {nn.init.kaiming_normal_: (2 / (512 * 49)) ** 0.5, nn.init.xavier_uniform_: (2 / (4608 * 49)) ** 0.5, nn.init.normal_: 1.0}
    assert flat[:DRAWN].std().item() == pytest.approx(usual[fill], rel=0.05)
    assert small.numel() > LARGE  # and outside nothing is lazy any more
    assert nn.init.normal_(small)[-1].std().item() == pytest.approx(1, rel=0.05)


def test_a_large_network_takes_no_memory_until_it_is_written_to():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with lazy_weights():
        layer = nn.Linear(25088, 4096)
    assert layer.weight.numel() == 25088 * 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2000  # pages; all of it would be 100 352


def test_everything_is_as_before_after_an_error():
    methods = torch.empty, torch.Tensor.normal_, torch.Tensor.uniform_
    with pytest.raises(ValueError), lazy_weights():
        assert torch.empty is not methods[0]
        raise ValueError
    assert (torch.empty, torch.Tensor.normal_, torch.Tensor.uniform_) == methods


def test_other_dtypes_devices_and_integer_draws_are_left_alone():
    with lazy_weights():
        assert torch.empty(2 * LARGE, dtype=torch.float64).dtype == torch.float64
        assert torch.empty((2 * LARGE,), device="meta").device.type == "meta"
        with torch.device("meta"):
            assert nn.Linear(25088, 4096).weight.is_meta
