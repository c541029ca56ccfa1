"""Mistakes in ``confusion_matrix`` and ``scores``, each seen in real code: what it costs, how it is called."""

import pytest
from course_code import RUBRIC, changed, judged, solution

WIDE = ("astype(np.int64)  # wide", "astype(np.int64)  # wide")
HIST = "import numpy as np\nimport torch\ndef confusion_matrix(pred, gt, n_class):\n    "
LOOP = """hist = np.zeros((n_class, n_class), dtype=np.int64)
    for t in range(n_class):
        for p in range(n_class):
            hist[t, p] = ((gt == t) & (pred == p)).sum()
    return hist"""

HIST_MISTAKES = {
    "transposed": (changed("confusion_matrix", ("truth[is_known] * n_class + predicted[is_known]",
     "predicted[is_known] * n_class + truth[is_known]")),
                   2, "hist.transposed"),
    "no mask": (changed("confusion_matrix", ("(truth >= 0) & (truth < n_class)", "truth > -10**9"),
                        ("return np.bincount(cell_numbers, minlength=n_class**2)",
                         "return np.bincount(cell_numbers.clip(0, n_class**2 - 1), minlength=n_class**2)")),
                3, "hist.ignored"),
    "no mask, raises": (changed("confusion_matrix", ("(truth >= 0) & (truth < n_class)", "truth > -10**9")), 3, "hist.ignored"),
    "masks 255 alone": (changed("confusion_matrix", ("(truth >= 0) & (truth < n_class)", "truth != 255"),
                                ("cell_numbers, minlength", "cell_numbers.clip(0, n_class**2 - 1), minlength")), 3, "hist.ignored"),
    "narrow": (changed("confusion_matrix", (".astype(np.int64)", "")), 3, "hist.overflow"),
    "class 0 ignored": (changed("confusion_matrix", ("truth >= 0", "truth > 0")), 0, "hist.values"),
    "only the diagonal": (changed("confusion_matrix", ("(n_class, n_class)", "(n_class, n_class) * np.eye(n_class, dtype=int)")), 0,
     "hist.values"),
    "normalised": (changed("confusion_matrix", ("(n_class, n_class)", "(n_class, n_class) / truth.size")), 0, "hist.values"),
    "one class more": (changed("confusion_matrix", ("n_class**2", "(n_class + 1) ** 2"), ("n_class, n_class)",
     "n_class + 1, n_class + 1)")), 0, "hist.shape"),
    "flat": (changed("confusion_matrix", (".reshape(n_class, n_class)", "")), 0, "hist.shape"),
    "a table of bytes": (HIST + LOOP.replace("np.int64", "np.uint8"), 2, "hist.overflow"),
    "a dictionary": (HIST + "return {(0, 0): 1}", 0, "hist.type"),
    "nothing": (HIST + "pass", 0, "hist.type"),
    "12 in the code": (changed("confusion_matrix", ("* n_class +", "* 12 +"), ("n_class**2)", "n_class**2)[: n_class**2]")), 0,
     "hist.values"),
    "a table that goes on adding": (HIST.replace("def conf", "tables = {}\ndef conf") + "hist = tables.setdefault(n_class, "
                                    "np.zeros((n_class, n_class)))\n    known = (gt >= 0) & (gt < n_class)\n    "
                                    "np.add.at(hist, (gt[known], pred[known]), 1)\n    return hist", 2, "hist.state"),
    "one that also counts 255": (HIST.replace("def conf", "tables = {}\ndef conf") + "hist = tables.setdefault(n_class, "
                                 "np.zeros((n_class, n_class)))\n    np.add.at(hist, (gt.clip(0, n_class - 1), pred), 1)\n    "
                                 "return hist", 1, "hist.state"),
    "a default argument": (HIST.replace("n_class):", "n_class, hist=np.zeros((64, 64))):") + "known = (gt >= 0) & (gt < n_class)\n    "
                           "np.add.at(hist, (gt[known], pred[known]), 1)\n    return hist[:n_class, :n_class]", 1, "hist.state"),
    "calls itself": (HIST.replace("def conf", "from sklearn.metrics import confusion_matrix\ndef conf")
                     + "return confusion_matrix(gt.ravel(), pred.ravel(), labels=range(n_class))", 0, "code.raises"),
}  # fmt: skip


def test_a_function_that_hides_what_it_imported_is_told_so(tmp_path):
    assert "calls itself here: it hides what was imported under its name" in judged("confusion_matrix", HIST_MISTAKES["calls itself"][0],
                                                                                    tmp_path).message  # fmt: skip


@pytest.mark.parametrize("name", HIST_MISTAKES)
def test_a_mistake_in_the_confusion_matrix_is_named_and_costs_its_part(name, tmp_path):
    source, points, cause = HIST_MISTAKES[name]
    found = judged("confusion_matrix", "import numpy as np\n" + source, tmp_path)
    assert (found.cause, found.points) == (cause, points), found.message
    assert cause in RUBRIC.causes and "confusion_matrix" in found.message


@pytest.mark.parametrize("source", [
    "import numpy as np\n" + solution("confusion_matrix"),
    HIST + LOOP,
    HIST + LOOP.replace("np.zeros((n_class, n_class), dtype=np.int64)", "torch.zeros(n_class, n_class)"),  # a float tensor
    HIST + "gt, pred = gt.flatten().long(), pred.flatten().long()\n    known = (gt >= 0) & (gt < n_class)\n    "
           "return torch.bincount(n_class * gt[known] + pred[known], minlength=n_class * n_class).view(n_class, n_class).int()",
    HIST + "from sklearn.metrics import confusion_matrix as count\n    known = (gt >= 0) & (gt < n_class)\n    "
           "return count(gt[known], pred[known], labels=range(n_class))",
    HIST + "hist = np.zeros((n_class, n_class))\n    known = (gt >= 0) & (gt < n_class)\n    "
           "np.add.at(hist, (gt[known], pred[known]), 1)\n    return hist.tolist()",
])  # fmt: skip
def test_other_ways_to_the_same_counts_keep_all_points(source, tmp_path):
    found = judged("confusion_matrix", source, tmp_path)
    assert found.status == "earned", found.message


UNION = "table.sum(axis=1) + table.sum(axis=0) - intersection"
SCORES = "import numpy as np\nimport torch\ndef scores(hist):\n    "
SCORE_MISTAKES = {
    "recall": (changed("scores", (UNION, "table.sum(axis=1)")), 2.5, "iou.recall"),
    "precision": (changed("scores", (UNION, "table.sum(axis=0)")), 2.5, "iou.precision"),
    "dice": (changed("scores", (UNION, "(table.sum(axis=1) + table.sum(axis=0)) / 2")), 2.5, "iou.dice"),
    "intersection counted twice": (changed("scores", (UNION, "table.sum(axis=1) + table.sum(axis=0)")), 2.5, "iou.values"),
    "absent is 0": (changed("scores", ("np.full(len(table), np.nan)", "np.zeros(len(table))"), ("np.nanmean(iou)", "np.mean(iou)")), 3.5,
     "iou.absent"),
    "absent is 1": (changed("scores", ("np.full(len(table), np.nan)", "np.ones(len(table))")), 3.5, "iou.absent"),
    "absent counts in the mean": (changed("scores", ("np.nanmean(iou)", "np.nan_to_num(iou).mean()")), 3, "iou.absent_mean"),
    "NaN mean": (changed("scores", ("np.nanmean(iou)", "iou.mean()")), 3, "iou.absent_mean"),
    "mean accuracy": (changed("scores", ("intersection.sum() / table.sum()", "np.nanmean(intersection / table.sum(axis=1))")), 3,
     "accuracy.mean"),
    "accuracy in percent": (changed("scores", ("float(pixel_accuracy)", "100 * float(pixel_accuracy)")), 3, "accuracy.values"),
    "the last class left out": (changed("scores", ("np.nanmean(iou)", "np.nanmean(iou[:-1])")), 3, "mean.values"),
    "absent classes left out of iou": (changed("scores", ("return float(pixel", "iou = iou[union_of_both > 0]\n    return float(pixel")),
     3.5, "iou.absent"),
    "micro": (changed("scores", ("float(np.nanmean(iou))", "float(intersection.sum() / union_of_both.sum())")), 3, "mean.micro"),
    "IoU and mean in percent": (changed("scores", ("return float(pixel_accuracy), iou",
     "iou = 100 * iou\n    return float(pixel_accuracy), iou")), 2.5, "iou.values"),
    "rounded": (changed("scores", ("return float(pixel_accuracy), iou, float(np.nanmean(iou))",
     "return round(float(pixel_accuracy), 2), iou.round(2), round(float(np.nanmean(iou)), 2)")), 1.5, "accuracy.values"),
    "a rounded mean": (changed("scores", ("float(np.nanmean(iou))", "round(float(np.nanmean(iou)), 3)")), 3, "mean.values"),
    "two results": (changed("scores", ("return float(pixel_accuracy), iou, ", "return float(pixel_accuracy), ")), 0, "scores.type"),
    "a dictionary": (SCORES + "return {'accuracy': 1, 'iou': [1], 'mean': 1}", 0, "scores.type"),
    "nothing": (SCORES + "pass", 0, "scores.type"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORE_MISTAKES)
def test_a_mistake_in_the_scores_is_named_and_costs_its_part(name, tmp_path):
    source, points, cause = SCORE_MISTAKES[name]
    found = judged("scores", "import numpy as np\n" + source, tmp_path)
    assert (found.cause, found.points) == (cause, points), found.message
    assert cause in RUBRIC.causes and "scores" in found.message


def test_rounded_scores_are_told_to_how_many_digits(tmp_path):
    found = judged("scores", "import numpy as np\n" + SCORE_MISTAKES["rounded"][0], tmp_path)
    assert found.message.count("rounded to 2 digits") == 2


@pytest.mark.parametrize("source", [
    "import numpy as np\n" + solution("scores"),
    SCORES + "hit = np.diag(hist)\n    iou = hit / (hist.sum(0) + hist.sum(1) - hit)\n    return hit.sum() / hist.sum(), iou, "
        "np.nanmean(iou)",
    SCORES + "hist = torch.as_tensor(hist).double()\n    hit = hist.diag()\n    iou = hit / (hist.sum(0) + hist.sum(1) - hit)\n    "
             "return hit.sum() / hist.sum(), iou, iou.nanmean()",
    SCORES + "hit = hist.diag().float()\n    iou = hit / (hist.sum(dim=0) + hist.sum(dim=1) - hit)\n    "
             "return (hit.sum() / hist.sum()).item(), iou, iou[~iou.isnan()].mean().item()",
    SCORES + "ious = []\n    for k in range(len(hist)):\n        union = hist[k].sum() + hist[:, k].sum() - hist[k, k]\n        "
             "ious.append(float(hist[k, k] / union) if union else float('nan'))\n    "
             "return float(hist.trace() / hist.sum()), ious, float(np.nanmean(ious))",
])  # fmt: skip
def test_other_ways_to_the_same_scores_keep_all_points(source, tmp_path):
    found = judged("scores", source, tmp_path)
    assert found.status == "earned", found.message
