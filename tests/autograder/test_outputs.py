"""Nothing that a graded class writes shows hidden inputs, the secret, reference code, solutions, mark schemes or the judge's paths."""

import base64
import gzip
import html
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from output_search import Hidden, Searcher
from PIL import Image
from small_course import SCHEME_LINE, SECRET_LINE, edit_notebook, write_course
from tiny import cell, notebook

from autograder.gradebook.cells import release_cells
from autograder.release.leaks.lines import collect_secrets, squeeze
from autograder.release.notebooks import read_source
from autograder.sandbox.client import RemoteSubject

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "kq7Zr2mVw9Lx4Tb8Nc3Hd6Jf1Gs5Ya0P"
CHECKS = """
import numpy as np
from autograder.judge.checking import CannotGrade, check


@check("double")
def test_double(student, grading):
    values = grading.rng("double").integers(100, 1000, 40)
    found = student.call("double", values)
    if not np.array_equal(found, 2 * values):
        grading.lose(cause="double.wrong", message="expected twice the values", measured={"expected": 40, "found": 3}, share=0.5)


@check("last.value")
def test_last_value(student, grading):
    hidden_for_last = grading.rng("last").standard_normal(50)
    answer = student.call("last_of_all", hidden_for_last)
    if answer == 1:
        raise CannotGrade("the answer sheet is lost")
    assert answer == hidden_for_last.max(), "expected the largest value"
"""
STUDENTS = {
    "perfect": ("def double(values):\n    return values * 2", "def last_of_all(values):\n    return max(values)"),
    "wrong": ("def double(values):\n    return values", "def last_of_all(values):\n    return values[-1]"),
    "raises": ("def double(values):\n    return 1 / 0", "def last_of_all(values):\n    return 1"),
    "dies": ("import os\n\ndef double(values):\n    os._exit(3)", "def last_of_all(values):\n    while True:\n        values = values"),
    "prints": ("def double(values):\n    print(values, flush=True)\n    return values * 2", "def last_of_all(values):\n    print(values)"),
    "broken": ("def double(values:\n    return", "x = 1"),
}  # fmt: skip

# the command line, with five seconds for a reply in place of a minute
IMPATIENT = """
from autograder.judge.run import Settings

if __name__ == "__main__":
    from autograder.cli import main

    begin = Settings.__init__
    Settings.__init__ = lambda self, *given, **more: begin(self, *given, **{"seconds": 5.0} | more)
    main()
"""


def run(folder, *command, **more):
    environment = os.environ | {"SEGKIT_COURSE_SECRET": SECRET, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | more
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout + done.stderr


def hand_in(sources, folder, double, last):
    folder.mkdir(parents=True)
    answers = {"double": double, "last": last, "question_1": "Because."}

    def fill(content):
        for own in content["cells"]:
            own["source"] = answers.get(own["metadata"].get("nbgrader", {}).get("grade_id"), own["source"])

    for path in sources.notebook_paths():
        nbformat.write(release_cells(path), folder / path.name)
        edit_notebook(folder / path.name, fill)


def hidden_arrays(ask):
    """What the checks send to workers while ``ask`` runs, but for the pictures of gates, which are public."""
    arrays, real = [], RemoteSubject._ask

    def spy(self, do, seconds=None, **arguments):
        def collect(value):
            if isinstance(value, np.ndarray):
                arrays.append(value)
            elif isinstance(value, dict | list | tuple):
                for item in value.values() if isinstance(value, dict) else value:
                    collect(item)

        if do != "predict":
            collect(arguments)
        return real(self, do, seconds, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemoteSubject, "_ask", spy)
        ask()
    return arrays


def hidden_lines(sources):
    originals = {path.name: read_source(path) for path in sources.notebook_paths()}
    secrets = collect_secrets(originals, sources.check_files(), sources.reference_files(), sources.student_files())
    return {line: f"{secret.kind}: {secret.origin}" for line, secret in secrets.lines.items()}


class Class:
    """A graded class: everything it wrote below ``root/all``, and what must not stand there."""

    def __init__(self, root, submissions, hidden):
        self.all, self.searcher = root / "all", Searcher(hidden)
        self.own = {name: squeeze("\n".join(_sources(folder))) for name, folder in submissions.items()}

    def findings(self, root=None):
        root = root or self.all
        found = []
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            parts = path.relative_to(root).parts
            own = "".join(self.own[name] for name in self.own if name in parts)
            found += [f"{'/'.join(parts[:-1])}/{text}" for text in self.searcher.search(path, own, with_paths=parts[0] != "logs")]
        return found


def _sources(folder):
    for path in folder.rglob("*.ipynb"):
        yield from ("".join(own["source"]) for own in json.loads(path.read_text())["cells"])


def export_all(root, graded, everything):
    facts = [text for name in ("classroom", "commit", "release") for text in ("--fact", f"{name}=https://x/{name}")]
    log = ""
    for target in ("gradescope", "classroom50", "junit", "csv"):
        more = [*facts, "--fact", "submission=submit/1"] if target == "classroom50" else []
        log += run(root, "autograder", "export", graded, "--to", target, "--out", everything / "exports" / target, *more)
    return log


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """The small course, graded on every route there is."""
    from autograder.judge.grade import grade_path
    from autograder.judge.run import Run, Settings

    root = tmp_path_factory.mktemp("judges-machine")
    sources = write_course(root)
    (sources.material / "checks" / "test_small.py").write_text(CHECKS)
    names = {name: root / "submitted" / name / "tiny" for name in STUDENTS}
    for name, work in STUDENTS.items():
        hand_in(sources, names[name], *work)

    def ask():
        with Run.create(Settings(str(sources.material), root / "asked", secret=SECRET, seconds=5)) as opened:
            grade_path(opened, names["perfect"], "perfect")

    arrays = hidden_arrays(ask)
    assert [array.size for array in arrays] == [40, 50]
    everything, graded = root / "all", root / "all" / "graded"
    (root / "impatient.py").write_text(IMPATIENT)
    log = run(root, "impatient", "grade", *names.values(), "--out", graded, "--assignment", sources.material)
    log += export_all(root, graded, everything)
    settings = (REPOSITORY / "nbgrader_config.py").read_text().replace("Path(__file__).resolve().parent", f"Path({str(REPOSITORY)!r})")
    own = f"c.Judge.material = c.RestoreCells.material = {str(sources.material)!r}\n"
    (root / "nbgrader_config.py").write_text(settings + own)
    for command in ("generate_assignment tiny", "autograde tiny", "generate_feedback tiny", "export --to grades.csv"):
        log += run(root, "nbgrader", *command.split(), SEGKIT_RESULTS=str(graded))
    log += run(root, "autograder", "export", graded, "--to", "gradebook", "--db", "gradebook.db")
    shutil.copytree(root / "feedback", everything / "feedback")
    (everything / "gradebook").mkdir()
    for file in ("gradebook.db", "grades.csv"):
        shutil.copy(root / file, everything / "gradebook")
    (everything / "logs").mkdir()
    (everything / "logs" / "stdout.txt").write_text(log)
    return Class(root, names, Hidden(SECRET, arrays, hidden_lines(sources), (str(root), str(REPOSITORY), "segkit-run-", "segkit-worker-")))


@pytest.mark.slow
def test_nothing_hidden_stands_in_any_output(graded_class):
    written = {path.relative_to(graded_class.all).parts[0] for path in graded_class.all.rglob("*") if path.is_file()}
    assert written == {"graded", "exports", "feedback", "gradebook", "logs"}
    results = [json.loads(path.read_text()) for path in graded_class.all.glob("graded/*/result.json")]
    every = {"earned", "partial", "not_earned", "needs_manual", "could_not_grade"}
    assert {check["status"] for result in results for check in result["checks"]} == every, "checks failed in every way there is"
    assert graded_class.findings() == []


def in_json(path, text):
    content = json.loads(path.read_text())
    content["checks"][0]["message"] += text
    path.write_text(json.dumps(content))


def in_text(path, text):
    path.write_text(path.read_text() + text)


def in_database(path, text):
    with sqlite3.connect(path) as database:
        database.execute("update comment set manual_comment = ?", [text])


def in_png(path, data):
    side = np.frombuffer(data[: len(data) // 8 * 8], np.uint8).reshape(8, -1)
    Image.fromarray(side).save(path)


def in_zip(path, data):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a/b.bin", data)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


RESULT, REPORT, PAGE = "graded/wrong/result.json", "graded/wrong/report.html", "graded/index.html"
FEEDBACK, LOG, BOOK = "feedback/wrong/tiny/1_first.html", "logs/stdout.txt", "gradebook/gradebook.db"
DRAWN = 'hidden_for_last = grading.rng("last").standard_normal(50)'
PLANTED = {
    "the secret in a note": (RESULT, in_json, lambda c: f"seed {SECRET}", "secret"),
    "the secret in base64 in a page": (REPORT, in_text, lambda c: base64.b64encode(f"key={SECRET};".encode()).decode(), "secret"),
    "the secret in hex in a log": (LOG, in_text, lambda c: SECRET.encode().hex(), "secret"),
    "the secret in the gradebook": (BOOK, in_database, lambda c: SECRET, "secret"),
    "floats as numpy prints them": (RESULT, in_json, lambda c: str(c.floats), "numbers of a hidden input"),
    "floats as numpy prints them in short": (RESULT, in_json, lambda c: np.array2string(c.floats, precision=4, threshold=10), "numbers"),
    "floats as a list": (REPORT, in_text, lambda c: str(c.floats[20:24].tolist()), "numbers"),
    "floats in float32": ("graded/summary.csv", in_text, lambda c: ",".join(map(str, c.floats[7:12].astype(np.float32))), "numbers"),
    "floats in cells of a table": (PAGE, in_text, lambda c: "".join(f"<td>{v:.6f}</td>" for v in c.floats[3:9]), "numbers"),
    "floats in a JUnit failure": ("exports/junit/wrong/junit.xml", in_text, lambda c: f"got {c.floats[1:5]}", "numbers"),
    "integers as a list": ("exports/gradescope/wrong/results.json", in_text, lambda c: str(c.integers[11:20].tolist()), "integers"),
    "integers as numpy prints them": (LOG, in_text, lambda c: str(c.integers), "integers"),
    "integers in the CSV": ("exports/csv/grades.csv", in_text, lambda c: ";".join(map(str, c.integers)), "integers"),
    "bytes in base64 in feedback": (FEEDBACK, in_text, lambda c: base64.b64encode(npy(c.floats)).decode(), "bytes"),
    "bytes in hex": (RESULT, in_json, lambda c: c.floats[5:15].tobytes().hex(), "bytes"),
    "bytes as they are": ("graded/wrong/x.bin", Path.write_bytes, lambda c: b"abc" + c.integers[2:12].tobytes(), "bytes"),
    "bytes in gzip": ("graded/x.gz", Path.write_bytes, lambda c: gzip.compress(npy(c.floats)), "bytes"),
    "bytes in a zip": ("exports/x.zip", in_zip, lambda c: npy(c.integers), "bytes"),
    "bytes as pixels": ("graded/wrong/pictures/x.png", in_png, lambda c: c.floats.tobytes(), "bytes"),
    "gzip in base64 in a page": (REPORT, in_text, lambda c: "data:," + base64.b64encode(gzip.compress(npy(c.floats))).decode(), "bytes"),
    "a line of a check, wrapped anew": (RESULT, in_json, lambda c: DRAWN.replace(" ", "\n\t").replace(".", " ."), "hidden check"),
    "a line of a check, marked up": (FEEDBACK, in_text, lambda c: html.escape(DRAWN).replace("=", "<b>=</b>"), "hidden check"),
    "a line of the reference": (REPORT, in_text, lambda c: html.escape(c.reference), "reference"),
    "a solution": (RESULT, in_json, lambda c: f"expected {SECRET_LINE}", "solution"),
    "a solution in somebody's feedback": ("feedback/perfect/tiny/2_second.html", in_text, lambda c: SECRET_LINE, "solution"),
    "a mark scheme in the gradebook": (BOOK, in_database, lambda c: f"See: {SCHEME_LINE}", "solution"),
    "a mark scheme in a page": (PAGE, in_text, lambda c: SCHEME_LINE, "solution"),
    "a path of the judge in a result": (RESULT, in_json, lambda c: f'File "{REPOSITORY}/autograder/judge/checking.py", line 3', "the path"),
    "a path of the run in a report": (REPORT, in_text, lambda c: "/tmp/segkit-run-x81/weights.bin", "the path"),
    "a path in feedback": (FEEDBACK, in_text, lambda c: str(c.all.parent / "submitted"), "the path"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("leak", PLANTED)
def test_every_planted_leak_is_found_where_it_was_planted(graded_class, tmp_path, leak):
    place, plant, make, kind = PLANTED[leak]
    hidden = graded_class.searcher.hidden
    graded_class.integers, graded_class.floats = hidden.arrays
    graded_class.reference = next(line for line, origin in hidden.lines.items() if origin.startswith("reference") and "<" in line)
    target = tmp_path / "all" / place
    target.parent.mkdir(parents=True)
    if (graded_class.all / place).exists():
        shutil.copy(graded_class.all / place, target)
    plant(target, make(graded_class))
    found = graded_class.findings(tmp_path / "all")
    assert found and all(text.startswith(place.rpartition("/")[0]) and kind in text for text in found), found


@pytest.mark.slow
def test_a_students_own_lines_are_no_leak_and_anybody_elses_are(graded_class, tmp_path):
    """Who found the same solution may read it in their own feedback."""
    (tmp_path / "all" / "feedback" / "perfect").mkdir(parents=True)
    page = tmp_path / "all" / "feedback" / "perfect" / "1_first.html"
    page.write_text(f"<pre>{SECRET_LINE}</pre>")
    assert graded_class.findings(tmp_path / "all")
    notebook(tmp_path / "work" / "1_first.ipynb", cell(f"    {SECRET_LINE}  # mine"))
    own = graded_class.own | {"perfect": squeeze("\n".join(_sources(tmp_path / "work")))}
    theirs = Class.__new__(Class)
    theirs.all, theirs.searcher, theirs.own = graded_class.all, graded_class.searcher, own
    assert theirs.findings(tmp_path / "all") == []


# --- the real assignment

# of the demo's students those whose mistake is in no gate; tests/autograder/test_demo.py leaves them out, but for the first
FCN_STUDENTS = ("untouched", "crop_one_row_off", "recall_for_iou", "ceil_mode_forgotten", "weights_aliased")
GATES = {"pretraining.miou", "fcn8s.miou"}


@pytest.fixture(scope="module")
def fcn_class(tmp_path_factory):
    """Some students of the demo, without trained models but for one that is only named; graded, exported, and through nbgrader."""
    from autograder.course.sources import find_sources
    from autograder.demo.classroom import make_class
    from autograder.demo.students import read_students
    from autograder.judge.grade import grade_path
    from autograder.judge.run import Run, Settings
    from autograder.release.notebooks import student_version, write_notebook

    root = tmp_path_factory.mktemp("judges-machine")
    sources = find_sources("fcn", REPOSITORY)
    (root / "release").mkdir()
    for path in sources.notebook_paths():
        write_notebook(root / "release" / path.name, student_version(read_source(path), path.name))
    shutil.copy(sources.notebooks / "assignment.json", root / "release")
    chosen = [student for student in read_students(sources.material) if student.name in FCN_STUDENTS]
    made = make_class(root / "release", sources.notebooks, None, root / "made", chosen)
    names = {path.name: shutil.move(path, root / "submitted" / path.name / "fcn") for path in made}
    named = {"fcn32s": {"sha256": "0" * 64, "bytes": 7, "where": "a drive"}}
    (names["recall_for_iou"] / "checkpoints.json").write_text(json.dumps(named))
    weights = []

    def ask():
        with Run.create(Settings("fcn", root / "asked", secret=SECRET, device="cpu")) as opened:
            for name, folder in names.items():
                only = () if name == "crop_one_row_off" else ("read_label", "confusion_matrix", "scores")
                opened.settings = replace(opened.settings, only=only)
                grade_path(opened, folder, name)
            flat = np.memmap(opened.folder / "weights.bin", np.float32, "r")
            weights.extend(np.array(flat[first : first + 5000]) for first, _ in opened.weight_index.values())

    arrays = hidden_arrays(ask)
    assert len(arrays) > 20 and len(weights) > 40
    everything, graded = root / "all", root / "all" / "graded"
    log = run(root, "autograder", "grade", *names.values(), "--out", graded, "--device", "cpu")
    log += export_all(root, graded, everything)
    settings = (REPOSITORY / "nbgrader_config.py").read_text().replace("Path(__file__).resolve().parent", f"Path({str(REPOSITORY)!r})")
    (root / "nbgrader_config.py").write_text(settings)
    shutil.copytree(sources.notebooks, root / "notebooks" / "fcn")
    for command in ("generate_assignment fcn", "autograde fcn", "generate_feedback fcn", "export --to grades.csv"):
        log += run(root, "nbgrader", *command.split(), SEGKIT_RESULTS=str(graded))
    assert "grading recall_for_iou" in log
    log += run(root, "autograder", "export", graded, "--to", "gradebook", "--db", "gradebook.db")
    shutil.copytree(root / "feedback", everything / "feedback")
    (everything / "gradebook").mkdir()
    for file in ("gradebook.db", "grades.csv"):
        shutil.copy(root / file, everything / "gradebook")
    (everything / "logs").mkdir()
    (everything / "logs" / "stdout.txt").write_text(log)
    paths = (str(root), str(REPOSITORY), "segkit-run-", "segkit-worker-")
    return Class(root, names, Hidden(SECRET, [*arrays, *weights], hidden_lines(sources), paths))


@pytest.mark.slow
def test_nothing_hidden_stands_in_any_output_of_the_real_assignment(fcn_class):
    results = [json.loads(path.read_text()) for path in fcn_class.all.glob("graded/*/result.json")]
    assert {result["submission"] for result in results} == set(FCN_STUDENTS)
    assert len(list(fcn_class.all.glob("feedback/*/fcn/*.html"))) == 5 * len(FCN_STUDENTS)
    assert fcn_class.findings() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FCN_STUDENTS)
def test_students_of_the_demo_lose_what_is_written_down_beside_them(fcn_class, name):
    from autograder.course.assignment import open_assignment
    from autograder.demo.expectations import surprises
    from autograder.demo.students import read_students

    assignment = open_assignment("fcn")
    result = json.loads((fcn_class.all / "graded" / name / "result.json").read_text())
    (student,) = (student for student in read_students(assignment.folder) if student.name == name)
    lines = surprises([replace(student, checkpoints={})], [result], assignment.rubric)
    assert [line for line in lines if "(could_not_grade)" not in line or not any(gate in line for gate in GATES)] == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["weights", "inputs", "reference", "solution"])
def test_the_search_sees_the_hidden_things_of_the_real_assignment(fcn_class, tmp_path, what):
    hidden = fcn_class.searcher.hidden
    arrays = [array for array in hidden.arrays if array.size > 100 and array.dtype.kind == "f" and np.unique(array).size > 99]
    lines = {kind: next(line for line, origin in hidden.lines.items() if origin.startswith(kind)) for kind in ("reference", "solution")}
    planted = {"weights": str(arrays[-1]), "inputs": str(arrays[0].ravel()[:9]), **lines}
    (tmp_path / "summary.csv").write_text((fcn_class.all / "graded" / "summary.csv").read_text() + planted[what])
    assert fcn_class.findings(tmp_path)
