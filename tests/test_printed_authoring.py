"""Does the page for authors print a check, an entry of the exam and an assignment that work as printed?"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_notebook
from printed import REPOSITORY, code_blocks, files_of
from printed_runs import PAGE, WRITING, run_all
from stand_ins import Place, check_cell, copy_of_the_repository


def example_of_a_check() -> tuple[str, str]:
    """The check that the page prints, and its points for the rubric."""
    (entry,) = (block for block in code_blocks(PAGE, "toml") if block.startswith('[checks."scores.small"]'))
    return files_of(PAGE)["autograder/assignments/fcn/checks/test_of_my_own.py"], entry


def pasted(folder: Path, identifier: str = "scores.small") -> Path:
    """A copy of the assignment with the page's example of a check pasted into it."""
    assignment = folder / "fcn"
    shutil.copytree(REPOSITORY / "autograder" / "assignments" / "fcn", assignment, ignore=shutil.ignore_patterns("__pycache__"))
    code, entry = example_of_a_check()
    (assignment / "checks" / "test_of_my_own.py").write_text(code.replace('"scores.small"', f'"{identifier}"'))
    with (assignment / "rubric.toml").open("a") as file:
        file.write(f"\n{entry}" if identifier == "scores.small" else "")
    return assignment


def test_example_of_a_new_check_is_not_released_before_the_notebook_has_its_cell(tmp_path):
    from autograder.course.rubric import read_rubric
    from autograder.release.verify import verify_notebooks

    rubric = read_rubric(pasted(tmp_path) / "rubric.toml")
    checks = {name: rubric.checks[name].points for name in ("scores", "scores.small")}
    cells = [check_cell("scores-check", checks["scores"]), check_cell("scores-small", 2)]
    missing = "the check scores.small of the rubric has no graded cell; make one with the grade id scores-small"
    for many, faults in ((1, [missing]), (2, [])):
        notebook = new_notebook(cells=cells[:many])
        nbformat.write(notebook, tmp_path / "1_data.ipynb")
        assert verify_notebooks({"1_data.ipynb": notebook}, tmp_path, checks) == faults


@pytest.mark.slow
def test_example_of_a_new_check_under_an_id_that_is_taken_is_refused_with_both_files(tmp_path):
    from autograder.course.rubric import RubricError
    from autograder.judge.run import Run as GradingRun
    from autograder.judge.run import Settings

    with pytest.raises(RubricError, match="test_.*py.*test_.*py") as error:
        GradingRun.create(Settings(str(pasted(tmp_path, "scores")), tmp_path / "out", secret="test", device="cpu")).close()
    assert "test_of_my_own.py" in str(error.value)


# ---------------------------------------------------------------------------------------- what is run in a scratch copy
@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Place]:
    """Where somebody wrote the check, the entry and the assignment of the page."""
    place = copy_of_the_repository(tmp_path_factory.mktemp("desk") / "kit")
    for name, text in files_of(PAGE).items():
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text(text)
    with (place.folder / "autograder" / "assignments" / "fcn" / "rubric.toml").open("a") as file:
        file.write(f"\n{example_of_a_check()[1]}")
    yield place
    shutil.rmtree(place.folder.parent)


@pytest.mark.slow
def test_commands_of_authors_work_as_printed(desk):
    """The page's own check gives its points to the solution, and takes them with its cause from the page's own mutant."""
    run_all(WRITING, desk)
