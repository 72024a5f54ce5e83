"""The drift report in a real browser: it fits a phone, logs nothing, filters, and is readable in light and dark.

A headless Chromium is used where the machine has one (Debian: `apt install chromium-headless-shell`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import reports
from support.chromium import NAMES, Browser, chromium, installed
from support.pages import CONTRAST, WIDE

from sync.report.html import render

PROGRAM = installed()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"no browser here: none of {', '.join(NAMES)}")
PHONE, DESKTOP = 360, 1200
REPORTS = {
    "clean": reports.clean,
    "dirty": reports.dirty,
    "many": reports.many,
    "empty": reports.report,
    "torn": lambda: reports.report(
        reports.table("t" * 300, rows={"source": 10**15, "target": 10**15}, ring=reports.ring(64)[5:]),
        next_step="x" * 400, started_at="y" * 400, search=[reports.search(table="s" * 90, column="c" * 90, note="n" * 900)],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium(str(PROGRAM)) as opened:
        yield opened


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Any:
    """Open the page of a report at a width, in a scheme."""

    def opened(report: dict[str, Any], width: int = DESKTOP, dark: bool = False, **look: Any) -> Browser:
        file = tmp_path / "report.html"
        file.write_text(render(report), encoding="utf-8")
        browser.look(width, dark, **look)
        browser.open(file)
        return browser

    return opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("kind", REPORTS)
def test_it_fits_is_silent_and_loads_nothing(show: Any, kind: str, width: int, dark: bool) -> None:
    """Would break: the page scrolls sideways, has a refused script, requests anything, or has text that is hard to read."""
    page = show(REPORTS[kind](), width, dark)
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run(WIDE) == []
    assert page.run(CONTRAST) == []
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("file:")] == []
    assert len(page.requests) == 1


@pytest.mark.parametrize(
    "rule", ["html { font-size: 26px !important }", "* { font-family: 'DejaVu Serif', monospace !important }"]
)
def test_it_fits_with_larger_text_and_wider_letters(show: Any, rule: str) -> None:
    """Would break: the layout fits only with one machine's fonts, at one size."""
    page = show(reports.dirty(), PHONE)
    page.run(f"document.styleSheets[0].insertRule({rule!r}, document.styleSheets[0].cssRules.length)")
    assert page.run("document.documentElement.scrollWidth") == PHONE
    assert page.run(WIDE) == []


def test_light_and_dark_differ(show: Any) -> None:
    """Would break: a white page in dark mode."""
    ground = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
    assert min(show(reports.clean(), dark=False).run(ground)) > 230
    assert max(show(reports.clean(), dark=True).run(ground)) < 40


def shown(page: Browser) -> list[str]:
    """The kinds of the rows that are shown, with their tables' numbers."""
    found: list[str] = page.run(
        "[...document.querySelectorAll('#findings tr[data-kind]')].filter((r) => r.checkVisibility()).map((r) => r.dataset.table + r.dataset.kind)"
    )
    return found


def choose(page: Browser, name: str, value: str) -> None:
    """Fill a field as a user does."""
    page.run(f"""(() => {{
        const field = document.getElementById("filters").elements[{name!r}];
        field.value = {value!r};
        field.dispatchEvent(new Event("input", {{bubbles: true}}));
    }})()""")


def counted(page: Browser) -> str:
    """What the form says of the rows shown."""
    found: str = page.run("document.querySelector('output').value")
    return found


def test_filters_by_table_kind_and_text(show: Any) -> None:
    """Would break: a filter that shows what it should hide, hides what it should show, or miscounts."""
    page = show(reports.dirty())
    every = shown(page)
    assert counted(page) == f"{len(every)} of {len(every)}"
    choose(page, "kind", "missing")
    assert set(shown(page)) == {"0missing"}
    assert counted(page) == f"6 of {len(every)}"
    choose(page, "table", "1")
    assert shown(page) == []
    choose(page, "kind", "")
    assert shown(page) == [kind for kind in every if kind.startswith("1")]
    headings = (
        "[...document.querySelectorAll('#findings .of')].filter((r) => r.checkVisibility()).map((r) => r.innerText.trim())"
    )
    assert page.run(headings) == ["embeddings_of_a_rather_long_name"]
    choose(page, "text", "<SCRIPT>alert(1)")
    assert len(shown(page)) == 1
    page.run("document.querySelector('button[type=reset]').click()")
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert shown(page) == every
    choose(page, "text", "altdeu1/00007")
    assert len(shown(page)) == 1
    assert page.complaints == []


def test_filters_by_keyboard(show: Any) -> None:
    """Would break: a control is reachable only by mouse, or Enter sends the form somewhere."""
    page = show(reports.dirty())
    page.run("document.querySelector('input[type=search]').focus()")
    page.call("Input.insertText", text="essen/altdeu1/00003")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert len(shown(page)) == 1
    page.run("document.querySelector('summary').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert page.run("document.querySelector('details').open")
    assert page.complaints == []


def test_everything_is_there_without_javascript(show: Any) -> None:
    """Would break: a mail program's preview shows an empty page, or a form that does nothing."""
    page = show(reports.dirty(), script=False)
    assert len(shown(page)) == 47
    assert not page.run("document.getElementById('filters').checkVisibility()")


def test_nothing_of_a_hostile_value_runs(show: Any) -> None:
    """Would break: a script in a key is run."""
    marks = "<script>window.ran=1</script><img src=x onerror=window.ran=1><svg onload=window.ran=1>"
    finding = reports.finding(key={marks: marks}, columns=[marks], source={marks: marks}, target={marks: f"'{marks}"})
    page = show(
        reports.report(reports.table(marks, rows={"different": 1, "same": 199_999}, findings=[finding]), next_step=marks)
    )
    assert page.run("window.ran") is None
    assert page.complaints == []


def test_a_difference_that_is_a_blank_is_seen(show: Any) -> None:
    """Would break: the mark of a blank has no width."""
    finding = reports.finding(source={"title": "Aria "}, target={"title": "Aria"})
    page = show(reports.report(reports.table(rows={"different": 1, "same": 199_999}, findings=[finding])))
    widths = page.run("[...document.querySelectorAll('mark')].map((m) => m.getBoundingClientRect().width)")
    assert len(widths) == 2
    assert min(widths) > 1.5


def test_one_range_of_thousands_is_seen_on_the_ring(show: Any) -> None:
    """Would break: one wrong range of 2,000 is drawn too thin to be seen."""
    one = reports.table(parts=2000, rows={"different": 1, "same": 199_999}, ranges={"same": 1999, "different": 1},
                        ring=reports.ring(2000, {700: "different"}))  # fmt: skip
    page = show(reports.report(one), PHONE)
    size = page.run(
        "(() => { const b = document.querySelector('.ring .different').getBoundingClientRect(); return b.width * b.height; })()"
    )
    assert size > 20


def test_it_prints(show: Any, tmp_path: Path) -> None:
    """Would break: the print shows a form, and lacks what is collapsed on the screen."""
    page = show(reports.dirty(), 720, media="print")
    assert not page.run("document.getElementById('filters').checkVisibility()")
    assert page.run("document.querySelector('.stretches').getBoundingClientRect().height") > 0
    page.paper(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
