"""A term in steps, with the commands that somebody gives and how long they take: ``python benchmarks/term.py`` (Linux, some minutes).

A class with difficult names (``tests/autograder/term``) hands in work with the mistakes of the demo, which a course system gives out as a
download. It is graded, marked in the browser by keyboard (nobody reads the answers here: two keys each), exported into the gradebook file,
looked through for like code; one appeals, and all is graded again. Prints minutes and commands for each target, writes JSON.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from limits import machine, print_table, write_json

from autograder.course.assignment import open_assignment
from autograder.demo.students import read_students
from autograder.exam.building import solved_notebooks, write_submission

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "autograder"
sys.path[:0] = [str(TESTS), str(TESTS / "term")]

from class_of_sixty import CLASS, DUE, ZONE, Person, late_table, term_course, write_work  # noqa: E402
from in_browser import CHROMIUM  # noqa: E402
from term_downloads import SAYS_NO_TIME, write_download  # noqa: E402
from term_gradebooks import GRADEBOOKS  # noqa: E402

Write = Callable[[Path, Person], Path]
REASON = "The sheet asked for something else."


def demo_work() -> Write:
    """Writes the notebooks of ``fcn`` as the demo's students hand them in, by turns."""
    material = ROOT / "autograder" / "assignments" / "fcn"
    notebooks = solved_notebooks(ROOT / "notebooks" / "fcn")
    students = [one for one in read_students(material) if not one.untouched and not one.entry.build]

    def write(folder: Path, person: Person) -> Path:
        entry = students[CLASS.index(person) % len(students)].entry
        own = json.loads(json.dumps(notebooks).replace("YOUR ANSWER HERE", f"Written by {person.group or person.login}."))
        return write_submission(entry, own, folder)

    return write


class Steps:
    """Gives commands, and notes them with their seconds by target."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def give(self, target: str, *words: object, status: int = 0) -> str:
        """Run a command in the folder; returns what it said."""
        began = time.perf_counter()
        line = [sys.executable, "-m", "autograder", *map(str, words)]
        done = subprocess.run(line, cwd=self.folder, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode != status:
            raise SystemExit(f"{shlex.join(line)}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
        self.note(target, time.perf_counter() - began, words)
        return done.stdout

    def note(self, target: str, seconds: float, words: tuple[object, ...]) -> None:
        self.rows.append({"target": target, "seconds": seconds, "command": shlex.join(["python", "-m", "autograder", *map(str, words)])})


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "SEGKIT_COURSE_SECRET": "how long is a term"}


def mark(steps: Steps, graded: Path, assignment: str) -> int:
    """All points for every answer, by keyboard; returns how many answers there were."""
    from at_the_keyboard import Command, Marker, order_of
    from playwright.sync_api import sync_playwright

    questions = {check.id: len(order_of(graded, check.id)) for check in open_assignment(assignment).rubric.checks.values() if check.manual}
    room = Command(graded, "ada", "--assignment", assignment)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            marker, began = Marker(browser, room.address), time.perf_counter()
            for count in questions.values():
                for number in range(1, count + 1):
                    marker.wait()
                    marker.press("f")
                    marker.press("u" if number == count else "n")
            marker.saved()
            seconds = time.perf_counter() - began
            browser.close()
    finally:
        room.end()
    answers = sum(questions.values())
    steps.note(
        f"{answers} answers marked, {sum(marker.keys.values()) / answers:.1f} keys each, nothing read", seconds, ("mark", graded.name)
    )
    return answers


def play(folder: Path, options: argparse.Namespace) -> Steps:
    people, graded, steps = CLASS[: options.students], folder / "graded", Steps(folder)
    small = options.assignment == "small"
    assignment = str(term_course(folder / "course")) if small else options.assignment
    archive, roster = write_download(options.system, people, folder / "download", write_work if small else demo_work())
    (folder / "late.csv").write_text(late_table(options.system in SAYS_NO_TIME), encoding="utf-8")
    (folder / "grades.csv").write_bytes(GRADEBOOKS[options.system]({}))
    checks = open_assignment(assignment).rubric.checks.values()
    wanted = [check.id for check in checks if not any(need.startswith("checkpoint ") for need in check.needs)]
    where = ("--roster", roster.relative_to(folder))
    grade = ("grade", "--bulk", archive.relative_to(folder), *where, "--out", "graded", "--jobs", options.jobs)
    late = ("--due", DUE, "--zone", ZONE, "--late", "late.csv", "--penalty", "10% per day")
    which = ("--assignment", assignment, "--data", "sample", *(word for check in wanted for word in ("--only", check)))
    said = steps.give("the download graded, late ones named", *grade, *late, *which)
    if f"{len(people)} graded" not in said or "1 of them late" not in said:
        raise SystemExit(f"expected {len(people)} graded and one late, found:\n{said[-2000:]}")
    mark(steps, graded, assignment)
    column = "Grade" if options.system == "Moodle" else "Tiny"
    export = ("export", "graded", "--into", "grades.csv", *where, "--column", column, "--scale", "--late-penalty", "take")
    steps.give("points into the system's file", *export)
    check = next(check for check in checks if not check.manual)
    change = ("mark", "graded", "--assignment", assignment, "--change", people[0].login, check.id, f"{check.points:g}", "--reason", REASON)
    steps.give("an appeal", *change)
    steps.give("all graded again", *grade, *late, *which, "--regrade")
    steps.give("points into the file again", *export)
    if REASON not in (graded / people[0].login / "report.html").read_text(encoding="utf-8"):
        raise SystemExit("the appeal did not survive the regrade")
    if not small:  # whose notebooks are not among the kit's
        steps.give("like code", "alike", "graded")
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=60)
    parser.add_argument("--assignment", choices=["fcn", "small"], default="fcn", help="small: two functions, two questions")
    parser.add_argument("--system", choices=list(GRADEBOOKS), default="Canvas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "term.json")
    options = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("expected Chromium: answers are marked in a browser")
    with tempfile.TemporaryDirectory(prefix="segkit-term-") as place:
        steps = play(Path(place), options)
    print_table(
        f"{options.students} hand-ins of {options.assignment} from {options.system}, {options.jobs} judges, {os.cpu_count()} cores",
        ("target", "minutes"),
        [(row["target"], row["seconds"] / 60) for row in steps.rows],
    )
    print("\n".join(f"{row['target']}: {row['command']}" for row in steps.rows))
    facts = {"students": options.students, "assignment": options.assignment, "system": options.system, "jobs": options.jobs}
    write_json(options.out, {"machine": machine(torch.device("cpu")), **facts, "cores": os.cpu_count(), "steps": steps.rows})


if __name__ == "__main__":
    main()
