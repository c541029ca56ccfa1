"""Attacks that do not care what a function is for, for every assignment: at the worker, the judge and the files of a submission.

What is code in or beside a function stands in ``attacks.toml``; here is what needs files, links or archives. None harms the machine, and
nothing of them leaves the entry's folder.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import stat
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from autograder.exam.building import code_cell, solution_cell
from autograder.exam.entries import Entry, Loss, entry_list

__all__ = ["Target", "shared"]

Notebooks = dict[str, dict[str, Any]]

CODE = Path(__file__).with_name("attacks.toml")
FORMS, attack = entry_list("attacks")
DATA = ("target", "beside")
ONE = ("target",)  # where a file, an archive or a folder is hostile: the same for every definition in it
NOTHING = {"lost": {"target": "all"}, "cause": "code.raises", "says": "RuntimeError: nothing was reached"}


@dataclass(frozen=True)
class Target:
    """The function of an assignment that attacks are made at; a check of the same name as its cell grades it.

    Attributes:
        file: Name of its notebook.
        cell: Grade id of its cell.
        define: Its ``def`` line.
        begin: How its first statement begins, with the spaces before it.
        wrong: Source of a result of the right kind and a wrong value.
        lost: What its check loses by that result.
        beside: Ids of other checks of the notebook.
    """

    file: str
    cell: str
    define: str
    begin: str
    wrong: str
    lost: Loss
    beside: tuple[str, ...]


def shared(target: Target) -> list[Entry]:
    """Entries of all attacks.

    Args:
        target: What they are made at.
    """
    text = CODE.read_text(encoding="utf-8")
    call = target.define.removeprefix("def ").removesuffix(":")
    for slot, words in (("def", target.define), ("call", call), ("wrong", target.wrong)):
        text = text.replace("{{" + slot + "}}", words)
    return [*(_in_code(content, target) for content in tomllib.loads(text)["attacks"]), *(_by_files(form, target) for form in FORMS)]


def _in_code(content: Mapping[str, Any], target: Target) -> Entry:
    cell, first = target.cell, content.get("first")
    lost = {"all": "all", "wrong": target.lost}
    return Entry(
        "attacks", content["name"], content["about"],
        changes={} if first is None else {cell: [[target.begin, f"{indent(first, '    ')}\n{target.begin}"]]},
        sources={cell: content["source"]} if "source" in content else {},
        above={cell: content["above"]} if "above" in content else {},
        files=content.get("files", {}),
        checks=(*(target.beside if content.get("beside") else ()), cell),
        lost={cell: lost[content["lost"]]} if "lost" in content else {},
        cause=content.get("cause", ""), says=(content["says"],) if "says" in content else (), seconds=float(content.get("seconds", 0)),
    )  # fmt: skip


def _by_files(form: Entry, target: Target) -> Entry:
    checks = (*(target.beside if "beside" in form.checks else ()), target.cell)
    names = {"target": (target.cell,), "every": checks}
    lost = {check: loss for name, loss in form.lost.items() for check in names[name]}
    return dataclasses.replace(form, checks=checks, lost=lost, damages=(target.file, target.cell, target.define))


def _defines(notebooks: Notebooks, cell: str, define: str, source: str) -> None:
    notebook, position = solution_cell(notebooks, cell)
    notebook["cells"][position]["source"] = source.replace("{{def}}", define)


def _pack(folder: Path, add) -> Path:
    """Zip the submission, with something added."""
    archive = folder.parent / "exam.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(folder.rglob("*.ipynb")):
            bundle.write(path, str(path.relative_to(folder)))
        add(bundle)
    return archive


@attack(ONE, about="E: zip-slip", note="lies outside of the folder: left out")
def e_zip_slip(folder: Path, notebooks: Notebooks, *_: str):
    def add(bundle: zipfile.ZipFile) -> None:
        for name in ("../evil.py", "../../evil.py", "/tmp/segkit-exam-evil.py", "a/../../../evil.py"):
            bundle.writestr(name, "evil = 1")

    return lambda folder: _pack(folder, add)


@attack(ONE, about="E: symlink in a zip", note="is a link or lies outside of the folder: left out")
def e_symlink_in_a_zip(folder: Path, notebooks: Notebooks, *_: str):
    def add(bundle: zipfile.ZipFile) -> None:
        for name, target in (("passwd.py", "/etc/passwd"), ("checkpoints/fcn32s.safetensors", "/dev/zero")):
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            bundle.writestr(member, target)

    return lambda folder: _pack(folder, add)


@attack(ONE, about="E: bomb in a zip", unreadable=True, cause="submission.unreadable", says="at most 4 GiB unpacked")
def e_zip_bomb(folder: Path, notebooks: Notebooks, *_: str):
    def pack(folder: Path) -> Path:
        archive = _pack(folder, lambda bundle: bundle.writestr("zeros.bin", b"\0" * 2**24))
        # the size that the zip claims: 4 GiB and more, in the directory and in the file's own header
        content = archive.read_bytes()
        real, claimed = (2**24).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")
        content = content.replace(real, claimed)
        archive.write_bytes(content)
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as bundle:
            bundle.writestr("more.bin", b"\0" * 2**24)
        return archive

    return pack


@attack(ONE, about="E: a hundred thousand files in a zip", unreadable=True, cause="submission.unreadable", says="at most 20000 files")
def e_zip_of_many_files(folder: Path, notebooks: Notebooks, *_: str):
    def add(bundle: zipfile.ZipFile) -> None:
        for number in range(20_100):
            bundle.writestr(f"f/{number}", "")

    return lambda folder: _pack(folder, add)


@attack(
    ONE, about="E: a zip that says it needs a version of the format that there is not", unreadable=True, cause="submission.unreadable",
    says="zip file version",
)  # fmt: skip
def e_zip_of_the_future(folder: Path, notebooks: Notebooks, *_: str):
    def pack(folder: Path) -> Path:
        archive = _pack(folder, lambda bundle: None)
        content = bytearray(archive.read_bytes())
        content[content.find(b"PK\1\2") + 6] = 99
        archive.write_bytes(content)
        return archive

    return pack


@attack(ONE, about="D: symlinks and FIFOs in place of files")
def d_symlinks_and_fifos(folder: Path, notebooks: Notebooks, *_: str) -> None:
    (folder / "passwd.py").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "other.ipynb").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.ipynb")
    os.mkfifo(folder / "pipe.py")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "fcn32s.safetensors").symlink_to("/dev/zero")
    os.mkfifo(folder / "checkpoints.json")


@attack(DATA, about="D: a notebook that is a link to another student's", lost={"every": "all"}, says="was not found")
def d_notebook_is_a_link(folder: Path, notebooks: Notebooks, file: str, *_: str) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / file).write_text(json.dumps(notebooks.pop(file)), encoding="utf-8")
    (folder / file).symlink_to(other / file)


@attack(ONE, about="E: deep JSON", note="deep.ipynb: no readable notebook")
def e_deep_json(folder: Path, notebooks: Notebooks, *_: str) -> None:
    (folder / "deep.ipynb").write_text("[" * 200_000 + "]" * 200_000, encoding="utf-8")
    (folder / "checkpoints.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000, encoding="utf-8")


@attack(ONE, about="E: a million cells", note="expected at most 5000 cells")
def e_many_cells(folder: Path, notebooks: Notebooks, *_: str) -> None:
    text = '{"nbformat": 4, "metadata": {}, "cells": [' + ",".join(["{}"] * 1_000_000) + "]}"
    (folder / "many.ipynb").write_text(text, encoding="utf-8")


@attack(ONE, about="E: giant outputs", note="expected at most 64 MiB")
def e_giant_outputs(folder: Path, notebooks: Notebooks, *_: str) -> None:
    with (folder / "giant.ipynb").open("wb") as file:
        file.truncate(70 * 2**20)


@attack(ONE, about="E: bad UTF-8, zero bytes, names of controls")
def e_bad_bytes(folder: Path, notebooks: Notebooks, *_: str) -> None:
    (folder / "zero\x01byte\n.py").write_bytes(b"\0\xff\xfe" * 100)
    (folder / os.fsdecode(b"\xff\xfe.py")).write_bytes(b"x = 1\n")
    (folder / "=cmd|' C calc'!A0.py").write_text("x = 1\n", encoding="utf-8")


@attack(DATA, about="E: source that explodes the parser")
def e_source_that_explodes(folder: Path, notebooks: Notebooks, file: str, *_: str) -> None:
    cells = notebooks[file]["cells"]
    cells.insert(0, code_cell("(" * 100_000 + ")" * 100_000))
    cells.insert(0, code_cell("x = " + "-" * 200_000 + "1"))
    cells.insert(0, code_cell("y = " + "1+" * 50_000 + "1"))


@attack(DATA, about="E: a number and a sum that Python reads and cannot write out, where the grader looks for downloads")
def e_code_that_cannot_be_written_out(folder: Path, notebooks: Notebooks, file: str, *_: str) -> None:
    for number, address in enumerate((f"0x{'f' * 6000}", "+".join(["'a'"] * 800))):
        unused = f"def unused{number}():\n    return torch.load({address})\n\nunused{number}()"
        notebooks[file]["cells"].insert(0, code_cell(unused))


@attack(DATA, about="D: definitions by side effects of other cells", lost={"target": "all"}, says="SystemExit")
def d_exit_in_a_decorator(folder: Path, notebooks: Notebooks, file: str, cell: str, define: str) -> None:
    notebook, position = solution_cell(notebooks, cell)
    honest = notebook["cells"][position]
    honest["source"] = "def leave(function):\n    raise SystemExit(0)\n\n@leave\n" + honest["source"]


@attack(DATA, about="D: code in cells that no definition needs is never run")
def d_code_beside_the_definitions(folder: Path, notebooks: Notebooks, file: str, *_: str) -> None:
    evil = "import os\nos._exit(0)\nopen('/tmp/segkit-exam-evil', 'w').write('x')\nraise SystemExit"
    notebooks[file]["cells"].insert(0, code_cell(evil))
    notebooks[file]["cells"].append(code_cell("import sys\nsys.exit(0)"))


BOOK = """
import glob, importlib, os, sqlite3, sys

{{def}}
    import numpy, torch
    written = []
    books = [{book!r}, "../gradebook.db", "/tmp/gradebook.db", *glob.glob("/*/*/gradebook.db"), *glob.glob("/*/*/*/gradebook.db")]
    for path in books:
        try:
            with sqlite3.connect(f"file:{path}?mode=rw", uri=True) as database:
                database.execute("update grade set auto_score = 100")
            written.append(path)
        except sqlite3.Error:
            pass
    others = [{other!r}, "../other/result.json", *glob.glob("../*/result.json"), *glob.glob("/tmp/*/*/result.json")]
    caches = [module.__cached__ for module in (numpy, torch, os, importlib) if getattr(module, "__cached__", None)]
    for path in [*others, *caches, *glob.glob("../cache/*.npz"), *glob.glob("/tmp/*/cache/*.npz"), *glob.glob("/tmp/*/.gates/*.npz")]:
        try:
            with open(path, "r+b"):
                written.append(path)
        except OSError:
            pass
    folders = [os.path.dirname(path) for path in [*others, *caches]] + [os.path.dirname(os.path.dirname(numpy.__file__))]
    for folder in folders:
        try:
            with open(os.path.join(folder, "evil.py"), "w") as file:
                file.write("evil = 1")
            written.append(folder)
        except OSError:
            pass
    raise RuntimeError("wrote to " + " ".join(written) if written else "nothing could be written")
"""


@attack(
    DATA, about="D: edits gradebook.db, other students' results, caches, site-packages", lost={"target": "all"}, cause="code.raises",
    says="RuntimeError: nothing could be written",
)  # fmt: skip
def d_edits_the_gradebook(folder: Path, notebooks: Notebooks, file: str, cell: str, define: str) -> None:
    book, other = folder.parent / "gradebook.db", folder.parent / "other" / "result.json"
    with contextlib.closing(sqlite3.connect(book)) as database:
        database.execute("create table grade (auto_score real)")
        database.execute("insert into grade values (1.0)")
        database.commit()
    other.parent.mkdir()
    other.write_text('{"score": 1}', encoding="utf-8")
    for path in (book, other, other.parent, folder.parent):  # nothing but the walls keeps anybody from writing here
        path.chmod(0o777)
    source = BOOK.replace("{book!r}", repr(str(book))).replace("{other!r}", repr(str(other)))
    _defines(notebooks, cell, define, source)


# ------------------------------------------------------------------------------------------------------------ walls
ENDING = """
    raise RuntimeError("reached " + " ".join(map(str, reached)) if reached else "nothing was reached")
"""

SOCKETS = """
import ctypes, os, socket

{{def}}
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

{{def}}
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

{{def}}
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


@attack(DATA, about="D: sockets of every family, also of those that know no namespaces (AF_VSOCK)", **NOTHING)
def d_sockets_of_every_family(folder: Path, notebooks: Notebooks, file: str, cell: str, define: str) -> None:
    _defines(notebooks, cell, define, SOCKETS + ENDING)


@attack(DATA, about="D: rights of the judge, a secret that only its user may read", **NOTHING)
def d_rights_of_the_judge(folder: Path, notebooks: Notebooks, file: str, cell: str, define: str) -> None:
    secret = folder.parent / ".segkit-secret"
    secret.write_text("hush", encoding="utf-8")
    secret.chmod(0o600)
    _defines(notebooks, cell, define, RIGHTS.replace("{secret!r}", repr(str(secret))) + ENDING)


@attack(DATA, about="E: lets the judge be ended in its place where memory runs out", **NOTHING)
def e_stays_when_memory_runs_out(folder: Path, notebooks: Notebooks, file: str, cell: str, define: str) -> None:
    _defines(notebooks, cell, define, MEMORY + ENDING)
