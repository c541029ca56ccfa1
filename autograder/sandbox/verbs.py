"""The questions that a judge may ask of a worker, once: how each is sent, how long it may take, and how its reply is looked at.

Names, arguments and defaults are those of ``Questions``. ``Asks`` derives a method for each, which ``RemoteSubject`` sends through the
pipe and ``Student`` passes on; the worker answers with the methods of ``segkit.subject.LocalSubject``. A new question is one line
here, one in the protocol, and its implementation there.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from autograder.sandbox import received
from autograder.sandbox.arguments import plain
from segkit.layer import Layer
from segkit.subject import Subject

__all__ = ["VERBS", "Asks", "Questions", "Verb", "Worker", "packed"]

HANDLE = 40  # characters of the name of an object in a worker
TRACE_SECONDS = 20.0  # a run without values takes some hundredths of a second
GATE_SECONDS = 180.0  # for a checkpoint, or a prediction
TRAINING_GRACE = 120.0  # seconds for what comes after the last step

Asked = Mapping[str, Any]
"""Arguments of one question by name, defaults filled in."""


class Questions(Subject, Protocol):
    """What a judge may ask; beside what checks ask, what only gates do."""

    def retrain(self, handle: str, *, seconds: float, **how: Any) -> dict[str, Any]:
        """Train a network, at most for so many seconds (see ``autograder.sandbox.retraining``)."""
        ...


class Worker(Questions, Protocol):
    """What a judge asks: a process that runs a student's code, or what stands in its place.

    Attributes:
        device: Where networks predict: ``"cpu"`` or ``"cuda"``.
        strange: Whether a student's code runs in it.
    """

    device: str
    strange: bool

    def close(self) -> None:
        """End the process; the next question gets a fresh one."""
        ...


@dataclass(frozen=True)
class Verb:
    """One question.

    Attributes:
        receive: (reply, what was asked) -> what the check gets: nothing reaches it unseen (see ``autograder.sandbox.received``).
        pack: Name of an argument -> (its value, index of the weight file) -> what is sent in its place.
        sent_as: Name of an argument -> its name in the message, where that is another.
        seconds: What was asked -> wall-clock limit, in seconds; None for that of the worker's settings.
        needs: The argument that names a definition, which must have been run before, unless it is a handle; empty for none.
    """

    receive: Callable[[Any, Asked], Any]
    pack: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = field(default_factory=dict)
    sent_as: Mapping[str, str] = field(default_factory=dict)
    seconds: Callable[[Asked], float] | None = None
    needs: str = ""


def _nothing(found: Any, asked: Asked) -> None:
    """No reply is of interest."""


def _places(source: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
    """Places in the weight file for names: what lies where in it is no worker's business."""
    return {key: index[values] if isinstance(values, str) else values for key, values in source.items()}


def _as_json(layers: Sequence[Layer], _: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [layer.to_json() for layer in layers]


VERBS: dict[str, Verb] = {
    "define": Verb(_nothing, pack={"program": lambda program, _: program.to_json()}),
    "call": Verb(lambda found, asked: received.value(found, f"{asked['name']}()"), needs="name"),
    "method": Verb(lambda found, asked: received.value(found, f"{asked['name']}()", tree=True)),
    "build": Verb(lambda found, asked: received.text(found, f"{asked['name']}: its handle", HANDLE), needs="name"),
    "carrier": Verb(lambda found, _: received.text(found, "a network's handle", HANDLE), needs="like",
                    pack={"layers": _as_json}),
    "describe": Verb(lambda found, _: received.layers(found, "the list of layers")),
    "trace": Verb(lambda found, _: received.steps(found, "the order of the layers"), seconds=lambda _: TRACE_SECONDS),
    "shapes": Verb(lambda found, _: received.shapes(found, "the list of parameters")),
    "load": Verb(_nothing, pack={"source": _places}),
    "sample": Verb(lambda found, asked: received.samples(found, "the parameters' values", asked["indices"])),
    "change": Verb(_nothing),
    "forward": Verb(lambda found, _: received.tensor(found, "forward")),
    "maps": Verb(lambda found, asked: received.maps(found, "forward", asked["names"])),
    "gradients": Verb(lambda found, asked: received.gradients(found, "the gradients", asked), needs="name"),
    "take_steps": Verb(lambda found, asked: received.steps_taken(found, f"{asked['name']}()", len(asked["calls"]), asked["weights"]),
                       needs="name", pack={"layers": _as_json}),
    "load_checkpoint": Verb(lambda found, _: received.names(found, "the checkpoint's further tensors", 1000),
                            seconds=lambda _: GATE_SECONDS),
    "predict": Verb(lambda found, asked: received.gate_maps(found, "a prediction", asked["x"].shape, asked["kind"]),
                    seconds=lambda _: GATE_SECONDS),
    "retrain": Verb(lambda found, _: received.training(found, "the training"), sent_as={"seconds": "time"},
                    seconds=lambda asked: asked["seconds"] + TRAINING_GRACE),
    "peak_bytes": Verb(lambda found, _: received.whole(found, "the memory used", 0, 2**50)),
    "probe": Verb(_nothing, seconds=lambda _: GATE_SECONDS),
    "forget": Verb(_nothing),
}  # fmt: skip


def packed(do: str, asked: Asked, index: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a question, ready to be sent.

    Args:
        do: The question.
        asked: Its arguments.
        index: Of the weight file.

    Raises:
        TypeError: One cannot be sent; the text names it by its place or its name.
    """
    verb, sent = VERBS[do], {}
    for name, value in asked.items():
        if name in verb.pack:
            value = verb.pack[name](value, index)
        where = f"{do}({asked['name']!r}), argument" if name in ("args", "kwargs") else f"{do}, {name}"
        if name == "args":
            value = [plain(item, f"{where} {number}") for number, item in enumerate(value, start=1)]
        elif name == "kwargs":
            value = {key: plain(item, f"{where} {key}") for key, item in value.items()}
        else:
            value = plain(value, where)
        sent[verb.sent_as.get(name, name)] = value
    return sent


class Asks:
    """Has a method for each question; what becomes of it is said by ``put``."""

    if TYPE_CHECKING:  # the loop at the end of this file derives them
        define, call, method, build, carrier = Questions.define, Questions.call, Questions.method, Questions.build, Questions.carrier
        describe, trace, shapes, load, sample = Questions.describe, Questions.trace, Questions.shapes, Questions.load, Questions.sample
        change, forward, maps, load_checkpoint = Questions.change, Questions.forward, Questions.maps, Questions.load_checkpoint
        gradients, take_steps = Questions.gradients, Questions.take_steps
        predict, retrain, peak_bytes, forget = Questions.predict, Questions.retrain, Questions.peak_bytes, Questions.forget
        probe = Questions.probe

    def put(self, do: str, given: inspect.BoundArguments) -> Any:
        """Ask.

        Args:
            do: The question.
            given: The arguments that were given, without defaults.
        """
        raise NotImplementedError


def _method(do: str) -> Callable[..., Any]:
    question = getattr(Questions, do)
    signature = inspect.signature(question)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])  # without self

    @functools.wraps(question)
    def ask(self: Asks, *args: Any, **kwargs: Any) -> Any:
        return self.put(do, signature.bind(*args, **kwargs))

    return ask


for _do in VERBS:
    setattr(Asks, _do, _method(_do))
