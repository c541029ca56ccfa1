"""A small stand-in for the database: three base and two extended triples, with their manifest."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.datasets.facades import archives, verifying
from segkit.facades import PALETTE

NAMES = {"base": ("cmp_b0001", "cmp_b0002", "cmp_b0003"), "extended": ("cmp_x0001", "cmp_x0002")}


def png(ids: np.ndarray) -> bytes:
    picture = Image.fromarray(ids, mode="L")
    picture.putpalette(PALETTE.tobytes())
    return encoded(picture, "PNG")


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def make_files() -> dict[str, bytes]:
    """Path below the root -> content; pictures of 32 x 48, with the ids 1..12."""
    rng = np.random.default_rng(0)
    files = {}
    for part, names in NAMES.items():
        for name in names:
            image = rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)
            files[f"{part}/{name}.jpg"] = encoded(Image.fromarray(image), "JPEG")
            files[f"{part}/{name}.png"] = png(rng.integers(1, 13, (32, 48), dtype=np.uint8))
            files[f"{part}/{name}.xml"] = b"<object>\r</object>\r"
    return files


def lay_out(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def zipped(files: dict[str, bytes], part: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            if path.startswith(part):
                archive.writestr(path, content)
        archive.writestr("readme.txt", "about the database")
    return buffer.getvalue()


def shrink_database(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Lets the kit believe that the database has just these files."""
    manifest = {p: hashlib.sha256(c).hexdigest() for p, c in files.items() if p.startswith("base/")}
    for module in (archives, verifying):
        monkeypatch.setattr(module, "part_names", NAMES.__getitem__)
        monkeypatch.setattr(module, "read_manifest", lambda: manifest)
