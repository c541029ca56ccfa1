"""A worker that answers every question with structured nonsense: it earns no point, and the judge never calls the fault its own.

The judge is the real one with the checks of ``fcn``. Answers have the forms that honest ones have (a list of layers, an array of
the right shape), but say nothing: constants, almost constants, numbers too large, ragged lists, other types. What is right by
accident would prove nothing, so no layer has all its settings right, and no array tells two places of a picture apart.
"""

import atexit
import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from autograder.course.assignment import open_assignment
from autograder.judge.checking import CheckResult, run_checks
from autograder.judge.run import Run, Settings
from autograder.judge.student import Student
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.wire import WireError, read_message, write_message
from segkit.layers import expected_layers
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document
from segkit.subject import StudentError

__all__ = ["Liar", "check_answers", "graded", "thing"]

DEFINITIONS = {
    "read_label": "def read_label(path):\n    return path",
    "confusion_matrix": "def confusion_matrix(pred, gt, n_class):\n    return pred",
    "scores": "def scores(hist):\n    return hist",
    "FCN32s": "class FCN32s:\n    pass",
    "copy_params_from_vgg16": "def copy_params_from_vgg16(fcn, vgg16):\n    return fcn",
    "FCN8s": "class FCN8s:\n    pass",
}
Lie = Callable[[str, dict[str, Any]], Any]


class Liar(RemoteSubject):
    """A worker at the other end of a pipe, whose answers are made up; they cross the pipe's format both ways.

    Args:
        lie: Gives the answer to (question, its arguments); a ``StudentError`` is told as such.
        settings: Of the workers that are not there.
    """

    def __init__(self, lie: Lie, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.lie = lie

    def _start(self) -> None:
        self._process = SimpleNamespace()

    def close(self) -> None:
        if self._process is not None:
            self._process = None
            self.generation += 1

    def _exchange(self, do: str, arguments: dict[str, Any], seconds: float) -> dict[str, Any]:
        stream = io.BytesIO()
        try:
            write_message(stream, {"ok": True, "value": self.lie(do, arguments)})
        except (WireError, OverflowError, ValueError) as error:
            raise StudentError(f"the worker's reply cannot be read: {error}", "code.garbage") from None
        except StudentError as error:
            return {"ok": False, "message": str(error), "cause": error.cause}
        stream.seek(0)
        try:
            return read_message(stream)
        except WireError as error:
            raise StudentError(f"the worker's reply cannot be read: {error}", "code.garbage") from None


# ------------------------------------------------------------------------------------------------------------ nonsense
def thing(rng: random.Random) -> Any:
    """Something that is no answer to anything."""
    return rng.choice([
        None, True, False, 0, -1, 7, 2**31, 2**63, -(2**70), 10**400, 0.5, float("nan"), float("inf"), 1e308, "", "3", "same", "x" * 5000,
        "\ud800", [], [1], [3, 3], [3, [3]], [[1, 2], [3]], [0] * 2000, {}, {"type": "Tensor"}, {"type": [1]}, {3: 4}, b"", b"\0" * 9,
        np.zeros(0), np.zeros((0, 3), np.float32), np.array(3), np.array([3, 3]), np.array(float("nan")), np.zeros((1,) * 8),
    ])  # fmt: skip


def _flat(rng: random.Random, shape: tuple[int, ...], dtypes: tuple[str, ...] = ("float32", "float64", "int64", "uint8", "bool")) -> Any:
    """An array with (almost) one number in all places; a few of them may be spoilt."""
    dtype = rng.choice(dtypes)
    value = rng.choice([0, 0, 1, 3, 11, 255, -1, 0.1, 1e-30, 1e30, float("nan"), float("inf"), 2.0**62])
    with np.errstate(all="ignore"):
        array = np.full(shape, value).astype(dtype)
        if dtype.startswith("float") and rng.random() > 0.7:
            array = (array * (1 + 1e-9 * np.random.default_rng(rng.randrange(99)).standard_normal(shape))).astype(dtype)
    if array.size > 500 and rng.random() > 0.7:
        array.reshape(-1)[rng.randrange(array.size)] = 1
    return array


def _misshapen(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The right shape as a rule; else one of those that broadcasting would forgive."""
    other = [shape, shape, shape, shape[::-1], shape[1:], (1, *shape), tuple(1 for _ in shape), (), (0,) * len(shape), (*shape[:-1], 1)]
    return rng.choice(other)


def _layers(rng: random.Random, network: str) -> list[Any]:
    """The layers of a network, each with something wrong about it."""
    found = []
    for layer in expected_layers(network, rng.choice([5, 5, 12])):
        settings: dict[str, Any] = dict(layer.settings)
        for name in rng.sample(sorted(settings), rng.choice([1, 1, 2, len(settings)])):
            wrong = rng.choice([thing(rng), thing(rng), 9, 64, 10**9, [3, 4], [2, 2, 2], -2, 0])
            equal = isinstance(wrong, (bool, int, float)) and wrong == settings[name]  # True is 1
            settings[name] = "wrong" if equal else wrong
        found.append({"path": layer.path, "kind": layer.kind, "settings": settings, "same_as": None})
    if rng.random() > 0.8:
        found[rng.randrange(len(found))] = thing(rng)
    if rng.random() > 0.8:
        rng.choice([layer for layer in found if isinstance(layer, dict)])[rng.choice(["path", "kind", "settings", "same_as"])] = thing(rng)
    return found


def _answer(rng: random.Random, state: dict[str, Any], do: str, arguments: dict[str, Any]) -> Any:
    """What an honest worker would answer in form, without its content."""
    name = arguments.get("name", "")
    if do == "build":
        state["network"] = "fcn8s" if "8" in str(name) else "fcn32s"
        return f"handle {rng.random()}"
    if do == "carrier":
        return "carrier"
    if do == "describe":
        kept = state.setdefault(("layers", state.get("network")), _layers(rng, state.get("network", "fcn8s")))
        return kept if rng.random() > 0.1 else _layers(rng, rng.choice(["fcn32s", "fcn8s"]))
    if do == "trace":
        return [[layer.path, layer.kind] for layer in expected_layers(state.get("network", "fcn8s"))][: rng.choice([99, 5])]
    if do == "shapes":
        honest = {f"{layer.path}.{kind}": [2, 3, 1, 1][: 4 if kind == "weight" else 1] for layer in expected_layers("fcn8s")
                  for kind in ("weight", "bias")}  # fmt: skip
        return honest if rng.random() > 0.4 else {key: thing(rng) for key in honest}
    if do == "sample":
        sizes = {key: index.shape if isinstance(index, np.ndarray) else (24,) for key, index in arguments.get("indices", {}).items()}
        return {key: _flat(rng, size, ("float32",)) if rng.random() > 0.05 else thing(rng) for key, size in sizes.items()}
    if do == "forward":
        count, _, height, width = arguments["x"].shape
        return _flat(rng, _misshapen(rng, (count, rng.choice([5, 5, 5, 12]), height, width)))
    if do == "call" and name == "read_label":
        from PIL import Image

        size = Image.open(io.BytesIO(bytes(arguments["args"][0]))).size[::-1]
        return _flat(rng, _misshapen(rng, size), ("int64", "int64", "uint8", "float32"))
    if do == "call" and name == "confusion_matrix":
        n = int(arguments["args"][2])
        return _flat(rng, _misshapen(rng, (n, n)), ("int64", "float64"))
    if do == "call" and name == "scores":
        n = len(arguments["args"][0])
        value = rng.choice([0.0, 0.5, 1.0, float("nan")])
        iou = np.full(n, value)
        if rng.random() > 0.7:
            iou[np.asarray(arguments["args"][0]).sum(0) == 0] = float("nan")  # whoever knows which class is absent knows no IoU
        return rng.choice([
            [value, iou, value], [value, iou.tolist(), value], [iou, iou, iou], [value, [iou, [3]], value], [iou[:1], iou, iou[:1]],
        ])  # fmt: skip
    return None


@cache
def _run() -> Run:
    """One run for all cases: its weights take half a gigabyte."""
    checks = tuple(name for name in open_assignment("fcn").rubric.checks if not name.endswith("miou"))
    run = Run.create(Settings("fcn", Path("/nowhere"), data="sample", secret="lies", only=checks))
    atexit.register(run.close)
    return run


def graded(lie: Lie, only: tuple[str, ...] = ()) -> list[CheckResult]:
    """The verdicts of the checks of ``fcn`` (without gates) on a worker's lies."""
    run = _run()
    cells = [Cell("lies.ipynb", number, source, None) for number, source in enumerate(DEFINITIONS.values(), start=1)]
    subject = Liar(lie, WorkerSettings("none", run.folder, weight_index=run.weight_index))
    student = Student(Workbook([Document("lies.ipynb", cells)], run.rubric.defines), subject, ())
    context = SimpleNamespace(
        run=run, rubric=run.rubric, seeds=run.seeds, cache=run.cache, empty_ini=run.empty_ini, weights_file=run.folder / "weights.bin",
    )  # fmt: skip
    wanted = {name: check for name, check in run.wanted_checks.items() if not check.manual and (not only or name in only)}
    return run_checks(student, context, run.assignment.checks, wanted)


def check_answers(rng: random.Random, folder: Path) -> None:
    """Nonsense earns nothing, whatever its form, and no check is left open because of it."""
    state: dict[str, Any] = {}
    wild = rng.choice([0.0, 0.02, 0.2])

    def lie(do: str, arguments: dict[str, Any]) -> Any:
        if do in ("define", "load", "change", "forget"):
            return None
        if rng.random() > 1 - wild:
            return thing(rng)
        if rng.random() > 0.99:
            cause = rng.choice(["code.raises", "code.died", "forward.type"])
            raise StudentError(rng.choice(["x" * 10**6, "\ud800", "0.123456789 " * 1000]), cause)
        return _answer(rng, state, do, arguments)

    for verdict in graded(lie):
        assert verdict.status == "not_earned" and verdict.points == 0, f"{verdict.id}: {verdict.points} points, {verdict.message[:600]}"
        assert verdict.cause and len(verdict.message) < 20_000, f"{verdict.id}: {verdict.cause}, {len(verdict.message)} characters"


check_answers.prepare = _run
