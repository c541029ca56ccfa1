"""Dataset scores against scikit-learn and torchmetrics, and the manners of evaluate and predict."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score
from sklearn.metrics import confusion_matrix as sk_confusion_matrix
from torch import nn
from torchmetrics.functional.classification import multiclass_jaccard_index

from segkit.evaluation import EvaluationError, evaluate, predict

N = 4


class TinySet:
    """Odd-sized noise images with labels of 4 classes and some void pixels."""

    names = ("first", "second", "third")

    def __init__(self, n_class: int = N):
        rng = np.random.default_rng(0)
        sizes = [(9, 13), (11, 7), (5, 5)]
        self.images = [torch.tensor(rng.normal(size=(3, *s)), dtype=torch.float32) for s in sizes]
        self.labels = [torch.tensor(rng.integers(0, n_class, s)) for s in sizes]
        self.labels[0][:2] = 255

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def net(n_class: int = N) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(8, n_class, 1))


def counting(pred, gt, n_class):
    keep = gt != 255
    return sk_confusion_matrix(gt[keep].numpy(), pred[keep].numpy(), labels=range(n_class))


def scoring(hist):
    """Scores by scikit-learn over a list of pixels with these counts."""
    hist = np.asarray(hist).astype(int)
    truth, guess = (np.repeat(index.ravel(), hist.ravel()) for index in np.indices(hist.shape))
    iou = jaccard_score(truth, guess, labels=range(len(hist)), average=None, zero_division=0)
    iou[np.setdiff1d(np.arange(len(hist)), np.union1d(truth, guess))] = np.nan
    return accuracy_score(truth, guess), iou, np.nanmean(iou)


def pixels(model, data):
    """All labelled pixels of the dataset and what a plain loop predicts for them."""
    model.eval()
    with torch.no_grad():
        guess = torch.cat([model(image[None]).argmax(1).flatten() for image in data.images])
    truth = torch.cat([label.flatten() for label in data.labels])
    keep = truth != 255
    return truth[keep], guess[keep]


def test_scores_are_those_of_all_pixels_together():
    model, data = net(), TinySet()
    truth, guess = pixels(model, data)
    result = evaluate(model, data, confusion_matrix=counting, scores=scoring, progress=False, bootstrap=0)
    assert result.pixel_accuracy == pytest.approx(accuracy_score(truth, guess))
    assert result.mean_accuracy == pytest.approx(balanced_accuracy_score(truth, guess))
    assert result.mean_iou == pytest.approx(float(multiclass_jaccard_index(guess, truth, N, average="macro")))
    weighted = multiclass_jaccard_index(guess, truth, N, average="weighted")
    assert result.frequency_weighted_iou == pytest.approx(float(weighted))
    assert (result.hist == sk_confusion_matrix(truth, guess, labels=range(N))).all()
    assert result.images == 3 and list(result.iou) == [f"class {i}" for i in range(N)]


def test_loss_is_the_mean_over_images():
    model, data = net().eval(), TinySet()
    with torch.no_grad():
        losses = [nn.CrossEntropyLoss(ignore_index=255)(model(i[None]), t[None]).item() for i, t in data]
    result = evaluate(model, data, confusion_matrix=counting, scores=scoring, progress=False, bootstrap=0)
    assert result.loss == pytest.approx(sum(losses) / 3, rel=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        lambda hist: hist.astype(np.uint8),
        lambda hist: hist.astype(np.float32),
        torch.from_numpy,
        lambda hist: torch.from_numpy(hist).float(),
        lambda hist: hist.tolist(),
    ],
    ids=["uint8", "float32", "tensor", "float tensor", "list"],
)
def test_any_kind_of_counts_gives_the_same_scores(convert):
    seen = []

    def counts(pred, gt, n_class):
        return convert(counting(pred, gt, n_class))

    def scores(hist):
        seen.append(type(hist))
        return scoring(hist)

    settings = {"progress": False, "bootstrap": 20}
    expected = evaluate(net(), TinySet(), confusion_matrix=counting, scores=scoring, **settings)
    result = evaluate(net(), TinySet(), confusion_matrix=counts, scores=scores, **settings)
    assert result.to_json() == expected.to_json()
    tensor = isinstance(convert(np.zeros((2, 2), dtype=np.int64)), torch.Tensor)
    assert set(seen) == {torch.Tensor if tensor else np.ndarray}


def test_interval_holds_the_mean_and_repeats_with_its_seed():
    def run(seed):
        return evaluate(net(), TinySet(), confusion_matrix=counting, scores=scoring, progress=False, bootstrap=100, seed=seed)

    result = run(1)
    low, high = result.mean_iou_interval
    assert low <= result.mean_iou <= high and low < high
    assert run(1).mean_iou_interval == (low, high) != run(2).mean_iou_interval


def test_absent_classes_are_nan_and_null_in_json():
    result = evaluate(net(6), TinySet(), confusion_matrix=counting, scores=scoring, progress=False, bootstrap=0)
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for name, value in result.iou.items():
        assert content["iou"][name] == (None if math.isnan(value) else value)


def test_names_of_the_facades_are_used_for_twelve_classes():
    result = evaluate(net(12), TinySet(12), confusion_matrix=counting, scores=scoring, progress=False, bootstrap=0)
    assert list(result.iou)[:3] == ["background", "facade", "window"]


def test_the_mode_of_every_module_is_restored_and_dropout_is_off():
    model, data = net().train(), TinySet()
    model[0].eval()
    settings = {"confusion_matrix": counting, "scores": scoring, "progress": False, "bootstrap": 0}
    first, second = evaluate(model, data, **settings), evaluate(model, data, **settings)
    assert [module.training for module in model] == [False, True, True, True] and model.training
    assert (first.hist == second.hist).all()
    assert torch.equal(predict(model, data.images[0]), predict(model, data.images[0][None]))
    assert model.training


def test_prediction_is_a_long_label_map_of_the_image_size():
    pred = predict(net(), TinySet().images[1])
    assert pred.shape == (11, 7) and pred.dtype == torch.int64


class Broken(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.inner, self.what = net(), what

    def forward(self, x):
        return self.what(self.inner(x))


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (lambda x: x[..., :-1], r"first: expected network output \(1, n_class, 9, 13\), but got \(1, 4, 9, 12\)"),
        (lambda x: x.argmax(1), "was argmax taken in forward"),
        (lambda x: (x, x), "but got tuple"),
    ],
)
def test_wrong_outputs_are_named_with_the_image(what, expected):
    with pytest.raises(EvaluationError, match=expected):
        evaluate(Broken(what), TinySet(), confusion_matrix=counting, scores=scoring, progress=False)


def test_wrong_metrics_and_empty_data_are_named():
    def run(data=None, counts=counting, scores=scoring):
        evaluate(net(), data or TinySet(), confusion_matrix=counts, scores=scores, progress=False)

    with pytest.raises(EvaluationError, match=r"counts \(4, 4\), but got \(\) of object"):
        run(counts=lambda *_: None)
    with pytest.raises(EvaluationError, match="pixel_accuracy, iou, mean_iou.*but got tuple of 2"):
        run(scores=lambda hist: (0.5, 0.5))
    with pytest.raises(EvaluationError, match=r"iou of shape \(4,\), but got \(\)"):
        run(scores=lambda hist: (0.5, 0.5, 0.5))
    with pytest.raises(EvaluationError, match="empty"):
        evaluate(net(), [], confusion_matrix=counting, scores=scoring)


def test_the_bar_is_on_stdout_and_nothing_on_stderr(capsys):
    evaluate(net(), TinySet(), confusion_matrix=counting, scores=scoring, bootstrap=0)
    out, err = capsys.readouterr()
    assert "evaluating" in out and err == ""
