"""A class with names, sections and addresses, graded without grading anything: for tests that look at its pages in a browser."""

import copy
import json
from pathlib import Path

from fake_class import CHECKS, TITLES, fake_class, fake_pictures

from autograder.report import write_class_page, write_student_page
from autograder.report.people import Person, write_people

__all__ = ["LONG", "people_of", "write_class"]

LONG = "Maximiliane-Theodora Freifrau von und zu Hohenlohe-Waldenburg-Schillingsfürst"


def people_of(results):
    """Everybody who handed in, every seventh with a long name, and two who did not; in two sections."""
    people = [
        Person(
            one["submission"], LONG if number % 7 == 3 else f"Student {number}", f"s{number}@uni.example", ("Mon 10", "Tue 14")[number % 2]
        )
        for number, one in enumerate(results)
    ]
    return [*people, Person("zora", "Zora Missing", "zora@uni.example", "Tue 14"), Person("yves", "Yves Missing", "", "Mon 10")]


def write_class(out: Path, most: int = 12, copies: int = 1) -> list[dict]:
    """Write class page, two reports and what stands beside them, of ``most`` students ``copies`` times."""
    results = fake_class()[:most]
    more = [{**copy.deepcopy(one), "submission": f"{one['submission']}{n}"} for n in range(1, copies) for one in results]
    results = [one for one in [*results, *more] if "/" not in one["submission"]]
    out.mkdir(parents=True, exist_ok=True)
    write_people(people_of(results), out)
    names = [one["submission"] for one in results]
    (out / "handins.csv").write_text(f"name,submitted,lateness\n{names[2]},2026-03-15T01:59:00,1 d 2 h\n{names[5]},,late\n")
    for one in results[:2]:
        folder = out / one["submission"]
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(one))
        answers = {
            "question_1": {"texts": [{"where": "5_questions.ipynb, cell 3", "text": "Because **of** `edges`.\n\n- one\n- two"}], "note": ""}
        }
        write_student_page(one, folder, titles=TITLES, checks=CHECKS, pictures=fake_pictures(folder), answers=answers)
    changes = [[names[0], "scores", "4", "2.5", "kit changed"]]
    write_class_page(results, out, titles=TITLES, checks=CHECKS, changes=changes)
    return results
