"""Judge the copy of VGG-16's parameters by samples: values, independence, and that VGG itself stays as it was."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autograder.checking import Grading
from autograder.student import Student
from segkit.layers import compare_layers, expected_layers
from segkit.subject import StudentError, WeightFile

__all__ = ["SOURCES", "judge"]

FUNCTION = "copy_params_from_vgg16"
SAMPLES = 4096

# specified layer -> prefix of its parameters in torchvision's vgg16
_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_CONVOLUTIONS = [f"conv{block}_{index}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for index in range(1, depth + 1)]
SOURCES = {name: f"features.{number}" for name, number in zip(_CONVOLUTIONS, _FEATURES, strict=True)}
SOURCES |= {"fc6": "classifier.0", "fc7": "classifier.3"}


@dataclass
class Copy:
    """One tried copy: the handles, what parameter of the model belongs to which source, and samples before and after."""

    model: str
    vgg: str
    keys: dict[str, str]
    before: dict[str, NDArray]
    after: dict[str, NDArray]


def _indices(grading: Grading, index: dict) -> dict[str, NDArray]:
    """Flat indices at which each tensor is looked at."""
    rng, wanted = grading.rng("samples"), {}
    for name in SOURCES:
        for kind in ("weight", "bias"):
            size = int(np.prod(index[f"{name}.{kind}"][1]))
            wanted[f"{name}.{kind}"] = np.sort(rng.integers(0, size, min(SAMPLES, size)))
    return wanted


def _vgg(student: Student) -> str:
    handle = student.build("torchvision.models:vgg16", meta=True, weights=None, init_weights=False)
    source = {f"{prefix}.{kind}": f"{name}.{kind}" for name, prefix in SOURCES.items() for kind in ("weight", "bias")}
    # the classifier's last layer belongs to no copy; it only must hold something
    source |= {"classifier.6.weight": "fc7.weight", "classifier.6.bias": "fc7.bias"}
    student.load(handle, source)
    return handle


def _own_model(student: Student, grading: Grading) -> tuple[str, dict[str, str]]:
    """The student's own FCN32s, and the paths of the layers by their specified names."""
    owner = student.owner(FUNCTION)
    handle = student.build(owner or "FCN32s")
    match = compare_layers(student.describe(handle), expected_layers("fcn32s", 12), grading.rubric.aliases)
    return handle, match.paths


def _carrier(student: Student, grading: Grading) -> tuple[str, dict[str, str]]:
    """A module with just the layers of the specification, in its order."""
    layers = expected_layers("fcn32s", 12, grading.rubric.settings["padding"])
    return student.carrier(layers), {layer.path: layer.path for layer in layers}


def _try(student: Student, grading: Grading, index: dict, make) -> Copy:
    """Run the student's copy on a model and look at it before and after."""
    handle, paths = make(student, grading)
    vgg = _vgg(student)
    wanted = _indices(grading, index)
    keys = {key: f"{paths[key.partition('.')[0]]}.{key.partition('.')[2]}" for key in wanted if key.partition(".")[0] in paths}
    present = set(student.shapes(handle))
    keys = {key: own for key, own in keys.items() if own in present}
    look = {own: wanted[key] for key, own in keys.items()}
    before = student.sample(handle, look)
    if student.owner(FUNCTION):
        student.method(handle, FUNCTION, vgg)
    else:
        student.call(FUNCTION, handle, vgg)
    after = student.sample(handle, look)
    return Copy(handle, vgg, keys, before, after)


def _expected(grading: Grading, index: dict) -> dict[str, NDArray]:
    weights = WeightFile(grading.context.weights_file, index)
    return {key: weights[key].reshape(-1)[where].numpy() for key, where in _indices(grading, index).items()}


def _wrong(copy: Copy, expected: dict[str, NDArray]) -> list[str]:
    """Tensors that do not hold VGG's values."""
    good = [key for key, own in copy.keys.items() if np.array_equal(copy.after.get(own), expected[key])]
    return [key for key in expected if key not in good]


def judge(student: Student, grading: Grading) -> None:
    """Try the copy on the student's FCN32s, and on a carrier where that fails; the better one counts."""
    index = grading.context.run.worker_settings().weight_index
    expected = _expected(grading, index)
    best, wrong, failure = None, list(expected), None
    for make in (_own_model, _carrier):
        try:
            copy = _try(student, grading, index, make)
        except StudentError as error:
            failure = failure or error
            if error.cause in ("code.missing", "code.unfinished", "code.syntax") and FUNCTION in str(error):
                raise
            continue
        missed = _wrong(copy, expected)
        worse = copy
        if best is None or len(missed) < len(wrong):
            worse, best, wrong = best, copy, missed
        for handle in (worse.model, worse.vgg) if worse else ():
            student.forget(handle)
        if not wrong:
            break
    if best is None:
        raise failure
    if len(wrong) == len(expected) and failure is not None and make is _carrier:
        raise failure
    _judge_values(grading, best, wrong, expected)
    _judge_source(student, grading, index, best, expected)
    _judge_aliasing(student, grading, index, best)
    for handle in (best.model, best.vgg):
        student.forget(handle)


def _judge_values(grading: Grading, copy: Copy, wrong: list[str], expected: dict[str, NDArray]) -> None:
    if not wrong:
        return
    unchanged = [key for key in wrong if key in copy.keys and np.array_equal(copy.before[copy.keys[key]], copy.after[copy.keys[key]])]
    biases = [key for key in expected if key.endswith(".bias")]
    share = len(wrong) / len(expected)
    measured = {"wrong": len(wrong), "of": len(expected), "tensors": wrong[:8]}
    shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
    if wrong == ["fc6.weight"] and wrong != unchanged:
        cause = "copy.order"
        why = " The values are there in another order: classifier[0].weight is viewed as (4096, 512, 7, 7), in just this order of axes."
    elif set(wrong) == set(biases) and len(wrong) == len(biases) and len(wrong) > 1:
        cause, why = "copy.bias", " Likely cause: only weights were copied; the biases belong to the layers too."
    elif wrong == unchanged:
        cause = "copy.left_out"
        why = " They are as they were before: left out."
    else:
        cause, why = "copy.values", " They changed, but do not hold VGG's values. Likely cause: layers paired wrongly."
    text = f"{len(wrong)} of {len(expected)} tensors do not hold VGG's values after the copy: {shown}.{why}"
    grading.lose("values", cause=cause, message=text, measured=measured, share=share)


def _judge_source(student: Student, grading: Grading, index: dict, copy: Copy, expected: dict[str, NDArray]) -> None:
    where = _indices(grading, index)
    prefixes = {key: f"{SOURCES[key.partition('.')[0]]}.{key.partition('.')[2]}" for key in where}
    held = set(student.shapes(copy.vgg))
    found = student.sample(copy.vgg, {prefixes[key]: where[key] for key in where if prefixes[key] in held})
    changed = [prefixes[key] for key in where if not np.array_equal(found.get(prefixes[key]), expected[key])]
    if changed:
        text = f"VGG-16 itself must stay as it is, but the copy changed {', '.join(changed[:4])}. Copy from VGG into the FCN."
        grading.lose("source", cause="copy.source", message=text, measured={"changed": changed[:8]})


def _judge_aliasing(student: Student, grading: Grading, index: dict, copy: Copy) -> None:
    """Change one value of each of VGG's tensors, and look whether the FCN changes with it."""
    where = _indices(grading, index)
    held, own = set(student.shapes(copy.vgg)), {}
    for key, own_key in copy.keys.items():
        name, _, kind = key.partition(".")
        source = f"{SOURCES[name]}.{kind}"
        if source in held:
            student.change(copy.vgg, source, int(where[key][0]), 1234.5)
            own[key] = own_key
    found = student.sample(copy.model, {own_key: where[key][:1] for key, own_key in own.items()})
    shared = [key for key, own_key in own.items() if found[own_key].size and found[own_key][0] == np.float32(1234.5)]
    if shared:
        text = (f"{len(shared)} tensors of the FCN are VGG's own memory ({', '.join(shared[:4])}): a change of VGG changes the FCN. "
                "Likely cause: `a.data = b.data` or `a.weight = b.weight`; copy the values instead: `a.weight.copy_(b.weight)` under "
                "torch.no_grad().")
        grading.lose("aliasing", cause="copy.alias", message=text, measured={"shared": len(shared)}, share=1.0)
