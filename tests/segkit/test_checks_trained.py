"""The check of a trained model, on pictures in which a network of one layer can be as good or as bad as a test wants it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segkit.checkpoints import save_checkpoint
from segkit.checks import NotTested, check_checkpoint, trained
from segkit.facades import IMAGENET_MEAN, IMAGENET_STD, PALETTE, split_names
from segkit.reference import confusion_matrix, read_label, scores
from segkit.reference.satellite import read_mask

LIMITS = {"base": {"full": 0.40, "zero": 0.30}, "sample": {"full": 0.40, "zero": 0.30}}
FUNCTIONS = {"read_label": read_label, "confusion_matrix": confusion_matrix, "scores": scores}


class Colours(nn.Module):
    """Reads the class off the red of a pixel, 20 grey levels a class."""

    def __init__(self, n_class=12):
        super().__init__()
        self.score = nn.Conv2d(3, n_class, 1)

    def forward(self, x):
        return self.score(x)


def network(known: int) -> Colours:
    """A network that answers the first so many classes only."""
    model = Colours()
    with torch.no_grad():
        model.score.weight.zero_()
        for k in range(12):
            centre = (20 * k / 255 - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
            model.score.weight[k, 0], model.score.bias[k] = 2 * centre, -(centre**2) - (0 if k < known else 1000)
    return model


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The pictures of a data root that the check looks at: all twelve classes in equal parts."""
    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path))
    (tmp_path / "base").mkdir()
    for name in trained._some(split_names("base", "val")):
        draw(tmp_path / "base" / name)
    return tmp_path


def draw(stem) -> None:
    ids = np.arange(12, dtype=np.uint8).repeat(8)[None].repeat(16, 0)  # (16, 96)
    photograph = np.zeros((16, 96, 3), np.uint8)
    photograph[..., 0] = 20 * ids
    Image.fromarray(photograph).save(f"{stem}.jpg", quality=100, subsampling=0)
    label = Image.fromarray(ids + 1)
    label.putpalette(PALETTE.tobytes())
    label.save(f"{stem}.png")


def check(tmp_path, model, network_class=Colours, **functions):
    path = save_checkpoint(tmp_path / "fcn32s.safetensors", model)
    return check_checkpoint(network_class, path, LIMITS, untrained=0.06, **(functions or FUNCTIONS))


def test_a_good_model_is_measured_and_told_what_counts(root):
    report = check(root, network(12))
    (line,) = report.lines
    assert report and line.startswith("[ok] mean IoU") and "1.00 on 4 validation pictures; on the test pictures points begin" in line


def test_a_model_below_the_first_point_is_no_pass(root):
    report = check(root, network(3))  # classes 0 and 1 right, all others taken for 2: (1 + 1 + 1 / 10) / 12
    assert not report and "expected at least 0.30, got 0.18 on 4 validation pictures. Likely cause: trained too short" in report.lines[0]


def test_a_model_that_always_gives_one_answer_is_like_an_untrained_one(root):
    report = check(root, network(1))
    assert not report and "got 0.01 on 4 validation pictures. Likely cause: like an untrained network" in report.lines[0]


def test_drawn_pictures_say_nothing_of_a_model_that_is_not_hopeless(tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "_pictures", lambda spec: (tmp_path, "sample"))
    (tmp_path / "base").mkdir()
    for name in split_names("sample", "val"):
        draw(tmp_path / "base" / name)
    for known, mean in ((3, "0.18"), (12, "1.00")):
        with pytest.raises(NotTested, match=rf"mean IoU {mean} on 4 drawn pictures; it counts on photographs, .*data fetch"):
            check(tmp_path, network(known))
    assert not check(tmp_path, network(1))


def test_pictures_classes_and_advice_are_those_of_the_assignments_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assignment.json").write_text('{"assignment": "satellite", "dataset": "satellite"}')
    monkeypatch.setenv("SEGKIT_DATA", "sample")
    asked = []

    def counted(predicted, label, n_class):
        asked.append((tuple(predicted.shape), tuple(label.shape), n_class))
        return 1

    functions = {"read_label": read_mask, "confusion_matrix": counted, "scores": lambda hist: (1.0, None, 0.5)}
    with pytest.raises(NotTested, match="mean IoU 0.50 on 4 drawn pictures; it counts on photographs, which are not here$"):
        check(tmp_path, Colours(7), lambda: Colours(7), **functions)
    assert asked == [((256, 256), (256, 256), 6)] * 4


def test_without_a_function_of_notebook_1_only_the_fit_is_tested(root):
    with pytest.raises(NotTested, match="it fits Colours; how well it segments needs your confusion_matrix and scores"):
        check(root, network(12), read_label=read_label)


def test_weights_of_another_class_are_named_by_their_file(root):
    report = check(root, {"score.weight": torch.zeros(5, 3, 1, 1), "score.bias": torch.zeros(12)})
    assert not report and "got checkpoints/fcn32s.safetensors does not fit Colours" in report.lines[0] and str(root) not in report.lines[0]


def test_a_crash_in_forward_is_named(root):
    class Broken(Colours):
        def forward(self, x):
            return self.upscore(x)

    report = check(root, network(12), Broken)
    assert not report and "AttributeError: 'Broken' object has no attribute 'upscore'" in report.lines[0]


def test_an_output_of_another_size_is_named(root):
    class Small(Colours):
        def forward(self, x):
            return self.score(x)[:, :, 1:]

    report = check(root, network(12), Small)
    assert not report and "(1, 12, 15, 96)" in report.lines[0]


def test_a_slow_machine_measures_on_fewer_pictures(root, monkeypatch):
    monkeypatch.setattr(trained, "SECONDS", -1.0)
    assert "1.00 on 1 validation picture;" in check(root, network(12)).lines[0]


def test_a_class_that_needs_real_numbers_to_be_built_is_built_for_real(root):
    class Scaled(Colours):
        def __init__(self, n_class=12):
            super().__init__(n_class)
            self.score.weight.data /= float(self.score.weight.abs().max())

    assert check(root, network(12), Scaled)
