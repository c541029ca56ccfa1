"""A zip that is the same bytes whenever its sources are the same: sorted names, one time for all files, one fixed mode."""

import os
import subprocess
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from autograder.course.sources import ReleaseError

__all__ = ["source_time", "write_zip"]

EARLIEST, LATEST = 315532800, 4354819198  # what a zip can hold: 1980 to 2107, in seconds since 1970
# these are compressed already: compressing checkpoints again gains nothing and takes minutes
STORED = frozenset({".png", ".jpg", ".jpeg", ".safetensors", ".zip", ".gz"})


def source_time(root: Path, files: Iterable[Path]) -> float:
    """When the sources of an archive were made, so that the same sources give the same archive whenever and wherever it is built.

    Args:
        root: The repository; the time of its last commit counts.
        files: Where it is none, the time of the newest of these files counts.

    Returns:
        Seconds since 1970; ``SOURCE_DATE_EPOCH`` of the environment where it is set.

    Raises:
        ReleaseError: ``SOURCE_DATE_EPOCH`` is no number.
    """
    wanted = os.environ.get("SOURCE_DATE_EPOCH", "")
    if wanted:
        if not wanted.isascii() or not wanted.isdigit():
            raise ReleaseError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, found {wanted!r}. Correct it, or take it away.")
        return float(wanted)
    try:
        git = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        return float(subprocess.run(git, capture_output=True, text=True, check=True, timeout=20).stdout)
    except (OSError, subprocess.SubprocessError, ValueError):  # no git here, or no repository
        return max(path.stat().st_mtime for path in files)


def write_zip(target: Path, folder: Path, top: str, when: float = EARLIEST) -> None:
    """Pack a folder.

    Args:
        target: the zip to write.
        folder: what to pack; only regular files are taken.
        top: name of the one folder inside the zip that everything lies in; empty for none.
        when: time of all files, in seconds since 1970; they stand in the zip in UTC.
    """
    moment = time.gmtime(min(max(when, EARLIEST), LATEST))[:6]
    with zipfile.ZipFile(target, "w") as bundle:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if path.is_symlink() or not path.is_file():
                continue
            name = path.relative_to(folder).as_posix()
            info = zipfile.ZipInfo(f"{top}/{name}" if top else name, moment)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # otherwise Windows and Linux write different bytes
            info.compress_type = zipfile.ZIP_STORED if path.suffix in STORED else zipfile.ZIP_DEFLATED
            with open(path, "rb") as source, bundle.open(info, "w", force_zip64=path.stat().st_size > 2**31) as sink:
                while chunk := source.read(2**20):
                    sink.write(chunk)
