"""What the visible checks say of right code and of known mistakes: the grader asks the same code with other inputs."""

import io
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from asking import findings
from layer_tables import table
from PIL import Image
from torch import nn

from segkit.checks import satellite as checks
from segkit.checks.satellite.embedding import embed_mistakes, features_mistakes
from segkit.checks.satellite.masks import iou_mistakes, mask_mistakes
from segkit.reference import satellite as reference
from segkit.subject import LocalSubject


def defined(model, size):
    return [(name, (1,), sum(p.numel() for p in m.parameters())) for name, m in model.named_modules() if not [*m.children()]]


def embedded(model, loader, *, quiet=True, graph=False, back=True, last=False, turned=False, first=False, wide=False):
    training = model.training
    if quiet:
        model.eval()
    batches = []
    with torch.set_grad_enabled(graph):
        for x, y in loader:
            batches.append((model(x) if last else model.features(x), y))
            if first:
                break
    if back:
        model.train(training)
    features, labels = (torch.cat(parts) for parts in zip(*(batches[::-1] if turned else batches), strict=True))
    return features.double() if wide else features, labels


def scored(pred, gt, ratio=lambda hit, truth, called: hit / (truth + called - hit), known=True, classes=6, fill=None):
    pred, gt = np.asarray(pred), np.asarray(gt)
    pred, gt = (pred[gt < 6], gt[gt < 6]) if known else (pred, gt)
    with np.errstate(all="ignore"):
        found = [ratio(*(np.float64(x.sum()) for x in ((pred == n) & (gt == n), gt == n, pred == n))) for n in range(classes)]
    return np.nanmean(found if fill is None else np.nan_to_num(found, nan=fill))


def by(function, **how):
    return lambda *given: function(*given, **how)


def of_the_truth(hit, truth, called):
    return hit / (truth + called - hit) if truth else np.nan


def smoothed(hit, truth, called):
    return hit / (truth + called - hit + 1) if truth + called else np.nan


RIGHT = {
    "table": (checks.check_layer_table, reference.layer_table), "table, batch in the shapes": (checks.check_layer_table, table),
    "embed": (checks.check_embed, reference.embed), "embed, no matter how": (checks.check_embed, embedded),
    "mask": (checks.check_read_mask, reference.read_mask), "iou": (checks.check_mean_iou, reference.mean_iou),
    "iou by counts": (checks.check_mean_iou, scored), "iou, a tensor": (checks.check_mean_iou, lambda p, g: torch.tensor(scored(p, g))),
    "iou, rounded": (checks.check_mean_iou, lambda p, g: round(scored(p, g), 4)),
    "classifier": (checks.check_classifier, reference.Classifier),
}  # fmt: skip

WRONG = {
    "table.uncalled": (checks.check_layer_table, defined),
    "table.containers": (checks.check_layer_table, by(table, leaf=False)),
    "table.doubled": (checks.check_layer_table, by(table, every=True)),
    "table.inputs": (checks.check_layer_table, by(table, before=True)),
    "table.counted_twice": (checks.check_layer_table, by(table, twice=True)),
    "table.buffers": (checks.check_layer_table, by(table, buffers=True)),
    "table.frozen": (checks.check_layer_table, by(table, trained=True)),
    "table.names": (checks.check_layer_table, lambda m, s: [(f"Layer-{n}", *row[1:]) for n, row in enumerate(table(m, s))]),
    "table.hooks": (checks.check_layer_table, by(table, remove=False)),
    "table.mode": (checks.check_layer_table, by(table, mode="whole")),
    "table.norm": (checks.check_layer_table, by(table, mode="train")),
    "table.gradients": (checks.check_layer_table, by(table, frozen=True)),
    "table.once": (checks.check_layer_table, lambda m, s: list({row[0]: row for row in reversed(table(m, s))}.values())[::-1]),
    "table.order": (checks.check_layer_table, lambda m, s: sorted(table(m, s))),
    "table.rows": (checks.check_layer_table, lambda m, s: None),
    "table.shapes": (checks.check_layer_table, lambda m, s: [(name, (1, *shape[2:]), n) for name, shape, n in table(m, s)]),
    "embed.dropout": (checks.check_embed, by(embedded, quiet=False)),
    "embed.gradients": (checks.check_embed, by(embedded, graph=True)),
    "embed.mode": (checks.check_embed, by(embedded, back=False)),
    "embed.last": (checks.check_embed, by(embedded, last=True)),
    "embed.order": (checks.check_embed, by(embedded, turned=True)),
    "embed.batches": (checks.check_embed, by(embedded, first=True)),
    "embed.dtype": (checks.check_embed, by(embedded, wide=True)),
    "embed.type": (checks.check_embed, lambda model, loader: None),
    "embed.values": (checks.check_embed, lambda m, loader: embedded(nn.Sequential(*[*m.children()][:-1]), loader, last=True)),
    "embed.labels": (checks.check_embed, lambda model, loader: (embedded(model, loader)[0], embedded(model, loader)[1].flip(0))),
    "iou.recall": (checks.check_mean_iou, by(scored, ratio=lambda hit, truth, called: hit / truth)),
    "iou.precision": (checks.check_mean_iou, by(scored, ratio=lambda hit, truth, called: hit / called)),
    "iou.dice": (checks.check_mean_iou, by(scored, ratio=lambda hit, truth, called: 2 * hit / (truth + called))),
    "iou.union": (checks.check_mean_iou, by(scored, ratio=lambda hit, truth, called: hit / (truth + called))),
    "iou.smooth": (checks.check_mean_iou, by(scored, ratio=lambda hit, truth, called: (hit + 1) / (truth + called - hit + 1))),
    "iou.smooth, the union alone": (checks.check_mean_iou, by(scored, ratio=smoothed)),
    "iou.unknown": (checks.check_mean_iou, by(scored, known=False)),
    "iou.unknown, 255 for a class": (checks.check_mean_iou, lambda p, g: scored(p[g != 6], g[g != 6], known=False)),
    "iou.unknown, 6 never predicted": (checks.check_mean_iou, lambda p, g: scored(p[p < 6], g[p < 6])),
    "iou.absent": (checks.check_mean_iou, by(scored, fill=0.0)),
    "iou.absent, classes of the truth alone": (checks.check_mean_iou, by(scored, ratio=of_the_truth)),
    "iou.micro": (checks.check_mean_iou, lambda p, g: (p == g)[g < 6].mean()),
    "iou.pictures": (checks.check_mean_iou, lambda p, g: np.mean([scored(*pair) for pair in zip(p, g, strict=True)])),
    "iou.class_0": (checks.check_mean_iou, lambda p, g: (6 * scored(p, g) - first(p, g)) / 5),
    "iou.percent, rounded": (checks.check_mean_iou, lambda p, g: round(100 * scored(p, g), 2)),
    "iou.values": (checks.check_mean_iou, lambda p, g: 0.5),
    "iou.type": (checks.check_mean_iou, lambda p, g: [0.5] * 6),
    "mask.dtype": (checks.check_read_mask, lambda path: reference.read_mask(path).int()),
    "mask.shape": (checks.check_read_mask, lambda path: reference.read_mask(path)[None]),
    "mask.ids": (checks.check_read_mask, lambda path: reference.read_mask(path).clamp(max=5)),
}  # fmt: skip


def first(pred, gt):
    pred, gt = pred[gt < 6], gt[gt < 6]
    return np.sum((pred == 0) & (gt == 0)) / np.sum((pred == 0) | (gt == 0))


@pytest.mark.parametrize("name", RIGHT)
def test_right_code_hears_nothing_else(name, capsys):
    check, function = RIGHT[name]
    report = check(function)
    assert report and len(report.found) > 1, report.lines


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_has_its_name(name):
    check, function = WRONG[name]
    report = check(function)
    assert report.fault_line is not None and report.fault_line.code == name.partition(",")[0], report.lines


class Fixed(nn.Module):
    """For pictures of 32 x 32 alone: where the order of layers is looked for, with others, it does not run."""

    def __init__(self):
        super().__init__()
        self.head, self.last = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.Dropout(), nn.ReLU(), nn.Dropout()), nn.Linear(8, 3)

    def features(self, x):
        return self.head[:4](x)

    def forward(self, x):
        return self.last(self.head[4](self.features(x)))


def test_a_run_that_broke_off_is_no_sign_of_missing_dropout(tmp_path):
    subject = LocalSubject(tmp_path)
    subject.adopt("Fixed", Fixed)
    images = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    assert not [*features_mistakes(subject, subject.build("Fixed"), "last", images)]


def blue_first(path):
    exchanged = Image.open(path).convert("RGB").split()[::-1]
    with io.BytesIO() as file:
        Image.merge("RGB", exchanged).save(file, "PNG")
        pixels = np.array(Image.open(file))
    colours = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]
    return torch.from_numpy(np.stack([(pixels == colour).all(-1) for colour in colours]).argmax(0))


def lost(what, function):
    """Part -> how much of it, as the grader is told."""
    with tempfile.TemporaryDirectory() as folder:
        ask = {"embed": embed_mistakes, "mean_iou": lambda *given: iou_mistakes(*given, "left out"), "read_mask": mask_mistakes}[what]
        return {found.part: found.share for found in reversed(findings(folder, ask, seed=5, **{what: function}))}


def batches(model, loader):
    return embedded(model, loader)[0], [y for _, y in loader]


COSTS = {
    "labels left in their batches": ("embed", batches, {"labels": 1}),
    "truth of 255 for a class": ("mean_iou", lambda p, g: scored(p[g != 6], g[g != 6], known=False), {"unknown": 0.5}),
    "a class that is only predicted": ("mean_iou", by(scored, ratio=of_the_truth), {"absent": 1}),
    "a constant in the denominator": ("mean_iou", by(scored, ratio=smoothed), {"mean": 1}),
    "blue first": ("read_mask", blue_first, {"ids": 3 / 7, "foreign": 1}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", COSTS)
def test_a_mistake_costs_its_own_part(mistake):
    what, function, expected = COSTS[mistake]
    assert lost(what, function) == pytest.approx(expected)


def test_channels_in_the_other_order_are_told_from_a_wrong_table():
    def mistaken(path):
        ids = reference.read_mask(path)
        return torch.tensor([4, 1, 0, 3, 2, 5, 6])[ids]  # three classes too, but others

    assert "blue, green, red" in str(checks.check_read_mask(blue_first).fault_line)
    assert "blue, green, red" not in str(checks.check_read_mask(mistaken).fault_line)


class Reads(reference.Classifier):
    """Gives something else than the features behind the ReLU."""

    def __init__(self, n_class=50, what="features.before"):
        super().__init__(n_class)
        self.what = what
        self.vgg.classifier[4] = nn.ReLU()  # not in place: it would write over what stands before it

    def features(self, x):
        maps = self.vgg.features(x)
        flat, layers = torch.flatten(self.vgg.avgpool(maps), 1), self.vgg.classifier
        read = layers[3](layers[:3](flat))
        right = torch.relu(read)
        return {"features.before": read, "features.last": layers[6](right), "features.map": maps, "features.shape": flat,
                "features.layer": torch.relu(layers[0](flat)), "features.dropout": nn.functional.dropout(right)}[self.what]  # fmt: skip

    def forward(self, x):
        return self.vgg(x)


@pytest.mark.parametrize("place", ["before", "last", "map", "shape", "layer", "dropout"])
def test_features_of_another_place_have_its_name(place):
    report = checks.check_classifier(lambda n_class=50: Reads(n_class, f"features.{place}"))
    assert report.fault_line is not None and report.fault_line.code == f"features.{place}", report.lines


class Softmax(reference.Classifier):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Both(reference.Classifier):
    def forward(self, x):
        return super().forward(x), self.features(x)


class Narrow(reference.Classifier):
    def __init__(self, n_class=50):
        super().__init__(50)


@pytest.mark.parametrize(("network", "code"), [(Softmax, "forward.softmax"), (Both, "forward.type"), (Narrow, "layer.out_features")])
def test_a_classifier_of_another_kind_has_its_name(network, code):
    report = checks.check_classifier(network)
    assert report.fault_line.code == code, report.lines
    assert "layer" in code or any("features(x)" in str(line) for line in report.found), report.lines  # which are judged for themselves


NETWORKS = {"fcn32s": reference.FCN32s, "fcn16s": reference.FCN16s, "fcn8s": reference.FCN8s}


@pytest.mark.parametrize("name", NETWORKS)
def test_right_networks_hear_nothing_else(name):
    network = NETWORKS[name]
    reports = checks.check_layers(network, name), checks.check_shapes(network), checks.check_forward(network, name)
    assert all(report and len(report.found) > 1 for report in reports), [report.lines for report in reports]


def single(self, n_class=7):
    reference.FCN32s.__init__(self, n_class)
    self.drop = nn.Dropout()


def test_a_dropout_of_single_numbers_is_one():
    report = checks.check_forward(type("Single", (reference.FCN32s,), {"__init__": single}), "fcn32s")
    assert report, report.lines


def changed(name, **methods):
    return type("Changed", (NETWORKS[name],), methods)


def no_relu(self, x):
    return self.score(self.drop(self.fc7(self.drop(torch.relu(self.fc6(x))))))


def no_dropout(self, x):
    return self.score(torch.relu(self.fc7(self.drop(torch.relu(self.fc6(x))))))


def normalised(self, n_class=7):
    reference.FCN16s.__init__(self, n_class)
    self.upfeature = nn.Sequential(self.upfeature, nn.BatchNorm2d(512))


FORWARDS = {
    "a batch norm": ("fcn16s", {"__init__": normalised}, "forward.extra_layer"),
    "pool3 is not added": ("fcn8s", {"terms": lambda self, s, p4, p3: {"a": self.upfeature(s), "b": self.uppool4(p4)}}, "forward.skip"),
    "pool4 is not added": ("fcn16s", {"terms": lambda self, s, p4: {"a": self.upfeature(s)}}, "forward.skip"),
    "pool4 behind a ReLU too many": ("fcn16s", {"terms": lambda self, s, p4: {"a": (self.upfeature(s) + p4).relu()}}, "forward.skip"),
    "no ReLU behind fc7": ("fcn32s", {"_scores": no_relu}, "forward.values"),
    "no dropout behind fc7": ("fcn32s", {"_scores": no_dropout}, "dropout.missing"),
    "softmax": ("fcn8s", {"forward": lambda self, x: reference.FCN8s.forward(self, x).softmax(1)}, "forward.softmax"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FORWARDS)
def test_what_runs_otherwise_is_told(mistake):
    name, methods, code = FORWARDS[mistake]
    assert checks.check_forward(changed(name, **methods), name).fault_line.code == code


class Large(reference.FCN32s):
    def __init__(self, n_class=7):
        super().__init__(n_class)
        self.fc6 = nn.Conv2d(512, 4096, 7)


class Apart(reference.FCN16s):
    def forward(self, x):
        pool4 = self.features[:24](x)
        return self.upscore(self._scores(self.features[24:](pool4)).repeat(1, 100, 1, 1)[:, :512] + pool4)


@pytest.mark.parametrize(("network", "says"), [(Large, "the head's kernels are 2, 1 and 1"), (Apart, "kernel and stride")])
def test_an_error_of_torch_is_explained_in_the_terms_of_this_assignment(network, says):
    """Nothing of a padding of 100, of crops or of ``ceil_mode``, which another assignment's networks have."""
    said = "\n".join(map(str, checks.check_shapes(network).lines))
    assert says in said and not any(word in said for word in ("conv1_1", "crop", "ceil_mode")), said


def test_masks_are_checked_without_waiting_for_torchvision():
    """As long to import as torch itself; nothing in the notebook of masks needs it."""
    asked = (
        "import sys; import segkit.lab, segkit.plots; from segkit.checks.satellite import check_mean_iou\n"
        "check_mean_iou(lambda p, g: 0.5); print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "False", done.stdout + done.stderr
