"""Is every command that README, docs and START_HERE print run literally, or excluded with a reason and at least understood?"""

import os
import re
import shlex
import subprocess
import sys

import click
import pytest
import weeks_commands
from printed import REPOSITORY, TEXTS, commands_of, options_named_in, printed_commands
from printed_runs import GRADER, NOT_RUN, RUN


# ------------------------------------------------------------------------------------------------------- the table
def test_every_printed_command_is_run_or_says_why_not():
    unknown = {text: where for text, where in printed_commands().items() if text not in NOT_RUN and text not in RUN}
    assert not unknown, f"Printed, but neither run by this module nor excluded with a reason: {unknown}"


def test_every_entry_of_the_table_is_still_printed():
    assert set(RUN) | set(NOT_RUN) <= set(printed_commands()) and not set(RUN) & set(NOT_RUN)


def test_commands_are_found_in_blocks_and_sentences(tmp_path):
    text = tmp_path / "TEXT.md"
    text.write_text("Run `python -m segkit\nsubmit`, not `submit`.\n\n```\nmake test    # all\nnbgrader export\n```\n\nor\n\n"
                    "    . env/bin/activate             (Linux)\n\n```\na diagram ──> b\n```\n")  # fmt: skip
    found = [printed.text for printed in commands_of(text)]
    assert found == ["make test", "nbgrader export", ". env/bin/activate", "python -m segkit submit"]


# ---------------------------------------------------------------------------------- what is not run is at least understood
def parse(command: str) -> None:
    """Let click take a command's options apart, without running it."""
    words = shlex.split(command.removeprefix("!").replace("{sys.executable}", "python"))
    from autograder.cli import main as grader
    from segkit.cli import main as segkit

    group, words = (grader if words[2] == "autograder" else segkit), words[3:]
    context = click.Context(group)
    while isinstance(group, click.Group) and words and words != ["..."]:
        name, group, words = group.resolve_command(context, words)
    if words:
        group.make_context(group.name, words, parent=context)


@pytest.mark.parametrize("command", [text for text in NOT_RUN if " -m " in text and " pytest " not in text])
def test_options_of_commands_that_are_not_run_are_known(command):
    parse(command)


def test_an_unknown_option_is_noticed():
    with pytest.raises(click.NoSuchOption):
        parse(f"{GRADER} selftest fcn --job 2x --alll")


ONLY_PARSE = """
import argparse, os, runpy, shlex, sys
class Parsed(Exception): pass
real = argparse.ArgumentParser.parse_args
def parse_args(self, *arguments):
    real(self, *arguments)
    raise Parsed
argparse.ArgumentParser.parse_args = parse_args
for command in sys.argv[1:]:
    sys.argv = shlex.split(command)[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except Parsed:
        print("parsed:", command)
"""


@pytest.mark.slow
def test_options_of_scripts_that_are_not_run_are_known():
    commands = [text for text in NOT_RUN if text.startswith("python ") and " -m " not in text]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", ONLY_PARSE, *commands], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert [line.removeprefix("parsed: ") for line in done.stdout.splitlines()] == commands, done.stderr[-2000:]


@pytest.mark.parametrize("command", [text for text in NOT_RUN if text.startswith("make ")])
def test_targets_of_make_are_there(command):
    done = subprocess.run(["make", "-n", command.split()[1]], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def all_options(group: click.Group) -> set[str]:
    found: set[str] = {"--help"}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        found |= all_options(command) if isinstance(command, click.Group) else {o for p in command.params for o in p.opts}
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.parent.name + "/" + path.name)
def test_every_option_that_a_text_names_exists(path):
    from autograder.cli import main as grader
    from segkit.cli import main as segkit

    scripts = "".join(
        script.read_text() for folder in ("benchmarks", "docs", "tests/browser") for script in (REPOSITORY / folder).glob("*.py")
    )
    known = all_options(grader) | all_options(segkit) | set(re.findall(r'add_argument\("(--[a-z-]+)"', scripts))
    known |= {"--include", "--exclude", "--submission", "--only-check", "--pdb"}  # rsync's, pytest's and pip's
    known |= {"--user", "--name", "--proxy"}  # ipykernel's and pip's
    known |= weeks_commands.FOREIGN if path.name == "weeks.md" else set()
    assert options_named_in(path) - known == set()
