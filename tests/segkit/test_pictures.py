"""Photographs as cameras, phones and file managers leave them: turned, in capitals, beside files that are no pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from segkit import pictures
from segkit.datasets.facades.verifying import survey
from segkit.environment import split_of
from segkit.facades import PALETTE, DataError, FacadeDataset, find_root, image_path, label_path
from segkit.transforms import to_tensor

LITTER = ("._cmp_b0001.jpg", "._cmp_b0001.png", ".DS_Store", "Thumbs.db", "desktop.ini")


def decode(path: Path) -> torch.Tensor:
    ids = torch.from_numpy(np.array(Image.open(path))).long()
    return torch.where(ids == 0, 255, ids - 1)


def photograph(path: Path, orientation: int | None = None, size: tuple[int, int] = (20, 32)) -> np.ndarray:
    """Write a photograph whose four corners differ, and return what the file stores."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.zeros((*size, 3), np.uint8)
    half, middle = size[0] // 2, size[1] // 2
    for value, (rows, columns) in enumerate(((slice(None, half), slice(None, middle)), (slice(None, half), slice(middle, None)),
                                            (slice(half, None), slice(None, middle)))):  # fmt: skip
        stored[rows, columns] = 80 * (value + 1)
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(path, "JPEG", quality=100, subsampling=0, exif=exif)
    return stored


def label(path: Path, size: tuple[int, int]) -> None:
    picture = Image.fromarray(np.full(size, 3, np.uint8))
    picture.putpalette(PALETTE.tobytes())
    picture.save(path, "PNG")


def corners(pixels: np.ndarray) -> list[int]:
    return [round(int(pixels[row, column, 0]) / 80) for row in (2, -3) for column in (2, -3)]


# orientation -> corners of the upright picture, worked by hand from EXIF 2.32, table 6: where row 0 and column 0 of the file belong
UPRIGHT = {
    1: [1, 2, 3, 0], 2: [2, 1, 0, 3], 3: [0, 3, 2, 1], 4: [3, 0, 1, 2],
    5: [1, 3, 2, 0], 6: [3, 1, 0, 2], 7: [0, 2, 3, 1], 8: [2, 0, 1, 3],
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photograph_is_turned_upright_wherever_it_is_opened(tmp_path, orientation):
    path = tmp_path / "base" / "cmp_b0001.jpg"
    photograph(path, orientation)
    size = (20, 32) if orientation < 5 else (32, 20)
    label(tmp_path / "base" / "cmp_b0001.png", size)
    with Image.open(path) as picture:
        by_pillow = np.array(ImageOps.exif_transpose(picture))  # the library's own way, as a second opinion
        as_tensor = to_tensor(picture)
    pixels, _ = FacadeDataset(tmp_path, names=["cmp_b0001"], read_label=decode).decode(0)
    assert corners(pixels) == UPRIGHT[orientation] and np.array_equal(pixels, by_pillow)
    assert pixels.shape[:2] == size == pictures.photograph_size(path)
    assert corners(as_tensor.mul(255).permute(1, 2, 0).numpy()) == UPRIGHT[orientation]
    assert FacadeDataset(tmp_path, names=["cmp_b0001"], read_label=decode).size(0) == size


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path, orientation):
    photograph(tmp_path / "a.jpg", orientation)
    assert corners(pictures.open_photograph(tmp_path / "a.jpg")) == UPRIGHT[1]


# python-pillow/Pillow#518, #8348, huggingface/datasets#7668: EXIF parts filled with nonsense
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\0" * 64])
def test_a_damaged_exif_part_does_not_cost_the_photograph(tmp_path, exif):
    stored = photograph(tmp_path / "plain.jpg")
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    assert corners(pictures.open_photograph(tmp_path / "a.jpg")) == UPRIGHT[1] and pictures.photograph_size(tmp_path / "a.jpg") == (20, 32)


# python-pillow/Pillow#7340, #7839, #4346: the part can be read, and not written again, which ImageOps.exif_transpose does
def test_a_photograph_is_turned_although_its_exif_part_cannot_be_written_again(tmp_path, monkeypatch):
    photograph(tmp_path / "a.jpg", 6)

    def broken(self, offset=8):
        raise TypeError("object of type 'IFDRational' has no len()")

    monkeypatch.setattr(Image.Exif, "tobytes", broken)
    assert corners(pictures.open_photograph(tmp_path / "a.jpg")) == UPRIGHT[6]


# facebookresearch/detectron2#788
def test_a_label_that_lies_on_its_side_is_refused_with_both_files(tmp_path):
    photograph(tmp_path / "base" / "cmp_b0001.jpg", 6)
    label(tmp_path / "base" / "cmp_b0001.png", (20, 32))
    words = r"cmp_b0001.png: .*expected 32 x 20 \(H x W, cmp_b0001.jpg\), found 20 x 32. One of them lies on its side. .*EXIF"
    with pytest.raises(DataError, match=words):
        FacadeDataset(tmp_path, names=["cmp_b0001"], read_label=decode)[0]
    assert survey(tmp_path, progress=False).pairs == {"base": 0}  # and so nothing of it is counted


# pytorch/vision#552, PeterL1n/BackgroundMattingV2#51
@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".jpeg", ".JPEG", ".Jpg"])
@pytest.mark.parametrize("other", [".png", ".PNG"])
def test_endings_are_read_in_any_case(tmp_path, ending, other):
    photograph(tmp_path / "base" / f"street_1{ending}")
    label(tmp_path / "base" / f"street_1{other}", (20, 32))
    image, _ = FacadeDataset(tmp_path, names=["street_1"], read_label=decode)[0]
    assert image.shape == (3, 20, 32)
    found = survey(tmp_path, progress=False)
    assert found.pairs == {"base": 1} and not any("street_1" in fault for fault in found.faults)


def test_a_picture_that_is_not_there_has_the_usual_name(tmp_path):
    assert image_path(tmp_path, "cmp_b0001") == tmp_path / "base" / "cmp_b0001.jpg"
    assert label_path(tmp_path, "cmp_x0001") == tmp_path / "extended" / "cmp_x0001.png"


# GaParmar/clean-fid#37
def test_a_picture_is_counted_once_whatever_its_endings(tmp_path):
    for name in ("a.jpg", "a.JPG", "a.jpeg"):
        photograph(tmp_path / name)
    assert pictures.names_in(tmp_path, pictures.PHOTOGRAPHS) == ["a"]


# fastai/fastai#488, deeplearning4j/deeplearning4j#8080, apple/turicreate#644
def test_what_systems_leave_beside_pictures_is_none(tmp_path):
    """macOS writes ._NAME beside every file on a stick; Windows keeps Thumbs.db."""
    for name in ("a", "b"):
        photograph(tmp_path / "base" / f"{name}.jpg")
        label(tmp_path / "base" / f"{name}.png", (20, 32))
    for name in LITTER:
        (tmp_path / "base" / name).write_bytes(b"\0\5\x16\7")
    assert pictures.names_in(tmp_path / "base", pictures.PHOTOGRAPHS) == ["a", "b"]
    found = survey(tmp_path, progress=False)
    assert found.pairs == {"base": 2} and found.faults == []


@pytest.mark.parametrize(("file", "split"), [
    ("base/cmp_s0001.JPG", "sample"), ("extended/cmp_x0001.jpeg", "course"), ("base/._cmp_s0001.jpg", "base"),
])  # fmt: skip
def test_the_split_is_known_by_pictures_of_any_ending(tmp_path, file, split):
    photograph(tmp_path / "base" / "cmp_b0001.jpg")
    photograph(tmp_path / file)
    assert split_of(tmp_path) == split


def test_a_folder_of_capital_pictures_themselves_is_told(tmp_path):
    photograph(tmp_path / "base" / "cmp_b0001.JPG")
    with pytest.raises(DataError, match=f"holds the pictures themselves: name the folder above it, {tmp_path}"):
        find_root(tmp_path / "base")
    photograph(tmp_path / "cmp_b0001.JPG")  # nobody finds them above either
    (tmp_path / "base").rename(tmp_path / "photographs")
    with pytest.raises(DataError, match=f"move them into a folder base/ or extended/ in it, and name {tmp_path} again"):
        find_root(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"<html>", b"\xff\xd8\xff\xe0"])
def test_a_damaged_photograph_is_named(tmp_path, damage):
    label(tmp_path / "cmp_b0001.png", (4, 4))
    (tmp_path / "base").mkdir()
    (tmp_path / "cmp_b0001.png").rename(tmp_path / "base" / "cmp_b0001.png")
    (tmp_path / "base" / "cmp_b0001.JPG").write_bytes(damage)
    with pytest.raises(DataError, match=r"cmp_b0001.JPG: expected a complete picture, found a damaged or truncated file"):
        FacadeDataset(tmp_path, names=["cmp_b0001"], read_label=decode)[0]


def test_a_decompression_bomb_is_named_and_not_unpacked(tmp_path, monkeypatch):
    photograph(tmp_path / "base" / "cmp_b0001.jpg", size=(64, 64))
    label(tmp_path / "base" / "cmp_b0001.png", (64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="cmp_b0001.jpg: expected a complete picture"):
        FacadeDataset(tmp_path, names=["cmp_b0001"], read_label=decode)[0]
