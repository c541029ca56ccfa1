"""What Gradescope and Blackboard say of hand-ins, in files of their own beside those of the students."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Facts", "blackboard_facts", "gradescope_facts"]


@dataclass(frozen=True)
class Facts:
    """What a system says of one submission.

    Attributes:
        people: ``name``, ``sid``, ``email`` of each who handed it in.
        time: When.
        names: Name of a file in the download -> the name that it had.
    """

    people: tuple[Mapping[str, str], ...] = ()
    time: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


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


_NAME = re.compile(r"\ufeff?[^:\n]{1,40}: (?P<name>.+) \((?P<user>[^()\s]+)\)\s*")
_ORIGINAL = re.compile(r"\t[^:\n]*: (?P<original>.+)\r?\n\t[^:\n]*: (?P<name>.+)")


def blackboard_facts(text: str) -> dict[str, Facts]:
    """Read the receipt that Blackboard puts beside a hand-in, for the submission without a name, as the receipt's own name says it.

    Its first line is ``Name: First Last (user)``, its third ``Date Submitted: Saturday, 14 March 2026 22:10:05 o'clock CET`` or the like.
    What the student typed follows, and may look like anything: so only these lines are believed, and names of files where a file has
    that name.
    """
    lines = text.splitlines()
    match = _NAME.fullmatch(lines[0]) if lines else None
    if not match:
        return {}
    names = {found["name"].strip(): found["original"].strip() for found in _ORIGINAL.finditer(text)}
    time = lines[2].partition(": ")[2].strip() if len(lines) > 2 else ""
    return {"": Facts(({"name": match["name"].strip(), "sid": match["user"], "email": ""},), time, names)}
