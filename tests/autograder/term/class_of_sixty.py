"""A class of sixty who hand in, and one who does not: who they are, what they wrote, and the points for it, written down beforehand.

The course is ``small_course`` with a second question; a person marks both by the criteria of the rubric.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from nbformat.v4 import new_markdown_cell
from small_course import LAST, QUESTION, RUBRIC, graded, notebooks, write_course
from tiny import cell, notebook

__all__ = [
    "ABSENT", "CLASS", "CRITERIA", "DUE", "IN_TIME", "LATE", "ROSTER", "TOP", "ZONE", "Person", "late_table", "table", "term_course",
    "write_work",
]  # fmt: skip

TOP = 20
DUE, ZONE = "2026-03-14T23:59", "Europe/Berlin"
IN_TIME, LATE = "2026-03-14T22:10:05", "2026-03-16T08:59:00"
EXTENDED = "2026-03-16 12:00"

# what somebody wrote -> the code, and its points for `double` (4) and `last.value` (6)
DOUBLE = "def double(values):\n    return values * {factor}  # {login}\n"
LAST_OF_ALL = LAST.replace("### BEGIN SOLUTION\n", "").replace("\n### END SOLUTION", "")
STUB = "def last_of_all(values):\n    raise NotImplementedError\n"
WORK = {
    "right": (DOUBLE.replace("{factor}", "2"), LAST_OF_ALL, (4, 6)),
    "thrice": (DOUBLE.replace("{factor}", "3"), LAST_OF_ALL, (2, 6)),
    "first": (DOUBLE.replace("{factor}", "2"), "def last_of_all(values):\n    return values[0]\n", (4, 0)),
    "begun": (DOUBLE.replace("{factor}", "3"), STUB, (2, 0)),
    "untouched": ("def double(values):\n    raise NotImplementedError\n", STUB, (0, 0)),
}  # fmt: skip
PARTS = {"question_1": {"reason": 3, "example": 2}, "question_2": {"place": 2, "kind": 2, "words": 1}}
# an answer -> the criteria that it meets, and its points
ANSWERS = {
    "question_1": {
        "Doubling keeps zero where it is, because it is linear; for instance 2 * 0 = 0.": (["reason", "example"], 5),
        "It is linear, and a linear map leaves zero where it is.": (["reason"], 3),
        "For example, 2 * 0 is 0 and 2 * 3 is 6.": (["example"], 2),
        "Something with lines, I think.": (["half reason"], 1.5),
        "": ([], 0),
    },
    "question_2": {
        "The largest value stands at the end after sorting, whatever its kind: numbers and letters have an order.":
            (["place", "kind", "words"], 5),
        "It stands last once the list is sorted.": (["place", "words"], 3),
        "Any kind that can be compared works: numbers, letters.": (["kind", "words"], 3),
        "Sorted. Letters too, numbers too": (["place", "half kind"], 3),
        "I do not know.": ([], 0),
    },
}  # fmt: skip
CRITERIA = {check: {text: criteria for text, (criteria, _) in answers.items()} for check, answers in ANSWERS.items()}


@dataclass(frozen=True)
class Person:
    """One of the class.

    Attributes:
        login, number: As the course system knows them.
        participant: Moodle's number.
        work: Key of ``WORK``.
        answers: Numbers of the answers to both questions.
        came: When the work was handed in, in Berlin; empty if it was not.
    """

    login: str
    number: str
    participant: int
    first: str
    last: str
    section: str
    work: str
    answers: tuple[int, int]
    group: str = ""
    came: str = IN_TIME

    @property
    def email(self) -> str:
        return f"{self.login}@example.org"

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def texts(self) -> dict[str, str]:
        return {check: list(answers)[number] for (check, answers), number in zip(ANSWERS.items(), self.answers, strict=True)}

    @property
    def points(self) -> dict[str, float]:
        """Check -> points, those by hand among them."""
        double, last = WORK[self.work][2]
        return {"double": double, "last.value": last} | {check: ANSWERS[check][text][1] for check, text in self.texts.items()}

    @property
    def total(self) -> float:
        return sum(self.points.values())


# Umlauts, double names, an apostrophe, one name within another, namesakes, ids that are others' numbers, a group, late ones
DIFFICULT = [
    ("bjoern_m", "4712", "Björn", "Müller", "thrice", (0, 1), "", IN_TIME),
    ("chiara", "4713", "Chiara", "O'Neill", "right", (1, 0), "", IN_TIME),
    ("anna", "4714", "Anna-Lena", "Groß", "first", (2, 2), "", IN_TIME),
    ("lena", "4715", "Lena", "Groß", "begun", (3, 3), "", IN_TIME),
    ("wli", "4716", "Wei", "Li", "right", (0, 0), "", IN_TIME),
    ("wli2", "4717", "Wei", "Li", "untouched", (4, 4), "", IN_TIME),
    ("m", "7", "Åse", "Ng", "right", (1, 1), "", IN_TIME),
    ("mj", "0042", "María José", "García López", "thrice", (2, 0), "", IN_TIME),
    ("ada", "4711", "Ada", "Lovelace", "right", (0, 0), "Team_7", IN_TIME),
    ("noor", "4718", "Noor", "de Vries", "right", (0, 0), "Team_7", IN_TIME),
    ("tomas", "4719", "Tomáš", "Dvořák-Šťastný", "right", (0, 0), "Team_7", IN_TIME),
    ("dmitri", "4720", "Dmitri", "Ivanov", "right", (0, 3), "", LATE),
    ("eve", "4721", "Eve", "Moon", "thrice", (1, 0), "", LATE),
]
FIRST = "Amal Bea Cem Dörte Elif Farid Gül Hana Ivo Jun Kaja Liam Maya Nils Oya Priya Quim Rosa Søren Tariq Uma Vera Wen Ximena".split()
LAST_NAMES = ("Abel Brandstätter Çelik Díaz-Peña Eriksson Fürst Gomes Haddad Ito Jansen Kowalska Lê Moreau Nowak Özdemir Peeters Quiroga "
              "Rossi Šimić Tanaka Ugarte Vogt Weiß Zając").split()  # fmt: skip


def _class() -> tuple[Person, ...]:
    people = [
        Person(login, number, 100 + place, first, last, "AB"[place % 2], work, answers, group, came)
        for place, (login, number, first, last, work, answers, group, came) in enumerate(DIFFICULT)
    ]
    for place in range(60 - len(people)):
        first, last = FIRST[place % len(FIRST)], LAST_NAMES[(place * 7 + place // len(FIRST)) % len(LAST_NAMES)]
        answers = (place * 3 % 5 if place % 4 else 0, place * 2 % 5 if place % 3 else 0)
        work = ("right", "thrice", "right", "first", "right", "begun")[place % 6]
        people.append(Person(f"s{place:02}", str(5000 + place), 200 + place, first, last, "AB"[place % 2], work, answers))
    return tuple(people)


CLASS = _class()
ABSENT = Person("zora", "4799", 199, "Zora", "Zimmer", "A", "untouched", (4, 4), came="")


def table(head: str, rows: list[list[str]]) -> str:
    """CSV as programs write it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head.split(","), *rows])
    return text.getvalue()


def ROSTER(people: tuple[Person, ...]) -> str:
    """The class list, with groups."""
    rows = [[f"{one.last}, {one.first}", one.number, one.login, one.email, one.section, one.group] for one in (*people, ABSENT)]
    return table("Student,ID,SIS Login ID,Email,Section,group_name", rows)


def late_table(told: bool) -> str:
    """Who was granted what; and when late ones handed in, where the system does not say it."""
    rows = [["eve", EXTENDED, LATE if told else ""], *([["dmitri", "", LATE]] if told else [])]
    return table("id,extension,submitted", rows)


def write_work(folder: Path, person: Person) -> Path:
    """The two notebooks of one who hands in."""
    double, last, _ = WORK[person.work]
    author = person.group or person.login
    notebook(folder / "1_first.ipynb", cell("import numpy as np"), cell(double.replace("{login}", author), "double"))
    questions = [cell(text, check, "markdown") for check, text in person.texts.items()]
    notebook(folder / "2_second.ipynb", cell(last, "last"), *questions)
    return folder


def term_course(root: Path) -> Path:
    """Write the course; returns the folder of its assignment."""
    books = notebooks()
    books["2_second.ipynb"].cells.append(
        new_markdown_cell(QUESTION, id="question-2", metadata=graded("question_2", grade=True, solution=True, locked=False, points=5.0))
    )
    material = write_course(root, books).material
    parts = {check: "{ " + ", ".join(f"{name} = {top}" for name, top in of.items()) + " }" for check, of in PARTS.items()}
    second = '[checks.question_2]\ntitle = "Another question"\npoints = 5\nmanual = true\n'
    rubric = RUBRIC.rstrip() + f"\nparts = {parts['question_1']}\n{second}parts = {parts['question_2']}\n"
    (material / "rubric.toml").write_text(rubric)
    return material
