"""A graded class with marks, for the tests of this folder."""

import json
from pathlib import Path

from fake_class import fake_result, set_check

from autograder.marking import read_marks

__all__ = ["BASE", "graded_class", "put_marks"]

BASE = """
by = "rubric"
[criteria.question_1.named]
text = "two reasons"
points = 8
[criteria.question_1.evidence]
text = "evidence for each"
points = 5
[criteria.question_1.clarity]
text = "clear words"
points = 2
"""


def graded_class(folder: Path, *names: str) -> Path:
    """Results and answers of students; ``ben`` has lost two points of the crop to a check."""
    for name in names or ("ada", "ben"):
        result = fake_result(name)
        if name == "ben":
            message = "The output lies one row too low.\nexpected 19\ngot      18"
            set_check(result, "fcn32s.crop", 2, "crop.shift", {"dy": 1, "dx": 0}, message)
        (folder / name).mkdir(parents=True)
        (folder / name / "result.json").write_text(json.dumps(result))
        answers = [
            {"check": check, "texts": [{"where": "5_questions.ipynb, cell 5", "text": f"What {name} wrote for {check}"}], "note": ""}
            for check in ("question_1", "question_2")
        ]
        (folder / name / "answers.json").write_text(json.dumps(answers))
    return folder


def put_marks(graded: Path, text: str, name: str = "ada", base: bool = True) -> Path:
    """Write the marks of a person (``by`` is put on top), and the criteria of the rubric."""
    (graded / "marks").mkdir(exist_ok=True)
    if base:
        (graded / "marks" / "rubric.toml").write_text(BASE)
    path = graded / "marks" / f"{name}.toml"
    path.write_text(f'by = "{name}"\n{text}')
    read_marks(graded)
    return path
