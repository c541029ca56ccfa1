"""Does the drawn sample show what the notebooks' text says that a student will see in it?"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.facades import CLASSES, find_root, label_path, split_names

LOW_AND_WIDE = {"cornice", "sill", "molding", "deco"}


def labels(part: str, root: Path | None = None) -> list[np.ndarray]:
    """Label maps of a part of the sample, or of ``base`` below a root: 0..11, and 255 for unknown."""
    names = split_names("base" if root else "sample", part)
    files = [label_path(root or find_root("sample"), name) for name in names]
    return [np.array(Image.open(file)) - np.uint8(1) for file in files]  # an unsigned byte: 0 - 1 is 255


def iou(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU of each class that is there, class by class."""
    known = truth != 255
    pairs = {name: ((found == k) & known, truth == k) for k, name in enumerate(CLASSES)}
    return {name: (a & b).sum() / (a | b).sum() for name, (a, b) in pairs.items() if (a | b).any()}


def test_the_first_three_facades_show_a_door_a_cornice_and_a_sill() -> None:
    """1.1: take a minute and find them."""
    shown = set(np.unique(np.concatenate([label.ravel() for label in labels("train")[:17:8]])))
    assert {CLASSES.index(name) for name in ("door", "cornice", "sill")} <= shown


def test_almost_every_picture_has_a_size_of_its_own() -> None:
    """1.2: and hardly any is divisible by 32."""
    sizes = [label.shape for label in labels("train")]
    assert len(set(sizes)) >= 0.9 * len(sizes)
    assert sum(height % 32 == 0 and width % 32 == 0 for height, width in sizes) <= 0.15 * len(sizes)


def test_shares_of_the_classes_are_near_those_of_the_real_facades() -> None:
    """1.4: the wall is the longest bar by far, and some classes are rare. Real figures: 378 facades of base/, in %."""
    real = (15.4, 38.5, 13.4, 1.3, 4.0, 2.8, 4.0, 1.5, 2.1, 11.5, 2.4, 3.3)
    counts = sum(np.bincount(label.ravel(), minlength=256)[:12] for label in labels("train"))
    share = dict(zip(CLASSES, 100 * counts / counts.sum(), strict=True))
    assert max(share, key=share.__getitem__) == "facade" and share["facade"] > 2 * share["window"]
    assert list(share.values()) == pytest.approx(real, abs=6) and min(share.values()) < 3


def test_saying_facade_everywhere_is_a_poor_answer_that_is_often_right() -> None:
    """1.7: the number to beat is near that of the real data, 38.5 % and 3.2 %."""
    truth = np.concatenate([label.ravel() for label in labels("test")])
    scores = iou(np.ones_like(truth), truth)
    assert (truth == 1).sum() / (truth != 255).sum() > 0.3 and np.mean(list(scores.values())) < 0.04


def test_exemplary_answer_of_notebook_1_is_right_on_the_real_facades(cmp_root: Path, notebooks) -> None:
    """What "always facade" scores, counted over the 48 test facades; its mean IoU stands on the page of results too."""
    truth = np.concatenate([label.ravel() for label in labels("test", cmp_root)])
    accuracy = (truth == CLASSES.index("facade")).sum() / (truth != 255).sum()
    scheme = next(cell.source for cell in notebooks["1_data.ipynb"].cells if "MARK SCHEME" in cell.source)
    told = re.search(r"accuracy of (0\.\d+) and a mean IoU of (0\.\d+).*the eleven others have 0, and (0\.\d+) / 12 = (0\.\d+)", scheme)
    assert told and told.groups() == (f"{accuracy:.3f}", f"{accuracy / 12:.3f}") * 2
    page = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    assert f'Always answering "facade" gives a mean IoU of {accuracy / 12:.3f}' in page and set(range(12)) <= set(np.unique(truth))


def test_eight_pixels_cost_low_and_wide_classes_most_and_tall_ones_least() -> None:
    """1.7, for the picture that the cell shows, and 2.3: thin things first. (1.6: what lies past 11 counts as the last class.)"""
    truth = labels("train")[0]
    scores = iou(np.roll(np.minimum(truth, 11), 8, axis=0), truth)
    ranked = sorted(scores, key=scores.__getitem__)
    assert set(ranked[:3]) <= LOW_AND_WIDE and not set(ranked[-3:]) & LOW_AND_WIDE


def test_a_finer_stride_gives_the_sills_back() -> None:
    """4.1, and the exemplary answer to question 2: hardly any at stride 32, far more at stride 8."""
    truth = labels("test")[0]
    rows, columns = np.ogrid[: truth.shape[0], : truth.shape[1]]
    sill, mean = {}, {}
    for stride in (32, 16, 8):
        coarse = np.minimum(truth, 11)[stride // 2 :: stride, stride // 2 :: stride]
        found = coarse[np.minimum(rows // stride, coarse.shape[0] - 1), np.minimum(columns // stride, coarse.shape[1] - 1)]
        scores = iou(found, truth)
        sill[stride], mean[stride] = scores["sill"], np.mean(list(scores.values()))
    assert mean[32] < mean[16] < mean[8] and sill[32] < 0.4 < sill[8]


Looks = Callable[[float], float]  # row of a map -> the row of the picture that it looks at


def pooled(look: Looks) -> Looks:
    return lambda row: (look(2 * row) + look(2 * row + 1)) / 2


def upsampled(look: Looks, kernel: int, stride: int) -> Looks:
    """A stamp lies around its middle row."""
    return lambda row: look((row - (kernel - 1) / 2) / stride)


@pytest.mark.parametrize("p", [97, 100, 131])
def test_cells_look_where_notebooks_2_and_4_say(p: int, notebooks) -> None:
    """2.3 and 4.2: followed layer by layer, and the offsets that come of it."""
    pool3 = pooled(pooled(pooled(lambda row: row + 1 - p)))
    pool4 = pooled(pool3)
    pool5 = pooled(pool4)
    score = upsampled(lambda row: pool5(row + 3), 1, 1)  # fc6 looks from the middle of seven rows
    once = upsampled(score, 4, 2)
    twice = upsampled(once, 4, 2)
    prose = " ".join(cell.source for cell in notebooks["4_fcn8s.ipynb"].cells if cell.cell_type == "markdown")
    assert all(text in prose for text in ("16i + 8.5 - p", "16j + 88.5 - p", "i = j+5", "8i + 4.5 - p", "8j + 76.5 - p", "i = j+9"))
    for j in range(4):
        assert score(j) == 32 * j + 112.5 - p and upsampled(score, 64, 32)(j + p - 81) == j
        assert pool4(j) == 16 * j + 8.5 - p and once(j) == 16 * j + 88.5 - p == pool4(j + 5)
        assert pool3(j) == 8 * j + 4.5 - p and twice(j) == 8 * j + 76.5 - p == pool3(j + 9)
        assert upsampled(twice, 16, 8)(j + p - 69) == j
