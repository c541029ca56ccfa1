"""Recorded runs side by side: label maps of chosen pictures and epochs, the table of scores, the curves."""

import json
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from course_items import TINY
from matplotlib.colors import to_hex

from segkit import plots
from segkit.cli import main
from segkit.datasets.satellite import SPEC
from segkit.history import EpochRecord, History

NAMES = ("cmp_s0001", "cmp_s0029")  # one to train, one to test


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of three epochs that watched two pictures after the first and the second."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.py").write_text(TINY)
    done = train(folder, "run", "--epochs", 3, "--stages", "first, 2", "--pictures", ",".join(NAMES))
    assert done.exit_code == 0, done.output
    return folder / "run"


def train(folder: Path, out: str, *words: object):
    fixed = ["train", "--model", "tiny.py:Tiny", "--notebooks", folder, "--split", "sample", "--out", folder / out, "--quiet"]
    return CliRunner().invoke(main, [*map(str, [*fixed, *words])])


def history(*scores: float) -> History:
    return History({}, [EpochRecord(n, None if n == 0 else 1.0, 1.0, 0.5, score, [score], 1e-3, 1.0) for n, score in enumerate(scores)])


def texts(figure) -> str:
    return "\n".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def test_train_saves_maps_of_the_named_pictures_after_the_chosen_epochs(run: Path) -> None:
    saved = plots.read_stages(run)
    assert list(saved) == [1, 2] and all(tuple(maps) == NAMES for maps in saved.values())
    from segkit.facades import find_root, image_path
    from segkit.pictures import photograph_size

    for name, found in saved[2].items():
        assert found.shape == photograph_size(image_path(find_root("sample"), name)) and found.dtype == np.uint8 and found.max() < 12


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--stages", "1,middel"], 2, "expected first, middle, last or numbers of epochs, but got 'middel'"),
        (["--pictures", "cmp_s0001,cmp_s9999"], 1, "2 of 4 files of the given names are missing"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_training(run: Path, words: list[str], code: int, says: str) -> None:
    done = train(run.parent, "never", *words)
    assert done.exit_code == code and says in done.output, done.output
    assert not (run.parent / "never").exists()


def test_epochs_of_a_page_come_in_their_order_and_all_have_the_colours_of_the_data_set(tmp_path: Path) -> None:
    maps = {f"{epoch}/{name}": np.full((4, 5), epoch % 7, np.uint8) for epoch in (10, 1, 5) for name in ("b", "a", "c")}
    maps["5/a"][0, 0] = 6
    np.savez(tmp_path / "stages.npz", **maps)
    figure = plots.mask_page(tmp_path, spec=SPEC)
    assert len(figure.axes) == 9 and "3 forest" in texts(figure) and "unknown" in texts(figure)
    shown = [axes.images[0].get_array()[-1, -1].tolist() for axes in figure.axes[:3]]
    assert shown == [list(SPEC.colours[k + 1]) for k in (1, 5, 3)], "epochs 1, 5, 10 of the first picture"
    assert [word for word in texts(figure).split("\n") if word.startswith("epoch")] == ["epoch 1", "epoch 5", "epoch 10"]
    some = plots.mask_page(tmp_path, ["c", "a"], [5], SPEC, {name: np.zeros((4, 5, 3)) for name in "abc"})
    assert len(some.axes) == 4 and (some.axes[3].images[0].get_array()[0, 0] == SPEC.colours[0]).all(), "a's map of epoch 5 is last"


def test_what_was_not_saved_is_named_with_what_was(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no label maps of epochs 3. There are 1, 2\."):
        plots.mask_page(run, epochs=[1, 3])
    with pytest.raises(ValueError, match=r"no label maps of pictures cmp_s0002. There are cmp_s0001, cmp_s0029\."):
        plots.mask_page(run, ["cmp_s0002"])
    with pytest.raises(ValueError, match=r"stages.npz: no label maps can be read from it .*segkit train --stages"):
        plots.read_stages(tmp_path)
    (tmp_path / "stages.npz").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match="no label maps can be read"):
        plots.mask_page(tmp_path)


def test_the_table_has_a_row_for_each_run_and_for_each_that_was_published(run: Path) -> None:
    lines = plots.score_table(
        {"coarse": history(0.1, 0.25, 0.5, 0.4), "mine": run, "none": history(0.1)},
        (1, 3, 5),
        {"coarse": {1: 0.43, 5: 0.56, "final": 0.67}},
    ).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["mean IoU", "epoch 1", "epoch 3", "epoch 5", "best"] and set("".join(cells[1])) == {"-"}
    assert cells[2] == ["coarse", "0.250", "0.400", "-", "0.500 (epoch 2)"]
    recorded = json.loads((run / "history.json").read_text())["epochs"]
    assert cells[3][1:4] == [f"{recorded[1]['mean_iou']:.3f}", f"{recorded[3]['mean_iou']:.3f}", "-"]
    assert cells[4] == ["none", "-", "-", "-", "-"]
    assert cells[5] == ["coarse, published", "0.43", "-", "0.56", "0.670"] and len({len(line) for line in lines}) == 1


def test_curves_of_runs_are_coloured_and_those_of_others_grey() -> None:
    figure = plots.compare_runs(
        {"a": history(0.1, 0.2, 0.3), "b": history(0.1, math.nan, 0.5)}, {"a": {1: 0.4, 5: 0.6, "final": 0.7}, "b": {"final": 0.8}}
    )
    known, one, two = figure.axes[0].lines
    assert known.get_xydata().tolist() == [[1, 0.4], [5, 0.6]] and known.get_label() == "a, published"
    assert one.get_xydata().tolist() == [[1, 0.2], [2, 0.3]], "the untrained network is left out"
    assert two.get_ydata()[1] == 0.5 and len({to_hex(line.get_color()) for line in (known, one, two)}) == 3
    assert to_hex(known.get_color()) == "#7b8794"


def test_a_network_has_the_same_colour_in_every_picture() -> None:
    """Notebook 4 shows four networks in two orders, first the student's own, then the recorded ones."""
    own = ("FCN-32s from scratch", "FCN-32s", "FCN-16s", "FCN-8s")
    scores = {name: {"sill": 0.5} for name in own}
    bars = {bar.get_label(): to_hex(bar.patches[0].get_facecolor()) for bar in plots.class_scores(scores).axes[0].containers}
    recorded = plots.compare_runs({name: history(0.1, 0.2) for name in (*own[1:], "FCN-8s from scratch")})
    lines = {line.get_label(): to_hex(line.get_color()) for line in recorded.axes[0].lines}
    assert len(set(bars.values())) == len(set(lines.values())) == 4
    assert all(bars[name] == lines[name] for name in own[1:]) and bars[own[0]] == lines["FCN-8s from scratch"]
    alone = plots.compare_runs({"FCN-8s": history(0.1, 0.2)}).axes[0].lines[0]
    assert to_hex(alone.get_color()) == lines["FCN-8s"]


def test_many_networks_of_any_names_have_a_colour_each_while_there_are_some() -> None:
    names = [f"run {number}" for number in range(4)] + ["FCN-8s", "FCN-8s, again"]
    colours = [to_hex(line.get_color()) for line in plots.compare_runs({name: history(0.1, 0.2) for name in names}).axes[0].lines]
    assert len(colours) == 6 and len(set(colours[:5])) == 5


def test_the_epochs_of_the_table_are_marked_below_the_curves() -> None:
    figure = plots.compare_runs({"a": history(*np.linspace(0, 0.5, 21))})
    assert set(figure.axes[0].get_xticks()) & set(range(1, 21)) == {5, 10, 15, 20}


def test_a_run_without_history_is_named(tmp_path: Path) -> None:
    for draw in (plots.score_table, plots.compare_runs):
        with pytest.raises(ValueError, match=r"history.json: no training history can be read"):
            draw({"gone": tmp_path})


def test_a_white_class_is_seen_in_legends() -> None:
    swatch = plots.legend(SPEC).axes[0].patches[SPEC.classes.index("barren")]
    below = plots.label_maps({"a": [np.full((4, 4), 5)]}, spec=SPEC).legends[0].get_patches()[0]
    for patch in (swatch, below):
        assert to_hex(patch.get_facecolor()) == "#ffffff" and to_hex(patch.get_edgecolor()) == "#7b8794" and patch.get_linewidth() > 0.3


def test_what_a_file_holds_fits_beside_its_swatch() -> None:
    small = [item for item in plots.legend(SPEC).axes[0].texts if item.get_fontsize() < 9]
    assert [item.get_text() for item in small][4:] == ["(0, 0, 255)", "(255, 255, 255)", "(0, 0, 0), ignored"]
    assert "id 12 in the file" in texts(plots.legend())
