"""Fixtures of the tests of the walls: every level, started anew and forked, and folders on either side of it."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from behind_the_wall import Wall

from autograder.sandbox import isolation, users
from autograder.sandbox.isolation import LEVELS, available
from autograder.sandbox.users import can_lend_users

USER_STYLE = "bubblewrap with a user namespace"
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(params=["started anew", "forked"])
def forked(request) -> bool:
    """Both ways to start a worker."""
    return request.param == "forked"


@pytest.fixture(params=[*LEVELS, USER_STYLE])
def level(request, monkeypatch, forked) -> Wall:
    """Every level that can be had, both ways; the others are skipped by name."""
    wall = Wall(_level(request.param, monkeypatch))
    wall.forked = forked
    return wall


def _level(wanted: str, monkeypatch) -> str:
    if wanted != USER_STYLE:
        if wanted == "process" and not available(wanted) and can_lend_users():  # this Python lies in a folder of root: take another
            monkeypatch.setattr(users, "python_folders", lambda: [])
            monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)
            if not isolation._try(wanted):
                return wanted
        if not available(wanted):
            pytest.skip(f"isolation level {wanted} cannot be had here: {isolation.trouble_with(wanted)}")
        return wanted
    if isolation._style()[0] == "user":
        pytest.skip("the same as bubblewrap, for ordinary users")
    if trouble := isolation._try("bubblewrap", "user"):
        pytest.skip(f"{USER_STYLE} cannot be had here: {trouble}")
    monkeypatch.setattr(isolation, "_style", lambda: ("user", ""))
    return "bubblewrap"


@pytest.fixture
def walled(level) -> str:
    """Levels with a wall around files."""
    if level == "process":
        pytest.skip("the level process has no wall around files")
    return level


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A scratch folder as the judge makes it."""
    with tempfile.TemporaryDirectory(prefix="segkit-test-") as folder:
        yield Path(folder)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the machine that everybody may write to, as /tmp and /dev/shm are."""
    with tempfile.TemporaryDirectory(prefix="segkit-outside-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)
