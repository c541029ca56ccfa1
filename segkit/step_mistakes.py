"""Names what a training step does wrong, by what it did to a small network: the right weights are those of ``segkit.training_step``."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segkit.subject import StudentError, Subject
from segkit.training_step import DETACHED, LOSSES, MODE, MODES, NO_STEP, OPTIMIZER, ORDER, UPDATES, VOID, Exercise, Steps, Way

__all__ = ["PARTS", "Mistake", "step_mistakes"]

PARTS = {
    "update": "gradients zeroed, computed and used once", "loss": "mean cross entropy of the known pixels",
    "mode": "learning in train mode", "returned": "the loss as a number",
}  # fmt: skip
"""Parts of a step, and what each establishes."""


class Mistake(NamedTuple):
    """What a step does wrong: its part (see ``PARTS``), a stable code, and words; no words for what another mistake hides."""

    part: str
    code: str
    words: str


def step_mistakes(student: Subject, name: str, exercise: Exercise) -> list[Mistake]:
    """Try a training step, and name what it does wrong.

    Args:
        student: Who is asked.
        name: Of the function.
        exercise: What it is tried on.

    Returns:
        A mistake for each part that is wrong, or that nothing shows to be right; none for a step that does what the exercise's own
        does, and returns the loss as a number or a tensor without a graph. Weights that no known mistakes explain are ``step.values``.

    Raises:
        StudentError: The function fails, and no known mistake explains it.
    """
    try:
        found = student.take_steps(name, **exercise.question)
    except StudentError as error:
        return _mistakes_behind(error, student, name, exercise)
    explained = _explained(found, exercise)
    return _unexplained(found, exercise) if explained is None else explained


def _mistakes_behind(error: StudentError, student: Subject, name: str, exercise: Exercise) -> list[Mistake]:
    """The mistake that torch's own words tell; the other parts are judged where it does not show."""
    text = str(error)
    if "modified by an inplace operation" in text and len(exercise.question["calls"]) > 1:
        rest = step_mistakes(student, name, exercise.once())
        return [Mistake("update", "step.order", ORDER), *(mistake for mistake in rest if mistake.part != "update")]
    if f"Target {exercise.ignore} is out of bounds" in text and exercise.has_unknown:
        rest = step_mistakes(student, name, exercise.known())
        return [Mistake("loss", "step.ignore", VOID), *(mistake for mistake in rest if mistake.part != "loss")]
    if "does not require grad and does not have a grad_fn" in text:
        return _all_lost("step.detached", DETACHED)
    raise error


def _all_lost(code: str, words: str) -> list[Mistake]:
    return [Mistake(part, code, words if part == "update" else "") for part in PARTS]


def _explained(found: Steps, exercise: Exercise) -> list[Mistake] | None:
    """The fewest mistakes under which the step does what was found: an empty list for a right one, None if there are none."""
    by_number = sorted(_ways(found, exercise), key=lambda ways: sum(bool(way.code) for way in ways))
    for half, ways in itertools.product((None, torch.bfloat16, torch.float16), by_number):  # autocast is no mistake
        try:
            taken = exercise.taken(**{key: value for way in ways for key, value in way.how.items()}, half=half)
        except StudentError:  # in this order torch refuses
            continue
        if _agrees(found, taken, exercise, loss_right=not ways[1].code):
            mistakes = [Mistake(part, way.code, way.words) for part, way in zip(PARTS, ways, strict=False) if way.code]
            return mistakes + _mode_and_returned(found, taken, known={mistake.part for mistake in mistakes})
    return None


def _ways(found: Steps, exercise: Exercise) -> Iterator[tuple[Way, ...]]:
    """What may have been done: as many steps of the optimizer, in the mode that was seen, if it was."""
    stepped, mode = found[0]["steps"] > 0, found[0]["mode"]
    updates = [way for way in UPDATES if ("step" in way.how.get("do", ("step",))) == stepped]
    modes = [way for way in MODES if mode is None or way.how.get("train", True) == mode]
    losses, factor = list(LOSSES), _factor(found, exercise)
    if factor is not None:
        words = f"the weights move {factor:.3g} times as far as they should: is the loss multiplied, or are gradients clipped?"
        losses.append(Way("step.scaled", words, {"loss": f"times {factor!r}"}))
    return itertools.product(updates, losses, modes)


def _factor(found: Steps, exercise: Exercise) -> float | None:
    """By what the first call's move differs from the right one, if that is one number for all weights."""
    own, right = (_flat({key: step["values"][key] - value for key, value in exercise.question["weights"].items()})
                  for step in (found[0], exercise.taken()[0]))  # fmt: skip
    factor = float(own @ right / (right @ right))
    return factor if abs(factor) > 1e-3 and np.allclose(own, factor * right, rtol=1e-2, atol=1e-6) else None


def _flat(arrays: "dict[str, NDArray]") -> NDArray:
    return np.concatenate([array.ravel() for array in arrays.values()]).astype(np.float64)


def _agrees(found: Steps, taken: Steps, exercise: Exercise, loss_right: bool) -> bool:
    """Whether two accounts are of the same step.

    Where no weight moved, gradients must agree in their place. Where there are none, only the right loss of a model that was seen to run
    will do: among the many wrong ones some constant is near.
    """
    stepped = [[step["steps"] > 0 for step in steps] for steps in (found, taken)]
    if stepped[0] != stepped[1] or not _same(found, taken, "values"):
        return False
    if any(not np.array_equal(step["values"][key], value) for step in taken for key, value in exercise.question["weights"].items()):
        return True
    if _backwards(found) != _backwards(taken) or not _same(found, taken, "gradients"):
        return False
    seen = loss_right and all(step["mode"] is not None for step in found)
    return _has_gradients(taken) or (seen and not _loss_differs(found, taken))


def _backwards(steps: Steps) -> list[bool]:
    return [step["backwards"] > 0 for step in steps]


def _has_gradients(steps: Steps) -> bool:
    return any(value is not None and value.any() for step in steps for value in step["gradients"].values())


def _same(found: Steps, expected: Steps, what: str) -> bool:
    """Whether all arrays agree; no gradient is as good as one of zeros."""
    return all(
        np.allclose(_number(one[what][key]), _number(other[what][key]), rtol=1e-4, atol=1e-5)
        for one, other in zip(found, expected, strict=True) for key in other[what]
    )  # fmt: skip


def _number(value: NDArray | None) -> "NDArray | float":
    return 0.0 if value is None else value


def _unexplained(found: Steps, exercise: Exercise) -> list[Mistake]:
    """Weights that nothing explains. The other parts stay where the loss of both calls, drawn in secret, is right all the same."""
    right = exercise.taken()
    code, words = "step.values", _difference(found, right)
    moved = any(not np.array_equal(step["values"][key], value) for step in found for key, value in exercise.question["weights"].items())
    if not any(step["steps"] for step in found):
        if moved:
            code, words = "step.optimizer", OPTIMIZER
        elif _has_gradients(found):
            code, words = "step.missing", NO_STEP
    if _loss_differs(found[:1], right[:1]):
        return _all_lost(code, words)
    return [Mistake("update", code, words), *_mode_and_returned(found[:1], right[:1], {"update"})]


def _mode_and_returned(found: Steps, taken: Steps, known: set[str]) -> list[Mistake]:
    mistakes = []
    if "mode" not in known and any(step["mode"] is False for step in found):
        mistakes.append(Mistake("mode", "step.mode", MODE))
    if text := _loss_differs(found, taken):
        mistakes.append(Mistake("returned", "step.loss", text))
    elif any(step["graph"] for step in found):
        words = "the loss came back with its graph, which keeps all activations in memory: return loss.item()."
        mistakes.append(Mistake("returned", "step.graph", words))
    return mistakes


def _difference(found: Steps, right: Steps) -> str:
    """The first call after which the weights are others, and the parameter that differs most."""
    calls = enumerate(zip(found, right, strict=True), start=1)
    differing = ((number, pair) for number, pair in calls if not _same(pair[:1], pair[1:], "values"))
    number, (one, other) = next(differing, (1, (found[0], right[0])))
    far = {key: float(np.abs(one["values"][key] - value).max()) for key, value in other["values"].items()}
    worst = max(far, key=lambda key: (np.isnan(far[key]), far[key]))
    return f"after call {number} the weights are others than they should be: {worst} by up to {far[worst]:.2g}."


def _loss_differs(found: Steps, right: Steps) -> str:
    for one, other in zip(found, right, strict=True):
        value = one["returned"]
        if not isinstance(value, (float, int, np.ndarray)) or np.size(value) != 1:
            return f"expected the loss of the batch in return, but got {type(value).__name__}."
        if not np.isclose(np.ravel(value)[0], other["returned"], rtol=1e-4):
            times = _times(float(np.ravel(value)[0]), other["returned"])
            return f"expected the loss of the batch in return, {other['returned']:.4g}, but got {np.ravel(value)[0]:.4g}{times}."
    return ""


def _times(found: float, right: float) -> str:
    """Words where a whole number lies between two losses, as that of the images in a batch."""
    ratios = {f"times {n}": n for n in range(2, 65)} | {f"divided by {n}": 1 / n for n in range(2, 65)}
    word = next((word for word, ratio in ratios.items() if np.isclose(found, ratio * right, rtol=1e-4)), "")
    return f", {word}: return the mean itself, whatever the number of images or batches" if word else ""
