"""Judge ``read_label`` on label maps that no student has seen."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from segkit.facades import PALETTE
from segkit.mistakes import label_mistake
from segkit.subject import StudentError

__all__ = ["judge", "label_png"]


def label_png(ids: NDArray[np.uint8], palette: NDArray[np.uint8] = PALETTE) -> bytes:
    """An indexed PNG as the database has them."""
    picture = Image.fromarray(ids)
    picture.putpalette([int(value) for value in palette.reshape(-1)])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _ids(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A label map with all 13 ids, of an odd, non-square size."""
    height, width = int(rng.integers(21, 40)) | 1, int(rng.integers(41, 60)) | 1
    ids = rng.integers(0, 13, (height, width)).astype(np.uint8)
    ids.reshape(-1)[rng.permutation(ids.size)[:13]] = np.arange(13)
    return ids


def _says_nothing(found: NDArray, labelled: NDArray[np.bool_]) -> bool:
    """Whether nearly all pixels have one number, unknown ones too: whoever looked at no pixel can answer that."""
    values, counts = np.unique(found, return_counts=True)
    alike = (found == values[counts.argmax()]) | (found != found)  # NaN is no number, and no other one either
    return bool(alike[labelled].mean() > 0.9 and alike[~labelled].mean() > 0.5)


def judge(student: Student, grading: Grading) -> None:
    """Ids minus one, 0 becomes 255, int64, the picture's own shape; by palette index whatever the palette's colours."""
    rng = grading.own_rng("read_label")
    ids = _ids(rng)
    expected = ids.astype(np.int64) - 1
    expected[ids == 0] = 255
    found = student.call("read_label", label_png(ids))
    if not isinstance(found, np.ndarray):
        name = found.get("type", "an object") if isinstance(found, dict) else type(found).__name__
        missing = " Does it end without `return`?" if found is None else ""
        raise StudentError(f"read_label: expected a LongTensor (H, W), but got {name}.{missing}", "label.type")
    if found.shape != expected.shape:
        turned = " Likely cause: rows and columns exchanged." if found.shape == expected.shape[::-1] else ""
        channels = " Likely cause: a dimension for channels; labels have rows and columns only." if found.ndim > 2 else ""
        text = f"read_label: expected shape {expected.shape}, but got {found.shape}.{turned}{channels}"
        raise StudentError(text, "label.shape")
    labelled = ids > 0
    right = np.array_equal(found[labelled], expected[labelled])
    cause, why = ("", "") if right else label_mistake(found, ids)
    if found.dtype != np.int64 and cause != "label.zeros":
        text = (f"read_label: expected dtype int64 (LongTensor), but got {found.dtype}: cross entropy wants int64. Convert before you "
                "subtract.")  # fmt: skip
        grading.lose("dtype", cause="label.dtype", message=text, measured={"found": str(found.dtype)})
    if not right:
        wrong = int((found[labelled] != expected[labelled]).sum())
        example = np.argwhere(labelled & (found != expected))[0]
        row, column = map(int, example)
        text = (f"read_label: {wrong} of {int(labelled.sum())} labelled pixels are wrong; a pixel of id {ids[row, column]} must give "
                f"{expected[row, column]}, but gave {found[row, column]}. Likely cause: {why}")  # fmt: skip
        grading.lose("ids", cause=cause, message=text, measured={"wrong": wrong, "of": int(labelled.sum())})
        nothing = _says_nothing(found, labelled)
        if nothing or (found.dtype != np.int64 and cause == "label.zeros"):
            grading.lose("dtype", cause=cause, message="")  # one number everywhere (0, once 0..1 was cut) shows no other part either
        if nothing or (found[labelled] == 255).mean() > 0.5:
            grading.lose("ignored", cause=cause, message="")
    unknown = found[~labelled]
    if not np.all(unknown == 255):
        text = f"read_label: id 0 (unknown) must give 255, which the loss ignores, but gave {np.unique(unknown)[:4].tolist()}."
        follows = cause == "label.zeros" or (cause == "label.shift" and np.all(unknown == 254))  # shifted once more after 255 was set
        grading.lose("ignored", cause="label.ignored", message="" if follows else text, measured={"found": unknown[0].item()})
    _judge_few_classes(student, grading, ids)
    _judge_other_palette(student, grading, ids, expected)


def _judge_few_classes(student: Student, grading: Grading, ids: NDArray) -> None:
    """A map with few of the ids: the label of one does not depend on which others there are."""
    if grading.faults:
        return
    ids = np.where(ids % 3 == 2, ids, 12).astype(np.uint8)  # 2, 5, 8, 11, 12
    found = student.call("read_label", label_png(ids))
    if not isinstance(found, np.ndarray) or not np.array_equal(found, ids.astype(np.int64) - 1):
        text = ("read_label: wrong for a picture in which only some ids occur. Likely cause: the labels are numbered by what occurs, but "
                "the label of an id is the id minus 1 in every picture.")  # fmt: skip
        grading.lose("ids", cause="label.values", message=text)


def _judge_other_palette(student: Student, grading: Grading, ids: NDArray, expected: NDArray) -> None:
    """The same map with other colours: whoever reads colours or grey values is caught here at the latest."""
    if grading.faults:
        return
    palette = PALETTE.copy()
    palette[1:] = palette[1:][::-1]
    found = student.call("read_label", label_png(ids, palette))
    if not isinstance(found, np.ndarray) or not np.array_equal(found, expected):
        text = "read_label: another palette with the same indices gives other labels. Likely cause: colours are read, not the index."
        grading.lose("ids", cause="label.grey", message=text)
