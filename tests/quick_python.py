"""A ``python`` for tests that run dozens of commands: importing torch costs seconds, a fork of a process that has done so none.

``QuickPython`` makes a folder of programs for the front of PATH: its ``python`` and ``nbgrader`` hand arguments, folder, environment
and standard streams to a server, which forks a process that goes on as ``python -m NAME`` or ``python FILE`` would. The server holds
libraries only; segkit and autograder are imported anew each time, from the folder in which the command is given. For anything else
(``python -c``, ``python -m venv``) the real Python is started.
"""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

LIBRARIES = ("torch", "torchvision", "numpy", "matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.Image", "nbformat", "click",
             "safetensors.torch", "tqdm", "IPython.core.inputtransformer2", "jinja2", "jsonschema", "nbconvert", "nbgrader.apps",
             "nbgrader.api", "pytest")  # fmt: skip
SHIM = '''#!{python} -IS
import json, os, socket, sys
arguments = sys.argv[1:] if os.path.basename(sys.argv[0]) == "python" else ["-m", os.path.basename(sys.argv[0]), *sys.argv[1:]]
if not arguments or arguments[0] != "-m" and not arguments[0].endswith(".py") or arguments[1:2] == ["venv"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    order = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(order).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(order)
    sys.exit(int(server.recv(16) or b"70"))
'''


class QuickPython:
    """The server, and the folder of programs that use it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quick-")  # short: an address has at most 107 characters
        self.programs = folder = Path(self._folder.name)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen(16)
            environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
            self._server = subprocess.Popen([sys.executable, __file__, str(listener.fileno()), str(folder / "python")], env=environment,
                                            pass_fds=[listener.fileno()])  # fmt: skip
        for name in ("python", "nbgrader"):
            (folder / name).write_text(SHIM.format(python=sys.executable, address=str(folder / "socket")))
            (folder / name).chmod(0o755)

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()
        self._folder.cleanup()


def _become(arguments: list[str], folder: str, environment: dict[str, str], shim: str) -> int:
    """Go on as ``python ARGUMENTS``; returns the exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[0] == "-m"
    sys.orig_argv = [sys.executable, *arguments]
    sys.argv = arguments[1:] if module else arguments
    added = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[0:1] = [folder if module else os.path.dirname(os.path.abspath(arguments[0])), *added]
    for path in added:
        if os.path.isfile(os.path.join(path, "sitecustomize.py")):
            runpy.run_path(os.path.join(path, "sitecustomize.py"))
    if not module:
        sys.executable = shim
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True) if module else runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _serve(listener: socket.socket, shim: str) -> None:
    """Fork a process for each command, and one that waits for it and tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getppid()
    while os.getppid() == parent:
        if not select.select([listener], [], [], 5.0)[0]:
            continue
        client, _ = listener.accept()
        if os.fork():
            client.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, streams, _, _ = socket.recv_fds(client, 4, 3)
        order = client.makefile("rb").read(int.from_bytes(size, "big"))
        if child := os.fork():
            client.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
            os._exit(0)
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            stream = open(number, "w" if number else "r", errors="backslashreplace" if number == 2 else None, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        raise SystemExit(_become(*json.loads(order), shim))


if __name__ == "__main__":
    import importlib
    import warnings

    warnings.simplefilter("ignore")
    for name in LIBRARIES:
        importlib.import_module(name)
    warnings.resetwarnings()
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
