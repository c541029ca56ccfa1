"""An assignment: a folder with a rubric, checks, and (where it needs one) a ``prepare.py``. The machinery knows no more."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from autograder.course.rubric import Rubric, RubricError, read_rubric

__all__ = ["ASSIGNMENTS", "Assignment", "assignment_of", "open_assignment"]

ASSIGNMENTS = Path(__file__).resolve().parents[1] / "assignments"


@dataclass(frozen=True)
class Assignment:
    """A folder that holds all that is particular to one assignment.

    ``prepare.py`` may define ``assignment_file(rubric) -> dict`` (content of the students' ``assignment.json``),
    ``write_weights(path, seeds, rubric) -> index`` (tensors that workers map) and
    ``open_data(source, rubric, own) -> GateData`` (what the gates are measured on; ``own``: the instructor's own pictures). With
    ``open_pictures(source, rubric, own)``, the same without labels, ``predict`` can run where labels must not be.
    For ``grade --retrain`` it defines ``write_training(folder, source, rubric) -> names`` (pictures and labels to train on, as
    the spec of the rubric's data set names them) and ``begin_training(student, handle)`` (how given weights get into a network).
    ``numbers(rubric) -> dict`` gives what texts of notebooks may name beside the rubric's own numbers (``autograder.course.numbers``).

    Attributes:
        folder: The folder.
        overrides: Rubric settings that replace those of the file (``{"padding": 103}``).
    """

    folder: Path
    overrides: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def rubric(self) -> Rubric:
        rubric = read_rubric(self.folder / "rubric.toml")
        return replace(rubric, settings={**rubric.settings, **self.overrides})

    @property
    def checks(self) -> Path:
        """Folder of the pytest checks."""
        return self.folder / "checks"

    @property
    def name(self) -> str:
        return self.rubric.assignment

    @cached_property
    def prepare(self) -> ModuleType | None:
        """The assignment's ``prepare.py``, if it has one."""
        path = self.folder / "prepare.py"
        if not path.is_file():
            return None
        if ASSIGNMENTS in path.parents:  # importable by its name, so that checks and tests share one module
            return importlib.import_module(f"autograder.assignments.{self.folder.name}.prepare")
        spec = importlib.util.spec_from_file_location(f"prepare_{self.folder.name}", path)
        assert spec is not None and spec.loader is not None  # so it is of a file whose name ends in .py
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @property
    def facts(self) -> dict[str, Any]:
        """Content of the students' ``assignment.json``: what the rubric says of every assignment, and what this one adds."""
        own = self.hook("assignment_file")
        return self.rubric.facts | (own(self.rubric) if own else {})

    def hook(self, name: str) -> Callable[..., Any] | None:
        """A function of ``prepare.py``, or None."""
        return getattr(self.prepare, name, None) if self.prepare else None


def open_assignment(name: str | Path, **overrides: object) -> Assignment:
    """Open an assignment of the kit by name, or any folder that is one.

    Raises:
        RubricError: If there is no such assignment, or its rubric cannot be used.
    """
    folder = Path(name) if Path(name).is_dir() and (Path(name) / "rubric.toml").is_file() else ASSIGNMENTS / str(name)
    if not folder.is_dir():
        known = ", ".join(sorted(path.parent.name for path in ASSIGNMENTS.glob("*/rubric.toml")))
        raise RubricError(f"There is no assignment {str(name)!r}. Known: {known}.")
    assignment = Assignment(folder.resolve(), overrides)
    assignment.rubric  # noqa: B018 - read now, so that a faulty rubric is reported before any work
    return assignment


def assignment_of(notebooks: Path) -> Assignment | None:
    """The assignment that a folder of source notebooks belongs to.

    Args:
        notebooks: ``ROOT/notebooks/NAME``.

    Returns:
        ``ROOT/autograder/assignments/NAME`` where it has a rubric, else the kit's assignment of that name; None if there is neither.

    Raises:
        RubricError: Its rubric cannot be used.
    """
    notebooks = notebooks.resolve()
    own = notebooks.parents[1] / "autograder" / "assignments" if len(notebooks.parents) > 1 else ASSIGNMENTS
    folders = [folder / notebooks.name for folder in (own, ASSIGNMENTS)]
    return next((open_assignment(folder) for folder in folders if (folder / "rubric.toml").is_file()), None)
