"""A run that is killed at any moment goes on where it was: nothing is lost, repeated, or half-written."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_class import journal_of, timeless
from tiny import DOUBLE, NET, SECRET, TINY, grade_class, weights, write_submission

from autograder.course.seeds import SECRET_VARIABLE
from autograder.report.result_schema import validate

REPO = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("SEGKIT_KILL_SEED", random.SystemRandom().randrange(10**6)))  # said in every failure
COUNT = 5
CODES = (DOUBLE, "def double(values):\n    return values * 3", None, "def double(values):\n    import os\n    os._exit(3)")


def write_class(root: Path, count: int) -> list[Path]:
    """A small class of all kinds, the last one a zip that cannot be read."""
    paths = [write_submission(root / f"s{n}", CODES[n % len(CODES)], checkpoint=weights() if n % 3 == 0 else None) for n in range(count)]
    (root / "torn.zip").write_bytes(b"PK\x03\x04")
    return [*paths, root / "torn.zip"]


def command(paths, out, *more) -> list[str]:
    options = ["--out", out, "--assignment", TINY, "--data", "drawn", "--device", "cpu", "--jobs", "2", *more]
    return [str(part) for part in [sys.executable, "-m", "autograder", "grade", *paths, *options]]


def start(paths, out, tmp, *more, **options) -> subprocess.Popen:
    environment = os.environ | {SECRET_VARIABLE: SECRET, "TMPDIR": str(tmp), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(paths, out, *more), cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True, **options)  # fmt: skip


def whole(out: Path) -> None:
    """Whatever stands under a final name can be read and is valid."""
    for path in out.glob("*/result.json"):
        validate(json.loads(path.read_text()))
    for path in [*out.glob("*/report.html"), *out.glob("index.html")]:
        assert path.read_text().rstrip().endswith("</html>"), path


def entries_of(out: Path) -> dict[str, dict]:
    """Results in the journal by name, whole lines only: each run grades again what could not be read, so a name may come twice."""
    try:
        text = (out / "journal.jsonl").read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return {}
    records = map(json.loads, text.splitlines())
    return {record["name"]: record["result"] for record in records if record["do"] == "graded"}


def alive(tmp: Path) -> list[str]:
    """Processes that still work for the run whose temporary folder this is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(tmp).encode() in (folder / "environ").read_bytes() and (folder / "stat").read_text().split(")")[1].split()[0] != "Z":
                found.append(f"{folder.name} {(folder / 'cmdline').read_bytes()[:200]!r}")
    return found


@pytest.fixture(scope="module")
def class_and_results(tmp_path_factory) -> tuple[list[Path], list[dict], str]:
    """A class, and its results and summary from a run that nobody disturbed."""
    root = tmp_path_factory.mktemp("undisturbed")
    paths = write_class(root / "class", COUNT)
    return paths, grade_class(paths, root / "out", jobs=2)[0], (root / "out" / "summary.csv").read_text()


@pytest.mark.slow
def test_a_killed_run_resumes_without_repeating_or_losing_any(class_and_results, tmp_path):
    """Killed twice: all its processes, and the first one alone, in an order that is drawn."""
    rng, (paths, undisturbed, summary) = random.Random(SEED), class_and_results
    print(f"SEGKIT_KILL_SEED={SEED}")
    out, tmp = tmp_path / "out", tmp_path / "tmp"
    tmp.mkdir()
    kills, entries = [], {}
    for attempt, kill in enumerate(rng.sample([os.killpg, os.kill], 2)):
        process = start(paths, out, tmp)
        # in the first seconds, or some moment after one to three more submissions were finished
        wanted = 0 if attempt == 1 else len(entries) + rng.randint(1, 3)
        moment = rng.uniform(0, 8) if attempt == 1 else rng.uniform(0, 1.5)
        while len(entries_of(out)) < wanted and process.poll() is None:
            time.sleep(0.02)
        try:
            output, _ = process.communicate(timeout=moment)
            break
        except subprocess.TimeoutExpired:
            kill(process.pid, signal.SIGKILL)
            process.communicate()
        kills.append((kill.__name__, wanted, round(moment, 2)))
        deadline = time.monotonic() + 60  # a busy machine takes its time to end what is killed
        while alive(tmp) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not alive(tmp), f"seed {SEED}, killed at {kills}"
        whole(out)
        now = entries_of(out)
        changed = [name for name, result in entries.items() if now.get(name) != result and name != "torn"]  # that one is read anew
        assert not changed, f"{changed}: seed {SEED}, killed at {kills}"
        entries = now
        assert len(entries) >= wanted, f"seed {SEED}, killed at {kills}"
        if attempt == 1:
            with (out / "journal.jsonl").open("ab") as file:
                file.write(b'{"do": "graded", "name": "s1", "key": {"rub')  # what a power loss leaves
    else:
        output, _ = start(paths, out, tmp).communicate(timeout=300)
    said = f"seed {SEED}, killed at {kills}:\n{output}"
    graded = [line["name"] for line in journal_of(out)]
    readable = [path.name for path in paths[:-1]]
    assert sorted(name for name in graded if name != "torn") == sorted(readable), said  # each one once
    assert kills and "were graded before" in output, said
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}
    assert {name: timeless(result) for name, result in results.items()} == {r["submission"]: timeless(r) for r in undisturbed}, said
    assert (out / "summary.csv").read_text() == summary, said
    assert not list(out.rglob("*.partial")) and not (out / ".grading.lock").exists(), said
    assert not [path for path in tmp.iterdir() if path.name.startswith("segkit-run-")], said


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_with_a_clear_error(tmp_path):
    """A limit on the size of files stands in for the full disk: the pages of a student are larger than it."""
    paths = write_class(tmp_path / "class", 2)[:2]
    process = start(paths, tmp_path / "out", tmp_path,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000)))  # fmt: skip
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert f"Error: No space left in {tmp_path / 'out'}" in output and "0 of 2 submissions are graded, and stay" in output
    assert "Traceback" not in output and not list((tmp_path / "out").rglob("*report.html*"))
    whole(tmp_path / "out")
    output, _ = start(paths, tmp_path / "out", tmp_path).communicate(timeout=300)
    assert [line["name"] for line in journal_of(tmp_path / "out")] and "2 graded in" in output, output


@pytest.mark.slow
def test_a_gate_that_two_judges_want_at_once_is_measured_once(tmp_path):
    slow = NET.replace("return self.conv(x)", "import time; time.sleep(0.5); return self.conv(x)")
    paths = [write_submission(tmp_path / "class" / f"s{n}", DOUBLE, slow, checkpoint=weights()) for n in range(2)]
    results, _ = grade_class(paths, tmp_path / "out", jobs=2, only=("net.accuracy",))
    assert [result["score"] for result in results] == [3.0, 3.0]
    seconds = sorted(result["checks"][0]["seconds"] for result in results)
    assert len(list((tmp_path / "out" / ".gates").iterdir())) == 1, seconds
