"""What proves a table, and what comes next: pure judgements."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sync.core.cutover.agreement import agreed, differences, may_write
from sync.core.cutover.gates import Gate
from sync.core.cutover.phases import MigrationState, next_step, phase
from sync.core.cutover.proof import Pass, ProofBounds, proof_gate, proofs, undisturbed_gate
from sync.core.rows import TableOptions

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINCE = ProofBounds(3, T, {})


def a_pass(number: int, table: str = "a", **changes: object) -> Pass:
    return replace(Pass(number, table, True, 0, 3, "s", T + number * HOUR), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("passes", "good", "why"),
    [
        ([], 0, "no pass yet"),
        ([a_pass(1)], 1, "none before it"),
        ([a_pass(2), a_pass(1)], 2, "none before it"),
        ([a_pass(2, clean=False), a_pass(1)], 0, "pass 2 was not clean"),
        ([a_pass(2), a_pass(1, repaired=4)], 1, "pass 1 repaired"),
        ([a_pass(2), a_pass(1, epoch=2)], 1, "pass 1 was in another epoch"),
        ([a_pass(2), a_pass(1, epoch=None)], 1, "pass 1 was in another epoch"),
        ([a_pass(2, shape="other")], 0, "pass 2 was made before the schema or sync.toml changed"),
        ([a_pass(2, data_center="dc2")], 0, "pass 2 read data centre dc2"),
        ([a_pass(0)], 0, "pass 0 began before this epoch"),
        ([a_pass(2, "b"), a_pass(1, "b")], 0, "no pass yet"),
    ],
)
def test_what_proves_a_table(passes: list[Pass], good: int, why: str) -> None:
    (found,) = proofs(passes, {"a": "s"}, SINCE, "dc1")
    assert (found.passes, found.why, found.green) == (good, why, good == 2)


def test_what_disturbs_one_table_leaves_the_others() -> None:
    passes = [a_pass(n, table) for n in (4, 3) for table in "ab"]
    since = replace(SINCE, disturbed={"a": (T + 3 * HOUR, "x in a"), "": (T + 2 * HOUR, "y")})
    found = {proof.table: proof for proof in proofs(passes, {"a": "s", "b": "s", "c": None}, since)}
    assert [found[name].passes for name in "abc"] == [1, 2, 0]
    gate = proof_gate(list(found.values()))
    assert not gate.green
    assert gate.figure == (
        "1 of 3 tables with 2 clean full passes in a row; a: 1 clean, pass 3 began before x in a; c: 0 clean, no pass yet"
    )
    assert not proof_gate([]).green, "of no table there is no proof"


def test_a_gate_of_many_tables_stays_readable() -> None:
    gate = proof_gate(proofs([], {f"t{n}": None for n in range(200)}, SINCE))
    assert gate.figure.endswith("t0, t1, t2, t3, t4 and 195 more: 0 clean, no pass yet")


def test_what_an_emergency_goes_by() -> None:
    def gate(passes: list[Pass], **disturbed: tuple[datetime, str]) -> Gate:
        return undisturbed_gate(passes, ["a"], replace(SINCE, disturbed={n.strip("_"): d for n, d in disturbed.items()}))

    assert gate([]).green and gate([a_pass(2), a_pass(1, clean=False)]).green
    assert not gate([a_pass(2, repaired=1)]).green and not gate([a_pass(2, clean=False)]).green
    assert gate([a_pass(2, epoch=2, clean=False)]).green, "an epoch is begun with a proof"
    assert not gate([], a=(T + HOUR, "given up")).green and not gate([], _=(T + HOUR, "recorded late")).green
    assert gate([], a=(T - HOUR, "given up")).green and gate([], other=(T + HOUR, "given up")).green


def test_settings_that_must_agree() -> None:
    mine = agreed(["a", "b"], [], {"a": TableOptions(rename={"x": "y"}), "b": TableOptions()}, ["c"])
    assert mine == {"only": ["a", "b"], "exclude": [], "tables": {"a": {"rename": {"x": "y"}}}}
    theirs = agreed(None, ["z"], {"a": TableOptions(ignore=frozenset("x"), keep_ttl=True)})
    assert differences(mine, theirs) == ["only", "exclude", "tables.a.ignore", "tables.a.rename", "tables.a.ttl"]
    assert differences(mine, mine) == [] and differences(mine, theirs, ["b"]) == []
    assert may_write(mine, "a") and not may_write(mine, "z") and may_write(theirs, "y") and not may_write(theirs, "z")
    assert may_write(None, "z") and may_write({"wraps": "astra"}, "z"), "who did not tell may write anything"


def test_the_remedy_repairs_what_a_pass_found() -> None:
    """Would break: a pass with findings is repeated without a repair, and finds them again."""

    def remedy(*passes: Pass) -> str:
        return proof_gate(proofs(passes, {"a": None}, SINCE)).remedy

    repairs, repeats = "sync drift-report --repair, then twice without it; ", "sync drift-report, twice; "
    assert remedy(a_pass(1, clean=False)).startswith(repairs)
    assert remedy(a_pass(2), a_pass(1, clean=False)).startswith(repeats), "what it found is gone"
    assert remedy(replace(a_pass(1, clean=False), repaired=3)).startswith(repeats)
    assert remedy().startswith(repeats)


GREEN = {name: Gate(name, True, "") for name in ("backfill", "writers", "intents", "proof")}


def stands(red: str = "", **changes: object) -> MigrationState:
    gates = {**GREEN, **({red: Gate(red, False, "it is red", "mend it")} if red else {})}
    return replace(MigrationState("astra", gates, True, False, False, 0, 0, 1, 1), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("migration", "is_in", "says"),
    [
        (stands(begun=False), "schema", "sync backfill"),
        (stands(failed=True), "backfill", "failed ranges"),
        (stands(unfinished=True), "backfill", "under way"),
        (stands("backfill"), "backfill", "sync backfill"),
        (stands(intents=3, workers=0), "proved", "3 keys to be reconciled: run `sync worker`"),
        (stands(intents=3, workers=None), "proved", "run `sync worker`"),
        (stands(intents=3), "proved", "sync cutover"),
        (stands("intents", intents=3, workers=2), "backfilled", "3 keys being reconciled by 2 workers"),
        (stands("rejects", rejected=2), "backfilled", "2 rejected rows"),
        (stands("writers", writers=0), "backfilled", "begin to write to both sides"),
        (stands("writers", writers=2), "backfilled", "writers: it is red: mend it"),
        (stands("settings"), "backfilled", "settings: it is red: mend it"),
        (stands("proof"), "backfilled", "compare both sides: mend it"),
        (stands(), "proved", "sync cutover"),
        (stands(gates={}, not_judged="away"), "backfilled", "could not be evaluated: away"),
        (stands("proof", primary="postgres"), "cut over", "allows a rollback (sync rollback --fast"),
        (stands(primary="postgres"), "cut over", "sync rollback goes back"),
        (stands(primary="postgres", intents=2, workers=0), "cut over", "2 keys to be sent to Astra"),
    ],
)
def test_phase_and_next_step(migration: MigrationState, is_in: str, says: str) -> None:
    assert phase(migration) == is_in
    assert says in next_step(migration)
