"""Does the demo make the submissions it says it makes, and does it notice a grade that is not as written down?"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from safetensors.torch import save_file
from test_outputs import FCN_STUDENTS
from torch import nn

from autograder.assignments.fcn import fitting as fcn_fitting
from autograder.assignments.satellite import fitting
from autograder.course.assignment import open_assignment
from autograder.demo import classroom
from autograder.demo.__main__ import main, run_demo
from autograder.demo.classroom import make_class
from autograder.demo.expectations import losses_table, lost_checks, surprises
from autograder.demo.students import DemoError, Student, read_students
from autograder.release.notebooks import student_version, write_notebook
from segkit.checkpoints import read_state_dict
from segkit.notebooks import open_folder
from segkit.reference import scores as reference_scores

ROOT = Path(__file__).parents[2]
NAMES = ("fcn", "satellite")
STUDENTS = {name: read_students(ROOT / "autograder" / "assignments" / name) for name in NAMES}
RUBRICS = {name: open_assignment(name).rubric for name in NAMES}
EVERYBODY = [pytest.param(name, who, id=f"{name}-{who.name}") for name in NAMES for who in STUDENTS[name]]
CHANGED = [one for one in EVERYBODY if one.values[1].entry.changes]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The released notebooks of each assignment alone."""
    folders = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    for name, folder in folders.items():
        for path in (ROOT / "notebooks" / name).glob("*.ipynb"):
            write_notebook(folder / path.name, student_version(nbformat.read(path, as_version=4), path.name))
        shutil.copy(ROOT / "notebooks" / name / "assignment.json", folder)
    return folders


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder with three files that have a score layer and an upsampling."""
    folder = tmp_path / "fitted"
    folder.mkdir()
    for number, name in enumerate(("fcn32s", "fcn32s_low", "fcn8s")):
        save_file(
            {"transpose_conv.weight": torch.full((2, 2), float(number)), "conv1_1.bias": torch.zeros(3)}, folder / f"{name}.safetensors"
        )
    return folder


def student(name: str, assignment: str = "fcn") -> Student:
    return next(entry for entry in STUDENTS[assignment] if entry.name == name)


def made(who: Student, releases: Mapping[str, Path], folder: Path, checkpoints: Path | None = None, assignment: str = "fcn") -> Path:
    (path,) = make_class(releases[assignment], ROOT / "notebooks" / assignment, checkpoints, folder / "class", [who])
    return path


def source_of(submission: Path, grade_id: str) -> str:
    return "\n".join(
        cell.source for path in sorted(submission.glob("*.ipynb")) for cell in nbformat.read(path, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )  # fmt: skip


def result(who: Student, assignment: str = "fcn", **points: float | None) -> dict:
    """What a judge would say of a student who loses what is written down, but for some checks."""
    checks = []
    for check in RUBRICS[assignment].checks.values():
        got = None if check.manual else points.get(check.id.replace(".", "_"), who.expected(check))
        status = "needs_manual" if check.manual else "could_not_grade" if got is None else "earned" if got == check.points else "partial"
        checks.append({"id": check.id, "status": status, "points": got, "message": f"why {check.id}\nmore"})
    return {"submission": who.name, "checks": checks}


# ---------------------------------------------------------------------------------------------------- what is expected
def test_the_classes_have_every_kind_of_hand_in_that_the_demo_promises() -> None:
    assert [entry.name for entry in STUDENTS["fcn"]] == [
        "perfect", "untouched", "crop_one_row_off", "recall_for_iou", "misnamed_layer", "ceil_mode_forgotten",
        "weights_aliased", "exit_in_a_metric", "test_cells_deleted", "no_checkpoint", "checkpoint_under_gate",
        "checkpoint_above_gate",
    ]  # fmt: skip
    assert 10 <= len(STUDENTS["satellite"]) <= 12
    for name in NAMES:
        assert {"perfect", "untouched"} < {who.name for who in STUDENTS[name]} and any(who.zipped for who in STUDENTS[name])
        assert {who.entry.kind for who in STUDENTS[name]} > {"mutants"}


@pytest.mark.parametrize(
    ("assignment", "name", "lost", "points"),
    [
        ("fcn", "perfect", set(), 70), ("fcn", "crop_one_row_off", {"fcn32s.crop"}, 68), ("fcn", "recall_for_iou", {"scores"}, 68.5),
        ("fcn", "misnamed_layer", {"fcn32s.layers"}, 69.5), ("fcn", "weights_aliased", {"pretraining.copy"}, 69),
        ("fcn", "test_cells_deleted", set(), 70), ("fcn", "no_checkpoint", {"pretraining.miou", "fcn8s.miou"}, 58),
        ("fcn", "checkpoint_under_gate", {"pretraining.miou"}, 64),
        ("fcn", "checkpoint_above_gate", {"fcn8s.layers", "fcn8s.shapes", "fcn8s.crop", "fcn8s.forward", "fcn8s.miou"}, 44),
        ("satellite", "perfect", set(), 84), ("satellite", "hooks_that_stay", {"layer_table"}, 83),
        ("satellite", "the_other_rule", {"mean_iou"}, 83), ("satellite", "own_spelling", set(), 84),
        ("satellite", "pool4_forgotten", {"fcn8s.forward"}, 81),
        ("satellite", "trained_for_an_epoch", {"fcn32s.miou", "improved.miou"}, 68),
    ],
)  # fmt: skip
def test_expected_points_are_those_that_people_work_out(assignment: str, name: str, lost: set[str], points: float) -> None:
    who, checks = student(name, assignment), [check for check in RUBRICS[assignment].checks.values() if not check.manual]
    assert {check.id for check in checks if who.expected(check) < check.points} == lost
    assert sum(who.expected(check) for check in checks) == points


@pytest.mark.parametrize("assignment", NAMES)
def test_nothing_is_expected_of_an_untouched_release(assignment: str) -> None:
    assert not any(student("untouched", assignment).expected(check) for check in RUBRICS[assignment].checks.values() if not check.manual)


def test_the_table_says_what_each_student_did_and_must_lose() -> None:
    lines = losses_table([student(name, "satellite") for name in ("perfect", "untouched", "trained_for_an_epoch")], RUBRICS["satellite"])
    head, perfect, untouched, trained = (line.split() for line in lines.splitlines())
    assert head[0] == "name" and perfect == ["perfect", "everything", "right", "84", "nothing"]
    assert untouched[-2:] == ["0", "everything"] and trained[-5:] == ["68", "fcn32s.miou", "8,", "improved.miou", "8"]


@pytest.mark.parametrize("assignment", NAMES)
def test_a_class_as_expected_has_no_surprise(assignment: str) -> None:
    assert surprises(STUDENTS[assignment], [result(who, assignment) for who in STUDENTS[assignment]], RUBRICS[assignment]) == []


@pytest.mark.parametrize(
    ("name", "check", "got", "said"),
    [
        ("crop_one_row_off", "fcn32s_forward", 2, "expected 10 points of fcn32s.forward, but got 2 (partial): why fcn32s.forward"),
        ("recall_for_iou", "scores", 4, "expected 2.5 points of scores, but got 4 (earned): why scores"),
        ("perfect", "scores", 3.5, "expected 4 points of scores, but got 3.5 (partial): why scores"),
        ("no_checkpoint", "fcn8s_miou", None, "expected 0 points of fcn8s.miou, but got no points (could_not_grade): why fcn8s.miou"),
    ],
)
def test_a_check_that_came_to_other_points_is_named_with_its_message(name: str, check: str, got: float | None, said: str) -> None:
    who, full = student(name), {key: value.points for key, value in RUBRICS["fcn"].checks.items()}
    (line,) = surprises([who], [result(who, **{check: got})], RUBRICS["fcn"])
    said = said.replace("expected 10", f"expected {full['fcn32s.forward']:g}")
    assert line == f"{name}: {said}"


def test_results_of_another_student_are_noticed() -> None:
    first, second = STUDENTS["fcn"][:2]
    assert "expected the result of this name" in surprises([first], [result(second)], RUBRICS["fcn"])[0]


def test_what_a_person_grades_is_not_lost() -> None:
    assert lost_checks(result(student("perfect"))) == frozenset()


# ------------------------------------------------------------------------------------------------------ how it is written
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected the students of a demo, but found no such file"),
        ("students = [", "expected TOML"),
        ('[[students]]\nname = "ada"\nmistake = "x"', "student 'ada': unknown or missing keys mistake, story"),
        ('[[students]]\nname = "ada"\nstory = "-"\nentry = "mutants/none"\nundone = ["nowhere"]\nlost = { nothing = "all" }',
         "expected entries of the exam, solution cells and checks, found mutants/none, nothing, nowhere"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_made_is_refused_by_its_file_and_name(text: str | None, said: str, tmp_path: Path) -> None:
    material = tmp_path / "tiny"
    shutil.copytree(ROOT / "tests" / "autograder" / "tiny_assignment", material)
    (material / "corpus").mkdir(exist_ok=True)
    (material / "corpus" / "corpus.toml").write_text("[touches]\n")
    if text is not None:
        (material / "demo.toml").write_text(text)
    with pytest.raises(DemoError) as caught:
        read_students(material)
    assert said in str(caught.value) and str(material / "demo.toml") in str(caught.value)


# ------------------------------------------------------------------------------------------------------ what is handed in
@pytest.mark.parametrize("assignment", NAMES)
def test_the_perfect_student_defines_everything(assignment: str, releases: Mapping[str, Path], tmp_path: Path) -> None:
    cells = RUBRICS[assignment].defines
    workbook = open_folder(made(student("perfect", assignment), releases, tmp_path, assignment=assignment), cells)
    for name in cells.values():
        assert workbook.find(name) is not None and not workbook.find(name).unfinished, name


@pytest.mark.parametrize("assignment", NAMES)
def test_no_marker_of_the_source_reaches_a_student(assignment: str, releases: Mapping[str, Path], tmp_path: Path) -> None:
    work = made(student("perfect", assignment), releases, tmp_path, assignment=assignment)
    assert not [path.name for path in work.glob("*.ipynb") if "SOLUTION" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("assignment", NAMES)
def test_the_untouched_notebooks_are_those_of_the_release(assignment: str, releases: Mapping[str, Path], tmp_path: Path) -> None:
    work = made(student("untouched", assignment), releases, tmp_path, assignment=assignment)
    for path in releases[assignment].glob("*.ipynb"):
        assert nbformat.read(work / path.name, 4) == nbformat.read(path, 4)


@pytest.mark.parametrize(("assignment", "who"), CHANGED)
def test_a_mistake_changes_its_own_cell_and_no_other(assignment: str, who: Student, releases: Mapping[str, Path], tmp_path: Path) -> None:
    right = made(student("perfect", assignment), releases, tmp_path / "a", assignment=assignment)
    wrong = made(replace(who, zipped=False), releases, tmp_path / "b", assignment=assignment)
    changed = {name for name in RUBRICS[assignment].defines if source_of(right, name) != source_of(wrong, name)}
    assert changed == set(who.entry.cells) and len(changed) == 1
    compile(source_of(wrong, next(iter(changed))), "cell", "exec")


def test_recall_for_iou_is_recall(releases: Mapping[str, Path], tmp_path: Path) -> None:
    namespace: dict = {}
    exec("import numpy as np\n" + source_of(made(student("recall_for_iou"), releases, tmp_path), "scores"), namespace)
    hist = torch.tensor([[3, 1], [2, 4]])
    assert namespace["scores"](hist)[1].tolist() == pytest.approx([3 / 4, 4 / 6])
    assert reference_scores(hist)[1].tolist() == pytest.approx([3 / 6, 4 / 7])


def test_the_deleted_cells_are_gone_and_had_points(releases: Mapping[str, Path], tmp_path: Path) -> None:
    assert source_of(releases["fcn"], "scores-check")
    assert not source_of(made(student("test_cells_deleted"), releases, tmp_path), "scores-check")


def test_a_solution_that_was_rewritten_is_reported(releases: Mapping[str, Path], tmp_path: Path) -> None:
    who = student("recall_for_iou")
    with pytest.raises(DemoError, match=r"student recall_for_iou: .*the cell scores does not hold 'no such line'"):
        made(replace(who, entry=replace(who.entry, changes={"scores": [["no such line", "x"]]})), releases, tmp_path)


def test_nothing_is_solved_in_a_cell_that_is_not_done(releases: Mapping[str, Path], tmp_path: Path) -> None:
    work = made(student("checkpoint_above_gate"), releases, tmp_path)
    assert source_of(work, "fcn8s") == source_of(releases["fcn"], "fcn8s")
    assert source_of(work, "fcn32s") != source_of(releases["fcn"], "fcn32s")


def test_checkpoints_of_a_class_lie_on_the_disk_once(releases: Mapping[str, Path], tmp_path: Path, checkpoints: Path) -> None:
    class_ = [student("perfect"), student("recall_for_iou")]
    paths = make_class(releases["fcn"], ROOT / "notebooks" / "fcn", checkpoints, tmp_path / "class", class_)
    files = [path / "checkpoints" / "fcn8s.safetensors" for path in paths]
    assert {file.stat().st_ino for file in files} == {(checkpoints / "fcn8s.safetensors").stat().st_ino}


def test_where_there_are_no_hard_links_checkpoints_are_copied(
    releases: Mapping[str, Path], tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(classroom.os, "link", refuse)
    work = made(student("perfect"), releases, tmp_path, checkpoints)
    assert (work / "checkpoints" / "fcn8s.safetensors").read_bytes() == (checkpoints / "fcn8s.safetensors").read_bytes()


def test_a_renamed_layer_is_renamed_in_its_own_checkpoint_only(releases: Mapping[str, Path], tmp_path: Path, checkpoints: Path) -> None:
    work = made(student("misnamed_layer"), releases, tmp_path, checkpoints)
    state = read_state_dict(work / "checkpoints" / "fcn32s.safetensors")
    assert set(state) == {"up.weight", "conv1_1.bias"} and state["up.weight"].sum() == 0
    assert set(read_state_dict(work / "checkpoints" / "fcn8s.safetensors")) == {"transpose_conv.weight", "conv1_1.bias"}


def test_the_student_under_the_gate_hands_in_the_poor_checkpoint(releases: Mapping[str, Path], tmp_path: Path, checkpoints: Path) -> None:
    work = made(student("checkpoint_under_gate"), releases, tmp_path, checkpoints)
    assert (work / "checkpoints" / "fcn32s.safetensors").read_bytes() == (checkpoints / "fcn32s_low.safetensors").read_bytes()


def test_one_student_hands_in_what_segkit_submit_makes(releases: Mapping[str, Path], tmp_path: Path, checkpoints: Path) -> None:
    path = made(student("no_checkpoint"), releases, tmp_path, checkpoints)
    assert path.name == "no_checkpoint.zip" and path.is_file() and not path.with_suffix("").exists()


# ----------------------------------------------------------------------------------------------------------- the fitting
def test_every_other_training_picture_of_the_facades_is_mirrored() -> None:
    plain = fcn_fitting.FacadeDataset(fcn_fitting.find_root("sample"), "sample", "train", read_label=fcn_fitting.read_label)
    smallest = sorted((plain[index] for index in range(len(plain))), key=lambda pair: pair[1].numel())[:2]
    (image0, label0), (image1, label1) = fcn_fitting.training_pictures()[:2]
    assert torch.equal(image0, smallest[0][0]) and torch.equal(label0, smallest[0][1])
    assert torch.equal(image1.flip(2), smallest[1][0]) and torch.equal(label1.flip(1), smallest[1][1])


def test_a_light_network_that_was_widened_computes_the_same() -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.ConvTranspose2d(64, 128, 2, bias=False), nn.AdaptiveAvgPool2d(3), nn.ReLU(),
                             nn.Flatten(), nn.Linear(1152, 7))  # fmt: skip

    torch.manual_seed(0)
    light = fitting.take("lighten", fitting.NOTEBOOKS)(network())
    weights = fitting.widened(light, network)
    whole, x = network(), torch.randn(2, 3, 12, 12)
    whole.load_state_dict({name: value.float() for name, value in weights.items()})
    assert {value.dtype for value in weights.values()} == {torch.float16} and light[6].in_features == 144
    with torch.no_grad():
        assert light(x).std() > 0.1 and torch.allclose(whole(x), light(x), atol=0.01)


# ---------------------------------------------------------------------------------------------------------- the whole demo
def run_whole(assignment: str, out: Path, chosen: list[Student], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    monkeypatch.setattr("autograder.demo.__main__.run_demo", partial(run_demo, students=chosen))
    with pytest.raises(SystemExit) as ended:
        main([assignment, "--out", str(out), "--jobs", "1"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed[-3000:]
    assert (out / "summary.csv").is_file() and (out / "index.html").is_file()
    assert all((out / entry.name / name).is_file() for entry in chosen for name in ("result.json", "report.html"))
    return printed


@pytest.mark.slow
def test_the_demo_grades_its_class_as_written_down(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of ``make demo``: release, fitting, class, grading; whose mistake is in no gate is graded in test_outputs.py."""
    out, chosen = tmp_path / "demo", [entry for entry in STUDENTS["fcn"] if entry.name not in FCN_STUDENTS[1:]]
    assert "All 8 submissions lost exactly what was expected." in run_whole("fcn", out, chosen, monkeypatch, capsys)


def test_a_surprise_ends_the_demo_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    line = "perfect: expected 70 points, but got 69.5"
    monkeypatch.setattr("autograder.demo.__main__.run_demo", lambda assignment, out, **_: (1, [line]))
    with pytest.raises(SystemExit) as ended:
        main(["fcn"])
    assert ended.value.code == 1
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nowhere", "../fcn"])
def test_an_assignment_that_is_not_there_is_an_error_in_words(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 1 and capsys.readouterr().err.startswith("Error: ")
