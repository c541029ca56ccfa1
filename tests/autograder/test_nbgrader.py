"""nbgrader with the judge in the place of its kernel: same points as the command line, and nothing slips through."""

import csv
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.utils import determine_grade
from small_course import edit_notebook, graded, write_course

from autograder.gradebook import plugin as plugin
from autograder.gradebook.cells import release_cells

REPOSITORY = Path(__file__).resolve().parents[2]
GOOD = {"double": "def double(values):\n    return values * 2", "last": "def last_of_all(values):\n    return max(values)"}


def result(**points) -> dict:
    checks = [
        {"id": name.replace("__", "."), "points": value, "max_points": 4.0, "message": "expected <b> got &", "cause": None,
         "status": "could_not_grade" if value is None else "earned" if value == 4 else "partial"}
        for name, value in points.items()
    ]  # fmt: skip
    return {"checks": checks}


def judged(monkeypatch, found: dict, *cells) -> list[nbformat.NotebookNode]:
    monkeypatch.setattr(plugin, "judge", lambda *arguments: found)
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    resources = {"nbgrader": {"student": "alice", "assignment": "tiny", "notebook": "1_first", "db_url": ""}}
    return plugin.Judge().preprocess(notebook, resources)[0].cells


def check_cell(grade_id: str, points: float = 4.0):
    metadata = graded(grade_id, grade=True, solution=False, locked=True, points=points)
    return nbformat.v4.new_code_cell("# judged", metadata=metadata)


@pytest.mark.parametrize(("grade_id", "points"), [("double-check", 2.5), ("net-crop", 4.0), ("net-crop-check", 4.0)])
def test_nbgrader_reads_the_judges_points(monkeypatch, grade_id, points):
    cells = judged(monkeypatch, result(double=2.5, net__crop=4.0), check_cell(grade_id))
    assert determine_grade(cells[0]) == (points, 4.0)


def test_message_stands_below_the_score_as_plain_text(monkeypatch):
    cell = judged(monkeypatch, result(double=2.5), check_cell("double"))[0]
    assert [output.output_type for output in cell.outputs] == ["execute_result", "stream"]
    assert cell.outputs[1].text == "double: partial, 2.5 of 4 points\nexpected <b> got &\n"
    assert set(cell.outputs[0].data) == {"text/plain"}


def test_no_verdict_never_means_full_points(monkeypatch):
    """nbgrader gives full points to a cell without output."""
    cells = judged(monkeypatch, result(double=None), check_cell("double"), check_cell("unknown"))
    assert [determine_grade(cell)[0] for cell in cells] == [0.0, 0.0]


def test_forged_outputs_are_replaced(monkeypatch):
    cell = check_cell("double")
    cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "4.0"}, execution_count=1)]
    assert determine_grade(judged(monkeypatch, result(double=0.0), cell)[0])[0] == 0.0


def test_points_above_the_cells_own_do_not_stop_nbgrader(monkeypatch):
    assert determine_grade(judged(monkeypatch, result(double=4.0), check_cell("double", points=3.0))[0]) == (3.0, 3.0)


def test_pictures_stay_for_the_reader_and_scripts_do_not():
    make = nbformat.v4.new_output
    cell = nbformat.v4.new_code_cell("plot()", outputs=[
        make("display_data", data={"text/html": "<script>", "text/plain": "figure", "image/png": "aGFsbG8="}),
        make("stream", text="loss 2.485"),
    ], execution_count=3)  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[cell, check_cell("double")])
    notebook.cells[1].outputs = [make("execute_result", data={"text/plain": "4.0"}, execution_count=1)]
    cells = plugin.PlainOutputs().preprocess(notebook, {})[0].cells
    assert set(cells[0].outputs[0].data) == {"text/plain", "image/png"} and cells[0].outputs[1].text == "loss 2.485"
    assert cells[1].outputs == []


# ------------------------------------------------------------------------------------------ the real commands


def nbgrader(root: Path, *arguments: str) -> str:
    environment = os.environ | {"SEGKIT_COURSE_SECRET": "test", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def hand_in(course, root: Path, student: str, change=lambda name, content: None) -> Path:
    folder = root / "submitted" / student / "tiny"
    folder.mkdir(parents=True)
    for path in course.notebook_paths():
        nbformat.write(release_cells(path), folder / path.name)
        edit_notebook(folder / path.name, lambda content, name=path.name: fill(name, content, change))
    return folder


def fill(name, content, change):
    for cell in content["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = GOOD.get(grade_id, "Because." if grade_id == "question_1" else cell["source"])
    change(name, content)


def replace(grade_id: str, source: str):
    def change(name, content):
        for cell in content["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id:
                cell["source"] = source

    return change


def delete_check(name, content):
    content["cells"] = [c for c in content["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") != "double-check"]


def double_check(name, content):
    tagged = [cell for cell in content["cells"] if "nbgrader" in cell["metadata"]]
    content["cells"] += [json.loads(json.dumps(cell)) | {"id": cell["id"] + "2"} for cell in tagged]


def strip(name, content):
    for cell in content["cells"]:
        cell["metadata"] = {}


def forge(name, content):
    output = {"output_type": "execute_result", "data": {"text/plain": "99"}, "metadata": {}, "execution_count": 1}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] += "\nimport os; os._exit(0)" if "double" in cell["source"] else ""
            cell["outputs"] = [output]


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """One class, graded once by nbgrader and once by the command line's own functions."""
    from autograder.gradebook.judging import judge

    root = tmp_path_factory.mktemp("course")
    course = write_course(root)
    settings = (REPOSITORY / "nbgrader_config.py").read_text()
    own = f"c._CoursePreprocessor.material = {str(course.material)!r}\n"
    settings = settings.replace("Path(__file__).resolve().parent", f"Path({str(REPOSITORY)!r})")
    (root / "nbgrader_config.py").write_text(settings + own.replace("_CoursePreprocessor", "Judge")
                                             + own.replace("_CoursePreprocessor", "RestoreCells"))  # fmt: skip
    hand_in(course, root, "perfect")
    hand_in(course, root, "half", replace("double", "def double(values):\n    return values"))
    hand_in(course, root, "unsure", replace("last", "def last_of_all(values):\n    return values[-1]"))
    hand_in(course, root, "deleted", delete_check)
    hand_in(course, root, "doubled", double_check)
    hand_in(course, root, "stripped", strip)
    hand_in(course, root, "forger", forge)
    folder = hand_in(course, root, "absent")
    (folder / "2_second.ipynb").rename(folder / "old name.ipynb")
    for path in course.notebook_paths():
        untouched = root / "submitted" / "untouched" / "tiny"
        untouched.mkdir(parents=True, exist_ok=True)
        nbformat.write(release_cells(path), untouched / path.name)
    nbgrader(root, "generate_assignment", "tiny")
    log = nbgrader(root, "autograde", "tiny")
    os.environ["SEGKIT_COURSE_SECRET"] = "test"
    names = sorted(path.name for path in (root / "submitted").iterdir())
    ours = {name: judge(str(course.material), root / "submitted" / name / "tiny", name) for name in names}
    return root, ours, log


QUERY = """
select student.id, base_cell.name, grade.auto_score, grade.needs_manual_grade
from grade join base_cell on grade.cell_id = base_cell.id
join submitted_notebook on grade.notebook_id = submitted_notebook.id
join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id
join student on submitted_assignment.student_id = student.id
"""


def gradebook(root: Path) -> dict[str, dict[str, tuple]]:
    found: dict[str, dict[str, tuple]] = {}
    with sqlite3.connect(root / "gradebook.db") as database:
        for student, cell, score, waits in database.execute(QUERY):
            found.setdefault(student, {})[cell] = (score, bool(waits))
    return found


@pytest.mark.slow
def test_gradebook_has_the_points_of_the_command_line(graded_class):
    root, ours, _ = graded_class
    book = gradebook(root)
    assert set(book) == set(ours)
    for student, found in ours.items():
        for check in found["checks"]:
            if check["id"] == "question_1":
                continue
            cell = {"double": "double-check", "last.value": "last-value"}[check["id"]]
            assert book[student][cell] == (check["points"], check["points"] is None), (student, check)


@pytest.mark.slow
def test_class_has_the_expected_points(graded_class):
    """Worked out by hand, so that both routes being wrong alike is noticed."""
    _, ours, _ = graded_class
    scores = {name: found["score"] for name, found in ours.items()}
    assert scores == {"perfect": 10, "half": 8, "unsure": 4, "deleted": 10, "doubled": 10, "stripped": 10, "forger": 10,
                      "absent": 10, "untouched": 0}  # fmt: skip


@pytest.mark.slow
def test_answers_wait_for_a_person_and_untouched_ones_do_not(graded_class):
    book = gradebook(graded_class[0])
    waiting = {student for student, cells in book.items() if cells["question_1"][1]}
    assert waiting == {"perfect", "half", "unsure", "deleted", "doubled", "stripped", "forger"}
    assert book["untouched"]["question_1"] == (0.0, False)


@pytest.mark.slow
def test_each_submission_is_graded_once(graded_class):
    assert graded_class[2].count("grading perfect") == 1


@pytest.mark.slow
def test_feedback_and_export_work(graded_class):
    root, ours, _ = graded_class
    nbgrader(root, "generate_feedback", "tiny")
    page = (root / "feedback" / "half" / "tiny" / "1_first.html").read_text()
    assert "double: partial, 2 of 4 points" in page
    assert "expected twice the values &lt;b&gt;and&lt;/b&gt; got others" in page
    nbgrader(root, "export", "--to", "grades.csv")
    with open(root / "grades.csv", newline="") as file:
        rows = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert rows == {name: found["score"] for name, found in ours.items()}


@pytest.mark.slow
def test_files_of_the_release_are_not_copied_along(graded_class, tmp_path):
    root, *_ = graded_class
    folder = root / "submitted" / "heavy" / "tiny"
    shutil.copytree(root / "submitted" / "perfect" / "tiny", folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "net.safetensors").write_bytes(b"weights")
    nbgrader(root, "autograde", "tiny", "--student", "heavy")
    assert not (root / "autograded" / "heavy" / "tiny" / "checkpoints").exists()
    with sqlite3.connect(root / "gradebook.db") as database:
        database.execute("delete from grade where notebook_id in (select id from submitted_notebook where assignment_id in "
                         "(select id from submitted_assignment where student_id = 'heavy'))")  # fmt: skip


# ----------------------------------------------------------------------------------------- a gradebook that others write to
def small_gradebook(root: Path) -> str:
    """A gradebook with two notebooks of one check each, and a submission; returns its URL."""
    url = f"sqlite:///{root / 'gradebook.db'}"
    with Gradebook(url) as book:
        book.add_assignment("tiny")
        for notebook, check in (("1_first", "double"), ("2_second", "last-value")):
            book.add_notebook(notebook, "tiny")
            book.add_grade_cell(check, notebook, "tiny", max_score=4, cell_type="code")
        book.add_student("alice")
        book.add_submission("tiny", "alice")
    return url


def save(url: str, found: dict, cell, notebook: str = "1_first") -> None:
    nb = nbformat.v4.new_notebook(cells=[cell])
    facts = {"student": "alice", "assignment": "tiny", "notebook": notebook, "db_url": url}
    plugin.SaveScores().preprocess(nb, {"nbgrader": facts, "segkit_result": found, "unique_key": "x"})


def saved(root: Path) -> dict:
    with sqlite3.connect(root / "gradebook.db") as database:
        return {name: (score, bool(waits)) for _, name, score, waits in database.execute(QUERY)}


def scored(monkeypatch, found: dict, grade_id: str):
    return judged(monkeypatch, found, check_cell(grade_id))[0]


def test_scores_of_all_notebooks_are_saved_with_the_first(monkeypatch, tmp_path):
    found = result(**{"double": 3.0, "last.value": 2.0})
    url = small_gradebook(tmp_path)
    save(url, found, scored(monkeypatch, found, "double"))
    assert saved(tmp_path) == {"double": (3.0, False), "last-value": (2.0, False)}


def test_a_check_that_could_not_be_graded_never_stands_in_the_gradebook_as_zero(monkeypatch, tmp_path):
    found = result(**{"double": None, "last.value": None})
    url = small_gradebook(tmp_path)
    before, cell = saved(tmp_path), scored(monkeypatch, found, "double")
    seen = []
    correct = plugin._correct
    monkeypatch.setattr(plugin, "_correct", lambda *some, **more: (seen.append(saved(tmp_path)), correct(*some, **more)))
    save(url, found, cell)
    assert seen == [before, before], "scores were visible before all of them were right"
    assert saved(tmp_path) == {"double": (None, True), "last-value": (None, True)}


@pytest.mark.slow
def test_a_busy_gradebook_is_waited_for_and_then_told_and_nothing_is_saved(monkeypatch, tmp_path):
    found = result(**{"double": 3.0, "last.value": 2.0})
    url, cell = small_gradebook(tmp_path), scored(monkeypatch, found, "double")
    before = saved(tmp_path)
    program = f"""
import pickle, sys
sys.path.insert(0, {str(REPOSITORY)!r}); sys.path.insert(0, {str(Path(__file__).parent)!r})
from autograder.gradebook.database import wait_for_busy_gradebook
wait_for_busy_gradebook(float(sys.argv[1]))
from test_nbgrader import save
save({url!r}, *pickle.loads(bytes.fromhex(sys.argv[2])))
"""
    arguments = [sys.executable, "-c", program]
    content = pickle.dumps((found, cell)).hex()
    other = sqlite3.connect(tmp_path / "gradebook.db", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    refused = subprocess.run([*arguments, "0.2", content], capture_output=True, text=True)
    assert refused.returncode == 1 and saved(tmp_path) == before
    assert "GradebookBusy: The gradebook is being written to by another program and was not free within 0 s" in refused.stderr
    assert "run the same command again" in refused.stderr and "db upgrade" not in refused.stderr
    release = threading.Timer(7.0, other.rollback)  # longer than the five seconds of sqlite
    release.start()
    patient = subprocess.run([*arguments, "60", content], capture_output=True, text=True)
    release.join()
    assert patient.returncode == 0, patient.stderr
    assert saved(tmp_path) == {"double": (3.0, False), "last-value": (2.0, False)}
