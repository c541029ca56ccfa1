"""What a worker replies, looked at once, where it arrives: behind this door a check meets only what it can work with.

Whoever took over a worker writes what he likes into the pipe. What does not have the form that was asked for is the student's
fault (``answer.malformed``), with what was expected and what was found; an exception in a check after this is the grader's.
"""

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.layers import SETTINGS, Layer
from segkit.notebooks.reading import shown
from segkit.subject import StudentError
from segkit.tracing import MAX_STEPS, Step

__all__ = [
    "gate_maps", "gradients", "layers", "malformed", "maps", "names", "samples", "shapes", "steps", "steps_taken", "tensor", "text",
    "training", "value", "whole",
]  # fmt: skip

CAUSE = "answer.malformed"
MAX_ELEMENTS = 2**26  # of an array, as in the worker
MAX_OUTPUT = 2**24  # of a network: the probe's images are small
MAX_CLASSES = 256  # of probabilities
MAX_VALUES = 100_000  # in all lists and dictionaries of a reply
MAX_CHARACTERS = 2**22  # values times the longest text: what an array of them would take
MAX_DEPTH = 8
MAX_TEXT = 2000
MAX_PATH = 300
MAX_WORD = 100  # of a setting
MAX_LAYERS, MAX_PARAMETERS = 5000, 10_000
LARGEST = 2**31  # of a setting or size


def malformed(what: str, expected: str, found: Any = None, words: str = "") -> StudentError:
    """The error that says what came in the place of what was expected; ``words`` say it better than the value ``found`` would."""
    return StudentError(f"{what}: expected {expected}, but got {words or described(found)}.", CAUSE)


def described(found: Any) -> str:
    """A short account of any value of a message, whatever its size."""
    if isinstance(found, np.ndarray):
        return f"an array of shape {found.shape}, {found.dtype}"
    if isinstance(found, str):
        return f"{shown(found, 40)!r}" + (f" ({len(found)} characters)" if len(found) > 40 else "")
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) >= 10**9:
        return f"a whole number of {found.bit_length()} bits"
    if isinstance(found, (list, dict, bytes)):
        return f"a {type(found).__name__} of {len(found)}"
    return repr(found)


def whole(found: Any, what: str, least: int = -LARGEST, most: int = LARGEST) -> int:
    """A whole number within bounds; no truth value."""
    if type(found) is not int or not least <= found <= most:
        raise malformed(what, f"a whole number from {least} to {most}", found)
    return found


def text(found: Any, what: str, most: int = MAX_TEXT) -> str:
    """A text of at most so many characters, which can be printed and written."""
    if not isinstance(found, str) or len(found) > most:
        raise malformed(what, f"a text of at most {most} characters", found)
    return shown(found, most)


def _items(found: Any, what: str, kind: type[Sized], most: int) -> Any:
    if not isinstance(found, kind) or len(found) > most:
        raise malformed(what, f"a {kind.__name__} of at most {most} entries", found)
    return found


# ------------------------------------------------------------------------------------------- what functions return
def value(found: Any, what: str, tree: bool = False) -> Any:
    """What a student's function returned: None, numbers, texts, arrays, and lists and dictionaries of such.

    A list of results may hold different things; the rows of a list within it are of one length, unless any ``tree`` will do.
    """
    counts = [0, 1]  # values, characters of the longest text

    def look(found: Any, depth: int) -> Any:
        counts[0] += 1
        if depth > MAX_DEPTH or counts[0] > MAX_VALUES or counts[0] * counts[1] > MAX_CHARACTERS:
            raise malformed(what, f"at most {MAX_VALUES} values, nested {MAX_DEPTH} deep, and short texts", words="more")
        if found is None or isinstance(found, (bool, float)):
            return found
        if isinstance(found, int):
            return whole(found, what, 1 - 2**63, 2**63 - 1)
        if isinstance(found, str):
            counts[1] = max(counts[1], len(found))
            return text(found, what)
        if isinstance(found, np.ndarray):
            return _array(found, what)
        if isinstance(found, dict):
            return {text(key, what, MAX_PATH): look(item, depth + 1) for key, item in found.items()}
        if isinstance(found, list):
            items = [look(item, depth + 1) for item in found]
            lengths = {len(item) if isinstance(item, list) else -1 for item in items} if depth and not tree else set()
            if len(lengths) > 1:
                raise malformed(what, "a list whose rows are of one length", words=f"rows of {', '.join(_lengths(lengths))} entries")
            return items
        raise malformed(what, "numbers, texts, arrays, lists or dictionaries", found)

    return look(found, 0)


def _lengths(lengths: set[int]) -> list[str]:
    return ["single values beside rows" if length < 0 else str(length) for length in sorted(lengths)[:4]]


def _array(found: Any, what: str, most: int = MAX_ELEMENTS) -> NDArray[Any]:
    if type(found) is not np.ndarray or found.dtype.kind not in "biuf" or found.size > most:
        raise malformed(what, f"an array of at most {most} numbers", found)
    return found


def tensor(found: Any, what: str) -> NDArray[Any]:
    """What a network's forward returned for some small images."""
    if not isinstance(found, np.ndarray):
        raise StudentError(f"{what}: expected a tensor, but got {described(found)}.", "forward.type")
    if found.size > MAX_OUTPUT:
        raise StudentError(f"{what}: expected an output of the image's size, but got {found.shape}.", "shape.size")
    return _array(found, what)


def maps(found: Any, what: str, asked: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What a network that gives maps by name returned, just those that were asked for."""
    if not isinstance(found, dict) or set(found) != set(asked):
        raise malformed(what, f"the maps {', '.join(asked)}", found)
    return {name: tensor(found[name], f"{what}, {name}") for name in asked}


def gate_maps(found: Any, what: str, asked: tuple[int, ...], kind: str) -> NDArray[Any]:
    """Maps of a kind of ``segkit.outputs.MAPS``, for input of the shape ``asked``; the size of label maps is looked at elsewhere."""
    dtype, axes, words = {
        "labels": (np.uint8, len(asked) - 1, "a label map"), "instances": (np.uint16, len(asked) - 1, "ids of instances"),
        "probabilities": (np.float16, len(asked), "probabilities"),
    }[kind]  # fmt: skip
    if type(found) is not np.ndarray or found.dtype != dtype or found.ndim != axes:
        raise malformed(what, f"{words} with {axes} axes, {np.dtype(dtype)}", found)
    if kind != "labels" and (found.shape[-2:] != asked[-2:] or found.shape[: len(asked) - 3] != asked[:-3]):
        raise malformed(what, f"{words} for input of shape {asked}", found)
    if kind == "probabilities":
        if found.shape[-3] > MAX_CLASSES or found.size > MAX_ELEMENTS:
            raise malformed(what, f"{words} of at most {MAX_CLASSES} classes and {MAX_ELEMENTS} values", found)
        if not (found >= 0).all() or not (np.abs(found.sum(axis=-3, dtype=np.float32) - 1) <= 0.01).all():  # NaN fails too
            raise malformed(what, f"{words} that add up to 1 at each pixel", words="others")
    return found


# ------------------------------------------------------------------------------------------------------------- gradients
def gradients(found: Any, what: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A value, and its gradients with respect to the inputs and parameters that were asked for; NaN may be among them."""
    shapes = {place: tuple(np.shape(asked["args"][number])) for place, number in enumerate(asked["wrt"])}
    found = _fields(found, what, ("value", "inputs", "parameters"))
    inputs = _arrays(dict(enumerate(_items(found["inputs"], what, list, len(shapes)))), what, shapes)
    parameters = _arrays(found["parameters"], what, dict.fromkeys(asked["parameters"]))
    return {"value": value(found["value"], what), "inputs": list(inputs.values()), "parameters": parameters}


def steps_taken(found: Any, what: str, calls: int, weights: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each call of a training step returned and did (see ``segkit.gradients.SmallTraining.after``)."""
    if len(_items(found, what, list, calls)) != calls:
        raise malformed(what, f"an account of {calls} calls", found)
    shapes = {key: tuple(np.shape(values)) for key, values in weights.items()}
    return [_step(step, f"{what}, call {number}", shapes) for number, step in enumerate(found, start=1)]


def _step(found: Any, what: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    found = _fields(found, what, ("returned", "graph", "values", "gradients", "mode", "steps", "backwards"))
    if type(found["graph"]) is not bool or type(found["mode"]) not in (bool, type(None)):
        raise malformed(what, "truth values for graph and mode", found)
    values, slopes = (_arrays(found[name], f"{what}, {name}", shapes) for name in ("values", "gradients"))
    if any(array is None for array in values.values()):
        raise malformed(f"{what}, values", "arrays", found["values"])
    counts = {name: whole(found[name], f"{what}, {name}", 0) for name in ("steps", "backwards")}
    return {**found, **counts, "values": values, "gradients": slopes, "returned": value(found["returned"], what)}  # fmt: skip


def _arrays(found: Any, what: str, shapes: Mapping[Any, tuple[int, ...] | None]) -> dict[Any, NDArray[np.float32] | None]:
    """Arrays of known names, and of known shapes but for None; a gradient may be missing."""
    found = _fields(found, what, list(shapes))
    for key, shape in shapes.items():
        array, expected = found[key], f"an array{'' if shape is None else f' of shape {shape}'}, float32"
        numbers = type(array) is np.ndarray and array.dtype == np.float32 and array.size <= MAX_OUTPUT
        if array is not None and not (numbers and shape in (None, array.shape)):
            raise malformed(f"{what}, {shown(str(key), MAX_PATH)}", expected, array)
    return {key: found[key] for key in shapes}


def _fields(found: Any, what: str, names: Sequence[Any]) -> dict[Any, Any]:
    """A dictionary with just these keys."""
    if not isinstance(found, dict) or set(found) != set(names):
        raise malformed(what, f"a dictionary with {shown(', '.join(map(str, names)), 200)}", found)
    return found


# -------------------------------------------------------------------------------------------- what is known of a network
def names(found: Any, what: str, most: int) -> list[str]:
    """A list of names, of which the first ``most`` are of interest."""
    if not isinstance(found, list):
        raise malformed(what, "a list of names", found)
    for name in found[:most]:
        if not isinstance(name, str):
            raise malformed(what, "a list of names", words=f"{described(name)} in it")
    return [shown(name, 200) for name in found[:most]]


def layers(found: Any, what: str) -> list[Layer]:
    """The layers of a network. Their settings are plain: whether a number fits is a matter of the comparison."""
    return [_layer(layer, what) for layer in _items(found, what, list, MAX_LAYERS)]


def _layer(found: Any, what: str) -> Layer:
    if not isinstance(found, dict) or not {"path", "kind", "settings"} <= set(found) or not isinstance(found["settings"], dict):
        raise malformed(what, "layers with path, kind and settings", found)
    path, kind = text(found["path"], f"{what}, path of a layer", MAX_PATH), text(found["kind"], f"{what}, class of a layer", MAX_WORD)
    where = f"{what}, {kind} {path!r}"
    same = found.get("same_as")
    same = None if same is None else text(same, where, MAX_PATH)
    known = SETTINGS.get(kind, ())
    if set(found["settings"]) != set(known):
        raise malformed(where, f"the settings {', '.join(known) or 'of no kind'}", found["settings"])
    return Layer(path, kind, {name: _setting(found["settings"][name], name, where) for name in known}, same)


def _setting(found: Any, name: str, where: str) -> Any:
    """One hyper-parameter: a number, yes or no, a word, or a pair of whole numbers."""
    what = f"{where}, {name}"
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, str):
        return text(found, what, MAX_WORD)
    if isinstance(found, float):
        if not abs(found) <= LARGEST:
            raise malformed(what, "a finite number", found)
        return found
    if isinstance(found, list):
        if not 1 <= len(found) <= 3:
            raise malformed(what, "a number or a pair of them", found)
        return [whole(size, what) for size in found]
    return whole(found, what)


def steps(found: Any, what: str) -> list[Step]:
    """Layers and functions in the order in which they ran."""
    found = _items(found, what, list, MAX_STEPS + 1)
    for step in found:
        if not isinstance(step, list) or len(step) != 2 or not all(isinstance(word, str) for word in step):
            raise malformed(what, "pairs of a layer's path and its class", step)
    return [(shown(path, 200), shown(kind, 60)) for path, kind in found]


def shapes(found: Any, what: str) -> dict[str, tuple[int, ...]]:
    """Shapes of parameters by their keys."""
    known = {}
    for key, shape in _items(found, what, dict, MAX_PARAMETERS).items():
        where = f"{what}, {text(key, what, MAX_PATH)!r}"
        known[shown(key, MAX_PATH)] = tuple(whole(size, where, 0) for size in _items(shape, where, list, 8))
        if math.prod(known[shown(key, MAX_PATH)]) > 2**33:
            raise malformed(where, "a parameter of at most 2**33 values", words=f"the shape {shape}")
    return known


def samples(found: Any, what: str, asked: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Values of the parameters that were asked for, one dimension each; None asks for all values of one."""
    if not isinstance(found, dict) or set(found) != set(asked):
        raise malformed(what, f"values of {len(asked)} parameters", found)
    for key, values in found.items():
        most = MAX_ELEMENTS if asked[key] is None else np.size(asked[key])
        if type(values) is not np.ndarray or values.ndim != 1 or values.dtype != np.float32 or values.size > most:
            raise malformed(f"{what}, {shown(key, MAX_PATH)!r}", f"at most {most} values, float32", values)
    return found


def training(found: Any, what: str) -> dict[str, Any]:
    """What became of a training (see ``autograder.sandbox.retraining``)."""
    if not isinstance(found, dict):
        raise malformed(what, "an account of a training", found)
    counts = {name: whole(found.get(name), f"{what}, {name}", 0) for name in ("epochs", "best_epoch")}
    mean, seconds, in_time = (found.get(name) for name in ("mean_iou", "seconds", "in_time"))
    if not isinstance(mean, (float, type(None))) or not isinstance(seconds, float) or not isinstance(in_time, bool):
        raise malformed(what, "mean IoU, seconds, and whether it ended in time", found)
    return counts | {"mean_iou": mean, "seconds": seconds, "in_time": in_time}
