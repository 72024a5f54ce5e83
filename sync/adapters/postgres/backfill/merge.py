"""The merge of a backfill: only keys with no row, no tombstone and no intent are inserted (rules 18 and 19)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from psycopg import sql

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pooled import Pooled
from sync.adapters.postgres.connection.refusals import NO_REFUSAL
from sync.adapters.postgres.schema.catalogue import identifier
from sync.adapters.postgres.schema.expiry import expiry_column, moment
from sync.adapters.postgres.schema.row_digest_sql import canonical
from sync.core.encode.rows import TOKEN_COLUMN, VERSION_COLUMN, RowEncoder
from sync.core.expiry import TOLERANCE_MS
from sync.core.rows import TableMap
from sync.ports import Lease

_INSERT = """
INSERT INTO {target} ({columns})
SELECT {columns} FROM {stage} AS s
WHERE NOT EXISTS (SELECT FROM sync.tombstone AS t WHERE t.table_name = {name} AND sha256(t.key) = {digest} AND t.key = {key})
  AND NOT EXISTS (SELECT FROM sync.intent AS i WHERE i.table_name = {name} AND sha256(i.key) = {digest} AND i.key = {key})
  AND NOT EXISTS (SELECT FROM sync.partition_tombstone AS p WHERE p.table_name = {name} AND p.token = s.{token})
  AND {which}
ON CONFLICT ({primary_key}) DO NOTHING
"""
# Each staged row in a subtransaction of its own. A refused row is returned with its place and the reason, and leaves the
# stage; the last row, without a place, says how many were inserted.
_SINGLY = """
#variable_conflict use_column
DECLARE
    _sync_row record;
    _sync_count bigint;
    _sync_sum bigint := 0;
BEGIN
    FOR _sync_row IN SELECT ctid AS id, row_number() OVER (ORDER BY ctid) - 1 AS place FROM {stage} ORDER BY ctid LOOP
        BEGIN
            {insert};
            GET DIAGNOSTICS _sync_count = ROW_COUNT;
            _sync_sum := _sync_sum + _sync_count;
        EXCEPTION WHEN OTHERS OR assert_failure THEN
            IF SQLSTATE ~ {no_refusal} THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS _sync_reason = MESSAGE_TEXT, _sync_column = COLUMN_NAME;
            _sync_place := _sync_row.place;
            DELETE FROM {stage} WHERE ctid = _sync_row.id;
            RETURN NEXT;
        END;
    END LOOP;
    _sync_place := NULL;
    _sync_written := _sync_sum;
    RETURN NEXT;
END
"""
_SINGLY_FUNCTION = """
CREATE OR REPLACE FUNCTION pg_temp.sync_insert_singly()
RETURNS TABLE (_sync_place bigint, _sync_written bigint, _sync_reason text, _sync_column text) LANGUAGE plpgsql AS {body}
"""
# A skipped key that has no row, or whose content differs, must be read again.
_DIFFER = """
SELECT {key}, s.{token} FROM {stage} AS s LEFT JOIN {target} AS t ON ({same_key})
WHERE (({same_key}) IS NOT TRUE OR {staged} <> {there} OR {expire_apart})
  AND NOT EXISTS (  -- a key is read again once, however often it was skipped
      SELECT FROM sync.intent AS i
      WHERE i.table_name = {name} AND sha256(i.key) = {digest} AND i.key = {key}
        AND i.kind = 'recheck' AND i.state = 'finished')
"""
_RECHECK = b"""
INSERT INTO sync.intent (table_name, key, source_key, token, kind, state, version, epoch, owner)
SELECT %(table)s, k.key, k.source_key, k.token, 'recheck', 'finished', %(floor)s,
       (SELECT max(epoch) FROM sync.epoch), %(owner)s
FROM unnest(%(keys)s::bytea[], %(source_keys)s::bytea[], %(tokens)s::bigint[]) AS k (key, source_key, token)
ON CONFLICT DO NOTHING
"""
# Rows that were there before the migration have no token: they get one, so that their range's digest includes them.
_ADOPT = """
UPDATE {target} AS t SET {token} = s.{token}, {version} = coalesce(t.{version}, {floor})
FROM {stage} AS s WHERE {same_key} AND t.{token} IS NULL
"""


def _expire_apart(column: str) -> sql.Composed:
    """Whether the staged row and the one that is there expire at different moments."""
    apart = "coalesce(abs({0} - {1}) > {2}, ({0} IS NULL) <> ({1} IS NULL))" if column else "false"
    return sql.SQL(apart).format(moment(column, "s"), moment(column, "t"), TOLERANCE_MS)


class Merge:
    """The stage of one table and the statements that merge it; all within the caller's transaction."""

    def __init__(self, connection: Connection, table: TableMap, encoder: RowEncoder) -> None:
        self._connection, self._name = connection, table.name
        self.stage = f"sync_stage_{table.name}"[:63]  # the source's name: two targets may share one in different schemas
        keys = encoder.pairs[: encoder.key_count]
        self._parts = {
            "target": identifier(table.target),
            "stage": sql.Identifier("pg_temp", self.stage),
            "columns": sql.SQL(", ").join(map(sql.Identifier, encoder.copy_columns)),
            "name": sql.Literal(table.name),
            "key": canonical(keys, "s"),
            "digest": sql.SQL("sha256({})").format(canonical(keys, "s")),
            "primary_key": sql.SQL(", ").join(sql.Identifier(k) for k in table.target.primary_key),
            "token": sql.Identifier(TOKEN_COLUMN),
            "version": sql.Identifier(VERSION_COLUMN),
            "same_key": sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(k.target.name)) for k in keys),
            "staged": canonical(encoder.compared, "s"),
            "there": canonical(encoder.compared, "t"),
            "expire_apart": _expire_apart(expiry_column(encoder)),
        }

    def clear_stage(self) -> None:
        """Empty the stage, or create it if this connection has none yet."""
        stage = self._parts["stage"]
        # With the columns alone: a target's defaults, checks and generated columns have no place here. Each time, since a
        # rollback removes it.
        made = "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT {} AS SELECT {} FROM {} WITH NO DATA"
        # Through a pooler, others use the session as well: nothing may stay in it.
        end = sql.SQL("DROP" if isinstance(self._connection, Pooled) else "DELETE ROWS")
        self._connection.execute(sql.SQL(made).format(stage, end, self._parts["columns"], self._parts["target"]))
        self._connection.execute(sql.SQL("DELETE FROM {}").format(stage))

    def insert(self) -> int:
        """Insert what is missing; returns how many rows. A conflict on another unique index raises UniqueViolation."""
        return self._connection.execute(self._insert(sql.SQL("true"))).rowcount

    def insert_singly(self) -> tuple[int, list[tuple[int, str, str]]]:
        """Insert what is missing, row by row; returns how many, and the refused ones: place in the stage, reason, column."""
        one = self._insert(sql.SQL("s.ctid = _sync_row.id"))
        parts = {"stage": self._parts["stage"], "insert": one, "no_refusal": sql.Literal(NO_REFUSAL)}
        body = sql.SQL(_SINGLY).format(**parts).as_string(self._connection)
        self._connection.execute(sql.SQL(_SINGLY_FUNCTION).format(body=sql.Literal(body)))
        *refused, total = self._connection.execute("SELECT * FROM pg_temp.sync_insert_singly()").fetchall()
        self._connection.execute("DROP FUNCTION pg_temp.sync_insert_singly()")
        return int(total[1]), [(int(place), str(reason), str(column)) for place, _, reason, column in refused]

    def _insert(self, which: sql.SQL) -> sql.Composed:
        return sql.SQL(_INSERT).format(**self._parts, which=which)

    def recheck_skipped(self, lease: Lease, source_keys: Callable[[], Mapping[bytes, bytes]]) -> int:
        """Give tokens to rows without one; leave a recheck intent for each staged key that differs; returns how many are new.

        `source_keys` returns the source's own keys of what was staged, packed, by their canonical bytes.
        """
        self._connection.execute(sql.SQL(_ADOPT).format(**self._parts, floor=sql.Literal(lease.floor)))
        differ = self._connection.execute(sql.SQL(_DIFFER).format(**self._parts)).fetchall()
        if not differ:
            return 0
        known = source_keys()
        values = {
            "table": self._name,
            "keys": [key for key, _ in differ],
            "source_keys": [known.get(bytes(key)) for key, _ in differ],
            "tokens": [token for _, token in differ],
            "floor": lease.floor,
            "owner": f"backfill run {lease.run_id}",
        }
        return self._connection.execute(_RECHECK, values).rowcount
