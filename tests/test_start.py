"""Do commands begin at once? What only reads files waits neither for torch nor for parsers that nobody needs."""

import subprocess
import sys

import pytest

READERS = (
    "segkit.cli", "segkit.submit", "segkit.checking", "segkit.notebooks", "segkit.environment", "autograder.cli", "autograder.cli.collect",
    "autograder.handins.bulk", "autograder.export", "autograder.report", "autograder.course.assignment",
)  # fmt: skip


def imported_with(*modules: str) -> set[str]:
    code = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout.split())


@pytest.mark.parametrize("module", READERS)
def test_what_only_reads_files_does_not_wait_for_torch(module: str) -> None:
    assert not imported_with(module) & {"torch", "torchvision"}


@pytest.mark.parametrize("package", ["segkit", "autograder"])
def test_reading_notebooks_builds_no_parsers_of_formats_that_no_schema_names(package: str) -> None:
    """``lark`` is what the package that jsonschema would try builds them with."""
    assert "lark" not in imported_with(package, "nbformat", "jsonschema")
