"""Folders of killed processes are removed by the next run; those of living ones, of other users and of other containers are not."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny import open_run

from autograder.sandbox.leftovers import owned_prefix, remove_leftovers, scratch_folder

REPOSITORY = Path(__file__).resolve().parents[2]
MAKER = """
import os, sys, time
sys.path.insert(0, {repository!r})
from autograder.sandbox.leftovers import scratch_folder
folder = scratch_folder("segkit-worker-")
(folder / "deep").mkdir()
(folder / "deep" / "weights.bin").write_bytes(b"x" * 1000)
print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def maker(place):
    process = subprocess.Popen([sys.executable, "-c", MAKER.format(repository=str(REPOSITORY))], stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(maker, place):
    process, folder = maker
    own = scratch_folder("segkit-exam-")
    assert remove_leftovers() == [] and folder.is_dir() and own.is_dir() and folder.parent == own.parent == place
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert remove_leftovers() == [folder]
    assert not folder.exists() and own.is_dir()


def test_a_process_that_is_dead_but_not_yet_buried_counts_as_dead(maker, place):
    process, folder = maker
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert remove_leftovers() == [folder]


def test_a_new_process_with_the_number_of_the_dead_one_keeps_nothing_alive(place):
    head, start, tail = owned_prefix("segkit-worker-").split(".")
    reused = place / f"{head}.{int(start) - 1}.{tail}abc"
    reused.mkdir()
    assert remove_leftovers() == [reused]


def test_what_is_not_surely_a_leftover_of_this_user_stays(place):
    head, start, tail = owned_prefix("segkit-worker-").split(".")
    dead = f"segkit-worker-{2**22 + 1}.{start}"
    elsewhere = place / f"{dead}.{int(tail[:-1]) + 1}-abc"  # a container that shares the folder: its processes cannot be seen
    names = ["segkit-worker-abc", f"segkit-worker-None.None.{tail}abc",
             f"other-{dead}.{tail}abc", f"{dead}.{tail}abc.zip", "segkit-run-12.x.7-abc"]  # fmt: skip
    for path in (elsewhere, *(place / name for name in names)):
        path.mkdir()
    (place / "precious").mkdir()
    (place / f"{dead}.{tail}link").symlink_to(place / "precious")
    (place / f"{dead}.{tail}file").write_text("x")
    there = sorted(place.iterdir())
    assert remove_leftovers() == [] and sorted(place.iterdir()) == there


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_other_users_stay_and_those_of_lent_users_go(place):
    _, start, tail = owned_prefix("segkit-worker-").split(".")
    for user in (1000, 61200):
        (place / f"segkit-worker-{2**22 + 1}.{start}.{tail}{user}").mkdir()
        os.chown(place / f"segkit-worker-{2**22 + 1}.{start}.{tail}{user}", user, user)
    assert [path.name[-5:] for path in remove_leftovers()] == ["61200"]


def test_a_run_begins_by_removing_leftovers(maker, place, tmp_path):
    process, folder = maker
    process.kill()
    process.wait()
    with open_run(tmp_path / "out"):
        assert not folder.exists()
