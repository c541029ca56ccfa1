"""The survey of a folder: figures against counts by hand, every fault by its words."""

from pathlib import Path

import facade_files
import numpy as np
import pytest
from PIL import Image

from segkit.datasets.facades.verifying import read_ids, survey, write_manifest
from segkit.datasets.survey import format_survey
from segkit.facades import DataError, find_root


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = facade_files.make_files()
    facade_files.shrink_database(monkeypatch, files)
    return files


def look(root: Path, files: dict[str, bytes]):
    facade_files.lay_out(root, files)
    return survey(root, progress=False)


def test_ids_are_the_palette_index(tmp_path: Path) -> None:
    ids = np.arange(26, dtype=np.uint8).reshape(2, 13) % 13
    (tmp_path / "a.png").write_bytes(facade_files.png(ids))
    found = read_ids(tmp_path / "a.png")
    assert found.dtype == np.uint8 and np.array_equal(found, ids)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_labels_saved_anew_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a.png: expected a palette picture \(mode P\).*found mode {mode}"):
        read_ids(tmp_path / "a.png")


def test_ids_above_12_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(facade_files.png(np.full((3, 3), 13, np.uint8)))
    with pytest.raises(DataError, match="expected ids 0..12, found 13"):
        read_ids(tmp_path / "a.png")


def test_truncated_and_missing_labels_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 13, (60, 60), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(facade_files.png(noise)[:900])
    with pytest.raises(DataError, match=r"a.png: expected a complete label PNG.*\(900 bytes"):
        read_ids(tmp_path / "a.png")
    with pytest.raises(DataError, match="b.png: .*missing or damaged"):
        read_ids(tmp_path / "b.png")


def test_figures_of_a_whole_folder(tmp_path: Path, files: dict[str, bytes]) -> None:
    files["base/cmp_b0001.png"] = facade_files.png(np.full((32, 48), 3, np.uint8))
    found = look(tmp_path, files)
    assert found.pairs == {"base": 3, "extended": 2}
    assert found.sizes == [(32, 48)] * 5 and found.pixels.sum() == 5 * 32 * 48
    assert found.pixels[3] >= 32 * 48
    assert found.frequencies.sum() == pytest.approx(1)
    assert found.faults == ["base/cmp_b0001.png: sha256 differs from the manifest"]
    assert found.hashed == (9, 9)


def test_clean_folder_is_all_in_order(tmp_path: Path, files: dict[str, bytes]) -> None:
    text = format_survey(look(tmp_path, files))
    assert "base 3, extended 2" in text and "9 of 9 in the manifest" in text
    assert "32 / 32 / 32 and 48 / 48 / 48 px" in text and text.endswith("all in order")


def test_unknown_pixels_do_not_enter_the_frequencies(tmp_path: Path, files: dict[str, bytes]) -> None:
    half = np.zeros((32, 48), np.uint8)
    half[:, :12] = 2
    for name in facade_files.NAMES["base"]:
        files[f"base/{name}.png"] = facade_files.png(half)
    files = {path: content for path, content in files.items() if path.startswith("base")}
    found = look(tmp_path, files)
    assert found.frequencies[1] == 1
    assert " 75.0 % of all pixels" in format_survey(found)
    assert "always answering 'facade': 100.0 % accuracy" in format_survey(found)


def rgb_label(files: dict[str, bytes]) -> None:
    files["extended/cmp_x0001.png"] = facade_files.encoded(Image.new("RGB", (48, 32)), "PNG")


def other_palette(files: dict[str, bytes]) -> None:
    picture = Image.fromarray(np.ones((32, 48), np.uint8))
    picture.putpalette([value for k in range(13) for value in (k, k, k)])
    files["extended/cmp_x0001.png"] = facade_files.encoded(picture, "PNG")


def other_size(files: dict[str, bytes]) -> None:
    files["extended/cmp_x0001.png"] = facade_files.png(np.ones((32, 47), np.uint8))


FAULTS = [
    (lambda f: f.pop("extended/cmp_x0001.png"), "extended/cmp_x0001.png: missing"),
    (lambda f: f.pop("extended/cmp_x0002.jpg"), "extended/cmp_x0002.jpg: missing"),
    (lambda f: f.update({"extended/cmp_x0001.jpg": f["extended/cmp_x0001.jpg"][:400]}), "found a damaged file (400"),
    (lambda f: f.update({"extended/cmp_x0001.png": f["extended/cmp_x0001.png"][:400]}), "complete label PNG"),
    (rgb_label, "expected a palette picture (mode P)"),
    (other_palette, "expected the database's palette"),
    (other_size, "expected 32 x 48 (H x W, cmp_x0001.jpg), found 32 x 47"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS)
def test_each_fault_is_found_and_the_rest_still_counted(tmp_path: Path, files, change, words: str) -> None:
    change(files)
    found = look(tmp_path, files)
    assert len(found.faults) == 1 and words in found.faults[0]
    assert found.pairs["base"] == 3 and found.pairs["extended"] >= 1
    assert words in format_survey(found) and "1 fault(s) found" in format_survey(found)


def test_pictures_the_database_does_not_have_are_a_remark(tmp_path: Path, files: dict[str, bytes]) -> None:
    for suffix in (".jpg", ".png", ".xml"):
        files[f"base/cmp_b0999{suffix}"] = files[f"base/cmp_b0001{suffix}"]
    found = look(tmp_path, files)
    assert not found.faults and "cmp_b0999" in found.notes[0] and found.pairs["base"] == 4


def test_a_folder_without_pictures_is_a_fault(tmp_path: Path) -> None:
    assert "no such folder" in survey(tmp_path, progress=False).faults[0]
    (tmp_path / "base").mkdir()
    assert "no pictures" in survey(tmp_path, progress=False).faults[0]


def test_written_manifest_is_read_back_by_sha256sum_format(tmp_path: Path, files: dict[str, bytes]) -> None:
    facade_files.lay_out(tmp_path, files)
    assert write_manifest(tmp_path, tmp_path / "m") == 9
    digest, path = (tmp_path / "m").read_text().splitlines()[0].split("  ")
    assert path == "base/cmp_b0001.jpg" and len(digest) == 64


def test_the_sample_is_in_order() -> None:
    found = survey(find_root("sample"), progress=False)
    assert found.faults == [] and found.pairs == {"base": 32}
    assert found.pixels[0] > 0  # some of it is unknown, so that ignoring is practised


def test_real_figures_are_those_of_the_specification(cmp_root: Path) -> None:
    found = survey(cmp_root, progress=False)
    assert found.pairs["base"] == 378 and found.faults == [] and found.hashed == (1134, 1134)
    base = {"background": 15.4, "facade": 38.5, "window": 13.45, "door": 1.3, "cornice": 4.0, "sill": 2.8}
    rest = {"balcony": 4.0, "blind": 1.5, "deco": 2.1, "molding": 11.5, "pillar": 2.4, "shop": 3.3}
    assert found.frequencies * 100 == pytest.approx(list((base | rest).values()), abs=0.05)
    text = format_survey(found)
    assert "207 / 828 / 1024 and 241 / 779.5 / 1024" in text
    assert "312; 47 pictures with both sides divisible by 32" in text
    assert "always answering 'facade': 38.5 % accuracy, 3.2 % mIoU" in text
