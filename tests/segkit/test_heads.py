"""Does training on kept features train the network itself, and nothing but its score and upsampling layers?

The oracle is always the network's own forward pass on the picture.
"""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.models import model_class
from segkit.training import TrainingError, compute_features, fit_head

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks" / "fcn"
SOLUTIONS = {"FCN32s": ("2_fcn32s.ipynb", "fcn32s"), "FCN8s": ("4_fcn8s.ipynb", "fcn8s")}


def slim(name: str) -> nn.Module:
    """The reference class with a 64th of the channels, and a head that says something from the beginning."""
    with torch.device("meta"):
        model = model_class(name)(3)
    torch.manual_seed(0)
    for path, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            sizes = [size if size == 3 else size // 64 for size in (layer.in_channels, layer.out_channels)]
            new: nn.Module = nn.Conv2d(*sizes, layer.kernel_size, padding=layer.padding)
            nn.init.normal_(new.weight, std=(2 / new.weight[0].numel()) ** 0.5)
        elif isinstance(layer, nn.ConvTranspose2d):
            new = nn.ConvTranspose2d(3, 3, layer.kernel_size, layer.stride, bias=False)
        else:
            continue
        setattr(model, path, new)
    return model


def students_class(name: str) -> type[nn.Module]:
    """A solution as students write it: layers and crops spelled out."""
    file, grade_id = SOLUTIONS[name]
    cells = nbformat.read(NOTEBOOKS / file, as_version=4).cells
    (source,) = (c.source for c in cells if (m := c.metadata.get("nbgrader", {})).get("grade_id") == grade_id and m["solution"])
    namespace: dict = {}
    exec(source, namespace)
    return namespace[name]


def picture(n_class: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    label = (torch.arange(33) // 12 % n_class).expand(20, 33).clone()
    label[:2] = 255
    return torch.randn(3, 20, 33, generator=generator), label


def loss_of(network: nn.Module, image: torch.Tensor, label: torch.Tensor) -> float:
    training = network.training
    with torch.no_grad():
        loss = float(F.cross_entropy(network.eval()(image[None]), label[None], ignore_index=255))
    network.train(training)
    return loss


def fit(network: nn.Module, pair: tuple, **options) -> list[float]:
    return fit_head(network, compute_features(network, [pair], progress=False), progress=False, **options)


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_the_losses_are_those_of_the_network_and_it_has_learned_in_the_end(name):
    network, pair = slim(name).train(), picture()
    before = {path: value.clone() for path, value in network.state_dict().items()}
    first = loss_of(network, *pair)
    losses = fit(network, pair, epochs=30, rate=0.05)
    assert len(losses) == 30 and losses[0] == pytest.approx(first, rel=1e-4)
    assert loss_of(network, *pair) == pytest.approx(losses[-1], rel=0.05) and losses[-1] < 0.7 * first
    for path, value in network.state_dict().items():
        head = path.startswith(("score", "upscore", "transpose"))
        assert torch.equal(value, before[path]) != head, path
    assert network.training and not any("forward" in vars(module) or module._forward_pre_hooks for module in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FCN32s", "FCN8s"])
def test_a_class_as_students_write_it_is_trained_with_its_own_crops(name):
    torch.manual_seed(0)
    network, pair = students_class(name)(), picture(12)
    losses = fit(network, pair, epochs=12, rate=0.02)
    assert losses[0] == pytest.approx(math.log(12), rel=1e-4) and losses[-1] < 0.5 * losses[0]
    assert loss_of(network, *pair) == pytest.approx(losses[-1], rel=0.1)


def test_features_of_a_network_with_skips_serve_one_without():
    fine, coarse, pair = slim("fcn8s"), slim("fcn32s"), picture()
    trunk = {path: value for path, value in fine.state_dict().items() if path.startswith(("conv", "fc"))}
    coarse.load_state_dict(coarse.state_dict() | trunk)
    first = loss_of(coarse, *pair)
    losses = fit_head(coarse, compute_features(fine, [pair], progress=False), epochs=1, progress=False)
    assert losses == [pytest.approx(first, rel=1e-4)]


def test_what_all_places_have_in_common_is_no_hindrance():
    """Features that differ by a thousandth of what they share: as far as without the share, and the network's own layers hold it."""
    losses = []
    for shared in (0.0, 300.0):
        network, pair = slim("fcn32s"), picture()
        (features,) = compute_features(network, [pair], progress=False)
        moved = type(features)({"score": features.maps["score"] + shared}, features.label)
        losses.append(fit_head(network, [moved], epochs=20, rate=0.05, progress=False)[-1])
        network.score.bias.data += shared * network.score.weight.data.sum(dim=(1, 2, 3))  # its own trunk gives no share
        assert loss_of(network, *pair) == pytest.approx(losses[-1], rel=0.1)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_score_layer_without_bias_is_trained_too():
    network, pair = slim("fcn32s"), picture()
    network.score.bias = None
    first = loss_of(network, *pair)
    losses = fit(network, pair, epochs=20, rate=0.05)
    assert losses[0] == pytest.approx(first, rel=1e-4) and losses[-1] < 0.9 * first and network.score.bias is None


def test_a_silent_layer_stays_as_it_is():
    network, pair = slim("fcn8s"), picture()
    nn.init.zeros_(network.score_pool_3.weight)
    nn.init.zeros_(network.score_pool_3.bias)
    before = network.score_pool_4.weight.clone()
    fit(network, pair, epochs=3, silent=["score_pool_3"])
    assert not network.score_pool_3.weight.any() and not network.score_pool_3.bias.any()
    assert not torch.equal(network.score_pool_4.weight, before)


def test_the_same_seed_gives_the_same_network():
    pairs = [picture(), tuple(part.flip(-1) for part in picture())]
    networks = [slim("fcn32s") for _ in range(3)]
    features = compute_features(networks[0], pairs, progress=False)
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        fit_head(network, features, epochs=8, seed=seed, progress=False)
    one, same, other = (network.score.weight for network in networks)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_weights_fit_the_features_again_after_a_fault():
    network, pair = slim("fcn32s"), picture()
    features, before = compute_features(network, [pair], progress=False), network.score.weight.clone()
    with pytest.raises(RuntimeError):
        fit_head(network, [type(features[0])(features[0].maps, features[0].label[:, :, 1:].new_zeros(1, 4, 5, 6))], progress=False)
    assert torch.allclose(network.score.weight, before) and loss_of(network, *pair) > 0


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda network: delattr(network, "score"), "Expected score layers in FCN32s, but found none"),
    (lambda network: setattr(network, "score_pool_4", nn.Conv2d(8, 3, 1)), "forward does not use score_pool_4"),
])  # fmt: skip
def test_a_network_without_the_names_of_the_table_is_refused(spoil, words):
    network = slim("fcn32s")
    spoil(network)
    with pytest.raises(TrainingError, match=re.escape(words)):
        compute_features(network, [picture()], progress=False)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_features_that_lack_a_map_are_refused():
    with pytest.raises(TrainingError, match=re.escape("Expected features for score_pool_4, score_pool_3, but found ['score']")):
        fit_head(slim("fcn8s"), compute_features(slim("fcn32s"), [picture()], progress=False), progress=False)
    with pytest.raises(TrainingError, match="no picture"):
        fit_head(slim("fcn8s"), [], progress=False)
