"""Four people who solved the notebooks of ``fcn`` each for themselves, in forms that homework has in public."""

__all__ = ["PEOPLE"]

PLAIN_CLASS = """
class {name}(nn.Module):
    def __init__(self, n_class=12):
        super({name}, self).__init__()
        # conv1
        self.conv1_1 = nn.Conv2d(3, 64, 3, padding=100)
        self.relu1_1 = nn.ReLU(inplace=True)
        self.conv1_2 = nn.Conv2d(64, 64, 3, padding=1)
        self.relu1_2 = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(2, stride=2, ceil_mode=True)  # 1/2
        # conv2
        self.conv2_1 = nn.Conv2d(64, 128, 3, padding=1)
        self.relu2_1 = nn.ReLU(inplace=True)
        self.conv2_2 = nn.Conv2d(128, 128, 3, padding=1)
        self.relu2_2 = nn.ReLU(inplace=True)
        self.pool2 = nn.MaxPool2d(2, stride=2, ceil_mode=True)  # 1/4
        # fc
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.relu6 = nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout2d()
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.score = nn.Conv2d(4096, n_class, 1)
        self.transpose_conv = nn.ConvTranspose2d(n_class, n_class, 64, stride=32, bias=False)
        self._initialize_weights()

    def _initialize_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
                m.bias.data.zero_()
            if isinstance(m, nn.ConvTranspose2d):
                assert m.kernel_size[0] == m.kernel_size[1]
                m.weight.data.copy_(bilinear_weight(m.in_channels, m.kernel_size[0]))

    def forward(self, x):
        h = x
        h = self.relu1_1(self.conv1_1(h))
        h = self.relu1_2(self.conv1_2(h))
        h = self.pool1(h)
        h = self.relu2_1(self.conv2_1(h))
        h = self.relu2_2(self.conv2_2(h))
        h = self.pool2(h)
        h = self.relu6(self.fc6(h))
        h = self.drop6(h)
        h = self.score(h)
        h = self.transpose_conv(h)
        h = h[:, :, 19:19 + x.size()[2], 19:19 + x.size()[3]].contiguous()
        return h
"""

LOOPS = '''
PLAN = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]

class {name}(nn.Module):
    """Layers are made in a loop and found again by their names."""
    def __init__(self, n_class=12):
        super().__init__()
        before = 3
        for block, (channels, count) in enumerate(PLAN, start=1):
            for number in range(1, count + 1):
                pad = 100 if (block, number) == (1, 1) else 1
                setattr(self, f"conv{block}_{number}", nn.Conv2d(before, channels, kernel_size=3, padding=pad))
                before = channels
            setattr(self, f"pool{block}", nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True))
        self.fc6, self.fc7 = nn.Conv2d(before, 4096, 7), nn.Conv2d(4096, 4096, 1)
        self.dropout = nn.Dropout2d(p=0.5)
        self.score = nn.Conv2d(4096, n_class, 1)
        self.transpose_conv = nn.ConvTranspose2d(n_class, n_class, 64, 32, bias=False)
        with torch.no_grad():
            self.transpose_conv.weight.copy_(bilinear_weight(n_class, 64))

    def forward(self, image):
        out = image
        for block, (_, count) in enumerate(PLAN, start=1):
            for number in range(1, count + 1):
                out = F.relu(getattr(self, f"conv{block}_{number}")(out))
            out = getattr(self, f"pool{block}")(out)
        for layer in (self.fc6, self.fc7):
            out = self.dropout(F.relu(layer(out)))
        out = self.transpose_conv(self.score(out))
        rows, cols = image.shape[-2:]
        return out.narrow(2, 19, rows).narrow(3, 19, cols)
'''

BLOCKS = """
def conv(cin, cout, pad=1):
    return [nn.Conv2d(cin, cout, 3, 1, pad), nn.ReLU(True)]

def stage(sizes, pad=1):
    layers = []
    for i in range(len(sizes) - 1):
        layers += conv(sizes[i], sizes[i + 1], pad if i == 0 else 1)
    return nn.Sequential(*layers, nn.MaxPool2d(2, 2, ceil_mode=True))

class {name}(nn.Module):
    def __init__(self, n_class=12):
        super().__init__()
        self.stage1 = stage([3, 64, 64], pad=100)
        self.stage2 = stage([64, 128, 128])
        self.stage3 = stage([128, 256, 256, 256])
        self.stage4 = stage([256, 512, 512, 512])
        self.stage5 = stage([512, 512, 512, 512])
        self.head = nn.Sequential(
            nn.Conv2d(512, 4096, 7), nn.ReLU(True), nn.Dropout2d(0.5),
            nn.Conv2d(4096, 4096, 1), nn.ReLU(True), nn.Dropout2d(0.5),
            nn.Conv2d(4096, n_class, 1))
        self.transpose_conv = nn.ConvTranspose2d(n_class, n_class, kernel_size=64, stride=32, bias=False)
        self.reset()

    def reset(self):
        w = bilinear_weight(self.transpose_conv.out_channels, 64)
        self.transpose_conv.weight = nn.Parameter(w)
        last = self.head[-1]
        torch.nn.init.constant_(last.weight, 0.)
        torch.nn.init.constant_(last.bias, 0.)

    def forward(self, x):
        N, C, H, W = x.size()
        feats = self.stage5(self.stage4(self.stage3(self.stage2(self.stage1(x)))))
        full = self.transpose_conv(self.head(feats))
        return full[..., 19:H + 19, 19:W + 19]
"""

METRICS = [
    """
def confusion_matrix(pred, gt, n_class):
    pred, gt = np.asarray(pred).ravel(), np.asarray(gt).ravel()
    mask = (gt >= 0) & (gt < n_class)
    hist = np.bincount(n_class * gt[mask].astype(int) + pred[mask].astype(int), minlength=n_class ** 2)
    return hist.reshape(n_class, n_class)
""",
    """
def confusion_matrix(pred, gt, n_class):
    hist = np.zeros((n_class, n_class), dtype=np.int64)
    for t in range(n_class):
        of_class = np.asarray(pred)[np.asarray(gt) == t]
        for p in range(n_class):
            hist[t, p] = (of_class == p).sum()
    return hist
""",
    """
def confusion_matrix(pred, gt, n_class):
    gt = torch.as_tensor(gt).flatten().long()
    pred = torch.as_tensor(pred).flatten().long()
    known = gt.lt(n_class) & gt.ge(0)
    table = torch.zeros(n_class, n_class, dtype=torch.long)
    table.index_put_((gt[known], pred[known]), torch.ones_like(gt[known]), accumulate=True)
    return table
""",
    """
def confusion_matrix(pred, gt, n_class):
    truth = np.array(gt, dtype=np.int64).reshape(-1)
    guess = np.array(pred, dtype=np.int64).reshape(-1)
    edges = np.arange(n_class + 1) - 0.5
    counts, _, _ = np.histogram2d(truth, guess, bins=(edges, edges))
    return counts.astype(np.int64)
""",
]

SCORES = [
    """
def scores(hist):
    acc = np.diag(hist).sum() / hist.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        iu = np.diag(hist) / (hist.sum(axis=1) + hist.sum(axis=0) - np.diag(hist))
    mean_iu = np.nanmean(iu)
    return acc, iu, mean_iu
""",
    """
def scores(hist):
    hist = np.array(hist, dtype=float)
    n = hist.shape[0]
    ious = []
    for c in range(n):
        tp = hist[c, c]
        fp = hist[:, c].sum() - tp
        fn = hist[c, :].sum() - tp
        ious.append(tp / (tp + fp + fn) if tp + fp + fn > 0 else float("nan"))
    accuracy = np.trace(hist) / np.sum(hist)
    return accuracy, np.array(ious), np.nanmean(ious)
""",
    """
def scores(hist):
    h = torch.as_tensor(hist, dtype=torch.float64)
    inter = h.diagonal()
    union = h.sum(0) + h.sum(1) - inter
    iou = torch.where(union > 0, inter / union.clamp(min=1), torch.full_like(union, float("nan")))
    return (inter.sum() / h.sum()).item(), iou.numpy(), iou.nanmean().item()
""",
]

LABELS = [
    """
def read_label(path):
    label = np.array(Image.open(path), dtype=np.int64)
    label -= 1
    label[label < 0] = 255
    return torch.from_numpy(label)
""",
    """
def read_label(path):
    table = torch.arange(256) - 1
    table[0] = 255
    return table[torch.from_numpy(np.asarray(Image.open(path)).copy()).long()]
""",
    """
def read_label(path):
    img = Image.open(path)
    assert img.mode == "P"
    ids = np.asarray(img)
    out = np.where(ids == 0, 255, ids.astype(np.int64) - 1)
    return torch.tensor(out, dtype=torch.long)
""",
]

STEPS = [
    """
def train_step(model, images, labels, optimizer):
    model.train()
    optimizer.zero_grad()
    out = model(images)
    loss = F.cross_entropy(out, labels.long(), ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss.item()
""",
    """
criterion = nn.CrossEntropyLoss(ignore_index=255)

def train_step(model, images, labels, optimizer):
    if not model.training:
        model.train(True)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    value = criterion(model(images), labels)
    value.backward()
    optimizer.step()
    return float(value.detach())
""",
]

COPIES = [
    """
def copy_params_from_vgg16(model, vgg16):
    features = [model.conv1_1, model.relu1_1, model.conv1_2, model.relu1_2, model.pool1, model.conv2_1, model.relu2_1, model.conv2_2]
    for l1, l2 in zip(vgg16.features, features):
        if isinstance(l1, nn.Conv2d) and isinstance(l2, nn.Conv2d):
            assert l1.weight.size() == l2.weight.size()
            l2.weight.data.copy_(l1.weight.data)
            l2.bias.data.copy_(l1.bias.data)
    for i, name in zip([0, 3], ["fc6", "fc7"]):
        l1 = vgg16.classifier[i]
        l2 = getattr(model, name)
        l2.weight.data.copy_(l1.weight.data.view(l2.weight.size()))
        l2.bias.data.copy_(l1.bias.data.view(l2.bias.size()))
""",
    """
def copy_params_from_vgg16(model, vgg16):
    state, own = vgg16.state_dict(), model.state_dict()
    convs = sorted(k for k in own if k.startswith("conv"))
    weights = [k for k in state if k.startswith("features")]
    new = {}
    for mine, theirs in zip(convs, weights):
        new[mine.replace(".bias", ".b").replace(".b", ".bias")] = state[theirs].clone()
    for mine, number in (("fc6", 0), ("fc7", 3)):
        for kind in ("weight", "bias"):
            new[f"{mine}.{kind}"] = state[f"classifier.{number}.{kind}"].clone().reshape(own[f"{mine}.{kind}"].shape)
    model.load_state_dict(new, strict=False)
""",
    """
@torch.no_grad()
def copy_params_from_vgg16(model, vgg16):
    mine = iter([m for m in model.modules() if type(m) is nn.Conv2d])
    for theirs in vgg16.modules():
        if hasattr(theirs, "weight"):
            try:
                target = next(mine)
            except StopIteration:
                break
            if target.weight.numel() != theirs.weight.numel():
                continue
            target.weight[:] = theirs.weight.view_as(target.weight)
            target.bias[:] = theirs.bias
""",
]

SKIPS = [
    """
        upscore2 = self.upscore1(self.score(h))
        score_pool4c = self.score_pool_4(pool4)[:, :, 5:5 + upscore2.size()[2], 5:5 + upscore2.size()[3]]
        upscore_pool4 = self.upscore2(upscore2 + score_pool4c)
        score_pool3c = self.score_pool_3(pool3)[:, :, 9:9 + upscore_pool4.size()[2], 9:9 + upscore_pool4.size()[3]]
        h = self.upscore3(upscore_pool4 + score_pool3c)
        return h[:, :, 31:31 + x.size()[2], 31:31 + x.size()[3]].contiguous()
""",
    """
        coarse = self.upscore1(coarse)
        for skip, layer, up, first in ((pool4, self.score_pool_4, self.upscore2, 5), (pool3, self.score_pool_3, self.upscore3, 9)):
            scored = layer(skip)
            scored = scored.narrow(2, first, coarse.shape[2]).narrow(3, first, coarse.shape[3])
            coarse = up(coarse.add(scored))
        return coarse.narrow(2, 31, image.shape[2]).narrow(3, 31, image.shape[3])
""",
    """
        def crop(t, like, k):
            hh, ww = like.shape[-2:]
            return t[..., k:k + hh, k:k + ww]
        y = self.upscore1(self.head(f5))
        y = y + crop(self.score_pool_4(f4), y, 5)
        y = self.upscore2(y)
        y = y + crop(self.score_pool_3(f3), y, 9)
        return crop(self.upscore3(y), x, 31)
""",
]


def _person(network: int, metric: int, score: int, label: int, step: int, copying: int) -> dict[str, str]:
    style = (PLAIN_CLASS, LOOPS, BLOCKS)[network]
    skip = f"class Skips(nn.Module):\n    def fused(self, x, image, h, coarse, pool3, pool4, f3, f4, f5):{SKIPS[network]}"
    return {
        "1_data.ipynb, cell 9": "import numpy as np\nimport torch\nfrom PIL import Image\n" + LABELS[label],
        "1_data.ipynb, cell 14": METRICS[metric],
        "1_data.ipynb, cell 18": SCORES[score],
        "2_fcn32s.ipynb, cell 12": "from torch import nn\nimport torch.nn.functional as F\n" + style.replace("{name}", "FCN32s"),
        "2_fcn32s.ipynb, cell 20": STEPS[step],
        "3_pretraining.ipynb, cell 8": COPIES[copying],
        "4_fcn8s.ipynb, cell 10": style.replace("{name}", "FCN8s").replace("[:, :, 19:19", "[:, :, 31:31") + "\n" + skip,
    }


PEOPLE = {
    "ada": _person(0, 0, 0, 0, 0, 0),
    "ben": _person(1, 1, 1, 1, 1, 1),
    "cleo": _person(2, 2, 2, 2, 0, 2),
    "dmitri": {"1_data.ipynb, cell 9": LABELS[2], "1_data.ipynb, cell 14": METRICS[3], "2_fcn32s.ipynb, cell 20": STEPS[1]},
}
