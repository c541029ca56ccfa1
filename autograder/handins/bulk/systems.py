"""How course systems name the files of their downloads: one table, and for each system all the ways in which a name can be read.

Most of these names are ambiguous: Canvas puts ``_`` between a name, an id and a number, and leaves it in the names of groups; Moodle
writes ``Group-First Last``, Blackboard ``Assignment_user``, and all three parts may hold the sign that parts them. So a name has
*readings*, and who is on the roster decides (``people``).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from autograder.handins.bulk.receipts import Facts, blackboard_facts, gradescope_facts
from autograder.handins.roster import PARTICIPANT

__all__ = ["SYSTEMS", "Facts", "Reading", "System"]


@dataclass(frozen=True)
class Reading:
    """One way to read the name of a file in a download.

    Attributes:
        key: What stands for the hand-in in ``decisions.csv``: the part of the name that says whose it is.
        title: Name in the results where it is nobody's of the roster; empty for the key.
        attempt: Tells the submissions of one student apart.
        file: Name of the file within the submission.
        name: Full name, or name of a group; empty where the system writes ids alone.
        ids: Ids or user names, as the system knows them.
        beside: An id counts only beside the name: it may be no id, but the number of a group.
        participant: Number of Moodle's participant.
        hidden: The system hides names from markers.
        number: Rises with time.
        time: When it was handed in, as the system writes it.
        late: The system says so.
        assignment: Of which assignment it is, where the download may hold several.
    """

    key: str
    attempt: str
    file: str
    title: str = ""
    name: str = ""
    ids: tuple[str, ...] = ()
    beside: bool = False
    participant: str = ""
    hidden: bool = False
    number: int = 0
    time: str = ""
    late: bool = False
    assignment: str = ""


LONGEST = 1000  # characters of a path: a folder of the system, a file, and what students nest in it


@dataclass(frozen=True)
class System:
    """A course system.

    Attributes:
        name: Its name.
        read: Path of a file in the download -> its readings, the likeliest first; none, if no such path is made by this system.
        own: Files that the system itself adds: they are nobody's, and nothing is missed without them.
        receipts: Reads what the system says of hand-ins in one of these files: its text -> facts by ``Reading.attempt``.
        stamp: Name of a file in each submission in which the system itself (not the student) says when it came, or empty.
        local: Times without a zone are those of the server, not UTC.
        renumbers: It adds ``-1`` to the name of a file that is uploaded again.
    """

    name: str
    read: Callable[[str], list[Reading]]
    own: re.Pattern[str] | None = None
    receipts: Callable[[str], Mapping[str, Facts]] | None = None
    stamp: str = ""
    local: bool = False
    renumbers: bool = False

    def readings(self, path: str) -> list[Reading]:
        """What ``read`` makes of a path, if a system can have made it: what is longer a student wrote, and it would take for ever."""
        return self.read(path) if len(path) <= LONGEST else []


def _exchange(path: str) -> list[Reading]:
    match = _EXCHANGE.fullmatch(path)
    if not match:
        return []
    user = match["user"]
    return [Reading(user, match["attempt"], match["file"], ids=(user,), time=match["time"], assignment=match["assignment"])]


def _submitted(path: str) -> list[Reading]:
    match = _SUBMITTED.fullmatch(path)
    return [Reading(match["user"], match["user"], match["file"], ids=(match["user"],), assignment=match["assignment"])] if match else []


def _gradescope(path: str) -> list[Reading]:
    match = _GRADESCOPE.fullmatch(path)
    return [Reading(match["attempt"], match["attempt"], match["file"], number=int(match["number"]))] if match else []


def _moodle(path: str) -> list[Reading]:
    """``Name_123_...``, ``Group-Name_123_...``, ``Name-id_123_...`` (any ``-`` may part them); hidden names are ``Participant_123_...``."""
    match = _MOODLE.fullmatch(path)
    if not match:
        return []
    person, number = match["person"], match["number"] or ""
    key = f"{person}_{number}" if number else person
    hidden = bool(PARTICIPANT.fullmatch(f"{person} {number}"))
    return _parted(Reading(key, key, match["file"], name=person, participant=number, hidden=hidden), "-")


def _brightspace(path: str) -> list[Reading]:
    """The numbers are Brightspace's own, and stand in no class list; some places write an id before the name."""
    match = _BRIGHTSPACE.fullmatch(path)
    if not match:
        return []
    key = f"{match['numbers']} - {match['person']}"
    person, time = match["person"], match["time"]
    return _parted(Reading(key, f"{key} - {time}", match["file"], person, name=person, time=time), " - ")


def _parted(whole: Reading, sign: str) -> list[Reading]:
    """A reading, and those in which a sign parts the name from an id, or from a group."""
    readings = [whole]
    for place in re.finditer(sign, whole.name):
        before, behind = whole.name[: place.start()].strip(), whole.name[place.end() :].strip()
        readings += [replace(whole, name=one, ids=(other,), beside=True) for one, other in ((behind, before), (before, behind)) if one]
    return readings


def _blackboard(path: str) -> list[Reading]:
    """Any ``_`` may stand between the assignment and the user's name, or that of a group; the shortest is likeliest."""
    match = _BLACKBOARD.fullmatch(path)
    if not match:
        return []
    head, time = match["head"], match["time"]
    users = [head[place.end() :] for place in re.finditer("_", head)]
    attempt = path.rpartition("/")[2].removesuffix(f"_{match['file']}")
    return [Reading(user, attempt, match["file"], name=user, ids=(user,), time=time) for user in reversed(users) if user]


def _canvas(path: str) -> list[Reading]:
    """``name_LATE_id_number_file``, where the name may hold ``_`` and digits, and the file's name too."""
    name = path.rpartition("/")[2] if path.count("/") < 2 else ""
    if hidden := _CANVAS_HIDDEN.fullmatch(name):
        key = f"anon_{hidden['id']}"
        file = hidden["file"] or f"{hidden['typed']}.html"
        return [Reading(key, key, file, hidden=True, number=int(hidden["number"] or 0), late=bool(hidden["late"]))]
    return [*_canvas_uploads(name), *_canvas_texts(name)]


def _canvas_uploads(name: str) -> Iterator[Reading]:
    for match in _CANVAS_NUMBERS.finditer(name):
        person, late = _late(name[: match.start()])
        if person:
            key = f"{person}_{match['id']}"
            yield Reading(key, key, match["file"], name=person, ids=(match["id"],), number=int(match["number"]), late=late)


def _canvas_texts(name: str) -> Iterator[Reading]:
    """What was typed into a page, or the address that was given."""
    if match := re.fullmatch(r"(?P<person>.+)_(?P<id>\d+)_(?P<file>(?:text|link)\.html)", name):
        person, late = _late(match["person"])
        key = f"{person}_{match['id']}"
        yield Reading(key, key, match["file"], name=person, ids=(match["id"],), late=late)


def _late(text: str) -> tuple[str, bool]:
    return text.removesuffix("_LATE"), text.endswith("_LATE")


# Folders before a student's name are passed over lazily: those below it are the student's own, who may call one like another student's.
_EXCHANGE = re.compile(
    r"(?:.*?/)??(?P<attempt>(?P<user>[^/]+)\+(?P<assignment>[^/+]+)\+(?P<time>\d{4}-\d\d-\d\d(?:[^/+]|\+\d)*)(?:\+[^/]*)?)/(?P<file>.+)"
)
_SUBMITTED = re.compile(r"(?:.*?/)??submitted/(?P<user>[^/]+)/(?P<assignment>[^/]+)/(?P<file>.+)")
_GRADESCOPE = re.compile(r"(?:[^/]+/)??(?P<attempt>submission_(?P<number>\d+))/(?P<file>.+)")
_MOODLE = re.compile(r"(?:.*?/)??(?P<person>[^/]+?)(?:_(?P<number>\d+))?_assignsubmission_(?:file|onlinetext)(?:_?/|_)(?P<file>.+)")
_BRIGHTSPACE = re.compile(
    r"(?:[^/]+/)??(?P<numbers>\d+-\d+) - (?P<person>[^/]+?) - (?P<time>(?:(?! - )[^/])*\d{4}(?:(?! - )[^/])*)(?:/| - )(?P<file>.+)"
)
_BLACKBOARD = re.compile(
    r"(?:[^/]+/)??(?P<head>[^/][^/_]*_[^/]+?)_(?:attempt|poging|Versuch|tentative|intento|tentativo|tentativa|försök|forsøg|forsøk)"
    r"_(?P<time>\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)_(?P<file>[^/]+)"
)
_CANVAS_HIDDEN = re.compile(r"(?P<late>LATE_)?anon_(?P<id>[A-Za-z0-9]+)_(?:(?P<number>\d+)_(?P<file>.+)|(?P<typed>text|link)\.html)")
_CANVAS_NUMBERS = re.compile(r"(?=_(?P<id>\d+)_(?P<number>\d+)_(?P<file>[^/]+)$)")

# The most specific first.
SYSTEMS = (
    # inbound/alice+fcn+2026-03-14 22:10:05.123456 UTC+cmFuZG9t/1_data.ipynb
    System("nbgrader's exchange", _exchange),
    # submitted/alice/fcn/1_data.ipynb
    System("nbgrader's folder submitted", _submitted, stamp="timestamp.txt"),
    # assignment_7_export/submission_123456/1_data.ipynb, and one file that says who that is
    System("Gradescope", _gradescope, re.compile(r"(?:[^/]+/)?submission_metadata\.yml"), gradescope_facts),
    # Ada Lovelace_123456_assignsubmission_file_/submission.zip
    System("Moodle", _moodle),
    # 39786-640693 - Ada Lovelace - Mar 14, 2026 1010 PM/1_data.ipynb, and a list
    System("Brightspace", _brightspace, re.compile(r"(?:[^/]+/)?index\.html"), local=True),
    # FCN_ada_attempt_2026-03-14-22-10-05_1_data.ipynb, and FCN_ada_attempt_2026-03-14-22-10-05.txt, which says who that is
    System("Blackboard", _blackboard, re.compile(r"(?:[^/]+/)?[^/]+_\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.txt"), blackboard_facts, local=True),
    # lovelaceada_LATE_4711_90210_submission-1.zip
    System("Canvas", _canvas, renumbers=True),
)  # fmt: skip
