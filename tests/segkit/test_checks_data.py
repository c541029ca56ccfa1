"""Do the visible checks of notebook 1 pass right code, and name the cause of each known mistake?"""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import coo_matrix

from segkit.checks import check_confusion_matrix, check_read_label, check_scores
from segkit.checks.report import Report


def right_read_label(path):
    ids = torch.from_numpy(np.array(Image.open(path), dtype=np.int64))
    return torch.where(ids == 0, 255, ids - 1)


def right_confusion_matrix(pred, gt, n_class):
    counts = np.zeros((n_class, n_class), int)
    for p, t in zip(np.asarray(pred).ravel().tolist(), np.asarray(gt).ravel().tolist(), strict=True):
        if 0 <= t < n_class:
            counts[t, p] += 1
    return counts


def right_scores(hist):
    hist = np.asarray(hist, dtype=float)
    inter = np.diag(hist)
    union = hist.sum(0) + hist.sum(1) - inter
    iou = np.array([i / u if u else np.nan for i, u in zip(inter, union, strict=True)])
    return inter.sum() / hist.sum(), iou, np.nanmean(iou)


def causes(report: Report) -> str:
    return "\n".join(report.causes)


@pytest.mark.parametrize(
    ("check", "function"),
    [
        (check_read_label, right_read_label),
        (check_confusion_matrix, right_confusion_matrix),
        (check_scores, right_scores),
    ],
)
def test_right_code_passes(check, function, capsys):
    report = check(function)
    printed = capsys.readouterr()
    assert report, report.lines
    assert printed.err == ""
    assert all(line.startswith("[ok] ") for line in printed.out.splitlines())


PROSE = ["facade", "molding", "cornice", "pillar", "window", "door", "sill", "blind", "balcony", "shop", "deco", "background"]


def ids_of(path):
    return np.array(Image.open(path)).astype(np.int64)


def prose_order(path):
    from segkit.facades import CLASSES

    table = np.array([255] + [PROSE.index(name) for name in CLASSES])
    return torch.from_numpy(table[ids_of(path)])


def to_tensor_then_long(path):
    return torch.from_numpy(np.array(Image.open(path)) / 255).long()


def shift_of_bytes(path):
    return torch.from_numpy(np.array(Image.open(path)) - 1)


def shifted_after_unknown(path):
    ids = ids_of(path)
    ids[ids == 0] = 255
    return torch.from_numpy(ids - 1)


def grey(path):
    value = torch.from_numpy(np.array(Image.open(path).convert("L")).astype(np.int64))
    return torch.where(value == 0, 255, value - 1)


def numbered_by_what_occurs(path):
    ids = ids_of(path)
    ranks = np.unique(ids, return_inverse=True)[1].reshape(ids.shape) - 1
    return torch.from_numpy(np.where(ids == 0, 255, ranks))


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (prose_order, "prose order"),
        (lambda path: torch.from_numpy(ids_of(path)), "not shifted"),
        (lambda path: torch.from_numpy(ids_of(path) - 1), "0 - 1 is -1"),
        (lambda path: torch.from_numpy(np.maximum(ids_of(path) - 1, 0)), "id 0 became 0"),
        (shifted_after_unknown, "set it last"),
        (shift_of_bytes, "still the bytes"),
        (grey, "grey values"),
        (to_tensor_then_long, "ToTensor"),
        (lambda path: right_read_label(path).numpy(), "torch.from_numpy"),
        (lambda path: right_read_label(path).T, "rows and columns"),
        (lambda path: right_read_label(path)[None], "extra dimension"),
        (lambda path: torch.from_numpy(np.array(Image.open(path).convert("RGB"))), "RGB"),
        (lambda path: torch.nn.functional.one_hot(torch.from_numpy(ids_of(path)), 13)[..., 1:], "one-hot"),
        (lambda path: right_read_label(path)[:2, :2], "no resizing"),
        (numbered_by_what_occurs, "which ids occur"),
        (lambda path: right_read_label(path).float(), "add .long()"),
        (lambda path: None, "no `return`"),
    ],
)
def test_label_mistakes_are_named(function, cause):
    report = check_read_label(function)
    assert not report
    assert cause in causes(report), report.lines


def no_mask(pred, gt, n_class):
    flat = np.asarray(gt).astype(np.int64).ravel() * n_class + np.asarray(pred).ravel()
    return np.bincount(flat, minlength=n_class**2)[: n_class**2].reshape(n_class, n_class)


def clipped(pred, gt, n_class):
    return right_confusion_matrix(pred, np.clip(np.asarray(gt), 0, n_class - 1), n_class)


def no_mask_loop(pred, gt, n_class):
    counts = np.zeros((n_class, n_class), int)
    for p, t in zip(np.asarray(pred).ravel().tolist(), np.asarray(gt).ravel().tolist(), strict=True):
        counts[t, p] += 1
    return counts


def narrow(pred, gt, n_class):
    pred, gt = np.asarray(pred), np.asarray(gt)
    keep = (gt >= 0) & (gt < n_class)
    code = gt[keep] * gt.dtype.type(n_class) + pred[keep]
    return np.bincount(code[code >= 0], minlength=n_class**2)[: n_class**2].reshape(n_class, n_class)


def no_minlength(pred, gt, n_class):
    pred, gt = np.asarray(pred).astype(int), np.asarray(gt).astype(int)
    keep = (gt >= 0) & (gt < n_class)
    return np.bincount(gt[keep] * n_class + pred[keep]).reshape(n_class, n_class)


def bytes_inside(pred, gt, n_class):
    gt, pred = np.asarray(gt).ravel(), np.asarray(pred).ravel()
    keep = (gt >= 0) & (gt < n_class)
    code = (gt[keep].astype(int) * n_class + pred[keep].astype(int)).astype(np.uint8)
    return np.bincount(code, minlength=n_class**2).reshape(n_class, n_class)


def not_for_empty_pictures(pred, gt, n_class):
    if not (np.asarray(gt) < n_class).any():
        raise ValueError("nothing to count")
    return right_confusion_matrix(pred, gt, n_class)


def test_a_library_that_refuses_an_unlabelled_picture_is_no_mistake():
    assert check_confusion_matrix(not_for_empty_pictures)


def marks_ignored(pred, gt, n_class):
    pred[(gt < 0) | (gt >= n_class)] = 0  # of the caller's
    return right_confusion_matrix(pred, gt, n_class)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (bytes_inside, "integers that you convert to"),
        (lambda p, g, n: right_confusion_matrix(p, g, n).astype(np.uint8), "the table's own integers"),
        (lambda p, g, n: right_confusion_matrix(p, g, n).T, "rows and columns"),
        (no_mask, "ignored pixels"),
        (no_mask_loop, "ignored pixels"),
        (clipped, "ignored pixels"),
        (narrow, "overflow"),
        (no_minlength, "minlength"),
        (lambda p, g, n: right_confusion_matrix(p, g, n) / np.asarray(p).size, "shares"),
        (lambda p, g, n: right_confusion_matrix(p, g, 12)[:n, :n] if n < 13 else 0, "use n_class"),
        (lambda p, g, n, seen={}: seen.setdefault(n, np.zeros((n, n), int)).__iadd__(right_confusion_matrix(p, g, n)), "calls before"),
        (lambda p, g, n: coo_matrix(right_confusion_matrix(p, g, n)), "an array of numbers"),
        (marks_ignored, "work on a copy"),
        (lambda p, g, n: right_confusion_matrix(p, np.where(np.asarray(g) == -1, 0, g), n), "tests for 255 only"),
    ],
)
def test_matrix_mistakes_are_named(function, cause):
    report = check_confusion_matrix(function)
    assert not report
    assert cause in causes(report), report.lines


def iou_by(rule):
    def scores(hist):
        hist = np.asarray(hist, dtype=float)
        inter, truth, found = np.diag(hist), hist.sum(1), hist.sum(0)
        with np.errstate(all="ignore"):
            iou = rule(inter, truth, found)
        return inter.sum() / hist.sum(), iou, np.nanmean(iou)

    return scores


def with_result(change):
    return lambda hist: change(*right_scores(hist))


def absent_as_zero(hist):
    accuracy, iou, _ = right_scores(hist)
    return accuracy, np.nan_to_num(iou), np.nan_to_num(iou).mean()


def absent_by_truth(hist):
    accuracy, iou, _ = right_scores(hist)
    iou = np.where(np.asarray(hist).sum(1) == 0, np.nan, iou)
    return accuracy, iou, np.nanmean(iou)


def micro(hist):
    accuracy, iou, _ = right_scores(hist)
    hist = np.asarray(hist, dtype=float)
    return accuracy, iou, np.trace(hist) / (2 * hist.sum() - np.trace(hist))


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (iou_by(lambda i, t, f: i / t), "recall"),
        (iou_by(lambda i, t, f: i / f), "precision"),
        (iou_by(lambda i, t, f: i / (t + f)), "counted twice"),
        (iou_by(lambda i, t, f: 2 * i / (t + f)), "Dice"),
        (absent_as_zero, "counted as 0"),
        (absent_by_truth, "only predicted"),
        (micro, "micro averaging"),
        (with_result(lambda a, i, m: (a, i, np.nanmean(i[:-1]))), "last class is left out"),
        (with_result(lambda a, i, m: (a, i, i[i > 0].mean())), "only predicted"),
        (with_result(lambda a, i, m: (a, i[~np.isnan(i)], m)), "one entry for every class"),
        (with_result(lambda a, i, m: (a, dict(enumerate(i)), m)), "no dictionary"),
        (with_result(lambda a, i, m: (a, i, i.mean())), "np.nanmean"),
        (with_result(lambda a, i, m: (100 * a, i, m)), "percent"),
        (with_result(lambda a, i, m: (round(a, 4), i.round(4), round(m, 4))), "rounded to 4 digits"),
        (with_result(lambda a, i, m: (a, m)), "return all three"),
        (with_result(lambda a, i, m: (m, a, i)), "in this order"),
    ],
)
def test_score_mistakes_are_named(function, cause):
    report = check_scores(function)
    assert not report
    assert cause in causes(report), report.lines


def test_an_exception_shows_the_students_line_and_no_traceback(capsys):
    def scores(hist):
        return hist / undefined_name  # noqa: F821

    report = check_scores(scores)
    printed = capsys.readouterr().out
    assert not report
    assert "NameError" in printed and "return hist / undefined_name" in printed
    assert "Traceback" not in printed and len(printed.splitlines()) == 1


def test_an_untouched_stub_is_told_what_to_do(capsys):
    def read_label(path):
        raise NotImplementedError()

    assert not check_read_label(read_label)
    assert "still to be written" in capsys.readouterr().out


def test_sys_exit_in_student_code_does_not_end_the_kernel():
    def scores(hist):
        raise SystemExit(3)

    assert not check_scores(scores)


# ------------------------------------------------------------------------------------------------------------ one cause
@pytest.mark.parametrize(("check", "function", "code"), [
    (check_read_label, lambda path: torch.from_numpy(np.clip(ids_of(path), 0, 11)), "label.shift"),
    (check_read_label, lambda path: torch.from_numpy(ids_of(path) % 12), "label.shift"),
    (check_scores, lambda hist: tuple(100 * x for x in right_scores(hist)), "accuracy.values"),
    (check_scores, lambda gts, preds, n: None, "code.signature"),
    (check_confusion_matrix, lambda p, g, n: right_confusion_matrix(p, g, n).T, "hist.transposed"),
])  # fmt: skip
def test_a_check_prints_one_root_cause_with_the_graders_code(check, function, code, capsys):
    report = check(function)
    printed = capsys.readouterr().out
    assert printed.count("[!!]") == 1 and "\x1b" not in printed
    assert report.fault_line.code == code and len(report.causes) == 1
