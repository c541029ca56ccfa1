"""Where the parts of a release come from: the folders of the repository, for any assignment."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.course.rubric import RubricError, read_rubric
from segkit.datasets import DATASETS
from segkit.edition import edition_files

__all__ = ["ReleaseError", "Sources", "find_sources", "repository", "rubric_facts"]

# What of data/<data set>/ goes to students: an allow-list.
DATA_FILES = ("README.md", "label_names.txt", "*.json", "*.sha256", "*.txt")
DATA_FOLDERS = ("recorded", "sample", "splits")
DATA_SUFFIXES = frozenset({".jpg", ".png", ".xml", ".txt", ".json", ".md", ".npz"})


def repository() -> Path:
    """The repository that this package lies in."""
    return Path(__file__).resolve().parents[2]


class ReleaseError(Exception):
    """The release could not be made; the text says what to do, and an older release is untouched."""


@dataclass(frozen=True)
class Sources:
    """The folders a release is made from.

    Attributes:
        assignment: its name, ``"fcn"``.
        root: the repository.
        notebooks: folder of the source notebooks.
        material: folder ``autograder/assignments/<name>`` (rubric, checks, templates of the release).
        package: the folder ``segkit/`` of the full kit.
        data: the folder ``data/``.
        dataset: name of the assignment's data set, whose folder below ``data`` is released; empty for none.
    """

    assignment: str
    root: Path
    notebooks: Path
    material: Path
    package: Path
    data: Path
    dataset: str = ""

    def notebook_paths(self) -> list[Path]:
        """The source notebooks, in the order of their names."""
        return sorted(path for path in self.notebooks.glob("*.ipynb") if not path.name.startswith("."))

    def check_files(self) -> list[Path]:
        """The hidden checks of every assignment and what they are made of: none of it may be in any release."""
        general = self.material.parents[1] / "segmentation"
        return sorted([*self.material.parent.glob("*/**/*.py"), *general.rglob("*.py")])

    def reference_files(self) -> list[Path]:
        """The reference implementations."""
        return sorted((self.package / "reference").rglob("*.py"))

    def student_files(self) -> list[Path]:
        """The Python files of the student edition, as far as they are this assignment's."""
        return [self.package / name for name in edition_files(self.package, self.readers())]

    def readers(self) -> list[Path]:
        """What of the assignment says which parts of segkit it needs."""
        return [*self.notebook_paths(), *self.material.glob("rubric.toml")]

    def templates(self) -> list[Path]:
        """Texts written for students, with ``{{names}}`` filled in by the builder."""
        return sorted(path for path in (self.material / "release").glob("*") if path.is_file())

    def data_files(self) -> list[Path]:
        """What students get of ``data/``: the kit's own part of the assignment's data set."""
        if not self.dataset:
            return []
        own = self.data / self.dataset
        found = {path for pattern in DATA_FILES for path in own.glob(pattern)}
        for folder in DATA_FOLDERS:
            found |= {path for path in (own / folder).rglob("*") if path.suffix in DATA_SUFFIXES}
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    def requirements(self) -> list[str]:
        """The dependencies of the student edition: the project's own, and those of an extra named like the assignment; lower bounds only.

        Raises:
            ReleaseError: a dependency has another bound.
        """
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [*project["dependencies"], *project.get("optional-dependencies", {}).get(self.assignment, ())]
        pinned = [line for line in lines if re.search(r"==|~=|<", line)]
        if pinned:
            raise ReleaseError(
                f"{self.root / 'pyproject.toml'}: expected lower bounds only in dependencies, found {', '.join(pinned)}. "
                "Exact versions belong into requirements.lock: a hosted machine must keep the torch it has."
            )
        return lines

    def python_version(self) -> str:
        """The supported Python versions, as pyproject.toml states them."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        required: str = project["requires-python"]
        return required


def find_sources(assignment: str, root: Path) -> Sources:
    """Find the folders of an assignment in a repository.

    Args:
        assignment: its name.
        root: the repository.

    Raises:
        ReleaseError: unknown assignment or data set, no notebooks, or a rubric that cannot be used.
    """
    sources = Sources(
        assignment,
        root,
        notebooks=root / "notebooks" / assignment,
        material=root / "autograder" / "assignments" / assignment,
        package=root / "segkit",
        data=root / "data",
        dataset=_dataset(root / "autograder" / "assignments" / assignment / "rubric.toml"),
    )
    if not sources.notebooks.is_dir():
        known = sorted(path.name for path in (root / "notebooks").glob("*") if path.is_dir())
        raise ReleaseError(
            f"No assignment {assignment!r}: expected the folder {sources.notebooks}. There is: {', '.join(known) or 'none'}."
        )
    if not sources.notebook_paths():
        raise ReleaseError(f"{sources.notebooks}: expected the notebooks of the assignment, found none.")
    return sources


def _dataset(rubric: Path) -> str:
    try:
        name = read_rubric(rubric).dataset if rubric.is_file() else ""
    except RubricError as error:
        raise ReleaseError(str(error)) from None
    if name and name not in DATASETS:
        raise ReleaseError(f"{rubric}: there is no data set {name!r}. Known: {', '.join(DATASETS)} (segkit/datasets/).")
    return name


def rubric_facts(material: Path) -> tuple[dict[str, Any], dict[str, float] | None]:
    """What a release takes from the rubric: the content of ``assignment.json``, and points by check id.

    Args:
        material: folder of the assignment; without a ``rubric.toml`` in it there are no facts and no checks.

    Raises:
        ReleaseError: the rubric cannot be used.
    """
    from autograder.course.assignment import open_assignment

    if not (material / "rubric.toml").is_file():
        return {}, None
    try:
        facts = open_assignment(material).facts
        return facts, facts["checks"]
    except RubricError as error:
        raise ReleaseError(str(error)) from None
    except ValueError as error:  # the assignment's own function refuses a setting, such as too small a padding
        raise ReleaseError(f"{material / 'rubric.toml'}: {error}") from None
