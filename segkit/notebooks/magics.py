"""What IPython's magics mean for the cells around them: those that bring in names become Python, the others are dropped."""

import re
import shlex
from pathlib import PurePosixPath

__all__ = ["plain_line", "written_file"]

SHOWN = re.compile(r"%%(?:writefile|file)\s+([^\n]*)\n?(.*)", re.DOTALL)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def plain_line(line: str) -> str:
    """The Python that stands for a line magic, on one line: ``%run``, ``%cd``, ``%time``, ``%pylab`` matter to names, others are dropped.

    The form is the one that nbconvert gives them in an exported script. What a shell's answer is kept in (``files = !ls``) is bound.
    """
    if kept := re.match(r"([\w, ]+=)\s*[%!]", line):
        return f"{kept[1]} get_ipython().getoutput('')"
    if timed := re.match(r"%time\s+(.+)", line):
        return timed[1]
    name, _, rest = line.strip().rstrip("\\;").partition(" ")
    words = [word for word in _words(rest) if not word.startswith("-")]
    if name in ("%run", "%cd") and words:
        return f"get_ipython().run_line_magic({name[1:]!r}, {words[0]!r})"
    return "from pylab import *" if name == "%pylab" else "pass"


def written_file(source: str) -> tuple[str, str, bool] | None:
    """What a cell ``%%writefile models.py`` writes: (path, text, whether it is appended), or None for any other cell.

    A path outside of the notebook's folder (``/content/models.py``) is taken for a file in it.
    """
    match = SHOWN.match(source.lstrip("\n"))
    if match is None:
        return None
    words = _words(match[1])
    names = [word for word in words if not word.startswith("-")]
    if not names:
        return None
    path = PurePosixPath(names[0])
    if path.is_absolute() or ".." in path.parts or names[0].startswith("~"):
        path = PurePosixPath(path.name)
    return (str(path), match[2], "-a" in words or "--append" in words) if path.name else None
