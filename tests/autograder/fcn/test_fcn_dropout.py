"""Dropout read off the bits of an output: against outputs put together by hand, honest ones and made-up ones."""

import numpy as np
import pytest
import torch

from autograder.assignments.fcn.networks import FCN32S, NETWORKS
from autograder.course.seeds import Seeds
from autograder.segmentation.amount import LEAST
from autograder.segmentation.dropout import Dropout, read_dropout
from autograder.segmentation.probe import DROP_BITS, MOST, SILENT_BITS, drop_silence, probe_weights

SEEDS, CELLS = Seeds("a fixed secret"), 6


def read(output: np.ndarray, silent: np.ndarray) -> Dropout:
    return read_dropout(output, silent, FCN32S.graph.head)


@pytest.fixture(scope="module")
def score() -> np.ndarray:
    weights = probe_weights(SEEDS, NETWORKS.values(), 5)
    return next(values for name, values in weights if name == "drop/fcn32s/score.weight")[:, :, 0, 0].numpy()


def trained(
    score: np.ndarray, p6: float, p7: float, draw: int, alike: bool = True, width: int = 4096
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Output of a network in train mode (1, 5, CELLS, 1), and the silent bits; ``alike``: dropout2d, the same in every cell.

    ``width``: of the head; weights are cut to it.
    """
    silent, biases = drop_silence(SEEDS, FCN32S, 5, "code", str(draw))
    rng, shape = np.random.default_rng(draw), (4096, 1 if alike else CELLS)
    x = np.repeat(biases["drop/fc6.bias"][:, None], CELLS, 1) * (rng.random(shape) >= p6) / (1 - p6)
    x = np.where(np.arange(4096)[:, None] < MOST, x, 0) + biases["drop/fc7.bias"][:, None]
    x = x * (rng.random(shape) >= p7) / (1 - p7)
    return (score[:, :width] @ x[:width]).astype(np.float32)[None, :, :, None], silent


@pytest.mark.parametrize("alike", [True, False], ids=["dropout2d", "dropout"])
def test_honest_dropout_is_read_as_it_is(score, alike):
    found = [read(*trained(score, 0.5, 0.5, draw, alike)) for draw in range(200)]
    assert sum(bool(one.problem) for one in found) <= 4, [one.problem for one in found if one.problem]


@pytest.mark.parametrize("width", [1024, 512])
def test_dropout_in_a_head_too_narrow_is_read_as_well(score, width):
    """The width is a mistake of its own, and costs its own points."""
    found = [read(*trained(score, 0.5, 0.5, draw, width=width)) for draw in range(50)]
    assert sum(bool(one.problem) for one in found) <= 2, [one.problem for one in found if one.problem]


@pytest.mark.parametrize(("p6", "p7", "cause", "words"), [
    (0.5, 0, "dropout.missing", "none after fc7"), (0, 0.5, "dropout.missing", "none after fc6"), (0, 0, "dropout.missing", "fc6 and fc7"),
    (0.5, 0.2, "dropout.p", "p = 0.2 after fc7"), (0.2, 0.5, "dropout.p", "p = 0.2 after fc6"),
])  # fmt: skip
def test_other_dropout_is_named(score, p6, p7, cause, words):
    found = [read(*trained(score, p6, p7, draw)) for draw in range(20)]
    assert sum(one.cause == cause and words in one.problem for one in found) >= 18, [one.problem for one in found]


def made_up(kind: str, draw: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(draw if kind == "random" else 0)
    bits = torch.randint(0, 2**DROP_BITS, (1, 5, 1, 1), generator=generator).float()
    bits = torch.full_like(bits, 0b1010101010101010) if kind == "one pattern" else bits
    bits = torch.full_like(bits, 2**DROP_BITS - 1) if kind == "all" else bits
    return (bits * torch.tensor([4.0, 4, 4, 2, 2]).view(1, 5, 1, 1)).expand(1, 5, 79, 33).numpy()


@pytest.mark.parametrize("kind", ["random", "always the same", "one pattern", "all"])
def test_made_up_bits_earn_nothing_in_two_calls(kind):
    for draw in range(100):
        calls = [read(made_up(kind, 2 * draw + call), drop_silence(SEEDS, FCN32S, 5, "code", f"{draw} {call}")[0]) for call in (0, 1)]
        assert all(call.problem for call in calls), calls


def test_silent_channels_differ_with_class_call_and_submission():
    first, _ = drop_silence(SEEDS, FCN32S, 5, "code", "1")
    assert len(set(first.tolist())) == 5 and all(int(number).bit_count() == SILENT_BITS for number in first)
    assert all((drop_silence(SEEDS, FCN32S, 5, *names)[0] != first).any() for names in (("code", "2"), ("other", "1")))
    assert LEAST["dropout"] <= 5 * SILENT_BITS


def test_a_silent_channel_is_read_by_one_class_and_gives_nothing_there(score):
    silent, biases = drop_silence(SEEDS, FCN32S, 5, "code", "1")
    x = np.where(np.arange(4096) < MOST, biases["drop/fc6.bias"], biases["drop/fc7.bias"])
    assert (score @ x).astype(int).tolist() == [2**DROP_BITS - 1 - int(bits) for bits in silent]
