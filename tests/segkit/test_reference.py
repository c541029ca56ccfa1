"""The reference against independent oracles: SPEC's numbers, scikit-learn, torchmetrics, torchvision, the notebooks' classes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn import metrics as sklearn_metrics
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from segkit.notebooks import execute, open_folder
from segkit.reference import FCN8s, FCN16s, FCN32s, confusion_matrix, copy_params_from_vgg16, read_label, scores

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks" / "fcn"


def meta(cls, *arguments, **options) -> nn.Module:
    with torch.device("meta"):
        return cls(*arguments, **options)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# ------------------------------------------------------------------------------------------------------------ networks
def test_parameter_counts_are_those_of_the_specification():
    import torchvision

    assert count(meta(FCN32s)) == 134_899_532 and count(meta(FCN8s)) == 134_360_420
    with torch.device("meta"):
        assert count(torchvision.models.vgg16(init_weights=False)) == 138_357_544
    # FCN-16s by hand: trunk and head without score, the two scores, two upsamplings
    trunk = sum(i * o * 9 + o for i, o in ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256),
                                           (256, 512), *[(512, 512)] * 5))  # fmt: skip
    head = 512 * 4096 * 49 + 4096 + 4096 * 4096 + 4096
    assert count(meta(FCN16s)) == trunk + head + 4096 * 12 + 12 + 512 * 12 + 12 + 144 * 16 + 144 * 32 * 32


def test_keys_are_flat_and_the_trunk_is_shared():
    keys = {cls.__name__: set(meta(cls).state_dict()) for cls in (FCN32s, FCN16s, FCN8s)}
    assert all("." not in key.rsplit(".", 1)[0] for names in keys.values() for key in names)
    assert {"conv1_1.weight", "fc6.bias", "score.weight"} <= keys["FCN32s"] & keys["FCN16s"] & keys["FCN8s"]
    assert "upscore1.weight" in keys["FCN8s"] and "transpose_conv.weight" in keys["FCN32s"] and "upscore3.bias" not in keys["FCN8s"]
    for cls in (FCN32s, FCN16s, FCN8s):
        assert all(type(getattr(meta(cls), name)) is nn.Conv2d for name in ("fc6", "fc7", "score"))


@pytest.mark.parametrize("cls", [FCN32s, FCN16s, FCN8s])
@pytest.mark.parametrize(("size", "n_class", "padding"), [((1, 1), 12, 100), ((33, 70), 3, 97), ((207, 241), 12, 130)])
def test_the_output_has_the_size_of_the_input(cls, size, n_class, padding):
    model = meta(cls, n_class, padding=padding)
    assert model(torch.empty(2, 3, *size, device="meta")).shape == (2, n_class, *size)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {cls.__name__: cls().eval() for cls in (FCN32s, FCN8s)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FCN32s", "FCN8s"])
def test_the_first_output_is_zero_and_the_first_loss_ln_12(networks, name):
    x, label = torch.randn(1, 3, 41, 57), torch.randint(0, 12, (1, 41, 57))
    with torch.inference_mode():
        output = networks[name](x)
    assert not output.any() and math.isclose(F.cross_entropy(output, label).item(), 2.4849, abs_tol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FCN32s", "FCN8s"])
def test_the_long_form_of_the_notebooks_computes_the_same(networks, name):
    workbook = open_folder(NOTEBOOKS, json.loads((NOTEBOOKS / "assignment.json").read_text())["solution_cells"])
    own = execute(workbook.program(workbook.find(name)))[name]().eval()
    model = networks[name]
    assert {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    for key, value in own.state_dict().items():
        if key.startswith(("upscore", "transpose")):
            assert torch.equal(value, model.state_dict()[key]), "both begin with the same bilinear weights"
    # drawn anew in place, so that scores are not zero and every path shows
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        fan_in = parameter[0].numel()
        parameter.data.normal_(0, (2 / fan_in) ** 0.5 if parameter.dim() > 1 else 0.1, generator=generator)
    own.load_state_dict(model.state_dict(), assign=True)
    for size in ((47, 35), (64, 33)):
        x = torch.randn(1, 3, *size, generator=generator)
        with torch.inference_mode():
            wanted, found = model(x), own(x)
        assert wanted.std() > 0.01 and torch.equal(found, wanted)


def test_another_padding_keeps_the_geometry():
    model = meta(FCN8s, padding=117)
    assert model.conv1_1.padding == (117, 117) and model.geometry.fcn8s == 48


# --------------------------------------------------------------------------------------------------------------- copy
@pytest.mark.slow
def test_the_copy_holds_vggs_values_and_computes_vggs_features():
    import torchvision

    torch.manual_seed(1)
    vgg = torchvision.models.vgg16(weights=None).eval()
    for layer in vgg.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.bias.data.normal_(0, 0.1)
    before = {name: value[..., :2].clone() for name, value in vgg.state_dict().items()}
    model = FCN32s(2).eval()
    copy_params_from_vgg16(model, vgg)
    assert all(torch.equal(value[..., :2], before[name]) for name, value in vgg.state_dict().items())
    own = {p.data_ptr() for p in model.parameters()}
    assert not own & {p.data_ptr() for p in vgg.parameters()}
    # on a 224 x 224 image without padding, pool5 is 7 x 7: fc6 and fc7 are then exactly VGG's classifier
    model.conv1_1.padding = (1, 1)
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        h = x
        for name, layer in model.named_children():
            h = layer(h)
            if name == "relu7":
                break
        wanted = vgg.classifier[:5](torch.flatten(vgg.features(x), 1))
    assert h.shape == (1, 4096, 1, 1) and torch.allclose(h.flatten(1), wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


# ------------------------------------------------------------------------------------------------------------- metrics
def drawn(n_class: int, seed: int, absent: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    used = np.delete(np.arange(n_class), 1) if absent else np.arange(n_class)
    gt = rng.choice(used, (37, 41))
    pred = np.where(rng.random(gt.shape) < 0.6, gt, rng.choice(used, gt.shape))
    return pred, np.where(rng.random(gt.shape) < 0.1, 255, gt)


@pytest.mark.parametrize(("n_class", "absent"), [(1, False), (2, False), (12, False), (12, True), (64, False)])
def test_metrics_are_those_of_scikit_learn_and_torchmetrics(n_class, absent):
    pred, gt = drawn(n_class, n_class, absent)
    known = gt != 255
    hist = confusion_matrix(pred, gt, n_class)
    assert np.array_equal(hist, sklearn_metrics.confusion_matrix(gt[known], pred[known], labels=range(n_class)))
    accuracy, iou, mean = scores(hist)
    assert accuracy == pytest.approx(sklearn_metrics.accuracy_score(gt[known], pred[known]))
    theirs = sklearn_metrics.jaccard_score(gt[known], pred[known], labels=range(n_class), average=None, zero_division=0)
    theirs[~np.isin(range(n_class), [gt[known], pred[known]])] = np.nan
    assert np.allclose(iou, theirs, equal_nan=True) and mean == pytest.approx(np.nanmean(theirs))
    assert np.isnan(iou[1]) == absent if n_class > 1 else not np.isnan(iou).any()
    if n_class > 1:
        p, g = torch.from_numpy(pred), torch.from_numpy(gt)
        assert np.array_equal(hist, MulticlassConfusionMatrix(n_class, ignore_index=255)(p, g).numpy())
        jaccard = MulticlassJaccardIndex(n_class, average=None, ignore_index=255)(p, g).numpy()
        assert np.allclose(np.nan_to_num(iou), jaccard[:n_class], atol=1e-6)
        assert accuracy == pytest.approx(MulticlassAccuracy(n_class, average="micro", ignore_index=255)(p, g).item(), abs=1e-6)


def test_metrics_of_a_case_worked_by_hand():
    gt = np.array([[0, 0, 1], [1, 1, 255], [-1, 3, 0]])
    pred = np.array([[0, 1, 1], [1, 0, 0], [2, 2, 2]])
    hist = confusion_matrix(pred, gt, 3)
    assert hist.tolist() == [[1, 1, 1], [1, 2, 0], [0, 0, 0]]
    accuracy, iou, mean = scores(hist)
    assert accuracy == 0.5 and iou.tolist() == [0.25, 0.5, 0.0] and mean == 0.25


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_narrow_integers_do_not_overflow(dtype):
    n_class = 64
    pred, gt = drawn(n_class, 3)
    gt = np.where(gt == 255, 0, gt)
    assert np.array_equal(confusion_matrix(pred.astype(dtype), gt.astype(dtype), n_class), confusion_matrix(pred, gt, n_class))


def test_metrics_take_tensors_and_an_empty_matrix_gives_nan_without_a_warning(recwarn):
    pred, gt = drawn(5, 0)
    assert np.array_equal(confusion_matrix(torch.from_numpy(pred), torch.from_numpy(gt), 5), confusion_matrix(pred, gt, 5))
    accuracy, iou, mean = scores(np.zeros((3, 3)))
    assert math.isnan(accuracy) and math.isnan(mean) and np.isnan(iou).all() and not recwarn.list


# -------------------------------------------------------------------------------------------------------------- labels
def write_label(path: Path, ids: np.ndarray, mode: str = "P") -> Path:
    picture = Image.fromarray(ids.astype(np.uint8))
    if mode == "P":
        picture.putpalette([7 * n % 256 for n in range(39)])
    picture.convert(mode).save(path) if mode != "P" else picture.save(path)
    return path


def test_labels_are_palette_indices_minus_one(tmp_path):
    ids = np.arange(26).reshape(2, 13) % 13
    label = read_label(write_label(tmp_path / "a.png", ids))
    assert label.dtype == torch.int64 and label.tolist() == [[255, *range(12)]] * 2


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_label_without_palette_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match=f"expected an indexed PNG .mode P., but got mode {mode}"):
        read_label(write_label(tmp_path / "a.png", np.zeros((2, 2)), mode))


def test_an_index_that_is_no_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0..12, but got 13"):
        read_label(write_label(tmp_path / "a.png", np.full((2, 2), 13)))
