"""Which questions one student gets: of the changes that show, one of shapes, one of values, one of learning, of different definitions."""

import ast
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from autograder.judge.run import Run
from autograder.sandbox.client import WorkerSettings
from autograder.viva.asking import Asked, Reply, ask_again, asked_of
from autograder.viva.changes import Change, Changes, Place, changed, places_of
from autograder.viva.effects import Effect, effects, steady
from segkit.handin import alternatives
from segkit.notebooks import Workbook

__all__ = ["TOPICS", "Choice", "Subject", "choose", "subjects_of"]

TOPICS = ("shapes", "values", "learning")
SECONDS = 20.0  # for one reply of changed code; three times as many for all
LONG = 800  # characters by which a line is known
TRIES = {"shapes": 24, "values": 8, "learning": 8, "": 20}  # changes that are measured for a topic; one of a network's values counts twice
INTEREST = (  # what makes a line worth a question -> how much likelier it is drawn
    (r"ceil_mode|Transpose", 12),
    (r"\[[^\]]*\d\s*:", 6),
    (r"ignore_index|zero_grad|backward|\.step\(|\.train\(|\.eval\(", 4),
    (r"[dD]ropout|no_grad|detach", 4),
    (r"axis|dim\b|keepdim|minlength|mean|sum|\bnan|[<>]=?|255", 2),
    (r"padding|stride|dilation", 2),
    (r"\+|return", 1),
)
LEARNING = re.compile(r"[dD]rop(out|[67_(])|\.(train|eval|step|detach|backward)\(|_grad\b|\btraining\b")
LAYER = re.compile(r"\b(Conv|Linear|BatchNorm|ConvTranspose)\w*\(")
WIDE = 16  # numbers from here on are numbers of channels, unless they have a name

NOTHING = Effect(
    "values", "matter", 1, "No: nothing of what the checks ask came out differently, nor the size of an output where sizes were tried."
)


@dataclass
class Subject:
    """One of a student's definitions, as it is asked about.

    Attributes:
        run: The open run.
        grade_id, defines: Of the solution cell.
        asked: What is asked of it.
        places: Where it stands.
    """

    run: Run
    grade_id: str
    defines: str
    asked: list[Asked]
    places: list[Place]

    def _settings(self) -> WorkerSettings:
        return replace(self.run.worker_settings(), seconds=SECONDS, total_seconds=3 * SECONDS)

    @cached_property
    def before(self) -> list[Reply | None]:
        """What the unchanged code replies."""
        return ask_again(self._settings(), self.asked)

    @cached_property
    def counts(self) -> list[bool]:
        """Which of these replies are compared."""
        return steady(self.asked, self.before)

    @cached_property
    def changes(self) -> list[Changes]:
        """Its changes, of each place; none where nothing can be compared."""
        return [Changes(place) for place in self.places] if any(self.counts) else []

    @property
    def is_network(self) -> bool:
        """Whether it is run on pictures."""
        return any(one.do in ("forward", "maps") and one.reply.error is None for one in self.asked)

    @property
    def is_step(self) -> bool:
        """Whether it trains."""
        return any(one.do == "take_steps" for one in self.asked)

    @cached_property
    def sized(self) -> int:
        """How many of the questions, from the first on, tell the sizes of outputs and nothing else; 0 where none does."""
        return next((number + 1 for number, one in enumerate(self.asked) if not one.check and one.do == "call" and not one.small), 0)

    def measure(self, change: Change, most: int | None = None) -> list[Effect]:
        """What a change does.

        Args:
            change: The change.
            most: Ask so many questions only.
        """
        asked = self.asked[:most]
        after = ask_again(self._settings(), asked, lambda program: changed(program, change), self.before)
        found = effects(asked, self.before[:most], after, self.counts[:most])
        learns = LEARNING.search(change.before) is not None
        return [replace(effect, topic="learning") if learns and effect.topic == "values" else effect for effect in found]

    def named(self, number: int) -> Change | None:
        """A change by its number; None where there is none."""
        found = (changes.write(number) for changes in self.changes if number in changes.lines)
        return next((change for change in found if change is not None), None)


@dataclass(frozen=True)
class Choice:
    """A question: a change with what it does."""

    subject: Subject
    change: Change
    effects: tuple[Effect, ...]

    @property
    def topic(self) -> str:
        """What its foremost effect is about."""
        return self.effects[0].topic

    @property
    def line(self) -> str:
        """The line that is asked about, the same for everybody who wrote it."""
        return f"{self.subject.defines}: {' '.join(self.change.before.split())}"[:LONG]

    @property
    def key(self) -> str:
        """The very change, likewise."""
        return f"{self.line} => {' '.join(self.change.after.split())}"[: 2 * LONG]

    @property
    def name(self) -> str:
        """How the command names it."""
        return f"{self.subject.grade_id}-{self.change.number:03d}"


def subjects_of(run: Run, workbook: Workbook, asked: Sequence[Asked]) -> list[Subject]:
    """The definitions of a student that run.

    Args:
        run: The open run.
        workbook: The student's work.
        asked: What the checks asked of it.
    """
    found = []
    for grade_id, name in run.rubric.defines.items():
        checks = {check.id for check in run.wanted_checks.values() if any(grade_id in alternatives(needs) for needs in check.needs)}
        definition = workbook.find(name)
        if definition is not None and any(one.check in checks and one.names and one.reply.error is None for one in asked):
            places = places_of(workbook.program(definition), name)
            found += [Subject(run, grade_id, name, asked_of(asked, checks, name), places)] if places else []
    return found


# ---------------------------------------------------------------------------------------------------------------- drawing
def drawn(subject: Subject, rng: random.Random, topic: str) -> Iterator[Change]:
    """Changes of a definition, one of each line and then another one; lines that promise most are likelier first."""
    lines: dict[tuple[int, int], list[int]] = {}
    for at, changes in enumerate(subject.changes):
        for number, line in changes.lines.items():
            lines.setdefault((at, line), []).append(number)
    weights = {key: _interest(subject.changes[key[0]].place, key[1], topic) for key in lines}
    order = sorted(lines, key=lambda key: rng.random() ** (1 / weights[key]), reverse=True)
    streams = {key: _of_line(subject.changes[key[0]], rng.sample(lines[key], len(lines[key]))) for key in order}
    while streams:
        for key, stream in list(streams.items()):
            if (change := next(stream, None)) is None:
                del streams[key]
            else:
                yield change


def _of_line(changes: Changes, numbers: list[int]) -> Iterator[Change]:
    """The changes of one line that are worth a question, those that can be reasoned about first."""
    for number in sorted(numbers, key=lambda number: not changes.promises(number)):
        change = changes.write(number)
        if change is not None and not _dull(change):
            yield change


def _interest(place: Place, line: int, topic: str) -> float:
    text = place.source.split("\n")[line - 1]
    found = 1.0 + sum(worth for pattern, worth in INTEREST if re.search(pattern, text))
    return 4 * found if topic == "learning" and LEARNING.search(text) else found


def _dull(change: Change) -> bool:
    """Whether everybody sees at once what a change does: a name that is gone, numbers of channels that do not fit."""
    if change.kind == "removed":
        try:
            target = ast.parse(change.old).body[0]
        except SyntaxError:
            return True
        return isinstance(target, ast.Assign) and isinstance(target.targets[0], ast.Name | ast.Attribute | ast.Tuple)
    if LAYER.search(change.before) and not change.keyword:
        return change.kind == "exchanged" or (change.kind == "constant" and abs(float(change.old)) >= WIDE)
    return False


# --------------------------------------------------------------------------------------------------------------- choosing
class _Search:
    """The search for one student's questions."""

    def __init__(self, subjects: Sequence[Subject], rng: random.Random, avoid: Collection[tuple[str, str]], seconds: float) -> None:
        self.subjects, self.rng = list(subjects), rng
        self.lines, self.changes = {line for line, _ in avoid}, {key for _, key in avoid}
        self.loose = False
        self.ends = time.monotonic() + seconds
        self.over = False
        self.found: list[Choice] = []
        self.spare: list[Choice] = []
        self.still: list[Choice] = []  # that change nothing
        self.tried: set[str] = set()

    def look_for(self, topic: str) -> Choice | None:
        """The next question: one that shows something of a topic well, else the best that was seen on the way."""
        tries = TRIES[topic]
        for subject, change in self._candidates(topic):
            choice = Choice(subject, change, ())
            if choice.key in self.tried or not self._lines().isdisjoint((choice.line, choice.key)):
                continue
            self.over = time.monotonic() > self.ends
            if tries <= 0 or self.over:
                break
            quick = topic == "shapes" and subject.sized
            tries -= 2 if subject.is_network and not quick else 1
            if quick and not any(effect.rank > 3 for effect in subject.measure(change, subject.sized)):
                continue
            self.tried.add(choice.key)
            choice = replace(choice, effects=tuple(effect for effect in subject.measure(change) if effect.rank > 1))
            if not choice.effects:
                self.still += [choice] if change.kind in ("argument", "truth") else []
                continue
            self.spare.append(choice)
            if choice.topic in (topic, topic or choice.topic) and choice.effects[0].rank > 3:
                return self._taken(choice)
        return self._taken(self._best(topic))

    def _lines(self) -> set[str]:
        """What is not asked about: lines that the neighbour is asked about, or this student already; at last only the same changes."""
        return self.changes if self.loose else self.lines | self.changes | {one.line for one in self.found}

    def _candidates(self, topic: str) -> Iterator[tuple[Subject, Change]]:
        """Changes that may show something of a topic, one of each definition in turn."""
        subjects = [subject for subject in self.subjects if _has(subject, topic)]
        self.rng.shuffle(subjects)
        subjects.sort(key=lambda subject: (sum(one.subject is subject for one in self.found), topic == "learning" and not subject.is_step))
        streams = {subject.defines: (subject, drawn(subject, self.rng, topic)) for subject in subjects}
        while streams:
            for name, (subject, stream) in list(streams.items()):
                change = next(stream, None)
                if change is None:
                    del streams[name]
                else:
                    yield subject, change

    def _best(self, topic: str) -> Choice | None:
        """The best of what was seen: of another definition than those that are there, and no second error."""
        no_error = topic and any(one.effects[0].ask == "error" for one in self.found)
        left = [one for one in self.spare if topic in ("", one.topic) and not (no_error and one.effects[0].ask == "error")]
        left = [one for one in left if self.loose or one.line not in self._lines()]
        subjects = [one.subject for one in self.found]
        return min(left, key=lambda one: (subjects.count(one.subject), -one.effects[0].rank), default=None)

    def _taken(self, choice: Choice | None) -> Choice | None:
        if choice is not None:
            self.spare = [one for one in self.spare if one is not choice]
            self.found.append(choice)
        return choice


def _has(subject: Subject, topic: str) -> bool:
    """Whether changes of a definition may show something of a topic."""
    if topic == "shapes":
        return subject.is_network
    if topic == "learning":
        return subject.is_step or any(LEARNING.search(place.source) for place in subject.places)
    return topic == "" or not subject.is_step


def choose(
    subjects: Sequence[Subject], questions: int, rng: random.Random, avoid: Collection[tuple[str, str]], seconds: float,
    progress: Callable[[int], Any] = lambda found: None,
) -> tuple[list[Choice], bool]:  # fmt: skip
    """Choose the questions of one student: one of each topic in turn, then whatever shows.

    Args:
        subjects: The student's definitions.
        questions: How many.
        rng: Draws.
        avoid: (line, key) of the neighbour's questions (see ``Choice``). Where too little else shows, another change of such a line may do,
            but never the same.
        seconds: After so many no further change is measured.
        progress: Told how many are found.

    Returns:
        At most so many, fewer where nothing else showed anything, or the time was over; and whether it was.
    """
    search = _Search(subjects, rng, avoid, seconds)
    for topic in [*(TOPICS[number % len(TOPICS)] for number in range(questions)), *[""] * (questions + 1)]:
        if len(search.found) < questions and search.look_for(topic) is None and not topic:
            search.loose = True
        progress(len(search.found))
    found = [*search.found, *(replace(one, effects=(NOTHING,)) for one in search.still)][:questions]
    return sorted(found, key=lambda one: TOPICS.index(one.topic)), search.over
