"""A small assignment for viva sheets, asked in this process where a test is not about the walls."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import InProcess

from autograder.judge.run import Run
from autograder.viva import asking, sitting

collect_ignore = ["small_assignment"]  # its checks are run by the grader under test
SMALL = Path(__file__).parent / "small_assignment"


@pytest.fixture
def small() -> Path:
    """Folder of the small assignment."""
    return SMALL


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No workers: for fixtures, which are trusted."""
    monkeypatch.setattr(asking, "RemoteSubject", InProcess)


@pytest.fixture
def run(tmp_path: Path, in_process: None) -> Iterator[Run]:
    """An open run on the small assignment."""
    with sitting.open_run(str(SMALL), tmp_path / "run", 0, None) as opened:
        yield opened
