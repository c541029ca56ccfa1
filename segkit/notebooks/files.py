"""Which files of a folder are the student's own: not what came with the release, not what tools leave behind."""

import os
from pathlib import Path

__all__ = ["FOREIGN", "MAX_FILES", "own_files"]

FOREIGN = frozenset({
    "segkit", "autograder", "data", "checkpoints", "published", "runs", "runs_quick", "site-packages", "build", "dist",
    "instructions", "node_modules",
})  # fmt: skip
"""Folders that are never entered."""

MAX_FILES = 200


def own_files(folder: str | Path) -> list[Path]:
    """List the notebooks and scripts that are the student's own, relative to ``folder``.

    Environments, hidden folders and links are not entered: one of them may hold more files than a whole class hands in.

    Args:
        folder: Where the work is.

    Returns:
        At most ``MAX_FILES`` paths, in order.
    """
    folder, found = Path(folder), []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if _enter(here / name))
        for name in sorted(files):
            path = here / name
            if path.suffix in (".ipynb", ".py") and not name.startswith(".") and not path.is_symlink() and path.is_file():
                found.append(path.relative_to(folder))
    return found[:MAX_FILES]


def _enter(path: Path) -> bool:
    foreign = path.name in FOREIGN or path.name.startswith((".", "__")) or path.is_symlink()
    return not foreign and not (path / "pyvenv.cfg").exists()
