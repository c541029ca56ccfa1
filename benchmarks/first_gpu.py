"""The first minutes on a machine with one GPU: ``python benchmarks/first_gpu.py [--data CMP_ROOT]`` (nine minutes; no network needed).

Tries in turn what the kit claims of GPUs: CUDA behind each wall (and which part of a wall is in the way), a worker, the tests
marked ``gpu``, a step of training in each format, two epochs that are killed and resumed, a gate against the CPU's, a gate
without room, the benchmarks. Each step runs in a process of its own under a time limit; after a failure the next one begins.
Checkpoints are made on the spot. Writes a JSON file per step, their output, ``results.json`` and ``page.md``, after every step.

``--wheels FOLDER`` first installs the wheels in it, without a network, into the Python that runs: for bare machines.
``--train`` trains instead: pretraining on the training pictures, then FCN-8s, as many epochs as ``--minutes`` hold; then the
test list. ``--device cpu --tiny`` rehearses all of it on a machine without a GPU.
"""

import argparse
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
sys.path.insert(0, str(ROOT))


def run_step(command: list[str], log: Path, seconds: float) -> tuple[str, float]:
    """Run a command at most so long; returns how it ended, and its seconds."""
    begun = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(timeout=seconds)
            ended = "done" if code == 0 else f"failed (exit code {code})"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return ended, time.monotonic() - begun


def install(wheels: Path) -> str:
    """Install into this Python, without a network, those wheels whose packages it lacks; returns what went wrong, or nothing."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        return f"{wheels} holds no wheels"
    there = {found.name.lower().replace("-", "_") for found in importlib.metadata.distributions() if found.name}
    files = [path for path in files if path.name.partition("-")[0].lower() not in there]
    if not files:
        return ""
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", *map(str, files)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PIP_BREAK_SYSTEM_PACKAGES": "1"}, check=False)
    return "" if ended.returncode == 0 else ended.stderr.strip()[-500:]


def page(results: dict) -> str:
    """All results as Markdown."""
    lines = ["# First minutes on a GPU", "", "| step | ended | seconds | not as expected |", "| --- | --- | --- | --- |"]
    for step in results["steps"]:
        wrong = "; ".join(step["facts"].get("wrong", [])).replace("|", "/").replace("\n", " ")
        lines.append(f"| {step['title']} | {step['ended']} | {step['seconds']:.0f} | {wrong} |")
    for step in results["steps"]:
        lines += ["", f"## {step['title']}", ""]
        lines += [f"- {name}: {json.dumps(value, default=str)[:1500]}" for name, value in step["facts"].items()]
        if step["ended"] != "done":
            lines += ["", "```", step["tail"], "```"]
    return "\n".join([*lines, ""])


def tail(log: Path) -> str:
    return log.read_bytes()[-3000:].decode("utf-8", "replace").strip() if log.exists() else ""


def facts_of(out: Path, name: str) -> dict:
    try:
        return json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run_all(options: argparse.Namespace) -> int:
    """All steps, one after the other; returns the exit code."""
    steps = {"train": ("Pretraining and FCN-8s", 60 * options.minutes)} if options.train else TITLES
    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict = {"device": options.device, "tiny": options.tiny, "data": options.data, "steps": []}
    for name, (title, seconds) in steps.items():
        if options.only and name not in options.only:
            continue
        (options.out / f"{name}.json").unlink(missing_ok=True)
        limit, log = min(seconds * (PATIENCE if options.tiny else 1), end - time.monotonic() - 2), options.out / f"{name}.txt"
        ended, took = "left out: no time", 0.0
        if limit > 5:
            print(f"{title} (at most {limit:.0f} s) ...", flush=True)
            ended, took = run_step(_command(options, name, limit), log, limit)
        facts = facts_of(options.out, name)
        ended = "done, not as expected" if ended == "done" and facts.get("wrong") else ended
        print(f"  {ended}, {took:.0f} s {'; '.join(facts.get('wrong', []))}", flush=True)
        results["steps"].append({"name": name, "title": title, "ended": ended, "seconds": took, "facts": facts, "tail": tail(log)})
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (options.out / "page.md").write_text(page(results), encoding="utf-8")
    print(f"written: {options.out / 'page.md'}")
    return int(any(step["ended"] != "done" for step in results["steps"]))


def _command(options: argparse.Namespace, name: str, seconds: float) -> list[str]:
    return [sys.executable, __file__, "--child", name, "--out", str(options.out), "--device", options.device, "--data", options.data,
            "--seconds", str(seconds), *(["--tiny"] if options.tiny else [])]  # fmt: skip


def child(options: argparse.Namespace) -> None:
    """One step, in this process."""
    import torch
    from first_steps import STEPS, Place
    from first_training import train

    place = Place(options.out, torch.device(options.device), options.tiny, options.data, options.child, time.monotonic() + options.seconds)
    (STEPS | {"train": train})[options.child](place)


TITLES = {
    "here": ("What is there", 30), "walls": ("CUDA behind each wall", 75), "worker": ("A worker: its start, and the GPU's memory", 45),
    "tests": ("The tests that need a GPU", 90), "step": ("One step of training in each format", 45),
    "resumed": ("Two epochs of `fast`, killed and resumed", 60),
    "gate": ("A gate in both formats, against the CPU's; two judges at once", 90),
    "crowded": ("A gate whose GPU another program has taken", 30), "benchmarks": ("The benchmarks", 240),
}  # fmt: skip
"""Step -> title, seconds at most. Kept here: what steps import may be missing, and each step then says so by itself."""
PATIENCE = 6  # a rehearsal is not in a hurry


def gpu_trouble() -> str:
    """Why nothing can be tried on a GPU here; empty where there is one."""
    try:
        import torch
    except ImportError as error:
        return f"PyTorch cannot be imported: {error}."
    if torch.cuda.is_available():
        return ""
    nodes = sorted(map(str, Path("/dev").glob("nvidia*")))
    return f"PyTorch {torch.__version__} finds no CUDA GPU here" + (f", although there are {', '.join(nodes)}." if nodes else ".")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "first_gpu", help="[default: build/first_gpu]")
    parser.add_argument("--minutes", type=float, help="for everything  [default: 9, with --train 8]")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), metavar="STEP", help=f"of: {', '.join(TITLES)}")
    parser.add_argument("--train", action="store_true", help="train instead, as many epochs as there is time for")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="install the wheels in it first")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="as small as it can be: a rehearsal")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=600.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.minutes = options.minutes or (8.0 if options.train else 9.0) * (PATIENCE if options.tiny else 1)
    if options.child:
        child(options)
        return
    if options.device == "cpu" and not options.tiny:
        parser.error("argument --device: on a CPU there is a rehearsal only, so give --tiny too")
    if options.device == "cuda" and (trouble := gpu_trouble()):
        raise SystemExit(f"{trouble} Nothing was tried. To rehearse without one: python benchmarks/first_gpu.py --device cpu --tiny")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the step is ended too
    if options.wheels and (trouble := install(options.wheels)):
        print(f"The wheels were not installed: {trouble}\nGoing on with what is there.")
    raise SystemExit(run_all(options))


if __name__ == "__main__":
    main()
