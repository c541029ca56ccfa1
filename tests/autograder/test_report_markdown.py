"""Answers as Markdown: rendered, and without anything that could act or leave its box."""

import time

import pytest
from read_page import Page

from autograder.report import markdown
from autograder.report.markdown import TAGS, rendered


@pytest.mark.parametrize(("written", "html"), [
    ("# Two reasons", "<h4>Two reasons</h4>"),
    ("###### deep", "<h6>deep</h6>"),
    ("**few** and *more* ~~not~~", "<p><strong>few</strong> and <em>more</em> <del>not</del></p>"),
    ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
    ("`1 < 2`", "<p><code>1 &lt; 2</code></p>"),
    ("$a_1 * b_1 * c < 2$", "<p><code>$a_1 * b_1 * c &lt; 2$</code></p>"),
    ("x<sub>i</sub>", "<p>x<sub>i</sub></p>"),
    ("![a plot](https://example.org/x.png)", "<p><em>[picture: a plot]</em></p>"),
    ("[a paper](https://example.org/a?b=1&c=2)", "<p>a paper (https://example.org/a?b=1&amp;c=2)</p>"),
    ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ("<p style='position:fixed' onclick='x' class='card' id='a'>a</p>", "<p>a</p>"),
    ("<style>p{}</style>", "&lt;style&gt;p{}&lt;/style&gt;"),
    ("|a|\n|:-:|\n|b|", "<table>\n<thead>\n<tr>\n  <th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n  <td>b</td>\n</tr>\n</tbody>\n</table>"),
    ("\x1b[31mred\x1b[0m", "<p>red</p>"),
])  # fmt: skip
def test_an_answer_is_rendered_without_what_could_act(written, html):
    assert str(rendered(written)).strip() == html


# what bleach's own advisories speak of, and tags in which a browser reads other tags otherwise than a parser may
@pytest.mark.parametrize("written", [
    "<noscript><style></noscript><img src=x onerror=alert(1)>", "<svg><p></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>", "<!--><img src=x onerror=alert(1)>-->", "<img src=//example.org/a>",
    "<a href='javas&#99;ript:alert(1)'>a</a>", "[a](javascript:alert(1))", "<iframe srcdoc='&lt;script&gt;'>", "![](data:text/html,x)",
    "</div></section></main><form action=//example.org><input>", "<table><td><plaintext>",
    "```\n</code></pre><script>alert(1)</script>\n```",
    "<b", "<p><pre></p>", "<b><i></b></i>", "</p></p>", "<br><hr>", "$$</code><script>$$",
])  # fmt: skip
def test_no_answer_leaves_its_box(written):
    page = Page(f"<div>{rendered(written)}</div>")
    assert {tag for tag, _ in page.tags} <= TAGS | {"div"} and [tag for tag, _ in page.tags].count("div") == 1
    assert all(attrs == {} for _, attrs in page.tags)
    assert page.faults == [] and page.open == []


def test_an_answer_that_cannot_be_rendered_is_shown_as_it_was_written(monkeypatch):
    monkeypatch.setattr(markdown, "MOST_RENDERED", 20)
    assert rendered("# a *b*\n<c> and many more") == '<p class="plain"># a *b*\n&lt;c&gt; and many more</p>'
    monkeypatch.setattr(markdown.bleach, "clean", None)
    assert rendered("# *b*") == '<p class="plain"># *b*</p>'


def test_long_answers_made_to_be_slow_are_rendered_all_the_same():
    for text in ("[", "![", "**", "*_", "> ", "`a", "<pre>", "<b>", "|", "- ", "$a\\", "<!--", "[a]("):
        started = time.process_time()
        rendered((text * markdown.MOST_RENDERED)[: markdown.MOST_RENDERED])
        assert time.process_time() - started < 10, text


def test_a_list_counts_on_from_where_the_student_began():
    assert '<ol start="2">' in rendered("First, data.\n\n2) Second, edges.") and "<ol>" in rendered("1. One\n2. Two")
    assert "<ol>" in rendered('<ol start="9999999" onclick="x()"><li>a</li></ol>')
