"""Accidents of a student's folder: unpacked anew, a script in the place of a module, a save that was cut off. What do commands say?"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell
from submit_work import FACTS, SCORES, cell, hand_in, hold, in_this_process, write, write_work

from segkit import submit as module
from segkit.cli import main
from segkit.edition import write_edition

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def work(tmp_path) -> Path:
    return write_work(tmp_path / "my work")


def told(folder: Path, *words: str, before: str = "", paths: str = str(ROOT)) -> tuple[int, str]:
    """Run a command of segkit in a folder, as in a terminal; exit code, and all that it printed."""
    line = f'cd "{folder}" && {before} "{sys.executable}" -m segkit {" ".join(words)}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=600, env=os.environ | {"PYTHONPATH": paths})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder in which somebody stands")
@pytest.mark.parametrize("words", [("check",), ("submit", "--out", "new.zip"), ("data", "verify")], ids=" ".join)
def test_a_folder_that_was_unpacked_anew_while_somebody_stood_in_it_is_said_to_be_gone(work, words):
    again = f'cp -r "{work}" "{work} again" && rm -r "{work}" && mv "{work} again" "{work}" &&'
    code, text = told(work, *words, before=again)
    assert (code, text.count("\n")) == (1, 1) and text.startswith("Error: the folder in which you stand was deleted"), text
    assert told(work, "submit", "--fast")[0] == 0


@pytest.mark.parametrize("name", ["random", "token", "queue", "calendar"])
def test_a_script_that_has_the_name_of_a_module_stops_no_command(work, name):
    """Neither where the kit is installed nor where it lies beside the script, as in a release; and it is handed in."""
    (work / f"{name}.py").write_text("raise SystemExit('this is no module of Python')")
    write_edition(work)
    code, text = told(work, "submit", "--fast", paths=str(work.parent))
    assert code == 0 and "Everything is there" in text, text


ACCIDENTS = ["random.py", "typing.py", "torch.py", "json.py", "cuda.py", "mpl_toolkits.py", "numpy/__init__.py"]


@pytest.mark.slow
@pytest.mark.parametrize(("beside", "paths"), [(False, f"{ROOT}:."), (True, ""), (True, "{work}:")], ids=["elsewhere", "beside", "both"])
def test_such_a_script_stops_no_check_and_scripts_with_names_of_their_own_are_imported(work, beside, paths):
    """Wherever the kit lies, and whatever is on the path: a `.env` of VS Code often puts the opened folder there."""
    write_work(work, SCORES.replace("numpy as np", "numpy as np\nfrom my_helper import ONE").replace("(union, 1)", "(union, ONE)"))
    if beside:
        write_edition(work)
    (work / "my_helper.py").write_text("ONE = 1\n")
    for name in ACCIDENTS:
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("raise SystemExit('this is no module of Python')")
    code, text = told(work, "check", paths=paths.format(work=work))
    assert code == 0 and "2 passed" in text, text


def test_who_imports_such_a_script_is_told_why_it_is_not_found(work, monkeypatch):
    monkeypatch.setattr(module, "run_trials", in_this_process)
    (work / "random.py").write_text("def shuffled(pairs):\n    return pairs\n")
    write_work(work, "from random import shuffled" + SCORES.replace("hist.diagonal(),", "shuffled(hist.diagonal()),", 1))
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = hand_in(work, code=1)
    assert "cannot import name 'shuffled' from 'random'" in text
    assert "your random.py is never imported, for Python or a package has a module of that name: rename it" in text
    write_work(work, "import random\n" + SCORES.replace("hist.diagonal(),", "random.shuffled(hist.diagonal()),", 1))
    for said in (text, hand_in(work, code=1)):
        assert {line.count("your random.py is never") for line in said.splitlines()} == {0, 1}, "once in a fault"
    (work / "random.py").unlink()
    assert "is never imported" not in hand_in(work, code=1)


# ucbds-infra/otter-grader#444, berkeley-dsep-infra/datahub#2107: saved while the disk or the line gave way
@pytest.mark.parametrize("left", [b"", b"\0" * 4096, b'{"cells": [{"cell_ty'], ids=["nothing", "zeros", "a piece"])
@pytest.mark.parametrize("command", [("check",), ("submit", "--fast")], ids=" ".join)
def test_of_a_notebook_that_was_cut_off_the_state_that_jupyter_kept_is_named(work, left, command):
    kept = work / ".ipynb_checkpoints" / "1_data-checkpoint.ipynb"
    kept.parent.mkdir()
    shutil.copy(work / "1_data.ipynb", kept)
    os.utime(kept, (1_772_000_000, 1_772_000_000))
    (work / "1_data.ipynb").write_bytes(left)
    code, text = told(work, *command, before="TZ=UTC")
    assert code == 1 and "Jupyter kept its state of 2026-02-25 06:13: copy .ipynb_checkpoints/1_data-checkpoint.ipynb over it." in text
    assert text.count("1_data.ipynb: ") == 1, "it is in the folder, and not said to be missing"
    shutil.copy(kept, work / "1_data.ipynb")
    assert "Jupyter kept" not in told(work, *command)[1]


@pytest.mark.parametrize("kept", ["", "[]", json.dumps(FACTS), '{"cells": []}'])
def test_a_state_that_is_no_notebook_either_is_not_offered(work, kept):
    (work / ".ipynb_checkpoints").mkdir()
    (work / ".ipynb_checkpoints" / "1_data-checkpoint.ipynb").write_text(kept)
    (work / "1_data.ipynb").write_bytes(b"")
    code, text = told(work, "submit", "--fast")
    assert code == 1 and "no readable notebook" in text and "Jupyter kept" not in text


@pytest.mark.parametrize("command", [["check"], ["submit", "--fast"]], ids=" ".join)
def test_a_notebook_that_cannot_be_read_is_not_said_to_be_missing(work, command, monkeypatch):
    hold(monkeypatch, "1_data.ipynb", OSError(errno.EINVAL, "Invalid argument"))
    out = ["--out", str(work.parent / "submission.zip")] if "submit" in command else []
    done = CliRunner().invoke(main, [*command, "--folder", str(work), *out])
    assert done.exit_code == 1 and done.output.count("1_data.ipynb: ") == 1, done.output
    assert "1_data.ipynb: cannot be read (Invalid argument)" in done.output and "kept on this device" in done.output
    (work / "1_data.ipynb").unlink()
    text = CliRunner().invoke(main, [*command, "--folder", str(work), *out]).output
    assert "1_data.ipynb: expected this notebook, but it is not in the folder" in text


DATA = "1_data.ipynb"
MISSING = f"{DATA}: expected this notebook, but it is not in the folder"


def faults(work: Path) -> list[str]:
    """What ``submit`` says of a folder in which a solution is nowhere to be found."""
    return [line for line in hand_in(work, "--fast", code=1).splitlines() if ".ipynb" in line and "[!!]" in line]


@pytest.mark.parametrize("name", [
    "1_DATA.ipynb", "1_data.IPYNB", "1_data (1).ipynb", "Copy of 1_data.ipynb", "1_data.ipynb.txt", "homework.ipynb",
])  # fmt: skip
def test_a_notebook_under_another_name_that_lacks_a_cell_is_not_said_to_be_missing(work, name):
    (work / DATA).unlink()
    write(work, name, cell(SCORES, "scores"))
    assert "confusion_matrix was found nowhere" in hand_in(work, "--fast", code=1) and faults(work) == []


@pytest.mark.parametrize("content", [
    b"", b"{}", b"[]", b'{"cells": 1}', b"<html>", b"version https://git-lfs", b"<<<<<<< HEAD\n{", b'{"cells": [' + b"{}," * 5000 + b"{}]}",
], ids=["empty", "object", "list", "number", "page", "pointer", "conflict", "long"])  # fmt: skip
def test_of_a_notebook_that_is_no_notebook_one_line_says_what_it_is(work, content):
    (work / DATA).write_bytes(content)
    assert len(faults(work)) == 1 and MISSING not in faults(work)[0]


def test_a_notebook_that_is_left_out_is_said_to_be_so(work):
    (work / "build").mkdir()
    (work / DATA).rename(work / "build" / DATA)
    assert faults(work) == [f"[!!]  {DATA}: build/{DATA} is not handed in, for that folder holds no work of yours: move it up, into {work}"]
    (work / DATA).symlink_to(work / "build" / DATA)
    assert faults(work) == [f"[!!]  {DATA}: a link, and links are not handed in: copy the notebook itself into this folder"]
    (work / DATA).unlink()
    (work / "build" / DATA).unlink()
    assert [fault.partition(", and")[0] for fault in faults(work)] == [f"[!!]  {MISSING}"]


def test_behind_too_much_code_no_notebook_is_said_to_be_missing(work):
    for name in ("0_a", "0_b", "0_c", "0_d", "0_e", "0_f"):
        write(work, f"{name}.ipynb", new_code_cell("a;" * 20_000))
    assert "were not read" in hand_in(work, "--fast", code=1) and MISSING not in hand_in(work, "--fast", code=1)
