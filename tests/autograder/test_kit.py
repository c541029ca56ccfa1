"""When results that are kept are graded again: when code changed that they go through, and not when another assignment came."""

import shutil
from pathlib import Path

import pytest

from autograder.judge import kit
from segkit import edition

REPO = Path(__file__).resolve().parents[2]
DATASET = {"fcn": "facades", "satellite": "satellite"}


@pytest.fixture
def packages(tmp_path) -> Path:
    """A copy of the kit's code."""
    for name in ("autograder", "segkit"):
        shutil.copytree(REPO / name, tmp_path / name, ignore=lambda _, names: [n for n in names if "." in n and not n.endswith(".py")])
    return tmp_path


def digest(packages: Path, assignment: str) -> str:
    return kit.digest_of_kit(packages, packages / "autograder" / "assignments" / assignment, DATASET[assignment])


def write(packages: Path, name: str, text: str) -> None:
    path = packages / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + text, encoding="utf-8")


@pytest.mark.parametrize("assignment", ["fcn", "satellite"])
def test_another_assignment_with_its_reference_and_data_set_grades_nothing_again(packages, assignment):
    before = digest(packages, assignment)
    write(packages, "segkit/reference/streets.py", "from segkit.datasets.streets import SPEC\n")
    write(packages, "segkit/reference/instances/masks.py", "import segkit.reference.streets\n")
    write(packages, "segkit/datasets/streets.py", "SPEC = None\n")
    write(packages, "segkit/datasets/registry.py", 'DATASETS["streets"] = "segkit.datasets.streets"\n')
    write(packages, "segkit/checks/streets/masks.py", "from segkit.datasets.streets import SPEC\n")
    write(packages, "autograder/assignments/streets/checks/test_streets.py", "from segkit.reference.streets import SPEC\n")
    assert digest(packages, assignment) == before


@pytest.mark.parametrize(("changed", "touched"), [
    ("segkit/reference/fcn/metrics.py", {"fcn", "satellite"}),  # every gate counts with it
    ("segkit/reference/satellite.py", {"satellite"}),
    ("segkit/datasets/satellite.py", {"satellite"}),
    ("segkit/datasets/facades/__init__.py", {"fcn", "satellite"}),  # workers of both have segkit.facades
    ("segkit/datasets/pairs.py", {"fcn", "satellite"}),
    ("segkit/datasets/__init__.py", {"fcn", "satellite"}),
    ("segkit/reference/__init__.py", {"fcn", "satellite"}),
    ("segkit/layers.py", {"fcn", "satellite"}),
    ("segkit/a_new_module.py", {"fcn", "satellite"}),
    ("autograder/judge/grade.py", {"fcn", "satellite"}),
    ("autograder/judge/a_new_package/module.py", {"fcn", "satellite"}),
    ("segkit/checks/labels.py", {"fcn", "satellite"}),
    ("segkit/checks/satellite/masks.py", {"satellite"}),
    ("autograder/a_new_room/module.py", set()),  # the rooms that results go through import no other
    ("autograder/report/labels.py", set()),
    ("autograder/marking/marks.py", set()),
    ("segkit/reference/streets.py", set()),
])  # fmt: skip
def test_changed_code_grades_again_what_goes_through_it(packages, changed, touched):
    before = {name: digest(packages, name) for name in DATASET}
    write(packages, changed, "\nNEW = 1\n")
    assert {name for name in DATASET if digest(packages, name) != before[name]} == touched


@pytest.mark.parametrize("line", [
    "from segkit.reference.streets import FCN", "from segkit.reference import read_label, streets", "import segkit.reference.streets as s",
    "from segkit.reference import (\n    read_label,\n    streets,\n)", "import segkit.reference.roads",
])  # fmt: skip
def test_a_reference_counts_from_the_moment_that_a_check_imports_it(packages, line):
    write(packages, "segkit/reference/streets.py", "FCN = 1\n")
    write(packages, "segkit/reference/roads.py", "from segkit.reference.streets import FCN\n")
    write(packages, "autograder/assignments/fcn/checks/test_more.py", f"{line}\n")
    before = digest(packages, "fcn")
    write(packages, "segkit/reference/streets.py", "FCN = 2\n")
    assert digest(packages, "fcn") != before


def test_a_module_that_workers_no_longer_have_grades_again(packages, monkeypatch):
    before = digest(packages, "fcn")
    monkeypatch.setattr(edition, "STUDENT_PARTS", tuple(name for name in edition.STUDENT_PARTS if name != "vgg.py"))
    assert digest(packages, "fcn") != before


def test_the_running_kits_hash_is_that_of_its_folder():
    from autograder.course.assignment import open_assignment

    assert kit.kit_digest(open_assignment("fcn")) == digest(REPO, "fcn")
