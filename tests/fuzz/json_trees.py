"""Damage to JSON: types swapped, keys dropped, doubled and renamed, values that no program writes."""

import copy
import json
import random
from typing import Any

__all__ = ["dump", "mutate_tree"]

DEEP = "\x01deep\x01"
HUGE_NUMBER = "\x01huge\x01"


def odd_value(rng: random.Random) -> Any:
    """A value that a reader does not expect."""
    return rng.choice([
        None, True, False, 0, 1, -1, 5, 2**63, 1e308, float("nan"), float("inf"), "", "code", "\ud800", "\udfff\ud800", "\0", "x" * 70_000,
        "\u202e\u2028", "NaN", [], {}, [[]], [None, 1, "a", {}], {"": ""}, {"\ud800": 1}, {"cells": 5}, {"nbgrader": []}, DEEP, HUGE_NUMBER,
        ["a", 3, None], [{}] * 40, {"data": 3}, "__class__", "../../x", "double", "1_double.ipynb",
    ])  # fmt: skip


def _places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found.append((tree, key))
        _places(value, found)
    return found


def mutate_tree(rng: random.Random, tree: Any, times: int = 1) -> Any:
    """Return a damaged copy of a tree of dicts and lists."""
    tree = copy.deepcopy(tree)
    for _ in range(times):
        places = _places(tree, [])
        if not places:
            return odd_value(rng)
        container, key = rng.choice(places)
        kind = rng.randrange(9)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), copy.deepcopy(container[key]))
        elif kind == 2 and isinstance(container, dict):
            container[rng.choice([f"{key}s", key.upper(), "", "source", "cells", "id", "metadata", "\ud800"])] = container.pop(key)
        elif kind == 3:
            other, where = rng.choice(places)
            container[key] = copy.deepcopy(other[where])
        elif kind == 4:
            container[key] = [container[key]]
        elif kind == 5:
            container[key] = {rng.choice(["nbgrader", "source", "x"]): container[key]}
        elif kind == 6 and isinstance(container, list):
            rng.shuffle(container)
        else:
            container[key] = odd_value(rng)
    return tree if rng.random() > 0.01 else odd_value(rng)


def dump(rng: random.Random, tree: Any) -> str:
    """Write a tree as one of the many programs that save notebooks would, or as none would."""
    text = json.dumps(tree, ensure_ascii=rng.random() > 0.5, indent=rng.choice([None, 1, "\t"]))
    depth = rng.choice([40, 900, 100_000])
    text = text.replace(json.dumps(DEEP), "[" * depth + "]" * depth).replace(json.dumps(HUGE_NUMBER), "9" * rng.choice([400, 6000]))
    if rng.random() > 0.95:  # a key twice
        text = text.replace("{", rng.choice(['{"cells": 3,', '{"source": "",', '{"metadata": {}, "id": 7,']), 1)
    return text
