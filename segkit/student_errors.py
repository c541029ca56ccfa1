"""What a student's code does wrong, as one kind of error with a stable cause: it raises, asks for a device, takes other arguments."""

import contextlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from segkit.memory_errors import means_out_of_memory
from segkit.notebooks.running import student_traceback

__all__ = ["CAUSE", "StudentError", "as_student_error", "check_forward", "check_signature", "device_cause", "in_another_order"]

CAUSE = re.compile(r"(?=.{1,40}\Z)[a-z][a-z0-9_]*([.-][a-z0-9_]+)*")  # of a StudentError: what may be written into a result


class StudentError(Exception):
    """The student's code failed, or returned what it must not.

    Attributes:
        cause: Stable code, such as ``code.raises`` or ``code.died``.
    """

    def __init__(self, message: str, cause: str = "code.raises") -> None:
        super().__init__(message)
        self.cause = cause


@contextlib.contextmanager
def as_student_error(doing: str) -> Iterator[None]:
    """Turn whatever a student's code raises into a StudentError that names cell and line."""
    try:
        yield
    except StudentError:
        raise
    except SystemExit as error:
        raise StudentError(f"{doing} called sys.exit.\n{student_traceback(error)}", "code.exit") from None
    except KeyboardInterrupt:
        raise
    except NotImplementedError as error:
        if "aten::" in str(error) or "meta tensor" in str(error):  # torch's own: no stub that waits to be written
            cause = "code.device" if device_cause(error) else "code.raises"
            raise StudentError(f"{doing} failed. {device_cause(error)}\n{student_traceback(error)}", cause) from None
        text = f"{doing} is not finished: it still raises NotImplementedError.\n{student_traceback(error)}"
        raise StudentError(text, "code.unfinished") from None
    except (MemoryError, torch.OutOfMemoryError) as error:
        text = str(error).partition("\n")[0][:200]
        raise StudentError(f"{doing} ran out of memory.{f' {text}' if text else ''}", "code.memory") from None
    except BaseException as error:
        if torch.cuda.is_initialized() and means_out_of_memory(error):
            raise StudentError(f"{doing} ran out of memory. {str(error).partition(chr(10))[0][:200]}", "code.memory") from None
        where = student_traceback(error)
        if told := device_cause(error):
            raise StudentError(f"{doing} failed: {told}\n{where}", "code.device") from None
        raise StudentError(f"{doing} failed.\n{where}", "code.raises") from None


# what torch says where a device was asked for that this machine does not have, or where tensors lie on different ones
_NO_DEVICE = re.compile(
    r"NVIDIA driver|not compiled with CUDA|No (CUDA|HIP) GPUs|Cannot initialize (CUDA|NVML)|driver version is insufficient"
    r"|torch\.(cuda|hip|mps|xpu)\.\w+Tensor|invalid device ordinal|no CUDA-capable device|on a CUDA device but torch\.cuda"
    r"|(linked|compiled) with (support for )?(MPS|XPU)|MPS backend|Cannot access accelerator|Could not run .* with arguments from the "
    r"'(CUDA|MPS|XPU|HPU)' backend|on the same device, but found at least two devices|is not on the expected device (cuda|mps|xpu)",
    re.IGNORECASE,
)  # fmt: skip


def device_cause(error: BaseException) -> str:
    """Explain an error that comes from a device that is written into the code; an empty string for any other error."""
    try:
        text = str(error)
    except Exception:  # a student's exception class may itself be broken
        return ""
    if not _NO_DEVICE.search(text):
        return ""
    return ("device hard-coded. It must run wherever its input and the network are: no `.cuda()` and no `device=\"cuda\"`; use "
            "`x.device`, or the device of the model's parameters.")  # fmt: skip


def check_signature(function: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse a function that cannot take these arguments, before the call, since a TypeError from inside it means something else.

    Raises:
        StudentError: ``code.signature``, with what was expected and what was found; ``code.type`` for what is no function at all.
    """
    if not callable(function):
        raise StudentError(f"{name}: expected a function or class, but got {type(function).__name__}.", "code.type")
    signature, error = _misfit(function, args, kwargs)
    if not error:
        return
    found = f"{name}{signature}" if isinstance(function, type) else f"def {name}{signature}"
    if isinstance(function, type) and issubclass(function, torch.nn.Module):
        given, expected = ", ".join(kwargs) or "no argument", "`def __init__(self, n_class=12)`"
    else:
        given = " and ".join([f"{len(args)} argument{'s' * (len(args) != 1)}", *kwargs])
        expected = f"{'a class' if isinstance(function, type) else 'a function'} of {given}"
    text = f"{name} cannot be called with {given} ({error}). Expected {expected}, found `{found}`."
    raise StudentError(text, "code.signature")


def in_another_order(names: Sequence[str], signature: str) -> str:
    """Say that a function that failed takes its arguments in another order than it is given them; empty where it does not.

    Args:
        names: Of its arguments.
        signature: How it must be declared: ``"def train_step(model, images, labels, optimizer)"``.
    """
    wanted = re.findall(r"\w+", signature.partition("(")[2])
    if "self" in names or not any(name in wanted and wanted.index(name) != place for place, name in enumerate(names)):
        return ""
    return f"the arguments come in the order ({', '.join(wanted)}), and the function takes them as ({', '.join(names)})"


def _misfit(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[inspect.Signature | None, str]:
    """A function's signature, and why it does not take these arguments; empty if it does, or if its signature is not known."""
    try:
        # a decorator's own signature counts, not that of what it wraps: it may add arguments
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None, ""  # the call itself will tell
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return signature, str(error)
    return signature, ""


def check_forward(model: torch.nn.Module) -> None:
    """Refuse a network whose forward needs more, or less, than the images; see ``check_signature``.

    Raises:
        StudentError: ``code.signature``.
    """
    if type(model).__call__ is not torch.nn.Module.__call__:
        return  # the class defines its own call
    signature, error = _misfit(model.forward, (None,), {})
    if error and signature is not None:
        found = f"def forward(self{', ' if signature.parameters else ''}{str(signature).removeprefix('(')}"
        text = f"{type(model).__name__}.forward cannot be called with the images alone ({error})."
        raise StudentError(f"{text} Expected `def forward(self, x)`, found `{found}`.", "code.signature")
