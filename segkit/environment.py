"""First cell of every notebook: proves the environment and, on a bare hosted machine, completes it.

Only the standard library is imported at the top: on a hosted machine this module runs before the kit's
dependencies are there. And a Python that is too old must get far enough to say so.
"""

from __future__ import annotations

import importlib
import os
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from segkit import installs
from segkit.installs import KEPT, EnvironmentFault, demand_python, import_torch, install, missing_packages
from segkit.kit import Kit

__all__ = ["EnvironmentFault", "Kit", "missing_packages", "prepare", "split_of", "work_folder"]

DRIVES = ("/content/drive/MyDrive", "*/MyDrive")  # where a hosted machine mounts it: as the first cell does, or somebody by hand
IN_NOTEBOOKS = ("module://", "inline", "nbagg", "notebook", "widget", "ipympl")  # how matplotlib's backends for notebooks begin


def prepare(home: str | Path | None = None, *, quiet: bool = False) -> Kit:
    """Check packages, device, data and the imported code; print a line about each.

    Where ``segkit`` was imported out of ``fcn.zip``, the archive is unpacked first: on the drive if one is mounted, else here.
    What lies there already stays as it is.

    Args:
        home: Folder that should hold this ``segkit``; None: the one that it was imported from.
        quiet: Print nothing (for tests).

    Returns:
        What the notebook needs to know.

    Raises:
        EnvironmentFault: If something is missing that cannot be made up for.
    """
    demand_python()
    own = Path(__file__).resolve().parent.parent
    if own.parent.is_file():
        return _unpacked(own, quiet)
    home = Path(home) if home else _nearest_kit(own.name) or own
    if home.resolve() != own and _is_guess(own):
        return _from(home, quiet)
    _demand_this_kit(home)
    sys.path[:] = [str(own), *(entry for entry in sys.path if not entry or Path(entry).is_absolute())]  # the first cell's guesses go
    install(missing_packages())
    work, started = work_folder(home), _STARTED.setdefault("folder", _here().resolve())
    os.chdir(work)  # what another notebook defined is looked for here, and what you make lands here
    _show_figures()
    _tell_gaps(work)
    torch = import_torch()
    from segkit.malloc import keep_memory

    keep_memory()  # a notebook builds network after network
    root, split, note = _find_data()
    quick = _set_by_hand("SEGKIT_QUICK").partition(" #")[0].strip().lower() not in ("", "0", "false", "no", "off")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    notes = [note] if note else []
    if outdated := installs.outdated_packages():
        notes.append(f"older than what was tried: {', '.join(outdated)}. If something breaks, START_HERE.md makes an environment")
    if device == "cpu" and not quick:
        notes.append("no GPU; quick mode trains in minutes: %env SEGKIT_QUICK=1 in a cell above this one, then run both")
    if work != started:
        notes.append("all notebooks lie in the work folder: open them there")
    drive = _drive(started)
    if "google.colab" in sys.modules and not (drive and work.is_relative_to(drive.parent.resolve())):
        notes.append("the work folder is not on your drive, and is lost with this machine: restart it, run this cell, allow the drive")
    kit = Kit(work, root, split, device, quick, notes, copies_elsewhere(started, work))
    if not quiet:
        _print_proof(kit, torch)
    return kit


def _unpacked(home: Path, quiet: bool) -> Kit:
    """Unpack the archive that holds ``home``, and go on with what came out of it in place of this very module."""
    target = _drive(Path.cwd()) or _here()
    try:
        with zipfile.ZipFile(home.parent) as archive:
            archive.extractall(target, [name for name in archive.namelist() if not (target / name).exists()])
    except OSError as error:
        raise EnvironmentFault(
            f"{home.parent} cannot be unpacked to {target}: {error.strerror}. Make room there, or begin in a folder that you may write to."
        ) from None
    return _from(target / home.name, quiet)


def _from(home: Path, quiet: bool) -> Kit:
    """Go on with the kit that lies in ``home``, in place of this very module."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "segkit"]:
        del sys.modules[name]
    sys.path.insert(0, str(home.resolve()))
    importlib.invalidate_caches()
    kit: Kit = importlib.import_module("segkit.environment").prepare(quiet=quiet)
    return kit


def _is_guess(own: Path) -> bool:
    """Whether the first cell came upon this kit where it looks for one that is not beside the notebook: last year's may lie there, too."""
    return any(not Path(entry).is_absolute() and Path(entry).resolve() == own for entry in sys.path if entry)


def _here() -> Path:
    """Where the notebook lies. VS Code names it, and may start the kernel in another folder: the opened one, home, a server's."""
    notebook = Path(str(vars(sys.modules["__main__"]).get("__vsc_ipynb_file__", "")))
    return notebook.parent if notebook.is_file() else Path.cwd()


def _drive(started: Path) -> Path | None:
    """The drive of a hosted machine, if one is mounted; a mere folder of that name goes with the machine."""
    fixed, by_hand = DRIVES
    return next((place for place in (Path(fixed), *sorted(started.glob(by_hand))) if os.path.ismount(place.parent)), None)


def _nearest_kit(name: str) -> Path | None:
    """The folder with a kit that the notebook's first cell means: around the notebook, or, of that name, beside it."""
    here = _here()
    return next((place for place in (here, here.parent, here / name) if (place / "segkit" / "environment.py").is_file()), None)


def work_folder(home: Path) -> Path:
    """The folder to work in: the one the notebook lies in, if the kit lies there or above; else the kit's own.

    The second is the case on a hosted machine, where the zip was unpacked on the drive or below the start folder.

    Args:
        home: Folder that holds ``segkit/``.
    """
    here = _here().resolve()
    return here if here.is_relative_to(home.resolve()) else home.resolve()


def copies_elsewhere(started: Path, work: Path) -> list[Path]:
    """Notebooks where the kernel was started, or where a drive puts uploads and copies ("Copy of 1_data.ipynb"), of which the work
    folder has one too: only those are read."""
    folders = [folder for folder in dict.fromkeys((started, work.parent / "Colab Notebooks")) if folder != work]
    own = [path.stem for path in work.glob("*.ipynb")]
    return [path for folder in folders for path in sorted(folder.glob("*.ipynb")) if any(stem in path.stem for stem in own)]


def split_of(root: str | Path) -> str:
    """The split whose lists fit a data root."""
    from segkit.datasets import dataset

    return dataset().split_of(Path(root))


_STARTED: dict[str, Path] = {}  # where the kernel was started: the first cell changes the folder, and may run again


def _demand_this_kit(home: Path) -> None:
    used = Path(__file__).resolve().parent.parent
    if home.resolve() != used:
        raise EnvironmentFault(
            f"Another segkit was imported: expected {home / 'segkit'}, got {used / 'segkit'}. Restart the kernel and run this "
            "cell first; if it comes again, that other segkit is installed (pip uninstall segkit)."
        )


def _shell() -> Any:
    """IPython's, where this is a notebook."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _show_figures() -> None:
    """Let ``plt.show()`` show: machines without a screen set ``MPLBACKEND=Agg`` for scripts, and notebooks would stay empty."""
    shell = _shell()
    if shell is not None and hasattr(shell, "kernel") and not os.environ.get("MPLBACKEND", "inline").lower().startswith(IN_NOTEBOOKS):
        shell.run_line_magic("matplotlib", "inline")


def _tell_gaps(work: Path) -> None:
    """Where an exercise is open, or a cell was passed over, say so in a line: the traceback speaks of the kit's own code."""
    from segkit.notebooks.gaps import tell_gaps

    if (shell := _shell()) is not None:
        tell_gaps(shell, work)


def _find_data() -> tuple[Path, str, str]:
    """Real data where there is any, else the drawn sample, and a note about it."""
    from segkit.datasets import DataError, dataset

    spec = dataset()
    _set_by_hand(spec.variable)
    try:
        root, note = spec.find_root(), ""
    except DataError as error:
        if os.environ.get(spec.variable):
            raise EnvironmentFault(str(error)) from error
        root = spec.find_root("sample")
        note = f"no real {spec.pictures} here, so the drawn sample serves"
        note += "; get them with: python -m segkit data fetch" if spec.fetch else ""
    return root, spec.split_of(root), note


def _set_by_hand(name: str) -> str:
    """A variable as it was meant, for what is started from here, too."""
    from segkit.datasets.spec import as_meant

    value = as_meant(os.environ.get(name, ""))
    if name in os.environ:
        os.environ[name] = value
    return value


def _print_proof(kit: Kit, torch: ModuleType) -> None:
    import segkit

    counts = ", ".join(f"{len(kit.spec.split_names(kit.split, part))} {part}" for part in ("train", "val", "test"))
    versions = "  ".join(f"{name} {metadata.version(name)}" for name in KEPT)
    device = torch.cuda.get_device_name() if kit.device == "cuda" else f"CPU, {os.cpu_count()} cores (no GPU found)"
    mode = "quick: few pictures, and training in minutes" if kit.quick else "full: the course recipe"
    print(f"[ok] segkit {segkit.__version__:<8} {Path(segkit.__file__).parent}")
    print(f"[ok] python {sys.version.split()[0]:<8} {versions}")
    print(f"[ok] device          {device}")
    print(f"[ok] data            split {kit.split} ({counts})  {kit.root}")
    print(f"[ok] work folder     {kit.work}")
    print(f"[ok] mode            {mode}")
    for note in kit.notes:
        print(f"[  ] note            {note}")
    if kit.copies:
        print(f"[!!] a copy          {', '.join(map(str, kit.copies))}: not looked at.")
        print("                     Only the notebooks in the work folder count: close this copy, open the one there, and go on.")
