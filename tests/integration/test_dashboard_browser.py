"""The dashboard in a real browser: it fits a phone, logs nothing, is readable in light and dark, and keeps itself up to date.

A headless Chromium is used where the machine has one (Debian: `apt install chromium-headless-shell`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support import dashboards
from support.chromium import NAMES, Browser, chromium, installed
from support.pages import CONTRAST, WIDE, soon
from support.web import Shown, serving

from sync.wiring.dashboard.watcher import Seen

PROGRAM = installed()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"no browser here: none of {', '.join(NAMES)}")
PHONE, DESKTOP = 400, 1280


def hostile() -> Seen:
    """Names as long as they can be, figures as large, and no history."""
    table = dashboards.table("t" * 300, 5, 10**6, 2, rows_written=10**15, error="e" * 900, eta_seconds=9e7)
    gates = [dashboards.gate("proof", False, "f" * 2000, "r" * 500)]
    writers = [dashboards.writer("w" * 200, unrecorded=10**12)]
    found = dashboards.status(
        phase="backfill", tables=[table], gates=gates, writers=writers, attention=["a" * 2000], next_step="n" * 600,
        rejects={"t" * 300: 10**12}, intents={"open": 10**12, "oldest_age_seconds": 9e8, "spooled": 9, "stuck": 1, "states": {}},
    )  # fmt: skip
    snapshot = dashboards.snapshot(found, names={"keyspace": "k" * 60, "database": "d" * 63})
    return dashboards.seen(snapshot, why="y" * 400, away_since=dashboards.NOW)


PAGES: dict[str, Callable[[], Seen]] = {
    "copying": dashboards.copying, "many": dashboards.many, "red": dashboards.red, "over": dashboards.over,
    "hostile": hostile, "nothing": lambda: Seen(1, None, {}, "Postgres at db:5432/music does not answer", dashboards.NOW),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium(str(PROGRAM)) as opened:
        yield opened


@pytest.fixture
def show(browser: Browser) -> Iterator[Any]:
    """Open the page of what was seen, at a width, in a scheme."""
    with ExitStack() as stack:

        def opened(seen: Seen, width: int = DESKTOP, dark: bool = False, address: str = "/", **look: Any) -> Browser:
            browser.look(width, dark, **look)
            browser.visit(stack.enter_context(serving(Shown(seen))) + address)
            return browser

        yield opened
        browser.look(DESKTOP, False)
        browser.visit("about:blank")  # its events end


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("kind", PAGES)
def test_it_fits_is_silent_and_loads_nothing_from_elsewhere(show: Any, kind: str, width: int, dark: bool) -> None:
    """Would break: the page scrolls sideways, its policy refuses a part of it, or text is hard to read."""
    page = show(PAGES[kind](), width, dark)
    soon(page, "document.body.dataset.live === 'yes'")
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run(WIDE) == []
    assert page.run(CONTRAST) == []
    assert page.complaints == []
    assert {url.split("/")[2].split(":")[0] for url in page.requests} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "rule", ["html { font-size: 24px !important }", "* { font-family: 'DejaVu Serif', monospace !important }"]
)
def test_it_fits_with_larger_text_and_wider_letters(show: Any, rule: str) -> None:
    """Would break: the layout fits only with one machine's fonts, at one size."""
    page = show(dashboards.copying(), PHONE)
    page.run(f"document.styleSheets[0].insertRule({rule!r}, document.styleSheets[0].cssRules.length)")
    assert page.run("document.documentElement.scrollWidth") == PHONE
    assert page.run(WIDE) == []


def test_light_and_dark_differ(show: Any) -> None:
    """Would break: a white page in dark mode."""
    ground = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
    assert min(show(dashboards.over(), dark=False).run(ground)) > 230
    assert max(show(dashboards.over(), dark=True).run(ground)) < 40


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(show: Any) -> None:
    """Would break: a link only a mouse reaches, a focus nobody sees, or no way past what is above the page."""
    page = show(dashboards.red())
    named = "(document.activeElement.innerText || '').trim()"
    seen = []
    for _ in range(8):
        page.press("Tab", 9)
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert page.run(
            "(() => { const b = document.activeElement.getBoundingClientRect(); return b.top >= 0 && b.width > 0; })()"
        )
        seen.append(page.run(named))
    assert seen == ["Skip to the state of the migration", "10 green gates", "1 hour", "24 hours", "30 days",
                    "Report 3", "Report 2", "Report 1"]  # fmt: skip
    page.run("document.activeElement.blur(); document.querySelector('.skip').focus()")
    page.press("Enter", 13, "\r")
    assert soon(page, "document.activeElement.id") == "main"


def test_names_for_those_who_do_not_see_it(show: Any) -> None:
    """Would break: a screen reader finds no headings, no present step, drawings without words, or a table without heads."""
    page = show(dashboards.copying())
    assert page.run("[...document.querySelectorAll('h1, h2')].map((h) => h.innerText)") == [
        "Copying, 45 %", "1 thing needs attention", "Gates of the cut-over", "Tables", "History", "Who runs", "Drift passes",
    ]  # fmt: skip
    assert page.run("document.querySelector('[aria-current=step]').innerText").startswith("Backfill")
    bare = "[...document.querySelectorAll('svg')].filter((s) => s.getAttribute('aria-hidden') !== 'true' && !s.getAttribute('aria-label')).length"
    assert page.run(bare) == 0
    assert page.run("document.querySelector('#banner').getAttribute('role')") == "status"
    show(dashboards.copying(), PHONE)
    assert page.run("document.querySelectorAll('.cards [role=columnheader]').length") == 7, "on a phone, too"


def test_without_javascript_it_shows_the_state_and_comes_again(show: Any) -> None:
    """Would break: an empty page where scripts are not allowed, or one that never changes."""
    page = show(dashboards.red(), script=False)
    assert page.run("document.querySelector('h1').innerText") == "Copied, not yet proved"
    assert page.run("document.querySelector('meta[http-equiv=refresh]').content") == "5"
    assert page.run("document.body.dataset.live") is None
    text = page.run("document.body.innerText")
    assert "sync writers --fence ID" in text and "Report 3" in text


def test_a_window_of_history_is_a_link(show: Any) -> None:
    """Would break: the longer history needs a script."""
    page = show(dashboards.copying(), address="/?window=day")
    assert page.run("document.querySelector('[aria-current=page]').innerText") == "24 hours"
    assert page.run("document.querySelectorAll('.chart svg').length") == 3


def test_it_follows_what_happens_and_keeps_what_the_reader_opened(browser: Browser) -> None:
    """Would break: the page stands still, closes what was opened, or throws the keyboard back to its beginning."""
    watcher = Shown(dashboards.many())
    browser.look(DESKTOP, False)
    with serving(watcher) as address:
        browser.visit(address)
        soon(browser, "document.body.dataset.live === 'yes'")
        browser.run("document.querySelector('#d-copied').open = true; document.querySelector('#d-copied summary').focus()")
        fewer = dashboards.many(150)
        watcher.seen = Seen(2, fewer.snapshot, fewer.samples)
        soon(browser, "document.querySelector('#d-copied summary').innerText.startsWith('146 ')")
        assert browser.run("document.querySelector('#d-copied').open")
        assert browser.run("document.activeElement.innerText").startswith("146 ")
        assert "1,980" not in browser.run("document.title")
        watcher.seen = Seen(3, fewer.snapshot, fewer.samples, "Postgres at db:5432/music does not answer", dashboards.NOW)
        soon(browser, "document.querySelector('#banner').innerText.includes('These figures are not of now.')")
        assert browser.run("document.title") == "sync: not known"
        watcher.seen = Seen(4, fewer.snapshot, fewer.samples)
        soon(browser, "document.querySelector('#banner').innerText === ''")
    soon(browser, "document.body.classList.contains('cut')")
    assert "not connected" in browser.run("getComputedStyle(document.querySelector('.live time'), '::after').content")
    assert browser.run("document.querySelector('h1').innerText").startswith("Copying"), "what was known stays"
    browser.visit("about:blank")


def test_the_form_for_the_token(browser: Browser) -> None:
    """Would break: the form is refused by the page's own policy, or the token is seen in the address."""
    browser.look(PHONE, True)
    with serving(Shown(dashboards.copying()), "correct-horse-battery") as address:
        browser.visit(address)
        assert browser.run("document.querySelector('h1').innerText") == "Token"
        assert browser.run(CONTRAST) == [] and browser.run("document.documentElement.scrollWidth") == PHONE
        browser.run("document.querySelector('input').focus()")
        browser.call("Input.insertText", text="correct-horse-battery")
        browser.press("Enter", 13, "\r")
        soon(browser, "document.querySelector('h1')?.innerText.startsWith('Copying')")
        assert browser.run("location.href") == f"{address}/"
        assert browser.run("document.cookie") == "", "no script reads it"
        browser.visit("about:blank")
