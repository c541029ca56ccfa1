"""CUDA behind each wall around a worker, and which part of a wall keeps it from starting. For ``first_gpu.py``."""

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from autograder.sandbox import bubblewrap, isolation, users
from autograder.sandbox.isolation import LEVELS, IsolationError, Limits, Room, available, end_process, launch
from autograder.sandbox.view import environment

__all__ = ["LEVELS", "PHASES", "culprits", "started"]

# what is tried, one after the other in one process: name -> code
PHASES = {
    "cuda": {
        "cuInit": "import ctypes; found = ctypes.CDLL('libcuda.so.1').cuInit(0); assert found == 0, f'cuInit says {found}'",
        "context": "import torch; torch.zeros(1, device='cuda')",
        "convolution": "x = torch.ones(1, 3, 32, 32, device='cuda'); w = torch.ones(8, 3, 3, 3, device='cuda')\n"
        "assert torch.nn.functional.conv2d(x, w).sum().item() == 8 * 30 * 30 * 27",
    },
    "cpu": {
        "cuInit": "import ctypes; ctypes.CDLL(None)",
        "context": "import torch; torch.zeros(1)",
        "convolution": "x, w = torch.ones(1, 3, 32, 32), torch.ones(8, 3, 3, 3)\n"
        "assert torch.nn.functional.conv2d(x, w).sum().item() == 8 * 30 * 30 * 27",
    },
}
OPEN = Limits(memory_megabytes=0, file_megabytes=2**20, disk_megabytes=2**20, processes=2**14, open_files=2**14)
# what is switched off: name -> (levels that have it, file of the door, what is written below it)
SWITCHES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "the filter of system calls": (LEVELS, "seccomp.py", "def install(**_): pass"),
    "the filter, calls that are forbidden": (LEVELS, "seccomp.py", "FORBIDDEN = ()"),
    "the filter, calls that are said to be missing": (LEVELS, "seccomp.py", "ABSENT = ()"),
    **{f"the filter, {name}": (LEVELS[1:], "seccomp.py", f"def install(*, _all=install, **given): _all(**given | {{{key!r}: False}})")
       for key, name in [("network", "sockets"), ("signals", "signals"), ("attributes", "attributes of files"),
                         ("memory", "shared memory")]},
    "Landlock": (("landlock",), "landlock.py", "def restrict(*_): pass"),
    "Landlock, reading": (("landlock",), "landlock.py", "def restrict(r, w, d, _all=restrict): _all(['/'], w, d)"),
    "Landlock, reading /proc": (("landlock",), "landlock.py", "def restrict(r, w, d, _all=restrict): _all([*r, '/proc'], w, d)"),
    "Landlock, writing /proc": (("landlock",), "landlock.py", "def restrict(r, w, d, _all=restrict): _all(r, w, [*d, '/proc'])"),
    "Landlock, devices": (("landlock",), "landlock.py", "def restrict(r, w, d, _all=restrict): _all([*r, '/dev'], w, [*d, '/dev'])"),
    "Landlock, sockets without a path": (("landlock",), "landlock.py", "SCOPES = 0"),
}  # fmt: skip


def script(phases: Mapping[str, str]) -> str:
    """Code that tries phases and tells (descriptor: its first argument) after each how long it took, or what it raised."""
    lines = ["import json, os, sys, time", "def tell(*said): os.write(int(sys.argv[1]), json.dumps(said).encode() + b'\\n')"]
    for name, code in phases.items():
        body = "\n".join(f"    {line}" for line in code.splitlines())
        lines += ["begun = time.perf_counter()", "try:", body, f"    tell({name!r}, time.perf_counter() - begun)"]
        lines += ["except BaseException as error:", f"    tell({name!r}, f'{{type(error).__name__}}: {{error}}'[:400])", "    sys.exit(1)"]
    return "\n".join(lines)


def started(level: str, phases: Mapping[str, str], limits: Limits | None = None, seconds: float = 60.0) -> dict[str, float | str]:
    """Try phases behind a wall; ``"none"`` is no wall, with the environment of one.

    Returns:
        Phase -> seconds, or what was said instead; phases after one that failed are missing.
    """
    read, write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="segkit-first-") as folder, tempfile.TemporaryFile() as log, os.fdopen(read) as told:
        room = Room(Path(folder), gpu=True, limits=limits or Limits(memory_megabytes=0))
        command = [sys.executable, "-s", "-c", script(phases), str(write)]
        if level == "none":
            process = subprocess.Popen(command, pass_fds=(write,), stderr=log, env=environment(room), cwd=folder)
        else:
            try:
                process = launch(level, room, command, (write,), log.fileno())
            except (IsolationError, OSError) as error:
                os.close(write)
                return {next(iter(phases)): f"cannot be entered: {error}"}
        os.close(write)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill() if level == "none" else end_process(process)
        found = dict(json.loads(line) for line in told)
        missing = next((name for name in phases if name not in found), None)
        if missing and not any(isinstance(value, str) for value in found.values()):
            log.seek(0)
            found[missing] = f"ended ({process.returncode}) {log.read()[-300:].decode('utf-8', 'replace')}"
        return found


def fails(found: Mapping[str, float | str]) -> bool:
    """Whether a phase raised."""
    return any(isinstance(value, str) for value in found.values())


@contextmanager
def switched_off(file: str, below: str) -> Iterator[None]:
    """Let workers enter through a copy of the door to which something is added: never where a student's code runs."""
    with tempfile.TemporaryDirectory(prefix="segkit-door-") as folder, ExitStack() as patches:
        Path(folder).chmod(0o755)
        door = Path(shutil.copytree(isolation.DOOR, Path(folder, "sandbox")))
        with (door / file).open("a", encoding="utf-8") as end:
            end.write(f"\n\n{below}\n")
        for module in (isolation, bubblewrap):
            patches.enter_context(mock.patch.object(module, "DOOR", door))
        yield


def ways(level: str) -> Iterator[tuple[str, Callable[[Mapping[str, str]], dict]]]:
    """What can be switched off at a level: its name, and what tries phases without it."""
    for name, (levels, file, below) in SWITCHES.items():
        if level in levels:

            def tried(phases: Mapping[str, str], file: str = file, below: str = below) -> dict:
                with switched_off(file, below):
                    return started(level, phases)

            yield name, tried
    for field in ("open_files", "processes", "file_megabytes"):
        limits = dataclasses.replace(Limits(memory_megabytes=0), **{field: getattr(OPEN, field)})
        yield f"the limit {field}", lambda phases, limits=limits: started(level, phases, limits)

    def as_judge(phases: Mapping[str, str]) -> dict:
        with mock.patch.object(users, "can_lend_users", lambda: False):
            return started(level, phases)

    if users.can_lend_users():
        yield "another user than the judge's", as_judge


def culprits(level: str, phases: Mapping[str, str], until: float) -> list[str]:
    """What alone, switched off, lets phases through that fail behind a wall. A forbidden call is named.

    Args:
        level: The wall.
        phases: What is tried.
        until: When (``time.monotonic``) to stop.
    """
    found = [name for name, tried in ways(level) if time.monotonic() < until and not fails(tried(phases))]
    for group in ("FORBIDDEN", "ABSENT"):
        if not any(SWITCHES[name][2].startswith(f"{group} =") for name in found if name in SWITCHES):
            continue
        for call in _calls(group):
            if time.monotonic() < until:
                with switched_off("seccomp.py", f"{group} = tuple(name for name in {group} if name != {call!r})"):
                    found += [] if fails(started(level, phases)) else [f"the call {call}"]
    return found


def _calls(group: str) -> tuple[str, ...]:
    """Names of a group of calls, as the door's own file has them."""
    text = (isolation.DOOR / "seccomp.py").read_text(encoding="utf-8")
    return tuple(ast.literal_eval(text.partition(f"\n{group} = ")[2].partition(")")[0] + ")"))


def levels() -> list[str]:
    """No wall, and those that this machine has."""
    return ["none", *(level for level in LEVELS if available(level))]
