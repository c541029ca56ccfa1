"""What a worker may see of this machine: Python, the system's libraries, and what its room names."""

import os
import site
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.sandbox.gpus import DRIVERS, visible_gpu

__all__ = ["IsolationError", "Limits", "Room", "devices", "environment", "open_to_all", "python_folders", "visible"]

PACKAGES = Path(__file__).resolve().parents[2]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
GPU = ("/sys", "/usr/local/nvidia", "/etc/nvidia", "/proc/devices", "/proc/modules", "/proc/sys/vm")


class IsolationError(Exception):
    """The wall that was asked for cannot be had on this machine."""


@dataclass(frozen=True)
class Limits:
    """What a worker may use. Memory and disk count all of its processes together, the rest each process.

    Attributes:
        memory_megabytes: Private and shared memory; 0 for no limit (CUDA reserves addresses without bound).
        file_megabytes: Size of one file.
        disk_megabytes: Size of all files in the scratch folder.
        processes: Processes and threads.
        open_files: Open files of one process.
        cpu_seconds: CPU time of one process.
    """

    memory_megabytes: int = 3500
    file_megabytes: int = 64
    disk_megabytes: int = 512
    processes: int = 256
    open_files: int = 256
    cpu_seconds: int = 3600


@dataclass(frozen=True)
class Room:
    """What a worker may see and use.

    Attributes:
        scratch: The one folder it may write to.
        readable: Files and folders it may read, beside Python itself.
        gpu: Whether the GPU's device files are let in.
        limits: What it may use.
    """

    scratch: Path
    readable: Sequence[Path] = field(default_factory=tuple)
    gpu: bool = False
    limits: Limits = field(default_factory=Limits)


def environment(room: Room) -> dict[str, str]:
    """The worker's whole environment; with a GPU, which one it is."""
    gpu = visible_gpu() if room.gpu else None
    order = os.environ.get("CUDA_DEVICE_ORDER", "")
    named = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    libraries = os.pathsep.join(driver_folders()) if room.gpu else ""
    named |= {"LD_LIBRARY_PATH": libraries} if libraries else {}
    ordered = {"CUDA_DEVICE_ORDER": order} if room.gpu and order in ("FASTEST_FIRST", "PCI_BUS_ID") else {}
    return named | ordered | {
        "HOME": str(room.scratch), "TMPDIR": str(room.scratch), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "SEGKIT_WORKER": "1",
        # each picture size is cached with 60 MB of scratch memory, and every picture has another size: keep few
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
    }  # fmt: skip


def driver_folders() -> list[str]:
    """Folders of the system in which CUDA's driver may lie beside the usual ones: those of hosted machines, and LD_LIBRARY_PATH's."""
    named = dict.fromkeys([*os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep), *DRIVERS])
    return [path for path in named if path.startswith("/usr/") and os.path.realpath(path).startswith("/usr/") and os.path.isdir(path)]


def python_folders() -> list[Path]:
    """Folders without which this Python does not run: its prefix, the base it was made from, and site-packages."""
    folders = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), *map(Path, site.getsitepackages())}
    return sorted(folder for folder in folders if folder.is_dir())


def hidden() -> list[Path]:
    """What no worker sees, even inside a visible folder: the grader, and the full kit with its reference."""
    if PACKAGES.name in ("site-packages", "dist-packages"):
        return [PACKAGES / "segkit", PACKAGES / "autograder"]
    return [PACKAGES]


def without(path: Path, holes: Iterable[Path]) -> list[Path]:
    """A folder without its hidden parts: the folder itself if it contains none, otherwise its entries without them."""
    holes = list(holes)
    if path in holes:
        return []
    if not any(path in hole.parents for hole in holes):
        return [path]
    return [part for entry in sorted(path.iterdir()) for part in without(entry, holes)]


def visible(room: Room) -> list[Path]:
    """Files and folders that a worker may read; a folder within another that is named is left out."""
    gpu = [*GPU, *map(str, Path("/proc/driver").glob("nvidia*"))] if room.gpu else []
    wanted = [Path(path) for path in (*SYSTEM, *gpu) if os.path.exists(path)]
    wanted = [part for path in [*wanted, *python_folders()] for part in without(path, hidden())]
    unique = dict.fromkeys([*wanted, *(Path(path) for path in room.readable)])
    return [path for path in unique if path.is_symlink() or not any(above in unique for above in path.parents)]


def devices(room: Room) -> list[Path]:
    """Device files that a worker may use."""
    names = [Path("/dev") / name for name in ("null", "zero", "full", "random", "urandom")]
    gpu = [*sorted(Path("/dev").glob("nvidia*")), *Path("/dev").glob("dxg")]  # dxg: WSL, Linux on Windows
    return names + (gpu if room.gpu else [])


def open_to_all(path: Path) -> bool:
    """Whether a user without any right of its own can read a file or folder."""
    path = Path(os.path.realpath(path))
    if not all(above.stat().st_mode & 0o001 for above in path.parents):
        return False
    return path.stat().st_mode & 0o005 == 0o005 if path.is_dir() else bool(path.stat().st_mode & 0o004)
