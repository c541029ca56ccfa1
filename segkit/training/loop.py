"""The training loop: epoch, batch, forward, loss, backward, step, schedule, evaluate, save.

:func:`train` and :func:`learn` are the whole algorithm. What a network learns is a :class:`Task`: ``segmentation.py`` and
``pretraining.py`` hold the two that there are. The other modules keep a long run alive: ``run.py`` knows where it stands and
saves it, ``steps.py`` divides batches that do not fit into memory, ``descent.py`` keeps NaN from the weights, and ``rescue.py``
saves what there is when something fails.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from segkit.training.descent import Descent
from segkit.training.sources import Pairs

if TYPE_CHECKING:
    from segkit.training.run import Run

__all__ = ["Task", "learn", "train"]


def train(run: "Run") -> None:
    """Train a network from where its run stands until no epoch is left."""
    while not run.finished:
        run.model.train()
        with run.batches() as batches:  # those of the epoch that are still to be done
            for batch in batches:
                run.stepper.step(batch, run.at.batch)  # ``learn`` from it, at once or in pieces
                run.count_batch()
        scores = run.evaluate()
        run.descent.end_epoch(run.at.loss)
        run.task.record(run, scores)
        run.end_epoch()  # saved where the last saving is old enough
        run.task.after_epoch(run)


def learn(model: nn.Module, descent: Descent, pieces: Iterable[Sequence[Any]], loss_of: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Learn from one batch.

    Args:
        model: the network.
        descent: its optimizer and schedule.
        pieces: images, and what ``loss_of`` takes besides the logits; one, unless the batch does not fit into memory at once.
        loss_of: of a piece, its share of the loss of the batch.

    Returns:
        Loss of the batch before the step, and the norm of its gradient, see :meth:`Descent.step`.
    """
    descent.begin()
    for images, *wanted in pieces:
        with descent.precision.autocast():
            logits = model(images)  # (B, n_class, H, W); of patches (B, n_class, cells)
        loss = loss_of(logits.float(), *wanted)
        del images, wanted, logits  # the graph holds what it needs
        descent.backward(loss)
    return descent.step()


class Task:
    """What a network learns.

    Attributes:
        pairs: the images that it learns from.
        n_class: number of classes; labels must be below it, or 255.
        loss: of logits and labels, see :func:`segkit.training.steps.segmentation_loss`.
        mass: what the sum of the losses of a batch is divided by, see :func:`segkit.training.steps.label_mass`.
        scoring: seconds that :meth:`evaluate` takes, as far as they are known.
        lighter: which of its own settings need less memory, in a sentence.
    """

    pairs: Pairs
    n_class: int
    loss: Callable[..., Tensor]
    mass: Callable[..., Tensor]
    scoring: float = 0.0
    lighter: str = ""

    def description(self, run: "Run") -> dict[str, Any]:
        """Settings, network and data as plain values; they must agree when a run is resumed."""
        raise NotImplementedError

    def start(self, run: "Run", overwrite: bool) -> None:
        """Begin a new run, if the folder is empty or its run may be overwritten."""
        raise NotImplementedError

    def evaluate(self, run: "Run") -> Any:
        """Scores of the network as it is."""
        raise NotImplementedError

    def record(self, run: "Run", scores: Any) -> None:
        """Note and say the scores of an epoch."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What was noted, for ``resume.pt``."""
        raise NotImplementedError

    def restore(self, run: "Run", state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave."""
        raise NotImplementedError

    # the rest has a meaning for some tasks only

    def stops_after(self, epoch: int) -> bool:
        """Whether no further epoch is of use."""
        return False

    def keep_best(self) -> None:
        """Write the weights that belong with ``resume.pt``."""

    def after_epoch(self, run: "Run") -> None:
        """Called when an epoch is recorded, and saved if that was due."""

    def safe(self, saved: str) -> str:
        """What is left after a loss that is no number; ``saved`` tells of ``resume.pt``."""
        return saved
