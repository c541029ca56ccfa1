"""Bilinear kernels against ``F.interpolate``; crop geometry against a measurement on the chain of layers itself."""

import math

import pytest
import torch
import torch.nn.functional as F

from segkit.upsampling import CropGeometry, bilinear_kernel, bilinear_weight, crop_offsets


@pytest.mark.parametrize("factor", [2, 3, 4, 8, 16, 32])
def test_a_transposed_convolution_with_the_kernel_is_bilinear_interpolation(factor):
    x = torch.randn(1, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    size = 2 * factor - factor % 2
    padding = factor // 2
    up = F.conv_transpose2d(x, bilinear_weight(2, size), stride=factor, padding=padding)
    wanted = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = (..., slice(factor, -factor), slice(factor, -factor))  # at the border interpolate repeats, convolution sees zeros
    assert torch.allclose(up[..., : wanted.shape[2], : wanted.shape[3]][inside], wanted[inside], atol=1e-5)


def test_the_kernel_of_four_is_the_one_of_the_textbook():
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(4), torch.outer(row, row))
    assert torch.equal(bilinear_kernel(3), torch.outer(torch.tensor([0.5, 1, 0.5]), torch.tensor([0.5, 1, 0.5])))
    assert torch.equal(bilinear_kernel(1), torch.ones(1, 1))


def test_no_class_leaks_into_another():
    weight = bilinear_weight(3, 8)
    assert weight.shape == (3, 3, 8, 8) and weight.dtype == torch.float32
    for i in range(3):
        for j in range(3):
            assert torch.equal(weight[i, j], bilinear_kernel(8) if i == j else torch.zeros(8, 8))


@pytest.mark.parametrize("size", [0, -4])
def test_a_kernel_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match=f"at least 1, but got {size}"):
        bilinear_kernel(size)


def test_the_offsets_of_the_course():
    assert crop_offsets() == {"fcn32s": 19, "fcn16s": 27, "fcn8s": 31, "pool4": 5, "pool3": 9}
    assert crop_offsets(103) == {"fcn32s": 22, "fcn16s": 30, "fcn8s": 34, "pool4": 5, "pool3": 9}


@pytest.mark.parametrize("padding", [96, 0, -1, 100.0, "100", None])
def test_a_padding_that_does_not_cover_every_size_is_refused(padding):
    with pytest.raises(ValueError, match="at least 97"):
        crop_offsets(padding)


def centre(depth: int, head: bool, padding: int) -> tuple[float, float]:
    """(first, step): image row at which cell 0 of a map looks, and the step between cells, by following centres backwards.

    Convolutions of 3 with padding 1 keep centres; the padded one moves them; each pool halves; fc6 skips three cells.
    """
    step, first = 1.0, -(padding - 1.0)
    for _ in range(depth):
        first, step = first + step / 2, step * 2
    return (first + 3 * step if head else first), step


def upsampled(first: float, step: float, factor: int) -> tuple[float, float]:
    """Centres after a transposed convolution of kernel 2f and stride f: output pixel o sits at (o + 0.5 - f) / f + 0.5... cells."""
    # the kernel of cell i covers output pixels f*i .. f*i + 2f - 1, centred on f*i + f - 0.5
    fine = step / factor
    return first - (factor - 0.5) * fine, fine


@pytest.mark.parametrize("padding", [97, 100, 103, 130])
def test_output_pixel_zero_of_the_crop_looks_at_image_pixel_zero(padding):
    geometry, offsets = CropGeometry(padding), crop_offsets(padding)
    score = centre(5, True, padding)
    assert geometry.score_centre(0) == score[0] and geometry.score_centre(3) == score[0] + 3 * 32
    for name, factors in (("fcn32s", [32]), ("fcn16s", [2, 16]), ("fcn8s", [2, 2, 8])):
        first, step = score
        for factor, (pool, depth) in zip(factors, [(None, 0), ("pool4", 4), ("pool3", 3)], strict=False):
            if pool:  # the skip's cell at the offset looks where the upsampled cell 0 looks
                skip_first, skip_step = centre(depth, False, padding)
                assert skip_step == step and skip_first + offsets[pool] * skip_step == first, (name, pool)
            first, step = upsampled(first, step, factor)
        assert step == 1 and first + offsets[name] == 0, name


def up(x: torch.Tensor, factor: int) -> torch.Tensor:
    return F.conv_transpose2d(x, bilinear_kernel(2 * factor)[None, None], stride=factor)


def ramp_maps(size: tuple[int, int], padding: int, along_rows: bool) -> dict[str, torch.Tensor]:
    """Maps of an image whose pixels hold their own row (or column) number, the padding too: averages keep a ramp.

    A 3x3 kernel that looks at its centre alone grows the padded image by ``padding - 1``; pools average; a 7x7 kernel that
    looks at its centre alone drops three cells on each side.
    """
    height, width = (n + 2 * (padding - 1) for n in size)
    numbers = torch.arange(height if along_rows else width, dtype=torch.float32) - (padding - 1)
    x = (numbers[:, None] if along_rows else numbers[None, :]).expand(1, 1, height, width)
    found = {}
    for block in range(1, 6):
        x = found[f"pool{block}"] = F.avg_pool2d(x, 2, ceil_mode=True)
    return found | {"score": x[:, :, 3:-3, 3:-3]}


def same_inside(cut: torch.Tensor, wanted: torch.Tensor, low: int, high: int) -> bool:
    """Equal but for ``low`` first and ``high`` last rows and columns, where kernels fade out or a pool had a remainder."""
    rows, columns = min(cut.shape[0], wanted.shape[0]) - high, min(cut.shape[1], wanted.shape[1]) - high
    if rows <= low or columns <= low:
        return True
    return torch.allclose(cut[low:rows, low:columns], wanted[low:rows, low:columns], atol=1e-2)


@pytest.mark.parametrize("padding", [97, 100, 103, 130])
@pytest.mark.parametrize("size", [(1, 1), (2, 33), (31, 32), (47, 64), (97, 130), (207, 241)])
def test_the_crops_bring_every_path_back_onto_the_picture(padding, size):
    offsets = crop_offsets(padding)
    for along_rows in (True, False):
        maps = ramp_maps(size, padding, along_rows)
        first, second = up(maps["score"], 2), up(up(maps["score"], 2), 2)
        for skip, fused, name in ((maps["pool4"], first, "pool4"), (maps["pool3"], second, "pool3")):
            cut = skip[0, 0, offsets[name] :, offsets[name] :]
            assert cut.shape[0] >= fused.shape[2] and cut.shape[1] >= fused.shape[3], name
            assert same_inside(fused[0, 0], cut, 6, 12), name
        numbers = [torch.arange(float(n)) for n in size]
        ramp = (numbers[0][:, None] if along_rows else numbers[1][None, :]).expand(*size)
        for name, full in (("fcn32s", up(maps["score"], 32)), ("fcn16s", up(first, 16)), ("fcn8s", up(second, 8))):
            assert full.shape[2] >= offsets[name] + size[0] and full.shape[3] >= offsets[name] + size[1], name
            cut = full[0, 0, offsets[name] :, offsets[name] :][: size[0], : size[1]]
            assert same_inside(cut, ramp, 40, 40), name


def test_the_measurement_sees_an_offset_that_is_one_off():
    maps = ramp_maps((207, 241), 100, True)
    full, ramp = up(maps["score"], 32)[0, 0], torch.arange(207.0)[:, None].expand(207, 241)
    assert same_inside(full[19:226, 19:260], ramp, 40, 40) and not same_inside(full[20:227, 19:260], ramp, 40, 40)


def test_score_cells_look_at_32_i_plus_12_and_a_half():
    assert [CropGeometry().score_centre(i) for i in range(3)] == [12.5, 44.5, 76.5]
    assert math.isclose(CropGeometry(97).score_centre(0), 15.5)
