"""Batches and where they come from: the same pixels as the plain dataset's, whatever is kept, padded or read ahead."""

import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from course_items import SIZES, decode, facades, write_pair
from PIL import Image

from segkit.facades import DataError
from segkit.training import TrainingError
from segkit.training.batches import Augmentation, EpochBatches
from segkit.training.loading import jittered, normalised, read_ahead
from segkit.training.sources import DecodedPairs, PlainPairs, label_shares, open_pairs
from segkit.transforms import RandomCrop, RandomScale, RandomScaleCrop

CPU = torch.device("cpu")


@pytest.mark.parametrize("cache", ["memory", "disk", "auto"])
def test_a_batch_holds_the_pixels_of_the_plain_dataset_to_the_bit(tmp_path, cache):
    """Oracle: FacadeDataset's own items, and zeros and 255 around them."""
    data = facades(tmp_path)
    pairs = DecodedPairs(data, cache)
    for epoch in (1, 2):  # decoded, then kept
        batches = EpochBatches(pairs, seed=0, epoch=epoch, batch_size=3, pad_to=8)
        seen = []
        for k, batch in enumerate(batches[k] for k in range(len(batches))):
            images = normalised(batch, CPU)
            assert images.shape[2] % 8 == images.shape[3] % 8 == 0 and images.dtype == torch.float32
            for place, index in enumerate(batches.plan[k]):
                image, label = data[index]
                height, width = label.shape
                expected = torch.zeros_like(images[place])
                expected[:, :height, :width] = image
                assert torch.equal(images[place], expected)
                void = torch.full(images.shape[2:], 255)
                void[:height, :width] = label
                assert torch.equal(batch.labels[place].long(), void)
                assert batch.names[place] == data.names[index]
                seen.append(index)
            assert batch.labelled == int((batch.labels != 255).sum())
        assert sorted(seen) == list(range(len(data)))


def test_changed_colours_are_those_of_one_slope_and_one_offset_a_channel():
    """Oracle: of a grey picture with a step, what a changed contrast, brightness and tint leave."""
    torch.manual_seed(0)
    x = torch.zeros(2, 3, 8, 8)
    x[..., 4:] = 1.0
    changed = jittered(x, 0.3)
    left, right = changed[..., 0, 0], changed[..., 0, 7]  # (2, 3)
    assert torch.allclose(changed[..., :4], left[..., None, None].expand(2, 3, 8, 4)), "a flat wall stays flat"
    assert (right > left).all(), "light stays lighter than dark"
    assert not torch.allclose(left[0], left[1], atol=1e-3) and not torch.allclose(left[0, 0], left[0, 1], atol=1e-3)
    assert torch.equal(jittered(x, 0.0), x)


@pytest.mark.parametrize("decoded", [True, False])
def test_colours_of_a_batch_change_and_padding_stays_zero(tmp_path, decoded):
    """Oracle: the colours of the unchanged batch, changed by the same draws."""
    data = facades(tmp_path)
    pairs = DecodedPairs(data, "off") if decoded else PlainPairs(data)
    batch = EpochBatches(pairs, seed=0, epoch=1, batch_size=3, pad_to=8)[0]
    before = normalised(batch, CPU).clone()
    torch.manual_seed(5)
    wanted = jittered(before, 0.3)
    torch.manual_seed(5)
    images = normalised(batch, CPU, 0.3)
    assert torch.equal(normalised(batch, CPU), before), "the batch itself is left alone"
    assert len({*batch.sizes}) > 1
    for place, (height, width) in enumerate(batch.sizes):
        inside = torch.zeros(images.shape[2:], dtype=torch.bool)
        inside[:height, :width] = True
        assert torch.equal(images[place][:, inside], wanted[place][:, inside]) and not images[place][:, ~inside].any()
        assert not torch.allclose(images[place][:, inside], before[place][:, inside], atol=0.01)


def test_a_picture_is_decoded_once(tmp_path):
    calls = []

    def counting(path):
        calls.append(path.name)
        return decode(path)

    pairs = DecodedPairs(facades(tmp_path, read_label=counting), "memory")
    first = [pairs.load(index) for index in range(8)]
    again = [pairs.load(index) for index in range(8)]
    assert len(calls) == 8
    assert all(torch.equal(a, b) for one, two in zip(first, again, strict=True) for a, b in zip(one, two, strict=True))


def test_images_of_about_one_size_come_together(tmp_path):
    """Padding of batches of 2 must be far below that of random company."""
    pairs = DecodedPairs(facades(tmp_path), "memory")

    def padded(plan):
        area = [max(SIZES[i][0] for i in batch) * max(SIZES[i][1] for i in batch) * len(batch) for batch in plan]
        return sum(area) / sum(h * w for h, w in SIZES)

    sorted_ = np.mean([padded(EpochBatches(pairs, seed=0, epoch=e, batch_size=2).plan) for e in range(20)])
    random = np.mean([padded(np.random.default_rng(e).permutation(8).reshape(4, 2)) for e in range(20)])
    assert sorted_ < 1.12 < 1.25 < random
    assert EpochBatches(pairs, seed=0, epoch=1, batch_size=2).plan != EpochBatches(pairs, seed=0, epoch=2, batch_size=2).plan


def test_threads_change_neither_order_nor_pixels(tmp_path):
    data = facades(tmp_path)
    options = {"seed": 3, "epoch": 1, "batch_size": 2, "augmentation": Augmentation(16, (0.7, 1.4), True)}
    plain = list(read_ahead(EpochBatches(DecodedPairs(data, "memory"), **options), 0, 0))
    for threads in (1, 3):
        state = torch.get_rng_state()
        ahead = list(read_ahead(EpochBatches(DecodedPairs(data, "memory"), **options), 0, threads))
        assert torch.equal(torch.get_rng_state(), state), "dropout's generator was touched"
        assert [b.names for b in ahead] == [b.names for b in plain]
        assert all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(ahead, plain, strict=True))
    assert torch.equal(next(iter(read_ahead(EpochBatches(DecodedPairs(data, "off"), **options), 2, 2))).images, plain[2].images)


def test_items_are_read_while_the_last_one_is_used_and_in_order():
    started = []

    class Slow:
        def __len__(self):
            return 9

        def __getitem__(self, k):
            started.append((k, threading.current_thread().name))
            time.sleep(0.02 if k % 2 else 0.0)
            return k

    ahead = read_ahead(Slow(), 1, 2)
    assert next(ahead) == 1
    time.sleep(0.15)
    assert {k for k, _ in started} >= {2, 3} and max(k for k, _ in started) < 7, "reads ahead, but not everything"
    assert list(ahead) == [2, 3, 4, 5, 6, 7, 8]
    assert all(name.startswith("segkit-read") for _, name in started)


def test_an_error_comes_when_its_turn_has_come():
    class Broken:
        def __len__(self):
            return 6

        def __getitem__(self, k):
            if k == 3:
                raise DataError("damaged")
            return k

    ahead = read_ahead(Broken(), 0, 2)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="damaged"):
        next(ahead)
    assert not [t for t in threading.enumerate() if t.name.startswith("segkit-read")]


NOTEBOOK = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import multiprocessing, pathlib, torch
from course_items import decode, facades
from segkit.training.batches import EpochBatches
from segkit.training.loading import read_ahead
from segkit.training.sources import open_pairs
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r}, force=True)
    space = {{"decode": decode}}
    exec("def read_label(path):\\n    return decode(path)", space)  # as in a notebook's cell: no module holds it
    pairs = open_pairs(facades(pathlib.Path({data!r}), read_label=space["read_label"]), "auto")
    names = [name for batch in read_ahead(EpochBatches(pairs, seed=0, epoch=1, batch_size=2), 0, 3) for name in batch.names]
    print(len(set(names)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_read_label_of_a_notebook_is_read_ahead_under_every_start_method(tmp_path, method):
    facades(tmp_path)
    here = Path(__file__).resolve()
    script = tmp_path / "cell.py"
    script.write_text(NOTEBOOK.format(tests=str(here.parent), root=str(here.parents[2]), method=method, data=str(tmp_path)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "8", done.stderr


def test_only_what_draws_nothing_by_itself_is_kept(tmp_path):
    assert isinstance(open_pairs(facades(tmp_path), "auto"), DecodedPairs)
    assert isinstance(open_pairs(facades(tmp_path), "off"), PlainPairs)
    assert isinstance(open_pairs(facades(tmp_path, transform=RandomCrop((8, 8))), "auto"), PlainPairs)
    assert isinstance(open_pairs([(torch.zeros(3, 2, 2), torch.zeros(2, 2).long())], "auto"), PlainPairs)


def test_memory_is_left_for_the_rest_and_a_full_disk_is_named(tmp_path, monkeypatch):
    data = facades(tmp_path)
    monkeypatch.setattr("segkit.training.sources.free_memory", lambda: 1000)
    assert DecodedPairs(data, "auto").place == "disk"

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.training.sources.os.posix_fallocate", full)
    assert DecodedPairs(data, "auto").place == "off"
    with pytest.raises(TrainingError, match=r"No room for 0 MiB of decoded images in .*TMPDIR, or train with cache 'off'"):
        DecodedPairs(data, "disk")


def test_nothing_of_the_cache_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pairs = DecodedPairs(facades(tmp_path), "disk")
    pairs.load(0)
    assert pairs.place == "disk" and list((tmp_path / "tmp").iterdir()) == []


def test_shares_of_the_classes_count_labelled_pixels(tmp_path):
    data = facades(tmp_path)
    every = torch.cat([data[index][1].flatten() for index in range(8)])
    expected = [float((every == k).sum() / (every != 255).sum()) for k in range(12)]
    assert label_shares(open_pairs(data, "auto"), 12) == pytest.approx(expected)


def test_a_label_out_of_range_is_named_with_file_value_and_position(tmp_path):
    data = facades(tmp_path)
    with Image.open(tmp_path / "base" / "cmp_b0003.png") as picture:
        ids = np.array(picture)
    ids[4, 7] = 14
    write_pair(tmp_path, "spare", (9, 9), 0)
    label = Image.fromarray(ids, mode="L")
    label.putpalette(bytes(range(256)) * 3)
    label.save(tmp_path / "base" / "cmp_b0003.png")
    with pytest.raises(DataError, match=r"cmp_b0003.png.* the value 13 at row 4, column 7 \(1 pixels are out of range\)"):
        data[2]
    pairs = PlainPairs([(torch.zeros(3, 4, 5), torch.tensor([[0] * 5, [0, 0, 0, 9, 0], [1] * 5, [255] * 5]))])
    with pytest.raises(TrainingError, match=r"image 0: expected labels 0..8 or 255, but got 9 at row 1, column 3 \(1 pixels\)"):
        EpochBatches(pairs, seed=0, epoch=1, batch_size=1, n_class=9)[0]


# -- windows of another scale -------------------------------------------------------------------------


def test_scaling_a_window_is_scaling_the_picture_and_cutting():
    """Oracle: RandomScale of the whole picture; the windows agree where the window starts at the corner."""
    image = torch.rand(3, 40, 60)
    label = torch.randint(0, 12, (40, 60))
    whole, labels = RandomScale(0.5, 0.5)(image, label)
    window, cut = RandomScaleCrop(None, 0.5, 0.5)(image, label)
    assert torch.allclose(window, whole, atol=1e-6) and torch.equal(cut, labels)
    doubled, _ = RandomScaleCrop(None, 2.0, 2.0)(image, label)
    assert doubled.shape == (3, 80, 120)


def test_image_and_label_stay_together_at_every_scale():
    """The picture shows its own labels in grey: after resizing both, they still agree away from edges."""
    label = torch.arange(12).repeat_interleave(10).expand(90, 120).contiguous()
    image = (label * 20).to(torch.uint8).expand(3, 90, 120).contiguous()
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        window, cut = RandomScaleCrop(48, 0.6, 1.7, generator=generator)(image, label)
        assert window.shape == (3, 48, 48) and window.dtype == torch.uint8 and cut.dtype == torch.int64
        agree = (window[0].long() - 20 * cut).abs() <= 10
        assert agree.float().mean() > 0.98
        again = RandomScaleCrop(48, 0.6, 1.7, generator=generator.manual_seed(seed))(image, label)
        assert torch.equal(again[0], window)


def test_a_picture_smaller_than_the_window_is_left_to_padding():
    image, label = torch.rand(3, 10, 50), torch.zeros(10, 50).long()
    for transform in (RandomCrop((20, 20), pad=False), RandomScaleCrop(20, 1.0, 1.0)):
        window, cut = transform(image, label)
        assert window.shape == (3, 10, 20) and cut.shape == (10, 20)
    with pytest.raises(ValueError, match="Expected 0 < low <= high"):
        RandomScaleCrop(20, 0.0, 1.0)
