"""Which data sets there are. Of the room only this file changes when another one is added."""

__all__ = ["DATASETS", "DEFAULT"]

DATASETS = {"facades": "segkit.datasets.facades", "satellite": "segkit.datasets.satellite"}
"""Name -> module that has it as ``SPEC``."""
DEFAULT = "facades"
