"""What the tiny assignment needs once per run: hidden weights, and pictures whose dots are the bright pixels."""

from dataclasses import replace

import numpy as np
from PIL import Image

from autograder.judge.run import GateData


def without_torchvision(edition):
    """Give workers one of nothing: no student of this assignment uses it, and its import takes as long as torch's."""
    (edition / "torchvision" / "models").mkdir(parents=True)
    for name, text in {"__init__": "from . import models", "models/__init__": "", "models/_api": "load_state_dict_from_url = None"}.items():
        (edition / "torchvision" / f"{name}.py").write_text(f"{text}\n")


def write_weights(path, seeds, rubric):
    without_torchvision(path.parent / "edition")
    weight = seeds.generator("weights").standard_normal((2, 3, 1, 1)).astype(np.float32)
    path.write_bytes(weight.tobytes())
    return {"conv.weight": (0, [2, 3, 1, 1])}


def open_data(source, rubric, own):
    if source is None:
        raise LookupError("no pictures of dots were given")
    names = tuple(f"dots_{number}" for number in range(4))

    def photo(name):
        return np.random.default_rng(int(name[-1])).integers(0, 256, (6, 9, 3)).astype(np.uint8)

    def image(name):
        return np.ascontiguousarray(photo(name).astype(np.float32).transpose(2, 0, 1) / 255)

    def label(name):
        return (image(name)[0] > 0.5).astype(np.int64)

    return GateData("drawn dots", "own" if own else str(source), names, photo, image, label, "dots-1")


def open_pictures(source, rubric, own):
    return replace(open_data(source, rubric, own), label=lambda name: None, digest="dots without labels")


def write_training(folder, source, rubric):
    (folder / "base").mkdir()
    names = [f"cmp_b{number:04}" for number in range(1, 13)]
    for number, name in enumerate(names):
        photo = np.random.default_rng(100 + number).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        photo = photo.repeat(8, 0).repeat(8, 1)  # blocks, which a JPEG file keeps
        Image.fromarray(photo).save(folder / "base" / f"{name}.jpg", quality=100, subsampling=0)
        Image.fromarray((photo[..., 0] > 127).astype(np.uint8)).save(folder / "base" / f"{name}.png")
    return names
