"""How a source table maps onto its target, and everything that blocks it, found before anything is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sync.core.documents.collections import VECTOR_COLUMN
from sync.core.encode import UnsupportedPair, default_target, encoder_for
from sync.core.key_forms import key_encoder, key_note
from sync.core.rows import (
    ColumnPair,
    SourceColumn,
    SourceTable,
    TableMap,
    TableOptions,
    TargetColumn,
    TargetTable,
    has_counters,
)
from sync.core.schema import limits
from sync.core.schema.ddl import create_table, pg_quoted
from sync.core.schema.limits import MAX_NAME_BYTES
from sync.core.schema.static_rows import SUFFIX, has_rows


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to know about a table: an `error` forbids the migration, `blocks` forbids only its cut-over, which comes days
    later; a `warning` forbids nothing.
    """

    level: Literal["error", "blocks", "warning"]
    table: str
    text: str


def map_table(
    source: SourceTable, target: TargetTable | None, options: TableOptions
) -> tuple[TableMap | None, list[Problem]]:
    """The mapping and its problems; no mapping if one of them is an error."""
    problems = [*_source_problems(source, options), *_option_problems(source, options), *name_problems(source, options)]
    if target is None:
        problems.append(_error(source, _no_target(source, options)))
        return None, problems
    pairs: list[ColumnPair] = []
    carried = limits.migrated_columns(source, options)
    for column in carried:
        problems += _pair(source, column, target, options, pairs)
    names = {c.name: options.target_name(c) for c in carried}
    problems += _key_problems(source, target, names)
    problems += _target_problems(source, target, names, pairs)
    problems += _expiry_problems(source, target, options)
    if any(p.level == "error" for p in problems):
        return None, problems
    return TableMap(source, target, tuple(pairs), options.keep_ttl), problems


def _error(source: SourceTable, text: str) -> Problem:
    return Problem("error", source.name, text)


def _warning(source: SourceTable, text: str) -> Problem:
    return Problem("warning", source.name, text)


def _source_problems(source: SourceTable, options: TableOptions) -> Iterator[Problem]:
    if source.base:
        yield from _static_problems(source, options)
    if source.default_ttl and not options.keep_ttl and not options.expiry:
        yield _error(
            source,
            f"rows expire after {source.default_ttl} s (default_time_to_live) and would not in Postgres; "
            f"{ttl_choice(source)}",
        )
    if options.expiry and (has_counters(source) or not any(c.kind == "regular" for c in source.columns)):
        yield _error(
            source,
            'ttl = "expire" needs columns besides the key, and no counters: Cassandra does not report when others expire; '
            f"leave it out under {source.section} in sync.toml",
        )
    ignored = [c.name for c in source.columns if c.kind == "regular" and c.name in options.ignore]
    if options.expiry and ignored:
        yield _error(
            source,
            f'ttl = "expire" and ignored columns ({_list(ignored)}) do not go together: what is sent to Cassandra leaves '
            f"them as they are, so they would expire at another time; leave one of both out under {source.section}",
        )
    if has_counters(source) and not source.base:
        yield _warning(source, "counters are copied as the numbers they show, and are written by `increment` alone")


def _static_problems(source: SourceTable, options: TableOptions) -> Iterator[Problem]:
    """What a table of static columns cannot be."""
    if not has_rows(source):
        yield _error(source, f"all static columns of {source.base} are ignored, as sync.toml says")
    counters = [c.name for c in source.columns if c.type.name == "counter" and c.kind == "regular"]
    if counters:
        yield _error(
            source,
            f"static counters ({_list(counters)}) are not migrated: ignore = {json.dumps(counters)} under "
            f"{source.section} in sync.toml leaves them out",
        )
    if options.expiry:
        yield _error(
            source,
            f'ttl = "expire" is not there for static columns: ttl = "keep" under {source.section} in sync.toml keeps them '
            "for good, or ignore leaves them out",
        )


def ttl_choice(source: SourceTable) -> str:
    """What to set for a table whose rows expire."""
    if source.base:
        return f'set ttl = "keep" under {source.section} in sync.toml to keep them for good, or leave them out with ignore'
    return (
        f'set ttl = "expire" under {source.section} in sync.toml to have them expire there as well, or "keep" to keep '
        "them for good"
    )


def _option_problems(source: SourceTable, options: TableOptions) -> Iterator[Problem]:
    if options.collection != source.is_collection and (options.collection or options != TableOptions()):
        kind, other = ("collections", "tables") if source.is_collection else ("tables", "collections")
        yield _error(source, f"sync.toml names it under [{other}.{source.name}]; it belongs under [{kind}.{source.name}]")
    known = {c.name for c in source.columns} | ({VECTOR_COLUMN} if source.is_collection else set())
    for name in sorted((options.ignore | options.rename.keys() | options.on_reject.keys()) - known):
        yield _error(source, f"sync.toml names a column {name!r} that the source does not have")
    static = {c.name for c in source.columns if c.kind == "static"} if not source.base else set()
    section = f'[tables."{source.name}{SUFFIX}"]'
    for name in sorted((options.rename.keys() | options.on_reject.keys()) & static):
        yield _error(source, f"{name!r} is a static column: what sync.toml says of it belongs under {section}")
    keys = {c.name for c in source.primary_key}
    for name in sorted(options.ignore & keys):
        yield _error(source, f"sync.toml ignores {name!r}, which is part of the key")
    for name in sorted(options.on_reject.keys() & keys):
        if options.on_reject[name] != "reject":
            yield _error(
                source, f"{name!r} is part of the key: a changed key could overwrite another row; only 'reject' is allowed"
            )
    if wide := limits.too_wide(source, options):
        yield _warning(source, wide)
    ignored = options.ignore | (options.base_ignore & known)
    if ignored:
        yield _warning(source, f"not migrated, as sync.toml says: {_list(sorted(ignored))}")


def name_problems(source: SourceTable, options: TableOptions) -> Iterator[Problem]:
    """Names that Postgres cannot give a column or a table, and other reasons why it can have no such table."""
    yield from (_error(source, text) for text in limits.impossible(source, options))
    for column in limits.migrated_columns(source, options):
        name = options.target_name(column)
        if limits.reserved(name):
            yield _error(source, f"Postgres or this migration has its own column {name}; {_rename(source, column.name)}")
        elif limits.too_long(name):
            yield _error(source, f"{name} is longer than Postgres's {MAX_NAME_BYTES} bytes; {_rename(source, column.name)}")
    yield from _one_name(source, options)
    *schema, target = (options.target or source.name).split(".", 1)
    if schema == [limits.STATE_SCHEMA]:
        yield _error(source, "the schema sync belongs to the migration and is dropped with it; give the table another target")
    for name in filter(limits.too_long, (*schema, target)):
        yield _error(source, f"{name} is longer than Postgres's {MAX_NAME_BYTES} bytes; give the table another target")


def _one_name(source: SourceTable, options: TableOptions) -> Iterator[Problem]:
    filled = Counter(options.target_name(c) for c in limits.migrated_columns(source, options))
    for name in sorted(name for name, count in filled.items() if count > 1):
        fix = f"; name another expiry_column under {source.section} in sync.toml" if name == options.expiry else ""
        yield _error(source, f"two source columns go into {name}{fix}")


def _rename(source: SourceTable, column: str) -> str:
    return f"give {column!r} another name with rename under {source.section} in sync.toml"


def _no_target(source: SourceTable, options: TableOptions) -> str:
    name = options.target or source.name
    if any(limits.impossible(source, options)):
        return f"Postgres has no table {name}, and cannot have one"
    other = limits.other_names(source, options)
    named = limits.said(source, options, other)
    try:
        ddl = create_table(source, other.target or source.name, other)
        makes = f"with {named} `sync schema apply` makes it" if named else "`sync schema apply` makes it"
        return f"Postgres has no table {name}; {makes}, or make it yourself: {ddl}"
    except UnsupportedPair as error:
        return f"Postgres has no table {name}, and {error}"


def _pair(
    source: SourceTable, column: SourceColumn, target: TargetTable, options: TableOptions, pairs: list[ColumnPair]
) -> Iterator[Problem]:
    name = options.target_name(column)
    into = target.column(name)
    if into is None:
        yield _error(source, _missing_column(source, column, target, name))
    elif into.generated:
        yield _error(source, f"{name} is generated in Postgres and cannot take the source's {column.name}")
    else:
        try:
            if column.is_key:
                yield from _key_column(source, column, into)
            else:
                encoder_for(column.type, into.type)
        except UnsupportedPair as error:
            yield _error(source, f"{column.name}: {error}")
            return
        pairs.append(ColumnPair(column, into, options.on_reject.get(column.name, "reject")))


def _key_column(source: SourceTable, column: SourceColumn, into: TargetColumn) -> Iterator[Problem]:
    """Errors and warnings about a key column. Raises UnsupportedPair."""
    key_encoder(column, into.type)
    if not into.exact:
        yield _error(
            source,
            f"{into.name} is part of the key, and its collation is nondeterministic: it treats as equal what the source "
            f'distinguishes; ALTER TABLE … ALTER COLUMN {pg_quoted(into.name)} TYPE {into.type} COLLATE "C"',
        )
    note = key_note(column, into.type)
    if note:
        yield _warning(source, note)


def _missing_column(source: SourceTable, column: SourceColumn, target: TargetTable, name: str) -> str:
    fix = f'name another with rename, or ignore = ["{column.name}"] under {source.section} in sync.toml'
    if column.kind == "expiry":
        fix = f"name another one with expiry_column under {source.section} in sync.toml"
    try:
        kind = default_target(column.type)
    except UnsupportedPair as error:
        return f"{column.name}: {error}; {fix}"
    what = f"{column.name} ({column.type})" if column.kind != "expiry" else "when a row expires"
    return f"{what} has no column {name} in Postgres; `sync schema apply` adds it as {kind}; or {fix}"


def _key_problems(source: SourceTable, target: TargetTable, names: Mapping[str, str]) -> Iterator[Problem]:
    wanted = [names.get(c.name, c.name) for c in source.primary_key]
    if set(wanted) != set(target.primary_key):
        there = _list(target.primary_key) if target.primary_key else "none"
        yield _error(source, f"the primary key must be the source's ({_list(wanted)}); Postgres has {there}")


def _target_problems(
    source: SourceTable, target: TargetTable, names: Mapping[str, str], pairs: list[ColumnPair]
) -> Iterator[Problem]:
    filled = set(names.values())
    for column in target.columns:
        if column.name in filled or column.generated:
            continue
        if column.required:
            yield _error(source, f"{column.name} does not accept null, has no default, and the source has no such column")
        else:
            yield _warning(source, f"{column.name} is only in Postgres; it gets its default")
    for pair in pairs:
        if _may_be_null(pair):
            text = f"{pair.target.name} does not accept null; rows whose {pair.source.name} is null are rejected"
            yield _warning(source, text)


def _expiry_problems(source: SourceTable, target: TargetTable, options: TableOptions) -> Iterator[Problem]:
    """Whether the target says which of its columns is the expiry, by which stores find it when the migration is over."""
    name = options.expiry
    if not name or target.column(name) is None:
        return
    if target.expiry != name:
        yield _error(source, f"{name} is not marked as the moment at which a row expires: `sync schema apply` does that")
    elif target.default_ttl != source.default_ttl:
        yield _warning(
            source,
            f"default_time_to_live is {source.default_ttl} s; Postgres has {target.default_ttl} s on record for writes after "
            "the migration: `sync schema apply` records it",
        )


def _may_be_null(pair: ColumnPair) -> bool:
    return pair.target.not_null and pair.source.kind == "regular"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
