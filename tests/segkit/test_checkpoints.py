"""Checkpoints: what is written is what is read, and every bad file is answered with a usable sentence."""

import argparse
import datetime
import pathlib
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from segkit.atomic import DiskFullError, replacing
from segkit.checkpoints import CheckpointError, load_checkpoint, read_state_dict, save_checkpoint


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), score=nn.Conv2d(4, 2, 1)))


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_what_is_saved_is_read_back_to_the_bit(tmp_path, ending):
    net = small_net()
    path = save_checkpoint(tmp_path / f"net.{ending}", net)
    assert same(read_state_dict(path), net.state_dict())
    other = load_checkpoint(small_net(seed=1), path)
    assert same(other.state_dict(), net.state_dict())


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_half_and_loaded_as_float32(tmp_path, ending, dtype):
    net = small_net()
    path = save_checkpoint(tmp_path / f"net.{ending}", net, dtype)
    assert {value.dtype for value in read_state_dict(path).values()} == {dtype}
    other = load_checkpoint(small_net(seed=1), path)
    assert same(other.state_dict(), {k: v.to(dtype).float() for k, v in net.state_dict().items()})


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_wrappers_and_prefixes_of_public_code_are_accepted(tmp_path, key, prefix, zipped):
    net = small_net()
    state = {prefix + name: value for name, value in net.state_dict().items()}
    stored = state if key is None else {"epoch": 3, key: state, "optimizer": {"state": {}}}
    torch.save(stored, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(tmp_path / "net.pth"), net.state_dict())


def test_the_kind_of_file_is_told_by_its_contents_not_its_name(tmp_path):
    net = small_net()
    save_checkpoint(tmp_path / "a.safetensors", net).rename(tmp_path / "a.pth")
    save_checkpoint(tmp_path / "b.pth", net).rename(tmp_path / "b.safetensors")
    assert same(read_state_dict(tmp_path / "a.pth"), net.state_dict())
    assert same(read_state_dict(tmp_path / "b.safetensors"), net.state_dict())


def test_tensors_over_shared_memory_are_saved_by_value(tmp_path):
    base = torch.arange(12.0)
    path = save_checkpoint(tmp_path / "a.safetensors", {"a": base, "b": base, "c": base[2:4]})
    assert path.stat().st_size < 400
    assert torch.equal(read_state_dict(path)["c"], torch.tensor([2.0, 3.0]))


def test_a_network_on_the_meta_device_takes_over_the_tensors(tmp_path):
    net = small_net()
    path = save_checkpoint(tmp_path / "net.safetensors", net, torch.float16)
    with torch.device("meta"):
        empty = small_net()
    load_checkpoint(empty, path)
    assert empty.conv.weight.dtype == torch.float32 and empty.conv.weight.requires_grad
    assert torch.equal(empty.conv.weight, net.conv.weight.half().float())


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


BAD = {
    "missing": (lambda p: None, "no such file"),
    "folder": (lambda p: p.mkdir(), "found a folder"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "text": (lambda p: p.write_text("hello world, not weights"), "not a checkpoint"),
    "web page": (lambda p: p.write_text("<!DOCTYPE html><html>sign in"), "web page"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "module": (lambda p: torch.save(small_net(), p), "torch.save(model.state_dict(), "),
    "evil": (lambda p: torch.save({"model": Evil()}, p), "refused"),
    "module under a key": (lambda p: torch.save({"model": small_net(), "epoch": 3}, p), 'torch.save(model["model"].state_dict(), '),
    "evil beside weights": (lambda p: torch.save({"w": torch.zeros(2), "x": Evil()}, p), "refused"),
    "two wrappers": (lambda p: torch.save({k: {"w": torch.zeros(2)} for k in ("net", "ema")}, p), "'net' (dict), 'ema' (dict)"),
    "list": (lambda p: torch.save([torch.zeros(2)], p), "found a list"),
    "no tensors": (lambda p: torch.save({}, p), "found an empty one"),
    "extra entry": (lambda p: torch.save({"w": torch.zeros(2), "epoch": 3}, p), "'epoch' (int)"),
    "sparse": (lambda p: torch.save({"w": torch.zeros(2, 2).to_sparse()}, p), "'w' (Tensor)"),
    "both prefixes": (lambda p: torch.save({k: torch.ones(1) for k in ("w", "module.w")}, p), "there twice"),
    "stride 0": (lambda p: torch.save({"w": torch.zeros(1).expand(2**40)}, p), "more than"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_a_clear_text(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make, expected = BAD[kind]
    path = tmp_path / "fcn32s.pth"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    assert expected in str(caught.value) and "fcn32s.pth" in str(caught.value)
    assert not Path("executed").exists()


class Wrapped(nn.Module):
    """A training program's wrapper around the network, with weights of its own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.model, self.loss = small_net(seed), nn.Linear(1, 1)


class Twice(nn.Module):
    """A network that knows its first layer by two names, as in ``self.features = nn.Sequential(self.conv, ...)``."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.score = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.features = nn.Sequential(self.conv, nn.ReLU())


class Own:
    """A class that is not there where the file is read."""

    def __init__(self) -> None:
        self.value = 1


class OwnDict(dict):
    pass


@pytest.mark.parametrize("beside", [
    np.float64(0.49), np.float32(0.49), np.int64(3), np.bool_(True), np.arange(3), [np.float64(1), np.float64(2)], Path("runs/best.pth"),
    pathlib.PureWindowsPath("C:/runs"), argparse.Namespace(lr=1e-4, out=Path("x")), defaultdict(list, loss=[1.0]), OrderedDict(a=1),
    datetime.datetime(2026, 3, 14), Fraction(1, 3), Own(), OwnDict(a=1), {Own(): 1}, small_net(), torch.device("cpu"), {1, 2},
    Decimal("0.1"), {"deep": [OwnDict(b=defaultdict(int))]},
], ids=lambda value: type(value).__name__)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_lies_beside_the_weights_is_passed_over(tmp_path, beside, zipped):
    if isinstance(beside, nn.Module) and not zipped:
        return  # the old format keeps the source of a module's class beside it, which is refused
    net = small_net()
    torch.save({"best": beside, "state_dict": net.state_dict(), "epoch": 3}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_state_dict(tmp_path / "a.pth"), net.state_dict())


@pytest.mark.parametrize("key", ["net", "weights", "model_state", "generator"])
def test_weights_under_the_only_key_that_holds_any_are_found(tmp_path, key):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    torch.save({key: net.state_dict(), "optimizer": optimizer.state_dict(), "history": {"loss": [1.0]}}, tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"), net.state_dict())


def test_a_state_dict_of_the_students_own_dictionary_class_is_read(tmp_path):
    net = small_net()
    torch.save(OwnDict(state_dict=net.state_dict()), tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"), net.state_dict())


@pytest.mark.parametrize("prefix", ["model.", "net.", "fcn.backbone.", "module.model.", "model._orig_mod."])
@pytest.mark.parametrize("on_meta", [True, False])
def test_a_prefix_before_all_names_is_taken_off(tmp_path, prefix, on_meta):
    net = small_net()
    torch.save({f"{prefix}{name}": value for name, value in net.state_dict().items()}, tmp_path / "a.pth")
    with torch.device("meta" if on_meta else "cpu"):
        other = small_net(seed=1)
    assert same(load_checkpoint(other, tmp_path / "a.pth").state_dict(), net.state_dict())


def test_a_wrapper_and_its_own_weights_are_taken_off_and_put_on(tmp_path):
    wrapped, net = Wrapped(), small_net(seed=2)
    torch.save({"state_dict": wrapped.state_dict()}, tmp_path / "a.ckpt")
    assert same(load_checkpoint(small_net(seed=1), tmp_path / "a.ckpt").state_dict(), wrapped.model.state_dict())
    nested = nn.Module()
    nested.net = small_net(seed=1)
    torch.save(net.state_dict(), tmp_path / "b.pth")
    assert same(load_checkpoint(nested, tmp_path / "b.pth").net.state_dict(), net.state_dict())


@pytest.mark.parametrize(("saved", "own"), [
    ("net.module.0.weight", "net.0.weight"), ("model.net.module.0.weight", "net.0.weight"), ("net.0.weight", "net.module.0.weight"),
    ("net._orig_mod.0.weight", "net.0.weight"),
])  # fmt: skip
def test_a_wrapper_around_a_part_of_the_network_makes_no_difference(tmp_path, saved, own):
    network, part = nn.Module(), nn.Sequential(nn.Conv2d(3, 2, 1, bias=False))
    network.net = nn.DataParallel(part) if "module" in own else part
    assert list(network.state_dict()) == [own]
    save_checkpoint(tmp_path / "a.safetensors", {saved: torch.full((2, 3, 1, 1), 7.0)})
    assert bool((load_checkpoint(network, tmp_path / "a.safetensors").state_dict()[own] == 7).all())


def test_a_prefix_that_hides_another_network_is_still_another_network(tmp_path):
    torch.save({f"model.{k}": v for k, v in {**small_net().state_dict(), "more.weight": torch.zeros(2)}.items()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"unexpected \(1\): more.weight"):
        load_checkpoint(small_net(), tmp_path / "a.pth")


@pytest.mark.parametrize("write", [save_model, lambda net, path: save_file(_once(net), path)], ids=["save_model", "without metadata"])
@pytest.mark.parametrize("on_meta", [True, False])
def test_a_layer_of_two_names_needs_one_of_them_in_the_file(tmp_path, write, on_meta):
    net = Twice()
    write(net, str(tmp_path / "a.safetensors"))
    with torch.device("meta" if on_meta else "cpu"):
        other = Twice(seed=1)
    load_checkpoint(other, tmp_path / "a.safetensors")
    assert same(other.state_dict(), net.state_dict())


def _once(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in net.state_dict().items() if not name.startswith("features")}


def test_a_plain_zip_is_called_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("notebook.ipynb", "{}")
    with pytest.raises(CheckpointError, match=r"a zip archive \(notebook.ipynb\)"):
        read_state_dict(tmp_path / "a.pth")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="compressed or oversized"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_called_incomplete(tmp_path, ending, keep):
    path = save_checkpoint(tmp_path / f"net.{ending}", {"w": torch.randn(2000), "v": torch.randn(2000)})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_state_dict(path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path):
    path = save_checkpoint(tmp_path / "net.pth", {"w": torch.zeros(10_000)})
    with pytest.raises(CheckpointError, match="more than the 1000 bytes allowed"):
        read_state_dict(path, max_bytes=1000)


def test_all_differences_to_the_network_are_listed_and_it_stays_unchanged(tmp_path):
    state = small_net().state_dict()
    state["score.weight"] = torch.zeros(5, 4, 1, 1)
    state["scor.bias"] = state.pop("score.bias")
    path = save_checkpoint(tmp_path / "net.safetensors", state)
    net = small_net(seed=1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(net, path)
    text = str(caught.value)
    assert "missing (1): score.bias" in text and "unexpected (1): scor.bias" in text
    assert "score.weight expected (2, 4, 1, 1), found (5, 4, 1, 1)" in text
    assert same(net.state_dict(), before)


def test_the_light_network_of_a_quick_run_is_called_that(tmp_path):
    def net(width):
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 1), nn.Conv2d(width, 12, 1))

    save_checkpoint(tmp_path / "light.safetensors", net(2).state_dict())
    with pytest.raises(CheckpointError, match="narrower throughout: is it of a quick run, whose network was made light"):
        load_checkpoint(net(16), tmp_path / "light.safetensors")
    save_checkpoint(tmp_path / "other.safetensors", nn.Sequential(*net(16)[:2], nn.Conv2d(16, 5, 1)).state_dict())
    with pytest.raises(CheckpointError, match="number of classes"):
        load_checkpoint(net(16), tmp_path / "other.safetensors")


def test_integer_and_nan_weights_are_named(tmp_path):
    state = small_net().state_dict()
    narrow = torch.zeros(4, dtype=torch.int8)
    path = save_checkpoint(tmp_path / "a.safetensors", state | {"conv.bias": narrow})
    with pytest.raises(CheckpointError, match="conv.bias expected torch.float32, found torch.int8"):
        load_checkpoint(small_net(), path)
    path = save_checkpoint(tmp_path / "b.safetensors", state | {"conv.bias": torch.full((4,), float("nan"))})
    with pytest.raises(CheckpointError, match="NaN or infinite weights in conv.bias"):
        load_checkpoint(small_net(), path)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_full_disk_leaves_the_old_file_intact(tmp_path, ending):
    """A limit on the size of files stands in for the full disk: the system breaks the write off alike."""
    path = save_checkpoint(tmp_path / f"net.{ending}", {"w": torch.ones(10)})
    old = path.read_bytes()
    code = (
        "import sys, torch; from segkit.checkpoints import save_checkpoint\n"
        "from segkit.atomic import DiskFullError\n"
        "try: save_checkpoint(sys.argv[1], {'w': torch.ones(1_000_000)})\n"
        "except DiskFullError as error: print(error); sys.exit(7)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert done.returncode == 7, done.stderr
    assert "no space left" in done.stdout and "untouched" in done.stdout
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failing_writer_leaves_neither_a_new_file_nor_a_partial_one(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.json") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(DiskFullError, match="Nothing was written"), replacing(tmp_path / "a.json"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_checkpoint_can_be_read_by_whoever_may_read_other_files(tmp_path, ending):
    (tmp_path / "other").touch()
    path = save_checkpoint(tmp_path / f"net.{ending}", small_net())
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
