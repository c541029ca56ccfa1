"""The script that plays a term, played with a small class in a small course."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium")
def test_every_step_of_a_term_is_a_command_with_its_minutes(tmp_path):
    pytest.importorskip("playwright.sync_api")
    words = ["--students", "13", "--assignment", "small", "--system", "Moodle", "--out", str(tmp_path / "term.json")]
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "term.py"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads((tmp_path / "term.json").read_text())["steps"]
    assert [step["target"] for step in steps] == [
        "the download graded, late ones named", "26 answers marked, 2.0 keys each, nothing read", "points into the system's file",
        "an appeal", "all graded again", "points into the file again",
    ]  # fmt: skip
    for step in steps:
        assert step["seconds"] > 0 and step["command"] in done.stdout and step["command"].startswith("python -m autograder ")
