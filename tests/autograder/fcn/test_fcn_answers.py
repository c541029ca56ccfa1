"""Whatever comes back as labels, counts or scores is judged: no answer makes the grader itself fail."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from course_code import JUDGES, RUBRIC, solution

from autograder.course.seeds import Seeds
from autograder.judge.checking import Grading
from autograder.judge.student import Student
from autograder.sandbox import received
from segkit.notebooks import Workbook
from segkit.notebooks.reading import Cell, Document
from segkit.subject import LocalSubject, StudentError

SPECIAL = [0, 1, -1, 255, 254, float("nan"), float("inf"), -float("inf"), 2**62, -(2**62), 1e300, 1e-300]


class Nonsense(LocalSubject):
    """Answers with what has the right form, or nearly, and holds anything."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        super().__init__(folder)
        self.rng = rng

    def call(self, name, *args, **kwargs):
        return received.value(self.some(super().call(name, *args, **kwargs)), name)

    def some(self, right):
        how = self.rng.integers(0, 7)
        if isinstance(right, list) and how < 5:
            return [self.some(np.asarray(part)) for part in right]
        if how == 0:
            return right.tolist() if isinstance(right, np.ndarray) else right
        if how == 1:
            return [SPECIAL[n] for n in self.rng.integers(0, len(SPECIAL), self.rng.integers(0, 4))]
        if how == 2:
            return [None, "x", {"type": "x" * 500}, 2**62, True, float("nan"), [], np.zeros(0), np.array(3.0), np.ones((0, 3))][
                self.rng.integers(0, 10)]  # fmt: skip
        dtype = ["bool", "int8", "uint8", "uint64", "int64", "float16", "float32", "float64"][self.rng.integers(0, 8)]
        right = right[1] if isinstance(right, list) else right
        values = np.full(np.shape(right), SPECIAL[self.rng.integers(0, len(SPECIAL))], np.float64)
        values = np.where(self.rng.random(values.shape) < self.rng.choice([0, 0.5]), np.asarray(right, dtype=object), values)
        with np.errstate(all="ignore"):
            return np.asarray(values.astype(np.float64).astype(dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", JUDGES)
def test_no_answer_of_the_right_form_is_too_much_for_a_judge(name, tmp_path):
    cell = Cell("1_data.ipynb", 3, "import numpy as np\nimport torch\nfrom PIL import Image\n" + solution(name), name)
    for seed in range(200):
        student = Student(Workbook([Document("1_data.ipynb", [cell])], RUBRIC.defines), Nonsense(tmp_path, np.random.default_rng(seed)))
        grading = Grading(RUBRIC.checks[name], Seeds("one"), SimpleNamespace(rubric=RUBRIC), student)
        try:
            JUDGES[name](student, grading)
            verdict = grading.result()
            assert verdict.status in ("not_earned", "partial", "earned")
        except StudentError:
            pass
