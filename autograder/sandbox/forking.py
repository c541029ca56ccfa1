"""The judge's side of a zygote: workers that begin with torch imported, behind the walls of the run."""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autograder.sandbox.isolation import GuardedProcess, IsolationError, Room, end_process, forked_order, launch_zygote, mark_running

__all__ = ["ForkedProcess", "Zygote"]

START_SECONDS = 120.0


class ForkedProcess:
    """A worker that a zygote forked, with the methods of ``subprocess.Popen`` that the judge uses.

    Args:
        control: The judge's end of a socket pair whose other end the worker's guard holds.
        zygote: Where it comes from.
        user: User that was lent for it, or None.
    """

    def __init__(self, control: socket.socket, zygote: "Zygote", user: int | None) -> None:
        self.control, self.zygote, self.user = control, zygote, user
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code (128 + n for signal n).

        Raises:
            subprocess.TimeoutExpired: If it still runs.
        """
        if self.returncode is None:
            if not select.select([self.control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            words = self._read()
            self.returncode = int(words) if words.isdigit() else 128 + 9  # a guard that sent nothing was killed
            self.control.close()
        return self.returncode

    def _read(self) -> bytes:
        try:
            return self.control.recv(64)
        except OSError:
            return b""

    def terminate(self) -> None:
        """Ask the guard to end it with all it started."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it, its guard and its zygote."""
        self.zygote.close()


class Zygote:
    """Forks workers. The process starts with the first worker, and starts again if it died.

    Args:
        level: One of ``autograder.sandbox.isolation.LEVELS``.
        readable: Files and folders that workers may read.
        script: Script whose ``prepare(*arguments)`` imports what workers need.
        arguments: Its arguments.
        nest: Folder that will hold the workers' scratch folders, and nothing else. Left to whoever made it.
    """

    def __init__(self, level: str, readable: Sequence[Path], script: Path, arguments: Sequence[str], nest: Path) -> None:
        self.level, self.readable = level, tuple(readable)
        self._preparation = json.dumps({"script": str(script), "arguments": list(arguments)})
        self.nest = Path(os.path.realpath(nest))
        self._process: GuardedProcess | None = None
        self._link: socket.socket | None = None
        self.trouble = ""

    def works(self) -> bool:
        """Whether workers can be forked here; starts the process. ``trouble`` says why not."""
        if self._process is not None and self._process.poll() is None:
            return True
        if not self.trouble:
            try:
                self._start()
            except (OSError, ValueError, IsolationError) as error:
                self.trouble = str(error) or type(error).__name__
                self.close()
        return not self.trouble

    def _start(self) -> None:
        self.close()
        self.nest.chmod(0o711)  # each worker's user can enter its own folder there, and cannot list the others
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as log:
            room = Room(self.nest, self.readable)
            self._process = launch_zygote(self.level, room, self._preparation, theirs.fileno(), log.fileno())
            theirs.close()
            self._link.settimeout(START_SECONDS)
            reply = self._link.recv(4096)
            log.seek(0)
            words = log.read()[-500:].decode("utf-8", "replace").strip()
        hello = json.loads(reply) if reply else {"ready": False, "trouble": f"it ended at once: {words}"}
        if not hello.get("ready"):
            raise OSError(f"a process to fork workers from cannot be had here: {hello.get('trouble')}")
        self._prove()

    def _prove(self) -> None:
        """Fork a worker that does nothing: some machines allow a zygote, but not the walls within its room.

        Raises:
            OSError: If that fails.
        """
        scratch = self.make_scratch()
        try:
            (scratch / "proof.py").write_text("open('proof', 'w').close()\n", encoding="utf-8")
            with tempfile.TemporaryFile() as log:
                process = self.launch(Room(scratch), [str(self.inside(scratch) / "proof.py")], (), log.fileno())
                try:
                    code = process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    code = -1
                finally:
                    end_process(process)
                log.seek(0)
                words = log.read()[-300:].decode("utf-8", "replace").strip()
            if code != 0 or not (scratch / "proof").is_file():
                raise OSError(f"no worker can be forked here: {words or f'exit code {code}'}")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def make_scratch(self) -> Path:
        """Make a scratch folder for the next worker."""
        return Path(tempfile.mkdtemp(prefix="worker-", dir=self.nest))

    def inside(self, scratch: Path) -> Path:
        """Where a worker sees its scratch folder."""
        return self.nest if self.level == "bubblewrap" else scratch

    def launch(self, room: Room, command: Sequence[str], descriptors: Sequence[int], errors: int) -> ForkedProcess:
        """Fork a worker. End it with ``end_process``, also when it ended by itself.

        Args:
            room: What it may use; its scratch folder is from ``make_scratch``.
            command: A Python script that it runs, and its arguments.
            descriptors: File descriptors that it gets, under the same numbers.
            errors: File descriptor for its standard error.

        Raises:
            OSError: If the zygote is gone.
        """
        room = dataclasses.replace(room, readable=tuple(dict.fromkeys([*self.readable, *room.readable])))
        if self._link is None:
            raise OSError("the process to fork workers from was closed")
        with mark_running() as running:
            order, user = forked_order(self.level, room, command, descriptors)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            process = ForkedProcess(ours, self, user)
            try:
                with theirs:
                    socket.send_fds(self._link, [json.dumps(order).encode()], [errors, theirs.fileno(), *descriptors])
            except BaseException:
                ours.close()
                end_process(process)
                raise
            return running(process)

    def close(self) -> None:
        """End the process and all its workers."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            end_process(self._process)
            self._process = None

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
