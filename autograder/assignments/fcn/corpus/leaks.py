"""Leaks planted in a release: solutions, hidden checks, reference and people's traces in every place they have been seen.

Each function spoils a copy of the finished release (its folder and the archive made of it); the words given are those of
the finding that must come.
"""

import base64
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from autograder.exam.entries import entry_list

ENTRIES, leak = entry_list("leaks")

SOLUTION = "training_numbers[file_numbers == 0] = 255"
LONG_SOLUTION = "from_pool3 = self.score_pool_3(pool3)[:, :, 9 : 9 + rows, 9 : 9 + columns]"
REPOSITORY = Path(__file__).resolve().parents[4]
A_SOLUTION = "a line of a solution"


def _edit(release: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = release / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _code_cell(content: dict[str, Any]) -> dict[str, Any]:
    return next(cell for cell in content["cells"] if cell["cell_type"] == "code")


def _set(release: Path, name: str, **values: Any) -> None:
    _edit(release, name, lambda content: _code_cell(content).update(values))


@leak((), says=A_SOLUTION)
def solution_in_another_cell(release: Path, archive: Path) -> None:
    _set(release, "1_data.ipynb", source=[f"x = 1\n{SOLUTION}\n"])


@leak((), says=A_SOLUTION)
def solution_in_another_notebook(release: Path, archive: Path) -> None:
    _set(release, "5_questions.ipynb", source=LONG_SOLUTION)


@leak((), says=A_SOLUTION)
def solution_commented_out(release: Path, archive: Path) -> None:
    _set(release, "4_fcn8s.ipynb", source=f"#   {LONG_SOLUTION}")


@leak((), says=A_SOLUTION)
def solution_in_a_docstring(release: Path, archive: Path) -> None:
    _set(release, "1_data.ipynb", source=f'def read_label(path):\n    """{SOLUTION}"""\n    raise NotImplementedError()')


@leak((), says=A_SOLUTION)
def solution_wrapped_over_lines(release: Path, archive: Path) -> None:
    _set(release, "4_fcn8s.ipynb", source=LONG_SOLUTION.replace("(", "(\n        "))


@leak((), says=A_SOLUTION)
def solution_in_the_text(release: Path, archive: Path) -> None:
    _edit(release, "3_pretraining.ipynb", lambda c: c["cells"].append(
        {"cell_type": "markdown", "metadata": {}, "source": f"Remember: `{LONG_SOLUTION}`"}))  # fmt: skip


@leak((), says=A_SOLUTION)
def solution_in_an_output(release: Path, archive: Path) -> None:
    _set(release, "1_data.ipynb", outputs=[{"output_type": "stream", "name": "stdout", "text": [SOLUTION]}])


@leak((), says="outputs were left in")
def output_picture(release: Path, archive: Path) -> None:
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
    _set(release, "2_fcn32s.ipynb", outputs=[picture])


@leak((), says="an execution count was left in")
def execution_count(release: Path, archive: Path) -> None:
    _set(release, "2_fcn32s.ipynb", execution_count=7)


@leak((), says=A_SOLUTION)
def solution_in_cell_metadata(release: Path, archive: Path) -> None:
    _edit(release, "1_data.ipynb", lambda c: _code_cell(c)["metadata"].update(hint={"text": [SOLUTION]}))


@leak((), says=A_SOLUTION)
def solution_in_an_attachment(release: Path, archive: Path) -> None:
    data = base64.b64encode(f"for staff: {LONG_SOLUTION}".encode()).decode()
    _edit(release, "1_data.ipynb", lambda c: c["cells"][0].update(attachments={"a.txt": {"text/plain": data}}))


@leak((), says="a marker of a solution")
def marker_of_a_solution(release: Path, archive: Path) -> None:
    _set(release, "1_data.ipynb", source="### BEGIN SOLUTION")


@leak((), says="(5_questions.ipynb, cell")
def mark_scheme(release: Path, archive: Path) -> None:
    source = json.loads((REPOSITORY / "notebooks/fcn/5_questions.ipynb").read_text(encoding="utf-8"))
    text = next(t for t in ("".join(cell["source"]) for cell in source["cells"]) if "BEGIN MARK SCHEME" in t)
    line = max(text.partition("BEGIN MARK SCHEME")[2].splitlines(), key=len)
    (release / "START_HERE.md").write_text(f"For graders, the mark scheme: {line}\n", encoding="utf-8")


@leak((), says="authors")
def staff_metadata(release: Path, archive: Path) -> None:
    _edit(release, "1_data.ipynb", lambda c: c["metadata"].update(authors=[{"name": "Ada"}]))


@leak((), says="ada")
def home_folder(release: Path, archive: Path) -> None:
    _set(release, "1_data.ipynb", source="root = '/home/ada/facades'")


@leak((), says="ada@cs.uni-somewhere.edu")
def e_mail(release: Path, archive: Path) -> None:
    (release / "START_HERE.md").write_text("ask ada@cs.uni-somewhere.edu\n", encoding="utf-8")


@leak((), says="a compiled file")
def compiled_file(release: Path, archive: Path) -> None:
    (release / "segkit" / "__pycache__").mkdir()
    (release / "segkit" / "__pycache__" / "metrics.cpython-311.pyc").write_bytes(b"\xa7\r\r\n compiled")


@leak((), says="a compiled file")
def shared_library(release: Path, archive: Path) -> None:
    (release / "segkit" / "fast.so").write_bytes(b"\x7fELF")


@leak((), says="a folder that has no place in a release")
def reference_folder(release: Path, archive: Path) -> None:
    shutil.copytree(REPOSITORY / "segkit" / "reference", release / "segkit" / "reference")


@leak((), says="a line of a reference")
def reference_under_another_name(release: Path, archive: Path) -> None:
    files = sorted((REPOSITORY / "segkit" / "reference").rglob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    target = release / "segkit" / "synthetic.py"
    target.write_text(target.read_text(encoding="utf-8") + text, encoding="utf-8")


@leak((), says="not on the list of files")
def hidden_check(release: Path, archive: Path) -> None:
    shutil.copy(REPOSITORY / "autograder/assignments/fcn/checks/test_networks.py", release / "segkit" / "test_networks.py")


@leak((), says="autograder")
def the_grader_itself(release: Path, archive: Path) -> None:
    (release / "autograder").mkdir()
    (release / "autograder" / "metrics.py").write_text("x = 1\n", encoding="utf-8")


@leak((), says="checkpoints")
def checkpoint_folder(release: Path, archive: Path) -> None:
    (release / "checkpoints").mkdir()
    (release / "checkpoints" / "fcn8s.safetensors").write_bytes(b"\0" * 64)


@leak((), says="no label map")
def weights_among_recorded_runs(release: Path, archive: Path) -> None:
    path = release / "data" / "facades" / "recorded" / "fcn8s" / "stages.npz"
    np.savez_compressed(path, score=np.zeros((12, 4096, 1, 1), np.float32))


@leak((), says=".git")
def git_folder(release: Path, archive: Path) -> None:
    (release / ".git").mkdir()
    (release / ".git" / "config").write_text("[user]\n", encoding="utf-8")


@leak((), says=".ipynb_checkpoints")
def checkpoints_of_jupyter(release: Path, archive: Path) -> None:
    (release / ".ipynb_checkpoints").mkdir()
    shutil.copy(REPOSITORY / "notebooks/fcn/1_data.ipynb", release / ".ipynb_checkpoints" / "1_data-checkpoint.ipynb")


@leak((), says="not on the list of files")
def notes_of_staff(release: Path, archive: Path) -> None:
    (release / "todo.txt").write_text("nothing much", encoding="utf-8")


@leak((), says="metadata inside a picture")
def author_in_a_picture(release: Path, archive: Path) -> None:
    path = next((release / "data" / "facades" / "sample").rglob("*.png"))
    with Image.open(path) as picture:
        picture.load()
        note, file = PngInfo(), io.BytesIO()
        note.add_text("Author", "Ada")
        picture.save(file, "PNG", pnginfo=note)
    path.write_bytes(file.getvalue())


@leak((), says="a link in place of a file")
def link_to_the_data(release: Path, archive: Path) -> None:
    (release / "data" / "all").symlink_to("/etc")


def _append(archive: Path, change: Callable[[zipfile.ZipFile], object]) -> None:
    with zipfile.ZipFile(archive, "a") as bundle:
        change(bundle)


@leak((), says=["comment", A_SOLUTION])
def solution_in_the_zip_comment(release: Path, archive: Path) -> None:
    _append(archive, lambda bundle: setattr(bundle, "comment", LONG_SOLUTION.encode()))


@leak((), says="lies outside the folder")
def file_of_the_zip_alone(release: Path, archive: Path) -> None:
    _append(archive, lambda bundle: bundle.writestr("../solutions.txt", "x"))


@leak((), says="not on the list of files")
def file_hidden_in_the_zip(release: Path, archive: Path) -> None:
    _append(archive, lambda bundle: bundle.writestr("fcn/segkit/solution.py", "x = 1\n"))
