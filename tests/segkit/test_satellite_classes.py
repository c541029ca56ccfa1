"""The pictures that are to be classified: the course's by their names, the digits by what scikit-learn gives."""

import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from segkit.datasets import DataError, satellite
from segkit.datasets.satellite import ClassPictures, digits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six pictures: the first pixel of each is its number."""
    (tmp_path / "train_50").mkdir()
    for number, name in enumerate(("10_2", "10_10", "9_000", "49_001", "0_7", "10_1")):
        pixels = np.full((32, 32, 3), 100 + number, np.uint8)
        pixels[0, 0] = (number, 0, 255)
        Image.fromarray(pixels).save(tmp_path / "train_50" / f"{name}.png")
    return tmp_path


def test_pictures_come_by_class_and_number_normalised(root: Path) -> None:
    pictures = ClassPictures(root, "train")
    assert pictures.names == ("0_7", "9_000", "10_1", "10_2", "10_10", "49_001") and len(pictures) == 6
    assert pictures.labels == (0, 9, 10, 10, 10, 49)
    assert pictures.classes == tuple(map(str, range(50)))
    image, label = pictures[3]
    assert type(label) is int and label == 10 and image.dtype == torch.float32 and image.shape == (3, 32, 32)
    expected = [(0 - 0.485) / 0.229, (0 - 0.456) / 0.224, (1 - 0.406) / 0.225]  # the first picture that was drawn: (0, 0, 255)
    np.testing.assert_allclose(image[:, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(image[0, 1, 0], (100 / 255 - 0.485) / 0.229, rtol=1e-5)


def test_they_can_be_sent_to_the_processes_of_a_loader(root: Path) -> None:
    """Where these are spawned, a data set that cannot be pickled ends in an error of the depths."""
    for pictures in (ClassPictures(root, "train"), digits("val")):
        image, label = pickle.loads(pickle.dumps(pictures))[2]
        assert torch.equal(image, pictures[2][0]) and label == pictures[2][1]


def test_a_loader_batches_them(root: Path) -> None:
    images, labels = next(iter(torch.utils.data.DataLoader(ClassPictures(root, "train"), batch_size=4)))
    assert images.shape == (4, 3, 32, 32) and labels.tolist() == [0, 9, 10, 10] and labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cat_1.png", r"cat_1.png: expected a name CLASS_NUMBER.png, as 7_012.png"),
        ("7.png", r"7.png: expected a name CLASS_NUMBER.png"),
        ("7_1_2.png", r"7_1_2.png: expected a name CLASS_NUMBER.png"),
        ("50_000.png", r"50_000.png: expected a class 0..49 .*, found 50"),
    ],
)
def test_another_name_is_refused_when_the_data_set_is_built(root: Path, name: str, says: str) -> None:
    Image.new("RGB", (32, 32)).save(root / "train_50" / name)
    with pytest.raises(DataError, match=says):
        ClassPictures(root, "train")


def test_another_size_and_damage_are_named_when_an_item_is_read(root: Path) -> None:
    Image.new("RGB", (32, 16)).save(root / "train_50" / "0_7.png")
    path = root / "train_50" / "9_000.png"
    path.write_bytes(path.read_bytes()[:60])
    pictures = ClassPictures(root, "train")
    with pytest.raises(DataError, match=r"0_7.png: expected 32 x 32 pixels, found 16 x 32 \(H x W\)"):
        pictures[0]
    with pytest.raises(DataError, match=r"9_000.png: expected a complete picture"):
        pictures[1]


def test_a_folder_that_is_missing_or_empty_and_another_split_are_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"val_50: no such folder. Expected it below the root, with pictures 0_000.png"):
        ClassPictures(root, "val")
    (root / "val_50").mkdir()
    with pytest.raises(DataError, match=r"val_50: no pictures in it"):
        ClassPictures(root, "val")
    for make in (lambda: ClassPictures(root, "test"), lambda: digits("test")):
        with pytest.raises(DataError, match="Expected split 'train' or 'val', found 'test'"):
            make()


def test_digits_are_scikit_learns_once_each_and_a_fifth_of_every_class_is_kept_apart() -> None:
    train, val = digits("train"), digits("val")
    small, labels = load_digits(return_X_y=True)
    numbers = [[int(name.partition("_")[2]) for name in part.names] for part in (train, val)]
    assert sorted(numbers[0] + numbers[1]) == list(range(1797)) and (len(train), len(val)) == (1437, 360)
    counts, whole = Counter(val.labels), Counter(labels.tolist())
    assert all(abs(counts[k] - whole[k] / 5) < 1 for k in range(10)) and val.classes == tuple("0123456789")
    for part, chosen in zip((train, val), numbers, strict=True):
        assert [labels[n] for n in chosen] == list(part.labels)
        for place in (0, 17, len(part) - 1):
            image, label = part[place]
            assert image.shape == (3, 32, 32) and image.dtype == torch.float32 and type(label) is int
            red = image[0] * 0.229 + 0.485  # back to 0..1, and to 8 x 8 by means: what scikit-learn has
            found = red.reshape(8, 4, 8, 4).mean((1, 3)).flatten()
            assert np.corrcoef(found, small[chosen[place]])[0, 1] > 0.98 and abs(found.mean() - small[chosen[place]].mean() / 16) < 0.01


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    satellite._digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="scikit-learn, which is not installed: python -m pip install scikit-learn"):
        digits("train")
