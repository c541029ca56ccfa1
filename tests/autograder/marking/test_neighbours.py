"""Like answers stand together."""

import numpy as np
from answers_of_a_class import DATA, EDGES, NUMBERS, STRIDE

from autograder.marking.neighbours import _chain, like_together


def test_answers_of_one_kind_are_in_one_group_and_empty_ones_last():
    texts = [DATA[0], DATA[0] + " " + EDGES[0], "", STRIDE[0], DATA[0], " \n", STRIDE[0], STRIDE[0] + " Yes."]
    groups = like_together(texts)
    assert groups[-1] == [2, 5]
    assert sorted(sorted(group) for group in groups[:-1]) == [[0, 1, 4], [3, 6, 7]]


def test_equal_answers_follow_each_other():
    texts = [NUMBERS[0], STRIDE[1], NUMBERS[0], STRIDE[1], NUMBERS[0]]
    order = [place for group in like_together(texts) for place in group]
    assert [texts[place] for place in order] in ([NUMBERS[0]] * 3 + [STRIDE[1]] * 2, [STRIDE[1]] * 2 + [NUMBERS[0]] * 3)


def test_in_a_group_each_answer_is_followed_by_its_nearest_that_is_left():
    angles = np.radians([2, 40, 10, 30])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert _chain(rows, np.array([5, 6, 7, 8]), np.array([1.0, 0.0])) == [5, 7, 8, 6]


def test_the_order_is_the_same_each_time_and_nobody_is_left_out():
    texts = [f"{DATA[n % 3]} {EDGES[n % 2]} {n}" for n in range(30)]
    groups = like_together(texts)
    assert groups == like_together(texts)
    assert sorted(place for group in groups for place in group) == list(range(30))


def test_odd_classes_have_an_order_too():
    assert like_together([]) == []
    assert like_together(["", ""]) == [[0, 1]]
    assert like_together(["one answer"]) == [[0]]
    assert like_together(["!", "?", "$$"]) == [[0, 1, 2]], "no word in any of them"
    assert like_together(["same words"] * 5) == [[0, 1, 2, 3, 4]]
