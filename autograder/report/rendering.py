"""Turn a template into a page that stands alone: everything escaped, nothing loaded from elsewhere, one file."""

import base64
import csv
import hashlib
import os
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from autograder.report.labels import STATUS_WORDS, clean_text, points_text
from autograder.report.markdown import rendered

__all__ = ["no_formula", "own_rows", "render_page", "report_link", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"

# a spreadsheet takes a cell that begins so for a formula; the last ones only after it has stripped or widened them
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
MARK = "\ufeff"


def no_formula(cell: str) -> str:
    """A cell of a table that no spreadsheet runs: a quote in front makes it text."""
    return f"'{cell}" if cell.lstrip(" \u00a0").startswith(FORMULA_STARTS) else cell


def own_rows(path: Path) -> list[dict[str, str]] | None:
    """The rows of a table that this kit wrote, column -> text as it was before ``no_formula``; None where it is not there or damaged."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{name: _plain(text or "") for name, text in row.items() if name} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return None


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and no_formula(cell[1:]) == cell else cell


def render_page(template: str, script: str | None = None, **values: Any) -> str:
    """Fill a template of this package.

    Args:
        template: file name below ``templates/``.
        script: name of a script file below ``templates/`` that the page may run; no other script can run in it.
        **values: what the template shows. Every text is escaped, whatever it holds.

    Returns:
        A complete HTML page.
    """
    code = (TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    # A second lock behind the escaping: even a script that slipped through would not be run by the browser.
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'" if script else "script-src 'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {allowed}; base-uri 'none'; form-action 'none'"
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    page = _environment().get_template(template)
    return page.render(style=Markup(style), script=Markup(code), policy=policy, **values)


def write_page(path: Path, text: str) -> Path:
    """Write a text file whole or not at all, so that an interrupted run leaves no half page behind.

    A table begins with the mark by which a spreadsheet knows UTF-8: without it Excel makes other letters of ``Müller``.

    Raises:
        OSError: with the file name and what to do, where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = MARK if path.suffix == ".csv" and not text.startswith(MARK) else ""
    part = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            part = Path(file.name)
            file.write(mark + text)
        part.chmod(0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        reason = error.strerror or error
        raise OSError(
            error.errno,
            f"Could not write {path}: {reason}. Free some space or choose another --out; results that are there already are kept",
        ) from error
    return path


def report_link(name: str) -> str:
    """Relative address of a submission's page from the class page; safe for any name."""
    return "./" + quote(name.encode("utf-8", "surrogateescape"), safe="") + "/report.html"


def _umask() -> int:
    """Temporary files are private; the page should have the rights that any new file of this user has."""
    current = os.umask(0)
    os.umask(current)
    return current


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": points_text,
        "status": lambda status: STATUS_WORDS.get(status, status),
        "duration": _duration,
        "markdown": rendered,
        "moment": _moment,
        "by_hand": _by_hand,
        "plural": lambda count, one, many: f"{count:g} {one if count == 1 else many}",
    }
    return environment


def _finalize(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _by_hand(hand: dict[str, Any]) -> str:
    """Who gave points by hand, when and why: ``changed from 2 by ada, 14 March 2026, 22:10: the crop is right``."""
    was = "" if hand["was"] is None else f" from {points_text(hand['was'])}"
    words = ["marked" if hand["kind"] == "mark" else f"changed{was}", f" by {hand['by']}" if hand["by"] else " by hand"]
    words += [f", {_moment(hand['when'])}" if hand["when"] else "", f": {hand['reason']}" if hand["reason"] else ""]
    return "".join(words)


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%d %B %Y, %H:%M}" + (f" {moment.tzname()}" if moment.tzinfo else "")
