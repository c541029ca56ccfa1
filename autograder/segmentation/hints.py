"""What usually lies behind an error that Python and torch word in their own terms, and what to do about it."""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager

from autograder.judge.student import Student
from segkit.student_errors import in_another_order
from segkit.subject import StudentError

__all__ = ["NETWORK_HINTS", "Hints", "explained"]

Hints = tuple[tuple[str, str], ...]
"""Pattern in an error's text -> a sentence for the student."""
NETWORK_HINTS: Hints = (
    (r"before Module\.__init__\(\) call", "The first line of __init__ must be super().__init__()."),
    (r"to have \d+ channels, but got \d+ channels", "Likely cause: a layer is given the output of another layer than the one it was "
     "made for."),
    (r"but got NoneType", "Likely cause: forward ends without `return`."),
)  # fmt: skip


@contextmanager
def explained(what: str, hints: Hints = (), signature: str = "", student: Student | None = None) -> Iterator[None]:
    """Add to a student's error what usually causes it, where nothing was said of that yet.

    Args:
        what: The function or class that was asked for, as messages name it.
        hints: The first whose pattern fits is added.
        signature: How the function must be declared.
        student: Whose function it is: where it fails, the order of its arguments is looked at.
    """
    try:
        yield
    except StudentError as error:
        text, cause = str(error), error.cause
        if cause == "code.raises" and student is not None and (why := in_another_order(_arguments(student, what), signature)):
            text, cause = f"{text}\nLikely cause: {why}.", "code.signature"
        if cause == "code.timeout":
            text = (f"{what}: {text}\nRun it in the notebook on the example there: it must come to its end within a few seconds. Look for "
                    "a loop whose condition never changes, and for loops over single pixels.")  # fmt: skip
        elif cause == "code.signature" and signature:
            text += f"\nThe signature must be `{signature}`, as the cell had it."
        elif "Likely cause" not in text:
            text += next((f"\n{hint}" for pattern, hint in hints if re.search(pattern, text)), "")
        raise StudentError(text, cause) from None


def _arguments(student: Student, name: str) -> list[str]:
    """Names of the arguments that a function is given by their places; none of what is no plain function."""
    found = student.workbook.find(name)
    if found is None or not isinstance(found.statement, ast.FunctionDef):
        return []
    return [argument.arg for argument in (*found.statement.args.posonlyargs, *found.statement.args.args)]
