"""Networks that the visible checks build: quickly, with weights of the right spread, and nothing of torch changed behind them."""

import pytest
import torch
from torch import nn

from segkit.checks.networks import DRAWN, quick_draws


def test_a_large_layer_has_the_spread_of_its_initialisation_and_no_two_equal_channels():
    with quick_draws():
        layer = nn.Conv2d(4096, 1024, 1)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    weight = layer.weight.detach().flatten(1)
    assert weight.numel() > 4 * DRAWN and abs(float(weight.std()) - (2 / 4096) ** 0.5) < 1e-4
    assert len(torch.unique(weight[:, :8], dim=0)) == 1024


@pytest.mark.parametrize("size", [1, 2 * DRAWN - 1, 2 * DRAWN, 2 * DRAWN + 1, 3 * DRAWN + 7])
def test_every_number_of_a_tensor_is_drawn_or_repeated(size):
    with quick_draws():
        tensor = torch.full((size,), 9.0).uniform_(-1, 1)
    assert tensor.abs().max() <= 1
    assert size < 2 * DRAWN or torch.equal(tensor[DRAWN:], tensor[: size - DRAWN])


def test_what_cannot_be_viewed_as_one_row_is_drawn_as_ever():
    with quick_draws():
        assert torch.zeros(2, DRAWN).t().normal_().unique().numel() > DRAWN + 9
        assert torch.empty(3 * DRAWN, device="meta").normal_().is_meta


def test_drawing_into_a_parameter_without_no_grad_is_the_error_that_it_is():
    with quick_draws(), pytest.raises(RuntimeError, match="leaf Variable"):
        nn.Parameter(torch.zeros(3 * DRAWN)).uniform_()


def test_torch_is_as_it_was_afterwards_even_after_an_error():
    before = torch.Tensor.normal_, torch.Tensor.uniform_
    with pytest.raises(KeyError), quick_draws():
        raise KeyError
    assert (torch.Tensor.normal_, torch.Tensor.uniform_) == before
