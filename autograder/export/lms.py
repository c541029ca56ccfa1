"""How the gradebook files of course systems are built: which line is a student's, who that is, and which column takes points.

Written after what the systems themselves do:

- Canvas: ``lib/gradebook_exporter.rb`` and ``lib/gradebook_importer.rb`` of canvas-lms.
- Moodle's grading worksheet: ``mod/assign/gradingtable.php`` and ``mod/assign/feedback/offline/`` of moodle, headers from its language
  packs.
- Brightspace: "Importing grades" of D2L's documentation.
- Blackboard: "Work offline with grade data" of its help.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autograder.report.labels import clean_text
from autograder.report.sheets import Sheet, TableError
from autograder.report.tables import bare

__all__ = ["SYSTEMS", "Column", "Gradebook", "Line", "open_gradebook"]


@dataclass(frozen=True)
class Column:
    """A column that may take points.

    Attributes:
        place: Its number from 0.
        header: As the file has it.
        title: What people call it, without ids and maxima.
        maximum: The points that the file states for it, or None.
    """

    place: int
    header: str
    title: str
    maximum: float | None = None


@dataclass(frozen=True)
class Line:
    """A student's line.

    Attributes:
        row: Its row in the sheet.
        number: Its line in the file, for people.
        ids: Header -> what identifies the student there: id, login, mail address.
        names: The full name, in each way that the file has it.
        email: Mail address, or empty.
        locked: Why no points can be given on this line, or empty.
    """

    row: int
    number: int
    ids: dict[str, str]
    names: tuple[str, ...] = ()
    email: str = ""
    locked: str = ""

    @property
    def shown(self) -> str:
        """``Ada Lovelace (line 7)``, for people."""
        name = next(iter([*self.names, *self.ids.values()]), "?")
        return f"{' '.join(clean_text(name).split())[:60]} (line {self.number})"


@dataclass(frozen=True)
class Gradebook:
    """What a file says, as far as points are concerned.

    Attributes:
        system: Whose file it is.
        columns: Those that may take points.
        closed: Headers of columns that hold grades, but take no points: totals, read-only ones, words, percentages.
        lines: The students.
        kept: Texts of a cell that points do not replace -> what the system means by them. No other word is replaced either.
        comments: Place of the column of comments that students read, and of the one that says their format, or None.
        participant: Header of the column with Moodle's participant, whose number also stands in its downloads; or empty.
    """

    system: str
    columns: tuple[Column, ...]
    closed: tuple[str, ...]
    lines: tuple[Line, ...]
    kept: dict[str, str] = field(default_factory=dict)
    comments: tuple[int | None, int | None] = (None, None)
    participant: str = ""


# header, without case -> what it holds; the same word in German, French and Spanish worksheets of Moodle
IDENTIFIER = ("identifier", "id", "identifiant", "identificador")
MOODLE_GRADE = ("grade", "bewertung", "note", "calificación")
MOODLE_MAXIMUM = ("maximum grade", "bestwertung", "note maximale", "calificación máxima")
MOODLE_SCALE = ("scale", "skala", "barème", "escala")
MOODLE_LOCK = (
    "grade can be changed", "bewertung kann geändert werden", "la note peut être modifiée", "la calificación puede ser cambiada",
    "la calificación puede cambiarse",
)  # fmt: skip
COMMENTS = (
    "feedback comments", "feedback als kommentar", "feedback par commentaires", "comentarios de retroalimentación",
    "feedback to learner",
)  # fmt: skip
MOODLE_MODIFIED = re.compile(r".*\((grade|bewertung|note|calificación)\)")
NO = ("no", "nein", "non")
FULL_NAME = ("full name", "vollständiger name", "nom complet", "nombre completo", "student")
FIRST_NAME = ("first name", "firstname", "vorname", "prénom", "nombre")
LAST_NAME = ("last name", "lastname", "surname", "nachname", "nom de famille", "nom", "apellido(s)", "apellidos")
EMAIL = ("email", "email address", "e-mail-adresse", "adresse de courriel", "dirección de correo", "dirección de correo electrónico")
LOGIN = (
    "username", "anmeldename", "nom d'utilisateur", "nombre de usuario", "sis login id", "sis user id", "integration id",
    "id number", "id-nummer", "matrikelnummer", "matricule", "numéro d'identification", "número de id", "student id", "orgdefinedid",
)  # fmt: skip

POINTS_ROW = "points possible"
CANVAS_TITLE = re.compile(r"(?P<title>.*) \((?P<id>\d+)\)")
BRIGHTSPACE_TITLE = re.compile(r"(?P<title>.*) Points Grade(?: <(?P<kind>\w+)?(?P<rest>.*)>)?", re.IGNORECASE)
BRIGHTSPACE_MAXIMUM = re.compile(r"MaxPoints:(\d+(?:[.,]\d+)?)")
BLACKBOARD_TITLE = re.compile(r"(?P<title>.*?) ?\[[^\[\]:]*: (?P<upto>\D*)(?P<top>[\d.,]+)(?: (?P<kind>[^\]]*))?\](?: \|(?P<id>\d+))?")


def open_gradebook(sheet: Sheet, where: str, system: str = "") -> Gradebook:
    """Find out whose file it is, and what is in it.

    Args:
        sheet: The file.
        where: Its name, for errors.
        system: One of ``SYSTEMS`` where it is named; empty to recognise it by its header.

    Raises:
        TableError: It is of no known system, or not of the named one.
    """
    heads = [" ".join(text.split()).casefold() for text in sheet.texts[0]]
    fitting = [name for name, (recognised, _) in SYSTEMS.items() if recognised(heads)]
    found = ", ".join(text[:60] for text in sheet.texts[0][:12])
    if system and system not in fitting:
        raise TableError(f"{where}: expected the header of a gradebook of {system} ({NEEDED[system]}); found: {found}.")
    if not fitting:
        needed = "; ".join(f"{name}: {words}" for name, words in NEEDED.items())
        raise TableError(f"{where}: expected a gradebook file as one of these systems gives it out ({needed}); found: {found}.")
    twice = {head for head in heads if head and heads.count(head) > 1}
    book = SYSTEMS[system or fitting[0]][1](sheet, heads)
    if twice & {column.header.casefold() for column in book.columns} or twice & {*IDENTIFIER, *LOGIN, *EMAIL}:
        raise TableError(f"{where}: expected each column once, found {', '.join(sorted(twice)[:5])} more than once.")
    if not book.lines:
        raise TableError(f"{where}: expected a line for each student below the header of {book.system}; found none.")
    return book


def _column(heads: Sequence[str], names: Sequence[str]) -> int | None:
    return next((heads.index(name) for name in names if name in heads), None)


def _people(sheet: Sheet, heads: Sequence[str], first: int, ids: Sequence[str]) -> list[Line]:
    """The lines from a row on; a line without any id and name is none."""
    at = {head: place for place, head in enumerate(heads) if head in ids}
    mails = [place for place, head in enumerate(heads) if head in EMAIL]
    full, given, family = (_column(heads, names) for names in (FULL_NAME, FIRST_NAME, LAST_NAME))
    lines = []
    for row in range(first, len(sheet.rows)):

        def cell(place: int | None, row: int = row) -> str:
            return "" if place is None else bare(sheet.at(row, place).strip())

        email = next((cell(place) for place in (*mails, *at.values()) if "@" in cell(place)), "")
        named = {head: text for head, place in at.items() if (text := cell(place).removeprefix("#"))}
        named |= {heads[place]: cell(place) for place in mails if cell(place)}
        names = tuple(text for text in (cell(full), f"{cell(given)} {cell(family)}".strip()) if text)
        if named or names:
            lines.append(Line(row, sheet.lines[row], named, names, email))
    return lines


def _number(text: str) -> float | None:
    """``100``, ``100.0``, ``100,00``; None where it is none."""
    text = text.strip()
    if re.fullmatch(r"\d{1,3}(?:,\d{3})*\.\d+|\d+(?:[.,]\d+)?", text) is None:
        return None
    return float(text.replace(",", "") if "." in text else text.replace(",", "."))


# ----------------------------------------------------------------------------------------------------------------- Canvas
def _is_canvas(heads: Sequence[str]) -> bool:
    return {"id", "section"} <= set(heads) and bool({"student", "lastname"} & set(heads[:2]))


def _canvas(sheet: Sheet, heads: Sequence[str]) -> Gradebook:
    """Between header and students: perhaps a line of posting policies, then the points possible, in which what is read-only says so."""
    tops = next((row for row in range(1, min(4, len(sheet.rows))) if _says_points(sheet.texts[row])), None)
    points = sheet.texts[tops] if tops is not None else []
    columns, closed = [], []
    for place in range(heads.index("section") + 1, len(heads)):
        header = sheet.texts[0][place]
        top = points[place].strip() if place < len(points) else ""
        match = CANVAS_TITLE.fullmatch(header.strip())
        if _number(top) is not None or (match and not top):
            columns.append(Column(place, header, match["title"] if match else header.strip(), _number(top)))
        elif top or match:
            closed.append(header)
    first = 1 if tops is None else tops + 1
    lines = _people(sheet, heads, first, ("id", "sis user id", "sis login id", "integration id"))
    kept = {"EX": "excused", "N/A": "not assigned to this student"}
    return Gradebook("canvas", tuple(columns), tuple(closed), tuple(lines), kept)


def _says_points(texts: Sequence[str]) -> bool:
    return bool(texts) and texts[0].strip().casefold() == POINTS_ROW


# ----------------------------------------------------------------------------------------------------------------- Moodle
def _is_moodle(heads: Sequence[str]) -> bool:
    grade, identifier = _column(heads, MOODLE_GRADE), _column(heads, IDENTIFIER)
    return grade is not None and identifier is not None and any(MOODLE_MODIFIED.fullmatch(head) for head in heads)


def _moodle(sheet: Sheet, heads: Sequence[str]) -> Gradebook:
    place, maximum, lock = (_column(heads, names) for names in (MOODLE_GRADE, MOODLE_MAXIMUM, MOODLE_LOCK))
    identifier = _column(heads, IDENTIFIER)
    assert place is not None and identifier is not None
    scale = _column(heads, MOODLE_SCALE) is not None
    lines = _people(sheet, heads, 1, (heads[identifier], *LOGIN))
    tops = {sheet.texts[line.row][maximum] for line in lines if maximum is not None and maximum < len(sheet.texts[line.row])}
    top = _number(tops.pop()) if len(tops) == 1 else None
    if lock is not None:
        lines = [_locked(line, sheet.texts[line.row][lock:][:1]) for line in lines]
    column = Column(place, sheet.texts[0][place], sheet.texts[0][place], top)
    columns, closed = ((), (f"{column.header}, for words of a scale",)) if scale else ((column,), ())
    comments = (_column(heads, COMMENTS), None)
    return Gradebook("moodle", columns, closed, tuple(lines), comments=comments, participant=heads[identifier])


def _locked(line: Line, cell: Sequence[str]) -> Line:
    if not cell or cell[0].strip().casefold() not in NO:
        return line
    return Line(line.row, line.number, line.ids, line.names, line.email, "Moodle says that this grade cannot be changed")


# ------------------------------------------------------------------------------------------------------------ Brightspace
def _is_brightspace(heads: Sequence[str]) -> bool:
    ours = any(head == "end-of-line indicator" or " points grade" in head for head in heads)
    return ours and bool({"orgdefinedid", "username"} & set(heads))


def _brightspace(sheet: Sheet, heads: Sequence[str]) -> Gradebook:
    columns, closed = [], []
    for place, header in enumerate(sheet.texts[0]):
        match = BRIGHTSPACE_TITLE.fullmatch(header.strip())
        if match and (match["kind"] or "").casefold() not in ("formula", "calculated"):
            top = BRIGHTSPACE_MAXIMUM.search(match["rest"] or "")
            columns.append(Column(place, header, match["title"], _number(top[1]) if top else None))
        elif match or " Grade" in header:
            closed.append(header)
    return Gradebook("brightspace", tuple(columns), tuple(closed), tuple(_people(sheet, heads, 1, LOGIN)))


# ------------------------------------------------------------------------------------------------------------- Blackboard
def _is_blackboard(heads: Sequence[str]) -> bool:
    return "username" in heads and any(re.search(r"\[[^\[\]]*\d[^\[\]]*\](?: \|\d+)?$", head) for head in heads)


def _blackboard(sheet: Sheet, heads: Sequence[str]) -> Gradebook:
    columns, closed = [], []
    for place, header in enumerate(sheet.texts[0]):
        match = BLACKBOARD_TITLE.fullmatch(header.strip())
        if match and not match["upto"] and (match["kind"] or "Score").casefold() == "score":
            columns.append(Column(place, header, match["title"], _number(match["top"])))
        elif match:
            closed.append(header)
    lines = _people(sheet, heads, 1, LOGIN)
    comments = (_column(heads, COMMENTS), _column(heads, ("feedback format",)))
    return Gradebook("blackboard", tuple(columns), tuple(closed), tuple(lines), comments=comments)


SYSTEMS: dict[str, tuple[Callable[[Sequence[str]], bool], Callable[[Sheet, Sequence[str]], Gradebook]]] = {
    "canvas": (_is_canvas, _canvas),
    "moodle": (_is_moodle, _moodle),
    "brightspace": (_is_brightspace, _brightspace),
    "blackboard": (_is_blackboard, _blackboard),
}
NEEDED = {
    "canvas": "Student, ID, SIS Login ID, Section, then assignments",
    "moodle": "the grading worksheet, with Identifier, Grade, Last modified (grade)",
    "brightspace": "OrgDefinedId or Username, items called ... Points Grade, End-of-Line Indicator",
    "blackboard": "Username, columns called ... [Total Pts: 100 Score] |123",
}
