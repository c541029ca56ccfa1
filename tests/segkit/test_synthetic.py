"""Drawn facades: deterministic, complete, and in the database's own file format."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.facades import CLASSES, PALETTE, data_folder
from segkit.synthetic import draw_facade, make_sample, sample_size, write_facade


@pytest.mark.parametrize("size", [(64, 64), (97, 301), (240, 200), (320, 200)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_facade_shows_all_classes(size: tuple[int, int], seed: int) -> None:
    facade = draw_facade(seed, size)
    assert facade.image.shape == (*size, 3) and facade.image.dtype == np.uint8
    assert facade.ids.shape == size and facade.ids.dtype == np.uint8
    assert set(np.unique(facade.ids)) == set(range(1, 13))


def test_same_seed_same_facade_and_another_seed_another() -> None:
    one, same, other = draw_facade(5, (128, 128)), draw_facade(5, (128, 128)), draw_facade(6, (128, 128))
    assert np.array_equal(one.image, same.image) and np.array_equal(one.ids, same.ids)
    assert not np.array_equal(one.image, other.image) and not np.array_equal(one.ids, other.ids)


def test_a_small_unit_gives_more_storeys_and_bays() -> None:
    few, many = draw_facade(8, (420, 420)), draw_facade(8, (420, 420), unit=36)
    windows = [sum(box.id == 3 for box in facade.boxes) for facade in (few, many)]
    assert windows[0] == 2 and windows[1] >= 6
    assert set(np.unique(many.ids)) == set(range(1, 13))


def test_unknown_pixels_only_on_request() -> None:
    assert (draw_facade(3, unknown=True).ids == 0).mean() > 0.005
    assert (draw_facade(3).ids != 0).all()


def test_boxes_painted_in_order_give_the_label_map() -> None:
    facade = draw_facade(11, (200, 260))
    painted = np.ones_like(facade.ids)
    for box in facade.boxes:
        painted[box.top : box.bottom, box.left : box.right] = box.id
    assert np.array_equal(painted, facade.ids)


def test_layout_is_plausible() -> None:
    """Sky above the cornice, cornice above windows, doors and shops at the bottom."""
    facade = draw_facade(4, (300, 260))
    rows = {name: np.nonzero(facade.ids == k + 1)[0].mean() for k, name in enumerate(CLASSES)}
    assert rows["cornice"] < rows["deco"] < rows["window"] < rows["molding"] < rows["shop"]
    assert rows["window"] < rows["door"] and (facade.ids[0] == 1).all() and (facade.ids[-1] == 1).all()


def test_classes_differ_in_look() -> None:
    """Could a network tell them apart? Each class differs from the wall in mean colour or in contrast."""
    facade = draw_facade(9, (320, 320))
    wall = facade.image[facade.ids == 2].astype(float)
    for k, name in enumerate(CLASSES):
        if name == "facade":
            continue
        pixels = facade.image[facade.ids == k + 1].astype(float)
        colour = np.abs(pixels.mean(0) - wall.mean(0)).max()
        contrast = np.abs(pixels.std(0) - wall.std(0)).max()
        assert max(colour, contrast) > 20, name


def test_too_small_a_facade_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 x 64 pixels, but got 63 x 200"):
        draw_facade(0, (63, 200))


def test_files_are_in_the_format_of_the_database(tmp_path: Path) -> None:
    facade = draw_facade(1, (120, 150), unknown=True)
    write_facade(tmp_path, "cmp_s0001", facade)
    write_facade(tmp_path, "cmp_x0001", facade)
    assert (tmp_path / "extended" / "cmp_x0001.png").is_file()
    with Image.open(tmp_path / "base" / "cmp_s0001.jpg") as picture:
        assert picture.format == "JPEG" and picture.mode == "RGB" and picture.size == (150, 120)
        assert np.abs(np.array(picture).astype(int) - facade.image).mean() < 6
    with Image.open(tmp_path / "base" / "cmp_s0001.png") as label:
        assert label.mode == "P" and label.format == "PNG"
        assert label.getpalette()[:39] == PALETTE.ravel().tolist()
        assert np.array_equal(np.array(label), facade.ids)


def boxes_in(path: Path) -> list[tuple[int, str, list[float], list[float]]]:
    """Reads the database's xml without an xml parser, for it is none: no root element."""
    text = path.read_bytes().decode("ascii").replace("\r", "")
    found = []
    for body in re.findall(r"<object>(.*?)</object>", text):
        xs = [float(v) for v in re.findall(r"<x>(.*?)</x>", body)]
        ys = [float(v) for v in re.findall(r"<y>(.*?)</y>", body)]
        found.append((int(re.search(r"<label>(\d+)<", body)[1]), re.search(r"<labelname>(\w+)<", body)[1], xs, ys))
    return found


def test_xml_has_x_for_rows_and_y_for_columns(tmp_path: Path) -> None:
    facade = draw_facade(2, (120, 240))
    write_facade(tmp_path, "cmp_s0001", facade)
    found = boxes_in(tmp_path / "base" / "cmp_s0001.xml")
    assert len(found) == len(facade.boxes)
    for (number, name, xs, ys), box in zip(found, facade.boxes, strict=True):
        assert (number, name) == (box.id, CLASSES[box.id - 1]) and name != "background"
        assert np.allclose(np.array(xs) * 120, (box.top, box.bottom), atol=0.02)
        assert np.allclose(np.array(ys) * 240, (box.left, box.right), atol=0.02)


def test_xml_is_written_like_a_real_one(tmp_path: Path, cmp_root: Path) -> None:
    write_facade(tmp_path, "cmp_s0001", draw_facade(2, (120, 240)))
    ours = (tmp_path / "base" / "cmp_s0001.xml").read_bytes()
    real = (cmp_root / "base" / "cmp_b0001.xml").read_bytes()

    def shape(data: bytes) -> bytes:
        """The first object without its numbers and names."""
        first = data[: data.index(b"</object>") + 9]
        return re.sub(rb"(?<=\r)[\w.]+(?=\r)", b"*", first)

    assert shape(ours) == shape(real)
    assert b"\n" not in ours and ours.endswith(real[-10:])
    assert len(boxes_in(cmp_root / "base" / "cmp_b0001.xml")) > 10


def test_committed_sample_is_what_the_code_draws(tmp_path: Path) -> None:
    """Is the sample still the one that `data sample` makes? (Labels exactly; jpg bytes depend on Pillow.)"""
    names = make_sample(tmp_path, count=5)
    assert names[-1] == "cmp_s0005"
    for name in names:
        drawn, kept = (folder / "base" / f"{name}.png" for folder in (tmp_path, data_folder() / "facades" / "sample"))
        assert np.array_equal(np.array(Image.open(drawn)), np.array(Image.open(kept)))
        jpgs = [np.array(Image.open(path.with_suffix(".jpg"))).astype(int) for path in (drawn, kept)]
        assert np.abs(jpgs[0] - jpgs[1]).mean() < 4


def test_last_four_of_the_sample_are_small() -> None:
    assert all(max(sample_size(index, 2026)) <= 224 for index in range(28, 32))
    assert all(192 <= side <= 320 for index in range(28) for side in sample_size(index, 2026))
