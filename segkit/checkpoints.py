"""Saving and loading the weights of a network.

A checkpoint is a *state dict*: tensors by name. It is written by value, in one step, and read back as
plain tensors (:mod:`segkit.state_files`); a class is never stored with it.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segkit.atomic import replacing
from segkit.state_files import (
    MAX_BYTES,
    CheckpointError,
    listed,
    plain_names,
    read_state_dict,
    tensors_only,
)

__all__ = ["MAX_BYTES", "CheckpointError", "load_checkpoint", "read_state_dict", "save_checkpoint"]


def save_checkpoint(path: str | Path, model: nn.Module | Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Path:
    """Write the weights of a network to ``path``, by value and in one step.

    A file that is already there stays whole until the new one is complete, also when the process is
    killed or the disk is full.

    Args:
        path: ``*.safetensors`` (recommended), or ``*.pth`` / ``*.pt`` for ``torch.save``'s format.
        model: a network, or its state dict.
        dtype: what floating-point tensors are converted to (``torch.float16`` halves the file);
            None keeps each tensor as it is.

    Returns:
        The path written.

    Raises:
        CheckpointError: unknown file ending, or an entry that is not a tensor.
        DiskFullError: no space left; the old file is untouched.
    """
    path = Path(path)
    if path.suffix not in {".safetensors", ".pth", ".pt"}:
        raise CheckpointError(f"{path}: expected a name ending in .safetensors, .pth or .pt.")
    state = model.state_dict() if isinstance(model, nn.Module) else model
    state = _own_copies(plain_names(path, tensors_only(path, state)), dtype)
    with replacing(path) as partial:
        if path.suffix == ".safetensors":
            save_file(state, partial)
        else:
            with open(partial, "wb") as file:
                torch.save(state, file)
    return path


def _own_copies(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """CPU tensors, contiguous, no two of them over the same memory (safetensors refuses shared ones)."""
    copies: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in state.items():
        value = value.detach().cpu()
        if dtype is not None and value.is_floating_point():
            value = value.to(dtype)
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.numel() * value.element_size():
            value = value.clone()
        copies[name] = value.contiguous()
        seen.add(copies[name].untyped_storage().data_ptr())
    return copies


def load_checkpoint(model: nn.Module, path: str | Path, *, max_bytes: int = MAX_BYTES, unused: list[str] | None = None) -> nn.Module:
    """Copy a checkpoint into a network; every name and shape must agree.

    If the saved network was inside a wrapper (``model.conv1_1.weight``, with the loss's own weights beside it), the prefix is
    removed, or added; if a layer has two names in the network, one of them in the file is enough. Half-precision weights are
    converted to the network's own type. A network built on the meta device takes over the tensors of the file instead of
    copying them.

    Args:
        model: the network to fill.
        path: see :func:`read_state_dict`.
        max_bytes: see :func:`read_state_dict`.
        unused: receives the names of tensors that the network does not have; None refuses such a file.

    Returns:
        ``model``, for use in one line.

    Raises:
        CheckpointError: unreadable file; names or shapes that differ, all of them listed; NaN in weights.
            The network is then unchanged.
    """
    own = model.state_dict()
    state = _with_aliases(model, _under_own_names(own, read_state_dict(path, max_bytes=max_bytes)))
    faults = _mismatches(own, state)
    if unused is not None and faults and all(fault.startswith("unexpected") for fault in faults):
        unused += [name for name in state if name not in own]
        state, faults = {name: state[name] for name in own}, []
    if faults:
        text = "\n".join(f"  {fault}" for fault in faults)
        advice = "Load it into the class that it was saved from, with the same layer names and number of classes."
        if _narrower(own, state):
            advice = "Its layers are narrower throughout: is it of a quick run, whose network was made light? Train the whole one."
        raise CheckpointError(f"{path} does not fit {type(model).__name__}:\n{text}\n{advice}")
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"{path}: NaN or infinite weights in {listed(broken)}. The training diverged; use an earlier "
            "checkpoint, or train again with a smaller learning rate."
        )
    on_meta = any(value.is_meta for value in own.values())
    if on_meta:
        state = {name: value.to(own[name].dtype) for name, value in state.items()}
    model.load_state_dict(state, **({"assign": True} if on_meta else {}))  # a class's own version may lack the argument
    return model


def _under_own_names(own: Mapping[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a file the network's names, if the names differ only by a wrapper."""
    if own.keys() == state.keys():
        return state
    plain, theirs = {_unwrapped(name): name for name in own}, {_unwrapped(name): value for name, value in state.items()}
    if len(plain) < len(own) or len(theirs) < len(state):
        return state
    fitting = len(plain.keys() & theirs.keys())
    longer = Counter(key[: -len(name)] for name in plain for key in theirs if key.endswith(f".{name}")).most_common(1)
    shorter = Counter(name[: -len(key)] for name in plain for key in theirs if name.endswith(f".{key}")).most_common(1)
    if longer and longer[0][1] > fitting:
        prefix = longer[0][0]
        theirs = {key.removeprefix(prefix): value for key, value in theirs.items() if key.startswith(prefix)}
    elif shorter and shorter[0][1] > fitting:
        theirs = {shorter[0][0] + key: value for key, value in theirs.items()}
    return {plain.get(key, key): value for key, value in theirs.items()}


def _unwrapped(name: str) -> str:
    """A name without what DataParallel and torch.compile put into it, wherever they were wrapped around a part."""
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def _with_aliases(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a parameter that the network knows by two names its value under both."""
    named = [*nn.Module.named_parameters(model, remove_duplicate=False), *nn.Module.named_buffers(model, remove_duplicate=False)]
    names: dict[int, list[str]] = {}
    for name, value in named:
        names.setdefault(id(value), []).append(name)
    there = {name: group[0] for same in names.values() if (group := [n for n in same if n in state]) for name in same}
    return state | {name: state[kept] for name, kept in there.items() if name not in state}


def _narrower(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether most tensors are there, with fewer channels."""
    pairs = [(own[name].shape, state[name].shape) for name in own if name in state and own[name].shape != state[name].shape]
    smaller = [one for one, other in pairs if len(one) == len(other) and all(a >= b for a, b in zip(one, other, strict=True))]
    return 2 * len(smaller) > len(own)


def _mismatches(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shared = [name for name in own if name in state]
    shapes = [
        f"{name} expected {tuple(own[name].shape)}, found {tuple(state[name].shape)}"
        for name in shared
        if own[name].shape != state[name].shape
    ]
    types = [
        f"{name} expected {own[name].dtype}, found {state[name].dtype}"
        for name in shared
        if own[name].is_floating_point() != state[name].is_floating_point()
    ]
    groups = {"missing": missing, "unexpected": unexpected, "wrong shape": shapes, "wrong type": types}
    return [f"{title} ({len(names)}): {listed(names)}" for title, names in groups.items() if names]
