"""A file that another program holds: as a sync client or a scanner does on Windows, for a moment, while it is replaced."""

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from submit_work import write_work

from segkit import atomic as module
from segkit.atomic import HeldError, replacing
from segkit.cli import main


@pytest.fixture
def held(monkeypatch):
    """Lets the system refuse so many times to replace a file whose name ends so; what was waited for, in seconds."""
    waited: list[float] = []
    replace = os.replace

    def hold(times: int, code: int = errno.EACCES, ending: str = "") -> list[float]:
        left = [times]

        def refuse(source, target):
            if str(target).endswith(ending) and left[0] > 0:
                left[0] -= 1
                raise OSError(code, "The process cannot access the file", str(source), 32, str(target))
            replace(source, target)

        monkeypatch.setattr(module.os, "replace", refuse)
        return waited

    monkeypatch.setattr(module.time, "sleep", waited.append)
    return hold


def write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY])
@pytest.mark.parametrize("old", [True, False])
def test_a_file_that_is_held_for_a_moment_is_replaced_after_it(tmp_path, held, code, old):
    if old:
        (tmp_path / "a.json").write_text("old")
    waited = held(3, code)
    write(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert len(waited) == 3 and sum(waited) < 1


def test_a_file_that_stays_held_keeps_what_it_was_and_is_named_with_what_to_do(tmp_path, held):
    (tmp_path / "a.json").write_text("old")
    waited = held(10**6)
    with pytest.raises(HeldError) as caught:
        write(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a.json"]
    text = str(caught.value.strerror)
    assert text.startswith(f"{tmp_path / 'a.json'}: could not be replaced for 3 seconds (The process cannot access the file)")
    assert "OneDrive" in text and 2 < sum(waited) < 5


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EIO])
def test_any_other_error_is_told_at_once(tmp_path, held, code):
    waited = held(10**6, code)
    with pytest.raises(OSError, match="cannot access") as caught:
        write(tmp_path / "a.json", "new")
    assert caught.value.errno == code and waited == []


def test_a_folder_in_the_place_of_the_file_is_not_waited_for(tmp_path, held):
    (tmp_path / "a.json").mkdir()
    waited = held(10**6)
    with pytest.raises(PermissionError):
        write(tmp_path / "a.json", "new")
    assert waited == []


def test_a_hand_in_that_is_open_elsewhere_ends_in_one_message(tmp_path, held):
    work, out = write_work(tmp_path / "work"), tmp_path / "submission.zip"
    out.write_bytes(b"old")
    held(10**6, ending=".zip")
    done = CliRunner().invoke(main, ["submit", "--fast", "--folder", str(work), "--out", str(out)])
    assert done.exit_code == 1 and done.output.count("\n") == 1 and done.output.startswith(f"Error: {out}: could not be replaced")
    assert out.read_bytes() == b"old"
