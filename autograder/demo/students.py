"""The demo's students: what each of them did, and which checks must fail. The expectations are written down, not computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AUTOMATIC", "STUDENTS", "Edit", "Student"]

AUTOMATIC = frozenset(
    {
        "read_label", "confusion_matrix", "scores", "fcn32s.layers", "fcn32s.shapes", "fcn32s.crop", "fcn32s.forward",
        "train_step", "pretraining.copy", "pretraining.miou", "fcn8s.layers", "fcn8s.shapes", "fcn8s.crop", "fcn8s.forward", "fcn8s.miou",
    }
)  # fmt: skip
"""All checks that a machine grades, 70 points."""

ALL_CELLS = frozenset({"read_label", "confusion_matrix", "scores", "offset", "fcn32s", "train_step", "copy_vgg16", "fcn8s"})
BOTH = {"fcn32s": "fcn32s", "fcn8s": "fcn8s"}


@dataclass(frozen=True)
class Edit:
    """One change in a solution cell.

    Attributes:
        cell: Grade id of the cell.
        old: Text of the solution; it must be there ``times`` times.
        new: What stands there instead.
        times: How often.
    """

    cell: str
    old: str
    new: str
    times: int = 1


@dataclass(frozen=True)
class Student:
    """One submission of the demo.

    Attributes:
        name: Its name in the results.
        story: What this student did.
        lost: The checks that are not fully earned, exactly these.
        points: The points that must come out.
        done: Solution cells that were filled in; the others are still stubs.
        edits: The mistakes.
        deleted: Grade ids of cells that the student deleted.
        checkpoints: Network -> fitted checkpoint that is handed in.
        renamed: Layers of another name than the course's, new by old; their checkpoint has the new names too.
        zipped: Whether ``segkit submit`` made a zip of it.
    """

    name: str
    story: str
    lost: frozenset[str] = frozenset()
    points: float = 70
    done: frozenset[str] = ALL_CELLS
    edits: tuple[Edit, ...] = ()
    deleted: tuple[str, ...] = ()
    checkpoints: Mapping[str, str] = field(default_factory=lambda: BOTH)
    renamed: Mapping[str, str] = field(default_factory=dict)
    zipped: bool = False


STUDENTS = (
    Student("perfect", "everything right"),
    Student("untouched", "handed in as it was given out", AUTOMATIC, 0, done=frozenset(), checkpoints={}),
    Student(
        "crop_one_row_off", "FCN-32s cut out one row too low", frozenset({"fcn32s.crop"}), 68,
        edits=(Edit("fcn32s", "h[:, :, 19 : 19 + height,", "h[:, :, 20 : 20 + height,"),),
    ),
    Student(
        "recall_for_iou", "divides by the row sums only", frozenset({"scores"}), 68.5,
        edits=(Edit("scores", "table.sum(axis=1) + table.sum(axis=0) - intersection", "table.sum(axis=1)"),),
    ),
    Student(
        "misnamed_layer", "the score layer of FCN-32s is called classifier", frozenset({"fcn32s.layers"}), 69.5,
        edits=(Edit("fcn32s", "self.score", "self.classifier", times=3),),
        renamed={"score": "classifier"},
    ),
    Student(
        "ceil_mode_forgotten", "pool4 of FCN-8s rounds down", frozenset({"fcn8s.layers"}), 69.5,
        edits=(
            Edit("fcn8s", "self.pool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)", "self.pool4 = nn.MaxPool2d(2, stride=2)"),
        ),
    ),
    Student(
        "weights_aliased", "the copy shares memory with VGG-16", frozenset({"pretraining.copy"}), 69,
        edits=(
            Edit("copy_vgg16", "target.weight.copy_(source.weight.reshape(target.weight.shape))",
                 "target.weight.data = source.weight.data.reshape(target.weight.shape)"),
            Edit("copy_vgg16", "target.bias.copy_(source.bias)", "target.bias.data = source.bias.data"),
        ),
    ),
    Student(
        "exit_in_forward", "FCN-8s ends the process in forward",
        frozenset({"fcn8s.shapes", "fcn8s.crop", "fcn8s.forward"}), 55,  # the checkpoint's weights are good: they keep their points
        edits=(Edit("fcn8s", "        h = self.relu1_1(self.conv1_1(x))\n",
                    "        import os\n        os._exit(0)\n        h = self.relu1_1(self.conv1_1(x))\n"),),
    ),
    Student("test_cell_deleted", "deleted a cell that carries points", deleted=("fcn32s-crop",)),
    Student(
        "no_checkpoint", "trained nothing; made the zip with segkit submit",
        frozenset({"pretraining.miou", "fcn8s.miou"}), 58, checkpoints={}, zipped=True,
    ),
    Student(
        "checkpoint_under_gate", "stopped FCN-32s after its first epoch", frozenset({"pretraining.miou"}), 64,
        checkpoints={"fcn32s": "fcn32s_low", "fcn8s": "fcn8s"},
    ),
    Student(
        "checkpoint_above_gate", "FCN-32s is trained, FCN-8s not begun",
        frozenset({"fcn8s.layers", "fcn8s.shapes", "fcn8s.crop", "fcn8s.forward", "fcn8s.miou"}), 44,
        done=ALL_CELLS - {"fcn8s"}, checkpoints={"fcn32s": "fcn32s"},
    ),
)  # fmt: skip
"""The class, in the order of its table."""
