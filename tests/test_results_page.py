"""The page of results: made of what the commands left behind, and of nothing else."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit import plots
from segkit.datasets import dataset
from segkit.facades import CLASSES, find_root, label_path, split_names
from segkit.reference import read_label

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_results

    return make_results


@pytest.fixture
def kit(results, monkeypatch):
    """Commands that only leave files; returns what was run."""
    run = []
    masks = {name: read_label(label_path(find_root("sample"), name)).numpy() for name in split_names("sample", "val")[:2]}
    monkeypatch.setattr(results, "find_root", lambda data: find_root("sample"))

    def command(words, check):
        run.append(words[3:])
        options = dict(itertools.pairwise(words[4:]))
        out = Path(options["--out"])
        write(out, words[3], options)
        return subprocess.CompletedProcess(words, 0)

    def write(out, what, options):
        out.mkdir(parents=True, exist_ok=True)
        if what == "pretrain":
            told = {"8 px": [0.61, 0.42], "hidden layers": [0.5, 0.375]}
            (out / "pretraining.json").write_text(json.dumps({"epochs": [{"held_out": {}}, {"held_out": told}]}))
            (out / "vgg16_facades-0123abcd.pth").touch()
        elif what == "train":
            epochs = [{"epoch": k, "val_loss": 2.5 - k, "mean_iou": 0.1 * k} for k in range(3)]
            for folder in [out, *([out / "fcn32s", out / "fcn16s"] if "--staged" in options else [])]:
                folder.mkdir(exist_ok=True)
                (folder / "history.json").write_text(json.dumps({"best_epoch": 2, "epochs": epochs}))
                (folder / "gallery.png").touch()
                np.savez(folder / "stages.npz", **{f"{k}/{name}": label + 0 for k in (1, 2) for name, label in masks.items()})
        else:
            iou = {name: None if name == "door" else 0.25 for name in CLASSES}
            content = {"mean_iou": 0.25, "mean_iou_interval": [0.2, 0.3], "pixel_accuracy": 0.5, "mean_accuracy": 0.4}
            (out / "metrics.json").write_text(json.dumps(content | {"iou": iou, "images": 48}))

    monkeypatch.setattr(subprocess, "run", command)
    return run


def make(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "always_facade", lambda data, split: 0.0383)
    words = ["--data", tmp_path / "cmp", "--plan", "cpu", "--out", tmp_path / "out", "--page", tmp_path / "docs" / "results.md",
             "--recorded", tmp_path / "recorded"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["make_results.py", *map(str, words)])
    results.main()
    return (tmp_path / "docs" / "results.md").read_text()


def test_the_page_has_every_network_and_the_command_of_every_number(results, kit, monkeypatch, tmp_path):
    text = make(results, monkeypatch, tmp_path)
    assert [words[0] for words in kit] == ["pretrain", "train", "train", "train", *5 * ["evaluate"]]
    for words in kit:
        assert shlex.join(["python", "-m", "segkit", *words]).replace(str(tmp_path / "cmp"), "CMP_ROOT") in text
    for title in ("FCN-32s, pretrained", "FCN-16s, pretrained", "FCN-8s, pretrained", "FCN-8s, from scratch", "FCN-8s, trained on"):
        assert f"| {title}" in text
    assert text.count("| 0.2500 | 0.2000 .. 0.3000 | 0.5000 | 0.4000 | 2 of 2 |") == 5
    assert "Trained on, FCN-8s began with the end of its pretrained namesake and learned for 2 epochs more" in text
    assert "| door | absent | absent | absent | absent | absent |" in text and "| window | 0.250 |" in text
    assert "| cells of 8 px | 0.610 | 0.420 |" in text and "| cells of 32 px, by the hidden layers | 0.500 | 0.375 |" in text
    assert str(tmp_path / "cmp") not in text, "a folder of one machine"
    assert "| `evaluate --model fcn32s` into pretrained/fcn32s/test | 0.0 |" in text
    for name in ("curves", "stages", "networks"):
        assert f"pictures/results-{name}.png" in text
        assert Image.open(tmp_path / "docs" / "pictures" / f"results-{name}.png").width <= 1000


def test_the_score_of_one_word_is_a_twelfth_of_its_frequency_where_all_classes_occur(results):
    """Oracle: counting; on the drawn sample every class occurs."""
    labels = np.concatenate([np.asarray(Image.open(path)).ravel() for path in sample_labels()])
    shares = np.bincount(labels, minlength=13)[1:] / (labels > 0).sum()
    assert (shares > 0).all() and results.always_facade(None, "sample") == pytest.approx(shares[1] / 12)


def sample_labels():
    root = find_root("sample")
    return [label_path(root, name) for name in split_names("sample", "test")]


def test_what_students_get_holds_histories_scores_and_label_maps_and_nothing_else(results, kit, monkeypatch, tmp_path):
    make(results, monkeypatch, tmp_path)
    folder = tmp_path / "recorded"
    names = ["fcn16s", "fcn32s", "fcn8s", "fcn8s_scratch"]
    files = {f"{name}/{file}" for name in names for file in ("history.json", "stages.npz")} | {"recorded.json", "labels.npz"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == files
    recorded = plots.recorded_runs(dataset("facades"), folder)
    assert list(recorded.runs) == ["FCN-32s", "FCN-16s", "FCN-8s", "FCN-8s from scratch"] and "three epochs" in recorded.about
    for name, label in recorded.labels.items():
        assert np.array_equal(label, plots.read_stages(folder / "fcn8s")[2][name]), "the stand-in answers with the truth"
    assert recorded.scores["FCN-16s"]["mean_iou"] == 0.25 and recorded.scores["FCN-16s"]["images"] == 48
    assert str(tmp_path) not in (folder / "recorded.json").read_text()


def test_what_is_there_is_not_made_again_and_its_minutes_are_kept(results, kit, monkeypatch, tmp_path):
    before = make(results, monkeypatch, tmp_path)
    count = len(kit)
    assert make(results, monkeypatch, tmp_path) == before and len(kit) == count
    (tmp_path / "out" / "scratch" / "test" / "metrics.json").unlink()
    make(results, monkeypatch, tmp_path)
    assert [words[0] for words in kit[count:]] == ["evaluate"]


def test_what_other_pages_quote_of_the_results_is_what_they_are():
    """Oracle: the scores that were recorded, and the table of minutes, read as text."""
    page, readme, performance = (
        " ".join(path.read_text(encoding="utf-8").split())
        for path in (DOCS / "results.md", DOCS.parent / "README.md", DOCS / "performance.md")
    )
    scores = plots.recorded_runs(dataset("facades")).scores
    minutes = [float(value) for value in re.findall(r"\| `(?:pretrain|train) [^|]*\| ([\d.]+) \|", page)]
    words = r"mean IoU of ([\d.]+) on the 48 test facades after (\d+) minutes .*?, ([\d.]+) after (\d+), ([\d.]+) without"
    quoted = re.search(f"FCN-8s reaches a {words}", readme)
    reached, alone = (f"{scores[title]['mean_iou']:.3f}" for title in ("FCN-8s", "FCN-8s from scratch"))
    longer = re.search(r"\| FCN-8s, trained on \| ([\d.]+) \|", page)
    three, four = sum(minutes[:2]), sum(minutes[:2]) + minutes[3]  # pretraining, and the networks one after the other
    assert quoted and longer and quoted.groups() == (reached, f"{three:.0f}", f"{float(longer[1]):.3f}", f"{four:.0f}", alone)
    words = r"(\d+) for FCN-32s, FCN-16s and FCN-8s [a-z ]*, (\d+) for FCN-8s from scratch, (\d+) for FCN-8s"
    told = re.search(rf"(\d+) minutes of pretraining, {words}", performance)
    assert told and [int(value) for value in told.groups()] == [round(value) for value in minutes]
