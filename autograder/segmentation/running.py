"""What the order in which a network's layers run says of wrong values: the layer never used, the activation that is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence

from autograder.segmentation.spec import Graph
from segkit.tracing import Step

__all__ = ["dropout_elsewhere", "norms_that_run", "what_runs_wrong"]

RELU = {"ReLU", "ReLU6", "relu", "relu_", "clamp", "clamp_", "clamp_min", "clamp_min_", "threshold"}
STRANGE = {
    "LeakyReLU", "PReLU", "ELU", "GELU", "SELU", "SiLU", "Tanh", "Sigmoid", "Softmax", "Softmax2d", "LogSoftmax", "AvgPool2d",
    "AdaptiveAvgPool2d", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "Linear", "leaky_relu", "leaky_relu_", "elu", "gelu",
    "softmax", "log_softmax", "sigmoid", "tanh", "interpolate", "upsample", "avg_pool2d", "adaptive_avg_pool2d", "batch_norm",
    "instance_norm", "group_norm", "layer_norm", "linear",
}  # fmt: skip
DROPOUT = {"Dropout", "Dropout2d", "dropout", "dropout2d"}
PASSING = {*DROPOUT, "Identity"}


def norms_that_run(steps: Sequence[Step]) -> dict[str, str]:
    """Path -> class of the normalisations among the layers that run."""
    return {path: kind for path, kind in steps if path and "Norm" in kind}


def dropout_elsewhere(steps: Sequence[Step], paths: Mapping[str, str], graph: Graph) -> list[str]:
    """Specified names of the layers that a dropout follows, but for those of the head."""
    names, last, found = {path: name for name, path in paths.items()}, "", []
    for path, kind in steps:
        last = names.get(path, last)
        if kind in DROPOUT and last not in graph.head:
            found.append(last or "the input")
    return found


def what_runs_wrong(steps: Sequence[Step], paths: Mapping[str, str], graph: Graph) -> str:
    """Say what in a run is not as in the paper's networks.

    Args:
        steps: What ``segkit.tracing.trace`` returned.
        paths: Specified layer name -> path of the student's layer.
        graph: Tells pools, and layers that give scores.

    Returns:
        One clause for the student; empty if the run tells nothing.
    """
    if not steps or steps[-1] != ("", "return"):
        return ""  # it broke off: what follows is not known
    names = {path: name for name, path in paths.items()}
    counts = Counter(path for path, _ in steps if path)
    layers = [(name, path) for name, path in paths.items() if name not in graph.pools]
    unused = [name for name, path in layers if path not in counts]
    twice = [name for name, path in layers if counts[path] > 1]
    if unused or twice:
        said = [f"{', '.join(unused[:4])} {'is' if len(unused) == 1 else 'are'} never used in forward"] if unused else []
        said += [f"{', '.join(twice[:4])} {'is' if len(twice) == 1 else 'are'} used more than once"] if twice else []
        return f"a layer skipped or used twice: {'; '.join(said)}"
    strange = [kind if not path else f"{path} ({kind})" for path, kind in steps if kind in STRANGE]
    strange += [f"{path} ({kind})" for path, kind in steps if kind in ("Conv2d", "ConvTranspose2d") and path not in names]
    uses = f"forward uses {', '.join(strange[:3])}, which the network of the paper has not" if strange else ""
    return _activations(steps, names, graph) or uses


def _activations(steps: Sequence[Step], names: Mapping[str, str], graph: Graph) -> str:
    without, after_scores, scores = [], [], (*graph.score_layers.values(), *graph.ups)
    for index, (path, _) in enumerate(steps):
        name = names.get(path)
        if name is None or name in graph.pools:
            continue
        following = next((kind for _, kind in steps[index + 1 :] if kind not in PASSING and "Norm" not in kind), "")
        last = name in scores
        if last and following in RELU:
            after_scores.append(name)
        elif not last and following not in RELU | STRANGE:
            without.append(name)
    if after_scores:
        return f"a ReLU follows {', '.join(after_scores[:3])}: scores stay as they are, negative ones too"
    return f"a ReLU left out: none follows {', '.join(without[:4])}" if without else ""
