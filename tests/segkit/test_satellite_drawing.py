"""Drawn tiles: what they show, that masks tell it, and that the committed sample is what the code draws."""

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.datasets import PairDataset
from segkit.datasets.satellite import PARTS, SPEC, UNKNOWN, draw_tile, make_sample
from segkit.reference.satellite import read_mask

drawn = functools.cache(draw_tile)


def test_the_same_number_draws_the_same_tile_and_another_another() -> None:
    photograph, mask = drawn(5)
    assert photograph.shape == (512, 512, 3) and mask.shape == (512, 512) and photograph.dtype == mask.dtype == np.uint8
    again = draw_tile(5)
    assert all(np.array_equal(one, other) for one, other in zip(again, (photograph, mask), strict=True))
    assert not np.array_equal(drawn(6)[1], mask)


@pytest.mark.parametrize("side", [64, 130, 700])
def test_a_tile_of_any_side_is_filled(side: int) -> None:
    photograph, mask = draw_tile(0, side)
    assert photograph.shape == (side, side, 3) and mask.shape == (side, side) and mask.max() < UNKNOWN
    assert len(np.unique(mask)) >= 5


def test_every_eighth_tile_has_a_black_margin_that_nobody_labelled() -> None:
    photograph, mask = drawn(3)
    assert (mask[:, -32:] == UNKNOWN).all() and not photograph[:, -32:].any()
    assert (mask[:, :-32] < UNKNOWN).all() and (drawn(5)[1] < UNKNOWN).all()


def test_classes_look_different() -> None:
    """Do mean colour and contrast tell the classes apart? Each pixel of a grid is given to the nearest class of other tiles."""

    def seen(number: int) -> tuple[np.ndarray, np.ndarray]:
        photograph, mask = drawn(number)
        blocks = photograph.reshape(32, 16, 32, 16, 3).astype(float)
        features = np.concatenate([blocks.mean((1, 3)), blocks.std((1, 3))], axis=-1)  # (32, 32, 6)
        ids = mask.reshape(32, 16, 32, 16)
        pure = (ids == ids[:, :1, :, :1]).all((1, 3)) & (ids[:, 0, :, 0] < UNKNOWN)
        return features[pure], ids[:, 0, :, 0][pure]

    known, ids = (np.concatenate(parts) for parts in zip(*map(seen, (5, 6)), strict=True))
    centres = np.array([known[ids == k].mean(0) for k in range(6)])
    features, truth = seen(0)
    found = ((features[:, None] - centres) ** 2).sum(-1).argmin(-1)
    assert (found == truth).mean() > 0.6, "by chance it is 1/6"


def test_every_class_is_in_every_part_of_the_sample() -> None:
    for part in ("train", "val", "test"):
        pairs = PairDataset(SPEC, SPEC.find_root("sample"), "sample", part, read_label=read_mask)
        counts = sum(np.bincount(pairs[number][1].ravel(), minlength=256) for number in range(len(pairs)))
        assert len(pairs) == dict(zip(("train", "val", "test"), PARTS, strict=True))[part]
        assert (counts[:6] / counts[:6].sum()).min() > 0.05, part


def test_the_committed_sample_is_what_the_code_draws_and_is_small(tmp_path: Path) -> None:
    """Masks exactly; the bytes of photographs depend on Pillow."""
    sample = SPEC.folder / "sample"
    for name in make_sample(tmp_path, count=4):
        kept, fresh = (np.array(Image.open(SPEC.label_path(root, name))) for root in (sample, tmp_path))
        assert np.array_equal(kept, fresh), name
        kept, fresh = (np.array(Image.open(SPEC.image_path(root, name)), float) for root in (sample, tmp_path))
        assert abs(kept - fresh).mean() < 1, name
    files = [path for path in sample.rglob("*") if path.is_file()]
    assert len(files) == 2 * sum(PARTS) and sum(path.stat().st_size for path in files) < 2e6
