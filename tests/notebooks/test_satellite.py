"""The notebooks of the assignment ``satellite``: are they well formed, does grading run nothing but definitions, is the text right?"""

import ast
import itertools
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from nbformat import NotebookNode
from PIL import Image
from test_format import REGION, graded, stub
from torchvision.models import vgg16

from autograder.course.assignment import open_assignment
from autograder.course.rubric import Rubric
from segkit.datasets.satellite import SPEC
from segkit.notebooks import open_folder, take
from segkit.notebooks.names import is_unfinished
from segkit.reference import satellite as reference

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "satellite"
NETWORKS = ("FCN32s", "FCN16s", "FCN8s")
HELPERS = ("lighten", "begin_with", "three_pictures", "learn", "confusion_matrix", "scores")


@pytest.fixture(scope="module")
def rubric() -> Rubric:
    return open_assignment("satellite").rubric


@pytest.fixture(scope="module")
def books(rubric: Rubric) -> dict[str, NotebookNode]:
    return {name: nbformat.read(FOLDER / name, as_version=4) for name in rubric.notebooks}


def every_cell(books: dict[str, NotebookNode]) -> list[tuple[str, NotebookNode]]:
    return [(f"{name}: {cell.id}", cell) for name, book in books.items() for cell in book.cells]


# ------------------------------------------------------------------------------------------------------------ form
def test_every_notebook_is_valid_without_outputs_and_has_ids_that_a_person_can_read(books):
    for name, book in books.items():
        nbformat.validate(book)
        assert len({cell.id for cell in book.cells}) == len(book.cells), name
        assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_-]{2,40}", cell.id) for cell in book.cells)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in book.cells if cell.cell_type == "code")


def test_code_cells_are_short_and_so_is_the_prose_between_them(books):
    for where, cell in every_cell(books):
        if cell.cell_type == "code":
            lines = stub(cell.source).splitlines()
            assert len(lines) <= 22 and max(map(len, lines)) <= 88, where
        elif "nbgrader" not in cell.metadata:
            assert len(cell.source.split()) <= 150, where


def test_each_notebook_says_what_to_write_and_how_long_it_takes(books):
    for book in books.values():
        assert all(word in book.cells[0].source for word in ("**You write:**", "**Time:**", "CPU"))


def test_first_cell_is_the_same_everywhere_and_three_lines_long(books):
    first = {next(cell.source for cell in book.cells if cell.cell_type == "code") for book in books.values()}
    assert len(first) == 1 and len(first.pop().splitlines()) == 3


def test_solution_cells_are_those_of_the_rubric_each_followed_by_its_check(books, rubric):
    found = {}
    for book in books.values():
        cells = [(cell, meta["grade_id"], kind) for cell, meta, kind in graded_but_tasks(book)]
        for (cell, grade_id, kind), (_, following, _) in itertools.pairwise(cells):
            if kind == "answer":
                found[grade_id] = cell
                assert following.startswith(f"check-{grade_id}"), grade_id
    assert set(found) == {cell.grade_id for cell in rubric.cells}
    for cell in rubric.cells:
        defined = [s for s in ast.parse(stub(found[cell.grade_id].source)).body if getattr(s, "name", "") == cell.defines]
        assert len(defined) == 1 and is_unfinished(defined[0])


def graded_but_tasks(book: NotebookNode) -> list:
    """Cells with nbgrader's metadata; the exercise without points is a task of its own kind."""
    plain = nbformat.from_dict(book)
    plain.cells = [cell for cell in book.cells if not cell.metadata.get("nbgrader", {}).get("task")]
    return graded(plain)


def test_graded_cells_stand_folded_at_the_end_below_a_text_that_names_them(books, rubric):
    named = set()
    for name, book in books.items():
        tests = [cell for cell, _, kind in graded_but_tasks(book) if kind == "test"]
        if tests:
            assert list(book.cells[-len(tests) :]) == tests, name
            assert all({line[:1] for line in cell.source.splitlines()} == {"#"} for cell in tests)
            assert all(cell.metadata.jupyter.source_hidden for cell in tests)
            named |= set(re.findall(r"`([\w.]+)` \(\d+ points\)", book.cells[-len(tests) - 1].source))
    assert named == {check.id for check in rubric.checks.values() if not check.manual}


def test_answers_hide_mark_schemes_with_an_exemplary_answer(books, rubric):
    answers = {meta["grade_id"]: cell for book in books.values() for cell, meta, kind in graded_but_tasks(book) if kind == "manual"}
    assert set(answers) == {check.id for check in rubric.checks.values() if check.manual}
    for cell in answers.values():
        assert cell.source.startswith("=== BEGIN MARK SCHEME ===") and cell.source.endswith("=== END MARK SCHEME ===")
        assert "Exemplary answer" in cell.source and "Common mistakes" in cell.source


def test_no_solution_line_stands_in_what_students_get(books):
    secret, public = set(), []
    for _, cell in every_cell(books):
        secret |= {line.strip() for region in REGION.finditer(cell.source) for line in region[0].splitlines()[1:-1]}
        public.append(REGION.sub("", cell.source))
    package = [path for path in (FOLDER.parents[1] / "segkit").rglob("*.py") if "reference" not in path.parts]
    everything = "\n".join([*public, *(path.read_text(encoding="utf-8") for path in package)])
    long = {line for line in secret if len(line) >= 44}
    assert len(long) > 40 and [line for line in long if line in everything] == []


def test_assignment_json_is_what_a_release_gets():
    assert json.loads((FOLDER / "assignment.json").read_text(encoding="utf-8")) == open_assignment("satellite").facts


# ------------------------------------------------------------------------------------------------------------ grading
def statements_of(name: str) -> list[ast.stmt]:
    """What is run when a definition of the notebooks is asked for."""
    book = open_folder(FOLDER)
    program = book.program(book.find(name))
    return [ast.parse(chunk.source).body[number] for chunk in program.chunks for number in chunk.statements]


def test_grading_a_solution_runs_definitions_and_imports_alone(rubric):
    """A loop that trains, a display or a network that is built beside a definition would run in every worker."""
    for cell in rubric.cells:
        run = statements_of(cell.defines)
        assert {type(s) for s in run} <= {ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef}, cell.grade_id


@pytest.mark.parametrize("name", HELPERS)
def test_taking_a_helper_runs_no_more_than_that(name):
    """A variable of a helper's name anywhere would be taken in its place, with the training behind it."""
    run = [s for s in statements_of(name) if not isinstance(s, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))]
    assert [target.id for s in run for target in getattr(s, "targets", [s])] == (["RECIPE", "LARGE", "COUNTING"] if name == "learn" else [])
    assert statements_of(name)[-1].name == name


# ------------------------------------------------------------------------------------------------------------ solutions
@pytest.fixture(scope="module")
def solutions(rubric: Rubric) -> dict[str, object]:
    return {name: take(name, FOLDER) for name in [*(cell.defines for cell in rubric.cells), "lighten", "begin_with"]}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_written_at_length_compute_what_the_reference_does(solutions, name):
    lighten = solutions["lighten"]
    torch.manual_seed(0)
    own, theirs = lighten(solutions[name]()).eval(), lighten(getattr(reference, name)()).eval()
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        other.data.copy_(mine.data)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert own(x).shape == (2, 7, 64, 96) and torch.allclose(own(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS, "Classifier"])
def test_lighten_leaves_an_eighth_of_the_channels_and_1_leaves_all(solutions, name):
    lighten, model = solutions["lighten"], solutions[name]()
    count = sum(p.numel() for p in model.parameters())
    assert lighten(model, 1) is model and sum(p.numel() for p in model.parameters()) == count
    light = lighten(model)
    assert count / 66 < sum(p.numel() for p in light.parameters()) < count / 40
    assert all(p.std() > 0 for p in light.parameters() if p.dim() > 1)


def test_begin_with_copies_the_convolutions_of_one_shape_in_their_order(solutions, capsys):
    lighten = solutions["lighten"]
    vgg, model = lighten(vgg16(weights=None)), lighten(solutions["FCN8s"]())
    solutions["begin_with"](model, vgg)
    kind = torch.nn.Conv2d
    mine, theirs = ([layer for layer in one.modules() if isinstance(layer, kind)] for one in (model, vgg.features))
    assert len(theirs) == 13 and "13 layers" in capsys.readouterr().out
    assert all(torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias) for a, b in zip(mine[:13], theirs, strict=True))
    assert mine[0].weight.data_ptr() != theirs[0].weight.data_ptr()


# ------------------------------------------------------------------------------------------------------------ what the text says
def by_loop(pred: np.ndarray, gt: np.ndarray, wrong: bool, absent: bool = False) -> float:
    """Mean IoU pixel by pixel; ``wrong``: what is predicted on unknown pixels counts; ``absent``: classes that do not occur are 0."""
    values = []
    for number in range(6):
        both = either = 0
        for p, t in zip(pred.flat, gt.flat, strict=True):
            if t < 6 or wrong:
                both += p == t == number
                either += number in (p, t)
        if either or absent:
            values.append(both / max(either, 1))
    return float(np.mean(values))


def test_the_case_that_is_worked_by_hand(books, solutions):
    cells = {cell.id: cell.source for cell in books["2_masks.ipynb"].cells}
    arrays = [np.array(ast.literal_eval(text)) for text in re.findall(r"np\.array\((\[\[.*\]\])\)", cells["show-by-hand"])]
    truth, answer = arrays
    letters = {"F": 3, "W": 4, "?": 6}
    rows = [[letters[c] for c in row.split()] for row in re.findall(r"`([FW?](?: [FW?])+)`", cells["by-hand"])]
    assert rows == [truth[0].tolist(), answer[0].tolist(), truth[1].tolist(), answer[1].tolist()]
    scores = (by_loop(answer, truth, wrong=False), by_loop(answer, truth, wrong=True))
    assert [f"**{score:.3f}**" in cells["by-hand"] for score in scores] == [True, True]
    assert f"{by_loop(answer, truth, wrong=False, absent=True):.3f}" in cells["by-hand-why"]
    assert solutions["mean_iou"](answer, truth) == pytest.approx(scores[0])


def test_masks_become_what_the_table_says(books, solutions, tmp_path):
    table = next(cell.source for cell in books["2_masks.ipynb"].cells if cell.id == "read-mask-todo")
    rows = re.findall(r"^\| \((\d+), (\d+), (\d+)\) \| (\w+) \| (\d) \|$", table, re.MULTILINE)
    assert [name for *_, name, _ in rows] == [*SPEC.classes, "unknown"]
    Image.fromarray(np.array([[[int(v) for v in row[:3]] for row in rows]], np.uint8)).save(tmp_path / "mask.png")
    assert solutions["read_mask"](tmp_path / "mask.png").tolist() == [[int(number) for *_, number in rows]]


def test_sample_shows_what_the_texts_point_at(solutions):
    """2.5 needs a tile with a margin; 3 and 5 three pictures by name; 4.1 says that water wins most by a finer stride."""
    root = SPEC.find_root("sample")

    def masks(part: str) -> np.ndarray:
        names = SPEC.split_names("sample", part)
        return np.stack([solutions["read_mask"](SPEC.label_path(root, name)).numpy() for name in names])

    assert (masks("train") == 6).any() and len(SPEC.split_names("sample", "test")) >= 4
    truth = masks("test")[:, ::2, ::2]
    gain = {}
    for stride in (32, 8):
        painted = truth[:, stride // 2 :: stride, stride // 2 :: stride].repeat(stride, 1).repeat(stride, 2)
        gain[stride] = [((painted == k) & (truth == k)).sum() / ((painted == k) | (truth == k)).sum() for k in range(6)]
    won = np.subtract(gain[8], gain[32])
    assert won.min() > 0 and SPEC.classes[won.argmax()] == "water"


@pytest.mark.parametrize(("side", "output"), [(256, 256), (250, 224), (224, 224)])
def test_sizes_of_fcn32s_are_those_of_the_text(solutions, side, output):
    with torch.device("meta"):
        assert solutions["FCN32s"]().eval()(torch.empty(1, 3, side, side)).shape[2:] == (output, output)


def test_parameters_of_both_fusions_are_counted_right(solutions):
    """4.2 counts by hand what each network has behind the coarse scores; of ours the networks say it too."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in solutions[name]().parameters()) for name in NETWORKS]
    coarse = counts[0] - 7 * 7 * 64 * 64
    assert [count - coarse for count in counts[1:]] == [7 * 512 * 16 + 512 * 7 * 256, 7 * 256 * 64 + 512 * 256 * 4 + 256 * 7 * 64]


def test_the_map_of_features_and_the_matrix_have_one_order_and_one_set_of_colours(books):
    """Five pictures of three classes, two of them called by another name."""
    figure_shown = []
    truth, answers = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 0])
    place = np.array([[0.0, 0], [1, 0], [5, 5], [9, 1], [9, 2]])
    (cell,) = (cell for cell in books["1_classify.ipynb"].cells if cell.id == "show-map")
    space = {"plt": plt, "np": np, "names": ["wheat", "rye", "oats"], "truth": truth, "answers": answers, "place": place,
             "counts": np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]])}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "show", lambda: figure_shown.append(plt.gcf()))
        exec(cell.source, space)
    map_, matrix = figure_shown[0].axes
    points, rings = map_.collections
    colour_of = {int(number): tuple(colour) for number, colour in zip(truth, points.to_rgba(points.get_array()), strict=True)}
    assert len(set(colour_of.values())) == 3
    assert {text.get_text(): text.get_bbox_patch().get_edgecolor() for text in map_.texts} == {
        name: pytest.approx(colour_of[number]) for number, name in enumerate(space["names"])
    }
    for axis in (matrix.xaxis, matrix.yaxis):
        labels = axis.get_ticklabels()
        assert [label.get_text() for label in labels] == space["names"]
        assert [to_rgba(label.get_color()) for label in labels] == [pytest.approx(colour_of[number]) for number in range(3)]
    assert np.array_equal(rings.get_offsets(), place[[1, 4]]), "rings are around those called by another name"
    assert {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in matrix.texts} == {
        (0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 0): "1", (2, 2): "1",
    }  # fmt: skip
    plt.close(figure_shown[0])
