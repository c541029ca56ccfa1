"""What ``first_gpu.py`` tries, step by step; each step runs in a process of its own and tells facts as it finds them."""

import importlib.util
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from first_walls import PHASES, culprits, fails, levels, started
from networks import network

from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.sandbox import gpus, isolation
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from segkit.edition import write_edition
from segkit.facades import FacadeDataset, find_root, split_names
from segkit.models import model_class
from segkit.precision import choose_precision
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training import RECIPES, TrainConfig, fit
from segkit.training.descent import Descent
from segkit.training.loop import learn

__all__ = ["NEEDED", "STEPS", "Place"]

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torchvision", "numpy", "PIL", "safetensors", "click", "tqdm", "matplotlib", "nbformat", "jsonschema", "jinja2", "pytest",
          "xdist")  # fmt: skip
MIB = 2**20


@dataclass
class Place:
    """Where a step runs, and what it found.

    Attributes:
        out: Folder of the steps' files; what later steps use stays in ``out/work``.
        device: Of the networks.
        tiny: Whether everything is as small as it can be: a rehearsal.
        data: CMP_ROOT, or ``"sample"``.
        name: Of the step.
        until: When it should have ended (``time.monotonic``).
    """

    out: Path
    device: torch.device
    tiny: bool
    data: str
    name: str
    until: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        folder = self.out / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def tell(self, **facts: Any) -> None:
        """Add facts, on the disk at once: the step may be stopped at any time."""
        self.facts |= facts
        print(json.dumps(facts, default=str), flush=True)
        partial = self.out / f"{self.name}.json.new"
        partial.write_text(json.dumps(self.facts, indent=1, default=str), encoding="utf-8")
        partial.replace(self.out / f"{self.name}.json")

    def expect(self, true: bool, otherwise: str) -> None:
        """Note what is not as it should be; the step goes on, and counts as failed."""
        if not true:
            self.tell(wrong=[*self.facts.get("wrong", []), otherwise])


def missing() -> list[str]:
    """Packages that steps need and that are not there."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


# -------------------------------------------------------------------------------------------------------------- the steps
def what_is_there(place: Place) -> None:
    memory = gpus.memory()
    place.tell(
        python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
        gpu=torch.cuda.get_device_name() if place.gpu else None, cores=len(os.sched_getaffinity(0)), missing=missing(),
        bfloat16=choose_precision(place.device).name, driver=_first_line("/proc/driver/nvidia/version"),
        gpu_memory_mib=memory and [memory.used // MIB, memory.total // MIB], kernel=platform.release(),
        devices=sorted(map(str, Path("/dev").glob("nvidia*"))), library_path=os.environ.get("LD_LIBRARY_PATH", ""),
        lock=str(gpus.lock_file()), user=os.geteuid(),
    )  # fmt: skip
    place.tell(walls={level: isolation.trouble_with(level) or "there" for level in isolation.LEVELS})
    place.expect(not place.gpu or memory is not None, "NVIDIA's management library tells no memory: judges cannot see who holds the GPU")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        return f"{type(error).__name__}"


def behind_walls(place: Place) -> None:
    phases = PHASES[place.device.type]
    for level in levels():
        found = started(level, phases)
        place.tell(**{level: found})
        if fails(found) and level != "none":
            upto = list(phases)[: len(found)]  # what comes after the failure need not be tried
            place.expect(False, f"{level}: {upto[-1]} fails")
            place.tell(**{f"{level}, culprits": culprits(level, {name: phases[name] for name in upto}, place.until - 3)})
    if place.tiny:  # the search itself, on something that a wall does refuse
        refused = {"a socket": "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)"}
        place.tell(rehearsed={level: culprits(level, refused, place.until - 3) for level in levels() if level == "landlock"})


def sealed_worker(place: Place) -> None:
    edition = place.work / "edition"
    shutil.rmtree(edition, ignore_errors=True)
    edition.mkdir()
    write_edition(edition, for_workers=True)
    for level in levels()[1:]:
        before, begun = gpus.memory(), time.perf_counter()
        with RemoteSubject(WorkerSettings(level, edition, gpu=place.gpu)) as subject:
            subject.strange = False
            subject.peak_bytes()
            ready = time.perf_counter()
            subject.probe()
            probed, during, device = time.perf_counter(), gpus.memory(), subject.device
        left = gpus.memory_left_behind(before)
        place.tell(**{level: {
            "seconds to start": ready - begun, "seconds of the probe": probed - ready, "device": device,
            "MiB before, during, left": before and during and [before.used // MIB, during.used // MIB, left // MIB],
        }})  # fmt: skip
        place.expect(device == place.device.type, f"{level}: the worker is on {device}")
        place.expect(left == 0, f"{level}: {left // MIB} MiB stay taken")


def gpu_tests(place: Place) -> None:
    report, plain = place.out / "tests.xml", importlib.util.find_spec("xdist") is None
    files = ["tests/autograder/sandbox/test_gpu_walls.py"] if place.tiny else ["tests"]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-x" if place.tiny else "--maxfail=30", f"--junitxml={report}", *files]
    command += ["-o", "addopts=--strict-markers"] if plain else ["-n", "0"]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = [f"{case.get('classname')}::{case.get('name')}" for case in suite.iter("testcase")
              if case.find("failure") is not None or case.find("error") is not None]  # fmt: skip
    place.tell(**counts, failed=failed, command=" ".join(command[1:]))
    place.expect(ended.returncode in (0, 5), f"pytest ended with {ended.returncode}")


def one_step(place: Place) -> None:
    size, divisor = ((96, 64), 16) if place.tiny else ((1024, 768), 1)
    formats = ("float32", "bfloat16", "float16") if place.gpu else ("float32", "bfloat16")
    for name in ("fcn32s", "fcn8s"):
        for wanted in formats:
            try:
                precision = choose_precision(place.device, wanted)
            except ValueError as error:
                place.tell(**{f"{name} {wanted}": str(error)})
                continue
            place.tell(**{f"{name} {wanted}": _step(place, network(divisor, name), precision, size)})


def _step(place: Place, model: torch.nn.Module, precision: Any, size: tuple[int, int]) -> dict[str, float]:
    """Three steps of training on one picture: what the first takes, and the faster of the others."""
    gpu, device = place.gpu, place.device
    model.to(device, memory_format=torch.channels_last if precision.half else torch.contiguous_format)
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    descent = Descent(model, RECIPES["fast"], precision, 10)
    image, label = torch.randn(1, 3, *size, device=device), torch.zeros(1, *size, dtype=torch.long, device=device)
    values, seconds = [], []
    for _ in range(3):
        begun = time.perf_counter()
        loss, _ = learn(model, descent, [(image, label)], F.cross_entropy)
        values.append(loss.item())  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    place.expect(bool(np.isfinite(values).all()), f"{precision.name}: losses {values}")
    return {"first step, s": seconds[0], "later step, s": min(seconds[1:]), "loss, first": values[0], "loss, last": values[-1],
            "peak, MiB": torch.cuda.max_memory_allocated() / MIB if gpu else 0.0}  # fmt: skip


def killed_and_resumed(place: Place) -> None:
    out = place.work / "fast"
    shutil.rmtree(out, ignore_errors=True)
    for number, expected in enumerate((-signal.SIGKILL, 0)):
        begun = time.perf_counter()
        ended = subprocess.run(_child(place, "epochs"), check=False)
        place.tell(**{("killed", "resumed")[number]: {"exit": ended.returncode, "seconds": time.perf_counter() - begun}})
        place.expect(ended.returncode == expected, f"expected exit code {expected}, but got {ended.returncode}")
    history = json.loads((out / "history.json").read_text(encoding="utf-8"))["epochs"]
    place.tell(epochs=[record["epoch"] for record in history], mean_iou=[record["mean_iou"] for record in history],
               seconds=[record["seconds"] for record in history])  # fmt: skip
    place.expect([record["epoch"] for record in history] == [0, 1, 2], "not two epochs")


def _child(place: Place, name: str) -> list[str]:
    """Command of a further process of this step."""
    command = [sys.executable, str(ROOT / "benchmarks" / "first_gpu.py"), "--child", name, "--out", str(place.out), "--data", place.data]
    return [*command, "--device", place.device.type, *(["--tiny"] if place.tiny else [])]


def epochs(place: Place) -> None:
    """Two epochs of ``fast``; the first time the process kills itself after the first."""
    out = place.work / "fast"
    again = (out / "resume.pt").exists()
    root, size = find_root(place.data), 4 if place.tiny else None
    split = "sample" if place.data == "sample" else "base"
    sets = [FacadeDataset(root, names=split_names(split, part)[:size], read_label=read_label) for part in ("train", "val")]
    config = TrainConfig(**{**vars(RECIPES["fast"]), "epochs": 2, **({"crop": 64, "batch_size": 2} if place.tiny else {})})

    def after(done: Any) -> None:
        if done.epoch == 1 and not again:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.manual_seed(0)
    model = network(16) if place.tiny else model_class("fcn8s")()
    fit(model, *sets, config=config, out=out, confusion_matrix=confusion_matrix, scores=scores, progress=False, resume=True,
        resume_every=0.0, after_epoch=after, device=place.device)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------ gates
CHECK, JUDGES = "fcn8s.miou", ("judge-0", "judge-1")


def submission(place: Place) -> Path:
    """The solved notebooks with untrained networks, or the FCN-8s that an earlier step trained."""
    from gate import write_submission

    folder = place.work / "submission"
    if not (folder / "checkpoints" / "fcn8s.safetensors").exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_submission(folder, None)
        trained = place.work / "fast" / "best.safetensors"
        if trained.exists() and not place.tiny:
            shutil.copyfile(trained, folder / "checkpoints" / "fcn8s.safetensors")
    return folder


def graded(place: Place, name: str, device: str, precision: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Grade the gate of FCN-8s with nothing kept from before; its verdict, and the first label maps that were asked for."""
    out = place.work / name
    shutil.rmtree(out, ignore_errors=True)
    settings = Settings("fcn", out, place.data, secret="a first gate", device=device, only=(CHECK,), precision=precision)
    begun = time.perf_counter()
    with Run.create(settings) as run:
        if place.tiny and run.data is not None:
            run.data.names = run.data.names[:1]
        result = grade_path(run, submission(place), name)
    verdict = result["checks"][0]
    kept = sorted((out / ".gates").glob("gate-*.npz"), key=lambda path: path.stat().st_mtime)
    maps = {}
    if kept:
        with np.load(kept[0]) as arrays:
            maps = {name: arrays[name] for name in arrays.files if arrays[name].dtype == np.uint8}
    return {"status": verdict["status"], "points": verdict["points"], "cause": verdict["cause"], "message": verdict["message"],
            "seconds": time.perf_counter() - begun, "measured": verdict.get("measured"), "notes": result["notes"],
            "asked": len(kept)}, maps  # fmt: skip


def real_gate(place: Place) -> None:
    expected: dict[str, np.ndarray] = {}
    points = []
    ways = [("cpu", "float32"), *([("cuda", "float32"), ("cuda", "bfloat16")] if place.gpu else [])]  # a rehearsal needs one
    for device, precision in ways:
        facts, maps = graded(place, f"gate-{device}-{precision}", device, precision)
        expected = expected or maps
        if maps and expected:
            facts["pixels labelled as on the CPU in float32"] = statistics.mean(float((maps[n] == expected[n]).mean()) for n in expected)
        place.tell(**{f"{device} {precision}": facts})
        points.append(facts["points"])
    place.expect(None not in points and len(set(points)) == 1, f"points {points}")
    begun = time.perf_counter()
    judges = [subprocess.Popen(_child(place, name)) for name in JUDGES]
    codes = [judge.wait() for judge in judges]
    files = [place.out / f"{name}.json" for name in JUDGES]
    found = [json.loads(path.read_text(encoding="utf-8"))["points"] for path in files if path.exists()]
    place.tell(**{"two judges at once": {"exit": codes, "points": found, "seconds": time.perf_counter() - begun}})
    place.expect(codes == [0, 0] and found == points[:1] * 2, "two judges at once do not agree")


def judge(place: Place) -> None:
    """One of two judges at once."""
    facts, _ = graded(place, place.name, place.device.type, "float32")
    place.tell(**facts)


def crowded_gate(place: Place) -> None:
    held = []
    if place.gpu:
        torch.zeros(1, device=place.device)
        for block in (2**30, 2**26):
            while torch.cuda.mem_get_info()[0] > block + 2**28:
                held.append(torch.empty(block, dtype=torch.uint8, device=place.device))
        place.tell(free_mib=torch.cuda.mem_get_info()[0] // MIB)
    facts, _ = graded(place, "gate-crowded", place.device.type, "float32")
    place.tell(gate=facts, held_blocks=len(held))
    place.expect(not place.gpu or facts["cause"] == "grader.memory", f"expected the cause grader.memory, but got {facts['cause']}")


def all_benchmarks(place: Place) -> None:
    data = [] if place.data == "sample" else ["--data", place.data]
    small = ["--small"] if place.tiny else []
    ways: dict[str, Sequence[str]] = {
        "loading": [], "gate": ["--rounds", "1", "--precision", "bfloat16"] if place.gpu else [], "evaluation": ["--rounds", "2"],
        "training": ["--rounds", "1", "--images", "24"],
    }  # fmt: skip
    for name, options in list(ways.items())[: 1 if place.tiny else None]:
        result = place.out / f"benchmark-{name}.json"
        command = [sys.executable, f"benchmarks/{name}.py", *data, *small, *options, "--out", str(result)]
        try:
            ended = subprocess.run(command, cwd=ROOT, check=False, timeout=max(5.0, place.until - time.monotonic() - 2)).returncode
        except subprocess.TimeoutExpired:
            ended = None
        place.tell(**{name: json.loads(result.read_text(encoding="utf-8")) if result.exists() else f"ended with {ended}"})
        place.expect(result.exists(), f"{name} has no result")


STEPS: dict[str, Callable[[Place], None]] = {
    "here": what_is_there, "walls": behind_walls, "worker": sealed_worker, "tests": gpu_tests, "step": one_step,
    "resumed": killed_and_resumed, "gate": real_gate, "crowded": crowded_gate, "benchmarks": all_benchmarks,
    "epochs": epochs, **dict.fromkeys(JUDGES, judge),
}  # fmt: skip
"""Name -> what runs; the last are further processes of ``resumed`` and ``gate``."""
