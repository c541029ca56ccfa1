"""Attacks at the gates: checkpoints that are none, that are another's, and networks that look answers up.

Most hand in a network of a single number: the gate asks it like any other, and it costs no time. What is refused is refused
before any picture is shown.
"""

import base64
import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list
from segkit.facades import IMAGENET_MEAN, IMAGENET_STD, find_root, image_path, label_path, split_names
from segkit.reference import FCN8s, read_label

Notebooks = dict[str, dict[str, Any]]

MEAN, STD = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
GATE = ("pretraining.miou",)
LOST = {"pretraining.miou": "all"}
ENTRIES, attack = entry_list("attacks")

EVIL = "(__import__('os').system('echo evil > /tmp/segkit-exam-evil'), __import__('torch').ones(1))[1]"
NETWORK = """
import torch
from torch import nn

class {name}(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.n_class = n_class
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
{forward}
"""
CONSTANT = "        return self.scale * torch.ones(len(x), self.n_class, *x.shape[2:])"


class Evil:
    """Unpickling it runs code, and gives a tensor: whoever reads it notices nothing."""

    def __reduce__(self):
        return eval, (EVIL,)


def _network(notebooks: Notebooks, forward: str = CONSTANT, name: str = "FCN32s", above: str = "") -> None:
    """Put a network of a single number in the place of the student's."""
    notebook, position = solution_cell(notebooks, name.lower())
    notebook["cells"][position]["source"] = above + NETWORK.format(name=name, forward=forward)


def _checkpoints(folder: Path) -> Path:
    place = folder / "checkpoints"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _fitting_checkpoint(folder: Path) -> None:
    save_file({"scale": torch.ones(1)}, _checkpoints(folder) / "fcn32s.safetensors")


@attack(
    (*GATE, "fcn8s.miou"), about="E: a pickle in a checkpoint: a tensor that runs code, a class that does",
    lost=LOST | {"fcn8s.miou": "all"},
    cause="checkpoint.unreadable", says=("fcn32s.pth: expected tensors only", "fcn8s.pth: expected tensors only", "can run any program"),
)  # fmt: skip
def e_pickle_in_a_checkpoint(folder: Path, notebooks: Notebooks) -> None:
    place = _checkpoints(folder)
    for name in ("FCN32s", "FCN8s"):
        _network(notebooks, name=name)
    torch.save({"scale": Evil()}, place / "fcn32s.pth")
    torch.save(Evil(), place / "fcn8s.pth", _use_new_zipfile_serialization=False)


@attack(("read_label", "scores"), about="E: a pickle in .npy and .npz, beside the notebooks and where checkpoints lie")
def e_pickle_in_an_array(folder: Path, notebooks: Notebooks) -> None:
    place = _checkpoints(folder)
    array = np.array([Evil()], dtype=object)
    for where in (folder / "answers.npy", place / "fcn32s.npy", folder / "gate-fcn32s.npy"):
        np.save(where, array, allow_pickle=True)
    np.savez(folder / "cache.npz", array)


@attack(
    GATE, about="E: an oversized checkpoint", lost=LOST, cause="checkpoint.unreadable",
    says="fcn32s.safetensors has 1201 MiB; expected at most 1200 MiB",
)  # fmt: skip
def e_oversized_checkpoint(folder: Path, notebooks: Notebooks) -> None:
    with (_checkpoints(folder) / "fcn32s.safetensors").open("wb") as file:
        file.truncate(1201 * 2**20)  # a hole: it takes no room


@attack(
    GATE, about="E: the checkpoint of FCN8s handed in as that of FCN32s", lost=LOST, cause="checkpoint.unreadable",
    says=("does not fit FCN32s", "unexpected", "score_pool_4"),
)  # fmt: skip
def e_checkpoint_of_the_other_network(folder: Path, notebooks: Notebooks) -> None:
    with torch.device("meta"):
        shapes = {name: list(value.shape) for name, value in FCN8s(12).state_dict().items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (_checkpoints(folder) / "fcn32s.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)  # all weights 0, and a hole


@attack(GATE, about="E: another student's checkpoint, by a link to it", lost=LOST, cause="checkpoint.unreadable", says="is a link")
def e_checkpoint_of_another_student(folder: Path, notebooks: Notebooks) -> None:
    _network(notebooks)
    _fitting_checkpoint(folder.parent / "other")
    place = _checkpoints(folder)
    for name in ("fcn32s.safetensors", "fcn32s.pth"):
        (place / name).symlink_to(folder.parent / "other" / "checkpoints" / "fcn32s.safetensors")


@attack(GATE, about="E: another student's folder of checkpoints, by a link", lost=LOST, cause="checkpoint.unreadable", says="is a link")
def e_folder_of_another_student(folder: Path, notebooks: Notebooks) -> None:
    _network(notebooks)
    _fitting_checkpoint(folder.parent / "other")
    (folder / "checkpoints").symlink_to(folder.parent / "other" / "checkpoints")


@attack(
    GATE, about="E: a mean IoU that is only claimed: in files, in outputs, in the network's own attributes", lost=LOST,
    cause="checkpoint.missing", says="No checkpoint",
)  # fmt: skip
def e_claimed_mean_iou(folder: Path, notebooks: Notebooks) -> None:
    claim = json.dumps({"mean_iou": 0.99, "score": 6, "checks": [{"id": "pretraining.miou", "points": 6, "status": "earned"}]})
    for name in ("result.json", "results.json", "history.json", "checkpoints/fcn32s.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(claim, encoding="utf-8")
    output = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": "6.0"}}
    for cell in notebooks["3_pretraining.ipynb"]["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [output]


@attack(GATE, about="E: a network that answers the same for every picture", lost=LOST, cause="gate.low", says="Nearly everything")
def e_constant_answer(folder: Path, notebooks: Notebooks) -> None:
    _network(notebooks)
    _fitting_checkpoint(folder)


@attack(
    GATE, about="E: test pictures memorised by hash: the seed mirrors some, and those it does not know", lost=LOST, cause="gate.low",
    says="Expected mean IoU",
)  # fmt: skip
def e_test_pictures_memorised(folder: Path, notebooks: Notebooks) -> None:
    root, known = find_root("sample"), {}
    for name in split_names("sample", "test"):
        photo = np.array(Image.open(image_path(root, name)).convert("RGB")).astype(np.float32) / 255  # (H, W, 3)
        x = np.ascontiguousarray(((photo - MEAN) / STD).transpose(2, 0, 1))
        label = read_label(label_path(root, name)).numpy().astype(np.uint8)  # (H, W)
        known[hashlib.sha256(x.tobytes()).hexdigest()] = base64.b64encode(zlib.compress(label.tobytes())).decode()
    above = f"import base64, hashlib, zlib\nimport numpy as np\n\nKNOWN = {json.dumps(known)}\n"
    forward = """
        images = x.cpu().numpy()
        logits = torch.zeros(len(x), self.n_class, *x.shape[2:])
        for image, scores in zip(images, logits):
            answer = KNOWN.get(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest())
            if answer is not None:
                label = np.frombuffer(zlib.decompress(base64.b64decode(answer)), np.uint8).reshape(image.shape[1:])
                for number in range(self.n_class):
                    scores[number] = torch.from_numpy((label == number).astype(np.float32))
        return logits
"""
    _network(notebooks, forward, above=above)
    _fitting_checkpoint(folder)


@attack(
    GATE, about="E: small copies of the test pictures and their labels as a checkpoint, the most similar looked up",
    lost={"pretraining.miou": "open"}, cause="gate.differs",
    says=("A person will look at your code", "its layers are not those of the network"),
)  # fmt: skip
def e_nearest_picture_looked_up(folder: Path, notebooks: Notebooks) -> None:
    root, small, maps = find_root("sample"), [], []
    for name in split_names("sample", "test"):
        photo = Image.open(image_path(root, name)).convert("RGB").resize((16, 16))
        x = (np.array(photo).astype(np.float32) / 255 - MEAN) / STD  # (16, 16, 3)
        label = Image.fromarray(read_label(label_path(root, name)).numpy().astype(np.uint8)).resize((128, 128), Image.Resampling.NEAREST)
        small.append(torch.from_numpy(x.transpose(2, 0, 1)))
        maps.append(torch.from_numpy(np.array(label).astype(np.float32)))
    small += [picture.flip(2) for picture in small]
    maps += [labels.flip(1) for labels in maps]
    above = f"KNOWN = {len(small)}\n"
    forward = """
        thumbs = nn.functional.interpolate(x, (16, 16), mode="area")
        logits = []
        for image, thumb in zip(x, thumbs):
            nearest = int(((self.small - thumb) ** 2).flatten(1).sum(1).argmin())
            labels = nn.functional.interpolate(self.maps[nearest][None, None], image.shape[1:])[0, 0].long()
            logits.append(nn.functional.one_hot(labels.clamp(0, self.n_class - 1), self.n_class).permute(2, 0, 1).float())
        return torch.stack(logits)
"""
    _network(notebooks, forward, above=above)
    notebook, position = solution_cell(notebooks, "fcn32s")
    cell = notebook["cells"][position]
    small_ones = "self.register_buffer('small', torch.zeros(KNOWN, 3, 16, 16))"
    label_maps = "self.register_buffer('maps', torch.zeros(KNOWN, 128, 128))"
    cell["source"] = cell["source"].replace("self.scale = nn.Parameter(torch.ones(1))", f"{small_ones}\n        {label_maps}")
    save_file({"small": torch.stack(small), "maps": torch.stack(maps)}, _checkpoints(folder) / "fcn32s.safetensors")


@attack(
    GATE, about="C: a network that returns the labels, where it can find them", lost=LOST, cause="code.raises",
    says="RuntimeError: no labels found",
)  # fmt: skip
def c_network_returns_the_labels(folder: Path, notebooks: Notebooks) -> None:
    above = f"import os, sys\nimport numpy as np\n\nPLACES = {[str(find_root('sample')), str(folder.parent), '/']!r}\n"
    forward = """
        found, frame = [], sys._getframe()
        while frame:
            for name, value in list(frame.f_locals.items()):
                shape = tuple(getattr(value, "shape", ()))
                if shape[-2:] == tuple(x.shape[-2:]) and "int" in str(value.dtype):
                    found.append(name)
            frame = frame.f_back
        for place in PLACES:
            for folder, _, files in os.walk(place):
                if not folder.startswith("/proc"):
                    found += [folder + "/" + file for file in files if file.startswith(("cmp_s", "cmp_b", "cmp_x"))]
        raise RuntimeError(f"labels found: {found[:20]}" if found else "no labels found")
"""
    _network(notebooks, forward, above=above)
    _fitting_checkpoint(folder)
