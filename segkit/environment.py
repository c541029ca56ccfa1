"""First cell of every notebook: proves the environment and, on a bare hosted machine, completes it.

Only the standard library is imported at the top: on a hosted machine this module runs before the kit's
dependencies are there. And a Python that is too old must get far enough to say so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from segkit.datasets import DatasetSpec, PairDataset

__all__ = ["EnvironmentFault", "Kit", "missing_packages", "prepare", "split_of", "work_folder"]

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
DRIVES = ("/content/drive/MyDrive", "*/MyDrive")  # where a hosted machine mounts it: as the first cell does, or somebody by hand
# what a hosted machine has already and must keep: another torch would not fit its driver
KEPT = ("torch", "torchvision", "numpy")
IN_NOTEBOOKS = ("module://", "inline", "nbagg", "notebook", "widget", "ipympl")  # how matplotlib's backends for notebooks begin


class EnvironmentFault(Exception):
    """Something that the notebooks need is not there; the text says what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the text alone, for the kit's own lines tell a student nothing."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Kit:
    """What the notebooks ask about the machine.

    Attributes:
        work: Folder for everything you make: checkpoints, runs. Your notebooks lie here.
        root: Data root.
        split: Whichever the data root allows.
        device: ``"cuda"`` or ``"cpu"``.
        quick: True in quick mode (``SEGKIT_QUICK=1``): few images, and training in minutes.
        notes: What else there is to know.
        copies: Copies of the notebooks outside the work folder, where nobody looks.
    """

    work: Path
    root: Path
    split: str
    device: str
    quick: bool
    notes: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)

    @property
    def spec(self) -> DatasetSpec:
        """The assignment's data set."""
        from segkit.datasets import dataset

        return dataset()

    @property
    def runs(self) -> Path:
        """Where training writes. Quick mode has a folder of its own, where nothing is looked for that is handed in."""
        return self.work / ("runs_quick" if self.quick else "runs")

    def names(self, part: str) -> tuple[str, ...]:
        """Names of a part of the split; in quick mode the first of them, 24 to train and 4 to look at."""
        names = self.spec.split_names(self.split, part)
        return names[: 24 if part == "train" else 4] if self.quick else names

    def dataset(self, part: str, read_label: Callable, *, small: bool = False, first: int | None = None) -> PairDataset:
        """The pictures of a part, decoded with your ``read_label``.

        Args:
            part: ``train``, ``val`` or ``test``.
            read_label: Your function of notebook 1.
            small: Only the middle of each picture, 160 x 160 pixels, and in quick mode of 12 pictures: for steps of all layers. In quick
                mode it is otherwise 320 x 320 at the most.
            first: Only so many pictures.
        """
        from segkit.datasets import PairDataset

        transform = _Middle(160 if small else 320) if small or self.quick else None
        names = self.names(part)[: first or (12 if small and self.quick else None)]
        return PairDataset(self.spec, self.root, self.split, part, read_label=read_label, transform=transform, names=names)

    def vgg16(self) -> tuple[Module, bool]:
        """VGG-16, and whether it has its ImageNet weights; without them (no network, quick mode) it is random, always the same."""
        from segkit.vgg import VGGError, find_vgg16, load_vgg16, random_vgg16

        try:
            if self.quick and find_vgg16() is None:
                raise VGGError("quick mode downloads nothing")
            return load_vgg16(), True
        except VGGError as error:
            print(f"ImageNet weights are not at hand: {error}")
            print("Random numbers stand in for them: every step below is shown, but this is no head start.")
            return random_vgg16(), False  # always the same: notebook 4 compares networks that notebook 3 gave the same trunk

    def can_train(self, pretrained: bool) -> bool:
        """Whether the full recipe makes sense here; if not, says why."""
        if self.quick:
            return True
        if not pretrained:
            print("not trained: without ImageNet weights 25 epochs would be wasted. See the first picture for how to get them.")
            return False
        if self.device != "cuda":
            print("not trained: no GPU, it would take days. Train on a hosted machine and put the file into checkpoints/,")
            print("or look at the course's own model: unpack it to published/. SEGKIT_QUICK=1 trains a part of it in minutes.")
            return False
        return True

    def photographs(self, names: Iterable[str]) -> dict[str, Tensor] | None:
        """Photographs by name, FloatTensors (3, H, W) within 0..1; None where they are not on this machine."""
        from PIL import Image

        from segkit.pictures import open_photograph
        from segkit.transforms import to_tensor

        paths = {name: self.spec.image_path(self.root, name) for name in names}
        if not all(path.is_file() for path in paths.values()):
            return None
        return {name: to_tensor(Image.fromarray(open_photograph(path))) for name, path in paths.items()}

    def keep(self, name: str, model: Module) -> Path:
        """Keep the weights of a quick run, in half precision, for the notebooks that follow; see :meth:`trained`."""
        from torch import float16

        from segkit.checkpoints import save_checkpoint

        folder = self.runs / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resume.pt").unlink(missing_ok=True)  # 1.5 GiB, and a quick run is sooner begun again than resumed
        return save_checkpoint(folder / "best.safetensors", model, float16)

    def trained(self, name: str) -> Path | None:
        """The weights that run ``name`` left in :attr:`runs`, or None."""
        path = self.runs / name / "best.safetensors"
        return path if path.is_file() else None

    def checkpoint(self, name: str, *, published: bool = True) -> Path | None:
        """A checkpoint of network ``name``: your own in ``checkpoints/``, else a published one in ``published/``.

        In quick mode it is what quick mode kept itself.

        Args:
            name: ``fcn32s`` or ``fcn8s``.
            published: Whether a published one will do.
        """
        if self.quick:
            return self.trained(name)
        folders = ("checkpoints", "published") if published else ("checkpoints",)
        places = [self.work / folder / f"{name}{ending}" for folder in folders for ending in (".safetensors", ".pth")]
        return next((path for path in places if path.is_file()), None)


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
    _demand_python()
    own = Path(__file__).resolve().parent.parent
    if own.parent.is_file():
        return _unpacked(own, quiet)
    home = Path(home) if home else _nearest_kit() or own
    if home.resolve() != own and _is_guess(own):
        return _from(home, quiet)
    _demand_this_kit(home)
    sys.path[:] = [str(own), *(entry for entry in sys.path if not entry or Path(entry).is_absolute())]  # the first cell's guesses go
    _install(missing_packages())
    work, started = work_folder(home), _STARTED.setdefault("folder", _here().resolve())
    os.chdir(work)  # what another notebook defined is looked for here, and what you make lands here
    _show_figures()
    _tell_gaps(work)
    torch = _import_torch()
    from segkit.malloc import keep_memory

    keep_memory()  # a notebook builds network after network
    root, split, note = _find_data()
    quick = _set_by_hand("SEGKIT_QUICK").partition(" #")[0].strip().lower() not in ("", "0", "false", "no", "off")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    notes = [note] if note else []
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


def _nearest_kit() -> Path | None:
    """The folder with a kit that the notebook's first cell means: around the notebook, or unpacked beside it."""
    here = _here()
    return next((place for place in (here, here.parent, here / "fcn") if (place / "segkit" / "environment.py").is_file()), None)


def missing_packages() -> list[str]:
    """Requirements that are not installed, torch aside (a hosted machine has its own)."""
    return [wanted for name, wanted in NEEDED.items() if importlib.util.find_spec(name) is None]


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


class _Middle:
    """Cuts the same square out of the middle of image and label."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        top, left = (max(0, (size - self.side) // 2) for size in label.shape)
        window = (..., slice(top, top + self.side), slice(left, left + self.side))
        return image[window], label[window]


def _demand_this_kit(home: Path) -> None:
    used = Path(__file__).resolve().parent.parent
    if home.resolve() != used:
        raise EnvironmentFault(
            f"Another segkit was imported: expected {home / 'segkit'}, got {used / 'segkit'}. Restart the kernel and run this "
            "cell first; if it comes again, that other segkit is installed (pip uninstall segkit)."
        )


def _demand_python() -> None:
    """Before anything is installed: another Python's folder is no place for it."""
    if sys.version_info < OLDEST_PYTHON:
        raise EnvironmentFault(
            f"Expected Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, but this notebook runs on {sys.version.split()[0]} "
            f"({sys.executable}). Pick the kernel of the course's environment, or see START_HERE.md for making one."
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


def _install(wanted: list[str]) -> None:
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
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise EnvironmentFault(
            f"Not installed: {', '.join(still)} ({said}). Without a network, install them by hand, then run this cell again."
        )


def _import_torch() -> ModuleType:
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
