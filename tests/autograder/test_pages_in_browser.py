"""Class page, report, notes and marking room in a real browser: rules of axe-core, sizes, keyboard, forced colours, print."""

import copy
import json

import pytest
from classroom import LONG, write_class
from in_browser import CHROMIUM, assert_nothing_is_cut, clean, faults

from autograder.report import write_class_page

expect = pytest.importorskip("playwright.sync_api").expect
pytest.importorskip("axe_playwright_python")

pytest_plugins = ["in_browser"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs the system's Chromium")]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "graded"
    write_class(folder)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "large"
    assert len(write_class(folder, 40, copies=8)) > 300
    return folder


@pytest.mark.parametrize("page", ["index.html", "ben/report.html"])
def test_axe_finds_nothing_on_class_page_and_report(graded, visit, page):
    clean(visit(graded / page))


def test_axe_finds_what_is_wrong(graded, visit):
    page = visit(graded / "ada" / "report.html")
    page.evaluate("document.querySelector('main').append(new Image()); document.querySelector('h1').style.color = '#eee'")
    assert {rule for rule, *_ in faults(page)} == {"image-alt", "color-contrast"}


# ------------------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize("width", [1100, 375])
def test_nothing_is_cut_at_the_widths_of_a_laptop_and_of_a_phone(graded, visit, width):
    page = visit(graded / "index.html", width)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert_nothing_is_cut(page)
    name = page.locator("th.name bdi", has_text=LONG).first
    assert name.evaluate("one => one.closest('th').scrollWidth <= one.closest('th').clientWidth + 1")
    assert page.locator(".scroll.tall").evaluate("one => one.scrollWidth === one.clientWidth"), "the whole table is seen"


@pytest.mark.parametrize("width", [1100, 375])
def test_a_table_of_twenty_checks_does_not_scroll_sideways_and_each_number_says_what_it_is_of(graded, visit, tmp_path, width):
    more = {f"fcn16s.part_{n}": 12.5 for n in range(4)}
    results = [copy.deepcopy(json.loads((graded / name / "result.json").read_text())) for name in ("ada", "ben")]
    for result in results:
        result["checks"] += [{**result["checks"][0], "id": name, "points": 6.25, "max_points": top, "status": "partial"}
                             for name, top in more.items()]  # fmt: skip
    assert len(results[0]["checks"]) == 20
    page = visit(write_class_page(results, tmp_path), width)
    assert page.locator(".scroll.tall").evaluate("one => one.scrollWidth === one.clientWidth")
    cell = page.locator("#students tbody .partial").last
    assert cell.inner_text().split() == ["6.25/12.5"] or cell.inner_text().split() == ["6.25/", "12.5"]
    label = cell.evaluate("one => getComputedStyle(one, '::before').content")
    assert (width == 375) == (label not in ("none", "normal")) and (width == 1100 or "fcn16s.part_3" in label)
    assert page.locator("#students thead .check").last.is_visible()


def test_on_a_phone_the_filters_hide_lines_and_a_tap_on_a_head_sorts(graded, visit):
    page = visit(graded / "index.html", 375)
    page.get_by_label("Find").fill("ada")
    assert page.locator("#students tbody tr:visible").count() < page.locator("#students tbody tr").count()
    page.get_by_label("Find").fill("")
    page.locator("#students thead .number button").click()
    points = [float(text) for text in page.locator("#students tbody .number").evaluate_all("all => all.map(one => one.dataset.value)")]
    assert points == sorted(points)


def test_the_head_stays_above_three_hundred_rows(large, visit):
    page = visit(large / "index.html")
    box = page.locator(".scroll.tall")
    box.evaluate("one => { one.scrollTop = one.scrollHeight; }")
    place = page.evaluate("""() => {
        const head = document.querySelector('#students thead').getBoundingClientRect();
        const box = document.querySelector('.scroll.tall').getBoundingClientRect();
        return [head.top - box.top, box.height - innerHeight];
    }""")
    assert abs(place[0]) <= 2 and place[1] < 0
    page.set_viewport_size({"width": 700, "height": 700})
    box.evaluate("one => { one.scrollLeft = 900; }")
    assert box.evaluate("one => one.scrollLeft") > 100, "a tablet is narrower than the table"
    beside = page.locator("#students tbody th").first.bounding_box()["x"] - box.bounding_box()["x"]
    assert abs(beside) <= 2, "the name stays beside the points"
    page.set_viewport_size({"width": 375, "height": 700})
    card = page.locator("#students tbody tr").first
    name, points = (card.locator(part).first.bounding_box() for part in ("th", ".number"))
    assert name["x"] >= 0 and points["x"] + points["width"] <= 375 and abs(name["y"] - points["y"]) < 12, (
        "a card begins with name and points"
    )


# ------------------------------------------------------------------------------------------------------ keyboard and fingers
def test_partial_points_maxima_and_checks_are_told_without_colour_and_without_a_mouse(graded, visit):
    page = visit(graded / "index.html", has_touch=True)
    row = page.locator("#students tbody tr", has_text="Student 1").first
    cell = row.locator("td.partial")
    assert cell.inner_text() == "2/4"
    cell.tap()
    expect(page.locator("#told")).to_have_text("Student 1: fcn32s.crop, 2 of 4 points, partly earned: output one row too low")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#told")).to_contain_text("Student 1: fcn32s.forward, 4 of 4 points, earned")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#told")).to_contain_text("Student 2: fcn32s.forward")
    head = page.locator("#students thead th", has_text="crop").first
    assert head.inner_text().split() == ["crop", "/4"]
    head.get_by_role("button").focus()
    expect(page.locator("#told")).to_contain_text("FCN-32s: crop to the pixel, 4 points")
    assert page.locator("#students [tabindex='0']").count() == 1, "the tab key stops once"


def test_whom_to_write_to_follows_the_filters(graded, visit):
    page = visit(graded / "index.html")
    assert "2 missing" in page.locator("header").inner_text() and "2 late" in page.locator("header").inner_text()
    page.get_by_label("Show").select_option("missing")
    expect(page.locator("#shown")).to_contain_text("2 of 14")
    page.locator("#mail summary").click()
    expect(page.locator("#addresses")).to_have_value("zora@uni.example")
    assert page.locator("#write").get_attribute("href") == "mailto:?bcc=zora%40uni.example"
    page.get_by_label("Section").select_option("Mon 10")
    expect(page.locator("#students tbody tr:visible")).to_have_count(1)
    page.get_by_label("Show").select_option("late")
    page.get_by_label("Section").select_option("")
    expect(page.locator("#addresses")).to_have_value("s2@uni.example, s5@uni.example")
    letters = page.locator("details.letter", has_text="handed in nothing")
    letters.locator("summary").click()
    assert "Zora Missing Tue 14" in letters.inner_text() and letters.locator("textarea").input_value() == "zora@uni.example"


# ------------------------------------------------------------------------------------------------- forced colours, and paper
def test_legends_keep_their_colours_where_the_system_forces_its_own(graded, visit):
    page = visit(graded / "ben" / "report.html")
    swatches = ".dot, .legend i"
    colours = f"Array.from(document.querySelectorAll('{swatches}'), one => getComputedStyle(one).backgroundColor)"
    before = page.evaluate(colours)
    assert len(set(before)) > 3
    page.emulate_media(forced_colors="active")
    assert page.evaluate(colours) == before


def test_print_keeps_rows_and_captions_whole(large, graded, visit):
    page = visit(large / "index.html")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('#students tbody tr')).breakInside") == "avoid"
    assert page.locator(".scroll.tall").evaluate("one => one.scrollHeight - one.clientHeight") <= 1, "all rows are on paper"
    assert page.evaluate("getComputedStyle(document.querySelector('#students thead')).display") == "table-header-group"
    # Chromium prints a head that comes again without what lies in boxes of its own: names of columns, which are buttons on the screen
    assert page.locator("#students th button").count() > 10
    boxes = "Array.from(document.querySelectorAll('#students thead button'), one => getComputedStyle(one).display)"
    assert set(page.evaluate(boxes)) == {"contents"}
    sizes = "Array.from(document.querySelectorAll('#students :is(th, td)'), one => parseFloat(getComputedStyle(one).fontSize))"
    assert max(page.evaluate(sizes)) <= 7 * 96 / 72 + 0.1, "no head is larger than its numbers"
    assert page.locator("h2").evaluate_all("all => all.filter(one => one.offsetHeight && !one.nextElementSibling.offsetHeight)") == []
    report = visit(graded / "ben" / "report.html")
    report.emulate_media(media="print")
    assert report.locator(".row.names").first.is_visible()
    assert report.evaluate("getComputedStyle(document.querySelector('.gallery figure')).breakInside") == "avoid"
