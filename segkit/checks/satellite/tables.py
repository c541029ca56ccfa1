"""What ``layer_table`` does wrong, on a network of which everything is known because it was drawn, and on VGG-16."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from segkit.checks.satellite.finding import Finding, results
from segkit.student_errors import StudentError
from segkit.subject import Subject

__all__ = ["table_mistakes"]

Row = tuple[str, tuple[int, ...], int]
VGG16 = (39, 138_357_544)  # rows and parameters at (3, 32, 32)
VGG16_ROWS = {
    0: ("features.0", (64, 32, 32)),
    30: ("features.30", (512, 1, 1)),
    31: ("avgpool", (512, 7, 7)),
    38: ("classifier.6", (1000,)),
}
FEWEST = 4  # layers in a table that shows shapes
EXTRAS = ("Sigmoid", "Tanh", "AvgPool2d", "Conv2d", "BatchNorm2d")


class Drawn:
    """A network in a worker of which everything is known, for it is put together here, layer by layer, each behind the one before.

    Its parts stand in a drawn order: a block whose ReLU runs three times and one of whose layers never runs; a frozen convolution that
    runs twice, once in a container of its own; two layers more. Some lie in containers within containers, some have buffers.

    Attributes:
        net: Its handle.
        size: (C, H, W) of an input.
        rows: Layers in the order in which they run, with output shape and parameters; the shared convolution's under its first name, once.
        read: Shapes of their inputs.
        buffers: Name -> numbers that are no parameters.
        containers: Names of the modules that have children.
        shared: Both names of the shared convolution; either will do.
        block: Name of the block.
        leaves: Handles: the first layer, the last, the shared one, a batch norm.
    """

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        self.subject = subject
        channels, width, n = (int(value) for value in rng.choice(np.arange(3, 11), 3, replace=False))
        rows, columns = (4 * int(value) for value in rng.choice(np.arange(3, 7), 2, replace=False))
        self.size = (channels, rows, columns)
        self._shape: tuple[int, ...] = self.size
        self.rows: list[Row] = []
        self.read: list[tuple[int, ...]] = []
        self.buffers: dict[str, int] = {}
        self.containers, self.shared, self.block = {""}, list[str](), ""
        shared, norm = self._build("Conv2d", 4 * width, 4 * width, 3, padding=1), self._build("BatchNorm2d", 4 * width)
        children = [self._layer("0", "Conv2d", 4 * width)]
        for place, kind in enumerate(rng.permutation(["block", "nested", "plain", *rng.choice(EXTRAS, 2)]).tolist(), 1):
            if kind == "block":
                children.append(self._add_block(str(place), width, norm, self._build("Linear", n, channels)))
            elif kind == "plain":
                children.append(self._share(str(place), shared))
            elif kind == "nested":
                self.containers |= {str(place), f"{place}.0"}
                inner = [self._share(f"{place}.0.0", shared), self._layer(f"{place}.0.1", str(rng.choice(EXTRAS)), 4 * width)]
                children.append(self._build("Sequential", self._build("Sequential", *inner)))
            else:
                children.append(self._layer(str(place), kind, 4 * width))
        flat = int(np.prod(self._shape))
        children += [self._build("Flatten"), self._build("Linear", flat, n)]
        self._runs("6", (flat,), 0)
        self._runs("7", (n,), n * (flat + 1))
        subject.method(shared, "requires_grad_", False)  # parameters that are not trained are parameters
        self.net, self.leaves = self._build("Sequential", *children), (children[0], children[-1], shared, norm)

    def _build(self, kind: str, *args: Any, **kwargs: Any) -> str:
        return self.subject.build(f"torch.nn:{kind}", *args, **kwargs)

    def _runs(self, name: str, shape: tuple[int, ...], count: int, norm: bool = False) -> None:
        self.rows.append((name, shape, count))
        self.read.append(self._shape)
        self._shape = shape
        if norm:
            self.buffers[name] = count + 1  # mean and variance of each channel, and a counter

    def _layer(self, name: str, kind: str, wide: int) -> str:
        channels, *size = self._shape
        if kind == "AvgPool2d":
            self._runs(name, (wide, size[0] // 2, size[1] // 2), 0)
            return self._build(kind, 2)
        count = {"Conv2d": wide * (channels + 1), "BatchNorm2d": 2 * wide}.get(kind, 0)
        self._runs(name, (wide, *size), count, kind == "BatchNorm2d")
        return self._build(kind, *{"Conv2d": (channels, wide, 1), "BatchNorm2d": (wide,)}.get(kind, ()))

    def _share(self, name: str, handle: str) -> str:
        wide = self._shape[0]
        self.shared.append(name)
        self._runs(self.shared[0], self._shape, 0 if len(self.shared) > 1 else wide * (9 * wide + 1))
        return handle

    def _add_block(self, name: str, width: int, norm: str, spare: str) -> str:
        """Torchvision's bottleneck of stride 2 (He et al., CVPR 2016, figure 5), whose shortcut runs before the last ReLU."""
        wide, large = 4 * width, self._shape
        rows, columns = (-(-side // 2) for side in large[1:])
        for conv, norm_, shape, count in (
            ("conv1", "bn1", (width, *large[1:]), wide * width), ("conv2", "bn2", (width, rows, columns), 9 * width * width),
            ("conv3", "bn3", (wide, rows, columns), width * wide), ("downsample.0", "downsample.1", (wide, rows, columns), wide * wide),
        ):  # fmt: skip
            self._runs(f"{name}.{conv}", shape, count)
            self._runs(f"{name}.{norm_}", shape, 2 * shape[0], norm=True)
            if conv != "conv3":
                self._runs(f"{name}.relu", shape, 0)
        self.read[-3] = large  # the shortcut reads what the block reads
        shortcut = self._build("Sequential", self._build("Conv2d", wide, wide, 1, stride=2, bias=False), norm)
        block = self.subject.build("torchvision.models.resnet:Bottleneck", wide, width, 2, shortcut)
        self.subject.method(block, "add_module", "spare", spare)
        self.block, self.containers = name, self.containers | {name, f"{name}.downsample"}
        return block


def table_of(subject: Subject, net: str, size: tuple[int, ...]) -> list[Row]:
    """The rows that ``layer_table`` returns, the batch taken off the shapes.

    Raises:
        StudentError: It returns something else.
    """
    asked = subject.build("torch:Size", [*size], module=False)  # a tuple
    _, found = results(subject, "layer_table", net, asked, expected="a list of rows", code="table.rows")
    rows: list[Row] = []
    for row in found:
        try:
            name, (*shape,), count = row
            if not isinstance(name, str):
                raise TypeError
            rows.append((name, tuple(_whole(-1 if side is None else side) for side in shape), _whole(count)))
        except (TypeError, ValueError):
            raise StudentError(
                f"layer_table: expected rows (name, output shape, parameters), but got {str(row)[:100]}.", "table.rows"
            ) from None
    return rows


def _whole(value: Any) -> int:
    """An int, or an array of one number that is whole."""
    number = np.asarray(value).reshape(())
    if number.dtype.kind not in "iuf" or not float(number).is_integer():
        raise ValueError
    return int(number)


def table_mistakes(subject: Subject, rng: np.random.Generator) -> Iterator[Finding]:
    """Try ``layer_table`` on a drawn network in both modes, then on VGG-16.

    Args:
        subject: Who is asked; it knows the function by its name.
        rng: Draws the network.

    Raises:
        StudentError: The function fails, or returns something else than rows.
    """
    drawn = Drawn(subject, rng)
    given = table_of(subject, drawn.net, drawn.size)
    found = [(drawn.shared[0] if name in drawn.shared else name, shape, count) for name, shape, count in given]
    mistakes = [*_rows(found, drawn)]
    if any(mistake.code == "table.names" for mistake in mistakes):  # the rest is judged as if the names were right
        found = _by_order(found, drawn)
    mistakes += [*_shapes(found, drawn), *_parameters(found, drawn)]
    yield from mistakes
    if {mistake.part for mistake in mistakes} == {"rows", "shapes", "parameters"}:
        yield Finding("untouched", "table.rows", "a run that leaves the model as it was", "no row that is right, so perhaps no run")
    else:
        yield from _left(subject, drawn)
    if not mistakes:
        vgg = subject.build("torchvision.models:vgg16", weights=None)
        rows = table_of(subject, vgg, (3, 32, 32))
        subject.forget(vgg)
        counts = len(rows), sum(count for *_, count in rows)
        if counts != VGG16:
            expected, got = ("{} rows and {:,} parameters for VGG-16 at (3, 32, 32)".format(*pair) for pair in (VGG16, counts))
            yield Finding("rows", "table.rows", expected, got)
        elif strange := [row for row, (name, shape) in VGG16_ROWS.items() if rows[row][0] != name or not _among(rows[row][1], {shape})]:
            expected, got = (
                f"{name!r}, {shape} in row {strange[0]} for VGG-16" for name, shape, *_ in (VGG16_ROWS[strange[0]], rows[strange[0]])
            )
            yield Finding("rows", "table.rows", expected, got)


def _rows(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    names, wanted = ([name for name, *_ in rows] for rows in (found, drawn.rows))
    if names == wanted:
        return
    once, containers = list(dict.fromkeys(wanted)), sorted(drawn.containers & set(names), key=len)
    known = (
        ("table.uncalled", (spare := f"{drawn.block}.spare") in names, f"a layer that never runs, {spare}",
         "the list of modules is read in place of hooks in a run"),
        ("table.containers", bool(containers), f"containers too: {', '.join(map(repr, containers))}",
         "every module gets a hook; only those without children are layers"),
        ("table.doubled", names == [name for name in wanted for _ in range(2 if name == drawn.shared[0] else 1)],
         "two rows for each run of a layer that has two names", "it has a hook under each: model.named_modules() names a module once"),
        ("table.once", sorted(names) == sorted(once), "one row for a layer that runs again", "rows are kept by name: list every call"),
        ("table.order", sorted(names) == sorted(wanted), "the right rows in another order", "they are to stand in the order of the calls"),
        ("table.names", bool(names) and not set(names) & set(wanted), f"{len(names)} rows with names such as {names[:1]}",
         f"the first part of a row is the layer's name in model.named_modules(), such as {drawn.block}.conv1"),
    )  # fmt: skip
    shown = f"{len(names)} rows: {', '.join(names[:20])}"
    code, got, why = next(((code, got, why) for code, holds, got, why in known if holds), ("table.rows", shown, ""))
    yield Finding("rows", code, f"{len(wanted)} rows, one for each call of a module without children, in the order of the calls", got, why)


def _by_order(found: list[Row], drawn: Drawn) -> list[Row]:
    """The rows under the names of the runs: as many as there are runs, or those that have the runs' shapes, one after the other."""
    rest = iter(found)
    if len(found) != len(drawn.rows):
        found = [row for _, shape, _ in drawn.rows if (row := next((row for row in rest if _among(row[1], {shape})), None))]
    return [(name, shape, count) for (name, *_), (_, shape, count) in zip(drawn.rows, found, strict=False)]


def _shapes(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    """Of the names that are there: each shape is one that this layer gives."""
    wanted: dict[str, set[tuple[int, ...]]] = {}
    read: dict[str, set[tuple[int, ...]]] = {}
    for (name, shape, _), given in zip(drawn.rows, drawn.read, strict=True):
        wanted.setdefault(name, set()).add(shape)
        read.setdefault(name, set()).add(given)
    rows = [(name, shape) for name, shape, _ in found if name in wanted]
    wrong = [(name, shape) for name, shape in rows if not _among(shape, wanted[name])]
    if wrong or len({name for name, _ in rows}) < FEWEST:
        name, got = (wrong[0][0], str(wrong[0][1])) if wrong else ("0", "none")
        inputs = bool(wrong) and all(_among(shape, read[name]) for name, shape in rows)
        expected = f"{' or '.join(map(str, wanted[name]))} as the output shape of {name!r}"
        yield Finding("shapes", "table.inputs" if inputs else "table.shapes", expected, got,
                      "these are the shapes of what the layers read" if inputs else "")  # fmt: skip


def _among(shape: tuple[int, ...], shapes: set[tuple[int, ...]]) -> bool:
    """Whether a shape is one of these, the batch before it or not."""
    return shape in shapes or (shape[1:] in shapes and shape[0] in (1, -1))


def _parameters(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    wanted = _sums(drawn.rows)
    got = _sums([row for row in found if row[0] in wanted])
    if got == wanted:
        return
    every = {name: count * (1 + (name in drawn.shared)) for name, count in wanted.items()}
    known = (
        ("table.counted_twice", every, "the parameters of a layer that runs twice counted twice", "they count in its first row"),
        ("table.frozen", wanted | {drawn.shared[0]: 0}, "those of a frozen layer left out", "parameters that are not trained count too"),
        ("table.buffers", wanted | {n: wanted[n] + count for n, count in drawn.buffers.items()}, "buffers of batch norms counted too",
         "state_dict() holds them; parameters() does not"),
    )  # fmt: skip
    code, why = "table.parameters", ""
    name = next((name for name in wanted if got.get(name) != wanted[name]), "0")
    words = f"{got.get(name)}"
    for code_, hypothesis, said, because in known:
        if all(got.get(name) in (None, count) for name, count in hypothesis.items()) and got:
            code, words, why = code_, said, because
    yield Finding("parameters", code, f"{wanted[name]} parameters in {name!r}", words, why)


def _sums(rows: list[Row]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, _, count in rows:
        sums[name] += count
    return dict(sums)


def _left(subject: Subject, drawn: Drawn) -> Iterator[Finding]:
    """What is left of the call: mode, hooks, gradients."""
    *_, frozen, norm = drawn.leaves
    for training in (True, False):
        subject.method(drawn.net, "train", training)
        subject.method(frozen, "train", not training)
        table_of(subject, drawn.net, drawn.size)
        modes = [_attribute(subject, handle, "training") for handle in (drawn.net, norm, frozen)]
        if modes != [training, training, not training]:
            whole = modes[:2] != [training, training]
            yield Finding("untouched", "table.mode", f"a model in {'train' if training else 'eval'} mode, and a layer of it in the other, "
                          "to be left so", "another mode" if whole else "the layer in the model's mode",
                          "remember module.training of every module, and give it back", 1.0 if whole else 0.5)  # fmt: skip
            break
    if np.any(subject.method(norm, "get_buffer", "num_batches_tracked")):
        yield Finding("untouched", "table.norm", "batch norms as before", "statistics that have counted the zeros",
                      "model.eval() before the run: in train mode a batch norm learns from what passes")  # fmt: skip
    if any(_attribute(subject, handle, "_forward_hooks") for handle in (*drawn.leaves, drawn.net)):
        yield Finding("untouched", "table.hooks", "no hooks afterwards", "hooks that stay",
                      "keep what register_forward_hook returns, and call remove() on it")  # fmt: skip
    keys = ("0.weight", f"{drawn.block}.conv1.weight")
    found = subject.gradients(drawn.net, np.zeros((1, *drawn.size), np.float32), wrt=(), parameters=keys)["parameters"]
    if subject.call("torch:is_grad_enabled") is not True or any(found[key] is None for key in keys):
        yield Finding("untouched", "table.gradients", "gradients as before", "parameters or torch that no longer compute any",
                      "`with torch.no_grad():` ends by itself")  # fmt: skip


def _attribute(subject: Subject, handle: str, name: str) -> Any:
    return subject.method(handle, "__getattribute__", name)
