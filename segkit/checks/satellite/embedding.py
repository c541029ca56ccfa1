"""What ``Classifier.features`` and ``embed`` do wrong: what they give, held against what the last layer makes of it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.checks.satellite.finding import Finding, numbers, results
from segkit.student_errors import StudentError
from segkit.subject import Subject

__all__ = ["FEATURES", "embed_mistakes", "features_mistakes"]

FEATURES = 4096
OF_FORWARD = ("code.raises", "forward.type", "shape.size")  # what is wrong with forward alone
MODE = "model.train(was) gives back what model.training was before"


def _close(found: NDArray, expected: NDArray) -> bool:
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= 1e-3 * max(1e-6, float(np.abs(expected).max())))


def _alike(rows: NDArray) -> bool:
    """Whether all pictures got (nearly) the same numbers, which show nothing that was computed of them."""
    return len(rows) < 2 or bool(np.ptp(rows, axis=0).max(initial=0) <= 1e-6 * max(1e-6, float(np.abs(rows).max(initial=0))))


# ---------------------------------------------------------------------------------------------------------------- features
def features_mistakes(
    subject: Subject, handle: str, last: str, images: NDArray[np.float32], logits: NDArray | None = None
) -> Iterator[Finding]:  # fmt: skip
    """Hold what ``features`` gives in eval mode against what ``forward`` makes of it.

    Args:
        subject: Who is asked.
        handle: A classifier whose last layer has weights that differ.
        last: Path of its last layer.
        images: (N, 3, H, W).
        logits: What ``forward`` has to give; None where only its last step is known.

    Raises:
        StudentError: Something fails, or gives no numbers of a shape that can be judged.
    """
    weight, bias = _last_step(subject, handle, last)
    subject.method(handle, "eval")
    size, wide = (len(images), len(bias)), (len(images), weight.shape[1])
    failed: list[Finding] = []
    try:
        given = numbers(subject.forward(handle, images), "forward", "shape.size", lambda shape: shape == size, f"logits {size}")
        given = given.astype(float)
    except StudentError as error:
        if logits is None or error.cause not in OF_FORWARD:
            raise
        failed, given = [Finding("forward", error.cause, f"logits {size}", str(error).strip().rstrip("."))], np.empty(0)
    found = numbers(subject.method(handle, "features", images), "features", "features.shape", lambda shape: len(shape) > 1, f"{wide}")
    found = found.astype(float)

    def classified(features: NDArray) -> NDArray:
        return features @ weight.T + bias if features.shape == wide else np.empty(0)

    if logits is None:  # only the last step of forward is known
        logits, known = classified(np.maximum(found, 0)) if found.shape == wide else given, False
    else:
        logits, known = logits.astype(float), True
    view = next((name for name, seen in VIEWS.items() if _close(given, seen(logits))), "")
    again = partial(subject.method, handle, "features", images)
    wrong = [*_which(found, logits if view or known else given, wide, classified, again)]
    if not wrong and not known and _alike(found):
        got = "one and the same numbers for all pictures"
        wrong = [Finding("features", "features.layer", f"what the last layer reads, behind its ReLU: {wide}", got)]
    yield from wrong + failed
    if failed:
        return
    if not wrong:
        yield from _dropouts(subject, handle)
    if view in ("softmax", "log_softmax"):
        yield Finding("forward", f"forward.{view}", "raw scores", f"their {view}", f"{view} in forward: the loss wants the scores")
    elif (known and not view and not wrong) or (wrong and _alike(given)):
        yield Finding("forward", "forward.values", "the numbers of VGG-16 under the same weights", "other ones",
                      "a layer skipped or used twice, a ReLU left out, or dropout that is active in eval mode")  # fmt: skip


def _last_step(subject: Subject, handle: str, last: str) -> tuple[NDArray, NDArray]:
    """Weight and bias of the last layer, zeros where it has no bias.

    Raises:
        StudentError: It gives no number at all.
    """
    shapes = subject.shapes(handle)
    values = subject.sample(handle, dict.fromkeys(key for key in (f"{last}.weight", f"{last}.bias") if key in shapes))
    shape, weight = shapes.get(f"{last}.weight", ()), values.get(f"{last}.weight", np.empty(0))
    bias = values.get(f"{last}.bias", np.zeros(shape[:1]))
    if len(shape) != 2 or not weight.size or weight.size != np.prod(shape) or bias.shape != shape[:1]:
        text = f"features cannot be judged: expected a last layer of weights (n_class, {FEATURES}), but got {shape}."
        raise StudentError(text, "features.layer")
    return weight.reshape(shape), bias


def _dropouts(subject: Subject, handle: str) -> Iterator[Finding]:
    """Two run, one behind each ReLU of the head; where the order of the layers cannot be seen, nothing is said."""
    kinds = [kind for _, kind in subject.trace(handle)]
    runs = sum(kind.lower().startswith("dropout") for kind in kinds)
    if kinds[-1:] == ["return"] and runs != 2:  # the run came to its end: not all networks take pictures of another size
        yield Finding("forward", "dropout.missing" if runs < 2 else "dropout.extra", "two dropouts on the way to the scores", f"{runs}",
                      "the second one lies between features and the last layer, and belongs to forward")  # fmt: skip


def _softmax(logits: NDArray) -> NDArray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


VIEWS: dict[str, Callable[[NDArray], NDArray]] = {
    "logits": lambda logits: logits, "softmax": _softmax, "log_softmax": lambda logits: np.log(_softmax(logits) + 1e-30),
}  # fmt: skip


def _which(
    found: NDArray, logits: NDArray, wide: tuple[int, int], classified: Callable[[NDArray], NDArray], again: Callable[[], Any]
) -> Iterator[Finding]:
    """Which layer's output the features are."""
    known = (
        ("features.last", _close(found, logits), "what the last layer gives", "stop before the last layer"),
        ("features.map", found.ndim == 4, f"a map of shape {found.shape}", "torchvision's own `features` are the convolutions alone"),
        ("features.shape", found.shape != wide, f"shape {found.shape}", ""),
        ("", _close(classified(found), logits) and found.min() >= 0, "", ""),
        ("features.before", _close(classified(np.maximum(found, 0)), logits), "the same before its ReLU", "apply the ReLU"),
        ("features.dropout", not np.array_equal(found, np.asarray(again())), "other numbers in each call in eval mode",
         "dropout that is always active"),
        ("features.layer", True, "other numbers", "another layer's output, or layers that run in another way"),
    )  # fmt: skip
    code, got, why = next((code, got, why) for code, holds, got, why in known if holds)
    if code:
        yield Finding("features", code, f"what the last layer reads, behind its ReLU: {wide}", got, why)


# ------------------------------------------------------------------------------------------------------------------ embed
def embed_mistakes(subject: Subject, rng: np.random.Generator, classifier: Callable[[], str] | None = None) -> Iterator[Finding]:
    """Try ``embed`` on a small classifier of five pictures in batches of two.

    Args:
        subject: Who is asked; it knows the function by its name.
        rng: Draws the classifier and the pictures.
        classifier: Builds the student's own, and gives its handle; it is taken where ``embed`` does not work with another.

    Raises:
        StudentError: The function fails, or returns something else.
    """
    images, labels = rng.standard_normal((5, 3, 32, 32)).astype(np.float32), np.sort(rng.choice(50, 5, replace=False))[[3, 1, 4, 0, 2]]
    loader = _loader(subject, images, labels)
    model, expected, last = _small(subject, rng, images)
    try:
        found = _embedded(subject, model, loader, train=True)
    except StudentError as error:
        if classifier is None or error.cause not in ("code.raises", "embed.type"):
            raise
        model = classifier()
        subject.method(model, "eval")  # asked now: the function might change it
        expected = numbers(subject.method(model, "features", images), "features", "features.shape", lambda shape: len(shape) == 2, "rows")
        if _alike(expected):  # with them anybody's are right
            raise
        last = subject.forward(model, images)
        found = _embedded(subject, model, loader, train=True)
    training = subject.method(model, "__getattribute__", "training")
    features, given, needs_gradient = found
    wrong = [*_features_of(features, expected, last)]
    yield from wrong
    one_of_them = any(_close(features[-1:], expected[n : n + 1]) for n in range(len(expected)))  # who returns inside of the loop
    if nothing := _alike(features) and not one_of_them:
        yield from (Finding(part, "embed.values", "features that tell pictures apart", "the same for all, which shows no other part either")
                    for part in ("mode", "gradients"))  # fmt: skip
    try:
        got = str(order := numbers(given, "embed", "embed.labels", lambda shape: len(shape) < 3, "labels (5,)").tolist())
    except StudentError:
        order, got = [], str(given)
    if order != labels.tolist() and (nothing or not {"embed.batches", "embed.order"} & {mistake.code for mistake in wrong}):
        yield Finding("labels", "embed.labels", f"the labels in the loader's order, {labels.tolist()}", got[:60])
    if nothing:
        return
    if needs_gradient:
        yield Finding("gradients", "embed.gradients", "features without a graph", "features that require a gradient",
                      "`with torch.no_grad():` around the loop: else every batch keeps its graph in memory")  # fmt: skip
    elif subject.call("torch:is_grad_enabled") is not True:
        yield Finding("gradients", "embed.gradients", "gradients enabled afterwards", "none", "`with torch.no_grad():` ends by itself")
    if training is not True:
        yield Finding("mode", "embed.mode", "a model that was in train mode to be in it afterwards", "eval mode", MODE)
    else:
        subject.method(model, "eval")
        _embedded(subject, model, loader)
        if subject.method(model, "__getattribute__", "training") is not False:
            yield Finding("mode", "embed.mode", "a model that was in eval mode to be in it afterwards", "train mode", MODE)


def _small(subject: Subject, rng: np.random.Generator, images: NDArray[np.float32]) -> tuple[str, NDArray, NDArray]:
    """A network with ``features``: behind its ReLU a dropout, as VGG-16 has it elsewhere; a head of two layers that gives 3 numbers.

    What features and last layer give in eval mode is computed here: ``embed`` has the network, and might change it.
    """
    features = [subject.build("torch.nn:Flatten"), subject.build("torch.nn:Linear", 3072, FEATURES), subject.build("torch.nn:ReLU"),
                subject.build("torch.nn:Dropout", 0.5)]  # fmt: skip
    model = subject.build("torch.nn:Sequential")
    subject.method(model, "add_module", "features", subject.build("torch.nn:Sequential", *features))
    subject.method(model, "add_module", "bent", subject.build("torch.nn:Tanh"))  # features are no "all children but the last"
    subject.method(model, "add_module", "last", subject.build("torch.nn:Linear", FEATURES, 3))
    shapes = {"features.1.weight": (16, 3072), "features.1.bias": (FEATURES,), "last.weight": (3, FEATURES), "last.bias": (3,)}
    weights = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    subject.load(model, weights)
    weight, bias, last, last_bias = weights.values()
    read = np.zeros((len(images), FEATURES), np.float32)
    read[:, : len(weight)] = images.reshape(len(images), -1) @ weight.T  # all others have no weights, but a bias
    features = np.maximum(read + bias, 0)
    return model, features, np.tanh(features) @ last.T + last_bias


def _loader(subject: Subject, images: NDArray, labels: NDArray) -> str:
    tensors = [subject.build("torch:from_numpy", array, module=False) for array in (images, labels)]
    pictures = subject.build("torch.utils.data:TensorDataset", *tensors, module=False)
    return subject.build("torch.utils.data:DataLoader", pictures, 2, module=False)


def _embedded(subject: Subject, model: str, loader: str, train: bool = False) -> tuple[NDArray, Any, bool]:
    """Features, labels, and whether the features require a gradient."""
    subject.method(model, "train", train)
    handle, pair = results(subject, "embed", model, loader, expected="(features, labels)", code="embed.type")
    if len(pair) != 2:
        raise StudentError(f"embed: expected (features, labels), but got {len(pair)} results.", "embed.type")
    features = numbers(pair[0], "embed", "embed.type", lambda shape: len(shape) == 2, f"features (5, {FEATURES})")
    try:
        joined = subject.build("torch.nn.utils:parameters_to_vector", handle, module=False)
        graph = subject.method(joined, "__getattribute__", "requires_grad") is True
    except StudentError:
        graph = False  # arrays have none
    return features, pair[1], graph


def _features_of(found: NDArray, expected: NDArray, last: NDArray) -> Iterator[Finding]:
    known = (
        ("embed.last", _close(found, last), "what the last layer gives", "take model.features(x), and not model(x)"),
        ("embed.shape", found.shape[1:] != expected.shape[1:], f"shape {found.shape}", ""),
        ("embed.batches", len(found) < len(expected), f"{len(found)} rows", "the last, smaller batch counts too: return behind the loop"),
        ("embed.before", _close(np.maximum(found, 0), expected), "the same before the ReLU", "take model.features(x)"),
        ("embed.order", _close(np.sort(found, 0), np.sort(expected, 0)), "the same rows in another order", ""),
        ("embed.dropout", found.shape == expected.shape and not _alike(found) and bool(((found == 0) & (expected > 0)).any()),
         "features with dropout", "model.eval() before the loop"),
        ("embed.values", True, "other numbers", "take model.features(x)"),
    )  # fmt: skip
    text = f"the features of all pictures, {expected.shape}, in the loader's order"
    if not _close(found, expected):
        code, got, why = next((code, got, why) for code, holds, got, why in known if holds)
        yield Finding("features", code, text, got, why)
    elif found.dtype != np.float32:
        yield Finding("features", "embed.dtype", "float32", str(found.dtype), share=0.5)
