"""What a cluster's workers refuse, lack and send back. Scheduler and workers are threads of this process."""

import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from quick_class import journal_of
from tiny import DOUBLE, settings, weights, write_submission
from workers import use_quick_judges

from autograder.batch import ClusterError, cluster, grade_many, place, pool, shipping
from autograder.batch.inbox import listing

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler():
    """Two workers, one of them with a GPU."""
    options = {"nthreads": 1, "dashboard": False, "memory_limit": "8GiB", "protocol": "inproc://"}
    workers = {
        number: {"cls": distributed.Worker, "options": options | more} for number, more in enumerate([{}, {"resources": {"GPU": 1}}])
    }
    with distributed.SpecCluster(
        workers=workers,
        scheduler={"cls": distributed.Scheduler, "options": {"protocol": "inproc://", "dashboard_address": ":0"}},
        silence_logs=50,
    ) as found:
        yield found.scheduler_address


@pytest.fixture
def grade(scheduler, tmp_path, monkeypatch):
    """Grade on those workers."""
    use_quick_judges(monkeypatch.setattr)
    monkeypatch.setattr(cluster, "WAIT", 60.0)

    def run(paths, **more):
        said = []
        return grade_many(paths, settings(tmp_path / "out", **({"only": ("double",)} | more)), 1, said.append, cluster=scheduler), said

    return run


def submissions(root: Path, *names: str, **more) -> list[Path]:
    return [write_submission(root / name, f"{DOUBLE}\n# {name}", net=None, **more) for name in names]


def test_a_folder_that_a_worker_does_not_see_as_it_is_here_is_sent(grade, tmp_path, monkeypatch):
    paths = submissions(tmp_path / "in", "ann", "ben")
    os.utime(paths[0] / "1_double.ipynb", (10**9, 10**9))
    shared, _ = grade(paths)
    monkeypatch.setattr(place, "listing", lambda path: "an older state of the folder")
    seen = []
    monkeypatch.setattr(place, "unpack", lambda packed, folder: (seen.append(folder), shipping.unpack(packed, folder)))
    (tmp_path / "out" / "journal.jsonl").unlink()
    sent, _ = grade(paths)
    assert len(seen) == 2 and [(r["score"], r["submission_sha256"]) for r in sent] == [(r["score"], r["submission_sha256"]) for r in shared]
    assert not any(folder.exists() for folder in seen)


def test_a_submission_that_is_neither_seen_nor_small_says_so_and_the_others_are_graded(grade, tmp_path, monkeypatch):
    paths = submissions(tmp_path / "in", "ann", "ben")
    (paths[0] / "large.csv").write_bytes(b"0" * 50_000)
    monkeypatch.setattr(place, "listing", lambda path: "")
    monkeypatch.setattr(shipping, "MOST_BYTES", 40_000)
    (ann, ben), _ = grade(paths)
    (check,) = ann["checks"]
    assert check["cause"] == "grader.fault" and "does not see the files of" in check["message"] and str(paths[0]) in check["message"]
    assert ben["checks"][0]["points"] is not None


def test_a_worker_with_another_kit_is_refused_and_both_are_named(grade, tmp_path, monkeypatch):
    paths = submissions(tmp_path / "in", "ann")
    there = place.run_key
    monkeypatch.setattr(place, "run_key", lambda run: there(run) | {"kit": "0.1 other"})
    with pytest.raises(ClusterError, match=r"kit: '\S+ \w{64}' where `grade` runs, '0.1 other' there") as caught:
        grade(paths)
    assert "inproc://" in str(caught.value) and not journal_of(tmp_path / "out")


def test_a_worker_that_cannot_begin_ends_the_run_instead_of_failing_every_submission(grade, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no such data here")

    monkeypatch.setattr(place, "furnish", fails)
    with pytest.raises(ClusterError, match="cannot grade: RuntimeError: no such data here"):
        grade(submissions(tmp_path / "in", "ann"))
    assert not journal_of(tmp_path / "out")


def test_a_worker_with_too_little_memory_is_told_what_it_needs(grade, tmp_path, monkeypatch):
    monkeypatch.setattr(place, "plan_memory", lambda jobs, limit, gates: cluster_plan(jobs, limit / 8, gates))
    with pytest.raises(ClusterError, match=r"one submission may need 4.0 GiB.*its --memory-limit"):
        grade(submissions(tmp_path / "in", "ann"))


def cluster_plan(jobs, limit, gates):
    from autograder.batch.memory import plan_memory

    return plan_memory(jobs, limit, gates)


def test_gates_of_a_gpu_run_go_to_the_workers_with_gpus(grade, tmp_path, monkeypatch):
    """Also where nothing shows a checkpoint until the submission is read."""
    monkeypatch.setattr("autograder.judge.run._gpu_is_there", lambda: True)
    monkeypatch.setattr("autograder.judge.run.gpu_name", lambda: "a GPU")
    went = []
    there = pool.judge

    def judge(path, name, gates=True):
        went.append((name, gates, pool._RUN.settings.device))
        return there(path, name, gates)

    monkeypatch.setattr(place, "judge", judge)
    paths = [*submissions(tmp_path / "in", "ann", "ben", "cem", "dan"), *submissions(tmp_path / "in", "eve", checkpoint=weights())]
    results, _ = grade(paths, only=("double", "net.accuracy"), device="cuda")
    assert len(results) == 5 and all(result["checks"][0]["points"] is not None for result in results)
    assert ("eve", True, "cuda") in went
    assert {(gates, device) for _, gates, device in went} <= {(True, "cuda"), (False, "cpu")}
    assert {line["key"]["device"] for line in journal_of(tmp_path / "out")} == {"cuda float32"}


def test_without_a_gpu_among_the_workers_the_run_ends_with_a_word(tmp_path):
    handing = cluster._Handing.__new__(cluster._Handing)
    handing.cluster, handing.flying, handing.last_seen = "tcp://x:1", {}, float("-inf")
    handing.left = [place.Work(tmp_path, "ann", "", gpu=True)]
    workers = {"a": {"nthreads": 2, "resources": {}}}
    client = SimpleNamespace(status="running", cluster=None, scheduler_info=lambda n_workers: {"workers": workers})
    with pytest.raises(ClusterError, match="no worker with --resources GPU=1"):
        handing._places(client)


def test_nothing_is_lost_where_the_connection_breaks_between_two_steps(tmp_path):
    """While a submission is handed out, and while its answer comes back."""
    handing, work = cluster._Handing.__new__(cluster._Handing), place.Work(tmp_path, "ann", "")
    handing.order, handing.numbers = SimpleNamespace(run="run"), iter(range(9))

    def closed(*_, **__):
        raise RuntimeError("the client is closed")

    handing.left, handing.flying = deque([work]), {}
    with pytest.raises(cluster._LostError):
        handing._fill(SimpleNamespace(submit=closed), 1, 0)
    assert list(handing.left) == [work]
    future = type("Future", (), {"status": "finished", "exception": lambda self, timeout: None, "result": closed})()
    handing.flying = {future: work}
    with pytest.raises(cluster._LostError):
        handing._take(future)
    assert handing.flying == {future: work}


def test_a_judge_that_dies_is_replaced_and_dies_no_third_time(grade, tmp_path, monkeypatch):
    began = []

    class Dying:
        def __init__(self, run, jobs):
            began.append(run)

        def submit(self, *_):
            raise pool.BrokenProcessPool("killed")

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(place, "judge_pool", Dying)
    (result,), said = grade(submissions(tmp_path / "in", "ann"))
    assert "died, twice" in result["checks"][0]["message"] and len(began) == 3  # one to begin with, and two in the places of dead ones


def test_a_submission_that_takes_workers_along_is_reported_and_the_next_run_tries_it_again(grade, tmp_path, monkeypatch):
    def kills(order, work):
        raise distributed.KilledWorker(work.name, SimpleNamespace(address="inproc://x"), 3)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "grade_there", kills)
        (result,), said = grade(submissions(tmp_path / "in", "ann"))
    assert (
        "4 workers died, one after the other, while they graded it" in result["checks"][0]["message"]
        and result["checks"][0]["cause"] == "grader.fault"
    )
    (again,), said = grade([tmp_path / "in" / "ann"])
    assert again["checks"][0]["points"] is not None and any("could not be graded before" in line for line in said)


def test_where_no_scheduler_answers_the_run_ends_with_its_address(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "WAIT", 0.5)
    paths = submissions(tmp_path / "in", "ann")
    monkeypatch.setattr(distributed.Client, "__init__", lambda self, *_, **__: (_ for _ in ()).throw(TimeoutError("no answer")))
    with pytest.raises(ClusterError, match="tcp://127.0.0.1:9: no scheduler answers"):
        grade_many(paths, settings(tmp_path / "out", only=("double",)), 1, print, cluster="tcp://127.0.0.1:9")


# ------------------------------------------------------------------------------------------------------------- packing
def test_what_is_packed_comes_out_as_it_was(tmp_path):
    folder = write_submission(tmp_path / "in" / "ann")
    (folder / "link").symlink_to("1_double.ipynb")
    (folder / os.fsdecode(b"M\xfcller.txt")).write_text("x")
    os.mkfifo(folder / "pipe")
    os.utime(folder / "1_double.ipynb", (10**9, 10**9))
    shipping.unpack(shipping.pack(folder, ["2_dots.ipynb"]), tmp_path / "out")
    out = tmp_path / "out" / "ann"
    assert sorted(path.name for path in out.iterdir()) == sorted(["1_double.ipynb", "link", os.fsdecode(b"M\xfcller.txt")])
    assert (out / "link").is_symlink() and (out / "1_double.ipynb").stat().st_mtime == 10**9
    single = tmp_path / "ben.zip"
    single.write_bytes(b"PK")
    shipping.unpack(shipping.pack(single), tmp_path / "out")
    assert (tmp_path / "out" / "ben.zip").read_bytes() == b"PK" and listing(single)


@pytest.mark.parametrize("name", ["../evil", "/evil", "ann/../../evil"])
def test_nothing_is_unpacked_outside_of_its_folder(tmp_path, name):
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as bundle:
        bundle.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(shipping.ShippingError, match="outside"):
        shipping.unpack(stream.getvalue(), tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_a_link_that_was_packed_first_leads_no_file_outside(tmp_path):
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as bundle:
        link = tarfile.TarInfo("ann/away")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        bundle.addfile(link)
        bundle.addfile(tarfile.TarInfo("ann/away/evil"), io.BytesIO())
    with pytest.raises(shipping.ShippingError, match="outside"):
        shipping.unpack(stream.getvalue(), tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_paths_of_a_run_on_a_cluster_mean_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facades").mkdir()
    found = cluster.at_home(replace(settings(tmp_path / "out"), data="facades", checkpoints=Path("facades"), device="cuda"))
    assert (found.data, found.checkpoints, found.device) == (str(tmp_path / "facades"), tmp_path / "facades", "cpu")
    assert cluster.at_home(replace(settings(tmp_path / "out"), data="sample")).data == "sample"
