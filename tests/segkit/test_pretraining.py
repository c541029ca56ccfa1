"""Pretraining on the facades: what it learns from, what it never reads, and that its file is taken as VGG-16."""

import hashlib
import json

import pytest
import torch
from click.testing import CliRunner
from course_items import facades, run_and_kill
from torch import nn

import segkit.training.pretraining
import segkit.training.steps
import segkit.vgg
from segkit.cli import main
from segkit.datasets import DataError, DatasetSpec
from segkit.training import TrainingError
from segkit.training.loading import normalised
from segkit.training.patches import Answering, SharesLoss, cell_shares
from segkit.training.pretraining import PretrainConfig, fresh_vgg16, pretrain
from segkit.vgg import VGGError, load_vgg16


class Narrow(nn.Module):
    """A VGG of a few channels, with 1000 outputs as the real one has."""

    def __init__(self, **ignored):
        super().__init__()
        blocks = [[nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)] for a, b in ((3, 8), (8, 12), (12, 16), (16, 16))]
        self.features = nn.Sequential(*(layer for block in blocks for layer in block))
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 1000))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


SMALL = {"epochs": 2, "patches": 2, "side": 32, "batch_size": 4, "workers": 2, "learning_rate": 1e-3}


def run(root, out, *, data=None, resume=False, overwrite=False, every=30.0, **changes):
    return pretrain(
        data or facades(root), n_class=12, config=PretrainConfig(**SMALL | changes), out=out, resume=resume,
        overwrite=overwrite, progress=False, device="cpu", network=Narrow, resume_every=every,
    )  # fmt: skip


def test_shares_are_counted_over_labelled_pixels():
    labels = torch.tensor([[[0, 0], [2, 255]], [[255, 255], [255, 255]]])
    whole, middle = cell_shares(labels, 3, [2])
    assert torch.allclose(whole[..., 0], torch.tensor([[2 / 3, 0, 1 / 3], [0, 0, 0]])) and torch.equal(middle, whole)


def test_shares_of_cells_are_those_of_the_pixels_that_the_pooled_map_answers_for():
    """Oracle: counting pixel by pixel; the odd rest of 13 pixels belongs to no cell."""
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 13, 13))
    labels[labels == 3] = 255
    cells, _ = cell_shares(labels, 3, [4])
    assert cells.shape == (2, 3, 9)
    for number, row, column in ((0, 0, 0), (1, 1, 2), (1, 2, 0)):
        cell = labels[number, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        wanted = [((cell == index).sum() / (cell != 255).sum()).item() for index in range(3)]
        assert cells[number, :, 3 * row + column].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(("cells", "window", "middle"), [(5, 3, [6, 7, 8, 11, 12, 13, 16, 17, 18]), (3, 3, [4]), (2, 3, [0])])
def test_hidden_layers_answer_for_the_cells_in_the_middle_of_what_they_see(cells, window, middle):
    """Oracle: the numbers of the cells, each of which is a class of its own; where the window is too large there is one answer."""
    labels = torch.arange(cells**2).unflatten(0, (cells, cells)).repeat_interleave(2, 0).repeat_interleave(2, 1)[None]
    _, found = cell_shares(labels, cells**2, [2], window)
    assert found.shape == (1, cells**2, len(middle)) and found[0].argmax(0).tolist() == middle


def test_the_loss_is_the_cross_entropy_of_every_pixel_under_one_answer_for_its_cell():
    """Oracle: torch's own loss, the scores of a cell repeated for each of its pixels; all cells are fully labelled, or not at all."""
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (3, 8, 8))
    labels[2], labels[1, :4] = 255, 255
    logits = torch.randn(3, 5, 4 + 4)
    wanted = 0.0
    for answers in logits.split(4, 2):
        maps = answers.unflatten(2, (2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3)
        wanted += nn.functional.cross_entropy(maps, labels, ignore_index=255).item()
    assert SharesLoss(5, [4]).loss(logits, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_halves_of_a_batch_add_up_to_its_loss():
    """What does not fit into memory goes through in pieces; each cell must count as in the whole batch."""
    torch.manual_seed(0)
    labels, logits = torch.randint(0, 5, (4, 8, 8)), torch.randn(4, 5, 16 + 4 + 1)
    labels[0], labels[1, :3] = 255, 255
    task = SharesLoss(5, [2, 4], 2)
    total = task.mass(labels)
    pieces = sum(task.loss(logits[part], labels[part], None, total) for part in (slice(0, 1), slice(1, 4)))
    assert total.tolist() == pytest.approx([44, 12, 3]) and pieces.item() == pytest.approx(task.loss(logits, labels).item(), rel=1e-5)


def test_vgg_16_answers_where_an_fcn_8s_scores_and_where_an_fcn_32s_does():
    answering = Answering(fresh_vgg16(), 12)
    assert answering.strides == (8, 16, 32) and [layer.in_channels for layer in answering.scores] == [256, 512, 512]
    assert answering.window == 7
    with torch.no_grad():
        logits = answering(torch.randn(1, 3, 257, 257))
    assert logits.shape == (1, 12, 32 * 32 + 16 * 16 + 8 * 8 + 2 * 2) and not logits.any()
    layers = [module for module in [*answering.features, *answering.classifier[:6]] if hasattr(module, "in_channels")]
    assert len(layers) == 13 and all(layer.weight.std() > 0 for layer in layers)


def test_folded_weights_answer_as_the_network_with_batch_normalisation_does():
    """Oracle: the plain network itself, filled from the folded weights, on the patch and on its last map cut by hand."""
    torch.manual_seed(0)
    model, plain = Answering(Narrow(), 12), Narrow().eval()
    for layer in model.features:
        if isinstance(layer, nn.BatchNorm2d):
            for value, low in ((layer.weight, 0.5), (layer.bias, -1), (layer.running_mean, -1), (layer.running_var, 0.5)):
                nn.init.uniform_(value, low, low + 1.5)
    model.eval()
    plain.load_state_dict(model.plain())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        last, told = plain.features(x), model(x)[..., -4:]  # a map of 3 x 3 cells, 4 windows of 2 x 2
        for place, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            window = last[:, :, row : row + 2, column : column + 2]
            torch.testing.assert_close(told[..., place], plain.classifier(window.flatten(1))[:, :12], rtol=1e-3, atol=1e-4)
        small = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(model(small)[..., -1], plain(small)[:, :12], rtol=1e-3, atol=1e-4)


def test_the_layout_of_the_fresh_network_is_torchvisions():
    with torch.device("meta"):
        model = fresh_vgg16()
    assert model.classifier[6].weight.shape == (1000, 4096) and model.features[0].weight.shape == (64, 3, 3, 3)


def test_it_learns_which_class_fills_a_cell(tmp_path):
    path = run(tmp_path, tmp_path / "out", epochs=25, patches=8, learning_rate=5e-3)
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    first, last = record["epochs"][0], record["epochs"][-1]
    assert last["loss"] < first["loss"] - 0.2  # zero is out of reach: most cells hold several classes
    assert len(record["epochs"]) == 25 and list(last["held_out"]) == ["4 px", "8 px", "16 px", "hidden layers"]
    right, usual = last["held_out"]["4 px"]
    assert right > usual + 0.1
    assert path.name == f"vgg16_facades-{record['sha256'][:8]}.pth"


def test_its_file_is_taken_as_vgg_16_with_its_checksum(tmp_path, monkeypatch):
    path = run(tmp_path, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"] and record["bytes"] == path.stat().st_size
    assert sorted(p.name for p in path.parent.iterdir()) == ["pretraining.json", path.name]
    monkeypatch.setattr(segkit.vgg, "vgg16", lambda weights: Narrow())
    model = load_vgg16(path)
    assert torch.equal(model.features[0].weight, torch.load(path, weights_only=True)["features.0.weight"])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(VGGError, match="expected a sha256 that starts with"):
        load_vgg16(path)


def test_the_command_never_touches_val_or_test(tmp_path, monkeypatch):
    """Lists of val and test raise, and so do their files: they are not there."""
    facades(tmp_path, 6)

    def names(spec, split, part):
        assert part == "train", f"part {part!r} was asked for"
        return tuple(f"cmp_b{index:04d}" for index in range(1, 7))

    monkeypatch.setattr(DatasetSpec, "split_names", names)
    monkeypatch.setattr(pretrain, "__kwdefaults__", pretrain.__kwdefaults__ | {"network": Narrow})
    arguments = ["--split", "base", "--data", tmp_path, "--out", tmp_path / "out", "--epochs", 1, "--side", 32, "--patches", 2,
                 "--precision", "bfloat16"]  # fmt: skip
    done = CliRunner().invoke(main, ["pretrain", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    assert "held out, largest class right (one answer for all): 4 px" in done.output and "--weights" in done.output
    assert len(list((tmp_path / "out").glob("vgg16_facades-*.pth"))) == 1
    assert json.loads((tmp_path / "out" / "pretraining.json").read_text())["computed_in"] == "bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has float16")
def test_a_format_that_the_device_lacks_is_told_in_a_line(tmp_path):
    facades(tmp_path, 378)
    arguments = ["--split", "base", "--data", tmp_path, "--out", tmp_path / "out", "--precision", "float16"]
    done = CliRunner().invoke(main, ["pretrain", *map(str, arguments)])
    assert done.exit_code == 1 and "but got 'float16'" in done.output and "Traceback" not in done.output


@pytest.mark.slow
@pytest.mark.parametrize(("every", "kept"), [(0.0, ["resume.pt"]), (1e9, [])])
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path, every, kept):
    whole = run(tmp_path, tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    run_and_kill("test_pretraining", f"run(Path({str(tmp_path)!r}), Path({str(tmp_path / 'broken')!r}), every={every})", 6)
    assert [p.name for p in (tmp_path / "broken").iterdir()] == kept
    broken = run(tmp_path, tmp_path / "broken", resume=True)
    assert broken.name == whole.name, "the checksum stands in the name"


def test_a_finished_run_is_neither_repeated_nor_overwritten_unasked(tmp_path):
    path = run(tmp_path, tmp_path / "out")
    time = path.stat().st_mtime_ns
    assert run(tmp_path, tmp_path / "out", resume=True) == path and path.stat().st_mtime_ns == time
    with pytest.raises(TrainingError, match="already holds a pretraining run; nothing was changed"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(TrainingError, match="has seed 0, now 1 is asked for; nothing was changed"):
        run(tmp_path, tmp_path / "out", resume=True, seed=1)
    other = run(tmp_path, tmp_path / "out", overwrite=True, seed=1)
    assert other != path and not path.exists() and other.exists()


def test_a_damaged_picture_is_named_and_the_run_goes_on_when_it_is_whole(tmp_path):
    data = facades(tmp_path)
    whole = run(tmp_path, tmp_path / "whole")
    file = tmp_path / "base" / "cmp_b0002.jpg"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(TrainingError, match=r"cmp_b0002.jpg: expected a complete picture.*\nThe run is saved in epoch 1, before batch"):
        run(tmp_path, tmp_path / "out", data=data)
    file.write_bytes(content)
    assert run(tmp_path, tmp_path / "out", resume=True).name == whole.name


def test_held_out_pictures_that_break_leave_a_run_that_goes_on_before_its_scores(tmp_path, monkeypatch):
    """In epoch 2, when nothing is read from the others any more."""
    whole = run(tmp_path, tmp_path / "whole")
    watch, count = segkit.training.pretraining._Pretraining.evaluate, []

    def breaking(self, run):
        count.append(1)
        if len(count) == 2:
            raise DataError("cmp_b0008.jpg: expected a complete picture.")
        return watch(self, run)

    monkeypatch.setattr(segkit.training.pretraining._Pretraining, "evaluate", breaking)
    with pytest.raises(TrainingError, match=r"cmp_b0008.*\nThe run is saved in epoch 2, before its scores; put that right"):
        run(tmp_path, tmp_path / "out")
    assert run(tmp_path, tmp_path / "out", resume=True).name == whole.name and len(count) == 3


def test_too_little_memory_for_one_patch_names_the_settings_that_need_less(tmp_path, monkeypatch):
    def full(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Answering, "forward", full)
    with pytest.raises(TrainingError, match=r"Out of memory.*A smaller --batch-size or --side needs less.\nThe run is saved in epoch 1"):
        run(tmp_path, tmp_path / "out")


def test_too_few_images_and_senseless_settings_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="at least two training images"):
        run(tmp_path, tmp_path / "out", data=facades(tmp_path, 1))
    with pytest.raises(ValueError, match="side of at least 32"):
        PretrainConfig(side=16)


def test_colours_change_while_it_learns_and_not_where_it_is_watched(tmp_path, monkeypatch):
    asked = []

    def spied(batch, device, jitter=0.0):
        asked.append(jitter)
        return normalised(batch, device, jitter)

    for module in (segkit.training.pretraining, segkit.training.steps):
        monkeypatch.setattr(module, "normalised", spied)
    run(tmp_path, tmp_path / "out", epochs=1, jitter=0.25)
    learned = 4  # 7 of 8 pictures, 2 patches each, 4 a step
    assert asked == [0.25] * learned + [0.0] * (len(asked) - learned) and len(asked) > learned
    with pytest.raises(ValueError, match=r"Expected jitter within 0..1, but got 1.5"):
        PretrainConfig(jitter=1.5)
