"""Entries of the exam: small changes to a correct submission, each with the exact result it must get.

They lie in the assignment's folder ``corpus/``. TOML files hold changes of source text; ``damaged.py`` and ``attacks.py``
hold functions for what is no change of text (``build(folder, notebooks)``, registered with ``@entry``). The forms of damage that all
assignments share are in ``forms.py``.

One entry in TOML::

    [[mutants]]
    name = "crop-one-row-late"            # unique within its kind
    about = "wrong crop"                  # line of the specification that it belongs to
    cell = "fcn32s"                       # grade id of the solution cell
    change = [["19 : 19 + height", "20 : 20 + height"]]     # old text -> new text, wherever it stands in the cell
    lost = { "fcn32s.crop" = ["rows"] }   # parts that are lost; all other parts of all other checks are earned
    cause = "crop.shift"                  # stable cause code of a lost check
    says = "begins at row 20"             # words (or measured values) of its message

What a check loses is written as its parts: ``["rows"]``; with shares of them, ``{ layers = 0.045 }``; ``"all"`` of it; or ``"open"``
where it cannot be graded, but waits for a person. How many points that makes is the rubric's affair.

``{{padding}}`` and the like in texts stand for numbers of the rubric.

In place of ``change``: ``source`` (a whole new cell). Beside it: ``also`` (grade id -> changes of further cells), ``above``
(new cells right above), ``files`` (path -> text), ``note`` (words of the result's notes), ``unseen`` (why no visible check
tells the student), ``checks`` (graded beyond, or in place of, those that the cell touches). An entry of the kind ``real`` stands
for something that was seen outside, in public code or a report, and says in ``origin`` where: a repository, a thread. Its
code is written anew, and what it must lose is written before it is ever graded.
"""

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from autograder.course.assignment import open_assignment
from autograder.course.numbers import values_of, write_template
from autograder.course.rubric import CheckRubric, Rubric, RubricError

__all__ = ["KINDS", "Corpus", "CorpusError", "Entry", "entry_list", "read_corpus"]

KINDS = ("mutants", "visible", "variants", "damaged", "real", "attacks", "year", "generated", "leaks")
SHOWN = 12  # faults in one message
TEXT_KINDS = ("mutants", "variants", "real", "attacks", "year")


Loss = str | Mapping[str, float]


class CorpusError(Exception):
    """An entry cannot be used: a fault of the corpus, not of the grader."""


@dataclass(frozen=True)
class Entry:
    """One submission of the exam and the result it must get.

    Attributes:
        kind: One of ``KINDS``.
        name: Unique within its kind.
        about: What it stands for.
        changes: Grade id -> (old, new) texts.
        sources: Grade id -> whole new source.
        above: Grade id -> sources of new cells right above that cell.
        files: Path in the submission -> text.
        build: Name of a function that damages the submission, or an empty string.
        damages: What this function is told beside folder and notebooks.
        checks: Ids of the checks it is graded in.
        lost: Check id -> what it must lose: ``"all"``, ``"open"`` (it cannot be graded), or part -> share. The others of ``checks``
            lose nothing.
        cause: Cause code that a lost check must carry; empty for none.
        says: Words that the messages of the lost checks must hold.
        note: Words that the result's notes must hold.
        unseen: Why no visible check tells the student, or an empty string.
        overrides: Rubric settings that differ.
        seconds: Wall-clock limit of one reply.
        unreadable: Whether the submission as a whole cannot be read.
        equivalent: Of a generated mutant: why it may keep its points, or an empty string.
        origin: Of the kind ``real``: where it was seen.
        control: Ids of the checks in which an honest submission is graded before and after it (see ``control.py``); none for no such
            comparison.
    """

    kind: str
    name: str
    about: str = ""
    changes: Mapping[str, list] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    above: Mapping[str, list] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    build: str = ""
    damages: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    lost: Mapping[str, Loss] = field(default_factory=dict)
    cause: str = ""
    says: tuple[str, ...] = ()
    note: tuple[str, ...] = ()
    unseen: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    unreadable: bool = False
    equivalent: str = ""
    origin: str = ""
    control: tuple[str, ...] = ()

    def lost_in(self, check: CheckRubric) -> dict[str, float] | None:
        """What it must lose in a check: part -> share; None where the check cannot be graded.

        Raises:
            CorpusError: If the check has no such part.
        """
        loss = "open" if self.unreadable else self.lost.get(check.id, {})
        if isinstance(loss, str):
            return {"open": None, "all": dict.fromkeys(check.parts, 1.0)}[loss]
        unknown = set(loss) - set(check.parts)
        if unknown:
            names = f"has no part {', '.join(sorted(unknown))}; it has {', '.join(check.parts)}"
            raise CorpusError(f"{self.kind}, {self.name}: {check.id} {names}")
        return dict(loss)

    @property
    def cells(self) -> tuple[str, ...]:
        """Grade ids of the cells it changes."""
        return tuple(dict.fromkeys([*self.changes, *self.sources, *self.above]))


@dataclass(frozen=True)
class Corpus:
    """The entries of an assignment.

    Attributes:
        folder: Where they lie.
        touches: Grade id of a solution cell -> ids of the checks that it can touch.
        entries: All of them but the generated ones.
        equivalent: Changes that a tool makes and that change nothing: digest of the changed cell -> reason.
    """

    folder: Path
    touches: Mapping[str, list[str]]
    entries: tuple[Entry, ...]
    equivalent: tuple[Mapping[str, str], ...] = ()

    def of_kind(self, kind: str) -> list[Entry]:
        """Entries of a kind. Those of `visible` are the mutants once more, before they are handed in."""
        if kind == "visible":
            return [dataclasses.replace(entry, kind=kind) for entry in self.of_kind("mutants")]
        return [entry for entry in self.entries if entry.kind == kind]


def _words(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _numbers(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, of which a text of digits is a number: it was filled in."""
    return {name: int(value) if isinstance(value, str) and value.isdigit() else value for name, value in overrides.items()}


def _losses(content: Mapping[str, Any]) -> dict[str, Loss]:
    return {check: loss if isinstance(loss, str | Mapping) else dict.fromkeys(loss, 1.0) for check, loss in content.items()}


def _with_numbers(text: str, values: Mapping[str, float | str], where: str) -> str:
    """Fill in the numbers of the rubric: ``{{padding}}``, ``{{crops.fcn32s + 1}}``. Other double braces are the entries' own."""

    def filled(slot: re.Match[str]) -> str:
        names = [term.strip() for term in slot[1].split("+")]
        return write_template("{" + slot[1] + "}", values, where) if names[0] in values else slot[0]

    return re.sub(r"\{\{([^{}\n]+)\}\}", filled, text)


def _text_entry(kind: str, content: Mapping[str, Any], touches: Mapping[str, list[str]]) -> Entry:
    """Read one entry of a TOML file."""
    known = {"name", "about", "cell", "change", "source", "also", "above", "files", "checks", "lost", "cause", "says", "note",
             "unseen", "overrides", "seconds", "origin"}  # fmt: skip
    unknown = set(content) - known
    if unknown or "name" not in content:
        raise CorpusError(f"{kind}, entry {content.get('name')!r}: unknown or missing keys {', '.join(sorted(unknown)) or 'name'}")
    cell = cast(str, content.get("cell"))  # it is there beside "change", "source" and "above"
    changes = {cell: content["change"]} if "change" in content else {}
    changes |= content.get("also", {})
    sources = {cell: content["source"]} if "source" in content else {}
    above = {cell: content["above"]} if "above" in content else {}
    cells = dict.fromkeys([*changes, *sources, *above])
    checks = content.get("checks") or [check for name in cells for check in touches.get(name, ())]
    return Entry(
        kind, content["name"], content.get("about", ""), changes, sources, above, content.get("files", {}), "", (), tuple(checks),
        _losses(content.get("lost", {})), content.get("cause", ""), _words(content.get("says", ())), _words(content.get("note", ())),
        content.get("unseen", ""), _numbers(content.get("overrides", {})), float(content.get("seconds", 0)),
        origin=content.get("origin", ""),
    )  # fmt: skip


def entry_list(kind: str) -> tuple[list[Entry], Any]:
    """Return a list of entries and the decorator that adds a building function to it, for the Python files of a corpus."""
    entries: list[Entry] = []

    def entry(checks: Iterable[str], about: str = "", says: Any = (), note: Any = (), **more: Any):
        def add(function):
            name = function.__name__.replace("_", "-")
            where = f"{function.__module__}:{function.__name__}"
            what = about or (function.__doc__ or name.replace("-", " ")).strip()
            lost = _losses(more.pop("lost", {}))
            told = _words(says), _words(note)
            entries.append(Entry(kind, name, what, build=where, checks=tuple(checks), lost=lost, says=told[0], note=told[1], **more))
            return function

        return add

    return entries, entry


def read_corpus(folder: Path) -> Corpus:
    """Read the entries of an assignment.

    Args:
        folder: The assignment's folder; the entries lie in ``corpus/`` below it.

    Raises:
        CorpusError: If there are none, or one of them cannot be used.
    """
    place = folder / "corpus"
    if not (place / "corpus.toml").is_file():
        raise CorpusError(f"{place}: expected a corpus (corpus.toml and the entries), but found none.")
    try:
        general = tomllib.loads((place / "corpus.toml").read_text(encoding="utf-8"))
        values = values_of(open_assignment(folder)) if (folder / "rubric.toml").is_file() else {}
        entries: list[Entry] = []
        for path in sorted(place.glob("*.toml")):
            content = tomllib.loads(_with_numbers(path.read_text(encoding="utf-8"), values, path.name))
            entries += [_text_entry(kind, entry, general["touches"]) for kind in TEXT_KINDS for entry in content.get(kind, ())]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, RubricError) as error:
        raise CorpusError(f"{place}: {error!r}") from error
    for path in sorted(place.glob("*.py")):
        if path.stem != "__init__":
            entries += importlib.import_module(f"autograder.assignments.{folder.name}.corpus.{path.stem}").ENTRIES
    control = tuple(general.get("control", ()))
    entries = [dataclasses.replace(entry, control=control) if entry.kind == "attacks" else entry for entry in entries]
    names = [(entry.kind, entry.name) for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorpusError(f"{place}: names given twice: {twice}")
    nowhere = sorted(entry.name for entry in entries if entry.kind == "real" and not entry.origin)
    if nowhere:
        raise CorpusError(f"{place}: entries of the kind real that do not say in `origin` where they were seen: {', '.join(nowhere)}")
    corpus = Corpus(place, general["touches"], tuple(entries), tuple(general.get("equivalent", ())))
    if (folder / "rubric.toml").is_file():
        _demand_known_names(corpus, control, open_assignment(folder).rubric)
    return corpus


def _demand_known_names(corpus: Corpus, control: Iterable[str], rubric: Rubric) -> None:
    """An exercise that was dropped or renamed stays in the corpus until somebody takes it out there too."""
    checks, cells = set(rubric.checks), set(rubric.defines)
    named = [(f"[touches] {cell}", {cell} - cells | set(touched) - checks) for cell, touched in corpus.touches.items()]
    named += [("control", set(control) - checks)]
    named += [(f"{one.kind} {one.name}", {*one.checks, *one.lost} - checks | set(one.cells) - cells) for one in corpus.entries]
    unknown = [(where, sorted(names)) for where, names in named if names]
    if unknown:
        lines = "".join(f"\n  {where}: {', '.join(names)}" for where, names in unknown[:SHOWN])
        more = f"\n  and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise CorpusError(f"{corpus.folder} names checks or solution cells that the rubric does not have. Take these out:{lines}{more}")
