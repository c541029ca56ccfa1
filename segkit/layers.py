"""The layers a network must have, as data, and the comparison with the layers it has.

The visible checks of the notebooks and the grader use the same comparison, so that a student sees before handing in what
the grader will say.

References:
    Long, Shelhamer & Darrell, CVPR 2015; Simonyan & Zisserman, ICLR 2015, configuration D.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from segkit.layer import Layer

__all__ = ["Layer", "LayerFault", "LayerMatch", "compare_layers", "describe", "expected_layers", "table_closed", "tensor_shapes"]

SETTINGS = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "ConvTranspose2d": (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "dilation", "groups", "bias",
    ),
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "BatchNorm2d": ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    "Linear": ("in_features", "out_features", "bias"),
}  # fmt: skip
KINDS = {kind: getattr(nn, kind) for kind in SETTINGS}
SHAPING = ("in_channels", "out_channels", "kernel_size", "groups", "num_features", "in_features", "out_features")


@dataclass(frozen=True)
class LayerFault:
    """One difference between a network and its specification.

    Attributes:
        cause: Stable code: ``layer.missing``, ``layer.name``, or ``layer.`` and the setting that differs.
        layer: Name the specification gives the layer.
        expected: What the specification says.
        found: What the network has.
        path: Where in the network; empty for a missing layer.
    """

    cause: str
    layer: str
    expected: Any
    found: Any
    path: str = ""

    def __str__(self) -> str:
        if self.cause == "layer.missing":
            return f"{self.layer}: expected {self.expected}, but found no such layer"
        if self.cause == "layer.name":
            return f"{self.layer}: expected this name, but the layer in its place is called {self.found!r}"
        setting = self.cause.partition(".")[2]
        return f"{self.layer}: expected {setting}={self.expected}, but found {setting}={self.found}"


@dataclass(frozen=True)
class LayerMatch:
    """What ``compare_layers`` found.

    Attributes:
        paths: Specified name -> path of the layer that takes its place (missing layers are absent).
        faults: All differences, in the order of the specification.
        extra: Paths of layers with parameters that the specification does not know.
    """

    paths: dict[str, str]
    faults: list[LayerFault]
    extra: list[str]


def _plain(value: Any) -> Any:
    """Turn ``(3, 3)`` into 3 and leave other values as they are."""
    if isinstance(value, (tuple, list)):
        return value[0] if len(set(value)) == 1 else list(value)
    return value


def _settings(module: nn.Module, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SETTINGS[kind]:
        found[name] = module.bias is not None if name == "bias" else _plain(getattr(module, name, None))
    if kind == "MaxPool2d" and found["stride"] is None:
        found["stride"] = found["kernel_size"]
    if found.get("padding") == "same":  # the same number of pixels, said in another way
        sizes: tuple[Any, Any] = (module.dilation, module.kernel_size)
        found["padding"] = _plain([d * (k - 1) // 2 for d, k in zip(*sizes, strict=True)])
    elif found.get("padding") == "valid":
        found["padding"] = 0
    return found


def describe(model: nn.Module) -> list[Layer]:
    """List the layers of a network in the order in which they were registered.

    Args:
        model: Any module; one on the meta device will do.

    Returns:
        Convolutions, transposed convolutions, max pools, batch norms, linear layers, and every other layer that owns parameters.
    """
    layers: list[Layer] = []
    seen: dict[int, str] = {}
    for path, module in nn.Module.named_modules(model, remove_duplicate=False):
        kind = next((kind for kind, cls in KINDS.items() if isinstance(module, cls)), None)
        if kind is None:
            if path and any(True for _ in module.parameters(recurse=False)):
                layers.append(Layer(path, type(module).__name__, {}, seen.get(id(module))))
        else:
            layers.append(Layer(path, kind, _settings(module, kind), seen.get(id(module))))
        seen.setdefault(id(module), path)
    return layers


def tensor_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's parameters and saved buffers by their names, as its settings give them; counters of batches are left out."""
    s = layer.settings
    if layer.kind == "BatchNorm2d":
        names = ("weight", "bias") * bool(s["affine"]) + ("running_mean", "running_var") * bool(s["track_running_stats"])
        return dict.fromkeys(names, (s["num_features"],))
    if layer.kind == "Linear":
        return {"weight": (s["out_features"], s["in_features"])} | ({"bias": (s["out_features"],)} if s["bias"] else {})
    if layer.kind not in ("Conv2d", "ConvTranspose2d"):
        return {}
    kernel = s["kernel_size"] if isinstance(s["kernel_size"], list) else [s["kernel_size"]] * 2
    first, second = (s["out_channels"], s["in_channels"]) if layer.kind == "Conv2d" else (s["in_channels"], s["out_channels"])
    return {"weight": (first, second // s["groups"], *kernel)} | ({"bias": (s["out_channels"],)} if s["bias"] else {})


_table_is_closed = False  # while a check builds or runs a network


@contextmanager
def table_closed() -> Iterator[None]:
    """Let nobody ask for the table of layers: what a check is about to judge must have been written, not built from it."""
    global _table_is_closed
    before, _table_is_closed = _table_is_closed, True
    try:
        yield
    finally:
        _table_is_closed = before


def expected_layers(network: str, n_class: int = 12, padding: int = 100) -> list[Layer]:
    """Return the layers with parameters and the pools that a network must have: to be read, and for the checks.

    A network cannot be built from it: it is closed while a check builds one, and not there where work is graded.

    Args:
        network: ``"fcn32s"``, ``"fcn16s"`` or ``"fcn8s"``.
        n_class: Number of classes.
        padding: Padding of ``conv1_1``.

    Raises:
        KeyError: If the network is unknown.
        RuntimeError: If a network asks for it while it is built.
    """
    try:
        from segkit.specification import specified
    except ImportError:
        specified = None  # type: ignore[assignment] # the students' edition has no such file
    if _table_is_closed or specified is None:
        raise RuntimeError("expected_layers is the table that the checks compare with; write the layers of the network out by yourself.")
    return specified(network, n_class, padding)


def _weight_shape(layer: Layer) -> tuple:
    """Sizes that decide whether two layers could take each other's weights."""
    return (layer.kind, *(str(layer.settings.get(key)) for key in SHAPING if layer.kind != "MaxPool2d"))


def _is_named(layer: Layer, spec: Layer, aliases: Mapping[str, Sequence[str]]) -> bool:
    """Whether a layer has an accepted name; it may lie in other modules besides (``parts.features.0`` for ``features.0``)."""
    return any(f".{layer.path}".endswith(f".{name}") for name in (spec.path, *aliases.get(spec.path, ())))


def _by_place(
    found: Sequence[Layer], expected: Sequence[Layer], aliases: Mapping[str, Sequence[str]], run: Sequence[str]
) -> dict[str, Layer]:
    """Give places to the layers that run: where as many of a shape run as must, their order decides, whatever their names."""
    layers = {layer.path: layer for layer in found}
    used = [layers[path] for path in run if path in layers]
    pools = [layer for layer in used if layer.kind == "MaxPool2d"]  # without weights, one object may serve in several places
    once = dict.fromkeys(layer.path for layer in used if layer.kind != "MaxPool2d")
    ran = [layers[path] for path in once] + pools
    matched: dict[str, Layer] = {}
    turns: dict[str, int] = {}
    for shape in dict.fromkeys(map(_weight_shape, expected)):
        places = [spec for spec in expected if _weight_shape(spec) == shape]
        there = [layer for layer in ran if _weight_shape(layer) == shape]
        made = {layer.same_as or layer.path for layer in found if _weight_shape(layer) == shape}
        if places[0].kind != "MaxPool2d" and len(made) != len(places):
            continue  # a run that fails on its way does not reach them all
        if places[0].kind == "MaxPool2d" and all(any(_is_named(f, s, aliases) for f in found) for s in places):
            continue  # pools are all alike: each may stand for another
        for spec, layer in zip(places, there, strict=True) if len(places) == len(there) else ():
            owner = layer.same_as or layer.path
            same = [other for other in found if (other.same_as or other.path) == owner]  # one object under several names
            turns[spec.path] = ran.index(layer)
            matched[spec.path] = next((other for other in same if _is_named(other, spec, aliases)), layer)
    ups = [spec.path for spec in expected if spec.kind == "ConvTranspose2d"]
    in_turn = [turns.get(path, -1) for path in ups]  # they run one after the other: another order is no other naming
    return matched if in_turn == sorted(set(in_turn)) and -1 not in in_turn else {p: m for p, m in matched.items() if p not in ups}


def _match(
    found: Sequence[Layer], expected: Sequence[Layer], aliases: Mapping[str, Sequence[str]], run: Sequence[str] = ()
) -> dict[str, Layer]:
    """Give every expected layer its counterpart: by place in the run, by name, then by order and shape, then by order and kind."""
    matched = _by_place(found, expected, aliases, run)
    owners = {layer.same_as or layer.path for layer in matched.values()}
    free = [layer for layer in found if (layer.same_as or layer.path) not in owners]

    def give(spec: Layer, candidates: Iterable[Layer]) -> None:
        layer = next(iter(candidates), None)
        if layer is not None:
            matched[spec.path] = layer
            free.remove(layer)

    for spec in expected:
        if spec.path not in matched:
            give(spec, (layer for layer in free if layer.kind == spec.kind and _is_named(layer, spec, aliases)))
    owners = {layer.same_as or layer.path for layer in matched.values()}
    free = [layer for layer in free if (layer.same_as or layer.path) not in owners and layer.same_as is None]
    free.sort(key=lambda layer: layer.path not in run)
    for key in (_weight_shape, lambda layer: layer.kind):
        for spec in expected:
            if spec.path not in matched:
                give(spec, (layer for layer in free if key(layer) == key(spec)))
    return matched


def compare_layers(
    found: Sequence[Layer], expected: Sequence[Layer], aliases: Mapping[str, Sequence[str]] | None = None, run: Sequence[str] = ()
) -> LayerMatch:
    """Hold a network's layers against its specification.

    Layers are matched by their place in the run and their shape, where as many of a shape run as must; else by the last part of
    their names (modules may be nested), then by order and shape, then by order and kind. So a misnamed layer is one fault and not
    several, also where its name is that of another layer.

    Args:
        found: What ``describe`` returned.
        expected: What ``expected_layers`` returned.
        aliases: Specified name -> other names that are accepted.
        run: Paths of the layers in the order in which they run, as far as that is known.
    """
    matched = _match(found, expected, aliases or {}, run)
    faults, misnamed = [], set()
    for spec in expected:
        layer = matched.get(spec.path)
        if layer is None:
            shown = ", ".join(f"{key}={value}" for key, value in spec.settings.items() if key not in ("dilation", "groups"))
            faults.append(LayerFault("layer.missing", spec.path, f"{spec.kind}({shown})", None))
            continue
        if not _is_named(layer, spec, aliases or {}) and layer.path not in misnamed:
            misnamed.add(layer.path)
            faults.append(LayerFault("layer.name", spec.path, spec.path, layer.path, layer.path))
        for key, value in spec.settings.items():
            if layer.settings.get(key) != value:
                faults.append(LayerFault(f"layer.{key}", spec.path, value, layer.settings.get(key), layer.path))
    used = {layer.path for layer in matched.values()}
    owners = {layer.same_as or layer.path for layer in matched.values()}
    extra = [
        layer.path for layer in found
        if layer.path not in used and (layer.same_as or layer.path) not in owners and layer.kind != "MaxPool2d"
    ]  # fmt: skip
    return LayerMatch({name: layer.path for name, layer in matched.items()}, faults, extra)
