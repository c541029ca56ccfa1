"""Counting with batches and threads: always the integers of a plain loop."""

import math

import numpy as np
import pytest
import torch
from course_items import facades, net
from noise import CPU, FLOAT32, SIZES, Noise, by_hand, counted, judged, plain, whole_numbers, write_facades
from sklearn.metrics import jaccard_score
from torch import nn
from torch.nn import functional as F

from segkit.facades import FacadeDataset
from segkit.inference import near_ties, scored
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training import measuring
from segkit.training.measuring import (
    batches_of_one_size,
    measure,
)
from segkit.training.sources import open_pairs, read_pairs


@pytest.mark.parametrize("counting", [plain, confusion_matrix], ids=["a student's function", "the reference's"])
@pytest.mark.parametrize("most_pixels", [0, 63, 130, 10_000])
def test_batches_of_any_size_count_like_a_loop_over_pixels(counting, most_pixels):
    rng = np.random.default_rng(most_pixels)
    for seed in range(12):
        n_class, dtype = int(rng.integers(1, 24)), rng.choice([np.uint8, np.int32, np.int64])
        absent = tuple(rng.choice(n_class, n_class // 3, replace=False).tolist()) if seed % 2 else ()
        data, model = Noise(SIZES, n_class, seed, dtype, absent), whole_numbers(n_class, seed)
        counts = counted(model, data, confusion_matrix=counting, threads=seed % 3, most_pixels=most_pixels)
        expected = by_hand(model, data, n_class)
        assert counts.hists.dtype == np.int64 and (counts.hists == expected).all(), (seed, n_class, dtype)
        for loss, (image, label) in zip(counts.losses, data, strict=True):
            with torch.no_grad():
                wanted = F.cross_entropy(model(image[None]), label[None].long(), ignore_index=255).item()
            assert loss == pytest.approx(wanted, rel=1e-6) or (math.isnan(loss) and math.isnan(wanted))


def test_evaluate_counts_decoded_facades_as_a_plain_loop_does_to_the_integer(tmp_path):
    names = write_facades(tmp_path, sizes=[(40, 31), (27, 45), (40, 31)])
    data = FacadeDataset(tmp_path, names=names, read_label=read_label)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 7, padding=3), nn.ReLU(), nn.Conv2d(32, 12, 5, padding=2)).eval()
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    result = judged(model, data, confusion_matrix=plain)
    for x, (image, _) in zip(seen, data, strict=True):
        assert torch.equal(x, image[None]) and x.is_contiguous()  # another layout is added up in another order
    assert (result.by_image == by_hand(model, data, 12)).all()
    assert (result.hist == result.by_image.sum(0)).all() and result.hist.sum() > 0


def test_scores_over_all_pixels_agree_with_scikit_learn_micro_and_macro():
    data, model = Noise(SIZES, 5), whole_numbers(5)
    result = judged(model, data)
    truth = torch.cat([label.flatten() for _, label in data])
    with torch.no_grad():
        guess = torch.cat([model(image[None]).argmax(1).flatten() for image, _ in data])
    truth, guess = truth[truth != 255], guess[truth != 255]
    assert result.micro_iou == pytest.approx(jaccard_score(truth, guess, average="micro"))
    assert result.mean_iou == pytest.approx(jaccard_score(truth, guess, average="macro"))
    assert result.to_json()["micro_iou"] == result.micro_iou and result.to_json()["macro_iou"] == result.mean_iou


def test_intervals_are_percentiles_over_drawn_images():
    data, model = Noise(SIZES, 4), whole_numbers(4)
    result = judged(model, data, bootstrap=200, seed=3)
    rng, drawn = np.random.default_rng(3), []
    for _ in range(200):
        times = rng.multinomial(len(SIZES), [1 / len(SIZES)] * len(SIZES))
        hist = sum(count * image for count, image in zip(times, result.by_image, strict=True))
        union = hist[2].sum() + hist[:, 2].sum() - hist[2, 2]
        recall = [hist[c, c] / hist[c].sum() for c in range(4)]
        drawn.append((hist.trace() / hist.sum(), hist[2, 2] / union, sum(recall) / 4))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    assert result.intervals["pixel_accuracy"] == pytest.approx((low[0], high[0]))
    assert result.iou_intervals["class 2"] == pytest.approx((low[1], high[1]))
    assert result.intervals["mean_accuracy"] == pytest.approx((low[2], high[2]))
    assert result.intervals["mean_iou"] == result.mean_iou_interval
    assert list(result.to_json()["intervals"]) == [
        "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_iou", "micro_iou",
    ]  # fmt: skip


def test_the_plan_takes_every_image_once_in_batches_of_one_size_below_the_limit():
    rng = np.random.default_rng(0)
    for limit in (1, 50, 200, 5000):
        sizes = [tuple(rng.choice([3, 5, 8, 20], 2).tolist()) for _ in range(40)]
        plan = batches_of_one_size(sizes, 40, limit)
        assert sorted(index for batch in plan for index in batch) == list(range(40))
        areas = []
        for batch in plan:
            ((height, width),) = {sizes[index] for index in batch}
            assert len(batch) == 1 or len(batch) * height * width <= limit
            areas.append(height * width)
        assert areas == sorted(areas, reverse=True)
    assert batches_of_one_size(None, 3, 10_000) == [[0], [1], [2]]


class Fcn(nn.Module):
    """FCN-32s as the paper has it, four channels wide, in double precision."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers, channels = [], 3
        for block, convolutions in enumerate([2, 2, 3, 3, 3]):
            for number in range(convolutions):
                layers += [nn.Conv2d(channels, 4, 3, padding=100 if block == number == 0 else 1), nn.ReLU()]
                channels = 4
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        layers += [nn.Conv2d(4, 8, 7), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.ConvTranspose2d(3, 3, 64, 32, bias=False)]
        self.layers = nn.Sequential(*layers).double()

    def forward(self, x):
        return self.layers(x)[:, :, 19 : 19 + x.shape[2], 19 : 19 + x.shape[3]]


@torch.no_grad()
def test_pictures_of_one_size_may_share_a_batch_and_padding_would_change_the_scores():
    model, generator = Fcn().eval(), torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 90, 70, generator=generator, dtype=torch.double)
    alone, together = model(first[None]), model(torch.stack([first, second]))[:1]
    scale = alone.abs().max()
    assert (alone - together).abs().max() <= 1e-12 * scale
    padded = model(F.pad(first[None], (0, 30, 0, 20)))[:, :, :90, :70]
    assert (alone - padded).abs().max() > 1e-3 * scale


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_counting_function_may_write_into_its_arguments(dtype):
    def writing(pred, gt, n_class):
        pred[gt == 255] = 0
        counts = confusion_matrix(pred, gt, n_class)
        pred.zero_(), gt.zero_()
        return counts

    data, model = Noise(SIZES, 4, dtype=dtype), whole_numbers(4)
    expected = judged(model, data, confusion_matrix=plain, ties=True)
    found = judged(model, data, confusion_matrix=writing, ties=True)
    assert (found.by_image == expected.by_image).all() and found.to_json() == expected.to_json()
    together = counted(model, data, confusion_matrix=writing, threads=2, most_pixels=10_000)
    assert (together.hists == expected.by_image).all()
    assert (data[0][1] == 255).any()  # the dataset's own labels are as they were


def test_ties_are_the_labelled_pixels_whose_two_best_scores_are_close():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 9, 11)).astype(np.float32)
    found = near_ties(torch.from_numpy(logits), 0.02)
    for image in range(2):
        for row in range(9):
            for column in range(11):
                low, high = sorted(logits[image, :, row, column])[-2:]
                assert found[image, row, column] == (high - low <= 0.02 * abs(logits[image]).max())
    assert 0 < found.sum() < 50
    assert not near_ties(torch.ones(1, 1, 3, 3), 0.5).any()


def test_evaluate_tells_how_many_pixels_tie():
    class Even(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0], x[:, 1]], 1)

    image = torch.zeros(3, 4, 5)
    image[0, :2] = 1.0  # the upper half is decided
    label = torch.zeros(4, 5, dtype=torch.long)
    label[3] = 255
    assert judged(Even(), [(image, label)], ties=True).ties == 5
    assert judged(Even(), [(image, label)]).ties is None


def test_datasets_that_draw_are_asked_item_by_item(tmp_path):
    names = write_facades(tmp_path, sizes=[(20, 20)])
    drawing = FacadeDataset(tmp_path, names=names, read_label=read_label, transform=lambda image, label: (image, label))
    assert read_pairs(drawing).sizes is None
    assert read_pairs(FacadeDataset(tmp_path, names=names, read_label=read_label)).sizes == [(20, 20)]


def test_the_loss_is_that_of_training_which_adds_in_one_order_where_a_run_must_repeat(monkeypatch):
    data, numbers = Noise(SIZES, 4), iter(range(len(SIZES)))
    monkeypatch.setattr(measuring, "segmentation_loss", lambda logits, labels: torch.tensor(float(next(numbers))))
    counts = counted(whole_numbers(4), data)
    assert counts.losses == list(range(len(SIZES)))


def test_validation_is_that_of_the_slow_loop_to_the_integer(tmp_path):
    """With a function of the student's (in a thread), and with the one that counts on the device."""
    data, model = facades(tmp_path), net()
    slow = judged(model, data)

    def students(pred, gt, n_class):
        assert isinstance(pred, torch.Tensor) and pred.dtype == gt.dtype == torch.int64 and pred.shape == gt.shape
        return torch.from_numpy(confusion_matrix(pred, gt, n_class))

    for function in (confusion_matrix, students):
        for pairs in (open_pairs(data, "auto"), open_pairs(data, "off")):
            counts = measure(model, pairs, device=CPU, precision=FLOAT32, confusion_matrix=function, threads=2, progress=False)
            fast = scored(counts, scores)
            assert np.array_equal(fast.hist, slow.hist) and fast.mean_iou == slow.mean_iou
            assert fast.loss == pytest.approx(slow.loss, rel=1e-6) and fast.images == 8 and fast.iou == slow.iou
    assert model.training
