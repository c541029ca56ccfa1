"""Lines of a class list that are no students: remarks on it, staff, and accounts for trying."""

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["account_for_trying", "is_staff", "plain_word", "remarks"]

COUNTING = frozenset(
    "total totals gesamt gesamtzahl insgesamt summe anzahl count number effectif nombre somme numero suma recuento of d de des der von el "
    "los".split()
)
PEOPLE = frozenset(
    "student students participant participants people persons learners rows records enrolled teilnehmer teilnehmerinnen teilnehmende "
    "teilnehmenden innen studierende studierenden studenten personen etudiant etudiants etudiante etudiantes inscrits apprenants "
    "participante participantes estudiante estudiantes alumno alumnos personas".split()
)
SHEETS = ("starthissheet", "endhissheet")  # how a campus system marks where a list begins and ends
# What begins so, in a column of roles, teaches or looks on; anybody whose role nobody knows is a student.
STAFF = (
    "instructor", "teacher", "teaching", "ta", "reader", "grader", "lecturer", "professor", "tutor", "tutorin", "designer",
    "course builder", "observer", "parent", "manager", "administrator", "administrateur", "administrador", "staff", "non editing",
    "noneditingteacher", "editingteacher", "dozent", "trainer", "lehrend", "lehrperson", "lehrkraft", "betreuer", "korrektor", "hiwi",
    "enseignant", "professeur", "charge", "profesor", "docente", "ayudante", "gestor",
)  # fmt: skip
STUDENTS = ("student", "learner", "participant", "teilnehm", "studier", "autor", "etudiant", "apprenant", "estudiante", "alumn")


def plain_word(text: str) -> str:
    """Without case and accents, one blank where there was anything else than letters and digits."""
    letters = (letter for letter in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", "".join(letters)).strip()


def remarks(cells: Sequence[str]) -> bool:
    """Whether a line says something of the list: how many there are (``Total: 1 students``, ``Gesamt;60``), when it was made. A number in a
    cell before all words is an id.

    Args:
        cells: Of a line; empty ones count for nothing.
    """
    filled = [plain_word(text) for text in cells if text.strip()]
    words = " ".join(filled).split()
    if len(filled) == 1 and (filled[0] in SHEETS or (len(cells) > 2 and _sentence(words))):
        return True
    numbers, others = [word for word in words if word.isdigit()], {word for word in words if not word.isdigit()}
    return len(filled) <= 2 and len(numbers) == 1 and bool(others) and others <= COUNTING | PEOPLE and not filled[0].isdigit()


def _sentence(words: Sequence[str]) -> bool:
    """Whether they are no name and no id: three or more, with a number among them."""
    return len(words) > 2 and any(map(str.isdigit, words)) and not all(map(str.isdigit, words))


def is_staff(roles: Sequence[str]) -> bool:
    """Whether somebody with these roles only teaches, grades or looks on; who learns too is a student."""
    found = [plain_word(role) for text in roles for role in re.split("[,;|]", text) if role.strip()]
    return any(map(_of_staff, found)) and not any(role.startswith(STUDENTS) for role in found)


def _of_staff(role: str) -> bool:
    return any(f"{role} ".startswith(word if len(word) > 5 else f"{word} ") for word in STAFF)


def account_for_trying(ids: Sequence[str], first_name: str, last_name: str) -> bool:
    """Whether it is what a system made for its teacher: Canvas' test student, Blackboard's preview user."""
    previews = last_name == "PreviewUser" or any(text.casefold().endswith("_previewuser") for text in ids)
    return previews or (first_name, last_name) == ("Test", "Student")
