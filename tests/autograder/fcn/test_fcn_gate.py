"""What a gate of the assignment reads: a picture without its label, a label without its picture."""

import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as sk_confusion_matrix

from autograder.assignment import open_assignment
from autograder.assignments.fcn.gate import _count
from autograder.assignments.fcn.prepare import open_data
from segkit.facades import N_CLASS, find_root, image_path, label_path

NAMES = ("cmp_s0029", "cmp_s0030")


@pytest.fixture
def facades(tmp_path):
    """Two facades as the instructor's own, and the folder they lie in."""
    (tmp_path / "base").mkdir()
    for name in NAMES:
        for path in (image_path, label_path):
            shutil.copy(path(find_root("sample"), name), path(tmp_path, name))
    return open_data(str(tmp_path), open_assignment("fcn").rubric, True), tmp_path


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


def test_a_picture_is_read_without_its_label(facades):
    data, root = facades
    before = data.image(NAMES[0])
    damage(label_path(root, NAMES[0]))
    assert np.array_equal(data.image(NAMES[0]), before) and before.shape == (3, *data.size(NAMES[0]))
    with pytest.raises(OSError):
        data.label(NAMES[0])


def test_labels_are_counted_without_reading_a_picture(facades):
    data, root = facades
    maps = {name: np.random.default_rng(0).integers(0, N_CLASS, data.size(name)).astype(np.uint8) for name in NAMES}
    for name in NAMES:
        damage(image_path(root, name))
    hist = _count(maps, data)
    labels = np.concatenate([data.label(name).ravel() for name in NAMES])
    found = np.concatenate([maps[name].ravel() for name in NAMES])
    assert np.array_equal(hist, sk_confusion_matrix(labels[labels < 255], found[labels < 255], labels=range(N_CLASS)))
    with pytest.raises(OSError):
        data.image(NAMES[0])
