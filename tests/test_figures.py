"""Are the counts, sizes and settings that the texts state those of the code and the data, and figures told twice the same?

Each row: the file, its words with the numbers in brackets, and where the numbers come from. Times are measured by ``benchmarks/``.
"""

import inspect
import os
import re
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from printed import files_of
from torch import nn
from torchvision.models import vgg16

from autograder.alike.code import SHARE
from autograder.alike.fingerprints import GRAM
from autograder.alike.notes import LEAST_WORDS, LIKE_ANSWERS
from autograder.batch import memory
from autograder.batch.cluster import WAIT
from autograder.batch.shipping import MOST_BYTES
from autograder.cli.watch import watch_command
from autograder.course.assignment import open_assignment
from autograder.handins.bulk import git
from autograder.judge.gates import GRAIN
from autograder.judge.run import Settings
from autograder.release.skeleton import FILES, SKELETON
from autograder.segmentation.amount import LEAST
from autograder.viva.sizes import OTHER, SIDES
from segkit.datasets import dataset
from segkit.environment import Kit
from segkit.facades import FacadeDataset
from segkit.notebooks.files import MAX_TEXT
from segkit.reference import FCN8s, FCN32s, confusion_matrix, read_label, satellite
from segkit.training import TrainConfig, fit
from segkit.training.heads import fit_head
from segkit.training.pretraining import PretrainConfig
from segkit.training.recipes import RECIPES
from segkit.upsampling import MIN_PADDING

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/performance.md"
Numbers = Callable[[], tuple[Any, ...]]
FACADES, TILES, FAST = dataset("facades"), dataset("satellite"), RECIPES["fast"]
SIDE = PretrainConfig().side
ANSWERS = sum((SIDE // cell) ** 2 for cell in (8, 16, 32)) + (SIDE // 32 - 6) ** 2  # of a patch; fc6 sees 7 x 7 cells at once
PARTS = ("train", "val", "test")


@cache
def text_of(file: str) -> str:
    """A text in one line; of a notebook its Markdown, mark schemes included."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".ipynb"):
        text = "\n\n".join(cell.source for cell in nbformat.reads(text, 4).cells if cell.cell_type == "markdown")
    return " ".join(text.split())


@cache
def code_of(file: str) -> str:
    return "\n\n".join(cell.source for cell in nbformat.read(ROOT / file, 4).cells if cell.cell_type == "code")


@cache
def parameters(network: Callable[..., nn.Module], *args: int) -> int:
    with torch.device("meta"):
        return sum(value.numel() for value in network(*args).parameters())


def layers(*names: str) -> int:
    """Parameters of layers of FCN-32s."""
    with torch.device("meta"):
        return sum(value.numel() for key, value in FCN32s().named_parameters() if key.split(".")[0] in names)


def sizes(spec: Any, split: str) -> tuple[int, ...]:
    return tuple(len(spec.split_names(split, part)) for part in PARTS)


def row_of(file: str, words: str) -> list[float]:
    """The numbers of a line of a table."""
    (line,) = (line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line.startswith(f"| {words} |"))
    return [float(number) for number in re.findall(r"(?<![\w-])\d+(?:\.\d+)?", line.split(f"{words} |")[1])]


def per_minute(words: str) -> float:
    submissions, seconds, _ = row_of(PAGE, words)
    return 60 * submissions / seconds


STOCK = "stock `nbgrader autograde`, the same checks as test cells"
FLOOR = "nothing but the forward calls that the checks ask for"


def students_of_demo(name: str) -> int:
    return len(tomllib.loads((ROOT / "autograder" / "assignments" / name / "demo.toml").read_text(encoding="utf-8"))["students"])


def default_of(option: str) -> float:
    return next(one.default for one in watch_command.params if one.name == option)


def field_of_fc7() -> int:
    """Pixels that one cell sees: kernels added up, each times the stride before it."""
    seen, stride = 1, 1
    for kernel, step in VGG_LAYERS:
        seen, stride = seen + (kernel - 1) * stride, stride * step
    return seen


VGG_LAYERS = [layer for convolutions in (2, 2, 3, 3, 3) for layer in [*[(3, 1)] * convolutions, (2, 2)]] + [(7, 1), (1, 1)]
WORDS = {"two": 2, "three": 3, "five": 5, "six": 6, "eleven": 11, "twelve": 12, "four": 4, "thirteen": 13, "forty": 40}
NB = "notebooks/fcn/{}.ipynb".format
SAT = "notebooks/satellite/{}.ipynb".format
START = "autograder/assignments/{}/release/START_HERE.md".format

CLAIMS: list[tuple[str, str, Numbers]] = [
    ("README.md", r"two assignments of (\w+) notebooks", lambda: (len(open_assignment("fcn").rubric.notebooks),)),
    ("README.md", r"need only Python (\d)\.(\d+) or newer", lambda: tuple(re.findall(r"\d+", project()["requires-python"]))),
    ("README.md", r"(\d+) rectified photographs with pixel labels of (\d+) classes",
     lambda: (sum(sizes(FACADES, "course")), len(FACADES.classes))),
    ("docs/students.md", r"(\d+) rectified photographs and pixel labels of (\d+) classes",
     lambda: (sum(sizes(FACADES, "course")), len(FACADES.classes))),
    (START("fcn"), r"the real ones, (\d+) photographs", lambda: (sum(sizes(FACADES, "course")),)),
    ("data/facades/README.md", r"`course` \((\d+) train, (\d+) val, (\d+) test", lambda: sizes(FACADES, "course")),
    ("data/facades/README.md", r"`base` \((\d+), (\d+), (\d+) of the (\d+)",
     lambda: (*sizes(FACADES, "base"), sum(sizes(FACADES, "base")))),
    ("data/facades/README.md", r"`sample` \((\d+), (\d+), (\d+)\)", lambda: sizes(FACADES, "sample")),
    ("data/facades/README.md", r"sha256 of the (\d+) files of the database's base part \((\d+) each of jpg, png, xml",
     lambda: (3 * sum(sizes(FACADES, "base")), sum(sizes(FACADES, "base")))),
    ("data/satellite/README.md", r"`train/` \((\d+) train, (\d+) val\) and `validation/` \((\d+) test\)", lambda: sizes(TILES, "course")),
    ("docs/satellite.md", r"(\d+) pictures train, (\d+) of `train/` choose the epoch, the (\d+) of `validation/`",
     lambda: sizes(TILES, "course")),
    ("docs/satellite.md", r"\((\d+) pictures to train, (\d+) to choose the epoch, 4 of the (\d+) test pictures",
     lambda: sizes(TILES, "sample")),
    ("docs/satellite.md", r"a release, (\w+) students with a mistake each", lambda: (students_of_demo("satellite"),)),
    ("docs/satellite.md", r"A classifier is (\d+) MB in half precision", lambda: (round(2 * parameters(satellite.Classifier, 50) / 1e6),)),
    (START("satellite"), r"alone is (\d+) MB in half precision", lambda: (round(2 * parameters(satellite.Classifier, 50) / 1e7) * 10,)),
    (START("satellite"), r"the others (\d+) MB each", lambda: (round(2 * parameters(satellite.FCN32s) / 1e7) * 10,)),
    (START("satellite"), r"the others (\d+) MB each", lambda: (round(2 * parameters(satellite.FCN16s) / 1e7) * 10,)),
    ("docs/satellite.md", r"the sample has a mean IoU of ([\d.]+)\.", lambda: (round(one_answer(TILES, "sample") / 6, 2),)),
    ("docs/students.md", r"(\d+) epochs of FCN-8s on (\d+) pictures", lambda: (RECIPES["course"].epochs, sizes(FACADES, "course")[0])),
    ("docs/students.md", r"of at most (\d+) KiB", lambda: (MAX_TEXT // 1024,)),
    ("docs/students.md", r"FCN-8s \(([\d ]+) parameters\) is (\d+) MiB", lambda: (parameters(FCN8s), round(4 * parameters(FCN8s) / 2**20))),
    ("docs/training.md", r"(\w+) images of about one size", lambda: (FAST.batch_size,)),
    ("docs/training.md", r"norms are clipped at (\d)", lambda: (FAST.clip,)),
    ("docs/training.md", r"Adam at (\S+), (\d+) steps of warm-up", lambda: (FAST.learning_rate, FAST.warmup)),
    ("docs/training.md", r"A patch of (\d+) pixels gives (\d+) answers", lambda: (SIDE, ANSWERS)),
    ("docs/training.md", r"more than (half) of what an FCN computes in a window of 288", lambda: ("half" if 488**2 > 2 * 288**2 else "",)),
    ("docs/instructors.md", r"fingerprints of (\d+) tokens .*? of which another has (\d+) %", lambda: (GRAM, 100 * SHARE)),
    ("docs/instructors.md", r"cosine ([\d.]+) from (\d+) words on", lambda: (LIKE_ANSWERS, LEAST_WORDS)),
    ("docs/instructors.md", r"At most (\d+) seconds and (\d) GiB each", lambda: (git.SECONDS, git.MAX_BYTES / 2**30)),
    ("docs/instructors.md", r"(\d+) to 30 a minute on two cores", lambda: (int(per_minute("`grade`")),)),
    ("docs/weeks.md", r"looks at the folder once a (minute)", lambda: ("minute" if default_of("every") == 60 else default_of("every"),)),
    ("docs/weeks.md", r"has changed for (half a minute)", lambda: ("half a minute" if default_of("quiet") == 30 else default_of("quiet"),)),
    ("docs/weeks.md", r"Otherwise it is sent, up to (\d+) MiB", lambda: (MOST_BYTES / 2**20,)),
    ("docs/weeks.md", r"allows, (\d) GiB for one, and ([\d.]+) more", lambda: (memory.RUN + memory.JUDGE, memory.GATE)),
    ("docs/weeks.md", r"After (ten) minutes without a scheduler", lambda: ("ten" if WAIT == 600 else WAIT,)),
    ("docs/viva.md", r"of the picture, (\d+) to (\d+), the other side (\d+)", lambda: (SIDES[0], SIDES[-1], OTHER)),
    ("docs/assignments.md", r"any integer from (\d+) up", lambda: (MIN_PADDING,)),
    ("docs/assignments.md", r"the hidden check, (\d+) lines",
     lambda: (round(len((SKELETON / "test_first.py.txt").read_text().splitlines()), -1),)),
    ("README.md", r"a new check in (\d+) lines; a new assignment in (\w+) files", lambda: (printed_check_lines(), len(FILES) + 1)),
    ("docs/assignments.md", r"## A new check in (\d+) lines", lambda: (printed_check_lines(),)),
    ("docs/design.md", r"all answers together have (\d+) seconds", lambda: (Settings("fcn", Path("out")).total_seconds,)),
    ("docs/design.md", r"\| crop \| (\d+) values", lambda: (LEAST["crop"],)),
    ("docs/design.md", r"\| values \| (\d+) values", lambda: (LEAST["values"],)),
    ("docs/design.md", r"\| dropout \| (\d+) channels", lambda: (LEAST["dropout"],)),
    ("docs/design.md", r"\| copy \| ([\d,]+) samples", lambda: (LEAST["copy"],)),
    ("docs/design.md", r"One value in (\d+), drawn by the secret", lambda: (GRAIN,)),
    # told on one page, measured on another
    ("README.md", r"`grade --bulk`; ([\d.]+) min", lambda: (round(60 / per_minute("`grade`"), 1),)),
    ("README.md", r"([\d.]+) submissions a minute without gates, ([\d.]+) times as many",
     lambda: (round(per_minute("`grade`"), 1), round(per_minute("`grade`") / per_minute(STOCK), 1))),
    (PAGE, r"([\d.]+) times the floor, ([\d.]+) times as fast",
     lambda: (round(per_minute(FLOOR) / per_minute("`grade`"), 2), round(per_minute("`grade`") / per_minute(STOCK), 1))),
    ("README.md", r"(\d+) and (\d+) seconds for the gates of FCN-32s",
     lambda: re.search(r"a gate took (\d+) seconds \(FCN-32s\) and (\d+)", text_of(PAGE)).groups()),
    ("README.md", r"`alike`; (\d+) s for 300",
     lambda: re.search(r"benchmarks/alike\.py` \((\d+) seconds", text_of("docs/instructors.md")).groups()),
    # notebooks
    (NB("2_fcn32s"), r"first loss is ln 12 = ([\d.]+)", lambda: (round(float(np.log(len(FACADES.classes))), 4),)),
    (NB("2_fcn32s"), r"Your `train_step`, (\w+) times",
     lambda: re.search(r"if kit\.quick else (\d+)\):", code_of(NB("2_fcn32s"))).groups()),
    (NB("2_fcn32s"), r"Your `train_step`, (\w+) times", lambda: (2 * int(re.search(r"epochs=(\d+)\)", code_of(NB("2_fcn32s")))[1]),)),
    (NB("2_fcn32s"), r"one step on each of (\w+) small windows", lambda: (quick_windows(),)),
    (NB("3_pretraining"), r"you move (\d+) million numbers",
     lambda: (round((parameters(FCN32s) - layers("score", "transpose_conv")) / 1e6),)),
    (NB("3_pretraining"), r"trains `score` and the upsampling on what it says: (\d+) steps",
     lambda: (inspect.signature(fit_head).parameters["epochs"].default * sizes(FACADES, "sample")[0],)),
    (NB("3_pretraining"), r"a download of (\d+) MiB", lambda: (round(4 * parameters(vgg16) / 2**20),)),
    (NB("5_questions"), r"500 pictures for (\d+) million weights, (\d+) million of them in fc6 and fc7",
     lambda: (int(parameters(FCN32s) / 1e6), int(layers("fc6", "fc7") / 1e6))),
    (NB("5_questions"), r"large receptive field\* \((\d+) pixels\)", lambda: (field_of_fc7(),)),
    (NB("5_questions"), r"([\d ]{9,}) against ([\d ]{9,});", lambda: (parameters(FCN8s), parameters(FCN32s))),
    (NB("5_questions"), r"five epochs \((\d+) steps\)", lambda: (5 * sizes(FACADES, "course")[0],)),
    (SAT("3_fcn32s"), r"there are (\d+) million of them and not (\d+)",
     lambda: (round(parameters(satellite.FCN32s) / 1e6), int(parameters(FCN32s) / 1e6))),
    (SAT("4_fcn8s"), r"the fourth pool, (\d+) modules of VGG-16's features in", lambda: (behind_pool(4),)),
    (SAT("4_fcn8s"), r"`pool3`, (\d+) modules of VGG-16's features in", lambda: (behind_pool(3),)),
]  # fmt: skip


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def printed_check_lines() -> int:
    files = files_of(ROOT / "docs" / "assignments.md")
    return len(files["autograder/assignments/fcn/checks/test_of_my_own.py"].splitlines())


def behind_pool(number: int) -> int:
    with torch.device("meta"):
        pools = [place for place, layer in enumerate(vgg16(init_weights=False).features) if isinstance(layer, nn.MaxPool2d)]
    return pools[number - 1] + 1


def quick_windows() -> int:
    """Pictures that the cell trains on in quick mode."""
    assert 'kit.dataset("train", read_label, small=kit.quick)' in code_of(NB("2_fcn32s"))
    return len(Kit(ROOT, FACADES.find_root("sample"), "sample", "cpu", quick=True).dataset("train", read_label, small=True).names)


def one_answer(spec: Any, split: str) -> float:
    """Accuracy of the best single answer on the test pictures."""
    root = spec.find_root("sample")
    truth = np.concatenate([satellite.read_mask(spec.label_path(root, name)).numpy().ravel() for name in spec.split_names(split, "test")])
    known = np.bincount(truth, minlength=7)[:6]
    return float(known.max() / known.sum())


def number(text: Any) -> Any:
    """A number as it is written: with spaces or commas between thousands, or as a word."""
    plain = re.sub(r"(?<=\d)[ ,](?=\d)", "", str(text)).strip().lower()
    return WORDS.get(plain, float(plain) if re.fullmatch(r"[\d.]+(e-?\d+)?", plain) else plain)


@pytest.mark.parametrize(("file", "words", "numbers"), CLAIMS, ids=[f"{claim[0].rpartition('/')[2]}: {claim[1][:40]}" for claim in CLAIMS])
def test_a_number_of_a_text_is_what_it_counts(file: str, words: str, numbers: Numbers) -> None:
    found = re.search(words, text_of(file))
    assert found, f"{file} no longer says {words!r}: change the words here too"
    assert [number(one) for one in found.groups()] == [number(one) for one in numbers()], found[0]


def test_thresholds_and_measured_scores_of_satellite_are_those_of_its_rubric() -> None:
    page, rubric = (ROOT / "docs" / "satellite.md").read_text(encoding="utf-8"), open_assignment("satellite").rubric
    rows, gate = {}, ""
    for name, which, zero, full in re.findall(r"^\| (?:`([\w.]+)`)? ?\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE):
        gate = name or gate
        rows[gate, which] = {"full": float(full), "zero": float(zero)}
    kinds = {"digits": "sample", "sample": "sample", "the course's 50 classes": "course", "the course's": "course"}
    assert len(rows) == 6
    for (gate, which), limits in rows.items():
        assert rubric.checks[gate].settings[kinds[which]] == limits, (gate, which)


class Weights(nn.Module):
    """A network that is nearly all weights, like the course's, and small."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.weights = nn.Conv2d(3, 12, 1), nn.Parameter(torch.zeros(10**6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.score(x) + 0 * self.weights.sum()


def test_disk_that_two_trainings_need_is_told_at_its_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state to go on from, and a new best, are written beside those before them: the second training needs most."""
    model, names = Weights(), FACADES.split_names("sample", "train")[:2]
    pairs, most, really = FacadeDataset(FACADES.find_root("sample"), names=names, read_label=read_label), [0], os.replace

    def replace(old: Any, new: Any) -> None:
        most.append(sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()))
        really(old, new)

    def better_each_time(table: np.ndarray) -> tuple[float, np.ndarray, float]:
        return 0.5, np.full(12, 0.5), len(most) / 1000

    monkeypatch.setattr(os, "replace", replace)
    often = {"resume_every": 0.0}  # as where an epoch takes half a minute and more
    metrics = {"confusion_matrix": confusion_matrix, "scores": better_each_time}
    fit(model, pairs, pairs, config=TrainConfig(epochs=3), out=tmp_path, progress=False, **metrics, **often)
    weights = 4 * sum(value.numel() for value in model.parameters())
    left = sum(file.stat().st_size for file in tmp_path.iterdir()) / weights
    gigabytes = (4 * parameters(FCN32s) * (left + 0.5) + 4 * parameters(FCN8s) * max(most) / weights + 553e6) / 1e9  # and VGG-16's file
    told = re.search(r"(\d+) GB more to train both networks", text_of(START("fcn")))
    assert told and gigabytes <= int(told[1]) < gigabytes + 1, gigabytes


def installed(*names: str) -> float:
    """GB of packages and all that they bring; of everything that is installed where none is named."""
    todo, found = [canonicalize_name(name) for name in names or [one.name for one in metadata.distributions()]], {}
    while todo:
        if (name := todo.pop()) not in found and (one := next(iter(metadata.distributions(name=name)), None)):
            found[name] = sum(file.size or 0 for file in one.files or ())
            needs = [Requirement(line) for line in one.requires or ()]
            todo += [canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return sum(found.values()) / 1e9


@pytest.mark.skipif(torch.version.cuda is None, reason="the texts speak of PyTorch's CUDA build")
def test_disk_that_an_environment_needs_is_that_of_the_packages() -> None:
    """What is compiled at first use comes on top, some hundredths."""
    whole, of_students = installed(), installed("jupyterlab", *(Requirement(line).name for line in project()["dependencies"]))
    told = re.search(r"CUDA build of PyTorch, about (\d) GB", text_of("README.md"))
    assert told and whole * 1.05 <= int(told[1]) < 1.4 * whole
    for name in ("fcn", "satellite"):
        (disk,) = re.findall(r"and about (\d) GB of disk", text_of(START(name)))
        assert of_students * 1.05 <= int(disk) < 1.4 * of_students and installed("torch", "torchvision") > int(disk) / 2
