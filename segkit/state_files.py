"""Read a checkpoint file into tensors by name, without running any code from the file.

Two kinds of file are read, told apart by their contents and not by their name: safetensors, and what
``torch.save`` writes. The second is a pickle, and a pickle can run any program when it is opened; it is
therefore read with ``weights_only=True``, which knows tensors, numbers, strings and containers only. Objects of any
other class (a NumPy number, a Namespace, a Path beside the weights) become empty stand-ins: nothing of their code runs.
"""

import pickle
import pickletools
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["MAX_BYTES", "CheckpointError", "listed", "plain_names", "read_state_dict", "tensors_only"]

MAX_BYTES = 2 * 2**30
"""Largest checkpoint read by default: FCN32s with Adam's two moments in one .pth file is 1.5 GiB."""

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which people commonly store the state dict beside epoch, optimizer and so on; or the only key with weights."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""

_ADVICE = "Save it again with save_checkpoint(path, model) or torch.save(model.state_dict(), path)."


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the text says which file, what was expected and found, and what to do."""


def read_state_dict(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by name, onto the CPU.

    Accepted are a plain state dict, or one under ``model``, ``state_dict``, ``model_state_dict`` or the only other key
    that holds tensors, in any floating-point type; other entries are ignored. The name prefixes
    ``module.`` and ``_orig_mod.`` are dropped. The file is mapped into memory, so 513 MiB of weights are not held twice
    while they are copied into a network.

    Args:
        path: a safetensors file or one written by ``torch.save``.
        max_bytes: files, and tensors, of more bytes than this are refused unread.

    Returns:
        Tensors by flat name, each in the type in which it was stored.

    Raises:
        CheckpointError: missing, truncated, too large, not a checkpoint, or holding more than tensors.
    """
    path = Path(path)
    _check_file(path, max_bytes)
    state = _read_safetensors(path) if _looks_like_safetensors(path) else _read_torch(path, max_bytes)
    state = plain_names(path, tensors_only(path, state))
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > max_bytes:  # with a stride of 0, a file of a few bytes could become terabytes
        raise CheckpointError(f"{path}: {_mib(size)} of tensors, more than {_mib(max_bytes)}.")
    return state


def _check_file(path: Path, max_bytes: int) -> None:
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob("*") if p.suffix in {".safetensors", ".pth", ".pt"})
        found = f"found there: {', '.join(there[:6])}" if there else "no checkpoint is in that folder"
        raise CheckpointError(f"{path}: no such file; {found}. Train first, or correct the path.")
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a checkpoint file, found a folder or a special file.")
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError(
            f"{path}: {_mib(size)}, more than the {_mib(max_bytes)} allowed. Store the weights alone, without the optimizer. {_ADVICE}"
        )
    with open(path, "rb") as file:
        head = file.read(256)
    if not head:
        raise CheckpointError(f"{path}: an empty file; a copy or download broke off. Save it again.")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: this is a Git LFS pointer, not the weights. Run: git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path}: a web page, not weights; the download link asked for a login.")


def _looks_like_safetensors(path: Path) -> bool:
    """A safetensors file begins with the length of a JSON header (8 bytes) and that header."""
    with open(path, "rb") as file:
        head = file.read(9)
    if len(head) < 9:
        return path.suffix == ".safetensors"
    return head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**27


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            # save_model writes tensors that two layers share once, and the other's name here
            aliases = {name: kept for name, kept in (file.metadata() or {}).items() if name not in state and kept in state}
            return state | {name: state[kept] for name, kept in aliases.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: damaged or incomplete safetensors file of {_mib(path.stat().st_size)} ({_first_line(error)}). "
            "A copy or download probably broke off: fetch or save it again."
        ) from error


def _read_torch(path: Path, max_bytes: int) -> object:
    with open(path, "rb") as file:
        magic = file.read(4)
    zipped = magic[:2] == b"PK"
    if zipped:
        _check_zip(path, max_bytes)
    elif magic[:1] != b"\x80":  # the first byte of every pickle of the last twenty years
        raise CheckpointError(
            f"{path}: not a checkpoint: expected safetensors or a file of torch.save, found a file that begins with {magic!r}. {_ADVICE}"
        )
    try:
        return _load(path, zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # torch raises a dozen different types for damaged files
        if "TorchScript" in str(error):
            raise CheckpointError(_refusal(path, "GLOBAL torch.jit.ScriptModule")) from error
        raise CheckpointError(
            f"{path}: damaged or incomplete, {_mib(path.stat().st_size)} ({_first_line(error)}). "
            "A copy or download probably broke off: fetch or save it again."
        ) from error


class _StandIn:
    """Stands for an object of a class that is not loaded, and ignores its arguments and state."""

    def __new__(cls, *_: object, **__: object) -> "_StandIn":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _StandInDict:
    """Stands for a class of dictionaries: a plain one that keeps its items."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def _load(path: Path, zipped: bool) -> object:
    """Load with a stand-in for every class and function that the pickle names and weights do not need."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else _old_globals(path)
    except Exception:  # a damaged one: it is read as it is
        names = []
    dictionaries: set[str] = set()
    while True:
        stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (type(name, (_StandInDict if name in dictionaries else _StandIn,), {}), name) for name in names
        ]
        named = path.suffix != ".safetensors"  # torch.load would decide by the name; an open file has none
        try:
            with open(path, "rb") as file, torch.serialization.safe_globals(stand_ins):
                return torch.load(path if named else file, map_location="cpu", weights_only=True, mmap=zipped and named)
        except pickle.UnpicklingError as error:
            filled = re.search(r"SETITEMS? for .* got <class '(.*)'>", str(error))  # only this message tells that it is a dictionary
            found = {name for name in names if filled and filled[1].endswith(f".{name}")} - dictionaries
            if not found:
                raise
            dictionaries |= found


def _old_globals(path: Path) -> set[str]:
    """Classes and functions that a file of the old format names. Its pickles are listed, not loaded: a magic number, a version, facts
    of the machine, and the object."""
    with open(path, "rb") as file:
        operations = [operation for _ in range(4) for operation in pickletools.genops(file)]
    names = {str(argument).replace(" ", ".") for operation, argument, _ in operations if operation.name == "GLOBAL"}
    return {re.sub(r"^__builtin__\.", "builtins.", name) for name in names} | {"builtins.int", "builtins.str"}  # long and unicode there


def _check_zip(path: Path, max_bytes: int) -> None:
    """torch.save writes a zip of uncompressed records; anything else is damaged, foreign or a bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path}: damaged or incomplete, {_mib(path.stat().st_size)}: its table of contents, at the "
            "end of the file, is missing. A copy or download probably broke off: fetch or save it again."
        ) from error
    if not any(record.filename.endswith("data.pkl") for record in records):
        names = ", ".join(record.filename for record in records[:4])
        raise CheckpointError(f"{path}: a zip archive ({names}), not a checkpoint. Unpack it and give the file inside.")
    if any(record.compress_type for record in records) or sum(r.file_size for r in records) > max_bytes:
        raise CheckpointError(f"{path}: a compressed or oversized zip, as torch.save never writes. {_ADVICE}")


def _refusal(path: Path, reason: str, key: str = "") -> str:
    """The message for a pickle that holds something else than tensors, perhaps under a key: what it is, and two lines to convert it."""
    found = re.search(r"GLOBAL (\S+)", reason)
    if not found:
        return f"{path}: damaged: its pickle cannot be read ({_first_line(reason)}). {_ADVICE}"
    place = f'["{key}"]' if key else ""
    return (
        f"{path}: expected tensors only, found a pickled object ({found[1]}), which can run any program when "
        "it is opened and is therefore refused. Convert it where your class is defined:\n"
        f'    model = torch.load("{path.name}", map_location="cpu", weights_only=False)\n'
        f'    torch.save(model{place}.state_dict(), "{path.name}")'
    )


def tensors_only(path: Path, state: object) -> dict[str, Tensor]:
    """Unwrap the state dict and check that it holds dense tensors by name, and nothing else."""
    if isinstance(state, _StandIn):
        raise CheckpointError(_refusal(path, f"GLOBAL {type(state).__name__}"))
    state = _unwrapped(state)
    for key, value in state.items() if isinstance(state, Mapping) else ():
        if isinstance(value, _StandIn):
            raise CheckpointError(_refusal(path, f"GLOBAL {type(value).__name__}", _short(key)))
    if not isinstance(state, Mapping) or not state:
        found = "an empty one" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise CheckpointError(f"{path}: expected a dictionary of tensors by name, found {found}. {_ADVICE}")
    bad = [
        f"{name!r} ({type(value).__name__})"
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, Tensor) and _is_dense(value))
    ]
    if bad:
        raise CheckpointError(
            f"{path}: expected tensors only, found {listed(bad)}. Expected is a plain state dict, or one "
            f"under {', '.join(WRAPPERS)}. {_ADVICE}"
        )
    return dict(state)


def _unwrapped(state: object) -> object:
    """The state dict in a dictionary of more things: under a usual key, else the only one that holds tensors by name."""
    if not isinstance(state, Mapping):
        return state
    inner = [state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)]
    others = [value for value in state.values() if _holds_weights(value)]
    if inner or (len(others) == 1 and not any(isinstance(value, Tensor) for value in state.values())):
        return (inner or others)[0]
    return state


def _holds_weights(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(entry, Tensor) for key, entry in value.items())
    )


def _is_dense(value: Tensor) -> bool:
    return value.layout is torch.strided and not value.is_quantized and not value.is_meta


def plain_names(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        short = name
        while short.startswith(PREFIXES):
            short = short.removeprefix("module.").removeprefix("_orig_mod.")
        if short in plain:
            raise CheckpointError(f"{path}: {short!r} is there twice, with and without a prefix. {_ADVICE}")
        plain[short] = value.detach()
    return plain


def listed(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(_short, names[:most])) + more


def _short(name: object, most: int = 100) -> str:
    """A name as messages show it: a file may call its tensors anything."""
    text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size} bytes"


def _first_line(error: object) -> str:
    return _short((str(error).strip() or type(error).__name__).splitlines()[0], 160)
