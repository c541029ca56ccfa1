"""Pictures that an answer shows: what is taken from a hand-in, what is not, and how it comes into a page."""

import base64
import io
import json
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from tiny import cell, grade_class, notebook, write_submission

from autograder.course.assignment import open_assignment
from autograder.marking import pictures
from autograder.marking.pictures import keep_pictures
from autograder.report import read_answer_pictures
from autograder.report.markdown import rendered

URI = "data:image/png;base64,QUJD"
CHECKS = {"question_1": open_assignment("fcn").rubric.checks["question_1"]}


def png(colour=(200, 30, 30), size=(30, 20), kind="PNG"):
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, kind)
    return data.getvalue()


def encoded(data):
    return base64.b64encode(data).decode()


def kept(tmp_path, text, attachments=None, files=None):
    """What is kept of an answer's pictures: target -> data URI."""
    work, out = tmp_path / "work", tmp_path / "out"
    notebook(work / "a" / "5.ipynb", cell("x"), cell(text, "question_1", "markdown") | {"attachments": attachments or {}})
    for name, data in (files or {}).items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
    document = SimpleNamespace(name="a/5.ipynb", texts={"question_1": [(2, text)]})
    out.mkdir(exist_ok=True)
    keep_pictures(out, SimpleNamespace(workbook=SimpleNamespace(documents=[document]), folder=work), CHECKS)
    return read_answer_pictures(out).get("question_1", {})


def colour(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return picture.convert("RGB").getpixel((5, 5))


@pytest.mark.parametrize(("text", "target"), [
    ("![curve](attachment:fig.png)", "attachment:fig.png"), ("![c](<attachment:fig one.png>)", "attachment:fig one.png"),
    ("![c](attachment:fig%20one.png)", "attachment:fig%20one.png"), ("![c](plots/loss.png 'the loss')", "plots/loss.png"),
    ("<img alt='x' src='plots/loss.png' width=400>", "plots/loss.png"), ("![c](../top.png)", "../top.png"),
    (f"![c](data:image/png;base64,{encoded(png())})", f"data:image/png;base64,{encoded(png())}"),
])  # fmt: skip
def test_pictures_are_found_wherever_notebooks_keep_them(tmp_path, text, target):
    attachments = {name: {"image/png": encoded(png())} for name in ("fig.png", "fig one.png")}
    found = kept(tmp_path, text, attachments, {"a/plots/loss.png": png(), "top.png": png()})
    assert list(found) == [target] and colour(found[target]) == (200, 30, 30)
    html = str(rendered(text, found))
    assert html.count("<img ") == 1 and found[target] in html and "width" not in html


@pytest.mark.parametrize("text", [
    "![x](../../secret.png)", "![x](/etc/hostname)", "![x](file:///etc/hostname)", "![x](http://example.org/a.png)",
    "![x](attachment:none.png)",
    "![x](attachment:bad.png)", "![x](attachment:svg.svg)", "![x](plots)", "![x](plots/text.png)",
    "![x](data:image/png;base64,!!!)", "![x](a\x00b)",
])  # fmt: skip
def test_what_is_no_picture_of_the_hand_in_is_words(tmp_path, text):
    (tmp_path / "secret.png").write_bytes(png())
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    attachments = {"bad.png": {"image/png": 3}, "svg.svg": {"image/svg+xml": [svg]}}
    assert kept(tmp_path, text, attachments, {"a/plots/text.png": b"no picture"}) == {}
    assert "<img" not in str(rendered(text, {}))


def test_a_link_out_of_the_hand_in_is_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "work" / "a").mkdir(parents=True)
    (tmp_path / "work" / "a" / "link.png").symlink_to(tmp_path / "secret.png")
    assert kept(tmp_path, "![x](link.png)") == {}


def test_nothing_but_pixels_is_kept_and_not_many_of_them(tmp_path, monkeypatch):
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "Ada Lovelace"
    Image.new("RGB", (4000, 100), (10, 200, 10)).save(data, "JPEG", exif=exif)
    found = kept(tmp_path, "![x](attachment:a.jpg)", {"a.jpg": {"image/jpeg": encoded(data.getvalue() + b"<script>")}})
    (uri,) = found.values()
    content = base64.b64decode(uri.partition(",")[2])
    assert b"Lovelace" not in content and b"<script>" not in content
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (1600, 40)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    assert kept(tmp_path, "![x](attachment:a.png)", {"a.png": {"image/png": encoded(png())}}) == {}
    monkeypatch.undo()
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    assert kept(tmp_path, "![x](attachment:a.png)", {"a.png": {"image/png": encoded(png())}}) == {}


def test_a_picture_of_many_colours_is_kept_as_a_photograph(tmp_path):
    noise = Image.effect_noise((900, 900), 90)
    data = io.BytesIO()
    Image.merge("RGBA", [noise, noise.rotate(90), noise.rotate(180), Image.new("L", noise.size, 200)]).save(data, "PNG")
    assert len(data.getvalue()) > 2**20
    (uri,) = kept(tmp_path, "![x](attachment:a.png)", {"a.png": {"image/png": encoded(data.getvalue())}}).values()
    assert uri.startswith("data:image/jpeg") and len(uri) < 2**20


def test_an_answer_with_a_hundred_pictures_keeps_eight(tmp_path):
    text = "\n\n".join(f"![x](attachment:{number}.png)" for number in range(100))
    assert len(kept(tmp_path, text, {f"{number}.png": {"image/png": encoded(png())} for number in range(100)})) == 8


@pytest.mark.parametrize("piece", ["![", "<img ", "<img src=", "![](<", "![a](b", "<img src='", "![](  ", "<img src =  "])
def test_answers_made_to_be_slow_are_read_all_the_same(tmp_path, piece):
    text = piece * (2_000_000 // len(piece))
    started = time.process_time()
    assert kept(tmp_path, text) == {}
    rendered(text[:20_000], {"x": URI})
    assert time.process_time() - started < 10


def test_pictures_of_an_earlier_hand_in_are_gone(tmp_path):
    assert kept(tmp_path, "![x](attachment:a.png)", {"a.png": {"image/png": encoded(png())}})
    assert kept(tmp_path, "no picture") == {} and list((tmp_path / "out" / "answers").iterdir()) == []


@pytest.mark.parametrize("text", [
    '<img src="data:image/png;base64,AAAA" onerror="alert(1)">', "![x](data:image/svg+xml;base64,AAAA)",
    '<img src="x" style="position:fixed">',
    '![a" onerror="alert(1)](attachment:a.png)', "![x](attachment:a.png){onclick=1}",
    '<b alt="x" src="data:image/png;base64,QUJD">b</b>',
])  # fmt: skip
def test_only_pictures_that_the_grader_made_get_into_a_page(text):
    html = str(rendered(text, {"attachment:a.png": URI}))
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(html)
    assert {(tag, name) for tag, attributes in found for name in attributes} <= {("img", "src"), ("img", "alt")}
    assert {attributes.get("src", URI) for tag, attributes in found if tag == "img"} <= {URI}, html


def test_grading_keeps_the_pictures_and_the_report_shows_them(tmp_path):
    work = write_submission(tmp_path / "raw" / "bob")
    answer = cell("Because:\n\n![dots](attachment:dots.png)", "question", "markdown")
    answer |= {"attachments": {"dots.png": {"image/png": encoded(png())}}}
    notebook(work / "3_question.ipynb", answer)
    grade_class([work], tmp_path / "graded")
    page = (tmp_path / "graded" / "bob" / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 1 and 'alt="dots"' in page
    listed = json.loads((tmp_path / "graded" / "bob" / "answer_pictures.json").read_text())
    assert listed == {"question": {"attachment:dots.png": "answers/question-1.png"}}
    assert Path(tmp_path / "graded" / "bob" / "answers" / "question-1.png").is_file()
