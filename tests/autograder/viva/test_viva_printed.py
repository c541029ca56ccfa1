"""Does a sheet fit on one page of paper, with its answers too?"""

import re

import numpy as np
import pytest
from in_browser import CHROMIUM

from autograder.viva.drawing import before_and_after
from autograder.viva.pages import write_pages

pytest_plugins = ["in_browser"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium")]


def question(number: int) -> dict:
    scores = np.random.default_rng(number).standard_normal((1, 5, 79, 33)).astype(np.float32)
    line = "self.transpose_conv = nn.ConvTranspose2d(n_class, n_class, 64, stride=32, bias=False)  # as large as the picture, and some"
    return {
        "name": "fcn8s-421", "defines": "FCN8s", "where": "4_fcn8s.ipynb, cell 12", "line": 48, "kind": "argument", "old": "stride=32",
        "new": "", "keyword": "", "before": line, "after": line.replace("stride=32, ", ""), "about": ["", ""], "topic": "shapes",
        "ask": "scores", "given": "", "was": "", "now": "", "answers": [
            "Scores of class 2: moved 8 pixels down; of classes 3, 4: changed otherwise; of classes 0, 1: as before. 14% of the pixels get "
            "another class.",
            "At heights 96 to 128 the output has another size: 1 x 5 x 48 x 48 at height 96, in place of 1 x 5 x 96 x 96. At widths 96 to "
            "128 the output has another size: 1 x 5 x 48 x 48 at width 96, in place of 1 x 5 x 96 x 96.",
        ], "pictures": before_and_after(scores, -scores),
    }  # fmt: skip


@pytest.mark.parametrize("what", ["questions", "answers"])
def test_each_sheet_is_one_page(browser, tmp_path, what):
    sheets = {name: {"key": "", "student": name, "note": "", "seconds": 1.0, "questions": [question(n) for n in range(3)]}
              for name in ("ada", "bob")}  # fmt: skip
    write_pages(tmp_path, sheets, "Segmentation", ["python", "-m", "autograder", "viva", "build/graded", "--submissions", "submitted"])
    page = browser.new_page()
    page.goto((tmp_path / f"{what}.html").as_uri())
    printed = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "14mm"))
    page.close()
    assert len(re.findall(rb"/Type /Page\b(?!s)", printed)) == 2
