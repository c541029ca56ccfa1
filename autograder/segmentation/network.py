"""Evidence on one of a student's networks, gathered once and used by the checks ``*.layers``, ``*.shapes``, ``*.crop`` and
``*.forward``."""

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autograder.judge.checking import Grading
from autograder.judge.student import Student
from autograder.sandbox.received import malformed
from autograder.segmentation.dropout import Dropout, read_dropout
from autograder.segmentation.offsets import Measurement, measure, measure_against
from autograder.segmentation.positions import position_offsets
from autograder.segmentation.probe import drop_silence, probe_images, score_layers
from autograder.segmentation.reference import reference_output
from autograder.segmentation.running import norms_that_run
from autograder.segmentation.shadow import Pieces, Shadow
from autograder.segmentation.spec import NetworkSpec
from segkit.layers import Layer, LayerMatch, compare_layers, tensor_shapes
from segkit.subject import StudentError, Values, WeightFile
from segkit.tracing import Step

__all__ = ["Built", "Evidence", "Network", "blame"]

NEARLY = 1e-5  # spread, relative to the largest number, below which an output counts as constant


@dataclass(frozen=True)
class Built:
    """A student's network as it is judged.

    Attributes:
        handle: The object in the worker.
        accepts: Whether the number of classes could be given.
        reason: What was wrong with the signature; empty if nothing.
        n_class: The number of classes that its layers have.
        fixed: Specified names of layers into which a number of classes is written.
    """

    handle: str
    accepts: bool = True
    reason: str = ""
    n_class: int = 12
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What one forward call of the probe gave.

    Attributes:
        images: The probe images, (2, 3, H, W).
        output: What the network returned, its classes in the second dimension.
        batched: Whether the network took both images at once.
        classes_last: Whether the classes came in the last dimension; that is one fault, and the rest can still be judged.
        wrapped: What was wrong with an output that holds the scores and is no tensor; the rest can still be judged.
    """

    images: NDArray[np.float32]
    output: NDArray
    batched: bool = True
    classes_last: bool = False
    wrapped: str = ""

    @property
    def constant(self) -> bool:
        """Whether the output tells nothing apart: (nearly) one number for each class, whatever the picture and the place."""
        if self.output.ndim < 3 or not self.output.size:
            return False
        output = self.output[:, None] if self.output.ndim == 3 else self.output  # a label map: one class
        classes = np.moveaxis(output.astype(np.float64), -3, 0).reshape(output.shape[-3], -1)
        rows = [row[np.isfinite(row)] for row in classes]
        # one spoilt pixel makes no picture: the outermost hundredths do not count
        spread = max(float(np.subtract(*np.percentile(row, [99, 1]))) if row.size else 0.0 for row in rows)
        return spread <= NEARLY * max([1e-6, *(float(np.abs(row).max()) for row in rows if row.size)])


class Network:
    """A student's network under the probe.

    Args:
        student: The fixture.
        grading: The fixture.
        spec: What it is to be.
    """

    def __init__(self, student: Student, grading: Grading, spec: NetworkSpec) -> None:
        self.student, self.grading, self.spec = student, grading, spec
        self.settings = grading.rubric.settings
        self.probe_classes: int = self.settings["probe_classes"]
        self.offsets = spec.offsets(self.settings)

    def table(self, n_class: int) -> list[Layer]:
        """The layers that it must have."""
        return self.spec.layers(n_class, self.settings)

    # ------------------------------------------------------------------------------------------------ building
    def built(self) -> "Built":
        """Return the network as it is judged."""
        return self.student.once(("built", self.spec.name), self._build)

    def _build(self) -> "Built":
        handle, accepts, reason = self._construct()
        found = self.student.describe(handle)
        n_class = self._likeliest(found)
        fixed = self._fixed(found, n_class)
        others = {number for number in fixed.values() if number != n_class}
        if n_class != self.probe_classes or not fixed:
            return Built(handle, accepts, reason, n_class, tuple(fixed) if accepts else ())
        if accepts and len(others) == 1:  # some layers follow n_class: with their number it may fit together
            written = others.pop()
            other = self._with_classes(written)
            if other is not None:
                self.student.forget(handle)
                return Built(other, True, reason, written, tuple(fixed))
        return Built(handle, accepts, reason, n_class, ())

    def _construct(self) -> tuple[str, bool, str]:
        """Return (handle, whether n_class could be given, what was wrong with the signature)."""
        try:
            return self.build(n_class=self.probe_classes), True, ""
        except StudentError as error:
            if error.cause != "code.signature":
                raise
            refused, reason = error, str(error)
        try:  # the number of classes under another name, or not at all: one mistake, charged in *.shapes
            return self.build(self.probe_classes), True, reason
        except StudentError:
            if self.spec.parts:  # else a part would be taken for the number of classes
                raise refused from None
            return self.build(), False, reason

    def build(self, *n_class: int, meta: bool = False, **named: Any) -> str:
        """Build the network: first the parts that its constructor takes, which live on in it."""
        parts = [self.student.build(part.name, meta=meta, **part.arguments) for part in self.spec.parts]
        try:
            return self.student.build(self.spec.class_name, *parts, *n_class, meta=meta, **named)
        finally:
            for part in parts:
                self.student.forget(part)

    def described(self, **named: Any) -> list[Layer]:
        """The layers of the network as it is built with these arguments.

        Raises:
            StudentError: It cannot be built.
        """
        try:  # on the meta device: nothing is drawn, nothing filled
            handle = self.build(meta=True, **named)
        except StudentError:
            handle = self.build(**named)  # the constructor reads values, which there are none of there
        layers = self.student.describe(handle)
        self.student.forget(handle)
        return layers

    def _with_classes(self, n_class: int) -> str | None:
        """The network for another number of classes; None where its layers do not fit that either."""
        try:
            handle = self.build(n_class)
            if not self._fixed(self.student.describe(handle), n_class, asked=n_class):
                return handle
            self.student.forget(handle)
        except StudentError:
            pass
        return None

    def _compare(self, found: list[Layer], n_class: int, run: Sequence[str] = ()) -> LayerMatch:
        return compare_layers(found, self.table(n_class), self.grading.rubric.aliases, run)

    def _likeliest(self, found: list[Layer]) -> int:
        """The number of classes under which the layers have the fewest faults: the one asked for, or one written into the code."""
        last = [layer for layer in found if layer.kind == "ConvTranspose2d" or layer.settings.get("kernel_size") == 1]
        numbers = [layer.settings.get("out_channels") for layer in last[-8:]]
        possible = [self.probe_classes, *(n for n in numbers if isinstance(n, int) and 1 <= n <= 1024)]
        return min(dict.fromkeys(possible), key=lambda n: len(self._compare(found, n).faults))

    def _fixed(self, found: list[Layer], n_class: int, asked: int | None = None) -> dict[str, int]:
        """Specified names of the layers that have another number of classes than asked for, and that number."""
        asked = asked or self.probe_classes
        paths = self._compare(found, n_class).paths
        settings = {layer.path: layer.settings for layer in found}
        numbers = {name: settings[path].get("out_channels") for name, path in paths.items() if name in self.spec.class_layers}
        return {name: number for name, number in numbers.items() if isinstance(number, int) and number != asked}

    def usual_classes(self) -> int | None:
        """Classes of the network where ``n_class`` is left out; None where that cannot be seen cheaply."""
        path = self.match()[0].paths.get(self.spec.class_score)
        try:  # on the meta device: nothing is drawn, nothing filled
            handle = self.build(meta=True)
            layers = {layer.path: layer for layer in self.student.describe(handle)}
            self.student.forget(handle)
        except StudentError:
            return None  # a constructor that reads values cannot be built there
        return layers[path].settings.get("out_channels") if path in layers else None

    def layers(self) -> list[Layer]:
        """The layers as found."""
        return self.student.once(("layers", self.spec.name), lambda: self.student.describe(self.built().handle))

    def steps(self) -> list[Step]:
        """Layers and activations in the order in which they run; empty where that cannot be seen."""
        kept = self.student.__dict__.setdefault("_steps", {})
        if self.spec.name not in kept:
            try:
                kept[self.spec.name] = self.student.trace(self.built().handle)
            except StudentError:
                self.student.drop(("built", self.spec.name))  # the worker may have died of it
                self.student.drop(("layers", self.spec.name))
                kept[self.spec.name] = []
        return kept[self.spec.name]

    def norms(self) -> dict[str, str]:
        """Path -> class of the normalisations that run and that the network is not to have: it is judged as if they were not there."""
        running = norms_that_run(self.steps())
        own = set(self.match()[0].paths.values()) if running else ()
        return {path: kind for path, kind in running.items() if path not in own}

    def match(self) -> tuple[LayerMatch, int]:
        """Hold the layers against the specification; the second value is the number of classes they were built for.

        A network that ignores ``n_class`` is compared as one of the number written into it: that is charged in ``*.shapes``.
        """
        run = [path for path, _ in self.steps() if path]
        n_class = self.built().n_class
        return self._compare(self.layers(), n_class, run), n_class

    def found_settings(self) -> dict[str, Mapping[str, Any]]:
        """Specified layer name -> the hyper-parameters found (those of the specification for a layer that is missing)."""
        match, n_class = self.match()
        found = {layer.path: layer for layer in self.layers()}
        expected = {layer.path: layer for layer in self.table(n_class)}
        return {name: found[match.paths[name]].settings if name in match.paths else spec.settings
                for name, spec in expected.items()}  # fmt: skip

    def forget(self) -> None:
        """Free the worker's memory: half a gigabyte."""
        handle = self.student.drop(("built", self.spec.name))
        if handle is not None:
            self.student.forget(handle.handle)

    # ------------------------------------------------------------------------------------------------ running
    def _load(self, drop: Mapping[str, Any] | None = None) -> str:
        """Give the network the hidden weights, or those of the dropout probe with these biases; returns its handle."""
        handle, match = self.built().handle, self.match()[0]
        if self.spec.graph is None:
            return self._load_whole(handle, match)
        source: dict[str, Values] = {}
        zero, keys, own = [], set(self.student.shapes(handle)), self.score_layers() if drop is None else drop
        graph = self.spec.graph
        for name, path in match.paths.items():
            for kind in ("weight", "bias"):
                key = f"{path}.{kind}"
                if key not in keys:
                    continue
                wanted = self.spec.canonical(name, kind, drop is not None)
                if wanted in own:
                    source[key] = np.asarray(own[wanted])
                elif drop is not None and (name == graph.last_convolution or (name, kind) == (graph.head[0], "weight")):
                    zero.append(key)  # whatever reaches the head, its first bias alone goes on
                elif wanted in self._index():
                    source[key] = wanted
                else:
                    zero.append(key)  # a bias where none should be
        self.student.load(handle, source, zero)
        return handle

    def _load_whole(self, handle: str, match: LayerMatch) -> str:
        """Give all tensors of the specified layers hidden values; one that should not be there becomes 0."""
        source, zero, found = {}, [], {layer.path: layer for layer in self.layers()}
        for name, path in match.paths.items():
            for kind in tensor_shapes(found[path]):
                wanted = self.spec.canonical(name, kind)
                if wanted in self._index():
                    source[f"{path}.{kind}"] = wanted
                else:
                    zero.append(f"{path}.{kind}")
        self.student.load(handle, source, zero)
        return handle

    def images(self) -> NDArray[np.float32]:
        """The probe images: the class's where a trunk is computed once for all, else drawn for this submission."""
        return probe_images(self.grading.seeds, self.spec, "" if self.spec.graph else self.student.code)

    def score_layers(self) -> dict[str, Tensor]:
        """Weights of the score layers, drawn for this submission: numbers that another one was told do not fit."""
        kept = self.student.__dict__.setdefault("_score_layers", {})
        if self.spec.name not in kept:
            features = self._features(self._usual(self.probe_classes))
            kept[self.spec.name] = score_layers(self.grading.seeds, self.spec, self.probe_classes, self.student.code, features)
        return kept[self.spec.name]

    def _usual(self, n_class: int) -> Shadow:
        """The network with the layers of the specification."""
        return Shadow(self.spec, {layer.path: layer.settings for layer in self.table(n_class)}, self._class_weights())

    def _class_weights(self) -> WeightFile:
        return WeightFile(self.grading.context.weights_file, self._index())

    def _features(self, shadow: Shadow) -> dict[str, NDArray[np.float32]]:
        """What the score layers read, computed once for all who have this trunk."""
        return self.grading.context.cache.once(shadow.key(), lambda: shadow.features(self.images()))

    def _index(self) -> Mapping[str, Any]:
        return self.grading.context.run.weight_index

    def evidence(self) -> Evidence:
        """Run the network on the probe images, once; a failure is remembered and raised again."""
        kept = self.student.__dict__.setdefault("_evidence", {})
        if self.spec.name not in kept:
            try:
                kept[self.spec.name] = self._run()
            except StudentError as error:
                kept[self.spec.name] = error
        if isinstance(kept[self.spec.name], StudentError):
            raise kept[self.spec.name]
        return kept[self.spec.name]

    def _run(self) -> Evidence:
        images = self.images()
        self._load()
        try:
            output = self.run(images)
            if output.ndim != 4 or len(output) == len(images):
                scores = self._classes_second(output, images)
                return Evidence(images, scores, classes_last=scores is not output, wrapped=self._wrapped)
        except StudentError as error:
            if error.cause not in ("code.raises", "forward.type"):
                raise
        # perhaps only batches of one work: that is one fault, and the rest can still be judged
        singles = [self.run(images[n : n + 1]) for n in range(len(images))]
        if len({output.shape[1:] for output in singles}) > 1 or not all(output.ndim for output in singles):
            raise malformed("forward", "outputs of one shape for two images of one size", words=" and ".join(str(s.shape) for s in singles))
        return Evidence(images, np.concatenate(singles), batched=False, wrapped=self._wrapped)

    def run(self, images: NDArray[np.float32], train: bool = False, seed: int = 0) -> NDArray:
        """Run the network as it is judged: without normalisations; scores that came in a dictionary or tuple are taken out of it."""
        handle, skip = self.built().handle, tuple(self.norms())
        try:
            return self.student.forward(handle, images, train=train, seed=seed, skip=skip, within=bool(self._wrapped))
        except StudentError as error:
            if error.cause != "forward.type" or self._wrapped:
                raise
            output = self.student.forward(handle, images, train=train, seed=seed, skip=skip, within=True)  # else the same error
            self.student.__dict__.setdefault("_wrapped", {})[self.spec.name] = str(error)
            return output

    @property
    def _wrapped(self) -> str:
        return self.student.__dict__.get("_wrapped", {}).get(self.spec.name, "")

    def _classes_second(self, output: NDArray, images: NDArray) -> NDArray:
        """An output with its classes in the second dimension; itself, unless it is (N, H, W, n_class) and nothing else."""
        classes, size = self.built().n_class, self.spec.output_size((images.shape[2], images.shape[3]))
        last = output.ndim == 4 and output.shape[1:] == (*size, classes) and classes not in size
        return np.moveaxis(output, -1, 1) if last else output

    def dropout(self, seed: int, factor: float) -> Dropout:
        """Read the dropout off an output in train mode under the weights of the dropout probe, for one image.

        Args:
            seed: Of the worker's generator; other channels are silent under another.
            factor: By which the scores arrive multiplied.
        """
        silent, biases = drop_silence(self.grading.seeds, self.spec, self.probe_classes, self.spec.name, self.student.code, str(seed))
        self._load(biases)
        image = self.images()[:1]
        output = self._classes_second(self.run(image, train=True, seed=seed), image)
        return read_dropout(output / factor, silent, self.spec.chain.head)

    def dropout_free_pair(self) -> tuple[NDArray, NDArray]:
        """The same image twice in eval mode, under two seeds of the worker's generator."""
        self._load()
        image = self.images()[:1]
        return self.run(image, seed=1), self.run(image, seed=2)

    # ------------------------------------------------------------------------------------------------ judging
    def _shadow(self, settings: Mapping[str, Mapping[str, Any]]) -> tuple[Shadow, Pieces]:
        """The network it should be, given its layers, and its score maps (the trunk runs once for the whole class)."""
        shadow = Shadow(self.spec, settings, ChainMap(self.score_layers(), cast(Any, self._class_weights())))
        shadow.refuse_too_large(self.images().shape[2:], self._usual(self.built().n_class))
        return shadow, shadow.pieces(self._features(shadow))

    def measurement(self) -> Measurement | None:
        """Crops and values of the output; None where the layers found fit no network at all, or there is no reference."""
        kept = self.student.__dict__.setdefault("_measurements", {})
        if self.spec.name not in kept:
            evidence = self.evidence()
            found = self._tried(evidence, self.found_settings())
            if self.spec.graph is not None and (found is None or not found.offsets):
                # two layers may do what one should: zeros laid around the picture, and a convolution that pads no more
                usual = self._tried(evidence, {layer.path: layer.settings for layer in self.table(self.built().n_class)})
                found = usual if usual is not None and usual.exact else found
            kept[self.spec.name] = found
        return kept[self.spec.name]

    def _tried(self, evidence: Evidence, settings: Mapping[str, Mapping[str, Any]]) -> Measurement | None:
        try:  # whatever does not fit together comes from the layers that the student's network has
            return self._measured(evidence, settings)
        except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError):
            return None

    def _measured(self, evidence: Evidence, settings: Mapping[str, Mapping[str, Any]]) -> Measurement:
        if self.spec.graph is None:
            reference = reference_output(self.spec, self.built().n_class, settings, self._class_weights(), evidence.images)
            assert isinstance(reference, Tensor)  # a network that returns maps is compared by maps()
            return measure_against(evidence.output, reference, (*evidence.images.shape[:2], *reference.shape[2:]))
        shadow, pieces = self._shadow(settings)
        return self._by_position(measure(evidence.output, shadow, pieces, self.offsets, evidence.images.shape), shadow)

    def maps(self) -> dict[str, tuple[NDArray, NDArray]]:
        """Name -> (map that the network gives, map of the reference under the same weights), of one that returns a dictionary.

        Raises:
            StudentError: The forward call fails, or gives no such dictionary.
            RuntimeError, ValueError, TypeError: The layers found fit no network at all.
        """
        images = self.images()
        found = self.student.maps(self._load(), images, self.spec.maps)
        reference = reference_output(self.spec, self.built().n_class, self.found_settings(), self._class_weights(), images)
        assert isinstance(reference, dict)
        return {name: (found[name], reference[name].numpy()) for name in self.spec.maps}

    def _by_position(self, found: Measurement, shadow: Shadow) -> Measurement:
        """Where wrong values hide the crops, measure them once more with weights that carry positions alone."""
        hidden = [name for name in self.offsets if name not in found.offsets and name not in found.silent]
        if found.view != "logits" or not hidden:
            return found
        rng = self.grading.seeds.generator("positions", self.spec.name, self.student.code)
        images = rng.standard_normal(self.evidence().images.shape).astype(np.float32)
        try:
            offsets, silent = position_offsets(
                self.student,
                self.built().handle,
                shadow,
                self.match()[0].paths,
                images,
                self.offsets,
                self.built().n_class,
                self.run,
            )
        except (StudentError, RuntimeError, ValueError):
            return found
        return replace(found, offsets={**offsets, **found.offsets}, silent=tuple({*found.silent, *silent}))


SHAPE_ERRORS = (  # of torch -> the settings that can cause them
    (r"channels", ("in_channels", "out_channels", "groups", "missing")),
    (r"size|shape|dimension|too small|stack expects", ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "output_padding",
                                                       "out_channels", "in_channels", "missing")),
)  # fmt: skip


def blame(network: Network, error: StudentError | None = None) -> str:
    """A sentence that names the layers at fault, for checks that fall with them; empty if the layers are right.

    Args:
        network: The network.
        error: What its forward raised: only a layer that can cause this is named.
    """
    try:
        match, _ = network.match()
    except StudentError:
        return ""
    faults = [fault for fault in match.faults if fault.cause not in ("layer.name", "layer.bias")]
    if error is not None:
        last = str(error).strip().rpartition("\n")[2]
        able = next((settings for pattern, settings in SHAPE_ERRORS if re.search(pattern, last)), ())
        able = able if error.cause in ("code.raises", "shape.size") and not re.match(r"(Attribute|Name|Type|Key|Import)Error", last) else ()
        faults = [fault for fault in faults if fault.cause.removeprefix("layer.") in able]
    if not faults:
        return ""
    return f"\nLikely cause: {faults[0]} (see {network.spec.name}.layers)."
