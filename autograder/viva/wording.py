"""Questions in words: what is supposed, and what is asked."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

__all__ = ["asked", "supposed"]

INSTEAD = "Suppose you had written <code>{new}</code> instead of <code>{old}</code>:"
SUPPOSED = {
    "crop": "Suppose you had cut out a piece of the same size, but starting at <code>{new}</code>:",
    **dict.fromkeys(("constant", "truth", "operator", "comparison", "call"), INSTEAD),
    "condition": "Suppose the condition were the other way round:",
    "argument": "Suppose you had left out <code>{old}</code>:",
    "exchanged": "Suppose you had swapped two arguments:",
    "assigned": "Suppose you had written <code>=</code> instead of <code>+=</code>:",
    "removed": "Suppose you had left this out.",
}
ASKED = {
    "sizes": "For which heights and widths of the picture, from {first} to {last}, would the output have another size, and why?",
    "scores": "How would the output change: in size, in position, in its values?",
    "mode": "What would be different at test time, and what during training?",
    "step": "What would one training step do then, and what would a second one do after it?",
    "parameters": "How many parameters would the network gain or lose, and would its layers still fit together?",
    "result": "What would <code>{defines}</code> return then? For which inputs would it make a difference?",
    "given": "What would <code>{defines}</code> return for this input?",
    "after": "What would be different afterwards?",
    "matter": "Would it make a difference, and why?",
    "error": "What would happen, and where?",
}
LONG = 60  # characters of code within a sentence


def supposed(question: Mapping[str, Any]) -> Markup:
    """What is supposed; the changed lines follow where it ends with a colon."""
    kind, old, new = question["kind"], _short(question["old"]), _short(question["new"])
    if kind in ("operator", "comparison", "call") and not (old and new):
        return Markup("Suppose you had written:")
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
