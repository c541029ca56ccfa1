"""Who is in the class, and when they handed in: ``people.csv`` beside the class page."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from autograder.report.lateness import late_in
from autograder.report.rendering import own_rows, write_page
from autograder.report.summary import csv_line

__all__ = ["PEOPLE", "Person", "mail_link", "read_people", "write_people"]

PEOPLE = "people.csv"
HEAD = ("name", "full_name", "email", "section")
ADDRESS = re.compile(r"[\w.!#$*+/=^`{|}~'-]+@[\w.-]+")  # nothing that could begin another field of a mailto
LONGEST_LINK = 1900  # characters; mail programs cut longer ones


@dataclass(frozen=True)
class Person:
    """One of the class.

    Attributes:
        name: Name of the submission.
        full_name, email, section: As the class list has them; empty where it says nothing.
        lateness: How late, in words; empty for in time and for not known.
    """

    name: str
    full_name: str = ""
    email: str = ""
    section: str = ""
    lateness: str = ""


def write_people(people: Iterable[Person], out: Path) -> Path:
    """Write ``out/people.csv``, so that every later page knows the class."""
    rows = [HEAD, *((one.name, one.full_name, one.email, one.section) for one in people)]
    return write_page(Path(out) / PEOPLE, "".join(csv_line(row) for row in rows))


def read_people(out: Path) -> dict[str, Person]:
    """Name of a submission -> who it is; empty without a class list. A file that cannot be read says nothing, and stops no page."""
    people = {
        row["name"]: Person(row["name"], *(row.get(column, "") for column in HEAD[1:]))
        for row in own_rows(Path(out) / PEOPLE) or () if row.get("name")
    }  # fmt: skip
    for name, late in late_in(out).items():
        people[name] = replace(people.get(name, Person(name)), lateness=late.by)
    return people


def mail_link(addresses: Iterable[str]) -> str:
    """A ``mailto:`` that writes to people without showing them to each other; empty where there is none, or it would be too long."""
    link = "mailto:?bcc=" + ",".join(quote(one, safe="@") for one in addresses if ADDRESS.fullmatch(one))
    return link if "@" in link and len(link) <= LONGEST_LINK else ""
