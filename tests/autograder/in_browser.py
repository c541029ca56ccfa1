"""A real browser for tests (``pytest_plugins = ["in_browser"]``), and what they ask of a page: rules of axe-core, nothing cut."""

import shutil

import pytest

__all__ = ["CHROMIUM", "assert_nothing_is_cut", "clean", "faults"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a page; the page's own policy lets no foreign script run, so axe-core comes in beside it."""
    contexts = []

    def open_page(path, width=1100, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, bypass_csp=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(path if isinstance(path, str) else path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def faults(page, options=None):
    """What axe-core objects to: rule, and the elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=options).response["violations"]
    return [(one["id"], one["help"], [node["html"][:160] for node in one["nodes"]][:4]) for one in found]


def clean(page):
    """Whether axe-core finds nothing: all rules on light ground, contrast on dark ground too."""
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert faults(page) == []
    page.emulate_media(color_scheme="dark")
    assert faults(page, {"runOnly": ["color-contrast"]}) == []


def assert_nothing_is_cut(page):
    """Nothing reaches out of the page, and no text is hidden by its box, but for boxes that scroll."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    cut = page.evaluate("""() => Array.from(document.querySelectorAll('body *')).filter(one => {
        const style = getComputedStyle(one), box = one.getBoundingClientRect();
        const hides = ['hidden', 'clip'].includes(style.overflowX) && one.scrollWidth > one.clientWidth + 1;
        return box.width && (hides || style.textOverflow === 'ellipsis');
    }).map(one => one.outerHTML.slice(0, 120))""")
    assert cut == []
