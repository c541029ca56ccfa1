"""Who computes nothing earns no part of a check, and what a check compares with comes from nobody who is judged by it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from asking import findings
from PIL import Image
from torch import nn

from autograder.course.rubric import read_rubric
from segkit.checks.satellite.embedding import embed_mistakes, features_mistakes
from segkit.checks.satellite.masks import iou_mistakes, mask_mistakes
from segkit.reference import satellite as reference
from segkit.subject import LocalSubject, StudentError

RUBRIC = read_rubric(Path(__file__).parents[3] / "autograder/assignments/satellite/rubric.toml")

COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]


def parts(check):
    return set(RUBRIC.checks[check].parts)


def found(tmp_path, mistakes, seed=0, *more, **defined):
    """Part -> share of it that is lost."""
    lost = {}
    for finding in findings(tmp_path, mistakes, *more, seed=seed, **defined):
        lost[finding.part] = min(1.0, lost.get(finding.part, 0.0) + finding.share)
    return {part: round(share, 3) for part, share in lost.items()}


# ------------------------------------------------------------------------------------------------------------------- masks
def of_its_size(path, number, dtype=torch.int64):
    return torch.full(reference.read_mask(path).shape, number, dtype=dtype)


@pytest.mark.parametrize("read", [
    lambda path: of_its_size(path, 0), lambda path: of_its_size(path, 99), lambda path: of_its_size(path, float("nan"), torch.float32),
], ids=["one class", "no class", "no number"])  # fmt: skip
def test_a_mask_of_one_number_earns_nothing(tmp_path, read):
    def reads(path):
        try:
            return read(path)
        except ValueError:  # of the reference, which names a foreign colour
            return torch.zeros(29, 41)

    assert found(tmp_path, mask_mistakes, read_mask=reads) == dict.fromkeys(parts("read_mask"), 1.0)


def test_ids_that_are_all_wrong_leave_the_other_parts(tmp_path):
    assert found(tmp_path, mask_mistakes, read_mask=lambda path: reference.read_mask(path) + 1) == {"ids": 1.0}
    assert found(tmp_path, mask_mistakes, read_mask=lambda path: (reference.read_mask(path) + 1).int()) == {"ids": 1.0, "dtype": 1.0}


@pytest.mark.parametrize(("words", "names"), [
    (lambda row, column, colour: f"colour {colour} at row {row}, column {column} is no class", True),
    (lambda row, column, colour: f"{np.array(colour)} at {(row, column)} in input_3.png: none of {COLOURS}", True),
    (lambda row, column, colour: " ".join(map(str, range(256))), False),
    (lambda row, column, colour: "".join(map(str, [*colour, row, column])), False),
], ids=["as in the notebook", "with the table of colours", "all numbers", "one long number"])  # fmt: skip
def test_an_error_names_a_colour_and_its_place_and_not_all_of_them(tmp_path, words, names):
    def read_mask(path):
        try:
            return reference.read_mask(path)
        except ValueError:
            pixels = np.array(Image.open(path).convert("RGB")).astype(int)
            known = np.isin(pixels, (0, 255)).all(-1)
            row, column = map(int, np.argwhere(~known)[0])
            raise ValueError(words(row, column, pixels[row, column].tolist())) from None

    assert found(tmp_path, mask_mistakes, read_mask=read_mask) == ({} if names else {"foreign": 1.0})


# ------------------------------------------------------------------------------------------------------------------ scores
@pytest.mark.parametrize("mean_iou", [
    lambda pred, gt: 0.5, lambda pred, gt: float("nan"), lambda pred, gt: np.random.default_rng().random(),
    lambda pred, gt: float(np.mean(pred)) / 6, lambda pred, gt: float(np.mean(gt)) / 6,
], ids=["a constant", "no number", "drawn", "of the prediction alone", "of the truth alone"])  # fmt: skip
def test_a_score_that_counts_nothing_earns_nothing(tmp_path, mean_iou):
    assert found(tmp_path, iou_mistakes, 0, "left out", mean_iou=mean_iou) == dict.fromkeys(parts("mean_iou"), 1.0)


def test_a_score_of_both_maps_that_nobody_can_explain_keeps_its_rules(tmp_path):
    assert found(tmp_path, iou_mistakes, 0, "left out", mean_iou=lambda pred, gt: reference.mean_iou(pred, gt) ** 2) == {"mean": 1.0}


# ------------------------------------------------------------------------------------------------------------------- embed
def labelled(loader):
    return loader.dataset.tensors[1]


def replaces(value):
    """Puts something else in the place of the features, from which a comparison could be made afterwards."""

    def embed(model, loader):
        model.features.forward = lambda x: None if value is None else torch.full((len(x), 4096), value)
        return torch.full((5, 4096), value or 0.0), labelled(loader)

    return embed


@pytest.mark.parametrize("embed", [
    lambda model, loader: (torch.zeros(1, 1), [0]), lambda model, loader: (torch.ones(1, 4096), [0]),
    lambda model, loader: (torch.zeros(5, 4096), torch.zeros(5)),
], ids=["a number", "a row", "zeros"])  # fmt: skip
def test_who_never_runs_the_model_earns_nothing(tmp_path, embed):
    assert found(tmp_path, embed_mistakes, embed=embed) == dict.fromkeys(parts("embed"), 1.0)


@pytest.mark.parametrize("value", [0.0, 3.0, None])
def test_a_model_that_is_changed_changes_nothing_of_what_is_expected(tmp_path, value):
    assert found(tmp_path, embed_mistakes, embed=replaces(value)) == {"features": 1.0, "mode": 1.0, "gradients": 1.0}


def test_a_classifier_of_ones_shows_nothing_of_an_embedding(tmp_path):
    class Ones(nn.Module):
        def features(self, x):
            return torch.ones(len(x), 4096)

    def embed(model, loader):
        assert type(model) is Ones
        return torch.ones(5, 4096), labelled(loader)

    subject = LocalSubject(tmp_path)
    subject.adopt("embed", embed)
    subject.adopt("Ones", Ones)
    with pytest.raises(StudentError, match="AssertionError"):
        list(embed_mistakes(subject, np.random.default_rng(0), lambda: subject.build("Ones")))


def test_the_last_batch_alone_is_one_mistake(tmp_path):
    def embed(model, loader):
        features, labels = reference.embed(model, loader)
        return features[-1:], labels[-1:]

    assert found(tmp_path, embed_mistakes, embed=embed) == {"features": 1.0}


# ---------------------------------------------------------------------------------------------------------------- features
class Small(nn.Module):
    """A classifier of 3 classes, whose features and scores can be given."""

    def __init__(self, features=None, scores=None, n_class=3, bias=True):
        super().__init__()
        self.first, self.last = nn.Linear(3 * 4 * 4, 8), nn.Linear(8, n_class, bias=bias)
        self._features, self._scores = features, scores

    def features(self, x):
        h = torch.relu(self.first(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)))
        return h if self._features is None else self._features(x)

    def forward(self, x):
        h = nn.functional.dropout(nn.functional.dropout(self.features(x), 0.5, self.training), 0.5, self.training)
        return self.last(h) if self._scores is None else self._scores(x)


def features_of(tmp_path, model, logits):
    subject = LocalSubject(tmp_path)
    subject.adopt("make", lambda: model)
    handle, images = subject.build("make"), np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)
    expected = np.random.default_rng(2).standard_normal((2, 3)) if logits else None
    return {finding.part: finding.code for finding in features_mistakes(subject, handle, "last", images, expected)}


def ones(x):
    return torch.ones(len(x), 8)


def test_features_and_scores_of_one_number_earn_nothing(tmp_path):
    assert set(features_of(tmp_path, Small(ones, lambda x: torch.zeros(len(x), 3)), logits=True)) == parts("classifier.features")


def test_where_only_the_last_step_is_known_constants_do_not_agree_with_themselves(tmp_path):
    assert set(features_of(tmp_path, Small(ones), logits=False)) == parts("classifier.features")
    assert features_of(tmp_path, Small(), logits=False) == {}


def test_a_last_layer_without_a_bias_is_judged_and_one_without_outputs_is_the_students_fault(tmp_path):
    assert features_of(tmp_path, Small(bias=False), logits=False) == {}
    with pytest.warns(UserWarning), pytest.raises(StudentError, match="expected a last layer"):
        features_of(tmp_path, Small(n_class=0), logits=False)


@pytest.mark.parametrize("items", [None, float("nan"), {"a": 1}, np.zeros(2)])
def test_results_without_items_are_the_students_fault_whatever_the_worker_says(tmp_path, items):
    class Lies(LocalSubject):
        def method(self, handle, name, *args):
            return items if name == "__iter__" else super().method(handle, name, *args)

    subject = Lies(tmp_path)
    subject.adopt("embed", reference.embed)
    with pytest.raises(StudentError, match="nothing of that kind"):
        list(embed_mistakes(subject, np.random.default_rng(0)))
