"""What a check of the assignment ``satellite`` found: the same for the notebooks' checks, which print it, and the grader's."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segkit.student_errors import StudentError
from segkit.subject import Subject

__all__ = ["Finding", "numbers", "results"]

if importlib.util.find_spec("segkit.specification") is None:
    raise ImportError("What the checks compare with is not there where work is graded.")


class Finding(NamedTuple):
    """A mistake.

    Attributes:
        part: Of the check.
        code: Stable code.
        expected: In words.
        got: In words.
        why: The likely cause; empty where none is known.
        share: How much of the part it costs.
    """

    part: str
    code: str
    expected: str
    got: str
    why: str = ""
    share: float = 1.0

    def __str__(self) -> str:
        return f"expected {self.expected}, but got {self.got}.{f' Likely cause: {self.why}.' if self.why else ''}"


def numbers(found: Any, what: str, code: str, fits: Callable[[tuple[int, ...]], bool], expected: str) -> NDArray:
    """An array of numbers of a shape that fits.

    Raises:
        StudentError: It is something else.
    """
    try:
        array = np.asarray(found) if isinstance(found, (bool, int, float, list, np.ndarray)) else np.empty(0, object)
    except ValueError:  # parts of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or not fits(array.shape):
        got = f"numbers of shape {array.shape}" if array.dtype.kind in "biuf" else type(found).__name__
        raise StudentError(f"{what}: expected {expected}, but got {got}.", code)
    return array


def results(subject: Subject, name: str, *args: Any, expected: str, code: str) -> tuple[str, list[Any]]:
    """Handle of what a function returned, and its items, which may be of different kinds and lengths.

    Raises:
        StudentError: The function fails, or returns nothing that has items.
    """
    handle, problem = subject.build(name, *args, module=False), ""
    try:
        if isinstance(items := subject.method(handle, "__iter__"), list):
            return handle, items
    except StudentError as error:
        problem = f" {error}"
    raise StudentError(f"{name}: expected {expected}, but got nothing of that kind.{problem}", code)
