"""The network that a gate measures a checkpoint with where an assignment describes its networks without a graph: their reference."""

import ast
import inspect
from pathlib import Path

from autograder.judge.gates import JudgesNetwork
from autograder.segmentation import reference_network
from autograder.segmentation.network import Network
from autograder.segmentation.spec import NetworkSpec
from segkit.notebooks import Chunk, Program
from segkit.subject import StudentError

__all__ = ["judges_reference"]


def judges_reference(network: Network, n_class: int, side: int = 0) -> JudgesNetwork:
    """The reference with the layers of a student's network.

    Args:
        network: The student's; its specification has a reference, a class in a module that imports what the student edition has.
        n_class: Number of classes.
        side: Where pictures are sheets of small ones, to be classified: their side in pixels; 0 otherwise.

    Raises:
        StudentError: The class cannot be built, or lacks layers.
    """
    spec = network.spec
    layers = {layer.path: layer for layer in network.described(n_class=n_class)}
    paths = {layer.path: network.match()[0].paths.get(layer.path, "") for layer in network.table(n_class) if layer.kind != "MaxPool2d"}
    if missing := [name for name, path in paths.items() if path not in layers]:
        raise StudentError(f"No checkpoint can be measured while layers are missing: {', '.join(missing[:4])} (see {spec.name}.layers).",
                           "layer.missing")  # fmt: skip
    arguments = {"reference": spec.class_name, "n_class": n_class, "paths": paths, "side": side,
                 "settings": {name: dict(layers[path].settings) for name, path in paths.items()}}  # fmt: skip
    return JudgesNetwork(_program(spec), arguments)


def _program(spec: NetworkSpec) -> Program:
    """The references, and below them the network of a gate under the name of the student's class: messages speak of it."""
    assert spec.reference is not None
    own = Path(reference_network.__file__)
    references = Path(inspect.getfile(spec.reference))
    sources = references.read_text("utf-8"), own.read_text("utf-8").replace("GateNetwork", spec.class_name)
    chunks = tuple(Chunk(own.name, source, tuple(range(len(ast.parse(source).body)))) for source in sources)
    return Program(spec.class_name, own.name, chunks)
