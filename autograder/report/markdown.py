"""A student's Markdown as HTML that can do nothing: a few tags with hardly any attribute, no links, no script, given pictures only."""

import re
from collections.abc import Callable, Collection, Mapping
from html import unescape
from typing import Any
from urllib.parse import unquote

import bleach
import mistune
from markupsafe import Markup, escape
from mistune.renderers.html import HTMLRenderer

from autograder.report.labels import clean_text

__all__ = ["MOST_RENDERED", "rendered"]

MOST_RENDERED = 21_000
"""Characters; a longer text is shown as it was written. Of an answer 20 000 are kept; what takes longest of that takes a second."""
# No address, no style, no class, nothing that leaves the box around the answer; what attributes there may be: `_allowed`.
TAGS = frozenset("p br hr h4 h5 h6 em strong b i u del s sub sup code pre kbd blockquote ul ol li table thead tbody tr th td".split())
_IMG = re.compile(r"""<img\b[^>]{0,500}?\bsrc\s*=\s*["']?([^"'>\s]{1,2000})[^>]{0,500}>""", re.IGNORECASE)


class _Renderer(HTMLRenderer):
    """HTML of an answer: headings below those of the page, pictures and links as their words and addresses, formulas as written.

    Args:
        pictures: Target of a picture -> the data URI to show in its place.
    """

    def __init__(self, pictures: Mapping[str, str]) -> None:
        super().__init__(escape=False)
        self.pictures = {_plain(target): uri for target, uri in pictures.items()}

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return super().heading(text, min(level + 3, 6))

    def link(self, text: str, url: str, title: str | None = None) -> str:
        address = str(escape(url))
        return text if text == address else f"{text} ({address})"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if uri := self.pictures.get(_plain(url)):
            return f'<img src="{escape(uri)}" alt="{escape(Markup(text).striptags())}">'
        return f"<em>[picture: {text or escape(url)}]</em>"

    def inline_math(self, text: str) -> str:
        return f"<code>${escape(text)}$</code>"

    def block_math(self, text: str) -> str:
        return f"<pre><code>$${escape(text)}$$</code></pre>\n"


def _plain(target: str) -> str:
    """A target as it is meant, however Markdown and HTML wrote it."""
    return unquote(unescape(target))


def rendered(text: str, pictures: Mapping[str, str] | None = None) -> Markup:
    """Render a student's Markdown.

    Args:
        text: What the student wrote: of any length, and perhaps meant to do harm.
        pictures: Target of a picture in the text -> a data URI that the grader made; other pictures are words.

    Returns:
        HTML of ``TAGS`` with hardly any attribute; other tags stand there as text. A text that is too long or that cannot be parsed is one
        preformatted block.
    """
    text = clean_text(text)
    if len(text) <= MOST_RENDERED:
        try:
            known, uris = dict(pictures or {}), set((pictures or {}).values())
            text = _IMG.sub(lambda found: f"![picture](<{found[1]}>)" if found[1] in known else found[0], text)
            html = _markdown(known)(text)
            tags = TAGS | {"img"} if known else TAGS
            clean = bleach.clean(str(html), tags=tags, attributes=_allowed(uris), protocols=["data"], strip=False, strip_comments=False)
            return Markup(clean)
        except Exception:  # whatever a parser does with such a text, the page is written
            pass
    return Markup('<p class="plain">{}</p>').format(text)


def _allowed(uris: Collection[str]) -> Callable[[str, str, str], bool]:
    """Which attributes may stay: where a list begins to count, and the pictures that the grader made."""

    def allowed(tag: str, name: str, value: str) -> bool:
        if tag == "ol":
            return name == "start" and re.fullmatch(r"[0-9]{1,4}", value) is not None
        return tag == "img" and (name == "alt" or (name == "src" and value in uris))

    return allowed


def _markdown(pictures: Mapping[str, str]) -> mistune.Markdown:
    """A parser; a new one for each text, which costs little, so that no text can leave anything behind for the next."""
    return mistune.create_markdown(renderer=_Renderer(pictures), plugins=["table", "strikethrough", "math"])
