"""The benchmarks of loading, training, evaluation and gates at their small size, and the arithmetic of their figures."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(scope="module")
def benchmarks():
    """The scripts as modules that find each other, as they do when one of them is run."""
    names = ("limits", "networks", "peers", "whole_training", "training", "grading", "gate", "loading", "evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        del sys.modules[name]


@pytest.fixture
def limits(benchmarks):
    return benchmarks.limits


@pytest.fixture
def peers(benchmarks):
    return benchmarks.peers


@pytest.fixture
def whole(benchmarks):
    return benchmarks.whole_training


@pytest.fixture
def training(benchmarks):
    return benchmarks.training


class Pairs:
    """Two facades of 8 x 8, the first with unknown pixels."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        label = torch.full((8, 8), 3)
        label[: 4 * (1 - index)] = 255
        return torch.zeros(3, 8, 8), label


def fake_torchfcn(train_epoch):
    """The package as far as the benchmark knows it, with a trainer of ours."""

    class Trainer:
        def __init__(self, **given):
            self.given, self.epoch = given, -1

        def train_epoch(self):
            train_epoch(self)

    return SimpleNamespace(Trainer=Trainer)


def test_pytorch_fcn_gets_unknown_pixels_as_it_knows_them(peers, monkeypatch):
    """Its loss leaves out targets below 0 and asserts that the others are classes."""
    seen = []

    def train_epoch(trainer):
        for _, target in trainer.given["train_loader"]:
            assert target.max() < 12
            seen.append(sorted(target.unique().tolist()))

    monkeypatch.setitem(sys.modules, "torchfcn", fake_torchfcn(train_epoch))
    able, reasons = peers.willing({"peer": lambda: peers.torchfcn_epoch(Pairs(), CPU, 16)})
    assert list(able) == ["peer"] and not reasons and sorted(seen) == [[-1, 3], [3]]


def test_a_peer_that_fails_is_left_out_with_its_reason(peers, monkeypatch):
    def old(trainer):
        raise AttributeError("module 'torch' has no\n attribute 'Variable'")

    monkeypatch.setitem(sys.modules, "torchfcn", fake_torchfcn(old))
    able, reasons = peers.willing({"peer": lambda: peers.torchfcn_epoch(Pairs(), CPU, 16), "idle": lambda: lambda: None})
    assert list(able) == ["idle"] and reasons == {"peer": "AttributeError: module 'torch' has no attribute 'Variable'"}
    monkeypatch.setitem(sys.modules, "torchfcn", None)  # not installed
    _, reasons = peers.willing({"peer": lambda: peers.torchfcn_epoch(Pairs(), CPU, 16)})
    assert reasons["peer"].startswith("ModuleNotFoundError: ")


@pytest.fixture
def modules():
    """What a test imports from a checkout is forgotten afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write_reference(folder, arguments="scaler=None"):
    """A checkout's references/segmentation as far as the benchmark knows it; its loop notes what it is given."""
    folder.mkdir()
    (folder / "utils.py").write_text("import torch\n\ndef collate_fn(items):\n    return [torch.stack(part) for part in zip(*items)]\n")
    (folder / "train.py").write_text(
        "import utils\nseen = []\n\ndef criterion(inputs, target):\n    return inputs['out'].sum()\n\n\n"
        f"def train_one_epoch(model, criterion, optimizer, data_loader, lr_scheduler, device, epoch, print_freq, {arguments}):\n"
        "    print('Epoch: [0]')\n"
        "    for image, target in data_loader:\n"
        "        seen.append((sorted(model(image)), len(image), target.shape[1:]))\n"
    )
    return folder


def test_torchvisions_own_loop_takes_part_where_its_folder_is_given(peers, tmp_path, modules, capsys):
    folder, path = write_reference(tmp_path / "segmentation"), list(sys.path)
    able, reasons = peers.willing({"peer": lambda: peers.torchvision_epoch(folder, Pairs(), CPU, 16, 2, 0, half=True)})
    assert list(able) == ["peer"] and not reasons and capsys.readouterr().out == ""
    assert sys.modules["train"].seen == [(["out"], 2, (8, 8))] and sys.path == path


@pytest.mark.parametrize(("written", "reason"), [(True, "TypeError: this train_one_epoch is older"), (False, "FileNotFoundError: ")])
def test_a_checkout_that_does_not_do_is_left_out(peers, tmp_path, modules, written, reason):
    """In 16 bits on a GPU an old loop would compute in others than its row says."""
    folder = write_reference(tmp_path / "segmentation", "*more") if written else tmp_path / "nothing"
    peer = {"peer": lambda: peers.torchvision_epoch(folder, Pairs(), torch.device("cuda"), 16, 2, 0, half=True)}
    assert peers.willing(peer)[1]["peer"].startswith(reason)


def test_pytorch_fcn_is_imported_from_a_checkout(peers, tmp_path, modules):
    (tmp_path / "torchfcn").mkdir()
    (tmp_path / "torchfcn" / "__init__.py").write_text(
        "class Trainer:\n    epoch = -1\n    def __init__(self, **given):\n        pass\n    def train_epoch(self):\n        pass\n"
    )
    able, _ = peers.willing({"peer": lambda: peers.torchfcn_epoch(Pairs(), CPU, 16, tmp_path)})
    assert list(able) == ["peer"]


def test_the_cap_of_memory_names_no_device(training, monkeypatch):
    """torch refuses "cuda" without a number there. 15 of 60 GiB are a quarter."""
    capped = []
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=60 * 2**30))
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *given: capped.append(given), raising=False)
    training.cap_memory(15, torch.device("cuda"))
    training.cap_memory(80, torch.device("cuda"))
    assert capped == [(0.25, 0), (1.0, 0)]


@pytest.mark.parametrize(("given", "named"), [
    (["--precision", "float32", "bfloat16"], "--precision"), (["--whole", "--small", "--weights", "vgg.pth"], "--weights"),
    (["--whole", "--start-from", "a.pth", "--weights", "vgg.pth"], "--start-from"),
    (["--budget", "8", "--start-from", "a.pth"], "--start-from"),
    pytest.param(["--whole", "--small", "--memory-cap", "15"], "--memory-cap", marks=WITHOUT_GPU),
    pytest.param(["--whole", "--small", "--precision", "float16"], "--precision", marks=WITHOUT_GPU),
])  # fmt: skip
def test_options_that_contradict_each_other_or_the_machine_are_refused(training, monkeypatch, capsys, given, named):
    monkeypatch.setattr(sys, "argv", ["training.py", *given])
    with pytest.raises(SystemExit, match="2"):
        training.main()
    assert f"argument {named}: " in capsys.readouterr().err


def test_epochs_stay_within_the_budget(whole):
    flop = {1: 3, 2: 5, 3: 4, 4: 9}.get
    assert whole.epochs_within(12, flop) == (3, 12) and whole.epochs_within(11.9, flop) == (2, 8) and whole.epochs_within(2, flop) == (0, 0)


def test_flop_are_counted_of_batches_as_they_are_padded(whole, monkeypatch):
    """By hand, one FLOP per pixel: 30 x 40 and 33 x 70 share a batch of 64 x 96; one by one they stay as they are."""
    monkeypatch.setattr(whole, "image_flop", lambda name, divisor: lambda size: size[0] * size[1])
    sizes, config = [(30, 40), (33, 70)], whole.RECIPES["fast"]
    assert whole.epoch_flop("fcn8s", 1, sizes, config)(1) == 2 * 64 * 96
    assert whole.epoch_flop("fcn8s", 1, sizes, whole.RECIPES["course"])(1) == 30 * 40 + 33 * 70


def test_a_budget_is_shared_and_one_that_buys_nothing_is_refused(whole, monkeypatch):
    """An epoch takes 1 PFLOP: of 7 the first network gets 3, and the second all that is left."""
    monkeypatch.setattr(whole, "epoch_flop", lambda *_: lambda epoch: 10**15)
    data = type("Sized", (), {"__len__": lambda self: 2, "size": lambda self, k: (8, 8)})()
    plan = whole.planned_epochs(SimpleNamespace(budget=7, divisor=1), data, whole.RECIPES["fast"])
    assert plan == [("fcn32s", 3), ("fcn8s", 4)]
    with pytest.raises(whole.TrainingError, match="--budget 1: not even one epoch of fcn32s over 2 images"):
        whole.planned_epochs(SimpleNamespace(budget=1, divisor=1), data, whole.RECIPES["fast"])


def test_formats_are_compared_network_by_network(whole):
    runs = [{"model": m, "precision": p, "best_mean_iou": v} for m, p, v in [
        ("fcn32s", "float16", 0.5), ("fcn8s", "float16", 0.625), ("fcn32s", "bfloat16", 0.75), ("fcn8s", "bfloat16", 0.5)]]  # fmt: skip
    assert [(found["model"], found["mean_iou"]) for found in whole.differences(runs)] == [("fcn32s", -0.25), ("fcn8s", 0.125)]


def test_all_ways_run_in_every_round_in_alternating_order(limits):
    order = []
    seconds = limits.paired({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU)
    assert order == ["a", "b", "b", "a", "a", "b"] and [len(values) for values in seconds.values()] == [3, 3]


def test_ratios_are_taken_within_rounds(limits):
    """A round in which the machine was ten times slower must not count: by hand, 2, 2 and 3."""
    assert limits.middle_ratio([2.0, 40.0, 3.0], [1.0, 20.0, 1.0]) == 2.0


def test_limits_are_positive_rates(limits):
    assert limits.matmul_rate(CPU, torch.float32, 64, seconds=0.01) > 1e6
    assert limits.bandwidth(CPU, 2**16) > 1e6


def test_products_of_float32_compute_as_convolutions_do(limits):
    """cuDNN takes TF32 unless it is forbidden; the setting of products is put back."""
    gpu, matmul, conv = torch.device("cuda"), torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = (matmul.fp32_precision, conv.fp32_precision)
    assert limits.float32_of_convolutions(gpu) == "TF32" and limits.float32_of_convolutions(CPU) == "float32"
    with limits.as_convolutions(gpu):
        assert matmul.fp32_precision == "tf32"
    try:
        conv.fp32_precision = "ieee"  # from now on torch.backends.cudnn.allow_tf32 raises
        assert limits.float32_of_convolutions(gpu) == "float32"
        with limits.as_convolutions(gpu):
            assert matmul.fp32_precision == "ieee"
    finally:
        conv.fp32_precision = before[1]
    assert (matmul.fp32_precision, conv.fp32_precision) == before and torch.backends.cudnn.allow_tf32


def test_steps_on_a_gpu_are_timed_by_its_own_clock_and_waited_for_once(limits, monkeypatch):
    clock, waited = [0.0], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = clock[0]

        def elapsed_time(self, later):
            assert waited  # else it raises
            return later.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    watch = limits.Stopwatch(torch.device("cuda"))
    for milliseconds in (2.0, 4.0):
        watch.run("a", lambda more=milliseconds: clock.append(clock.pop() + more))
        assert watch.run("b", lambda: "its result") == "its result" and not waited
    assert watch.seconds() == {"a": pytest.approx(0.006), "b": 0.0} and len(waited) == 1


@pytest.fixture
def measure(benchmarks, tmp_path, monkeypatch, capsys):
    """Runs a script at its small size, in this process: what it prints, and what it writes."""

    def run_here(name, *args):
        out = tmp_path / f"{name}.json"
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--small", "--data", "sample", "--out", str(out), *args])
        getattr(benchmarks, name).main()
        return capsys.readouterr().out, json.loads(out.read_text())

    yield run_here
    torch.set_num_threads(1)  # as tests/conftest.py has it; some scripts take more


@pytest.mark.slow
def test_loading_is_measured_at_a_small_size(measure):
    text, found = measure("loading")
    assert "times plain" in text and found["images"] == 24
    assert found["times_plain"]["plain dataset"] == 1.0
    assert min(found["times_plain"][way] for way in ("first epoch", "second epoch, kept in memory")) > 0


@pytest.mark.slow
def test_training_is_measured_at_a_small_size(measure):
    text, found = measure("training")
    assert "of the matrix rate" in text and "pytorch-fcn" in text
    assert {"plain loop of the course", "recipe course", "recipe fast", "torchvision's manner, imitated here"} <= set(found["seconds"])
    assert "pytorch-fcn's trainer" in found["seconds"].keys() ^ found["left_out"].keys()
    assert found["step_peak_mib"] is None or found["step_peak_mib"] > 0
    # 8 windows of 128, a sixteenth of the channels: conv1_2 alone is 328 x 326-ish of 4 x 4 x 9 multiply-adds, three passes
    assert 3 * 2 * 326**2 * 4 * 4 * 9 < found["flop_per_image"] < 1e11


@pytest.mark.slow
def test_a_whole_training_is_measured_at_a_small_size(measure):
    text, found = measure("training", "--whole", "--model", "fcn16s")
    (only,) = found["runs"]
    assert "from start to end" in text and len(only["epoch_seconds"]) == 2 and len(only["mean_iou"]) == 3
    assert (found["train_images"], found["val_images"], only["best_epoch"] in (1, 2)) == (8, 4, True)
    assert 0 < sum(only["epoch_seconds"]) <= only["seconds"] and (only["model"], only["begun_with"]) == ("fcn16s", "nothing")
    assert found["differences"] == []


@pytest.mark.slow
def test_both_networks_are_trained_within_a_budget_at_a_small_size(measure):
    text, found = measure("training", "--budget", "8", "--precision", "float32", "bfloat16")
    assert [(r["model"], r["precision"], r["begun_with"]) for r in found["runs"]] == [
        (model, precision, start) for precision in ("float32", "bfloat16")
        for model, start in (("fcn32s", "nothing"), ("fcn8s", "fcn32s/best.safetensors"))
    ]  # fmt: skip
    for first in (0, 2):
        both = [run["flop"] for run in found["runs"][first : first + 2]]
        assert sum(both) / 1e15 <= found["budget_pflop"] < 1.3 * sum(both) / 1e15 and both[0] < 1.3 * both[1] < 1.69 * both[0]
    assert [apart["formats"] for apart in found["differences"]] == 2 * [["float32", "bfloat16"]]
    assert "mean IoU in float32 less that in bfloat16" in text


@pytest.mark.slow
def test_gates_are_measured_at_a_small_size(benchmarks, measure):
    text, found = measure("gate")
    assert "submissions a minute" in text and found["images"] == 2
    for check in ("pretraining.miou", "fcn8s.miou"):
        assert 0.99 < sum(found["shares"][check].values()) < 1.01 and min(found["shares"][check].values()) > -0.01
        assert all(found["shares"][check][step] > 0 for step in benchmarks.gate.STEPS), "a step's function is no longer the one that runs"
    assert found["submissions_per_minute"] == pytest.approx(60 / sum(gate["whole"] for gate in found["seconds"].values()))
    # conv1_2 of both pictures alone, padded by 99 on each side: (212 + 198) x (219 + 198) and (210 + 198) x (206 + 198) pixels
    assert found["flop"]["fcn8s.miou"] > 2 * 64 * 64 * 9 * (410 * 417 + 408 * 404)


@pytest.mark.slow
def test_a_class_is_graded_side_by_side_at_a_small_size(benchmarks, measure, monkeypatch):
    """With the gate of one network alone: both are measured above."""
    monkeypatch.setattr(benchmarks.gate, "NETWORKS", {"pretraining.miou": benchmarks.gate.NETWORKS["pretraining.miou"]})
    text, found = measure("gate", "--jobs", "2", "--submissions", "2")
    assert "submissions a minute" in text and (found["jobs"], found["submissions"], found["images"]) == (2, 2, 4)
    assert found["submissions_per_minute"] == pytest.approx(120 / found["seconds"])
    assert sum("4 pictures in" in note for note in found["notes"]) == 1  # the last one's gate was measured, not taken from another's


@pytest.mark.slow
def test_evaluation_is_measured_at_a_small_size(measure):
    text, found = measure("evaluation")
    assert "metrics and transfers" in text and set(found["pixels_counted_elsewhere"].values()) == {0}
    steps = found["step_seconds"]
    own = steps["send"] + steps["classes and count"] + steps["read the counts"]
    assert found["share_of_metrics_and_transfers"] == pytest.approx(own / (own + steps["forward"] + steps["loss"]))
    assert min(*found["matmul_flop_per_second"].values(), *found["share_of_matmul"].values(), found["copy_bytes_per_second"]) > 0
