"""Mistakes in ``read_label``, each seen in real code: what it costs, how it is called. And what is no mistake."""

import pytest
from course_code import RUBRIC, judged, solution

HEAD = (
    "import numpy as np\nimport torch\nfrom PIL import Image\nimport torchvision.transforms.functional as TF\n\ndef read_label(path):\n    "
)
IDS = "ids = np.array(Image.open(path)).astype(np.int64)\n    "
TAIL = "label = ids - 1\n    label[ids == 0] = 255\n    return "
PROSE = "[11, 0, 4, 5, 2, 6, 8, 7, 10, 1, 3, 9]"  # background, facade, ... in the order of the web page's list

MISTAKES = {
    "prose order": (f"{IDS}label = np.array([255] + {PROSE})[ids]\n    return torch.from_numpy(label)", 1.5, "label.order"),
    "not shifted": (f"{IDS}ids[ids == 0] = 255\n    return torch.from_numpy(ids)", 1.5, "label.shift"),
    "not shifted, unknown kept": (f"{IDS}return torch.from_numpy(ids)", 0.5, "label.shift"),
    "shifted twice": (f"{IDS}{TAIL}torch.from_numpy(np.where(label == 255, 255, label - 1))", 1.5, "label.shift"),
    "wraps to 255 in uint8, then stays there": ("return torch.from_numpy(np.array(Image.open(path)) - 1)", 3.5, "label.dtype"),
    "unknown is class 0": (f"{IDS}return torch.from_numpy(np.maximum(ids - 1, 0))", 3, "label.ignored"),
    "unknown is -1": (f"{IDS}return torch.from_numpy(ids - 1)", 3, "label.ignored"),
    'convert("L")': (f'ids = np.array(Image.open(path).convert("L")).astype(np.int64)\n    {TAIL}torch.from_numpy(label)', 1.5,
     "label.grey"),
    "red of RGB": (f'ids = np.array(Image.open(path).convert("RGB"))[..., 0].astype(np.int64)\n    {TAIL}torch.from_numpy(label)', 1.5,
     "label.grey"),
    "numbered by what occurs": (f"{IDS}label = np.unique(ids, return_inverse=True)[1].reshape(ids.shape) - 1\n    "
                                "label[ids == 0] = 255\n    return torch.from_numpy(label)", 1.5, "label.values"),
    "red of 0..1 and long": ("red = np.array(Image.open(path).convert('RGB'))[..., 0] / 255\n    return torch.from_numpy(red).long()", 0.5,
     "label.grey"),
    "ToTensor and long": ("return TF.to_tensor(Image.open(path))[0].long()", 0, "label.zeros"),
    "resized bilinearly": (f"picture = Image.open(path)\n    ids = np.array(picture.convert('L').resize(picture.size, "
        f"2)).astype(np.int64)\n    "
                           f"{TAIL}torch.from_numpy(label)", 1.5, "label.grey"),
    "int32": (f"{IDS}{TAIL}torch.from_numpy(label).int()", 3.5, "label.dtype"),
    "float": (f"{IDS}{TAIL}torch.from_numpy(label).float()", 3.5, "label.dtype"),
    "with a channel": (f"{IDS}{TAIL}torch.from_numpy(label)[None]", 0, "label.shape"),
    "turned": (f"{IDS}{TAIL}torch.from_numpy(label.T.copy())", 0, "label.shape"),
    "a list": (f"{IDS}{TAIL}label.tolist()", 0, "label.type"),
    "a picture": ("return Image.open(path)", 0, "label.type"),
    "nothing": ("Image.open(path)", 0, "label.type"),
    "raises": ("return open(path + '.txt')", 0, "code.raises"),
    "stub": ("# YOUR CODE HERE\n    raise NotImplementedError()", 0, "code.unfinished"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_and_costs_its_part(name, tmp_path):
    body, points, cause = MISTAKES[name]
    found = judged("read_label", HEAD + body, tmp_path)
    assert (found.cause, found.points) == (cause, points), found.message
    assert cause in RUBRIC.causes and "read_label" in found.message


def test_the_message_says_expected_got_and_the_likely_cause(tmp_path):
    message = judged("read_label", HEAD + MISTAKES["not shifted"][0], tmp_path).message
    assert "labelled pixels are wrong" in message and "must give" in message and "not shifted" in message


@pytest.mark.parametrize("body", [
    f"{IDS}{TAIL}torch.from_numpy(label)",
    f"{IDS}{TAIL}torch.from_numpy(label).long()",
    f"{IDS}{TAIL}label",  # an int64 array is as good
    "ids = (TF.to_tensor(Image.open(path)) * 255).round().long()[0]\n    " + TAIL + "label",
    "ids = TF.pil_to_tensor(Image.open(path))[0].long()\n    " + TAIL + "label",
    "label = torch.from_numpy(np.array(Image.open(path)) - np.uint8(1)).long()\n    return label",  # 0 - 1 is 255 in uint8
    "import torchvision\n    ids = torch.tensor(list(Image.open(path).getdata())).view(*Image.open(path).size[::-1])\n    " + TAIL + "label",  # noqa: E501
])  # fmt: skip
def test_other_ways_to_the_same_labels_keep_all_points(body, tmp_path):
    found = judged("read_label", HEAD + body, tmp_path)
    assert found.status == "earned", found.message


def test_the_notebooks_own_solution_keeps_all_points(tmp_path):
    assert judged("read_label", solution("read_label"), tmp_path).status == "earned"
