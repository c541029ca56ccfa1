"""What would cost a whole class its points is said before anything is graded: the wrong assignment, pictures that cannot be read."""

import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from tiny import DOUBLE, TINY, cell, notebook

from autograder.cli import main
from autograder.cli.beforehand import demand_own_handins
from segkit.datasets.satellite import make_sample

ROOT = Path(__file__).resolve().parents[2]


def grade(*words: str | Path, command: str = "grade") -> tuple[int, str]:
    done = CliRunner().invoke(main, [command, *map(str, words)], prog_name="python -m autograder")
    assert "Traceback" not in done.output, done.output
    return done.exit_code, done.output


# ----------------------------------------------------------------------------------------------------- whose hand-ins
@pytest.fixture
def land(tmp_path) -> Path:
    """A hand-in of satellite, as a folder."""
    folder = tmp_path / "submitted" / "ada"
    folder.mkdir(parents=True)
    for path in (ROOT / "notebooks" / "satellite").glob("*.ipynb"):
        shutil.copy(path, folder)
    return folder


def zipped(folder: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.glob("*.ipynb"):
            archive.write(path, f"work/{path.name}")
    return target


@pytest.mark.parametrize("form", ["folder", "zip", "zip in a folder"])
@pytest.mark.parametrize("words", [("grade",), ("predict",), ("collect", "--force")], ids=lambda words: words[0])
def test_a_class_of_another_assignment_is_refused_with_its_name(land, form, words, tmp_path):
    """`grade` takes fcn where nothing else is said: all points of satellite would be lost, and bob's stub earn some."""
    forms = {"zip": "zips/ada.zip", "zip in a folder": "folders/ada/submission.zip"}
    handin = land if form == "folder" else zipped(land, tmp_path / forms[form])
    handin = handin.parent if form == "zip in a folder" else handin
    out = tmp_path / "out"
    code, text = grade(*words[1:], handin, "--out", out, command=words[0])
    assert code == 2 and "1 of 1 hand-ins hold the cells of the assignment satellite (ada" in text and "--assignment satellite" in text
    assert not list(out.rglob("*.json*")) and not list(out.rglob("*.ipynb"))


def test_single_ones_are_named_and_the_class_is_graded(land, tmp_path):
    own = [shutil.copytree(ROOT / "notebooks" / "fcn", tmp_path / "submitted" / name) for name in ("bob", "carla")]
    assert demand_own_handins([land, *own], "fcn") == ["ada: holds cells of the assignment satellite, not of fcn"]
    assert demand_own_handins([land], "satellite") == []
    named = land.rename(land.with_name("ada\x1b[2J\x07"))  # which a terminal would obey
    (line,) = demand_own_handins([named, *own], "fcn")
    assert line.isprintable() and line.startswith("ada")


def test_cells_that_both_have_and_what_cannot_be_read_say_nothing(tmp_path):
    both = tmp_path / "both"
    notebook(both / "4.ipynb", cell("class FCN8s: pass", "fcn8s"), cell("class FCN32s: pass", "fcn32s"))
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 the rest was not uploaded")
    (tmp_path / "empty").mkdir()
    handins = [both, tmp_path / "cut.zip", tmp_path / "empty", tmp_path / "nowhere"]
    assert demand_own_handins(handins, "fcn") == demand_own_handins(handins, "satellite") == []


def test_an_assignment_in_a_folder_of_its_own_is_held_against_the_others_too(tmp_path, land):
    mine = tmp_path / "mine"
    notebook(mine / "1.ipynb", cell(DOUBLE, "double"))
    assert demand_own_handins([mine], str(TINY)) == []
    code, text = grade(land, "--assignment", TINY, "--out", tmp_path / "out")
    assert code == 2 and "--assignment satellite" in text


# ------------------------------------------------------------------------------------------------------- own pictures
@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_sample(folder)
    return folder


@pytest.fixture
def pictures(drawn, tmp_path) -> Path:
    """An instructor's own: three pairs in ``validation/``."""
    root = tmp_path / "my pictures"
    (root / "validation").mkdir(parents=True)
    for path in sorted((drawn / "validation").iterdir())[:6]:
        shutil.copy(path, root / "validation")
    return root


def masks(root: Path) -> list[Path]:
    return sorted((root / "validation").glob("*_mask.png"))


def no_mask(root: Path) -> Path:
    masks(root)[1].unlink()
    return root


def another_size(root: Path) -> Path:
    Image.open(masks(root)[1]).resize((30, 30), Image.Resampling.NEAREST).save(masks(root)[1])
    return root


def other_colours(root: Path) -> Path:
    """As a mask that was a JPEG in between."""
    Image.open(masks(root)[1]).convert("RGB").point(lambda value: value // 2).save(masks(root)[1])
    return root


def cut_off(root: Path) -> Path:
    photograph = sorted((root / "validation").glob("*_sat.jpg"))[1]
    photograph.write_bytes(photograph.read_bytes()[:700])
    return root


def flat(root: Path) -> Path:
    return root / "validation"


def gone(root: Path) -> Path:
    return root / "nowhere"


@pytest.mark.parametrize(("damage", "words"), [
    (no_mask, "1 of 3 pairs are missing"), (another_size, "disagree in size"), (other_colours, "is none of the seven"),
    (cut_off, "9"), (flat, "name the folder above it"), (gone, "No such folder"),
])  # fmt: skip
def test_own_pictures_that_cannot_be_used_are_named_before_anything_is_graded(pictures, damage, words, land, tmp_path):
    number = masks(pictures)[1].name[:4]
    source = damage(pictures)
    code, text = grade(land, "--assignment", "satellite", "--gate-data", source, "--out", tmp_path / "out")
    assert code == 2 and f"--gate-data {source}: " in text and words in text and "Nothing was graded" in text, text
    assert number in text or damage in (flat, gone), "the picture is named"
    assert not list((tmp_path / "out").rglob("*.json*"))


@pytest.mark.parametrize("command", ["grade", "predict", "watch"])
def test_a_misspelt_data_folder_is_named_before_anything_is_graded(command, land, tmp_path):
    place = [land.parent, "--once"] if command == "watch" else [land]
    code, text = grade(*place, "--assignment", "satellite", "--data", tmp_path / "nowhere", "--out", tmp_path / "out", command=command)
    assert code == 2 and f"--data {tmp_path / 'nowhere'}: No such folder" in text, text
    assert not list((tmp_path / "out").rglob("result.json"))
