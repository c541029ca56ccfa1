"""The networks that are drawn for ``layer_table``, and what is no table, or one that was learned by heart."""

import numpy as np
import pytest
import torch
from asking import findings
from layer_tables import table

from segkit.checks import satellite as checks
from segkit.checks.satellite.tables import Drawn, table_mistakes
from segkit.subject import LocalSubject

ODD_ROWS = {
    "sizes as tensors": lambda m, s: [(name, [torch.tensor(side) for side in shape], torch.tensor(n)) for name, shape, n in table(m, s)],
    "an unknown batch": lambda m, s: [(name, (None, *shape[1:]), float(n)) for name, shape, n in table(m, s)],
}
NO_ROWS = {
    "a shape of lists": [("0", [[1, 2], [3]], 5)], "a shape of text": [("0", "34", 5)],
    "a number that is none": [("0", (3, 4), float("nan"))],
    "endless": [("0", (3, 4), float("inf"))], "a part": [("0", (3, 4), 0.5)], "yes": [("0", (3, 4), True)], "two parts": [("0", 3)],
    "no name": [(0, (3, 4), 5)],
}  # fmt: skip


@pytest.mark.parametrize("rows", ODD_ROWS)
def test_rows_are_judged_by_their_numbers(rows):
    report = checks.check_layer_table(ODD_ROWS[rows])
    assert report, report.lines


@pytest.mark.parametrize("rows", NO_ROWS)
def test_what_is_no_row_is_refused_by_name(rows):
    report = checks.check_layer_table(lambda model, size: NO_ROWS[rows])
    assert report.fault_line.code == "table.rows" and "expected rows (name, output shape, parameters), but got" in str(report.fault_line)


def parts_lost(layer_table, tmp_path):
    return {finding.part for finding in findings(tmp_path, table_mistakes, seed=3, layer_table=layer_table)}


def test_who_runs_nothing_leaves_nothing_untouched(tmp_path):
    assert parts_lost(lambda model, size: [], tmp_path) == {"rows", "shapes", "parameters", "untouched"}


def test_a_single_row_shows_no_shapes(tmp_path):
    assert {"rows", "shapes"} <= parts_lost(lambda model, size: table(model, size)[:1], tmp_path)


def test_rows_of_containers_under_other_names_cost_no_shapes(tmp_path):
    """As summaries of layers print them: kinds and numbers for names, and a block beside its layers."""

    def summary(model, size):
        return [(f"Layer-{n}", *row[1:]) for n, row in enumerate(table(model, size, leaf=False))]

    assert "shapes" not in parts_lost(summary, tmp_path)


def test_vgg16_is_looked_at_row_by_row(tmp_path):
    """Not only counted: a table that was learned by heart has the right number of rows and of parameters."""

    def by_heart(model, size):
        rows = table(model, size)
        return [("", (1,), n) for _, _, n in rows] if len(rows) == 39 else rows

    assert parts_lost(by_heart, tmp_path) == {"rows"}


def test_what_is_known_of_a_drawn_network_is_what_runs_in_it(tmp_path):
    """Held against hooks; no two of these networks have their parts in the same order, so that none can be known beforehand."""
    orders = set()
    for seed in range(8):
        subject = LocalSubject(tmp_path)
        drawn = Drawn(subject, np.random.default_rng(seed))
        model = subject.model(drawn.net)
        rows = [(drawn.shared[0] if name in drawn.shared else name, shape[1:], n) for name, shape, n in table(model, drawn.size)]
        assert rows == drawn.rows
        assert [shape[1:] for _, shape, _ in table(model, drawn.size, before=True)] == drawn.read
        assert drawn.containers == {name for name, module in model.named_modules() if [*module.children()]}
        held = {name: sum(value.numel() for value in module.buffers(recurse=False)) for name, module in model.named_modules()}
        assert drawn.buffers == {name: count for name, count in held.items() if count}
        orders.add(tuple(type(module).__name__ for module in model.modules()))
    assert len(orders) == 8
