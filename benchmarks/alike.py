"""Notes to look at in a large class: ``python benchmarks/alike.py [--students 300] [--pairs 5]``.

Makes a graded class whose members have the notebooks of ``fcn`` with code, answers and networks of their own, drawn at random, and some
who copied from each other. Prints how long all comparisons take, how much memory, and how many of the pairs are among the notes.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from autograder.alike.kept import WORK
from autograder.alike.notes import find_notes
from autograder.alike.page import write_notes
from autograder.alike.sketches import packed
from autograder.alike.starter import starter_code
from autograder.course.assignment import Assignment, open_assignment

CALLS = (
    "np.where",
    "np.stack",
    "torch.cat",
    "F.relu",
    "sorted",
    "zip",
    "nn.Conv2d",
    "x.reshape",
    "x.sum",
    "x.clamp",
    "x.view",
    "list",
    "min",
)
WORDS = [f"word{number}" for number in range(3000)]


def code(rng: random.Random, functions: int) -> str:
    """Functions of about nine lines that nobody else has."""
    lines = []
    for number in range(functions):
        lines.append(f"def step_{number}(a, b={rng.randrange(9)}):")
        for _ in range(8):
            names = [rng.choice("abcdef") for _ in range(4)]
            inner = f"{rng.choice(CALLS)}({names[1]}, {rng.choice('+-*/')}{names[2]})"
            outer = rng.choice(
                [f"{inner}[{names[3]}]", f"{rng.choice(CALLS)}({inner}, dim={rng.randrange(3)})", f"{inner} if a else {names[3]}"]
            )
            lines.append(f"    {names[0]} {rng.choice(['=', '+=', '-='])} {outer}")
        lines.append("    return a")
    return "\n".join(lines)


def sketches(numbers: np.random.Generator) -> dict[str, dict[str, str]]:
    """Two networks of 38 tensors: all near the same start, each where its own training led."""
    start = np.random.default_rng(0)
    return {
        name: packed({f"layer{n}": (start.normal(size=192) + 0.01 * numbers.normal(size=192)).astype(np.float32) for n in range(38)})
        for name in ("fcn32s", "fcn8s")
    }


def write_class(folder: Path, students: int, pairs: int, starter: list[str], assignment: Assignment) -> dict[str, dict]:
    """Write what grading keeps; the last ``pairs`` students have the work of the first ones under other names."""
    results = {}
    for number in range(students):
        of = number - (students - pairs) if number >= students - pairs else number
        rng, name = random.Random(of), f"student{number:03}"
        own, words = code(rng, 30), " ".join(rng.choices(WORDS, k=150))
        own = own.replace("step_", "part_").replace("(a,", "(u,") if of != number else own
        texts = [*starter, *(own[place : place + 2500] for place in range(0, len(own), 2500))]
        kept = {name: {"sha256": f"{number:064}", "sketch": one} for name, one in sketches(np.random.default_rng(of)).items()}
        work = {"cells": [{"where": f"a.ipynb, cell {place}", "text": text} for place, text in enumerate(texts)], "checkpoints": kept}
        (folder / name).mkdir()
        (folder / name / WORK).write_text(json.dumps(work))
        answers = [{"check": "question_1", "texts": [{"where": "cell 3", "text": words}], "note": ""}]
        (folder / name / "answers.json").write_text(json.dumps(answers))
        results[name] = {"submission": name, "assignment": assignment.name, "checks": []}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    assignment = open_assignment("fcn")
    starter, _ = starter_code(assignment)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = write_class(folder, options.students, options.pairs, starter, assignment)
        size = sum(path.stat().st_size for path in folder.rglob(WORK)) / 2**20
        started = time.perf_counter()
        notes, _ = find_notes(folder, results, assignment)
        write_notes(notes, folder, assignment.name)
        seconds = time.perf_counter() - started
    wanted = {(f"student{n:03}", f"student{n + options.students - options.pairs:03}") for n in range(options.pairs)}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.students} students, {size:.0f} MiB kept: {seconds:.1f} s, {memory:.2f} GiB")
    for kind in ("code", "checkpoint", "answer"):
        found = [note.names for note in notes if note.kind == kind]
        print(f"{kind}: {len(wanted & set(found))} of {len(wanted)} pairs, {len(set(found) - wanted)} other notes")


if __name__ == "__main__":
    main()
