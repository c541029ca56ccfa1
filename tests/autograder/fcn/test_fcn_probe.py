"""Sizes of the probe's images: what each of them must tell apart, by the sizes of maps that torch computes."""

import pytest
import torch
import torch.nn.functional as F

from autograder.assignments.fcn.networks import FCN32S, HEIGHTS, WIDTHS
from autograder.course.seeds import Seeds
from autograder.segmentation.probe import probe_images

SIZES = [(height, width) for height in HEIGHTS for width in WIDTHS]


def pools(height: int, width: int, ceil_mode: bool = True) -> list[torch.Size]:
    """(H, W) after each of the five pools of a trunk with a padding of 100."""
    x, found = torch.empty(1, 1, height + 198, width + 198, device="meta"), []
    for _ in range(5):
        x = F.max_pool2d(x, 2, 2, ceil_mode=ceil_mode)
        found.append(x.shape[2:])
    return found


def upsampled(size: tuple[int, int], kernel: int, stride: int) -> torch.Size:
    weight = torch.empty(1, 1, kernel, kernel, device="meta")
    return F.conv_transpose2d(torch.empty(1, 1, *size, device="meta"), weight, stride=stride).shape[2:]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_coincidence_of_sizes_hides_a_mistake(size):
    _, _, pool3, pool4, pool5 = pools(*size)
    coarse = (pool5[0] - 6, pool5[1] - 6)
    assert coarse == (3, 2), "a square map hides rows taken for columns"
    twice = upsampled(coarse, 4, 2)
    four = upsampled(twice, 4, 2)
    for skip, added in ((pool4, twice), (pool3, four)):
        assert all(a != 2 * b for a, b in zip(skip, added, strict=True)), "5 : 5 - rows would cut what 5 : 5 + rows cuts"


@pytest.mark.parametrize("height", HEIGHTS)
def test_without_ceil_mode_rows_are_missing(height):
    rows = pools(height, WIDTHS[0], ceil_mode=False)[-1][0] - 6
    assert upsampled((rows, 2), 64, 32)[0] - 19 < height


def test_sizes_are_drawn_from_these_and_all_of_them_occur():
    drawn = {probe_images(Seeds(f"secret {number}"), FCN32S).shape for number in range(200)}
    assert drawn == {(2, 3, *size) for size in SIZES} and all(height % 2 and width % 2 for height, width in SIZES)
