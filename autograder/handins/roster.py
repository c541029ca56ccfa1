"""The class list, with the column names and name formats of all known course systems."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from autograder.handins.roster_lines import account_for_trying, is_staff, plain_word, remarks
from autograder.report.sheets import TableError
from autograder.report.tables import Table, lost_zeros, read_table, repaired

__all__ = ["PARTICIPANT", "Roster", "RosterError", "Student", "folder_name", "read_roster", "spelled"]

# our word -> what course systems call the column, best first, compared without case, accents, blanks and punctuation
COLUMNS = {
    "id": (
        "student_id sis_login_id username login login_id github_username netid id_number sis_user_id sis_id sid student_number student_no "
        "matriculation_number registration_number org_defined_id integration_id emplid uin uid pid perm perm_number anmeldename "
        "benutzername matrikelnummer matrikel_nr matr_nr mtknr matnr matrikel matricule id_nummer nutzername nutzernamen kennung "
        "nom_d_utilisateur identifiant numéro_d_étudiant numéro_d_identification numéro_étudiant n_étudiant numéro nombre_de_usuario "
        "número_de_id número_de_identificación número_de_matrícula nº_matrícula n_matrícula matrícula dni roster_identifier id user_id "
        "canvas_user_id identifier identificador"
    ),
    "name": "name student student_name full_name vollständiger_name nom_complet nombre_completo",
    "first_name": "first_name given_name first first_name_of_student student_first_middle vorname rufname prénom nombre",
    "last_name": (
        "last_name surname family_name last family_name_of_student student_last nachname familienname zuname familien_oder_nachname nom "
        "nom_de_famille apellidos apellido"
    ),
    "email": (
        "email email_address mail e_mail_adresse mailadresse adresse_de_courriel courriel adresse_e_mail dirección_de_correo "
        "dirección_de_correo_electrónico correo correo_electrónico adresse_mail dirección_email"
    ),
    "group": "group groups group_name team gruppe gruppen groupe groupes grupo grupos",
    "section": "section sections section_name kurs übung übungsgruppe gruppe gruppen group groups groupe grupo",
    "role": "role roles role_name rolle rollen rôle rôles rol status",
    "repository": "repository repository_url student_repository_url repo repo_url git git_url clone_url",
    "participant": "identifier id identifiant identificador",
}
# What Moodle's grading worksheet calls a student: Participant 1001, Teilnehmer/in1001.
PARTICIPANT = re.compile(r"(?:Parti|Parte|Teilnehm|Deelnem|Deltag)[^\W\d]*(?:[/*:(_][^\W\d]{1,5}\)?)?\s*(?P<number>\d+)", re.IGNORECASE)

# letters that Unicode does not decompose into a plain letter and a mark
PLAIN = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ı": "i"})


class RosterError(Exception):
    """The roster cannot be read; the text says where and what was expected."""


@dataclass(frozen=True)
class Student:
    """A student.

    Attributes:
        name: Name in results, safe as a folder: the first id the roster has, else the mail address up to its ``@``, else the
            full name, else Moodle's participant.
        ids: Everything that may identify the student: ids, mail address, user name.
        first_name, last_name, email: As in the roster; empty where it says nothing.
        participant: Number that Moodle gives the student in this assignment.
        groups: Names of groups and teams, spelled plainly.
        sections: Sections, or else groups, as the roster writes them.
        repository: Address or folder of the student's git repository.
    """

    name: str
    ids: frozenset[str] = frozenset()
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    participant: str = ""
    groups: frozenset[str] = frozenset()
    sections: tuple[str, ...] = ()
    repository: str = ""

    def together(self, other: "Student") -> "Student":
        """This student with the groups and sections of another line."""
        more = tuple(section for section in other.sections if section not in self.sections)
        return replace(self, groups=self.groups | other.groups, sections=self.sections + more)

    @property
    def spellings(self) -> set[str]:
        """The full name as course systems write it, wherever the last name begins, and in both orders."""
        words = f"{self.first_name} {self.last_name}".split()
        return {spelled(" ".join([*words[place:], *words[:place]])) for place in range(len(words))} - {""}

    @property
    def shown(self) -> str:
        """How messages name the student: the name in results, and the full name."""
        full = f"{self.first_name} {self.last_name}".strip()
        return f"{self.name} ({full})" if full and folder_name(full) != self.name else self.name


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
        found = {student.name for text in ids for student in self._with("id", text.strip().casefold())}
        return [student for student in self.students if student.name in found] if found else self.named(full_name)

    def named(self, full_name: str) -> list[Student]:
        """All students with this full name."""
        return self._with("name", spelled(full_name)) or self._with("name", spelled(repaired(full_name)))

    def find_bare(self, number: str) -> list[Student]:
        """All students with an id that differs from this number by zeros in front alone."""
        return self._with("number", _bare(number))

    def group(self, name: str) -> tuple[Student, ...]:
        """Who is in the group of this name."""
        return tuple(self._with("group", spelled(name)))

    def _with(self, kind: str, word: str) -> list[Student]:
        return list(self._index.get((kind, word), ())) if word else []

    @cached_property
    def _index(self) -> dict[tuple[str, str], list[Student]]:
        """A kind of word and a word -> the students that have it."""
        found: dict[tuple[str, str], list[Student]] = {}
        for student in self.students:
            kinds = {"id": student.ids, "number": set(map(_bare, student.ids)), "name": student.spellings, "group": student.groups}
            for key in ((kind, word) for kind, words in kinds.items() for word in words):
                found.setdefault(key, []).append(student)
        return found


def _bare(number: str) -> str:
    """A number without zeros in front, which a spreadsheet takes away; empty for what is none."""
    bare = number.strip().removeprefix("#").lstrip("0")
    return bare if bare.isdigit() else ""


@lru_cache(maxsize=100_000)
def spelled(name: str) -> str:
    """A name without case, accents, blanks and punctuation, as Canvas writes it in file names."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(PLAIN))
    return "".join(letter for letter in plain if letter.isalnum())


def folder_name(name: str) -> str:
    """A name that is a valid folder name on any system."""
    return re.sub(r"[^\w.@+-]+", "_", name).strip("._")[:60] or "student"


def read_roster(path: Path) -> Roster:
    """Read a class list.

    Of lines that may stand above the header the best known is the header. A student who is listed twice, in two sections or groups, is one
    student. Lines that are no student's are left out, and noted.

    Raises:
        RosterError: It is no class list, or two students have one name in results.
    """
    try:
        table = read_table(path, lambda header: len({column for columns in _places(header).values() for column in columns}))
    except TableError as error:
        raise RosterError(str(error)) from error
    places = _places(table.header)
    if not (places["id"] or places["email"] or places["participant"]) and not (places["name"] or places["last_name"]):
        head = ",".join(table.header)
        raise RosterError(f"{path}: expected a header with student_id, name (or first_name, last_name) and email; found {head!r}.")
    if ambiguous := sorted(table.twice & {column for word, columns in places.items() if word != "section" for column in columns}):
        raise RosterError(f"{path}: expected each column once, found {', '.join(ambiguous)} more than once.")
    students: dict[str, tuple[Student, int]] = {}
    left_out: dict[str, list[str]] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        student = _student(row, places)
        if student is None:
            continue
        if why := _no_student(row, places, student):
            words = " ".join(" ".join(row.values()).split())[:60] if why == REMARK else student.shown
            left_out.setdefault(why, []).append(f"line {line} ({words})")
            continue
        key = student.name.casefold()
        first, at = students.setdefault(key, (student, line))
        both = first.together(student)
        if replace(student, groups=both.groups, sections=both.sections) != both:
            raise RosterError(
                f"{path}: expected each student once, found {student.name} more than once, with other names or ids: lines {at} and {line}."
            )
        students[key] = both, at
    left_out.pop(AGAIN, None)
    told = [f"{path}: left out, {why}: {', '.join(lines[:5])}{', ...' if len(lines) > 5 else ''}" for why, lines in left_out.items()]
    return Roster(tuple(student for student, _ in students.values()), (*table.notes, *told, *_zeros(path, table, places)))


AGAIN, REMARK = "a header that comes again", "no student"


def _no_student(row: Mapping[str, str], places: Mapping[str, Sequence[str]], read_as: Student) -> str:
    """Why a line is no student's; empty for a student's."""
    if all(text.strip() == column for column, text in row.items()):
        return AGAIN
    if remarks(tuple(row.values())):
        return REMARK
    if is_staff([row[column] for column in places["role"]]):
        return "staff by their role"
    ids = [row[column] for column in places["id"]]
    return "an account for trying" if account_for_trying(ids, read_as.first_name, read_as.last_name) else ""


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
    plain = {_plain(column): column for column in reversed(header) if column}
    return {word: [plain[alias] for alias in aliases if alias in plain] for word, aliases in ALIASES.items()}


def _plain(header: str) -> str:
    return plain_word(header).replace(" ", "")


ALIASES = {word: tuple(dict.fromkeys(map(_plain, aliases.split()))) for word, aliases in COLUMNS.items()}


def _divided(full: str, first: str) -> tuple[str, str]:
    """First and last name of a column that holds both, or the last one alone beside a column of first names."""
    if "," in full:
        last, given = (part.strip() for part in full.split(",", 1))
    elif first and spelled(first) not in spelled(full):
        last, given = full, first
    elif first:
        last, given = full.removeprefix(first).removesuffix(first).strip(), first
    else:
        given, _, last = full.rpartition(" ")
    return first or given, last


def _student(row: Mapping[str, str], places: Mapping[str, Sequence[str]]) -> Student | None:
    def values(word: str) -> list[str]:
        return [text for column in places[word] if (text := " ".join(row[column].split()))]

    def best(word: str) -> str:
        return next(iter(values(word)), "")

    participant = next((match["number"] for text in values("participant") if (match := PARTICIPANT.fullmatch(text))), "")
    # Brightspace writes # before its ids
    ids = [text.removeprefix("#") for text in values("id") if not PARTICIPANT.fullmatch(text)]
    ids = [re.sub(r"^(\d+)\.0$", r"\1", text) for text in ids]  # as programs write numbers of a column with a gap
    email, full, first, last = map(best, ("email", "name", "first_name", "last_name"))
    if full and not last:
        first, last = _divided(full, first)
    local = email.partition("@")[0]
    hidden = f"Participant_{participant}" if participant else ""
    name = next((text for text in [*ids, local, f"{first} {last}".strip(), hidden] if text), "")
    # Canvas adds a line with the points possible, which is no student
    if not name or full.casefold().startswith("points possible"):
        return None
    known = frozenset(text.casefold() for text in [*ids, email, local] if text)
    groups = frozenset(spelled(group) for text in values("group") for group in re.split("[,;]", text)) - {""}
    sections = tuple(text for column in places["section"][:1] if (text := row[column].strip()))
    return Student(folder_name(name), known, first, last, email, participant, groups, sections, best("repository"))
