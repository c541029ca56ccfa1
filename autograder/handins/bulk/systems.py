"""How course systems name the files of their exports: one table."""

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["SYSTEMS", "Facts", "System", "gradescope_facts", "moment"]


@dataclass(frozen=True)
class Facts:
    """What a system's metadata says of one submission: the people (``name``, ``sid``, ``email`` of each) and when."""

    people: tuple[Mapping[str, str], ...] = ()
    time: str = ""


@dataclass(frozen=True)
class System:
    """A course system.

    Attributes:
        name: Its name.
        pattern: Matches the path of a member. Group ``file`` (and ``suffix``) is its name in the submission; the others where the
            system has them: ``student`` (name or user name), ``user`` (id), ``attempt`` (tells submissions apart), ``number``
            (rises with time), ``time``, ``late``, ``assignment``, ``text`` (typed into a web page: not graded).
        metadata: Name of a file in the zip that says who handed in what, or empty.
        reader: Reads that file: its text -> facts by ``attempt``.
        stamp: Name of a file in each submission in which the system itself (not the student) says when it came, or empty.
    """

    name: str
    pattern: re.Pattern[str]
    metadata: str = ""
    reader: Callable[[str], dict[str, Facts]] | None = None
    stamp: str = ""

    @property
    def person(self) -> str:
        """The group of ``pattern`` that says whose a file is."""
        return "student" if "student" in self.pattern.groupindex else "attempt"


_ENTRY = re.compile(r"(?P<key>[^\s:#][^:]*):\s*$")
_SECTION = re.compile(r"  :(?P<word>\w+):\s*(?P<value>.*)$")
_PERSON = re.compile(r"\s+(?P<dash>- )?\s*:(?P<word>name|sid|email):\s*(?P<value>.*)$")
_UTC = re.compile(r"\s+utc:\s*(?:&\S+\s+)?(?P<value>.*)$")


def gradescope_facts(text: str) -> dict[str, Facts]:
    """Read Gradescope's ``submission_metadata.yml`` as far as it is needed: who handed in each submission, and when.

    By lines, because the file holds Ruby's own types, which a YAML reader refuses, and the whole results of old submissions.
    """
    found: dict[str, Facts] = {}
    key = section = time = ""
    people: list[dict[str, str]] = []
    for line in [*text.splitlines(), "end:"]:
        if match := _ENTRY.match(line):
            if key:
                found[key] = Facts(tuple(people), time)
            key, section, people, time = match["key"].strip("'\""), "", [], ""
        elif (match := _SECTION.match(line)) and not line.startswith("  - "):
            section = match["word"]
            time = _scalar(match["value"]) if section == "created_at" else time
        elif section == "submitters" and (match := _PERSON.match(line)):
            if match["dash"] or not people:
                people.append({})
            people[-1][match["word"]] = _scalar(match["value"])
        elif section == "created_at" and (match := _UTC.match(line)):
            time = _scalar(match["value"])
    return found


def _scalar(text: str) -> str:
    """A plain or quoted value of YAML; empty for null and for tags."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"')
    return "" if text.startswith(("!", "&")) or text in ("null", "~") else text


def moment(text: str) -> datetime.datetime | None:
    """A time as systems write it: ISO 8601, ``2026-03-14 22:10:05.123 UTC``, or with ``-`` and ``_`` where names hold no colon.

    Returns:
        The time in UTC (which is also taken where no offset is given), or None if it is none.
    """
    text = re.sub(r"[ _]*(UTC|GMT|Z)$", "+00:00", text.strip())
    text = re.sub(r"^(\d{4}-\d\d-\d\d)[ _T-](\d\d)[:_.-](\d\d)", r"\1 \2:\3", text)
    text = re.sub(r"^(\d{4}-\d\d-\d\d \d\d:\d\d)[:_.-](\d\d)", r"\1:\2", text)
    text = re.sub(r"\s+([+-]\d\d):?(\d\d)$", r"\1:\2", text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or datetime.UTC).astimezone(datetime.UTC)


# The most specific first. Folders before a student's name are passed over lazily: those below it are the student's own, who may call
# one like another student's.
SYSTEMS = (
    # inbound/alice+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZG9t/1_data.ipynb
    System("nbgrader's exchange", re.compile(
        r"(?:.*?/)??(?P<attempt>(?P<student>[^/+]+)\+(?P<assignment>[^/+]+)\+(?P<time>\d{4}-\d\d-\d\d[^/+]*)(?:\+[^/]*)?)/(?P<file>.+)")),
    # submitted/alice/fcn/1_data.ipynb
    System("nbgrader's folder submitted", re.compile(
        r"(?:.*?/)??submitted/(?P<student>[^/]+)/(?P<assignment>[^/]+)/(?P<file>.+)"), stamp="timestamp.txt"),
    # assignment_7_export/submission_123456/1_data.ipynb, and one file that says who that is
    System("Gradescope", re.compile(r"(?:[^/]+/)??(?P<attempt>submission_(?P<number>\d+))/(?P<file>.+)"),
           "submission_metadata.yml", gradescope_facts),
    # Ada Lovelace_123456_assignsubmission_file_/submission.zip (the number is the submission's, no student's id)
    System("Moodle", re.compile(
        r"(?:.*?/)??(?P<student>[^/]+?)_(?P<attempt>\d+)_assignsubmission_(?:file|(?P<text>onlinetext))(?:_?/|_)(?P<file>.+)")),
    # lovelaceada_LATE_4711_90210_submission-1.zip (Canvas adds -1, -2 when a student uploads again)
    System("Canvas", re.compile(
        r"(?:[^/]+/)?(?P<student>[^/_]+)(?:_(?P<late>LATE))?_(?P<user>\d+)_(?P<number>\d+)_"
        r"(?P<file>[^/]+?)(?:-\d{1,2})?(?P<suffix>\.[A-Za-z]\w*)?")),
)  # fmt: skip
