"""How long a class's gates take: ``python benchmarks/gate.py --data CMP_ROOT [--small]`` (a GPU if there is one; else minutes to an hour).

A submission with both networks is graded as any other, its mIoU gates only, one after the other and nothing taken from an
earlier one. Printed are submissions a minute, seconds of each gate and what they went to: starting the worker behind its wall
(which imports torch), building the network and loading its checkpoint (on a GPU, CUDA's start too), predicting, and counting;
the rest is reading files, waiting for the GPU, and its memory's return. Then the FLOP of both networks over the very test list,
counted by torch on tensors without content, against the rate of large matrix products. Prints tables, writes JSON.

Without ``--checkpoints`` the networks are untrained: as slow as trained ones.

``--jobs N`` grades a class instead, gates only, as ``grade --jobs N`` does: judges are processes, and while one of them measures
on the GPU, which is always one, the others start workers, read and count. The time is that of the whole command, judges' start
and class pages included; it is the shorter per submission the more there are.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from grading import write_class
from limits import machine, matmul_rate, print_table, write_json
from networks import image_flop

from autograder.batch import grade_many
from autograder.exam.building import solved_notebooks, write_notebooks
from autograder.judge import gates
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from autograder.sandbox.client import WorkerSettings
from autograder.segmentation import gate
from segkit.checkpoints import save_checkpoint
from segkit.reference import FCN8s, FCN32s

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = {"pretraining.miou": ("fcn32s", FCN32s), "fcn8s.miou": ("fcn8s", FCN8s)}
STEPS = {  # what is timed: where its function stands, and its name
    "starting the worker": (gates, "_start"), "loading the network": (gates, "_load_judges"), "predicting": (gates, "ask_all"),
    "counting": (gate, "_count"),
}  # fmt: skip


def write_submission(folder: Path, checkpoints: Path | None) -> Path:
    """The solved notebooks, and checkpoints: the given ones, or untrained networks in 16 bits."""
    folder.mkdir()
    write_notebooks(solved_notebooks(ROOT / "notebooks" / "fcn"), folder)
    write_checkpoints(folder, checkpoints)
    return folder


def write_checkpoints(folder: Path, checkpoints: Path | None) -> None:
    (folder / "checkpoints").mkdir()
    for name, network in NETWORKS.values():
        target = folder / "checkpoints" / f"{name}.safetensors"
        if checkpoints is not None:
            shutil.copyfile(checkpoints / target.name, target)
        else:
            torch.manual_seed(0)
            save_checkpoint(target, network(), dtype=torch.float16)


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add up in ``seconds`` what each of STEPS takes within the context."""

    def watched(step: str, function: Callable) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - begun

        return call

    patches = [mock.patch.object(module, name, watched(step, getattr(module, name))) for step, (module, name) in STEPS.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def grade_once(options: argparse.Namespace, submission: Path, folder: Path, check: str) -> tuple[dict[str, float], dict]:
    """Grade one gate with nothing kept from before; returns seconds of its steps and of it all, and the result."""
    shutil.rmtree(folder, ignore_errors=True)
    seconds: dict[str, float] = {}
    settings = Settings("fcn", folder, options.data, secret="how fast is a gate", device=options.device, only=(check,),
                        precision=options.precision)  # fmt: skip
    with Run.create(settings) as run:
        if run.data is None:
            raise SystemExit(f"No pictures: {run.data_problem}")
        run.data.names = run.data.names[: options.images]
        begun = time.perf_counter()
        with timed(seconds):
            result = grade_path(run, submission, "measured")
        whole = time.perf_counter() - begun
    verdict = result["checks"][0]
    if verdict["points"] is None:
        raise SystemExit(f"{check} could not be graded: {verdict['message']}")
    return {**{step: seconds.get(step, 0.0) for step in STEPS}, "whole": whole}, result


def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Check -> the steps' seconds in each round; and what the last round's results say of themselves."""
    submission = write_submission(folder / "submission", options.checkpoints)
    rounds: dict[str, list[dict[str, float]]] = {check: [] for check in NETWORKS}
    notes: list[str] = []
    for number in range(options.rounds + (0 if options.small else 1)):  # the first fills the system's cache of files
        notes = []
        for check in NETWORKS:
            seconds, result = grade_once(options, submission, folder / "out", check)
            notes += result["notes"]
            if options.small or number > 0:
                rounds[check].append(seconds)
    return rounds, notes


def grade_class(options: argparse.Namespace, folder: Path) -> tuple[float, list[dict], list[str]]:
    """Grade copies of one submission side by side; returns seconds of it all, the results, and what the grader said."""
    paths, said = write_class(folder / "class", options.submissions), []  # copies differ in their text: none is spared its gates
    for number, path in enumerate(paths):
        write_checkpoints(path, options.checkpoints if number == 0 else paths[0] / "checkpoints")
    settings = Settings("fcn", folder / "out", options.data, secret="how fast are gates", device=options.device,
                        only=tuple(NETWORKS), precision=options.precision)  # fmt: skip
    begun = time.perf_counter()
    results = grade_many(paths, settings, options.jobs, said.append)
    seconds = time.perf_counter() - begun
    for result in results:
        for verdict in result["checks"]:
            if verdict["points"] is None:
                raise SystemExit(f"{result['submission']}: {verdict['id']} could not be graded: {verdict['message']}")
    return seconds, results, said


def report_class(options: argparse.Namespace, sizes: list, seconds: float, results: list[dict], said: list[str]) -> None:
    """Table and JSON of a class."""
    device = device_of(options)
    rate, alone = 60 * len(results) / seconds, statistics.median(result["seconds"] for result in results)
    for words in said:
        print(words)
    print_table(
        f"gates of a class on {machine(device)['gpu'] or 'the CPU'}, {len(sizes)} pictures, {options.jobs} judges asked for",
        ("what", "value"), [
            ("submissions", len(results)), ("seconds, all", seconds), ("submissions a minute, both gates", rate),
            ("seconds of one submission from its beginning to its end, waiting included, median", alone),
        ],
    )  # fmt: skip
    for note in results[-1]["notes"]:
        print(note)
    write_json(options.out, {
        "machine": machine(device), "data": options.data, "images": len(sizes), "precision": options.precision,
        "trained": options.checkpoints is not None, "jobs": options.jobs, "submissions": len(results), "seconds": seconds,
        "submissions_per_minute": rate, "seconds_of_a_submission": alone, "said": said, "notes": results[-1]["notes"],
    })  # fmt: skip


def sizes_of_pictures(options: argparse.Namespace) -> list[tuple[int, int]]:
    """(H, W) of the pictures that gates are measured on."""
    with tempfile.TemporaryDirectory() as out, Run.open(Settings("fcn", Path(out), options.data, secret="sizes", device="cpu")) as run:
        return [run.data.size(name) for name in run.data.names[: options.images]]


def device_of(options: argparse.Namespace) -> torch.device:
    """What gates are measured on."""
    return torch.device("cpu" if options.device == "cpu" or not torch.cuda.is_available() else "cuda")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, help="[default: build/benchmarks/gate.json, with --jobs gate_jobs.json]")
    parser.add_argument("--images", type=int, help="of the test list  [default: all]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="of gates, where the device has it")
    parser.add_argument("--checkpoints", type=Path, help="folder with fcn32s.safetensors and fcn8s.safetensors  [default: untrained]")
    parser.add_argument("--jobs", type=int, metavar="N", help="grade a class, so many side by side  [default: one gate, step by step]")
    parser.add_argument("--submissions", type=int, metavar="N", help="of the class  [default: four for each of --jobs]")
    parser.add_argument("--small", action="store_true", help="two of the sample's pictures (a class: all four), once, on the CPU")
    options = parser.parse_args()
    if options.small:
        options.data, options.rounds, options.device = "sample", 1, "cpu"
        options.images = 2 if options.jobs is None else None
    options.out = options.out or ROOT / "build" / "benchmarks" / ("gate.json" if options.jobs is None else "gate_jobs.json")
    options.submissions = options.submissions if options.submissions is not None else 4 * (options.jobs or 1)
    for name in ("rounds", "jobs", "submissions"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"argument --{name}: expected 1 or more, but got {value}")
    if options.jobs is not None and options.images is not None:
        parser.error("argument --images: a class is graded on all pictures of its list, so leave --jobs or --images out")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: PyTorch finds no CUDA GPU here")
    sizes = sizes_of_pictures(options)
    with tempfile.TemporaryDirectory() as folder:
        if options.jobs is not None:
            report_class(options, sizes, *grade_class(options, Path(folder)))
            return
        rounds, notes = measure(options, Path(folder))
    report(options, sizes, rounds, notes)


def report(options: argparse.Namespace, sizes: list[tuple[int, int]], rounds: dict[str, list[dict[str, float]]], notes: list[str]) -> None:
    """Tables and JSON."""
    device = device_of(options)
    middle = {check: {name: statistics.median(r[name] for r in found) for name in found[0]} for check, found in rounds.items()}
    flops = {check: sum(map(image_flop(name, 1, training=False), sizes)) for check, (name, _) in NETWORKS.items()}
    torch.set_num_threads(WorkerSettings.predict_threads)  # as many as a CPU's worker predicts with
    rate = matmul_rate(device, getattr(torch, options.precision), 8192 if device.type == "cuda" else 1024)
    both = sum(found["whole"] for found in middle.values())
    shares = {check: {step: found[step] / found["whole"] for step in STEPS} for check, found in middle.items()}
    for share in shares.values():
        share["the rest"] = 1 - sum(share.values())
    print_table(
        f"gates of one submission on {machine(device)['gpu'] or 'the CPU'}, {len(sizes)} pictures, median of {options.rounds}",
        ("gate", "seconds", *(f"{step}, %" for step in [*STEPS, "the rest"])),
        [(check, found["whole"], *(100 * share for share in shares[check].values())) for check, found in middle.items()],
    )  # fmt: skip
    for note in notes:
        print(note)
    print_table("what they compute", ("what", "value"), [
        ("submissions a minute, both gates, one after the other", 60 / both),
        *((f"PFLOP of {NETWORKS[check][0]} over these pictures", count / 1e15) for check, count in flops.items()),
        *((f"TFLOP/s of {NETWORKS[check][0]} while predicting", count / middle[check]["predicting"] / 1e12)
          for check, count in flops.items()),
        (f"matrix products in {options.precision}, TFLOP/s", rate / 1e12),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(device), "data": options.data, "images": len(sizes), "precision": options.precision,
        "trained": options.checkpoints is not None, "rounds": rounds, "seconds": middle, "shares": shares,
        "submissions_per_minute": 60 / both, "flop": flops, "matmul_flop_per_second": rate, "notes": notes,
    })  # fmt: skip


if __name__ == "__main__":
    main()
