"""Drawn facades: deterministic, complete, and in the database's own file format."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.facades import CLASSES, PALETTE, data_folder
from segkit.synthetic import draw_facade, make_sample, sample_size, write_facade


@pytest.mark.parametrize("size", [(64, 64), (97, 301), (240, 200), (320, 200)])
@pytest.mark.parametrize("first", [0, 4, 8])
def test_four_houses_show_all_classes_and_none_alone_does(size: tuple[int, int], first: int) -> None:
    facades = [draw_facade(number, size) for number in range(first, first + 4)]
    shown = [set(np.unique(facade.ids)) for facade in facades]
    assert set.union(*shown) == set(range(1, 13)) and all(1 < len(classes) < 12 for classes in shown)
    assert {1, 2, 3, 5, 10} <= set.intersection(*shown), "background, facade, window, cornice and molding are everywhere"
    for facade in facades:
        assert facade.image.shape == (*size, 3) and facade.image.dtype == np.uint8
        assert facade.ids.shape == size and facade.ids.dtype == np.uint8


def test_houses_of_a_street_differ() -> None:
    """Is each a house of its own, or a copy with other colours? In what it has and how often."""
    street = [draw_facade(number, sample_size(number, 2026)) for number in range(16)]
    counted = [tuple(sorted(Counter(box.id for box in facade.boxes).items())) for facade in street]
    assert len(set(counted)) >= 10, counted


def test_same_seed_same_facade_and_another_seed_another() -> None:
    one, same, other = draw_facade(5, (128, 128)), draw_facade(5, (128, 128)), draw_facade(6, (128, 128))
    assert np.array_equal(one.image, same.image) and np.array_equal(one.ids, same.ids)
    assert not np.array_equal(one.image, other.image) and not np.array_equal(one.ids, other.ids)


def test_a_small_unit_gives_more_storeys_and_bays() -> None:
    few, many = draw_facade(8, (420, 420), unit=60), draw_facade(8, (420, 420), unit=28)
    windows = [sum(box.id == 3 for box in facade.boxes) for facade in (few, many)]
    moldings = [sum(box.id == 10 for box in facade.boxes) for facade in (few, many)]
    assert windows[1] >= 2 * windows[0] and moldings == [1, 3]


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
    for number in range(4):
        ids = draw_facade(number, (240, 260)).ids
        rows = {name: np.nonzero(ids == k + 1)[0].mean() for k, name in enumerate(CLASSES) if (ids == k + 1).any()}
        assert rows["cornice"] < rows.get("deco", rows["cornice"] + 1) < rows["window"] and rows["cornice"] < rows["molding"]
        assert all(rows["molding"] < rows[name] for name in ("door", "shop") if name in rows)
        assert (ids[0] == 1).all() and (ids[-1] == 1).all()


def test_classes_differ_in_look() -> None:
    """Could a network tell them apart? Each class differs from the wall in mean colour or in contrast."""
    for number in range(8, 12):
        facade = draw_facade(number, (320, 320))
        wall = facade.image[facade.ids == 2].astype(float)
        for k in set(np.unique(facade.ids)) - {2}:
            pixels = facade.image[facade.ids == k].astype(float)
            colour = np.abs(pixels.mean(0) - wall.mean(0)).max()
            contrast = np.abs(pixels.std(0) - wall.std(0)).max()
            assert max(colour, contrast) > 20, CLASSES[k - 1]


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
