"""What usually lies behind an error that Python and torch word in their own terms."""

from autograder.segmentation.hints import Hints

__all__ = ["HINTS"]

HINTS: Hints = (
    (r"before Module\.__init__\(\) call", "The first line of __init__ must be super().__init__()."),
    (r"to have \d+ channels, but got \d+ channels", "Likely cause: a layer is given the output of another layer than the one it was "
     "made for."),
    (r"but got NoneType", "Likely cause: forward ends without `return`."),
)  # fmt: skip
