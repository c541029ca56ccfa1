"""Run the visible checks on a student's definitions, in a separate process that can be killed.

The definitions are the student's: they may loop forever, exit, or use up the memory, but handing in must finish. The process
runs as the grader's worker would: in a folder with nothing but the hand-in, and without a GPU.
"""

import ast
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit.malloc import keep_memory
from segkit.notebooks import Program, Unrunnable, at_home, value_of
from segkit.notebooks.reading import shown

__all__ = ["SECONDS", "Outcome", "Trial", "run_trial", "run_trials", "serve"]

SECONDS = 120.0
"""How long one check may take."""
START_SECONDS = 180.0  # for the import of torch from a slow disk
TOTAL_SECONDS = 900.0
MEGABYTES = 6000  # of private memory, where the system can hold a process to it; the largest check takes under 3000
GLANCE = 0.05
# The kit may lie beside the notebooks, where a random.py would take the place of Python's own, and a cuda.py of what torch looks for:
# its folder is there for the import of its own package alone. -P: the folder in which the process is started is not there at all
START = """
import sys
kit = sys.argv.pop(1)
sys.path.insert(0, kit)
import segkit
sys.path.remove(kit)
from segkit.trying import serve
serve(*sys.argv[1:])
"""
BEGUN = "begun"  # sent instead of a check's id: all imports are done, and any later failure is the student's


@dataclass(frozen=True)
class Outcome:
    """What a visible check found.

    Attributes:
        state: ``passed``, ``failed`` or ``untested``.
        text: The cause, or what was measured, or why it was not tested; one line.
        seconds: How long the check took; 0 where it was not begun.
    """

    state: str
    text: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Trial:
    """One visible check to be run.

    Attributes:
        check: Id of the check.
        call: Call of a function of ``segkit.checks``, or of a module of it (``satellite.check_embed(embed)``): names are definitions
            or ``values``. A definition that is given by keyword may be missing, and is None then.
        own: Names of the definitions that the check judges; a fault is theirs.
        values: Other names in the call: the checkpoint's path, numbers.
    """

    check: str
    call: str
    own: tuple[str, ...]
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Definitions that the call needs, and those that it can do without."""
        call = _parsed(self.call)
        needed = [argument.id for argument in call.args if isinstance(argument, ast.Name)]
        optional = [keyword.value.id for keyword in call.keywords if isinstance(keyword.value, ast.Name)]
        return [n for n in needed if n not in self.values], [n for n in optional if n not in self.values]


def _parsed(text: str) -> ast.Call:
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call), "a trial is one call"
    return call


class Bench:
    """The definitions, run when they are first asked for, and what is known to be wrong with them.

    Args:
        definitions: Name -> its program, as ``Program.to_json`` gives it.
        faulty: Names whose own check failed already, or whose code ended a process.
    """

    def __init__(self, definitions: dict[str, dict[str, Any]], faulty: Sequence[str] = ()) -> None:
        self.definitions, self.faulty = definitions, set(faulty)
        self.told: dict[str, str] = {}  # what came -> the check that told it first
        self._values: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        """The object that a definition defines; a method comes as a function of model and VGG-16.

        Raises:
            Unrunnable: Its code fails.
        """
        if name not in self._values:
            program = Program.from_json(self.definitions[name])
            with at_home(Path.cwd(), program, fresh=True):
                self._values[name] = value_of(program, name)
        return self._values[name]


def run_trial(trial: Trial, bench: Bench) -> Outcome:
    """Run one visible check in this process."""
    needed, optional = trial.names
    others = [name for name in needed if name not in trial.own]
    missing = [name for name in others if name not in bench.definitions]
    if missing:
        return Outcome("untested", f"it needs {' and '.join(missing)}, which is not there yet")
    outcome = _run(trial, bench, needed, [name for name in optional if name in bench.definitions and name not in bench.faulty])
    doubtful = [name for name in others if name in bench.faulty]
    if outcome.state == "failed" and doubtful:  # it is not clear whose fault it is
        return Outcome("untested", f"{' and '.join(doubtful)} failed first, and with it: {outcome.text}")
    if outcome.state == "failed":
        bench.faulty.update(trial.own)
    return outcome


def _run(trial: Trial, bench: Bench, needed: Sequence[str], optional: Sequence[str]) -> Outcome:
    from segkit.checks.trained import NotTested

    space: dict[str, Any] = dict.fromkeys(trial.names[1]) | trial.values
    try:
        for name in (*needed, *optional):
            space[name] = bench.value(name)
        report = eval(trial.call, _function(trial), space)  # the text is the release's, not a student's
    except NotTested as error:
        return Outcome("untested", one_line(str(error)))
    except Unrunnable as error:
        return Outcome("failed", f"it cannot be run: {one_line(str(error))}")
    except (Exception, SystemExit) as error:  # a check that crashes on a student's code is a fault of ours, but no reason to stop
        return Outcome("failed", one_line(f"{type(error).__name__}: {error}"))
    if not report:
        return Outcome("failed", _first_fault(report, trial.check, bench.told))
    good = [line for line in report.lines if line.startswith("[ok]")]
    return Outcome("passed", one_line(good[-1][4:]) if "checkpoint" in trial.values and good else "")


def _function(trial: Trial) -> dict[str, Any]:
    """What a call's text names: a function of ``segkit.checks``, or the module of an assignment's own."""
    from segkit import checks

    function = _parsed(trial.call).func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return {function.value.id: importlib.import_module(f"segkit.checks.{function.value.id}")}
    assert isinstance(function, ast.Name), "a trial calls a function by its name"
    return {function.id: getattr(checks, function.id)}


def _first_fault(report: Any, check: str, told: dict[str, str]) -> str:
    """The first fault of a report, the lines below it often follow from it; a name for one that was told before."""
    lines = [line for line in report.lines if line.startswith("[!!]")]
    if not lines:
        return "the check found nothing that it could test"
    text = one_line(lines[0][4:])
    first = told.setdefault(text.partition(", got ")[2] or text, check)
    return text if first == check else f"the same fault as {first}"


def one_line(text: str) -> str:
    """A text of a student's program as one line of bounded length that every terminal can show."""
    return shown(" ".join(text.split()), 600)


def run_trials(
    trials: Sequence[Trial], definitions: dict[str, dict[str, Any]], folder: Path,
    told: Callable[[str, Outcome], None] = lambda check, outcome: None, seconds: float = SECONDS, total_seconds: float = TOTAL_SECONDS,
) -> dict[str, Outcome]:  # fmt: skip
    """Run visible checks in another process, one after the other.

    If a process ends or hangs, its current check fails; the others run in a new process, except those of the same definition.

    Args:
        trials: In the order in which they run.
        definitions: Name -> its program, as ``Program.to_json`` gives it.
        folder: Where the process stands: a copy of the hand-in.
        told: Receives the id and outcome of each check when it is done.
        seconds: When a check is given up.
        total_seconds: When all are given up.

    Returns:
        Check id -> outcome, for every trial.
    """
    found: dict[str, Outcome] = {}
    faulty: list[str] = []

    def note(trial: Trial, outcome: Outcome) -> None:
        found[trial.check] = outcome
        told(trial.check, outcome)

    end = time.monotonic() + total_seconds
    while left := [trial for trial in trials if trial.check not in found]:
        stuck = next((trial for trial in left if set(trial.own) & set(faulty)), None)
        if time.monotonic() > end:
            late = Outcome("untested", f"the checks took more than {total_seconds / 60:.0f} minutes together")
            for trial in left:
                note(trial, late)
        elif stuck is not None:
            note(stuck, Outcome("untested", f"{', '.join(stuck.own)} could not be tried to the end, see above"))
        else:
            faulty += _run_until_it_ends(left, definitions, faulty, folder, note, seconds, end)
    return found


def _run_until_it_ends(
    trials: Sequence[Trial], definitions: dict[str, dict[str, Any]], faulty: Sequence[str], folder: Path,
    note: Callable[[Trial, Outcome], None], seconds: float, end: float,
) -> list[str]:  # fmt: skip
    """Run trials in one process and note their outcomes; returns the definitions that ended it."""
    with tempfile.TemporaryDirectory(prefix="segkit-try-") as place:
        request, replies = Path(place) / "request.json", Path(place) / "replies.jsonl"
        asked = {"trials": [asdict(trial) for trial in trials], "definitions": definitions, "faulty": list(faulty)}
        request.write_text(json.dumps(asked), encoding="utf-8")
        replies.touch()
        said = Path(place) / "stderr.txt"
        process = _start(request, replies, said, folder)
        try:
            if isinstance(_next_reply(process, replies, BEGUN, min(time.monotonic() + START_SECONDS, end)), str):
                for trial in trials:
                    note(trial, Outcome("untested", f"the checks do not run on this machine: {_last_line(said)}"))
                return []
            for trial in trials:
                begun = time.monotonic()
                outcome = _next_reply(process, replies, trial.check, min(begun + seconds, end))
                took = time.monotonic() - begun
                if isinstance(outcome, str):
                    note(trial, Outcome("failed", _gone(trial, outcome, process.returncode, seconds), took))
                    return list(trial.own)
                note(trial, replace(outcome, seconds=took))
        finally:
            process.kill()
            process.wait()
    return []


def _start(request: Path, replies: Path, said: Path, folder: Path) -> subprocess.Popen[bytes]:
    kit = Path(__file__).resolve().parents[1]
    # the kit's folder and the one in which one stands are not the first places to look for modules; another one may hold torch itself
    paths = [Path(path).absolute() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # no GPU, as in the grader's checks; UTF-8 whatever the console's code page is
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(str(path) for path in paths if path.resolve() not in (kit, Path.cwd()))
    command = [sys.executable, "-P", "-c", START, str(kit), str(request), str(replies)]
    with open(said, "wb") as file:
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file)


def _next_reply(process: subprocess.Popen[bytes], replies: Path, wanted: str, until: float) -> Outcome | str:
    """Wait for the outcome of a check; ``"ended"`` or ``"late"`` where none comes."""
    while True:
        ended = process.poll() is not None  # before reading, so that all it wrote before its end is read below
        for check, outcome in _replies(replies):
            if check == wanted:
                return outcome
        if ended:
            return "ended"
        if time.monotonic() > until:
            return "late"
        time.sleep(GLANCE)


def _replies(path: Path) -> Iterator[tuple[str, Outcome]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            yield content["check"], Outcome(content["state"], content["text"])
        except (ValueError, KeyError, TypeError):
            continue  # the line that is being written


def _last_line(said: Path) -> str:
    """The last words of a process that did not start."""
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return one_line(lines[-1]) if lines else f"Python was not ready within {START_SECONDS:.0f} s"


def _gone(trial: Trial, how: str, code: int | None, seconds: float) -> str:
    names = " or ".join(trial.own)
    if how == "late":
        return (
            f"no reply within {seconds:.0f} s, and the grader does not wait longer either: look in {names} for an endless loop, "
            "training, or a download"
        )
    return f"{names} ended the whole program (exit code {code}): look there for exit(), or for more memory than there is"


def _limit_memory() -> None:
    """Limit the memory of this process to ``MEGABYTES``, if the system can do that."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES * 2**20,) * 2)
    except (ImportError, ValueError, OSError):  # Windows; macOS in part
        pass


def serve(request: str, replies: str) -> None:
    """Run the trials of a request and write one line for each; this process stands in the folder of the hand-in.

    Args:
        request: File with trials and definitions, as ``_run_until_it_ends`` writes it.
        replies: File that gets the lines.
    """
    kit = Path(__file__).resolve().parents[1]
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    trials = [Trial(content["check"], content["call"], tuple(content["own"]), content["values"]) for content in asked["trials"]]
    for trial in trials:
        _function(trial)  # imports torch and what else it needs, while nothing of the student's can be in the way
    # the work's folder may hold more than was handed in; segkit itself is imported already, so it is found without it. A student's
    # scripts are found in the folder of their notebook, behind all other modules (see ``at_home``)
    sys.path[:] = [path for path in sys.path if path != str(kit) or "-packages" in kit.name]
    keep_memory()
    _limit_memory()
    bench = Bench(asked["definitions"], asked["faulty"])
    with open(replies, "a", encoding="utf-8") as file:

        def reply(check: str, outcome: Outcome) -> None:
            file.write(json.dumps({"check": check, "state": outcome.state, "text": outcome.text}) + "\n")
            file.flush()

        reply(BEGUN, Outcome("begun"))
        for trial in trials:
            reply(trial.check, run_trial(trial, bench))
