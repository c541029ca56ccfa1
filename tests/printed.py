"""The commands, files and code that README, docs and START_HERE (with its passages) print, taken from their text."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REPOSITORY", "TEXTS", "Printed", "code_blocks", "commands_of", "files_of", "options_named_in", "printed_commands"]

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTS = (
    *sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md")), *sorted((REPOSITORY / "data").glob("*/README.md")),
    *sorted((REPOSITORY / "autograder" / "assignments").glob("*/release/*.md")),
    *sorted((REPOSITORY / "autograder" / "release" / "passages").glob("*.md")), REPOSITORY / "nbgrader_config.py",
)  # fmt: skip
PROGRAMS = r"python3?|pip|pytest|nbgrader|jupyter|make|apt|apt-get|conda|git|rsync|cd|\.|!\"\{sys\.executable\}\""
COMMAND = re.compile(rf"(?:{PROGRAMS}|\.\.\\\S+)\s+\S")
# `.` and `cd` begin a command in a block; in a sentence they do only where something follows that runs
INLINE = re.compile(rf"(?:{PROGRAMS})\s+(?!=)\S")
FENCE = re.compile(r"^ *```(\w*) *$")


@dataclass(frozen=True)
class Printed:
    """One command as it is printed.

    Attributes:
        text: What a reader copies: without the remark behind it.
        where: File and line.
    """

    text: str
    where: str


def _without_remark(line: str) -> str:
    """Cut off ``# ...`` and what stands behind three spaces and more (a remark of a table of commands)."""
    return re.split(r"\s+#\s|\s{3,}", line.strip())[0].strip()


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, language and lines of each fenced or indented block."""
    language: str | None = None
    block: list[str] = []
    started, before = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = FENCE.match(line)
        if fence and language is None:
            language, block, started = fence[1] or "text", [], number
        elif fence and language not in (None, "indented"):
            yield started + 1, language, block
            language = None
        elif language is None and line.startswith("    ") and not before.strip():
            language, block, started = "indented", [line], number - 1
        elif language == "indented" and not line.startswith("    "):
            yield started + 1, "text", block
            language = None
        elif language is not None:
            block.append(line)
        before = line


def commands_of(path: Path) -> list[Printed]:
    """All commands that a text prints: lines of its blocks, and code within its sentences."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = text.split('"""')[1]
    name = path.relative_to(REPOSITORY).as_posix() if path.is_relative_to(REPOSITORY) else path.name
    found, within = [], set()
    for first, language, lines in _blocks(text):
        within |= set(range(first, first + len(lines)))
        if language == "text" and any(COMMAND.match(line.strip()) for line in lines):
            found += [Printed(_without_remark(line), f"{name}:{first + n}") for n, line in enumerate(lines) if line.strip()]
    prose = "\n".join("" if n in within else line for n, line in enumerate(text.splitlines(), 1))
    for inline in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose):
        words = " ".join(inline[1].split())
        if INLINE.match(words):
            found.append(Printed(words, f"{name}:{prose.count(chr(10), 0, inline.start()) + 1}"))
    return found


def printed_commands() -> dict[str, list[str]]:
    """Every command of all texts -> where it is printed."""
    found: dict[str, list[str]] = {}
    for path in TEXTS:
        for printed in commands_of(path):
            found.setdefault(printed.text, []).append(printed.where)
    return found


def code_blocks(path: Path, language: str = "python") -> list[str]:
    """The code of a language that a text prints, block by block, its indentation taken away."""
    text = path.read_text(encoding="utf-8")
    return [textwrap.dedent("\n".join(lines)) + "\n" for _, found, lines in _blocks(text) if found == language]


def files_of(path: Path) -> dict[str, str]:
    """The files that a text prints: blocks whose first line is ``# PATH``. Path -> content."""
    blocks = [block for language in ("python", "toml") for block in code_blocks(path, language)]
    named = [(re.match(r"# (\S+/\S+\.\w+)\n", block), block) for block in blocks]
    return {name[1]: block for name, block in named if name}


def options_named_in(path: Path) -> set[str]:
    """Every option (``--word``) that a text names anywhere."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text(encoding="utf-8")))
