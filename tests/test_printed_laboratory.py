"""Do the commands that README and docs print about data and training do what they say, with small pictures and narrow networks?"""

import re
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.pyplot import imread
from printed import REPOSITORY, commands_of
from printed_runs import FACADES, MAKE_RESULTS, RESULTS, SATELLITE, TRAINING, run_all
from stand_ins import Place, copy_of_the_repository, facades, narrow_networks


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory) -> Iterator[Place]:
    place = copy_of_the_repository(tmp_path_factory.mktemp("laboratory") / "kit")
    facades(place)
    yield place
    shutil.rmtree(place.folder.parent)


@pytest.mark.slow
def test_commands_about_the_data_work_as_printed(laboratory):
    run_all(FACADES, laboratory)
    drawn, committed = (folder / "data" / "facades" / "sample" / "base" for folder in (laboratory.folder, REPOSITORY))
    assert all((drawn / path.name).read_bytes() == path.read_bytes() for path in committed.glob("*.xml"))
    run_all(SATELLITE, laboratory)
    drawn, committed = (folder / "data" / "satellite" / "sample" for folder in (laboratory.folder, REPOSITORY))
    masks = [path.relative_to(committed) for path in committed.rglob("*_mask.png")]
    assert masks and all(np.array_equal(imread(drawn / path), imread(committed / path)) for path in masks)


@pytest.mark.slow
def test_commands_of_training_work_as_printed_with_narrow_networks(laboratory):
    if "PYTHONPATH" not in laboratory.environment:
        narrow_networks(laboratory)
    run_all(TRAINING, laboratory)


def without_checksum(commands: list[str]) -> list[str]:
    return [re.sub(r"vgg16_facades-\w+\.pth", "vgg16_facades-CHECKSUM.pth", command) for command in commands]


@pytest.mark.slow
def test_results_page_prints_the_commands_that_make_it(laboratory):
    if "PYTHONPATH" not in laboratory.environment:
        narrow_networks(laboratory)
    run_all([MAKE_RESULTS], laboratory)
    made = [printed.text for printed in commands_of(laboratory.folder / "docs" / "results.md")]
    assert without_checksum(made) == without_checksum(RESULTS)
