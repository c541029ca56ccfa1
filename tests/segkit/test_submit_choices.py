"""What a student need not do: a bonus, and one of two things of which the course takes either. Is such work said to be whole?"""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from nbformat.v4 import new_code_cell
from submit_work import FACTS, cell, hand_in, write, write_work

from segkit.checkpoints import save_checkpoint
from segkit.cli import main

EITHER = "fcn16s or fcn8s"
CHOICES = FACTS | {
    "solution_cells": FACTS["solution_cells"] | {"fcn16s": "FCN16s", "fcn8s": "FCN8s"},
    "checkpoints": ["fcn16s", "fcn8s"],
    "checks": FACTS["checks"] | {"improved": 8, "bonus_1": 10},
    "needs": FACTS["needs"] | {"improved": [EITHER, "checkpoint fcn16s or checkpoint fcn8s"], "bonus_1": ["answer bonus_1"]},
    "bonus": ["bonus_1"],
}
NETWORK = "import torch\nclass {}(torch.nn.Linear):\n    def __init__(self, n_class=2):\n        super().__init__(3, n_class)\n"
STUB = "class {}:\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
ANSWER = "YOUR ANSWER HERE"


@pytest.fixture
def work(tmp_path) -> Path:
    folder = write_work(tmp_path / "work", facts=CHOICES)
    write(folder, "6_bonus.ipynb", cell(ANSWER, "bonus_1", markdown=True))
    return folder


def build(folder: Path, *finished: str, trained: tuple[str, ...] = ()) -> None:
    """Write both networks, some of them finished, and checkpoints of some."""
    texts = {name: (NETWORK if name in finished else STUB).format(name.upper()[:-1] + "s") for name in ("fcn16s", "fcn8s")}
    write(folder, "4_networks.ipynb", *(cell(text, name) for name, text in texts.items()), new_code_cell("1"))
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in trained:
        save_checkpoint(folder / "checkpoints" / f"{name}.safetensors", torch.nn.Linear(3, 2))


@pytest.mark.parametrize("name", ["fcn16s", "fcn8s"])
def test_either_of_two_networks_is_enough(work, name):
    build(work, name, trained=(name,))
    text = hand_in(work, "--fast")
    assert "Everything is there" in text and "[--]" not in text and "improved           found, not tested" in text


def test_both_are_enough_and_of_both_one_checkpoint(work):
    build(work, "fcn16s", "fcn8s", trained=("fcn16s",))
    assert "Everything is there" in hand_in(work, "--fast")


def test_where_neither_is_there_it_is_told_once_and_that_the_other_will_do(work):
    build(work)
    text = hand_in(work, "--fast", code=1)
    lines = [line for line in text.splitlines() if line.startswith("[--]")]
    assert len(lines) == 2 and "FCN8s is not finished" in lines[0] and "(fcn16s will do as well)" in lines[0]
    assert "no checkpoint of fcn8s" in lines[1] and "(checkpoint fcn16s will do as well)" in lines[1]
    assert "2 thing(s) not finished yet" in text


def test_a_bonus_that_is_left_out_leaves_nothing_unfinished(work):
    build(work, "fcn8s", trained=("fcn8s",))
    text = hand_in(work, "--fast")
    assert "[  ]  bonus_1            bonus_1 is not answered: 6_bonus.ipynb; it is a bonus" in text and "Everything is there" in text
    checked = CliRunner().invoke(main, ["check", "--folder", str(work)])
    assert checked.exit_code == 0 and "not finished" not in checked.output, checked.output


def test_a_bonus_that_is_there_is_read_by_a_person(work):
    build(work, "fcn8s", trained=("fcn8s",))
    write(work, "6_bonus.ipynb", cell("By the chain rule.", "bonus_1", markdown=True))
    assert "bonus_1            found, not tested: a person reads it" in hand_in(work, "--fast")
