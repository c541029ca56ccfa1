"""Checks of the masks, the network and the gate."""

import io

import numpy as np
from PIL import Image

from autograder.assignments.satellite.hints import HINTS
from autograder.assignments.satellite.networks import FCN32S
from autograder.judge.checking import check
from autograder.segmentation import gate, judging
from autograder.segmentation.hints import explained
from autograder.segmentation.network import Network
from segkit.datasets.satellite import SPEC
from segkit.student_errors import StudentError


def png(ids, row, column, colour):
    """A mask with these ids, and one pixel of another colour."""
    pixels = np.roll(SPEC.palette, -1, axis=0)[ids]
    pixels[row, column] = colour
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@check("read_mask")
def test_masks_are_decoded_by_colour(student, grading):
    rng = grading.own_rng("masks")
    ids = rng.integers(0, 7, (29, 41))
    with explained("read_mask", signature="def read_mask(path)"):
        found = student.call("read_mask", png(ids, 0, 0, SPEC.colours[(ids[0, 0] + 1) % 7]))
    if not isinstance(found, np.ndarray) or found.shape != ids.shape:
        kind = found.shape if isinstance(found, np.ndarray) else type(found).__name__
        raise StudentError(f"read_mask: expected a LongTensor of shape {ids.shape}, but got {kind}.", "mask.shape")
    right = found == ids
    wrong = [name for number, name in enumerate((*SPEC.classes, "unknown")) if not right[ids == number].all()]
    if wrong:
        text = f"read_mask: expected ids 0..6 by colour; wrong for {', '.join(wrong)}. Hold your table against the one in the notebook."
        grading.lose("ids", cause="mask.ids", message=text, share=len(wrong) / 7)
    if found.dtype != np.int64 or len(wrong) == 7:
        text = f"read_mask: expected int64 (LongTensor), but got {found.dtype}: cross entropy wants int64."
        grading.lose("dtype", cause="mask.dtype" if len(wrong) < 7 else "mask.ids", message=text if len(wrong) < 7 else "")
    judge_foreign(student, grading, ids, rng, seen=len(wrong) < 7)


def judge_foreign(student, grading, ids, rng, seen):
    """A colour that is none of the seven is an error that names it and its place."""
    row, column = int(rng.integers(11, 29)), int(rng.integers(11, 41))
    colour = [int(value) for value in rng.integers(20, 120, 3)]
    try:
        student.call("read_mask", png(ids, row, column, colour))
        said = ""
    except StudentError as error:
        said = str(error).strip().rpartition("\n")[2] if error.cause == "code.raises" else ""
    if not seen or not all(str(number) in said for number in (row, column, *colour)):
        text = (f"read_mask: expected an error that names the colour {tuple(colour)} at row {row}, column {column}, which is none of the "
                f"seven; got {said or 'none'}.")  # fmt: skip
        grading.lose("foreign", cause="mask.foreign", message=text if seen else "")


@check("fcn32s.layers")
def test_layers_are_those_of_the_notebook(student, grading):
    network = Network(student, grading, FCN32S)
    with explained("FCN32s", HINTS):
        judging.judge_layers(network)
        judging.judge_initial_weights(network)


@check("fcn32s.shapes")
def test_output_has_one_score_per_class_and_pixel(student, grading):
    with explained("FCN32s", HINTS):
        judging.judge_shapes(Network(student, grading, FCN32S))


@check("fcn32s.forward")
def test_values_are_those_of_the_reference(student, grading):
    network = Network(student, grading, FCN32S)
    with explained("FCN32s", HINTS):
        judging.judge_values(network)
        judging.judge_dropout(network, seed=int(grading.rng("dropout").integers(2**31)))
    network.forget()


@check("fcn32s.miou")
def test_checkpoint_segments_the_test_pictures(student, grading):
    gate.judge(student, grading, FCN32S, SPEC)
