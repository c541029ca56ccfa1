"""A hash, part by part, over everything that the verdict of the exam depends on: the same in every clone.

Only contents and relative paths count; line endings are those of Unix, whatever the checkout made of them.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["PARTS", "fingerprint", "hashed_files", "total"]

# The order in which a message names them.
PARTS = ("checks", "rubric", "reference", "notebooks", "corpus", "grader", "segkit", "exam")

SUFFIXES = frozenset({".py", ".toml", ".ipynb"})
# Of autograder/, what no result of an entry goes through. A new file counts until it is written down here.
NO_GRADER = (
    "__main__.py", "assignments/", "batch/", "cli/", "demo/", "exam/", "export/", "handins/bulk/", "handins/roster.py",
    "release/checkpoints.py", "report/",
)  # fmt: skip
# Of autograder/exam/, what makes and judges outcomes. Tables and files of them change no verdict.
EXAM = (
    "building", "control", "course", "entries", "exam", "generated", "leaks", "parity", "pytest_plugin", "replay", "seen", "sitting",
    "traces",
)  # fmt: skip


def hashed_files(material: Path, notebooks: Path, package: Path, grader: Path) -> dict[str, dict[str, Path]]:
    """List what is hashed.

    Args:
        material: The assignment's folder.
        notebooks: Folder of its source notebooks.
        package: The folder ``segkit/`` of the full kit.
        grader: The folder ``autograder/``.

    Returns:
        Part -> relative name -> file.
    """
    own = _files(material)
    machinery = {name: path for name, path in _files(grader).items() if not name.startswith(NO_GRADER)}
    settings = grader.parent / "nbgrader_config.py"
    machinery |= {settings.name: settings} if settings.is_file() else {}
    parts = {
        "checks": {n: p for n, p in own.items() if not n.startswith(("corpus/", "release/")) and n != "rubric.toml"},
        "rubric": {n: p for n, p in own.items() if n == "rubric.toml"},
        "reference": _files(package / "reference"),
        "notebooks": {path.name: path for path in sorted(notebooks.glob("*.ipynb")) if not path.name.startswith(".")},
        "corpus": {n: p for n, p in own.items() if n.startswith("corpus/")},
        "grader": machinery,
        "exam": {f"{name}.py": grader / "exam" / f"{name}.py" for name in EXAM if (grader / "exam" / f"{name}.py").is_file()},
    }
    roots = [path for part in ("checks", "corpus", "grader", "exam", "reference") for path in parts[part].values()]
    roots += sorted((package / "checks").rglob("*.py"))  # the visible checks, for the column "seen before hand-in"
    parts["segkit"] = _used_modules([path for path in roots if path.suffix == ".py"], package)
    return {part: parts[part] for part in PARTS}


def fingerprint(material: Path, notebooks: Path, package: Path, grader: Path) -> dict[str, str]:
    """Hash what the verdict depends on.

    Args:
        material: The assignment's folder.
        notebooks: Folder of its source notebooks.
        package: The folder ``segkit/`` of the full kit.
        grader: The folder ``autograder/``.

    Returns:
        Part -> 64 hexadecimal digits, in the order of ``PARTS``.
    """
    return {part: _digest(files) for part, files in hashed_files(material, notebooks, package, grader).items()}


def total(parts: Mapping[str, str], without: Iterable[str] = ()) -> str:
    """One hash over several parts.

    Args:
        parts: From ``fingerprint``.
        without: Parts that are left out.
    """
    left_out = set(without)
    text = "\n".join(f"{part} {digest}" for part, digest in sorted(parts.items()) if part not in left_out)
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()}
    hidden = ("__pycache__", ".ipynb_checkpoints")
    return {name: found[name] for name in sorted(found) if not any(part in hidden for part in Path(name).parts)}


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _used_modules(roots: Iterable[Path], package: Path) -> dict[str, Path]:
    """Modules of segkit that some files import, directly or through others; the reference is a part of its own."""
    modules = {_module(path, package): path for path in package.rglob("*.py")}
    used: set[str] = set()
    waiting = [name for path in roots for name in _imports(path)] + [n for n, p in modules.items() if p in set(roots)]
    while waiting:
        name = waiting.pop()
        if name in used or name not in modules:
            continue
        used.add(name)
        waiting += _imports(modules[name])
    names = {modules[name].relative_to(package).as_posix(): modules[name] for name in used}
    return {name: names[name] for name in sorted(names) if not name.startswith("reference/")}


def _module(path: Path, package: Path) -> str:
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Everything that a file may import: ``from a.b import c`` may mean a, a.b or a.b.c."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
