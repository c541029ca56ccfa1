"""Checks of notebook 1: the table of layers, the classifier, the embedding."""

import torch

from autograder.assignments.satellite.networks import CLASSIFIER
from autograder.assignments.satellite.telling import tell
from autograder.judge.checking import check
from autograder.segmentation import judging
from autograder.segmentation.hints import NETWORK_HINTS, explained
from autograder.segmentation.network import Network
from autograder.segmentation.reference import reference_output
from segkit.checks.satellite.embedding import embed_mistakes, features_mistakes
from segkit.checks.satellite.tables import table_mistakes
from segkit.subject import StudentError, WeightFile

LAST, READ, WIDE = "vgg.classifier.6", 64, 4096
HEAD = {"vgg.classifier.0": (READ, 1024), "vgg.classifier.3": (READ, READ), LAST: None}


@check("layer_table")
def test_layers_are_listed_in_the_order_of_their_calls(student, grading):
    with explained("layer_table", NETWORK_HINTS, "def layer_table(model, size)", student):
        tell(grading, "layer_table", table_mistakes(student, grading.own_rng("network")))


@check("classifier.layers")
def test_classifier_has_the_layers_of_vgg16(student, grading):
    network = Network(student, grading, CLASSIFIER)
    with explained("Classifier", NETWORK_HINTS):
        judging.judge_layers(network)
        judge_usual_classes(network)


def judge_usual_classes(network):
    """``Classifier()`` has 50 classes."""
    path = network.match()[0].paths.get(LAST, "")
    try:
        handle = network.build(meta=True)
    except StudentError:
        return  # a constructor that reads values cannot be built there
    found = {layer.path: layer.settings.get("out_features") for layer in network.student.describe(handle)}.get(path)
    if found not in (None, CLASSIFIER.n_class) and not network.grading.faults:
        text = f"Expected {CLASSIFIER.n_class} classes where n_class is not given, but Classifier() has {found}."
        network.grading.lose("layers", cause="layer.classes", message=text, share=1 / len(network.table(CLASSIFIER.n_class)))


@check("classifier.features")
def test_features_are_what_the_last_layer_reads(student, grading):
    network = Network(student, grading, CLASSIFIER)
    try:
        with explained("Classifier", NETWORK_HINTS):
            handle, paths = network.built().handle, network.match()[0].paths
            if LAST not in paths:
                raise StudentError("features cannot be judged without the last layer (see classifier.layers).", "layer.missing")
            weights = Weights(grading, network.probe_classes)
            weights.load(network)
            try:
                logits = reference_output(CLASSIFIER, network.built().n_class, network.found_settings(), weights, network.images())
            except (RuntimeError, ValueError, TypeError):
                logits = None  # layers that fit VGG-16 no more: classifier.layers says so
            assert not isinstance(logits, dict)
            expected = None if logits is None else logits.numpy()
            tell(grading, "Classifier", features_mistakes(student, handle, paths[LAST], network.images(), expected))
            judge_norms(network)
    finally:
        network.forget()  # also of a classifier that fails


def judge_norms(network):
    """VGG-16 normalises nothing. Before a training no number tells: a fresh batch norm changes nothing in eval mode."""
    norms = network.norms()
    if norms and not network.grading.faults:
        shown = ", ".join(f"{path} ({kind})" for path, kind in list(norms.items())[:3])
        text = f"Expected VGG-16, which normalises nothing, but {len(norms)} normalisations run: {shown}. Is it vgg16, or vgg16_bn?"
        network.grading.lose("features", cause="forward.extra_layer", message=text, measured={"layers": list(norms)[:3]}, share=0.5)


class Weights(WeightFile):
    """The trunk's weights, and a head drawn for this submission, of which the first channels alone hand on something."""

    def __init__(self, grading, n_class):
        run, rng = grading.context.run, grading.own_rng("head")
        head: dict[str, torch.Tensor] = {}
        for name, shape in HEAD.items():
            shape = shape or (n_class, WIDE)
            weight, bias = rng.normal(0, (2 / READ) ** 0.5, shape), rng.normal(0, 0.3, WIDE if shape[0] == READ else n_class)
            head |= {f"{name}.weight": torch.from_numpy(weight).float(), f"{name}.bias": torch.from_numpy(bias).float()}
        self.head = {f"{CLASSIFIER.name}/{key}": value for key, value in head.items()}
        super().__init__(grading.context.weights_file, run.weight_index | dict.fromkeys(self.head, (0, ())))

    def __getitem__(self, name):
        return self.head[name] if name in self.head else super().__getitem__(name)

    def load(self, network):
        """Give them to a student's network."""
        handle, source = network.built().handle, {}
        keys = network.student.shapes(handle)
        for name, path in network.match()[0].paths.items():
            for kind in ("weight", "bias"):
                wanted = CLASSIFIER.canonical(name, kind)
                if f"{path}.{kind}" in keys:
                    source[f"{path}.{kind}"] = self.head[wanted].numpy() if wanted in self.head else wanted
        network.student.load(handle, source)


@check("embed")
def test_embedding_is_that_of_eval_mode_in_the_loaders_order(student, grading):
    def own():
        network = Network(student, grading, CLASSIFIER)
        Weights(grading, network.probe_classes).load(network)  # as it is built, all its features are 0
        return network.built().handle

    with explained("embed", NETWORK_HINTS, "def embed(model, loader)", student):
        tell(grading, "embed", embed_mistakes(student, grading.own_rng("pictures"), own))
