"""Images of noise and networks in whole numbers, and their counts pixel by pixel: shared by the tests of measuring."""

import numpy as np
import torch
from facade_files import encoded, lay_out, png
from PIL import Image
from torch import nn

from segkit.evaluation import evaluate
from segkit.precision import Precision
from segkit.reference import confusion_matrix, scores
from segkit.training.measuring import measure

CPU, FLOAT32 = torch.device("cpu"), Precision("float32", "cpu")
SIZES = [(7, 9), (5, 3), (7, 9), (1, 1), (9, 7), (5, 3), (7, 9), (1, 13)]


class Noise:
    """Images of noise in whole numbers, with labels of any classes and type; a fifth of the pixels is unknown."""

    def __init__(self, sizes, n_class, seed=0, dtype=np.int64, absent=()):
        rng = np.random.default_rng(seed)
        self.names = [f"noise {index}" for index in range(len(sizes))]
        self.items = []
        for size in sizes:
            label = rng.integers(0, n_class, size)
            label[np.isin(label, absent)] = (set(range(n_class)) - set(absent)).pop()
            label[rng.random(size) < 0.2] = 255
            image = rng.integers(-4, 5, (3, *size)).astype(np.float32)
            self.items.append((torch.from_numpy(image), torch.from_numpy(label.astype(dtype))))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Sized:
    """The same as pairs that tell their sizes, as decoded pictures do."""

    parallel = True

    def __init__(self, data):
        self.data, self.names = data, data.names
        self.sizes = [tuple(label.shape) for _, label in data.items]

    def load(self, index):
        return self.data[index]


def write_facades(root, sizes):
    """Noise in the form of the database; all ids 0..12 occur."""
    rng, files, names = np.random.default_rng(0), {}, []
    for number, size in enumerate(sizes, start=1):
        names.append(f"cmp_b{number:04}")
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        files[f"base/{names[-1]}.jpg"] = encoded(picture, "JPEG")
        files[f"base/{names[-1]}.png"] = png(rng.integers(0, 13, size, dtype=np.uint8))
    lay_out(root, files)
    return names


def whole_numbers(n_class, seed=0):
    """A network that computes in whole numbers: no order of additions changes them."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, n_class, 3, padding=1))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randint(-3, 4, value.shape, generator=generator))
    return model


def by_hand(model, data, n_class):
    """Pixel by pixel, one list of counts per image."""
    hists = []
    for image, label in data:
        with torch.no_grad():
            predicted = model(image[None])[0].argmax(0).tolist()
        hist = [[0] * n_class for _ in range(n_class)]
        for truths, guesses in zip(label.tolist(), predicted, strict=True):
            for truth, guess in zip(truths, guesses, strict=True):
                if truth != 255:
                    hist[truth][guess] += 1
        hists.append(hist)
    return np.array(hists)


def plain(pred, gt, n_class):
    return confusion_matrix(pred, gt, n_class)  # as a student's function: nothing on the device


def judged(model, data, **how):
    """``evaluate`` on the CPU, with the reference's functions."""
    usual = {"device": "cpu", "confusion_matrix": confusion_matrix, "scores": scores, "progress": False, "bootstrap": 0}
    return evaluate(model, data, **usual | how)


def counted(model, data, **how):
    """``measure`` on the CPU over pictures whose sizes are known."""
    usual = {"device": CPU, "precision": FLOAT32, "confusion_matrix": confusion_matrix, "progress": False}
    return measure(model, Sized(data), **usual | how)
