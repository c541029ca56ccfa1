"""`data verify` of satellite pictures: figures against counts by other means, every fault by its words."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segkit.cli import main
from segkit.datasets import DataError
from segkit.datasets.satellite import SPEC
from segkit.datasets.survey import format_survey
from segkit.reference.satellite import read_mask
from segkit.reference.satellite_survey import read_ids, survey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pairs of 8 x 8 pixels: half water, half forest, and one corner that nobody labelled."""
    mask = np.zeros((8, 8, 3), np.uint8)
    mask[:, :4], mask[:, 4:], mask[0, 0] = (0, 0, 255), (0, 255, 0), 0
    for name in ("train/0000", "train/0001", "validation/0000"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}_sat.jpg")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    return tmp_path


def look(root: Path):
    return survey(root, progress=False)


def verify(root: Path):
    return CliRunner().invoke(main, ["data", "verify", "--dataset", "satellite", "--data", str(root), "--quiet"])


def test_every_colour_has_the_number_of_its_class() -> None:
    path = SPEC.label_path(SPEC.find_root("sample"), "train_9003")  # with a margin that nobody labelled
    assert np.array_equal((read_ids(path).astype(int) - 1) % 7, read_mask(path).numpy())


def test_pairs_pixels_and_what_the_course_has_beside_them_are_counted(root: Path) -> None:
    found = look(root)
    assert found.pairs == {"train": 2, "validation": 1} and not found.faults
    assert found.pixels.tolist() == [3, 0, 0, 0, 96, 93, 0]
    text = format_survey(found)
    assert "3 pairs are not of 512 x 512 pixels" in text and "all in order" in text
    assert "train/: 1998 of the course's 2000 pairs are not here: 0002, 0003, 0004, ..." in text


def test_of_the_drawn_sample_there_is_nothing_to_say() -> None:
    found = look(SPEC.find_root("sample"))
    assert (found.notes, found.faults, found.pairs) == ([], [], {"train": 22, "validation": 10})


def test_what_is_missing_is_named_on_both_sides(root: Path) -> None:
    (root / "train/0001_mask.png").unlink()
    (root / "validation/0000_sat.jpg").unlink()
    assert look(root).faults == ["train/0001_mask.png: missing", "validation/0000_sat.jpg: missing"]


def test_a_mask_of_another_size_and_a_damaged_one_are_named(root: Path) -> None:
    Image.new("RGB", (8, 4)).save(root / "train/0000_mask.png")
    path = root / "train/0001_mask.png"
    path.write_bytes(path.read_bytes()[:50])
    first, second = look(root).faults
    assert "0000_mask.png: picture and label disagree in size: expected 8 x 8 (H x W, 0000_sat.jpg), found 4 x 8" in first
    assert "0001_mask.png: expected a complete mask, found a damaged file" in second


def test_a_colour_that_is_no_class_is_named_with_its_place_and_the_nearest_class(root: Path) -> None:
    path = root / "train/0001_mask.png"
    pixels = np.array(Image.open(path))
    pixels[2, 5], pixels[6, 1] = (10, 250, 3), (9, 9, 9)
    Image.fromarray(pixels).save(path)
    says = r"0001_mask.png: colour \(10, 250, 3\) at row 2, column 5 is no class; the nearest is forest \(0, 255, 0\). 1 more pixels"
    with pytest.raises(DataError, match=says):
        read_ids(path)
    done = verify(root)
    assert done.exit_code == 1 and "nearest is forest" in done.output and "1 fault(s) found" in done.output


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for part, count in (("train_50", 2), ("val_50", 1)):
        (tmp_path / part).mkdir()
        for number in range(50 * count):
            Image.new("RGB", (32, 32)).save(tmp_path / part / f"{number % 50}_{number // 50:03d}.png")
    return tmp_path


def test_classes_are_counted_and_their_root_needs_no_masks(classes: Path) -> None:
    done = verify(classes)
    assert done.exit_code == 0, done.output
    assert "train_50/: 100 pictures, 2 to 2 of each of 50 classes" in done.output
    assert "val_50/: 50 pictures, 1 to 1 of each of 50 classes" in done.output


def test_what_is_no_picture_of_a_class_is_a_fault(classes: Path) -> None:
    Image.new("RGB", (16, 32)).save(classes / "train_50" / "7_000.png")
    Image.new("RGB", (32, 32)).save(classes / "train_50" / "50_000.png")
    Image.new("RGB", (32, 32)).save(classes / "train_50" / "seven.png")
    (classes / "val_50" / "3_000.png").unlink()
    done = verify(classes)
    assert done.exit_code == 1 and "4 fault(s) found" in done.output
    for words in (
        "50_000.png: expected a class 0..49", "7_000.png: expected 32 x 32 pixels, found 32 x 16", "train_50/: 99 pictures, 1 to 2",
        "seven.png: expected a name CLASS_NUMBER.png", "val_50/: no picture of 1 of 50 classes: 3",
    ):  # fmt: skip
        assert words in done.output


def test_both_formats_are_looked_through_where_one_root_has_both(root: Path, classes: Path) -> None:
    found = look(root)
    assert root == classes and sum(found.pairs.values()) == 3 and any("train_50/" in note for note in found.notes)


def test_a_root_of_neither_says_what_it_expected(tmp_path: Path) -> None:
    done = verify(tmp_path)
    assert done.exit_code == 1 and "holds no folder train/" in done.output


def test_the_student_edition_says_why_verify_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "segkit.reference.satellite_survey", None)
    done = CliRunner().invoke(main, ["data", "verify", "--dataset", "satellite", "--data", "sample"])
    assert done.exit_code == 1 and "student edition" in done.output


# Counted with Pillow's getcolors: pixels of urban, agriculture, rangeland, forest, water, barren, unknown
REAL = {
    "0008": (0, 116508, 80787, 0, 64849, 0, 0),
    "0097": (1856, 65037, 20023, 167706, 7522, 0, 0),
    "0107": (129904, 0, 110004, 0, 1961, 20275, 0),
}


def test_real_masks_are_decoded_to_the_pixel(tmp_path: Path) -> None:
    if not (place := os.environ.get("SEGKIT_SATELLITE_ROOT")):
        pytest.skip("real satellite pictures not available: set SEGKIT_SATELLITE_ROOT to the folder that holds 0008_sat.jpg")
    (tmp_path / "train").mkdir()
    for name, counts in REAL.items():
        for kind in ("sat.jpg", "mask.png"):
            shutil.copy(Path(place) / f"{name}_{kind}", tmp_path / "train")
        mask = read_mask(tmp_path / "train" / f"{name}_mask.png")
        assert np.bincount(mask.flatten(), minlength=7).tolist() == list(counts), name
    found = look(tmp_path)
    assert not found.faults and found.sizes == [(512, 512)] * 3
    assert found.pixels.tolist() == [0, 131760, 181545, 210814, 167706, 74332, 20275]


def test_a_folder_of_the_gates_pictures_alone_is_a_root(root: Path) -> None:
    shutil.rmtree(root / "train")
    assert SPEC.find_root(root) == root and look(root).pairs == {"validation": 1}
