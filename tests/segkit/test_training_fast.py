"""Runs of the fast recipe: unharmed by kills, NaN and damaged files, and refused where they are another run."""

import json

import pytest
import torch
from course_items import comparable, ends_alike, facades, net
from fast_runs import files, poison, run
from safetensors.torch import load_file

import segkit.training.measuring
import segkit.training.run
from segkit.checkpoints import save_checkpoint
from segkit.precision import Precision
from segkit.reference import confusion_matrix, scores
from segkit.training import RECIPES, TrainConfig, TrainingError, fit
from segkit.training.recipes import configured


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("first", "then"), [(1, 20), (20, 1)])
def test_how_often_the_loss_is_read_may_change_in_the_middle(tmp_path, optimizer, first, then):
    """The one looks at every loss, the other lets a fused optimizer look: rounding aside, they do the same."""
    settings = {"optimizer": optimizer, "schedule": "plateau", "warmup": 0}
    _, expected = run(tmp_path, tmp_path / "whole", epochs=4, read_every=then, **settings)
    run(tmp_path, tmp_path / "parts", epochs=2, read_every=first, **settings)
    _, history = run(tmp_path, tmp_path / "parts", epochs=4, read_every=then, resume=True, **settings)
    losses = [[record.train_loss for record in found.epochs[1:]] for found in (history, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_the_fast_recipe_learns(tmp_path):
    _, history = run(tmp_path, tmp_path / "out", epochs=25, batch_size=2)
    assert history.epochs[0].mean_iou < 0.1 < 0.3 < history.best.mean_iou
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-9)
    assert history.config["computed_in"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [2, 5, 8], ids=["in epoch 1", "in epoch 2", "in epoch 3"])
@pytest.mark.parametrize(
    "settings", [{"deterministic": True}, {"crop": 16, "scale": (0.8, 1.2), "optimizer": "sgd", "class_weights": "median", "jitter": 0.3}]
)
def test_a_killed_fast_run_ends_as_an_unbroken_one(tmp_path, kill_at, settings):
    broken = ends_alike("fast_runs", run, tmp_path, kill_at, **settings)
    assert sorted(path.name for path in broken.iterdir()) == ["best.safetensors", "history.json", "resume.pt"]


def test_deterministic_mode_is_left_as_it_was_found(tmp_path):
    seen = []
    run(tmp_path, tmp_path / "out", deterministic=True, epochs=1,
        after_epoch=lambda done: seen.append(torch.are_deterministic_algorithms_enabled()))  # fmt: skip
    assert seen == [True, True] and not torch.are_deterministic_algorithms_enabled()


def test_a_run_stops_when_nothing_improves_and_resumes_to_the_same(tmp_path):
    """A rate of almost zero: epoch 1 is the best, and two more without a better one are allowed."""
    done = []
    settings = {"epochs": 9, "learning_rate": 1e-30, "stop_after": 2}
    _, history = run(tmp_path, tmp_path / "out", after_epoch=done.append, **settings)
    assert [item.epoch for item in done] == [0, 1, 2, 3] and [item.last for item in done] == [False, False, False, True]
    assert history.best_epoch == 1
    _, again = run(tmp_path, tmp_path / "out", resume=True, **settings)
    assert comparable(again) == comparable(history)


def test_the_remaining_time_is_told_once_after_twenty_steps(tmp_path, capsys):
    run(tmp_path, tmp_path / "out", epochs=8, progress=True)
    said = [line for line in capsys.readouterr().out.replace("\r", "\n").splitlines() if " left" in line and "per batch" in line]
    assert len(said) == 1 and "s per batch of 3: about" in said[0]


def test_the_bar_tells_no_loss_before_one_was_read(tmp_path, monkeypatch):
    told, plain = [], segkit.training.run.bar

    def bar(**options):
        shown = plain(**options)
        monkeypatch.setattr(shown, "set_postfix_str", lambda text, refresh: told.append((options["desc"], text)))
        return shown

    monkeypatch.setattr(segkit.training.run, "bar", bar)
    _, history = run(tmp_path, tmp_path / "out", epochs=2, read_every=2)
    assert [name for name, _ in told] == ["epoch 1/2"] * 2 + ["epoch 2/2"] * 2  # after the second and the third batch of three
    assert all(text.startswith("loss ") and abs(float(text[5:]) / history.epochs[1].train_loss - 1) < 0.5 for _, text in told)


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_validation_is_computed_in_the_format_of_the_training(tmp_path, monkeypatch, cache):
    """A CPU is refused float16: here it computes in it, as an older GPU would."""
    for module in (segkit.training.run, segkit.training.measuring):
        monkeypatch.setattr(module, "choose_precision", lambda device, wanted: Precision(wanted, "cpu"))
    model, formats = net(), {True: set(), False: set()}
    model.register_forward_hook(lambda model, images, logits: formats[model.training].add(logits.dtype))
    run(tmp_path, tmp_path / "out", model, epochs=1, precision="float16", cache=cache)
    assert formats == {True: {torch.float16}, False: {torch.float16}}


def test_a_damaged_picture_stops_the_run_where_it_can_go_on(tmp_path):
    """The picture breaks in epoch 1, before it is read; after it was repaired, the run ends as an unbroken one."""
    _, expected = run(tmp_path, tmp_path / "whole")
    broken = tmp_path / "base" / "cmp_b0004.jpg"
    content = broken.read_bytes()
    train = facades(tmp_path)
    broken.write_bytes(content[:-100])
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", train=train)
    text = str(caught.value)
    assert "cmp_b0004.jpg: expected a complete picture, found a damaged or truncated file" in text
    assert "The run is saved in epoch 1, before batch" in text and "--resume" in text
    broken.write_bytes(content)
    _, history = run(tmp_path, tmp_path / "out", resume=True)
    assert comparable(history) == comparable(expected)


def test_nan_ends_the_run_and_overwrites_nothing(tmp_path):
    settings = {"epochs": 5, "schedule": "plateau", "warmup": 0}
    run(tmp_path, tmp_path / "out", **settings | {"epochs": 3})
    before = files(tmp_path / "out")
    model = net()
    poison(model, 2)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, tmp_path / "out", model, resume=True, **settings)
    text = str(caught.value)
    assert "The loss became nan in epoch 4, batch 1 (cmp_b" in text and "learning rate 1.0e-02" in text
    assert "best.safetensors holds epoch" in text and "resume.pt is as it was saved last" in text
    assert files(tmp_path / "out") == before
    _, history = run(tmp_path, tmp_path / "out", resume=True, **settings)
    _, expected = run(tmp_path, tmp_path / "whole", **settings)
    assert comparable(history) == comparable(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"batch_size": 2}, "batch_size: the run there has 3, now 2"),
        ({"epochs": 9}, "epochs: the run there has 3, now 9"),
        ({"class_weights": "median"}, "class_weights: the run there has 'none', now 'median'"),
        ({"model": net(n_class=13)}, "layers that differ in name or shape: 3.bias, 3.weight"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, change, expected):
    out = tmp_path / "out"
    run(tmp_path, out)
    before = files(out)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, out, resume=True, **change)
    assert expected in str(caught.value) and files(out) == before


def test_where_and_how_fast_may_change_on_resuming(tmp_path):
    out = tmp_path / "out"
    _, history = run(tmp_path, out)
    _, again = run(tmp_path, out, resume=True, workers=0, read_every=7, cache="disk", stop_after=50)
    assert comparable(again) == comparable(history)


def test_a_run_of_an_older_kit_is_resumed(tmp_path):
    """Its file knows nothing of the settings that came later; those count as they were then: the defaults."""
    out, data, val = tmp_path / "out", facades(tmp_path), facades(tmp_path, 3, start=9)
    options = {"out": out, "device": "cpu", "confusion_matrix": confusion_matrix, "scores": scores, "progress": False}
    fit(net(), data, val, config=TrainConfig(epochs=1), **options)
    state = torch.load(out / "resume.pt", weights_only=True)
    for name in ("optimizer", "clip", "scale", "precision", "deterministic", "cache"):
        del state["description"][name]
    torch.save(state, out / "resume.pt")
    assert fit(net(), data, val, config=TrainConfig(epochs=2), resume=True, **options).epochs[-1].epoch == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crop": "big"}, r"Expected crop as int \| None, but got 'big'"),
        ({"colour": "1"}, "Unknown setting 'colour'. Expected one of: epochs, optimizer"),
        ({"scale": "2,1"}, "Expected scale .low, high. with 0 < low <= high"),
        ({"precision": "half"}, "Expected precision 'auto', 'float32'"),
        ({"flip": "perhaps"}, "Expected flip as bool, but got 'perhaps'"),
        ({"clip": "-1"}, "Expected clip of at least 0"),
        ({"jitter": "1.5"}, r"Expected jitter within 0\.\.1, but got 1\.5"),
    ],
)
def test_settings_from_a_command_line_are_checked(changes, expected):
    with pytest.raises(ValueError, match=expected):
        configured(RECIPES["fast"], changes)


def test_settings_from_a_command_line_are_read():
    read = configured(RECIPES["fast"], {"crop": "none", "scale": "0.5, 2", "flip": "no", "clip": "1e-1", "optimizer": "sgd"})
    assert (read.crop, read.scale, read.flip, read.clip, read.optimizer) == (None, (0.5, 2.0), False, 0.1, "sgd")
    assert json.dumps(read.__dict__)


def test_weights_of_a_run_are_kept_by_value(tmp_path):
    model, history = run(tmp_path, tmp_path / "out", epochs=2)
    stored = load_file(tmp_path / "out" / "best.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    save_checkpoint(tmp_path / "again.safetensors", model)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out" / "best.safetensors").read_bytes()
