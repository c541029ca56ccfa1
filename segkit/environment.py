"""First cell of every notebook: proves the environment and, on a bare hosted machine, completes it.

Only the standard library is imported at the top: on a hosted machine this module runs before the kit's
dependencies are there.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType

__all__ = ["EnvironmentFault", "Kit", "missing_packages", "prepare", "unpack", "work_folder"]

# import name -> name on the package index, with the lower bound of pyproject.toml
NEEDED = {
    "numpy": "numpy>=1.26",
    "matplotlib": "matplotlib>=3.8",
    "PIL": "pillow>=10.0",
    "safetensors": "safetensors>=0.4.3",
    "tqdm": "tqdm>=4.66",
    "click": "click>=8.1",
    "nbformat": "nbformat>=5.9",
}
# what a hosted machine has already and must keep: another torch would not fit its driver
KEPT = ("torch", "torchvision", "numpy")
HOSTED = Path("/content")
DRIVES = (HOSTED / "drive" / "MyDrive", Path("/kaggle/working"))
NOTEBOOK = "1_data.ipynb"


class EnvironmentFault(Exception):
    """Something that the notebooks need is not there; the text says what to do."""


@dataclass(frozen=True)
class Kit:
    """What the notebooks ask about the machine.

    Attributes:
        work: Folder for everything you make: checkpoints, runs. Your notebooks lie here.
        root: Data root, with ``base/`` in it.
        split: ``course``, ``base`` or ``sample``, whichever the data root allows.
        device: ``"cuda"`` or ``"cpu"``.
        quick: True in quick mode (``SEGKIT_QUICK=1``): few images, tiny crops, one or two steps.
    """

    work: Path
    root: Path
    split: str
    device: str
    quick: bool
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        """Where training writes. A quick run has its own place, so that it is never handed in by mistake."""
        return self.work / ("runs_quick" if self.quick else "runs")

    def names(self, part: str, quick: int = 2) -> tuple[str, ...]:
        """Names of a part of the split; in quick mode only the first ``quick`` of them."""
        from segkit.facades import split_names

        names = split_names(self.split, part)
        return names[:quick] if self.quick else names

    def checkpoint(self, name: str) -> Path | None:
        """A checkpoint of network ``name``: your own in ``checkpoints/``, else a published one in ``published/``.

        In quick mode there is none: quick mode shows the whole path, training included.
        """
        if self.quick:
            return None
        places = [self.work / folder / f"{name}{ending}" for folder in ("checkpoints", "published")
                  for ending in (".safetensors", ".pth")]  # fmt: skip
        return next((path for path in places if path.is_file()), None)


def prepare(home: str | Path | None = None, *, quiet: bool = False) -> Kit:
    """Check packages, device, data and the imported code; print a line about each.

    Args:
        home: Folder that holds ``segkit/``, as the notebook's first cell found it.
        quiet: Print nothing (for tests).

    Returns:
        What the notebook needs to know.

    Raises:
        EnvironmentFault: If something is missing that cannot be made up for.
    """
    home = Path(home) if home else Path(__file__).resolve().parent.parent
    _demand_this_kit(home)
    _install(missing_packages())
    work = work_folder(home)
    os.chdir(work)
    torch = _import_torch()
    root, split, note = _find_data()
    quick = os.environ.get("SEGKIT_QUICK", "") not in ("", "0")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kit = Kit(work, root, split, device, quick, [note] if note else [])
    if not quiet:
        _print_proof(kit, torch)
    return kit


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack ``fcn.zip``; a file that is there already is kept, for it may be your work.

    Args:
        archive: The zip; everything in it lies below ``fcn/``.
        folder: Where to put ``fcn/``.

    Returns:
        The folder ``fcn``.

    Raises:
        EnvironmentFault: If the zip is damaged or is not the kit's.
    """
    folder = Path(folder).resolve()
    try:
        with zipfile.ZipFile(archive) as bundle:
            for member in bundle.infolist():
                target = (folder / member.filename).resolve()
                if not target.is_relative_to(folder / "fcn"):
                    raise EnvironmentFault(f"{archive}: {member.filename!r} lies outside of fcn/. This is not the course's fcn.zip.")
                if not member.is_dir() and not target.exists():
                    bundle.extract(member, folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise EnvironmentFault(f"{archive} cannot be unpacked ({error}). Download it again and upload it whole.") from error
    return folder / "fcn"


def missing_packages() -> list[str]:
    """Requirements that are not installed, torch aside (a hosted machine has its own)."""
    return [wanted for name, wanted in NEEDED.items() if importlib.util.find_spec(name) is None]


def work_folder(home: Path) -> Path:
    """The folder to work in: the kit's on a mounted drive, else the one that the notebook was started in.

    Args:
        home: Folder that holds ``segkit/``.
    """
    if any(home.is_relative_to(drive) for drive in DRIVES):
        return home
    return Path.cwd()


def split_of(root: str | Path) -> str:
    """The split whose lists fit a data root: ``sample``, ``course`` (with ``extended/``) or ``base``."""
    root = Path(root)
    if any((root / "base").glob("cmp_s*.jpg")):
        return "sample"
    return "course" if any((root / "extended").glob("cmp_x*.jpg")) else "base"


def _demand_this_kit(home: Path) -> None:
    used = Path(__file__).resolve().parent.parent
    if home.resolve() != used:
        raise EnvironmentFault(
            f"Another segkit was imported: expected {home / 'segkit'}, got {used / 'segkit'}. Restart the kernel and run this "
            "cell first; if it comes again, that other segkit is installed (pip uninstall segkit)."
        )


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
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise EnvironmentFault(f"Not installed: {', '.join(still)} ({said}). Without a network, install them by hand, then run this cell again.")


def _import_torch() -> ModuleType:
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torchvision")
    except ImportError as error:
        raise EnvironmentFault(
            f"{error}. PyTorch is not installed for {sys.executable}. Pick the kernel of the course's environment, or see "
            "START_HERE.md for the install."
        ) from error
    return torch


def _find_data() -> tuple[Path, str, str]:
    """Real data where there is any, else the drawn sample, and a note about it."""
    from segkit.facades import DataError, find_root

    try:
        root, note = find_root(), ""
    except DataError:
        if os.environ.get("SEGKIT_DATA"):
            raise
        root = find_root("sample")
        note = "no real facades here, so the drawn sample serves; get them with: python -m segkit data fetch"
    return root, split_of(root), note


def _print_proof(kit: Kit, torch: ModuleType) -> None:
    import segkit
    from segkit.facades import split_names

    counts = ", ".join(f"{len(split_names(kit.split, part))} {part}" for part in ("train", "val", "test"))
    versions = "  ".join(f"{name} {metadata.version(name)}" for name in KEPT)
    device = torch.cuda.get_device_name() if kit.device == "cuda" else f"CPU, {os.cpu_count()} cores (no GPU found)"
    mode = "quick: few pictures, tiny crops, one or two steps" if kit.quick else "full: the course recipe"
    print(f"[ok] segkit {segkit.__version__:<8} {Path(segkit.__file__).parent}")
    print(f"[ok] python {sys.version.split()[0]:<8} {versions}")
    print(f"[ok] device          {device}")
    print(f"[ok] data            {kit.root}  (split {kit.split}: {counts})")
    print(f"[ok] work folder     {kit.work}")
    print(f"[ok] mode            {mode}")
    for note in kit.notes:
        print(f"[  ] note            {note}")
