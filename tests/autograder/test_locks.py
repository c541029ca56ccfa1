"""Locks between processes: one at a time, and none outlives its holder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import SECRET, TINY, open_run, write_submission

from autograder.cli import main
from autograder.course.seeds import SECRET_VARIABLE
from autograder.judge.array_cache import ArrayCache
from autograder.judge.run import Run
from autograder.sandbox.locks import FolderBusyError, file_lock, hold_folder, one_of, try_lock
from segkit.atomic import DiskFullError

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def other():
    """Starts Python code in another process and waits for its first line; ends it afterwards."""
    started = []

    def start(code: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE, text=True)
        started.append(process)
        process.first = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def holder(folder):
    return ("from pathlib import Path; from autograder.sandbox.locks import hold_folder; import time\n"
            f"with hold_folder(Path({str(folder)!r})):\n    print('held', flush=True); time.sleep(60)")  # fmt: skip


# ------------------------------------------------------------------------------------------------- a folder of results
def test_a_second_run_into_a_folder_is_told_who_is_there_at_once(tmp_path, other):
    first = other(holder(tmp_path / "out"))
    started = time.monotonic()
    with pytest.raises(FolderBusyError) as caught, hold_folder(tmp_path / "out"):
        pass
    assert time.monotonic() - started < 30  # the other holds it for 60
    words = str(caught.value)
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in words and str(tmp_path / "out") in words
    assert "another --out" in words


def test_the_command_line_refuses_a_busy_folder_and_changes_nothing(tmp_path, other):
    path, out = write_submission(tmp_path / "ann"), tmp_path / "out"
    other(holder(out))
    (out / "summary.csv").write_text("of the first run")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    found = CliRunner().invoke(main, ["grade", str(path), "--out", str(out), "--assignment", str(TINY)], env={SECRET_VARIABLE: SECRET})
    assert found.exit_code == 1 and "Error: Another run is grading into" in found.output and "Traceback" not in found.output
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_lock_of_a_killed_run_is_taken_over_with_a_word(tmp_path, other):
    first = other(holder(tmp_path))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / ".grading.lock").exists()
    with hold_folder(tmp_path) as killed:
        assert killed.startswith(f"process {first.pid} on ")
        assert json.loads((tmp_path / ".grading.lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".grading.lock").exists()
    with hold_folder(tmp_path) as killed:
        assert killed == ""


def test_the_same_process_may_hold_a_folder_twice_and_frees_it_at_the_end_of_the_first(tmp_path, other):
    with hold_folder(tmp_path):
        with hold_folder(tmp_path / "."):
            pass
        assert (tmp_path / ".grading.lock").exists()
    assert other(holder(tmp_path)).first == "held"


# ---------------------------------------------------------------------------------------------------------- other locks
def test_a_lock_waits_for_its_holder_and_leaves_no_file(tmp_path, other):
    path = tmp_path / "key.lock"
    first = other(f"from pathlib import Path; from autograder.sandbox.locks import file_lock; import time\n"
                  f"with file_lock(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(3)")  # fmt: skip
    started = time.monotonic()
    assert try_lock(path) is None
    with file_lock(path):
        assert time.monotonic() - started > 0.5 and first.first == "held"
        assert try_lock(path) is None  # the file that the first one removed is not the one held now
    assert not path.exists()


def test_a_lock_of_a_killed_holder_is_free(tmp_path, other):
    path = tmp_path / "key.lock"
    first = other(f"from pathlib import Path; from autograder.sandbox.locks import file_lock; import time\n"
                  f"with file_lock(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(60)")  # fmt: skip
    first.kill()
    with file_lock(path):
        pass


def test_one_of_some_places_is_taken_and_a_third_waits(tmp_path, other):
    places = [tmp_path / "0", tmp_path / "1"]
    code = ("from pathlib import Path; from autograder.sandbox.locks import one_of; import time\n"
            f"with one_of([Path(place) for place in {[str(place) for place in places]}]):\n"
            "    print('in', flush=True); time.sleep({})")  # fmt: skip
    assert other(code.format(60)).first == other(code.format(3)).first == "in"
    started = time.monotonic()
    with one_of(places):
        assert time.monotonic() - started > 0.5
    with one_of([]):
        pass


# ------------------------------------------------------------------------------------------------------ cached arrays
MAKE = """
import sys, time
from pathlib import Path
import numpy as np
from autograder.judge.array_cache import ArrayCache

def make():
    Path(sys.argv[1], "made").open("a").write("x")
    time.sleep(1.0)
    return {"a": np.arange(5)}

print("ready", flush=True)
assert ArrayCache(Path(sys.argv[1])).once("key", make)["a"].tolist() == [0, 1, 2, 3, 4]
"""


def test_two_judges_that_need_the_same_at_once_compute_it_once(tmp_path):
    started = [subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], cwd=REPO) for _ in range(3)]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"
    assert not list(tmp_path.glob("*.lock")) and not list(tmp_path.glob(".*"))


def test_a_killed_maker_leaves_the_work_to_the_next(tmp_path, other):
    code = MAKE.replace("sys.argv[1]", repr(str(tmp_path))).replace("sleep(1.0)", "sleep(60)")
    first = other(code)
    deadline = time.monotonic() + 20
    while not (tmp_path / "made").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    assert ArrayCache(tmp_path).once("key", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"no zip at all"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    cache = ArrayCache(tmp_path)
    cache.put("key", {"a": np.arange(1000)})
    whole = (tmp_path / "key.npz").read_bytes()
    (tmp_path / "key.npz").write_bytes(damage or whole[: len(whole) // 2])
    assert cache.once("key", lambda: {"a": np.zeros(1)})["a"].tolist() == [0]
    assert cache.get("key")["a"].tolist() == [0]


def test_a_full_disk_keeps_no_half_file_and_loses_no_prediction(tmp_path, monkeypatch):
    cache = ArrayCache(tmp_path)

    def full(file, **arrays):
        file.write(b"PK half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert cache.once("key", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    assert not list(tmp_path.iterdir())
    with pytest.raises(DiskFullError):
        cache.put("key", {"a": np.arange(3)})


# ------------------------------------------------------------------------------------------------------------ the run
def test_folders_of_killed_runs_are_removed_and_those_of_living_ones_stay(tmp_path, monkeypatch, other):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = ("import sys; sys.path.insert(0, 'tests/autograder'); from pathlib import Path; from tiny import open_run; import time\n"
            f"run = open_run(Path({str(tmp_path / 'out')!r})); print(run.folder, flush=True); time.sleep(60)")  # fmt: skip
    killed, living = other(code), other(code)
    assert Path(killed.first).is_dir()
    killed.kill()
    killed.wait()
    (tmp_path / "segkit-run-not-ours").mkdir()
    with open_run(tmp_path / "out") as run:
        assert not Path(killed.first).exists()
        assert Path(living.first, "weights.bin").is_file() and (tmp_path / "segkit-run-not-ours").is_dir()
    assert not run.folder.exists() and isinstance(run, Run)
