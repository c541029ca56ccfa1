"""Classes, split lists and the dataset, on files that the tests write with Pillow themselves."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.datasets import spec
from segkit.datasets.facades import SPEC
from segkit.facades import CLASSES, PALETTE, DataError, FacadeDataset, find_root, split_names


def decode(path: Path) -> torch.Tensor:
    """What a student writes in notebook 1."""
    ids = torch.from_numpy(np.array(Image.open(path))).long()
    return torch.where(ids == 0, 255, ids - 1)


def write_pair(root: Path, name: str, image: np.ndarray, ids: np.ndarray) -> None:
    folder = root / ("extended" if name.startswith("cmp_x") else "base")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
    label = Image.fromarray(ids, mode="L")
    label.putpalette(PALETTE.tobytes())
    label.save(folder / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pairs: cmp_b0001 of 20 x 31 with the ids 0..12 in its columns, cmp_b0002 of 24 x 24."""
    ids = np.tile(np.arange(31, dtype=np.uint8) % 13, (20, 1))
    image = np.full((20, 31, 3), (255, 128, 0), dtype=np.uint8)
    write_pair(tmp_path, "cmp_b0001", image, ids)
    write_pair(tmp_path, "cmp_b0002", np.zeros((24, 24, 3), np.uint8), np.ones((24, 24), np.uint8))
    return tmp_path


def dataset(root: Path, *names: str, read_label=decode, **options) -> FacadeDataset:
    return FacadeDataset(root, read_label=read_label, names=names, **options)


def test_classes_are_in_index_order() -> None:
    order = "background facade window door cornice sill balcony blind deco molding pillar shop"
    assert list(CLASSES) == order.split()
    assert PALETTE[3].tolist() == [0, 85, 255]  # id 3 is the window
    assert PALETTE[12].tolist() == [170, 0, 0] and PALETTE.shape == (13, 3)


def test_classes_agree_with_the_real_label_names(cmp_root: Path) -> None:
    lines = (cmp_root / "label_names.txt").read_text().split("\n")
    real = {int(line.split()[0]): line.split()[1] for line in lines if line.strip()}
    assert real == {k + 1: name for k, name in enumerate(CLASSES)}


def test_own_label_names_agree_with_the_code() -> None:
    text = (SPEC.folder / "label_names.txt").read_text()
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [row[2] for row in rows] == ["unknown", *CLASSES]
    assert [int(row[1]) for row in rows] == [255, *range(12)]
    assert [[int(v) for v in row[3:]] for row in rows] == PALETTE.tolist()


@pytest.mark.parametrize(("split", "counts"), [("course", (500, 30, 76)), ("base", (300, 30, 48)), ("sample", (24, 4, 4))])
def test_split_lists_are_sorted_names_cut_at_fixed_places(split: str, counts: tuple) -> None:
    parts = [split_names(split, part) for part in ("train", "val", "test")]
    assert tuple(map(len, parts)) == counts
    every = [name for part in parts for name in part]
    assert every == sorted(set(every))


def test_split_lists_have_the_names_of_the_database() -> None:
    course = sum((split_names("course", part) for part in ("train", "val", "test")), ())
    assert course[:378] == tuple(f"cmp_b{i:04d}" for i in range(1, 379))
    assert course[378:] == tuple(f"cmp_x{i:04d}" for i in range(1, 229))
    assert split_names("base", "test")[0] == "cmp_b0331"
    assert split_names("course", "test")[0] == "cmp_x0153"


def test_unknown_split_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="course, base, sample.*'voc'"):
        split_names("voc", "train")


def test_item_is_normalised_image_and_long_label(root: Path) -> None:
    image, label = dataset(root, "cmp_b0001")[0]
    assert image.dtype == torch.float32 and image.shape == (3, 20, 31)
    assert label.dtype == torch.int64 and label.shape == (20, 31)
    # 255, 128, 0 by hand: (1 - 0.485) / 0.229, (0.50196 - 0.456) / 0.224, (0 - 0.406) / 0.225
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([2.2489, 0.2052, -1.8044]), atol=0.05, rtol=0)
    assert label[0, :14].tolist() == [255, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]


def test_extended_names_lie_in_their_own_folder(root: Path) -> None:
    write_pair(root, "cmp_x0007", np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 12, np.uint8))
    assert (dataset(root, "cmp_x0007")[0][1] == 11).all()


def test_transform_sees_values_from_0_to_1_and_comes_before_normalisation(root: Path) -> None:
    seen = []

    def transform(image, label):
        seen.append((float(image.min()), float(image.max())))
        return image[:, :5], label[:5]

    image, label = dataset(root, "cmp_b0001", transform=transform)[0]
    assert 0 <= seen[0][0] < 0.1 and 0.9 < seen[0][1] <= 1
    assert image.shape == (3, 5, 31) and label.shape == (5, 31)
    assert image.max() > 2


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_missing_half_of_a_pair_is_named_at_once(root: Path, suffix: str) -> None:
    (root / "base" / f"cmp_b0002{suffix}").unlink()
    with pytest.raises(DataError, match=rf"1 of 4 files .* missing .*cmp_b0002\{suffix}.*data fetch"):
        dataset(root, "cmp_b0001", "cmp_b0002")


def test_missing_extended_part_points_to_split_base(root: Path) -> None:
    for name in split_names("course", "val"):
        assert name.startswith("cmp_x")
    with pytest.raises(DataError, match="no extended/ here: use split 'base'"):
        FacadeDataset(root, "course", "val", read_label=decode)


def test_sizes_that_disagree_are_reported_with_both(root: Path) -> None:
    Image.fromarray(np.zeros((21, 31, 3), np.uint8)).save(root / "base" / "cmp_b0001.jpg")
    with pytest.raises(DataError, match=r"cmp_b0001.png: .*expected 21 x 31.*found 20 x 31"):
        dataset(root, "cmp_b0001")[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0, 60])
def test_truncated_file_is_blamed_on_the_file(root: Path, suffix: str, kept: int) -> None:
    rng = np.random.default_rng(0)
    write_pair(root, "cmp_b0003", rng.integers(0, 255, (40, 40, 3), np.uint8), rng.integers(1, 13, (40, 40), np.uint8))
    path = root / "base" / f"cmp_b0003{suffix}"
    path.write_bytes(path.read_bytes()[: kept * path.stat().st_size // 100])
    with pytest.raises(DataError, match=rf"cmp_b0003\{suffix}: expected a complete picture, found a damaged"):
        dataset(root, "cmp_b0003")[0]


def test_an_error_inside_read_label_stays_what_it_is(root: Path) -> None:
    def broken(path):
        raise ZeroDivisionError("the student's own")

    with pytest.raises(ZeroDivisionError, match="the student's own"):
        dataset(root, "cmp_b0001", read_label=broken)[0]


@pytest.mark.parametrize(
    ("read_label", "found"),
    [
        (lambda path: np.array(Image.open(path)), "ndarray"),
        (lambda path: decode(path).float(), "torch.float32"),
        (lambda path: decode(path)[None], r"\(1, 20, 31\)"),
        (lambda path: torch.from_numpy(np.array(Image.open(path))).long(), "the value 12"),
        (lambda path: torch.from_numpy(np.array(Image.open(path))).long() - 1, "the value -1"),
    ],
)
def test_wrong_labels_are_refused_in_words(root: Path, read_label, found: str) -> None:
    with pytest.raises(DataError, match=rf"read_label\('cmp_b0001.png'\) returned .*{found}.*Expected a LongTensor"):
        dataset(root, "cmp_b0001", read_label=read_label)[0]


def test_root_is_the_explicit_folder_before_the_environment(root: Path, tmp_path_factory, monkeypatch) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "base").mkdir()
    monkeypatch.setenv("SEGKIT_DATA", str(other))
    assert find_root(root) == root
    assert find_root() == other
    monkeypatch.setenv("SEGKIT_DATA", "sample")
    assert (find_root() / "base" / "cmp_s0001.jpg").is_file()


# as `%env`, `set` of Windows and the settings of editors keep them
@pytest.mark.parametrize("written", ['"{}"', "'{}'", " {} ", '"$PLACE/my pictures"', "~/my pictures", '"~/my pictures"'])
def test_a_root_in_the_environment_is_found_as_it_was_meant(written: str, tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "my pictures"
    (place / "base").mkdir(parents=True)
    for name in ("PLACE", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("SEGKIT_DATA", written.format(place))
    assert find_root() == place
    monkeypatch.setenv("SEGKIT_DATA", "'sample'")
    assert (find_root() / "base" / "cmp_s0001.jpg").is_file()


@pytest.mark.parametrize(("written", "meant"), [
    ('"C:\\data\\"', "C:\\data\\"), ("''", ""), ('"', '"'), ("'a\"", "'a\""), ("\"'a'\"", "'a'"), ("it's", "it's"), (" ", ""),
    ("a 'b'", "a 'b'"),
])  # fmt: skip
def test_one_pair_of_quotes_around_a_value_is_none_of_it(written: str, meant: str) -> None:
    assert spec.as_meant(written) == meant


def test_without_data_the_error_names_three_ways(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("SEGKIT_DATA", raising=False)
    monkeypatch.setattr(spec, "data_folder", lambda: tmp_path)
    with pytest.raises(DataError) as caught:
        find_root()
    for way in ("python -m segkit data fetch", "SEGKIT_DATA=/path", "SEGKIT_DATA=sample"):
        assert way in str(caught.value)
    (tmp_path / "cmp_facade" / "base").mkdir(parents=True)
    assert find_root() == tmp_path / "cmp_facade"


def test_naming_base_itself_is_put_right(root: Path) -> None:
    with pytest.raises(DataError, match=f"name the folder above it, {re.escape(str(root))}"):
        find_root(root / "base")
    with pytest.raises(DataError, match="No such folder"):
        find_root(root / "nowhere")
    with pytest.raises(DataError, match="holds no folder base/"):
        find_root(root.parent)


def test_sample_has_every_class_in_every_part_and_small_test_pictures() -> None:
    for part in ("train", "val", "test"):
        data = FacadeDataset(find_root("sample"), "sample", part, read_label=decode)
        labels = [label for _, label in data]
        assert set(range(12)) <= set(torch.cat([label.unique() for label in labels]).tolist())
        if part == "test":
            assert len(labels) == 4 and max(max(label.shape) for label in labels) <= 224
        if part == "train":
            assert all(192 <= side <= 320 for label in labels for side in label.shape)


def test_sample_is_small() -> None:
    files = list((find_root("sample") / "base").iterdir())
    assert len(files) == 3 * 32
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_every_real_pair_loads(cmp_root: Path) -> None:
    sizes = []
    for part, count in (("train", 300), ("val", 30), ("test", 48)):
        data = FacadeDataset(cmp_root, "base", part, read_label=decode)
        assert len(data) == count
        sizes += [tuple(label.shape) for _, label in data]
    height, width = np.array(sizes).T
    assert (height.min(), np.median(height), height.max()) == (207, 828, 1024)
    assert (width.min(), np.median(width), width.max()) == (241, 779.5, 1024)
    assert len(set(sizes)) == 312
