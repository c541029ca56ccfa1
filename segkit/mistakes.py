"""Known mistakes in labels, counts and scores, as tables of hypotheses: what each would give, and how it is called.

The visible checks and the grader ask the same tables, so a mistake has one name. A hypothesis is taken only where it explains
everything that was found; where none does, the differences themselves are told.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit.facades import PALETTE

__all__ = ["NARROW", "accuracy_mistake", "counts_mistake", "iou_mistake", "label_mistake", "mean_mistake", "wrapped_counts"]

Mistake = tuple[str, str]  # stable code, and words for the student

LAST = 12  # ids of a label file: 1 to 12 are classes, 0 is unknown
IDS = np.arange(1, LAST + 1)
# the list of readme.txt and of the web page, as 0-based classes in the order of the ids
PROSE = np.array([11, 0, 4, 5, 2, 6, 8, 7, 10, 1, 3, 9])


# ---------------------------------------------------------------------------------------------------------------- labels
def label_mistake(found: NDArray, ids: NDArray) -> Mistake:
    """Name the mistake behind wrong labels of pixels with a class.

    Args:
        found: Labels (H, W) as they came back.
        ids: The file's ids (H, W), 0 to 12, each class at least once.

    Returns:
        Code such as ``label.shift``, and words; the code is ``label.values`` where no known mistake explains all of it.
    """
    scaled = np.issubdtype(np.asarray(found).dtype, np.floating) and np.abs(np.asarray(found, float)).max() <= 0.2
    found = np.asarray(found).astype(np.int64)
    known = ids > 0
    table = np.array([found[ids == number][0] for number in IDS])
    if scaled or (not (found[known] - found[known][0]).any() and found[known][0] in (0, -1, 255)):
        return "label.zeros", "all zeros: values scaled to 0..1 (ToTensor divides by 255), and .long() then cuts everything to 0."
    if not np.array_equal(table[ids[known] - 1], found[known]):
        return _mixed(found, ids)
    if not np.ptp(table):
        return "label.values", f"every class became {table[0]}{': a mask (id > 0) in place of the classes' if table[0] == 1 else ''}."
    for code, words, values in _label_hypotheses():
        if np.array_equal(table, values):
            return code, words
    seen = table != 255  # a class may be ignored besides
    if not seen.all() and seen.sum() >= 8:
        ignored = ", ".join(map(str, IDS[~seen]))
        for other, words, values in ((None, "", IDS - 1), *_label_hypotheses()):
            if np.array_equal(table[seen], values[seen]):
                return other or "label.values", f"{words} id {ignored} is a class and became 255; only id 0 is unknown.".strip()
    colours = _colour_mistake(table)
    if colours:
        return "label.grey", colours
    return "label.values", _differing(table)


def _label_hypotheses() -> Iterator[tuple[str, str, NDArray]]:
    """Code, words, and the labels that ids 1 to 12 would get."""
    for shift in (0, -2, 1, 2, -3, *range(-LAST, -3), *range(3, LAST)):
        words = ("the ids are not shifted: the file counts from 1, training from 0, so the label is the id minus 1" if shift == 0 else
                 f"the ids are shifted by the wrong amount ({shift:+d}); the label is the id minus 1")  # fmt: skip
        for how, values in _limited(IDS + shift):
            yield "label.shift", f"{words}{how}.", values
    for how, values in _limited(IDS - 1):
        yield "label.values", f"the label is the id minus 1, but then two classes fall together{how}.", values
    yield "label.order", "the classes count backwards; the ids follow label_names.txt (CLASSES).", LAST - IDS
    words = "classes in the order of the web page's list (readme.txt, prose order): the ids follow label_names.txt (CLASSES)."
    for order in (PROSE, np.argsort(PROSE)):
        for shift in (0, 1, -1):
            yield "label.order", words, order + shift


def _limited(values: NDArray) -> Iterator[tuple[str, NDArray]]:
    """Values as they are, and as they look clamped or wrapped around."""
    yield "", values
    for top in (LAST - 1, LAST, LAST - 2):
        yield f", and then clamped at {top}", np.clip(values, 0, top)
        yield f", and then clamped at {top}", np.minimum(values, top)
    yield ", and then clamped at 0", np.maximum(values, 0)
    for base in (LAST, LAST + 1, LAST - 1, 255, 256):
        yield f", and then wrapped around at {base}{' (uint8)' if base == 256 else ''}", values % base
    yield ", and what falls outside 0..11 became 0", np.where((values >= 0) & (values < LAST), values, 0)
    yield ", and their sign is lost (abs)", np.abs(values)


def _colour_mistake(table: NDArray) -> str:
    """Words where the labels are colours of the palette, however shifted or cut."""
    colours = PALETTE[1:].astype(np.int64)
    grey = np.asarray(Image.fromarray(PALETTE[None]).convert("L"))[0, 1:].astype(np.int64)
    mixed = 'grey values: convert("L") mixes the palette\'s colours; read the palette index of the mode-P picture itself.'
    channel = 'one colour channel: colours or grey values are read instead of the palette index; no convert("RGB") of the mode-P picture.'
    scaled = "colours scaled to 0..1 and cut to whole numbers: read the palette index instead."
    if any(np.array_equal(table, colours[:, c] // 255) for c in range(3)):
        return scaled
    known = [(mixed, grey), (mixed, colours.mean(1)), (mixed, colours.sum(1)), *((channel, colours[:, c]) for c in range(3))]
    for words, values in known:
        for shift in (0, 1):
            for wanted in (values - shift, np.clip(values - shift, 0, LAST - 1), np.clip(values - shift, 0, LAST), (values - shift) % 256):
                if np.abs(table - wanted).max() <= 1:
                    return words
    packed = colours @ [65536, 256, 1]
    if np.array_equal(table, packed) or np.array_equal(table, colours @ [1, 256, 65536]):
        return "colours packed into one number: read the palette index instead."
    return ""


def _mixed(found: NDArray, ids: NDArray) -> Mistake:
    """Pixels of one id got different labels."""
    for words, turned in (("upside down", ids[::-1]), ("mirrored", ids[:, ::-1]), ("turned by 180 degrees", ids[::-1, ::-1]),
                          ("filled column by column", ids.reshape(-1).reshape(ids.shape, order="F"))):  # fmt: skip
        right = turned > 0
        if np.array_equal(found[right], turned[right].astype(np.int64) - 1):
            return "label.values", f"the label map is {words}."
    values = np.unique(found[ids > 0])
    if len(values) > 14 or values.max() > LAST:
        return "label.grey", "colours or grey values are read instead of the palette index, or the picture was smoothed."
    return "label.values", "pixels of one id got different labels: smoothed (labels want nearest neighbour), or read in another order?"


def _differing(table: NDArray) -> str:
    wrong = np.flatnonzero(table != IDS - 1)
    if sorted(table.tolist()) == list(range(LAST)):
        return "all classes are there in another order: the ids follow label_names.txt (CLASSES)."
    shown = ", ".join(f"id {IDS[index]} gives {table[index]} (expected {index})" for index in wrong[:4])
    return f"{len(wrong)} of 12 ids are wrong: {shown}{' ...' if len(wrong) > 4 else ''}."


# ---------------------------------------------------------------------------------------------------------------- counts
NARROW = "the table's own integers are too narrow for the counts and wrap around: count in int64."


def wrapped_counts(expected: NDArray) -> Iterator[NDArray]:
    """The counts as they look in a table of uint8, int8, uint16 or int16."""
    return (expected.astype(kind).astype(np.int64) for kind in (np.uint8, np.int8, np.uint16, np.int16))


def counts_mistake(found: NDArray, expected: NDArray) -> Mistake:
    """Name the mistake behind a table of counts of the right shape.

    Args:
        found: Counts (n, n) as they came back.
        expected: The right ones: rows are the truth, columns the prediction.
    """
    total, rows, columns = expected.sum(), expected.sum(1, keepdims=True), expected.sum(0, keepdims=True)
    without = [np.where(np.arange(len(expected)) == index, 0, 1) for index in (0, -1 % len(expected))]
    shares = "these are shares: return counts, so that images can be added up."
    with np.errstate(all="ignore"):
        known = (
            ("hist.transposed", "rows and columns exchanged; rows are the ground truth, columns what was predicted.", expected.T),
            ("hist.values", shares, expected / total),
            ("hist.values", f"the rows are divided by their sums: {shares}", np.nan_to_num(expected / rows)),
            ("hist.values", f"the columns are divided by their sums: {shares}", np.nan_to_num(expected / columns)),
            ("hist.values", "only the correct pixels are counted.", np.diag(np.diag(expected))),
            ("hist.values", "only the wrong pixels are counted.", expected - np.diag(np.diag(expected))),
            ("hist.values", "class 0 is left out of the truth: the mask is 0 <= gt < n_class.", expected * without[0][:, None]),
            ("hist.values", "class 0 is left out: it is a class like the others.", expected * np.outer(without[0], without[0])),
            ("hist.values", "class 0 is left out of the prediction: it is a class.", expected * without[0]),
            ("hist.values", "the last class is left out: the mask is 0 <= gt < n_class.", expected * without[1][:, None]),
            ("hist.values", "every pixel is counted twice.", 2 * expected),
            *(("hist.overflow", NARROW, narrowed) for narrowed in wrapped_counts(expected)),
            ("hist.values", "these say whether a pair occurs: count the pixels.", (expected > 0).astype(int)),
            ("hist.values", "the correct pixels are counted twice.", expected + np.diag(np.diag(expected))),
        )  # fmt: skip
    for code, words, values in known:
        if np.allclose(found, values, rtol=1e-5, atol=1e-9) and not np.allclose(values, expected):
            return code, words
    return "hist.values", ""


# ---------------------------------------------------------------------------------------------------------------- scores
def _parts(hist: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Correct pixels, pixels of the truth and of the prediction, by class, of the classes that occur."""
    hit, truth, predicted = np.diag(hist).astype(float), hist.sum(1).astype(float), hist.sum(0).astype(float)
    return hit, truth, predicted


def _first(found: NDArray | np.float64, known: list[tuple[str, str, NDArray]], default: Mistake) -> Mistake:
    return next(((code, words) for code, words, values in known if np.shape(values) == np.shape(found)
                 and np.allclose(found, values, rtol=1e-4, atol=1e-6, equal_nan=True)), default)  # fmt: skip


def _rounded(code: str, right: NDArray | np.float64) -> Iterator[tuple[str, str, NDArray]]:
    for digits in (1, 2, 3, 4):
        yield (
            code,
            f"rounded to {digits} digit{'s' * (digits > 1)}: return the number itself, and round where you print it",
            np.round(right, digits),
        )


def accuracy_mistake(found: float, hist: NDArray, mean_iou: float) -> Mistake:
    """Name the mistake behind a wrong pixel accuracy.

    Args:
        found: What came back.
        hist: Counts (n, n).
        mean_iou: The right mean IoU of these counts.
    """
    hit, truth, predicted = _parts(hist)
    right = hit.sum() / truth.sum()
    with np.errstate(all="ignore"):
        known = [
            ("accuracy.mean", "the mean over classes of the recall (mean class accuracy); pixel accuracy counts all pixels alike.",
             np.nanmean(hit / truth)),
            ("accuracy.values", "the mean over classes of the precision; pixel accuracy counts all pixels alike.",
             np.nanmean(hit / predicted)),
            ("accuracy.values", "pixel accuracy and mean IoU are exchanged: return (pixel_accuracy, iou, mean_iou), in this order.",
             mean_iou),
            ("accuracy.values", "percent: return a share between 0 and 1.", 100 * right),
            ("accuracy.values", "the share of wrong pixels: this is 1 minus the accuracy.", 1 - right),
            ("accuracy.values", "cut to a whole number: divide with / and not with //.", 0.0),
            ("accuracy.values", "the number of right pixels: divide by the number of all pixels.", hit.sum()),
            ("accuracy.values", "class 0 is left out: it is a class like the others.", hit[1:].sum() / truth[1:].sum()),
            ("accuracy.values", "class 0 is left out: it is a class like the others.", hit[1:].sum() / hist[1:, 1:].sum()),
            *_rounded("accuracy.values", right),
        ]  # fmt: skip
    return _first(np.float64(found), known, ("accuracy.values", ""))


def iou_mistake(found: NDArray, hist: NDArray) -> Mistake:
    """Name the mistake behind wrong IoUs.

    Args:
        found: What came back, (n,); absent classes may be left out of both arguments.
        hist: Counts (n, n) in which every class occurs.
    """
    hit, truth, predicted = _parts(hist)
    both, total = truth + predicted, hist.sum()
    with np.errstate(all="ignore"):
        known = [
            ("iou.recall", "recall, the diagonal over the row sums", hit / truth),
            ("iou.precision", "precision, the diagonal over the column sums", hit / predicted),
            ("iou.dice", "Dice (F1): twice the intersection over the sum of both areas", 2 * hit / both),
            ("iou.values", "the intersection counted twice in the union; subtract it once", hit / both),
            ("iou.values", "a constant added above and below the line (smoothing): add none", (hit + 1) / (both - hit + 1)),
            ("iou.values", "the errors without the hits in the union", hit / (both - 2 * hit)),
            ("iou.values", "the intersection over all pixels: divide by the union of the class", hit / total),
            ("iou.values", "the accuracy of class against rest: pixels outside of both do not count", (total - both + 2 * hit) / total),
            ("iou.values", "cut to whole numbers: divide with / and not with //", np.zeros(len(hit))),
            ("iou.values", "the union, undivided", both - hit),
            ("iou.values", "the intersection, undivided", hit),
        ]
        right = 1 / (both / hit - 1)
        known += [
            ("iou.values", "percent: return a share between 0 and 1", 100 * right),
            ("iou.values", "the distance (1 - IoU): return the IoU itself", 1 - right),
            ("iou.values", "weighted by the classes' frequencies: weights belong to no IoU", right * truth / total),
            ("iou.values", "the IoU without class 0: it is a class like the others", right[1:]),
            ("iou.values", "the IoU without class 0: it is a class like the others", np.where(np.arange(len(hit)) == 0, np.nan, right)),
            *_rounded("iou.values", right),
        ]
    return _first(np.asarray(found, float), known, ("iou.values", ""))


def mean_mistake(found: float, hist: NDArray, iou: NDArray) -> Mistake:
    """Name the mistake behind a wrong mean IoU.

    Args:
        found: What came back.
        hist: Counts (n, n); classes may be absent.
        iou: The right IoUs (n,), NaN where absent.
    """
    hit, truth, predicted = _parts(hist)
    with np.errstate(all="ignore"):
        known = [
            ("mean.micro", "one IoU over all classes together (micro averaging): average the classes' IoUs",
             hit.sum() / (2 * truth.sum() - hit.sum())),
            ("mean.values", "the classes are weighted by their frequency: mean IoU counts every class once",
             np.nansum(truth * iou) / truth.sum()),
            ("mean.values", "class 0 is left out: it is a class like the others", np.nanmean(iou[1:])),
            ("mean.values", "the last class is left out: it is a class like the others", np.nanmean(iou[:-1])),
            ("mean.values", "this is mean recall: it is built on the diagonal over the row sums", np.nanmean(hit / truth)),
            ("mean.values", "this is mean precision: it is built on the diagonal over the column sums", np.nanmean(hit / predicted)),
            ("mean.values", "this is mean Dice (F1): average the IoUs", np.nanmean(2 * hit / (truth + predicted))),
            ("mean.values", "the sum of the IoUs: divide by the number of classes", np.nansum(iou)),
            ("mean.values", "the median: take the mean", np.nanmedian(iou)),
            ("mean.values", "percent: return a share between 0 and 1", 100 * np.nanmean(iou)),
            ("mean.values", "pixel accuracy: the mean is over the classes' IoUs", hit.sum() / truth.sum()),
            ("iou.absent_mean", "the absent class is counted as 0: average over the classes that occur", np.nansum(iou) / len(iou)),
            ("iou.absent_mean", "a class is left out: one that was only predicted has IoU 0 and counts",
             np.nanmean(np.where(truth > 0, iou, np.nan))),
            *_rounded("mean.values", np.nanmean(iou)),
        ]  # fmt: skip
    if np.isnan(found):
        return "iou.absent_mean", "a plain mean over NaN is NaN: use np.nanmean"
    return _first(np.float64(found), [case for case in known if not np.isclose(case[2], np.nanmean(iou), rtol=1e-4)], ("mean.values", ""))
