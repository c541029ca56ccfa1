"""What checks find under ``grading.context``: the run, the submission's checkpoints, and what gates leave for the report."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from autograder.course.rubric import Rubric
    from autograder.course.seeds import Seeds
    from autograder.handins.submission import Submission
    from autograder.judge.array_cache import ArrayCache
    from autograder.judge.run import GateData, Run

__all__ = ["Context", "Handover"]


class Handover:
    """What stands in the place of the worker: it takes down replies, or gives again those that were taken down.

    Attributes:
        needs_checkpoints: Whether gates need the files of the checkpoints.
    """

    needs_checkpoints = True

    def open(self, settings: Any) -> AbstractContextManager[Any]:
        """What the checks ask."""
        raise NotImplementedError

    def watch(self, progress: Callable[[str], None] | None) -> Callable[[str], None] | None:
        """What to call with the id of each check."""
        return progress

    def gate(
        self, student: Any, grading: Any, code: tuple[str, str], checkpoint: str, sha256: str,
        measure: Callable[[], dict[str, NDArray[Any]]], exact: bool = False,
    ) -> dict[str, NDArray[Any]]:  # fmt: skip
        """Predictions of a gate; ``measure`` asks a worker of its own for them."""
        return measure()

    def sign(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result, as it is given on."""
        return result


def _silent(*_: Any) -> None:
    """Tell nobody."""


@dataclass
class Context:
    """What checks find under ``grading.context``.

    Attributes:
        run: The run.
        submission: The submission that is graded.
        progress: Told what is done, for people.
        gate_progress: Told (check id, pictures done, of, seconds so far).
        handover: What stands in the place of the worker, or None.
        device_name: Where gates are measured: ``"cpu"`` or ``"cuda"``.
        predictions: Check id -> {picture name: label map (H, W)}, for the report's pictures.
        colours: RGB of the classes, and last of pixels that do not count.
        legend: ``name`` and ``color`` of each class.
    """

    run: "Run"
    submission: "Submission"
    progress: Callable[[str], None] = _silent
    gate_progress: Callable[..., None] = _silent
    handover: Handover | None = None
    device_name: str = "cpu"
    predictions: dict[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    colours: Sequence[Sequence[int]] = ()
    legend: Sequence[Mapping[str, Any]] = ()

    @property
    def rubric(self) -> "Rubric":
        return self.run.rubric

    @property
    def seeds(self) -> "Seeds":
        return self.run.seeds

    @property
    def cache(self) -> "ArrayCache":
        """Arrays that are the same for the whole class."""
        return self.run.cache

    @property
    def data(self) -> "GateData | None":
        """What gates are measured on."""
        return self.run.data

    @property
    def data_problem(self) -> str:
        """Why there is no such data."""
        return self.run.data_problem

    @property
    def empty_ini(self) -> Path:
        """An ini file of pytest without settings."""
        return self.run.empty_ini

    @property
    def weights_file(self) -> Path:
        """The hidden weights; their index is the run's ``weight_index``."""
        return self.run.folder / "weights.bin"

    @property
    def submission_checkpoints(self) -> Mapping[str, Any]:
        """Name -> checkpoint of the submission."""
        return self.submission.checkpoints
