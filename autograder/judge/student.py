"""The fixture ``student``: a student's definitions, found in the submission, run in the worker when a check asks for them."""

import hashlib
import inspect
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

from autograder.sandbox.verbs import VERBS, Asks, Worker
from segkit.notebooks import Definition, Program, Workbook
from segkit.subject import StudentError

__all__ = ["Student"]


class Student(Asks):
    """A student's work as checks see it: it asks what ``autograder.sandbox.verbs`` has, and finds its own definitions.

    Args:
        workbook: The submission's notebooks and scripts.
        subject: Where the code runs.
        checkpoints: Names of the checkpoints that the submission has.
        open_gate: Opens a subject whose worker may read the checkpoints and use the GPU, as a context.
    """

    def __init__(
        self, workbook: Workbook, subject: Worker, checkpoints: Sequence[str] = (),
        open_gate: Callable[[], AbstractContextManager[Worker]] | None = None,
    ) -> None:  # fmt: skip
        self.workbook, self.subject = workbook, subject
        self.checkpoints, self._open_gate = tuple(checkpoints), open_gate
        self.notes: list[str] = []
        self._generation: dict[str, int] = {}
        self._kept: dict[tuple[Hashable, ...], tuple[int, Any]] = {}

    # ------------------------------------------------------------------------------------------------ definitions
    def definition(self, name: str) -> Definition:
        """Find a definition.

        Raises:
            StudentError: If it is missing, or a function that is still a stub; the text names the cell.
        """
        found = self.workbook.find(name)
        grade_id = next((g for g, defined in self.workbook.cells.items() if defined == name), None)
        if found is None:
            raise StudentError(self._missing(name, grade_id), self._missing_cause(grade_id))
        return found

    def _missing_cause(self, grade_id: str | None) -> str:
        return "code.syntax" if grade_id and self.workbook.syntax_error_in(grade_id) else "code.missing"

    def _missing(self, name: str, grade_id: str | None) -> str:
        syntax = self.workbook.syntax_error_in(grade_id) if grade_id else None
        if syntax:
            return f"{name} cannot be read: syntax error in {syntax}"
        cell = self.workbook.cell_of(grade_id) if grade_id else None
        if cell is not None:
            return f"{name}: expected its definition in {cell.label}, but that cell defines no {name}, and no other cell does."
        others = self.workbook.syntax_errors()
        hint = f" Cells that are no Python: {'; '.join(others[:3])}." if others else ""
        hint += f" Files that could not be read: {' '.join(self.workbook.errors[:3])}" if self.workbook.errors else ""
        return f"{name} was not found: the cell with grade id {grade_id or name!r} is missing, and no other cell defines it.{hint}"

    def program(self, name: str) -> Program:
        """Code of a definition and all it needs."""
        program = self.workbook.program(self.definition(name))
        self.notes += [note for note in program.notes if note not in self.notes]
        return program

    @cached_property
    def code(self) -> str:
        """SHA-256 of all that a worker can get of this work: every definition to the letter, comments, labels and scripts too.

        What differs between two submissions by no letter tells nothing; what does differ gets other hidden inputs.
        """
        found = [self.workbook.find(name) for name in sorted(set(self.workbook.cells.values()))]
        programs = [self.workbook.program(definition).to_json() for definition in found if definition is not None]
        return hashlib.sha256(json.dumps(programs, sort_keys=True).encode()).hexdigest()

    def owner(self, name: str) -> str | None:
        """Class of which ``name`` is a method, or None for a function."""
        return self.definition(name).owner

    def _need(self, name: str) -> None:
        if ":" in name or name in self._generation:
            return
        definition = self.definition(name)
        if definition.unfinished and definition.statement.__class__.__name__ != "ClassDef":
            raise StudentError(f"{name} in {definition.where} is not finished: it is still the stub.", "code.unfinished")
        self.subject.define(self.program(name))
        self._generation[name] = 1

    @property
    def generation(self) -> int:
        """Counts the workers: objects of an earlier one are gone."""
        return getattr(self.subject, "generation", 0)

    @property
    def device(self) -> str:
        """Where networks predict: ``"cpu"`` or ``"cuda"``; known once the worker was asked something."""
        return self.subject.device

    def once(self, key: tuple[Hashable, ...], make: Callable[[], Any]) -> Any:
        """Return ``make()``, computed once per worker: a network that several checks use is built once."""
        generation, kept = self._kept.get(key, (None, None))
        if generation == self.generation:
            return kept
        value = make()
        self._kept[key] = (self.generation, value)
        return value

    def drop(self, key: tuple[Hashable, ...]) -> Any:
        """Forget what ``once`` kept; returns it if the worker still has it."""
        generation, value = self._kept.pop(key, (None, None))
        return value if generation == self.generation else None

    @contextmanager
    def at_the_gate(self) -> Iterator["Student"]:
        """The same work in a worker of its own, which alone may read the checkpoints and use the GPU. It ends with the context."""
        if self._open_gate is None:
            yield self
            return
        self.subject.close()  # its networks would stand beside those of the gate; the next question gets a fresh worker
        with self._open_gate() as subject:
            other = Student(self.workbook, subject, self.checkpoints)
            other.notes = self.notes
            yield other

    # ------------------------------------------------------------------------------------------------ the subject
    def put(self, do: str, given: inspect.BoundArguments) -> Any:
        """Run the definition that a question needs, and pass the question on."""
        needed = given.arguments.get(VERBS[do].needs)
        if needed and not needed.startswith("@"):  # no handle
            self._need(needed)
        return getattr(self.subject, do)(*given.args, **given.kwargs)
