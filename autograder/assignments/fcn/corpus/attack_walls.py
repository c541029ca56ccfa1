"""Attacks on the walls: what a worker may open, read and change beside its own folder. Each tells what it reached in an error."""

from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

DATA = ("read_label", "confusion_matrix", "scores")
ENTRIES, attack = entry_list("attacks")

ENDING = """
    raise RuntimeError("reached " + " ".join(map(str, reached)) if reached else "nothing was reached")
"""

SOCKETS = """
import ctypes, os, socket

def scores(hist):
    reached = []
    for family in range(64):
        for kind in (1, 2, 3, 5):
            for protocol in (0, 1, 16):
                try:
                    socket.socket(family, kind, protocol).close()
                except OSError as error:
                    if error.errno == 1:
                        continue
                if family != socket.AF_UNIX and family not in reached:
                    reached.append(family)
    calls = {"io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298}
    libc = ctypes.CDLL(None, use_errno=True)
    if os.uname().machine == "x86_64":
        for name, number in calls.items():
            libc.syscall(number, 8, ctypes.create_string_buffer(120), 120)
            if ctypes.get_errno() not in (1, 38):
                reached.append(name)
"""

RIGHTS = """
import glob, os

def scores(hist):
    reached = []
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16) & ~4:  # 4: to read what its view holds
            reached.append(name)
    for path in [{secret!r}, *glob.glob("/*/*/.segkit-secret"), *glob.glob("/proc/[0-9]*/root/etc/shadow"), "/etc/shadow", "/root"]:
        try:
            os.listdir(path) if os.path.isdir(path) and path != "/root" else open(path, "rb").close()
            reached.append(path)
        except OSError:
            pass
"""

MEMORY = """
import glob, os

def scores(hist):
    reached = []
    if int(open("/proc/self/oom_score_adj").read()) != 1000:
        reached.append("not the first to go")
    for path in ["/proc/self/oom_score_adj", "/proc/1/oom_score_adj", *glob.glob("/proc/self/task/*/oom_score_adj"), "/proc/self/oom_adj"]:
        for number in ("0", "-17", "-1000", "999"):
            try:
                with open(path, "w") as file:
                    file.write(number)
                reached.append(path)
            except OSError:
                pass
"""


def _defines(notebooks: Notebooks, source: str) -> None:
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] = source + ENDING


NOTHING = {"lost": {"scores": "all"}, "cause": "code.raises", "says": "RuntimeError: nothing was reached"}


@attack(DATA, about="D: sockets of every family, also of those that know no namespaces (AF_VSOCK)", **NOTHING)
def d_sockets_of_every_family(folder: Path, notebooks: Notebooks) -> None:
    _defines(notebooks, SOCKETS)


@attack(DATA, about="D: rights of the judge, a secret that only its user may read", **NOTHING)
def d_rights_of_the_judge(folder: Path, notebooks: Notebooks) -> None:
    secret = folder.parent / ".segkit-secret"
    secret.write_text("hush", encoding="utf-8")
    secret.chmod(0o600)
    _defines(notebooks, RIGHTS.replace("{secret!r}", repr(str(secret))))


@attack(DATA, about="E: lets the judge be ended in its place where memory runs out", **NOTHING)
def e_stays_when_memory_runs_out(folder: Path, notebooks: Notebooks) -> None:
    _defines(notebooks, MEMORY)
