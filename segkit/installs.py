"""What must be installed for the notebooks: looks for it, installs it on a bare machine, and says what to do where that fails.

Only the standard library is imported: nothing else may be there yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType

__all__ = [
    "KEPT", "EnvironmentFault", "demand_python", "entered", "import_torch", "install", "missing_packages", "not_here", "outdated_packages",
]  # fmt: skip

OLDEST_PYTHON = (3, 11)  # as in pyproject.toml
# import name -> name on the package index, with the lower bound of pyproject.toml
NEEDED = {
    "numpy": "numpy>=1.26",
    "matplotlib": "matplotlib>=3.8",
    "PIL": "pillow>=10.0",
    "safetensors": "safetensors>=0.4.3",
    "tqdm": "tqdm>=4.66",
    "click": "click>=8.1",
    "nbformat": "nbformat>=5.9",
    "ipywidgets": "ipywidgets>=8.0",  # without it `tqdm.auto` warns in red, in code of students and of libraries
}
# what a hosted machine has already and must keep, be it older: another torch would not fit its driver
KEPT = {"torch": "torch>=2.11", "torchvision": "torchvision>=0.26", "numpy": "numpy>=1.26"}
# what pip says on its way to "No matching distribution found" where it could not reach the index
UNREACHED = re.compile(r"Retrying \(|ProxyError|SSLError|NewConnectionError|Max retries exceeded|Temporary failure in name resolution")


class EnvironmentFault(Exception):
    """Something that the notebooks need is not there; the text says what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the text alone, for the kit's own lines tell a student nothing."""
        return [f"{type(self).__name__}: {self}"]


def demand_python() -> None:
    """Refuse a Python that is too old, before anything is installed: its folder is no place for it.

    Raises:
        EnvironmentFault: It is.
    """
    if sys.version_info < OLDEST_PYTHON:
        raise EnvironmentFault(
            f"Expected Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, but this is {sys.version.split()[0]} ({sys.executable}). "
            "Switch the course's environment on (in a notebook: pick its kernel), or see START_HERE.md for making one."
        )


@contextmanager
def entered() -> Iterator[None]:
    """Import a command line: a Python that is too old, or lacks the kit's requirements, ends in one line."""
    try:
        demand_python()
        yield
    except EnvironmentFault as fault:
        sys.exit(f"Error: {fault}")
    except ModuleNotFoundError as missing:
        if missing.name not in NEEDED:
            raise
        sys.exit(f"Error: {not_here(missing)}")


def not_here(missing: ModuleNotFoundError) -> str:
    """What to do where not even the kit's own requirements are here: it is another Python than the one they went to."""
    return (
        f"this Python ({sys.executable}) has no {missing.name}. In the repository: `make venv && . .venv/bin/activate`; in a folder "
        "that you were given: switch its environment on, or `pip install -r requirements.txt`."
    )


def missing_packages() -> list[str]:
    """Requirements that are not installed, torch aside (a hosted machine has its own)."""
    return [wanted for name, wanted in NEEDED.items() if importlib.util.find_spec(name) is None]


def outdated_packages() -> list[str]:
    """Requirements of which an older version is installed than the oldest that works: ``pillow 9.5.0 (pillow>=10.0)``."""
    found = []
    for wanted in dict.fromkeys([*KEPT.values(), *NEEDED.values()]):
        name, bound = wanted.split(">=")
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(version) < _numbers(bound):
            found.append(f"{name} {version} ({wanted})")
    return found


def _numbers(version: str) -> list[int]:
    """What versions are compared by: the numbers at the beginning, without zeros at the end."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def install(wanted: list[str]) -> None:
    """Install requirements into this Python, leaving alone what a hosted machine must keep.

    Raises:
        EnvironmentFault: Something is still missing afterwards.
    """
    if not wanted:
        return
    print("installing what is missing:", ", ".join(wanted), flush=True)
    pins = []
    for name in KEPT:
        try:
            pins.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "keep.txt"
        constraint.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "-q", "--constraint", str(constraint), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    still = missing_packages()
    if still:
        if "externally-managed-environment" in done.stderr:
            raise EnvironmentFault(
                f"Not installed: {', '.join(still)}. {sys.executable} belongs to the system, which lets nobody install into it. Make an "
                "environment of its own, as START_HERE.md says, and pick its kernel."
            )
        names = " ".join(f'"{name}"' for name in still)
        if "No module named pip" in done.stderr:
            raise EnvironmentFault(
                f"Not installed: {', '.join(still)}. {sys.executable} has no pip, as environments that uv made. In a terminal: "
                f'uv pip install --python "{sys.executable}" {names}. Then run this cell again.'
            )
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        if UNREACHED.search(done.stderr):
            said = "pip reached no package index: there is no network, or a proxy or certificate of which it must be told"
        raise EnvironmentFault(
            f"Not installed: {', '.join(still)} ({said}). Without a network, install them by hand, then run this cell again."
        )


def import_torch() -> ModuleType:
    """Torch, with torchvision beside it.

    Raises:
        EnvironmentFault: It is not installed, or cannot be loaded.
    """
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"{error}. PyTorch is not installed for {sys.executable}. Pick the kernel of the course's environment, or see "
            "START_HERE.md for the install."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # it is there, and cannot be loaded
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "torchvision" in said:
            advice = "torch and torchvision are no pair: uninstall both, and install them again in one line, as START_HERE.md does"
        elif sys.platform == "win32":
            advice = "Windows lacks a library: install Microsoft's Visual C++ Redistributable (x64), and START_HERE.md's environment"
        else:
            advice = "uninstall torch and torchvision and install them again, in an environment of its own: START_HERE.md says how"
        raise EnvironmentFault(f"{said}. PyTorch of {sys.executable} cannot be loaded: {advice}. Then restart the kernel.") from error
    return torch
