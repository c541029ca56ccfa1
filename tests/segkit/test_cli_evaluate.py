"""``segkit evaluate`` on the sample: the table, the files, and what it says to bad input."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from course_items import TINY
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from segkit.checkpoints import save_checkpoint
from segkit.cli import main
from segkit.facades import CLASSES, FacadeDataset, find_root
from segkit.reference import read_label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work with spaces")
    (folder / "tiny.py").write_text(TINY)
    torch.manual_seed(3)
    names = {}
    exec(TINY, names)
    save_checkpoint(folder / "tiny.safetensors", names["Tiny"]())
    return folder


def run(folder, *args, out=None):
    fixed = ["evaluate", "--model", "tiny.py:Tiny", "--notebooks", folder, "--split", "sample", "--out", out or folder / "out"]
    if "--checkpoint" not in args:
        fixed += ["--checkpoint", folder / "tiny.safetensors"]
    return CliRunner().invoke(main, [*map(str, fixed), *map(str, args)])


@pytest.fixture(scope="module")
def done(folder):
    result = run(folder)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def pixels(folder):
    """Label and prediction of every labelled pixel, per picture."""
    names = {}
    exec(TINY, names)
    model = names["Tiny"]()
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / "tiny.safetensors"))
    found = {}
    data = FacadeDataset(find_root("sample"), "sample", "test", read_label=read_label)
    for name, (image, label) in zip(data.names, data, strict=True):
        with torch.no_grad():
            guess = model(image[None]).argmax(1)[0]
        found[name] = (label[label != 255].numpy(), guess[label != 255].numpy())
    return found


def test_the_metrics_are_those_of_all_pixels_together(folder, done, pixels):
    content = json.loads((folder / "out" / "metrics.json").read_text())
    contract = ["pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_iou", "mean_iou_interval", "iou"]
    assert list(content)[:6] == contract and list(content["iou"]) == list(CLASSES)
    truth, guess = (np.concatenate(parts) for parts in zip(*pixels.values(), strict=True))
    assert content["pixel_accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert content["macro_iou"] == content["mean_iou"] == pytest.approx(jaccard_score(truth, guess, average="macro"))
    assert content["micro_iou"] == pytest.approx(jaccard_score(truth, guess, average="micro"))
    assert content["frequency_weighted_iou"] == pytest.approx(jaccard_score(truth, guess, average="weighted", zero_division=0))
    low, high = content["mean_iou_interval"]
    assert low <= high and content["intervals"]["mean_iou"] == [low, high] and content["images"] == len(pixels)


def test_the_table_says_the_same_as_the_file(folder, done):
    content = json.loads((folder / "out" / "metrics.json").read_text())
    for name in CLASSES:
        value, low, high = content["iou"][name], *content["iou_intervals"][name]
        expected = rf"^{name} +absent" if value is None else rf"^{name} +{value:.4f} +{low:.4f} \.\. {high:.4f} +[\d.]+ %$"
        assert re.search(expected, done.stdout, re.MULTILINE), (name, done.stdout)
    for title, key in (("mean IoU (macro)", "mean_iou"), ("IoU over all pixels (micro)", "micro_iou"), ("mean accuracy", "mean_accuracy")):
        low, high = content["intervals"][key]
        assert re.search(rf"^{re.escape(title)} +{content[key]:.4f} +{low:.4f} \.\. {high:.4f}$", done.stdout, re.MULTILINE)
    assert done.stderr == ""


def test_images_are_listed_worst_first_with_their_own_scores(folder, done, pixels):
    with open(folder / "out" / "images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [float(row["mean_iou"]) for row in rows]
    assert values == sorted(values) and {row["name"] for row in rows} == set(pixels)
    for row in rows:
        truth, guess = pixels[row["name"]]
        assert float(row["mean_iou"]) == pytest.approx(jaccard_score(truth, guess, average="macro", zero_division=0), abs=1e-6)
        assert float(row["pixel_accuracy"]) == pytest.approx(accuracy_score(truth, guess), abs=1e-6)


def test_failures_are_drawn_one_row_each(folder, done):
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {"metrics.json", "images.csv", "gallery.png", "confusion.png", "failures.png"}
    one = run(folder, "--worst", 1, "--quiet", out=folder / "one")
    assert one.exit_code == 0, one.output
    heights = [Image.open(folder / name / "failures.png").height for name in ("one", "out")]
    assert heights[1] > 2.5 * heights[0]
    none = run(folder, "--worst", 0, "--quiet", out=folder / "none")
    assert none.exit_code == 0 and not (folder / "none" / "failures.png").exists() and "failures.png" not in none.output


def test_json_alone_is_printed_on_demand(folder, done):
    found = run(folder, "--json", out=folder / "json")
    content = json.loads(found.stdout)
    assert content == json.loads((folder / "json" / "metrics.json").read_text()) and len(content["iou"]) == 12


def test_intervals_follow_their_seed_and_may_be_left_out(folder, done):
    first = json.loads((folder / "out" / "metrics.json").read_text())["intervals"]
    other = json.loads(run(folder, "--json", "--seed", 1, out=folder / "other").stdout)["intervals"]
    assert other.keys() == first.keys() and other != first
    without = run(folder, "--bootstrap", 0, out=folder / "without")
    assert json.loads((folder / "without" / "metrics.json").read_text())["intervals"] == {}
    assert " .. " not in without.stdout


def test_bad_input_is_one_message_and_nothing_is_written(folder, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"{}")
    for file, expected in ((tmp_path / "none.pth", "no such file"), (broken, "broken.safetensors")):
        found = run(folder, "--checkpoint", file, out=tmp_path / "out")
        assert found.exit_code == 1 and expected in found.output and "Traceback" not in found.output
    found = run(folder, "--precision", "float16", "--device", "cpu", out=tmp_path / "out")
    assert found.exit_code == 1 and "float16" in found.output and "Traceback" not in found.output
    if not torch.cuda.is_available():
        found = run(folder, "--device", "cuda", out=tmp_path / "out")
        assert found.exit_code == 2 and "there is no cuda device here" in found.output
    assert not (tmp_path / "out").exists()
