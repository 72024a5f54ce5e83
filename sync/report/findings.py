"""The findings as one table: a row each, the first few hundred, with filters if there is JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat, zip_longest
from typing import Any

from sync.core.words import counted, listed
from sync.report.figures import Report, Table, whole
from sync.report.markup import cell, group, section, table
from sync.report.text import escape, name, number, seconds, two_values, value, version

MAX_FINDINGS = 500
"""At most so many findings are printed, shared among the tables."""
MAX_CHARACTERS = 2_000_000
"""No more findings are printed beyond so many characters in all: the file has to open from an e-mail."""
MAX_COLUMNS = 16
KINDS = {"missing": "−", "extra": "+", "different": "≠", "unknown": "?"}
"""Each kind with a sign that shows it without colour."""
_MEANING = {
    "missing": "the source has the row, the target does not",
    "extra": "the target has the row, the source does not",
    "different": "both have it, and the columns named differ",
    "unknown": "it could not be read",
}


def findings(report: Report) -> str:
    """The whole section; nothing if there are no findings."""
    total = sum(t.findings_total for t in report.tables)
    if not total:
        return ""
    rows = _rows(report.tables)
    shown = sum(map(len, rows.values()))
    meaning = "".join(f"<div><dt>{_kind(kind)}</dt><dd>{text}</dd></div>" for kind, text in _MEANING.items())
    caption = f"{counted(shown, 'finding')}, by table. Versions are moments, in UTC."
    groups = (_group(of, rows[of.index]) for of in report.tables if rows[of.index])
    listing = table('id="findings" class="cards"', caption, _COLUMNS, groups)
    head = f'<dl class="kinds">{meaning}</dl>{_more(total, shown)}{_filters(report.tables, rows, shown)}'
    return section("found", "Findings", head + listing)


_COLUMNS = ("Kind", "Key", "Columns", "Versions")


def _group(of: Table, rows: list[str]) -> str:
    head = f'<th role="rowheader" scope="rowgroup" colspan="{len(_COLUMNS)}">{name(of.name)}</th>'
    return group([f'<tr role="row" class="of">{head}</tr>', *rows])


def _rows(tables: Sequence[Table]) -> dict[int, list[str]]:
    """The findings that are printed, by table: each table has its turn, so that one cannot hide another's."""
    rows: dict[int, list[str]] = {t.index: [] for t in tables}
    shown = size = 0
    for of, finding in _turns(tables):
        if shown == MAX_FINDINGS or size > MAX_CHARACTERS:
            break
        rows[of.index].append(row := _row(of, finding))
        shown, size = shown + 1, size + len(row)
    return rows


def _turns(tables: Sequence[Table]) -> Iterator[tuple[Table, Mapping[str, Any]]]:
    for turn in zip_longest(*(zip(repeat(t), t.findings) for t in tables)):
        yield from (pair for pair in turn if pair is not None)


def _more(total: int, shown: int) -> str:
    if shown == total:
        return ""
    return (
        f'<p class="more">The first {number(shown)} of {number(total)} are shown. '
        "<code>sync drift-report --format csv --output findings.csv</code> writes up to 10,000 of a table; "
        "<code>--table</code> looks at one table alone.</p>"
    )


def _filters(tables: Sequence[Table], rows: Mapping[int, list[str]], shown: int) -> str:
    """The form; the script shows it, since without one it does nothing."""
    options = "".join(
        f'<option value="{t.index}">{escape(t.name[:60])} ({len(rows[t.index])})</option>' for t in tables if rows[t.index]
    )
    kinds = "".join(f'<option value="{kind}">{kind}</option>' for kind in KINDS)
    return (
        '<form id="filters" hidden aria-label="Filter the findings">'
        f'<label>Table <select name="table"><option value="">all</option>{options}</select></label>'
        f'<label>Kind <select name="kind"><option value="">all</option>{kinds}</select></label>'
        '<label class="wide">Contains <input type="search" name="text" autocomplete="off" spellcheck="false"></label>'
        '<button type="reset">Clear</button>'
        f'<output name="count" role="status">{number(shown)} of {number(shown)}</output></form>'
    )


def _kind(kind: str) -> str:
    return f'<span class="kind {kind}"><span aria-hidden="true">{KINDS[kind]}</span> {kind}</span>'


def _row(of: Table, finding: Mapping[str, Any]) -> str:
    given = finding.get("kind")
    kind = given if isinstance(given, str) and given in KINDS else "unknown"
    told = " <small>announced</small>" if finding.get("announced") is True else ""
    contents = (_kind(kind) + told, _key(finding), _columns(finding, kind), _versions(finding))
    cells = "".join(map(cell, _COLUMNS, contents))
    return f'<tr role="row" data-table="{of.index}" data-kind="{kind}">{cells}</tr>'


def _key(finding: Mapping[str, Any]) -> str:
    key = finding.get("key")
    if not isinstance(key, Mapping) or not key:
        return value(key) if key else "–"
    parts = [f"<span><b>{name(column)}</b> {_cell(held)}</span>" for column, held in list(key.items())[:MAX_COLUMNS]]
    return f'<div class="key">{"".join(parts)}</div>'


def _cell(held: object) -> str:
    """A key's value; anything but text as JSON."""
    return value(held if held is None or isinstance(held, str) else json.dumps(held, default=str, ensure_ascii=False))


def _columns(finding: Mapping[str, Any], kind: str) -> str:
    """The columns that differ, with both values if the report has them."""
    values = finding.get("values")
    sides = values if isinstance(values, Mapping) else {}
    source, target = (side if isinstance(side := sides.get(s), Mapping) else {} for s in ("source", "target"))
    given = finding.get("columns")
    columns = [str(c) for c in given] if isinstance(given, list) else []
    columns = columns or list(dict.fromkeys([*map(str, source), *map(str, target)]))
    if not columns:
        return {"missing": "the whole row", "extra": "the whole row"}.get(kind, "–")
    if source or target:
        parts = [_values(column, source, target) for column in columns[:MAX_COLUMNS]]
        shown = f'<dl class="values">{"".join(parts)}</dl>'
    else:
        shown = listed([name(column) for column in columns[:MAX_COLUMNS]])
    left = len(columns) - MAX_COLUMNS
    return shown + (f' <small class="cut">and {counted(left, "column")} more</small>' if left > 0 else "")


def _values(column: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    left, right = two_values(source.get(column), target.get(column))
    sides = (("source", left, source), ("target", right, target))
    shown = "".join(f"<dd><i>{label}</i> <span>{text}</span></dd>" for label, text, side in sides if column in side)
    return f"<dt>{name(column)}</dt>{shown}"


def _versions(finding: Mapping[str, Any]) -> str:
    """Both versions, and how far the target is behind: a second is a race, an hour is a lost write."""
    if "source_version" not in finding and "target_version" not in finding:
        return "–"
    source, target = whole(finding.get("source_version")), whole(finding.get("target_version"))
    lines = f"<span><i>source</i> {version(source)}</span><span><i>target</i> {version(target)}</span>"
    if source is not None and target is not None:
        apart = f"{seconds(abs(source - target) / 1e6)} {'older' if target < source else 'newer'}"
        lines += f"<span><i></i> <i>{apart if source != target else 'the same'}</i></span>"
    return f'<div class="versions">{lines}</div>'
