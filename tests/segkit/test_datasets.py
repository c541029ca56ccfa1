"""The room of data sets: the registry, and one that is nothing like facades going through everything that takes a spec."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tiles
import torch
from click.testing import CliRunner
from matplotlib.colors import to_hex

from segkit import facades, plots
from segkit.cli import main
from segkit.datasets import DATASETS, DataError, PairDataset, dataset
from segkit.evaluation import evaluate
from segkit.reference import confusion_matrix, scores

REPO = Path(__file__).parents[2]

# who may know the facades, and why
MAY_KNOW = {
    "segkit/datasets/facades/": "the room",
    "segkit/facades.py": "the names that notebooks of fcn import",
    "segkit/synthetic.py": "the same",
    "autograder/assignments/fcn/": "is about them",
    "segkit/checks/labels.py": "the visible check of fcn's read_label",
    "segkit/mistakes.py": "mistakes in fcn's read_label",
}
SIGNS = re.compile(r"\b(CLASSES|PALETTE|FacadeDataset)\b|segkit\.(facades|synthetic|datasets\.facades)\b(?!\")|cornice|0, 85, 255")


@pytest.fixture
def known(monkeypatch) -> None:
    monkeypatch.setitem(DATASETS, "tiles", "tiles")


@pytest.fixture
def root(tmp_path) -> Path:
    """One pair of 48 x 64, in quarters: no data, soil above; water, cloud below."""
    quarters = np.kron([[0, 1], [2, 3]], np.ones((24, 32), dtype=int))
    tiles.write(tmp_path, "train/0000", quarters)
    return tmp_path


def pairs(root: Path, **options) -> PairDataset:
    return PairDataset(tiles.SPEC, root, **{"names": ["train/0000"], "read_label": tiles.read_label} | options)


def texts(figure) -> str:
    return "\n".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def run(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_dataset_is_found_by_its_name_and_an_unknown_one_answered_with_the_known():
    assert dataset("facades").classes is facades.CLASSES and dataset("facades").find_root == facades.find_root
    with pytest.raises(DataError, match="Unknown data set 'voc'. Known: facades"):
        dataset("voc")


@pytest.mark.parametrize(("content", "name"), [
    ({"assignment": "aerial", "dataset": "tiles"}, "tiles"), ({"assignment": "old"}, "facades"), ("{", "facades"),
])  # fmt: skip
def test_without_a_name_it_is_that_of_the_assignment(tmp_path, monkeypatch, known, content, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assignment.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert dataset().name == name


def test_pairs_come_in_the_size_of_the_data_set_with_255_where_pixels_do_not_count(root):
    data = pairs(root)
    image, label = data[0]
    assert image.shape == (3, 24, 32) and data.size(0) == (24, 32) and label.dtype == torch.int64
    assert label.tolist() == np.kron([[255, 0], [1, 2]], np.ones((12, 16), dtype=int)).tolist()
    # the middle of the soil quarter, (125, 100, 0) / 255 by hand: (0.490 - 0.485) / 0.229, (0.392 - 0.456) / 0.224, -0.406 / 0.225
    torch.testing.assert_close(image[:, 6, 24], torch.tensor([0.023, -0.285, -1.804]), atol=0.06, rtol=0)
    pixels, stored = data.decode(0)
    assert pixels.shape == (24, 32, 3) and (stored == label.numpy()).all() and stored.dtype == np.uint8


def test_labels_between_two_classes_are_not_invented_by_a_change_of_size(tmp_path):
    tiles.write(tmp_path, "train/0000", np.tile([1, 3, 3], (48, 22))[:, :64])  # columns of soil and cloud: water lies between
    assert set(pairs(tmp_path)[0][1].unique().tolist()) <= {0, 2}


def test_labels_out_of_range_are_told_by_the_numbers_of_the_data_set(root):
    with pytest.raises(DataError, match=r"the value 4 at row 24, column 32 .*labels 0\.\.2, and 3 for unknown"):
        pairs(root, read_label=lambda path: tiles.read_label(path).masked_fill(tiles.read_label(path) == 2, 4))[0]


def test_a_missing_folder_is_named_with_the_split_that_can_be_used(root):
    with pytest.raises(DataError, match=r"2 of 2 files .*first is validation/0009_sat.jpg.*no validation/ here: use split 'all'"):
        pairs(root, names=["validation/0009"])


@pytest.mark.parametrize("name", DATASETS)
def test_a_download_is_advised_where_there_is_one(name, tmp_path):
    spec, said = replace(dataset(name), home="nowhere"), []
    pair = spec.split_names("sample", "test")[0]

    def refused(ask, *arguments, **options):
        with pytest.raises(DataError) as error:
            ask(*arguments, **options)
        said.append(str(error.value))

    refused(spec.find_root)
    refused(spec.find_root, tmp_path)
    for path_of in (spec.image_path, spec.label_path):
        refused(PairDataset, spec, tmp_path, names=[pair], read_label=None)
        path_of(tmp_path, pair).parent.mkdir(exist_ok=True)
        shutil.copy(path_of(spec.find_root("sample"), pair), path_of(tmp_path, pair))
    damaged = spec.image_path(tmp_path, pair)
    damaged.write_bytes(damaged.read_bytes()[:300])
    refused(PairDataset(spec, tmp_path, names=[pair], read_label=None).__getitem__, 0)
    assert len(said) == 5 and ["python -m segkit data fetch" in text for text in said] == [spec.fetch is not None] * 5


def test_its_root_is_found_by_its_own_variable(root, monkeypatch, tmp_path):
    monkeypatch.setenv("SEGKIT_DATA", "sample")
    monkeypatch.setenv("TILES_DATA", str(root))
    assert tiles.SPEC.find_root() == root
    monkeypatch.delenv("TILES_DATA")
    with pytest.raises(DataError, match=r"No tiles found: expected .*tiles_real/train.*(\n.*)*TILES_DATA=sample"):
        tiles.SPEC.find_root()


def test_the_legend_shows_its_classes_colours_and_what_the_files_hold():
    figure = plots.legend(tiles.SPEC)
    colours = [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert colours == ["#fac800", "#0000ff", "#ffffff", "#000000"]
    assert "#fac800" in texts(figure) and "#000000, ignored" in texts(figure) and "window" not in texts(figure)


def test_overlay_and_gallery_have_its_colours_and_names():
    image, label = torch.zeros(3, 2, 2), torch.tensor([[0, 1], [2, 255]])
    shown = plots.overlay(image, label, 1.0, tiles.SPEC)
    assert "0 soil" in texts(shown) and "unknown" in texts(shown)
    figure = plots.gallery([image], [label], spec=tiles.SPEC)
    assert figure.axes[1].images[0].get_array().tolist() == [[[250, 200, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0]]]


def test_scores_are_named_after_the_classes_of_the_data(root):
    result = evaluate(torch.nn.Conv2d(3, 3, 1), pairs(root), confusion_matrix=confusion_matrix, scores=scores, bootstrap=0, progress=False)
    assert list(result.iou) == ["soil", "water", "cloud"] and result.hist.sum() == 3 * 12 * 16, "no data does not count"


def test_verify_counts_its_pixels_and_finds_what_is_wrong(root, known):
    done = run("data", "verify", "--dataset", "tiles", "--data", root, "--quiet")
    assert done.exit_code == 0 and "train 1" in done.output and "all in order" in done.output
    assert "#fac800      0  soil          33.3" in done.output and "#000000      3  unknown       25.0 % of all pixels" in done.output
    (root / "train" / "0000_sat.jpg").unlink()
    done = run("data", "verify", "--dataset", "tiles", "--data", root, "--quiet")
    assert done.exit_code == 1 and "train/0000_sat.jpg: missing" in done.output


def test_sample_draws_it_and_fetch_says_that_it_cannot_be_had(tmp_path, known):
    done = run("data", "sample", "--dataset", "tiles", "--out", tmp_path, "--count", 3)
    assert done.exit_code == 0 and "3 tiles, train/0000 to validation/0002" in done.output
    assert run("data", "verify", "--dataset", "tiles", "--data", tmp_path, "--quiet").exit_code == 0
    done = run("data", "fetch", "--dataset", "tiles", "--out", tmp_path)
    assert done.exit_code == 1 and "Tiles from above cannot be downloaded" in done.output


@pytest.mark.parametrize(("words", "answer"), [
    (["--dataset", "voc", "--split", "base"], "Unknown data set 'voc'. Known: facades, satellite, tiles."),
    (["--dataset", "tiles", "--split", "base"], "'base' is not 'all'"), (["--split", "all", "--dataset", "tiles"], "--out"),
    (["--split", "all"], "'all' is not one of 'course', 'base', 'sample'"),
])  # fmt: skip
def test_a_split_is_one_of_the_data_set_that_was_named(known, words, answer):
    done = run("train", "--model", "fcn32s", *words)
    assert done.exit_code == 2 and answer in done.output


def test_no_module_outside_the_room_knows_the_classes_or_colours_of_the_facades():
    modules = {path.relative_to(REPO).as_posix(): path for room in ("segkit", "autograder") for path in (REPO / room).rglob("*.py")}
    telling = {name for name, path in modules.items() if SIGNS.search(path.read_text(encoding="utf-8"))}
    assert not [name for name in telling if not name.startswith(tuple(MAY_KNOW))]
    assert not [room for room in MAY_KNOW if not any(name.startswith(room) for name in telling)], "no longer needed in MAY_KNOW"
