"""A class on a cluster: whatever becomes of its machines, each result is that of a run on one machine, and is there once."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from quick_class import journal_of, timeless
from tiny import DOUBLE, SECRET, grade_class, settings, weights, write_submission
from workers import Cluster, InThread, use_quick_judges, wait_for

from autograder.batch import grade_many, pool
from autograder.batch.cluster import ClusterError
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
print(process.pid, file=open({ids!r}, "a"))
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
    assert any("The scheduler is gone" in line for line in said) and not any("could not be graded" in line for line in said)
    before = (out / "journal.jsonl").read_bytes().count(b'"graded"')
    assert grade_many(paths, chosen, 1, said.append) == results  # on this machine: nothing is graded again
    assert (out / "journal.jsonl").read_bytes().count(b'"graded"') == before


class Slurm:
    """Stands in for Slurm: scripts for ``sbatch`` and ``scancel``, whose jobs are processes of this machine.

    Args:
        root: For the scripts, what the jobs write, and Dask's files.
        patch: Puts the scripts in the place of the real ones.
        sbatch: Another script.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, sbatch: str = SBATCH) -> None:
        self.log, self.ids, scripts = root / "job.log", root / "ids", root / "bin"
        scripts.mkdir()
        for name, text in {"sbatch": sbatch, "scancel": '#!/bin/sh\nkill -- -"$1"\n'}.items():
            (scripts / name).write_text(
                text.format(python=sys.executable, log=str(self.log), ids=str(self.ids)) if name == "sbatch" else text
            )
            (scripts / name).chmod(0o755)
        patch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
        patch.setenv(SECRET_VARIABLE, SECRET)
        self.profile = {
            "cores": 1, "memory": "8GiB", "processes": 1, "interface": "lo", "local-directory": str(root), "log-directory": None,
            "job-extra-directives": [], "job-script-prologue": [], "python": sys.executable,
        }  # fmt: skip

    def jobs(self) -> list[int]:
        """Process groups of all jobs so far."""
        return [int(line) for line in self.ids.read_text().split()] if self.ids.exists() else []

    def grade(self, paths: list[Path], out: Path, say: Callable[[str], None]) -> list[dict]:
        """Grade with one job, and print what jobs wrote where that fails."""
        dask = pytest.importorskip("dask")
        pytest.importorskip("dask_jobqueue")
        profile = {**dask.config.get("jobqueue.slurm"), **self.profile}
        try:
            with dask.config.set({"jobqueue.course": profile, "distributed.deploy.lost-worker-timeout": "1s"}):
                return grade_many(paths, settings(out), 1, say, cluster="slurm:course")
        finally:
            print(self.log.read_text() if self.log.exists() else "no job wrote anything")


@pytest.mark.slow
def test_jobs_of_slurm_grade_with_real_judges_as_this_machine_does(tmp_path, monkeypatch):
    """The first job ends before its time is over, as at the end of its walltime: another one is submitted."""
    slurm = Slurm(tmp_path, monkeypatch)
    paths = [write_submission(tmp_path / "in" / "ann", checkpoint=weights()), write_submission(tmp_path / "in" / "ben", "def double(:")]
    here, _ = grade_class(paths, tmp_path / "here")
    monkeypatch.setattr("autograder.batch.cluster.ANEW", 1.0)
    monkeypatch.setattr("autograder.batch.cluster.SILENT", 0.01)

    def end_first() -> None:
        wait_for(lambda: "Starting Worker" in slurm.log.read_text() if slurm.log.exists() else False, 120)
        os.killpg(slurm.jobs()[0], signal.SIGKILL)

    said: list[str] = []
    killer = threading.Thread(target=end_first)
    killer.start()
    there = slurm.grade(paths, tmp_path / "there", said.append)
    killer.join(120)
    assert len(slurm.jobs()) > 1 and any("No job of Slurm is at work" in line for line in said)
    assert [timeless(result) for result in there] == [timeless(result) for result in here]
    assert there[0]["score"] == 10
    for name in ("answers.json", "pictures.json", "result.json", "report.html"):
        assert (tmp_path / "there" / "ann" / name).is_file() == (tmp_path / "here" / "ann" / name).is_file(), name


REFUSED = """#!/bin/sh
echo 'sbatch: error: invalid partition specified: gpu' >&2
exit 1
"""


@pytest.mark.parametrize(("sbatch", "says"), [(REFUSED, "invalid partition specified: gpu"), ("", "No such file or directory: 'sbatch'")])
def test_what_slurm_says_of_a_job_that_it_does_not_take_is_told(tmp_path, monkeypatch, sbatch, says):
    """Nothing waits for a job that is in no queue."""
    slurm = Slurm(tmp_path, monkeypatch, sbatch)
    if not sbatch:
        monkeypatch.setenv("PATH", str(tmp_path))
    path = write_submission(tmp_path / "in" / "ann", net=None)
    with pytest.raises(ClusterError, match=rf"^slurm:course: no job could be submitted\. .*{says}"):
        slurm.grade([path], tmp_path / "out", print)
