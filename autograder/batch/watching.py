"""Grade what comes in, for weeks: look, wait until copies are complete, grade what is new, show where things stand.

What was graded is known from the journal alone, so a watch that was killed goes on as any other run does. What this process remembers
only spares it looking at everything again.
"""

import contextlib
import datetime
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autograder.batch.cluster import ClusterError
from autograder.batch.inbox import Inbox, Look, listing
from autograder.batch.journal import JOURNAL, Entry, entries_by_name
from autograder.batch.keys import changed
from autograder.batch.writing import write_again
from autograder.course.assignment import open_assignment
from autograder.course.rubric import RubricError
from autograder.marking import MarksError
from autograder.report import first_fault
from autograder.report.labels import clean_text, points_text
from autograder.report.lateness import HANDINS
from autograder.report.people import PEOPLE
from autograder.report.rendering import render_page, write_page
from autograder.sandbox.locks import hold_folder

__all__ = ["STATE", "Watch"]

STATE = "watch.html"
MOST_SHOWN = 300  # lines of one list of the page


class Watch:
    """A watch.

    Args:
        inbox: What it looks at.
        out: Folder of the results.
        assignment: Its folder. When its rubric changes, all that lies there is given to a run again.
        grade: Grades submissions into ``out``; what a watch grades lies in one list of paths.
        every: Seconds between two looks.
        say: Where messages go.
    """

    def __init__(
        self, inbox: Inbox, out: Path, assignment: Path, grade: Callable[[list[Path]], Any], every: float, say: Callable[[str], None]
    ) -> None:
        self.inbox, self.out, self.assignment, self.grade, self.every = inbox, out, assignment, grade, every
        self._rules = listing(assignment / "rubric.toml")
        self._say = say
        self._done: dict[str, tuple[Path, str]] = {}  # name -> submission and its listing and that of the rubric, as they were graded
        self._due: set[str] = set()  # what is to be graded, or graded again
        self._batch: dict[str, int] = {}  # what is being graded -> how many results of it there were before
        self._trouble = ""
        self._paged = self._tables()
        self._said: set[str] = set()
        self._pause = threading.Event()

    def run(self, once: bool = False) -> list[str]:
        """Watch until Ctrl+C.

        Args:
            once: Look, wait until copies are complete, grade what is new, and end.

        Returns:
            What was not graded, and why.

        Raises:
            FolderBusyError: Another run is grading into the folder.
            KeyboardInterrupt: It was ended; what was graded is written.
        """
        with hold_folder(self.out):
            look = self._look()
            if once and look.waiting:
                self._pause.wait(self.inbox.quiet)
                look = self._look()
            while True:
                self._grade(look)
                if once:
                    return self._shown(self._look())
                self._pause.wait(self.every)
                look = self._look()

    def _look(self) -> Look:
        try:
            look = self.inbox.look()
        except OSError as error:  # a full disk, a share that went away in the middle
            look = Look(waiting={"the last look": f"it failed ({error}); the next one tries again"})
        self._shown(look)
        for line in (*look.notes, *look.late, *look.held):
            if line not in self._said:
                self._said.add(line)
                self._say(clean_text(line))
        return look

    def _grade(self, look: Look) -> None:
        """Grade what is new, as far as it can be done now; what cannot is tried again after the next look."""
        self._rules = self.inbox.at_rest(self.assignment / "rubric.toml") or self._rules
        states = {name: (path, f"{listing(path)} {self._rules}") for name, path in look.ready.items()}
        new = {name: state for name, state in states.items() if self._done.get(name) != state}
        if not new:
            if self._tables() != self._paged:
                self._write_pages()
            return
        self._due = set(new)
        before = entries_by_name(self.out / JOURNAL)
        self._batch = {name: len(before.get(name, [])) for name in new}
        try:
            with self._showing(look):
                self.grade([path for path, _ in new.values()])
            self._done |= new
            self._due, self._trouble = set(), ""
        except (ClusterError, MarksError, RubricError, OSError) as error:
            if str(error) != self._trouble:
                self._say(f"{error}. It is tried again.")
            self._trouble = str(error)
        finally:
            self._batch = {}
            self._write_pages()  # the run has shown those that it was given
            self._shown(look)

    def _tables(self) -> list[bytes]:
        """What pages show beside results: who was late, and who is who."""
        return [file.read_bytes() if file.is_file() else b"" for file in (self.out / HANDINS, self.out / PEOPLE)]

    def _write_pages(self) -> None:
        with contextlib.suppress(MarksError, RubricError, OSError):  # said already
            tables = self._tables()
            write_again(self.out, open_assignment(self.assignment).rubric)
            self._paged = tables

    @contextlib.contextmanager
    def _showing(self, look: Look) -> Iterator[None]:
        """Write the page anew beside a run."""
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(self.every):
                self._shown(look)

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _shown(self, look: Look) -> list[str]:
        """Write the page; returns what is not graded."""
        state = self._state(look)
        page = render_page("watch.html.j2", state=state, most=MOST_SHOWN, every=max(5, round(self.every)))
        with contextlib.suppress(OSError):  # a full disk: it is written after the next look
            write_page(self.out / STATE, page)
        return [line for part in ("held", "failed", "running", "waiting") for line in state[part]]

    def _state(self, look: Look) -> dict[str, Any]:
        """Where things stand: results from the journal, all else from the last look."""
        entries = entries_by_name(self.out / JOURNAL)
        running = [name for name, before in self._batch.items() if len(entries.get(name, [])) == before]
        results = {name: found[-1].result for name, found in sorted(entries.items())}
        failed = [f"{name}: {first_fault(result)}" for name, result in results.items() if _failed(result)]
        queued = [name for name in look.ready if (name in self._due or name not in results) and name not in self._batch]
        return {
            "looked": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "places": list(map(str, self.inbox.places)),
            "trouble": self._trouble,
            "waiting": [*(f"{path}: {why}" for path, why in look.waiting.items()), *(f"{name}: for its turn" for name in queued)],
            "running": running,
            "failed": failed,
            "held": look.held,
            "notes": look.notes,
            "late": look.late,
            "other": look.other,
            "graded": len(results) - len(failed),
            "again": [_again(name, found) for name, found in sorted(entries.items()) if len(found) > 1],
        }


def _failed(result: Mapping[str, Any]) -> bool:
    return any(check["status"] == "could_not_grade" for check in result["checks"])


def _again(name: str, found: list[Entry]) -> str:
    """What became of a submission that was graded again; the results of before stay in the journal."""
    (*before, last), now = found[:-1], found[-1]
    why = ", ".join(changed(last.key, now.key)) or "could not be graded before"
    older = ", ".join(f"{points_text(entry.result['score'])} points ({_when(entry.result)})" for entry in [*before[-2:], last])
    return f"{name}: {points_text(now.result['score'])} points ({_when(now.result)}), for {why}; before: {older}"


def _when(result: Mapping[str, Any]) -> str:
    sha256 = (result["submission_sha256"] or "unreadable")[:10]
    return f"graded {result['started'][:16].replace('T', ' ')} UTC, submission {sha256}"
