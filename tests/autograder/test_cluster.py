"""A class on a cluster: whatever becomes of its machines, each result is that of a run on one machine, and is there once."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from quick_class import journal_of, timeless
from tiny import DOUBLE, SECRET, grade_class, settings, weights, write_submission
from workers import Cluster, InThread, use_quick_judges, wait_for

from autograder.batch import grade_many, pool
from autograder.batch.journal import JOURNAL, entries_by_name
from autograder.course.seeds import SECRET_VARIABLE
from autograder.judge.run import Run

pytest.importorskip("distributed")
COUNT = 500  # half a minute of work: a worker dies after a fifth of it, the scheduler after half
SBATCH = """#!{python}
# stands in for Slurm: the job runs at once, on this machine
import subprocess, sys
log = open({log!r}, "ab")
process = subprocess.Popen(["bash", sys.argv[-1]], stdout=log, stderr=log, start_new_session=True)
print(f"Submitted batch job {{process.pid}}")
"""


def write_class(root: Path, count: int) -> list[Path]:
    return [write_submission(root / f"s{number:03}", f"{DOUBLE}\n# {number}", net=None) for number in range(count)]


def serial_results(paths: list[Path], out: Path, patch) -> list[dict]:
    """What the same judges say, one submission after the other, in this process."""
    use_quick_judges(patch)
    with Run.create(settings(out, only=("double",))) as run:
        pool.furnish(run, 1)
        judge = InThread(run, 1)
        return [judge.submit(pool.judge, path, path.name).result().result for path in paths]


@pytest.mark.slow
def test_a_worker_and_the_scheduler_are_killed_and_every_result_is_that_of_a_serial_run(tmp_path, monkeypatch):
    paths, out, said = write_class(tmp_path / "class", COUNT), tmp_path / "out", []

    def graded() -> int:
        return sum(map(len, entries_by_name(out / JOURNAL).values()))

    def kill() -> None:
        wait_for(lambda: graded() >= COUNT // 5, 300)
        cluster.kill("worker1")
        wait_for(lambda: graded() >= COUNT // 2, 300)
        cluster.kill("scheduler")

    with Cluster(tmp_path / "cluster") as cluster:
        killer = threading.Thread(target=kill)
        killer.start()
        chosen = settings(out, only=("double",))
        results = grade_many(paths, chosen, 1, said.append, cluster=cluster.address)
        killer.join()
        log = cluster.log()
    serial = serial_results(paths, tmp_path / "serial", monkeypatch.setattr)
    assert [timeless(result) for result in results] == [timeless(result) for result in serial], log
    assert len({result["score"] for result in results}) > 5  # they are not all alike
    assert sorted(line["name"] for line in journal_of(out)) == [path.name for path in paths]  # each once
    assert sum("The scheduler is gone" in line for line in said) == 1 and not any("could not be graded" in line for line in said)
    before = (out / "journal.jsonl").read_bytes().count(b'"graded"')
    assert grade_many(paths, chosen, 1, said.append) == results  # on this machine: nothing is graded again
    assert (out / "journal.jsonl").read_bytes().count(b'"graded"') == before


@pytest.mark.slow
def test_jobs_of_slurm_grade_with_real_judges_as_this_machine_does(tmp_path, monkeypatch):
    """Slurm is a script here; what it starts are real jobs of dask-jobqueue."""
    pytest.importorskip("dask_jobqueue")
    import dask

    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    scripts = {"sbatch": SBATCH.format(python=sys.executable, log=str(tmp_path / "job.log")), "scancel": '#!/bin/sh\nkill -- "-$1"\n'}
    for name, text in scripts.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755 | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    profile = {"cores": 1, "memory": "8GiB", "processes": 1, "interface": "lo", "local-directory": str(tmp_path), "log-directory": None,
               "job-extra-directives": [], "job-script-prologue": [], "python": sys.executable}  # fmt: skip
    paths = [write_submission(tmp_path / "in" / "ann", checkpoint=weights()), write_submission(tmp_path / "in" / "ben", "def double(:")]
    here, _ = grade_class(paths, tmp_path / "here")
    said = []
    with dask.config.set({"jobqueue.course": {**dask.config.get("jobqueue.slurm"), **profile}}):
        there = grade_many(paths, settings(tmp_path / "there"), 1, said.append, cluster="slurm:course")
    assert [timeless(result) for result in there] == [timeless(result) for result in here], (tmp_path / "job.log").read_text()
    assert there[0]["score"] == 10
    for name in ("answers.json", "pictures.json", "result.json", "report.html"):
        assert (tmp_path / "there" / "ann" / name).is_file() == (tmp_path / "here" / "ann" / name).is_file(), name
