"""The reference implementations of the assignment ``fcn``."""

from segkit.reference.fcn.labels import read_label
from segkit.reference.fcn.metrics import confusion_matrix, scores
from segkit.reference.fcn.networks import FCN8s, FCN16s, FCN32s
from segkit.reference.fcn.pretraining import copy_params_from_vgg16

__all__ = ["FCN8s", "FCN16s", "FCN32s", "confusion_matrix", "copy_params_from_vgg16", "read_label", "scores"]
