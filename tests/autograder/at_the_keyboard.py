"""Somebody who marks a class in a real browser by keyboard alone, and counts the keys."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from autograder.marking.keeping import Keeper
from autograder.marking.room import Question, Room

__all__ = ["Command", "Marker", "order_of"]

expect = pytest.importorskip("playwright.sync_api").expect
REPOSITORY = Path(__file__).resolve().parents[2]


class Command:
    """The command, as somebody runs it in a terminal."""

    def __init__(self, graded, person, *more):
        words = [sys.executable, "-m", "autograder", "mark", str(graded), "--as", person, "--no-browser", *map(str, more)]
        self.process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        self.address = re.search(r"http://127\.0\.0\.1:\d+/#\S+", line)[0]

    def end(self):
        """Ctrl+C; returns what was said."""
        self.process.send_signal(2)
        return self.process.communicate(timeout=120)[0]


class Marker:
    """A person at the keyboard: reads what is on the screen and presses keys. There is no mouse."""

    def __init__(self, browser, address, **looks):
        self.page = browser.new_page(**({"viewport": {"width": 1100, "height": 800}} | looks))
        self.errors, self.keys = [], Counter()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector("#criteria li")
        while self.page.evaluate("opening"):  # a key before that belongs to nothing yet
            self.page.wait_for_timeout(20)
        self.last = None

    def press(self, key):
        self.page.keyboard.press(key)
        self.keys[key] += 1

    def wait(self):
        expect(self.page.locator("#texts .written").or_(self.page.locator("#note:not(:empty)")).first).to_be_visible()

    def saved(self):
        expect(self.page.locator("#saved")).to_have_text("saved")

    def criteria(self):
        return [text.strip() for text in self.page.locator("#criteria label").all_inner_texts()]

    def give(self, wanted):
        """Press the keys that give these criteria, as few as there are."""
        names, before = self.criteria(), sum(self.keys.values())
        for key in ["r"] if self.last == wanted else fewest_keys(names, wanted):
            self.press(key)
        self.last = wanted
        return sum(self.keys.values()) - before


def fewest_keys(names, wanted):
    """From nothing, full, half or zero, the digits that lead to what is wanted: none, full, half, none, ..."""
    share = {name: 1.0 if name in wanted else 0.5 if f"half {name}" in wanted else 0.0 for name in names}
    steps = (0.0, 1.0, 0.5)

    def digits(start):
        return [str(number) for number, name in enumerate(names, 1) for _ in range((steps.index(share[name]) - steps.index(start)) % 3)]

    begun = [("z", 0.0), ("f", 1.0), ("h", 0.5), *([("", 0.0)] if any(share.values()) else [])]
    return min(([*key, *digits(start)] for key, start in begun), key=len)


def order_of(graded, check):
    """The order in which a room shows the answers: it depends on what was written alone."""
    room = Room(graded, {check: Question(check, check, 12)}, Keeper(graded, "ada"))
    return [sheet.student for sheet in room.sheets(check)]
