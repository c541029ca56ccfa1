"""Attacks by the files of a submission: links, pipes, zips, notebooks of a strange size. Nothing of them leaves the entry's folder."""

import contextlib
import json
import os
import sqlite3
import stat
import zipfile
from pathlib import Path
from typing import Any

from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

DATA = ("read_label", "confusion_matrix", "scores")
ONE = ("read_label",)  # where a file, an archive or a folder is hostile: the same for every definition in it
ENTRIES, attack = entry_list("attacks")


def _code(source: str) -> dict:
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}


def _pack(folder: Path, add) -> Path:
    """Zip the submission, with something added."""
    archive = folder.parent / "exam.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(folder.rglob("*.ipynb")):
            bundle.write(path, str(path.relative_to(folder)))
        add(bundle)
    return archive


@attack(ONE, about="E: zip-slip", note="lies outside of the folder: left out")
def e_zip_slip(folder: Path, notebooks: Notebooks):
    def add(bundle: zipfile.ZipFile) -> None:
        for name in ("../evil.py", "../../evil.py", "/tmp/segkit-exam-evil.py", "a/../../../evil.py"):
            bundle.writestr(name, "evil = 1")

    return lambda folder: _pack(folder, add)


@attack(ONE, about="E: symlink in a zip", note="is a link or lies outside of the folder: left out")
def e_symlink_in_a_zip(folder: Path, notebooks: Notebooks):
    def add(bundle: zipfile.ZipFile) -> None:
        for name, target in (("passwd.py", "/etc/passwd"), ("checkpoints/fcn32s.safetensors", "/dev/zero")):
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            bundle.writestr(member, target)

    return lambda folder: _pack(folder, add)


@attack(ONE, about="E: bomb in a zip", unreadable=True, cause="submission.unreadable", says="at most 4 GiB unpacked")
def e_zip_bomb(folder: Path, notebooks: Notebooks):
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
def e_zip_of_many_files(folder: Path, notebooks: Notebooks):
    def add(bundle: zipfile.ZipFile) -> None:
        for number in range(20_100):
            bundle.writestr(f"f/{number}", "")

    return lambda folder: _pack(folder, add)


@attack(
    ONE, about="E: a zip that says it needs a version of the format that there is not", unreadable=True, cause="submission.unreadable",
    says="zip file version",
)  # fmt: skip
def e_zip_of_the_future(folder: Path, notebooks: Notebooks):
    def pack(folder: Path) -> Path:
        archive = _pack(folder, lambda bundle: None)
        content = bytearray(archive.read_bytes())
        content[content.find(b"PK\1\2") + 6] = 99
        archive.write_bytes(content)
        return archive

    return pack


@attack(ONE, about="D: symlinks and FIFOs in place of files")
def d_symlinks_and_fifos(folder: Path, notebooks: Notebooks) -> None:
    (folder / "passwd.py").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "other.ipynb").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.ipynb")
    os.mkfifo(folder / "pipe.py")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "fcn32s.safetensors").symlink_to("/dev/zero")
    os.mkfifo(folder / "checkpoints.json")


@attack(DATA, about="D: a notebook that is a link to another student's", lost=dict.fromkeys(DATA, "all"), says="was not found")
def d_notebook_is_a_link(folder: Path, notebooks: Notebooks) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "1_data.ipynb").write_text(json.dumps(notebooks.pop("1_data.ipynb")), encoding="utf-8")
    (folder / "1_data.ipynb").symlink_to(other / "1_data.ipynb")


@attack(ONE, about="E: deep JSON", note="deep.ipynb: no readable notebook")
def e_deep_json(folder: Path, notebooks: Notebooks) -> None:
    (folder / "deep.ipynb").write_text("[" * 200_000 + "]" * 200_000, encoding="utf-8")
    (folder / "checkpoints.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000, encoding="utf-8")


@attack(ONE, about="E: a million cells", note="expected at most 5000 cells")
def e_many_cells(folder: Path, notebooks: Notebooks) -> None:
    text = '{"nbformat": 4, "metadata": {}, "cells": [' + ",".join(["{}"] * 1_000_000) + "]}"
    (folder / "many.ipynb").write_text(text, encoding="utf-8")


@attack(ONE, about="E: giant outputs", note="expected at most 64 MiB")
def e_giant_outputs(folder: Path, notebooks: Notebooks) -> None:
    with (folder / "giant.ipynb").open("wb") as file:
        file.truncate(70 * 2**20)


@attack(ONE, about="E: bad UTF-8, zero bytes, names of controls")
def e_bad_bytes(folder: Path, notebooks: Notebooks) -> None:
    (folder / "zero\x01byte\n.py").write_bytes(b"\0\xff\xfe" * 100)
    (folder / os.fsdecode(b"\xff\xfe.py")).write_bytes(b"x = 1\n")
    (folder / "=cmd|' C calc'!A0.py").write_text("x = 1\n", encoding="utf-8")


@attack(DATA, about="E: source that explodes the parser")
def e_source_that_explodes(folder: Path, notebooks: Notebooks) -> None:
    cells = notebooks["1_data.ipynb"]["cells"]
    cells.insert(0, _code("(" * 100_000 + ")" * 100_000))
    cells.insert(0, _code("x = " + "-" * 200_000 + "1"))
    cells.insert(0, _code("y = " + "1+" * 50_000 + "1"))


@attack(DATA, about="E: a number and a sum that Python reads and cannot write out, where the grader looks for downloads")
def e_code_that_cannot_be_written_out(folder: Path, notebooks: Notebooks) -> None:
    for number, file in enumerate((f"0x{'f' * 6000}", "+".join(["'a'"] * 800))):
        unused = f"def unused{number}():\n    return torch.load({file})\n\nunused{number}()"
        notebooks["1_data.ipynb"]["cells"].insert(0, _code(unused))


@attack(DATA, about="D: definitions by side effects of other cells", lost={"scores": "all"}, says="SystemExit")
def d_exit_in_a_decorator(folder: Path, notebooks: Notebooks) -> None:
    notebook, position = solution_cell(notebooks, "scores")
    cell = notebook["cells"][position]
    cell["source"] = "def leave(function):\n    raise SystemExit(0)\n\n@leave\n" + cell["source"]


@attack(DATA, about="D: code in cells that no definition needs is never run")
def d_code_beside_the_definitions(folder: Path, notebooks: Notebooks) -> None:
    evil = "import os\nos._exit(0)\nopen('/tmp/segkit-exam-evil', 'w').write('x')\nraise SystemExit"
    notebooks["1_data.ipynb"]["cells"].insert(0, _code(evil))
    notebooks["1_data.ipynb"]["cells"].append(_code("import sys\nsys.exit(0)"))


BOOK = """
import glob, importlib, os, sqlite3, sys

def scores(hist):
    import numpy, torch
    written = []
    books = [{book!r}, "../gradebook.db", "/tmp/gradebook.db", *glob.glob("/*/*/gradebook.db"), *glob.glob("/*/*/*/gradebook.db")]
    for path in books:
        try:
            with sqlite3.connect(f"file:{{path}}?mode=rw", uri=True) as database:
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
    DATA, about="D: edits gradebook.db, other students' results, caches, site-packages", lost={"scores": "all"}, cause="code.raises",
    says="RuntimeError: nothing could be written",
)  # fmt: skip
def d_edits_the_gradebook(folder: Path, notebooks: Notebooks) -> None:
    book, other = folder.parent / "gradebook.db", folder.parent / "other" / "result.json"
    with contextlib.closing(sqlite3.connect(book)) as database:
        database.execute("create table grade (auto_score real)")
        database.execute("insert into grade values (1.0)")
        database.commit()
    other.parent.mkdir()
    other.write_text('{"score": 1}', encoding="utf-8")
    for path in (book, other, other.parent, folder.parent):  # nothing but the walls keeps anybody from writing here
        path.chmod(0o777)
    notebook, position = solution_cell(notebooks, "scores")
    notebook["cells"][position]["source"] = BOOK.format(book=str(book), other=str(other))
