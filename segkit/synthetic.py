"""Draws facades in the CMP database's own file format; the code is in ``segkit.datasets.facades.drawing``."""

from segkit.datasets.facades.drawing import Facade, LabelBox, draw_facade, make_sample, sample_size, write_facade

__all__ = ["Facade", "LabelBox", "draw_facade", "make_sample", "sample_size", "write_facade"]
