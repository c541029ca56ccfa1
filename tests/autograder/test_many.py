"""Hundreds of submissions in one run: a judge keeps nothing of those that it has graded."""

import gc
import json
import linecache
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import InProcess, grade, open_run, weights, write_submission

REPO = Path(__file__).resolve().parents[2]


def test_a_judge_keeps_nothing_of_a_submission_it_has_graded(tmp_path, monkeypatch):
    monkeypatch.setattr("autograder.judge.grade.RemoteSubject", InProcess)
    path = write_submission(tmp_path / "ann", checkpoint=weights())

    def sizes():
        gc.collect()
        return {"objects": len(gc.get_objects()), "modules": len(sys.modules), "lines": len(linecache.cache), "paths": len(sys.path)}

    with open_run(tmp_path / "out") as run:
        for _ in range(5):
            assert grade(run, path)["score"] == 10
        before = sizes()
        for _ in range(20):
            grade(run, path)
        growth = {name: size - before[name] for name, size in sizes().items()}
    # a submission makes some ten thousand objects; a few counters of pytest and numpy may stay
    assert growth["objects"] < 20 * 10, growth
    assert (growth["modules"], growth["lines"], growth["paths"]) == (0, 0, 0), growth


@pytest.mark.slow
@pytest.mark.parametrize(("growth", "code"), [("40", 0), ("-1000", 1)])
def test_the_benchmark_prints_its_table_and_fails_where_memory_grows(tmp_path, growth, code):
    command = [sys.executable, "benchmarks/many.py", "--count", "20", "--jobs", "1", "--out", str(tmp_path), "--growth", growth]
    found = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert found.returncode == code, found.stdout + found.stderr
    table = json.loads((tmp_path / "many_tiny.json").read_text())
    assert table["points"] == [7.0] and table["ungraded"] == 0 and table["again_seconds"] < table["seconds"]
    assert 100 < table["mib"]["20"]["judges"] < 1500 and "20 in " in found.stdout
    assert ("expected growth of at most" in found.stdout) == bool(code)
