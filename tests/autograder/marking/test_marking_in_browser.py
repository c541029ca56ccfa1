"""A class of 24 with two questions, marked in a real browser by keyboard alone; it prints how many keys that took."""

import json
import time
from pathlib import Path

import pytest
from answers_of_a_class import marking_class, worth
from at_the_keyboard import Command, Marker, order_of
from in_browser import CHROMIUM, assert_nothing_is_cut, clean

from autograder.course.assignment import open_assignment
from autograder.marking import marked, read_marks

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

pytest_plugins = ["in_browser"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium"),
]


@pytest.fixture
def command():
    running = []

    def start(graded, person="ada"):
        running.append(Command(graded, person))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def source_texts(graded):
    """Question -> what is on the screen, without its form -> the text that was written."""
    found = {}
    for path in graded.glob("*/answers.json"):
        for entry in json.loads(path.read_text()):
            found[path.parent.name, entry["check"]] = "\n\n".join(item["text"] for item in entry["texts"])
    return found


def test_a_class_is_marked_with_three_keys_an_answer_and_no_click(browser, command, tmp_path):
    graded = marking_class(tmp_path / "graded", 24)
    room = command(graded)
    marker, texts, spent, began = Marker(browser, room.address), source_texts(graded), [], time.monotonic()
    titles = {name: check.title for name, check in open_assignment("fcn").rubric.checks.items()}
    for check in ("question_1", "question_2"):
        marker.last = None
        order = [Path(sheet).name for sheet in order_of(graded, check)]
        for number, student in enumerate(order, 1):
            expect(marker.page.locator("#title")).to_have_text(titles[check])
            expect(marker.page.locator("#place")).to_contain_text(f"answer {number} of 24")
            marker.wait()
            keys = marker.give(worth(texts[student, check]))
            marker.press("u" if number == len(order) else "n")
            spent.append(keys + 1)
    marker.saved()
    seconds = time.monotonic() - began
    keys = f"{sum(spent) / 48:.2f} keys an answer (the most: {max(spent)}), 0 clicks"
    print(f"\n48 answers: {keys}, {seconds:.0f} s without reading")
    assert sum(spent) / 48 <= 3 and marker.errors == []
    said = room.end()
    assert "Marks are in" in said and "Class page" in said, said
    found = marked(graded, {path.parent.name: json.loads(path.read_text()) for path in graded.glob("*/result.json")}, whole=True)
    assert (found.faults, found.notices) == ([], [])
    for (student, check), text in texts.items():
        mark = read_marks(graded).marks(student, check)[0].what
        assert [*mark.criteria, *(f"half {name}" for name in mark.half)] == sorted(worth(text), key=lambda name: name.startswith("half")), (
            text
        )
    assert all(result["needs_manual"] == 0 for result in found.results.values())
    assert "Marked by hand: 12 of 12 points" in "".join(path.read_text() for path in graded.glob("*/report.html"))
    assert (graded / "summary.csv").read_text().count("\n") == 25


def test_everything_else_goes_by_keyboard_too(browser, command, tmp_path):
    graded = marking_class(tmp_path / "graded", 5)
    room = command(graded)
    marker = Marker(browser, room.address)
    first = order_of(graded, "question_1")[0]

    def mark():
        marker.saved()
        return read_marks(graded).marks(first, "question_1")[0].what

    every = ("named", "tied", "evidence", "clarity")
    for key, criteria, half in (("1", ("named",), ()), ("1", (), ("named",)), ("1", (), ()), ("f", every, ())):
        marker.press(key)
        assert (mark().criteria, mark().half) == (criteria, half)
    marker.press("c")
    marker.page.keyboard.type("Well argued. 1 n")
    marker.press("Escape")
    assert mark().comment == "Well argued. 1 n", "letters and digits of a comment are no keys"
    marker.press("a")
    marker.page.keyboard.type("-0.5")
    marker.press("Tab")
    marker.page.keyboard.type("a page too long")
    marker.press("Enter")
    marker.page.wait_for_selector("#adjusted:not([hidden])")
    assert (mark().adjust, mark().reason) == (-0.5, "a page too long")
    marker.press("e")
    marker.press("1")
    marker.page.keyboard.type("two reasons are named")
    marker.press("Tab")
    marker.page.keyboard.type("6")
    marker.press("Enter")
    expect(marker.page.locator("#criteria label").first).to_have_text("two reasons are named")
    marker.press("k")
    marker.page.keyboard.type("an idea of their own")
    marker.press("Tab")
    marker.page.keyboard.type("1")
    marker.press("Enter")
    expect(marker.page.locator("#criteria li")).to_have_count(5)
    assert read_marks(graded).criteria("question_1")["named"][0].what.points == 6
    marker.press("n")
    marker.press("b")
    marker.press("1")
    marker.press("z")
    marker.saved()
    second = read_marks(graded).marks(order_of(graded, "question_1")[1], "question_1")[0].what
    assert (second.comment, second.criteria) == ("Well argued. 1 n", ())
    marker.press("p")
    marker.press("x")
    marker.saved()
    assert read_marks(graded).marks(first, "question_1") == []
    marker.press("?")
    assert marker.page.locator("#help").is_visible()
    assert marker.errors == []


def test_a_room_whose_server_is_gone_says_so_and_keeps_what_was_given(browser, command, tmp_path):
    graded = marking_class(tmp_path / "graded", 3)
    room = command(graded)
    marker = Marker(browser, room.address)
    marker.wait()
    room.process.kill()
    room.process.wait()
    marker.press("f")
    marker.page.wait_for_selector("#alert:not([hidden])")
    assert "Not saved yet: 1 answer." in marker.page.locator("#alert").inner_text()
    assert marker.page.locator("#points").inner_text() == "12"


def test_a_second_person_sees_what_the_first_gave_and_decides(browser, command, tmp_path):
    graded = marking_class(tmp_path / "graded", 3)
    ada, bob = Marker(browser, command(graded, "ada").address), Marker(browser, command(graded, "bob").address)
    bob.page.route("**/api/state/**", lambda route: route.abort())  # bob's page looks every three seconds: not now
    ada.press("f")
    ada.saved()
    bob.press("z")
    bob.saved()
    bob.page.unroute("**/api/state/**")
    bob.page.wait_for_selector(".other")
    expect(bob.page.locator("#standing")).to_have_text("two opinions")
    assert "ada: 12 points" in bob.page.locator(".other").inner_text()
    bob.press("t")
    bob.saved()
    expect(ada.page.locator("#standing")).to_have_text("marked")
    first = order_of(graded, "question_1")[0]
    assert len(read_marks(graded).marks(first, "question_1")) == 1
    assert ada.errors == []


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (1100, "dark"), (375, "light"), (375, "dark")])
def test_nothing_is_wider_than_the_screen(browser, command, tmp_path, width, scheme):
    graded = marking_class(tmp_path / "graded", 4)
    marker = Marker(browser, command(graded).address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for key in ("f", "q"):
        marker.press(key)
        marker.saved()
        marker.wait()
        assert marker.page.evaluate("document.documentElement.scrollWidth") <= width
    assert marker.errors == []


def test_axe_finds_nothing_in_the_room_and_its_dialogs(browser, command, tmp_path):
    pytest.importorskip("axe_playwright_python")
    marker = Marker(browser, command(marking_class(tmp_path / "graded", 4)).address, bypass_csp=True)
    marker.wait()
    clean(marker.page)
    for keys in ("?", "a", "k"):
        marker.page.emulate_media(color_scheme="light")
        marker.press(keys)
        expect(marker.page.locator("dialog[open]")).to_be_visible()
        clean(marker.page)
        marker.press("Escape")
        expect(marker.page.locator("dialog[open]")).to_have_count(0)
    marker.page.set_viewport_size({"width": 375, "height": 700})
    assert_nothing_is_cut(marker.page)
