"""Reference implementations of everything a solution cell must define, one folder per assignment. Never part of a student release."""

from segkit.reference.fcn import FCN8s, FCN16s, FCN32s, confusion_matrix, copy_params_from_vgg16, read_label, scores

__all__ = ["FCN8s", "FCN16s", "FCN32s", "confusion_matrix", "copy_params_from_vgg16", "read_label", "scores"]
