"""The few pieces of HTML that every section is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def section(anchor: str, title: str, body: str) -> str:
    """A section with its heading, which also names it for screen readers."""
    return f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{body}</section>'


def table(attributes: str, caption: str, heads: Sequence[str], groups: Iterable[str]) -> str:
    """A table of groups of rows, with roles: on a phone rows are blocks, and browsers then forget that it is a table."""
    head = "".join(f'<th role="columnheader" scope="col">{h}</th>' for h in heads)
    return (
        f'<table role="table" {attributes}><caption>{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f"{''.join(groups)}</table>"
    )


def group(rows: Iterable[str]) -> str:
    """Rows that belong together."""
    return f'<tbody role="rowgroup">{"".join(rows)}</tbody>'


def row(first: str, cells: Sequence[tuple[str, str]]) -> str:
    """A row with a heading of its own."""
    return f'<tr role="row"><th role="rowheader" scope="row">{first}</th>{"".join(cell(*c) for c in cells)}</tr>'


def cell(label: str, content: str) -> str:
    """A cell; `label` is shown beside it where there is no room for the columns' heads."""
    return f'<td role="cell" data-label="{label}"><div>{content}</div></td>'


def bar(*rects: str) -> str:
    """A small drawing as wide as its container; in its own units 100 wide and 12 high."""
    return f'<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">{"".join(rects)}</svg>'
