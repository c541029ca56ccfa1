"""All notes of a graded class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autograder.alike.code import Link, Passage, like_code
from autograder.alike.kept import Work, read_work
from autograder.alike.sketches import distances
from autograder.alike.starter import starter_code
from autograder.course.assignment import Assignment
from autograder.marking.neighbours import word_table
from autograder.report import read_answers
from autograder.report.labels import points_text
from segkit.handin import alternatives

__all__ = ["Note", "find_notes"]

LIKE_ANSWERS = 0.8
"""Cosine of two answers; those that people write each for themselves reach about half of it."""

LEAST_WORDS = 20
LIKE_NETWORKS = 0.35
"""Distance of two networks, where 1 is that of two who trained each for themselves."""

LEAST_NETWORKS = 5
"""So many different ones are needed to know how far apart those of a class are; among fewer, only the same values are alike."""

SAME_VALUES = 1e-6
MOST_LINKS = 12  # shown of one note


@dataclass(frozen=True)
class Note:
    """Something that a person should look at; nothing is decided by it.

    Attributes:
        kind: ``code``, ``answer``, ``checkpoint`` or ``gate``.
        what: Check or checkpoint that it is about; empty for code.
        names: The submissions.
        says: What was seen, in a sentence.
        links: For each submission but the first the one that it is most like, with their passages.
    """

    kind: str
    what: str
    names: tuple[str, ...]
    says: str
    links: tuple[Link, ...] = ()


def find_notes(graded: Path, results: Mapping[str, Mapping[str, Any]], assignment: Assignment) -> tuple[list[Note], list[str]]:
    """Look through a graded class.

    Args:
        graded: Its folder.
        results: Folder name -> content of its ``result.json``.
        assignment: Theirs.

    Returns:
        The notes, and what could not be looked at, a line each.
    """
    kept = {name: read_work(graded / name) for name in results}
    works = {name: work for name, work in kept.items() if work is not None}
    starter, lines = starter_code(assignment)
    if missing := [name for name, work in kept.items() if work is None]:
        lines.append(
            f"Of {len(missing)} submissions no code was kept, so it was not compared: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}. They could not be read, or were graded by an older kit: grade them again."
        )
    answers = {name: read_answers(graded / name) for name in results}
    manual = [check.id for check in assignment.rubric.checks.values() if check.manual]
    notes = [
        *_groups("code", "", like_code(works, starter), "have code that is nearly the same, whatever its names"),
        *(note for name in assignment.rubric.checkpoints for note in _networks(name, works)),
        *(note for check in manual for note in _answers(check, answers)),
        *(note for result in results.values() for note in _gates(result, assignment)),
    ]
    return notes, lines


def _groups(kind: str, what: str, links: Sequence[Link], says: str, most: float = np.inf) -> Iterator[Note]:
    """One note for all who hang together; none for more than ``most``: what half of the class has comes from the course."""
    group = {name: {name} for link in links for name in (link.one, link.other)}
    tree: list[Link] = []
    for link in sorted(links, key=lambda link: -link.share):  # the strongest first: of each group a spanning tree is left
        if group[link.one] is not group[link.other]:
            tree.append(link)
            both = group[link.one] | group[link.other]
            group |= dict.fromkeys(both, both)
    for names in {id(names): names for names in group.values()}.values():
        if len(names) <= max(most, 2):
            own = [link for link in tree if link.one in names]
            yield Note(kind, what, tuple(sorted(names)), f"{len(names)} submissions {says}.", tuple(own[:MOST_LINKS]))


def _networks(name: str, works: Mapping[str, Work]) -> Iterator[Note]:
    """Checkpoints that are the same file, hold the same values, or are nearer to each other than any two that were trained apart."""
    by_hash: dict[str, list[str]] = {}
    for who, work in works.items():
        if sha256 := work.hashes.get(name):
            by_hash.setdefault(sha256, []).append(who)
    first = [names[0] for names in by_hash.values() if works[names[0]].sketches.get(name)]
    links = [Link(names[0], other, 1.0, says="the same file, byte for byte") for names in by_hash.values() for other in names[1:]]
    links += _near(first, distances({who: works[who].sketches[name] for who in first}))
    yield from _groups("checkpoint", name, links, f"have nearly the same weights of {name}", sum(map(len, by_hash.values())) / 2)


def _near(names: Sequence[str], table: NDArray[np.float64]) -> Iterator[Link]:
    limit = LIKE_NETWORKS if len(names) >= LEAST_NETWORKS else SAME_VALUES
    for one, other in zip(*np.nonzero(np.triu(table <= limit, 1)), strict=True):
        far = float(table[one, other])
        says = "the same values in another file" if far <= SAME_VALUES else f"{far:.2f} of what two networks of this class differ by"
        yield Link(names[one], names[other], 1 - far, says=says)


def _answers(check: str, answers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Note]:
    """Written answers with nearly the same words."""
    texts = {who: "\n\n".join(item["text"] for item in one[check]["texts"]) for who, one in answers.items() if check in one}
    texts = {who: text for who, text in texts.items() if len(text.split()) >= LEAST_WORDS}
    names, table = list(texts), word_table(list(texts.values()))
    if table is None or len(names) < 2:
        return
    shown = [Passage(check, text) for text in texts.values()]
    cosines = np.asarray((table @ table.T).todense())
    links = [
        Link(names[one], names[other], float(cosines[one, other]), ((shown[one], shown[other]),))
        for one, other in zip(*np.nonzero(np.triu(cosines >= LIKE_ANSWERS, 1)), strict=True)
    ]
    yield from _groups("answer", check, links, f"answer {check} in nearly the same words", len(names) / 2)


def _gates(result: Mapping[str, Any], assignment: Assignment) -> Iterator[Note]:
    """Points for a trained network whose class earned nothing in a check of its own."""
    rubric, found = assignment.rubric, {check["id"]: check for check in result["checks"]}
    gates = {check.id: check for check in rubric.checks.values() if {"checkpoint", "own"} & check.settings.keys()}
    for gate in (gate for gate in gates.values() if gate.id in found):
        scores = dict(found[gate.id]["measured"] or {})
        counts = scores.pop("mean_iou", None)
        best = [name for name, value in scores.items() if value == counts]  # of several networks
        cell = next((one.grade_id for one in rubric.cells if one.defines == gate.settings.get("defines") or one.grade_id in best), None)
        own = [check.id for check in rubric.checks.values()
               if any(cell in alternatives(needs) for needs in check.needs) and check.id not in gates]  # fmt: skip
        failed = [name for name in own if name in found and found[name]["status"] == "not_earned"]
        if failed and (points := found[gate.id]["points"]):
            earned = f"{points_text(points)} of {points_text(found[gate.id]['max_points'])} points"
            says = f"The checkpoint earned {earned} in {gate.id}, but the class that it belongs to nothing in {', '.join(failed)}."
            yield Note("gate", gate.id, (str(result["submission"]),), says)
