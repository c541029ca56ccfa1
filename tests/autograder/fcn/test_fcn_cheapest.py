"""What is the cheapest wrong answer that earns something? Constants, broadcasts and other checks' answers must not."""

from types import SimpleNamespace

import numpy as np
import pytest
from course_code import judged

from autograder.assignments.fcn.networks import FCN32S
from autograder.segmentation.judging import _judge_trunk, judge_initial_weights, judge_shapes
from autograder.segmentation.network import Built, Evidence
from segkit.layers import LayerMatch
from segkit.subject import StudentError

PRELUDE = "import numpy as np\nimport torch\nfrom PIL import Image\n"
LABEL = PRELUDE + "def read_label(path):\n    size = Image.open(path).size[::-1]\n    return "
COUNTS = PRELUDE + "def confusion_matrix(pred, gt, n_class):\n    return "
SCORES = PRELUDE + "def scores(hist):\n    n, there = len(hist), hist.sum(0) + hist.sum(1) > 0\n    return "

CHEAP = {
    "read_label": {
        "all ignored": LABEL + "torch.full(size, 255)",
        "zeros": LABEL + "torch.zeros(size, dtype=torch.long)",
        "the last class": LABEL + "torch.full(size, 11)",
        "a broadcast": LABEL + "torch.tensor([[255]]).expand(size)",
        "one number": LABEL + "torch.tensor(255)",
        "not a number": LABEL + "torch.full(size, float('nan'))",
        "infinity": LABEL + "torch.full(size, float('inf'))",
        "another check's answer": LABEL + "np.zeros((12, 12), int)",
    },
    "confusion_matrix": {
        "zeros": COUNTS + "np.zeros((n_class, n_class), int)",
        "a broadcast": COUNTS + "np.broadcast_to(np.int64(1), (n_class, n_class))",
        "the diagonal": COUNTS + "np.eye(n_class, dtype=int) * np.size(gt) // n_class",
        "all in one place": COUNTS + "np.pad([[np.size(gt)]], (0, n_class - 1))",
        "not a number": COUNTS + "np.full((n_class, n_class), np.nan)",
        "the labels": COUNTS + "gt",
        "another check's answer": COUNTS + "(0.5, np.zeros(n_class), 0.5)",
    },
    "scores": {
        "zeros": SCORES + "0.0, np.zeros(n), 0.0",
        "ones": SCORES + "1.0, np.ones(n), 1.0",
        "not a number": SCORES + "np.nan, np.full(n, np.nan), np.nan",
        "a half, absent classes known": SCORES + "0.5, np.where(there, 0.5, np.nan), 0.5",
        "fixed numbers with their mean": SCORES + "0.3, np.arange(n) / n, np.mean(np.arange(n) / n)",
        "fixed numbers, absent classes known": SCORES + "0.3, np.where(there, np.arange(n) / n, np.nan), "
                                                        "np.nanmean(np.where(there, np.arange(n) / n, np.nan))",
        "the counts": SCORES + "hist",
    },
}  # fmt: skip


@pytest.mark.parametrize(("grade_id", "name"), [(grade_id, name) for grade_id, answers in CHEAP.items() for name in answers])
@pytest.mark.filterwarnings("ignore")
def test_what_looks_at_nothing_earns_nothing(grade_id, name, tmp_path):
    found = judged(grade_id, CHEAP[grade_id][name], tmp_path)
    assert (found.points, found.status) == (0, "not_earned"), found.message
    assert found.cause and found.cause != "grader.fault"


# ------------------------------------------------------------------------------------------------------------ networks
HEIGHT, WIDTH, CLASSES = 79, 33, 5


def lost_by(output: np.ndarray) -> str:
    """The cause that costs a network with this output the whole of its shapes; empty where it keeps something."""
    images = np.zeros((2, 3, HEIGHT, WIDTH), np.float32)
    network = SimpleNamespace(
        grading=SimpleNamespace(lose=lambda *_, **__: None, faults=[1]), spec=FCN32S, probe_classes=CLASSES,
        built=lambda: Built("net", n_class=CLASSES), usual_classes=lambda: 12, evidence=lambda: Evidence(images, output),
    )  # fmt: skip
    try:
        judge_shapes(network)
    except StudentError as error:
        return error.cause
    return ""


def scores_like(kind: str) -> np.ndarray:
    shape, rng = (2, CLASSES, HEIGHT, WIDTH), np.random.default_rng(3)
    noise = rng.standard_normal(shape).astype(np.float32)
    spoilt = np.zeros(shape, np.float32)
    spoilt[0, 1, 5, 5] = 1e4
    return {
        "zeros": np.zeros(shape, np.float32), "ones": np.ones(shape, np.float32), "huge": np.full(shape, 1e30, np.float32),
        "not a number": np.full(shape, np.nan, np.float32), "infinity": np.full(shape, np.inf, np.float32),
        "one number a class": np.broadcast_to(np.arange(CLASSES, dtype=np.float32)[:, None, None], shape),
        "almost constant": 3 + 1e-7 * noise, "constant but for one pixel": spoilt,
        "noise": noise, "small noise": 1e-4 * noise, "ReLU of noise": np.maximum(noise - 1.5, 0), "a label map": noise.argmax(1),
        "half of it not a number": np.log(noise.astype(np.float64)), "softmax": np.exp(noise) / np.exp(noise).sum(1, keepdims=True),
    }[kind]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [
    "zeros", "ones", "huge", "not a number", "infinity", "one number a class", "almost constant", "constant but for one pixel",
])  # fmt: skip
def test_an_output_that_tells_nothing_apart_earns_no_shape(kind):
    assert lost_by(scores_like(kind)) == "shape.constant"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["noise", "small noise", "ReLU of noise", "a label map", "half of it not a number", "softmax"])
def test_a_wrong_output_that_tells_something_apart_keeps_its_shape(kind):
    assert lost_by(scores_like(kind)) == ""


def initial_weights(paths: dict[str, str], value: float) -> list[float]:
    """Shares of the part ``weights`` that a network of these layers loses, all of whose initial weights are one number."""
    from segkit.layers import expected_layers

    lost: list[float] = []
    layers = [layer for layer in expected_layers("fcn32s", CLASSES) if layer.path in paths]
    shapes = {f"{s.path}.weight": (CLASSES, CLASSES, 64, 64) for s in layers if s.kind == "ConvTranspose2d"}
    shapes |= {f"{s.path}.weight": (64, 3, 3, 3) for s in layers if s.kind == "Conv2d"}
    grading = SimpleNamespace(lose=lambda part, share=1.0, **_: lost.append(share), note=lambda text: None,
                              rng=lambda name: np.random.default_rng(1))  # fmt: skip
    student = SimpleNamespace(
        shapes=lambda handle: shapes,
        sample=lambda handle, wanted: {k: np.full(shapes[k] if i is None else len(i), value, np.float32) for k, i in wanted.items()},
    )
    network = SimpleNamespace(
        grading=grading, student=student, spec=FCN32S, probe_classes=CLASSES, built=lambda: Built("net"),
        match=lambda: (LayerMatch(paths, [], []), CLASSES), layers=lambda: layers,
        table=lambda n_class: expected_layers("fcn32s", n_class),
    )  # fmt: skip
    judge_initial_weights(network)
    return lost


@pytest.mark.parametrize("value", [0.0, 0.01, float("nan")])
def test_initial_weights_of_one_number_and_of_no_layer_earn_nothing(value):
    assert sum(initial_weights({}, value)) >= 1
    assert sum(initial_weights({"conv1_1": "conv1_1", "transpose_conv": "transpose_conv"}, value)) >= 1


def test_layers_without_a_single_weight_earn_nothing_and_are_no_fault_of_the_grader():
    lost: list[float] = []
    _judge_trunk(SimpleNamespace(lose=lambda part, share=1.0, **_: lost.append(share)), {"conv1_1": np.zeros(0, np.float32)}, {}, 0.5)
    assert lost == [0.5]
