"""Which wall a machine can have, and who is refused one; the rights and the view that a worker gets."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from behind_the_wall import SANDBOX

from autograder.sandbox import bubblewrap as bubblewrap_module
from autograder.sandbox import isolation, users, view
from autograder.sandbox.isolation import IsolationError, Room, best_level

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")


@pytest.fixture
def machine(monkeypatch):
    """Pretend what a machine has: level -> what is wrong with it."""

    def pretend(**troubles: str) -> None:
        monkeypatch.setattr(isolation, "trouble_with", lambda level: troubles.get(level, ""))

    return pretend


def test_the_strongest_level_is_used(machine):
    machine()
    assert best_level() == best_level("process") == "bubblewrap"
    machine(bubblewrap="no")
    assert best_level() == best_level("landlock") == "landlock"
    machine(bubblewrap="no", landlock="no")
    assert best_level() == "process"


def test_a_level_that_is_demanded_and_not_there_is_refused_with_its_reason(machine):
    machine(bubblewrap="user namespaces are refused", landlock="old kernel")
    with pytest.raises(IsolationError, match="bubblewrap: user namespaces are refused") as caught:
        best_level("bubblewrap")
    assert "old kernel" not in str(caught.value) and "apt install bubblewrap" in str(caught.value)
    with pytest.raises(IsolationError, match="landlock: old kernel"):
        best_level("landlock")
    with pytest.raises(IsolationError, match="Expected an isolation level among bubblewrap, landlock, process, but got 'none'"):
        best_level("none")


def test_a_machine_that_cannot_hold_a_worker_off_the_judge_does_not_grade(machine):
    machine(bubblewrap="a", landlock="b", process="no seccomp")
    with pytest.raises(IsolationError, match="cannot be held back at all on this machine[^!]*process: no seccomp"):
        best_level()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_told_where_to_grade(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(IsolationError, match=f"grades on Linux only.*{platform}.*(container|WSL)"):
        best_level()


def test_refused_user_namespaces_are_noticed(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(isolation, "_style", isolation._style.__wrapped__)
    monkeypatch.setattr(isolation, "trouble_with", isolation.trouble_with.__wrapped__)
    assert "No permissions to create new namespace" in isolation.trouble_with("bubblewrap")
    assert best_level() in ("landlock", "process")
    with pytest.raises(IsolationError, match="No permissions to create new namespace"):
        best_level("bubblewrap")


def test_a_plain_process_of_the_judges_own_user_needs_the_filter(scratch, monkeypatch):
    monkeypatch.setattr(users, "python_folders", lambda: [])
    assert isolation._enter_spec("process", Room(scratch), None)["filter_needed"]
    assert isolation._enter_spec("process", Room(scratch), None)["filter"]["signals"]
    assert not isolation._enter_spec("process", Room(scratch), 61184)["filter_needed"]
    assert isolation._enter_spec("landlock", Room(scratch), 61184)["filter_needed"]


def test_a_worker_that_keeps_the_right_to_read_all_needs_the_filter(scratch, tmp_path, monkeypatch):
    assert isolation._enter_spec("bubblewrap", Room(scratch), 61184)["filter_needed"]
    assert not isolation._enter_spec("bubblewrap", Room(scratch), None)["filter_needed"]
    if isolation._style()[0] != "root":
        pytest.skip("needs a judge that runs as root, and bubblewrap")
    other = shutil.copytree(SANDBOX, tmp_path / "sandbox")
    text = (other / "seccomp.py").read_text()
    assert '"x86_64": (' in text and '"aarch64": (' in text
    (other / "seccomp.py").write_text(text.replace('"x86_64": (', '"sparc1": (').replace('"aarch64": (', '"sparc2": ('))
    for module in (isolation, bubblewrap_module):
        monkeypatch.setattr(module, "DOOR", other)
    assert "no seccomp filter for" in isolation._try("bubblewrap", "root")
    tried = isolation._try("bubblewrap", "user")
    monkeypatch.setattr(isolation, "_style", isolation._style.__wrapped__)
    assert isolation._style()[0] == (None if tried else "user")  # that style leaves no such right


def test_root_that_cannot_lend_users_gives_no_worker_its_own_rights(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for rights, expected in ((0b11100001, ("root", "user")), (0b11100000, ("user",))):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        assert bubblewrap_module.styles() == expected


def test_a_file_that_no_worker_could_read_is_refused_by_name(scratch, outside, monkeypatch):
    (outside / "weights").write_text("")
    (outside / "weights").chmod(0o600)
    monkeypatch.setattr(users, "python_folders", lambda: [])
    room = Room(scratch, (outside / "weights",))
    for rights, level, expected in ((0b100, "landlock", 2), (0b110, "landlock", 2), (0b010, "landlock", 1)):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        assert users.reading_right(level, room) == expected
    for rights, level in ((0b001, "landlock"), (0b110, "process")):
        monkeypatch.setattr(users, "rights", lambda rights=rights: rights)
        with pytest.raises(IsolationError, match="cannot read .*weights: let all users read it"):
            users.reading_right(level, room)
    (outside / "weights").chmod(0o644)
    assert users.reading_right("process", room) is None


def test_gpu_devices_are_let_in_only_where_the_room_says_so(scratch, tmp_path, monkeypatch):
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, what: [Path("/dev/nvidia0")] if str(self) == "/dev" else real(self, what))
    from autograder.sandbox.bubblewrap import bubblewrap

    for gpu in (False, True):
        room = Room(scratch, gpu=gpu)
        assert (Path("/dev/nvidia0") in view.devices(room)) is gpu
        assert ("/dev/nvidia0" in bubblewrap("bwrap", room, "user")) is gpu


def test_the_project_is_cut_out_of_a_visible_folder(tmp_path):
    for name in ("opt/project/segkit", "opt/tool", "bin"):
        (tmp_path / name).mkdir(parents=True)
    found = view.without(tmp_path, [tmp_path / "opt" / "project"])
    assert found == [tmp_path / "bin", tmp_path / "opt" / "tool"]
    assert view.without(tmp_path / "bin", [tmp_path / "opt"]) == [tmp_path / "bin"]
    assert view.without(tmp_path / "opt", [tmp_path / "opt"]) == []
