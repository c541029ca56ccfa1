"""Three real pairs, where they are: a submission whose networks know one word each is graded on them, against counts by hand."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autograder.exam.building import solved_notebooks, write_notebooks
from autograder.judge.grade import grade_path
from autograder.judge.run import Run, Settings
from segkit.checkpoints import save_checkpoint
from segkit.notebooks import take
from segkit.upsampling import bilinear_weight

NOTEBOOKS = Path(__file__).parents[3] / "notebooks" / "satellite"
COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
URBAN, AGRICULTURE = 0, 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The pairs as an instructor keeps test pictures of their own."""
    if not (place := os.environ.get("SEGKIT_SATELLITE_ROOT")):
        pytest.skip("real satellite pictures not available: set SEGKIT_SATELLITE_ROOT to the folder that holds 0008_sat.jpg")
    folder = tmp_path / "pictures" / "validation"
    folder.mkdir(parents=True)
    for path in [*Path(place).glob("*_sat.jpg"), *Path(place).glob("*_mask.png")]:
        shutil.copy(path, folder)
    return folder.parent


def iou_of_one_word(root: Path) -> np.ndarray:
    """IoU of each class for a network that says it everywhere: its share of the pixels at 256 x 256, by colours alone."""
    pixels = np.concatenate([np.asarray(Image.open(path).convert("RGB"))[1::2, 1::2] for path in root.rglob("*_mask.png")])
    assert pixels.shape == (768, 256, 3)
    counts = np.array([(pixels == colour).all(-1).sum() for colour in COLOURS])
    return counts / counts.sum()


def weights(network: str) -> dict[str, torch.Tensor]:
    """Zeros, under the names of a notebook's layers: the first class wins everywhere."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in take(network, NOTEBOOKS)().state_dict().items()}
    return {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}


def test_a_submission_is_graded_on_the_real_pairs(root: Path, tmp_path: Path) -> None:
    work = tmp_path / "ada"
    work.mkdir()
    write_notebooks(solved_notebooks(NOTEBOOKS), work)
    coarse = weights("FCN32s")
    coarse["score.bias"][AGRICULTURE], coarse["upscore.weight"] = 1, bilinear_weight(7, 64)
    save_checkpoint(work / "checkpoints" / "fcn32s.safetensors", coarse)
    save_checkpoint(work / "checkpoints" / "fcn8s.safetensors", weights("FCN8s"))
    asked = ("read_mask", "fcn32s.miou", "improved.miou")
    with Run.create(Settings("satellite", tmp_path / "run", gate_data=str(root), secret="s", device="cpu", only=asked)) as run:
        result = grade_path(run, work, "ada")
    found = {check["id"]: check for check in result["checks"] if check["id"] in asked}
    share = iou_of_one_word(root)
    # of the six classes that occur the other five have an IoU of 0
    assert found["fcn32s.miou"]["measured"]["mean_iou"] == pytest.approx(share[AGRICULTURE] / 6, abs=1e-4)
    scores = {"fcn8s": round(share[URBAN] / 6, 4), "fcn32s": round(share[AGRICULTURE] / 6, 4)}
    assert found["improved.miou"]["measured"] == {"mean_iou": scores["fcn8s"], **scores}
    assert [check["points"] for check in found.values()] == [5, 0, 0] and found["improved.miou"]["cause"] == "gate.low"
    assert "on 3 pictures" in found["fcn32s.miou"]["message"]
