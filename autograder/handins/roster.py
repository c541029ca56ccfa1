"""The class list, with the column names and name formats of all known course systems."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.report.sheets import TableError
from autograder.report.tables import Table, lost_zeros, read_table

__all__ = ["Roster", "RosterError", "Student", "folder_name", "read_roster", "spelled"]

# our word -> what course systems call the column, best first, compared without case, blanks and punctuation
COLUMNS = {
    "id": (
        "student_id", "sis_login_id", "username", "user_name", "login", "login_id", "github_username", "netid", "id_number", "idnumber",
        "sis_user_id", "sis_id", "sid", "student_number", "matriculation_number", "orgdefinedid", "org_defined_id", "integration_id",
        "anmeldename", "benutzername", "matrikelnummer", "matrikel_nr", "matricule", "id_nummer", "nom_d_utilisateur", "identifiant",
        "numéro_d_étudiant", "numéro_d_identification", "nombre_de_usuario", "número_de_id", "número_de_identificación", "id", "user_id",
    ),
    "name": ("name", "student", "student_name", "full_name", "fullname", "vollständiger_name", "nom_complet", "nombre_completo"),
    "first_name": ("first_name", "firstname", "given_name", "first", "vorname", "prénom", "nombre"),
    "last_name": ("last_name", "lastname", "surname", "family_name", "last", "nachname", "familienname", "nom", "nom_de_famille",
                  "apellidos", "apellido_s", "apellido"),
    "email": ("email", "email_address", "mail", "e_mail", "e_mail_adresse", "mailadresse", "adresse_de_courriel", "courriel",
              "adresse_e_mail", "dirección_de_correo", "dirección_de_correo_electrónico", "correo", "correo_electrónico"),
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
    """A class.

    Attributes:
        students: They.
        notes: What the file was read as, where it was bent on its way, for people.
    """

    students: tuple[Student, ...] = field(default=())
    notes: tuple[str, ...] = ()

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
    """Read a class list.

    A student who is listed twice, in two sections or groups, is one student.

    Raises:
        RosterError: It is no class list, or two students have one name in results.
    """
    try:
        table = read_table(path)
    except TableError as error:
        raise RosterError(str(error)) from error
    places = _places(table.header)
    if not (places["id"] or places["email"]) and not (places["name"] or places["last_name"]):
        head = ",".join(table.header)
        raise RosterError(f"{path}: expected a header with student_id, name (or first_name, last_name) and email; found {head!r}.")
    if ambiguous := sorted(table.twice & {column for columns in places.values() for column in columns}):
        raise RosterError(f"{path}: expected each column once, found {', '.join(ambiguous)} more than once.")
    students: dict[str, tuple[Student, int]] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        student = _student(row, places)
        if student is None:
            continue
        first, at = students.setdefault(student.name.casefold(), (student, line))
        if first != student:
            raise RosterError(
                f"{path}: expected each student once, found {student.name} more than once, with other names or ids: lines {at} and {line}."
            )
    return Roster(tuple(student for student, _ in students.values()), (*table.notes, *_zeros(path, table, places)))


def _zeros(path: Path, table: Table, places: Mapping[str, Sequence[str]]) -> list[str]:
    """Notes on ids that a spreadsheet may have shortened."""
    notes = []
    for column in places["id"]:
        if short := lost_zeros([text for row in table.rows if (text := row[column].strip())]):
            listed = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
            notes.append(
                f"{path}, column {column!r}: shorter than the others: {listed}. If a spreadsheet has taken zeros in front away, take the "
                "original file"
            )
    return notes


def _places(header: Sequence[str]) -> dict[str, list[str]]:
    """Our word -> the columns that say it, best first."""
    plain = {re.sub(r"\W+", "_", column.strip().casefold()).strip("_"): column for column in header if column}
    return {word: [plain[alias] for alias in aliases if alias in plain] for word, aliases in COLUMNS.items()}


def _student(row: Mapping[str, str], places: Mapping[str, Sequence[str]]) -> Student | None:
    def values(word: str) -> list[str]:
        return [text for column in places[word] if (text := row[column].strip())]

    # Brightspace writes # before its ids
    ids, email = [text.removeprefix("#") for text in values("id")], next(iter(values("email")), "")
    first, last = next(iter(values("first_name")), ""), next(iter(values("last_name")), "")
    full = next(iter(values("name")), "")
    if full and not (first or last):
        last, first = (part.strip() for part in full.split(",", 1)) if "," in full else full.rpartition(" ")[::-2]
    local = email.partition("@")[0]
    name = next((text for text in [*ids, local, f"{first} {last}".strip()] if text), "")
    # Canvas adds a line with the points possible, which is no student
    if not name or full.casefold().startswith("points possible"):
        return None
    return Student(folder_name(name), frozenset(text.casefold() for text in [*ids, email, local] if text), first, last, email)
