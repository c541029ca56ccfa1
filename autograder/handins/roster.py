"""The class list, with the column names and name formats of all known course systems."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Roster", "RosterError", "Student", "folder_name", "read_roster", "read_table", "spelled"]

# our word -> what course systems call the column, compared without case, blanks and punctuation
COLUMNS = {
    "id": ("student_id", "sis_login_id", "username", "user_name", "login", "login_id", "github_username", "netid",
           "id_number", "idnumber", "sis_user_id", "sis_id", "sid", "student_number", "matriculation_number", "id", "user_id"),
    "name": ("name", "student", "student_name", "full_name", "fullname"),
    "first_name": ("first_name", "firstname", "given_name", "first"),
    "last_name": ("last_name", "lastname", "surname", "family_name", "last"),
    "email": ("email", "email_address", "mail", "e_mail"),
}  # fmt: skip

# letters that Unicode does not decompose into a plain letter and a mark
PLAIN = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ı": "i"})


class RosterError(Exception):
    """The roster cannot be read; the text says where and what was expected."""


@dataclass(frozen=True)
class Student:
    """A student.

    Attributes:
        name: Name in results, safe as a folder: the first id the roster has, else the mail address up to its ``@``, else the
            full name.
        ids: Everything that may identify the student: ids, mail address, user name.
        first_name, last_name, email: As in the roster; empty where it says nothing.
    """

    name: str
    ids: frozenset[str] = frozenset()
    first_name: str = ""
    last_name: str = ""
    email: str = ""

    @property
    def spellings(self) -> set[str]:
        """The full name as course systems write it, in both orders."""
        return {spelled(f"{self.first_name} {self.last_name}"), spelled(f"{self.last_name} {self.first_name}")} - {""}


@dataclass(frozen=True)
class Roster:
    """A class."""

    students: tuple[Student, ...] = field(default=())

    def by_name(self, name: str) -> Student | None:
        """The student whose name in results this is."""
        return next((student for student in self.students if student.name == name), None)

    def find(self, *ids: str, full_name: str = "") -> list[Student]:
        """All students with this id, or else all with this full name; more than one means that the name is ambiguous."""
        wanted = {text.strip().casefold() for text in ids if text.strip()}
        found = [student for student in self.students if student.ids & wanted]
        if not found and spelled(full_name):
            found = [student for student in self.students if spelled(full_name) in student.spellings]
        return found


def spelled(name: str) -> str:
    """A name without case, accents, blanks and punctuation, as Canvas writes it in file names."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(PLAIN))
    return "".join(letter for letter in plain if letter.isalnum())


def folder_name(name: str) -> str:
    """A name that is a valid folder name on any system."""
    return re.sub(r"[^\w.@+-]+", "_", name).strip("._")[:60] or "student"


def read_roster(path: Path) -> Roster:
    """Read a roster: CSV with a header, as course systems export it (comma, semicolon or tab).

    Raises:
        RosterError: If it is no such table, or two students have the same name in results.
    """
    try:
        reader = read_table(path)
    except OSError as error:
        raise RosterError(f"{path} cannot be opened: {error.strerror}.") from error
    places = _places(reader.fieldnames or [])
    if not (places["id"] or places["email"]) and not (places["name"] or places["last_name"]):
        head = ",".join(reader.fieldnames or [])
        raise RosterError(f"{path}: expected a header with student_id, name (or first_name, last_name) and email; found {head!r}.")
    students = [student for row in reader if (student := _student(row, places)) is not None]
    twice = {s.name for s in students if sum(other.name == s.name for other in students) > 1}
    if twice:
        raise RosterError(f"{path}: expected each student once, found {', '.join(sorted(twice)[:5])} more than once.")
    return Roster(tuple(students))


def read_table(path: Path) -> "csv.DictReader[str]":
    """Open a table with a header as course systems and spreadsheets write it: comma, semicolon or tab; UTF-8, else Windows-1252.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="cp1252", errors="replace")
    head = text.splitlines()[0] if text.strip() else ""
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))


def _places(header: Sequence[str]) -> dict[str, list[str]]:
    """Our word -> the columns that say it, best first."""
    plain = {re.sub(r"\W+", "_", column.strip().casefold()).strip("_"): column for column in header if column}
    return {word: [plain[alias] for alias in aliases if alias in plain] for word, aliases in COLUMNS.items()}


def _student(row: dict[str, str], places: dict[str, list[str]]) -> Student | None:
    def values(word: str) -> list[str]:
        return [text for column in places[word] if (text := str(row.get(column) or "").strip())]

    ids, email = values("id"), next(iter(values("email")), "")
    first, last = next(iter(values("first_name")), ""), next(iter(values("last_name")), "")
    full = next(iter(values("name")), "")
    if full and not (first or last):
        last, _, first = (part.strip() for part in (full.partition(",") if "," in full else _western(full)))
    local = email.partition("@")[0]
    name = next((text for text in [*ids, local, f"{first} {last}".strip()] if text), "")
    # Canvas adds a line with the points possible, which is no student
    if not name or full.casefold().startswith("points possible"):
        return None
    return Student(folder_name(name), frozenset(text.casefold() for text in [*ids, email, local] if text), first, last, email)


def _western(full: str) -> tuple[str, str, str]:
    """``Ada King Lovelace`` -> last name, nothing, first names; names are compared in both orders anyway."""
    first, _, last = full.rpartition(" ")
    return last, "", first
