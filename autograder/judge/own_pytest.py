"""Pytest in the judge's own process: without other people's settings, plugins and modules."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["own_modules", "own_pytest", "plain_arguments", "run_pytest"]


@contextlib.contextmanager
def own_pytest() -> Iterator[None]:
    """Keep other people's pytest plugins and options out of the judge."""
    names = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(kept)


@contextlib.contextmanager
def own_modules(folder: Path) -> Iterator[None]:
    """Import check files anew: pytest goes by their names, and another assignment's may be called the same."""
    files = [path.relative_to(folder).with_suffix("").parts for path in folder.rglob("*.py")]
    names = {".".join(parts[:length]) for parts in files for length in range(1, len(parts) + 1)}
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def plain_arguments(folder: Path, empty_ini: Path) -> list[str]:
    """What pytest is told wherever a folder of checks is run in this process."""
    return [
        str(folder), "-p", "no:cacheprovider", "-p", "no:unraisableexception",  # the latter collects garbage ten times a run
        "-c", str(empty_ini), "--rootdir", str(folder), "--import-mode=importlib",
    ]  # fmt: skip


def run_pytest(folder: Path, empty_ini: Path, plugin: object) -> tuple[int, str]:
    """Run pytest over a folder of checks in this process.

    Args:
        folder: Where the pytest files are.
        empty_ini: An ini file of pytest without settings.
        plugin: What looks at the checks, or runs them.

    Returns:
        The exit code, and all that was printed: nothing reaches the terminal.
    """
    arguments = [
        *plain_arguments(folder, empty_ini), "-p", "no:terminal", "-p", "no:logging", "-p", "no:faulthandler",
        "--continue-on-collection-errors", "--capture=no",
    ]  # fmt: skip
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), own_pytest(), own_modules(folder):
        return int(pytest.main(arguments, plugins=[plugin])), printed.getvalue()
