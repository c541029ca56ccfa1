"""What a training run says: one line per epoch, the remaining time, and why it does not begin."""

from pathlib import Path

from segkit.history import EpochRecord

__all__ = ["duration", "epoch_line", "taken"]


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


def taken(best_file: Path, resume_file: Path) -> str:
    """Why a run does not start in a folder that holds one, and what can be done with that."""
    if resume_file.exists():
        held = "a training run (" + ", ".join(file.name for file in (best_file, resume_file) if file.exists()) + ")"
        way = "Go on with it (resume=True, --resume)"
    else:
        held = f"{best_file.name} of a run that cannot go on, for there is no {resume_file.name} beside it"
        way = f"Begin with these weights in another folder (segkit.training.staging.start_from, --start-from {best_file})"
    others = "replace it (overwrite=True, --overwrite), or give another folder"
    return f"{best_file.parent} already holds {held}; nothing was changed. {way}, {others}."
