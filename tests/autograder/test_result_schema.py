"""Does the schema take every honest result, and say clearly what is wrong with the others?"""

import json

import jsonschema
import pytest
from fake_class import fake_class, fake_result, set_check

from autograder.report.result_schema import SCHEMA_FILE, ResultSchemaError, validate


@pytest.mark.parametrize("result", fake_class(), ids=lambda result: result["submission"][:12])
def test_results_of_a_class_are_valid(result):
    validate(json.loads(json.dumps(result)))


def test_schema_is_itself_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("key", sorted(fake_result("x")))
def test_every_key_is_required(key):
    result = fake_result("x")
    del result[key]
    with pytest.raises(ResultSchemaError, match=key):
        validate(result)


@pytest.mark.parametrize("key", sorted(fake_result("x")["checks"][0]))
def test_every_key_of_a_check_is_required(key):
    result = fake_result("x")
    del result["checks"][3][key]
    with pytest.raises(ResultSchemaError, match=rf"checks\[3\].*'{key}' is a required property"):
        validate(result)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schema": "segkit-result/2"}, "schema: 'segkit-result/1' was expected"),
        ({"isolation": "none"}, "isolation: 'none' is not one of"),
        ({"score": "70"}, "score: '70' is not of type 'number'"),
        ({"score": float("nan")}, "score: expected a finite number, found nan"),
        ({"score": 69}, "score: expected 70, the sum over the checks, found 69"),
        ({"max_score": 70}, "max_score: expected 100"),
        ({"needs_manual": 2}, "needs_manual: expected 30"),
        ({"started": "yesterday"}, "started: 'yesterday' does not match"),
        ({"submission_sha256": "abc"}, "submission_sha256"),
        ({"data": {"source": "x", "split": "base"}}, "data"),
        ({"grade": 1}, "'grade' was unexpected"),
    ],
)
def test_wrong_values_are_named(changes, text):
    with pytest.raises(ResultSchemaError) as caught:
        validate(fake_result("alice", **changes))
    assert text in str(caught.value)
    assert "result of 'alice'" in str(caught.value)


@pytest.mark.parametrize(
    ("points", "status", "text"),
    [
        (0, "needs_manual", "0 is not of type 'null'"),
        (0, "could_not_grade", "0 is not of type 'null'"),
        (None, "not_earned", "None is not of type 'number'"),
        (3, "earned", "status 'earned': expected all 4 points, found 3"),
        (4, "partial", "expected more than 0 and less than 4 points, found 4"),
        (0, "partial", "expected more than 0 and less than 4 points, found 0"),
        (1, "not_earned", "expected 0 points, found 1"),
        (2.25, "partial", "2.25 is not a multiple of 0.5"),
    ],
)
def test_points_must_fit_the_status(points, status, text):
    result = set_check(fake_result("alice"), "scores", points, status=status)
    with pytest.raises(ResultSchemaError) as caught:
        validate(result)
    assert text in str(caught.value)
    assert "scores" in str(caught.value), "the fault names the check"


def test_nan_deep_in_a_measurement_is_found():
    result = set_check(fake_result("alice"), "scores", 0, "iou.nan", {"found": {"iou": [0.5, float("inf")]}})
    with pytest.raises(ResultSchemaError, match=r"checks\[2\]\.measured\.found\.iou\[1\]: expected a finite number"):
        validate(result)


def test_a_check_listed_twice_is_found():
    result = fake_result("alice")
    result["checks"][1] = dict(result["checks"][0])
    with pytest.raises(ResultSchemaError, match="'read_label' 2 times"):
        validate(result)


@pytest.mark.parametrize("wrong", [[], "text", None, 3])
def test_something_that_is_no_result_is_refused(wrong):
    with pytest.raises(ResultSchemaError, match="is not of type 'object'"):
        validate(wrong)


def test_many_faults_are_cut_short():
    result = fake_result("alice")
    for check in result["checks"]:
        check["status"] = "wonderful"
    with pytest.raises(ResultSchemaError, match=r"and 8 more$"):
        validate(result)
