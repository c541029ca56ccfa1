"""Loading VGG-16's weights from files that the tests make. No ImageNet weights are at hand, and none are fetched."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg16 as torchvision_vgg16

from segkit import vgg
from segkit.vgg import VGG16_FILE, VGGError, find_vgg16, load_vgg16, narrow_fc6


class Narrow(nn.Module):
    """VGG-16's layout of names at a thousandth of its size."""

    def __init__(self, weights: None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.classifier = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch) -> Path:
    """A kit whose VGG is narrow, without any weights on the machine; returns its weights folder."""
    monkeypatch.setattr(vgg, "vgg16", Narrow)
    monkeypatch.setattr(vgg, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    return folder


def save(state: object, folder: Path, *, legacy: bool = True) -> Path:
    """Saves as torch hub names its files: with the first 8 digits of the sha256."""
    draft = folder / "draft.pth"
    torch.save(state, draft, _use_new_zipfile_serialization=not legacy)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    return draft.rename(folder / f"vgg16-{digest[:8]}.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_local_file_with_the_right_checksum_is_loaded(weights: Path, legacy: bool) -> None:
    source = Narrow().state_dict()
    model = load_vgg16(save(source, weights, legacy=legacy))
    assert not model.training
    for key, value in model.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, source[key])
    assert model.features(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    assert all(p.requires_grad for p in model.parameters())


def test_weights_folder_of_the_kit_is_looked_at_first(weights: Path, tmp_path: Path, monkeypatch) -> None:
    assert find_vgg16() is None
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / VGG16_FILE).write_bytes(b"")
    assert find_vgg16() == cache / VGG16_FILE
    (weights / VGG16_FILE).write_bytes(b"")
    assert find_vgg16() == weights / VGG16_FILE


def test_damaged_file_is_refused_by_its_checksum(weights: Path) -> None:
    file = save(Narrow().state_dict(), weights)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(VGGError, match=rf"sha256 that starts with {file.stem[-8:]}, found \w{{8}} .*delete it"):
        load_vgg16(file)


@pytest.mark.parametrize("kept", [0, 1, 40, 300, 600, -10])
@pytest.mark.parametrize("legacy", [True, False])
def test_truncated_file_without_checksum_is_refused_as_unreadable(weights: Path, legacy: bool, kept: int) -> None:
    file = save(Narrow().state_dict(), weights, legacy=legacy)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(VGGError, match="found a file torch cannot read"):
        load_vgg16(file, allow_unverified=True)


def test_a_name_without_checksum_needs_trust(weights: Path) -> None:
    file = save(Narrow().state_dict(), weights).rename(weights / "mine.pth")
    with pytest.raises(VGGError, match="carries no checksum.*allow_unverified=True"):
        load_vgg16(file)
    assert load_vgg16(file, allow_unverified=True).classifier[3].weight.shape == (2, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("features.2.bias"), r"expected features.2.bias of shape \(4,\), found no such tensor"),
        (lambda s: s.update({"classifier.0.weight": torch.zeros(4, 9)}), r"shape \(4, 8\), found \(4, 9\)"),
        (lambda s: s.update({"features.1.running_mean": torch.zeros(4)}), "1 tensors more .*batch normalisation"),
    ],
)
def test_another_network_is_refused_with_the_first_difference(weights: Path, change, words: str) -> None:
    state = dict(Narrow().state_dict())
    change(state)
    with pytest.raises(VGGError, match=words):
        load_vgg16(save(state, weights))


def test_something_else_than_a_state_dict_is_refused(weights: Path) -> None:
    with pytest.raises(VGGError, match="expected a state dict with 8 tensors, found Tensor"):
        load_vgg16(save(torch.zeros(3), weights))


def test_a_pickled_module_is_not_executed(weights: Path) -> None:
    with pytest.raises(VGGError, match="torch cannot read"):
        load_vgg16(save(Narrow(), weights))


def test_missing_file_is_named(weights: Path) -> None:
    with pytest.raises(VGGError, match=f"No such file: .*gone.pth.*{VGG16_FILE}"):
        load_vgg16(weights / "gone.pth")


def test_without_network_the_error_says_where_to_put_the_file(weights: Path, monkeypatch) -> None:
    monkeypatch.setattr(vgg, "VGG16_URL", f"http://127.0.0.1:9/{VGG16_FILE}")
    with pytest.raises(VGGError) as caught:
        load_vgg16(progress=False)
    for words in ("not on this machine", str(weights / VGG16_FILE), f'load_vgg16("/path/to/{VGG16_FILE}")'):
        assert words in str(caught.value)


def test_download_must_have_the_checksum_of_its_name(weights: Path, monkeypatch) -> None:
    asked = {}

    def fake(url: str, path: Path, *, sha256_prefix: str, progress: bool) -> Path:
        asked.update(url=url, path=path, prefix=sha256_prefix)
        return save(Narrow().state_dict(), weights)

    monkeypatch.setattr(vgg, "download_file", fake)
    load_vgg16(progress=False)
    assert asked["url"] == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert asked["prefix"] == "397923af" and asked["path"] == weights / "vgg16-397923af.pth"


@pytest.mark.slow
def test_full_size_state_dict_is_taken(tmp_path: Path) -> None:
    """Does a file of the true layout (138 million parameters, here all zero) pass into torchvision's class?"""
    with torch.device("meta"):
        layout = torchvision_vgg16().state_dict()
    assert sum(value.numel() for value in layout.values()) == 138_357_544
    file = save({key: torch.zeros(value.shape) for key, value in layout.items()}, tmp_path)
    model = load_vgg16(file)
    file.unlink()  # pytest keeps temporary folders, and this is half a gigabyte
    assert model.classifier[0].weight.shape == (4096, 25088)
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize("shape", [(5, 3 * 7 * 7), (5, 3, 7, 7)])
def test_narrowed_weights_hear_one_cell_and_are_as_large_as_before(shape: tuple[int, ...]) -> None:
    """Oracle: the share of the weights' energy at the middle of the window, summed by hand over its 49 places."""
    weight = nn.Parameter(torch.ones(shape))
    narrow_fc6(weight)
    cells = weight.detach().reshape(5, 3, 7, 7)
    shares = {(row, column): float(cells[0, 0, row, column]) ** 2 / 49 for row in range(7) for column in range(7)}
    assert sum(shares.values()) == pytest.approx(1, rel=1e-5) and shares[3, 3] > 0.75
    assert shares[3, 2] == pytest.approx(shares[2, 3]) and shares[3, 2] == pytest.approx(shares[3, 3] * math.exp(-1 / 0.36), rel=1e-4)
    assert torch.equal(cells, cells[:1, :1].expand_as(cells)) and weight.requires_grad
