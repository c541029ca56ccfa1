"""Times as course systems and people write them, with offsets, zones, abbreviations of zones, or none of these."""

import contextlib
import datetime
import os
import re
import unicodedata
import zoneinfo
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["TimeError", "read_time", "shown_time", "zone_named"]

UTC = datetime.UTC
LOCALTIME = Path("/etc/localtime")
# What mail means by these words (RFC 822, section 5): the zones of North America, whoever else uses the same letters.
MAIL = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
HALF_A_YEAR = datetime.timedelta(days=182)
# Brightspace and Blackboard, in English.
DAYS = ("%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y")
MONTHS = (
    "Jan januar janner janvier janv enero ene", "Feb februar fevrier fevr febrero", "Mar marz mrz mars marzo",
    "Apr april avril avr abril abr",
    "May mai mayo", "Jun juni juin junio", "Jul juli juillet juil julio", "Aug august aout agosto ago",
    "Sep september septembre septiembre setiembre sept", "Oct oktober okt octobre octubre", "Nov november novembre noviembre",
    "Dec dezember dez decembre diciembre dic",
)  # fmt: skip
ENGLISH = {word.casefold(): words.split()[0] for words in MONTHS for word in words.split()}
CLOCKS = ("%I:%M %p", "%I:%M:%S %p", "%H:%M", "%H:%M:%S")
EXPECTED = "expected a time such as 2026-03-14T23:59, 2026-03-14 23:59 CET or 2026-03-14T23:59+01:00"


class TimeError(ValueError):
    """A time or a zone cannot be read; the text says what was expected."""


def zone_named(name: str = "") -> datetime.tzinfo:
    """The zone of a name such as ``Europe/Berlin``, or this machine's where there is none.

    Raises:
        TimeError: There is no such zone.
    """
    wanted = name or os.environ.get("TZ", "").removeprefix(":")
    try:
        if wanted:
            return zoneinfo.ZoneInfo(wanted)
        with LOCALTIME.open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file, key=_key_of(LOCALTIME.resolve()))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        if not name:
            return UTC  # a machine that does not say where it stands
        raise TimeError(f"expected a time zone such as Europe/Berlin or America/Los_Angeles, found {name!r}") from error


def _key_of(file: Path) -> str:
    return file.as_posix().partition("zoneinfo/")[2] or "the zone of this machine"


def read_time(text: str, zone: datetime.tzinfo = UTC, latest: bool = False) -> tuple[datetime.datetime, str]:
    """Read a time.

    Args:
        text: ISO 8601, also with ``_`` and ``-`` where names of files hold no colon, and then an offset, the name of a zone, its
            abbreviation, or nothing.
        zone: What a time without any of these means; it also tells abbreviations apart that several zones share.
        latest: Where clocks are put back and an hour happens twice, or forward and it does not happen, or where there is no hour at all:
            take the latest moment (of a due date), not the earliest (of a hand-in). So what is unclear is read in the student's favour.

    Returns:
        The time in UTC, and a note where it could mean two moments.

    Raises:
        TimeError: It is no time, or its zone is unknown or ambiguous.
    """
    plain, named, whole = _split(text)
    if whole and latest:
        plain += datetime.timedelta(hours=23, minutes=59, seconds=59)
    found = _moments(plain, named, zone)
    chosen = max(found) if latest else min(found)
    if len(found) == 1:
        return chosen, f"{text.strip()} names no hour: the end of that day was taken" if whole and latest else ""
    return chosen, f"{text.strip()} is not one moment, as clocks are changed then: the one in the student's favour was taken"


def shown_time(moment: datetime.datetime, zone: datetime.tzinfo) -> str:
    """``2026-03-14 23:59:00 CET (Europe/Berlin)``."""
    local, key = moment.astimezone(zone), getattr(zone, "key", None)
    return f"{local:%Y-%m-%d %H:%M:%S %Z}" + (f" ({key})" if key and key != local.tzname() else "")


def _split(text: str) -> tuple[datetime.datetime, str, bool]:
    """A time without a zone, what stands behind it, and whether it is a day without an hour."""
    tidy = " ".join(text.split())  # newer libraries write narrow or unbreakable blanks before AM and PM
    tidy = re.sub(r"^[A-Za-z]+, (?=[A-Z\d])", "", tidy)  # a day of the week
    tidy = re.sub(r"^(\d{4})/(\d\d)/(\d\d)(?!\d)", r"\1-\2-\3", tidy)
    match = re.fullmatch(
        r"(?P<date>\d{4}-\d\d-\d\d)(?:[ _T-]+(?P<hour>\d\d)[:_.-]?(?P<minute>\d\d)(?:[:_.-]?(?P<second>\d\d(?:[.,]\d{1,9})?))?)?"
        r"[ _]*(?P<zone>[+-]\d.*|[A-Za-z].*)?", tidy,
    )  # fmt: skip
    try:
        if match:
            seconds = (match["second"] or "00").replace(",", ".")
            clock = f"{match['hour'] or '00'}:{match['minute'] or '00'}:{seconds}"
            plain = datetime.datetime.fromisoformat(f"{match['date']} {clock}")
            return plain, (match["zone"] or "").strip(), match["hour"] is None
        worded = re.fullmatch(r"(?P<time>\w+ \w+ \d{4} \d[\d:.]*(?: [AP]M)?)(?: (?P<zone>[A-Z]\S+))?", _in_english(tidy).replace(",", ""))
        if worded:
            return _worded(worded["time"]), worded["zone"] or "", False
    except ValueError:
        pass
    raise TimeError(f"{EXPECTED}, found {text.strip()[:60]!r}")


def _in_english(text: str) -> str:
    """A day as German, French or Spanish have it (``mardi 3 mars 2026 à 23:59``), as English has it; any other text stays."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    match = re.fullmatch(
        r"(?:[^\W\d]+\.?,? )?(?P<day>\d{1,2})\.?(?: de)? (?P<month>[^\W\d]+)\.?(?: de)? (?P<year>\d{4}),?(?: um| a| a las)? "
        r"(?P<clock>\d[\d:.]*)(?: Uhr)?(?P<rest> .*)?", plain,
    )  # fmt: skip
    if match is None or (month := ENGLISH.get(match["month"].casefold())) is None:
        return text
    return f"{match['day']} {month} {match['year']} {match['clock']}{match['rest'] or ''}"


def _worded(text: str) -> datetime.datetime:
    """``Oct 10 2025 110 PM``: names of folders hold no colon, some countries write a dot. Raises ValueError."""
    text = re.sub(r"(?<=\d)\.(?=\d\d)", ":", text)
    clear = re.sub(r"(?<= )(\d{1,2})(\d\d)(?= [AP]M$|$)", r"\1:\2", text)
    for form in (f"{day} {clock}" for day in DAYS for clock in CLOCKS):
        with contextlib.suppress(ValueError):
            return datetime.datetime.strptime(clear, form)
    raise ValueError(text)


def _moments(plain: datetime.datetime, named: str, zone: datetime.tzinfo) -> set[datetime.datetime]:
    """All moments in UTC that a local time may mean."""
    if not named:
        return _in_zone(plain, zone)
    offset = re.fullmatch(r"(?:UTC|GMT)?\s*([+-])(\d{1,2}):?(\d\d)?", named)
    if offset:
        minutes = 60 * int(offset[2]) + int(offset[3] or 0)
        if minutes >= 24 * 60:
            raise TimeError(f"{EXPECTED}, found the offset {named!r}")
        return {_at(plain, datetime.timedelta(minutes=-minutes if offset[1] == "-" else minutes))}
    if named in ("Z", "UTC", "GMT", "Etc/UTC"):
        return {plain.replace(tzinfo=UTC)}
    if re.fullmatch("[A-Z]{2,5}", named):
        return {_at(plain, _abbreviated(plain, named, zone))}
    return _in_zone(plain, zone_named(named))


def _at(plain: datetime.datetime, offset: datetime.timedelta) -> datetime.datetime:
    return (plain - offset).replace(tzinfo=UTC)


def _in_zone(plain: datetime.datetime, zone: datetime.tzinfo) -> set[datetime.datetime]:
    return {plain.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}


def _abbreviated(plain: datetime.datetime, word: str, zone: datetime.tzinfo) -> datetime.timedelta:
    """The offset that an abbreviation means: to the stated zone, else in mail, else in all zones that use it, if they agree."""
    seasons = (plain, plain + HALF_A_YEAR)  # CET in July is a slip, but no riddle
    for day in seasons:
        if own := set(_offsets(day, word, zone)):
            return own.pop()
    if word in MAIL:
        return datetime.timedelta(hours=MAIL[word])
    for day in seasons:
        offsets = {offset for other in _all_zones() for offset in _offsets(day, word, other)}
        if len(offsets) == 1:
            return offsets.pop()
        if offsets:
            raise TimeError(f"{word} is the name of {len(offsets)} different zones. Say which one with --zone, such as --zone Asia/Kolkata")
    raise TimeError(f"expected the name of a time zone, found {word!r}")


def _offsets(plain: datetime.datetime, word: str, zone: datetime.tzinfo) -> Iterator[datetime.timedelta]:
    for fold in (0, 1):
        local = plain.replace(tzinfo=zone, fold=fold)
        if local.tzname() == word and (offset := local.utcoffset()) is not None:
            yield offset


@cache
def _all_zones() -> tuple[zoneinfo.ZoneInfo, ...]:
    return tuple(zoneinfo.ZoneInfo(key) for key in sorted(zoneinfo.available_timezones()))
