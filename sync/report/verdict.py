"""The verdict in words: what somebody who reads only one line has to know, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from sync.core.drift.verdicts import FINDINGS
from sync.core.words import counted, listed
from sync.report.figures import Report, Table
from sync.report.text import escape, name, number, prose

_SIGNS = {
    "clean": '<path d="M-9 1l6 7L9-8"/>',
    "different": '<path d="M-9-4H9M-9 5H9M6-12L-6 13"/>',
    "unknown": '<path d="M-6-5a6 6 0 1 1 8.500 5.500q-2.500 1.500-2.500 4.500M0 11.500v.1"/>',
    "repaired": '<path d="M8-6A10 10 0 1 0 10 2M9-12v7H2"/>',
}


def sign(state: str) -> str:
    """The mark of a verdict: a tick, an unequal sign, a question mark, a turn."""
    return f'<svg class="sign {state}" viewBox="-20 -20 40 40" aria-hidden="true"><circle r="18"/>{_SIGNS[state]}</svg>'


def headline(report: Report) -> str:
    """The verdict in a few words."""
    if report.state == "different":
        return counted(sum(t.differences for t in report.tables), "difference")
    if report.state == "repaired":
        return f"{counted(sum(t.repaired for t in report.tables), 'row')} repaired, not yet proved"
    return "Clean" if report.state == "clean" else "Not known"


def lead(report: Report) -> str:
    """The sentences under the headline."""
    said = {"clean": _clean, "different": _different, "unknown": _unknown, "repaired": _repaired}[report.state](report)
    if report.says_clean and report.state != "clean":
        said.append("The report calls itself clean; its figures do not.")
    return " ".join(said)


def _clean(report: Report) -> list[str]:
    rows, ranges = report.total("source"), sum(t.ranges["total"] for t in report.tables)
    rejected, flying = report.total("rejected"), report.total("in_flight")
    said = [f"Both sides are equal: {counted(rows, 'row')} of {counted(len(report.tables), 'table')} read in "
            f"{counted(ranges, 'range')}, with no difference and nothing left unread."]  # fmt: skip
    if rejected:
        said.append(f"{counted(rejected, 'row')} that the target cannot hold {'is' if rejected == 1 else 'are'} on record.")
    if flying:
        said.append(f"{counted(flying, 'row')} changed while {'it was' if flying == 1 else 'they were'} read.")
    return said


def _different(report: Report) -> list[str]:
    counts = [(kind, report.total(kind)) for kind in FINDINGS]
    parts = [f"{number(count)} {kind}" for kind, count in counts if count]
    wrong = [name(t.name) for t in report.tables if t.differences]
    of = wrong[0] if len(wrong) == 1 else f"{number(len(wrong))} of {counted(len(report.tables), 'table')}"
    said = [f"In {of}: {listed(parts)}."] if parts else []
    return said + (["And this is not all: " + _not_read(report)] if any(t.not_known for t in report.tables) else [])


def _unknown(report: Report) -> list[str]:
    if not report.tables:
        return ["Nothing was checked: the report has no table."]
    if any(t.not_known for t in report.tables):
        return ["No difference was found where both sides were read. " + _not_read(report), "Unknown is never clean."]
    return ["No difference was found, yet the report does not call itself clean."]


def _not_read(report: Report) -> str:
    """What is not known, and why."""
    ranges, rows = sum(t.ranges["unknown"] for t in report.tables), report.total("unknown")
    parts = [counted(n, noun) for n, noun in ((ranges, "range"), (rows, "row")) if n]
    broken = [name(t.name) for t in report.tables if t.problems]
    said = [f"{listed(parts)} could not be read."] if parts else []
    if broken:
        of = listed(broken) if len(broken) < 4 else counted(len(broken), "table")
        said.append(f"The figures of {of} prove nothing; see below.")
    return " ".join(said) or "Some rows could not be read."


def _repaired(report: Report) -> list[str]:
    return ["Nothing differs after the repair, but a pass with repairs is not a clean pass: only one without them proves it."]


def in_words(table: Table) -> str:
    """The verdict on one table."""
    parts = [f"{number(table.rows[kind])} {kind}" for kind in FINDINGS if table.rows[kind]]
    if table.differences and not parts:
        parts = [counted(table.differences, "difference")]
    unread = [counted(n, noun) for n, noun in ((table.rows["unknown"], "row"), (table.ranges["unknown"], "range")) if n]
    if unread:
        parts.append(f"{listed(unread)} not known")
    if table.problems:
        parts.append("figures that prove nothing")
    if table.repaired:
        parts.append(f"{number(table.repaired)} repaired")
    return listed(parts) if parts else "not known" if table.not_known else "clean"


def contents(report: Report) -> str:
    """The tables, each with its verdict, if there are several."""
    if len(report.tables) < 2:
        return ""
    entries = (
        f'<li>{sign(t.state)}<a href="#t{t.index}">{name(t.name)}</a> <span>{in_words(t)}</span></li>' for t in report.tables
    )
    return f'<nav aria-label="Tables"><ul class="contents">{"".join(entries)}</ul></nav>'


def next_steps(report: Report) -> str:
    """What to do, in that order."""
    steps = [step for step in (report.next_step, *_steps(report)) if step]
    return "".join(f"<li>{prose(step)}</li>" for step in dict.fromkeys(steps))


def _steps(report: Report) -> Sequence[str]:
    wrong = sum(t.differences for t in report.tables)
    unread = report.total("unknown") or any(t.ranges["unknown"] for t in report.tables)
    return [
        "Do not cut over on these figures. Run `sync drift-report` again; if they still contradict themselves, that is a "
        "defect of sync, and this file is what its report needs." if any(t.problems for t in report.tables) else "",
        "What could not be read may be anything. Make sure that both databases answer, then run `sync drift-report` again."
        if unread else "",
        "`sync drift-report --repair` reads every finding's key from the primary again, makes the other side equal, and "
        "checks it once more. Then run `sync drift-report`: a pass with repairs is not a clean one." if wrong else "",
        "`sync drift-report --show-values` adds both values to every finding. They may be private, and so is the file then."
        if wrong and not any("values" in f for t in report.tables for f in t.findings) else "",
        "`sync intents` shows the writes that were not reconciled; rows in flight are read again in the next pass."
        if report.total("in_flight") else "",
        "`sync rejects` lists the values that the target cannot hold. They need a decision before a cut-over."
        if report.total("rejected") else "",
        "Run `sync drift-report` again: only a pass without repairs proves it." if report.state == "repaired" else "",
        "`sync status` says what else stands in the way of the switch." if report.state == "clean" else "",
    ]  # fmt: skip


def title(report: Report) -> str:
    """The document's title: what a browser's tab and a mail's attachment list show."""
    return escape(f"{headline(report)} – sync drift report")
