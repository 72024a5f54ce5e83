"""A drift report as tables for people, and its findings as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from sync.console import duration, out, print_table
from sync.core.drift.compare import FIGURES
from sync.core.drift.verdicts import FINDINGS
from sync.core.visible import key_text
from sync.core.words import counted, listed

_SHOWN = 20
_ANNOUNCED = "announced: a follower has told of it meanwhile"
_COLUMNS = ("table", "kind", "key", "columns", "source_version", "target_version", "repaired", "error")


def show_report(report: dict[str, Any]) -> None:
    """The verdict first, then the figures, then the first findings, then what to do."""
    out.print(verdict(report), markup=False)
    names = [n for n in FIGURES if n != "kept" or any(t["rows"][n] for t in report["tables"])]
    header = ("table", *(n.replace("_", " ") for n in names), "ranges equal", "rows/s")
    print_table("\nRows", header, [_row(t, names) for t in report["tables"]])
    _show_findings(report)
    if report["search"]:
        _show_search(report["search"])
    for table in report["tables"]:
        for error in table["errors"][:3]:
            out.print(f"{table['table']}: {error}", markup=False)
    out.print(f"\nnext: {report['next_step']}", markup=False)


def verdict(report: dict[str, Any]) -> str:
    """In a line whether both sides are equal, and what was found if they are not."""
    seconds = max((t["seconds"] for t in report["tables"]), default=0.0)
    said = f"{'Equal' if report['clean'] else 'NOT proved equal'} (pass {report['pass']}, {duration(seconds)})"
    findings = _count(report)
    unknown = sum(t["ranges"]["unknown"] for t in report["tables"])
    repaired = sum(t["repaired"] for t in report["tables"])
    parts = [counted(findings, "finding")] if findings else []
    parts += [f"{counted(unknown, 'range')} unknown"] if unknown else []
    parts += [f"{repaired:,} repaired"] if repaired else []
    return f"{said}: {listed(parts)}" if parts else said


def _show_search(found: list[dict[str, Any]]) -> None:
    shares = ("overlap", "source_recall", "target_recall")
    rows = [(s["table"], s["column"], s["searches"], *(_share(s[n]) for n in shares), s["note"]) for s in found]
    header = ("table", "column", "searches", "overlap", "source recall", "target recall", "")
    print_table(f"\nVector search, top {found[0]['k']}", header, rows)


def _row(table: dict[str, Any], names: Sequence[str]) -> tuple[object, ...]:
    ranges, rows, seconds = table["ranges"], table["rows"], table["seconds"]
    rate = round(rows["source"] / seconds) if seconds else 0
    return (table["table"], *(rows[n] for n in names), f"{ranges['same']}/{ranges['total']}", rate)


def _show_findings(report: dict[str, Any]) -> None:
    found = list(_findings(report))
    if not found:
        return
    print_table(_findings_title(_count(report), min(len(found), _SHOWN)), _COLUMNS, found[:_SHOWN])
    for table in report["tables"]:
        for finding in table["findings"][:_SHOWN]:
            if finding.get("values"):
                out.print(f"{_key(finding)}: {finding['values']}", markup=False)


def _count(report: dict[str, Any]) -> int:
    return sum(table["rows"][kind] for table in report["tables"] for kind in FINDINGS)


def _findings_title(total: int, shown: int) -> str:
    return f"\n{counted(total, 'finding')}" + (", the first of them" if total > shown else "")


def _findings(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for table in report["tables"]:
        for f in table["findings"]:
            versions = (_version(f["source_version"]), _version(f["target_version"]))
            yield (table["table"], f["kind"], _key(f), " ".join(f["columns"]), *versions,
                   "yes" if f["repaired"] else "no", f.get("error") or _ANNOUNCED * bool(f.get("announced")))  # fmt: skip


def _key(finding: dict[str, Any]) -> str:
    return key_text(finding["key"])


def _version(version: int | None) -> str:
    return "-" if version is None else str(version)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def as_csv(report: dict[str, Any]) -> str:
    """The findings, a line each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(_findings(report))
    return text.getvalue()


def show_history(passes: list[dict[str, Any]]) -> None:
    """The recorded passes as a table."""
    names = ("source", "missing", "extra", "different", "in_flight", "unknown")
    header = ("pass", "finished", "verdict", *(n.replace("_", " ") for n in names), "repaired", "tables")
    rows = []
    for p in passes:
        sums = [sum(t["rows"][n] for t in p["tables"]) for n in names]
        tables = " ".join(t["table"] for t in p["tables"])
        verdict = "equal" if p["clean"] else "not equal"
        rows.append((str(p["pass"]), p["finished_at"][:19], verdict, *sums, p["repaired"], tables))
    print_table(counted(len(passes), "pass", "passes"), header, rows)
