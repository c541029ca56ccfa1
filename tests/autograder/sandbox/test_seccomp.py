"""The filter of system calls: its numbers are the kernel's, and it decides by call and argument."""

import re
import struct
import sys
from pathlib import Path

import pytest
from behind_the_wall import sandbox_module

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the autograder grades on Linux")

ALLOW, KILL, ENOSYS, EPERM = 0x7FFF0000, 0x80000000, 0x00050026, 0x00050001
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def decide(code: bytes, machine: str, number: int, *arguments: int) -> int:
    """What a filter says to a system call: the few instructions of classic BPF that it uses, run in Python."""
    data = struct.pack("<IIQ6Q", number, ARCHES[machine], 0, *[*arguments, *[0] * (6 - len(arguments))])
    at, value = 0, 0
    while True:
        operation, yes, no, k = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            value = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            value &= k
        else:
            test = {0x15: value == k, 0x45: bool(value & k), 0x35: value >= k}[operation]
            at += yes if test else no


@pytest.fixture(scope="module")
def seccomp():
    return sandbox_module("seccomp")


def numbers_of_the_kernel(machine: str) -> dict[str, int]:
    header = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}[machine]
    if not Path(header).is_file():
        pytest.skip(f"{header} is not installed")
    return {name: int(n) for name, n in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", Path(header).read_text())}


@pytest.mark.parametrize("machine", list(ARCHES))
def test_numbers_of_system_calls_are_those_of_the_kernel(seccomp, machine):
    kernel = numbers_of_the_kernel(machine)
    column = list(ARCHES).index(machine)
    ours = {name: pair[column] for name, pair in seccomp.NUMBERS.items() if pair[column] is not None}
    shared = set(ours) & set(kernel)
    assert len(shared) > 60 and {name: ours[name] for name in shared} == {name: kernel[name] for name in shared}


@pytest.mark.parametrize("machine", list(ARCHES))
def test_the_filter_decides_by_call_and_argument(seccomp, machine):
    code = seccomp.program(machine, 1000, network=True, signals=True, attributes=True, memory=True)
    column = list(ARCHES).index(machine)

    def said(name: str, *arguments: int) -> int:
        return decide(code, machine, seccomp.NUMBERS[name][column], *arguments)

    assert decide(code, machine, 1) == ALLOW  # some ordinary call
    assert said("socket", 2, 1) == said("socket", 1, 1) == EPERM
    assert said("socketpair", 1, 1 | 0x80000) == ALLOW and said("socketpair", 1, 2) == said("socketpair", 2, 1) == EPERM
    assert said("kill", 1000, 9) == ALLOW and said("kill", 0xFFFFFFFF, 9) == said("kill", 0, 9) == said("kill", 1, 9) == EPERM
    assert said("clone", 0x3D0F00) == ALLOW and said("clone", 0x10000000) == EPERM and said("clone3") == ENOSYS
    assert said("prlimit64", 0) == ALLOW and said("prlimit64", 999) == EPERM
    assert said("fcntl", 3, 1) == ALLOW and said("fcntl", 3, 8) == EPERM
    assert said("fchmod", 3) == 0x00050000  # "done", without doing it
    assert said("mmap", 0, 4096, 3, 0x22) == said("mmap", 0, 4096, 3, 0x1) == said("mmap", 0, 4096, 3, 0x4022) == ALLOW
    assert said("mmap", 0, 4096, 3, 0x21) == said("mmap", 0, 4096, 1, 0x8021) == EPERM  # shared, without a file
    assert said("memfd_create") == said("memfd_secret") == ENOSYS
    open_code = seccomp.program(machine, 1000, network=False, signals=False, attributes=False, memory=False)
    assert decide(open_code, machine, seccomp.NUMBERS["mmap"][column], 0, 4096, 3, 0x21) == ALLOW
    assert decide(open_code, machine, seccomp.NUMBERS["socket"][column], 1, 1) == ALLOW
    for family in (0, 2, 10, 16, 17, 31, 38, 40, 44, 0xFFFFFFFF):  # 40: AF_VSOCK, which knows no namespaces
        assert decide(open_code, machine, seccomp.NUMBERS["socket"][column], family, 1) == EPERM
        assert decide(open_code, machine, seccomp.NUMBERS["socketpair"][column], family, 1) == EPERM
    for name in ("kill", "fchmod", "fcntl", "memfd_create"):
        assert decide(open_code, machine, seccomp.NUMBERS[name][column], 8, 8) == ALLOW
    assert decide(open_code, machine, seccomp.NUMBERS["ptrace"][column]) == EPERM


def test_calls_of_another_architecture_and_unknown_machines_are_refused(seccomp):
    code = seccomp.program("x86_64", 1, True, True, True, True)
    assert decide(code, "aarch64", 1) == KILL
    assert decide(code, "x86_64", 0x40000000 + 41, 2) == ENOSYS  # socket(2) by its x32 number
    with pytest.raises(OSError, match="no seccomp filter for sparc"):
        seccomp.program("sparc", 1, True, True, True, True)
