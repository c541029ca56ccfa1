"""Counting with batches, threads and the device: always the integers of a plain loop."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from facade_files import encoded, lay_out, png
from PIL import Image
from sklearn.metrics import jaccard_score
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from segkit.evaluation import EvaluationError, evaluate
from segkit.facades import DataError, FacadeDataset
from segkit.inference import near_ties
from segkit.precision import Precision, tie_tolerance
from segkit.reference import confusion_matrix, read_label, scores
from segkit.reference.fcn.metrics import _product_counts, confusion_matrix_on_device
from segkit.training import measuring
from segkit.training.batches import collate
from segkit.training.measuring import (
    PIXELS_AT_ONCE,
    _Counter,
    _laid_out,
    _Seeing,
    batches_of_one_size,
    measure,
)
from segkit.training.sources import read_pairs

CPU, FLOAT32 = torch.device("cpu"), Precision("float32", "cpu")
QUIET = {"progress": False, "bootstrap": 0}


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


SIZES = [(7, 9), (5, 3), (7, 9), (1, 1), (9, 7), (5, 3), (7, 9), (1, 13)]


@pytest.mark.parametrize("counting", [plain, confusion_matrix], ids=["a student's function", "the reference's"])
@pytest.mark.parametrize("most_pixels", [0, 63, 130, 10_000])
def test_batches_of_any_size_count_like_a_loop_over_pixels(counting, most_pixels):
    rng = np.random.default_rng(most_pixels)
    for seed in range(12):
        n_class, dtype = int(rng.integers(1, 24)), rng.choice([np.uint8, np.int32, np.int64])
        absent = tuple(rng.choice(n_class, n_class // 3, replace=False).tolist()) if seed % 2 else ()
        data, model = Noise(SIZES, n_class, seed, dtype, absent), whole_numbers(n_class, seed)
        counts = measure(
            model, Sized(data), device=CPU, precision=FLOAT32, confusion_matrix=counting, threads=seed % 3, most_pixels=most_pixels,
            progress=False,
        )  # fmt: skip
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
    result = evaluate(model, data, device="cpu", confusion_matrix=plain, scores=scores, **QUIET)
    for x, (image, _) in zip(seen, data, strict=True):
        assert torch.equal(x, image[None]) and x.is_contiguous()  # another layout is added up in another order
    assert (result.by_image == by_hand(model, data, 12)).all()
    assert (result.hist == result.by_image.sum(0)).all() and result.hist.sum() > 0


def test_scores_over_all_pixels_agree_with_scikit_learn_micro_and_macro():
    data, model = Noise(SIZES, 5), whole_numbers(5)
    result = evaluate(model, data, device="cpu", confusion_matrix=confusion_matrix, scores=scores, **QUIET)
    truth = torch.cat([label.flatten() for _, label in data])
    with torch.no_grad():
        guess = torch.cat([model(image[None]).argmax(1).flatten() for image, _ in data])
    truth, guess = truth[truth != 255], guess[truth != 255]
    assert result.micro_iou == pytest.approx(jaccard_score(truth, guess, average="micro"))
    assert result.mean_iou == pytest.approx(jaccard_score(truth, guess, average="macro"))
    assert result.to_json()["micro_iou"] == result.micro_iou and result.to_json()["macro_iou"] == result.mean_iou


def test_intervals_are_percentiles_over_drawn_images():
    data, model = Noise(SIZES, 4), whole_numbers(4)
    result = evaluate(
        model, data, device="cpu", confusion_matrix=confusion_matrix, scores=scores, progress=False, bootstrap=200, seed=3
    )
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
            (height, width), = {sizes[index] for index in batch}
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


class Tight(nn.Module):
    """A network that finds room for so many pixels."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most, self.asked = inner, most, []

    def forward(self, x):
        self.asked.append(tuple(x.shape))
        if x[:, 0].numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return self.inner(x)


def test_a_batch_that_does_not_fit_is_taken_in_smaller_pieces_and_counts_are_the_same():
    data = Noise([(7, 9)] * 5 + [(5, 3)] * 2, 4)
    model = Tight(whole_numbers(4), most=2 * 63)
    counts = measure(
        model, Sized(data), device=CPU, precision=FLOAT32, confusion_matrix=confusion_matrix, most_pixels=10_000, progress=False
    )
    assert (counts.hists == by_hand(model.inner, data, 4)).all()
    assert [shape[0] for shape in model.asked] == [5, 2, 2, 1, 2]  # five did not fit; the rest went by what was learned


def test_counting_that_does_not_fit_is_tried_again_in_smaller_pieces_and_nothing_counts_twice(monkeypatch):
    """The network's pass fitted, the copies for the ties did not."""
    data, model = Noise([(7, 9)] * 5 + [(5, 3)] * 2, 4), whole_numbers(4)
    settings = {"device": CPU, "precision": FLOAT32, "confusion_matrix": confusion_matrix, "ties": True, "progress": False}
    monkeypatch.setattr(measuring, "tie_tolerance", lambda precision: 0.1)
    alone, asked = measure(model, Sized(data), **settings), []

    def tight(logits, tolerance):
        asked.append(len(logits))
        if len(logits) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return near_ties(logits, tolerance)

    monkeypatch.setattr(measuring, "near_ties", tight)
    counts = measure(model, Sized(data), most_pixels=10_000, **settings)
    assert (counts.hists == by_hand(model, data, 4)).all()
    assert counts.losses == pytest.approx(alone.losses, rel=1e-6) and counts.ties == alone.ties > 0
    assert asked == [5, 2, 2, 1, 2]


def test_an_image_that_does_not_fit_is_named_with_its_size_and_what_helps():
    model = Tight(whole_numbers(4), most=20)
    with pytest.raises(EvaluationError, match=r"Out of memory on cpu with one image of 7 x 9 \(noise 1\): CUDA out of memory.*end other"):
        evaluate(model, Noise([(5, 3), (7, 9)], 4), device="cpu", confusion_matrix=confusion_matrix, scores=scores, **QUIET)


def test_a_lack_of_memory_without_a_text_is_told_too():
    def full(*_):
        raise MemoryError

    model = whole_numbers(4)
    model.register_forward_pre_hook(full)
    with pytest.raises(EvaluationError, match=r"with one image of 5 x 3 \(noise 0\): MemoryError"):
        evaluate(model, Noise([(5, 3)], 4), device="cpu", confusion_matrix=confusion_matrix, scores=scores, **QUIET)


def test_errors_of_the_network_itself_are_not_taken_for_a_lack_of_memory():
    model = whole_numbers(4)
    model.insert(1, nn.Conv2d(7, 5, 1))
    with pytest.raises(RuntimeError, match="7 channels"):
        evaluate(model, Noise(SIZES, 4), device="cpu", confusion_matrix=confusion_matrix, scores=scores, **QUIET)


def test_a_label_beyond_the_networks_classes_is_named_with_its_place():
    data = Noise([(5, 3), (7, 9)], 4)
    data.items[1][1][2, 5] = 6
    with pytest.raises(EvaluationError, match=r"noise 1: expected labels 0..3 or 255, but got 6 at row 2, column 5 \(1 pixels\)"):
        evaluate(whole_numbers(4), data, device="cpu", confusion_matrix=confusion_matrix, scores=scores, **QUIET)


def test_a_corrupt_picture_in_the_middle_is_named_by_the_thread_that_reads_ahead(tmp_path):
    names = write_facades(tmp_path, sizes=[(20, 20)] * 4)
    broken = tmp_path / "base" / f"{names[2]}.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    data = FacadeDataset(tmp_path, names=names, read_label=read_label)
    with pytest.raises(DataError, match=f"{names[2]}.jpg: expected a complete picture"):
        evaluate(whole_numbers(12), data, device="cpu", confusion_matrix=confusion_matrix, scores=scores, threads=3, **QUIET)


def test_nonsense_of_a_counting_function_ends_the_run_early():
    seen = []

    def nonsense(pred, gt, n_class):
        seen.append(1)
        return "many"

    with pytest.raises(EvaluationError, match="noise 0: expected confusion_matrix to return counts"):
        evaluate(whole_numbers(4), Noise([(3, 3)] * 100, 4), device="cpu", confusion_matrix=nonsense, scores=scores, **QUIET)
    assert len(seen) < 60


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_counting_function_may_write_into_its_arguments(dtype):
    def writing(pred, gt, n_class):
        pred[gt == 255] = 0
        counts = confusion_matrix(pred, gt, n_class)
        pred.zero_(), gt.zero_()
        return counts

    data, model = Noise(SIZES, 4, dtype=dtype), whole_numbers(4)
    settings = {"device": "cpu", "scores": scores, "ties": True, **QUIET}
    expected = evaluate(model, data, confusion_matrix=plain, **settings)
    found = evaluate(model, data, confusion_matrix=writing, **settings)
    assert (found.by_image == expected.by_image).all() and found.to_json() == expected.to_json()
    together = measure(
        model, Sized(data), device=CPU, precision=FLOAT32, confusion_matrix=writing, threads=2, most_pixels=10_000, progress=False
    )
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
    settings = {"device": "cpu", "confusion_matrix": confusion_matrix, "scores": scores, **QUIET}
    assert evaluate(Even(), [(image, label)], ties=True, **settings).ties == 5
    assert evaluate(Even(), [(image, label)], **settings).ties is None


def test_coarser_formats_tie_sooner():
    formats = [Precision("float32", "cpu"), Precision("float16", "cuda"), Precision("bfloat16", "cuda")]
    tolerances = [tie_tolerance(precision) for precision in formats]
    assert tolerances == sorted(tolerances) and len(set(tolerances)) == 3


@pytest.mark.parametrize(("conv", "expected"), [(None, 2**-9), ("ieee", 2**-14), ("tf32", 2**-9)])
def test_whether_a_gpu_rounds_products_is_asked_in_a_way_that_both_settings_allow(conv, expected):
    """torch refuses to answer the older question (cudnn.allow_tf32) after the newer setting was made."""
    before = torch.backends.cudnn.conv.fp32_precision
    try:
        if conv is not None:
            torch.backends.cudnn.conv.fp32_precision = conv
        assert tie_tolerance(Precision("float32", "cuda")) == expected
    finally:
        torch.backends.cudnn.conv.fp32_precision = before


def test_datasets_that_draw_are_asked_item_by_item(tmp_path):
    names = write_facades(tmp_path, sizes=[(20, 20)])
    drawing = FacadeDataset(tmp_path, names=names, read_label=read_label, transform=lambda image, label: (image, label))
    assert read_pairs(drawing).sizes is None
    assert read_pairs(FacadeDataset(tmp_path, names=names, read_label=read_label)).sizes == [(20, 20)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_counts_like_the_plain_loop_but_for_pixels_that_tie():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 7, padding=3), nn.ReLU(), nn.Conv2d(64, 12, 5, padding=2)).eval()
    data = Noise([(120, 90)] * 5 + [(64, 100)], 12)
    expected = by_hand(model, data, 12)
    counts = measure(
        model, Sized(data), device=torch.device("cuda"), precision=Precision("float32", "cuda"), confusion_matrix=confusion_matrix,
        threads=2, most_pixels=2**16, ties=True, progress=False,
    )  # fmt: skip
    assert abs(counts.hists - expected).sum() <= 2 * counts.ties
    assert next(model.parameters()).device.type == "cpu"


def test_away_from_the_cpu_counts_are_made_over_there_and_put_in_order():
    """On meta tensors nothing could be read back: what asked for values would fail."""

    def count(pred, gt, n_class):
        raise AssertionError("a label map came back")

    count.on_device = lambda pred, gt, n_class: torch.full((n_class, n_class), pred.shape[0])
    counter = _Counter(count, torch.device("meta"))
    for indices, height in (([2, 0], 7), ([1], 5)):
        maps = torch.empty(len(indices), height, 3, dtype=torch.int64, device="meta")
        counter.add(counter.begin(maps, maps, 4), SimpleNamespace(names=["a", "b"][: len(indices)], labels=None), indices)
    assert counter.finish(3)[:, 0, 0].tolist() == [7, 5, 7] and not counter.as_tensor


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("n_class", [1, 2, 12, 17])
def test_counting_on_the_device_agrees_with_counting_on_the_cpu(dtype, n_class):
    generator = torch.Generator().manual_seed(n_class)
    gt = torch.randint(0, n_class, (37, 53), generator=generator)
    gt[torch.rand(37, 53, generator=generator) < 0.3] = 255
    pred = torch.randint(0, n_class, (37, 53), generator=generator)
    expected = np.zeros((n_class, n_class), dtype=int)
    for truth, guess in zip(gt.flatten().tolist(), pred.flatten().tolist(), strict=True):
        if truth < n_class:
            expected[truth, guess] += 1
    gt, pred = gt.to(dtype), pred.to(dtype)
    assert (confusion_matrix_on_device(pred, gt, n_class).numpy() == expected).all()
    assert (_product_counts(pred.flatten(), gt.flatten(), n_class, block=100).numpy() == expected).all()


# -- 16 bits, and other things of a GPU ---------------------------------------------------------------


class Blank(nn.Module):
    """Class 1 everywhere."""

    def forward(self, x):
        return torch.stack([torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], 1)


def products(pred, gt, n_class):
    """A student's way to count: a product of matrices, which autocast would round."""
    classes = torch.arange(n_class, device=gt.device)[:, None]
    rows, columns = ((values.flatten()[None] == classes).float() for values in (gt, pred))
    return (rows @ columns.T).long()


BIG = (257, 263)
"""67591 pixels: no number of bfloat16, and infinite in float16."""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counting_by_products_is_exact_under_autocast(dtype):
    generator = torch.Generator().manual_seed(0)
    gt, pred = (torch.randint(0, 3, (300_007,), generator=generator) for _ in range(2))
    gt[:70_001] = pred[:70_001] = 0
    with torch.autocast("cpu", dtype):
        found = _product_counts(pred, gt, 3)
        assert torch.is_autocast_enabled("cpu")
    assert (found.numpy() == confusion_matrix(pred, gt, 3)).all() and found[0, 0] > 65504


@pytest.mark.parametrize("count", [products, _product_counts, confusion_matrix_on_device])
def test_counts_made_over_there_are_exact_while_the_network_runs_in_16_bits(count):
    """As on a GPU, on the CPU: the network under autocast, the counting not."""
    image, label = torch.zeros(3, *BIG), torch.ones(BIG, dtype=torch.long)
    label[0] = 0
    half = []

    def count_there(pred, gt, n_class):
        half.append(torch.is_autocast_enabled("cpu"))
        return count(pred.flatten(), gt.flatten(), n_class)

    model = Blank()
    model.register_forward_pre_hook(lambda *_: half.append(torch.is_autocast_enabled("cpu")))
    with torch.inference_mode(), Precision("bfloat16", "cpu").autocast(), _Counter(count_there, CPU) as counter:
        counter.on_device = count_there
        _Seeing(model, CPU, counter, 0.1).look(collate([(image, label)], ["big"]), [0])
        assert counter.finish(1)[0].tolist() == [[0, 263], [0, 256 * 263]]
    assert half == [True, False]


@pytest.mark.parametrize("convert", [lambda counts: counts, lambda counts: counts.numpy()], ids=["tensor", "array"])
def test_a_students_products_are_exact_while_the_network_runs_in_16_bits(convert):
    image, label = torch.zeros(3, *BIG), torch.ones(BIG, dtype=torch.long)

    def counting(pred, gt, n_class):
        return convert(products(pred, gt, n_class))

    result = evaluate(Blank(), [(image, label)], device="cpu", precision="bfloat16", confusion_matrix=counting, scores=scores, **QUIET)
    assert result.hist.tolist() == [[0, 0], [0, 257 * 263]] and result.loss == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_a_network_can_be_trained_after_its_weights_were_laid_out_for_a_gpu():
    model, x = whole_numbers(4), torch.ones(1, 3, 5, 5)
    before = [value.detach().clone() for value in model.parameters()]
    with torch.inference_mode(), _laid_out(model, Precision("bfloat16", "cuda")):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last) and torch.is_inference_mode_enabled()
        model(x)
    assert all(value.is_contiguous() and not value.is_inference() for value in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    model(x).sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()


def test_a_network_made_in_inference_mode_can_be_laid_out_for_a_gpu_too():
    with torch.inference_mode():
        model = whole_numbers(4)
    with torch.inference_mode(), _laid_out(model, Precision("bfloat16", "cuda")):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous()


def test_the_loss_is_that_of_training_which_adds_in_one_order_where_a_run_must_repeat(monkeypatch):
    data, numbers = Noise(SIZES, 4), iter(range(len(SIZES)))
    monkeypatch.setattr(measuring, "segmentation_loss", lambda logits, labels: torch.tensor(float(next(numbers))))
    counts = measure(whole_numbers(4), Sized(data), device=CPU, precision=FLOAT32, confusion_matrix=confusion_matrix, progress=False)
    assert counts.losses == list(range(len(SIZES)))


def test_only_copies_to_a_cuda_gpu_do_not_wait():
    """From an Apple GPU or the CPU a copy that does not wait may be read half done."""

    class Copies(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            if function is torch.Tensor.to and (options or {}).get("non_blocking"):
                hasty.append(arguments[1:])
            return function(*arguments, **(options or {}))

    hasty = []
    with Copies():
        measure(whole_numbers(4), Sized(Noise(SIZES, 4)), device=CPU, precision=FLOAT32, confusion_matrix=plain, progress=False)
    assert hasty == []


def test_the_copy_of_a_label_map_is_awaited_on_the_gpu_that_makes_it(monkeypatch):
    """Not on the current one: its queue knows nothing of the copy."""
    recorded = []
    event = SimpleNamespace(record=lambda stream=None: recorded.append(stream), synchronize=lambda: recorded.append("awaited"))
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"the stream of {device}")
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory, **options: empty(*size, **options))
    there = torch.device("cuda:1")
    predicted = SimpleNamespace(device=there, to=torch.tensor([[[3, 200]]]).to)
    assert measuring._send(predicted, 256)().tolist() == [[[3, 200]]]
    assert recorded == ["the stream of cuda:1", "awaited"]


@pytest.mark.parametrize(("device", "most"), [("cuda:0", PIXELS_AT_ONCE), ("cpu", 0), ("mps", 0)])
def test_pictures_of_one_size_share_a_batch_on_a_gpu_alone(monkeypatch, device, most):
    class Planned(Exception):
        pass

    def planned(sizes, count, most_pixels):
        assert most_pixels == most
        raise Planned

    monkeypatch.setattr(measuring, "batches_of_one_size", planned)
    with pytest.raises(Planned):
        measure(Blank(), Sized(Noise(SIZES, 2)), device=torch.device(device), precision=FLOAT32, confusion_matrix=plain)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("counting", [plain, confusion_matrix], ids=["a student's function", "the reference's"])
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_gpu_in_16_bits_counts_every_pixel_and_leaves_a_network_that_trains(counting, name):
    data, model = Noise([(300, 400)] * 3 + [(64, 100)], 4), whole_numbers(4)  # whole numbers below 256: exact in 16 bits
    with torch.no_grad():
        model[2].weight.clamp_(-1, 1)
        model[0].weight.mul_(0), model[2].bias.copy_(torch.tensor([0, 1, 0, 0]))
    settings = {"device": "cuda", "confusion_matrix": counting, "scores": scores, "precision": name, **QUIET}
    assert (evaluate(model, data, **settings).by_image == by_hand(model, data, 4)).all()
    model(torch.ones(1, 3, 5, 5)).sum().backward()
