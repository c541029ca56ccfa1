"""The tiny assignment's checks are run by the grader under test, not by this pytest. A browser for the tests that look at pages."""

import pytest

collect_ignore = ["tiny_assignment"]


@pytest.fixture(scope="module")
def browser():
    # not at the top: the grader too reads this file, above the checks of the tiny assignment, and knows no modules of tests
    from in_browser import CHROMIUM

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
