"""Colours of the pages: readable in each theme."""

import re

import pytest

from autograder.report.rendering import TEMPLATES


def luminance(colour):
    """Relative luminance of WCAG 2.1, of #rrggbb."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    low, high = sorted([luminance(one), luminance(two)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_formula_on_known_values():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def themes():
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    light, dark, printed = (dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **printed}}


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_has_enough_contrast(theme):
    colours = themes()[theme]
    pairs = [(name.removesuffix("-ink"), name) for name in colours if name.endswith("-ink")]
    pairs = [pair for pair in pairs if pair[0] in colours]
    assert len(pairs) == 7
    pairs += [(back, ink) for back in ("page", "card") for ink in ("muted-ink", "link-ink", "alert-ink")]
    pairs += [("bar", "card-ink"), ("could-not-grade", "card-ink")]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: value for pair, value in weak.items() if value < 4.5} == {}


def test_dark_theme_changes_every_colour():
    found = themes()
    assert all(found["light"][name] != found["dark"][name] for name in found["light"])
