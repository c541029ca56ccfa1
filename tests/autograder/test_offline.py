"""Weights that student code fetches or reads, where there is neither a network nor the file: undrawn, and for nothing."""

import copy
import resource

import pytest
import torch
import torchvision
from torch import nn

from autograder.sandbox.lazy import lazy_weights
from autograder.sandbox.offline import undrawn_downloads
from segkit.notebooks import Cell, Document, Workbook
from segkit.subject import LocalSubject, StudentError

FILE = "weights/vgg16-397923af.pth"


def size_in_memory(value) -> int:
    """Bytes that tensors of a state dict take."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in value.values()}.values())


@pytest.mark.filterwarnings("ignore::UserWarning")  # pretrained=True is an old word
@pytest.mark.parametrize("fetch", [
    lambda: torchvision.models.vgg16(pretrained=True), lambda: torchvision.models.vgg16(weights="DEFAULT"),
    lambda: torchvision.models.vgg16(weights=torchvision.models.VGG16_Weights.IMAGENET1K_V1),
    lambda: torch.hub.load("pytorch/vision", "vgg16", pretrained=True),
])  # fmt: skip
def test_a_network_that_is_fetched_is_made_without_its_weights(fetch, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("it asked the network"))
    with undrawn_downloads(), lazy_weights():
        assert isinstance(fetch(), torchvision.models.VGG)


@pytest.mark.parametrize("fetch", [
    lambda: torch.load(f"/home/x/{FILE}"), lambda: torch.load("vgg16.pth", weights_only=True),
    lambda: torch.hub.load_state_dict_from_url("https://download.pytorch.org/models/vgg16-397923af.pth"),
    lambda: torch.utils.model_zoo.load_url("https://download.pytorch.org/models/vgg16-397923af.pth", progress=False),
])  # fmt: skip
def test_a_state_dict_that_is_not_there_has_shapes_and_spread_and_hardly_any_memory(fetch):
    torch.manual_seed(0)
    with undrawn_downloads():
        state = fetch()
    assert state["classifier.0.weight"].shape == (4096, 25088) and len(state) == 32
    assert size_in_memory(state) < 2**20 and size_in_memory(copy.deepcopy(state)) < 2**20
    usual = torchvision.models.vgg16(weights=None, num_classes=2).state_dict()
    for key in ("features.0.weight", "features.28.weight", "classifier.3.weight"):
        assert state[key].std().item() == pytest.approx(usual[key].std().item(), rel=0.3)
    assert not state["features.0.bias"].any()


def test_a_normalisation_that_is_not_there_changes_nothing():
    with undrawn_downloads():
        state = torch.load("vgg16_bn-6c64b313.pth")
    assert (state["features.1.running_var"] == 1).all() and (state["features.1.weight"] == 1).all()
    assert not state["features.1.running_mean"].any() and state["features.1.num_batches_tracked"].dtype == torch.int64


def test_loading_it_leaves_a_network_as_it_is():
    layer = nn.Linear(2, 3)
    before = layer.weight.detach().clone()
    with undrawn_downloads():
        layer.load_state_dict(torch.load("nowhere/vgg16.pth"))
        layer.load_state_dict(torch.load("my_best_net.pth"))
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("use", [lambda state: state["features.0.weight"], lambda state: state.features])
def test_what_it_lacks_is_said_with_the_file(use):
    with undrawn_downloads():
        state = torch.load("weights/my_best_net.pth")
    with pytest.raises(FileNotFoundError, match=r"^weights/my_best_net.pth is not there where work is graded, and with it .*features"):
        use(state)
    assert getattr(state, "_metadata", None) is None


def test_a_file_that_is_there_is_read(tmp_path):
    torch.save({"n": torch.ones(2)}, tmp_path / "own.pth")
    with undrawn_downloads():
        assert torch.load(tmp_path / "own.pth")["n"].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError):  # and afterwards all is as usual
        torch.load(tmp_path / "vgg16.pth")


CODE = """
import torch, torchvision
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        vgg = torchvision.models.vgg16(weights="DEFAULT")
        self.first = vgg.features[0]
        self.start = torch.load("weights/vgg16-397923af.pth")
        self.first.weight.data.copy_(self.start["features.0.weight"])
    def forward(self, x):
        return self.first(x)
"""


@pytest.mark.parametrize("meta", [True, False])
def test_a_class_that_fetches_weights_is_built_with_memory_and_without(meta, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("it asked the network"))
    book = Workbook([Document("a.ipynb", [Cell("a.ipynb", 1, CODE)])], {})
    program = book.program(book.find("Net"))
    assert [note.partition(": ")[2] for note in program.notes] == [
        "there is no network where work is graded; the weights that are fetched there stay undrawn",
        f"{FILE} is not there where work is graded; the weights that are read there stay undrawn",
    ]
    subject = LocalSubject(tmp_path, construction=undrawn_downloads)
    subject.define(program)
    assert subject.shapes(subject.build("Net", meta=meta)) == {"first.weight": (64, 3, 3, 3), "first.bias": (64,)}


def test_memory_that_the_code_has_taken_is_its_own_fault_and_no_path_of_this_machine_is_told(tmp_path):
    torch.zeros(2**20).numpy().tofile(tmp_path / "weights.bin")
    from segkit.subject import WeightFile

    subject = LocalSubject(tmp_path, WeightFile(tmp_path / "weights.bin", {"w": (0, (8, 8))}))
    handle = subject.build("torch.nn:Linear", 8, 8, meta=True)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**20, before[1]))
    try:
        with pytest.raises(StudentError, match="no memory left for weights") as caught:
            subject.load(handle, {"weight": "w"})
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert caught.value.cause == "code.memory" and str(tmp_path) not in str(caught.value)
