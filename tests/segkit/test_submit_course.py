"""``segkit submit`` on the course's own notebooks with the three hand-ins that it once called complete."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from submit_work import hand_in

from autograder.course.assignment import open_assignment
from autograder.exam.building import solved_notebooks, write_notebooks
from segkit.checkpoints import save_checkpoint
from segkit.reference import FCN8s, FCN32s

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks" / "fcn"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What is printed: a crash in the forward of FCN-32s, a softmax in that of FCN-8s, and two checkpoints of random numbers."""
    work = tmp_path_factory.mktemp("hand in") / "my work"
    work.mkdir()
    notebooks = solved_notebooks(NOTEBOOKS)
    change(notebooks, "2_fcn32s.ipynb", "self.relu7(self.fc7(h))", "self.relu7(self.fc77(h))")
    change(notebooks, "4_fcn8s.ipynb", "31 : 31 + x.shape[3]]", "31 : 31 + x.shape[3]].softmax(1)")
    write_notebooks(notebooks, work)
    shutil.copy(NOTEBOOKS / "assignment.json", work)
    (work / "checkpoints").mkdir()
    torch.manual_seed(0)
    for name, network in (("fcn32s", FCN32s()), ("fcn8s", FCN8s())):
        for key, parameter in network.named_parameters():
            if key.startswith("score"):
                torch.nn.init.normal_(parameter, std=0.05)
        save_checkpoint(work / "checkpoints" / f"{name}.safetensors", network, dtype=torch.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_DATA", "sample")
        return hand_in(work, code=1).splitlines()


def change(notebooks, name, old, new):
    cells = [cell for cell in notebooks[name]["cells"] if old in "".join(cell["source"])]
    assert cells
    for cell in cells:
        cell["source"] = "".join(cell["source"]).replace(old, new)


def line(said, check):
    return next(line for line in said if f"  {check} " in line)


def test_what_is_right_passed(said):
    right = ("read_label", "confusion_matrix", "scores", "fcn32s.layers", "pretraining.copy", "fcn8s.layers", "fcn8s.shapes")
    assert [line(said, check).split("(")[0].split() for check in right] == [["[ok]", check, "passed"] for check in right]


def test_a_crash_in_forward_is_named_with_its_line_once(said):
    cells = ["".join(cell["source"]) for cell in json.loads((NOTEBOOKS / "2_fcn32s.ipynb").read_text())["cells"]]
    (cell,) = [number for number, source in enumerate(cells, start=1) if "self.relu7(self.fc7(h))" in source]
    words = f"AttributeError: 'FCN32s' object has no attribute 'fc77' in 2_fcn32s.ipynb, cell {cell}, line 78"
    assert line(said, "fcn32s.shapes").startswith("[!!]") and words in line(said, "fcn32s.shapes")
    for check in ("fcn32s.crop", "fcn32s.forward", "pretraining.miou"):
        assert line(said, check).endswith("the same fault as fcn32s.shapes")


def test_a_softmax_is_named(said):
    assert line(said, "fcn8s.forward").startswith("[!!]") and "softmax in forward" in line(said, "fcn8s.forward")


def test_a_checkpoint_of_random_numbers_is_called_untrained(said):
    assert line(said, "fcn8s.miou").startswith("[!!]")
    assert "4 drawn pictures. Likely cause: like an untrained network" in line(said, "fcn8s.miou")


def test_nothing_is_called_complete(said):
    assert not any("Everything is there" in line for line in said)


@pytest.mark.parametrize("name", ["fcn", "satellite"])
def test_the_calls_of_the_rubric_are_those_of_the_notebooks(name):
    """Submit must not test something else than the cell below the TODO does; a trained model has no cell of its own."""
    cells = [c for path in (NOTEBOOKS.parent / name).glob("*.ipynb") for c in json.loads(path.read_text())["cells"]]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for check in open_assignment(name).rubric.checks.values():
        if check.visible and "checkpoint" not in check.visible:
            module, dot, call = check.visible.rpartition(".") if check.visible.startswith(f"{name}.") else ("", "", check.visible)
            imported = f"from segkit.checks{dot}{module} import {call.partition('(')[0]}"
            assert any(call in source and imported in source for source in sources), check.visible
        assert check.visible or check.manual or "checkpoint" in check.settings or "better" in check.parts


def test_the_repositorys_assignment_json_is_what_a_release_gets():
    assignment = open_assignment("fcn")
    assert json.loads((NOTEBOOKS / "assignment.json").read_text()) == assignment.hook("assignment_file")(assignment.rubric)
