"""Gates: the reference in the place of a student's class, small pictures on sheets, and the better of two networks."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from autograder.assignments.satellite import measuring
from autograder.assignments.satellite.networks import CLASSIFIER, FCN8S, FCN16S, FCN32S
from autograder.course.assignment import open_assignment
from autograder.course.seeds import Seeds
from autograder.exam.building import solved_notebooks, write_notebooks
from autograder.judge.checking import CannotGrade, Grading
from autograder.judge.gates import mirrored
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.segmentation.reference_gate import judges_reference
from segkit.checkpoints import save_checkpoint
from segkit.datasets.satellite import LabelledPictures
from segkit.layers import compare_layers, describe
from segkit.notebooks import take
from segkit.reference import satellite as reference
from segkit.subject import LocalSubject, StudentError
from segkit.tracing import paths_in_run

NOTEBOOKS = Path(__file__).parents[3] / "notebooks" / "satellite"


def renamed(network):
    """A student's class: the same network, in which every layer lies one folder down."""

    class Renamed(nn.Module):
        def __init__(self, n_class=7):
            super().__init__()
            self.mine = network(n_class)

        def forward(self, x):
            return self.mine(x)

    return Renamed


def under_judgement(spec, model, subject):
    """What ``judges_reference`` needs of a ``Network``."""
    table = spec.layers(5, {})
    match = compare_layers(describe(model), table, run=paths_in_run(model))
    return SimpleNamespace(
        spec=spec, match=lambda: (match, 5), table=lambda n: table,
        described=lambda **how: subject.describe(subject.build("theirs", meta=True, **how)),
    )  # fmt: skip


@pytest.mark.parametrize("spec", [FCN16S, FCN8S, CLASSIFIER], ids=lambda spec: spec.name)
def test_a_students_weights_give_in_the_judges_network_what_they_give_in_theirs(spec, tmp_path):
    torch.manual_seed(0)
    theirs, side = renamed(spec.reference)(5).eval(), 32 if spec is CLASSIFIER else 0
    subject = LocalSubject(tmp_path)
    subject.adopt("theirs", renamed(spec.reference))
    gate = judges_reference(under_judgement(spec, theirs, subject), 5, side)
    subject.define(gate.program)
    judges = subject.model(subject.build(gate.program.name, meta=True, **gate.arguments))
    judges.load_state_dict(theirs.state_dict(), assign=True)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = judges(x)
        if side:
            small = x.unfold(2, 32, 32).unfold(3, 32, 32)[0].permute(1, 2, 0, 3, 4).reshape(-1, 3, 32, 32)
            expected = theirs(small).view(2, 3, 5).permute(2, 0, 1)[None].repeat_interleave(32, 2).repeat_interleave(32, 3)
        else:
            expected = theirs(x)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_network_without_a_layer_has_no_judges_network(tmp_path):
    subject = LocalSubject(tmp_path)
    subject.adopt("theirs", nn.Sequential)
    bare = SimpleNamespace(spec=FCN8S, match=lambda: (SimpleNamespace(paths={}), 5), table=lambda n: FCN8S.layers(n, {}),
                           described=lambda **how: subject.describe(subject.build("theirs")))  # fmt: skip
    with pytest.raises(StudentError, match="while layers are missing"):
        judges_reference(bare, 5)


def test_what_a_gate_mirrors_comes_back_as_it_was():
    grading = SimpleNamespace(seeds=Seeds("0123456789abcdef0123456789abcdef"))
    drawn = np.random.default_rng(0).integers(0, 256, (130, 32, 32, 3)).astype(np.uint8)
    pictures = LabelledPictures([str(n) for n in range(130)], [n % 10 for n in range(130)], "0123456789", list(drawn))
    sheets = measuring._sheets(grading, pictures)
    assert len(sheets.names) == 3 and len({mirrored(grading, name) for name in sheets.names}) == 2
    for sheet, name in enumerate(sheets.names):
        step = -1 if mirrored(grading, name) else 1  # as the gate turns it once more
        image, label = sheets.image(name)[..., ::step], sheets.label(name)[:, ::step]
        for place in range(64):
            number, window = 64 * sheet + place, np.s_[place // 8 * 32 : place // 8 * 32 + 32, place % 8 * 32 : place % 8 * 32 + 32]
            if number < 130:
                assert np.array_equal(image[:, *window], pictures[number][0].numpy()) and (label[window] == number % 10).all()
            else:
                assert (label[window] == measuring.NOBODY).all()


def improved(monkeypatch, scores, there=("fcn16s", "fcn8s", "fcn32s")):
    """Judge the better network where the networks score so."""

    def measured(student, grading, spec, exact):
        if isinstance(scores[spec.name], Exception):
            raise scores[spec.name]
        return scores[spec.name], {"a": spec.name}

    monkeypatch.setattr(measuring, "_measured", measured)
    rubric = open_assignment("satellite").rubric
    run = SimpleNamespace(uses_gpu=False, gate_precision="float32")
    data = SimpleNamespace(split="sample")
    context = SimpleNamespace(submission_checkpoints=dict.fromkeys(there), data=data, run=run, handover=None, predictions={})
    grading = Grading(rubric.checks["improved.miou"], Seeds("0123456789abcdef0123456789abcdef"), context, None)  # type: ignore[arg-type]
    measuring.judge_improved(None, grading, (FCN16S, FCN8S), FCN32S)  # type: ignore[arg-type]
    shown = context.predictions[grading.check.id]["a"]
    assert scores[shown] == max(score for name, score in scores.items() if name != "fcn32s" and not isinstance(score, Exception))
    return grading.result()


@pytest.mark.parametrize(
    ("scores", "points", "cause"),
    [
        ({"fcn16s": 0.3, "fcn8s": 0.6, "fcn32s": 0.5}, 8, None),
        ({"fcn16s": 0.6, "fcn8s": 0.1, "fcn32s": 0.5}, 8, None),
        ({"fcn16s": 0.5, "fcn8s": 0.6, "fcn32s": 0.7}, 6, "gate.not_better"),
        ({"fcn16s": 0.3, "fcn8s": 0.475, "fcn32s": 0.1}, 5, "gate.low"),
        ({"fcn16s": 0.2, "fcn8s": 0.1, "fcn32s": 0.4}, 0, "gate.low"),
        ({"fcn16s": 0.6, "fcn8s": StudentError("it does not fit", "checkpoint.unreadable"), "fcn32s": 0.5}, 8, None),
        ({"fcn16s": 0.6, "fcn8s": 0.1, "fcn32s": StudentError("it does not fit", "checkpoint.unreadable")}, 8, None),
    ],
)
def test_the_better_network_counts_and_must_beat_fcn32s(monkeypatch, scores, points, cause):
    result = improved(monkeypatch, scores)
    assert (result.points, result.cause) == (points, cause), result.message
    known = {name: score for name, score in scores.items() if not isinstance(score, Exception)}
    assert result.measured == {"mean_iou": max(known.get("fcn16s", 0), known.get("fcn8s", 0)), **known}, "earned or lost"


def test_one_fused_network_is_enough(monkeypatch):
    assert improved(monkeypatch, {"fcn8s": 0.6, "fcn32s": 0.5}, ("fcn8s", "fcn32s")).points == 8


def test_a_network_with_nothing_to_compare_must_be_better_than_what_fcn32s_reaches(monkeypatch):
    """Else a constant answer would beat an FCN-32s that was not handed in."""
    assert improved(monkeypatch, {"fcn8s": 0.04}, ("fcn8s",)).points == 0
    assert improved(monkeypatch, {"fcn8s": 0.6}, ("fcn8s",)).points == 8


def test_fifty_classes_are_not_lost_where_there_are_digits_alone(monkeypatch):
    """Which pictures lie on the grader's machine is no mistake of a student's; another number of classes is."""
    said = (
        "classifier.safetensors does not fit Classifier:\n  wrong shape (2): last.weight expected (10, 4096), found ({}, 4096), last.bias"
    )
    limits = {"full": 0.9, "zero": 0.5}
    context = SimpleNamespace(run=SimpleNamespace(settings=SimpleNamespace(retraining=None)))
    grading = SimpleNamespace(context=context, check=None)
    given = {"_pictures": (LabelledPictures([], [], "0123456789"), limits), "replace": SimpleNamespace()}
    for name, value in (dict.fromkeys(("checkpoint_of", "_sheets", "Network", "judges_reference")) | given).items():
        monkeypatch.setattr(measuring, name, lambda *_, value=value, **__: value)
    for number, kind in ((50, CannotGrade), (11, StudentError)):

        def refused(*_, number=number, **__):
            raise StudentError(said.format(number), "checkpoint.unreadable")

        monkeypatch.setattr(measuring, "predictions", refused)
        with pytest.raises(kind, match="val_50" if number == 50 else "does not fit"):
            measuring.judge_accuracy(None, grading, CLASSIFIER)  # type: ignore[arg-type]


def test_fcn8s_alone_is_graded_and_its_pictures_have_the_colours_of_land(tmp_path):
    """The report's pictures, where no other gate was asked before."""
    work = tmp_path / "ada"
    work.mkdir()
    write_notebooks(solved_notebooks(NOTEBOOKS), work)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in take("FCN8s", NOTEBOOKS)().state_dict().items()}
    save_checkpoint(work / "checkpoints" / "fcn8s.safetensors", {name: torch.zeros(s, dtype=torch.float16) for name, s in shapes.items()})
    out = tmp_path / "ada's result"
    with Run.create(Settings("satellite", tmp_path / "run", data="sample", secret="s", device="cpu", only=("improved.miou",))) as run:
        result = grade_path(run, work, "ada", out)
    check = next(check for check in result["checks"] if check["id"] == "improved.miou")
    assert (check["points"], check["cause"]) == (0, "gate.low"), check["message"]
    pictures = json.loads((out / "pictures.json").read_text())
    assert [entry["name"] for entry in pictures[0]["legend"]] == ["urban", "agriculture", "rangeland", "forest", "water", "barren"]
    with Image.open(out / pictures[0]["prediction"]) as predicted:
        assert predicted.convert("RGB").getcolors() == [(256 * 256, (0, 255, 255))], "all urban"


@pytest.mark.parametrize("error", [CannotGrade("only taken down here"), StudentError("they do not fit", "checkpoint.unreadable")])
def test_nothing_measured_is_no_score(monkeypatch, error):
    with pytest.raises(type(error)):
        improved(monkeypatch, {"fcn16s": error, "fcn8s": error, "fcn32s": 0.5})


def test_no_fused_checkpoint_is_told(monkeypatch):
    with pytest.raises(StudentError, match="checkpoints/fcn8s"):
        improved(monkeypatch, {"fcn32s": 0.5}, ("fcn32s",))


def test_the_rule_of_unknown_pixels_is_one_of_two():
    assert open_assignment("satellite").rubric.settings["unknown"] in ("left out", "wrong")
    assert reference.mean_iou(np.array([0, 1]), np.array([0, 6])) == 1


def test_the_thresholds_of_the_page_are_those_of_the_rubric():
    page = (Path(__file__).parents[3] / "docs" / "satellite.md").read_text(encoding="utf-8")
    page = page.partition("## Thresholds")[2].partition("\n## ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:5]] for line in page.splitlines() if "| 0." in line]
    name, found = "", {}
    for gate, pictures, zero, full in rows:
        name = gate or name
        found[name, "course" if "course" in pictures else "sample"] = {"full": float(full), "zero": float(zero)}
    checks = open_assignment("satellite").rubric.checks
    assert len(found) == 6 and {key: checks[key[0]].settings[key[1]] for key in found} == found
