"""The sizes of a network's outputs for many sizes of pictures, learnt in the worker from a copy without memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segkit.notebooks import Chunk, Program

__all__ = ["OTHER", "SIDES", "sizes_program"]

SIDES = range(96, 129)
"""Heights, and then widths, that are tried: one round of a network whose coarsest map has a cell for 32 pixels, both ends included."""
OTHER = 96  # the other side

SOURCE = """
def {name}():
    import torch

    def size(height, width):
        try:
            return " x ".join(str(int(side)) for side in model(torch.empty(1, 3, height, width)).shape)
        except Exception as error:
            return type(error).__name__

    with torch.device("meta"), torch.no_grad():
        model = {network}(*{args}, **{kwargs})
        model.train(False)
        return [size(side, {other}) for side in range({first}, {last})] + [size({other}, side) for side in range({first}, {last})]
"""


def sizes_program(network: Program, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Program:
    """A function without arguments, beside a student's network, that gives the output's size for each height, then for each width.

    A size is a text such as ``"1 x 12 x 33 x 48"``, or the name of the error. Nothing is computed: values have no memory.

    Args:
        network: The class and all it needs.
        args, kwargs: With which it is built; plain numbers.
    """
    name = f"sizes_of_{network.name}"
    source = SOURCE.format(name=name, network=network.name, args=repr(tuple(args)), kwargs=repr(dict(kwargs)), other=OTHER,
                           first=SIDES.start, last=SIDES.stop)  # fmt: skip
    return replace(network, name=name, chunks=(*network.chunks, Chunk("the viva's own question", source, (0,))))
