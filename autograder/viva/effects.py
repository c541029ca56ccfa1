"""What a change does, as it was measured: replies of the changed code held against those of the student's own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autograder.sandbox.capped import capped
from autograder.viva.asking import Asked, Reply
from autograder.viva.drawing import before_and_after
from autograder.viva.maps import map_words
from autograder.viva.sizes import OTHER, SIDES
from autograder.viva.values import differ, kind, shown, value_words

__all__ = ["Effect", "effects", "steady"]

MOST_ERROR = 600  # characters of an error that are shown
ERROR = re.compile(r"[A-Z]\w*(?:Error|Exception|Exit)\b")
DULL = ("NameError", "UnboundLocalError", "AttributeError", "SyntaxError")  # of a name that is gone, or no Python: everybody sees that
RUNS = {"define": "when its cell is run", "build": "when it is built"} | dict.fromkeys(("forward", "maps"), "when the network runs")
RUNS |= dict.fromkeys(("call", "method", "take_steps", "gradients"), "when it is called")
ENDS = {"code.timeout": "It gives no answer in time.", "code.died": "It ends the process.", "code.memory": "It runs out of memory."}
SIZE_WORDS = ("size", "shape", "channels", "dimension")


Found = tuple[Asked, Any, Any]
"""A question, and its values before and after."""


@dataclass(frozen=True)
class Effect:
    """One thing that came out differently.

    Attributes:
        topic: ``"shapes"``, ``"values"`` or ``"learning"``.
        ask: What a question asks about: ``sizes``, ``scores``, ``result``, ``step``, ``error``, ``parameters`` or ``after``.
        rank: How well it can be asked about, from 1.
        words: What was measured.
        given: The input, where a person can work with it; else empty.
        was, now: Results before and after the change, where they are small.
        pictures: Of a map before and after, as data URIs.
    """

    topic: str
    ask: str
    rank: int
    words: str
    given: str = ""
    was: str = ""
    now: str = ""
    pictures: tuple[str, ...] = field(default=(), repr=False)


def steady(asked: Sequence[Asked], replies: Sequence[Reply | None]) -> list[bool]:
    """Which questions the unchanged code answered, and as it did before the checks: random numbers tell nothing of a change.

    Args:
        asked: The questions, with what was replied to the checks.
        replies: What was replied when they were asked again.
    """
    alike = [
        again is not None and again.error is one.reply.error is None and not (one.check and differ(one.reply.value, again.value))
        for one, again in zip(asked, replies, strict=True)
    ]
    random = {one.names for one, same in zip(asked, alike, strict=True) if one.check and one.compared and one.names and not same}
    return [same and one.compared and (bool(one.check) or one.names not in random) for one, same in zip(asked, alike, strict=True)]


def effects(asked: Sequence[Asked], before: Sequence[Reply | None], after: Sequence[Reply | None], counts: Sequence[bool]) -> list[Effect]:
    """All that came out differently, what can be asked about best first.

    Args:
        asked: The questions.
        before, after: The replies without and with the change.
        counts: Which of them are compared.
    """
    found: list[Effect] = list(_errors(asked, before, after))
    scores: list[Found] = []
    trained: list[Found] = []
    calls: list[Found] = []
    for one, was, now, counted in zip(asked, before, after, counts, strict=True):
        if not counted or was is None or now is None or now.error is not None or not differ(was.value, now.value):
            continue
        if one.do == "forward":
            (trained if one.given.get("train") else scores).append((one, was.value, now.value))
        elif one.do == "call" and one.given["name"].startswith("sizes_of_"):
            found += _sizes(was.value, now.value)
        elif one.do == "call":
            calls.append((one, was.value, now.value))
        elif one.do == "take_steps":
            found.append(Effect("learning", "step", 5, _steps(one.given["weights"], was.value, now.value)))
        elif one.do == "shapes":
            found += _parameters(was.value, now.value)
        else:
            found.append(Effect("values", "after", 2, f"{_place(one)}: {value_words(was.value, now.value)}."))
    if any(effect.ask == "parameters" for effect in found):
        scores, trained = [], []  # given weights do not fit: what they would make of the network says nothing
    found += [*_calls(asked, calls), *_scores(scores), *([] if scores else _trained(trained))]
    return sorted({(e.ask, e.words): e for e in reversed(found)}.values(), key=lambda effect: -effect.rank)


def _place(one: Asked) -> str:
    """What a reply tells of."""
    what = {"sample": "The parameters afterwards", "gradients": "The gradients", "maps": "The maps that the network gives"}
    name = one.given.get("name")
    return what.get(one.do, name if isinstance(name, str) and not name.startswith("__") else "The result")


# ----------------------------------------------------------------------------------------------------------------- errors
def _errors(asked: Sequence[Asked], before: Sequence[Reply | None], after: Sequence[Reply | None]) -> Iterator[Effect]:
    """The first error that was not there before."""
    for one, was, now in zip(asked, before, after, strict=True):
        if was is not None and was.error is None and now is not None and now.error is not None and one.check and one.do in RUNS:
            text = capped(str(now.error), MOST_ERROR)
            last = text.rpartition("\n")[2]
            topic = "shapes" if any(word in last for word in SIZE_WORDS) else "values"
            topic = "learning" if one.do == "take_steps" else topic
            kind = match[0] if (match := ERROR.match(last)) else "an error"
            words = ENDS.get(now.error.cause, f"It fails {RUNS[one.do]}, with {kind}.")
            yield Effect(topic, "error", 1 if kind in DULL else 3, words, now=text)
            return


# ------------------------------------------------------------------------------------------------------------------ sizes
def _sizes(before: Any, after: Any) -> Iterator[Effect]:
    """Output sizes for the heights and the widths that were tried."""
    count = len(SIDES)
    if not all(isinstance(sizes, list) and len(sizes) == 2 * count and all(isinstance(s, str) for s in sizes) for sizes in (before, after)):
        return  # a worker's own invention
    words, all_of_them, runs = [], True, False
    for what, first in (("height", 0), ("width", count)):
        pairs = dict(zip(SIDES, zip(before[first : first + count], after[first : first + count], strict=True), strict=True))
        pairs = {side: pair for side, pair in pairs.items() if " x " in pair[0]}  # at the others the network did not run before
        other = {side: pair for side, pair in pairs.items() if pair[0] != pair[1]}
        all_of_them &= len(other) in (0, len(pairs))
        runs |= any(" x " in now for _, now in pairs.values())
        for result, sides in _grouped(other).items():
            was, now = other[sides[0]]
            told = f"it raises {now}" if result == now else f"the output has another size: {now} at {what} {sides[0]}, in place of {was}"
            words.append(f"At {what}{'s' * (len(sides) > 1)} {_ranges(sides)} {capped(told, 200)}.")
        if not other and pairs:
            words.append(f"At no {what} the size of the output changes.")
    tried = f"(Tried: {SIDES.start} to {SIDES.stop - 1} pixels, the other side {OTHER}; sizes are pictures x classes x height x width.)"
    yield Effect("shapes", "sizes", (4 if all_of_them else 6) if runs else 1, " ".join([*words, tried]))


def _grouped(other: Mapping[int, tuple[str, str]]) -> dict[str, list[int]]:
    """Sides with the same kind of result: an error's name, or any size."""
    groups: dict[str, list[int]] = {}
    for side, (_, now) in other.items():
        groups.setdefault("a size" if " x " in now else now, []).append(side)
    return groups


def _ranges(numbers: Sequence[int]) -> str:
    """33 to 51, 60."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)


def _parameters(before: Any, after: Any) -> Iterator[Effect]:
    was, now = (sum(int(np.prod(shape)) for shape in shapes.values()) for shapes in (before, after))
    if was != now:
        yield Effect("shapes", "parameters", 2, f"It has {now:,} parameters in place of {was:,}.")


# ----------------------------------------------------------------------------------------------------------------- values
def _scores(found: Sequence[Found]) -> Iterator[Effect]:
    """Outputs of a network at test time."""
    for _, was, now in found[:1]:
        if was.shape != now.shape:
            words = f"The output has {' x '.join(map(str, now.shape))} values in place of {' x '.join(map(str, was.shape))}."
            yield Effect("shapes", "scores", 4, words, pictures=before_and_after(was, now) or ())
            continue
        words = map_words(was, now) if was.ndim == 4 else f"The output: {value_words(was, now)}."
        rank = 5 if "moved" in words else 2 if "otherwise" in words or was.ndim != 4 else 4
        yield Effect("values", "scores", rank, words, pictures=before_and_after(was, now) or ())


def _trained(found: Sequence[Found]) -> Iterator[Effect]:
    """Outputs of a network in train mode, where those at test time are as before."""
    for _, was, now in found[:1]:
        words = value_words(was, now)
        yield Effect("learning", "mode", 5, f"At test time nothing changes. In train mode, with the same random numbers: {words}.")


def _calls(asked: Sequence[Asked], found: Sequence[Found]) -> Iterator[Effect]:
    """Results of a function: of an input for people if that shows it, else of the first that does."""
    tried = sum(one.do == "call" and not one.small for one in asked)
    shows = sum(not one.small for one, _, _ in found)
    for one, was, now in sorted(found, key=lambda item: not item[0].small)[:1]:
        words = f"{_place(one)}: {value_words(was, now)}."
        given = _given(one)
        if not one.small and tried > 1:
            words += f" It shows for {shows} of {tried} inputs{'' if given else f', first for {_inputs(one)}'}."
        picture = next((pair for pair in map(_pair, [was], [now]) if pair), ())
        yield Effect("values", "result", 5 if given else 4, words, given, shown(was), shown(now), picture)


def _pair(was: Any, now: Any) -> tuple[str, str] | None:
    both = isinstance(was, np.ndarray) and isinstance(now, np.ndarray)
    return before_and_after(was, now) if both else None


def _given(one: Asked) -> str:
    """The arguments of a call in full, where they are small."""
    args = one.given.get("args", ())
    arrays = [value for value in args if isinstance(value, np.ndarray)]
    if not arrays or any(array.size > 40 for array in arrays) or not all(isinstance(v, np.ndarray | int | float) for v in args):
        return ""
    return "\n".join(shown(value) for value in args)


def _inputs(one: Asked) -> str:
    """The arguments of a call by what they are."""
    return capped(", ".join("a file" if isinstance(value, bytes) else kind(value) for value in one.given.get("args", ())), 200)


# --------------------------------------------------------------------------------------------------------------- learning
def _steps(start: Mapping[str, Any], before: Any, after: Any) -> str:
    """What a few steps of training did."""
    words = []
    for number, (was, now) in enumerate(zip(before, after, strict=True), start=1):
        told = []
        if differ(was["returned"], now["returned"]):
            told.append(f"returns {shown(now['returned'])} in place of {shown(was['returned'])}")
        if differ(was["values"], now["values"]):
            told.append(_moved(start if number == 1 else before[number - 2]["values"], was["values"],
                               start if number == 1 else after[number - 2]["values"], now["values"]))  # fmt: skip
        if was["mode"] != now["mode"]:
            told.append(f"runs the network in {'train' if now['mode'] else 'eval'} mode")
        told += [f"{what} {now[key]} times in place of {was[key]}" for key, what in
                 (("backwards", "computes gradients"), ("steps", "steps the optimizer")) if was[key] != now[key]]  # fmt: skip
        if was["graph"] != now["graph"]:
            told.append("returns a loss with its graph" if now["graph"] else "returns a loss without a graph")
        words.append(f"Step {number} {'; '.join(told)}." if told else f"Step {number} does as before.")
    same = {text.split(" ", 2)[2] for text in words}
    return f"Each step {same.pop()}" if len(same) == 1 and len(words) > 1 else " ".join(words)


def _moved(start: Mapping[str, Any], was: Mapping[str, Any], start_now: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How far the weights went, beside how far they went before."""
    far, far_now = (
        float(np.sqrt(sum(float(((end[key] - begin[key]) ** 2).sum()) for key in end))) for begin, end in ((start, was), (start_now, now))
    )
    if far_now <= 1e-7 * max(far, 1.0):
        return "leaves the weights as they were"
    return f"moves the weights by {far_now:.3g} in all, {far:.3g} before"
