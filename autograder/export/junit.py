"""JUnit XML as pytest writes it (family ``xunit2``), one file per submission: for CI systems that draw tests.

Points are properties of a test case, what lateness takes off is one of the suite. A check graded by hand is ``skipped``, one that could
not be graded is an ``error``; neither has a property ``points``.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

from autograder.export.entries import Entry, Options, given_checks, open_words, shown
from autograder.report.labels import first_line

__all__ = ["junit_xml", "write_junit"]


def junit_xml(entry: Entry) -> str:
    """Translate one result to a JUnit XML document."""
    result, checks = entry.result, entry.result["checks"]
    counts = {
        "errors": sum(c["status"] == "could_not_grade" for c in checks),
        "failures": sum(c["status"] in ("partial", "not_earned") for c in checks),
        "skipped": sum(c["status"] == "needs_manual" for c in checks),
        "tests": len(checks),
    }
    suites = ElementTree.Element("testsuites", name=shown(result["assignment"]))
    attributes = {"name": shown(result["submission"])} | {name: str(count) for name, count in counts.items()}
    attributes |= {"time": f"{result['seconds']:.3f}", "timestamp": result["started"], "hostname": "segkit"}
    suite = ElementTree.SubElement(suites, "testsuite", attributes)
    given = given_checks(result)
    if late := entry.late_line(given):
        properties, taken = ElementTree.SubElement(suite, "properties"), entry.penalty(given)
        if taken is not None:
            ElementTree.SubElement(properties, "property", name="late_penalty", value=f"{taken:g}")
        ElementTree.SubElement(properties, "property", name="late", value=shown(late))
    for check in checks:
        _case(suite, check, shown(result["assignment"]))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, check: Mapping[str, Any], assignment: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=assignment, name=check["id"], time=f"{check['seconds'] or 0:.3f}")
    properties = ElementTree.SubElement(case, "properties")
    hand = check.get("hand") or {}
    for name, value in (
        ("by_hand", hand.get("kind")),
        ("points", check["points"]),
        ("max_points", check["max_points"]),
        ("cause", check["cause"]),
    ):
        if value is not None:
            ElementTree.SubElement(properties, "property", name=name, value=value if isinstance(value, str) else f"{value:g}")
    text = shown(check["message"])
    if check["status"] == "needs_manual":
        ElementTree.SubElement(case, "skipped", type="pytest.skip", message=open_words(check)).text = text
    elif check["status"] == "could_not_grade":
        ElementTree.SubElement(case, "error", message=open_words(check)).text = text
    elif check["status"] != "earned":
        head = f"{check['points']:g} of {check['max_points']:g} points. {first_line(text)}"
        ElementTree.SubElement(case, "failure", message=head.strip()).text = text


def write_junit(entries: Iterable[Entry], options: Options) -> Iterator[tuple[PurePosixPath, str]]:
    """One ``junit.xml`` per submission."""
    for entry in entries:
        yield PurePosixPath(entry.folder, "junit.xml"), junit_xml(entry)
