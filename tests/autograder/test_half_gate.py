"""Gates in 16 bits on a CPU that has them: taken where the rule of the gates stands behind them, and never felt in the points."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import InProcess, open_run, weights, write_submission
from torch import nn

from autograder.judge import gates, grade
from autograder.judge import run as run_module
from autograder.judge.grade import grade_path
from autograder.judge.run import cpu_has_bfloat16
from autograder.segmentation import gate
from segkit.checkpoints import save_checkpoint
from segkit.facades import FacadeDataset, find_root, split_names
from segkit.reference import confusion_matrix, read_label, scores
from segkit.subject import LocalSubject

N = 12


@pytest.mark.parametrize(("flags", "has"), [
    ("fpu avx512f avx512_bf16 gfni", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx512f avx512_vnni avx512_fp16", False), ("", False),
])  # fmt: skip
def test_the_processor_says_whether_it_has_16_bits(tmp_path, flags, has):
    listing = tmp_path / f"cpuinfo-{has}-{len(flags)}"
    listing.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16 for show\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n")
    assert cpu_has_bfloat16(listing) is has and not cpu_has_bfloat16(tmp_path / "none")


class Listening(InProcess):
    """A worker that keeps in which format it was asked."""

    formats: set[str] = set()

    def predict(self, handle, x, precision="float32"):
        self.formats.add(precision)
        return super().predict(handle, x, precision)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("wanted", "again", "expected"), [
    ("auto", True, "bfloat16"), ("auto", False, "float32"), ("bfloat16", False, "bfloat16"), ("float32", True, "float32"),
])  # fmt: skip
def test_a_cpu_is_asked_in_16_bits_where_it_has_them_and_the_check_asks_again(tmp_path, monkeypatch, fast, wanted, again, expected):
    usual = gates.predictions
    monkeypatch.setattr(run_module, "cpu_has_bfloat16", lambda: fast)
    monkeypatch.setattr(grade, "RemoteSubject", Listening)
    monkeypatch.setattr(gates, "predictions", lambda *given, **more: usual(*given, **more, again=again))
    Listening.formats = set()
    with open_run(tmp_path / "out", only=("net.accuracy",), precision=wanted) as run:
        result = grade_path(run, write_submission(tmp_path / "alice", checkpoint=weights()), "alice")
        assert gates.rounded(SimpleNamespace(context=SimpleNamespace(run=run, handover=None))) is (fast and wanted != "float32")
    assert result["checks"][0]["status"] == "earned" and result["device"] == "cpu"
    assert Listening.formats == {expected if fast else "float32"}


class Narrow(nn.Module):
    """Some random features, and a layer that was fitted to them."""

    def __init__(self, n_class: int = N) -> None:
        super().__init__()
        self.features, self.score = nn.Conv2d(3, 24, 5, padding=2), nn.Conv2d(24, n_class, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.score(torch.relu(self.features(x)))


def fitted() -> tuple[Narrow, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """A network fitted by least squares to the sample's test pictures; and these, every second pixel."""
    data = FacadeDataset(find_root("sample"), names=split_names("sample", "test"), read_label=read_label)
    pictures = {name: tuple(part[..., ::2, ::2].contiguous() for part in data[number]) for number, name in enumerate(data.names)}
    torch.manual_seed(0)
    net = Narrow()
    with torch.no_grad():
        rows = torch.cat([torch.relu(net.features(image[None]))[0].flatten(1).T for image, _ in pictures.values()]).double()
        labels = torch.cat([label.flatten() for _, label in pictures.values()])
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)[labels < N]
        wanted = nn.functional.one_hot(labels[labels < N], N).double()
        solved = torch.linalg.solve(rows.T @ rows + 1e-3 * torch.eye(rows.shape[1]), rows.T @ wanted)
        net.score.weight.copy_(solved[:-1].T[:, :, None, None])
        net.score.bias.copy_(solved[-1])
    return net, {name: (image.numpy(), label.numpy()) for name, (image, label) in pictures.items()}


def test_points_are_the_same_in_either_format_for_checkpoints_around_the_threshold(tmp_path, monkeypatch):
    """Oracle: the mean IoU of float32 alone, by the rubric's line from ``zero`` to ``full`` in halves of six points."""
    net, pictures = fitted()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    subject = LocalSubject(tmp_path, checkpoints={"narrow": tmp_path / "narrow.safetensors"})
    subject.adopt("Narrow", Narrow)
    generator, asked = torch.Generator().manual_seed(1), []

    def predicted(precision):
        return {name: subject.predict(handle, image, precision) for name, (image, _) in pictures.items()}

    def measured(maps):
        return scores(sum(confusion_matrix(maps[name], label, N) for name, (_, label) in pictures.items()))[2]

    def predictions(student, grading, class_name, checkpoint, exact, network, again):
        assert again
        asked.append(exact)
        return predicted("float32" if exact else "bfloat16")

    monkeypatch.setattr(gate, "predictions", predictions)
    run = SimpleNamespace(uses_gpu=False, gate_precision="bfloat16")
    data = SimpleNamespace(split="sample", names=list(pictures), label=lambda name: pictures[name][1])
    base, outcomes, flipped = None, [], 0
    for number in range(40):
        noise = {name: torch.randn(value.shape, generator=generator) * value.std() for name, value in start.items()}
        state = {name: value + 0.02 * number * noise[name] for name, value in start.items()}
        save_checkpoint(tmp_path / "narrow.safetensors", state)
        handle = subject.build("Narrow")
        subject.load_checkpoint(handle, "narrow")
        exact = predicted("float32")
        value = measured(exact)
        base = base or value
        limits = {"full": base - 0.02, "zero": base - 0.08}
        check = SimpleNamespace(settings={"sample": limits, "defines": "Narrow", "checkpoint": "narrow"}, points=6)
        grading = SimpleNamespace(check=check, context=SimpleNamespace(data=data, run=run, handover=None))
        asked.clear()
        found = gate._measured(None, grading, None, N)
        earned = [np.floor(2 * 6 * (1 - min(max((limits["full"] - v) / (limits["full"] - limits["zero"]), 0.0), 1.0))) / 2
                  for v in (found.mean_iou, value)]  # fmt: skip
        assert earned[0] == earned[1], (number, found.mean_iou, value)
        outcomes.append((earned[0], tuple(asked)))
        flipped += any((exact[name] != maps).any() for name, maps in predicted("bfloat16").items())
    assert flipped > 30, "16 bits must differ somewhere, or nothing was tried"
    assert len({points for points, _ in outcomes}) > 4 and {again for _, again in outcomes} == {(False,), (False, True)}
