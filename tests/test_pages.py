"""Do the pages say what the code does: keys, hooks, rooms, versions, and links that lead somewhere?"""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from printed import TEXTS
from test_rooms import ALLOWED

import segkit
from autograder.assignments.fcn import prepare
from autograder.sandbox.verbs import VERBS, Questions

REPOSITORY = Path(__file__).resolve().parents[1]
FCN = REPOSITORY / "autograder" / "assignments" / "fcn"
PAGE = (REPOSITORY / "docs" / "assignments.md").read_text(encoding="utf-8")
PAGES = [path for path in TEXTS if path.suffix == ".md" and "release" not in path.parts]


def keys_of_tables(text: str) -> set[str]:
    """What stands in backticks in the first column of any table."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`\W*(\w+)[^`]*`", row)}


def names_of(path: Path) -> set[str]:
    """Targets that a link into a page may have, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_key_of_the_rubric_is_explained():
    rubric = tomllib.loads((FCN / "rubric.toml").read_text(encoding="utf-8"))
    tables = {"solution_cells", "checks", "causes", "aliases"}
    own = {"padding", "probe_classes"}  # settings of fcn alone
    assert set(rubric) - tables - own <= keys_of_tables(PAGE)
    assert [table for table in tables if f"`[{table}" not in PAGE] == []
    of_checks = {key for check in rubric["checks"].values() for key, value in check.items()
                 if key == "parts" or not isinstance(value, dict)}  # fmt: skip
    assert of_checks - {"checkpoint", "defines"} <= keys_of_tables(PAGE)


def test_every_key_of_an_entry_of_the_exam_is_explained():
    entries = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (FCN / "corpus").glob("*.toml")]
    kinds = {kind: content[kind] for content in entries for kind in content if kind not in ("touches", "equivalent", "control")}
    used = {key for content in entries for kind in kinds for entry in content.get(kind, ()) for key in entry}
    assert used <= keys_of_tables(PAGE)
    assert [kind for kind in kinds if f"`[[{kind}]]`" not in PAGE] == []


def test_every_function_of_prepare_is_explained():
    functions = {name for name in prepare.__all__ if inspect.isfunction(getattr(prepare, name))}
    assert functions <= keys_of_tables(PAGE)


def test_every_question_of_a_check_is_explained_with_its_arguments():
    table = PAGE.partition("| `student.` | asks |")[2].partition("\n\n")[0]
    first_column = "".join(row.split(" | ")[0] for row in table.splitlines())
    written = dict(re.findall(r"`(\w+)\((.*?)\)`", first_column))
    assert set(written) == set(VERBS)
    for name, arguments in written.items():
        asked = inspect.signature(getattr(Questions, name)).parameters.values()
        told = inspect.signature(eval(f"lambda self, {arguments}: 0")).parameters.values()
        assert [(one.name, one.kind, one.default) for one in told] == [(one.name, one.kind, one.default) for one in asked], name


def test_rooms_are_listed_in_the_order_in_which_they_may_be_imported():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | what it does |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [room for room in ALLOWED if room != "__main__"]


def test_newest_version_of_the_changelog_is_that_of_the_package():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d.*?)\] - \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)[0] == segkit.__version__


def test_readme_fits_on_two_screens():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"(?:\]\(|src=\")(?!https?:)([^)\"\s]+)", page.read_text(encoding="utf-8")):
        file, _, name = target.partition("#")
        path = page.parent / file if file else page
        assert path.is_file(), f"{target} is not there"
        assert not name or name in names_of(path), f"{path.name} has no heading {name!r}; there is: {sorted(names_of(path))}"


def test_files_of_tests_that_are_begun_first_are_there():
    """A name that is gone leaves its file, or its parts, to the end."""
    text = (REPOSITORY / "tests" / "conftest.py").read_text(encoding="utf-8")
    names = ast.literal_eval(re.search(r"^LONGEST = (\(.*?^\))", text, re.MULTILINE | re.DOTALL)[1])
    assert sorted(set(names) & {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}) == sorted(names)
