"""Judge ``read_label`` on label maps that no student has seen."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autograder.checking import Grading
from autograder.student import Student
from segkit.facades import PALETTE
from segkit.subject import StudentError

__all__ = ["judge", "label_png"]

# the order of the classes in the prose of the database's web page, as 0-based training labels
PROSE = ("facade", "molding", "cornice", "pillar", "window", "door", "sill", "blind", "balcony", "shop", "deco", "background")


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
    if found.dtype != np.int64:
        text = (f"read_label: expected dtype int64 (LongTensor), but got {found.dtype}: cross entropy wants int64. Convert before you "
                "subtract.")  # fmt: skip
        grading.lose("dtype", cause="label.dtype", message=text, measured={"found": str(found.dtype)})
    labelled = ids > 0
    if not np.array_equal(found[labelled], expected[labelled]):
        cause, why = _why(found, ids, expected)
        wrong = int((found[labelled] != expected[labelled]).sum())
        example = np.argwhere(labelled & (found != expected))[0]
        row, column = map(int, example)
        text = (f"read_label: {wrong} of {int(labelled.sum())} labelled pixels are wrong; a pixel of id {ids[row, column]} must give "
                f"{expected[row, column]}, but gave {found[row, column]}.{why}")  # fmt: skip
        grading.lose("ids", cause=cause, message=text, measured={"wrong": wrong, "of": int(labelled.sum())})
    unknown = found[~labelled]
    if not np.all(unknown == 255):
        text = f"read_label: id 0 (unknown) must give 255, which the loss ignores, but gave {np.unique(unknown)[:4].tolist()}."
        share = 1.0
        grading.lose("ignored", cause="label.ignored", message=text, measured={"found": int(unknown[0])}, share=share)
    _judge_other_palette(student, grading, ids, expected)


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


def _why(found: NDArray, ids: NDArray, expected: NDArray) -> tuple[str, str]:
    """Name the mistake behind wrong labels."""
    labelled = ids > 0
    got, wanted, raw = found[labelled].astype(np.int64), expected[labelled], ids[labelled].astype(np.int64)
    if np.array_equal(got, raw):
        return "label.shift", " Likely cause: the ids are not shifted; the label is the id minus 1."
    if np.array_equal(got, raw - 2) or np.array_equal(got, raw + 1):
        return "label.shift", " Likely cause: the ids are shifted by the wrong amount; the label is the id minus 1."
    if not got.any():
        return "label.zeros", " Likely cause: values scaled to 0..1 (ToTensor) and then made integer: all zero."
    names = ("background", "facade", "window", "door", "cornice", "sill", "balcony", "blind", "deco", "molding", "pillar", "shop")
    to_prose = np.array([PROSE.index(name) for name in names])
    if np.array_equal(got, to_prose[wanted]) or np.array_equal(got, np.argsort(to_prose)[wanted]):
        return "label.order", " Likely cause: classes in the order of the web page's list; the ids follow label_names.txt."
    grey = np.array(Image.fromarray(PALETTE[None]).convert("L"))[0].astype(np.int64)
    for offset in (0, 1):
        if np.array_equal(got, grey[raw] - offset) or np.array_equal(got, (grey[raw] - offset) % 256):
            return "label.grey", ' Likely cause: convert("L") or a grey value; read the palette index of the mode-P picture.'
    if len(np.unique(got)) > 14 or got.max() > 12:
        return "label.grey", " Likely cause: colours or grey values are read instead of the palette index."
    return "label.values", ""
