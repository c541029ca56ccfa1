"""The student edition: every module is decided upon, and what is written stands alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segkit
from segkit.edition import edition_files, undecided_files, write_edition

PACKAGE = Path(segkit.__file__).parent


def test_every_module_is_either_the_students_or_the_instructors():
    """A new module stays out of releases until it is on one of the two lists of segkit/edition.py."""
    assert undecided_files() == []


def test_reference_and_instructors_tools_stay_in_the_house():
    names = edition_files()
    assert not [name for name in names if name.startswith("reference")]
    assert not {"edition.py", "datasets/survey.py", "datasets/facades/verifying.py"} & set(names)
    assert {"__init__.py", "facades.py", "notebooks/taking.py", "checks/__init__.py"} <= set(names)


def test_only_listed_files_are_written(tmp_path):
    """A stray file of the working tree (an editor's copy, a compiled module) is not published."""
    package = tmp_path / "package"
    for name in [*edition_files(), "reference/fcn/networks.py"]:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x = 1\n")
    (package / "solution_draft.py").write_text("secret\n")
    (package / "facades.py~").write_text("secret\n")
    (tmp_path / "out").mkdir()
    written = write_edition(tmp_path / "out", package)
    target = tmp_path / "out" / "segkit"
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert found == edition_files()
    assert len(written) == len(found)
    assert undecided_files(package) == ["solution_draft.py"]


def test_a_worker_cannot_build_a_network_from_the_table_of_its_layers(tmp_path):
    written = write_edition(tmp_path, for_workers=True)
    assert {path.name for path in written} & {"specification.py", "layers.py"} == {"layers.py"}
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')];"
        f"sys.path.insert(0, {str(tmp_path)!r}); import segkit.checks; from segkit.layers import describe, expected_layers\n"
        "try: print(expected_layers('fcn8s', 12))\n"
        "except RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert "write the layers of the network out by yourself" in done.stdout and "conv1_1" not in done.stdout, done.stderr


@pytest.fixture
def with_streets(tmp_path) -> Path:
    """The kit with one more assignment: its own checks, which need its data set; a module that decodes labels stays in the house."""
    package = tmp_path / "package"
    for name in edition_files():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, package / name)
    for name, text in {
        "checks/streets/__init__.py": "from segkit.datasets.streets import SPEC\n",
        "datasets/streets/__init__.py": "SPEC = None\n",
        "datasets/streets/verifying.py": "secret = 1\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    registry = package / "datasets" / "registry.py"
    registry.write_text(registry.read_text() + 'DATASETS["streets"] = "segkit.datasets.streets"\n')
    return package


def test_an_assignment_takes_its_own_checks_and_data_set_and_no_others(with_streets, tmp_path):
    notebook, other = tmp_path / "1_streets.ipynb", tmp_path / "1_fields.ipynb"
    notebook.write_text('{"source": ["from segkit.checks.streets import check_masks\\n"]}')
    other.write_text('{"source": ["from segkit.checks import check_read_label\\n"]}')
    own, others = set(edition_files(with_streets, [notebook])), set(edition_files(with_streets, [other]))
    assert own - others == {"checks/streets/__init__.py", "datasets/streets/__init__.py"}
    assert not others - own and {"checks/labels.py", "datasets/registry.py", "datasets/pairs.py"} <= others
    assert not [name for name in own | others if "satellite" in name]
    assert "datasets/streets/verifying.py" not in edition_files(with_streets) and undecided_files(with_streets) == []


def test_a_release_without_a_data_set_does_not_offer_it(tmp_path):
    written = write_edition(tmp_path, readers=[])
    assert tmp_path / "segkit" / "datasets" / "satellite.py" not in written
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')];"
        f"sys.path.insert(0, {str(tmp_path)!r}); from segkit.datasets import DataError, dataset; print(dataset('facades').name)\n"
        "try: dataset('satellite')\nexcept DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.stdout.splitlines() == ["facades", "Unknown data set 'satellite'. Known: facades."], done.stderr


def test_existing_copy_is_not_written_over(tmp_path):
    write_edition(tmp_path)
    with pytest.raises(FileExistsError):
        write_edition(tmp_path)


def test_edition_runs_alone_and_has_no_reference(tmp_path):
    """In a process that sees nothing but the written edition."""
    write_edition(tmp_path)
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')];"
        f"sys.path.insert(0, {str(tmp_path)!r}); import importlib.util, segkit.facades, segkit.notebooks;"
        "print(segkit.__file__); print(importlib.util.find_spec('segkit.reference'))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.stdout.splitlines() == [str(tmp_path / "segkit" / "__init__.py"), "None"], done.stderr
