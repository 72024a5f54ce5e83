"""`sync preflight`."""

from __future__ import annotations

import argparse

from sync.commands.context import load
from sync.console import out, print_json, print_table
from sync.flows.preflight import PreflightReport
from sync.wiring.preflight import preflight


def run(args: argparse.Namespace) -> int:
    """Look at all three servers and print what was found."""
    report = preflight(*load(), write_times=args.write_times)
    if args.json:
        print_json(report.to_json())
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
    out.print("\nFlows")
    for flow, why in report.flows.items():
        said = "possible" if not why else f"not possible: {'; '.join(why)}"
        out.print(f"{flow:21}  {said}", markup=False, soft_wrap=True)
    if report.problems:
        out.print("\nProblems")
    for problem in report.problems:  # a line each, whatever its length: people search for them
        out.print(f"{problem.level:7}  {problem.table}: {problem.text}", markup=False, soft_wrap=True)
    ready = "Ready to copy; the problems above block the cut-over." if report.blocked else "Ready."
    out.print(f"\n{ready}" if report.ok else "\nNot ready: fix the errors above first.", markup=False)
