"""`sync preflight`."""

from __future__ import annotations

import argparse
from collections import Counter

from sync.commands.context import load
from sync.console import out, print_json, print_table, say
from sync.core.words import counted
from sync.flows.preflight import PreflightReport
from sync.wiring.preflight import preflight


def run(args: argparse.Namespace) -> int:
    """Look at all three servers and print what was found."""
    report = preflight(*load(), write_times=args.write_times)
    if args.json:
        print_json(report.to_json())
        say(_verdict(report))
    else:
        show(report)
    return 0 if report.ok else 1


def show(report: PreflightReport) -> None:
    """Print the report: servers, columns, what blocks it."""
    for line in report.servers:
        out.print(line, markup=False, soft_wrap=True)
    for table in report.tables:
        rows = [(p.source.name, p.source.type, "→", p.target.name, p.target.type) for p in table.pairs]
        print_table(
            f"\n{table.name} → {table.target.schema}.{table.target.name}", ("source", "type", "", "target", "type"), rows
        )
    if report.to_make:
        out.print("\n`sync schema apply` would make (its --dry-run prints every statement)", markup=False, soft_wrap=True)
    for kind, name in report.to_make:
        out.print(f"{kind:9}  {name}", markup=False, soft_wrap=True)
    out.print("\nFlows")
    for flow, why in report.flows.items():
        said = "possible" if not why else f"not possible: {'; '.join(why)}"
        out.print(f"{flow:21}  {said}", markup=False, soft_wrap=True)
    if report.problems:
        out.print("\nProblems")
    for problem in report.problems:  # a line each, whatever its length: people search for them
        out.print(f"{problem.level:7}  {problem.table}: {problem.text}", markup=False, soft_wrap=True)
    out.print(f"\n{_verdict(report)}", markup=False)


def _verdict(report: PreflightReport) -> str:
    levels = Counter(problem.level for problem in report.problems)
    if not report.ok:
        return f"Not ready: {counted(levels['error'], 'error')} to fix first."
    if report.blocked:
        return f"Ready to copy; {counted(levels['blocks'], 'problem')} will block the cut-over."
    return "Ready."
