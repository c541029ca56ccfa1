"""From what was found to lost points."""

from collections.abc import Iterable

from autograder.judge.checking import Grading
from segkit.checks.satellite.finding import Finding

__all__ = ["tell"]


def tell(grading: Grading, what: str, findings: Iterable[Finding]) -> None:
    """Take the points of each mistake, and name it.

    Args:
        grading: The fixture.
        what: The function or class, for messages.
        findings: What is wrong with it.
    """
    for finding in findings:
        grading.lose(finding.part, cause=finding.code, message=f"{what}: {finding}", share=finding.share)
