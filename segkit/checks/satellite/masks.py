"""What ``read_mask`` and ``mean_iou`` do wrong: masks with a foreign colour, and counts by other rules."""

import io
import re
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segkit.checks.satellite.finding import Finding, numbers
from segkit.datasets import dataset
from segkit.student_errors import StudentError
from segkit.subject import Subject

__all__ = ["iou_mistakes", "mask_mistakes"]

SPEC = dataset("satellite")
N_CLASS = SPEC.n_class  # 6; the next number is unknown
UNKNOWN = N_CLASS
NAMES = (*SPEC.classes, "unknown")
BLUE_FIRST = (1, 0, 2, 3, 4, 5, 6)  # whose colour each class has when red and blue are exchanged; water's is nobody's
MOST_SAID = 24  # different numbers in an error: a colour and its place, a path, the seven colours; who names all names none


# ------------------------------------------------------------------------------------------------------------------ masks
def png(ids: NDArray, row: int, column: int, colour: NDArray) -> bytes:
    """A mask with these ids, and one pixel of another colour."""
    pixels = np.roll(SPEC.palette, -1, axis=0)[ids]
    pixels[row, column] = colour
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def mask_mistakes(subject: Subject, rng: np.random.Generator) -> Iterator[Finding]:
    """Try ``read_mask`` on a mask with all colours, and on one with a foreign pixel.

    Args:
        subject: Who is asked; it knows the function by its name.
        rng: Draws the masks.

    Raises:
        StudentError: The function fails, or returns no map of the mask's size.
    """
    ids = rng.integers(0, 7, (29, 41))
    good = png(ids, 0, 0, np.roll(SPEC.palette, -1, axis=0)[ids[0, 0]])
    found = subject.call("read_mask", good)
    if not isinstance(found, np.ndarray) or found.shape != ids.shape:
        kind = found.shape if isinstance(found, np.ndarray) else type(found).__name__
        raise StudentError(f"read_mask: expected a LongTensor of shape {ids.shape}, but got {kind}.", "mask.shape")
    wrong = [name for number, name in enumerate(NAMES) if not (found == ids)[ids == number].all()]
    if says_nothing := len(np.unique(found)) == 1:  # whoever looked at no pixel can answer that
        wrong = list(NAMES)
    if wrong:
        turned = len(wrong) == 3 and (found == np.array(BLUE_FIRST)[ids])[ids != 4].all()
        why = "the channels come as blue, green, red: turn them round, [:, :, ::-1]" if turned else "a row of your table differs from ours"
        yield Finding("ids", "mask.ids", "ids 0 to 6 by colour", f"other ones for {', '.join(wrong)}", why, len(wrong) / len(NAMES))
    if says_nothing:
        yield Finding("dtype", "mask.ids", "ids by colour", "one number everywhere, which shows no dtype either")
    elif found.dtype != np.int64:
        yield Finding("dtype", "mask.dtype", "int64 (LongTensor): cross entropy wants it", str(found.dtype))
    elif not _is_tensor(subject, good):
        yield Finding("dtype", "mask.dtype", "a LongTensor", "an array", "torch.from_numpy makes a tensor of it")
    row, column = int(rng.integers(11, 29)), int(rng.integers(11, 41))
    colour = rng.integers(20, 120, 3)
    try:
        subject.call("read_mask", png(ids, row, column, colour))
        said = ""
    except StudentError as error:
        said = str(error).strip().rpartition("\n")[2] if error.cause == "code.raises" else ""
    numbers_said = set(map(int, re.findall(r"\d{1,9}", said)))
    if not numbers_said >= {row, column, *colour.tolist()} or len(numbers_said) > MOST_SAID:
        expected = f"an error that names the colour {tuple(colour.tolist())}, which is none of the seven, at row {row}, column {column}"
        yield Finding("foreign", "mask.foreign", expected, said or "none")


def _is_tensor(subject: Subject, mask: bytes) -> bool:
    try:
        return subject.method(subject.build("read_mask", mask, module=False), "is_floating_point") is False
    except StudentError:
        return False


# ------------------------------------------------------------------------------------------------------------------ scores
Ratio = Callable[[float, float, float], float]
"""(pixels right, of the truth, of the prediction) of one class -> its score."""
RATIOS: tuple[tuple[str, str, Ratio], ...] = (
    ("", "", lambda right, truth, found: right / (truth + found - right)),
    ("iou.recall", "recall: the pixels right over those of the truth", lambda right, truth, found: right / truth),
    ("iou.precision", "precision: the pixels right over those predicted", lambda right, truth, found: right / found),
    ("iou.dice", "Dice (F1): the intersection is counted twice", lambda right, truth, found: 2 * right / (truth + found)),
    ("iou.union", "the intersection is not taken off the union", lambda right, truth, found: right / (truth + found)),
    ("iou.smooth", "1 is added to the union", lambda right, truth, found: right / (truth + found - right + 1)),
    ("iou.smooth", "1 is added to both counts", lambda right, truth, found: (right + 1) / (truth + found - right + 1)),
)
RULES = {"left out": "they do not count at all", "wrong": "a class predicted there counts as wrong", "class": "they are a seventh class",
         "dropped": "a pixel predicted as unknown does not count, whatever it is"}  # fmt: skip
ABSENT = {"left out": "it does not count", "zero": "it counts with 0", "one": "it counts with 1", "nan": "the mean is no number",
          "truth": "one that is only predicted does not count either"}  # fmt: skip


def score(
    pred: NDArray, gt: NDArray, ratio: Ratio = RATIOS[0][2], unknown: str = "left out", absent: str = "left out", micro: bool = False
) -> float:  # fmt: skip
    """Mean over the classes by these rules; with ``micro`` the ratio of the sums."""
    if unknown in ("left out", "dropped"):
        keep = (gt < N_CLASS) & ((pred < N_CLASS) | (unknown == "left out"))
        pred, gt = pred[keep], gt[keep]
    counts = [((pred == n) & (gt == n), gt == n, pred == n) for n in range(N_CLASS + (unknown == "class"))]
    sums = np.array([[np.count_nonzero(one) for one in count] for count in counts], float)
    with np.errstate(all="ignore"):
        if micro:
            return float(ratio(*sums.sum(0)))
        found = np.array([ratio(*map(np.float64, count)) for count in sums])
    found = found[sums[:, 1] > 0] if absent == "truth" else found
    fill = {"zero": 0.0, "one": 1.0}.get(absent)
    found = found if fill is None else np.nan_to_num(found, nan=fill)
    return float(found.mean() if absent == "nan" else np.nanmean(found))


def iou_mistakes(subject: Subject, rng: np.random.Generator, unknown: str) -> Iterator[Finding]:
    """Try ``mean_iou`` where all is known, with unknown pixels, and without one class: each rule is judged apart.

    Args:
        subject: Who is asked; it knows the function by its name.
        rng: Draws the maps.
        unknown: The course's rule of unknown pixels: ``"left out"`` or ``"wrong"``.

    Raises:
        StudentError: The function fails, or returns no number.
    """
    ways = [(row, micro) for micro in (False, True) for row in RATIOS]
    asked = [(pred, gt, _asked(subject, pred, gt)) for pred, gt in (_maps(rng) for _ in range(3))]
    way = next((way for way in ways if all(_same(found, score(p, g, way[0][2], micro=way[1])) for p, g, found in asked)), None)
    right = way == ways[0]
    if not right:
        pred, gt, got = asked[0]
        code, why = _unexplained(asked) if way is None else ("iou.micro", "one ratio of all sums: the mean is over the classes")
        code, why = way[0][:2] if way and not way[1] else (code, why)
        yield Finding("mean", code, f"{score(pred, gt):.4f}", f"{got:.4f}", why)
    if way is None:
        if _says_nothing(subject, asked):
            words = f"{asked[0][2]:.4f}, which does not: it shows no rule"
            yield from (Finding(part, "iou.values", "a number that comes of both maps", words) for part in ("unknown", "absent"))
        return
    (_, _, ratio), micro = way
    drawn = [_with_unknown(rng) for _ in range(3)]
    truths = {RULES[rule]: (rule, "left out") for rule in dict.fromkeys([unknown, *RULES])}
    text = f"pixels of unknown truth{{}}: {RULES[unknown]}; to predict unknown elsewhere is wrong"
    alone = f"a class in neither map: {ABSENT['left out']}; one that is only predicted has 0"
    lost: set[str] = set()
    for part, share, expected, hypotheses, pairs in (
        ("unknown", 1.0, text.format(""), truths, drawn),
        ("unknown", 0.5, text.format(", as 255"), truths, [(pred, np.where(gt == UNKNOWN, 255, gt)) for pred, gt in drawn]),
        ("absent", 1.0, alone, {ABSENT[rule]: (unknown, rule) for rule in ABSENT}, [_without_class(rng) for _ in range(3)]),
    ):
        if part in lost:
            continue
        try:
            asked = [(pred, gt, _asked(subject, pred, gt)) for pred, gt in pairs]
        except StudentError as error:
            if error.cause != "code.raises":
                raise
            fits, shown = [], f"an error: {str(error).rpartition(chr(10))[2]}"
        else:
            fits = [words for words, (u, a) in hypotheses.items() if all(_same(f, score(p, g, ratio, u, a, micro)) for p, g, f in asked)]
            shown = f"{asked[0][2]:.4f} in the place of {score(*asked[0][:2], unknown=unknown):.4f}"
            if next(iter(hypotheses)) in fits or not (fits or right):  # what no rule explains comes from the ratio
                continue
        lost.add(part)
        yield Finding(part, f"iou.{part}", expected, fits[0] if fits else shown, share=share)
    yield from _nothing(subject)


def _says_nothing(subject: Subject, asked: list[tuple[NDArray, NDArray, float]]) -> bool:
    """Whether a number is another one in a second call, or the same for another prediction or truth: whoever counts nothing has one."""
    (pred, gt, got), (other_pred, other_gt, _) = asked[:2]
    again, of_other_pred, of_other_gt = (_asked(subject, p, g) for p, g in ((pred, gt), (other_pred, gt), (pred, other_gt)))
    return not _same(again, got) or _same(of_other_pred, got) or _same(of_other_gt, got)


def _nothing(subject: Subject) -> Iterator[Finding]:
    """Where nothing can be counted there is no number."""
    unknown = np.full((2, 3), UNKNOWN)
    try:
        got = str(_asked(subject, unknown, unknown.copy()))
    except StudentError as error:
        got = "an error" if error.cause == "code.raises" else str(error)
    if got != "nan":
        yield Finding("absent", "iou.nothing", "NaN where nothing can be counted", got, share=0.5)


def _same(found: float, expected: float) -> bool:
    within = 1e-4 * max(1, abs(expected))  # a share rounded to four digits is the same number, and percent to two
    return bool(np.isclose(found, expected, rtol=0, atol=within, equal_nan=True))


def _asked(subject: Subject, pred: NDArray, gt: NDArray) -> float:
    found = subject.call("mean_iou", pred, gt)
    return float(numbers(found, "mean_iou", "iou.type", lambda shape: np.prod(shape) == 1, "one number").reshape(()))


def _maps(rng: np.random.Generator, classes: int = N_CLASS) -> tuple[NDArray, NDArray]:
    """Two pictures of 13 x 17 in which all these classes occur, in other numbers; the prediction is right in two thirds."""
    gt = rng.choice(classes, (2, 13, 17), p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    return np.where(rng.random(gt.shape) < 0.6, gt, rng.integers(0, classes, gt.shape)), gt


def _with_unknown(rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    pred, gt = _maps(rng)
    gt[rng.random(gt.shape) < 0.3] = UNKNOWN
    pred[rng.random(gt.shape) < 0.1] = UNKNOWN
    return pred, gt


def _without_class(rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    pred, gt = _maps(rng, N_CLASS - 1)
    pred[pred == 0], gt[gt == 0] = 1, 1
    pred[0, 0, 0] = gt[0, 0, 0] = 0  # a class of a single pixel is one
    gt[gt == N_CLASS - 2] = 1  # a class that is only predicted
    shift = int(rng.integers(1, N_CLASS))  # another class is absent in each
    return (pred + shift) % N_CLASS, (gt + shift) % N_CLASS


def _unexplained(asked: list[tuple[NDArray, NDArray, float]]) -> tuple[str, str]:
    """Known mistakes that are no ratio of a class."""
    known = (
        ("iou.pictures", "the mean over pictures of each one's mean: count all pixels together",
         lambda p, g: np.mean([score(one, other) for one, other in product(p, g)][:: len(g) + 1])),
        ("iou.accuracy", "the share of right pixels", lambda p, g: (p == g).mean()),
        ("iou.seven", "divided by seven: unknown is no class", lambda p, g: score(p, g) * N_CLASS / (N_CLASS + 1)),
        ("iou.sum", "the sum over the classes in place of their mean", lambda p, g: score(p, g) * N_CLASS),
        ("iou.class_0", "class 0 is left out: it is a class like the others",
         lambda p, g: np.mean([np.sum((p == n) & (g == n)) / np.sum((p == n) | (g == n)) for n in range(1, N_CLASS)])),
        ("iou.percent", "percent", lambda p, g: 100 * score(p, g)),
    )  # fmt: skip
    return next(((code, why) for code, why, value in known if all(_same(f, float(value(p, g))) for p, g, f in asked)), ("iou.values", ""))
