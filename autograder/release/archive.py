"""A zip that is the same bytes whenever its contents are the same: sorted names, one fixed time, one fixed mode."""

import zipfile
from pathlib import Path

__all__ = ["write_zip"]

FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold
# these are compressed already: compressing checkpoints again gains nothing and takes minutes
STORED = frozenset({".png", ".jpg", ".jpeg", ".safetensors", ".zip", ".gz"})


def write_zip(target: Path, folder: Path, top: str) -> None:
    """Pack a folder.

    Args:
        target: the zip to write.
        folder: what to pack; only regular files are taken.
        top: name of the one folder inside the zip that everything lies in; empty for none.
    """
    with zipfile.ZipFile(target, "w") as bundle:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if path.is_symlink() or not path.is_file():
                continue
            name = path.relative_to(folder).as_posix()
            info = zipfile.ZipInfo(f"{top}/{name}" if top else name, FIXED_TIME)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # otherwise Windows and Linux write different bytes
            info.compress_type = zipfile.ZIP_STORED if path.suffix in STORED else zipfile.ZIP_DEFLATED
            with open(path, "rb") as source, bundle.open(info, "w", force_zip64=path.stat().st_size > 2**31) as sink:
                while chunk := source.read(2**20):
                    sink.write(chunk)
