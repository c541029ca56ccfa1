"""The pictures of gates, of data sets that have little in common: palette labels of any size, colour masks used at half their size."""

import dataclasses
import shutil

import numpy as np
import pytest

from autograder.segmentation.gate_data import gate_data
from segkit.datasets import PairDataset, facades, satellite
from segkit.reference import read_label
from segkit.reference.satellite import read_mask

BOTH = pytest.mark.parametrize(("spec", "reader"), [(facades.SPEC, read_label), (satellite.SPEC, read_mask)], ids=["facades", "satellite"])


def copied(spec, folder, names):
    """Some pairs of the sample in another root."""
    for part in spec.folders:
        (folder / part).mkdir()
    for name in names:
        for path_of in (spec.image_path, spec.label_path):
            path = path_of(folder, name)
            shutil.copy(path_of(spec.find_root("sample"), name), path)
    return folder


def some(spec):
    return spec.split_names("sample", "test")[:2]


@BOTH
def test_a_gate_measures_on_what_the_dataset_of_the_notebooks_gives(spec, reader):
    data = gate_data(spec, "sample", reader)
    pairs = PairDataset(spec, spec.find_root("sample"), "sample", "test", read_label=reader)
    assert data.names == pairs.names and (data.source, data.split) == ("embedded sample", "sample")
    for number in (0, len(pairs) - 1):
        name, (image, label) = pairs.names[number], pairs[number]
        np.testing.assert_allclose(data.image(name), image.numpy(), rtol=0, atol=2e-6)
        assert np.array_equal(data.label(name), label.numpy()) and data.label(name).dtype == np.int64
        assert np.array_equal(data.photo(name), pairs.decode(number)[0]) and data.size(name) == pairs.size(number)


@BOTH
def test_a_picture_is_read_without_its_label_and_a_label_without_its_picture(spec, reader, tmp_path):
    names = some(spec)
    data = gate_data(spec, str(copied(spec, tmp_path, names)), reader, lambda root: names)
    image, label = data.image(names[0]), data.label(names[1])
    for path in (spec.label_path(tmp_path, names[0]), spec.image_path(tmp_path, names[1])):
        path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(data.image(names[0]), image) and np.array_equal(data.label(names[1]), label)


@BOTH
def test_without_a_reader_labels_need_not_be_there(spec, reader, tmp_path):
    names = some(spec)
    copied(spec, tmp_path, names)
    with_labels = gate_data(spec, str(tmp_path), reader, lambda root: names)
    for name in names:
        spec.label_path(tmp_path, name).unlink()
    data = gate_data(spec, str(tmp_path), None, lambda root: names)
    assert data.label(names[0]) is None and np.array_equal(data.image(names[0]), with_labels.image(names[0]))
    assert data.digest != with_labels.digest and data.files == tuple(spec.image_path(tmp_path, name) for name in names)
    with pytest.raises(LookupError, match="2 of 2 pairs are missing"):
        gate_data(spec, str(tmp_path), reader, lambda root: names)


@BOTH
def test_the_hash_is_that_of_names_and_files(spec, reader, tmp_path):
    names = some(spec)
    copied(spec, tmp_path, names)
    one, same, other = (gate_data(spec, str(tmp_path), reader, lambda root, order=order: order) for order in (names, names, names[:1]))
    assert one.digest == same.digest != other.digest
    path = spec.image_path(tmp_path, names[0])
    path.write_bytes(path.read_bytes() + b"\0")
    assert gate_data(spec, str(tmp_path), reader, lambda root: names).digest != one.digest


@BOTH
def test_the_drawn_sample_counts_only_where_it_was_asked_for(spec, reader, monkeypatch):
    monkeypatch.setenv(spec.variable, "sample")
    with pytest.raises(LookupError, match=f"no {spec.pictures} were found; give --data FOLDER, or --data sample"):
        gate_data(spec, None, reader)


@BOTH
def test_pictures_that_are_missing_are_counted_with_an_advice_that_fits(spec, reader, tmp_path):
    copied(spec, tmp_path, ())
    for verify in (spec.verify, None):
        with pytest.raises(LookupError, match=r"([1-9]\d*) of \1 pairs are missing") as refused:
            gate_data(dataclasses.replace(spec, verify=verify), str(tmp_path), reader)
        assert ("data verify" in str(refused.value)) == (verify is not None)


def test_the_instructors_own_satellite_pictures_are_those_of_validation(tmp_path):
    from autograder.assignments.satellite.prepare import open_data

    copied(satellite.SPEC, tmp_path, some(satellite.SPEC))
    data = open_data(str(tmp_path), None, own=True)
    assert data.names == some(satellite.SPEC) and (data.split, data.source) == ("own", "the instructor's own satellite pictures")
