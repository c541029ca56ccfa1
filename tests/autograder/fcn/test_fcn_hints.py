"""What Python and torch say in their own terms is followed by what a student can do about it."""

import pytest
import torch
from torch import nn

from autograder.assignments.fcn.hints import COPY_HINTS, NETWORK_HINTS, explained
from segkit.subject import StudentError


class FCNTiny(nn.Module):
    pass


class Early(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 1, 1)


def copied_without_no_grad():
    nn.Conv2d(1, 1, 1).weight.copy_(torch.zeros(1, 1, 1, 1))


# the words of the torch that is installed: a hint that nothing triggers any more is seen here
@pytest.mark.parametrize(("act", "hints", "words"), [
    (lambda: torch.zeros(1, 2, 3, 4) + torch.zeros(1, 2, 3, 9), NETWORK_HINTS, "crop the pool's scores"),
    (lambda: nn.Conv2d(3, 4, 3)(torch.zeros(1, 5, 9, 9)), NETWORK_HINTS, "another layer than the one it was made for"),
    (lambda: nn.Conv2d(3, 4, 7)(torch.zeros(1, 3, 5, 9)), NETWORK_HINTS, "the padding of conv1_1"),
    (lambda: FCNTiny().score, NETWORK_HINTS, "written differently in __init__ and in forward"),
    (Early, NETWORK_HINTS, "super().__init__()"),
    (lambda: torch.zeros(4, 3, 7, 7).copy_(torch.zeros(4, 148)), COPY_HINTS, "the convolution's shape first"),
    (lambda: torch.zeros(8, 3, 3, 3).copy_(torch.zeros(8, 16)), COPY_HINTS, "paired in another order"),
    (lambda: torch.zeros(8, 3, 3, 3).copy_(torch.zeros(8, 16, 3, 3)), COPY_HINTS, "paired in another order"),
    (lambda: torch.zeros(8, 16).view(8, 3, 3, 3), COPY_HINTS, "paired in another order"),
    (copied_without_no_grad, COPY_HINTS, "torch.no_grad()"),
])  # fmt: skip
def test_an_error_of_torch_is_followed_by_what_to_do(act, hints, words):
    with pytest.raises(StudentError) as caught, explained("FCN32s", hints):
        try:
            act()
        except Exception as error:
            raise StudentError(f"FCN32s.forward failed.\n{error}", "code.raises") from None
    first, _, last = str(caught.value).rpartition("\n")
    assert words in last and first.startswith("FCN32s.forward failed.") and caught.value.cause == "code.raises"


def test_an_answer_that_never_came_names_the_function_and_what_to_look_for():
    with pytest.raises(StudentError) as caught, explained("scores"):
        raise StudentError("no reply within 12 s: an endless loop, or far too slow?", "code.timeout")
    assert str(caught.value).startswith("scores: no reply within 12 s") and "whose condition never changes" in str(caught.value)


@pytest.mark.parametrize("text", ["something else", "must match the size of tensor\nLikely cause: conv1_1: expected padding=100"])
def test_an_error_that_is_unknown_or_explained_stays_as_it_is(text):
    with pytest.raises(StudentError) as caught, explained("FCN32s", NETWORK_HINTS):
        raise StudentError(text, "code.raises")
    assert str(caught.value) == text
