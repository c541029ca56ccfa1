"""``segkit train`` with the fast recipe: live pictures, stages, early stop, settings, and errors as one message."""

import json

import matplotlib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from course_items import TINY, N, facades, net
from PIL import Image
from safetensors.torch import load_file

import segkit.evaluation
import segkit.models
from segkit import plots
from segkit.cli import main
from segkit.facades import PALETTE
from segkit.history import EpochRecord, History
from segkit.training.live import LivePictures, spread
from segkit.training.segmentation import EpochDone

NETWORKS = (
    TINY
    + """
class Finer(Tiny):
    def __init__(self, n_class=12):
        super().__init__(n_class)
        self.score_pool_3 = nn.Conv2d(8, n_class, 1)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.score(x) + self.score_pool_3(x)
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.py").write_text(NETWORKS)
    done = train(folder, "run", "--epochs", 3, "--masks", 2)
    assert done.exit_code == 0, done.output
    return folder


def train(folder, out, *args, model="tiny.py:Tiny"):
    fixed = ["train", "--model", model, "--notebooks", folder, "--recipe", "fast", "--split", "sample", "--out", folder / out]
    return CliRunner().invoke(main, [*map(str, fixed), "--set", "crop=48", *map(str, args), "--quiet"])


def test_masks_of_first_middle_and_last_epoch_are_kept(folder):
    with np.load(folder / "run" / "stages.npz") as masks:
        assert sorted(masks) == sorted(f"{epoch}/cmp_s00{name}" for epoch in (1, 2, 3) for name in (25, 27))
        assert all(masks[key].dtype == np.uint8 and masks[key].max() < 12 for key in masks)
    assert Image.open(folder / "run" / "stages.png").width > 1000
    config = json.loads((folder / "run" / "history.json").read_text())["config"]
    assert config["recipe"] == "fast" and config["crop"] == 48 and config["batch_size"] == 4


def test_the_figures_at_the_end_are_scored_in_the_format_of_the_run(folder, monkeypatch):
    asked, evaluate = [], segkit.evaluation.evaluate
    monkeypatch.setattr(segkit.evaluation, "evaluate", lambda *args, **how: (asked.append(how["precision"]), evaluate(*args, **how))[1])
    done = train(folder, "bfloat16", "--epochs", 1, "--set", "precision=bfloat16")
    assert done.exit_code == 0 and asked == ["bfloat16"], done.output


def test_a_run_starts_from_another_networks_checkpoint(folder):
    done = train(folder, "finer", "--epochs", 1, "--start-from", folder / "run" / "best.safetensors", model="tiny.py:Finer")
    assert done.exit_code == 0, done.output
    assert "new: score_pool_3.weight, score_pool_3.bias" in done.output


@pytest.mark.slow
def test_coarse_networks_come_first_and_hand_their_layers_on(folder, monkeypatch):
    """The short names mean tiny networks here; FCN-16s is missing, as in a student's notebooks."""
    space = {}
    exec(NETWORKS, space)
    classes = {"fcn32s": space["Tiny"], "fcn8s": space["Finer"]}

    def model_class(name, where, spec):
        if name not in classes:
            raise segkit.models.ModelError(f"{name} is defined in no notebook")
        return classes[name]

    monkeypatch.setattr(segkit.models, "model_class", model_class)
    done = train(folder, "staged", "--epochs", 1, "--staged", "--set", "learning_rate=1e-30", model="fcn8s")
    assert done.exit_code == 0, done.output
    assert "stage fcn16s is left out" in done.output and "begins with" in done.output
    coarse = load_file(folder / "staged" / "fcn32s" / "best.safetensors")
    fine = load_file(folder / "staged" / "best.safetensors")
    assert torch.allclose(coarse["conv.weight"], fine["conv.weight"]) and "score_pool_3.weight" in fine
    for stage in (folder / "staged", folder / "staged" / "fcn32s"):
        assert len(list(stage.glob("*.safetensors"))) == len(list(stage.glob("*.pt"))) == 1
    again = train(folder, "staged", "--epochs", 1, "--staged", "--set", "learning_rate=1e-30", "--resume", model="fcn8s")
    assert again.exit_code == 0, again.output


def test_patience_ends_a_run_early_and_the_last_masks_are_its_own(folder):
    done = train(folder, "patient", "--epochs", 30, "--patience", 1, "--set", "learning_rate=1e-30", "--masks", 1)
    assert done.exit_code == 0, done.output
    assert len(json.loads((folder / "patient" / "history.json").read_text())["epochs"]) == 3
    with np.load(folder / "patient" / "stages.npz") as masks:
        assert sorted(key.partition("/")[0] for key in masks) == ["1", "2"]


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--set", "colour=red"], 2, "Unknown setting 'colour'. Expected one of: epochs"),
        (["--set", "crop"], 2, "expected NAME=VALUE, but got 'crop'"),
        (["--set", "precision=float16"], 1, "Expected precision 'auto' or 'float32' on this device (cpu)"),
        (["--staged"], 2, "--staged knows fcn32s, fcn16s, fcn8s, not 'tiny.py:Tiny'"),
        (["--start-from", "gone.safetensors", "--staged"], 2, "leave --weights and --staged out"),
        (["--start-from", "gone.safetensors"], 1, "gone.safetensors: no such file"),
        (["--weights", "gone.pth"], 1, "No such file: gone.pth. Expected the weights vgg16-397923af.pth"),
    ],
)
def test_errors_are_one_message_and_nothing_is_written(folder, args, code, expected):
    done = train(folder, "never", *args)
    assert done.exit_code == code and expected in done.output, done.output
    assert not (folder / "never").exists()


def test_resuming_with_another_recipe_is_refused_by_name(folder):
    done = train(folder, "run", "--epochs", 3, "--batch-size", 2, "--resume")
    assert done.exit_code == 1 and "batch_size: the run there has 4, now 2 is asked for" in done.output
    assert "nothing was changed" in done.output


# -- live pictures ------------------------------------------------------------------------------------


def record(epoch):
    return EpochRecord(epoch, None if epoch == 0 else 1.0, 1.0, 0.5, 0.1 * epoch, [0.1] * N, 1e-3, 1.0)


def test_curves_are_drawn_anew_after_each_epoch_and_masks_survive_a_kill(tmp_path):
    data, model, seen = facades(tmp_path, 3), net(), []
    history = History({}, [record(0)])
    for epoch in range(6):
        live = LivePictures(tmp_path / "out", data, [0, 2])  # as after a kill: a new program each time
        if epoch:
            history.epochs.append(record(epoch))
        live(EpochDone(epoch, 5, epoch == 5, model, history))
        seen.append((tmp_path / "out" / "curves.png").read_bytes())
    assert len(set(seen)) == 6
    with np.load(tmp_path / "out" / "stages.npz") as masks:
        assert sorted({key.partition("/")[0] for key in masks}) == ["1", "3", "5"]
        assert {masks[f"1/{name}"].shape for name in ("cmp_b0001", "cmp_b0003")} == {(20, 31), (33, 18)}


def test_masks_of_another_run_are_forgotten(tmp_path):
    data, history = facades(tmp_path, 3), History({}, [record(0), record(1)])
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "out" / "stages.npz", **{"7/cmp_b0001": np.zeros((20, 31), np.uint8)})
    live = LivePictures(tmp_path / "out", data, [0])
    assert list(live.masks) == [7]
    live(EpochDone(0, 5, False, net(), history))
    assert live.masks == {}
    (tmp_path / "out" / "stages.npz").write_bytes(b"damaged")
    assert LivePictures(tmp_path / "out", data, [0]).masks == {}


def test_pictures_are_chosen_evenly():
    assert spread(30, 3) == [4, 14, 24] and spread(2, 3) == [0, 1] and spread(5, 0) == []


def test_stages_stand_side_by_side_in_order():
    image, label = torch.rand(3, 6, 8), torch.full((6, 8), 2)
    maps = {10: [torch.full((6, 8), 4)], 2: [torch.full((6, 8), 9)]}
    figure = plots.stages([image], [label], maps, titles=["cmp_b0001"])
    texts = [item.get_text() for item in figure.findobj(matplotlib.text.Text)]
    assert texts.index("photograph") < texts.index("label") < texts.index("epoch 2") < texts.index("epoch 10")
    assert {"2 window", "4 cornice", "9 molding"} <= set(texts)
    with pytest.raises(ValueError, match="as many labels and predictions as images"):
        plots.stages([image], [label], {1: []})


def test_label_maps_stand_side_by_side_without_photographs():
    figure = plots.label_maps({"label": [torch.full((6, 8), 2)], "FCN-8s": [np.full((6, 8), 4)]}, titles=["cmp_b0001"])
    texts = [item.get_text() for item in figure.findobj(matplotlib.text.Text)]
    assert texts.index("label") < texts.index("FCN-8s") and {"2 window", "4 cornice", "cmp_b0001"} <= set(texts)
    first, second = (axes.images[0] for axes in figure.axes[:2])
    assert (first.get_array()[0, 0] == PALETTE[3]).all() and (second.get_array()[0, 0] == PALETTE[5]).all()
    with pytest.raises(ValueError, match="equally many label maps in each column"):
        plots.label_maps({"label": [torch.full((6, 8), 2)], "FCN-8s": []})


def test_label_maps_stand_beside_their_photographs_and_fit_a_notebook_however_many_they_are():
    columns = {f"network {number}": [torch.full((6, 8), 2)] for number in range(6)}
    figure = plots.label_maps(columns, images=[torch.full((3, 6, 8), 0.25)])
    assert (figure.axes[0].images[0].get_array() == 0.25).all() and len(figure.axes) == 7
    assert figure.get_figwidth() <= 11.5
    with pytest.raises(ValueError, match="equally many label maps in each column"):
        plots.label_maps(columns, images=[])
