"""Code that runs behind a wall, for the tests of every level this machine has."""

import importlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from autograder.sandbox.forking import Zygote
from autograder.sandbox.isolation import Limits, Room, end_process, launch

REPO = Path(__file__).resolve().parents[3]
SANDBOX = REPO / "autograder" / "sandbox"
PRELUDE = """
import json, os, resource, signal, socket, sys, time
def answer(value): os.write(int(sys.argv[1]), json.dumps(value).encode() + b"\\n")
def attempt(do, *arguments):
    try:
        do(*arguments)
        return "done"
    except BaseException as error:
        return type(error).__name__
def read(path):
    with open(path, "rb") as file: return len(file.read(100))
def write(path):
    with open(path, "w") as file: file.write("x")
"""


class Wall(str):
    """A level, and whether its workers are forked from a zygote or started anew."""

    forked = False


class Inside:
    """Code that runs behind a wall.

    Args:
        level: The wall.
        scratch: Its folder.
        code: Python code; it may use the names of ``PRELUDE`` and calls ``answer`` with what it found.
    """

    def __init__(
        self, level: str, scratch: Path, code: str, limits: Limits | None = None, readable: tuple[Path, ...] = (), gpu: bool = False
    ) -> None:
        read, write = os.pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        self.folder, self.zygote, self._before = scratch, None, set()
        room = Room(scratch, readable, gpu, limits or Limits())
        if getattr(level, "forked", False):
            self._fork(level, code, room, write)
        else:
            command = [sys.executable, "-I", "-S", "-c", PRELUDE + code, str(write)]
            self.process = launch(level, room, command, (write,), self.log.fileno())
        os.close(write)
        self.pipe = os.fdopen(read, "rb")

    def _fork(self, level: str, code: str, room: Room, write: int) -> None:
        nothing = room.scratch / "nothing.py"
        nothing.write_text("def prepare(): pass")
        self.zygote = Zygote(level, (*room.readable, nothing), nothing, (), room.scratch)
        assert self.zygote.works(), self.zygote.trouble
        self._before = set(relatives(room.scratch))
        self.folder = self.zygote.make_scratch()
        (self.folder / "code.py").write_text(PRELUDE + code)
        command = [str(self.zygote.inside(self.folder) / "code.py"), str(write)]
        self.process = self.zygote.launch(Room(self.folder, limits=room.limits), command, (write,), self.log.fileno())

    def alive(self) -> int:
        """How many processes there are beside those that were there before it."""
        return len(set(relatives(self.zygote.nest if self.zygote else self.folder)) - self._before)

    def line(self) -> Any:
        text = self.pipe.readline()
        assert text, f"no answer from inside; the last words: {self.words()}"
        return json.loads(text)

    def words(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def end(self) -> None:
        end_process(self.process)
        if self.zygote:
            self.zygote.close()
        self.pipe.close()
        self.log.close()

    def __enter__(self) -> "Inside":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def inside(level: str, scratch: Path, code: str, **more: Any) -> Any:
    """Run code behind a wall; returns its answer."""
    with Inside(level, scratch, code, **more) as work:
        return work.line()


def relatives(scratch: Path) -> list[int]:
    """Processes of this machine whose environment names the scratch folder: nobody else's does."""
    mark, found = f"HOME={scratch}".encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path("/proc", name, "environ").read_bytes()
            state = re.search(r"^State:\s+(\w)", Path("/proc", name, "status").read_text(), re.M)
        except OSError:
            continue
        if mark in environment.split(b"\0") and state and state[1] != "Z":
            found.append(int(name))
    return found


DAEMON = """
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        answer("a daemon lives")
        os.close(int(sys.argv[1])); time.sleep(60)
    os._exit(0)
"""


def wait_until(true: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def sandbox_module(name: str) -> Any:
    """A module as the door's own scripts see it."""
    sys.path.insert(0, str(SANDBOX))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SANDBOX))
