"""From evidence on a network to lost points: layers, initial weights, shapes, crops, values."""

import math

import numpy as np
from numpy.typing import NDArray

from autograder.judge.checking import Grading
from autograder.sandbox.received import malformed
from autograder.segmentation.network import Network, blame
from autograder.segmentation.offsets import TOLERANCE, Measurement
from autograder.segmentation.running import dropout_elsewhere, what_runs_wrong
from segkit.subject import StudentError
from segkit.upsampling import bilinear_weight

__all__ = [
    "judge_crops", "judge_dropout", "judge_initial_weights", "judge_layers", "judge_maps", "judge_shapes", "judge_size", "judge_values",
]  # fmt: skip

PYTORCH_DEFAULT = 3**-0.5  # spread of PyTorch's default weights, times the root of their fan-in


def judge_layers(network: Network) -> None:
    """Names and hyper-parameters: each layer is worth the same share of the part."""
    grading = network.grading
    match, n_class = network.match()
    expected, reported = network.table(n_class), set()
    for fault in match.faults if network.spec.named else [fault for fault in match.faults if fault.cause != "layer.name"]:
        share = 0 if fault.layer in reported else 1 / len(expected)
        reported.add(fault.layer)
        measured = {"layer": fault.layer, "expected": fault.expected, "found": fault.found}
        where = f" (your layer {fault.path!r})" if fault.path and not fault.path.endswith(fault.layer) else ""
        grading.lose("layers", cause=fault.cause, message=f"{fault}{where}.", measured=measured, share=share)
    extra = [path for path in match.extra if path not in network.norms()]  # those that run are charged in *.forward
    if extra:
        grading.note(f"Layers that the network does not need (no points lost): {', '.join(extra[:8])}.")


def judge_initial_weights(network: Network) -> None:
    """Weights right after construction: upsampling bilinear on the channel diagonal, trunk not all zero."""
    grading, student = network.grading, network.student
    match, handle = network.match()[0], network.built().handle
    kinds = {layer.path: layer.kind for layer in network.table(network.probe_classes)}
    found = {layer.path: layer for layer in network.layers()}
    rng = grading.rng("initial weights")
    wanted: dict[str, NDArray[np.int64] | None] = {}
    for name, path in match.paths.items():
        if kinds[name] == "ConvTranspose2d" and network.spec.bilinear:
            wanted[f"{path}.weight"] = None
        elif kinds[name] == "Conv2d" and name not in network.spec.class_layers:
            wanted[f"{path}.weight"] = rng.integers(0, 512, 400)
    shapes = student.shapes(handle)
    values = student.sample(handle, {key: index for key, index in wanted.items() if key in shapes})
    ups = [name for name in match.paths if kinds[name] == "ConvTranspose2d" and network.spec.bilinear]
    for name in ups:
        key = f"{match.paths[name]}.weight"
        if key in values:
            if values[key].size != math.prod(shapes[key]):
                raise malformed(key, f"{math.prod(shapes[key])} values of the shape {shapes[key]}", words=f"{values[key].size} values")
            _judge_bilinear(grading, name, values[key].reshape(shapes[key]), 1 / (len(ups) + 1))
    trunk = {n: values[f"{p}.weight"] for n, p in match.paths.items()
             if kinds[n] == "Conv2d" and f"{p}.weight" in values}  # fmt: skip
    _judge_trunk(grading, trunk, {n: found[match.paths[n]].settings for n in trunk}, 1 / (len(ups) + 1))


def _judge_bilinear(grading: Grading, name: str, weight: np.ndarray, share: float) -> None:
    square = weight.ndim == 4 and weight.shape[0] == weight.shape[1] and weight.shape[2] == weight.shape[3]  # then no larger than theirs
    expected = bilinear_weight(weight.shape[0], weight.shape[2]).numpy() if square and weight.size else None
    if expected is not None and np.allclose(weight, expected, atol=1e-4):
        return
    if expected is not None and np.allclose(weight, expected[0, 0], atol=1e-4):
        cause, text = "weights.all_pairs", "the bilinear kernel stands on all channel pairs: each class is smeared over all others"
    else:
        difference = float("nan") if expected is None else float(np.abs(weight - expected).max())
        cause, text = "weights.bilinear", f"it begins with other weights (largest difference {difference:.3g})"
    message = (f"{name}: expected initial weights that upsample bilinearly, the kernel on the channel diagonal and zero elsewhere; "
               f"{text}. Copy what segkit.upsampling.bilinear_weight returns into its weight in __init__.")  # fmt: skip
    grading.lose("weights", cause=cause, message=message, measured={"layer": name}, share=share)


def _judge_trunk(grading: Grading, trunk: dict, settings: dict, share: float) -> None:
    if not trunk:  # no layer, no weight of one
        grading.lose("weights", cause="layer.missing", message="", share=share)
        return
    faults = {
        "all zero: no gradient passes, the trunk cannot learn": lambda values: not np.any(values),
        "not finite": lambda values: not np.isfinite(values).all(),
        "all the same number: every channel of such a layer learns the same": lambda values: not np.ptp(values),
    }
    for text, is_so in faults.items():
        which = [name for name, values in trunk.items() if is_so(values)][:4]
        if not which:
            continue
        message = f"{', '.join(which)}: expected random (He) initial weights, but they are {text}. Zero belongs to score layers only."
        grading.lose("weights", cause="weights.zero_trunk", message=message, measured={"layers": which}, share=share)
        return
    spreads = []
    for name, values in trunk.items():
        s = settings[name]
        kernel = s["kernel_size"][0] if isinstance(s["kernel_size"], list) else s["kernel_size"]
        if isinstance(kernel, int) and isinstance(s["in_channels"], int):
            spreads.append(float(values.std()) * abs(s["in_channels"] * kernel**2) ** 0.5)
    if spreads and abs(np.median(spreads) - PYTORCH_DEFAULT) < 0.1:
        grading.note(
            "The trunk begins with PyTorch's default weights (no points lost). From scratch such a deep network hardly "
            "trains: He initialisation (nn.init.kaiming_normal_) keeps the signal's size from layer to layer."
        )


def judge_shapes(network: Network) -> None:
    """Size, number of classes, batches."""
    grading = network.grading
    accepts, reason = network.built().accepts, network.built().reason
    if reason:
        grading.lose("classes", cause="code.signature", message=reason)
    _judge_fixed_classes(network)
    _judge_usual_classes(network)
    try:
        evidence = network.evidence()
    except StudentError as error:
        raise StudentError(f"{error}{blame(network, error)}", error.cause) from None
    (_, _, height, width), found = evidence.images.shape, evidence.output.shape
    if evidence.constant:
        text = ("Expected scores that tell one picture and one place from another, but the output holds (nearly) one number everywhere: "
                "its shape shows nothing. Likely cause: forward returns something else than what its layers computed.")  # fmt: skip
        raise StudentError(text, "shape.constant")
    if evidence.wrapped:
        text = f"{evidence.wrapped} All else was judged with the scores that are in it."
        grading.lose("size", cause="forward.type", message=text)
    if not evidence.batched:
        text = ("Expected 2 outputs for a batch of 2, but forward fails for it (or gives another number) and works for single "
                "images. Do not write the batch size into the code.")  # fmt: skip
        grading.lose("batch", cause="shape.batch", message=text)
    classes = network.built().n_class
    size = network.spec.output_size((height, width))
    expected = f"(2, {classes}, {size[0]}, {size[1]})"
    if evidence.classes_last:
        n, c, h, w = found
        text = (f"Expected an output of shape {expected}, but got {(n, h, w, c)}: the classes are in the last dimension. Likely cause: a "
                "permute in forward. The loss wants them in the second one; all else was judged as if they were there.")  # fmt: skip
        grading.lose("size", cause="shape.order", message=text)
        grading.lose("classes", cause="shape.order", message="")
        return
    is_map = len(found) == 3 or (len(found) == 4 and found[1] == 1 and not np.issubdtype(evidence.output.dtype, np.floating))
    if is_map and found[0] == len(evidence.images):
        text = f"Expected logits {expected}, but got {found} of {evidence.output.dtype}. Likely cause: argmax in forward."
        grading.lose("size", cause="shape.argmax", message=text + " Return the scores; argmax belongs to the prediction.")
        return
    if len(found) != 4:
        raise StudentError(f"Expected an output of shape {expected}, but got {found}.", "shape.size")
    if found[0] != 2 and evidence.batched:
        text = f"Expected 2 outputs for a batch of 2, but got an output of shape {found}."
        grading.lose("batch", cause="shape.batch", message=text)
    n_class = network.built().n_class
    if found[1] != n_class and accepts:
        text = f"Expected {n_class} classes for n_class={n_class}, but got {found[1]}."
        grading.lose("classes", cause="shape.classes", message=text, measured={"expected": n_class, "found": found[1]})
    judge_size(network, found[2:], size, (height, width))


def _judge_fixed_classes(network: Network) -> None:
    """The number of classes follows ``n_class`` in every layer."""
    built, asked = network.built(), network.probe_classes
    if not built.fixed or built.reason:
        return
    shown = ", ".join(built.fixed[:6])
    text = (f"Expected {asked} classes for n_class={asked}, but got {built.n_class} in {shown}. n_class is hard-coded there: the number of "
            f"classes is written into the code. Use n_class in place of {built.n_class}.")  # fmt: skip
    measured = {"expected": asked, "found": built.n_class, "layers": list(built.fixed[:6])}
    network.grading.lose("classes", cause="shape.classes", message=text, measured=measured)


def _judge_usual_classes(network: Network) -> None:
    """``FCN32s()`` has the classes of the data."""
    spec, usual = network.spec, network.spec.n_class
    found = usual if network.built().fixed else network.usual_classes()
    if found not in (None, usual) and not network.grading.faults:
        text = (f"Expected {usual} classes where n_class is not given, but {spec.class_name}() has {found}. "
                f"The signature is {spec.signature}.")  # fmt: skip
        network.grading.lose("classes", cause="shape.classes", message=text, measured={"expected": usual, "found": found})


def judge_size(network: Network, found: tuple, expected: tuple[int, int], given: tuple[int, int]) -> None:
    """Rows and columns of the output, half of the part each."""
    if tuple(found) == tuple(expected):
        return
    if found[0] == expected[1] and found[1] > expected[1]:  # perhaps fewer than expected[0]: the map may end before
        why = "\nLikely cause: rows and columns exchanged in the crop."
    elif network.offsets.get("output", (0, 0)) != (0, 0) and found[0] > expected[0] + 8 and found[1] > expected[1] + 8:
        why = "\nLikely cause: the output is not cropped to the size of the input."
    else:
        why = blame(network)
    size = "that size" if given == expected else f"{given[0]} x {given[1]}"
    text = f"Expected an output of {expected[0]} x {expected[1]} pixels for an input of {size}, but got {found[0]} x {found[1]}.{why}"
    share = 0.5 * (found[0] != expected[0]) + 0.5 * (found[1] != expected[1])
    measured = {"expected": list(expected), "found": list(found)}
    network.grading.lose("size", cause="shape.size", message=text, measured=measured, share=share)


def _what(name: str) -> str:
    """A crop, or a skip's map of scores, for people."""
    return "the output" if name == "output" else f"{name}'s scores"


def _crop_parts(network: Network, name: str) -> tuple[str, str]:
    prefix = f"{name}_" if network.spec.chain.skips else ""
    return f"{prefix}rows", f"{prefix}columns"


def judge_crops(network: Network) -> None:
    """Each crop, rows and columns apart, against the rubric's absolute offsets."""
    try:
        found = network.measurement()
    except StudentError as error:
        raise StudentError(f"{error}{blame(network, error)}", error.cause) from None
    for name, expected in network.offsets.items():
        offset = found.offsets.get(name) if found else None
        if offset is None:
            _unmeasurable(network, name, found)
        else:
            _judge_offset(network, name, offset, expected)


def _unmeasurable(network: Network, name: str, found: Measurement | None) -> None:
    if found is not None and name in found.silent:
        text = f"{_what(name).capitalize()}: nothing of them arrives in the output, so their crop cannot be measured. Are they added?"
    else:
        text = f"The crop of {_what(name)} cannot be measured: the output is not the expected one at any offset.{blame(network)}"
        text += (
            ""
            if blame(network)
            else (
                f"\nIs it resized (F.interpolate) in place of being cropped? Else get the values right first: see the message of "
                f"{network.spec.name}.forward."
            )
        )
    for part in _crop_parts(network, name):
        network.grading.lose(part, cause="crop.unmeasurable", message=text, measured={"crop": name})
        text = ""


def _judge_offset(network: Network, name: str, offset: tuple[int, int], expected: tuple[int, int]) -> None:
    if offset == expected:
        return
    dy, dx = expected[0] - offset[0], expected[1] - offset[1]
    parts = _crop_parts(network, name)
    what, verb = _what(name), "lies" if name == "output" else "lie"
    unit = "pixels" if name == "output" else "cells"
    text = (f"The crop of {what} begins at row {offset[0]}, column {offset[1]}; expected row {expected[0]}, column {expected[1]}. "
            f"{what[0].upper()}{what[1:]} {verb} (dy, dx) = ({dy:+d}, {dx:+d}) {unit} off: in forward, let this crop begin at "
            f"[:, :, {expected[0]}:, {expected[1]}:].")  # fmt: skip
    cause = "crop.shift"
    if name == "output" and offset == (0, 0):
        cause, text = "crop.missing", text + "\nLikely cause: the output is not cropped at all, or from its corner."
    elif name != "output" and (others := [n for n, e in network.offsets.items() if n not in (name, "output") and e == offset]):
        text += f"\nLikely cause: the offsets of {' and '.join(sorted([name, others[0]]))} are exchanged."
    elif dy and dx and abs(dy) == abs(dx) and abs(dy) == 1:
        text += "\nLikely cause: the offset is off by one in both directions."
    measured = {"crop": name, "what": what.removeprefix("the "), "dy": dy, "dx": dx, "expected": list(expected), "found": list(offset)}
    for part, moved in zip(parts, (dy, dx), strict=True):
        if moved:
            network.grading.lose(part, cause=cause, message=text, measured=measured)
            text = ""


VIEW_WORDS = {
    "softmax": "softmax", "log_softmax": "log-softmax", "sigmoid": "sigmoid", "argmax": "argmax", "relu": "ReLU", "tanh": "tanh",
}  # fmt: skip


def judge_values(network: Network) -> None:
    """The same numbers as the reference under the same weights, once layers and crops are allowed for."""
    grading = network.grading
    try:
        evidence, found = network.evidence(), network.measurement()
    except StudentError as error:
        raise StudentError(f"{error}{blame(network, error)}", error.cause) from None
    if not np.isfinite(evidence.output.astype(np.float64)).all():
        grading.lose(
            "values",
            cause="forward.nan",
            message="Expected finite numbers, but the output holds NaN or infinity. "
            "Likely cause: a division, logarithm or root in forward; the network needs none.",
        )
    elif network.norms():
        shown = ", ".join(f"{path} ({kind})" for path, kind in list(network.norms().items())[:3])
        text = (f"Expected the numbers of the network of the paper, which normalises nothing, but forward uses {shown}. Leave it out; "
                "everything else was judged as if it were not there.")  # fmt: skip
        grading.lose("values", cause="forward.extra_layer", message=text, measured={"layers": list(network.norms())[:3]})
    elif found is None:
        text = (f"The values cannot be compared: your layers do not fit together as {network.spec.class_name}. Get "
                f"{network.spec.name}.layers right first.{blame(network)}")  # fmt: skip
        grading.lose("values", cause="forward.values", message=text)
    elif found.view != "logits":
        word = VIEW_WORDS[found.view]
        text = (f"Expected the logits, but got their {word}. Likely cause: {word} in forward. The loss (cross entropy) and argmax want "
                "the raw scores.")  # fmt: skip
        grading.lose("values", cause=f"forward.{found.view}" if found.view not in ("relu", "tanh") else "forward.values", message=text)
    elif found.silent:
        text = f"Expected the sum of all paths, but nothing of {' and '.join(found.silent)} arrives in the output. Is it added in forward?"
        grading.lose("values", cause="forward.skip", message=text, measured={"skips": list(found.silent)})
    elif found.factors and _judge_factors(network, found):
        return
    elif not found.exact:
        _explain_values(network, found)


def _judge_factors(network: Network, found: Measurement) -> bool:
    """Name the maps that arrive multiplied by a number; returns whether there is one."""
    factors = {name: float(f"{factor:.3g}") for name, factor in found.factors.items() if abs(factor - 1) > 2e-3}
    if not factors:
        return False
    words = {name: f"the scores of {network.spec.chain.head[-1]}'s map" if name == "score" else _what(name) for name in found.factors}
    if len(set(factors.values())) == 1 and set(factors) == set(found.factors):
        said = f"the output arrives multiplied by {next(iter(factors.values())):g}"
    else:
        said = " and ".join(f"{words[name]} arrive multiplied by {factor:g}" for name, factor in factors.items())
    text = (f"Expected the sum of the scores as they are, but {said}. Likely cause: a factor in forward, as in networks trained all at "
            "once (0.01 on pool4, 0.0001 on pool3). Leave it out: the score layers learn their size by themselves.")  # fmt: skip
    network.grading.lose("values", cause="forward.factor", message=text, measured={"factors": factors})
    return True


def _explain_values(network: Network, found: Measurement) -> None:
    first, second = network.dropout_free_pair()
    if not np.array_equal(first, second):
        text = ("Expected the same output twice in eval mode, but two calls differ. Likely cause: dropout (or other randomness) is active "
                "at test time; use nn.Dropout2d modules, or F.dropout2d(..., training=self.training).")  # fmt: skip
        network.grading.lose("values", cause="forward.dropout_eval", message=text)
        return
    shape = tuple(found.worst[2:]) if len(found.worst) == 4 else ()
    where = f" (largest at row {shape[0]}, column {shape[1]})" if shape else ""
    error = f"yours differ by up to {found.error:.2g} standard deviations{where}"
    error = "yours cannot be compared with them pixel by pixel" if np.isnan(found.error) else error
    usual = ("\nLikely cause: a ReLU left out, a layer skipped or used twice, or maps added in another place. Hold forward against the "
             "list of layers in the notebook, line by line.")  # fmt: skip
    graph = network.spec.graph
    runs = what_runs_wrong(network.steps(), network.match()[0].paths, graph) if graph else ""
    why = f"\nLikely cause: {runs}." if runs else blame(network) or usual
    text = f"Expected the numbers that the network of the paper gives under the same weights, but {error}.{why}"
    network.grading.lose("values", cause="forward.values", message=text)


def judge_maps(network: Network) -> None:
    """The maps of a network that returns a dictionary: each is worth the same share of the part, shape and values together."""
    try:
        pairs = network.maps()
    except (RuntimeError, ValueError, TypeError):
        text = f"The maps cannot be compared: your layers do not fit together as {network.spec.class_name}.{blame(network)}"
        network.grading.lose("maps", cause="forward.values", message=text)
        return
    for name, (found, expected) in pairs.items():
        if found.shape != expected.shape:
            cause, text = "shape.size", f"expected the shape {expected.shape}, but got {found.shape}"
        elif not np.abs(found - expected).max() <= TOLERANCE * expected.std():
            cause, text = "forward.values", "expected the numbers that the reference gives under the same weights, but yours differ"
        else:
            continue
        text = f"{name}: {text}. Is it taken behind the right layer?{blame(network) if cause == 'shape.size' else ''}"
        network.grading.lose("maps", cause=cause, message=text, measured={"map": name}, share=1 / len(pairs))


def judge_dropout(network: Network, seed: int) -> None:
    """Dropout with p = 0.5 after both layers of the head in train mode, read off the output; of a network with a graph."""
    graph = network.spec.chain
    if any(name not in network.match()[0].paths for name in (*graph.head, graph.score, graph.last_convolution)):
        text = f"Dropout cannot be judged while layers are missing.{blame(network)}"
        network.grading.lose("dropout", cause="dropout.missing", message=text)
        return
    measurement = network.measurement()
    if measurement is None or measurement.view != "logits":  # said by judge_values: there are no logits to read it off
        network.grading.lose("dropout", cause="dropout.missing", message="")
        return
    factor = measurement.factors.get("score", 1)
    found = network.dropout(seed, factor)
    if found.problem and network.dropout(seed + 1, factor).problem:  # one unlucky draw takes no points
        run = {path for path, _ in network.steps()}
        skipped = run and network.grading.faults and not run.issuperset(network.match()[0].paths[name] for name in graph.head)
        # what is read then is no dropout of the specified layers; that one is never used, judge_values says
        cause, problem = found.cause or "", found.problem
        if elsewhere := dropout_elsewhere(network.steps(), network.match()[0].paths, graph):
            cause = "dropout.extra"
            problem = (f"Expected dropout with p = 0.5 after {' and '.join(graph.head)} and nowhere else, but in train mode the output "
                       f"holds other values. Likely cause: a dropout follows {', '.join(elsewhere[:3])}.")  # fmt: skip
        network.grading.lose("dropout", cause=cause, message="" if skipped else problem, measured=found.measured)
