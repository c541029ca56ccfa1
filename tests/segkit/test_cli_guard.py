"""The guard at the entry of every command: code pages, pipes, folders and files that cannot be had, faults of our own."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from submit_work import hand_in, hold, in_this_process, write_work

from segkit import submit as module
from segkit.atomic import DiskFullError
from segkit.cli import COMMANDS, LazyGroup, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_trials", in_this_process)
    return write_work(tmp_path / "my work")


def start(*arguments, stdout=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "segkit", *map(str, arguments)]
    everything = os.environ | {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=everything)


# ------------------------------------------------------------------------------------------------------------- consoles
# tqdm/tqdm#1339, rsalmei/alive-progress#76: a Windows console of cp1252 meets a sign that it has not
@pytest.mark.parametrize("page", ["cp1252", "cp437", "ascii"])
def test_a_code_page_without_the_signs_of_a_name_or_a_bar_stops_nothing(work, tmp_path, page):
    (work / "1_data.ipynb").rename(work / "Übung → 1 \U0001f600.ipynb")
    process = start("submit", "--folder", work, "--out", tmp_path / "out.zip", "--fast", PYTHONIOENCODING=page, PYTHONUTF8="0")
    text, faults = process.communicate(timeout=120)
    assert process.returncode == 0 and not faults, faults
    assert "Everything is there" in text.decode(page) and (tmp_path / "out.zip").is_file()


@pytest.mark.slow
def test_the_bar_of_the_checks_goes_through_a_pipe_of_a_code_page(work, tmp_path):
    process = start("submit", "--folder", work, "--out", tmp_path / "out.zip", PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    text, faults = process.communicate(timeout=300)
    assert process.returncode == 0 and not faults, faults
    assert b"all checks: 100%|##########| 2/2" in text and b"[ok]  scores             passed" in text


@pytest.mark.skipif(os.name == "nt", reason="names of bytes are a thing of POSIX")
def test_a_file_whose_name_is_no_utf8_is_handed_in_under_one_that_is(work):
    os.rename(os.fsencode(work / "1_data.ipynb"), os.fsencode(work) + b"/\xdcbung 1.ipynb")
    text = hand_in(work)
    assert "Everything is there" in text
    assert "_bung 1.ipynb" in zipfile.ZipFile(work.with_name("submission.zip")).namelist()


# pallets/click#712, python/cpython#90650
@pytest.mark.parametrize("arguments", [["--help"], ["submit", "--fast"]])
def test_a_reader_of_the_pipe_who_has_gone_gets_no_traceback(work, tmp_path, arguments):
    more = ["--folder", work, "--out", tmp_path / "out.zip"] if "submit" in arguments else []
    process = start(*arguments, *more)
    process.stdout.close()
    faults = process.stderr.read().decode()
    process.wait(timeout=120)
    assert process.returncode in (0, 1) and "BrokenPipe" not in faults and "Traceback" not in faults
    assert not more or (tmp_path / "out.zip").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_goes_to_a_full_disk_ends_in_one_message():
    with open("/dev/full", "w") as full:
        process = start("--help", stdout=full)
        faults = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1 and faults.startswith("Error: no space is left on the disk") and faults.count("\n") == 1


# -------------------------------------------------------------------------------------------------------- files, folders
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_cannot_be_written_to_says_where_to_write(work, monkeypatch, number):
    def refused(*args, **options):
        raise OSError(number, os.strerror(number), str(work))

    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", refused)
    text = hand_in(work, code=1, out=work / "submission.zip")
    assert f"{work}: nothing can be written here ({os.strerror(number)}), so no hand-in was built. Your work was only read." in text
    assert f'python -m segkit submit --out "{Path.home() / "submission.zip"}"' in text


def test_work_in_a_read_only_folder_can_be_handed_in_from_elsewhere(work, tmp_path):
    work.chmod(0o555)
    try:
        if os.access(work, os.W_OK):
            pytest.skip("this user may write everywhere")
        hand_in(work, out=tmp_path / "elsewhere" / "submission.zip")
        assert "nothing can be written here" in hand_in(work, code=1, out=work / "submission.zip")
    finally:
        work.chmod(0o755)


def test_nothing_is_written_into_the_folder_of_the_work(work, tmp_path):
    before = sorted(work.rglob("*"))
    hand_in(work, out=tmp_path / "elsewhere" / "submission.zip")
    assert sorted(work.rglob("*")) == before
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["submission-receipt.txt", "submission.zip"]


# ucbds-infra/otter-grader#389
def test_a_notebook_that_another_program_holds_is_named_and_the_rest_is_handed_in(work, monkeypatch):
    hold(monkeypatch, "5_questions.ipynb", PermissionError(errno.EACCES, "Permission denied"))
    text = hand_in(work, code=1)
    assert "[!!]  5_questions.ipynb: cannot be read (Permission denied) and is not in the bundle. Close other programs" in text
    assert zipfile.ZipFile(work.with_name("submission.zip")).namelist() == ["1_data.ipynb"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\0", "[" * 100_000])
def test_a_damaged_assignment_json_is_named(work, content):
    (work / "assignment.json").write_text(content)
    text = hand_in(work, code=1)
    assert "assignment.json cannot be read" in text and "Take the file from the zip that you were given again." in text


# ---------------------------------------------------------------------------------------------------------- every command
def failing(error):
    @click.command()
    def command():
        raise error

    return command


def said_of(error, monkeypatch, **environment):
    group = LazyGroup("kit", table={"fail": ("segkit.cli:command", "Fails.")})
    monkeypatch.setattr("segkit.cli.command", failing(error), raising=False)
    done = CliRunner().invoke(group, ["fail"], env=environment)
    return done.exit_code, done.output, done.exception


@pytest.mark.parametrize(("error", "words"), [
    (PermissionError(errno.EACCES, "Permission denied", "/data/runs"), "Error: /data/runs: Permission denied. Either it is open"),
    (OSError(errno.EROFS, "Read-only file system", "/mnt/x"), "Error: /mnt/x: Read-only file system. Either it is open"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), "Error: a.png: No such file or directory. Correct the path"),
    (OSError(errno.ENOSPC, "No space left on device", "b.zip"), "Error: no space is left on the disk (b.zip: No space left on device)."),
    (DiskFullError(errno.ENOSPC, "c.zip: no space left on the disk after 3 MiB."), "Error: c.zip: no space left on the disk after 3 MiB."),
    (MemoryError(), "Error: the memory of this computer is not enough."),
    (KeyboardInterrupt(), "Aborted!"),
    (click.ClickException("said by the command"), "Error: said by the command"),
])  # fmt: skip
def test_a_fault_of_the_machine_is_one_message(monkeypatch, error, words):
    code, text, _ = said_of(error, monkeypatch)
    assert code == 1 and text.strip().startswith(words) and "Traceback" not in text


# python/cpython#79935: what Windows says in the place of EPIPE
@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_a_reader_who_goes_while_something_is_written_is_told_nothing(monkeypatch, number):
    code, text, _ = said_of(OSError(number, "Invalid argument"), monkeypatch)
    assert code == 1 and text == ""


def test_a_fault_of_segkits_own_is_one_line_and_its_traceback_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, text, _ = said_of(TypeError("unsupported operand"), monkeypatch)
    (log,) = tmp_path.glob("segkit-error-*.txt")
    assert code == 1 and text.count("\n") == 1
    assert text.startswith("Error: segkit met a fault of its own (TypeError: unsupported operand); ") and str(log) in text
    assert "test_cli_guard.py" in log.read_text() and "TypeError: unsupported operand" in log.read_text()


def test_a_python_without_the_requirements_is_named_and_no_traceback_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "segkit.notebooks.running", None)
    code, text, _ = said_of(ModuleNotFoundError("No module named 'tqdm'", name="tqdm"), monkeypatch)
    assert code == 1 and text.count("\n") == 1 and text.startswith(f"Error: this Python ({sys.executable}) has no ")
    assert "make venv && . .venv/bin/activate" in text and "pip install -r requirements.txt" in text


def test_segkit_debug_shows_the_traceback(monkeypatch):
    assert isinstance(said_of(TypeError("x"), monkeypatch, SEGKIT_DEBUG="1")[2], TypeError)


def test_an_error_in_the_students_cells_is_theirs_with_its_line(monkeypatch):
    space = {}
    exec(compile("def forward(x):\n    return x.shapes", "2_fcn32s.ipynb, cell 9", "exec"), space)
    with pytest.raises(AttributeError) as caught:
        space["forward"](1)
    _, text, _ = said_of(caught.value, monkeypatch)
    assert text.startswith("Error: your code raised an error:\n2_fcn32s.ipynb, cell 9, line 2, in forward:")
    assert "fault of its own" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_behind_the_guard(monkeypatch, name):
    command, words = main.get_command(None, name), [name]
    if isinstance(command, click.Group):
        words, command = [name, "sample"], command.commands["sample"]
    monkeypatch.setattr(command, "params", [])
    monkeypatch.setattr(command, "callback", failing(OSError(errno.EROFS, "Read-only file system", "/mnt")).callback)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and done.output.startswith("Error: /mnt: Read-only file system.")


@pytest.mark.parametrize(("module", "words"), [("submit", "no hand-in was built"), ("checking", "nothing was checked")])
def test_a_dot_for_a_space_is_no_command_that_ends_well_without_a_word(module, words):
    done = subprocess.run([sys.executable, "-m", f"segkit.{module}"], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
