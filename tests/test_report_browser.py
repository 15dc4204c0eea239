"""The report as a person sees it: in a real browser, without a network, at several widths, light and dark."""

import pytest

from distill.report.page import Report
from helpers import studied
from helpers.browser import CHROMIUM, Browser
from helpers.studied import HOSTILE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")

COUNT = "document.querySelector('.filter .count').textContent"
SEEN = "[...document.querySelectorAll('.labels .instance')].filter((i) => i.getClientRects().length)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(Report(*studied.make(folder)).render(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, page):
    """The page, freshly opened; the test must leave nothing in its console."""
    chromium.problems.clear()
    chromium.open(page)
    yield chromium
    assert chromium.problems == []


def set_filter(browser: Browser, name: str, value: object) -> None:
    browser.run(
        f"(() => {{ const input = document.querySelector('.filter [name={name}]'); input.value = '{value}';"
        " input.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_every_picture_loads_and_nothing_is_fetched(browser):
    loaded = browser.run(
        """Promise.all([...document.querySelectorAll("image")].map(async (element) => {
             const image = new Image();
             image.src = element.getAttribute("href");
             await image.decode();
             return image.naturalWidth > 0;
           }))"""
    )
    assert len(loaded) > 10
    assert all(loaded)
    assert browser.run("performance.getEntriesByType('resource').every((e) => e.name.startsWith('data:'))")
    used = browser.run(
        "[...document.querySelectorAll('.picture use')].every((u) => u.getBoundingClientRect().width > 50)"
    )
    assert used


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1280, 900), (2200, 1200)])
def test_the_page_fits_its_window(browser, page, width, height):
    """No sideways scrolling but in a table's own box, no text of a chart too small to read."""
    browser.open(page, width, height)
    assert browser.run("document.documentElement.scrollWidth") == width
    heights = "[...document.querySelectorAll('.chart text')].map((t) => t.getBoundingClientRect().height)"
    assert min(browser.run(heights)) >= 8  # pixels


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_background(browser, page, dark):
    """Contrast as WCAG defines it, at least 4.5 : 1, of everything that has text of its own."""
    browser.open(page, dark=dark)
    lowest, what = browser.run(
        """(() => {
          const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = (colour) => {
            const [r, g, b] = channels(colour).slice(0, 3)
              .map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (element) => {
            for (; element; element = element.parentElement) {
              const colour = getComputedStyle(element).backgroundColor;
              if (channels(colour)[3] !== 0) return colour;
            }
          };
          let lowest = [99, ""];
          for (const element of document.querySelectorAll("header *, nav *, main *, footer *")) {
            const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own || !element.getClientRects().length || element.closest(".picture")) continue;
            const style = getComputedStyle(element);
            const ink = element.closest("svg") ? style.fill : style.color;
            const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
            const contrast = (a + 0.05) / (b + 0.05);
            if (contrast < lowest[0]) lowest = [contrast, element.outerHTML.slice(0, 200)];
          }
          return lowest;
        })()"""
    )
    assert lowest >= 4.5, what
    page_colour = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (page_colour == "rgb(247, 247, 245)") != dark


def test_filters_show_what_they_say(browser):
    everything = browser.run(f"{SEEN}.length")
    figures = browser.run("document.querySelectorAll('.labels figure').length")
    assert browser.run(COUNT) == f"{everything} labels in {figures} of {figures} pictures"
    set_filter(browser, "category", 7)  # discs
    discs = browser.run(f"{SEEN}.map((i) => i.textContent.trim())")
    assert 0 < len(discs) < everything
    assert all(title.startswith("disc ") for title in discs)
    set_filter(browser, "low", 0.7)
    set_filter(browser, "high", 0.9)
    scores = browser.run(f"{SEEN}.map((i) => +i.dataset.score)")
    assert 0 < len(scores) < len(discs)
    assert all(0.7 <= score <= 0.9 for score in scores)
    shown = browser.run(
        "[...document.querySelectorAll('.labels figure')].filter((f) => f.getClientRects().length).length"
    )
    assert browser.run(COUNT) == f"{len(scores)} labels in {shown} of {figures} pictures"
    assert browser.run(f"new Set({SEEN}.map((i) => i.closest('figure'))).size") == shown  # none is empty
    browser.run("document.querySelector('.filter button[type=reset]').click()")
    assert browser.run(f"new Promise((done) => setTimeout(() => done({SEEN}.length)))") == everything
    assert browser.run(COUNT) == f"{everything} labels in {figures} of {figures} pictures"


def test_boxes_and_skeletons_can_be_taken_off(browser):
    for switch, drawn in (("show-boxes", ".picture .box"), ("show-skeletons", ".picture .skeleton")):
        visible = f"[...document.querySelectorAll('{drawn}')].filter((e) => e.getClientRects().length).length"
        assert browser.run(visible) > 0
        browser.run(f"document.getElementById('{switch}').click()")
        assert browser.run(visible) == 0


def test_a_picture_is_opened_zoomed_moved_and_closed(browser):
    x, y = browser.run(
        """(() => { const picture = document.querySelectorAll(".labels .picture")[2];
             picture.scrollIntoView({block: "center", behavior: "instant"});
             const box = picture.getBoundingClientRect();
             return [box.x + box.width / 2, box.y + box.height / 2]; })()"""
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.mouse(kind, x, y, button="left", clickCount=1)
    large = "document.querySelector('#zoom .picture')"
    view = f"{large}.getAttribute('viewBox').split(' ').map(Number)"
    assert browser.run("document.getElementById('zoom').open")
    whole = browser.run(view)
    assert browser.run(f"{large}.getBoundingClientRect().width") > 900
    # The wheel enlarges about the pointer: the point of the image under it stays there.
    under = f"(() => {{ const p = new DOMPoint(700, 400).matrixTransform({large}.getScreenCTM().inverse());"
    under += " return [p.x, p.y]; })()"
    before = browser.run(under)
    browser.mouse("mouseWheel", 700, 400, deltaX=0, deltaY=-400)
    zoomed = browser.run(f"new Promise((done) => requestAnimationFrame(() => done({view})))")
    assert zoomed[2] < 0.7 * whole[2]
    assert browser.run(under) == pytest.approx(before, abs=0.1)
    browser.mouse("mousePressed", 700, 400, button="left")
    browser.mouse("mouseMoved", 640, 400, button="left", buttons=1)
    browser.mouse("mouseReleased", 640, 400, button="left")
    moved = browser.run(view)
    assert moved[0] > zoomed[0]
    assert moved[2] == zoomed[2]
    for _ in range(12):
        browser.run("document.querySelector('#zoom button[aria-label=smaller]').click()")
    assert browser.run(view) == pytest.approx(whole)
    browser.press("Escape")
    assert not browser.run("document.getElementById('zoom').open")


def test_a_picture_opens_by_the_keyboard(browser):
    browser.run("document.querySelector('.compared .picture').focus()")
    browser.press("Enter")
    assert browser.run("document.getElementById('zoom').open")
    assert browser.run("document.querySelector('#zoom p').textContent").startswith("teacher: ")


def test_no_name_runs_or_breaks_the_page(browser, hostile_page):
    browser.open(hostile_page, 390, 844)
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.run("document.documentElement.scrollWidth") == 390
    words = browser.run("[...document.querySelectorAll('.chart text')].map((t) => t.textContent)")
    assert any(HOSTILE["disc"] in text for text in words)
    browser.run("document.querySelector('.labels .picture').focus()")
    browser.press("Enter")
    assert browser.run("document.querySelector('#zoom p').textContent") in browser.run(
        "[...document.querySelectorAll('.labels figcaption')].map((f) => f.lastChild.textContent)"
    )
    assert browser.run("typeof window.hacked") == "undefined"
