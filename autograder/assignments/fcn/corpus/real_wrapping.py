"""Hand-ins as they really arrive: what browsers, packers, editors, git and training programs made of honest work.

A checkpoint here is that of a network of a single number, which answers the same for every picture: a gate that calls that too low
has found the file, read it and filled the network with it.
"""

import argparse
import io
import json
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_model
from torch import nn

from autograder.assignments.fcn.corpus.attack_checkpoints import CONSTANT, NETWORK
from autograder.exam.building import solution_cell
from autograder.exam.entries import entry_list

Notebooks = dict[str, dict[str, Any]]

DATA = ("read_label", "confusion_matrix", "scores")
ONE = ("read_label",)  # where a file, an archive or a folder is strange: the same for every definition in it
FILE = "1_data.ipynb"
ENTRIES, real = entry_list("real")


def _text(notebooks: Notebooks, **how: Any) -> str:
    """Take notebook 1 out of those that are still to be written, as text."""
    return json.dumps(notebooks.pop(FILE), **({"indent": 1, "ensure_ascii": False} | how))


def _put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _code(source: str) -> dict:
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}


# ---------------------------------------------------------------------------------------------------------------- names
@real(ONE, origin="jupyter/nbviewer#177", note="1_data.ipynb.txt was read as a notebook")
def ending_txt_appended(folder: Path, notebooks: Notebooks) -> None:
    """A download on Windows that got .txt behind its name."""
    _put(folder, f"{FILE}.txt", _text(notebooks))


@real(DATA, origin="manics/jupyter-offlinenotebook#167", note="1_data.json was read as a notebook")
def ending_json_in_its_place(folder: Path, notebooks: Notebooks) -> None:
    """A browser goes by the media type and calls a notebook .json; assignment.json beside it is none."""
    _put(folder, "1_data.json", _text(notebooks))
    _put(folder, "assignment.json", json.dumps({"solution_cells": {"scores": "scores"}, "notebooks": [FILE]}))


@real(ONE, origin="jupyter/notebook#4611")
def ending_json_appended_to_a_second_copy(folder: Path, notebooks: Notebooks) -> None:
    """A browser that saves the notebook twice, as .ipynb and as .ipynb.json."""
    _put(folder, f"{FILE}.json", json.dumps(notebooks[FILE]))


@real(ONE, origin="jupyter/notebook#4356", note="1_DATA.IPYNB was read as a notebook")
def ending_in_capitals(folder: Path, notebooks: Notebooks) -> None:
    """Capitals, as old cameras and some cloud drives make them."""
    _put(folder, "1_DATA.IPYNB", _text(notebooks))


@real(ONE, origin="visum-summerschool/visum-2018#1", note="data exercise was read as a notebook")
def ending_missing(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """A notebook in a zip that lost its ending altogether."""
    _put(folder, "data exercise", _text(notebooks))
    return lambda folder: _zip(folder, folder.parent / "exam.zip")


@real(DATA, origin="ucbds-infra/otter-grader#433", note="1_data.ipynb has the same cells as 1_data (1).ipynb: 1_data (1).ipynb was read")
def second_download_worked_on(folder: Path, notebooks: Notebooks) -> None:
    """Downloaded twice, and the second copy was worked on: the first lies beside it as it was handed out."""
    _put(folder, "1_data (1).ipynb", json.dumps(notebooks[FILE]))
    for grade_id in DATA:
        notebook, position = solution_cell(notebooks, grade_id)
        notebook["cells"][position]["source"] = f"def {grade_id}(*values):\n    # YOUR CODE HERE\n    raise NotImplementedError()"


# --------------------------------------------------------------------------------------------------------------- places
@real(ONE, origin="rbg-research/AI-Training#7", note="data/1_data.ipynb was read: what it defines was found nowhere else")
def notebook_below_data(folder: Path, notebooks: Notebooks) -> None:
    """Sorted into the folder of the data, beside what the release brought."""
    _put(folder, f"data/{FILE}", _text(notebooks))
    _put(folder, "data/splits/course.txt", "cmp_b0001\n")


@real(DATA, origin="jcrodriguez-dis/moodle-mod_vpl#236", note="more than 200 notebooks and scripts")
def libraries_uploaded_with_the_work(folder: Path, notebooks: Notebooks) -> None:
    """All files of a project, two hundred and thirty of a library among them: the notebooks come first."""
    for number in range(230):
        _put(folder, f"a_library/module_{number:03}.py", "def scores(hist):\n    return None\n")


@real(DATA, origin="IIC2413/Syllabus-2022-1#123", note="not among the files")
def single_notebook_without_a_folder(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """The course system takes one .ipynb: all the work is in it, and nothing is around it."""
    cells = [cell for notebook in notebooks.values() for cell in notebook["cells"]]
    notebooks.clear()
    _put(folder, "work.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return lambda folder: folder / "work.ipynb"


# ------------------------------------------------------------------------------------------------------------- archives
def _zip(folder: Path, archive: Path, prefix: str = "", separator: str = "/") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo("x")
            member.filename = (prefix + path.relative_to(folder).as_posix()).replace("/", separator)
            bundle.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive


def _tar(folder: Path, archive: Path, mode: Literal["w:gz", "w:xz"]) -> Path:
    with tarfile.open(archive, mode) as bundle:
        bundle.add(folder, "homework")
    return archive


@real(ONE, origin="jupyter/nbgrader#526")
def zip_in_a_zip(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """A course system packs each student's zip into one more."""

    def pack(folder: Path) -> Path:
        inner = _zip(folder, folder.parent / "submission.zip", "fcn/")
        with zipfile.ZipFile(folder.parent / "exam.zip", "w") as bundle:
            bundle.write(inner, "first_last_4711/submission.zip")
            bundle.writestr("first_last_4711/timestamp.txt", "2026-03-14 22:10:05 UTC")
        return folder.parent / "exam.zip"

    return pack


@real(ONE, origin="rbg-research/AI-Training#9")
def zip_beside_a_letter(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """A folder with the zip in it, a letter beside it, and what a Mac leaves behind."""

    def pack(folder: Path) -> Path:
        place = folder.parent / "hand in"
        place.mkdir()
        archive = _zip(folder, place / "My Work.ZIP", "My Work/")
        with zipfile.ZipFile(archive, "a") as bundle:
            bundle.writestr("__MACOSX/My Work/._1_data.ipynb", b"\0\5\x16\7")
        _put(place, "read me.txt", "Everything is in the zip.")
        return place

    return pack


@real(ONE, origin="jupyter/nbgrader#49")
def tar_packed_with_gzip(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """A .tar.gz, as older submission commands made it."""
    return lambda folder: _tar(folder, folder.parent / "exam.tar.gz", "w:gz")


@real(ONE, origin="CodeGra-de/CodeGra.de#491")
def tar_packed_with_xz_in_a_folder(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """A tar in a folder, packed with xz and called otherwise: the header tells."""

    def pack(folder: Path) -> Path:
        place = folder.parent / "hand in"
        place.mkdir()
        return _tar(folder, place / "homework.tar", "w:xz").parent

    return pack


@real(ONE, origin="icsharpcode/SharpZipLib#617")
def backslashes_in_a_zip(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """PowerShell 5 puts backslashes between folders, and lists folders with one at the end."""

    def pack(folder: Path) -> Path:
        archive = _zip(folder, folder.parent / "exam.zip", "homework/fcn/", "\\")
        with zipfile.ZipFile(archive, "a") as bundle:
            member = zipfile.ZipInfo("x")
            member.filename = "homework\\fcn\\figures\\"
            bundle.writestr(member, "")
        return archive

    return pack


@real((*ONE, "pretraining.miou"), origin="srikanth-lingala/zip4j#525", lost={"pretraining.miou": "open"}, cause="submission.unreadable",
      says=("fcn32s.safetensors is packed with Deflate64", "7-Zip", "--code-only"), note="is packed with Deflate64")  # fmt: skip
def zip_of_more_than_two_gigabytes(folder: Path, notebooks: Notebooks) -> Callable[[Path], Path]:
    """Windows packs what is large with Deflate64: the notebooks are graded, the checkpoint waits for a person."""
    _put(folder, "checkpoints/fcn32s.safetensors", bytes(4096))

    def pack(folder: Path) -> Path:
        archive = _zip(folder, folder.parent / "exam.zip")
        content, name = bytearray(archive.read_bytes()), b"checkpoints/fcn32s.safetensors"
        first, last = content.find(name), content.rfind(name)
        content[first - 30 + 8] = content[last - 46 + 10] = 9  # the method, in the file's own header and in the directory
        archive.write_bytes(bytes(content))
        return archive

    return pack


@real(ONE, origin="rbg-research/AI-Training#7", unreadable=True, cause="submission.no_notebook",
      says=("homework.rar (a RAR archive)", "report.pdf (a PDF)", "Expected 1_data.ipynb"))  # fmt: skip
def rar_and_a_pdf(folder: Path, notebooks: Notebooks) -> None:
    """Nothing in it can be opened: nobody's zero."""
    notebooks.clear()
    _put(folder, "homework.rar", b"Rar!\x1a\x07\1\0" + bytes(200))
    _put(folder, "report.pdf", "%PDF-1.7\n")


@real(ONE, origin="jupyter/nbgrader#744", unreadable=True, cause="submission.empty", says="Nothing was handed in")
def folder_of_somebody_who_handed_in_nothing(folder: Path, notebooks: Notebooks) -> None:
    """The collecting script made a folder for every student."""
    notebooks.clear()
    _put(folder, ".DS_Store", b"Bud1")


# -------------------------------------------------------------------------------------------------------- damaged texts
LOST = dict.fromkeys(DATA, "all")


@real(DATA, origin="jupyter/help#67", lost=LOST, cause="code.missing",
      says=("1_data.ipynb: an unresolved merge conflict of git", "git checkout --ours", "nbdime"))  # fmt: skip
def merge_conflict_left_in(folder: Path, notebooks: Notebooks) -> None:
    """Pushed with the marks of a conflict: its cells are lost until one side is chosen, and each check says so."""
    head, line, tail = _text(notebooks).partition(' "metadata": {')
    _put(folder, FILE, f"{head}<<<<<<< HEAD\n{line}\n=======\n{line}\n>>>>>>> a1f5acb\n{tail}")


@real(DATA, origin="fastai/courses#198", lost=LOST, cause="code.missing", says=("1_data.ipynb: a web page, not the notebook",))
def web_page_saved_in_its_place(folder: Path, notebooks: Notebooks) -> None:
    """`Save link as` on a page that shows the notebook."""
    del notebooks[FILE]
    _put(folder, FILE, "<!DOCTYPE html>\n<html lang='en'><body>1_data.ipynb</body></html>\n")


@real(DATA, origin="jupyter/help#171", note="1_data.ipynb: goes on behind its end; that was passed over")
def end_of_an_older_state_behind_the_new_one(folder: Path, notebooks: Notebooks) -> None:
    """A drive that syncs wrote a shorter state over a longer one: there are two sets of closing brackets."""
    text = _text(notebooks)
    _put(folder, FILE, text + text[-300:])


@real(DATA, origin="jupyter/nbviewer#712", note="nearly all of it outputs; it was read without them")
def hundred_megabytes_of_outputs(folder: Path, notebooks: Notebooks) -> None:
    """Pictures of all predictions were left in."""
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo" * 100_000}, "metadata": {}}
    for cell in notebooks[FILE]["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [picture] * 2
    notebooks[FILE]["cells"] += [dict(_code("show()"), outputs=[picture] * 20) for _ in range(4)]
    _put(folder, FILE, _text(notebooks, indent=None))


@real(DATA, origin="kratzert/finetune_alexnet_with_tensorflow#34")
def half_a_character_in_the_cells(folder: Path, notebooks: Notebooks) -> None:
    """An emoji of which an editor kept one half, in a comment, in a text that is printed, and between two lines."""
    for grade_id in DATA:
        notebook, position = solution_cell(notebooks, grade_id)
        cell = notebook["cells"][position]
        cell["source"] = ["# done \ud83d\n", "DONE = 'fine \udc4d'\n", *cell["source"].splitlines(keepends=True)]
    _put(folder, FILE, _text(notebooks, ensure_ascii=True))


# ---------------------------------------------------------------------------------------------------------- checkpoints
GATE = ("pretraining.miou",)
FOUND = {"lost": {"pretraining.miou": "all"}, "cause": "gate.low", "says": "Nearly everything"}


def _network(notebooks: Notebooks, source: str = NETWORK.format(name="FCN32s", forward=CONSTANT)) -> None:
    notebook, position = solution_cell(notebooks, "fcn32s")
    notebook["cells"][position]["source"] = source


def _save(folder: Path, name: str, content: Any, **how: Any) -> None:
    stored = io.BytesIO()
    torch.save(content, stored, **how)
    _put(folder, name, stored.getvalue())


@real(GATE, origin="microsoft/human-pose-estimation.pytorch#28", note="model_best_FCN32s.pth.tar was taken as the checkpoint", **FOUND)
def best_model_of_several_gpus(folder: Path, notebooks: Notebooks) -> None:
    """model_best.pth.tar of a network in DataParallel, saved in a folder of its own."""
    _network(notebooks)
    _save(folder, "output/model_best_FCN32s.pth.tar", {"epoch": 24, "state_dict": {"module.scale": torch.ones(1)}, "best_acc": 0.4})


@real(GATE, origin="nerfstudio-project/nerfstudio#3702", **FOUND)
def numpy_numbers_beside_the_weights(folder: Path, notebooks: Notebooks) -> None:
    """The best mean IoU as NumPy computed it, a history in arrays, saved beside the weights."""
    _network(notebooks)
    extra = {"best": np.float64(0.41), "losses": np.arange(3.0), "history": defaultdict(list, miou=[np.float32(0.4)])}
    _save(folder, "checkpoints/fcn32s.pth", {"model": {"scale": torch.ones(1)}, **extra})


@real(GATE, origin="ROCm/Megatron-LM#56", **FOUND)
def arguments_beside_the_weights(folder: Path, notebooks: Notebooks) -> None:
    """The command line of the training program and a path are saved with the weights, under another key than usual."""
    _network(notebooks)
    arguments = argparse.Namespace(lr=1e-4, out=Path("runs/fcn32s"))
    _save(folder, "checkpoints/FCN32s.pth", {"net": {"scale": torch.ones(1)}, "args": arguments, "optimizer": {"state": {}}})


@real(GATE, origin="choderalab/modelforge#102", **FOUND)
def training_programs_own_wrapper(folder: Path, notebooks: Notebooks) -> None:
    """A .ckpt of a training program: all names begin with `model.`, and the loss has weights of its own."""
    _network(notebooks)
    state = {"model.scale": torch.ones(1), "loss.weight": torch.ones(12)}
    beside = {"epoch": 24, "pytorch-lightning_version": "2.5", "callbacks": {}, "hyper_parameters": argparse.Namespace(n_class=12)}
    _save(folder, "checkpoints/fcn32s-epoch=24-miou=0.41.ckpt", {"state_dict": state, **beside})


@real(GATE, origin="github.com/pinying567/Semantic-Segmentation-of-Aerial-Images, baseline.py",
      note="known by the names of its layers", **FOUND)  # fmt: skip
def checkpoint_named_by_its_epoch(folder: Path, notebooks: Notebooks) -> None:
    """checkpoint/300.pkl: no name tells whose it is, the names of its layers do."""
    _network(notebooks)
    _save(folder, "checkpoint/300.pkl", {"model": {"module.scale": torch.ones(1)}})


@real(GATE, origin="huggingface/accelerate#2875", **FOUND)
def layer_that_has_two_names(folder: Path, notebooks: Notebooks) -> None:
    """safetensors keeps a layer that is there under two names once."""
    source = NETWORK.format(name="FCN32s", forward=CONSTANT).replace("        self.scale =", "        self.same = self.scale =")
    _network(notebooks, source)
    network = nn.Module()
    network.same = network.scale = nn.Parameter(torch.ones(1))
    (folder / "checkpoints").mkdir(parents=True)
    save_model(network, str(folder / "checkpoints" / "fcn32s (1).safetensors"))


@real(GATE, origin="QVPR/Patch-NetVLAD#22", **FOUND)
def part_of_the_network_on_several_gpus(folder: Path, notebooks: Notebooks) -> None:
    """Only a part of the network was wrapped in DataParallel for the training."""
    source = NETWORK.format(name="FCN32s", forward=CONSTANT).replace("self.scale", "self.part.scale")
    _network(notebooks, source.replace("        self.part.scale =", "        self.part = nn.Module()\n        self.part.scale ="))
    _save(folder, "checkpoints/fcn32s.pt", {"part.module.scale": torch.ones(1)}, _use_new_zipfile_serialization=False)


@real(GATE, origin="BME1478H/Fall2022class#49", note="fcn32s_weights.zip/fcn32s.safetensors was taken as the checkpoint fcn32s", **FOUND)
def checkpoint_packed_for_the_upload(folder: Path, notebooks: Notebooks) -> None:
    """The course system took no .safetensors, so it was put into a zip."""
    _network(notebooks)
    network = nn.Module()
    network.scale = nn.Parameter(torch.ones(1))
    save_model(network, str(folder / "fcn32s.safetensors"))
    with zipfile.ZipFile(folder / "fcn32s_weights.zip", "w") as bundle:
        bundle.write(folder / "fcn32s.safetensors", "fcn32s.safetensors")
    (folder / "fcn32s.safetensors").unlink()
