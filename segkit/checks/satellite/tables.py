"""What ``layer_table`` does wrong, on a network of which everything is known because it was drawn, and on VGG-16."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.checks.satellite.finding import Finding, results
from segkit.student_errors import StudentError
from segkit.subject import Subject

__all__ = ["table_mistakes"]

Row = tuple[str, tuple[int, ...], int]
VGG16 = (39, 138_357_544)  # rows and parameters at (3, 32, 32)
SPARE = "1.spare"
CONTAINERS = {"", "1", "1.downsample", "2"}
SHARED = ("2.0", "3")  # one convolution under two names; either will do


@dataclass(frozen=True)
class Drawn:
    """A network in a worker, and what is known of it.

    Attributes:
        net: Its handle.
        leaves: Handles of some of its layers, the third a batch norm.
        size: Handle of the size of an input: a tuple.
        rows: Layers in the order in which they run, with output shape and parameters; those of the shared convolution count once.
        read: Shapes of their inputs.
        buffers: Name -> numbers that are no parameters.
    """

    net: str
    leaves: tuple[str, ...]
    size: str
    rows: list[Row]
    read: list[tuple[int, ...]]
    buffers: dict[str, int]


def draw(subject: Subject, rng: np.random.Generator) -> Drawn:
    """Draw a network: containers in containers, a ReLU that runs three times, a shared convolution, a layer that never runs, buffers."""
    a, b, c, n = (int(value) for value in rng.choice(np.arange(3, 11), 4, replace=False))
    rows, columns = (2 * int(value) for value in rng.choice(np.arange(6, 12), 2, replace=False))
    wide, nn = 4 * b, "torch.nn:"
    first = subject.build(f"{nn}Conv2d", a, c, 3, padding=1)
    norm = subject.build(f"{nn}BatchNorm2d", wide)
    shortcut = subject.build(f"{nn}Sequential", subject.build(f"{nn}Conv2d", c, wide, 1, stride=2, bias=False), norm)
    block = subject.build("torchvision.models.resnet:Bottleneck", c, b, 2, shortcut)
    subject.method(block, "add_module", "spare", subject.build(f"{nn}Linear", n, a))
    shared = subject.build(f"{nn}Conv2d", wide, wide, 3, padding=1)
    inner = subject.build(f"{nn}Sequential", shared, subject.build(f"{nn}Sigmoid"))
    last = subject.build(f"{nn}Linear", wide * rows * columns // 4, n)
    net = subject.build(f"{nn}Sequential", first, block, inner, shared, subject.build(f"{nn}Flatten"), last)
    large, small = (rows, columns), (rows // 2, columns // 2)
    outputs: list[Row] = [
        ("0", (c, *large), 9 * a * c + c),
        ("1.conv1", (b, *large), b * c), ("1.bn1", (b, *large), 2 * b), ("1.relu", (b, *large), 0),
        ("1.conv2", (b, *small), 9 * b * b), ("1.bn2", (b, *small), 2 * b), ("1.relu", (b, *small), 0),
        ("1.conv3", (wide, *small), b * wide), ("1.bn3", (wide, *small), 2 * wide),
        ("1.downsample.0", (wide, *small), c * wide), ("1.downsample.1", (wide, *small), 2 * wide), ("1.relu", (wide, *small), 0),
        ("2.0", (wide, *small), 9 * wide * wide + wide), ("2.1", (wide, *small), 0), ("3", (wide, *small), 0),
        ("4", (wide * rows * columns // 4,), 0), ("5", (n,), n * (wide * rows * columns // 4 + 1)),
    ]  # fmt: skip
    read = [(a, *large), *(shape for _, shape, _ in outputs[:-1])]
    read[9] = outputs[0][1]  # the shortcut reads what the block reads
    buffers = {name: count + 1 for name, _, count in outputs if "bn" in name or name == "1.downsample.1"}
    size = subject.build("torch:Size", [a, *large], module=False)
    return Drawn(net, (first, shared, norm, last), size, outputs, read, buffers)


def table_of(subject: Subject, net: str, size: str) -> list[Row]:
    """The rows that ``layer_table`` returns, the batch taken off the shapes.

    Raises:
        StudentError: It returns something else.
    """
    _, found = results(subject, "layer_table", net, size, expected="a list of rows", code="table.rows")
    rows: list[Row] = []
    for row in found:
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and _whole(row[2]) and isinstance(row[1], list)):
            raise StudentError(f"layer_table: expected rows (name, output shape, parameters), but got {str(row)[:100]}.", "table.rows")
        rows.append((row[0], tuple(row[1]), int(row[2])))
    return rows


def _one_name(name: str) -> str:
    return SHARED[0] if name in SHARED else name


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.ndarray)) and not isinstance(value, bool) and np.size(value) == 1


def table_mistakes(subject: Subject, rng: np.random.Generator) -> Iterator[Finding]:
    """Try ``layer_table`` on a drawn network in both modes, then on VGG-16.

    Args:
        subject: Who is asked; it knows the function by its name.
        rng: Draws the network.

    Raises:
        StudentError: The function fails, or returns something else than rows.
    """
    drawn = draw(subject, rng)
    found = table_of(subject, drawn.net, drawn.size)
    mistakes = [*_rows(found, drawn)]
    if any(mistake.code == "table.names" for mistake in mistakes):  # the rest is judged as if the names were right
        found = [(name, shape, count) for (name, *_), (_, shape, count) in zip(drawn.rows, found, strict=True)]
    mistakes += [*_shapes(found, drawn), *_parameters(found, drawn)]
    yield from mistakes
    yield from _left(subject, drawn)
    if not mistakes:
        vgg, size = subject.build("torchvision.models:vgg16", weights=None), subject.build("torch:Size", [3, 32, 32], module=False)
        rows = table_of(subject, vgg, size)
        subject.forget(vgg)
        counts = len(rows), sum(count for *_, count in rows)
        if counts != VGG16:
            expected, got = ("{} rows and {:,} parameters for VGG-16 at (3, 32, 32)".format(*pair) for pair in (VGG16, counts))
            yield Finding("rows", "table.rows", expected, got)


def _rows(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    names, wanted = ([_one_name(name) for name, *_ in rows] for rows in (found, drawn.rows))
    if names == wanted:
        return
    once, containers = list(dict.fromkeys(wanted)), sorted(CONTAINERS & set(names), key=len)
    known = (
        ("table.uncalled", SPARE in names, f"a layer that never runs, {SPARE}", "the list of modules is read in place of hooks in a run"),
        ("table.containers", bool(containers), f"containers too: {', '.join(map(repr, containers))}",
         "every module gets a hook; only those without children are layers"),
        ("table.doubled", names == [name for name in wanted for _ in range(2 if name == SHARED[0] else 1)],
         "two rows for each run of a layer that has two names", "it has a hook under each: model.named_modules() names a module once"),
        ("table.once", sorted(names) == sorted(once), "one row for a layer that runs again", "rows are kept by name: list every call"),
        ("table.order", sorted(names) == sorted(wanted), "the right rows in another order", "they are to stand in the order of the calls"),
        ("table.names", len(names) == len(wanted) and not set(names) & set(wanted), f"names such as {names[:1]}",
         "the first part of a row is the layer's name in model.named_modules(), such as '1.conv1'"),
    )  # fmt: skip
    shown = f"{len(names)} rows: {', '.join(names[:20])}"
    code, got, why = next(((code, got, why) for code, holds, got, why in known if holds), ("table.rows", shown, ""))
    yield Finding("rows", code, f"{len(wanted)} rows, one for each call of a module without children, in the order of the calls", got, why)


def _shapes(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    """Of the names that are there: each shape is one that this layer gives."""
    wanted: dict[str, set[tuple[int, ...]]] = {}
    read: dict[str, set[tuple[int, ...]]] = {}
    for (name, shape, _), given in zip(drawn.rows, drawn.read, strict=True):
        wanted.setdefault(name, set()).add(shape)
        read.setdefault(name, set()).add(given)
    rows = [(name, shape) for name, shape, _ in found if name in wanted]
    wrong = [(name, shape) for name, shape in rows if not _among(shape, wanted[name])]
    if wrong or not rows:
        name, got = (wrong[0][0], str(wrong[0][1])) if wrong else ("0", "none")
        inputs = bool(wrong) and all(_among(shape, read[name]) for name, shape in rows)
        expected = f"{' or '.join(map(str, wanted[name]))} as the output shape of {name!r}"
        yield Finding("shapes", "table.inputs" if inputs else "table.shapes", expected, got,
                      "these are the shapes of what the layers read" if inputs else "")  # fmt: skip


def _among(shape: tuple[int, ...], shapes: set[tuple[int, ...]]) -> bool:
    """Whether a shape is one of these, the batch before it or not."""
    return shape in shapes or (shape[1:] in shapes and shape[0] in (1, -1, None))


def _parameters(found: list[Row], drawn: Drawn) -> Iterator[Finding]:
    wanted, got = _sums(drawn.rows), _sums([row for row in found if row[0] in {name for name, *_ in drawn.rows}])
    if got == wanted:
        return
    runs = [name for name, *_ in drawn.rows]
    every = {name: count * (sum(n in SHARED for n in runs) if name in SHARED else 1) for name, count in wanted.items()}
    known = (
        ("table.counted_twice", every, "the parameters of a layer that runs twice counted twice", "they count in its first row"),
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
    sums: dict[str, int] = {}
    for name, _, count in rows:
        sums[_one_name(name)] = sums.get(_one_name(name), 0) + count
    return sums


def _left(subject: Subject, drawn: Drawn) -> Iterator[Finding]:
    """What is left of the call: mode, hooks, gradients."""
    frozen, norm = drawn.leaves[1:3]
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
    keys = ("0.weight", "1.conv1.weight")
    size = _attribute(subject, drawn.leaves[0], "in_channels"), *drawn.rows[0][1][1:]
    found = subject.gradients(drawn.net, np.zeros((1, *size), np.float32), wrt=(), parameters=keys)["parameters"]
    if subject.call("torch:is_grad_enabled") is not True or any(found[key] is None for key in keys):
        yield Finding("untouched", "table.gradients", "gradients as before", "parameters or torch that no longer compute any",
                      "`with torch.no_grad():` ends by itself")  # fmt: skip


def _attribute(subject: Subject, handle: str, name: str) -> Any:
    return subject.method(handle, "__getattribute__", name)
