"""Questions in words: what is supposed, and what is asked."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

__all__ = ["asked", "supposed"]

SUPPOSED = {
    "crop": "Suppose that you cut out as much, but from <code>{new}</code> on:",
    "constant": "Suppose that <code>{old}</code> were <code>{new}</code>:",
    "truth": "Suppose that <code>{old}</code> were <code>{new}</code>:",
    "operator": "Suppose that you computed <code>{new}</code> in place of <code>{old}</code>:",
    "comparison": "Suppose that you compared <code>{new}</code> in place of <code>{old}</code>:",
    "condition": "Suppose that the condition were the other way round:",
    "argument": "Suppose that you left out <code>{old}</code>:",
    "exchanged": "Suppose that you exchanged two arguments:",
    "call": "Suppose that you wrote <code>{new}</code> in place of <code>{old}</code>:",
    "assigned": "Suppose that you wrote <code>=</code> in place of <code>+=</code>:",
    "removed": "Suppose that this were not there.",
}
ASKED = {
    "sizes": "For which heights and widths of the picture, from {first} to {last}, does that change the size of the output, and why?",
    "scores": "What would the output do, in size, in place, in value?",
    "mode": "What would change at test time, and what in training?",
    "step": "What would one step of training do then, and what a second one after it?",
    "parameters": "How many parameters more or fewer has the network then, and does it still fit together?",
    "result": "What would <code>{defines}</code> give then? For which inputs does it matter?",
    "given": "What would <code>{defines}</code> give for this input?",
    "after": "What would be different afterwards?",
    "matter": "Would it matter, and why?",
    "error": "What would happen, and where?",
}
LONG = 60  # characters of code within a sentence


def supposed(question: Mapping[str, Any]) -> Markup:
    """What is supposed; the changed lines follow where it ends with a colon."""
    kind, old, new = question["kind"], _short(question["old"]), _short(question["new"])
    if kind in ("operator", "comparison", "call") and not (old and new):
        return Markup("Suppose that you wrote:")
    if kind == "crop":
        new = new.partition(":")[0].strip()
    if kind in ("constant", "truth") and question["keyword"]:
        old, new = f"{question['keyword']}={old}", f"{question['keyword']}={new}"
    return Markup(SUPPOSED[kind]).format(old=old, new=new)


def _short(code: str) -> str:
    """Code that has its place in a sentence; empty where it has not."""
    return code if len(code) <= LONG and "\n" not in code else ""


def asked(question: Mapping[str, Any], first: int, last: int) -> Markup:
    """What is asked. Nothing of it says what was measured.

    Args:
        question: As it is kept.
        first, last: Sides of the pictures that were tried.
    """
    ask = "given" if question["ask"] == "result" and question["given"] else question["ask"]
    return Markup(ASKED[ask]).format(defines=question["defines"], first=first, last=last)
