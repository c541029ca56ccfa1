"""Recorded runs: read from a folder, drawn beside the truth; and what comes with the kit is what it says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import plots
from segkit.datasets import DataError, dataset
from segkit.environment import Kit

REPO = Path(__file__).resolve().parents[2]
SHIPPED = REPO / "data" / "facades" / "recorded"
CLASSES = dataset("facades").classes


def write_runs(folder):
    """Two networks, two pictures of 4 x 6, two epochs; FCN-8s says the truth in the end."""
    truth = {"a": np.full((4, 6), 3, np.uint8), "b": np.full((4, 6), 255, np.uint8)}
    folder.mkdir(parents=True)
    runs = {}
    for title, name, last in (("FCN-32s", "fcn32s", {key: 0 * value for key, value in truth.items()}), ("FCN-8s", "fcn8s", truth)):
        (folder / name).mkdir()
        saved = {f"1/{key}": 0 * value + 1 for key, value in truth.items()} | {f"2/{key}": value for key, value in last.items()}
        np.savez_compressed(folder / name / "stages.npz", **saved)
        iou = {key: None if key == "shop" else 0.5 for key in CLASSES}
        runs[title] = {"folder": name, "test": {"mean_iou": 0.5, "mean_iou_interval": [0.44, 0.56], "iou": iou}}
    (folder / "recorded.json").write_text(json.dumps({"about": "two tries", "runs": runs}))
    np.savez_compressed(folder / "labels.npz", **truth)
    return folder


def drawn(figure):
    """Columns of a page: title -> the pictures below it."""
    shown = [axes for axes in figure.axes if axes.images]
    columns = [text.get_text() for axes in shown for text in axes.texts if text.get_fontweight() == "bold"]
    return {title: [axes.images[0].get_array() for axes in shown[place :: len(columns)]] for place, title in enumerate(columns)}


def test_a_page_sets_the_last_epoch_of_every_network_beside_the_truth(tmp_path):
    recorded = plots.recorded_runs(dataset("facades"), write_runs(tmp_path / "recorded"))
    assert recorded.summary().splitlines()[::3] == ["two tries", "FCN-8s                mean IoU 0.500  (95 % interval 0.440 to 0.560)"]
    assert list(recorded.runs) == ["FCN-32s", "FCN-8s"]
    columns = drawn(plots.recorded_page(recorded))
    assert list(columns) == ["truth", "FCN-32s", "FCN-8s"]
    palette = np.array(dataset("facades").colours)
    for row, index in ((0, 3), (1, -1)):
        wanted = np.broadcast_to(palette[index + 1], (4, 6, 3))
        assert np.array_equal(columns["truth"][row], wanted) and np.array_equal(columns["FCN-8s"][row], wanted)
        assert np.array_equal(columns["FCN-32s"][row], np.broadcast_to(palette[1], (4, 6, 3)))


def test_photographs_stand_first_and_pictures_can_be_chosen(tmp_path):
    recorded = plots.recorded_runs(dataset("facades"), write_runs(tmp_path / "recorded"))
    columns = drawn(plots.recorded_page(recorded, ["b"], {"b": np.full((4, 6, 3), 0.25)}))
    assert list(columns) == ["photograph", "truth", "FCN-32s", "FCN-8s"]
    assert len(columns["photograph"]) == 1 and (np.asarray(columns["photograph"][0]) == 0.25).all()


def test_a_class_that_never_occurs_has_no_bar(tmp_path):
    recorded = plots.recorded_runs(dataset("facades"), write_runs(tmp_path / "recorded"))
    assert np.isnan(recorded.iou["FCN-8s"]["shop"]) and recorded.iou["FCN-8s"]["sill"] == 0.5
    (axes,) = plots.class_scores(recorded.iou).axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.0 if name == "shop" else 0.5 for name in CLASSES]] * 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["FCN-32s", "FCN-8s"]
    with pytest.raises(ValueError, match="at least one network"):
        plots.class_scores({})


def test_a_kit_without_recorded_runs_says_so(tmp_path):
    with pytest.raises(DataError, match=r"recorded\.json is missing: this kit has no recorded runs of the facades"):
        plots.recorded_runs(dataset("facades"), tmp_path)
    folder = write_runs(tmp_path / "recorded")
    (folder / "labels.npz").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(DataError, match="cannot be read .* Unpack the kit again"):
        plots.recorded_runs(dataset("facades"), folder)


def test_photographs_are_shown_only_where_the_database_is(tmp_path):
    (tmp_path / "base").mkdir()
    Image.new("RGB", (6, 4), (255, 0, 51)).save(tmp_path / "base" / "cmp_b0333.jpg", quality=100)
    kit = Kit(tmp_path, tmp_path, "base", "cpu", False)
    image = kit.photographs(["cmp_b0333"])["cmp_b0333"]
    assert image.shape == (3, 4, 6) and image[:, 2, 3].tolist() == pytest.approx([1, 0, 0.2], abs=0.03)
    assert kit.photographs(["cmp_b0333", "cmp_b0338"]) is None


# ------------------------------------------------------------------------------------------- what comes with the kit


def test_the_shipped_runs_are_small_and_of_facades_that_no_network_learned_from():
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert {path.suffix for path in files} == {".json", ".npz"}, "no photographs and no weights"
    recorded, spec = plots.recorded_runs(dataset("facades")), dataset("facades")
    assert list(recorded.runs) == ["FCN-32s", "FCN-16s", "FCN-8s", "FCN-8s from scratch"] and len(recorded.labels) == 8
    learned = {*spec.split_names("base", "train"), *spec.split_names("base", "val")}
    assert not learned & set(recorded.labels) and set(recorded.labels) <= set(spec.split_names("base", "test"))
    for run in recorded.runs.values():
        saved = plots.read_stages(run)
        assert len(saved) == 3 and all(set(maps) == set(recorded.labels) for maps in saved.values())
        assert all(maps[name].shape == label.shape for maps in saved.values() for name, label in recorded.labels.items())


def test_the_shipped_scores_are_those_of_the_page_of_results():
    page = (REPO / "docs" / "results.md").read_text(encoding="utf-8")
    found = {title: float(value) for title, value in re.findall(r"^\| (FCN-\w+, [\w ]+) \| ([\d.]+) \|", page, re.MULTILINE)}
    assert found.pop("FCN-8s, trained on") > found["FCN-8s, pretrained on the facades"], "it is compared with none, and not shipped"
    scores = plots.recorded_runs(dataset("facades")).scores
    ours = {title: round(of["mean_iou"], 4) for title, of in scores.items()}
    names = {title: title.split(",")[0] + (" from scratch" if title.endswith("from scratch") else "") for title in found}
    assert {names[title]: value for title, value in found.items() if title in names} == ours


def test_the_shipped_label_maps_score_as_their_network_does(cmp_root):
    """Oracle: the labels are those of the database, and counting over eight facades gives about what all test facades gave."""
    spec, recorded = dataset("facades"), plots.recorded_runs(dataset("facades"))
    for name, label in recorded.labels.items():
        stored = np.asarray(Image.open(spec.label_path(cmp_root, name)))
        assert np.array_equal(label, np.where(stored == 0, 255, stored - 1))
    for title, run in recorded.runs.items():
        saved = plots.read_stages(run)
        last = saved[max(saved)]
        right = np.concatenate([(last[name] == label)[label != 255] for name, label in recorded.labels.items()]).mean()
        assert right == pytest.approx(recorded.scores[title]["pixel_accuracy"], abs=0.1)
