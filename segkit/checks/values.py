"""Check of what a network computes: its wiring, layer after layer, the scores that come out, and dropout.

No second network is needed for that: a layer's input must be what the layer before it gave, and with all weights zero
the biases of the score layers alone must come out, added up.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from segkit.checks.networks import Watched, build, clear, expected, forward, found_layers, is_score, quick_draws, watch
from segkit.checks.report import Report
from segkit.upsampling import bilinear_weight

__all__ = ["check_values"]

N_CLASS = 3
SIZE = (72, 88)  # three score cells a side, so that some output pixels are free of border effects
# per score layer and class; no sum is positive everywhere, none is a probability
BIASES = {"score": (-1.5, 0.25, 2.0), "score_pool_4": (0.5, -4.0, 8.0), "score_pool_3": (-16.0, 32.0, 1.0)}


def check_values(network_class: Callable[..., nn.Module], network: str) -> Report:
    """Check wiring, activations, scores and dropout of a network.

    Args:
        network_class: The student's class.
        network: ``"fcn32s"`` or ``"fcn8s"``.

    Returns:
        The printed report.
    """
    report = Report()
    model = build(report, network_class, N_CLASS)
    if model is None:
        return report
    layers = found_layers(model, expected(network, N_CLASS))
    order = [layer.path for layer in expected(network, N_CLASS) if layer.path in layers]
    if len(order) < len(expected(network, N_CLASS)):
        report.fault("all layers", "every layer of the table", f"{len(order)} of them", "see the layer check above")
        return report
    _draw_weights(layers)
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with watch(layers) as seen:
        out = forward(report, "a picture of noise", model, image)
    if out is None:
        return report
    if _check_calls(report, seen):
        _check_wires(report, [name for name in order if not name.startswith(("upscore", "transpose", "score_pool"))], seen)
        _check_branches(report, seen)
    _check_biases_and_dropout(report, model, layers, image)
    return report


def _draw_weights(layers: dict[str, nn.Module]) -> None:
    """He-drawn weights, so that a change anywhere in the network is seen at its end."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad(), quick_draws():
        for layer in layers.values():
            if isinstance(layer, nn.Conv2d):
                fan_in = layer.weight[0].numel()
                # uniform ones of He's variance are drawn fastest
                layer.weight.uniform_(-1, 1, generator=generator).mul_((6 / fan_in) ** 0.5)
                if layer.bias is not None:
                    layer.bias.uniform_(-0.5, 0.5, generator=generator)


def _check_calls(report: Report, seen: dict[str, Watched]) -> bool:
    unused = [name for name, record in seen.items() if record.calls == 0]
    twice = [name for name, record in seen.items() if record.calls > 1]
    if unused:
        return report.fault(
            "every layer is used",
            "each once",
            f"never called: {', '.join(unused)}",
            "left out in forward (a copied line with an old name?)",
        )
    if twice:
        return report.fault(
            "every layer is used", "each once", f"called more than once: {', '.join(twice)}", "a copied line in forward kept its old name"
        )
    return report.ok("every layer is used", "each once")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _check_wires(report: Report, chain: list[str], seen: dict[str, Watched]) -> None:
    """Each layer must read what the one before it gave: through a ReLU after a convolution, as it is after a pool."""
    good = True
    for before, after in itertools.pairwise(chain):
        given, read = seen[before].gave, seen[after].read
        if _same(read, given if before.startswith("pool") else given.clamp(min=0)):
            continue
        good = False
        name = f"{before} -> {after}"
        if not before.startswith("pool") and _same(read, given):
            report.fault(name, f"relu({before})", f"{before} without ReLU", f"the ReLU after {before} is missing")
        elif read.shape != given.shape:
            source = next((other for other, record in seen.items() if record.seen and record.seen[1].shape == read.shape), "another map")
            report.fault(
                name,
                f"{after} to read {tuple(given.shape)}",
                f"{tuple(read.shape)}, as {source} gives",
                "the layers run in another order than in the table",
            )
        else:
            report.fault(name, f"{after} to read what {before} gave", f"something else (max diff {float((read - given).abs().max()):.2g})",
                         "another activation than ReLU, dropout at test time, or the wrong variable handed on")  # fmt: skip
    if good:
        report.ok("wiring and activations", f"{len(chain)} layers in order, ReLU after each convolution, no dropout in eval")


def _check_branches(report: Report, seen: dict[str, Watched]) -> None:
    for name, source in (("score_pool_4", "pool4"), ("score_pool_3", "pool3")):
        if name in seen:
            got = f"another map {tuple(seen[name].read.shape)}"
            cause = f"keep the output of {source} in a variable of its own"
            report.expect(_same(seen[name].read, seen[source].gave), f"{source} -> {name}", f"{name} to read {source}", got, cause)
    first = "upscore1" if "upscore1" in seen else "transpose_conv"
    read, given = seen[first].read, seen["score"].gave
    cause = "the wrong variable handed on"
    if _same(read, given.clamp(min=0)):
        cause = "a ReLU after score: scores may be negative"
    elif _same(read, given.softmax(1)):
        cause = "softmax in forward: the loss does that itself"
    report.expect(_same(read, given), f"score -> {first}", f"{first} to read score", "something else", cause)


def _set_biases(layers: dict[str, nn.Module]) -> None:
    clear({name: layer for name, layer in layers.items() if not isinstance(layer, nn.MaxPool2d)})
    with torch.no_grad():
        for name, layer in layers.items():
            if isinstance(layer, nn.ConvTranspose2d) and layer.weight.shape[0] == layer.weight.shape[1]:
                layer.weight.copy_(bilinear_weight(layer.weight.shape[0], layer.weight.shape[2]))
            elif is_score(name) and isinstance(layer.bias, Tensor):
                layer.bias.copy_(torch.tensor(BIASES[name]))
            elif name in ("fc6", "fc7") and isinstance(layer.bias, Tensor):
                layer.bias.fill_(1.0)


def _check_biases_and_dropout(report: Report, model: nn.Module, layers: dict[str, nn.Module], image: Tensor) -> None:
    _set_biases(layers)
    watched = {name: layers[name] for name in ("fc7", "score")}
    with watch(watched) as resting:
        out = forward(report, "scores", model, image)
    if out is None or not _check_scores(report, out, layers):
        return
    model.train()
    with watch(watched) as training:
        torch.manual_seed(3)
        trained = forward(report, "training mode", model, image)
    model.eval()
    if trained is None:
        return
    for name, before in (("fc7", "fc6"), ("score", "fc7")):
        _check_dropout(report, f"dropout after {before}", resting[name].read, training[name].read)


def _check_scores(report: Report, out: Tensor, layers: dict[str, nn.Module]) -> bool:
    """With all weights zero the scores are the sum of the score layers' biases."""
    names = [name for name in BIASES if name in layers]
    wanted = [sum(BIASES[name][c] for name in names) for c in range(N_CLASS)]
    name = "scores, added by hand"
    if out.ndim != 4 or out.shape[1] != N_CLASS or not out.is_floating_point():
        is_map = not out.is_floating_point() or (out.ndim == 3 and len(out) == 1)
        cause = "argmax in forward: return the scores" if is_map else "see the check of shapes"
        return report.fault(name, f"{N_CLASS} scores per pixel", f"shape {tuple(out.shape)} {out.dtype}", cause)
    # any pixel will do: near the border the upsampling fades out, and where that is depends on the crop
    pixels = out[0].flatten(1)  # (n_class, H * W)
    if _occurs(torch.tensor(wanted), pixels):
        return report.ok(name, f"{' + '.join(names)} = {[round(v, 2) for v in wanted]}")
    middle = [round(v, 3) for v in out[0, :, out.shape[2] // 2, out.shape[3] // 2].tolist()]
    return report.fault(name, wanted, middle, _score_cause(torch.tensor(wanted), pixels, names))


def _occurs(scores: Tensor, pixels: Tensor) -> bool:
    return bool(((pixels - scores[:, None]).abs().amax(0) < 1e-3).any())


def _score_cause(wanted: Tensor, pixels: Tensor, names: list[str]) -> str:
    known = {
        "softmax in forward: return the scores as they are; the loss does the softmax itself": wanted.softmax(0),
        "log_softmax in forward: return the scores as they are; the loss does it itself": wanted.log_softmax(0),
        "sigmoid in forward: return the scores as they are": wanted.sigmoid(),
        "a ReLU after the scores: scores may be negative": wanted.clamp(min=0),
        "the classes are mixed: the transposed convolution adds them up": wanted.sum().expand(N_CLASS),
    }
    for name in names[1:]:
        known[f"{name} is computed, but not added to the scores"] = wanted - torch.tensor(BIASES[name])
    if len(names) > 1:
        known["only the last skip comes out: add it to the upsampled scores"] = torch.tensor(BIASES[names[-1]])
    generic = "the sum of the paths, without weights of your own, is what must come out"
    return next((text for text, scores in known.items() if _occurs(scores, pixels)), generic)


def _check_dropout(report: Report, name: str, resting: Tensor, training: Tensor) -> None:
    if not torch.allclose(resting, torch.ones_like(resting)):
        if bool((resting == 0).any()):
            report.fault(name, "nothing dropped in eval mode", f"{float((resting == 0).float().mean()):.0%} dropped",
                         "dropout at test time: use a module, or F.dropout(..., training=self.training)")  # fmt: skip
        else:
            report.fault(name, "1.0 (the bias) in eval mode", f"{float(resting.mean()):.2f}", "an activation other than ReLU, or a scaling")
        return
    share = float((training == 0).float().mean())
    if share == 0:
        report.fault(name, "half of the channels dropped in training", "none dropped", "the dropout is missing (or its p is 0)")
        return
    good = 0.45 < share < 0.55 and abs(float(training.max()) - 2) < 1e-4
    cause = "p is the share that is dropped" if share < 1 else "p = 1, or a normalisation, which makes zeros of a map of equal numbers"
    report.expect(good, name, "p = 0.5", f"p = {share:.2f}", cause, f"{share:.0%} in training, none in eval")
