"""Solved releases, open in JupyterLab."""

from collections.abc import Iterator

import pytest
from solved import Desk, working_through


@pytest.fixture(scope="module")
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Where a student works through the assignment that the module names."""
    with working_through(request.module.ASSIGNMENT, tmp_path_factory.mktemp("solved")) as opened:
        yield opened
