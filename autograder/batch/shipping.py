"""Files of one submission as bytes, for machines that share no folder."""

import io
import os
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

__all__ = ["MOST_BYTES", "ShippingError", "pack", "unpack"]

MOST_BYTES = 64 * 2**20  # of one submission, or of what its result shows; a scheduler holds some of them at a time
MOST_FILES = 5000


class ShippingError(Exception):
    """It is too large to be sent, or holds what cannot be sent."""


def pack(path: Path, leave_out: Collection[str] = ()) -> bytes:
    """Pack a file, or a folder with all files below it; links stay links, and what is no file is left out.

    Args:
        path: The file or folder.
        leave_out: Paths in the folder.

    Raises:
        ShippingError: There is too much of it.
        OSError: It cannot be read.
    """
    files = [path] if not path.is_dir() else sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    files = [file for file in files if (file.is_symlink() or file.is_file()) and file.relative_to(path).as_posix() not in leave_out]
    size = sum(file.lstat().st_size for file in files)
    if size > MOST_BYTES or len(files) > MOST_FILES:
        raise ShippingError(
            f"{path.name} has {size / 2**20:.0f} MiB in {len(files)} files; at most {MOST_BYTES // 2**20} MiB in {MOST_FILES} files are "
            "sent. Lay it where the workers see it under the same path"
        )
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        for file in [path, *files] if path.is_dir() else files:
            bundle.add(file, file.relative_to(path.parent).as_posix(), recursive=False)
    return stream.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write the packed file or folder into a folder; what is there of that name is written over.

    Raises:
        ShippingError: One of them would lie elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as bundle:
        for member in bundle:
            name = PurePosixPath(member.name)
            place = folder / name
            if name.is_absolute() or ".." in name.parts or not place.parent.resolve().is_relative_to(folder.resolve()):
                raise ShippingError(f"{member.name} lies outside of the folder")
            (place if member.isdir() else place.parent).mkdir(parents=True, exist_ok=True)
            if member.issym():
                place.symlink_to(member.linkname)
            elif (source := bundle.extractfile(member)) is not None:
                place.write_bytes(source.read())
                os.utime(place, (member.mtime, member.mtime))
