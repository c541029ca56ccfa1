"""What FCN-16s and FCN-8s do wrong: a map that is not added, a dropout that is not there."""

import numpy as np
from numpy.typing import NDArray

from autograder.assignments.satellite.networks import FCN32S, without
from autograder.segmentation import judging
from autograder.segmentation.dropout import Dropout, read_dropout
from autograder.segmentation.network import Network
from autograder.segmentation.offsets import measure_against
from autograder.segmentation.probe import drop_silence
from autograder.segmentation.reference import reference_output
from autograder.segmentation.running import dropout_elsewhere
from segkit.subject import StudentError, Values, WeightFile

__all__ = ["judge_fused"]

MAPS = {"fcn16s": ("scores", "pool4"), "fcn8s": ("scores", "pool4", "pool3")}
ZERO = ("features.", "fc6.weight", "uppool4.", "score.bias")  # of the dropout probe: nothing but the head's biases arrives


def judge_fused(network: Network, seed: int) -> None:
    """Values and dropout of a network whose maps are added before they are classes."""
    missing = _missing(network)
    if missing:
        text = (f"Expected the sum of {', '.join(MAPS[network.spec.name])}, all of one size and width, but nothing of {missing} arrives in "
                "the output. Is it added in forward?")  # fmt: skip
        network.grading.lose("values", cause="forward.skip", message=text, measured={"skips": [missing]})
    else:
        judging.judge_values(network)
    _judge_dropout(network, seed)


def _missing(network: Network) -> str:
    """The map without which the network would be right, or an empty string."""
    found = network.measurement()
    if found is None or found.exact or found.view != "logits":
        return ""
    evidence = network.evidence()
    weights = WeightFile(network.grading.context.weights_file, network.grading.context.run.weight_index)
    for term in MAPS[network.spec.name]:
        spec = without(network.spec, term)
        reference = reference_output(spec, network.built().n_class, network.found_settings(), weights, evidence.images)
        assert not isinstance(reference, dict)
        if measure_against(evidence.output, reference, evidence.images.shape).exact:
            return term
    return ""


def _judge_dropout(network: Network, seed: int) -> None:
    try:
        found = network.measurement()
    except StudentError:
        found = None
    if found is None or found.view != "logits":  # judge_values said why
        network.grading.lose("dropout", cause="dropout.missing", message="")
        return
    if elsewhere := dropout_elsewhere(network.steps(), network.match()[0].paths, FCN32S.chain):
        text = f"Expected dropout after fc6 and fc7 and nowhere else, but one follows {', '.join(elsewhere[:3])}."
        network.grading.lose("dropout", cause="dropout.extra", message=text)
        return
    read = _dropout(network, seed)
    if read.problem and (read := _dropout(network, seed + 1)).problem:  # one unlucky draw takes no points
        network.grading.lose("dropout", cause=read.cause or "dropout.missing", message=read.problem, measured=read.measured)


def _dropout(network: Network, seed: int) -> Dropout:
    """Read the dropout off one output in train mode, as that of FCN-32s: the fused maps are silent, the scores' cells are repeated."""
    names = "dropout", network.spec.name, network.student.code, str(seed)
    silent, source = drop_silence(network.grading.seeds, FCN32S, network.probe_classes, *names)
    given: dict[str, Values] = {name.removeprefix("drop/"): values for name, values in source.items()}
    given |= {"fc7.weight": "drop/fc7.weight", "score.weight": "drop/fcn32s/score.weight"}
    for name in ("upfeature", "upscore"):
        given[f"{name}.weight"] = _repeating(network, name)
    paths, keys = network.match()[0].paths, network.student.shapes(network.built().handle)
    tensors = {f"{name}.{kind}": f"{path}.{kind}" for name, path in paths.items() for kind in ("weight", "bias")}
    tensors = {name: key for name, key in tensors.items() if key in keys}
    zero = [key for name, key in tensors.items() if name not in given or name.startswith(ZERO)]
    network.student.load(network.built().handle, {tensors[name]: value for name, value in given.items() if name in tensors}, zero)
    return read_dropout(network.run(network.images()[:1], train=True, seed=seed), silent, ("fc6", "fc7"))


def _repeating(network: Network, name: str) -> NDArray[np.float32]:
    """An upsampling that hands the first channels on, each cell repeated."""
    s = network.found_settings()[name]
    size, stride, n = s["kernel_size"], s["stride"], network.probe_classes
    weight = np.zeros((s["in_channels"], s["out_channels"], size, size), np.float32)
    if min(weight.shape[:2]) >= n:
        weight[range(n), range(n), :stride, :stride] = 1
    return weight
