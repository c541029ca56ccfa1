"""The pictures of the gates, as an instructor's phone and file manager leave them."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from autograder.assignments.fcn.prepare import open_data, open_pictures
from autograder.course.assignment import open_assignment
from segkit.facades import PALETTE

RUBRIC = open_assignment("fcn").rubric


def pair(folder, name, ending=".jpg", other=".png", orientation=1, label_size=(40, 60)):
    (folder / "base").mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20] = 200
    Image.fromarray(pixels).save(folder / "base" / f"{name}{ending}", "JPEG", exif=exif)
    ids = Image.fromarray(np.full(label_size, 2, np.uint8))
    ids.putpalette(PALETTE.tobytes())
    ids.save(folder / "base" / f"{name}{other}", "PNG")


def test_photographs_of_the_gate_are_upright(tmp_path):
    pair(tmp_path, "IMG_1", ".JPG", ".PNG", orientation=6, label_size=(60, 40))
    data = open_data(str(tmp_path), RUBRIC, own=True)
    assert data.names == ("IMG_1",) and data.size("IMG_1") == (60, 40)
    assert data.photo("IMG_1").shape == (60, 40, 3) and data.image("IMG_1").shape == (3, 60, 40)
    assert data.label("IMG_1").shape == (60, 40)
    assert data.photo("IMG_1")[:, -5:].min() > 100 > data.photo("IMG_1")[:, :5].max()  # the bright upper half is the right one now


def test_what_systems_leave_beside_the_pictures_is_no_picture_of_the_gate(tmp_path):
    pair(tmp_path, "a", ".jpeg")
    for name in ("._a.jpeg", "._a.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / "base" / name).write_bytes(b"\0\5\x16\7")
    assert open_data(str(tmp_path), RUBRIC, own=True).names == ("a",)
    assert open_pictures(str(tmp_path), RUBRIC, own=True).names == ("a",)


def test_a_label_of_another_shape_is_never_counted(tmp_path):
    pair(tmp_path, "a", orientation=8)
    with pytest.raises(ValueError, match=r"a.png: .* expected 60 x 40 \(H x W, a.jpg\), found 40 x 60. One of them lies on its side"):
        open_data(str(tmp_path), RUBRIC, own=True)
