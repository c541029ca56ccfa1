"""FCN-16s against a long-hand forward pass whose crops follow from kernels, strides and paddings alone."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.models import model_class
from segkit.upsampling import crop_offsets

DEPTHS = (2, 2, 3, 3, 3)


def after_window(where, kernel, stride, padding):
    """Cell i of a map lies at scale * i + shift in the image; one convolution or pool later (Caffe's coordinate maps)."""
    scale, shift = where
    return scale * stride, shift + scale * (Fraction(kernel - 1, 2) - padding)


def after_upsampling(where, kernel, stride):
    scale, shift = where
    return scale / stride, shift - scale / stride * Fraction(kernel - 1, 2)


def places(padding):
    """Where the cells of pool4, of the fused scores and of the output lie in the image."""
    where, pools = (Fraction(1), Fraction(0)), []
    for block, depth in enumerate(DEPTHS):
        for index in range(depth):
            where = after_window(where, 3, 1, padding if block == index == 0 else 1)
        where = after_window(where, 2, 2, 0)
        pools.append(where)
    fused = after_upsampling(after_window(where, 7, 1, 0), 4, 2)
    return pools[3], fused, after_upsampling(fused, 32, 16)


@pytest.mark.parametrize("padding", [97, 100, 131])
def test_the_crops_follow_from_kernels_strides_and_paddings(padding):
    pool4, fused, output = places(padding)
    assert pool4[0] == fused[0] == 16 and output[0] == 1
    offsets = crop_offsets(padding)
    assert (fused[1] - pool4[1]) / 16 == offsets["pool4"] == 5
    assert -output[1] == offsets["fcn16s"] == padding - 73


@pytest.fixture(scope="module")
def slim():
    """The reference class with a 64th of the channels: the same layers, quick enough to run."""
    with torch.device("meta"):
        model = model_class("fcn16s")(3)
    torch.manual_seed(0)
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            sizes = [size if size == 3 else size // 64 for size in (layer.in_channels, layer.out_channels)]
            new = nn.Conv2d(*sizes, layer.kernel_size, padding=layer.padding)
            nn.init.normal_(new.weight, std=(2 / new.weight[0].numel()) ** 0.5)
            nn.init.normal_(new.bias, std=0.1)
        elif isinstance(layer, nn.ConvTranspose2d):
            new = nn.ConvTranspose2d(3, 3, layer.kernel_size, layer.stride, bias=False)
            nn.init.normal_(new.weight, std=0.3)
        else:
            continue
        setattr(model, name, new)
    return model.eval()


@pytest.mark.parametrize("size", [(1, 1), (47, 35), (64, 33)])
def test_the_forward_pass_is_that_of_the_paper(slim, size):
    weights = slim.state_dict()

    def conv(x, name, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    def window(x, offset, like):
        return x[:, :, offset : offset + like[0], offset : offset + like[1]]

    image = torch.randn(2, 3, *size)
    x, pools = image, []
    for block, depth in enumerate(DEPTHS, 1):
        for index in range(1, depth + 1):
            x = F.relu(conv(x, f"conv{block}_{index}", 100 if block == index == 1 else 1))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pools.append(x)
    x = conv(F.relu(conv(F.relu(conv(x, "fc6")), "fc7")), "score")
    x = F.conv_transpose2d(x, weights["upscore1.weight"], stride=2)
    pool4, fused, output = places(100)
    x = x + window(conv(pools[3], "score_pool_4"), int((fused[1] - pool4[1]) / 16), x.shape[2:])
    expected = window(F.conv_transpose2d(x, weights["upscore2.weight"], stride=16), int(-output[1]), size)
    with torch.no_grad():
        found = slim(image)
    assert found.shape == (2, 3, *size) and expected.std() > 0.01
    torch.testing.assert_close(found, expected)
