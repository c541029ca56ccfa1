"""Whose class a name means, in the full kit and in the student edition."""

import json
import sys

import pytest
import torch
from torch import nn

import segkit.models
import segkit.reference
from segkit.models import ModelError, copy_vgg16, has_reference, model_class, solution_functions

CELLS = {
    "1_data.ipynb": [
        "import torch",
        "def read_label(path):\n    return torch.zeros(2, 2).long()",
        "def confusion_matrix(pred, gt, n_class):\n    return 'mine'",
        "def scores(hist):\n    raise NotImplementedError()",
    ],
    "2_fcn32s.ipynb": ["from torch import nn", "class FCN32s(nn.Module):\n    mark = 'student'"],
    "4_fcn8s.ipynb": ["FCN8s = 3"],
    "broken.ipynb": ["class FCN32s(Missing):\n    pass"],
}


@pytest.fixture
def folder(tmp_path):
    ids = {"read_label": "read_label", "confusion_matrix": "confusion_matrix", "scores": "scores"}
    content = {"assignment": "fcn", "padding": 100, "crops": {}, "solution_cells": ids}
    (tmp_path / "assignment.json").write_text(json.dumps(content))
    for name, sources in CELLS.items():
        cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} for source in sources]
        (tmp_path / name).write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return tmp_path


@pytest.fixture
def student_edition(monkeypatch):
    monkeypatch.setattr(segkit.models, "has_reference", lambda: False)


def test_short_names_mean_the_reference_in_the_full_kit():
    assert has_reference()
    assert model_class("fcn8s") is segkit.reference.FCN8s
    assert solution_functions().scores is segkit.reference.scores


def test_short_names_mean_the_notebook_in_the_student_edition(folder, student_edition, capsys):
    (folder / "broken.ipynb").unlink()
    assert model_class("fcn32s", folder).mark == "student"
    assert "FCN32s  from 2_fcn32s.ipynb, cell 2" in capsys.readouterr().out


def test_a_stub_is_answered_by_naming_its_cell(folder, student_edition):
    with pytest.raises(ModelError, match=r"scores is not finished yet.*1_data.ipynb, cell 4"):
        solution_functions(folder)


def test_a_class_of_a_certain_notebook_is_taken_in_both_editions(folder):
    assert model_class("2_fcn32s.ipynb:FCN32s", folder).mark == "student"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet", "Unknown model 'unet'. Expected fcn32s, fcn16s, fcn8s"),
        ("nowhere.ipynb:FCN32s", "nowhere.ipynb"),
        ("2_fcn32s.ipynb:FCN8s", "defines no FCN8s"),
        ("broken.ipynb:FCN32s", "Missing"),
        ("4_fcn8s.ipynb:FCN8s", "expected a class derived from nn.Module, found 3"),
    ],
)
def test_what_cannot_be_had_is_explained(folder, name, expected):
    with pytest.raises(ModelError, match=expected):
        model_class(name, folder)


def test_a_missing_definition_is_explained(folder, student_edition):
    with pytest.raises(ModelError, match="FCN16s is defined in no notebook"):
        model_class("fcn16s", folder)


def test_a_helper_beside_the_notebook_is_imported(folder, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    (folder / "deep").mkdir()
    (folder / "assignment.json").rename(folder / "deep" / "assignment.json")
    (folder / "deep" / "models_helper.py").write_text("MARK = 'helped'\n")
    source = "from torch import nn\nimport models_helper\nclass Net(nn.Module):\n    mark = models_helper.MARK"
    (folder / "deep" / "a.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": source}], "nbformat": 4}))
    assert model_class("deep/a.ipynb:Net", folder).mark == "helped"


def test_vgg_is_copied_by_a_method_of_the_network_where_it_has_one():
    class WithMethod(nn.Module):
        def copy_params_from_vgg16(self, vgg16):
            self.got = vgg16

    model, source = WithMethod(), torch.nn.Identity()
    copy_vgg16(model, source)
    assert model.got is source
