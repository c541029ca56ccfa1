"""The way into a worker's room, and the guard before it. A script of its own: standard library only.

``door.py guard SPEC COMMAND...`` starts a command, outlives it, and ends whatever it left behind. ``door.py enter SPEC
COMMAND...`` puts limits and walls around itself and becomes the command. SPEC is JSON; its keys are those of
``autograder.sandbox.isolation``.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

if TYPE_CHECKING:
    from autograder.sandbox import kernel, landlock, seccomp
else:
    import kernel
    import landlock
    import seccomp

MEGABYTE = 2**20
GLANCE = 0.1  # seconds between two measurements of what the worker uses; in that time one thread can allocate about 150 MiB
CANNOT_ENTER = 97


# --------------------------------------------------------------------------------------------------------- into the room
def set_limits(spec: dict[str, Any]) -> None:
    """Set this process's limits; children inherit them."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: spec["file_megabytes"] * MEGABYTE,
        resource.RLIMIT_NOFILE: spec["open_files"],
        resource.RLIMIT_CPU: spec["cpu_seconds"],
        resource.RLIMIT_NPROC: spec["process_limit"],
    }
    if spec["memory_megabytes"]:
        wanted[resource.RLIMIT_DATA] = spec["memory_megabytes"] * MEGABYTE
    for what, value in wanted.items():
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def go_first() -> None:
    """Make the kernel end this process and its children, and not the judge, when memory runs out.

    Call it outside of the walls: inside them /proc cannot be written to, so that no worker can undo this.

    Raises:
        OSError: If the kernel refuses it.
    """
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # otherwise /proc/self belongs to root
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def confine(spec: dict[str, Any]) -> None:
    """Put limits and walls around this process."""
    set_limits(spec)
    if spec["user"] is not None:
        kernel.become(spec["user"], spec["capability"])
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would undo it
    if spec["guard"] and os.getppid() != spec["guard"]:
        os._exit(CANNOT_ENTER)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if spec["landlock"]:
        own = f"/proc/{os.getpid()}"
        threads = [f"{own}/task"] if spec["names_threads"] else []  # CUDA's driver names its threads there, and fails where it cannot
        landlock.restrict([*spec["readable"], own], spec["writable"], [*spec["devices"], *threads])
    try:
        seccomp.install(**spec["filter"])
    except OSError:
        if spec["filter_needed"]:
            raise
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def enter(spec: dict[str, Any], command: list[str]) -> NoReturn:
    """Put limits and walls around this process, and become the command."""
    confine(spec)
    os.execv(command[0], command)


# --------------------------------------------------------------------------------------------------------- before the room
def children(number: int) -> list[int]:
    """Processes that a process started or inherited."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{number}/task"):
            with open(f"/proc/{number}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    except FileNotFoundError:
        if not os.path.exists("/proc/self/task/self/children") and not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return [child for child, parent in parents() if parent == number]
    except OSError:
        pass
    return found


def parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all processes, for kernels without ``/proc/PID/task/TID/children``."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    yield int(name), int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue


def descendants(number: int | None = None) -> list[int]:
    """All descendants of a process (default: this one). This process is a subreaper: it inherits processes whose parents ended."""
    found, left = [], children(number or os.getpid())
    while left:
        number = left.pop()
        found.append(number)
        left += children(number)
    return found


def memory(numbers: list[int]) -> int:
    """Resident memory of processes without mapped files, in MiB: private pages, and pages of shared memory.

    Private pages that a fork shares with its parent count for both: the first measurement of a forked worker includes what
    its zygote imported. A page of shared memory counts for a process once the process has touched it.
    """
    return sum(map(_memory, numbers)) // MEGABYTE


def _memory(number: int) -> int:
    """Resident memory of a process without mapped files, in bytes; 0 for a process that has ended."""
    try:
        with open(f"/proc/{number}/status", encoding="utf-8", errors="replace") as file:
            found = [int(line.split()[1]) for line in file if line.startswith(("RssAnon:", "RssShmem:"))]
        if found:
            return sum(found) * 1024
        with open(f"/proc/{number}/statm", encoding="ascii") as file:  # for kernels that do not list the two kinds separately
            resident, shared = map(int, file.read().split()[1:3])
            return (resident - shared) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError):
        return 0


def disk(folder: str, enough: int) -> int:
    """Disk space of a folder, in MiB; counting stops above ``enough``. Every file counts as at least one block."""
    total, left = 0, [folder]
    while left and total <= enough * MEGABYTE:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    total += max(4096, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if total > enough * MEGABYTE:
                        break
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
        except OSError:
            continue
    return total // MEGABYTE


def too_much(spec: dict[str, Any], numbers: list[int]) -> bool:
    """Whether the worker's processes use more than they may; the judge reads the reason in the last words."""
    trouble = excess(spec, numbers)
    if trouble:
        sys.stderr.write(f"ended: {trouble}\n")
        sys.stderr.flush()
    return bool(trouble)


def exit_code(status: int) -> int:
    """Exit code from what ``wait`` gave, 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def fail(error: BaseException) -> NoReturn:
    """End because the room cannot be entered."""
    sys.stderr.write(f"the worker's room cannot be entered: {error}\n")
    sys.stderr.flush()
    os._exit(CANNOT_ENTER)


def excess(spec: dict[str, Any], numbers: list[int]) -> str:
    """What the worker's processes use beyond their limits together, or nothing."""
    if len(numbers) > spec["processes"]:
        return f"{len(numbers)} processes, {spec['processes']} are allowed"
    # also of a single process: its own limit counts neither shared memory nor pages that it made unwritable
    if spec["memory_megabytes"] and (used := memory(numbers)) > spec["memory_megabytes"]:
        return f"all processes together hold {used} MiB, {spec['memory_megabytes']} are allowed"
    if (used := disk(spec["scratch"], spec["disk_megabytes"])) > spec["disk_megabytes"]:
        return f"the files take more than {spec['disk_megabytes']} MiB"
    if spec["stays_first"] and any(_went_back(number) for number in numbers):
        return "the code wrote into /proc/self/task/*/oom_score_adj, to outlive others when memory runs out"
    return ""


def _went_back(number: int) -> bool:
    """Whether a process undid ``go_first``, where no wall keeps it from that."""
    try:
        with open(f"/proc/{number}/oom_score_adj", encoding="ascii") as file:
            return int(file.read()) < 1000
    except (OSError, ValueError):
        return False


def reap(child: int) -> int | None:
    """Collect ended processes; returns the exit code once the child is among them (128 + n for signal n)."""
    code = None
    while True:
        try:
            number, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code if code is not None else CANNOT_ENTER
        if number == 0:
            return code
        if number == child:
            code = exit_code(status)


def end_all() -> None:
    """Kill all descendants of this process until none is left. Rounds follow without a pause, to catch processes that keep forking."""
    while True:
        for number in descendants():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def watch(spec: dict[str, Any], child: int) -> int:
    """Wait until the child ends, the judge wants it to end, or it uses too much; returns the exit code."""
    last_look = time.monotonic()
    while True:
        event = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, GLANCE)
        if event is not None and event.si_signo == signal.SIGTERM:
            return 128 + signal.SIGTERM
        code = reap(child)
        if code is not None:
            return code
        if time.monotonic() - last_look < GLANCE:
            continue  # many children may end one after another: do not measure at each end, but do measure every GLANCE seconds
        last_look = time.monotonic()
        if too_much(spec, descendants()):
            return 128 + signal.SIGKILL


def guard(spec: dict[str, Any], command: list[str]) -> NoReturn:
    """Start a command, wait for it, and leave nothing of it behind."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # no process of the same user may read or write this process's memory
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != spec["judge"]:
        os._exit(CANNOT_ENTER)  # the judge ended before this process asked to be told of it
    me = os.getpid()
    became, still = os.pipe()  # closes itself where the child becomes its command, and has gone first
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if spec["goes_first"]:
                go_first()
            if "enter" in spec:
                enter(spec["enter"] | {"guard": me}, command)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execv(command[0], command)
        except BaseException as error:
            fail(error)
    os.close(still)
    os.read(became, 1)
    os.closerange(3, 1 << 16)  # only the worker may hold the pipe: the judge must see when the worker closes it
    code = watch(spec, child)
    end_all()
    os._exit(code)


def main() -> None:
    do, spec, command = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
    {"guard": guard, "enter": enter}[do](spec, command)


if __name__ == "__main__":
    main()
