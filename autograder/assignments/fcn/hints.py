"""Hints of this assignment: what usually lies behind an error that Python and torch word in their own terms."""

from contextlib import AbstractContextManager

from autograder.judge.student import Student
from autograder.segmentation import hints as hints_of_errors
from autograder.segmentation.hints import Hints
from segkit.subject import StudentError

__all__ = ["COPY_HINTS", "NETWORK_HINTS", "STEP_HINTS", "explained", "likely", "reraise_if_lost"]

SIGNATURES = {
    "read_label": "def read_label(path)",
    "confusion_matrix": "def confusion_matrix(pred, gt, n_class)",
    "scores": "def scores(hist)",
    "train_step": "def train_step(model, images, labels, optimizer)",
    "copy_params_from_vgg16": "def copy_params_from_vgg16(model, vgg16)",
}
NETWORK_HINTS: Hints = (
    *hints_of_errors.NETWORK_HINTS,
    (r"must match the size of tensor", "Likely cause: two maps of different sizes are added; crop the pool's scores to the size of the "
     "upsampled scores first."),
    (r"Kernel size can't be greater than actual input size", "Likely cause: the map has become smaller than the kernel; look at the "
     "padding of conv1_1."),
    (r"'FCN\w+' object has no attribute", "Likely cause: a name is written differently in __init__ and in forward."),
)  # fmt: skip
STEP_HINTS: Hints = (
    (r"\bLong\b|expected scalar type", "Likely cause: integers reach the loss: it wants the raw scores (N, C, H, W), no argmax, and "
     "integer labels (N, H, W)."),
    (r"shape|[Dd]imension|size", "Likely cause: the loss gets scores or labels of another shape: give it the scores (N, C, H, W) and the "
     "labels (N, H, W) as they are."),
)  # fmt: skip
COPY_HINTS: Hints = (
    (r"output with shape \[4096, (25088|4096)\]", "Likely cause: the copy goes the wrong way: the FCN's parameter receives, VGG's is only "
     "read: `fcn.weight.copy_(vgg.weight)`."),
    (r"tensor a \((7|1)\) must match the size of tensor b \(\d{3,}\)", "Likely cause: VGG-16's linear layers hold their numbers in "
     "another shape than a convolution does; give them the convolution's shape first (view)."),
    (r"size of tensor a \(3\) must match|must match .* at non-singleton dimension [01]\b|is invalid for input of size", "Likely cause: "
     "layers are paired in another order than VGG-16's: conv1_1 takes features[0], and so on to fc7, which takes classifier[3]."),
    (r"must match the size of tensor|is invalid for input of size", "Likely cause: layers are paired wrongly: print the pairs with their "
     "shapes. VGG-16's features hold ReLUs and pools between the convolutions, and both lists must run in the same order."),
    (r"a leaf Variable that requires grad", "Copy inside `with torch.no_grad():`."),
)  # fmt: skip


def explained(what: str, hints: Hints = (), student: Student | None = None) -> AbstractContextManager[None]:
    """Add to a student's error what usually causes it (see ``autograder.segmentation.hints``)."""
    return hints_of_errors.explained(what, hints, SIGNATURES.get(what, ""), student)


def likely(words: str) -> str:
    """The likely cause as a sentence, or nothing where none is known."""
    return f" Likely cause: {words}" if words else ""


def reraise_if_lost(error: StudentError) -> None:
    """Let a worker that died, hung or talked nonsense decide the whole check: that is no matter of one case."""
    if error.cause in ("code.died", "code.timeout", "code.garbage", "code.exit", "code.memory"):
        raise error
