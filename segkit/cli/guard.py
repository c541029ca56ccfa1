"""One guard around every command: a user never sees a traceback, with any console and any kind of error."""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["guarded"]

GONE = {errno.EPIPE, errno.EINVAL}  # errors of writing to a pipe whose reader has ended; the second on Windows


@contextmanager
def guarded() -> Iterator[None]:
    """Run a command. Unexpected errors end in one message and exit code 1.

    ``SEGKIT_DEBUG=1`` shows tracebacks; otherwise the traceback of an error in segkit goes to a file, which the message names.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a code page such as cp1252 lacks many letters of names and bars
            stream.reconfigure(errors="replace")
    try:
        Path.cwd()  # of a folder that is gone torch would end the process, without a word of why
        yield
        _flush()
    except SystemExit:
        _flush()
        raise
    except Exception as error:
        if os.environ.get("SEGKIT_DEBUG", "") not in ("", "0"):
            raise
        if not _reader_is_gone(error):
            _tell(_text(error))
        _flush()
        sys.exit(1)


def _reader_is_gone(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in GONE and error.filename is None


def _flush() -> None:
    """Write what is left, so that a closed pipe is noticed here, and not when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno not in GONE:
            _tell(_text(error))
        sys.exit(1)


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):
        print(f"Error: {text}", file=sys.stderr, flush=True)


def _text(error: Exception) -> str:
    from segkit.atomic import WriteError, disk_is_full

    if isinstance(error, WriteError):
        return str(error.strerror)
    if disk_is_full(error):
        return f"no space is left on the disk ({_of_system(error)}). Delete what you no longer need, and run it again."
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return (
            f"{_of_system(error)}. Either it is open in another program: close that. Or you may not write there: name a folder of your "
            "own (--out), or copy this folder to your home."
        )
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "the folder in which you stand was deleted, perhaps to be unpacked anew. Go into it again (cd), and run it there."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{_of_system(error)}. Correct the path or the file, and run it again. (SEGKIT_DEBUG=1 shows where it happened.)"
    if isinstance(error, MemoryError):
        return "the memory of this computer is not enough. End other programs that use it, and try again."
    return _of_code(error)


def _of_system(error: BaseException) -> str:
    """The file and what the system says of it."""
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    said = getattr(error, "strerror", None) or str(error)
    return f"{name}: {said}" if name is not None else said


def _of_code(error: Exception) -> str:
    """The message for an error in a student's cells, with its line; any other error is segkit's, and its traceback is kept in a file."""
    try:
        from segkit.notebooks.running import student_traceback
    except ModuleNotFoundError as missing:
        from segkit.installs import not_here

        return not_here(missing)
    frames = student_traceback(error)
    if ", cell " in frames:
        return f"your code raised an error:\n{frames}"
    place = "SEGKIT_DEBUG=1 shows where it happened"
    with suppress(OSError), tempfile.NamedTemporaryFile("w", prefix="segkit-error-", suffix=".txt", delete=False, encoding="utf-8",
                                                        errors="backslashreplace") as file:  # fmt: skip
        file.write("".join(traceback.format_exception(error)))
        place = f"where it happened stands in {file.name}: send that file to your instructor"
    first = (str(error).splitlines() or [""])[0][:300]
    return f"segkit met a fault of its own ({type(error).__name__}: {first}); {place}."
