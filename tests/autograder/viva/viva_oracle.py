"""What a change really does, found without the viva: the changed cell is put together from the printed lines and run in this process.

Only for the fixtures, which are trusted.
"""

import io
import re
import textwrap
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["verify"]


def namespace(source: str) -> dict[str, Any]:
    """Run a cell."""
    space: dict[str, Any] = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()):
        exec(compile(source, "cell", "exec"), space)
    return space


def printed_change(change) -> str:
    """The cell with the printed lines in the place of those that are printed as they stand."""
    lines, before = change.place.source.split("\n"), change.before.split("\n")
    old = lines[change.line - 1 : change.line - 1 + len(before)]
    assert textwrap.dedent("\n".join(old)) == change.before
    indent = old[0][: len(old[0]) - len(before[0])]
    new = textwrap.indent(change.after, indent).split("\n")
    return "\n".join([*lines[: change.line - 1], *new, *lines[change.line - 1 + len(before) :]])


class Both:
    """The two versions of a definition."""

    def __init__(self, choice) -> None:
        self.choice, self.name = choice, choice.subject.defines
        self.asked = choice.subject.asked
        self.sources = choice.change.place.source, printed_change(choice.change)

    def each(self, what):
        """What comes of both: a value, or the exception."""
        return [self.tried(source, what) for source in self.sources]

    def tried(self, source, what):
        try:
            return what(namespace(source)[self.name])
        except Exception as error:
            return error


def called(function, args):
    """A function called with arrays, or with tensors where it wants those."""
    with redirect_stdout(io.StringIO()):
        try:
            found = function(*[a.copy() if isinstance(a, np.ndarray) else a for a in args])
        except (AttributeError, TypeError):
            found = function(*[torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in args])
    return found.numpy() if isinstance(found, torch.Tensor) else found


def built(cls, asked, eval_mode=True):
    """A network with the weights that the check gave it."""
    model = cls(n_class=3)
    load = next(one for one in asked if one.do == "load")
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for key, value in load.given["source"].items():
            own[key].copy_(torch.from_numpy(value))
    return model.train(not eval_mode)


def output(cls, asked, train=False):
    forward = next(one for one in asked if one.do == "forward" and bool(one.given.get("train")) is train)
    torch.manual_seed(forward.given.get("seed", 0))
    with torch.no_grad():
        return built(cls, asked, not train)(torch.from_numpy(forward.given["x"].copy())).numpy()


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|nan|inf)", text)]


# ------------------------------------------------------------------------------------------------------------ each kind
def verify_result(both, effect) -> None:
    calls = [one for one in both.asked if one.do == "call" and one.names == both.name]
    pairs = [both.each(lambda f, one=one: called(f, one.given["args"])) for one in calls]
    ran = [(one, *pair) for one, pair in zip(calls, pairs, strict=True) if not isinstance(pair[1], Exception)]
    differing = [(one, was, now) for one, was, now in ran if now is None or _unlike(was, now)]
    one, was, now = min(differing, key=lambda item: not item[0].small)
    assert bool(effect.given) == one.small
    if effect.given:
        assert numbers(effect.given) == [float(x) for value in one.given["args"] for x in np.ravel(value)]
    if now is None:
        assert "None" in effect.words
        return
    was, now = np.asarray(was), np.asarray(now)
    if now.size <= 40:
        assert np.allclose(numbers(effect.now), now.ravel(), rtol=1e-3, atol=1e-4, equal_nan=True), (effect.now, now)
    if was.shape == now.shape and now.size > 1 and "numbers differ" in effect.words:
        assert f"{int((was != now).sum())} of {was.size} numbers differ" in effect.words


def _unlike(was, now) -> bool:
    return np.asarray(was).dtype != np.asarray(now).dtype or not np.array_equal(was, now, equal_nan=True)


def verify_scores(both, effect) -> None:
    was, now = both.each(lambda cls: output(cls, both.asked))
    if was.shape != now.shape:
        assert effect.words.startswith(f"The output has {' x '.join(map(str, now.shape))} values")
        return
    told = re.findall(r"of (all classes|class(?:es)? [\d, ]+): ([^;.]*(?:\.\d+[^;.]*)*)", effect.words)
    assert told, effect.words
    for classes, what in told:
        chosen = range(was.shape[1]) if classes == "all classes" else [int(number) for number in re.findall(r"\d+", classes)]
        for one in chosen:
            verify_map(was[0, one], now[0, one], what)
    share = np.mean(was[0].argmax(0) != now[0].argmax(0))
    assert (f"{share:.0%} of the pixels get another class" in effect.words) or (share == 0 and "No pixel" in effect.words)


def verify_map(was, now, what) -> None:
    same = np.allclose(was, now, rtol=1e-3, atol=1e-3 * np.abs(was).max())
    assert same == (what == "as before"), what
    if moved := re.match(r"moved (.*)", what):
        ways = dict.fromkeys(("down", "up", "right", "left"), 0) | {way: int(n) for n, way in
                re.findall(r"(\d+) pixels? (?:to the )?(down|up|right|left)", moved[1])}  # fmt: skip
        rolled = np.roll(was, (ways["down"] - ways["up"], ways["right"] - ways["left"]), (0, 1))
        assert np.isclose(rolled, now, atol=1e-3 * np.abs(was).max())[8:-8, 8:-8].mean() > 0.95
    if factor := re.match(r"multiplied by (.*)", what):
        assert np.allclose(now, was * float(factor[1]), rtol=0.02, atol=0.02 * np.abs(now).max())
    if raised := re.match(r"(raised|lowered) by (\S+)", what):
        assert np.allclose(now - was, float(raised[2]) * (1 if raised[1] == "raised" else -1), rtol=0.02)


def verify_sizes(both, effect) -> None:
    told: dict[tuple[str, int], str] = {}
    for side, ranges, what in re.findall(r"At (height|width)s? ([\d, to]+) (it raises \w+|the output)", effect.words):
        for part in ranges.split(", "):
            first, _, last = part.partition(" to ")
            told |= {(side, number): what for number in range(int(first), int(last or first) + 1)}
    for side, number in [(side, number) for side in ("height", "width") for number in (96, 97, 98, 105, 110, 127, 128)]:
        size = (number, 96) if side == "height" else (96, number)
        was, now = both.each(lambda cls, size=size: size_of(cls, size))
        if isinstance(was, Exception):
            continue
        differs = isinstance(now, Exception) or was != now
        assert differs == ((side, number) in told), (side, number, effect.words)
        if isinstance(now, Exception):
            assert told[side, number] == f"it raises {type(now).__name__}"


def size_of(cls, size):
    with torch.no_grad():
        return cls(n_class=3).eval()(torch.zeros(1, 3, *size)).shape


def verify_mode(both, effect) -> None:
    assert np.allclose(*both.each(lambda cls: output(cls, both.asked)), atol=1e-4)
    was, now = both.each(lambda cls: output(cls, both.asked, train=True))
    assert not np.allclose(was, now)


def verify_step(both, effect) -> None:
    question = next(one for one in both.asked if one.do == "take_steps")
    was, now = both.each(lambda step: steps(step, question.given))
    number = r"(-?[\d.]+(?:e-?\d+)?)"
    told = [tuple(map(float, pair)) for pair in re.findall(rf"returns (?:float )?{number} in place of (?:float )?{number}", effect.words)]
    told += [(np.nan, w[0]) for w in was[: effect.words.count("returns None in place of")]]
    expected = [(float(n[0]), float(w[0])) for w, n in zip(was, now, strict=True) if not np.isclose(w[0], n[0], rtol=1e-4)]
    each = effect.words.startswith("Each step")
    assert np.allclose(told, expected[: 1 if each else None], rtol=1e-3, equal_nan=True), (effect.words, expected)
    still = [n[1] < 1e-9 for n in now]
    assert effect.words.count("leaves the weights as they were") == (sum(still) if not each else any(still))


def steps(step, given):
    """Returned value, and how far the weights went, of each step on the small network."""
    torch.manual_seed(0)  # before layers are drawn, as where it was measured
    layers = [getattr(nn, layer.kind)(**layer.settings) for layer in given["layers"]]
    model = nn.Sequential()
    for layer, module in zip(given["layers"], layers, strict=True):
        model.add_module(layer.path, module)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for key, value in given["weights"].items():
            own[key].copy_(torch.from_numpy(value))
    optimizer, found = torch.optim.SGD(model.parameters(), **given["sgd"]), []
    model.train(False)
    for _, _, images, labels in given["calls"]:
        start = [p.detach().clone() for p in model.parameters()]
        returned = step(model, optimizer, torch.from_numpy(images.copy()), torch.from_numpy(labels.copy()))
        went = sum(float(((p.detach() - s) ** 2).sum()) for p, s in zip(model.parameters(), start, strict=True)) ** 0.5
        found.append((float(returned) if returned is not None else np.nan, went))
    return found


def verify_error(both, effect) -> None:
    was, now = both.each(lambda thing: everything(thing, both))
    assert not isinstance(was, Exception)
    assert isinstance(now, Exception)
    assert effect.words.endswith(f"with {type(now).__name__}."), (effect.words, now)


def everything(thing, both):
    """All that a check asks of a definition."""
    if isinstance(thing, type):
        return output(thing, both.asked), output(thing, both.asked, train=True)
    if both.name == "train_step":
        return steps(thing, next(one for one in both.asked if one.do == "take_steps").given)
    return [called(thing, one.given["args"]) for one in both.asked if one.do == "call" and one.names == both.name and not one.small]


def verify_parameters(both, effect) -> None:
    was, now = both.each(lambda cls: sum(p.numel() for p in cls(n_class=3).parameters()))
    assert f"{now:,} parameters in place of {was:,}" in effect.words


KINDS = {"result": verify_result, "scores": verify_scores, "sizes": verify_sizes, "mode": verify_mode, "step": verify_step,
         "error": verify_error, "parameters": verify_parameters}  # fmt: skip


def verify(choice) -> list[str]:
    """Hold every printed effect of a question against what really happens; returns the kinds that were looked at."""
    both = Both(choice)
    for effect in choice.effects:
        KINDS[effect.ask](both, effect)
    return [effect.ask for effect in choice.effects]
