"""Paired transforms: the label must always show what the image shows."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image

from segkit import transforms as T


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A label of distinct numbers below 255, and an image whose channels all equal label / 255."""
    label = torch.arange(height * width).view(height, width) % 251
    return (label / 255).expand(3, -1, -1).clone(), label


def assert_shows_the_same(image: torch.Tensor, label: torch.Tensor) -> None:
    known = label != 255
    assert torch.equal((image[0] * 255).round().long()[known], label[known])


def test_to_tensor_keeps_places_and_scales_to_one() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = T.to_tensor(Image.fromarray(pixels))
    assert tensor.shape == (3, 5, 7) and tensor.dtype == torch.float32
    for c, y, x in ((0, 0, 0), (1, 4, 6), (2, 3, 1)):
        assert tensor[c, y, x].item() == pytest.approx(pixels[y, x, c] / 255)


def test_to_tensor_refuses_grey_pictures() -> None:
    with pytest.raises(ValueError, match=r"Expected an RGB picture .* got \(4, 6\)"):
        T.to_tensor(Image.new("L", (6, 4)))


def test_normalize_agrees_with_torchvision_and_denormalize_undoes_it() -> None:
    image = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    before = image.clone()
    normal = T.normalize(image, mean, std)
    torch.testing.assert_close(normal, TF.normalize(image, list(mean), list(std)))
    torch.testing.assert_close(T.denormalize(normal, mean, std), image)
    assert torch.equal(image, before)


def test_flip_mirrors_both_or_neither() -> None:
    image, label = pair(6, 9)
    flip = T.RandomHorizontalFlip(0.5, torch.Generator().manual_seed(1))
    flipped = 0
    for _ in range(40):
        i, t = flip(image, label)
        assert_shows_the_same(i, t)
        flipped += int(t[0, 0] == label[0, -1])
    assert 8 < flipped < 32


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_flip_probability_is_exact_at_its_ends(p: float) -> None:
    image, label = pair(4, 5)
    expected = torch.from_numpy(label.numpy()[:, ::-1].copy()) if p else label
    for _ in range(10):
        assert torch.equal(T.RandomHorizontalFlip(p)(image, label)[1], expected)


def test_crop_cuts_one_window_and_reaches_every_place() -> None:
    image, label = pair(5, 6)
    crop = T.RandomCrop((3, 4), generator=torch.Generator().manual_seed(0))
    corners = set()
    for _ in range(200):
        i, t = crop(image, label)
        assert i.shape == (3, 3, 4) and t.shape == (3, 4)
        assert_shows_the_same(i, t)
        corners.add(int(t[0, 0]))
    assert corners == {y * 6 + x for y in range(3) for x in range(3)}


def test_crop_of_a_small_picture_pads_image_with_fill_and_label_with_255() -> None:
    image, label = pair(2, 6)
    i, t = T.RandomCrop((4, 4), fill=0.25)(image, label)
    assert i.shape == (3, 4, 4) and t.shape == (4, 4)
    assert (t[2:] == 255).all() and (i[:, 2:] == 0.25).all()
    assert_shows_the_same(i, t)


def test_scale_keeps_image_and_label_in_register() -> None:
    """Does an edge lie at the same place in both after resizing?"""
    label = torch.zeros(40, 60, dtype=torch.long)
    label[13:, 21:] = 1
    image = label.float().expand(3, -1, -1)
    scale = T.RandomScale(0.5, 2.0, torch.Generator().manual_seed(3))
    for _ in range(12):
        i, t = scale(image, label)
        assert i.shape[1:] == t.shape and t.dtype == torch.int64
        assert set(t.unique().tolist()) <= {0, 1}
        wrong = (i[0] > 0.5).long() != t
        assert wrong.sum() <= t.shape[0] + t.shape[1]  # at most one pixel along the edge


def test_label_is_enlarged_by_repeating_pixels() -> None:
    image, label = pair(3, 4)
    _, t = T.RandomScale(2.0, 2.0)(image, label)
    assert np.array_equal(t.numpy(), np.repeat(np.repeat(label.numpy(), 2, 0), 2, 1))


def test_label_is_reduced_to_the_pixel_under_each_new_centre() -> None:
    """At a quarter, new centres lie at 2, 6 and 10 of the old pixels; taking 0, 4, 8 would shift the label."""
    label = torch.arange(12).expand(12, -1)
    _, t = T.RandomScale(0.25, 0.25)(torch.zeros(3, 12, 12), label)
    assert t.tolist() == [[2, 6, 10]] * 3


def test_unknown_survives_scaling() -> None:
    label = torch.full((8, 8), 255)
    _, t = T.RandomScale(0.5, 0.5)(torch.zeros(3, 8, 8), label)
    assert t.shape == (4, 4) and (t == 255).all()


@pytest.mark.parametrize(("size", "padded"), [((32, 64), (32, 64)), ((33, 1), (64, 32)), ((207, 241), (224, 256))])
def test_pad_to_multiple_adds_unknown_at_the_right_and_the_bottom(size: tuple, padded: tuple) -> None:
    image, label = pair(*size)
    i, t = T.PadToMultiple(32)(image, label)
    assert tuple(t.shape) == padded and tuple(i.shape[1:]) == padded
    assert torch.equal(t[: size[0], : size[1]], label)
    assert (t == 255).sum() == padded[0] * padded[1] - size[0] * size[1]


def test_compose_runs_in_order_and_seeds_repeat() -> None:
    image, label = pair(20, 20)

    def run() -> torch.Tensor:
        g = torch.Generator().manual_seed(7)
        chain = T.Compose(T.RandomScale(0.5, 1.5, g), T.RandomHorizontalFlip(0.5, g), T.RandomCrop((9, 8), 0.0, g))
        i, t = chain(image, label)
        assert i.shape == (3, 9, 8)
        return t

    assert torch.equal(run(), run())


def test_a_pair_of_two_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one size, but got \(3, 4, 4\) and \(4, 5\)"):
        T.RandomHorizontalFlip()(torch.zeros(3, 4, 4), torch.zeros(4, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="0 < low <= high"):
        T.RandomScale(0.0, 1.0)
