"""The file from which a killed training run continues: write it, read it, refuse that of another run."""

import os
import pickle
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.atomic import replacing
from segkit.training.recipes import TrainConfig

__all__ = ["FREE", "TrainingError", "capture", "demand_same_run", "read_resume", "restore", "save_resume"]

SCHEMA = "segkit-resume/1"

FREE = {"device", "computed_in", "workers", "cache", "read_every", "stop_after"}
"""Settings that may change when a run is resumed: they decide where it computes and when it ends, not the result."""


class TrainingError(RuntimeError):
    """A training run cannot start or go on; the text says why and what to do."""


def capture(model: nn.Module, device: torch.device) -> dict[str, Any]:
    """Weights and the random generators of where it trains; what else decides how the run goes on is added by the caller."""
    return {
        "schema": SCHEMA,
        "model": model.state_dict(),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state(_gpu(device)) if torch.cuda.is_available() else None,
        "rng_mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore(state: dict[str, Any], model: nn.Module, device: torch.device) -> None:
    """Restore what :func:`capture` took; generators of devices that this machine lacks are left out."""
    model.load_state_dict(state["model"])
    torch.set_rng_state(state["rng"])
    if state["rng_cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["rng_cuda"], _gpu(device))
    if state.get("rng_mps") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["rng_mps"])


def _gpu(device: torch.device) -> torch.device:
    return device if device.type == "cuda" else torch.device("cuda")  # else the one that torch takes by itself


def save_resume(path: Path, state: dict[str, Any], just_before: Callable[[], None] | None = None) -> None:
    """Write the file in one step: a kill during the writing leaves the previous file.

    Args:
        path: of the file.
        state: its content.
        just_before: called when the new file is complete but not yet in place, to write what belongs with it; a full disk
            leaves both as they were.
    """
    with replacing(path) as partial:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # takes seconds, which must not pass between the two files
        if just_before is not None:
            just_before()


def read_resume(path: Path) -> dict[str, Any]:
    """Read the file.

    Raises:
        TrainingError: it is damaged, or something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} cannot be read ({str(error).splitlines()[0][:120] if str(error) else type(error).__name__}). "
            "It was damaged after it was written; best.safetensors and history.json beside it are not "
            "affected. Start again in another folder, or with overwrite."
        ) from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise TrainingError(f"{path}: expected a file of schema {SCHEMA!r}, found something else.")
    return state


def demand_same_run(path: Path, state: dict[str, Any], description: dict[str, Any], model: nn.Module) -> None:
    """Refuse to go on with a run of other settings, network or images; nothing is overwritten.

    More epochs are allowed where the schedule does not depend on their number.

    Raises:
        TrainingError: with every field that differs.
    """
    there = {item.name: item.default for item in fields(TrainConfig)} | state["description"]  # older files know fewer settings
    free = FREE | ({"epochs"} if description["schedule"] == "plateau" == there.get("schedule") else set())
    faults = [
        f"  {name}: the run there has {there.get(name)!r}, now {value!r} is asked for"
        for name, value in description.items()
        if name not in free and there.get(name) != value
    ]
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in state["model"].items()}
    differing = [name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name)]
    if differing:
        faults.append(f"  layers that differ in name or shape: {', '.join(sorted(differing)[:6])}")
    if faults:
        raise TrainingError(
            f"{path.parent} holds a run with other settings; nothing was changed.\n"
            + "\n".join(faults)
            + "\nResume with the same settings, or train in another folder."
        )
