"""Does a result say what ``segkit-result/1`` promises? The form is in the JSON Schema, the sums are checked here."""

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from autograder.report.labels import in_total

__all__ = ["SCHEMA_FILE", "ResultSchemaError", "read_result", "validate"]

SCHEMA_FILE = Path(__file__).with_name("result.schema.json")
MAX_FAULTS = 10


class ResultSchemaError(ValueError):
    """A result that breaks its schema; the text lists each fault with its place, what was expected and found."""


def validate(result: dict[str, Any]) -> None:
    """Check one result against the schema, and what a schema cannot say: finite numbers, and sums that agree.

    Args:
        result: the content of one ``result.json``.

    Raises:
        ResultSchemaError: with one line per fault, at most ten: place, expected, found.
    """
    faults = list(_form_faults(result)) or list(_sum_faults(result))
    if faults:
        name = result.get("submission", "?") if isinstance(result, dict) else "?"
        shown = [f"  - {fault}" for fault in faults[:MAX_FAULTS]]
        if len(faults) > MAX_FAULTS:
            shown.append(f"  ... and {len(faults) - MAX_FAULTS} more")
        raise ResultSchemaError("\n".join([f"The result of {name!r} is not a valid segkit-result/1:", *shown]))


def read_result(path: Path) -> dict[str, Any]:
    """Read a ``result.json``.

    Raises:
        ResultSchemaError: It cannot be read, or is no result.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        validate(result)
    except ResultSchemaError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ResultSchemaError(str(error)) from error
    return result


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _form_faults(result: Any) -> Iterator[str]:
    yield from _not_finite(result, "")
    for error in sorted(_validator().iter_errors(result), key=lambda error: error.json_path):
        place = error.json_path.removeprefix("$").removeprefix(".") or "the result"
        yield f"{place}{_whose(result, error.absolute_path)}: {error.message[:300]}"


def _whose(result: Any, path: Any) -> str:
    """Name the check that ``checks[3]`` means: a number alone is hard to find in the file."""
    steps = list(path)
    if len(steps) < 2 or steps[0] != "checks":
        return ""
    check = result["checks"][steps[1]]
    return f" ({check['id']})" if isinstance(check, dict) and isinstance(check.get("id"), str) else ""


def _not_finite(value: Any, place: str) -> Iterator[str]:
    """NaN and infinity pass as numbers in Python, but no strict JSON reader takes the file."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{place}: expected a finite number, found {value}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{index}]")


def _sum_faults(result: dict[str, Any]) -> Iterator[str]:
    checks = result["checks"]
    ids = [check["id"] for check in checks]
    for twice in sorted({name for name in ids if ids.count(name) > 1}):
        yield f"checks: expected each id once, found {twice!r} {ids.count(twice)} times"
    for check in checks:
        yield from _points_fault(check)
    manual = [check for check in checks if check["status"] == "needs_manual"]
    for key, expected in {
        "score": sum(check["points"] or 0 for check in checks),
        "max_score": sum(in_total(check) for check in checks),
        "needs_manual": sum(check["max_points"] for check in manual),
    }.items():
        if not math.isclose(result[key], expected, abs_tol=1e-9):
            yield f"{key}: expected {expected:g}, the sum over the checks, found {result[key]:g}"


def _points_fault(check: dict[str, Any]) -> Iterator[str]:
    points, top, status = check["points"], check["max_points"], check["status"]
    wanted = {
        "earned": (f"all {top:g} points", lambda: points == top),
        "partial": (f"more than 0 and less than {top:g} points", lambda: 0 < points < top),
        "not_earned": ("0 points", lambda: points == 0),
    }
    if status in wanted:
        text, holds = wanted[status]
        if not holds():
            yield f"checks ({check['id']}): status {status!r}: expected {text}, found {points:g}"
