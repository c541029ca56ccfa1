"""Measuring with too little memory, wrong labels, damaged pictures and nonsense: smaller pieces, or a message that names the image."""

import pytest
import torch
from course_items import facades, net
from noise import CPU, FLOAT32, SIZES, Noise, by_hand, counted, judged, whole_numbers, write_facades
from torch import nn

from segkit.evaluation import EvaluationError
from segkit.facades import DataError, FacadeDataset
from segkit.inference import near_ties
from segkit.reference import confusion_matrix, read_label
from segkit.training import measuring
from segkit.training.measuring import measure
from segkit.training.sources import open_pairs


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
    counts = counted(model, data, most_pixels=10_000)
    assert (counts.hists == by_hand(model.inner, data, 4)).all()
    assert [shape[0] for shape in model.asked] == [5, 2, 2, 1, 2]  # five did not fit; the rest went by what was learned


def test_counting_that_does_not_fit_is_tried_again_in_smaller_pieces_and_nothing_counts_twice(monkeypatch):
    """The network's pass fitted, the copies for the ties did not."""
    data, model = Noise([(7, 9)] * 5 + [(5, 3)] * 2, 4), whole_numbers(4)
    monkeypatch.setattr(measuring, "tie_tolerance", lambda precision: 0.1)
    alone, asked = counted(model, data, ties=True), []

    def tight(logits, tolerance):
        asked.append(len(logits))
        if len(logits) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return near_ties(logits, tolerance)

    monkeypatch.setattr(measuring, "near_ties", tight)
    counts = counted(model, data, most_pixels=10_000, ties=True)
    assert (counts.hists == by_hand(model, data, 4)).all()
    assert counts.losses == pytest.approx(alone.losses, rel=1e-6) and counts.ties == alone.ties > 0
    assert asked == [5, 2, 2, 1, 2]


def test_an_image_that_does_not_fit_is_named_with_its_size_and_what_helps():
    model = Tight(whole_numbers(4), most=20)
    with pytest.raises(EvaluationError, match=r"Out of memory on cpu with one image of 7 x 9 \(noise 1\): CUDA out of memory.*end other"):
        judged(model, Noise([(5, 3), (7, 9)], 4))


def test_a_lack_of_memory_without_a_text_is_told_too():
    def full(*_):
        raise MemoryError

    model = whole_numbers(4)
    model.register_forward_pre_hook(full)
    with pytest.raises(EvaluationError, match=r"with one image of 5 x 3 \(noise 0\): MemoryError"):
        judged(model, Noise([(5, 3)], 4))


def test_errors_of_the_network_itself_are_not_taken_for_a_lack_of_memory():
    model = whole_numbers(4)
    model.insert(1, nn.Conv2d(7, 5, 1))
    with pytest.raises(RuntimeError, match="7 channels"):
        judged(model, Noise(SIZES, 4))


def test_a_label_beyond_the_networks_classes_is_named_with_its_place():
    data = Noise([(5, 3), (7, 9)], 4)
    data.items[1][1][2, 5] = 6
    with pytest.raises(EvaluationError, match=r"noise 1: expected labels 0..3 or 255, but got 6 at row 2, column 5 \(1 pixels\)"):
        judged(whole_numbers(4), data)


def test_a_corrupt_picture_in_the_middle_is_named_by_the_thread_that_reads_ahead(tmp_path):
    names = write_facades(tmp_path, sizes=[(20, 20)] * 4)
    broken = tmp_path / "base" / f"{names[2]}.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    data = FacadeDataset(tmp_path, names=names, read_label=read_label)
    with pytest.raises(DataError, match=f"{names[2]}.jpg: expected a complete picture"):
        judged(whole_numbers(12), data, threads=3)


def test_nonsense_of_a_counting_function_ends_the_run_early():
    seen = []

    def nonsense(pred, gt, n_class):
        seen.append(1)
        return "many"

    with pytest.raises(EvaluationError, match="noise 0: expected confusion_matrix to return counts"):
        judged(whole_numbers(4), Noise([(3, 3)] * 100, 4), confusion_matrix=nonsense)
    assert len(seen) < 60


def test_validation_names_what_a_network_returns_wrongly(tmp_path):
    pairs = open_pairs(facades(tmp_path), "auto")
    flat = nn.Sequential(net(), nn.AvgPool2d(2))
    with pytest.raises(EvaluationError, match=r"cmp_b0001: expected network output \(1, n_class, 20, 31\), but got \(1, 12, 10, 15\)"):
        measure(flat, pairs, device=CPU, precision=FLOAT32, confusion_matrix=confusion_matrix, progress=False)
