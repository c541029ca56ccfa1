"""The demo of ``satellite`` as a whole, with one student; a class in one is graded by test_demo.py."""

import sys
from pathlib import Path

import pytest

from autograder.assignments.satellite import fitting

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_demo import run_whole, student


@pytest.mark.slow
def test_the_demo_of_satellite_grades_a_small_class(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier above its gate and an FCN-32s under it; the finer ones take a minute more to fit."""
    monkeypatch.setattr(fitting, "NETWORKS", {"fcn32s_low": ("FCN32s", 1)})
    chosen = [student("trained_for_an_epoch", "satellite")]
    assert "68 of 84" in run_whole("satellite", tmp_path / "demo", chosen, monkeypatch, capsys)
