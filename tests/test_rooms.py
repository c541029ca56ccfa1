"""Which room may import which: arrows run downward only, in ``autograder`` and in ``segkit``."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

# room of autograder/ -> the rooms that it may import; each knows those above it in this table, and segkit
ALLOWED = {
    "course": (),
    "report": (),
    "sandbox": (),
    "handins": ("course", "report", "sandbox"),
    "judge": ("course", "report", "sandbox", "handins"),
    "segmentation": ("course", "judge", "sandbox"),
    "marking": ("course", "report", "sandbox", "handins"),
    "release": ("course",),
    "alike": ("course", "report", "handins", "marking", "release"),
    "batch": ("alike", "course", "report", "sandbox", "handins", "judge", "marking"),
    "gradebook": ("course", "handins", "judge", "release"),
    "export": ("course", "handins", "marking", "release", "report"),
    "exam": ("batch", "course", "gradebook", "handins", "judge", "release", "sandbox"),
    "viva": ("course", "exam", "handins", "judge", "report", "sandbox"),
    "assignments": ("course", "exam", "judge", "sandbox", "segmentation"),
    "demo": ("batch", "course", "exam", "judge", "release", "report"),
    "cli": (
        "alike",
        "batch",
        "course",
        "exam",
        "export",
        "gradebook",
        "handins",
        "judge",
        "marking",
        "release",
        "report",
        "sandbox",
        "viva",
    ),
    "__main__": ("cli",),
}


@cache
def modules() -> dict[str, Path]:
    return {_name(path): path for package in ("autograder", "segkit") for path in (REPO / package).rglob("*.py")}


def _name(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(name: str) -> set[str]:
    """Modules of the kit that a module imports, within functions too."""
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & set(modules())


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def arrows(package: str) -> dict[str, dict[str, str]]:
    """Room -> room that it imports -> one import that shows it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in modules():
        for other in imports(name):
            if room(name).startswith(package) and room(other) not in (room(name), package, room(name).split(".")[0]):
                found[room(name)][room(other)] = f"{name} imports {other}"
    return found


def test_arrows_between_the_rooms_of_the_autograder_are_those_of_the_table():
    wrong = [
        text for name, others in arrows("autograder.").items() for other, text in others.items()
        if other.startswith("autograder.") and other.split(".")[1] not in ALLOWED.get(name.split(".")[1], ())
    ]  # fmt: skip
    assert wrong == []


def test_every_room_of_the_autograder_is_in_the_table_and_no_module_lies_beside_them():
    there = {path.stem for path in (REPO / "autograder").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there - {"__init__"} == set(ALLOWED)


def test_the_table_has_no_circle():
    for number, (name, others) in enumerate(ALLOWED.items()):
        later = [other for other in others if other not in list(ALLOWED)[:number]]
        assert later == [], f"{name} is to import {later}, which stand below it"


def test_segkit_has_no_circle_of_rooms_and_imports_nothing_from_the_autograder():
    graph = {name: set(others) for name, others in arrows("segkit").items()}
    assert not [other for others in graph.values() for other in others if other.startswith("autograder")]
    done: set[str] = set()
    while graph:
        free = [name for name, others in graph.items() if not (others - done) & set(graph)]
        assert free, f"a circle among {sorted(graph)}: {graph}"
        done |= set(free)
        graph = {name: others for name, others in graph.items() if name not in free}


def test_files_of_tests_and_benchmarks_have_one_topic():
    """Above 400 lines there are two."""
    paths = [path for part in ("tests", "benchmarks") for path in (REPO / part).rglob("*.py")]
    long = {path.name for path in paths if path.read_bytes().count(b"\n") > 400}
    assert long == set()
