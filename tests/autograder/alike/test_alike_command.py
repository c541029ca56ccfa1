"""From hand-ins to notes: what grading keeps, and what the command writes."""

import json

from click.testing import CliRunner
from copying import disguised
from fake_class import fake_result
from honest import PEOPLE
from looked_at import graded
from tiny import DOUBLE, TINY, notebook, weights, write_submission
from tiny import cell as a_cell

from autograder.alike.kept import MOST_CELL, keep_work, read_work
from autograder.cli import main
from autograder.course.assignment import open_assignment
from autograder.handins.submission import read_submission


def run(*words):
    return CliRunner().invoke(main, ["alike", *map(str, words)])


def kept(folder, out):
    """What is kept of a hand-in; that grading keeps it is seen where the printed commands are run."""
    out.mkdir(parents=True, exist_ok=True)
    keep_work(out, read_submission(folder, out.name, open_assignment(str(TINY)).rubric))
    return read_work(out)


def test_code_is_kept_with_its_place_and_checkpoints_by_hash_and_values(tmp_path):
    folder = write_submission(tmp_path / "in", checkpoint=weights())
    (folder / "helper.py").write_text("HELP = 1\n")
    work = kept(folder, tmp_path / "ada")
    assert next((cell.where, cell.text) for cell in work.cells) == ("1_double.ipynb, cell 2", DOUBLE)
    assert work.cells[-1].where == "helper.py"
    assert list(work.hashes) == list(work.sketches) == ["dots"] and set(work.sketches["dots"]) == {"conv.weight", "conv.bias"}


def test_notes_stand_on_the_class_page_and_in_no_report_and_an_assignment_without_notebooks_says_so(tmp_path):
    for name in ("ada", "ben", "cleo", "dmitri"):
        kept(write_submission(tmp_path / "in" / name, checkpoint=weights(name > "c")), tmp_path / "graded" / name)
        result = fake_result(name, assignment="tiny")
        (tmp_path / "graded" / name / "result.json").write_text(json.dumps(result))
    done = run(tmp_path / "graded", "--assignment", TINY)
    assert done.exit_code == 1 and "Code that was handed out is not known" in done.output
    assert done.output.count("2 submissions have nearly the same weights of dots.") == 2
    assert "2 notes to look at" in (tmp_path / "graded" / "index.html").read_text()
    assert "alike.html" not in (tmp_path / "graded" / "ada" / "report.html").read_text()


def test_a_hand_in_without_end_is_cut(tmp_path):
    notebook(tmp_path / "in" / "1_double.ipynb", *[a_cell(f"x = 1  # {'y' * 2 * MOST_CELL}", f"id{n}") for n in range(15)])
    assert len(kept(tmp_path / "in", tmp_path / "out").cells) == 10 and (tmp_path / "out" / "work.json").stat().st_size < 700_000


def test_the_command_names_who_and_links_the_page(tmp_path):
    people = {**PEOPLE, "eve": {where: disguised(text) for where, text in PEOPLE["ben"].items()}}
    before = {path.parent.name: path.read_bytes() for path in graded(tmp_path, people, {}).glob("*/result.json")}
    done = run(tmp_path)
    assert done.exit_code == 0
    assert "2 submissions have code that is nearly the same, whatever its names. ben, eve" in done.output and "1 notes" not in done.output
    assert "1 note to look at" in (tmp_path / "index.html").read_text()
    assert before == {path.parent.name: path.read_bytes() for path in tmp_path.glob("*/result.json")}


def test_a_folder_without_results_is_refused(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 2 and str(tmp_path) in done.output
