"""Sampled vector searches: whether both sides find the same rows, and whether each finds the nearest ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync.report.figures import Report, real, whole
from sync.report.markup import bar, group, row, section, table
from sync.report.text import name, number, visible

_HEADS = ("Column", "Searches", "Overlap", "Recall, source", "Recall, target")


def searches(report: Report) -> str:
    """The whole section; nothing if no search was sampled."""
    if not report.search:
        return ""
    caption = (
        "Sampled vectors, searched on both sides. Overlap: the share of hits that both sides give. Recall: the share of the "
        "exact nearest that a side’s index finds."
    )
    rows = group(map(_row, report.search))
    return section("search", "Search on both sides", table('class="cards figures"', caption, _HEADS, [rows]))


def _row(found: Mapping[str, Any]) -> str:
    column = f'{name(found.get("table") or "–")}<span class="dot">.</span><wbr>{name(found.get("column") or "–")}'
    note = f'<small class="note">{visible(str(found["note"]), 400)[0]}</small>' if found.get("note") else ""
    k = whole(found.get("k"))
    searches = number(whole(found.get("searches"))) + (f" <small>of {number(k)} hits each</small>" if k is not None else "")
    shares = [_share(real(found.get(key))) for key in ("overlap", "source_recall", "target_recall")]
    return row(column + note, list(zip(_HEADS[1:], (searches, *shares), strict=True)))


def _share(share: float | None) -> str:
    """A share as a number and a bar; one that was not measured says so."""
    if share is None:
        return '<span class="quiet">not known</span>'
    width = 100 * min(max(share, 0.0), 1.0)
    drawn = bar('<rect class="all" y="2" width="100" height="8"/>', f'<rect y="2" width="{width:.1f}" height="8"/>')
    return f'<span class="share">{_percent(share)}</span>{drawn}'


def _percent(share: float) -> str:
    """Rounded down: only all is 100 %."""
    return "100 %" if share >= 1 else f"{int(share * 1000) / 10:.1f} %"
