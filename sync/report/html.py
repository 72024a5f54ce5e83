"""A drift report as one self-contained HTML file: it opens from an e-mail, in light and dark, and prints on paper.

The page loads nothing, and enforces that: its policy allows this style and this script, by their hashes, and nothing else.
Even a value that slipped through the escaping would not run. Without JavaScript only the filters are missing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from sync.core.words import STORES
from sync.report import verdict
from sync.report.figures import Report, read
from sync.report.findings import findings
from sync.report.markup import section
from sync.report.search import searches
from sync.report.tables import latency, one
from sync.report.text import moment, number, prose, value

_SHARED = (
    '<svg class="shared" width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5" '
    'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="ground" width="5" height="5"/>'
    '<rect class="line" width="2.4" height="5"/></pattern></defs></svg>'
)


def render(report: Mapping[str, Any]) -> str:
    """The page for what `sync drift-report --json` prints."""
    found = read(report)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        _head(found),
        f"<body>{_SHARED}<main>",
        _header(found),
        findings(found),
        *(one(table) for table in found.tables),
        latency(found),
        searches(found),
        section("next", "What to do next", f"<ol>{verdict.next_steps(found)}</ol>"),
        f"</main>\n<script>{_asset('filters.js')}</script></body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


@cache
def _asset(file: str) -> str:
    """The style or the script, from this package's file."""
    return (files(__package__) / file).read_text(encoding="utf-8").strip()


def _head(report: Report) -> str:
    return (
        f'<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy()}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<meta name="referrer" content="no-referrer"><title>{verdict.title(report)}</title>\n'
        f"<style>{_asset('style.css')}</style></head>"
    )


def policy() -> str:
    """What the page may load and run, as a Content-Security-Policy."""
    allowed = f"style-src '{_hashed(_asset('style.css'))}'; script-src '{_hashed(_asset('filters.js'))}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hashed(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(report: Report) -> str:
    """What was compared, then the verdict, and the next step with it."""
    times = [f"{word} {moment(at)}" for word, at in (("begun", report.started_at), ("ended", report.finished_at)) if at]
    step = f'<p class="step"><b>Next</b> {prose(report.next_step)}</p>' if report.next_step else ""
    return (
        f'<header class="{report.state}"><p class="kicker">{", ".join(["sync drift report", *times])}</p>'
        f"{_about(report)}<h1>{verdict.sign(report.state)}<span>{verdict.headline(report)}</span></h1>"
        f'<p class="lead">{verdict.lead(report)}</p>{step}{verdict.contents(report)}</header>'
    )


def _about(report: Report) -> str:
    """Which databases, when in the migration, and by which version: a reader may have several such files."""
    about = report.about
    epoch = about.get("epoch", "")
    primary = STORES.get(about.get("primary", ""), "")
    facts = (
        ("Source", about.get("source", "")),
        ("Keyspace", about.get("keyspace", "")),
        ("Target", about.get("target", "")),
        ("Database", about.get("database", "")),
        ("Pass", "" if report.number is None else number(report.number)),
        ("Epoch", f"{epoch}, {primary} is primary" if epoch and primary else epoch),
        ("Version", f"sync {about['version']}" if "version" in about else ""),
    )
    shown = "".join(f"<div><dt>{name}</dt> <dd>{value(text)}</dd></div> " for name, text in facts if text)
    return f'<dl class="about">{shown}</dl>' if shown else ""
