"""Checks of notebook 1: label decoding, confusion matrix, scores."""

from autograder.assignments.fcn import counting, labels, scoring
from autograder.assignments.fcn.hints import explained
from autograder.judge.checking import check


@check("read_label")
def test_labels_are_decoded_by_palette_index(student, grading):
    with explained("read_label"):
        labels.judge(student, grading)


@check("confusion_matrix")
def test_pixels_are_counted_by_true_and_predicted_class(student, grading):
    with explained("confusion_matrix"):
        counting.judge_confusion_matrix(student, grading)


@check("scores")
def test_scores_are_accuracy_iou_and_mean(student, grading):
    with explained("scores"):
        scoring.judge_scores(student, grading)
