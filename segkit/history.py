"""What happened during training, epoch by epoch: in memory, and as ``history.json``."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from segkit.atomic import replacing

__all__ = ["SCHEMA", "EpochRecord", "History"]

SCHEMA = "segkit-history/1"


@dataclass
class EpochRecord:
    """Scores after one epoch; epoch 0 is the untrained model.

    Attributes:
        epoch: number of passes over the training images so far.
        train_loss: mean loss over the training batches of this epoch, None for epoch 0.
        val_loss: mean over the validation images of their mean loss per pixel.
        pixel_accuracy: share of right pixels, 0..1.
        mean_iou: mean IoU over the classes that occur, 0..1.
        iou: IoU by class, NaN where a class occurs neither in labels nor in predictions.
        learning_rate: the rate at the end of this epoch.
        seconds: wall time of the epoch, validation included.
    """

    epoch: int
    train_loss: float | None
    val_loss: float
    pixel_accuracy: float
    mean_iou: float
    iou: list[float]
    learning_rate: float
    seconds: float


@dataclass
class History:
    """The record of one training run.

    Attributes:
        config: the settings it ran with, as plain values.
        epochs: one record per epoch, beginning with the untrained model.
    """

    config: dict[str, Any] = field(default_factory=dict)
    epochs: list[EpochRecord] = field(default_factory=list)

    @property
    def best(self) -> EpochRecord | None:
        """The trained epoch of highest validation mean IoU (the first of equals), None before the first."""
        trained = [record for record in self.epochs if record.epoch > 0]
        return max(trained, key=lambda r: -1.0 if math.isnan(r.mean_iou) else r.mean_iou, default=None)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch; 0 before the first."""
        return self.best.epoch if self.best else 0

    def to_json(self) -> dict[str, Any]:
        """The content of ``history.json``; NaN, which JSON lacks, becomes null."""
        epochs = [{key: _finite(value) for key, value in asdict(record).items()} for record in self.epochs]
        return {"schema": SCHEMA, "config": self.config, "epochs": epochs, "best_epoch": self.best_epoch}

    def save(self, path: str | Path) -> None:
        """Write ``history.json`` in one step."""
        with replacing(path) as partial:
            partial.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "History":
        """Build a history from the content of ``history.json``.

        Raises:
            ValueError: another schema, or a record that lacks a key.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"Expected a training history of schema {SCHEMA!r}, but got {found!r}.")
        return cls(dict(content["config"]), [_record(entry) for entry in content["epochs"]])

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read ``history.json``.

        Raises:
            ValueError: no such file, no JSON, or no training history; the text names the file.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no training history can be read from it ({error}).") from error


def _record(entry: dict[str, Any]) -> EpochRecord:
    values = {item.name: entry[item.name] for item in fields(EpochRecord)}
    for key in ("val_loss", "pixel_accuracy", "mean_iou"):
        values[key] = math.nan if values[key] is None else values[key]
    values["iou"] = [math.nan if value is None else value for value in values["iou"]]
    return EpochRecord(**values)


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
