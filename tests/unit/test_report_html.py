"""The drift report as HTML: what it says is true, whatever the figures; what it shows is escaped, whatever the values."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reports

from sync.core.ring import MAX_TOKEN, MIN_TOKEN, RING_SIZE
from sync.report.findings import MAX_CHARACTERS, MAX_FINDINGS
from sync.report.html import render
from sync.report.ring import MAX_SEGMENTS, drawn, merged
from sync.report.text import moment, prose, seconds, two_values, value, version

VOID = {"meta", "wbr", "input", "br", "link", "img", "hr"}
TAGS = {"html", "head", "meta", "title", "style", "script", "body", "main", "header", "nav", "section", "h1", "h2", "h3", "p",
        "a", "b", "i", "u", "bdi", "mark", "small", "code", "span", "div", "ul", "ol", "li", "dl", "dt", "dd", "table",
        "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "form", "label",
        "select", "option", "input", "button", "output", "wbr", "svg", "defs", "pattern", "rect", "path", "circle", "g",
        "text"}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart: every element with its attributes, and the text in them; raises where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self, *without: str) -> str:
        """All visible text, without style and script."""
        return re.sub(r"\s+", " ", "".join(t for tag, t in self.texts if tag not in {"style", "script", *without}))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


def page(report: dict[str, Any]) -> Page:
    """The page of a report, checked for what must hold of every page."""
    text = render(report)
    text.encode("utf-8")
    assert "\0" not in text
    found = Page(text)
    assert {tag.lower() for tag, _ in found.elements} <= TAGS
    assert len(found.attributes("script")) == len(found.attributes("style")) == 1
    for _, attributes in found.elements:
        assert not [a for a in attributes if a.startswith("on") or a in ("style", "src")]
        assert attributes.get("href", "#").startswith("#")
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        for name in ("href", "aria-labelledby"):
            assert attributes.get(name, ids[0]).removeprefix("#") in ids
    return found


def verdict(report: dict[str, Any]) -> str:
    """The heading."""
    found = render(report)
    return re.sub(r"<[^>]*>", "", found.split("<h1>")[1].split("</h1>")[0])


EVERY = {"clean": reports.clean, "dirty": reports.dirty, "many": reports.many, "no table": reports.report}


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_is_loaded_from_anywhere(kind: str) -> None:
    """Would break: a font, script or picture is loaded that reveals who reads the report, or is missing in a mail."""
    text = render(EVERY[kind]())
    page(EVERY[kind]())
    assert not re.findall(r"(?:https?:)?//[a-z]", text)
    assert not re.findall(r"@import|url\((?!#)", text)


def test_the_policy_allows_its_own_style_and_script_and_nothing_else() -> None:
    """Would break: the browser refuses the page's own filters, or runs what slips through the escaping."""
    text = render(reports.clean())
    policy = Page(text).attributes("meta")[1]["content"]
    for tag in ("style", "script"):
        inside = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        hashed = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{hashed}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_hostile_values_are_text_everywhere() -> None:
    """Would break: a value becomes markup, in a place that nobody thought of."""
    for text in reports.HOSTILE.values():
        finding = reports.finding("different", {text: text}, columns=[text], source={text: text}, target={text: text + "'"})
        table = reports.table(text, rows={"different": 1, "same": 199_999}, findings=[finding])
        found = page(reports.report(table, table, next_step=text, started_at=text, finished_at=text,
                                    search=[reports.search(table=text, column=text, note=text)]))  # fmt: skip
        assert "2 differences" in found.text()
        assert found.attributes("img") == []


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["table", "rows", "ranges", "findings", "ring", "source", "target", "same", "unknown", "kind", "key",
                         "columns", "values", "start", "end", "verdict", "latency", "p50_ms", "max_ms", "overlap", "k", "note"]), inner),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_report_of_another_shape_is_a_page_that_is_not_clean(odd: Any) -> None:
    """Would break: a report that another version wrote gives a traceback instead of a page."""
    for made in (
        {"clean": True, "tables": odd, "search": odd},
        {"clean": True, "tables": [odd], "search": [odd], **_as_report(odd)},
    ):
        page(made)
        assert verdict(made) != "Clean"


def _as_report(odd: Any) -> dict[str, Any]:
    return {"started_at": odd, "finished_at": odd, "next_step": odd}


def test_what_has_no_picture_is_named() -> None:
    """Would break: two different values look the same, or a name reads backwards."""
    assert value("a\0b") == '<bdi class="v">a<u>NUL</u>b</bdi>'
    assert value("invoice\u202efdp") == '<bdi class="v">invoice<u>U+202E</u>fdp</bdi>'
    assert value("\ud83d") == '<bdi class="v"><u>U+D83D</u></bdi>'
    assert value("👩‍👩‍👧‍👦") == '<bdi class="v">👩‍👩‍👧‍👦</bdi>'
    assert "null" in value(None)
    assert "empty" in value("")
    assert value("null") == '<bdi class="v">null</bdi>'


@pytest.mark.parametrize(
    ("left", "right", "marks"),
    [
        ("Aria", "Aria ", ("", " ")),
        ("abc", "abd", ("c", "d")),
        ("aa", "a", ("a", "")),
        ("x" * 100_000 + "1" + "y" * 9, "x" * 100_000 + "2" + "y" * 9, ("1", "2")),
        ("a\u200bb", "ab", ("<u>U+200B</u>", "")),
        ("👩\u200d👧", "👩👧", ("<u>U+200D</u>", "")),
    ],
)
def test_the_difference_of_two_values_is_marked(left: str, right: str, marks: tuple[str, str]) -> None:
    """Would break: of two long texts only the first line is seen, or a trailing blank is invisible."""
    shown = two_values(left, right)
    assert tuple(text.split("<mark>")[1].split("</mark>")[0] for text in shown) == marks
    assert all(len(text) < 400 for text in shown)


@given(st.text(max_size=80), st.text(max_size=80))
@settings(deadline=None)
def test_marking_keeps_every_character(left: str, right: str) -> None:
    """Would break: a mark is off by one at either end."""
    for text, shown in zip((left, right), two_values(left, right), strict=True):
        length = len(re.sub(r"<small.*", "", shown).replace("…", ""))
        assert length >= min(len(text), 60)


def test_long_values_are_cut_with_a_note() -> None:
    """Would break: a value as long as a book makes the page unreadable, or is cut without a note."""
    shown = value("x" * 100_000)
    assert len(shown) < 400
    assert "100,000 characters in all" in shown


def test_numbers_that_add_up_are_an_equation() -> None:
    """Invariant 5, for the reader."""
    said, sums = page(reports.dirty()).text(), page(reports.dirty()).text("small")
    assert "200,000 source = 198,760 same + 18 different + 6 missing + 11 in flight + 3 rejected + 1,202 unknown" in sums
    assert "The numbers add up" in said
    assert "199,600 rows, 6 of them extra" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"source": 200_002}, "200,002 source rows, but 200,000 in the sum; 2 rows unaccounted for"),
        ({"same": 200_001}, "200,000 source rows, but 200,001 in the sum; 1 row counted twice"),
        ({"unknown": None}, "no figure for unknown"),
    ],
)
def test_numbers_that_do_not_add_up_are_never_clean(rows: dict[str, Any], said: str) -> None:
    """Would break: a summary says clean although its figures do not."""
    report = reports.report(reports.table(rows=rows), clean=True)
    assert verdict(report) == "Not known"
    assert said in page(report).text()
    assert "calls itself clean; its figures do not" in page(report).text()
    assert "The numbers add up" not in page(report).text()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Clean"),
        ({"rows": {"rejected": 1, "same": 199_999}}, "Clean"),
        ({"rows": {"in_flight": 1, "same": 199_999}}, "Clean"),
        ({"rows": {"kept": 3, "target": 200_003}, "kept_columns": 2}, "Clean"),
        ({"rows": {"missing": 1, "same": 199_999}}, "1 difference"),
        ({"rows": {"extra": 2}}, "2 differences"),
        ({"rows": {"different": 3, "same": 199_990, "unknown": 7}}, "3 differences"),
        ({"rows": {"unknown": 1, "same": 199_999}}, "Not known"),
        ({"ranges": {"same": 255, "unknown": 1}}, "Not known"),
        ({"ranges": {"same": 255, "different": 1}}, "Not known"),
        ({"ranges": {"same": 255}}, "Not known"),
        ({"findings": [reports.finding("extra")]}, "1 difference"),
        ({"findings": [reports.finding("unknown")]}, "Not known"),
        ({"findings": [reports.finding("of a later version")]}, "Not known"),
        ({"repaired": 4}, "4 rows repaired, not yet proved"),
        ({"ring": reports.ring(256)[1:]}, "Not known"),
        ({"ring": [*reports.ring(256), reports.ring(256)[7]]}, "Not known"),
        ({"ring": []}, "Clean"),
    ],
)
def test_the_verdict_follows_from_the_figures(changes: dict[str, Any], expected: str) -> None:
    """Would break: a report is believed because of the one word at its top."""
    report = reports.report(reports.table(), reports.table("other", **changes), clean=True)
    assert verdict(report) == expected
    assert page(report).text().strip().startswith(f"{expected} – sync drift report")


def test_a_report_that_does_not_call_itself_clean_is_not() -> None:
    """Would break: the program has a reason not to call the report clean, and the page ignores it."""
    assert verdict(reports.report(reports.table(), clean=False)) == "Not known"
    assert verdict(reports.report(clean=True)) == "Not known"
    assert "Nothing was checked" in page(reports.report(clean=True)).text()


def test_segments_are_the_whole_ring() -> None:
    """Invariant 4, drawn: from the least token to the greatest, end to start, rows and ranges kept."""
    given_ = reports.ring(4000, dict.fromkeys(range(1000, 1003), "different") | {2000: "unknown"}, 7)
    segments = merged(reversed(given_))
    assert [s.verdict for s in segments] == ["same", "different", "same", "unknown", "same"]
    assert (segments[0].start, segments[-1].end) == (MIN_TOKEN, MAX_TOKEN)
    assert all(a.end == b.start for a, b in pairwise(segments))
    assert (sum(s.ranges for s in segments), sum(s.rows for s in segments)) == (4000, 28_000)
    assert (segments[1].start, segments[1].end) == (given_[1000]["start"], given_[1002]["end"])


TOKENS = st.integers(MIN_TOKEN, MAX_TOKEN)
RANGES = st.lists(st.tuples(TOKENS, TOKENS, st.sampled_from(["same", "different", "unknown", "?"])), max_size=60)


@given(RANGES, st.integers(1, 20))
@settings(deadline=None)
def test_any_ranges_give_segments_that_cover_the_ring_and_hide_nothing(found: list[tuple[int, int, str]], most: int) -> None:
    """Would break: a range that another one covers, or a gap, is drawn as `same`."""
    ranges = [{"start": a, "end": b, "verdict": v, "rows": 1} for a, b, v in found]
    segments = merged(ranges)
    for some in (segments, drawn(segments, most)):
        assert not some or (some[0].start, some[-1].end) == (MIN_TOKEN, MAX_TOKEN)
        assert all(a.start < a.end == b.start for a, b in pairwise(some))
        for start, end, kind in (f for f in found if f[0] < f[1]):
            met = {s.verdict for s in some if s.start < end and start < s.end}
            assert kind != "different" or met == {"different"}
            assert kind == "same" or "same" not in met
    assert len(drawn(segments, most)) <= max(most, 1)
    assert not segments or sum(s.end - s.start for s in segments) == RING_SIZE - 1


def test_thousands_of_ranges_stay_small() -> None:
    """Would break: a table whose ranges alternate makes a page of megabytes."""
    text = render(reports.many())
    titles = re.findall(r"<title>(\(-?\d+, -?\d+\] [^<]*)</title>", text)
    assert 100 < len(titles) <= MAX_SEGMENTS
    assert all("in part" in title for title in titles)
    assert titles[0].startswith(f"({MIN_TOKEN}, ") or any(t.startswith(f"({MIN_TOKEN}, ") for t in titles)
    assert f"Drawn in {MAX_SEGMENTS} parts" in text
    assert len(text) < 500_000


def test_the_first_findings_of_every_table_are_shown_and_the_rest_is_counted() -> None:
    """Would break: a thousand findings of one table hide another's only one, or a list ends without a note."""
    tables = [
        reports.table(name, rows={"same": 200_000 - n, "different": n}, findings=[reports.finding(key={"id": str(i)}) for i in range(n)])
        for name, n in (("big", 900), ("small", 3), ("middle", 200))
    ]  # fmt: skip
    found = page(reports.report(*tables, clean=False))
    shown = [a["data-table"] for a in found.attributes("tr") if "data-table" in a]
    assert (len(shown), shown.count("1"), shown.count("2")) == (MAX_FINDINGS, 3, 200)
    assert f"The first {MAX_FINDINGS} of 1,103 are shown." in found.text()
    assert "--format csv" in found.text()


def test_findings_that_the_report_itself_left_out_are_counted() -> None:
    """Would break: `findings_total` exceeds what is listed, and a reader takes the list for all."""
    assert "The first 500 of 2,600 are shown." in page(reports.many()).text()
    one = reports.table(rows={"same": 199_990, "different": 10}, findings=[reports.finding()], findings_total=10)
    assert "The first 1 of 10 are shown." in page(reports.report(one)).text()


def test_size_is_bounded_whatever_the_values_are() -> None:
    """Would break: a mail that no server takes."""
    hostile = {f"column {i} " + "\x1b" * 300: '"' * 100_000 for i in range(60)}
    wrong = {k: v + "x" for k, v in hostile.items()}
    findings = [reports.finding(key=hostile, columns=list(hostile), source=hostile, target=wrong) for _ in range(600)]
    table = reports.table(rows={"different": 600, "same": 199_400}, findings=findings)
    text = render(reports.report(table))
    assert len(text) < MAX_CHARACTERS + 200_000
    assert "of 600 are shown" in text


def test_optional_keys_may_be_missing() -> None:
    """Would break: a report from an earlier version, which lacks a key, gives a traceback."""
    bare = reports.table(
        findings=[{"kind": "different", "key": {"id": "1"}, "columns": []}], rows={"different": 1, "same": 199_999}
    )
    for key in ("ring", "seconds", "repaired", "latency"):
        del bare[key]
    report = reports.report(bare)
    for key in ("search", "started_at", "finished_at", "next_step"):
        del report[key]
    said = page(report).text()
    assert "no map of the token ring" in said
    assert "Latency" not in said
    assert "Search on both sides" not in said
    assert "sync drift-report --repair" in said


def test_empty_tables_are_clean() -> None:
    """Would break: a division by zero rows."""
    none = reports.table(size=0, seconds=0.0, latency={"p50_ms": 0, "p99_ms": 0, "max_ms": 0})
    assert verdict(reports.report(none, search=[reports.search(searches=0, overlap=None)])) == "Clean"
    assert "0 source = 0 same" in page(reports.report(none)).text()


def test_shares_are_never_rounded_up_to_all() -> None:
    """Would break: a recall just below 100 % is shown as 100 %."""
    said = page(
        reports.report(reports.table(), search=[reports.search(overlap=0.99999, source_recall=1.0, target_recall=None)])
    ).text()
    assert "99.9 %" in said
    assert "100 %" in said
    assert "not known" in said


def test_every_table_has_a_caption_and_its_roles_and_headings_are_in_order() -> None:
    """What a screen reader goes by."""
    found = page(reports.dirty())
    assert [tag for tag, _ in found.elements].count("caption") == len(found.attributes("table")) == 7
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(a.get("role") == "cell" for a in found.attributes("td") if "data-label" in a)
    assert all("aria-label" in a or "aria-hidden" in a for a in found.attributes("svg"))


def test_filters_are_hidden_until_there_is_a_script() -> None:
    """Would break: a form that does nothing."""
    assert "hidden" in page(reports.dirty()).attributes("form")[0]


def test_the_next_step_comes_with_the_verdict() -> None:
    """Would break: a reader has to look for what to do."""
    text = render(reports.dirty())
    assert text.index("<h1>") < text.index('class="step"') < text.index("<h2")
    assert "<code>sync drift-report --repair</code>" in text


def test_it_says_what_was_compared_and_when_in_the_migration() -> None:
    """Would break: of three reports in a mail, nobody knows which database each one is about."""
    said = page(reports.clean()).text()
    for part in ("10.0.0.11,10.0.0.12:9042", "music", "ep-example-1.eu-central-1.aws.neon.tech:5432", "tunes", "sync 0.1.0"):
        assert part in said
    assert "Pass 7" in " ".join(said.split())
    assert "1, Astra is primary" in said
    assert 'class="about"' not in render(reports.report(reports.table(), about=None, **{"pass": None}))


def test_findings_come_before_what_was_well() -> None:
    """Would break: forty drawings of rings come before the one row that is lost."""
    text = render(reports.dirty())
    assert text.index('id="findings"') < text.index('id="t0"')


def test_versions_are_moments_and_say_which_is_older() -> None:
    """A second is a race, an hour is a lost write: the reader has to see which."""
    said = page(reports.report(reports.table(findings=[reports.finding()], rows={"different": 1, "same": 199_999}))).text()
    assert "2025-11-23 06:40:00.000000" in said
    assert "3.2 s older" in said
    assert version(None) == "none"
    assert version(10**30) == f"{10**30:,}"


def test_small_words() -> None:
    """Times and commands for people."""
    assert [seconds(s) for s in (0.25, 12.44, 252, 7_260)] == ["250 ms", "12.4 s", "4 min 12 s", "2 h 01 min"]
    assert moment("2025-11-23T06:44:12.5+00:00") == "2025-11-23 06:44:12 UTC"
    assert moment("<yesterday>") == "&lt;yesterday&gt;"
    assert prose("Do `a & b`, then go.") == "Do <code>a &amp; b</code>, then go."
    assert prose("sync drift-report --repair") == "<code>sync drift-report --repair</code>"
    assert prose("The sync is over.") == "The sync is over."


def test_the_report_is_what_json_holds() -> None:
    """Would break: a page that needs more than the printed report has."""
    assert render(json.loads(json.dumps(reports.dirty()))) == render(reports.dirty())


def test_what_is_kept_is_said() -> None:
    """Would break: the target has more rows than the source, and nobody is told why."""
    said = page(reports.report(reports.table(rows={"kept": 3, "target": 200_003}, kept_columns=2))).text()
    assert "3 rows kept: expired in the source, to stay in the target" in said
    assert "Of 2 rows more the target keeps columns that expired in the source" in said
