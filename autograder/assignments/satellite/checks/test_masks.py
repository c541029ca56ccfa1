"""Checks of notebook 2: masks, and their mean IoU."""

from autograder.assignments.satellite.telling import tell
from autograder.judge.checking import check
from autograder.segmentation.hints import NETWORK_HINTS, explained
from segkit.checks.satellite.masks import iou_mistakes, mask_mistakes


@check("read_mask")
def test_masks_are_decoded_by_colour(student, grading):
    with explained("read_mask", NETWORK_HINTS, "def read_mask(path)"):
        tell(grading, "read_mask", mask_mistakes(student, grading.own_rng("masks")))


@check("mean_iou")
def test_mean_iou_follows_the_courses_rule_of_unknown_pixels(student, grading):
    with explained("mean_iou", NETWORK_HINTS, "def mean_iou(pred, gt)"):
        tell(grading, "mean_iou", iou_mistakes(student, grading.own_rng("maps"), grading.rubric.settings["unknown"]))
