"""Which files of a folder are the student's own: not what came with the release, not what tools leave behind.

Notebooks are known by what is in them, whatever a browser, a mail program or an editor made of their names.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from segkit.notebooks.reading import shown

__all__ = [
    "FOREIGN", "MAX_FILES", "enterable", "has_notebook_name", "is_notebook", "is_script", "own_files", "own_texts", "script_name",
    "shown_path", "spare_files",
]  # fmt: skip

SPARE = frozenset({"data", "checkpoints", "runs", "runs_quick", "build", "dist"})
"""Folders from the release, and folders with produced files: searched only for what is nowhere else."""

FOREIGN = SPARE | {"segkit", "autograder", "published", "site-packages", "instructions", "node_modules"}
"""Folders that are not the student's own work; those that are not in ``SPARE`` are never entered."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")
"""Endings of folders into which the grader unpacked an archive of the same name: what is in one may be an older state."""

TEXTS = (".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".txt", ".csv", ".tsv")
"""Endings of the texts that code may read beside notebooks and scripts: settings, tables, lists."""

OF_THE_KIT = frozenset({"assignment.json", "checkpoints.json", "requirements.txt"})
"""Texts that code of a hand-in has no business with."""

MAX_FILES = 200
MAX_TEXTS = 50
MAX_TEXT = 2**16
"""Bytes of a text."""

MOST_SEEN = 20_000
LONGEST = 3800
"""Bytes of a folder's path: with a file's name it stays below the 4096 that a system can name, and below those of a copy."""

HEAD = 2**16

NOTEBOOK_KEYS = re.compile(rb'"(cells|worksheets)"\s*:\s*\[|"nbformat"\s*:')


def own_files(folder: str | Path) -> list[Path]:
    """List the notebooks and scripts that are the student's own, relative to ``folder``.

    Environments, hidden folders and links are not entered: one of them may hold more files than a whole class hands in.

    Args:
        folder: Where the work is.

    Returns:
        At most ``MAX_FILES`` paths, in order. Of more, notebooks count before scripts, then the least nested.
    """
    return _most_telling([path for path, spare in _walk(Path(folder), False) if not spare])


def spare_files(folder: str | Path) -> list[Path]:
    """List the notebooks and scripts that lie in folders of the release's names and in unpacked archives; see ``own_files``."""
    return _most_telling([path for path, spare in _walk(Path(folder), True) if spare])


def own_texts(folder: str | Path) -> dict[str, str]:
    """Read the small texts of a work, by their paths relative to ``folder``: at most ``MAX_TEXTS`` of ``MAX_TEXT`` bytes, in UTF-8."""
    folder, texts = Path(folder), {}
    for path, _ in _walk(folder, False, _is_text):
        try:
            texts[path.as_posix()] = (folder / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if len(texts) == MAX_TEXTS:
            break
    return texts


def _is_text(path: Path) -> bool:
    return path.name.endswith(TEXTS) and path.name not in OF_THE_KIT and path.stat().st_size <= MAX_TEXT and not is_script(path)


def _is_code(path: Path) -> bool:
    return is_script(path) or is_notebook(path)


def _walk(folder: Path, with_spare: bool, wanted: Callable[[Path], bool] = _is_code) -> Iterator[tuple[Path, bool]]:
    """Wanted files, and whether they lie in a folder that is searched only if necessary."""
    seen = 0
    for place, folders, files in os.walk(folder):
        here = Path(place)
        inside = _is_spare(here.relative_to(folder))
        folders[:] = sorted(
            name for name in folders if name not in FOREIGN - SPARE and enterable(here / name) and (with_spare or not _is_spare(Path(name)))
        )
        if inside and not with_spare:
            continue
        for name in sorted(files):
            path, seen = here / name, seen + 1
            if seen > MOST_SEEN:
                return
            if not name.startswith(".") and not path.is_symlink() and path.is_file() and wanted(path):
                yield path.relative_to(folder), inside


def _is_spare(relative: PurePath) -> bool:
    return any(part in SPARE or part.lower().endswith(ARCHIVES) for part in relative.parts)


def _most_telling(paths: list[Path]) -> list[Path]:
    best = sorted(range(len(paths)), key=lambda number: (is_script(paths[number]), len(paths[number].parts), number))[:MAX_FILES]
    return [paths[number] for number in sorted(best)]


def enterable(path: Path) -> bool:
    """Whether a folder may be searched: it is not hidden, no link, no environment, nothing that tools made, and its files can be named."""
    if path.name.startswith((".", "__")) or len(os.fsencode(path)) > LONGEST:
        return False
    try:
        return not (path.is_symlink() or (path / "pyvenv.cfg").exists())
    except OSError:  # it may not be entered
        return False


def is_script(path: PurePath) -> bool:
    """Whether a file is named as a script is; browsers append ``.txt``."""
    return path.name.lower().endswith((".py", ".py.txt"))


def script_name(path: PurePath) -> str:
    """The name by which a script is imported, with its folders: ``helpers.py`` of ``helpers.PY`` or ``helpers.py.txt``.

    A Mac writes an umlaut as two characters; an import has it as one.
    """
    return unicodedata.normalize("NFC", re.sub(r"\.py(\.txt)?$", ".py", path.as_posix(), flags=re.IGNORECASE))


def has_notebook_name(path: PurePath) -> bool:
    """Whether a file is named as a notebook is, or was before something was appended: ``1_data.ipynb.txt``, ``1_DATA.IPYNB``."""
    return ".ipynb" in path.name.lower()


def is_notebook(path: Path) -> bool:
    """Whether a file has a notebook's name, or begins or ends like a notebook; it may still be damaged."""
    if has_notebook_name(path):
        return True
    try:
        with path.open("rb") as file:
            head = _ascii(file.read(64))
            if not head.lstrip().startswith(b"{"):
                return False
            head += _ascii(file.read(HEAD))
            file.seek(max(0, path.stat().st_size - 4096))
            return NOTEBOOK_KEYS.search(head) is not None or NOTEBOOK_KEYS.search(_ascii(file.read())) is not None
    except OSError:
        return False


def _ascii(content: bytes) -> bytes:
    """Bytes without byte order mark, and without the zeros of UTF-16."""
    return content.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")


def shown_path(path: PurePath) -> str:
    """A path as messages name it."""
    return shown(path.as_posix(), 200)
