"""What a student wrote enters a result cut to a size, printable, and without numbers that tell more than they should."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from autograder.course.rubric import CheckRubric
from autograder.course.seeds import Seeds
from autograder.judge.checking import CheckPlugin, Grading
from autograder.sandbox.capped import LINE, MESSAGE, REPORT, TOLD, capped, measured_values, told
from segkit.subject import StudentError

CHECK = CheckRubric("a", "A", 4, {"x": 2, "y": 2})


@pytest.mark.parametrize(("text", "expected"), [
    ("loss 0.123456789 here", "loss 0.1235 here"), ("ids 605419168", "ids 6.054e+08"), ("[1, 512, 7, 7] and 4096", None),
    ("mat1 and mat2 shapes cannot be multiplied (1x25088 and 4096x1000)", None), ("2_fcn32s.ipynb, cell 16, line 1080, in forward", None),
    ("p = 0.5, lr 1e-05, 12.25", None), ("x0.98765432e-7y", "x9.877e-08y"), ("-.1234567", "-0.1235"), ("torch 2.15.0+cpu", None),
    ("at 0x7f3a2b1c90", "at 0x..."), ("9" * 5000, "1e+297..."), ("12345.678", "1.235e+04"),
])  # fmt: skip
def test_what_failing_code_says_holds_no_long_numbers(text, expected):
    assert told(text) == (expected if expected is not None else text)


def test_of_many_words_the_beginning_and_the_end_are_kept():
    text = "FCN32s.forward failed.\n" + "\n".join(f"line {number}" for number in range(5)) + "\n" + "a" * 10**6 + "\nValueError: why"
    found = told(text)
    assert found.startswith("FCN32s.forward failed.\nline 0") and len(found) <= TOLD + 100
    assert max(map(len, told("x" * 1000 + "\n" + "y" * 1000).split("\n"))) == LINE
    assert told("first\n" + "word\n" * 400 + "ValueError: why").endswith("ValueError: why")


def test_texts_can_be_printed_and_written():
    found = capped("a\x1b[31m\u202eb\ud800\x00" + "x" * 10**7)
    assert found.startswith("a\\x1b[31m\\u202eb\\ud800\\x00xxx") and len(found) < MESSAGE + 100
    found.encode("utf-8")


def test_measured_values_are_small_finite_and_plain():
    found = measured_values({
        "nan": float("nan"), "huge": 10**400, "text": "x" * 10**6, "list": list(range(10**5)), "array": np.arange(10**6),
        "scalar": np.float32(0.5), "deep": {"a": {"b": {"c": {"d": 1}}}}, "x" * 10**6: 1,
    })  # fmt: skip
    assert found["nan"] == "nan" and found["scalar"] == 0.5 and len(found["list"]) == 40
    assert len(json.dumps(found, allow_nan=False)) < 3000


def test_a_check_says_no_more_than_a_report_holds():
    grading = Grading(CHECK, Seeds("s"), SimpleNamespace(), None)
    for _ in range(100):
        grading.lose("x", cause="layer.kernel_size", message="found kernel_size=" + "9" * 3_000_000, measured={"found": "9" * 3_000_000})
    grading.note("z" * 10**6)
    verdict = grading.result()
    assert len(verdict.message) <= REPORT and len(json.dumps(verdict.to_json())) < REPORT + 1000


@pytest.mark.parametrize("error", [StudentError("x" * 10**6), AssertionError("x" * 10**6), ValueError("x" * 10**6)])
def test_an_error_says_no_more_than_a_message_holds(error):
    plugin = CheckPlugin(None, None, {"a": CHECK}, None)
    assert len(plugin._failed("a", error).message) <= MESSAGE
