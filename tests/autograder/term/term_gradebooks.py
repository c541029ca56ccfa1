"""Gradebook files of the class as course systems give them out, with the points that are handed over: nothing, or what a file must hold.

Written from what the systems do: Canvas's ``lib/gradebook_exporter.rb``; Moodle's ``mod/assign/gradingtable.php``; D2L's "Importing
grades"; Blackboard's "Work offline with grade data" (tabs, quotes and UTF-16).
"""

from collections.abc import Callable, Mapping

from class_of_sixty import ABSENT, CLASS, Person

__all__ = ["GRADEBOOKS", "ZORA"]

Points = Mapping[str, str]
ZORA = {"Canvas": "EX", "Moodle": "", "Brightspace": "", "Blackboard": ""}
LINES = sorted((*CLASS, ABSENT), key=lambda one: (one.last, one.first, one.login))


def _canvas(points: Points) -> bytes:
    head = (
        "Student,ID,SIS User ID,SIS Login ID,Section,Quiz 1 (901),Tiny doubling (902),Current Score\r\n"
        "    Points Possible,,,,,10.00,20.00,(read only)\r\n"
    )

    def line(one: Person) -> str:
        given = ZORA["Canvas"] if one is ABSENT else points.get(one.login, "")
        return f'"{one.last}, {one.first}",{int(one.number)},S{one.number},{one.login},"Sec {one.section}, 9:00",7.50,{given},71.00\r\n'

    return (head + "".join(map(line, LINES))).encode("utf-8-sig")


def _moodle(points: Points) -> bytes:
    head = (
        'Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed","Last modified (submission)",'
        '"Last modified (grade)","Feedback comments"\n'
    )

    def line(one: Person) -> str:
        status = "Submitted for grading" if one.came else "No submission"
        return (
            f'"Participant {one.participant}","{one.name}",{one.email},"{status}",{points.get(one.login, "")},20.00,Yes,'
            '"Saturday, 14 March 2026, 10:10 PM",-,\n'
        )

    return (head + "".join(map(line, LINES))).encode()


def _brightspace(points: Points) -> bytes:
    head = (
        "OrgDefinedId,Username,Last Name,First Name,Email,Tiny doubling Points Grade <Numeric MaxPoints:20 Weight:30>,"
        "Labs Subtotal Numerator,Remark Text Grade <Text>,End-of-Line Indicator\r\n"
    )

    def line(one: Person) -> str:
        return f"#{one.number},#{one.login},{one.last},{one.first},{one.email},{points.get(one.login, '')},,said,#\r\n"

    return (head + "".join(map(line, LINES))).encode()


def _blackboard(points: Points) -> bytes:
    head = (
        '"Last Name"\t"First Name"\t"Username"\t"Student ID"\t"Availability"\t"Weighted Total [Total Pts: up to 200 Score] |700001"\t'
        '"Tiny doubling [Total Pts: 20 Score] |700003"\t"Essay [Total Pts: 100 Score] |700004"\n'
    )

    def line(one: Person) -> str:
        cells = (one.last, one.first, one.login, one.number, "Yes", "", points.get(one.login, ""), "50.00000")
        return "\t".join(f'"{cell}"' for cell in cells) + "\n"

    return (head + "".join(map(line, LINES))).encode("utf-16")


GRADEBOOKS: dict[str, Callable[[Points], bytes]] = {
    "Canvas": _canvas,
    "Moodle": _moodle,
    "Brightspace": _brightspace,
    "Blackboard": _blackboard,
}
