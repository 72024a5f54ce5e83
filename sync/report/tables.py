"""What the report says about each table: the ring, the numbers that add up, how long the checks took."""

from __future__ import annotations

import math

from sync.core.words import counted
from sync.report import ring
from sync.report.figures import TERMS, TIMES, Report, Table
from sync.report.findings import KINDS
from sync.report.markup import bar, group, row, section, table
from sync.report.text import escape, name, number, seconds
from sync.report.verdict import in_words, sign


def one(of: Table) -> str:
    """One table's section."""
    return (
        f'<section class="table" aria-labelledby="t{of.index}"><h2 id="t{of.index}">{name(of.name)}</h2>'
        f'<p class="verdict {of.state}">{sign(of.state)}<span>{in_words(of)}</span></p>'
        f'<div class="two">{_ring(of)}<div>{_equation(of)}{_problems(of)}{_target(of)}{_facts(of)}</div></div>'
        f"{_stretches(of)}</section>"
    )


def _equation(of: Table) -> str:
    """`source = same + different + …` as a sum on paper, one term per line."""
    terms = "".join(_term(of, term, "=" if term == TERMS[0] else "+") for term in TERMS)
    return f'<table class="ledger"><caption>The rows of the source</caption>{_term(of, "source", "")}{terms}</table>'


_GLOSSES = {
    "source": "read",
    "same": "on both sides",
    "different": "in the columns that the findings name",
    "missing": "in the target",
    "in_flight": "changing while they were read",
    "rejected": "the target cannot hold them, and they are on record",
    "unknown": "not read",
}


def _term(of: Table, term: str, operator: str) -> str:
    count, said = of.rows[term], term.replace("_", " ")
    weight = "zero" if not count else term if term in KINDS else "some"
    shown = "–" if said in of.absent else number(count)
    gloss = f" <small>{_GLOSSES[term]}</small>" if count else ""
    return f'<tr class="{weight}"><td>{operator} </td><td>{shown} </td><th scope="row"><b>{said}</b>{gloss} </th></tr>'


def _problems(of: Table) -> str:
    adds = '<p class="adds">The numbers add up: every row read is accounted for.</p>' if of.adds_up else ""
    if not of.problems:
        return adds
    said = "".join(f"<p>{escape(problem)}</p>" for problem in of.problems)
    return f'{adds}<div class="problem" role="note">{said}<p>Nothing here proves that both sides are equal.</p></div>'


def _target(of: Table) -> str:
    if {"target", "extra"} & set(of.absent):
        return ""
    extra = of.rows["extra"]
    said = f", {number(extra)} of them <b>extra</b>: the source has no such key" if extra else ", none of them extra"
    return f"<p>The target holds {counted(of.rows['target'], 'row')}{said}.{_kept(of)}</p>"


def _kept(of: Table) -> str:
    """What has expired in the source and stays in the target."""
    said = ""
    if kept := of.rows["kept"]:
        said += f" {counted(kept, 'row')} <b>kept</b>: expired in the source, to stay in the target."
    if columns := of.kept_columns:
        said += f" Of {counted(columns, 'row')} more the target keeps columns that expired in the source."
    return said


def _facts(of: Table) -> str:
    facts = []
    if of.seconds is not None:
        rate = f", {of.rows['source'] / of.seconds:,.0f} rows a second" if of.seconds > 0.05 else ""
        facts.append(f"Checked in {seconds(of.seconds)}{rate}.")
    if of.repaired:
        facts.append(f"{counted(of.repaired, 'row')} repaired.")
    return f'<p class="quiet">{" ".join(facts)}</p>' if facts else ""


def _ring(of: Table) -> str:
    if not of.ring:
        return '<p class="quiet noring">This report has no map of the token ring.</p>'
    ranges, entries = of.ranges, []
    for verdict, words in ring.WORDS.items():
        if ranges[verdict] or any(segment.verdict == verdict for segment in of.ring):
            entries.append(f"<li>{ring.swatch(verdict)} {number(ranges[verdict])} {words}</li>")
    said = ", ".join(f"{number(ranges[verdict])} {words}" for verdict, words in ring.WORDS.items())
    label = f"The token ring: of {counted(ranges['total'], 'range')}, {said}."
    coarse = len(of.ring) > ring.MAX_SEGMENTS
    note = f" Drawn in {ring.MAX_SEGMENTS} parts, each as its worst range." if coarse else ""
    return (
        f"<figure>{ring.figure(of.ring, ranges['same'], ranges['total'], label)}"
        f'<figcaption><ul class="legend">{"".join(entries)}</ul>Token ranges, clockwise from the top.{note}</figcaption>'
        "</figure>"
    )


def _stretches(of: Table) -> str:
    """Where the sides are not the same, in words: for those who cannot see the drawing, and for use in a query."""
    wrong = [segment for segment in of.ring if segment.verdict != "same"]
    if not wrong:
        return ""
    entries = "".join(f"<li>{ring.swatch(s.verdict)} {s.text}</li>" for s in wrong[: ring.MAX_LISTED])
    left = len(wrong) - ring.MAX_LISTED
    more = f'<p class="more">And {counted(left, "stretch", "stretches")} more.</p>' if left > 0 else ""
    return (
        f"<details><summary>Where on the ring: {counted(len(wrong), 'stretch', 'stretches')} not the same</summary>"
        f'<ul class="stretches">{entries}</ul>{more}</details>'
    )


def latency(report: Report) -> str:
    """How long single checks took, with all tables on one scale."""
    tables = [of for of in report.tables if of.latency]
    if not tables:
        return ""
    longest = max(1.0, *(time for of in tables for time in of.latency.values()))
    heads = ("Table", *_HEADS, "To scale")
    caption = (
        "How long a single check took. The drawings have one scale, a logarithmic one: the block reaches to the median, the "
        "line to 99 in 100, the mark is the longest."
    )
    rows = group(_latency(of, longest) for of in tables)
    return section("latency", "Latency of checks", table('class="cards figures"', caption, heads, [rows]))


_HEADS = ("Half within", "99 in 100 within", "Longest")


def _latency(of: Table, longest: float) -> str:
    times = [of.latency.get(key) for key in TIMES]
    texts = ["–" if time is None else _milliseconds(time) for time in times]
    p50, p99, most = (98 * math.log1p(max(time or 0.0, 0.0)) / math.log1p(longest) for time in times)
    drawing = bar(
        f'<rect y="2" height="8" width="{p50:.1f}"/>',
        f'<rect y="5" height="2" width="{p99:.1f}"/>',
        f'<rect class="end" x="{most:.1f}" y="1" height="10" width="1.5"/>',
    )
    return row(name(of.name), [*zip(_HEADS, texts, strict=True), ("To scale", drawing)])


def _milliseconds(value: float) -> str:
    return f"{value:,.1f} ms" if value < 10 else seconds(value / 1000)
