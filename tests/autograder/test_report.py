"""Pages: escaped whatever a student wrote, complete in one file, readable, and right in what they count."""

import re
import shutil
import subprocess

import pytest
from fake_class import CHECKS, HOSTILE, TITLES, fake_class, fake_pictures, fake_result, set_check
from PIL import Image
from read_page import Page

from autograder.report import read_pictures, write_class_page, write_student_page
from autograder.report.pictures import data_uri
from autograder.report.rendering import TEMPLATES, report_link
from autograder.report.statistics import cause_groups, histogram, identical, note_groups, stuck_groups


def student(result, folder, **options):
    path = write_student_page(result, folder, titles=TITLES, checks=CHECKS, **options)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def class_page(results, folder):
    path = write_class_page(results, folder, titles=TITLES, checks=CHECKS)
    assert path == folder / "index.html"
    return Page(path.read_text(encoding="utf-8"))


def hostile_result():
    """HTML and script in every place that a student's work can reach."""
    result = fake_result(
        HOSTILE,
        notes=[HOSTILE],
        device=HOSTILE,
        kit_version=HOSTILE,
        seed=HOSTILE,
        assignment=HOSTILE,
        data={"source": HOSTILE, "split": HOSTILE, "images": 3},
        started=HOSTILE,
    )
    measured = {"dy": HOSTILE, "dx": HOSTILE, "found": HOSTILE}
    for index, check in enumerate(result["checks"]):
        check["message"] = f"{index} {HOSTILE}\n'\" onclick='{HOSTILE}'\n</p></style></script>{HOSTILE}"
        check.update(cause="layer.name", measured=measured)
    set_check(result, "scores", 1, "layer.name", measured, f"a {HOSTILE}\n{HOSTILE}")
    set_check(result, "fcn8s.crop", None, "layer.name", measured, f"b {HOSTILE}\n{HOSTILE}", "could_not_grade")
    return result


@pytest.fixture(params=["student", "class"])
def hostile_page(request, tmp_path):
    titles = {"layer.name": "found {found}, " + HOSTILE}
    checks = {name: {"title": HOSTILE, "points": 4} for name in CHECKS}
    pictures = [
        {
            "check": "scores",
            "name": HOSTILE,
            "note": HOSTILE,
            "image": HOSTILE,
            "label": "../../etc/passwd",
            "legend": [{"name": HOSTILE, "color": f"red;{HOSTILE}"}, {"name": HOSTILE, "color": "#00ff00"}],
        }
    ]
    if request.param == "student":
        result = set_check(hostile_result(), "question_1", None, status="needs_manual", message=HOSTILE)
        answers = {"question_1": {"texts": [{"where": HOSTILE, "text": f"</p></div>{HOSTILE}"}], "note": HOSTILE}}
        path = write_student_page(result, tmp_path, titles=titles, checks=checks, pictures=pictures, answers=answers)
    else:
        path = write_class_page([hostile_result(), fake_result("b")], tmp_path, titles=titles, checks=checks)
    return Page(path.read_text(encoding="utf-8"))


def test_nothing_a_student_wrote_becomes_a_tag(hostile_page):
    assert hostile_page.text.count("<script>alert(1)</script>") > 5, "it is shown as text"
    scripts = hostile_page.all("script")
    assert len(scripts) <= 1
    assert all("onerror" not in attrs and "onclick" not in attrs for _, attrs in hostile_page.tags)
    assert all(attrs.get("src", "").startswith("data:image/") for attrs in hostile_page.all("img"))


def test_hostile_pages_are_still_well_formed(hostile_page):
    assert hostile_page.faults == []
    assert hostile_page.open == []


def test_style_attributes_hold_colours_only(hostile_page):
    styles = [attrs["style"] for _, attrs in hostile_page.tags if "style" in attrs]
    assert all(re.fullmatch(r"background:#[0-9a-f]{6}", style) for style in styles)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of the whole class of forty, by kind."""
    folder = tmp_path_factory.mktemp("class")
    results = fake_class()
    found = [
        student(result, folder / str(index), pictures=fake_pictures(folder / str(index)) if index < 2 else [])
        for index, result in enumerate(results)
    ]
    return {"students": found, "class": class_page(results, folder)}


def test_pages_load_nothing_from_elsewhere(pages):
    for page in [*pages["students"], pages["class"]]:
        for tag, attrs in page.tags:
            for key in ("src", "srcset", "data", "poster", "action", "background", "xlink:href"):
                assert attrs.get(key, "data:").startswith("data:"), (tag, attrs)
            assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
            if "href" in attrs:
                assert tag == "a" and re.fullmatch(r"\./[^/:]+/report\.html", attrs["href"]), attrs
        assert page.faults == [] and page.open == []
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert "url(" not in style and "@import" not in style


def test_pages_forbid_every_script_but_their_own(pages):
    policies = [
        [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        for page in [pages["students"][0], pages["class"]]
    ]
    assert "default-src 'none'" in policies[0][0] and "script-src 'none'" in policies[0][0]
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}';", policies[1][0])
    assert pages["students"][0].all("script") == []


def test_pages_are_made_for_phones(pages):
    for page in (pages["students"][0], pages["class"]):
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert any("scroll" in attrs.get("class", "") for attrs in pages["class"].all("div")), "a wide table scrolls by itself"


def test_answers_stand_with_the_check_that_a_person_grades(tmp_path):
    text = "# Two reasons\n\n- **few** pictures: 1 < 2\n- &amp; more"
    answers = {
        "question_1": {"texts": [{"where": "5.ipynb, cell 6", "text": text}], "note": ""},
        "question_2": {"texts": [], "note": "No answer was written: 5.ipynb, cell 8."},
    }
    page = student(fake_result("alice"), tmp_path, answers=answers)
    first, second = page.text.index("Question 1: why"), page.text.index("Question 2: FCN")
    assert first < page.text.index("few pictures: 1 < 2") < second < page.text.index("No answer was written")
    assert "5.ipynb" not in student(fake_result("bob"), tmp_path / "b").text


def test_a_message_is_one_piece_with_its_columns_in_letters_of_one_width(tmp_path):
    prose = set_check(fake_result("alice"), "scores", 1, "iou.recall", {}, "Expected 1.\nLikely cause: recall.")
    columns = set_check(fake_result("bob"), "scores", 1, "iou.recall", {}, "Head.\nexpected  1\ngot       2")
    for result, classes in ((prose, []), (columns, ["columns"])):
        page = student(result, tmp_path / result["submission"])
        card = (tmp_path / result["submission"] / "report.html").read_text().partition("<article")[2].partition("</article>")[0]
        assert card.count('class="message') == 1
        assert [attrs["class"] for attrs in page.all("span") if attrs.get("class") == "columns"] == classes


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="looks at the page with Chromium")
def test_the_whole_table_of_the_class_is_seen_on_a_laptop(tmp_path):
    class_page(fake_class(), tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    measure = "const t = document.querySelector('.scroll'); document.title = `${t.scrollWidth} of ${t.clientWidth}`"
    page = tmp_path / "measured.html"
    page.write_text(re.sub(r"<meta http-equiv=.*?>", "", text).replace("</body>", f"<script>{measure}</script></body>"), encoding="utf-8")
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900", f"--user-data-dir={tmp_path}",
                           "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=60)  # fmt: skip
    wide, seen = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
    assert wide == seen


def test_message_lines_stay_lines(tmp_path):
    result = set_check(fake_result("alice"), "scores", 1, "iou.recall", {}, "Head.\nexpected  1\n   got    2")
    page = student(result, tmp_path)
    assert "expected  1\n   got    2" in page.text
    assert "white-space: pre-wrap" in (TEMPLATES / "style.css").read_text(encoding="utf-8")


def test_student_page_tells_automatic_from_manual_points(tmp_path):
    text = " ".join(student(fake_result("alice"), tmp_path).text.split())
    assert "70 of 70 points from the automatic checks. 30 more points are given by hand and are still open." in text
    assert "Nothing went wrong" in text
    assert "What went right 14 checks, 70 points" in text


def test_what_went_wrong_comes_before_what_went_right(tmp_path):
    text = student(set_check(fake_result("alice"), "scores", 1, "iou.recall", {}, "A recall."), tmp_path).text
    assert text.index("What to look at") < text.index("A recall.") < text.index("What went right")
    assert "Nothing went wrong" not in text


def test_points_that_could_not_be_graded_are_not_called_lost(tmp_path):
    result = set_check(fake_result("alice"), "fcn8s.miou", None, None, None, "No data.", "could_not_grade")
    text = " ".join(student(result, tmp_path).text.split())
    assert "6 points could not be graded: that is not your fault, and they are not lost." in text
    assert "not earned" not in text and "Nothing went wrong" not in text
    assert "6 open No data." in text


def test_the_same_message_is_told_once(tmp_path):
    result = fake_result("alice")
    for check in ("scores", "read_label", "fcn8s.crop"):
        set_check(result, check, 0, "stub", None, "The cell is empty.")
    page = student(result, tmp_path)
    assert page.text.count("The cell is empty.") == 1
    assert [attrs["class"] for attrs in page.all("article")] == ["card not_earned"]
    for check in ("scores", "read_label", "fcn8s.crop"):
        assert CHECKS[check]["title"] in page.text


def test_student_page_says_how_it_was_graded(tmp_path):
    text = " ".join(student(fake_result("alice", notes=["Found twice."]), tmp_path).text.split())
    for part in (
        "bubblewrap",
        "cpu",
        "a41f09",
        "0.1.0",
        "14 March 2026, 22:10 UTC",
        "1 min 23 s",
        "Found twice.",
        "48 images of split base, cmp_facade",
    ):
        assert part in text, part


def test_pages_come_without_titles_from_a_rubric(tmp_path):
    results = fake_class()
    assert "fcn32s.crop" in write_student_page(results[1], tmp_path / "ben").read_text(encoding="utf-8")
    assert "crop.shift: one row too low" in write_class_page(results, tmp_path).read_text(encoding="utf-8")


def test_gallery_stands_inside_the_page(tmp_path):
    page = student(fake_result("alice"), tmp_path, pictures=fake_pictures(tmp_path, count=2))
    assert [attrs["class"] for attrs in page.all("img")] == ["image", "label", "prediction"] * 2
    assert all(re.match(r"data:image/(png|jpeg);base64,", attrs["src"]) for attrs in page.all("img"))
    assert "cmp_s0001, mIoU 0.51" in page.text
    assert [attrs["style"] for attrs in page.all("i") if "style" in attrs] == [
        "background:#0000aa",
        "background:#0000ff",
        "background:#0055ff",
    ]


def test_missing_and_broken_pictures_leave_the_page_standing(tmp_path):
    entries = fake_pictures(tmp_path, count=2)
    (tmp_path / entries[0]["image"]).unlink()
    (tmp_path / entries[0]["label"]).write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    del entries[0]["prediction"]
    page = student(fake_result("alice"), tmp_path, pictures=entries)
    assert len(page.all("img")) == 3
    for kind in ("image", "label", "prediction"):
        assert f"no {kind}" in page.text


def test_pictures_outside_the_folder_are_not_read(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "alice").mkdir()
    assert data_uri(tmp_path / "alice", "../secret.png") is None
    assert data_uri(tmp_path / "alice", str(tmp_path / "secret.png")) is None
    assert data_uri(tmp_path, "secret.png") is not None


def test_large_label_maps_shrink_without_new_colours(tmp_path):
    import base64
    import io

    colours = [(0, 0, 170), (255, 170, 0)]
    picture = Image.new("RGB", (1500, 900), colours[0])
    picture.paste(colours[1], (700, 0, 1500, 900))
    picture.save(tmp_path / "label.png")
    uri = data_uri(tmp_path, "label.png", longest_side=300)
    small = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
    assert small.size == (300, 180)
    assert {colour for _, colour in small.getcolors()} == set(colours)


@pytest.mark.parametrize("content", [None, "{", "3", '["x"]', "\x00"])
def test_a_broken_list_of_pictures_is_an_empty_one(tmp_path, content):
    if content is not None:
        (tmp_path / "pictures.json").write_text(content, encoding="utf-8")
    assert read_pictures(tmp_path) == []


def test_causes_are_counted_by_submission_and_shift():
    results = [fake_result(name) for name in "abcd"]
    for result in results[:3]:
        set_check(result, "fcn32s.crop", 2, "crop.shift", {"dy": 1, "dx": 0}, "x")
    set_check(results[0], "fcn8s.crop", 4, "crop.shift", {"dy": 1, "dx": 0}, "x")
    set_check(results[3], "fcn32s.crop", 2, "crop.shift", {"dy": -1, "dx": 0}, "x")
    found = [(group.label, group.names, dict(group.checks)) for group in cause_groups(results, TITLES)]
    assert found == [
        ("output one row too low", ["a", "b", "c"], {"fcn32s.crop": 3, "fcn8s.crop": 1}),
        ("output one row too high", ["d"], {"fcn32s.crop": 1}),
    ]


def test_faults_of_the_grader_are_no_causes():
    result = set_check(fake_result("a"), "scores", None, "x", None, "Killed.\nmore", "could_not_grade")
    assert cause_groups([result], TITLES) == []
    assert [(group.label, group.names) for group in stuck_groups([result])] == [("Killed.", ["a"])]


def test_checks_without_a_cause_are_not_thrown_together():
    result = set_check(set_check(fake_result("a"), "scores", 0, None, None, "x"), "read_label", 0, None, None, "x")
    assert [list(group.checks) for group in cause_groups([result], {})] == [["read_label"], ["scores"]]


def test_class_page_shows_the_bar_with_the_names_behind_it(tmp_path):
    results = [fake_result(f"s{index}") for index in range(20)]
    for result in results[:3]:
        set_check(result, "fcn32s.crop", 2, "crop.shift", {"dy": 1, "dx": 0}, "x")
    page = class_page(results, tmp_path)
    text = " ".join(page.text.split())
    assert "3 of 20 output one row too low fcn32s.crop s0 s1 s2" in text
    assert {"width": "15.0", "height": "1"} in page.all("rect")


def test_class_page_links_every_report(tmp_path):
    page = class_page(fake_class(), tmp_path)
    links = {attrs["href"] for attrs in page.all("a")}
    assert {report_link(result["submission"]) for result in fake_class()} <= links
    assert len(re.findall(r"<tr", (tmp_path / "index.html").read_text(encoding="utf-8"))) == 42


@pytest.mark.parametrize("name", ["a b", "a#b?c%d", "javascript:alert(1)", "李", '"><script>', "caf\udce9"])
def test_links_lead_to_the_folder_of_any_name(name):
    from urllib.parse import unquote_to_bytes

    link = report_link(name)
    assert re.fullmatch(r"\./[A-Za-z0-9_.~%-]+/report\.html", link)
    assert unquote_to_bytes(link) == f"./{name}/report.html".encode("utf-8", "surrogateescape")


def test_cells_say_in_words_what_their_colour_says(tmp_path):
    result = set_check(fake_result("a"), "fcn8s.miou", None, None, None, "No data.", "could_not_grade")
    set_check(result, "scores", 1.5, None, None, "x")
    page = class_page([result], tmp_path)
    cells = [attrs["class"] for attrs in page.all("td") if attrs.get("class", "").startswith("cell")]
    assert cells.count("cell earned") == 12 and cells.count("cell needs_manual") == 2
    text = " ".join(page.text.split())
    assert "4 4 1.5/4 6" in text and "open hand hand fcn8s.miou" not in text
    assert "1 could not be graded fully" in text and "+6 open" in text


def test_shared_work_stands_out():
    results = [
        fake_result("a", submission_sha256="0" * 64),
        fake_result("b", submission_sha256="0" * 64),
        fake_result("c", submission_sha256=None, notes=["extra layer drop unused"]),
        fake_result("d", submission_sha256=None, notes=["The checkpoint is identical to another one."]),
    ]
    assert identical(results) == [["a", "b"]]
    assert [(group.names, group.shared) for group in note_groups(results)] == [(["d"], True), (["c"], False)]


def test_class_page_of_nobody(tmp_path):
    assert "No submissions were found." in class_page([], tmp_path).text


def test_class_page_of_submissions_with_unlike_checks(tmp_path):
    other = fake_result("b")
    other["checks"] = [*other["checks"][:3], {**other["checks"][0], "id": "extra"}]
    page = class_page([fake_result("a"), other], tmp_path)
    assert len([attrs for attrs in page.all("td") if attrs.get("class") == "cell none"]) == 14


@pytest.mark.parametrize(
    ("scores", "top", "width", "counts"),
    [
        ([0, 4.5, 5, 69.5, 70], 70, 5, [2, 1] + [0] * 11 + [2]),
        ([0, 1, 2, 3], 3, 0.5, [1, 0, 1, 0, 1, 1]),
        ([], 70, 5, [0] * 14),
        ([0], 0, 0.5, [1]),
        ([33], 33, 5, [0] * 6 + [1]),
    ],
)
def test_histogram(scores, top, width, counts):
    found = histogram(scores, top)
    assert (found.width, found.counts) == (width, counts)
    assert found.edges[-1] == top if top else True
