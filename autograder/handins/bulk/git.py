"""Hand-ins that are git repositories: the newest commit of each, as files, fetched by the user's own git.

A repository is a student's. So nothing of it runs and nothing of it is configured: no checkout (which would run hooks and filters),
no submodules, no large files from elsewhere, and no protocol but https, ssh and file. Files are written here, from the commit's list.
"""

import contextlib
import datetime
import os
import re
import resource
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from autograder.handins.bulk.unpacking import IMPOSSIBLE, BulkError, Problem

__all__ = ["RepositoryError", "fetch_commit"]

SECONDS = 300
MAX_BYTES = 2 * 2**30
MAX_FILES = 20_000
MAX_LISTED = 10
ADDRESS = re.compile(r"(?:https|ssh|file)://[^\s]+|(?:[\w.-]+@)?[\w.-]+:(?!:)(?!//)[^\s]+")
FILE_MODES = ("100644", "100755")
WHAT_ELSE = {"120000": "is a link", "160000": "is a submodule"}
LARGE_FILE = b"version https://git-lfs.github.com/spec/"
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "GCM_INTERACTIVE": "never",
    "GIT_ALLOW_PROTOCOL": "https:ssh:file", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C",
}  # fmt: skip
SETTINGS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "submodule.recurse=false", "fetch.recurseSubmodules=false",
            "http.followRedirects=initial", "core.symlinks=false", "maintenance.auto=false", "gc.auto=0")  # fmt: skip


class RepositoryError(Exception):
    """A repository cannot be had; the text says why."""


def is_address(text: str) -> bool:
    """Whether this names a repository that git may ask for: never an option, a helper (``ext::``), or a folder."""
    return ADDRESS.fullmatch(text) is not None and not text.startswith("-") and "::" not in text.partition("/")[0]


def fetch_commit(address: str, target: Path, seconds: float = SECONDS, most: int = MAX_BYTES) -> tuple[datetime.datetime, list[str]]:
    """Write the files of a repository's newest commit below a folder.

    Args:
        address: ``https://``, ``ssh://``, ``file://``, ``user@host:path``, or a folder of this machine.
        target: An empty folder, or one that is not there yet.
        seconds, most: The longest wait, and the most bytes, packed as well as unpacked.

    Returns:
        When the commit was made, by the student's own clock; and notes, with a ``Problem`` for each file that was left out.

    Raises:
        RepositoryError: It cannot be fetched, or is too large.
    """
    folder = Path(address)
    if not is_address(address):
        if address.startswith("-") or "::" in address or not folder.is_dir():
            raise RepositoryError(f"expected an address with https://, ssh:// or file://, or a folder, found {address[:120]!r}")
        address = folder.resolve().as_uri()
    with tempfile.TemporaryDirectory(prefix="segkit-git-") as place:
        bare = Path(place, "bare")
        clone = ("clone", "--quiet", "--bare", "--depth=1", "--single-branch", "--no-tags", "--template=", "--", address, str(bare))
        _git(clone, Path(place), seconds, most)
        commit = _git(("log", "-1", "--format=%ct", "HEAD"), bare, seconds, most).decode().strip()
        notes = _write_files(bare, target, seconds, most)
    return datetime.datetime.fromtimestamp(int(commit), datetime.UTC), notes


def _write_files(bare: Path, target: Path, seconds: float, most: int) -> list[str]:
    """Write what the commit lists, without a checkout."""
    listing = _git(("ls-tree", "-r", "-l", "-z", "--full-tree", "HEAD"), bare, seconds, most)
    entries = [_entry(line) for line in listing.split(b"\0") if line]
    files = [(blob, name) for mode, blob, _, name in entries if mode in FILE_MODES and _is_harmless(name)]
    size = sum(size for mode, _, size, _ in entries if mode in FILE_MODES)
    if size > most or len(files) > MAX_FILES:
        raise RepositoryError(f"expected at most {MAX_FILES} files and {most} bytes, found {len(files)} files with {size} bytes")
    left_out = [f"{name!r} {WHAT_ELSE.get(mode, 'has a name that no file may have')}"
                for mode, _, _, name in entries if mode not in FILE_MODES or not _is_harmless(name)]  # fmt: skip
    wanted, packed = bare / "wanted", bare / "contents"
    wanted.write_text("".join(f"{blob}\n" for blob, _ in files), encoding="ascii")
    with wanted.open("rb") as names, packed.open("wb") as sink:
        _git(("cat-file", "--batch"), bare, seconds, 2 * most + 2**20, names, sink)
    target.mkdir(parents=True, exist_ok=True)
    with packed.open("rb") as source:
        for blob, name in files:
            if problem := _write_file(source, blob, target / name):
                left_out.append(f"{name!r} {problem}")
    more = [Problem(f"{len(left_out) - MAX_LISTED} more files were left out")] if len(left_out) > MAX_LISTED else []
    return [*(Problem(f"left out: {text}") for text in left_out[:MAX_LISTED]), *more]


def _write_file(source: IO[bytes], blob: str, place: Path) -> str:
    """Write the next file of what ``git cat-file --batch`` gave; returns why it cannot be used, or an empty text."""
    name, kind, size = source.readline().split()
    if (name.decode("ascii"), kind) != (blob, b"blob"):
        raise RepositoryError("git gave another file than was asked for")
    content = source.read(int(size))
    source.read(1)  # a line end
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        if error.errno not in IMPOSSIBLE:
            raise
        return f"has a name that no file can have ({error.strerror})"
    return "is kept in Git LFS, which is not fetched" if content.startswith(LARGE_FILE) else ""


def _entry(line: bytes) -> tuple[str, str, int, str]:
    """Mode, blob, bytes and name of a line of ``git ls-tree``."""
    facts, _, name = line.partition(b"\t")
    mode, _, blob, size = facts.decode("ascii").split()
    return mode, blob, int(size) if size.isdigit() else 0, name.decode("utf-8", "surrogateescape")


def _is_harmless(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and ".git" not in [part.casefold() for part in parts]


def _git(
    arguments: Sequence[str], folder: Path, seconds: float, most: int, source: IO[bytes] | None = None, sink: IO[bytes] | None = None
) -> bytes:
    """What git writes to its standard output, or nothing where that is a file.

    Raises:
        RepositoryError: It failed, took too long, or wrote too much.
    """
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    try:
        process = subprocess.Popen(
            ["git", *settings, *arguments], cwd=folder, env=_environment(os.environ), stdin=source or subprocess.DEVNULL,
            stdout=sink or subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BulkError("Repositories are fetched with git, which is not installed here: apt install git") from error
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise RepositoryError(f"git took more than {seconds:g} seconds") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its helpers too, which would go on alone
        process.wait()
    if process.returncode:
        said = " ".join(errors.decode("utf-8", "replace").split())[:300]
        raise RepositoryError(f"git {arguments[0]} failed: {said or f'exit status {process.returncode}'}")
    return output or b""


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's own, for names and keys, less what would turn git to another repository; nobody is asked for a password."""
    kept = {name: text for name, text in environment.items() if not re.match(r"GIT_(?!SSH|CONFIG_GLOBAL|CONFIG_SYSTEM)", name)}
    ssh = kept.get("GIT_SSH_COMMAND") or ("ssh -oBatchMode=yes" if "GIT_SSH" not in kept else "")
    return {**kept, **ENVIRONMENT, **({"GIT_SSH_COMMAND": ssh} if ssh else {})}
