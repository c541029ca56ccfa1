"""Scratch copies of the repository in which printed commands run as they are printed, with small stand-ins for what is large.

The names of the texts are names of files here: there is a folder ``CMP_ROOT``, a folder ``RAW``, a file ``EXPORT.zip``.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from printed import REPOSITORY

sys.path.append(str(REPOSITORY / "tests" / "autograder"))
from small_course import check_cell, graded
from tiny import DOUBLE, NET, TINY, weights, write_submission

from segkit.checkpoints import save_checkpoint

__all__ = ["Place", "check_cell", "copy_of_the_repository", "course_named_fcn", "facades", "fill_in_the_release", "narrow_networks"]

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*_cache", "cmp_facade", "weights", "*.egg-info",
                                  ".segkit-secret", "gradebook.db", "submitted", "autograded", "feedback")  # fmt: skip
SMALL = 72, 100
SIXTEENTH = '''"""Every network with a sixteenth of its channels. Python imports this when it starts."""
import sys

if "segkit" in sys.orig_argv:
    from torch import nn

    def narrow(kind):
        begin = kind.__init__

        def init(self, inputs, outputs, *more, **named):
            begin(self, *(size // 16 if size >= 64 else size for size in (inputs, outputs)), *more, **named)

        kind.__init__ = init

    narrow(nn.Conv2d)
    narrow(nn.Linear)
'''
CLASSROOM_50 = {"CLASSROOM": "2026", "SUBMISSION_TAG": "v1", "COMMIT_URL": "https://example.org/commit/abc",
                "RELEASE_URL": "https://example.org/release", "REVIEW_URL": "https://example.org/review"}  # fmt: skip


@dataclass
class Place:
    """A folder in which commands are run.

    Attributes:
        folder: Where.
        environment: What is set there beside the usual.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command as a reader's shell would; a line that begins with ``!`` in a notebook's cell."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEGKIT_", "PYTEST_"))}
        settings = {"PATH": programs, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "IPYTHONDIR": str(self.folder.parent / "ipython")}
        environment = kept | settings | self.environment
        if command.startswith("!"):
            cell = f"import sys\n{command}\nassert _exit_code == 0"
            command = f"python -m IPython -c {shlex.quote(cell)}"
        return subprocess.run(["bash", "-c", command], cwd=self.folder, env=environment, text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, stdin=subprocess.DEVNULL)  # fmt: skip

    def must(self, command: str, status: int = 0, leaves: tuple[str, ...] = (), says: str = "") -> None:
        """Run a command; it must end so, leave these files (patterns), and say these words."""
        done = self.run(command)
        told = f"$ {command}\n{done.stdout[-3000:]}"
        assert done.returncode == status, f"ended with {done.returncode}, not {status}: {told}"
        missing = [pattern for pattern in leaves if not list(self.folder.glob(pattern))]
        assert not missing, f"did not leave {missing}: {told}"
        assert says in done.stdout, f"did not say {says!r}: {told}"

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file's text."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} does not hold {old!r} any more: adapt the stand-in"
        path.write_text(text.replace(old, new), encoding="utf-8")


def copy_of_the_repository(folder: Path) -> Place:
    """Everything that a clone has."""
    shutil.copytree(REPOSITORY, folder, ignore=LEFT_OUT)
    return Place(folder, {"SEGKIT_COURSE_SECRET": "a secret of the tests"})


def facades(place: Place) -> None:
    """A database ``CMP_ROOT`` of small drawn pictures under the names of the real ones."""
    drawn = sorted((REPOSITORY / "data" / "facades" / "sample" / "base").glob("*.jpg"))
    base = place.folder / "CMP_ROOT" / "base"
    base.mkdir(parents=True)
    for number in range(378):
        path = drawn[number % len(drawn)]
        file = base / f"cmp_b{number + 1:04}"
        Image.open(path).resize(SMALL).save(file.with_suffix(".jpg"))
        Image.open(path.with_suffix(".png")).resize(SMALL, Image.Resampling.NEAREST).save(file.with_suffix(".png"))
        shutil.copyfile(path.with_suffix(".xml"), file.with_suffix(".xml"))
    for name in ("ROOT", "data/cmp_facade"):
        shutil.copytree(base.parent, place.folder / name)


def narrow_networks(place: Place) -> None:
    """Networks of a sixteenth of the channels, one epoch where none is asked for, and lists of six facades."""
    folder = place.folder / "narrow"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SIXTEENTH)
    place.environment["PYTHONPATH"] = str(folder)
    place.edit("segkit/cli/train.py", "(5 if short else 25)", "1")
    place.edit("segkit/pretrain_config.py", "epochs: int = 30", "epochs: int = 1")
    for part, many in (("train", 4), ("val", 3), ("test", 1)):
        path = place.folder / "data" / "facades" / "splits" / "base" / f"{part}.txt"
        path.write_text("".join(f"{name}\n" for name in path.read_text().split()[:many]))


# ------------------------------------------------------------------------------------------------ a small course
# what course systems give out of that course
GRADEBOOKS = {
    "class.csv": "student_id,email\nada,a@example.org\nbob,b@example.org\n",
    "GRADEBOOK.csv": "Student,ID,SIS Login ID,Section,Project fcn (77)\n    Points Possible,,,,15\nA,1,ada,A,\nB,2,bob,A,\n",
    "WORKSHEET.csv": "Identifier,Email address,Grade,Last modified (grade)\nParticipant 1,ada@x.org,,-\nParticipant 2,bob@x.org,,-\n",
}


def _cell(source: str, grade_id: str, points: float | None = None) -> nbformat.NotebookNode:
    metadata = graded(grade_id, grade=points is not None, solution=points is None, locked=points is not None, points=points)
    return new_code_cell(source, id=grade_id, metadata=metadata)


def _solution(source: str) -> str:
    head, _, body = source.partition("\n\n")
    return f"{head}\n\n### BEGIN SOLUTION\n{body}### END SOLUTION\n"


def course_named_fcn(place: Place) -> None:
    """Put the tiny assignment in the place of ``fcn``: its rubric, its checks, two notebooks; and a class that handed in."""
    root = place.folder
    material, books = root / "autograder" / "assignments" / "fcn", root / "notebooks" / "fcn"
    shutil.move(material / "release", root / "texts")
    shutil.rmtree(material)
    shutil.rmtree(books)
    shutil.copytree(TINY, material, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move(root / "texts", material / "release")
    place.edit("autograder/assignments/fcn/rubric.toml", 'assignment = "tiny"', 'assignment = "fcn"')
    question = new_markdown_cell("Why dots?", id="question",
                                 metadata=graded("question", grade=True, solution=True, locked=False, points=5))  # fmt: skip
    books.mkdir()
    for name, cells in {
        "1_double": [_cell(_solution(DOUBLE), "double"), _cell("# judged", "double-check", 4)],
        "2_dots": [_cell(_solution(NET), "net"), _cell("# judged", "net-forward", 3), _cell("# judged", "net-accuracy", 3), question],
    }.items():
        nbformat.write(new_notebook(cells=cells), books / f"{name}.ipynb")
    for name, double in (("ada", DOUBLE), ("bob", DOUBLE.replace("* 2", "* 3"))):
        write_submission(root / "RAW" / name, double, NET, weights())
    with zipfile.ZipFile(root / "submission.zip", "w") as bundle:
        for path in sorted((root / "RAW" / "ada").rglob("*.*")):
            bundle.write(path, path.relative_to(root / "RAW" / "ada"))
    with zipfile.ZipFile(root / "EXPORT.zip", "w") as bundle:
        bundle.write(root / "submission.zip", "lovelaceada_4711_90210_submission.zip")
    (root / "roster.csv").write_text("name,user,id,email\nAda Lovelace,ada,4711,ada@example.org\n")
    for name, text in GRADEBOOKS.items():
        (root / name).write_text(text)
    _name_a_checkpoint(root)
    place.environment |= CLASSROOM_50 | {"SEGKIT_DATA": "drawn", "CMP_ROOT": "CMP_ROOT"}


def _name_a_checkpoint(root: Path) -> None:
    """A hand-in whose checkpoint lies on a drive, under a name of its own."""
    folder, file = write_submission(root / "named" / "eve"), root / "drive" / "ada" / "my best model.safetensors"
    file.parent.mkdir(parents=True)
    save_checkpoint(file, weights())
    content = file.read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "where": "drive/ada"}
    (folder / "checkpoints.json").write_text(json.dumps({"dots": entry}))


def fill_in_the_release(release: Path) -> None:
    """Solve the released notebooks of the small course."""
    for name, grade_id, source in (("1_double", "double", DOUBLE), ("2_dots", "net", NET), ("2_dots", "question", "Because.")):
        path = release / f"{name}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id:
                cell["source"] = source
        path.write_text(json.dumps(notebook), encoding="utf-8")
    save_checkpoint(release / "checkpoints" / "dots.safetensors", weights())
