"""Each rule of the protocol taken out once: which file says it, what stands there without it, and the test that must fail."""

from __future__ import annotations

from dataclasses import dataclass

LONG, SCALE = "tests/integration/test_long_keys.py", "tests/integration/test_state_scale.py"
JOURNAL, SETTLING = "sync/adapters/postgres/dual_write/sql/journal.sql", "sync/adapters/postgres/dual_write/sql/reconcile.sql"
WRITES, RECONCILES = "tests/integration/test_dual_write_rules.py", "tests/integration/test_reconcile_rules.py"
WRAPPED = "tests/integration/test_wrapped_store.py"
RESOLVES, POISON = "tests/integration/test_intent_resolution.py", "tests/integration/test_poison_keys.py"
SIGHT = "tests/integration/test_source_visibility.py"
AHEAD = "tests/integration/test_write_times.py"
BACKFILLS = "tests/integration/test_backfill_rules.py"
REVERSE = "sync/adapters/postgres/dual_write/sql/reverse.sql"
API, API_FAULTS = "tests/integration/test_api_cutover.py", "tests/integration/test_api_faults.py"
REVERSES, SWITCHES = "tests/integration/test_reverse_rules.py", "tests/integration/test_cutover_rules.py"
KEYS = "tests/integration/test_key_forms.py"
POOLER = "tests/integration/test_pooler.py"
OLD = "tests/integration/test_old_cassandra.py"
SUSPENDED = "tests/integration/test_suspended_writers.py"
EPOCHS, EPOCH_LOCK = "tests/integration/test_epoch_lock.py", "sync/adapters/postgres/connection/epoch_lock.py"

WITNESS, ENDED = "tests/unit/test_witness.py", "tests/integration/test_ended_writers.py"
BEATS = "tests/integration/test_heartbeats.py"
PROCESSES = "tests/integration/test_store_processes.py"

CANARY, DATA_CENTRES = "tests/integration/test_canary.py", "tests/integration/test_data_centres.py"

DRIFT, AGE = "sync/adapters/postgres/drift/sql/drift.sql", "tests/integration/test_drift_age.py"
KEPT = "tests/integration/test_expired_rows.py"
CLAIMS, COUNTERS = "sync/adapters/postgres/dual_write/sql/counters.sql", "tests/integration/test_counter_faults.py"
EXPIRE, TTL = "tests/integration/test_rows_expire.py", "tests/integration/test_put_with_ttl.py"
INSERTS, INSERT = "sync/adapters/cassandra/rows/inserts.py", "tests/integration/test_insert.py"
PARTITIONS, DELETES = "sync/adapters/postgres/dual_write/sql/partitions.sql", "tests/integration/test_partition_deletes.py"
DELETING, ENDING = "sync/adapters/postgres/dual_write/partitions.py", "sync/flows/partition_deletes.py"
STATIC = "tests/integration/test_static_tables.py"
HELD, TRANSACTIONS = "sync/adapters/postgres/connection/held.py", "tests/integration/test_transactions.py"
FEEDS, EXPANDING = "sync/adapters/postgres/capture/sql/feeds.sql", "sync/flows/partition_rechecks.py"
ANNOUNCED, ANNOUNCES = "sync/adapters/postgres/capture/announced.py", "tests/integration/test_announcements.py"
FOLLOWERS_GATE = "tests/unit/test_gate_of_followers.py"
RECHECKS, FOLLOWERS = "tests/integration/test_partition_rechecks.py", "tests/integration/test_followers_at_a_cutover.py"
STATE_SQL, SQL_WRITERS = "migrations/003_sync_state.sql", "tests/integration/test_sql_writers.py"
TRIGGERS = "sync/adapters/postgres/schema/sql/sql_writers.sql"
CHANGES = "sync/adapters/postgres/dual_write/sql/sql_changes.sql"
SQL_CHANGES = "tests/integration/test_sql_changes.py"
ARRAYS, MANY = "sync/adapters/postgres/dual_write/sql/arrays.sql", "tests/integration/test_many_keys.py"
PARTITION_RECHECKS, CALLS = (
    "sync/adapters/postgres/capture/sql/partitions.sql",
    "tests/integration/test_wrapped_partitions.py",
)
SHARED_PUTS, SHARED = "sync/flows/shared_puts.py", "tests/unit/test_shared_puts.py"
SHARED_THERE, GATHERING = "tests/integration/test_shared_batches.py", "sync/flows/gathering.py"
TASK_PUTS, TASKS, PUTS = "sync/stores/both_sides/task_puts.py", "tests/unit/test_task_puts.py", "tests/unit/test_puts.py"
FAST, AGREED = "tests/switches/test_fast_rollback.py", "tests/integration/test_agreement.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` becomes `new` in `file`; then `test` (pytest's -k) of `tests` fails."""

    rule: str
    without: str
    file: str
    old: str
    new: str
    tests: str
    test: str


MUTANTS = (
    Mutant(
        "1", "the version of a reconciled key is what was read", "sync/core/versions.py",
        "return min(max(read, removed, bound + 1), MAX_VERSION)", "return read", WRITES, "rule_1_",
    ),
    Mutant(
        "2", "a stamp is the clock alone", JOURNAL,
        "greatest(%(clock)s, %(above)s, e.floor, 1 + least(coalesce(known.version, 0), {most}))", "greatest(%(clock)s, %(above)s, e.floor)", WRITES, "rule_2_a_stamp",
    ),
    Mutant(
        "2", "no slot in the low digits", JOURNAL,
        "need + ((%(slot)s - need) %% 1000 + 1000) %% 1000", "need + 0 * %(slot)s::bigint", WRITES, "rule_2_stamps_of_two",
    ),
    Mutant("3", "no floor", JOURNAL, "greatest(%(clock)s, %(above)s, e.floor, 1", "greatest(%(clock)s, %(above)s, 1", WRITES, "rule_3_no_stamp"),
    Mutant(
        "3", "any clock may stamp", JOURNAL,
        "AND %(clock)s <= clock.now + %(skew)s ", "AND need IS DISTINCT FROM %(skew)s::bigint ", WRITES, "rule_3_a_clock",
    ),
    Mutant(
        "3", "a row that is ahead is taken for a clock that is", JOURNAL,
        "AND %(clock)s <= clock.now + %(skew)s ", "AND need <= clock.now + %(skew)s ", AHEAD, "a_row_ahead_of_the_clock",
    ),
    Mutant(
        "2", "a stamp does not know of cells of the future", JOURNAL,
        "        UNION ALL SELECT version FROM sync.ahead WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s\n", "",
        AHEAD, "a_row_ahead_of_the_clock",
    ),
    Mutant(
        "2", "what a copy reads of write times is not recorded", "sync/adapters/postgres/backfill/loader.py",
        "if ahead and self._note_ahead:", "if False:", AHEAD, "whichever_way",
    ),
    Mutant(
        "4", "an update that leaves its nulls out", "sync/adapters/cassandra/rows/rows.py",
        "        # An update, too,", "        if any(cell is None for cell in mutation.cells.values()):\n"
        "            kept = {n: c for n, c in mutation.cells.items() if c is not None}\n"
        "            mutation = Mutation(mutation.kind, mutation.key, kept)\n        # An update, too,", WRITES, "rule_4_",
    ),
    Mutant(
        "4", "a row of static columns without a value", "sync/core/schema/static_rows.py",
        "    if base_of(table) and all(value is None", "    if not table and all(value is None", STATIC, "what_no_store_takes",
    ),
    Mutant(
        "4", "a partition without static columns is a row", "sync/core/schema/static_rows.py",
        "    if table.base:\n        return tuple(c.name for c in table.columns if c.kind == \"regular\")\n",
        "    if table.base:\n        return ()\n", STATIC, "every_kind_arrive",
    ),
    Mutant(
        "4", "a delete of a partition's rows takes its static columns",
        "sync/adapters/cassandra/rows/partition_deletes.py",
        "if self._has_static and not mutation.cells and", "if not self._keys and", STATIC, "leaves_its_static_columns",
    ),
    Mutant(
        "5", "no lock before the statement that reads", "sync/adapters/postgres/dual_write/journal.py",
        "                lock_key(connection, self._table, mutation.key)\n", "", WRITES, "rule_5_",
    ),
    Mutant(
        "6", "a put does not look at the tombstone", JOURNAL,
        "    WHERE NOT EXISTS (\n        SELECT FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s "
        "AND version >= %(version)s)\n", "", WRITES, "rule_6_",
    ),
    Mutant(
        "6", "a put does not look at the row's version", JOURNAL,
        "DO UPDATE SET {set_excluded}\n    WHERE coalesce({version}, 0) < %(version)s\n", "DO UPDATE SET {set_excluded}\n",
        WRITES, "rule_6_a_put_older_than_the_row",
    ),
    Mutant(
        "7", "an update does not look at the row's version", JOURNAL,
        "    WHERE {same_key} AND coalesce({version}, 0) < %(version)s\n    RETURNING 1\n), {settle}\n\n-- delete",
        "    WHERE {same_key}\n    RETURNING 1\n), {settle}\n\n-- delete", WRITES, "rule_7_",
    ),
    Mutant(
        "8", "a delete does not look at the row's version", JOURNAL,
        "    WHERE NOT EXISTS (SELECT FROM {target} AS t WHERE {same_key} AND coalesce({version}, 0) > %(version)s)\n", "",
        WRITES, "rule_8_a_delete_older",
    ),
    Mutant(
        "8", "a delete of no row leaves no tombstone", JOURNAL,
        "    SELECT %(table)s, %(key)s, %(token)s, %(version)s FROM allowed\n",
        "    SELECT %(table)s, %(key)s, %(token)s, %(version)s FROM allowed\n"
        "    WHERE EXISTS (SELECT FROM {target} AS t WHERE {same_key})\n", WRITES, "rule_8_a_delete_is_remembered",
    ),
    Mutant(
        "9", "a delete does not hold its range", "sync/adapters/postgres/dual_write/journal.py",
        '                    connection.execute(_SQL["share_range"], self._parameters.key(mutation.key))\n',
        "                    pass\n", RECONCILES, "rule_9_a_delete",
    ),
    Mutant(
        "9", "a reconcile that finds no row does not hold its range", "sync/adapters/postgres/dual_write/reconcile.py",
        '        connection.execute(_SQL["share_ranges"], tokens)\n', "", RECONCILES, "rule_9_a_reconcile",
    ),
    Mutant(
        "10", "a put takes the tombstone away", JOURNAL,
        "-- put: the guarded write of a whole row, with its intent (rules 6 and 12)\nWITH mine AS (",
        "-- put: the guarded write of a whole row, with its intent (rules 6 and 12)\nWITH forgotten AS (\n"
        "    DELETE FROM sync.tombstone WHERE table_name = %(table)s AND sha256(key) = sha256(%(key)s) AND key = %(key)s AND version < %(version)s\n), mine AS (",
        WRITES, "rule_10_",
    ),
    Mutant(
        "15a", "open intents of writers that live are taken", SETTLING,
        "(i.state <> 'open' OR %(open_too)s AND (NOT EXISTS (", "(%(open_too)s OR %(open_too)s AND (NOT EXISTS (",
        RECONCILES, "rule_15a",
    ),
    Mutant(
        "11", "the primary is written before the intent", "sync/flows/dual_write.py",
        "            intent = self.journal.open(mutation, self._accepted(mutation))\n",
        "            self.primary.write(mutation, self.write_behind.stamp(mutation.key))\n"
        "            intent = self.journal.open(mutation, self._accepted(mutation))\n", WRITES, "rule_11_the_intent",
    ),
    Mutant(
        "12", "a write whose intent is gone is done", JOURNAL,
        "    SELECT id FROM mine\n    WHERE NOT EXISTS", "    SELECT %(intent)s AS id\n    WHERE NOT EXISTS",
        WRITES, "rule_12_a_write_whose_intent_is_gone",
    ),
    Mutant(
        "12", "a refused write's intent goes, too", JOURNAL,
        " AND EXISTS (SELECT FROM written)\n), kept AS (\n    UPDATE sync.intent SET state = 'finished' "
        "WHERE id IN (SELECT id FROM mine) AND NOT EXISTS (SELECT FROM written)\n)", "\n)", WRITES, "rule_12_a_refused",
    ),
    Mutant(
        "13", "a claimed intent may be taken back", JOURNAL,
        "DELETE FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) AND state = 'open'", "DELETE FROM sync.intent WHERE id = ANY (%(intents)s::bigint[])",
        WRITES, "rule_13_what_a_reconcile",
    ),
    Mutant(
        "13", "a timeout is taken for refused", "sync/flows/dual_write.py",
        'if outcome == "refused":\n            self.withdraw', 'if outcome != "written":\n            self.withdraw',
        WRITES, "rule_13_a_time_out",
    ),
    Mutant(
        "14", "a write without intent is not remembered", "sync/flows/dual_write.py",
        "                self.write_behind.add_unrecorded(self.journal, mutation, version, state)\n", "                pass\n", WRITES,
        "rule_14_a_write_without",
    ),
    Mutant(
        "15b", "what is unsure is not sent again", "sync/flows/reconcile.py",
        "for replay in picked.replay:", "for replay in picked.replay[:0]:", RECONCILES, "rule_15b_what",
    ),
    Mutant(
        "15b", "a repetition that is refused is done", "sync/flows/reconcile.py",
        'if outcome == "refused":\n                raise', 'if outcome == "refused" and False:\n                raise', RECONCILES,
        "rule_15b_a_repetition_that",
    ),
    Mutant(
        "15b", "it is sent again with a new timestamp", "sync/flows/reconcile.py",
        "outcome, error = self.primary.write_again(replay)",
        "outcome, error = self.primary.write(replay.mutation, replay.version + 10_000_000)", RECONCILES, "rule_15b_it_is_sent",
    ),
    Mutant(
        "15b", "a list is sent again as it was", "sync/adapters/cassandra/rows/rows.py",
        "        if not lists:\n", "        if lists is not None:\n", RECONCILES, "rule_15b_a_list",
    ),
    Mutant(
        "15b", "repetitions of a list that share a timestamp follow at once", "sync/adapters/cassandra/rows/rows.py",
        " and replay.waited < UNREPEATABLE_WINDOW_SECONDS", " and replay.waited < 0", RECONCILES, "rule_15b_repetitions",
    ),
    Mutant(
        "15d", "what changed since it was claimed is not looked at", JOURNAL,
        "    SELECT 1 WHERE (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key})\n"
        "            IS NOT DISTINCT FROM %(row_version)s::bigint\n"
        "        AND {tombstone} IS NOT DISTINCT FROM %(tombstone)s::bigint\n",
        "    SELECT 1 WHERE %(row_version)s::bigint IS NOT DISTINCT FROM %(row_version)s::bigint\n"
        "        AND %(tombstone)s::bigint IS NOT DISTINCT FROM %(tombstone)s::bigint\n", RECONCILES, "rule_15d_what",
    ),
    Mutant(
        "15d", "all intents of the key are removed", JOURNAL,
        "DELETE FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) AND EXISTS (SELECT FROM same)",
        "DELETE FROM sync.intent WHERE (id = ANY (%(intents)s::bigint[]) OR key = %(key)s) AND EXISTS (SELECT FROM same)",
        RECONCILES, "rule_15d_only",
    ),
    Mutant(
        "15d", "a reconcile whose intents are gone goes on", JOURNAL,
        "        AND EXISTS (SELECT FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]))\n", "", RECONCILES, "rule_15d_nothing",
    ),
    Mutant(
        "16", "a hot key is tried on and on", "sync/flows/reconcile.py",
        "            done += self._hot(key, failed)\n", '            failed(key, "it changes all the time")\n', RECONCILES, "rule_16_a_key",
    ),
    Mutant(
        "17", "no window for what cannot be sent again", "sync/core/versions.py",
        "UNREPEATABLE_WINDOW_SECONDS = 60", "UNREPEATABLE_WINDOW_SECONDS = 0",
        WRAPPED, "rule_17_a_call_that_failed_is",
    ),
    Mutant(
        "17", "the window begins with the announcement", SETTLING,
        "coalesce(i.ended_at, i.created_at)", "i.created_at", WRAPPED, "rule_17_the_window",
    ),
    Mutant(
        "17", "a call ended when it was announced", SETTLING,
        "(SELECT w.heartbeat_at FROM sync.writer AS w WHERE w.id = i.owner AND i.state = 'open')", "NULL", WRAPPED,
        "rule_17_a_call_may_have_run",
    ),
    Mutant(
        "17", "what could not be repeated leaves the proof alone", JOURNAL,
        "WHERE state <> 'finished' AND mutation IS NULL LIMIT 1", "WHERE false LIMIT 1", WRAPPED, "rule_17_the_end_of",
    ),
    Mutant(
        "17", "a call that failed without a journal is finished", "sync/flows/wrapped_write.py",
        '            self._remember("unsure")\n', '            self._remember("finished")\n', WRAPPED, "rule_17_a_call_that_failed_without",
    ),
    Mutant(
        "18", "the merge does not look at tombstones", "sync/adapters/postgres/backfill/merge.py",
        "WHERE NOT EXISTS (SELECT FROM sync.tombstone AS t WHERE t.table_name = {name} AND sha256(t.key) = {digest} AND t.key = {key})\n", "WHERE true\n",
        BACKFILLS, "rule_18_deleted",
    ),
    Mutant(
        "18", "the merge does not look at intents", "sync/adapters/postgres/backfill/merge.py",
        "  AND NOT EXISTS (SELECT FROM sync.intent AS i WHERE i.table_name = {name} AND sha256(i.key) = {digest} AND i.key = {key})\n", "",
        BACKFILLS, "rule_18_keys",
    ),
    Mutant(
        "18", "the merge overwrites", "sync/adapters/postgres/backfill/merge.py",
        '        return self._connection.execute(self._insert(sql.SQL("true"))).rowcount\n',
        '        there = sql.SQL("DELETE FROM {target} AS t USING {stage} AS s WHERE {same_key}").format(**self._parts)\n'
        "        self._connection.execute(there)\n"
        '        return self._connection.execute(self._insert(sql.SQL("true"))).rowcount\n',
        BACKFILLS, "rule_18_rows",
    ),
    Mutant(
        "19", "skipped keys are left alone", "sync/adapters/postgres/backfill/merge.py",
        "        return self._connection.execute(_RECHECK, values).rowcount\n", "        return 0 * len(values)\n",
        BACKFILLS, "rule_19_",
    ),
    Mutant(
        "28", "the secondary's absence is nobody's concern", "sync/flows/dual_write.py",
        "or not self.write_behind.begin_accepting():", "or (not self.write_behind.begin_accepting() and False):",
        "tests/integration/test_dual_write_outages.py",
        "rule_28_refuse",
    ),
    Mutant(
        "29", "a writer signs off with what is not recorded", "sync/adapters/postgres/dual_write/unrecorded.py",
        "        tables: set[str] = set()\n", "        tables: set[str] = set()\n        self._entries.clear()\n",
        "tests/integration/test_dual_write_outages.py", "rules_28_and_31",
    ),
    Mutant(
        "29", "a writer signs off with a write under way", "sync/stores/both_sides/dual.py",
        "        left = self._calls.end(self._longest_call)\n", "        left = 0\n", PROCESSES, "waits_for_the_calls",
    ),
    Mutant(
        "29", "a writer signs off whatever is unrecorded", "sync/adapters/postgres/dual_write/sql/writers.sql",
        "AND state = 'active' AND %(unrecorded)s = 0", "AND state = 'active' AND %(unrecorded)s >= 0", SWITCHES, "rule_29_",
    ),
    Mutant(
        "30", "a fenced writer is taken for clean", "sync/adapters/postgres/dual_write/sql/writers.sql",
        "SET state = 'unclean', fenced_at", "SET state = 'signed_off', fenced_at",
        "tests/integration/test_reconcile_workers.py", "fenced",
    ),
    Mutant(
        "31", "what was written alone is not recorded on return", "sync/adapters/postgres/dual_write/unrecorded.py",
        "            journal.record([written for _, _, written in batch])\n", "            pass\n", "tests/integration/test_dual_write_outages.py",
        "rules_28_and_31",
    ),
    Mutant(
        "20", "the epoch is looked at, and not held", EPOCH_LOCK,
        'SHARE = f"SELECT pg_advisory_xact_lock_shared({_LOCK}, 0)".encode()', 'SHARE = b"SELECT"', SWITCHES, "rule_20_",
    ),
    Mutant(
        "20", "a repair does not hold the epoch", "sync/adapters/postgres/drift/keys.py",
        "            self._connection.execute(SHARE)\n", "", EPOCHS, "rule_20_a_recheck",
    ),
    Mutant(
        "20", "writers lock the epoch's row", JOURNAL,
        'SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1\n), known',
        'SELECT epoch, "primary", floor, state FROM sync.epoch ORDER BY epoch DESC LIMIT 1 FOR SHARE\n), known', EPOCHS,
        "rule_20_nothing_is_left",
    ),
    Mutant(
        "21", "writes begin while the epoch is closing", JOURNAL,
        """WHERE me.registered AND e.state = 'open' AND e."primary" = 'astra' AND %(clock)s""", """WHERE me.registered AND e."primary" = 'astra' AND %(clock)s""",
        SWITCHES, "rule_21_no_write",
    ),
    Mutant(
        "21", "it switches with intents left", "sync/adapters/postgres/cutover/epochs.py",
        "        if intents:\n", "        if False:\n", SWITCHES, "rule_21_nothing_switches_while_an_intent",
    ),
    Mutant(
        "17", "the cut-over does not ask for the proof again", "sync/adapters/postgres/cutover/epochs.py",
        "            if why := unproved():\n", "            if why := \"\":\n", SWITCHES, "rule_17_the_proof",
    ),
    Mutant(
        "21", "the floor stays at the cut-over", "sync/adapters/postgres/cutover/sql/epochs.sql",
        "       greatest(floor + 1, (extract", "       least(floor, (extract", SWITCHES, "rule_21_the_floor",
    ),
    Mutant(
        "21", "an epoch that was left closed stays closed", "sync/adapters/postgres/dual_write/registration.py",
        "                reopen_late(connection, found.epoch)\n", "                reopen_late(connection, -1)\n", SWITCHES,
        "rule_21_too_slow",
    ),
    Mutant(
        "22", "a reconcile takes intents of any epoch", SETTLING,
        "AND (i.epoch < %(epoch)s OR i.epoch = %(epoch)s\n", "AND (i.epoch <> %(epoch)s OR i.epoch = %(epoch)s\n",
        REVERSES, "rule_22_a_reconcile",
    ),
    Mutant(
        "22", "what is left of a closed epoch is nobody's", JOURNAL,
        "(i.epoch < %(epoch)s OR i.epoch = %(epoch)s\n", "(i.epoch = %(epoch)s\n", EPOCHS, "rule_22_an_intent",
    ),
    Mutant(
        "22", "what is left of a closed epoch is sent again", SETTLING,
        "CASE WHEN i.epoch = %(epoch)s THEN i.state ELSE 'finished' END", "i.state", EPOCHS, "rule_22_a_reverse_intent",
    ),
    Mutant(
        "22", "a forward write under Postgres as primary", JOURNAL,
        """e."primary" = 'astra' AND %(clock)s""", "%(clock)s", REVERSES, "rule_22_a_forward",
    ),
    Mutant(
        "23", "a reverse stamp is the clock alone", JOURNAL,
        "greatest(%(clock)s, %(above)s, e.floor, 1 + least(coalesce(known.version, 0), {most}))", "greatest(%(clock)s, %(above)s, e.floor)", REVERSES,
        "rule_23_a_write",
    ),
    Mutant(
        "23", "no lock of the key before the statement that stamps", "sync/adapters/postgres/dual_write/reverse.py",
        "                lock_key(connection, self._table, key)  # rule 5\n", "", REVERSES, "rule_23_writes",
    ),
    Mutant(
        "23", "a delete leaves no tombstone", REVERSE,
        "    SELECT %(table)s, %(key)s, %(token)s, v.version FROM v\n    ON CONFLICT",
        "    SELECT %(table)s, %(key)s, %(token)s, v.version FROM v WHERE v.version < 0\n    ON CONFLICT", REVERSES,
        "rule_23_a_delete",
    ),
    Mutant(
        "24", "an update of an absent row leaves an intent", REVERSE, "FROM v WHERE EXISTS (SELECT FROM written)\n", "FROM v\n",
        REVERSES, "rule_24_",
    ),
    Mutant(
        "25", "the source gets another timestamp than the row", "sync/flows/reverse_write.py",
        "self.secondary.send(sent, intent.version, done)", "self.secondary.send(sent, intent.version + 7, done)", REVERSES,
        "rule_25_the_source_gets",
    ),
    Mutant(
        "25", "the intent goes whatever the source says", "sync/flows/reverse_write.py",
        'if outcome == "written" and not', 'if outcome == "written" or not', REVERSES, "rule_25_a_source",
    ),
    Mutant(
        "26", "every intent of the keys goes", REVERSE,
        "SELECT id FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]) FOR UPDATE SKIP LOCKED",
        "SELECT id FROM sync.intent WHERE key IN (SELECT key FROM sync.intent WHERE id = ANY (%(intents)s::bigint[]))", REVERSES,
        "rule_26_only",
    ),
    Mutant(
        "26", "a row is sent without its nulls", "sync/flows/resend.py",
        "self.decode(row))", "{n: c for n, c in self.decode(row).items() if c is not None})", REVERSES, "rule_26_nulls",
    ),
    Mutant(
        "26", "a row that is gone is not deleted", "sync/flows/resend.py",
        "            return Mutation(\"delete\", key, {})\n", "            return Mutation(\"update\", key, {})\n", REVERSES,
        "rule_26_a_row",
    ),
    Mutant(
        "27", "a row is sent again as old as it is", "sync/adapters/postgres/dual_write/reverse.py",
        'connection.execute(self._raise, {**asked[0], "epoch": self._epoch, "clock": 0, "above": 0})', "pass", REVERSES, "rule_27_",
    ),
    Mutant(
        "30", "the cut-over does not ask the writers", "sync/adapters/postgres/cutover/epochs.py",
        "        for writer in self.not_ready(switch):\n            raise", "        for writer in self.not_ready(switch)[:0]:\n            raise",
        SWITCHES, "rule_30_a_switch",
    ),
    Mutant(
        "30", "a promise that is not kept", "sync/adapters/postgres/dual_write/write_behind.py",
        "allowed = self._may_accept and not self._promised", "allowed = self._may_accept", SWITCHES, "rule_30_a_writer",
    ),
    Mutant(
        "30", "a write that is being made counts as recorded", "sync/adapters/postgres/dual_write/write_behind.py",
        "return len(self._unrecorded) + self._accepting", "return len(self._unrecorded)", SWITCHES, "rule_30_a_writer_answers",
    ),
    Mutant(
        "31", "a fenced writer does not matter", "sync/adapters/postgres/cutover/sql/epochs.sql",
        "WHERE state = 'unclean' OR state = 'active' AND (", "WHERE state = 'active' AND (", SWITCHES, "rule_31_a_fenced",
    ),
    Mutant(
        "31", "what was kept is recorded as a forward write after the cut-over", ARRAYS,
        """SELECT epoch, "primary" = 'astra' AS forward""", "SELECT epoch, true AS forward", SWITCHES, "rule_31_what_was_kept",
    ),
    Mutant(
        "30", "a writer accepts again while Postgres is primary", "sync/adapters/postgres/dual_write/registration.py",
        "            self.write_behind.promise(self._epoch.primary != \"astra\")\n", "            self.write_behind.promise(False)\n", SWITCHES,
        "rule_30_nothing_is_accepted",
    ),
    Mutant(
        "17", "an attempt through the Data API that may come late is forgotten", "sync/stores/both_sides/dual_api.py",
        "            if astra():\n                self._may_come_late(table, key)\n", "            astra()\n",
        "tests/integration/test_api_dual.py", "may_come_late",
    ),
    Mutant(
        "17", "a timeout of the Data API counts as refused", "sync/adapters/astra/faults.py",
        'error.timeout_type in ("connect", "pool"), True)', "True, True)", API_FAULTS, "does_not_pass or is_lost_after",
    ),
    Mutant(
        "many keys", "what changed since it was claimed is not looked at", ARRAYS,
        "WHERE (SELECT coalesce({version}, 0) FROM {target} AS t WHERE {same_key}) IS NOT DISTINCT FROM g.row_version\n"
        "      AND {tombstone} IS NOT DISTINCT FROM g.tombstone\n      AND", "WHERE", MANY,
        "rule_15d_of_many_keys_the_one_that_changed and by_put",
    ),
    Mutant(
        "many keys", "a delete since they were claimed is not looked at", ARRAYS,
        "      AND {tombstone} IS NOT DISTINCT FROM g.tombstone\n", "", MANY, "rule_15d_of_many_keys_the_one_that_changed",
    ),
    Mutant(
        "many keys", "keys whose intents are gone are written", ARRAYS,
        "      AND EXISTS (SELECT FROM sync.intent WHERE id = ANY (g.intents::bigint[]) OFFSET 0)\n", "", MANY,
        "rule_15d_of_many_keys_the_one_that_changed",
    ),
    Mutant(
        "many keys", "intents of a key that changed go with the others'", ARRAYS,
        "id = ANY (ARRAY(SELECT unnest(g.intents::bigint[]) FROM same AS g))\n",
        "key = ANY (ARRAY(SELECT g.key FROM same AS g))\n", MANY, "rule_15d_of_many_keys_only",
    ),
    Mutant(
        "many keys", "a put does not look at its key's tombstone", ARRAYS, "key = g.key AND version >= g.version\n",
        "key = g.key AND false\n", MANY, "rules_6_and_12",
    ),
    Mutant(
        "many keys", "a put does not look at its row's version", ARRAYS, "    WHERE coalesce({version}, 0) < excluded.{version_column}\n",
        "", MANY, "rules_6_and_12",
    ),
    Mutant(
        "many keys", "a put whose intent is gone is done", ARRAYS,
        "SELECT g.* FROM given AS g CROSS JOIN LATERAL (SELECT FROM sync.intent WHERE id = g.intent FOR UPDATE) AS held",
        "SELECT g.* FROM given AS g", MANY, "rules_6_and_12",
    ),
    Mutant(
        "many keys", "a refused put's intent goes with the others'", ARRAYS,
        "    UPDATE sync.intent SET state = 'finished'\n    WHERE", "    DELETE FROM sync.intent\n    WHERE", MANY, "rules_6_and_12",
    ),
    Mutant(
        "many keys", "a batch takes no locks before it reads", "sync/adapters/postgres/dual_write/batch_journal.py",
        "                lock_keys(connection, [put.key for put, _ in written], self._partitioned)\n",
        "                connection.execute(\"SELECT set_config('sync.own', 'on', true)\")\n", MANY, "rule_5_",
    ),
    Mutant(
        "many keys", "a stamp is the clock alone", ARRAYS,
        "greatest(%(clock)s, g.above, e.floor, 1 + least(coalesce(known.version, 0), {most})) AS need",
        "greatest(%(clock)s, g.above, e.floor) AS need", MANY, "rule_2_of_many_keys",
    ),
    Mutant(
        "many keys", "what this process accepted alone is not looked at", ARRAYS, "greatest(%(clock)s, g.above, e.floor,",
        "greatest(%(clock)s, e.floor,", MANY, "rule_2_a_stamp_exceeds_what_this_process",
    ),
    Mutant(
        "many keys", "rows are sent again as old as they are", ARRAYS,
        "greatest(e.floor, 1 + least(coalesce(known.version, 0), {most}),\n                         ",
        "greatest(e.floor, ", MANY, "rule_27_",
    ),
    Mutant(
        "many keys", "what is refused of one row is refused of none", "sync/flows/dual_write_batch.py",
        "            ends.errors.update(self._withdrawn(refused))\n", "            self._withdrawn(refused)\n", MANY, "rules_12_and_13",
    ),
    Mutant(
        "many keys", "an unsure row's intent is left open", "sync/flows/dual_write_batch.py",
        '            self.one.mark(intents, "unsure", error)\n', "            pass\n", MANY, "rules_12_and_13",
    ),
    Mutant(
        "many keys", "what the target refuses of one row, it refuses of all", "sync/flows/dual_write_batch.py",
        "            self.one.second_half(puts[number], intent)\n", '            self.one.mark([intent], "finished", "")\n',
        MANY, "cannot_hold",
    ),
    Mutant(
        "many keys", "every write that is recorded is finished", ARRAYS, "CASE WHEN e.forward THEN g.state ELSE 'finished' END",
        "'finished'", MANY, "rule_31_many",
    ),
    Mutant(
        "many keys", "a batch does not hold its ranges", "sync/adapters/postgres/dual_write/batch_journal.py",
        "                    connection.execute(_SHARE_RANGES, tokens)\n", "                    pass\n", MANY,
        "rule_9_",
    ),
    Mutant(
        "many keys", "a batch is written by what is known of the table later", "sync/stores/both_sides/many_puts.py",
        "            if len(puts) == 1 or self._of(table) is not flows:\n",
        "            flows = self._of(table)\n            if len(puts) == 1:\n",
        "tests/integration/test_schema_under_a_store.py", "between_two and added",
    ),
    Mutant(
        "many keys", "a timeout of many rows is one of the server", "sync/adapters/postgres/connection/refusals.py",
        "        if count > 1:\n", "        if count > 1000:\n", MANY, "too_long_together_go_alone",
    ),
    Mutant(
        "48", "two puts of a key share a batch", SHARED_PUTS, "        if key in self._keys:\n", "        if key == b\"\":\n",
        SHARED, "no_two_of_a_key",
    ),
    Mutant(
        "48", "a put of a key passes an earlier one", SHARED_PUTS,
        "        self._keys.add(key)  # whether it joins or not: no later put of the key may pass it\n"
        "        if self._bytes and self._bytes + more > BATCH_BYTES:\n            return False\n",
        "        if self._bytes and self._bytes + more > BATCH_BYTES:\n            return False\n        self._keys.add(key)\n",
        SHARED, "passes_one_that_is_too_large",
    ),
    Mutant(
        "48", "what an interrupted leader leaves counts as written", SHARED_PUTS, "mine.rest or mine.interrupted\n",
        "mine.rest or _WRITTEN\n", SHARED, "a_leader_that_ends",
    ),
    Mutant(
        "48", "an answer is the whole batch's", SHARED_PUTS, "if error := ends.errors.get(number):",
        "if error := next(iter(ends.errors.values()), None):", SHARED, "each_has_its_own_answer",
    ),
    Mutant(
        "48", "nobody is called when a leader has ended", GATHERING, "            self._lead(called)\n            self._called.add(called)\n            return called\n",
        "            self._waiting.appendleft(called)\n            return None\n", SHARED, "calls_the_next",
    ),
    Mutant(
        "48", "three locked rows hold up all others", GATHERING, "        return len(self._places) - stuck < self._limit.now\n",
        "        return False\n", SHARED, "places_that_are_stuck",
    ),
    Mutant(
        "48", "three locked rows hold up all tasks", TASK_PUTS,
        "        if self._gathering(table).has_waited(one, beside_called=False):\n", "        if not one:\n", TASKS, "has_waited_long",
    ),
    Mutant(
        "48", "on a busy machine tasks go one by one", TASK_PUTS, "has_waited(one, beside_called=False)", "has_waited(one)", TASKS,
        "all_threads_are_busy",
    ),
    Mutant(
        "48", "a node that is away holds up all rows", SHARED_PUTS, "            self._side_is_slow()\n        elif", "            pass\n        elif",
        SHARED, "after_a_row_that_is_unsure",
    ),
    Mutant(
        "48", "a row that is unsure by itself says nothing of its node", SHARED_PUTS, "            self._side_is_slow()\n            raise\n",
        "            raise\n", SHARED, "a_lone_put_that_is_unsure",
    ),
    Mutant(
        "48", "a row that is locked is in every batch", SHARED_PUTS, "        if ends.halves:\n            self._hold",
        "        if not ends:\n            self._hold", SHARED, "went_with_a_locked_row",
    ),
    Mutant(
        "48", "a batch of others' puts waits for a stranger's lock", "sync/adapters/postgres/dual_write/batch_journal.py",
        "                if not waits:\n                    connection.execute(_WAIT_SHORTLY, self._shortly)\n", "", SHARED_THERE, "somebody_has_locked",
    ),
    Mutant(
        "48", "a batch of others' puts waits for a backfill's merge", "sync/adapters/postgres/dual_write/batch_journal.py",
        '                if waits:\n                    connection.execute(_SHARE', '                if True:\n                    connection.execute(_SHARE',
        SHARED_THERE, "a_merge_of_their_ranges",
    ),
    Mutant(
        "48", "the main thread leads", SHARED_PUTS, " or get_ident() == main_thread().ident:", ":", SHARED, "the_main_thread_leads_nobody",
    ),
    Mutant(
        "48", "one that waits is taken for interrupted", SHARED_PUTS, 'if mine.state in ("leads", "apart"):', 'if mine.state != "goes":', SHARED,
        "waits_on_while_places",
    ),
    Mutant(
        "48", "what is too slow together is tried together again", SHARED_PUTS, "        if ends.is_slow or any(", "        if any(",
        SHARED, "too_slow_together",
    ),
    Mutant(
        "48", "a call that an executor took and refused is made twice", "sync/stores/threads.py",
        "        if unclaimed.acquire(blocking=False):\n", "        if unclaimed:\n", TASKS, "taken_and_refused",
    ),
    Mutant(
        "48", "a task that is collected waits for the lock of who collects it", GATHERING,
        '        if one.state != "waits":\n            # Without the lock',
        '        if one.state == "":\n            # Without the lock', TASKS, "that_nobody_keeps",
    ),
    Mutant(
        "48", "what was refused at once counts as quick", GATHERING, "            if has_written:\n", "            if True:\n", TASKS, "does_not_count_as_quick",
    ),
    Mutant(
        "48", "a busy machine has more under way", GATHERING, " or not self._has_room() or (self._called", " or (self._called", TASKS,
        "waits_on_while_places",
    ),
    Mutant(
        "48", "an interrupted answer leaves the others waiting", TASK_PUTS, "        answers[0][0].loop.call_soon(_end, answers)\n", "",
        TASKS, "handler_of_a_signal",
    ),
    Mutant(
        "48", "locked rows of tasks occupy every thread", "sync/stores/both_sides/halves.py", "self._waiting.acquire(blocking=False)",
        "self._waiting.acquire()", PUTS, "rows_that_are_locked",
    ),
    Mutant(
        "48", "a row that is none at all is every task's error", "sync/stores/both_sides/puts.py", "        except Exception:  #",
        "        except KeyError:  #", PUTS, "a_row_that_is_none",
    ),
    Mutant(
        "48", "a cancelled task takes back the turn that it was given", GATHERING,
        '            return\n        with self._guard:\n            if one.state == "waits":\n                one.state = "goes"\n',
        '            pass\n        with self._guard:\n            if one.state != "goes":\n                one.state = "goes"\n',
        TASKS, "cancelled_as_it_is_called",
    ),
    Mutant(
        "48", "a task that was cancelled before its turn is written", TASK_PUTS,
        "(one for one in led if not one.future.cancelled())", "(led)", TASKS, "before_its_thread",
    ),
    Mutant(
        "44", "a resend waits for a row while it holds another", ARRAYS, "WHERE {same_key} FOR NO KEY UPDATE SKIP LOCKED) AS held",
        "WHERE {same_key} FOR NO KEY UPDATE) AS held", SQL_WRITERS, "rule_44_a_resend_waits_for_no_row",
    ),
    Mutant(
        "44", "SKIP LOCKED is taken at its word", "sync/adapters/postgres/dual_write/locks.py",
        "'lock_timeout', '200ms', true", "'lock_timeout', '9s', true", SQL_WRITERS, "rule_44_nor_for_long",
    ),
    Mutant(
        "44", "a resend waits for a row as long as Postgres lets it", "sync/adapters/postgres/dual_write/locks.py",
        "'lock_timeout', '900ms', true", "'lock_timeout', '9s', true", SQL_WRITERS, "rule_44_a_resend_gives_way",
    ),
    Mutant(
        "44", "a row that came meanwhile counts as raised", "sync/adapters/postgres/dual_write/reverse.py",
        "if is_held or (row is not None and not is_raised):", "if is_held:", SQL_WRITERS, "rule_44_nor_for_a_row",
    ),
    Mutant(
        "resolve", "an intent that was given up leaves the proof alone", "sync/adapters/postgres/dual_write/resolution.py",
        '        connection.execute(_SQL["disturb"], {"table": stuck.table})\n', "", RESOLVES, "operators_word",
    ),
    Mutant(
        "resolve", "an intent is taken from a writer that lives", "sync/wiring/dual_write/resolve.py",
        "        if stuck.busy:", "        if stuck.busy and False:", RESOLVES, "may_not_be_resolved",
    ),
    Mutant(
        "resolve", "a key's others are sent while one is given up", "sync/wiring/dual_write/resolve.py",
        "            if not gone[stuck.table] and not", "            if stuck is found[0] and not gone[stuck.table] and not", RESOLVES,
        "given_up_together",
    ),
    Mutant(
        "resolve", "what may still arrive is given up at once", "sync/adapters/postgres/dual_write/sql/resolution.sql",
        "greatest(0, %(window)s - extract", "greatest(0, 0 * %(window)s - extract", RESOLVES, "operators_word",
    ),
    Mutant(
        "one key", "what one key fails, all fail", "sync/flows/isolation.py",
        "or len(some) == 1:", "or len(some) > 0:", POISON, "takes_no_other_with_it",
    ),
    Mutant(
        "one key", "a refusal that is not foreseen is none", "sync/adapters/postgres/connection/refusals.py",
        "    return not re.match(NO_REFUSAL, error.sqlstate)\n", '    return error.sqlstate[:2] in ("22", "23", "54")\n', POISON,
        "a_backfill_rejects",
    ),
    Mutant(
        "26", "documents are sent as they come", "sync/wiring/dual_write/worker.py",
        "return OrderedResends(pool, resend) if table.source.is_collection else resend", "return resend", API, "in_turn",
    ),
    Mutant(
        "26", "a repeated sending of a document is done with", "sync/adapters/astra/collection_rows.py",
        'return ("unsure", "an earlier attempt got no answer") if may_come_late else ("written", "")', 'return "written", ""',
        API, "sick_data_api",
    ),
    Mutant(
        "proof", "a vector without a column is left out", "sync/core/encode/documents.py",
        "    parsed = without_vector if has_vector else whole\n", "    parsed = without_vector\n",
        "tests/integration/test_collections.py", "collection_without_vectors",
    ),
    Mutant(
        "proof", "a key that a page does not show by its bytes is not there", "sync/adapters/cassandra/rows/key_rows.py",
        "        if len(self._keys) > self._partition:\n            return []", "        if False:\n            return []",
        "tests/integration/test_key_rows.py", "other_bytes",
    ),
    Mutant(
        "proof", "a page that ended early has shown all keys", "sync/adapters/cassandra/rows/key_rows.py",
        "if is_last or key.token < reached]", "if is_last or key.token < 1 << 63]",
        "tests/integration/test_key_rows.py", "stand",
    ),
    Mutant(
        "canary", "the canary's row is not deleted with its own write", "sync/adapters/cassandra/rows/rows.py",
        'for mutation in (put, Mutation("delete", put.key, {})):', "for mutation in (put,):", CANARY, "leaves_no_trace",
    ),
    Mutant(
        "canary", "the canary takes a key of the application's", "sync/wiring/cutover/canary.py",
        "cells = unused_key(self._table.source, self._back.key.cells)", "cells = self._back.key.cells", CANARY, "leaves_no_trace",
    ),
    Mutant(
        "canary", "a row that is not there has come back", "sync/wiring/cutover/canary.py",
        'return "a row of Postgres is not in the source"', 'return ""', CANARY, "a_row_that_only",
    ),
    Mutant(
        "writers", "a cut-over of which nobody would learn", "sync/core/cutover/gates.py",
        "not bad and (bool(writers) if expected is None else len(writers) == expected)", "not bad",
        "tests/switches/test_gates.py", "no_writer or none",
    ),
    Mutant(
        "one side", "whoever cannot ask goes on", "sync/stores/factory.py",
        "        if not settings.sync_allow_one_sided:\n            raise Unreachable", "        if False:\n            raise Unreachable",
        "tests/integration/test_store_factory.py", "nobody_can_say",
    ),
    Mutant(
        "one side", "one side alone is written while a migration is under way", "sync/stores/factory.py",
        "    if epoch is not None and under_way:", "    if epoch is not None and under_way is None:",
        "tests/integration/test_store_factory.py", "one_side_alone",
    ),
    Mutant(
        "data centre", "a writer's data centre does not matter", "sync/adapters/postgres/dual_write/sql/data_centres.sql",
        "WHERE data_center <> %(data_center)s\n", "WHERE data_center = '' AND data_center <> %(data_center)s\n",
        DATA_CENTRES, "a_writer_in_another",
    ),
    Mutant(
        "data centre", "any data centre will do", "sync/adapters/cassandra/connection/data_centres.py",
        "if len(there) > 1 and not stated", "if len(there) > 9 and not stated", DATA_CENTRES, "several_data_centres",
    ),
    Mutant(
        "age", "a verdict of a pass that was stopped is believed for ever", DRIFT,
        "OR r.state = 'done' AND r.started_at < clock_timestamp() - make_interval(secs => %(age)s))", "OR %(age)s < 0)",
        AGE, "proves_nothing",
    ),
    Mutant(
        "age", "verdicts of another epoch are believed", DRIFT,
        "OR run.epoch IS DISTINCT FROM (SELECT max(epoch) FROM sync.epoch) OR", "OR", AGE, "proves_nothing",
    ),
    Mutant(
        "age", "a pass is as old as its youngest verdict", DRIFT,
        "(SELECT coalesce(min(r.started_at), run.started_at)", "(SELECT coalesce(max(r.started_at), run.started_at)",
        AGE, "as_old_as",
    ),
    Mutant(
        "age", "a schema that changed in the middle is not looked at", "sync/wiring/shapes.py",
        "        if table.name in mapped and begun.get(table.name) not in (None, now[table.name]):\n", "        if False:\n", AGE, "in_the_middle",
    ),
    Mutant(
        "expire", "the moments are not compared", "sync/core/drift/digest.py",
        "abs(moments) <= TOLERANCE_MS", "abs(moments) >= 0", EXPIRE, "another_moment",
    ),
    Mutant(
        "expire", "a row that is about to expire is compared as any other", "sync/flows/recheck.py",
        "verdict = span.verdict(before, source, after) or judge(", "verdict = judge(", EXPIRE, "about_to_expire",
    ),
    Mutant(
        "expire", "cells may expire apart", "sync/core/cell_ttls.py",
        "if None in found or max(seconds) - min(seconds) > _TOGETHER_SECONDS:", "if False:", EXPIRE, "cells_expire_apart",
    ),
    Mutant(
        "expire", "what has expired is sent again as it was", "sync/adapters/cassandra/rows/rows.py",
        "or (moment is not None and seconds <= 0):", "or False:", TTL, "sent_again",
    ),
    Mutant(
        "expire", "a slow write's moment is not read back", "sync/flows/dual_write.py",
        "is_late = expires_late(mutation.cells, time.monotonic() - sent)", "is_late = False", TTL, "slow_source",
    ),
    Mutant(
        "expire", "Postgres returns what has expired", "sync/adapters/postgres/schema/expiry.py",
        "({0} IS NULL OR {0} > statement_timestamp())", "({0} IS NULL OR {0} IS NOT NULL)", TTL, "nobody_reads",
    ),
    Mutant(
        "expire", "a row that has expired is in an insert's way", "sync/adapters/postgres/dual_write/statements.py",
        "        if not expiry:\n", "        if True:\n", TTL, "an_insert_takes",
    ),
    Mutant(
        "expire", "an update gives cells a TTL of their own", "sync/stores/both_sides/table_flows.py",
        "        if expires(self.mapped.source):\n", "        if False:\n", TTL, "refusals_say",
    ),
    Mutant(
        "expire", "a deleted row's version is forgotten", "sync/adapters/postgres/dual_write/sql/expired.sql",
        "coalesce(gone.version, (SELECT floor", "coalesce(gone.version * 0, (SELECT floor", TTL, "a_sweep_deletes",
    ),
    Mutant(
        "keep", "what expired is extra", "sync/core/drift/verdicts.py",
        'return "kept" if keeps and target.version else "extra"', 'return "extra"', KEPT, "no_finding",
    ),
    Mutant(
        "keep", "a reconcile deletes what expired", "sync/adapters/postgres/dual_write/reconcile.py",
        "if read.cells is None and keeping and not picked.deletes:", "if False:", KEPT, "reconcile_keeps",
    ),
    Mutant(
        "keep", "a delete keeps what is to go", "sync/adapters/postgres/dual_write/reconcile.py",
        "if read.cells is None and keeping and not picked.deletes:", "if read.cells is None and keeping:", KEPT, "delete_deletes",
    ),
    Mutant(
        "keep", "the version of what is kept stays", JOURNAL,
        "SET {version_column} = %(version)s FROM same WHERE {same_key}\n), {settled}",
        "SET {version_column} = {version} FROM same WHERE {same_key} AND %(version)s > 0\n), {settled}", KEPT, "reconcile_keeps",
    ),
    Mutant(
        "session", "a role's settings are a session's", "sync/adapters/postgres/connection/connect.py",
        "        configure_session(connection)\n    except", "        pass\n    except", "tests/integration/test_hostile_settings.py", "no_setting",
    ),
    Mutant(
        "sight", "nobody looks for masks and policies", "sync/wiring/backfill/worker.py",
        "    check_visibility(cassandra, connection, found.values())\n", "", SIGHT, "added_in_the_middle",
    ),
    Mutant(
        "names", "names are looked for on the search path", "sync/adapters/postgres/schema/catalogue.py",
        '    name = name if "." in name else f"{HOME}.{name}"\n', "", "tests/integration/test_search_path.py", "through_a_pooler",
    ),
    Mutant(
        "keys", "a key on record is taken for what its value says", "sync/adapters/cassandra/rows/cells.py",
        "known.token not in (None, key.token)", "False", KEYS, "does_not_prove",
    ),
    Mutant(
        "keys", "a reconcile takes the intents of every key of the value", SETTLING,
        "AND i.token IN (k.token, -9223372036854775808)", "", KEYS, "does_not_prove",
    ),
    Mutant(
        "keys", "a row is taken for its value's, whatever its token", "sync/wiring/drift/worker.py",
        "if key.token not in tokens and not self._cells.one_form:", "if False:", KEYS, "does_not_prove",
    ),
    Mutant(
        "keys", "a write's intent has Postgres's key alone", JOURNAL,
        "%(key)s, %(source_key)s, %(token)s, %(kind)s", "%(key)s, NULL, %(token)s, %(kind)s", KEYS, "every_intent",
    ),
    Mutant(
        "keys", "any form of a value is carried", "sync/core/key_forms.py",
        'if not equal(decode(made) or b"", cell):', "if False:", KEYS, "taken_for_another and boolean",
    ),
    Mutant(
        "keys", "partitions of one value are read together", "sync/adapters/cassandra/rows/rows.py",
        "len(self._keys) == 1 and has_one_form(table.primary_key[0].type)", "len(self._keys) == 1", KEYS, "as_they_are_written",
    ),
    # the state's scale, and keys of any length
    Mutant(
        "long keys", "an index holds the keys themselves", "migrations/003_sync_state.sql",
        "CREATE INDEX IF NOT EXISTS intent_of_key ON sync.intent (table_name, sha256(key));",
        "CREATE INDEX IF NOT EXISTS intent_of_key ON sync.intent (table_name, key);", LONG, "is_the_primarys",
    ),
    Mutant(
        "long keys", "a reject is told by its key", "migrations/003_sync_state.sql",
        "CREATE UNIQUE INDEX IF NOT EXISTS reject_key ON sync.reject (table_name, sha256(source_key), column_name);",
        "CREATE UNIQUE INDEX IF NOT EXISTS reject_key ON sync.reject (table_name, sha256(source_key), column_name);\n"
        "CREATE INDEX IF NOT EXISTS reject_old ON sync.reject (table_name, source_key);", LONG, "proof_and_gates",
    ),
    Mutant(
        "scale", "due intents are looked for among all tables'", "migrations/003_sync_state.sql",
        "CREATE INDEX IF NOT EXISTS intent_due ON sync.intent (table_name, lease_until NULLS FIRST, id) WHERE state <> 'open';\n", "",
        SCALE, "flat and due",
    ),
    Mutant(
        "scale", "the next range is looked for among all", "migrations/003_sync_state.sql",
        "CREATE INDEX IF NOT EXISTS range_pending ON sync.range (run_id, attempts, range_start) WHERE state = 'pending'; -- the next one\n",
        "", SCALE, "flat and claim",
    ),
    Mutant(
        "scale", "a token's range is looked for among all", JOURNAL,
        "ORDER BY r.range_start DESC LIMIT 1 FOR SHARE\n", "AND r.range_end >= %(token)s FOR SHARE\n", SCALE, "flat and share_range",
    ),
    Mutant(
        "locks", "all keys' locks in one transaction", "sync/flows/isolation.py",
        "for at in range(0, len(items), MAX_LOCKS):\n        some = items[at : at + MAX_LOCKS]",
        "for at in range(0, min(1, len(items))):\n        some = items", "tests/integration/test_lock_limit.py", "is_cut",
    ),
    Mutant(
        "locks", "as many locks as it likes", "sync/ports.py", "MAX_LOCKS = 64", "MAX_LOCKS = 640",
        "tests/integration/test_lock_limit.py", "takes_few_locks and drain",
    ),
    Mutant(
        "locks", "all rows are stamped in one transaction", "sync/adapters/postgres/drift/keys.py",
        "parts = (keys[at : at + MAX_LOCKS] for at in range(0, len(keys), MAX_LOCKS))", "parts = [keys]",
        "tests/integration/test_lock_limit.py", "few_locks and stamp",
    ),
    # gates, settings, the emergency exit
    Mutant(
        "fast", "the way back without proof does not look for disturbances", "sync/core/cutover/proof.py",
        "if table in tables and at > since.begun]", "if table in tables and at < since.begun]", FAST, "recorded",
    ),
    Mutant(
        "fast", "what disturbs between the gates and the cut-over is not seen", "sync/wiring/cutover/gates.py",
        "proof = _undisturbed(site, epoch) if fast else", 'proof = Gate("", True, "") if fast else', FAST, "between_the_gates",
    ),
    Mutant(
        "fast", "rows that SQL inserted are forgotten", "sync/wiring/cutover/gates.py",
        "        found.append(_by_hand(site))\n", "        pass\n", FAST, "SQL",
    ),
    Mutant(
        "proof", "what disturbs a table does not disturb its proof", "sync/core/cutover/proof.py",
        "for name in (EVERYWHERE, table) if", "for name in (EVERYWHERE,) if", "tests/unit/test_proof.py", "leaves_the_others",
    ),
    Mutant(
        "settings", "a worker settles by other settings than the writer's", "sync/wiring/dual_write/worker.py",
        "        check_writers(connection, tables, config.agreed)\n", "", AGREED, "whoever_works and strip",
    ),
    Mutant(
        "settings", "a worker copies by other settings than its command's", "sync/wiring/backfill/worker.py",
        "            check_runs(connection, runs, config.agreed)\n", "", AGREED, "does_not_copy",
    ),
    Mutant(
        "settings", "a store writes a table that is left out", "sync/stores/both_sides/dual.py",
        "        self._process.check()\n        self._check_migrated(table)\n", "        self._process.check()\n", AGREED, "refused_by_the_store",
    ),
    Mutant(
        "settings", "the gates look at this host's tables alone", "sync/wiring/cutover/gates.py",
        "gates.reversible_gate(_one_sided(site), _left_out(site))", "gates.reversible_gate(_one_sided(site))", AGREED, "every_table",
    ),
    Mutant(
        "settings", "a class without its successor is no matter", "sync/stores/both_sides/target.py",
        '{**told, "wraps": wraps} if wraps else told', "told", AGREED, "without_its_successor",
    ),
    Mutant(
        "resolve", "a timeout of the source is a reason to drop", "sync/wiring/dual_write/resolve.py",
        "        if not for_good:\n", '        if not for_good and primary == "astra":\n', RESOLVES, "time_out",
    ),
    # through a transaction pooler
    Mutant(
        "pooler", "a pooler is known by its name alone", "sync/adapters/postgres/connection/pooler.py",
        "found = _process(connection) != connection.info.backend_pid and _is_shared(dsn, connection)", "found = False",
        POOLER, "found_by_looking and transaction",
    ),
    Mutant(
        "pooler", "what sync needs is set for the pooler's session", "sync/adapters/postgres/connection/pooled.py",
        "pg_catalog.set_config({}, {}, true)", "pg_catalog.set_config({}, {}, false)", POOLER, "seven_hundred",
    ),
    Mutant(
        "pooler", "a lone statement has no limits", "sync/adapters/postgres/connection/pooled.py",
        "if connection.is_bare or not connection.is_idle:", "if True:", POOLER, "limits_hold",
    ),
    # Who ended without a word, and whose slot it is (docs/decisions/0020).
    Mutant(
        "29", "a lock that is free proves that nothing was accepted", "sync/adapters/witness.py",
        "        return os.pread(file, 1, 0) == b\"0\"\n", "        return True\n", WITNESS, "had_nothing_unrecorded",
    ),
    Mutant(
        "29", "who was judged accepts all the same", "sync/adapters/witness.py",
        "        self._flagged = self._is_there()", "        self._flagged = True", WITNESS, "lock_that_was_lost",
    ),
    Mutant(
        "29", "a copy is as good as the file", "sync/adapters/witness.py",
        "        if os.pread(file, _MAX_BYTES, 1) != _identity(file):\n", "        if False:\n", WITNESS, "copy_proves",
    ),
    Mutant(
        "29", "the end of a lease is enough for every writer", "sync/adapters/postgres/dual_write/sql/writers.sql",
        "WHERE id = ANY (%(ids)s::text[]) AND state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])\n      OR NOT accepts AND",
        "WHERE id = ANY (%(ids)s::text[]) AND state = 'active' AND unrecorded = 0 AND (witness = ANY (%(witnesses)s::text[])\n      OR", ENDED, "accepted_is_not_forgotten",
    ),
    Mutant(
        "2", "who lost its slot stamps with it", JOURNAL,
        "    WHERE me.registered AND e.state = 'open' AND", "    WHERE e.state = 'open' AND", ENDED, "rule_2_",
    ),
    Mutant(
        "28", "what is kept has no bound", "sync/adapters/postgres/dual_write/unrecorded.py",
        "return self._bytes >= self._max_bytes", "return False and self._bytes >= self._max_bytes", BEATS, "may_be",
    ),
    # A start without Postgres, Redis, a schema that changes
    Mutant(
        "start", "a process that is not registered starts where Postgres may be primary", "sync/stores/both_sides/target.py",
        "            self._check_start()\n", "", "tests/integration/test_start_without_postgres.py", "does_not_start and refused",
    ),
    Mutant(
        "start", "what a start would have refused with is forgotten", "sync/stores/both_sides/target.py",
        "told, self._wrong = self._wrong, None if is_away(error) or not isinstance(error, SyncError) else error",
        "told, self._wrong = self._wrong, None",
        "tests/integration/test_start_without_postgres.py", "a_start_would_have_said",
    ),
    Mutant(
        "redis", "an answer of Redis is waited for without end", "sync/adapters/queue.py",
        "socket_timeout=answer_seconds", "socket_timeout=None", "tests/integration/test_redis_hangs.py", "status",
    ),
    Mutant(
        "redis", "what waits on the queue is read as RQ does", "sync/adapters/job_serializers.py",
        "    newest = connection.xrevrange(", "    Job.fetch(job, connection=connection).latest_result()\n    newest = connection.xrevrange(",
        "tests/integration/test_nothing_unpickled.py", "an_application",
    ),
    Mutant(
        "schema", "the schema is not read again", "sync/stores/one_side/live_tables.py",
        "return is_schema and tables.refresh(table, since)", "return False", "tests/integration/test_schema_under_a_store.py", "goes_through and cql-put",
    ),
    Mutant(
        "old", "a write time is asked for that Cassandra 4 does not know", "sync/adapters/cassandra/rows/cell_times.py",
        "{'MAX' if column.has_many_cells else ''}WRITETIME", "MAXWRITETIME", OLD, "asked_for",
    ),
    Mutant(
        "old", "a list whose time is not told has never arrived", "sync/adapters/cassandra/rows/rows.py",
        "return not has_room(replay.attempt) and", "return False and", OLD, "behind_its_last_timestamp",
    ),
    # everything ends
    Mutant(
        "invariant 4", "the place of the page that was read ahead is noted", "sync/flows/copy_ranges.py",
        "position=held[-1].after)", "position=page.after)", "tests/unit/test_copy_ranges.py", "behind_its_last_page",
    ),
    Mutant(
        "invariant 4", "a range whose table changed goes on at its old place", "sync/adapters/postgres/backfill/sql/ranges.sql",
        "done_to = NULL, position = NULL,", "done_to = NULL,", "tests/integration/test_long_partitions.py", "begun_anew",
    ),
    Mutant(
        "server", "a target that cannot now is one that broke", "sync/adapters/postgres/connection/refusals.py",
        'if isinstance(error, psycopg.Error) and is_temporary(error):', 'if False:', "tests/integration/test_waiting_for_room.py", "without_room",
    ),
    Mutant(
        "indexes", "everybody builds", "sync/adapters/postgres/schema/sql/index_lease.sql",
        "WHERE index_lease.owner = excluded.owner OR index_lease.until < clock_timestamp()", "WHERE true",
        "tests/integration/test_two_at_once.py", "died_is_followed",
    ),
    Mutant(
        "15c", "every table is read at a quorum alone", "sync/adapters/cassandra/rows/rows.py",
        "SERIAL_PROFILE if serial else RAW_PROFILE", "RAW_PROFILE", WRAPPED, "rule_17_tables_of",
    ),
    # many tables
    Mutant(
        "scale", "the target's tables are asked for one by one", "sync/adapters/postgres/schema/catalogue.py",
        '    by_name = {name: regclass(name) for name in names}\n',
        '    by_name = {name: regclass(name) for name in names}\n'
        '    if len(by_name) > 1:\n        return {k: v for name in by_name for k, v in read_targets(connection, [name]).items()}\n',
        "tests/integration/test_many_tables.py", "asks_nobody_by_table",
    ),
    Mutant(
        "scale", "preflight prepares a statement as often as it is asked for", "sync/adapters/cassandra/connection/statement_cache.py",
        "if query not in self._known:", "if True:", "tests/integration/test_many_tables.py", "asks_postgres",
    ),
    Mutant(
        "scale", "a schema that may not be used fails the look at all tables", "sync/adapters/postgres/schema/inspection.py",
        "if schema in denied}", "if False}", "tests/integration/test_preflight.py", "rights_to_a_target_table",
    ),
    # any two commands, and servers that cannot now
    Mutant(
        "21", "it switches while rows are copied", "sync/adapters/postgres/cutover/epochs.py",
        "        if backfills:", "        if False:", SWITCHES, "rule_21_nothing_switches_while_rows_are_copied",
    ),
    Mutant(
        "server", "a report does not wait for its source", "sync/flows/check_ranges.py",
        "(stream.ranges.wait if isinstance(error, NotNow)", "(stream.ranges.wait if isinstance(error, TargetNotNow)",
        "tests/unit/test_check_ranges.py", "as_by_a_backfill",
    ),
    Mutant(
        "indexes", "what was begun of an index that has no room stays", "sync/adapters/postgres/schema/indexes.py",
        'connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())\n    if is_out_of_resources(error):', "if is_out_of_resources(error):",
        "tests/integration/test_full_disk.py", "takes_none",
    ),
    # rests while a server is slow
    Mutant(
        "throttle", "the share of a throttled run becomes nothing", "sync/core/throttle.py",
        "max(LEAST_SHARE, self.share / 2)", "self.share / 2", "tests/unit/test_throttle.py", "bounded",
    ),
    Mutant(
        "throttle", "a rest takes as long as the work before it makes it", "sync/core/throttle.py",
        "    return min(worked * (1 / share - 1), MAX_REST_SECONDS)", "    return worked * (1 / share - 1)",
        "tests/unit/test_pacing.py", "never_left_for_good",
    ),
    Mutant(
        "throttle", "a stream rests without its lease", "sync/flows/pacing.py",
        "                if not keep_going():\n                    return False\n", "", "tests/unit/test_copy_ranges.py", "while_its_worker_waits",
    ),
    Mutant(
        "throttle", "a throttled range outlives its job", "sync/flows/check_ranges.py",
        "if held_lease.rested > _RESTED_SECONDS and", "if False and", "tests/unit/test_check_ranges.py", "before_its_job_ends",
    ),
    Mutant(
        "throttle", "what a throttled check noted is a verdict", "sync/adapters/postgres/drift/sql/drift.sql",
        "CASE WHEN state = 'done' THEN figures END", "figures", "tests/integration/test_throttled_runs.py", "is_no_verdict",
    ),
    Mutant(
        "throttle", "a measurement that fails ends the work", "sync/flows/pacing.py",
        "        except SourceUnavailable as error:", "        except LookupError as error:", "tests/unit/test_pacing.py", "fails_does_not",
    ),
    # who was suspended
    Mutant(
        "suspended", "who was suspended accepts before it has asked", "sync/adapters/postgres/dual_write/write_behind.py",
        "        if not self._suspension.is_confirmed:", "        if False:", SUSPENDED, "writes_to_the_new_primary",
    ),
    Mutant(
        "suspended", "who was suspended within a write acknowledges it", "sync/flows/dual_write.py",
        "        if self.write_behind.gaps() != gaps:", "        if False:", SUSPENDED, "is_unsure",
    ),
    Mutant(
        "suspended", "an answer from before counts", "sync/adapters/suspension.py",
        "self._answered = max(self._answered, gaps)", "self._answered = self._gaps", "tests/unit/test_suspension.py", "asked_since",
    ),
    Mutant(
        "suspended", "who was suspended within a class's write forgets it", "sync/flows/wrapped_write.py",
        'remember(self.keys if self._was_suspended else missing, "unsure")', 'remember(missing, "unsure")',
        "tests/unit/test_suspension.py", "unsure_and_recorded",
    ),
    # counters
    Mutant(
        "counters", "a second increment is sent while the first may arrive", CLAIMS,
        "i.key = k.key AND i.state = 'claimed'", "i.key = k.key AND i.state = 'open'", COUNTERS, "no_second_increment and lost",
    ),
    Mutant(
        "counters", "the time of a lost answer begins with the claim", CLAIMS,
        "SET replayed_at = clock_timestamp() FROM unnest", "SET replayed_at = i.replayed_at FROM unnest", COUNTERS, "begins_the_window",
    ),
    Mutant(
        "counters", "an increment is sent long after its claim", "sync/flows/resend_counters.py",
        "if _now() > claimed_at + SEND_WITHIN_SECONDS:", "if _now() < claimed_at:", COUNTERS, "what_is_late",
    ),
    Mutant(
        "counters", "who lost its claim leaves it at that", "sync/adapters/postgres/dual_write/counters.py",
        "values).fetchone() != (len(claim.attempts),):", "values).fetchone() is None:", COUNTERS, "taken_over and equal",
    ),
    Mutant(
        "counters", "an increment without an answer leaves the proof alone", CLAIMS,
        "was settled' WHERE %(unsure)s", "was settled' WHERE %(unsure)s AND false", COUNTERS, "no_second_increment and lost",
    ),
    Mutant(
        "counters", "an increment without an answer counts as done", "sync/flows/increment.py",
        'if outcome == "unsure":', 'if outcome == "refused":', COUNTERS, "without_an_answer and late",
    ),
    Mutant(
        "counters", "an increment in Postgres replaces the number", "sync/adapters/postgres/dual_write/statements.py",
        "(coalesce(t.{0}, 0) + excluded.{0})::bigint", "(0 * coalesce(t.{0}, 0) + excluded.{0})::bigint",
        "tests/integration/test_counters.py", "both_sides_count and postgres",
    ),
    Mutant(
        "canary", "the canary counts", "sync/wiring/cutover/canary.py",
        "amounts = {name: 0 for", "amounts = {name: 1 for", "tests/switches/test_gates.py", "counters",
    ),
    # inserts
    Mutant(
        "insert", "an insert is sent whatever the node's clock says", INSERTS,
        "time.sleep(max(0.0, behind))", "time.sleep(0)", INSERT, "newer_does_not_hide",
    ),
    Mutant(
        "insert", "an insert is answered before this host's clock has passed the node's", INSERTS,
        "time.sleep(max(0.0, ahead))", "time.sleep(0)", INSERT, "what_follows_an_insert",
    ),
    Mutant(
        "insert", "an insert that its replicas may have accepted counts as refused", INSERTS,
        '"refused" if isinstance(error, _REFUSALS) else "unsure"', '"unsure" if "OperationTimedOut" in repr(error) else "refused"',
        INSERT, "answer_that_is_lost",
    ),
    Mutant(
        "insert", "an insert into a table that is not read serially", "sync/stores/both_sides/table_flows.py",
        "if not self.config.options(name).lightweight_transactions:", "if False:", INSERT, "without_the_setting",
    ),
    Mutant(
        "insert", "an insert into Postgres replaces the row", REVERSE,
        "ON CONFLICT ({primary_key}) DO {if_expired}", "ON CONFLICT ({primary_key}) DO UPDATE SET {set_excluded}", INSERT, "stays_as_it_is",
    ),
    # reads at a cut-over
    Mutant(
        "6", "a read goes by what was heard last", "sync/adapters/postgres/dual_write/registration.py",
        "if self._is_switching and not self.breaker.is_open:", "if False:",
        "tests/integration/test_reads_at_a_cutover.py", "behind_the_switch and cutover",
    ),
    Mutant(
        "6", "a switch is over before what came of it is known", "sync/adapters/postgres/dual_write/registration.py",
        "self._switch = switch or self._switch", "self._switch = switch",
        "tests/integration/test_reads_at_a_cutover.py", "a_switch_is_over",
    ),
    Mutant(
        "proof", "what a shadow read has found is no matter", "sync/core/cutover/gates.py",
        'Gate("shadow reads", not found, ', 'Gate("shadow reads", True, ', "tests/switches/test_gates.py", "refuses_alone and shadow",
    ),
    Mutant(
        "proof", "a read that the next primary refuses is no matter", "sync/core/cutover/gates.py",
        'Gate("reads", not faults, ', 'Gate("reads", True, ', "tests/switches/test_gates.py", "refuses_alone and cannot",
    ),
    # transactions of the application's
    Mutant(
        "transaction", "the epoch is held from the first write on", "sync/stores/both_sides/transactions.py",
        "    share_epoch(connection)\n", "", TRANSACTIONS, "gives_up_on_a_long_one",
    ),
    Mutant(
        "transaction", "a write relies on the first hold of the epoch", "sync/adapters/postgres/dual_write/reverse.py",
        "            connection.execute(SHARE)  # rule 20; held already, unless the application's SQL has ended the first hold\n", "",
        TRANSACTIONS, "begins_anew",
    ),
    Mutant(
        "transaction", "what a savepoint undid is sent", "sync/stores/both_sides/transactions.py",
        "if made[2].id in there]", "if made[2].id]", TRANSACTIONS, "savepoint_undoes",
    ),
    Mutant(
        "transaction", "what was rolled back is sent", "sync/stores/both_sides/transactions.py",
        "for reverse, mutation, intent in self._kept:", "for reverse, mutation, intent in self._made:",
        TRANSACTIONS, "own_rollback",
    ),
    Mutant(
        "transaction", "an error that was caught is forgotten", HELD,
        "                    held.check()\n", "", TRANSACTIONS, "caught_is_no_commit and postgres",
    ),
    Mutant(
        "transaction", "an idle transaction is not ended", HELD,
        "f\"{int(seconds * 1000)}ms\",", "\"0\",", TRANSACTIONS, "version_17",
    ),
    Mutant(
        "transaction", "a COMMIT without an answer has written nothing", HELD,
        "                    is_commit = True\n", "                    is_commit = False\n", TRANSACTIONS, "connection_that_breaks",
    ),
    Mutant(
        "transaction", "a transaction takes as many locks as it likes", "sync/stores/both_sides/transactions.py",
        "if len(locks) > MAX_LOCKS:", "if len(locks) > 99 * MAX_LOCKS:", TRANSACTIONS, "few_locks",
    ),
    # several nodes
    Mutant(
        "nodes", "ranges are read wherever the driver likes", "sync/adapters/cassandra/connection/routing.py",
        "first = [h for h in self._replicas(*place) if h.is_up and", "first = [h for h in () if h.is_up and",
        "tests/integration/test_three_nodes.py", "at_their_replicas and 1",
    ),
    Mutant(
        "nodes", "ranges go across the nodes' parts", "sync/wiring/backfill/command.py",
        "at_least, report.replica_boundaries)", "at_least)", "tests/integration/test_three_nodes.py", "at_their_replicas and 1",
    ),
    Mutant(
        "nodes", "one node's estimate is the table's", "sync/adapters/cassandra/schema/catalogue.py",
        "(one for future in asked for one", "(one for future in asked[:1] for one",
        "tests/integration/test_three_nodes.py", "as_large_as",
    ),
    Mutant(
        "nodes", "names of nodes that the first one leads to are not checked", "sync/adapters/cassandra/connection/tls.py",
        "self._names.get(found.address, found.address))", "self._names.get(found.address, next(iter(self._names.values()))))",
        "tests/integration/test_three_nodes.py", "certificate",
    ),
    Mutant(
        "32", "a recheck that is there stands for a new event", FEEDS,
        "SET id = DEFAULT, epoch = excluded.epoch,", "SET epoch = excluded.epoch,", ANNOUNCES, "rule_32_",
    ),
    Mutant(
        "32", "whoever has lost the feed records on", FEEDS,
        "FROM e WHERE name = %(name)s AND lease_owner = %(owner)s\n", "FROM e WHERE name = %(name)s\n", ANNOUNCES, "two_followers",
    ),
    Mutant(
        "39", "the time of an event is forgotten", ANNOUNCED,
        "pack_key(cells), token, change.timestamp, wait)", "pack_key(cells), token, None, wait)",
        ANNOUNCES, "rule_39_the_next_write",
    ),
    Mutant(
        "39", "what tells no time has none", ANNOUNCED,
        '"versions": [row[2] for row in rows],', '"versions": [row[2] or 1 for row in rows],', ANNOUNCES, "rule_39_without_a_time",
    ),
    Mutant(
        "40", "a reconcile picks what is not due", SETTLING,
        "  AND (i.not_before IS NULL OR i.not_before <= clock_timestamp())  -- rule 40\n", "", ANNOUNCES, "rule_40_a_key",
    ),
    Mutant(
        "40", "a repetition keeps the first one's time", FEEDS,
        "    not_before = greatest(i.not_before, excluded.not_before), lease", "    not_before = i.not_before, lease",
        ANNOUNCES, "rule_40_a_repetition",
    ),
    Mutant(
        "41", "a gap leaves the proof alone", "sync/adapters/postgres/cutover/sql/gates.sql",
        "is written for certain' FROM sync.gap", "is written for certain' FROM sync.gap WHERE false", FOLLOWERS, "rule_41_",
    ),
    Mutant(
        "41", "a gap counts from when it ends", FEEDS,
        "u.until + make_interval(secs => %(write_timeout)s + %(skew)s)", "u.until", FOLLOWERS, "rule_41_",
    ),
    Mutant(
        "42", "a switch does not wait for followers", "sync/flows/cutover.py",
        "while behind := self.authority.feeds_behind(switch, self.limits.write):", 'while behind := "":',
        FOLLOWERS, "rule_42_a_cut_over_waits",
    ),
    Mutant(
        "42", "the switch does not look once more", "sync/adapters/postgres/cutover/epochs.py",
        "if behind := self.feeds_behind(switch, 0.0):", 'if behind := "":', FOLLOWERS, "rule_42_the_switch_itself",
    ),
    Mutant(
        "49", "a node without a follower does not matter", "sync/core/cutover/followers.py",
        "    without = unfollowed(feeds, nodes)\n", "    without: list[str] = []\n", FOLLOWERS_GATE, "rule_49_a_node",
    ),
    Mutant(
        "49", "nodes of other data centres need a follower", "sync/core/cutover/followers.py",
        "if node.near and NODE_FEED", "if NODE_FEED", FOLLOWERS_GATE, "rule_49_a_node",
    ),
    Mutant(
        "41", "a feed that is behind is forgotten as if it had ended", FEEDS,
        "RETURNING told_until < 'infinity' AND", "RETURNING false AND", FOLLOWERS, "rule_41_what_a_forgotten",
    ),
    Mutant(
        "49", "passes from before a follower prove a table", "sync/adapters/postgres/cutover/sql/gates.sql",
        "WHERE %(gaps)s AND (name LIKE", "WHERE false AND %(gaps)s AND (name LIKE", FOLLOWERS, "rule_49_passes",
    ),
    Mutant(
        "43", "an event with a version that Postgres has is our own", FEEDS,
        "ORDER BY k.table_name, sha256(k.key)\n",
        "WHERE NOT EXISTS (SELECT FROM public.plays AS p WHERE p._sync_version = k.version)\nORDER BY k.table_name, sha256(k.key)\n",
        ANNOUNCES, "rule_43_",
    ),
    Mutant(
        "43", "what was sent is sent again when it is told of", "sync/adapters/postgres/dual_write/reverse.py",
        "if event <= version}", "if event < 0}", ANNOUNCES, "rule_43_what_was_sent",
    ),
    Mutant(
        "46", "the source's keys are not looked for", EXPANDING,
        "            self.journal.leave(due, keys)\n", "            pass\n", RECHECKS, "rule_46_rows_that_another_has_written",
    ),
    Mutant(
        "46", "the target's keys are not looked for", EXPANDING,
        "after = self.journal.leave_target(due, None)\n", "after = None\n", RECHECKS, "rule_46_rows_that_another_has_deleted",
    ),
    Mutant(
        "46", "no tombstone of the partition is left", EXPANDING,
        "        self.journal.bury(due)\n", "", RECHECKS, "rule_46_the_tombstone_comes",
    ),
    Mutant(
        "46", "the partition's tombstone is without the event's time", "sync/adapters/postgres/capture/sql/partitions.sql",
        "greatest(%(version)s, 1))", "1)", RECHECKS, "rule_46_the_next_write",
    ),
    Mutant(
        "46", "the partition's tombstone does not hold the range", "sync/adapters/postgres/capture/partition_rechecks.py",
        '            connection.execute(_SHARE_RANGE, {"table": self._table.name, "token": due.key.token})\n', "",
        RECHECKS, "rule_46_the_tombstone_waits",
    ),
    Mutant(
        "47", "a worker does not ask whether the call has ended", PARTITION_RECHECKS,
        "i.lease_until < statement_timestamp()) AND {is_due}\n",
        "i.lease_until < statement_timestamp()) AND ({is_due} OR true)\n", CALLS, "rule_47_an_open_one",
    ),
    Mutant(
        "47", "a partition's recheck has the time of its announcement", JOURNAL,
        "version = CASE WHEN kind = 'recheck_partition' THEN", "version = CASE WHEN kind = 'none' THEN",
        CALLS, "rule_47_what_the_call_hides and finished",
    ),
    Mutant(
        "47", "of a call whose end nobody saw the announcement's time counts", PARTITION_RECHECKS,
        "CASE WHEN state = 'finished' THEN version", "CASE WHEN true THEN version", CALLS, "rule_47_what_the_call_hides and dies",
    ),
    Mutant(
        "47", "an earlier tombstone may be as new", PARTITION_RECHECKS,
        "* 1000000)::bigint, 1 + (", "* 1000000)::bigint, 0 * (", CALLS, "rule_47_each_recheck",
    ),
    Mutant(
        "47", "a stamp does not exceed a call's partition", PARTITIONS,
        "AND kind = 'recheck_partition'\n", "AND kind = 'none'\n", CALLS, "rule_47_the_next_write",
    ),
    Mutant(
        "47", "the end of a partition's call that nobody saw leaves the proof alone", PARTITION_RECHECKS,
        "    RETURNING i.table_name, i.state, i.mutation\n", "    RETURNING i.table_name, 'finished' AS state, i.mutation\n",
        CALLS, "rule_47_a_call_that_raised",
    ),
    Mutant(
        "47", "what a worker has removed of a live writer's is not recorded again", "sync/flows/wrapped_write.py",
        "if self.is_partition(key) and intent.id not in found]", "if False]",
        CALLS, "rule_47_who_was_taken_for_dead and finished",
    ),
    Mutant(
        "47", "… nor where the mark comes later", "sync/adapters/postgres/dual_write/write_behind.py",
        "if partition and intent.id not in found:", "if False:", CALLS, "rule_47_who_was_taken_for_dead and away",
    ),
    Mutant(
        "47", "the end of a call leaves the recheck to the worker that has picked it", JOURNAL,
        "lease_until = CASE WHEN kind = 'recheck_partition' THEN NULL ELSE lease_until END", "lease_until = lease_until",
        CALLS, "rule_47_a_worker_removes",
    ),
    Mutant(
        "47", "a recheck that a worker has looked at is finished", JOURNAL,
        "AND lease_owner IS NOT NULL THEN 'unsure'", "AND lease_owner IS NOT NULL THEN %(state)s",
        CALLS, "rule_47_a_worker_that_looks",
    ),
    Mutant(
        "47", "a worker removes what is no longer as it was picked", PARTITION_RECHECKS,
        "    WHERE i.id = picked.id AND i.state = picked.state AND i.lease_owner = %(worker)s\n    RETURNING",
        "    WHERE i.id = picked.id AND i.lease_owner = %(worker)s\n    RETURNING", CALLS, "rule_47_a_worker_removes",
    ),
    Mutant(
        "47", "the end of a call lowers its recheck's version", JOURNAL,
        "THEN greatest(version, %(clock)s)", "THEN %(clock)s", CALLS, "rule_47_a_call_ends_at",
    ),
    Mutant(
        "47", "the end of a call has Postgres's time", JOURNAL, "THEN greatest(version, %(clock)s)",
        "THEN greatest(version, %(clock)s, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)",
        CALLS, "rule_47_a_call_ends_at",
    ),
    Mutant(
        "47", "nothing exceeds the highest tombstone, and the table is not drained", PARTITION_RECHECKS,
        "least(p.version, {most})", "p.version", CALLS, "rule_47_each_recheck",
    ),
    Mutant(
        "47", "nobody asks whether the triggers are there", "sync/stores/both_sides/table_flows.py",
        "return not made[table].faults(watched(connection, [made[table]]))", "return connection is not None",
        CALLS, "without_triggers",
    ),
    Mutant(
        "47", "the partition is sent again after each call", "sync/stores/both_sides/table_flows.py",
        "False, self._sql_announces(by_name), self", "False, lambda _: False, self", CALLS, "triggers_tell",
    ),
    Mutant(
        "33", "a put does not take its partition's lock", JOURNAL,
        "SELECT pg_advisory_xact_lock_shared(%(partition)s), pg_advisory_xact_lock(%(lock)s)",
        "SELECT %(partition)s::bigint, pg_advisory_xact_lock(%(lock)s)", DELETES, "rule_33_a_put_waits",
    ),
    Mutant(
        "33", "a reconcile does not take the partitions' locks", SETTLING,
        "SELECT pg_advisory_xact_lock_shared(number)", "SELECT number", DELETES, "rule_33_a_reconcile",
    ),
    Mutant(
        "33", "a delete shares the partition's lock", PARTITIONS,
        "SELECT pg_advisory_xact_lock(%(partition)s)", "SELECT pg_advisory_xact_lock_shared(%(partition)s)",
        DELETES, "rule_33_a_put_that_has_begun",
    ),
    Mutant(
        "33", "a delete in the primary takes no lock", DELETING,
        "        lock_partition(connection, mutation.key)\n        return", "        return",
        DELETES, "rule_33_with_postgres_as_primary",
    ),
    Mutant(
        "33", "partitions are deleted beside older writers", "sync/adapters/postgres/dual_write/sql/writers.sql",
        "AND protocol < 1", "AND protocol < 0", DELETES, "rule_33_no_partition",
    ),
    Mutant(
        "34", "the delete of a partition leaves no tombstone", PARTITIONS,
        "SELECT %(table)s, %(token)s, m.version FROM mine AS m\n",
        "SELECT %(table)s, %(token)s, m.version FROM mine AS m WHERE false\n", DELETES, "rule_34_an_older_put",
    ),
    Mutant(
        "34", "a put does not look at its partition's tombstone", PARTITIONS,
        "AND version >= %(version)s)", "AND version >= %(version)s AND false)", DELETES, "rule_34_an_older_put",
    ),
    Mutant(
        "34", "a stamp does not exceed the partition's tombstone", PARTITIONS,
        "UNION ALL SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s\nUNION ALL",
        "UNION ALL", DELETES, "rule_34_a_write_after",
    ),
    Mutant(
        "34", "a reconcile does not look at the partition's tombstone", PARTITIONS,
        "         (SELECT version FROM sync.partition_tombstone WHERE table_name = %(table)s AND token = %(token)s))",
        "         NULL)", DELETES, "rule_34_a_reconcile_sees",
    ),
    Mutant(
        "34", "the merge does not look at the tombstones of partitions", "sync/adapters/postgres/backfill/merge.py",
        "  AND NOT EXISTS (SELECT FROM sync.partition_tombstone AS p WHERE p.table_name = {name} AND p.token = s.{token})\n", "",
        DELETES, "rule_34_a_page",
    ),
    Mutant(
        "34", "a direct COPY does not look at the tombstones of partitions", "sync/adapters/postgres/backfill/sql/ranges.sql",
        "    OR EXISTS (SELECT FROM sync.partition_tombstone WHERE table_name = %(table)s AND token BETWEEN %(start)s AND %(end)s)\n",
        "", DELETES, "rule_34_a_range",
    ),
    Mutant(
        "34", "a deleted row is taken for an expired one", "sync/adapters/postgres/dual_write/reconcile.py",
        "deletes = is_deleted or", "deletes =", DELETES, "rule_34_a_deleted_row",
    ),
    Mutant(
        "35", "a delete's stamp is the clock alone", PARTITIONS,
        "greatest(%(clock)s, %(above)s, e.floor, 1 + least(coalesce(known.version, 0), {most}))",
        "greatest(%(clock)s, %(above)s, e.floor)", DELETES, "rule_35_a_delete",
    ),
    Mutant(
        "35", "a stamp does not exceed an open delete of the partition", PARTITIONS,
        "UNION ALL SELECT version FROM sync.intent WHERE table_name = %(table)s AND token = %(token)s AND kind = 'delete_partition'",
        "", DELETES, "rule_35_a_put",
    ),
    Mutant(
        "35", "the switch does not count deletes of partitions", "sync/adapters/postgres/cutover/sql/epochs.sql",
        "SELECT (SELECT count(*) FROM sync.intent) +", "SELECT (SELECT count(*) FROM sync.intent WHERE kind <> 'delete_partition') +",
        DELETES, "rule_35_nothing",
    ),
    Mutant(
        "35", "a delete of a partition is accepted without an intent", "sync/flows/dual_write.py",
        'if mutation.kind == "delete_partition" or not self.write_behind.begin_accepting():',
        "if not self.write_behind.begin_accepting():", "tests/integration/test_delete_many.py", "without_postgres",
    ),
    Mutant(
        "36", "the delete of a partition deletes what is newer", PARTITIONS,
        "<= (SELECT m.version FROM mine AS m)", "<> (SELECT -m.version FROM mine AS m)", DELETES, "rule_36_a_newer_row_stays",
    ),
    Mutant(
        "36", "a newer row is not rechecked", PARTITIONS,
        "> (SELECT o.version FROM mine AS o)", "< -(SELECT o.version FROM mine AS o)", DELETES, "rule_36_a_newer_row_is",
    ),
    Mutant(
        "36", "the delete of a partition does not hold the range", DELETING,
        "            connection.execute(_SHARE_RANGE, values)\n", "", DELETES, "rule_36_a_merge",
    ),
    Mutant(
        "36", "a delete that is done is done again", PARTITIONS,
        "    SELECT id, version, epoch, owner FROM sync.intent WHERE id = %(intent)s FOR UPDATE",
        "    SELECT %(intent)s::bigint AS id, 1::bigint AS version, 1::bigint AS epoch, ''::text AS owner",
        DELETES, "rule_36_an_intent",
    ),
    Mutant(
        "36", "the rejects of a deleted partition stay", DELETING,
        "                self._recheck_rejected(connection, mutation.key, intent)\n", "                pass\n",
        DELETES, "rule_36_a_rejected",
    ),
    Mutant(
        "37", "an unsure delete of a partition is not sent again", ENDING,
        "if not (forward and due.is_acknowledged):", "if not forward:", DELETES, "rule_37_an_unsure",
    ),
    Mutant(
        "37", "a refused delete of a partition is done", ENDING,
        'if outcome != "written":', 'if outcome == "unsure":', DELETES, "rule_37_what_is_refused",
    ),
    Mutant(
        "37", "a delete that is sent again can be withdrawn", PARTITIONS,
        "state = CASE WHEN state = 'finished' THEN state ELSE 'claimed' END", "state = state", DELETES, "rule_37_a_claimed",
    ),
    Mutant(
        "38", "a worker sends a delete of a partition with a newer version", ENDING,
        "self.source.write(due.mutation, due.version)", "self.source.write(due.mutation, due.version + 60_000_000)",
        DELETES, "rule_38_the_source",
    ),
    Mutant(
        "44", "a statement believes the epoch of its snapshot", STATE_SQL,
        "PERFORM FROM sync.epoch WHERE epoch = e.epoch FOR SHARE;", "NULL;", SQL_WRITERS, "rule_44_a_snapshot",
    ),
    Mutant(
        "44", "a statement does not wait while the epoch is closing", STATE_SQL,
        "IF e.is_closing THEN", "IF false THEN", SQL_WRITERS, "rule_44_sql_that_waited",
    ),
    Mutant(
        "44", "SQL writes the side that follows", STATE_SQL,
        """IF e."primary" = 'astra' AND TG_ARGV""", """IF e."primary" = 'nobody' AND TG_ARGV""", SQL_WRITERS, "rule_44_sql_is_refused",
    ),
    Mutant(
        "45", "a row that is gone tells no version", CHANGES,
        "greatest(max(k.version) OVER same, moment)", "moment", SQL_WRITERS, "rule_45_a_row_that_is_gone",
    ),
    Mutant(
        "45", "a row keeps its old key's token", REVERSE,
        "{token} = %(token)s -- SQL knows", "{token} = coalesce(t.{token}, %(token)s) -- SQL knows", SQL_WRITERS, "rule_45_a_row_with_another",
    ),
    Mutant(
        "45", "an announcement is one with an earlier one", CHANGES,
        "greatest(max(k.version) OVER same, moment)", "coalesce(max(k.version) OVER same, 0)", SQL_WRITERS, "rule_45_a_write_during",
    ),
    Mutant(
        "45", "partitions have no triggers", TRIGGERS,
        "    UNION SELECT found.name, i.inhrelid FROM pg_inherits AS i JOIN found ON found.oid = i.inhparent\n", "",
        SQL_WRITERS, "rule_45_a_statement_may",
    ),
    Mutant(
        "50", "a switch passes by what SQL has changed", "sync/adapters/postgres/cutover/sql/epochs.sql",
        " + (SELECT count(*) FROM sync.sql_change)", "", SQL_CHANGES, "rule_50_no_switch",
    ),
    Mutant(
        "50", "a check passes by what SQL has changed", "sync/adapters/postgres/drift/sql/drift.sql",
        "c.key IN (SELECT key FROM k)", "false", SQL_CHANGES, "rule_50_a_check",
    ),
    Mutant(
        "50", "status passes by what SQL has changed", "sync/adapters/postgres/cutover/sql/gates.sql",
        "FROM sync.sql_change WHERE %(told)s", "FROM sync.sql_change WHERE false AND %(told)s", SQL_CHANGES, "rule_50_it_is_shown",
    ),
    Mutant(
        "50", "a drain passes by what SQL has changed", "sync/flows/drain.py",
        "changes = 0 if is_moved else self.journal.expand()", "changes = 0", SQL_CHANGES, "rule_50_no_switch",
    ),
    Mutant(
        "50", "a drain moves other tables' changes without end", "sync/flows/drain.py",
        "is_moved = changes < CHANGES_AT_ONCE", "is_moved = False", "tests/unit/test_drain_lanes.py", "what_sql_changes",
    ),
    Mutant(
        "50", "a change has the version of a recheck that is picked", CHANGES,
        "WHERE NOT EXISTS (SELECT FROM made AS m", "WHERE false AND NOT EXISTS (SELECT FROM made AS m", SQL_CHANGES, "above_a_recheck",
    ),
    Mutant(
        "35", "a delete is below a row that SQL has deleted", "sync/adapters/postgres/dual_write/sql/partitions.sql",
        """WHERE (SELECT "primary" FROM e) = 'astra' AND table_name""", "WHERE false AND table_name", DELETES, "rule_35_nor_is_it",
    ),
    Mutant(
        "50", "an older version switches past what SQL has changed", "migrations/003_sync_state.sql",
        "IF EXISTS (SELECT FROM sync.sql_change) THEN", "IF false THEN", SQL_CHANGES, "rule_50_no_older",
    ),
)  # fmt: skip
