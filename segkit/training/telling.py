"""What a training run says: one line per epoch, the remaining time, and why it ended before its time."""

from pathlib import Path

from segkit.history import EpochRecord, History
from segkit.training.descent import Diverged

__all__ = ["diverged", "duration", "epoch_line"]


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``2.5 h``."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def epoch_line(record: EpochRecord, epochs: int, best: bool) -> str:
    """``epoch  3/25  train loss 1.766  val loss 1.531  accuracy 0.485  mean IoU 0.161 *  2 s``."""
    train = "untrained" if record.train_loss is None else f"train loss {record.train_loss:.3f}"
    return (
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  {train:<16}  val loss {record.val_loss:.3f}  "
        f"accuracy {record.pixel_accuracy:.3f}  mean IoU {record.mean_iou:.3f}{' *' if best else '  '}  "
        f"{record.seconds:.0f} s"
    )


def diverged(error: Diverged, epoch: int, rate: float, history: History, best_file: Path, resume_file: Path) -> str:
    """Why a run cannot go on after a loss that is no number, and what is safe."""
    best = history.best
    safe = f"{best_file} holds epoch {best.epoch}." if best else "No epoch was finished yet."
    saved = f" {resume_file} is as it was saved last." if resume_file.exists() else ""
    return (
        f"The loss became {error} in epoch {epoch}, batch {error.batch} ({', '.join(error.names)}), at learning "
        f"rate {rate:.1e}. The weights were not changed by this batch. {safe}{saved} "
        "Usual causes: a learning rate that is too high, a loss that is summed instead of averaged, "
        "or NaN in the network's weights or in this image."
    )
