"""Do words say what maps and values have to do with each other? Expected words are written by hand."""

import numpy as np
import pytest

from autograder.viva.drawing import before_and_after
from autograder.viva.maps import map_words, moved, relation
from autograder.viva.values import value_words


@pytest.fixture
def picture():
    return np.random.default_rng(5).standard_normal((41, 37))


def shifted(array, down, right):
    """The array moved, with new values where nothing was."""
    found = np.random.default_rng(6).standard_normal(array.shape)
    height, width = array.shape
    found[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = array[
        max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return found


@pytest.mark.parametrize(("down", "right", "words"), [
    (1, 0, "moved 1 pixel down"), (-8, 0, "moved 8 pixels up"), (0, 16, "moved 16 pixels to the right"),
    (3, -2, "moved 3 pixels down and 2 pixels to the left"),
])  # fmt: skip
def test_moved_maps_are_measured(picture, down, right, words):
    after = shifted(picture, down, right)
    assert moved(picture, after) == (down, right)
    assert relation(picture, after) == words


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x, ""), (lambda x: x * (1 + 1e-6), ""), (lambda x: 2 * x, "multiplied by 2"), (lambda x: x + 3, "raised by 3 everywhere"),
    (lambda x: x - 0.5, "lowered by 0.5 everywhere"), (lambda x: 0 * x, "0 everywhere"), (lambda x: 0 * x + 7, "7 everywhere"),
    (lambda x: np.where(x > 2, np.nan, x), "NaN in places"), (lambda x: np.maximum(x, 0), "changed otherwise"),
    (lambda x: -x, "multiplied by -1"), (lambda x: x[::-1].copy(), "changed otherwise"),
])  # fmt: skip
def test_relations_have_names(picture, change, words):
    assert relation(picture, change(picture)) == words


def test_a_constant_map_is_not_moved():
    assert moved(np.ones((9, 9)), np.ones((9, 9))) is None


def test_score_maps_are_told_by_classes(picture):
    before = np.stack([picture, picture[::-1], 10 - picture])[None]
    after = np.stack([picture, shifted(picture[::-1], 2, 0), 10 - picture])[None]
    assert map_words(before, after) == "Scores of class 1: moved 2 pixels down; of classes 0, 2: as before. No pixel gets another class."


def test_changed_winners_are_counted():
    before, after = np.zeros((1, 2, 4, 5)), np.zeros((1, 2, 4, 5))
    before[0, 0] = after[0, 0] = np.arange(20).reshape(4, 5)
    after[0, 1, 0] = 100  # 5 of 20 pixels
    assert "25% of the pixels get another class" in map_words(before, after)


@pytest.mark.parametrize(("before", "after", "words"), [
    (np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]]),
     "2 of 4 numbers differ (first at [0, 1], 3 in place of 2); rows and columns are exchanged; their sum is the same"),
    (np.array([1.0, 2.0]), np.array([1.0, np.nan]), "1 of 2 numbers differ (first at [1], nan in place of 2); 1 are NaN, 0 before"),
    (np.array([5, 6]), np.array([4, 5]),
     "2 of 2 numbers differ (first at [0], 4 in place of 5); all are smaller by 1; their sum is 9, 11 before"),
    (np.zeros((2, 3)), np.zeros((3, 2)), "an array (3, 2) in place of (2, 3): rows and columns are exchanged"),
    (np.array([1], np.int64), np.array([1], np.float32), "the type of the numbers is float32 in place of int64"),
    (0.5, 0.25, "0.25 in place of 0.5"), (np.zeros(3), None, "None in place of an array (3,) of float64"),
    ([0.5, 1.0], [0.5, 2.0], "result 2: 2 in place of 1"), ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "1 of 2 differ: b"),
    ({"a": 1}, {"b": 1}, "a lost; b new"), (1.0, 1.0 + 1e-9, ""), (float("nan"), float("nan"), ""),
])  # fmt: skip
def test_values_are_told(before, after, words):
    assert value_words(before, after) == words


def test_label_maps_and_winning_classes_are_drawn_and_other_things_are_not(picture):
    labels = np.arange(15 * 15).reshape(15, 15) % 7
    assert all(uri.startswith("data:image/png;base64,") for uri in before_and_after(labels, labels[::-1]))
    scores = np.stack([picture, -picture])[None].astype(np.float32)
    drawn = before_and_after(scores, -scores)
    assert drawn is not None and drawn[0] != drawn[1]
    assert before_and_after(labels, labels) is None
    assert before_and_after(np.arange(9).reshape(3, 3), np.zeros((3, 3), int)) is None
