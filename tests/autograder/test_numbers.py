"""Do notebooks and texts follow the rubric, and does a release refuse numbers that the rubric contradicts?"""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from small_course import edit_notebook, graded, write_course

import segkit
from autograder.cli.bulk import BulkOptions, bulk_handins
from autograder.course.assignment import assignment_of, open_assignment
from autograder.course.numbers import values_of
from autograder.course.rubric import RubricError
from autograder.course.sources import ReleaseError, Sources, rubric_facts
from autograder.exam.building import solved_notebooks
from autograder.gradebook.cells import release_cells
from autograder.release import build as building
from autograder.release.build import build_release
from autograder.release.notebooks import read_notebook, read_source

REPOSITORY = Path(__file__).resolve().parents[2]
FCN = REPOSITORY / "notebooks" / "fcn"

# ------------------------------------------------------------------------------------------ the committed notebooks


def test_the_same_template_stands_for_the_same_number_everywhere():
    """Whatever the rubric says today: the notebooks were written for one set of numbers, and every mark fits its text."""
    seen: dict[str, float] = {}
    sums: list[tuple[str, float]] = []
    for path in sorted(FCN.glob("*.ipynb")):
        for cell in read_notebook(path).cells:
            for text, template in cell.metadata.get("segkit", {}).get("from_rubric", []):
                pieces = re.split(r"\{([^{}]*)\}", template)
                found = re.fullmatch(r"([\d.]+)".join(map(re.escape, pieces[::2])), text)
                assert found and text in cell.source, (path.name, cell.id, text)
                for slot, number in zip(pieces[1::2], found.groups(), strict=True):
                    slot = slot.partition(":")[0]
                    if "+" in slot:
                        sums.append((slot, float(number)))
                    else:
                        assert seen.setdefault(slot, float(number)) == float(number), (path.name, cell.id, slot)
    assert {"padding", "crops.fcn32s", "crops.fcn8s", "points.by_hand", "fcn8s.miou.course.full"} <= set(seen)
    for slot, number in sums:
        names = [name.strip() for name in slot.split("+")]
        assert not set(names) <= set(seen) or sum(seen[name] for name in names) == number, slot


def test_every_check_of_the_rubric_has_one_graded_cell_with_its_points():
    checks, found = open_assignment("fcn").rubric.checks, {}
    for path in sorted(FCN.glob("*.ipynb")):
        for cell in read_source(path).cells:
            own = cell.metadata.get("nbgrader", {})
            if own.get("grade"):
                found[own["grade_id"].removesuffix("-check")] = (own["points"], bool(own["solution"]))
    assert found == {name.replace(".", "-"): (check.points, check.manual) for name, check in checks.items()}


def test_every_value_that_the_notebooks_can_name_is_the_rubrics():
    assignment = open_assignment("fcn", padding=103)
    values, checks = values_of(assignment), assignment.rubric.checks
    assert values["points.all"] == sum(check.points for check in checks.values())
    assert values["points.by_hand"] == sum(check.points for check in checks.values() if check.manual)
    assert values["points.fcn8s.crop.pool4_rows"] == checks["fcn8s.crop"].parts["pool4_rows"]
    assert values["fcn8s.miou.course.full"] == checks["fcn8s.miou"].settings["course"]["full"]
    assert (values["padding"], values["n_class"]) == (103, 12)
    assert {name: value for name, value in values.items() if name.startswith("crops.")} == {
        "crops.fcn32s": 22, "crops.fcn16s": 30, "crops.fcn8s": 34, "crops.pool4": 5, "crops.pool3": 9,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ a changed course


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out the import of the edition in a fresh process: other tests try it."""
    monkeypatch.setattr(building, "verify_edition", lambda folder, repositories: [])


def fcn_course(root: Path, *edits: tuple[str, str]) -> Sources:
    """The course fcn in a folder of its own, with changes of its rubric."""
    shutil.copytree(FCN, root / "notebooks" / "fcn")
    material = root / "autograder" / "assignments" / "fcn"
    shutil.copytree(open_assignment("fcn").folder, material, ignore=shutil.ignore_patterns("corpus", "__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    edit_rubric(material, *edits)
    return Sources("fcn", root, root / "notebooks" / "fcn", material, Path(segkit.__file__).parent, REPOSITORY / "data")


def edit_rubric(material: Path, *edits: tuple[str, str]) -> None:
    text = (material / "rubric.toml").read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (material / "rubric.toml").write_text(text)


def release(course: Sources, tmp_path: Path) -> Path:
    facts, checks = rubric_facts(course.material)
    return build_release(course, tmp_path / "out", facts=facts, checks=checks).folder


def refused(course: Sources, tmp_path: Path) -> str:
    with pytest.raises(ReleaseError) as caught:
        release(course, tmp_path)
    return str(caught.value)


def cells(folder: Path, name: str) -> dict[str, nbformat.NotebookNode]:
    return {cell.id: cell for cell in nbformat.read(folder / name, as_version=4).cells}


def graded_points(folder: Path) -> dict[str, float]:
    books = [nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")]
    found = [cell.metadata.nbgrader for book in books for cell in book.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return {own["grade_id"]: own["points"] for own in found}


def test_other_points_and_another_threshold_reach_every_text(tmp_path):
    course = fcn_course(
        tmp_path,
        ('points = 5\nneeds = ["fcn8s"]\nvisible = \'check_layers(FCN8s, "fcn8s")\'\nparts = { layers = 4, weights = 1 }',
         'points = 9.5\nneeds = ["fcn8s"]\nvisible = \'check_layers(FCN8s, "fcn8s")\'\nparts = { layers = 7.5, weights = 2 }'),
        ("points = 4\nneeds = [\"read_label\"]", "points = 6\nneeds = [\"read_label\"]"), ("ids = 2.5", "ids = 4.5"),
        ("full = 0.40, zero = 0.30", "full = 0.455, zero = 0.25"),
        ('title = "FCN-32s and FCN-8s compared"\npoints = 12', 'title = "FCN-32s and FCN-8s compared"\npoints = 10'),
        ("{ numbers = 4, pictures = 3, explanation = 5 }", "{ numbers = 3, pictures = 3, explanation = 4 }"),
    )  # fmt: skip
    folder = release(course, tmp_path)
    assert "where your course collects it. Keep the receipt" in (folder / "START_HERE.md").read_text(), "no deadline, no word of one"
    last = cells(folder, "4_fcn8s.ipynb")
    texts = {cell.metadata.nbgrader.grade_id: cell.source for cell in last.values() if "nbgrader" in cell.metadata}
    assert "`fcn8s.layers`, 9.5 points." in texts["fcn8s-layers"] and "(7.5 points); initial weights (2 points)" in texts["fcn8s-layers"]
    assert "all points from 0.455 on, none below 0.25," in texts["fcn8s-miou"]
    assert "(24.5 points); a trained one with a mean IoU of 0.455 gives 6 more" in last["title"].source
    assert "(14 points)" in cells(folder, "1_data.ipynb")["title"].source
    questions = cells(folder, "5_questions.ipynb")
    assert "(28 points together)" in questions["title"].source and "## Question 2 (10 points)" in questions["question-2"].source
    points = graded_points(folder)
    assert (points["fcn8s-layers"], points["read_label-check"], points["question_2"]) == (9.5, 6, 10)
    solved = solved_notebooks(course.notebooks)["5_questions.ipynb"]
    assert "**10 points: numbers 3, pictures 3, explanation 4.**" in "".join(cell["source"] for cell in solved["cells"])


@pytest.mark.parametrize(("padding", "first", "last"), [(103, 22, 34), (97, 16, 28)])
def test_another_padding_builds_and_the_solutions_follow(tmp_path, padding, first, last):
    course = fcn_course(tmp_path, ("padding = 100", f"padding = {padding}"))
    folder = release(course, tmp_path)
    facts = json.loads((folder / "assignment.json").read_text())
    assert (facts["padding"], facts["crops"]["fcn32s"], facts["crops"]["fcn8s"]) == (padding, first, last)
    code = "".join(cell["source"] for book in solved_notebooks(course.notebooks).values() for cell in book["cells"])
    assert code.count(f"nn.Conv2d(3, 64, 3, padding={padding})") == 2 and "padding=100" not in code
    assert f"h[:, :, {first} : {first} + height, {first} : {first} + width]" in code
    assert f"h[:, :, {last} : {last} + x.shape[2], {last} : {last} + x.shape[3]]" in code
    assert "from_rubric" not in "".join(path.read_text() for path in folder.glob("*.ipynb"))


def test_a_padding_that_the_geometry_refuses_is_refused_with_the_file(tmp_path):
    course = fcn_course(tmp_path, ("padding = 100", "padding = 96"))
    with pytest.raises(RubricError, match=r"rubric\.toml: Expected an integer padding"):
        values_of(assignment_of(course.notebooks))
    with pytest.raises(ReleaseError, match=r"rubric\.toml: Expected an integer padding"):
        rubric_facts(course.material)


def test_a_changed_sentence_builds_and_a_changed_number_in_it_is_named(tmp_path):
    course = fcn_course(tmp_path)
    path = course.notebooks / "2_fcn32s.ipynb"
    text = path.read_text()
    path.write_text(text.replace("Time:** about two hours", "Time:** about an afternoon"))
    assert "about an afternoon" in cells(release(course, tmp_path), "2_fcn32s.ipynb")["title"].source
    path.write_text(text.replace("`FCN32s` (17 points),", "`FCN32s` (20 points),"))
    assert "2_fcn32s.ipynb, cell 1: the text '17 points' is marked as one of the rubric's" in refused(course, tmp_path)


QUESTION = '[checks.question_3]\ntitle = "Why not?"\npoints = 8\nmanual = true\n\n# Names that are accepted'


def test_a_third_question_is_one_table_and_one_cell(tmp_path):
    course = fcn_course(tmp_path, ("# Names that are accepted", QUESTION))
    text = refused(course, tmp_path)
    assert "the check question_3 of the rubric has no graded cell; make one with the grade id question_3" in text
    own = graded("question_3", grade=True, solution=True, locked=False, points=8)
    cell = {"cell_type": "markdown", "id": "third", "metadata": own, "source": "=== BEGIN MARK SCHEME ===\nYes.\n=== END MARK SCHEME ==="}
    edit_notebook(course.notebooks / "5_questions.ipynb", lambda content: content["cells"].insert(8, cell))
    folder = release(course, tmp_path)
    facts = json.loads((folder / "assignment.json").read_text())
    assert (facts["checks"]["question_3"], facts["needs"]["question_3"]) == (8, ["answer question_3"])
    questions = cells(folder, "5_questions.ipynb")
    assert questions["third"].source == "YOUR ANSWER HERE" and "(38 points together)" in questions["title"].source


def test_the_gradebook_knows_the_cells_as_they_were_released(tmp_path):
    course = write_course(tmp_path)
    edit_rubric(course.material, ("points = 4", "points = 8"))
    edit_notebook(course.notebooks / "1_first.ipynb", mark_double)
    folder = release(course, tmp_path)
    for path in course.notebook_paths():
        assert [cell.source for cell in release_cells(path).cells] == [cell.source for cell in cells(folder, path.name).values()]
    assert release_cells(course.notebooks / "1_first.ipynb").cells[4].metadata.nbgrader.points == 8


def test_nbgraders_own_release_has_the_same_numbers(tmp_path):
    course = write_course(tmp_path)
    edit_rubric(course.material, ("points = 4", "points = 8"))
    edit_notebook(course.notebooks / "1_first.ipynb", mark_double)
    settings = (REPOSITORY / "nbgrader_config.py").read_text()
    (tmp_path / "nbgrader_config.py").write_text(settings.replace("Path(__file__).resolve().parent", f"Path({str(REPOSITORY)!r})"))
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = cells(release(course, tmp_path), "1_first.ipynb")
    theirs = cells(tmp_path / "release" / "tiny", "1_first.ipynb")
    assert [cell.source for cell in theirs.values()] == [cell.source for cell in ours.values()]
    assert [cell.metadata.get("nbgrader") for cell in theirs.values()] == [cell.metadata.get("nbgrader") for cell in ours.values()]
    assert theirs["double-check"].source == "# 8 points: judged elsewhere" and "segkit" not in theirs["double-check"].metadata
    with contextlib.closing(sqlite3.connect(tmp_path / "gradebook.db")) as database:
        assert sorted(database.execute("select max_score from grade_cells").fetchall()) == [(5,), (6,), (8,)]


# ------------------------------------------------------------------------------------------ what is refused


def mark_double(content: dict) -> None:
    """Mark the points in the text of the check cell ``double-check``."""
    content["cells"][4]["metadata"]["segkit"] = {"from_rubric": [["4 points", "{points.double} points"]]}


def put(course: Sources, name: str, cell_id: str, old: str, new: str) -> None:
    def change(content):
        cell = next(cell for cell in content["cells"] if cell["id"] == cell_id)
        source = "".join(cell["source"])
        assert old in source
        cell["source"] = source.replace(old, new)

    edit_notebook(course.notebooks / name, change)


@pytest.mark.parametrize(("name", "cell", "old", "new", "words"), [
    ("1_first.ipynb", "title", "# Doubling", "# Doubling (7 points)", "1_first.ipynb, cell 1: '7 points' disagrees with the rubric"),
    ("1_first.ipynb", "imports", "np", "np  # worth 3 points", "1_first.ipynb, cell 2: '3 points' disagrees"),
    ("2_second.ipynb", "last-value", "6 points", "4 points", "2_second.ipynb, cell 2 (last-value): '4 points' disagrees with the rubric, "
     "expected 6. "),
    ("2_second.ipynb", "last-value", "6 points", "4 points", "A template names it {points.last.value}, and those of one of its `parts` "
     "{points.last.value.PART}."),
    ("2_second.ipynb", "ask", "Why?", "Why? (1 more point)", "2_second.ipynb, cell 3: '1 more point' disagrees"),
])  # fmt: skip
def test_unmarked_points_that_disagree_are_named(tmp_path, name, cell, old, new, words):
    course = write_course(tmp_path)
    put(course, name, cell, old, new)
    assert words in refused(course, tmp_path)


@pytest.mark.parametrize("text", ["(4 points)", "(15 points)", "value = '7 points'", "no points for 3 pictures"])
def test_points_of_a_check_or_of_all_and_strings_of_code_pass(tmp_path, text):
    course = write_course(tmp_path)
    put(course, "1_first.ipynb", *(("imports", "import", text + "; import") if "=" in text else ("title", "# Doubling", f"# D {text}")))
    release(course, tmp_path)


def test_other_points_of_an_unmarked_cell_are_named_and_a_mark_mends_it(tmp_path):
    course = write_course(tmp_path)
    edit_rubric(course.material, ("points = 4", "points = 8"))
    assert "1_first.ipynb, cell 5 (double-check): '4 points' disagrees with the rubric, expected 8. " in refused(course, tmp_path)
    edit_notebook(course.notebooks / "1_first.ipynb", mark_double)
    cell = cells(release(course, tmp_path), "1_first.ipynb")["double-check"]
    assert (cell.source, cell.metadata.nbgrader.points) == ("# 8 points: judged elsewhere", 8)
    assert "segkit" not in cell.metadata


def test_a_graded_cell_without_a_check_is_named(tmp_path):
    course = write_course(tmp_path)
    edit_rubric(course.material, ('[checks."last.value"]', '[checks."last.values"]'))
    text = refused(course, tmp_path)
    assert "2_second.ipynb: the graded cell last-value belongs to no check of the rubric; there is: double, last.values" in text
    assert "the check last.values of the rubric has no graded cell; make one with the grade id last-values" in text


@pytest.mark.parametrize(("cell", "old", "new", "words"), [
    ("show-fcn8s-network", "model = FCN8s()", "model = FCN8s()\ncut = x[31:]", "31 in 'cut = x[31:]' looks like"),
    ("show-fcn8s-network", "model = FCN8s()", "model = f(padding=100)", "has changed to 103"),
    ("end", "**Done?**", "**Done?** The padding is 100.", "100 in '**Done?** The padding is 100"),
    ("end", "**Done?**", "**Done?** A mean IoU of 0.40 is enough.", "has changed to 0.45"),
])  # fmt: skip
def test_a_left_over_padding_crop_or_threshold_is_named(tmp_path, cell, old, new, words):
    course = fcn_course(tmp_path, ("padding = 100", "padding = 103"), ("full = 0.40", "full = 0.45"))
    put(course, "4_fcn8s.ipynb", cell, old, new)
    text = refused(course, tmp_path)
    ids = [one["id"] for one in read_notebook(course.notebooks / "4_fcn8s.ipynb").cells]
    assert f"4_fcn8s.ipynb, cell {ids.index(cell) + 1}" in text and words in text


# ------------------------------------------------------------------------------------------ texts, and the deadline


def test_texts_of_the_release_may_name_the_rubrics_numbers(tmp_path):
    course = write_course(tmp_path)
    start = course.material / "release" / "START_HERE.md"
    start.write_text("# {{assignment}}\n{{points.all}} points, {{points.last.value}} of them for `last`.\n")
    assert "15 points, 6 of them" in (release(course, tmp_path) / "START_HERE.md").read_text()
    start.write_text("# {{assignment}}\nWorth 14 points.\n")
    assert "START_HERE.md: '14 points' disagrees with the rubric" in refused(course, tmp_path)
    start.write_text("{{points.lost}}")
    assert "{{points.lost}} is no word of a template" in refused(course, tmp_path)


@pytest.mark.parametrize(("offset", "shown"), [("+01:00", " (UTC+01:00)"), ("", "")])
def test_students_read_the_deadline_where_there_is_one(tmp_path, offset, shown):
    course = fcn_course(tmp_path, ("padding = 100", f"due = 2026-03-14T23:59:00{offset}\npadding = 100"))
    text = (release(course, tmp_path) / "START_HERE.md").read_text()
    assert f"where your course collects it, by 23:59 on Saturday, 14 March 2026{shown}. Keep the receipt" in text


@pytest.mark.parametrize("due", ["2026-03-14", '"2026-03-14T23:59:00"', "23:59:00", "20260314"])
def test_a_deadline_that_is_no_moment_is_refused_with_examples(tmp_path, due):
    course = write_course(tmp_path)
    edit_rubric(course.material, ('title = "A tiny assignment"', f'title = "A tiny assignment"\ndue = {due}'))
    with pytest.raises(RubricError, match=r"rubric\.toml: due = .* is no moment.* due = 2026-03-14T23:59:00,.* 2026-03-14T23:59:00\+01:00"):
        open_assignment(course.material)


@pytest.mark.parametrize(("rubrics", "option", "zone", "late"), [
    ("23:59:00+01:00", "", "UTC", 1), ("23:59:00+01:00", "2026-03-14T23:30+00:00", "UTC", 0),
    ("23:59:00", "", "UTC", 0), ("23:59:00", "", "Europe/Berlin", 1), ("23:59:00", "2026-03-14T23:30+00:00", "Europe/Berlin", 0),
])  # fmt: skip
def test_the_rubrics_deadline_counts_unless_the_command_line_names_another(tmp_path, rubrics, option, zone, late):
    """The hand-in came at 23:10 UTC."""
    course = write_course(tmp_path)
    edit_rubric(course.material, ('title = "A tiny assignment"', f'title = "A tiny assignment"\ndue = 2026-03-14T{rubrics}'))
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as bundle:
        bundle.writestr("ada+tiny+2026-03-14 23:10:05.123456 UTC+cmFuZG9t/1_first.ipynb", "{}")
    said: list[str] = []
    options = BulkOptions(tmp_path / "export.zip", None, option, zone, None, "")
    bulk_handins(options, tmp_path / "out", str(course.material), said.append)
    assert f"1 hand-ins, {late} of them late" in said[-1]


# ------------------------------------------------------------------------------------------ with everything on


@pytest.mark.slow
def test_the_reference_with_another_padding_earns_its_crops(tmp_path):
    from autograder.exam.building import write_notebooks
    from autograder.judge.grade import grade_path
    from autograder.judge.run import Run, Settings

    course = fcn_course(tmp_path, ("padding = 100", "padding = 103"))
    (tmp_path / "solved").mkdir()
    write_notebooks(solved_notebooks(course.notebooks), tmp_path / "solved")
    wanted = ("fcn32s.layers", "fcn32s.crop", "fcn8s.layers", "fcn8s.crop")
    with Run.create(Settings(str(course.material), tmp_path / "run", secret="a fixed secret", device="cpu", only=wanted)) as run:
        result = grade_path(run, tmp_path / "solved", "reference")
    assert {check["id"]: check["points"] for check in result["checks"]} == dict(zip(wanted, (5, 4, 5, 6), strict=True))
