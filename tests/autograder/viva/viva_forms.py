"""Forms in which students write the cells of the small assignment, each seen in public code and written anew in other words.

A form is {grade id: source of the cell}; what it leaves out is as in ``PLAIN``. ``"nets.py"`` is a script beside the notebooks.
"""

from pathlib import Path

from tiny import cell, notebook

__all__ = ["FORMS", "PLAIN", "hand_in"]

PLAIN = {
    "confusion": """import numpy as np

def confusion_matrix(pred, gt, n_class):
    \"\"\"Count pixels.\"\"\"
    known = (gt >= 0) & (gt < n_class)
    return np.bincount(n_class * gt[known].astype(int) + pred[known], minlength=n_class**2).reshape(n_class, n_class)
""",
    "iou": """import numpy as np

def mean_iou(pred, labels):
    total = 0
    for i in range(4):
        tp_fp = np.sum(pred == i)
        tp_fn = np.sum(labels == i)
        tp = np.sum((pred == i) * (labels == i))
        total += tp / (tp_fp + tp_fn - tp + 1e-8) / 4
    return total
""",
    "net": """import torch
from torch import nn

class SmallFCN(nn.Module):
    def __init__(self, n_class=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=10)
        self.relu1 = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(6, 6, 3)
        self.drop2 = nn.Dropout2d()
        self.score = nn.Conv2d(6, n_class, 1)
        self.upscore = nn.ConvTranspose2d(n_class, n_class, 4, stride=2, bias=False)

    def forward(self, x):
        h = self.pool1(self.relu1(self.conv1(x)))
        h = self.drop2(torch.relu(self.conv2(h)))
        h = self.upscore(self.score(h))
        return h[:, :, 16 : 16 + x.size(2), 16 : 16 + x.size(3)].contiguous()
""",
    "step": """import torch.nn.functional as F

def train_step(model, optimizer, images, labels):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels, ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss.item()
""",
}

FORMS: dict[str, dict[str, str]] = {
    "plain": {},
    "blocks in Sequential, resized to the picture": {
        "net": """import torch.nn as nn
import torch.nn.functional as F

class SmallFCN(nn.Module):
    def __init__(self, n_class=3):
        super(SmallFCN, self).__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Dropout(0.3),
        )
        self.score = nn.Conv2d(6, n_class, kernel_size=1)

    def forward(self, x):
        size = x.size()[2:]
        out = self.score(self.features(x))
        return F.interpolate(out, size, mode="bilinear", align_corners=False)
""",
    },
    "a helper that crops, everything imported by a star": {
        "net": """from torch.nn import *

def crop(big, like, start=16):
    return big[..., start:start + like.shape[2], start:start + like.shape[3]]

class SmallFCN(Module):
    def __init__(self, n_class=3):
        super().__init__()
        self.body = Sequential(Conv2d(3, 6, 3, padding=10), ReLU(), MaxPool2d(2, ceil_mode=True), Conv2d(6, 6, 3), ReLU(), Dropout2d(p=.5))
        self.head = Sequential(Conv2d(6, n_class, 1), ConvTranspose2d(n_class, n_class, 4, 2, bias=False))

    def forward(self, x):
        return crop(self.head(self.body(x)), x)
""",
    },
    "layers of a loop, changed afterwards": {
        "net": """from torch import nn

class SmallFCN(nn.Module):
    def __init__(self, n_class=3):
        super().__init__()
        layers = []
        for inputs, outputs in ((3, 6), (6, 6)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2)]
        layers[0].padding = (10, 10)
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        self.trunk = nn.Sequential(*layers)
        self.score = nn.Conv2d(6, n_class, 1)
        self.up = nn.ConvTranspose2d(n_class, n_class, 8, stride=4, bias=False)

    def forward(self, x):
        h = self.up(self.score(self.trunk(x)))
        return h[:, :, 11:11 + x.shape[2], 11:11 + x.shape[3]]
""",
    },
    "a skip that is added": {
        "net": """from torch import nn
import torch.nn.functional as F

class SmallFCN(nn.Module):
    def __init__(self, n_class=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=12)
        self.conv2 = nn.Conv2d(6, 6, 5)
        self.score = nn.Conv2d(6, n_class, 1)
        self.score_pool1 = nn.Conv2d(6, n_class, 1)
        self.up2 = nn.ConvTranspose2d(n_class, n_class, 4, 2, bias=False)
        self.up = nn.ConvTranspose2d(n_class, n_class, 4, 2, bias=False)

    def forward(self, x):
        pool1 = F.max_pool2d(F.relu(self.conv1(x)), 2, 2, ceil_mode=True)
        h = F.max_pool2d(F.relu(self.conv2(pool1)), 2, 2, ceil_mode=True)
        h = self.up2(self.score(F.dropout(h, training=self.training)))
        skip = self.score_pool1(pool1)[:, :, 2 : 2 + h.shape[2], 2 : 2 + h.shape[3]]
        rows, columns = min(h.shape[2], skip.shape[2]), min(h.shape[3], skip.shape[3])
        h = self.up(h[:, :, :rows, :columns] + skip[:, :, :rows, :columns])
        return h[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
""",
    },
    "a network in a script": {
        "nets.py": """from torch import nn

class SmallFCN(nn.Module):
    def __init__(self, n_class=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.score = nn.Conv2d(8, n_class, 1)
        self.up = nn.ConvTranspose2d(n_class, n_class, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x):
        h = self.up(self.score(self.norm(self.conv(x)).relu()))
        return h[:, :, :x.shape[2], :x.shape[3]]
""",
        "net": "from nets import SmallFCN\n",
    },
    "counts added up, absent classes left out": {
        "confusion": """import numpy as np

def confusion_matrix(pred, gt, n_class):
    matrix = np.zeros((n_class,) * 2, dtype=np.int64)
    mask = (gt >= 0) & (gt < n_class)
    label = n_class * gt[mask].astype('int') + pred[mask]
    matrix += np.bincount(label, minlength=n_class ** 2).reshape(n_class, n_class)
    return matrix
""",
        "iou": """import numpy as np

def mean_iou(pred, labels):
    found = []
    for i in range(4):
        tp_fp, tp_fn = np.sum(pred == i), np.sum(labels == i)
        tp = np.sum((pred == i) & (labels == i))
        if tp_fp + tp_fn - tp == 0:
            continue  # absent
        found.append(tp / (tp_fp + tp_fn - tp))
    return sum(found) / len(found)
""",
    },
    "two loops over classes": {
        "confusion": """import numpy as np

def confusion_matrix(pred, gt, n_class):
    hist = np.zeros((n_class, n_class))
    for i in range(n_class):
        for j in range(n_class):
            hist[i, j] = np.logical_and(gt == i, pred == j).sum()
    return hist
""",
    },
    "tensors, and a matrix below": {
        "confusion": """import torch

def confusion_matrix(pred, gt, n_class):
    k = (gt >= 0) & (gt < n_class)
    counts = torch.bincount(n_class * gt[k].long() + pred[k].long(), minlength=n_class ** 2)
    return counts[:n_class ** 2].reshape(n_class, n_class)
""",
        "iou": """import numpy as np

def fast_hist(a, b, n):
    k = (a >= 0) & (a < n)
    return np.bincount(n * a[k].astype(int) + b[k], minlength=n ** 2).reshape(n, n)

def mean_iou(pred, labels):
    hist = fast_hist(np.asarray(labels), np.asarray(pred), 4)
    with np.errstate(divide='ignore', invalid='ignore'):
        iu = np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist))
    return np.nanmean(iu)
""",
    },
    "a criterion of its own, gradients clipped": {
        "step": """import torch
from torch import nn

criterion = nn.CrossEntropyLoss(ignore_index=255, reduction='mean')

def train_step(model, optimizer, images, labels):
    model.train()
    outputs = model(images)
    loss = criterion(outputs, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    optimizer.step()
    return float(loss)
""",
    },
    "pixels chosen by hand, loss by hand": {
        "step": """import torch

def train_step(model, optimizer, images, labels):
    optimizer.zero_grad()
    logits = model(images).permute(0, 2, 3, 1)
    valid = labels != 255
    log_p = torch.log_softmax(logits[valid], dim=1)
    loss = -log_p[torch.arange(len(log_p)), labels[valid]].mean()
    loss.backward()
    optimizer.step()
    return loss.detach()
""",
    },
    "gradients that are never cleared": {
        "step": """from torch import nn

def train_step(model, optimizer, images, labels):
    loss = nn.functional.cross_entropy(model(images), labels, ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss.item() * 1.0
""",
    },
}


def hand_in(folder: Path, form: dict[str, str]) -> Path:
    """Write a submission in a form."""
    work = PLAIN | form
    notebook(folder / "1_metrics.ipynb", cell("# Metrics", kind="markdown"), cell(work["confusion"], "confusion"), cell(work["iou"], "iou"))
    notebook(folder / "2_network.ipynb", cell(work["net"], "net"), cell(work["step"], "step"))
    if "nets.py" in work:
        (folder / "nets.py").write_text(work["nets.py"], encoding="utf-8")
    return folder
