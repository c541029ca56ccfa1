"""A watch grades each submission once, whatever happens to it or to the watch; its page says how things stand."""

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from quick_class import QuickJudges, journal_of
from tiny import DOUBLE, SECRET, TINY, write_submission
from workers import wait_for

from autograder.batch import OutOfSpaceError
from autograder.batch.inbox import Inbox
from autograder.batch.journal import JOURNAL, entries_by_name
from autograder.batch.watching import STATE, Watch
from autograder.cli import main
from autograder.course.seeds import SECRET_VARIABLE
from autograder.handins.bulk import read_bulk
from autograder.handins.bulk.known import Known, know
from autograder.marking import MarksError

REPO = Path(__file__).resolve().parents[2]
TRIPLE = "def double(values):\n    return values * 3"


class Weeks:
    """A watch over ``submitted``, step by step."""

    def __init__(self, monkeypatch, root: Path) -> None:
        self.judges, self.root, self.said = QuickJudges(monkeypatch, root), root, []
        self.place, self.out, self.fault = root / "submitted", root / "out", None
        self.place.mkdir()
        self.begin()

    def begin(self) -> None:
        """Begin it; the one before knows nothing more."""
        inbox = Inbox([self.place], "tiny", self.out, 0, self.read)
        self.watch = Watch(inbox, self.out, TINY, self.grade, 0.05, self.said.append)

    def read(self, export, folder):
        return read_bulk(export, folder, Known(), "tiny")

    def grade(self, paths):
        if self.fault is not None:
            raise self.fault
        self.judges.run(paths)

    def step(self) -> list[str]:
        """One look with what follows from it; returns whom it graded."""
        self.judges.graded.clear()
        self.left = self.watch.run(once=True)
        return list(self.judges.graded)

    @property
    def page(self) -> str:
        return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", (self.out / STATE).read_text(), flags=re.DOTALL))


@pytest.fixture
def weeks(monkeypatch, tmp_path):
    return Weeks(monkeypatch, tmp_path)


def test_what_is_new_is_graded_once_and_a_watch_that_is_begun_again_repeats_nothing(weeks):
    assert weeks.step() == [] and weeks.left == []
    weeks.judges.write("ann", "ben")
    assert weeks.step() == ["ann", "ben"] and weeks.left == []
    weeks.judges.write("cem")
    assert weeks.step() == ["cem"]
    assert weeks.step() == []
    weeks.begin()
    assert weeks.step() == []
    assert [line["name"] for line in journal_of(weeks.out)] == ["ann", "ben", "cem"]
    rows = (weeks.out / "summary.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["name", "ann", "ben", "cem"]  # all of them, not the last ones alone
    assert "3 graded, 0 being graded, 0 waiting, 0 failed" in weeks.page and "Everything that lies there is graded" in weeks.page


def test_a_replaced_submission_is_graded_again_and_the_page_names_the_result_of_before(weeks):
    weeks.judges.write("ann", "ben")
    weeks.step()
    old = journal_of(weeks.out)[0]["result"]
    weeks.judges.write("ann", code=TRIPLE)
    assert weeks.step() == ["ann"]
    assert re.search(r"ann: 1 points \(graded \S+ \S+ UTC, submission \w{10}\), for submission changed; before: 4 points \(graded "
                     rf"\S+ \S+ UTC, submission {old['submission_sha256'][:10]}\)", weeks.page)  # fmt: skip
    assert journal_of(weeks.out)[0]["result"] == old and "ben: 4" not in weeks.page


def test_what_changes_while_it_is_graded_is_graded_again(weeks):
    weeks.judges.write("ann")

    def slow(paths):
        weeks.judges.run(paths)
        weeks.judges.write("ann", code=TRIPLE)
        weeks.watch.grade = weeks.grade

    weeks.watch.grade = slow
    weeks.step()
    assert "ann" in weeks.step() and journal_of(weeks.out)[-1]["result"]["score"] == 1


@pytest.mark.parametrize(
    "fault", [MarksError("marks/ada.toml: line 3"), OutOfSpaceError(28, "No space left in out"), OSError("stale file")]
)
def test_what_cannot_be_done_now_is_said_once_and_tried_again(weeks, fault):
    weeks.judges.write("ann")
    weeks.fault = fault
    assert weeks.step() == [] and weeks.left == ["ann: for its turn"]
    assert weeks.step() == []
    assert len(weeks.said) == 1 and str(fault) in weeks.said[0] and str(fault).replace("'", "&#39;") in (weeks.out / STATE).read_text()
    weeks.fault = None
    assert weeks.step() == ["ann"] and weeks.left == [] and str(fault) not in weeks.page


def test_a_look_that_fails_is_said_and_the_watch_goes_on(weeks, monkeypatch):
    weeks.judges.write("ann")

    def fails():
        raise OSError(28, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(weeks.watch.inbox, "look", fails)
        assert weeks.step() == [] and "No space left" in weeks.left[0]
    assert weeks.step() == ["ann"]


def test_what_fails_is_named_and_is_tried_again_when_it_changes(weeks):
    broken = weeks.place / "ann.zip"
    broken.write_bytes(b"half a zip")
    assert weeks.step() == ["ann"] and "could not be graded 1" in weeks.page.lower() and len(weeks.left) == 1
    assert "cannot be unpacked" in weeks.left[0]
    assert weeks.step() == []
    broken.unlink()
    weeks.judges.write("ann")
    assert weeks.step() == ["ann"] and weeks.left == []


def test_who_is_taken_out_of_the_folder_keeps_the_result(weeks):
    weeks.judges.write("ann", "ben")
    weeks.step()
    (weeks.place / "ann").rename(weeks.root / "ann")
    weeks.judges.write("cem")
    assert weeks.step() == ["cem"]
    assert "ann," in (weeks.out / "summary.csv").read_text() and "3 graded" in weeks.page


def test_names_of_students_are_text_on_the_page_and_in_the_terminal(weeks):
    weeks.judges.write("<img src=x onerror=alert(1)>")
    for folder in ("one", "two"):
        write_submission(weeks.root / folder / "\x1b[31mmallory")
    weeks.watch.inbox.places = [weeks.place, weeks.root / "one", weeks.root / "two"]
    weeks.step()
    page = (weeks.out / STATE).read_text()
    assert "<img" not in page and "\x1b" not in page and not any("\x1b" in line for line in weeks.said)
    assert any("mallory: 2 submissions" in line for line in weeks.said)


def test_the_page_is_written_anew_while_a_run_goes_on(weeks, monkeypatch):
    weeks.judges.write("ann", "ben")
    pages = []

    def slow(paths):
        wait_for(lambda: "2 being graded" in weeks.page)
        weeks.judges.stop_after = 1
        with pytest.raises(KeyboardInterrupt):
            weeks.judges.run(paths)
        wait_for(lambda: "1 graded, 1 being graded" in weeks.page)
        pages.append(weeks.page)
        weeks.judges.stop_after = None
        weeks.judges.run(paths)

    weeks.watch.grade = slow
    weeks.step()
    assert pages and "2 graded, 0 being graded" in weeks.page


def test_only_one_run_writes_into_a_folder(weeks):
    command = [sys.executable, "-c", "import sys, time; from autograder.sandbox.locks import hold_folder; from pathlib import Path\n"
               f"with hold_folder(Path({str(weeks.out)!r})): print(1, flush=True); time.sleep(60)"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPO) as other:
        other.stdout.readline()
        found = watch(weeks.place, "--out", weeks.out)
        other.kill()
    assert found.exit_code == 1 and "Another run is grading into" in found.output


# -------------------------------------------------------------------------------------------------------- command line
def watch(*arguments: object):
    options = ["--assignment", TINY, "--once", "--quiet", "0", "--data", "drawn", "--device", "cpu"]
    return CliRunner().invoke(main, ["watch", *map(str, [*arguments, *options])], env={SECRET_VARIABLE: SECRET})


def test_once_exits_0_when_all_is_graded_and_1_with_what_is_not(weeks):
    weeks.judges.write("ann")
    found = watch(weeks.place, "--out", weeks.out)
    assert found.exit_code == 0 and weeks.judges.graded == ["ann"], found.output
    (weeks.place / "ben.zip.part").write_bytes(b"PK")
    found = watch(weeks.place, "--out", weeks.out)
    assert found.exit_code == 1 and "Not graded:" in found.output and "ben.zip.part: until it has its final name" in found.output


def test_what_a_download_says_reaches_log_page_and_exit_status_until_a_person_has_decided(weeks):
    def exchange(name: str, **files: str) -> None:
        with zipfile.ZipFile(weeks.place / name, "w") as bundle:
            for who, text in {f"{who}+tiny+2026-03-16 10:00:00 UTC/double.py": DOUBLE for who in ("ann", "guest")}.items() | files.items():
                bundle.writestr(who, text)

    def look():
        (weeks.root / "roster.csv").write_text("id,name\nann,Ann Bell\nben,Ben Cole\n")
        terms = ["--roster", weeks.root / "roster.csv", "--due", "2026-03-14T23:59", "--zone", "UTC", "--penalty", "10% per day"]
        return watch(weeks.place, "--out", weeks.out, *terms)

    exchange("week.zip", **{"readme.txt": "of nobody"})
    found = look()
    decide, left_out = "guest: 'guest' is not in the roster: decide by hand", "week.zip: 1 files were left out: readme.txt"
    late = "ann: 1 d 10 h late; the rule takes 20% off"
    assert found.exit_code == 1 and all(words in found.output for words in (decide, left_out, late, "due 2026-03-14 23:59:00")), (
        found.output
    )
    assert "Decide or look at by hand 2 " in weeks.page and "Late 2 " in weeks.page and late in weeks.page
    assert "Everything that lies there is graded" not in weeks.page
    exchange("week.zip")
    (weeks.place / "decisions.csv").write_text("handin,student\nguest,ben\n")
    found = look()
    assert found.exit_code == 0 and "guest" in found.output, found.output  # of the results that have this name no longer
    assert "Decide or look" not in weeks.page and "Late 2 " in weeks.page and str(weeks.out / "guest") in weeks.page


def test_an_extension_that_is_granted_later_is_on_every_page_without_a_new_grade(weeks):
    weeks.known = know(None, "2026-03-14T23:59", penalty="10% per day")
    weeks.read = lambda export, folder: read_bulk(export, folder, weeks.known, "tiny")
    weeks.begin()
    weeks.watch.inbox.tables.append(weeks.root / "late.csv")
    with zipfile.ZipFile(weeks.place / "week.zip", "w") as bundle:
        bundle.writestr("ann+tiny+2026-03-16 10:00:00 UTC/double.py", DOUBLE)
        bundle.writestr("ben+tiny+2026-03-14 10:00:00 UTC/double.py", DOUBLE)
    weeks.step()
    assert "late penalty" in (weeks.out / "summary.csv").read_text() and "Handed in late" in (weeks.out / "ann" / "report.html").read_text()
    (weeks.root / "late.csv").write_text("id,extension\nann,2 d\n")
    weeks.known = know(None, "2026-03-14T23:59", late=weeks.root / "late.csv", penalty="10% per day")
    weeks.step()
    assert "late" not in (weeks.out / "summary.csv").read_text() and "Handed in late" not in (weeks.out / "ann" / "report.html").read_text()
    assert len(journal_of(weeks.out)) == 2


@pytest.mark.parametrize(("arguments", "words"), [(["{place}"], "--out"), (["--out", "x"], "Missing argument"), (
    ["{place}", "--out", "{out}", "--assignment", "fnc"], "no assignment 'fnc'")])  # fmt: skip
def test_bad_usage_is_exit_2_with_the_reason(weeks, arguments, words):
    arguments = [argument.format(place=weeks.place, out=weeks.out) for argument in arguments]
    found = CliRunner().invoke(main, ["watch", *arguments])
    assert found.exit_code == 2 and words in found.output


@pytest.mark.slow
def test_a_watch_survives_kills_grades_nothing_twice_and_ends_when_it_is_asked_to(tmp_path, request):
    """Killed with all its processes as by a power loss; then asked to end as systemd asks, with the signal of Ctrl+C to each of them."""
    out = tmp_path / "out"
    slow = "import time\ndef double(values):\n    time.sleep(0.7)\n    return values * 2"
    for name in ("ann", "ben", "cem"):
        write_submission(tmp_path / "in" / name, slow if name > "b" else DOUBLE, net=None)

    def names() -> list[str]:
        return sorted(name for name, found in entries_by_name(out / JOURNAL).items() for _ in found)

    def begin() -> subprocess.Popen:
        command = [sys.executable, "-m", "autograder", "watch", tmp_path / "in", "--out", out, "--assignment", TINY, "--every", "0.2",
                   "--quiet", "0.3", "--device", "cpu"]  # fmt: skip
        (tmp_path / "tmp").mkdir(exist_ok=True)
        environment = os.environ | {SECRET_VARIABLE: SECRET, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path / "tmp")}
        process = subprocess.Popen([str(part) for part in command], cwd=REPO, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
        request.addfinalizer(process.kill)
        return process

    killed = begin()
    wait_for(lambda: len(names()) >= 1, 300)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    going_on = begin()
    wait_for(lambda: len(names()) >= 3, 300)
    write_submission(tmp_path / "in" / "eve", net=None)
    wait_for(lambda: len(names()) >= 4, 300)
    wait_for(lambda: "4 graded, 0 being graded, 0 waiting" in (out / STATE).read_text(), 300)
    os.killpg(going_on.pid, signal.SIGINT)
    said, _ = going_on.communicate(timeout=300)
    assert going_on.returncode == 0 and "Ended." in said and "Traceback" not in said, said
    assert names() == ["ann", "ben", "cem", "eve"] and not (out / ".grading.lock").exists()
    assert " of 3 were graded before, " in said
    assert not [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("segkit-run")]
