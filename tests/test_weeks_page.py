"""What docs/weeks.md prints that is no command line: the service, the profile, the programs of others."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from printed import REPOSITORY, code_blocks
from test_printed_commands import parse

PAGE = REPOSITORY / "docs" / "weeks.md"
TEXT = PAGE.read_text(encoding="utf-8")
(UNIT,) = code_blocks(PAGE, "ini")


def exec_start(unit: str) -> str:
    (found,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    return found


def test_the_service_runs_a_command_that_is_understood_and_comes_back_after_everything_but_bad_usage():
    program, *words = shlex.split(exec_start(UNIT))
    assert program.endswith("/.venv/bin/python")
    parse(shlex.join(["python", *words]))
    settings = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line)
    assert settings["KillSignal"] == "SIGINT" and settings["Restart"] == "on-failure" and settings["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(("old", "new"), [("", ""), ("KillSignal=SIGINT", "KillSignal=SIGNIT"), ("RestartSec=30", "RestartSecs=30")])
def test_systemd_finds_no_fault_with_the_service(tmp_path, old, new):
    """And it would find one."""
    unit = tmp_path / "segkit-watch.service"
    text = UNIT.replace("/srv/course/kit/.venv/bin/python", sys.executable).replace("/srv/course", str(tmp_path))
    unit.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    said = [line for line in found.stderr.splitlines() if str(unit) in line or unit.name in line]
    assert bool(said) == bool(old), found.stderr


def test_commands_of_dask_have_the_options_that_are_printed():
    pytest.importorskip("distributed")
    for name in ("scheduler", "worker"):
        (row,) = re.findall(rf"`dask {name} ([^`]*)`", TEXT)
        options = {word for word in row.split() if word.startswith("--")} | ({"--resources"} if name == "worker" else set())
        help_text = subprocess.run([sys.executable, "-m", "dask", name, "--help"], capture_output=True, text=True, timeout=120).stdout
        assert all(re.search(rf"{option}\b", help_text) for option in options), options


def test_the_profile_has_keys_that_dask_jobqueue_knows():
    pytest.importorskip("dask_jobqueue")
    import dask
    import dask_jobqueue  # noqa: F401 - brings its defaults

    (block,) = code_blocks(PAGE, "yaml")
    (section,) = yaml.safe_load(block)["jobqueue"].values()
    assert set(section) <= set(dask.config.get("jobqueue.slurm"))


def test_arguments_behind_the_image_are_those_of_the_grader():
    (command,) = re.findall(r"^podman run .* segkit (.*)$", TEXT, re.MULTILINE)
    parse(f"python -m autograder {command}")


def test_what_the_page_says_of_limits_is_so():
    from autograder.batch import cluster, memory, shipping

    assert f"up to {shipping.MOST_BYTES // 2**20} MiB" in TEXT and cluster.WAIT == 600 and "After ten minutes" in TEXT
    assert re.search(rf"{memory.RUN + memory.JUDGE:g} GiB for one, and {memory.GATE:g}\s+more", TEXT)
