"""What tests ask of a page in a real browser: rules of axe-core, and that nothing is cut."""

import shutil

__all__ = ["CHROMIUM", "assert_nothing_is_cut", "clean", "faults"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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
