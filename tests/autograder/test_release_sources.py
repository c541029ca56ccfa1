"""What authors do to source notebooks between two releases: each slip is named with its cell, and nothing is released."""

import base64
import copy
import io
import json
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image, PngImagePlugin
from small_course import POINTS, RUBRIC, SECRET_LINE, notebooks, write_course

from autograder.course.sources import ReleaseError, find_sources
from autograder.release import build as building
from autograder.release.build import build_release

LONG = "def double(values):\n    ### BEGIN SOLUTION\n{}\n    ### END SOLUTION\n"
LINES = [f"    intermediate_result_{number} = values * {number} + {number}" for number in range(4)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out the import of the edition in a fresh process."""
    monkeypatch.setattr(building, "verify_edition", lambda folder, repositories: [])


def release(tmp_path: Path, change, rubric: str = RUBRIC) -> Path:
    """Build a release of the small course after a change of its first notebook."""
    books = notebooks()
    change(books)
    course = write_course(tmp_path / "c", books)
    (course.material / "rubric.toml").write_text(rubric)
    return build_release(course, tmp_path / "out", facts={}, checks=POINTS).folder


def refused(tmp_path: Path, change, rubric: str = RUBRIC) -> str:
    with pytest.raises(ReleaseError) as caught:
        release(tmp_path, change, rubric)
    assert not (tmp_path / "out" / "tiny").exists()
    return str(caught.value)


def first(change):
    return lambda books: change(books["1_first.ipynb"])


def rename(book) -> None:
    book.cells[2].source = book.cells[2].source.replace("def double", "def twice")


def forget_metadata(book) -> None:
    book.cells[2].metadata = {}


def turn_into_prose(book) -> None:
    old = book.cells[2]
    book.cells[2] = new_markdown_cell(old.source, id=old.id, metadata=old.metadata)


def take_markers_away(book) -> None:
    book.cells[2].source = "def double(values):\n    return values * 2"


def keep_a_draft(book) -> None:
    book.cells.append(new_code_cell("def double(values):\n    return values + values"))


def keep_a_draft_as_prose(book) -> None:
    book.cells[2].source = LONG.format("\n".join(LINES))
    book.cells.append(new_markdown_cell("My own way:\n\n" + "\n".join(LINES[:3])))


def misspell_a_marker(book) -> None:
    book.cells[4].source = "### BEGIN HIDDEN TEST\nassert double(2) == 4\n### END HIDDEN TEST"


def point_to_a_picture(book) -> None:
    book.cells[0].source = "![the network](pictures/the%20network.png)"


@pytest.mark.parametrize(("change", "words"), [
    (rename, "1_first.ipynb, cell 3 (double): it defines twice, but [solution_cells] double of the rubric says double."),
    (forget_metadata, "1_first.ipynb: no cell has the grade id double ([solution_cells] double of the rubric); solution cells are: last"),
    (turn_into_prose, "1_first.ipynb, cell 3 (double): [solution_cells] double of the rubric, but here it is no code cell"),
    (take_markers_away, "1_first.ipynb, cell 3 (double): no ### BEGIN SOLUTION"),
    (keep_a_draft, "1_first.ipynb, cell 6: it defines double, which students are to write."),
    (keep_a_draft_as_prose, "1_first.ipynb, cell 6: it holds 3 of the 4 longer lines of the solution in 1_first.ipynb, cell 3 (double)."),
    (misspell_a_marker, "a marker of a solution, mark scheme or hidden test: # BEGIN HIDDEN TEST"),
    (point_to_a_picture, "cell 1: it points to 'pictures/the%20network.png', which is not in the release"),
])  # fmt: skip
def test_a_slip_in_a_source_notebook_is_named_with_its_cell(tmp_path, change, words):
    assert words in refused(tmp_path, first(change))


def test_a_copied_cell_is_named_with_the_one_it_was_copied_from(tmp_path):
    def copied(book):
        book.cells.append(copy.deepcopy(book.cells[2]))
        book.cells[-1]["id"] = "another"

    assert "Duplicate grade id: double (cells 3 and 6)" in refused(tmp_path, first(copied))


def test_a_copy_of_a_notebook_in_the_folder_is_refused(tmp_path):
    text = refused(tmp_path, lambda books: books.update({"1_first-Copy1.ipynb": copy.deepcopy(books["1_first.ipynb"])}))
    assert "1_first-Copy1.ipynb: `notebooks` of the rubric does not list it. Take it out" in text and text.count("\n") == 1


def repeated(index: int):
    return lambda books: books["2_second.ipynb"].cells.append(copy.deepcopy(books["1_first.ipynb"].cells[index]))


def test_a_grade_id_in_two_notebooks_is_refused_with_both_cells(tmp_path):
    text = refused(tmp_path, repeated(4))
    assert "2_second.ipynb, cell 5 (double-check): the grade id is that of 1_first.ipynb, cell 5 (double-check) too." in text


def test_a_cell_that_only_shows_something_may_stand_in_two_notebooks(tmp_path):
    release(tmp_path, repeated(3))


def test_a_renamed_notebook_is_refused_by_both_names(tmp_path):
    text = refused(tmp_path, lambda books: books.update({"1_one.ipynb": books.pop("1_first.ipynb")}))
    assert "1_one.ipynb: `notebooks` of the rubric does not list it" in text
    assert "1_first.ipynb: `notebooks` of the rubric lists it, but the folder does not hold it" in text


def test_a_hint_of_one_line_and_a_call_are_no_solution(tmp_path):
    def helpful(book):
        book.cells[0].source = f"# Doubling\n\nA hint: `{SECRET_LINE}`, and `[a list](of things)` in code."
        book.cells.append(new_code_cell("doubled = double(np.ones(3))"))

    release(tmp_path, first(helpful))


# ------------------------------------------------------------------------------------------ saved by other editors
def by_jupyter(content: dict) -> None:
    for number, cell in enumerate(content["cells"]):
        if cell["cell_type"] == "code":
            cell |= {"execution_count": number, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["/home/ada\n"]}]}


def by_vs_code(content: dict) -> None:
    content["metadata"] = {"kernelspec": {"name": "env", "display_name": "env (Python 3.11.4)", "language": "python"}, "orig_nbformat": 4}
    for cell in content["cells"]:
        cell["metadata"]["vscode"] = {"languageId": "python"}


def by_a_hosted_editor(content: dict) -> None:
    content["metadata"] = {"colab": {"provenance": [], "authorship_tag": "AB"}, "accelerator": "GPU"}
    for number, cell in enumerate(content["cells"]):
        cell["metadata"] |= {"id": f"q{number}", "outputId": "9", "cellView": "form"}


def with_other_line_ends(content: dict) -> None:
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")


@pytest.mark.parametrize("saved", [by_jupyter, by_vs_code, by_a_hosted_editor, with_other_line_ends])
def test_what_an_editor_saves_besides_makes_no_other_release(tmp_path, monkeypatch, saved):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    course = write_course(tmp_path / "c")
    plain = build_release(course, tmp_path / "out", facts={}, checks=POINTS).archive.read_bytes()
    for path in course.notebook_paths():
        content = json.loads(path.read_text())
        saved(content)
        path.write_text(json.dumps(content, indent=2).replace("\n", "\r\n"), newline="")
    assert build_release(course, tmp_path / "out", facts={}, checks=POINTS).archive.read_bytes() == plain


# ------------------------------------------------------------------------------------------ pictures in cells
def png(**notes: str) -> str:
    """A picture as notebooks attach it: base64 of a PNG."""
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in notes.items():
        info.add_text(key, value)
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=info)
    return base64.b64encode(file.getvalue()).decode()


def attached(index: int, source: str, picture: str):
    def change(books):
        cell = books["2_second.ipynb"].cells[index]
        cell.source = source
        cell.attachments = {"net.png": {"image/png": picture}}

    return change


def test_a_picture_that_a_text_shows_is_released_and_one_of_a_mark_scheme_is_not(tmp_path):
    for index, (number, expected) in enumerate([(2, True), (3, False)]):
        scheme = "=== BEGIN MARK SCHEME ===\n![](attachment:net.png)\n=== END MARK SCHEME ==="
        source = "![](attachment:net.png)" if expected else scheme
        folder = release(tmp_path / str(index), attached(number, source, png()))
        cell = nbformat.read(folder / "2_second.ipynb", as_version=4).cells[number]
        assert ("attachments" in cell) == expected


def test_a_picture_with_somebodys_notes_in_it_is_refused(tmp_path):
    text = refused(tmp_path, attached(2, "![](attachment:net.png)", png(Author="Ada")))
    assert "2_second.ipynb, cell 3, net.png: metadata inside a picture: Author = Ada" in text


@pytest.mark.parametrize(("assignment", "times"), [("satellite", 1), ("fcn", 0)])
def test_what_one_assignment_alone_needs_stands_in_its_own_release_once(assignment, times):
    """t-SNE and the digits are scikit-learn's; facades need neither."""
    sources = find_sources(assignment, Path(__file__).parents[2])
    filled = building._filled(sources.material / "release" / "pyproject.toml", building._words(sources))
    named = [line.partition(">")[0] for line in tomllib.loads(filled)["project"]["dependencies"]]
    assert named.count("scikit-learn") == times and len(named) == len(set(named))
