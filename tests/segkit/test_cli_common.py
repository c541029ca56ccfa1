"""Errors of the commands that run networks: one message for each that a person can repair."""

import click
import pytest
import torch
from click.testing import CliRunner

from segkit.cli import main
from segkit.cli.common import readable_errors


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_no_memory_is_one_message(error):
    with pytest.raises(click.ClickException) as caught, readable_errors():
        raise error
    text = caught.value.message
    assert text.startswith("Out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.). End other programs") and "\n" not in text


def test_a_fault_that_nobody_foresaw_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes"), readable_errors():
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.parametrize(("typed", "meant"), [("sumbit", "submit"), ("chek", "check"), ("evalute", "evaluate"), ("Submit", "submit")])
def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(typed, meant):
    done = CliRunner().invoke(main, [typed])
    assert done.exit_code == 2 and f"No such command {typed!r}. Did you mean {meant!r}?" in done.output


def test_what_is_near_no_command_is_no_command():
    done = CliRunner().invoke(main, ["xyz"])
    assert done.exit_code == 2 and "No such command 'xyz'" in done.output and "mean" not in done.output
