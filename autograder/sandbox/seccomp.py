"""A seccomp filter for workers, written as classic BPF: no network, no signals to others, none of the kernel's rarely used calls.

Runs inside the wall's door: standard library only. Calls that are not named here stay allowed, since Python, torch and
CUDA need most of the kernel.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autograder.sandbox import kernel
else:
    import kernel

__all__ = ["Filter", "install", "program"]

# name: (number on x86_64, number on aarch64); None where a machine has no such call
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "clone": (56, 220), "clone3": (435, 435),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "setpriority": (141, 140), "ioprio_set": (251, 30), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "fcntl": (72, 25), "ioctl": (16, 29), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "setns": (308, 268), "unshare": (272, 97), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "syslog": (103, 116), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466), "file_setattr": (469, 469),
    "mmap": (9, 222), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# other processes' memory, the kernel's own interfaces, ways around Landlock, things that outlive their process
FORBIDDEN = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "pidfd_getfd",
    "move_pages", "migrate_pages", "shmget", "semget", "msgget", "mq_open", "mount", "umount2", "pivot_root", "chroot",
    "setns", "unshare", "open_by_handle_at", "name_to_handle_at", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
    "fanotify_init", "inotify_init", "inotify_init1", "syslog",
)  # fmt: skip
# "no such call" makes the C library fall back to the older call, whose arguments the filter can see
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "pidfd_open", "pidfd_send_signal")
ATTRIBUTES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr",
    "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_setattr", "utime",
    "utimes", "futimesat", "utimensat",
)  # fmt: skip
# files in memory without a path: their contents count for no process while they are not mapped
UNPLACED = ("memfd_create", "memfd_secret")
MAP_SHARED, MAP_ANONYMOUS = 0x01, 0x20
NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone(2)
AF_UNIX, STREAM, SEQPACKET = 1, 1, 5
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15
TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR = (
    0x5412, 0x541C, 0x8901, 0x8902, 0x40086602, 0x401C5820,
)  # fmt: skip

LOAD, EQUAL, ANY_BIT, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
ALLOW, KILL_PROCESS, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
Instruction = tuple[int, int, int, int]


def _return(number: int | None) -> Instruction:
    """Allow a call (None), or answer it with an error number; 0 reports success without doing anything."""
    return (RETURN, 0, 0, ALLOW if number is None else ERROR | number)


def _argument(index: int) -> Instruction:
    return (LOAD, 0, 0, 16 + 8 * index)  # the low 32 bits: both machines are little-endian, and these arguments are ints


class Filter:
    """Collects the rules of a filter.

    Args:
        machine: ``"x86_64"`` or ``"aarch64"``.

    Raises:
        OSError: For another machine.
    """

    def __init__(self, machine: str) -> None:
        if machine not in MACHINES:
            raise OSError(errno.ENOSYS, f"no seccomp filter for {machine}, only for {', '.join(MACHINES)}")
        self.column, arch = MACHINES[machine]
        self.code: list[Instruction] = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, 0)]
        if machine == "x86_64":  # the x32 twins of all calls
            self.code += [(AT_LEAST, 0, 1, 0x40000000), _return(errno.ENOSYS)]

    def rule(self, name: str, body: Sequence[Instruction]) -> None:
        """Add what happens to a call; every path through the body must return."""
        number = NUMBERS[name][self.column]
        if number is not None:
            self.code += [(EQUAL, 0, len(body), number), *body]

    def refuse(self, names: Sequence[str], number: int = errno.EPERM) -> None:
        for name in names:
            self.rule(name, [_return(number)])

    def only(self, name: str, index: int, values: Sequence[int], otherwise: int = errno.EPERM) -> None:
        """Allow a call only with these values of an argument."""
        tests = [step for value in values for step in ((EQUAL, 0, 1, value & 0xFFFFFFFF), _return(None))]
        self.rule(name, [_argument(index), *tests, _return(otherwise)])

    def never(self, name: str, index: int, values: Sequence[int]) -> None:
        """Refuse a call with these values of an argument."""
        tests = [step for value in values for step in ((EQUAL, 0, 1, value), _return(errno.EPERM))]
        self.rule(name, [_argument(index), *tests, _return(None)])

    def bytes(self) -> bytes:
        """The program as the kernel reads it."""
        return b"".join(struct.pack("=HBBI", *step) for step in [*self.code, _return(None)])


def program(machine: str, own: int, network: bool, signals: bool, attributes: bool, memory: bool, gpu: bool = False) -> bytes:
    """Write the filter.

    Args:
        machine: ``"x86_64"`` or ``"aarch64"``.
        own: Process id of the worker.
        network: Refuse all sockets but connected pairs. ``socket(AF_UNIX)`` goes too: Landlock does not hold back a connection
            to ``/run/docker.sock``. Otherwise local sockets are allowed, for where a worker has a network and files of its own;
            some families, such as AF_VSOCK, know no namespaces.
        signals: Refuse signals to other processes, for where nothing else holds them back.
        attributes: Pretend to change modes, owners and times of files. Landlock does not cover them, so a worker that runs
            under the instructor's own user could lock the instructor out. Saying "done" keeps honest code running, such as
            ``shutil.copy``.
        memory: Refuse shared memory that is no file: the kernel has no limit for it, and once a process no longer maps it,
            nothing shows whose it is. CUDA may need it.
        gpu: Leave a local socket that keeps messages apart to CUDA, whose start binds one to a name of its own. ``network`` still
            refuses to connect it to anything.
    """
    rules = Filter(machine)
    rules.refuse(FORBIDDEN)
    rules.refuse(ABSENT, errno.ENOSYS)
    rules.rule("clone", [_argument(0), (ANY_BIT, 0, 1, NAMESPACES), _return(errno.EPERM), _return(None)])
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        rules.only(name, 0, [0, own])
    for name in ("setpriority", "ioprio_set"):
        rules.only(name, 1, [0, own])
    rules.rule("socketpair", _local(STREAM, SEQPACKET))
    if network:
        rules.rule("socket", _local(SEQPACKET) if gpu else [_return(errno.EPERM)])
        rules.refuse(["connect"])
    else:
        rules.only("socket", 0, [AF_UNIX])
    devices = [TIOCSTI, TIOCLINUX]
    if signals:
        for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            rules.only(name, 0, [own])
        rules.never("fcntl", 1, [F_SETOWN, F_SETSIG, F_SETOWN_EX])  # a pipe can be told to send signals as well
        devices += [FIOSETOWN, SIOCSPGRP]
    if attributes:
        rules.refuse(ATTRIBUTES, 0)
        devices += [FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR]
    if memory:
        rules.refuse(UNPLACED, errno.ENOSYS)
        both = MAP_SHARED | MAP_ANONYMOUS
        rules.rule("mmap", [_argument(3), (AND, 0, 0, both), (EQUAL, 0, 1, both), _return(errno.EPERM), _return(None)])
    rules.never("ioctl", 1, devices)
    return rules.bytes()


def _local(*types: int) -> list[Instruction]:
    """Allow a call that makes local sockets of these types, whatever flags go with them."""
    allowed = [step for kind in types for step in ((EQUAL, 0, 1, kind), _return(None))]
    return [_argument(0), (EQUAL, 1, 0, AF_UNIX), _return(errno.EPERM), _argument(1), (AND, 0, 0, 0xF), *allowed, _return(errno.EPERM)]


def install(network: bool, signals: bool, attributes: bool, memory: bool, gpu: bool) -> None:
    """Put this process and all its children behind the filter, for good.

    Raises:
        OSError: If this kernel or machine has no such filter.
    """
    code = program(os.uname().machine, os.getpid(), network, signals, attributes, memory, gpu)
    buffer = ctypes.create_string_buffer(code, len(code))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, pointer)
