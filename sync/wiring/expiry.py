"""Whether a table's rows are to expire, which they would not in Postgres."""

from __future__ import annotations

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.schema.ttl import columns_without_ttl, expiring_columns
from sync.core.rows import SourceTable
from sync.core.schema.mapping import Problem
from sync.flows.preflight import PreflightReport


def check_expiry(cassandra: Cassandra, table: SourceTable, report: PreflightReport) -> None:
    """Note values that were written with a TTL, and columns for which the server does not report one."""
    keep = f'ttl = "keep" under [tables.{table.name}] in sync.toml'
    try:
        expiring, silent = expiring_columns(cassandra, table), columns_without_ttl(cassandra, table)
    except (DriverException, NoHostAvailable) as error:
        report.problems.append(Problem("warning", table.name, f"could not look for TTLs: {explain(error)}"))
        return
    if expiring:
        report.error(
            table.name,
            f"values of {', '.join(expiring)} were written with a TTL: they expire in Cassandra and would not in Postgres; "
            f"set {keep} to keep them for good",
        )
    elif not any(c.kind == "regular" for c in table.columns):
        silent = ["a row of nothing but a key"]
    if silent and not table.default_ttl:
        text = (
            f"this server does not report whether {', '.join(silent)} was written with a TTL: what expires in Cassandra stays"
        )
        problem = f"{text} in Postgres until a drift report finds it; {keep} says that this is intended"
        report.problems.append(Problem("warning", table.name, problem))
