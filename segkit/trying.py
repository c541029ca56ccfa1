"""Try whether a checkpoint fits into the class it was saved from, in a process of its own that may be ended.

The class is the student's: building it may loop, leave the program, or use up the memory, and handing in must come to its end.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segkit.notebooks import Program, Unrunnable, execute

__all__ = ["SECONDS", "attempt", "try_checkpoint"]

SECONDS = 180.0
"""How long building and filling a network may take, the import of torch on a slow disk included."""


def try_checkpoint(program: Program, path: Path, seconds: float = SECONDS) -> tuple[str, str]:
    """Build a class in another process, and load a checkpoint into it.

    Args:
        program: Code of the class.
        path: The checkpoint.
        seconds: When the process is ended.

    Returns:
        What is at fault and why: ``("", "")`` if nothing is, else ``"checkpoint"`` or ``"class"`` and a text for the student.
    """
    paths = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="segkit-try-") as folder:
        request, reply = Path(folder) / "request.json", Path(folder) / "reply.json"
        request.write_text(json.dumps({"program": program.to_json(), "path": str(path.resolve())}), encoding="utf-8")
        try:
            code = subprocess.run(
                [sys.executable, "-m", "segkit.trying", str(request), str(reply)], timeout=seconds, env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return "class", (
                f"{program.name}() in {program.where} was not built within {seconds:.0f} s. The grader does not wait longer either: the "
                "constructor must only make the layers. Look there for an endless loop, training, or a download."
            )
        try:
            fault, text = json.loads(reply.read_text(encoding="utf-8"))
            return fault, text
        except (OSError, ValueError):
            return "class", (
                f"building {program.name}() in {program.where} ended the whole program (exit code {code}). Look there for exit(), or for "
                "layers so large that the memory was not enough."
            )


def attempt(program: Program, path: Path) -> tuple[str, str]:
    """Do in this process what ``try_checkpoint`` does in another."""
    from segkit.checkpoints import CheckpointError, load_checkpoint

    try:
        network = execute(program)[program.name]
        load_checkpoint(_without_memory(network), path)
    except CheckpointError as error:
        return "checkpoint", str(error)
    except Unrunnable as error:
        return "class", f"{program.name} cannot be run: {error}"
    except Exception as error:  # whatever the student's own code raises
        return "class", f"{program.name}() in {program.where} raises {type(error).__name__}: {error}"
    return "", ""


def _without_memory(network: Callable[[], Any]) -> Any:
    """Build a network on the meta device; where its initialisation needs real numbers, build it for real."""
    import torch

    try:
        with torch.device("meta"):
            return network()
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        return network()


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = attempt(Program.from_json(asked["program"]), Path(asked["path"]))
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
