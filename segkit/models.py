"""Whose class a network's name means.

A data set lists the networks of its assignment. In the full kit their short names mean ``segkit.reference``. In the student
edition, which has no reference, they mean the student's own classes, read out of their notebooks; so do label decoding and metrics.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from segkit.datasets import DatasetSpec, dataset

__all__ = [
    "Functions",
    "ModelError",
    "copy_vgg16",
    "has_reference",
    "model_class",
    "networks",
    "solution_functions",
]


class ModelError(ValueError):
    """A network or function cannot be had; the text says what to finish or to correct."""


class Functions(NamedTuple):
    """What notebooks define; ``read_label`` is what the data set calls so."""

    read_label: Callable
    confusion_matrix: Callable
    scores: Callable


def has_reference() -> bool:
    """Whether this is the full kit."""
    spec = importlib.util.find_spec("segkit.reference")
    return spec is not None and spec.origin is not None  # an empty folder of that name has no origin


def networks(spec: DatasetSpec | None = None) -> dict[str, str]:
    """Short name -> name of the class, from coarse to fine."""
    return {name.lower(): name for name in (spec or dataset()).networks}


def model_class(name: str, folder: str | Path = ".", spec: DatasetSpec | None = None) -> type[nn.Module]:
    """The class of a network.

    Args:
        name: ``fcn32s``, ``fcn16s``, ``fcn8s``, as the data set has them; or ``2_fcn32s.ipynb:FCN32s`` for a class in a certain
            notebook (or ``.py`` file), in the full kit too.
        folder: where the student's notebooks are.
        spec: the data set; None: that of the assignment.

    Raises:
        ModelError: unknown name; a class that is missing, unfinished, or no ``nn.Module``.
    """
    if ":" in name:
        file, _, class_name = name.rpartition(":")
        found = _from_file(Path(folder) / file, class_name)
    elif name in (known := networks(spec)):
        found = _solution(known[name], folder, spec)
    else:
        raise ModelError(f"Unknown model {name!r}. Expected {', '.join(known)}, or a class in a notebook: 2_fcn32s.ipynb:FCN32s")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(f"{name}: expected a class derived from nn.Module, found {found!r}.")
    return found


def solution_functions(folder: str | Path = ".", spec: DatasetSpec | None = None) -> Functions:
    """``read_label``, ``confusion_matrix`` and ``scores``: the reference's, or the student's own.

    Where networks have an output more than there are classes, for pixels that do not count, the reference's scores are over the
    classes alone: that answer is wrong wherever the truth is known, and is no class of the mean.

    Args:
        folder: where the student's notebooks are.
        spec: the data set; None: that of the assignment.

    Raises:
        ModelError: one of them is missing or unfinished; the text names the cell.
    """
    spec = spec or dataset()
    found = Functions(*(_solution(name, folder, spec) for name in (spec.reader, *Functions._fields[1:])))
    return found._replace(scores=_of_classes(found.scores, spec.n_class)) if spec.outputs and has_reference() else found


def _of_classes(scores: Callable, n_class: int) -> Callable:
    """``scores`` with a mean over the first classes only."""

    def of_classes(hist: Any) -> tuple[float, np.ndarray, float]:
        accuracy, iou, _ = scores(hist)
        iou[n_class:] = np.nan
        there = iou[~np.isnan(iou)]
        return accuracy, iou, float(there.mean()) if there.size else float("nan")

    return of_classes


def copy_vgg16(model: nn.Module, vgg16: nn.Module, folder: str | Path = ".") -> None:
    """Copy VGG-16 into a network with ``copy_params_from_vgg16``: a method of the network, or the function.

    Raises:
        ModelError: the function is missing or unfinished.
    """
    name = "copy_params_from_vgg16"
    if callable(method := getattr(model, name, None)):
        method(vgg16)
    else:
        _solution(name, folder)(model, vgg16)


def _solution(name: str, folder: str | Path, spec: DatasetSpec | None = None) -> Any:
    if has_reference():
        own, shared = (importlib.import_module(module) for module in ((spec or dataset()).reference, "segkit.reference"))
        return getattr(own, name, None) or getattr(shared, name)  # an assignment may take over what another one makes
    from segkit.assignment import AssignmentError
    from segkit.notebooks import UnfinishedError, take

    try:
        return take(name, folder)
    except (UnfinishedError, AssignmentError) as error:
        raise ModelError(str(error)) from error


def _from_file(path: Path, name: str) -> Any:
    """A definition of one file, with what it needs from the other notebooks beside it."""
    from segkit.assignment import AssignmentError
    from segkit.notebooks import DocumentError, Unrunnable, Workbook, at_home, execute, open_folder, read_document

    try:
        document = read_document(path)
        book = open_folder(path.parent)
        others = [d for d in book.documents if d.name != path.name and not Workbook([d], book.cells).find(name)]
        workbook = Workbook([document, *others], book.cells, originals=(path.name,))
        definition = workbook.find(name)
        if definition is None:
            raise ModelError(f"{path} defines no {name}. Expected a class or function of that name in a cell.")
        if definition.unfinished:
            raise ModelError(f"{name} is not finished yet: complete the cell in {definition.where} and save it.")
        program = workbook.program(definition)
        with at_home(path.parent, program):
            return execute(program)[name]
    except (DocumentError, AssignmentError, Unrunnable) as error:
        raise ModelError(f"{name} from {path}: {error}") from error
