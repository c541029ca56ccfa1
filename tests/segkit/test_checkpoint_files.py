"""The file that counts as a network's checkpoint, whatever people and browsers call it."""

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segkit.checkpoint_files import find_checkpoint, find_checkpoints, layer_words
from segkit.notebooks import open_folder
from segkit.submit import checkpoint_of

NAMES = ("fcn32s", "fcn8s")


def put(folder: Path, name: str, content: bytes = b"weights", when: float = 1e9) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


def found(folder: Path, words=dict) -> dict[str, str]:
    return {name: f.path.relative_to(folder).as_posix() for name, f in find_checkpoints(folder, NAMES, words).items()}


@pytest.mark.parametrize("name", [
    "checkpoints/fcn8s.safetensors", "checkpoints/fcn8s.pth", "checkpoints/fcn8s.pt", "checkpoints/FCN8s.pth", "checkpoints/FCN8S.PTH",
    "checkpoints/fcn8s (1).safetensors", "checkpoints/fcn8s - Copy.pth", "checkpoints/Copy of fcn8s.pth", "checkpoints/fcn8s_final.pt",
    "checkpoints/best_fcn8s.pth", "checkpoints/fcn8s.ckpt", "checkpoints/fcn8s-epoch=24-miou=0.49.ckpt", "fcn8s.pth.tar", "FCN-8s_best.bin",
    "weights/fcn_8s.pth", "fcn8s/best.pth", "checkpoints/fcn8s/model.safetensors", "Checkpoints/fcn8s.pth", "fcn8s_v2 (3).pth.tar",
])  # fmt: skip
def test_a_checkpoint_is_known_by_its_name_as_people_write_it(tmp_path, name):
    put(tmp_path, name)
    assert found(tmp_path) == {"fcn8s": name}
    assert find_checkpoint(tmp_path, "fcn8s", NAMES) == tmp_path / name and find_checkpoint(tmp_path, "fcn32s", NAMES) is None


@pytest.mark.parametrize("name", [
    "published/fcn8s.safetensors", "segkit/fcn8s.pth", ".git/fcn8s.pth", "checkpoints/.fcn8s.pth", "checkpoints/._fcn8s.safetensors",
    "__MACOSX/checkpoints/._fcn8s.pth", "checkpoints/fcn8s.json", "checkpoints/fcn16s.pth", "runs/fcn8s/best.safetensors", "fcn8s.ipynb",
    "checkpoints/resnet.pth",
])  # fmt: skip
def test_what_is_another_thing_is_no_checkpoint(tmp_path, name):
    put(tmp_path, name)
    assert found(tmp_path) == {}


def test_a_link_is_no_checkpoint(tmp_path):
    (tmp_path / "fcn8s.pth").symlink_to(put(tmp_path / "other", "x.pth"))
    assert "fcn8s" not in found(tmp_path)


@pytest.mark.parametrize(("better", "worse"), [
    ("checkpoints/fcn8s.safetensors", "checkpoints/fcn8s.pth"), ("checkpoints/fcn8s.pt", "checkpoints/fcn8s (1).safetensors"),
    ("checkpoints/fcn8s.pth", "fcn8s.safetensors"), ("checkpoints/fcn8s (1).pth", "runs/fcn8s.pth"), ("checkpoints/FCN8s.pth", "FCN8s.pth"),
    ("fcn8s.pth", "fcn8s_old.pth"), ("fcn8s_best.pth", "fcn8s_last.pth"), ("fcn8s_epoch2.pth", "fcn8s/final.pth"),
])  # fmt: skip
def test_of_two_files_the_one_that_was_asked_for_counts_then_the_closer_name(tmp_path, better, worse):
    put(tmp_path, better)
    put(tmp_path, worse, when=2e9)
    assert found(tmp_path) == {"fcn8s": better}


def test_of_two_names_as_good_the_newest_counts_and_it_is_said(tmp_path):
    put(tmp_path, "fcn8s_epoch10.pth", when=1e9)
    put(tmp_path, "fcn8s_epoch9.pth", when=2e9)
    put(tmp_path, "fcn8s_epoch8.pth", when=5e8)
    taken = find_checkpoints(tmp_path, NAMES)["fcn8s"]
    assert taken.path.name == "fcn8s_epoch9.pth"
    assert taken.note == (
        "fcn8s_epoch9.pth was taken as the checkpoint fcn8s; expected checkpoints/fcn8s.safetensors; not used: fcn8s_epoch10.pth, "
        "fcn8s_epoch8.pth"
    )


def test_a_name_that_holds_both_names_is_nobodys(tmp_path):
    put(tmp_path, "fcn32s_to_fcn8s.pth")
    assert found(tmp_path) == {}
    assert "fcn8s" in find_checkpoints(tmp_path, ["fcn", "fcn8s"])  # the longer name is meant


# --------------------------------------------------------------------------------------------------------- by content
LAYERS = {"fcn32s": ("conv1_1", "conv2_1", "score", "transpose_conv"), "fcn8s": ("conv1_1", "conv2_1", "score", "score_pool_3", "upscore1")}
WORDS = {name: frozenset([*layers, "self", "nn"]) for name, layers in LAYERS.items()}


def state(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    return OrderedDict((f"{prefix}{layer}.weight", torch.zeros(2)) for layer in LAYERS[name])


def write_torch(path: Path, name: str) -> None:
    torch.save({"epoch": 3, "state_dict": state(name, "model."), "optimizer": {"state": {}}}, path)


def write_legacy(path: Path, name: str) -> None:
    torch.save(state(name), path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path, name: str) -> None:
    save_file(state(name, "module."), path)


@pytest.mark.parametrize("write", [write_torch, write_legacy, write_safetensors])
@pytest.mark.parametrize("names", [
    ("best.pth", "last.pth"), ("model.bin", "model (1).bin"), ("weights", "Weights 2"), ("a.pkl", "b.pkl"), ("a.pth.zip", "b.zip"),
])  # fmt: skip
def test_files_of_odd_names_are_known_by_their_layers(tmp_path, write, names):
    write(tmp_path / names[0], "fcn8s")
    write(tmp_path / names[1], "fcn32s")
    assert found(tmp_path, lambda: WORDS) == {"fcn8s": names[0], "fcn32s": names[1]}
    note = find_checkpoints(tmp_path, NAMES, lambda: WORDS)["fcn8s"].note
    assert "known by the names of its layers" in note


def test_layers_of_no_class_of_the_assignment_decide_nothing(tmp_path):
    save_file({f"features.{n}.weight": torch.zeros(2) for n in range(9)}, tmp_path / "vgg16.pth")
    save_file({"conv1_1.weight": torch.zeros(2), "score.weight": torch.zeros(2)}, tmp_path / "part.pth")  # fits both
    assert found(tmp_path, lambda: WORDS) == {}


def test_a_name_that_tells_is_not_overruled_by_what_is_in_the_file(tmp_path):
    write_safetensors(put(tmp_path, "checkpoints/fcn32s.safetensors"), "fcn8s")
    assert found(tmp_path, lambda: WORDS) == {"fcn32s": "checkpoints/fcn32s.safetensors"}


def test_looking_into_a_file_runs_nothing_of_it(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    torch.save({"model": Evil(), **state("fcn8s")}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil()))
    assert found(tmp_path, lambda: WORDS) == {"fcn8s": "a.pth"} and not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 broken", b"\xff" * 7 + b"\0{}", b"\x02" + bytes(7) + b"{", b"\x80\x02}q\0(X"])
def test_a_broken_file_tells_nothing_and_does_no_harm(tmp_path, content):
    put(tmp_path, "model.pth", content)
    assert found(tmp_path, lambda: WORDS) == {}


def test_the_words_of_a_class_are_its_layers_and_those_of_its_bases(tmp_path):
    (tmp_path / "nets.py").write_text(
        "class Trunk:\n    def __init__(self):\n        self.conv1_1 = 1\n\n"
        "class FCN8s(Trunk):\n    def __init__(self):\n        self.add_module('score_pool_3', 2)\n"
    )
    words = layer_words(open_folder(tmp_path, {"fcn8s": "FCN8s", "fcn32s": "FCN32s"}), NAMES)
    assert {"conv1_1", "score_pool_3"} <= words["fcn8s"] and words["fcn32s"] == frozenset()


def test_the_student_side_takes_the_same_file(tmp_path):
    facts = {"solution_cells": {"fcn8s": "FCN8s", "fcn32s": "FCN32s"}, "checkpoints": ["fcn32s", "fcn8s"]}
    (tmp_path / "assignment.json").write_text(json.dumps(facts))
    (tmp_path / "nets.py").write_text(f"class FCN8s:\n    layers = {LAYERS['fcn8s']}\n\nclass FCN32s:\n    layers = {LAYERS['fcn32s']}\n")
    write_torch(tmp_path / "best.pth", "fcn8s")
    put(tmp_path, "checkpoints/FCN32s (2).ckpt")
    assert checkpoint_of(tmp_path, "fcn8s") == tmp_path / "best.pth"
    assert checkpoint_of(tmp_path, "fcn32s") == tmp_path / "checkpoints" / "FCN32s (2).ckpt"
