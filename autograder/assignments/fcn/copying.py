"""Judge the copy of VGG-16's parameters by samples: values, independence, and that VGG itself stays as it was.

The VGG-16 of this check holds pieces of the hidden weights that begin at secret places, others for each submission: the file that
a worker maps does not tell which.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from autograder.sandbox.client import GraderFault
from autograder.segmentation.probe import SPARE
from segkit.layers import Layer, compare_layers, expected_layers
from segkit.subject import StudentError, WeightFile

__all__ = ["SOURCES", "judge"]

FUNCTION = "copy_params_from_vgg16"
SAMPLES = 4096
MARK = 1234.5

# specified layer -> prefix of its parameters in torchvision's vgg16
_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_CONVOLUTIONS = [f"conv{block}_{index}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for index in range(1, depth + 1)]
SOURCES = {name: f"features.{number}" for name, number in zip(_CONVOLUTIONS, _FEATURES, strict=True)}
SOURCES |= {"fc6": "classifier.0", "fc7": "classifier.3"}


@dataclass
class Copy:
    """What one tried copy left behind: samples by specified name (``fc6.weight``), nothing that needs the worker.

    Attributes:
        before: The model's values before the copy; parameters that it lacks are absent.
        after: The model's values after it.
        source: VGG's values after it.
        shared: Tensors of the model that are VGG's own memory.
        replaced: Layers of the model that have other settings than before, in words.
    """

    before: dict[str, NDArray]
    after: dict[str, NDArray]
    source: dict[str, NDArray]
    shared: list[str]
    replaced: dict[str, str]

    def wrong(self, expected: dict[str, NDArray]) -> list[str]:
        """Tensors that do not hold VGG's values."""
        return [key for key, values in expected.items() if key not in self.after or not np.array_equal(self.after[key], values)]

    def unchanged(self, expected: dict[str, NDArray]) -> list[str]:
        """Those of the wrong tensors that are as they were before."""
        return [k for k in self.wrong(expected) if k in self.after and np.array_equal(self.before[k], self.after[k], equal_nan=True)]


def _indices(grading: Grading, index: dict) -> dict[str, NDArray]:
    """Flat indices at which each tensor is looked at."""
    rng, wanted = grading.rng("samples"), {}
    for name in SOURCES:
        for kind in ("weight", "bias"):
            size = int(np.prod(index[f"{name}.{kind}"][1]))
            wanted[f"{name}.{kind}"] = np.sort(rng.integers(0, size, min(SAMPLES, size)))
    return wanted


def _places(grading: Grading, index: dict) -> dict[str, tuple[int, list[int]]]:
    """Where each of VGG's tensors lies in the weight file (first element, [size]): one after the other where the trunk's layers lie,
    in an order and with gaps that nobody knows, none in its own place. They must not overlap: a copy may write to them by mistake.

    Raises:
        GraderFault: The file has no room for gaps.
    """
    sizes = {f"{name}.{kind}": int(np.prod(index[f"{name}.{kind}"][1])) for name in SOURCES for kind in ("weight", "bias")}
    begin, end = index[SPARE][0], max(index[key][0] + size for key, size in sizes.items())
    spare = end - begin - sum(sizes.values())
    if spare < len(sizes):
        raise GraderFault(f"The hidden weights hold {end - begin} values: none to spare beside the {sum(sizes.values())} of VGG-16.")
    rng = grading.own_rng("places")
    while True:
        gaps, places, first = np.diff(np.sort(rng.integers(0, spare + 1, len(sizes))), prepend=0), {}, begin
        for key, gap in zip(rng.permutation(list(sizes)).tolist(), gaps.tolist(), strict=True):
            places[key] = (first + gap, [sizes[key]])
            first += gap + sizes[key]
        if all(places[key][0] != index[key][0] for key in sizes):
            return places


def _vgg(student: Student, places: dict[str, tuple[int, list[int]]]) -> str:
    handle = student.build("torchvision.models:vgg16", meta=True, weights=None, init_weights=False)
    source = {f"{prefix}.{kind}": places[f"{name}.{kind}"] for name, prefix in SOURCES.items() for kind in ("weight", "bias")}
    # the classifier's last layer belongs to no copy; it only must hold something
    source |= {"classifier.6.weight": places["fc7.weight"], "classifier.6.bias": places["fc7.bias"]}
    student.load(handle, source)
    return handle


def _own_model(student: Student, grading: Grading) -> tuple[str, dict[str, str]]:
    """The student's own FCN32s, and the paths of the layers by their specified names."""
    return _built(student, grading, "FCN32s")


def _owner_model(student: Student, grading: Grading) -> tuple[str, dict[str, str]]:
    """The class that has the copy as its method, where FCN32s has none."""
    return _built(student, grading, student.owner(FUNCTION) or "FCN32s")


def _built(student: Student, grading: Grading, name: str) -> tuple[str, dict[str, str]]:
    handle = student.build(name)
    match = compare_layers(student.describe(handle), expected_layers("fcn32s", 12), grading.rubric.aliases)
    return handle, match.paths


def _carrier(student: Student, grading: Grading) -> tuple[str, dict[str, str]]:
    """A module with just the layers of the specification, in its order."""
    layers = expected_layers("fcn32s", 12, grading.rubric.settings["padding"])
    return student.carrier(layers, like=student.owner(FUNCTION) or ""), {layer.path: layer.path for layer in layers}


def _in_vgg(key: str) -> str:
    """Key of VGG's parameter that becomes the specified one: ``fc6.weight`` -> ``classifier.0.weight``."""
    name, _, kind = key.partition(".")
    return f"{SOURCES[name]}.{kind}"


def _try(student: Student, grading: Grading, index: dict, make) -> Copy:
    """Run the student's copy on a model and look at it before and after; model and VGG (1.2 GB) are let go of at the end."""
    handle, paths = make(student, grading)
    vgg = _vgg(student, _places(grading, index))
    try:
        where, present = _indices(grading, index), set(student.shapes(handle))
        keys = {key: f"{paths[key.partition('.')[0]]}.{key.partition('.')[2]}" for key in where if key.partition(".")[0] in paths}
        keys = {key: own for key, own in keys.items() if own in present}
        before, layers = _look(student, handle, keys, where), student.describe(handle)
        if student.owner(FUNCTION):
            student.method(handle, FUNCTION, vgg)
        else:
            student.call(FUNCTION, handle, vgg)
        after, held = _look(student, handle, keys, where), set(student.shapes(vgg))
        source = _look(student, vgg, {key: _in_vgg(key) for key in where if _in_vgg(key) in held}, where)
        shared = _shared(student, handle, vgg, keys, {k: where[k] for k in source})
        return Copy(before, after, source, shared, _replaced(layers, student.describe(handle), paths))
    finally:
        for used in (handle, vgg):
            student.forget(used)


def _replaced(before: list[Layer], after: list[Layer], paths: dict[str, str]) -> dict[str, str]:
    """Specified names of the layers to be copied whose settings are others after the copy, and which."""
    was, now = ({layer.path: layer.settings for layer in layers} for layers in (before, after))
    changed = {}
    for name, path in paths.items():
        if name in SOURCES and path in was and path in now and was[path] != now[path]:
            differing = [f"{key}={was[path][key]} became {now[path].get(key)}" for key in was[path] if was[path][key] != now[path].get(key)]
            changed[name] = f"{name}: {', '.join(differing)}"
    return changed


def _look(student: Student, handle: str, keys: dict[str, str], where: dict[str, NDArray]) -> dict[str, NDArray]:
    """Sample parameters; ``keys``: specified name -> the parameter's own key."""
    found = student.sample(handle, {own: where[key] for key, own in keys.items()})
    return {key: found[own] for key, own in keys.items() if own in found}


def _shared(student: Student, model: str, vgg: str, keys: dict[str, str], where: dict[str, NDArray]) -> list[str]:
    """Change one value of each of VGG's tensors, and look which tensors of the model change with it."""
    keys = {key: own for key, own in keys.items() if key in where}
    for key in keys:
        student.change(vgg, _in_vgg(key), int(where[key][0]), MARK)
    found = _look(student, model, keys, {key: where[key][:1] for key in keys})
    return [key for key, values in found.items() if values.size and values[0] == np.float32(MARK)]


def _expected(grading: Grading, index: dict) -> dict[str, NDArray]:
    weights, places = WeightFile(grading.context.weights_file, {}), _places(grading, index)
    return {key: weights.at(*places[key])[where].numpy() for key, where in _indices(grading, index).items()}


def judge(student: Student, grading: Grading) -> None:
    """Try the copy on the student's FCN32s, and on a carrier where that fails; the better one counts."""
    index = grading.context.run.weight_index
    expected, copies, failure, own_failed = _expected(grading, index), [], None, False
    other_class = student.owner(FUNCTION) not in (None, "FCN32s")
    for make in (_own_model, *([_owner_model] if other_class else []), _carrier):
        try:
            copies.append(_try(student, grading, index, make))
        except StudentError as error:
            if error.cause in ("code.missing", "code.unfinished", "code.syntax") and FUNCTION in str(error):
                raise
            failure = failure or error
            own_failed = own_failed or make is not _carrier
            continue
        if not copies[-1].wrong(expected):
            break
    best = min(copies, key=lambda copy: len(copy.wrong(expected)), default=None)
    if best is None or (own_failed and len(best.wrong(expected)) == len(expected)):
        assert failure is not None  # why nothing was copied
        raise failure
    changed = [_in_vgg(key) for key in expected if key not in best.source or not np.array_equal(best.source[key], expected[key])]
    wrong = best.wrong(expected)
    if changed and changed == [_in_vgg(key) for key in wrong] and best.unchanged(expected) == wrong:
        how_many = "all" if len(changed) == len(expected) else f"{len(changed)} of {len(expected)}"
        text = (f"The copy goes the wrong way: {how_many} of VGG-16's tensors were changed, and nothing of them arrived in the FCN. The "
                "FCN's parameter receives, VGG's is only read: `fcn.weight.copy_(vgg.weight)`.")  # fmt: skip
        grading.lose("values", cause="copy.source", message=text, measured={"changed": changed[:8]}, share=len(wrong) / len(expected))
        grading.lose("source", cause="copy.source", message="", measured={"changed": changed[:8]})
        return
    _judge_values(grading, best, wrong, expected)
    if len(wrong) == len(expected):  # where nothing arrived there is nothing to be aliased, and nothing that spared VGG
        for part in ("aliasing", "source"):
            grading.lose(part, cause="copy.left_out", message="")
        return
    if best.replaced and not wrong:
        text = (f"The copy put other layers in the place of the FCN's own: {'; '.join(best.replaced.values())}. Copy the values of VGG's "
                "layers, and leave the layers themselves: `fcn.weight.copy_(vgg.weight)`.")  # fmt: skip
        grading.lose("values", cause="copy.layer", message=text, share=2 * len(best.replaced) / len(expected))
    if changed:
        text = f"VGG-16 itself must stay as it is, but the copy changed {', '.join(changed[:4])}. Copy from VGG into the FCN."
        grading.lose("source", cause="copy.source", message=text, measured={"changed": changed[:8]})
    if best.shared:
        text = (f"{len(best.shared)} tensors of the FCN are VGG's own memory ({', '.join(best.shared[:4])}): a change of VGG changes "
                "the FCN. Likely cause: `a.data = b.data` or `a.weight = b.weight`; copy the values: `a.weight.copy_(b.weight)` under "
                "torch.no_grad().")  # fmt: skip
        grading.lose("aliasing", cause="copy.alias", message=text, measured={"shared": len(best.shared)})


def _judge_values(grading: Grading, copy: Copy, wrong: list[str], expected: dict[str, NDArray]) -> None:
    if not wrong:
        return
    unchanged = copy.unchanged(expected)
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
