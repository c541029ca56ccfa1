"""Does the demo make the submissions it says it makes, and does it notice a grade that is not as written down?"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from safetensors.torch import save_file
from test_outputs import FCN_STUDENTS

from autograder.demo import classroom, fitting
from autograder.demo.__main__ import main, run_demo
from autograder.demo.classroom import DemoError, make_class, solve
from autograder.demo.expectations import lost_checks, surprises
from autograder.demo.fitting import Checkpoints
from autograder.demo.students import AUTOMATIC, STUDENTS, Edit, Student
from autograder.release.notebooks import student_version, write_notebook
from segkit.checkpoints import read_state_dict
from segkit.notebooks import open_folder
from segkit.reference import scores as reference_scores

SOURCE = Path(__file__).parents[2] / "notebooks" / "fcn"
CELLS = {
    "read_label": "read_label", "confusion_matrix": "confusion_matrix", "scores": "scores", "fcn32s": "FCN32s",
    "copy_vgg16": "copy_params_from_vgg16", "fcn8s": "FCN8s",
}  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released notebooks alone."""
    folder = tmp_path_factory.mktemp("release")
    for path in SOURCE.glob("*.ipynb"):
        write_notebook(folder / path.name, student_version(nbformat.read(path, as_version=4), path.name))
    shutil.copy(SOURCE / "assignment.json", folder)
    return folder


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Three files with the names of a score layer."""
    files = Checkpoints(*(tmp_path / f"{name}.safetensors" for name in ("fcn32s", "fcn32s_low", "fcn8s")))
    for number, path in enumerate((files.fcn32s, files.fcn32s_low, files.fcn8s)):
        save_file({"score.weight": torch.full((2, 2), float(number)), "conv1_1.bias": torch.zeros(3)}, path)
    return files


def student(name: str) -> Student:
    return next(entry for entry in STUDENTS if entry.name == name)


def made(who: Student, release: Path, folder: Path, checkpoints: Checkpoints | None = None) -> Path:
    (path,) = make_class(release, SOURCE, checkpoints, folder / "class", [who])
    return path


def source_of(submission: Path, grade_id: str) -> str:
    return "\n".join(
        cell.source for path in sorted(submission.glob("*.ipynb")) for cell in nbformat.read(path, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )  # fmt: skip


def result(who: Student, lost: frozenset[str] | None = None, status: str = "not_earned", score: float | None = None) -> dict:
    lost = who.lost if lost is None else lost
    checks = [{"id": name, "status": status if name in lost else "earned", "message": f"why {name}\nmore"} for name in sorted(AUTOMATIC)]
    checks.append({"id": "question_1", "status": "needs_manual", "message": ""})
    return {"submission": who.name, "score": who.points if score is None else score, "checks": checks}


# ---------------------------------------------------------------------------------------------------- what is expected
def test_the_class_has_every_kind_of_hand_in_that_the_demo_promises() -> None:
    assert [entry.name for entry in STUDENTS] == [
        "perfect", "untouched", "crop_one_row_off", "recall_for_iou", "misnamed_layer", "ceil_mode_forgotten",
        "weights_aliased", "exit_in_forward", "test_cell_deleted", "no_checkpoint", "checkpoint_under_gate",
        "checkpoint_above_gate",
    ]  # fmt: skip
    assert (student("perfect").lost, student("perfect").points) == (frozenset(), 70)
    assert (student("untouched").lost, student("untouched").points) == (AUTOMATIC, 0)


def test_expectations_name_checks_and_points_of_the_rubric() -> None:
    from autograder.course.assignment import open_assignment

    checks = {name: c.points for name, c in open_assignment("fcn").rubric.checks.items() if not c.manual}
    assert set(checks) == AUTOMATIC
    for who in STUDENTS:
        kept, at_stake = (sum(checks[name] for name in names) for names in (AUTOMATIC - who.lost, who.lost))
        assert kept <= who.points < kept + at_stake + (not who.lost), f"{who.name}: {who.points} points do not fit {sorted(who.lost)}"


def test_a_class_as_expected_has_no_surprise() -> None:
    assert surprises(STUDENTS, [result(who) for who in STUDENTS]) == []


def test_a_check_lost_beside_the_expected_ones_is_named_with_its_message() -> None:
    who = student("crop_one_row_off")
    (line,) = surprises([who], [result(who, who.lost | {"fcn32s.forward"})])
    assert line == ("crop_one_row_off: expected fcn32s.forward to be fully earned, but it is not_earned: why fcn32s.forward")


def test_a_mistake_that_cost_nothing_is_named() -> None:
    who = student("recall_for_iou")
    (line,) = surprises([who], [result(who, frozenset())])
    assert line == "recall_for_iou: expected scores to be lost, but it was earned"


def test_other_points_are_named() -> None:
    who = student("perfect")
    assert surprises([who], [result(who, score=69.5)]) == ["perfect: expected 70 points, but got 69.5"]


def test_a_check_that_could_not_be_graded_is_no_loss_as_expected() -> None:
    who = student("no_checkpoint")
    lines = surprises([who], [result(who, status="could_not_grade")])
    assert len(lines) == 2 and all("to be graded, but it is could_not_grade" in line for line in lines)


def test_results_of_another_student_are_noticed() -> None:
    assert "expected the result of this name" in surprises([STUDENTS[0]], [result(STUDENTS[1])])[0]


def test_what_a_person_grades_is_not_lost() -> None:
    assert lost_checks(result(student("perfect"))) == frozenset()


# ------------------------------------------------------------------------------------------------------ what is handed in
def test_the_perfect_student_defines_everything(release: Path, tmp_path: Path) -> None:
    workbook = open_folder(made(student("perfect"), release, tmp_path), CELLS)
    for name in CELLS.values():
        assert workbook.find(name) is not None and not workbook.find(name).unfinished, name


def test_no_marker_of_the_source_reaches_a_student(release: Path, tmp_path: Path) -> None:
    work = made(student("perfect"), release, tmp_path)
    assert not [path.name for path in work.glob("*.ipynb") if "SOLUTION" in path.read_text(encoding="utf-8")]


def test_the_untouched_notebooks_are_those_of_the_release(release: Path, tmp_path: Path) -> None:
    work = made(student("untouched"), release, tmp_path)
    for path in release.glob("*.ipynb"):
        assert nbformat.read(work / path.name, 4) == nbformat.read(path, 4)


@pytest.mark.parametrize("who", [entry for entry in STUDENTS if entry.edits], ids=lambda entry: entry.name)
def test_a_mistake_changes_its_own_cell_and_no_other(who: Student, release: Path, tmp_path: Path) -> None:
    right, wrong = made(student("perfect"), release, tmp_path / "a"), made(who, release, tmp_path / "b")
    changed = {name for name in CELLS if source_of(right, name) != source_of(wrong, name)}
    assert changed == {edit.cell for edit in who.edits}
    compile(source_of(wrong, next(iter(changed))), "cell", "exec")


def test_recall_for_iou_is_recall(release: Path, tmp_path: Path) -> None:
    namespace: dict = {}
    exec("import numpy as np\n" + source_of(made(student("recall_for_iou"), release, tmp_path), "scores"), namespace)
    hist = torch.tensor([[3, 1], [2, 4]])
    assert namespace["scores"](hist)[1].tolist() == pytest.approx([3 / 4, 4 / 6])
    assert reference_scores(hist)[1].tolist() == pytest.approx([3 / 6, 4 / 7])


def test_the_deleted_cell_is_gone_and_had_points(release: Path, tmp_path: Path) -> None:
    assert source_of(release, "fcn32s-crop")
    assert not source_of(made(student("test_cell_deleted"), release, tmp_path), "fcn32s-crop")


def test_a_solution_that_was_rewritten_is_reported(release: Path, tmp_path: Path) -> None:
    who = Student("late", "an edit of last year", edits=(Edit("scores", "no such line", "x"),))
    with pytest.raises(DemoError, match=r"cell scores expected 1 x 'no such line'.*found it 0 times.*students\.py"):
        made(who, release, tmp_path)


def test_nothing_is_solved_in_a_cell_that_is_not_done() -> None:
    cell = nbformat.v4.new_code_cell("stub", metadata={"nbgrader": {"grade_id": "fcn8s"}})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    solve(notebook, student("checkpoint_above_gate"), {"fcn8s": "solved"})
    assert notebook.cells[0].source == "stub"


def test_checkpoints_of_a_class_lie_on_the_disk_once(release: Path, tmp_path: Path, checkpoints: Checkpoints) -> None:
    class_ = [student("perfect"), student("recall_for_iou")]
    paths = make_class(release, SOURCE, checkpoints, tmp_path / "class", class_)
    files = [path / "checkpoints" / "fcn8s.safetensors" for path in paths]
    assert {file.stat().st_ino for file in files} == {checkpoints.fcn8s.stat().st_ino}


def test_where_there_are_no_hard_links_checkpoints_are_copied(
    release: Path, tmp_path: Path, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(classroom.os, "link", refuse)
    work = made(student("perfect"), release, tmp_path, checkpoints)
    assert (work / "checkpoints" / "fcn8s.safetensors").read_bytes() == checkpoints.fcn8s.read_bytes()


def test_a_renamed_layer_is_renamed_in_its_own_checkpoint_only(release: Path, tmp_path: Path, checkpoints: Checkpoints) -> None:
    work = made(student("misnamed_layer"), release, tmp_path, checkpoints)
    state = read_state_dict(work / "checkpoints" / "fcn32s.safetensors")
    assert set(state) == {"classifier.weight", "conv1_1.bias"} and state["classifier.weight"].sum() == 0
    assert set(read_state_dict(work / "checkpoints" / "fcn8s.safetensors")) == {"score.weight", "conv1_1.bias"}


def test_the_student_under_the_gate_hands_in_the_poor_checkpoint(release: Path, tmp_path: Path, checkpoints: Checkpoints) -> None:
    work = made(student("checkpoint_under_gate"), release, tmp_path, checkpoints)
    assert (work / "checkpoints" / "fcn32s.safetensors").read_bytes() == checkpoints.fcn32s_low.read_bytes()


def test_one_student_hands_in_what_segkit_submit_makes(release: Path, tmp_path: Path, checkpoints: Checkpoints) -> None:
    path = made(student("no_checkpoint"), release, tmp_path, checkpoints)
    assert path.name == "no_checkpoint.zip" and path.is_file() and not path.with_suffix("").exists()


# ----------------------------------------------------------------------------------------------------------- the fitting
def test_every_other_training_picture_is_mirrored() -> None:
    plain = fitting.FacadeDataset(fitting.find_root("sample"), "sample", "train", read_label=fitting.read_label)
    smallest = sorted((plain[index] for index in range(len(plain))), key=lambda pair: pair[1].numel())[:2]
    (image0, label0), (image1, label1) = fitting.training_pictures()[:2]
    assert torch.equal(image0, smallest[0][0]) and torch.equal(label0, smallest[0][1])
    assert torch.equal(image1.flip(2), smallest[1][0]) and torch.equal(label1.flip(1), smallest[1][1])


# ---------------------------------------------------------------------------------------------------------- the whole demo
@pytest.mark.slow
def test_the_demo_grades_its_class_as_written_down(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of ``make demo``: release, fitting, class, grading; whose mistake is in no gate is graded in test_outputs.py."""
    out, chosen = tmp_path / "demo", [entry for entry in STUDENTS if entry.name not in FCN_STUDENTS[1:]]
    monkeypatch.setattr("autograder.demo.__main__.run_demo", partial(run_demo, students=chosen))
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(out), "--jobs", "1"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed[-3000:]
    assert "All 12 submissions lost exactly what was expected." in printed
    graded = {path.name for path in out.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert graded | set(FCN_STUDENTS) == {entry.name for entry in STUDENTS} and len(graded) == 8
    assert (out / "summary.csv").is_file() and (out / "index.html").is_file()
    assert all((out / entry.name / name).is_file() for entry in chosen for name in ("result.json", "report.html"))


def test_a_surprise_ends_the_demo_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    line = "perfect: expected 70 points, but got 69.5"
    monkeypatch.setattr("autograder.demo.__main__.run_demo", lambda out, **_: [line])
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 1
    assert line in capsys.readouterr().out


def test_students_are_plain_values() -> None:
    """A student can be varied: what another course's demo needs."""
    other = replace(student("perfect"), name="copy", points=1)
    assert other.lost == frozenset() and student("perfect").points == 70
