"""What one grading run shares between submissions: settings, the student edition, weights, cached reference outputs."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autograder.course.assignment import Assignment, open_assignment
from autograder.course.rubric import CheckRubric, Rubric, RubricError
from autograder.course.seeds import Seeds, course_secret
from autograder.judge.array_cache import ArrayCache
from autograder.judge.retraining import TRAINING, Retraining, write_training
from autograder.sandbox.client import WorkerSettings, make_zygote
from autograder.sandbox.forking import Zygote
from autograder.sandbox.gpus import gpu_name, lock_file
from autograder.sandbox.isolation import best_level
from autograder.sandbox.leftovers import remove_leftovers, scratch_folder
from autograder.sandbox.locks import one_of
from segkit.edition import write_edition

__all__ = ["GateData", "Run", "Settings", "cpu_has_bfloat16"]


@dataclass(frozen=True)
class Settings:
    """What a run is told. Plain values, so that it can be handed to other judge processes.

    Attributes:
        assignment: Name or folder.
        out: Where results go.
        data: CMP_ROOT, ``"sample"``, or None for the default.
        gate_data: The instructor's own labelled pictures in place of the public test list, or None.
        checkpoints: Where named checkpoints lie, or None.
        isolation: Weakest acceptable level, or None.
        secret: The course's secret; None takes it from the environment or its file.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, for the gates.
        only: Ids of the checks to run; empty for all.
        overrides: Rubric settings that replace those of the file.
        seconds: Wall-clock limit of one reply of a worker.
        total_seconds: The same of all replies of a submission together, those of gates apart.
        gate_seconds: The same of all replies in one measurement of a gate.
        labels: Whether the gates' labels are read; ``predict`` needs none.
        predictions: What ``predict`` handed over; with it no worker is started.
        precision: Of gates: ``"float32"``; ``"bfloat16"`` where the device has it in hardware; or ``"auto"``, which on a CPU is the
            second for gates that are measured again near a step of points (see ``autograder.judge.asking``), else the first.
        retraining: Train each network again in place of taking its checkpoint, or None (see ``autograder.judge.retraining``).
    """

    assignment: str
    out: Path
    data: str | None = None
    gate_data: str | None = None
    checkpoints: Path | None = None
    isolation: str | None = None
    secret: str | None = None
    device: str = "auto"
    only: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 60.0
    total_seconds: float = 900.0
    gate_seconds: float = 3600.0
    labels: bool = True
    predictions: Path | None = None
    precision: str = "float32"
    retraining: Retraining | None = None


@dataclass
class GateData:
    """Labelled pictures on which gates are measured; labels stay in the judge.

    Attributes:
        source: Where they come from, for the result (no path of this machine).
        split: ``"course"``, ``"base"``, ``"sample"`` or ``"own"``.
        names: Names of the pictures.
        photo: Name -> picture (H, W, 3), uint8.
        image: Name -> the same as the network's input (3, H, W), float32; no label is read for it.
        label: Name -> label (H, W), int64 with 255 ignored; None where labels are not read. No picture is read for it.
        digest: Hash of the names and files.
        size: Name -> (H, W) without reading the pixels, or None where that is not known.
        files: The files of these pictures and labels, so that they can be packed; empty where there are none.
    """

    source: str
    split: str
    names: tuple[str, ...]
    photo: Callable[[str], np.ndarray]
    image: Callable[[str], np.ndarray]
    label: Callable[[str], np.ndarray | None]
    digest: str
    size: Callable[[str], tuple[int, int]] | None = None
    files: tuple[Path, ...] = ()


class Run:
    """An open run. Made once by the parent (``Run.create``), opened again by each judge process (``Run.attach``).

    Attributes:
        settings: What it was told.
        assignment: The assignment.
        folder: Shared temporary folder: ``edition/``, ``cache/``, the weight file; ``tmp/`` and ``gates/`` in a batch.
        isolation: Level that workers get.
        seeds: Seeds of the course.
        cache: Shared arrays.
        data: What the gates are measured on, or None.
        data_problem: Why there is no data.
    """

    def __init__(self, settings: Settings, folder: Path, owner: bool) -> None:
        self.settings, self.folder, self._owner = settings, folder, owner
        self._zygote: Zygote | None = None
        self.assignment: Assignment = open_assignment(settings.assignment, **settings.overrides)
        unknown = [name for name in settings.only if name not in self.rubric.checks]
        if unknown:
            known = ", ".join(self.rubric.checks)
            raise RubricError(f"There is no check {', '.join(map(repr, unknown))} in {self.assignment.name}. Known: {known}.")
        if settings.device == "cuda" and not _gpu_is_there():
            raise RubricError("--device cuda: PyTorch finds no CUDA GPU here. Give --device cpu, or auto to take a GPU where there is one.")
        self.isolation = best_level(settings.isolation)
        self.seeds = Seeds(settings.secret or course_secret())
        self.cache = ArrayCache(folder / "cache")
        # predictions stay with the results: an interrupted run need not ask for them again
        self.gate_cache = ArrayCache(settings.out / ".gates")
        self.empty_ini = folder / "pytest.ini"
        if owner:
            self._refuse_faulty_checks()
        self.data: GateData | None = None
        self.data_problem = ""
        self._open_data()

    @property
    def rubric(self) -> Rubric:
        return self.assignment.rubric

    @property
    def wanted_checks(self) -> dict[str, CheckRubric]:
        """The checks of this run, by id: all, or those that were asked for."""
        return {name: c for name, c in self.rubric.checks.items() if not self.settings.only or name in self.settings.only}

    @classmethod
    def create(cls, settings: Settings) -> "Run":
        """Begin a run: write the student edition, the assignment's file and the weights."""
        run = cls.open(settings)
        try:
            run.prepare()
            return run
        except BaseException:
            run.close()
            raise

    @classmethod
    def open(cls, settings: Settings) -> "Run":
        """Begin a run that knows what it is about, and cannot grade until ``prepare``. Folders of killed runs are removed."""
        remove_leftovers()
        folder = scratch_folder("segkit-run-")
        try:
            return cls(settings, folder, owner=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def prepare(self) -> None:
        """Write what judges and workers share: the student edition, the assignment's file and the weights."""
        edition = self.folder / "edition"
        edition.mkdir()
        write_edition(edition, for_workers=True)
        own = self.assignment.hook("assignment_file")
        content = json.dumps(own(self.rubric) if own else self.rubric.facts)
        (edition / "assignment.json").write_text(content, encoding="utf-8")
        index = {}
        write_weights = self.assignment.hook("write_weights")
        if write_weights:
            index = write_weights(self.folder / "weights.bin", self.seeds, self.rubric)
        (self.folder / "weights.json").write_text(json.dumps(index), encoding="utf-8")
        # workers run under another user: they must be able to read, and only to read
        self.folder.chmod(0o755)
        if self.settings.retraining is not None:
            write_training(self)

    @classmethod
    def attach(cls, settings: Settings, folder: Path) -> "Run":
        """Open a run that another process began."""
        return cls(settings, folder, owner=False)

    def _refuse_faulty_checks(self) -> None:
        """Say before any work what would otherwise be found after a class was graded: checks and rubric do not agree."""
        from autograder.judge.checking import inspect_checks

        self.empty_ini.write_text("[pytest]\n", encoding="utf-8")
        faults = inspect_checks(self.assignment.checks, self.rubric.checks, self.empty_ini)
        if faults:
            raise RubricError("\n".join([f"The checks in {self.assignment.checks} and rubric.toml do not agree:", *faults]))

    def _open_data(self) -> None:
        open_data = self.assignment.hook("open_data" if self.settings.labels else "open_pictures")
        if open_data is None:
            self.data_problem = f"the assignment {self.assignment.name} has none"
            return
        try:
            self.data = open_data(self.settings.gate_data or self.settings.data, self.rubric, bool(self.settings.gate_data))
        except (OSError, ValueError, LookupError) as error:
            self.data_problem = str(error)

    @cached_property
    def weight_index(self) -> dict[str, tuple[int, list[int]]]:
        """Index of the weight file, once the run has been created: name -> (first element, shape)."""
        index: dict[str, tuple[int, list[int]]] = json.loads((self.folder / "weights.json").read_text(encoding="utf-8"))
        return index

    @cached_property
    def uses_gpu(self) -> bool:
        """Whether gates are measured on a GPU."""
        return self.settings.device == "cuda" or (self.settings.device == "auto" and _gpu_is_there())

    @property
    def gate_precision(self) -> str:
        """The fastest format that gates may be computed in."""
        wanted = self.settings.precision
        if self.uses_gpu:
            return "float32" if wanted == "auto" else wanted
        return "bfloat16" if wanted != "float32" and cpu_has_bfloat16() else "float32"

    @cached_property
    def gate_device(self) -> str:
        """What gates are measured on, by name: another GPU may round otherwise."""
        return gpu_name() if self.uses_gpu else "cpu"

    @contextmanager
    def gate_turn(self) -> Iterator[None]:
        """Wait until a gate may be measured beside those that are (see ``autograder.batch.memory``)."""
        with one_of(sorted((self.folder / "gates").glob("*"))):
            yield

    @contextmanager
    def gpu_turn(self) -> Iterator[None]:
        """Wait until nobody else measures on the GPU; on a CPU there is nothing to wait for. Within ``gate_turn``."""
        with one_of([lock_file()] if self.uses_gpu else []):
            yield

    def worker_settings(self) -> WorkerSettings:
        """How this run's workers are started: forked from a process of this judge that has imported torch."""
        weights = self.folder / "weights.bin"
        settings = WorkerSettings(
            isolation=self.isolation, edition=self.folder / "edition", weights=weights if weights.is_file() else None,
            weight_index=self.weight_index, seconds=self.settings.seconds, total_seconds=self.settings.total_seconds,
        )  # fmt: skip
        if self._zygote is None:
            self._zygote = make_zygote(settings, Path(tempfile.mkdtemp(prefix="workers-", dir=self.folder)))
        return replace(settings, zygote=self._zygote)

    def gate_settings(self) -> WorkerSettings:
        """How workers of gates are started: anew, with the GPU where there is one to be used."""
        training = self.folder / TRAINING if self.settings.retraining else None
        settings = self.worker_settings()
        return replace(settings, zygote=None, gpu=self.uses_gpu, training=training, total_seconds=self.settings.gate_seconds)

    def close(self) -> None:
        """End what workers are forked from, and remove the shared folder (only the process that began the run)."""
        if self._zygote is not None:
            self._zygote.close()
        if self._owner:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def cpu_has_bfloat16(listing: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor computes in bfloat16 by itself (AVX-512 BF16, AMX); others emulate it, slower than float32."""
    try:
        lines = listing.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _gpu_is_there() -> bool:
    import torch

    return torch.cuda.is_available()
