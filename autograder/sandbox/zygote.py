"""A process that has imported what workers need, and forks a worker whenever the judge asks: an import takes seconds, a fork does not.

It runs no student's code and knows no secret. Each worker is forked behind the same walls as one that starts anew: the
zygote's room is the worker's room, and within it the worker gets processes, network, files and a user of its own. Runs inside
the room; arguments: the descriptor of its socket, and JSON that says what to import.
"""

import fcntl
import gc
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if TYPE_CHECKING:
    from autograder.sandbox import door, kernel, namespaces
else:
    import door
    import kernel
    import namespaces

ORDER_SIZE = 2**18
SAFE = 64  # the descriptors of commands have smaller numbers


def main() -> None:
    link, preparation = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    prepare(**preparation)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes guards that have ended
    threads = len(os.listdir("/proc/self/task"))
    link.send(json.dumps({"ready": threads == 1, "trouble": "" if threads == 1 else f"{threads} threads"}).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, ORDER_SIZE, 16)
        if not data:  # the judge ended
            os._exit(0)
        if os.fork() == 0:
            run_guarded(link, json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def prepare(script: str, arguments: Sequence[str]) -> None:
    """Import what workers need: call ``prepare(*arguments)`` of a script."""
    specification = importlib.util.spec_from_file_location("preparation", script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.prepare(*arguments)
    gc.collect()
    gc.freeze()  # a worker's garbage collector then does not touch, and so does not copy, the pages that all workers share


def run_guarded(link: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """In a fork: start the worker, watch it, leave nothing of it behind, and tell the judge how it ended."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        link.close()
        errors, control, *pipes = descriptors
        os.dup2(errors, 2)
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        code = guard(order, control, pipes)
        os.write(control, str(code).encode())
    except BaseException as error:
        door.fail(error)
    os._exit(0)


def guard(order: dict[str, Any], control: int, pipes: Sequence[int]) -> int:
    """Start the worker and wait for its end; returns its exit code."""
    separate, spec = order["namespaces"], order["guard"]
    if separate:
        namespaces.own_processes()
    else:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(control)
        try:
            door.go_first()  # before the worker gets its own /proc, which is read-only
            if separate:
                namespaces.own_files(order["nest"], order["scratch"])
                become_first(order, pipes)
            become_worker(order, pipes, me)
        except BaseException as error:
            door.fail(error)
    for pipe in pipes:
        os.close(pipe)  # only the worker may hold the pipe: the judge must see when the worker closes it
    code = watch(spec, child, control, separate)
    if separate:
        try:
            os.kill(child, signal.SIGKILL)  # the kernel then ends every process of its namespace
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
    else:
        door.end_all()
    return code


def watch(spec: dict[str, Any], child: int, control: int, separate: bool) -> int:
    """Wait until the child ends, the judge wants it to end, or it uses too much; returns the exit code."""
    me = int(os.readlink("/proc/self"))  # not os.getpid(): this /proc may number processes in another way
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(control, select.POLLIN | select.POLLHUP)
    last_look = time.monotonic()
    while True:
        events = dict(poll.poll(1000 * door.GLANCE))
        code = door.reap(child)
        if code is not None:
            return code
        if control in events:
            return 128 + signal.SIGTERM
        if time.monotonic() - last_look < door.GLANCE:
            continue
        last_look = time.monotonic()
        first = door.children(me) if separate else []
        if door.too_much(spec, [number for number in door.descendants(me) if number not in first]):
            return 128 + signal.SIGKILL


def become_first(order: dict[str, Any], pipes: Sequence[int]) -> NoReturn:
    """As the first process of a namespace: start the worker, collect whoever ends, and end with the worker.

    It sees the worker's files. The worker must not be able to control it: its memory is closed, and no debugger can attach.
    """
    me = os.getpid()
    worker = os.fork()
    if worker == 0:
        try:
            become_worker(order, pipes, me)
        except BaseException as error:
            door.fail(error)
    for pipe in pipes:
        os.close(pipe)
    while True:
        number, status = os.wait()
        if number == worker:
            os._exit(door.exit_code(status))


def become_worker(order: dict[str, Any], pipes: Sequence[int], parent: int) -> NoReturn:
    """Put limits and walls around this process, and run the script that the judge named."""
    command, inside = order["command"], order["inside"]
    place(pipes, order["descriptors"])
    os.chdir(inside)
    os.environ.update(HOME=inside, TMPDIR=inside)
    tempfile.tempdir = None  # it may hold a folder that was chosen before the fork and is not this worker's
    if order["namespaces"] and order["enter"]["user"] is None:
        kernel.renounce()
    door.confine(order["enter"] | {"guard": parent})
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # as after an exec: otherwise a process may not read its own /proc/self
    code = 0
    try:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code & 0xFF)


def place(pipes: Sequence[int], numbers: Sequence[int]) -> None:
    """Give descriptors the numbers that the command names, and close all others but standard error."""
    floor = max([SAFE, *numbers]) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, floor) for descriptor in (*pipes, os.open(os.devnull, os.O_RDWR), 2)]
    *sources, nothing, errors = moved
    os.closerange(0, floor)
    for descriptor, number in zip([*sources, nothing, nothing, errors], [*numbers, 0, 1, 2], strict=True):
        os.dup2(descriptor, number)
    os.closerange(floor, 1 << 16)


if __name__ == "__main__":
    main()
