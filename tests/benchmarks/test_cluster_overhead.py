"""Does the benchmark of a cluster measure what it says?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_what_handing_out_costs_is_said_for_each_submission(tmp_path):
    pytest.importorskip("distributed")
    command = [sys.executable, "benchmarks/cluster.py", "--count", "12", "--rounds", "1", "--out", str(tmp_path)]
    found = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr
    (only,) = json.loads((tmp_path / "cluster.json").read_text())["rounds"]
    assert only["here"]["each"] > 0 and only["cluster"]["once"] > 0 and only["cluster"]["computed"] > 0
    assert "a submission (12 submissions, median of 1 rounds)" in found.stdout
