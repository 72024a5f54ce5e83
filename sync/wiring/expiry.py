"""Whether a table's rows are to expire, which they would not in Postgres by themselves."""

from __future__ import annotations

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.schema.ttl import columns_without_ttl, expiring_columns
from sync.core.rows import SourceTable
from sync.core.schema.mapping import Problem, ttl_choice
from sync.flows.preflight import PreflightReport


def check_expiry(cassandra: Cassandra, table: SourceTable, expiry: str, report: PreflightReport) -> None:
    """Note values that were written with a TTL, and columns for which the server does not report one.

    `expiry`: the target's column for it, which needs a server that reports every TTL; empty if there is none.
    """
    try:
        expiring, silent = ([] if expiry else expiring_columns(cassandra, table)), columns_without_ttl(cassandra, table)
    except (DriverException, NoHostAvailable) as error:
        report.problems.append(Problem("warning", table.name, f"could not look for TTLs: {explain(error)}"))
        return
    if expiry:
        if silent:
            report.error(table.name, f'{_silent(silent)}: ttl = "expire" needs Cassandra 5, or tables without such columns')
        return
    if expiring:
        report.error(
            table.name,
            f"values of {', '.join(expiring)} were written with a TTL: they expire in Cassandra and would not in Postgres; "
            f"{ttl_choice(table)}",
        )
    elif not any(c.kind == "regular" for c in table.columns):
        silent = ["a row of nothing but a key"]
    if silent and not table.default_ttl:
        keep = f'ttl = "keep" under {table.section} in sync.toml says that this is intended'
        problem = f"{_silent(silent)}: what expires in Cassandra stays in Postgres until a drift report finds it; {keep}"
        report.problems.append(Problem("warning", table.name, problem))


def _silent(columns: list[str]) -> str:
    return f"this server does not report whether {', '.join(columns)} was written with a TTL"
