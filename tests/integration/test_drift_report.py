"""`sync drift-report` as a command and as a pass: its contract, exit codes, repairs, and what must never be called clean."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.backfills import Site
from support.drift import drift, kinds, table_of
from support.sources import make_corpus, song

from sync.adapters.cassandra.connection import pages
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.drift.check_ledger import DriftLedger
from sync.core.ring import MAX_TOKEN, MIN_TOKEN, WHOLE_RING
from sync.errors import SourceUnavailable
from sync.settings import Settings
from sync.wiring.drift.command import DriftRequest

FEW = WHOLE_RING.split(4)
QUICK = "\n[drift]\ngrace_seconds = 0.05\ntries = 3"
STATES = "SELECT kind, state FROM sync.intent"


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Both tables, backfilled: equal."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure(more=QUICK)
    make_corpus(opened, songs=300, notes=90)
    opened.backfill()
    yield opened
    opened.close()


def key_of(i: int) -> str:
    return str(song(i)[0])


def plant(site: Site) -> dict[str, list[dict[str, str]]]:
    """One difference of each kind among the songs; what the report must find."""
    site.sql("UPDATE songs SET title = title || ' ' WHERE id = %s", (key_of(1),))
    site.sql("DELETE FROM songs WHERE id = %s", (key_of(2),))
    extra = UUID(int=77)
    site.sql("INSERT INTO songs (id, title) VALUES (%s, 'by hand')", (extra,))
    return {"different": [{"id": key_of(1)}], "missing": [{"id": key_of(2)}], "extra": [{"id": str(extra)}]}


def test_equal_sides_are_clean(site: Site) -> None:
    """Would break: a report finds a difference where there is none, or is clean without having read every row."""
    done = site.run("drift-report", "--json", "--workers", "2")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["clean"]
    for name, count in (("songs", 300), ("notes", 90)):
        table = table_of(report, name)
        assert table["clean"]
        assert table["findings"] == []
        assert (table["rows"]["source"], table["rows"]["target"], table["rows"]["same"]) == (count, count, count)
        assert table["ranges"]["same"] == table["ranges"]["total"] >= 64
    once_more = "run `sync drift-report` once more: a cutover requires 2 clean passes in a row"
    assert (report["next_step"], report["about"]["epoch"], report["about"]["primary"]) == (once_more, 1, "astra")
    assert done.err.splitlines()[-1].startswith("Equal (pass 1, ")
    assert done.err.splitlines()[-1].endswith(f"; next: {once_more}")
    again = site.run("drift-report", "--json", "--quiet", "--workers", "1")
    assert again.err.splitlines()[0].startswith("Equal (pass 2, "), "no progress, and the verdict"
    assert json.loads(again.out)["next_step"].startswith("`sync cutover --dry-run` shows the other gates: 2 clean passes")


def test_the_report_for_programs(site: Site) -> None:
    """Would break: a name of the contract is missing or has another type; rows' values are shown unasked."""
    wanted = plant(site)
    done = site.run("drift-report", "--json", "--table", "songs", "--workers", "1")
    assert done.code == 2, done.err
    report = json.loads(done.out)
    assert {"clean", "tables", "started_at", "finished_at", "search", "next_step", "pass"} <= report.keys()
    assert [t["table"] for t in report["tables"]] == ["songs"]
    table = table_of(report, "songs")
    assert {"table", "ranges", "rows", "findings", "ring", "seconds", "repaired", "latency"} <= table.keys()
    assert set(table["ranges"]) == {"total", "same", "different", "unknown"}
    assert set(table["rows"]) == {
        "source", "target", "same", "missing", "extra", "different", "kept", "in_flight", "rejected", "unknown",
    }  # fmt: skip
    assert kinds(table) == wanted
    assert {tuple(f["columns"]) for f in table["findings"]} == {("title",), ()}
    assert table["ranges"]["different"] == 3
    assert {r["verdict"] for r in table["ring"]} == {"same", "different"}
    assert sum(r["rows"] for r in table["ring"]) == table["rows"]["source"] == 300
    assert (table["ring"][0]["start"], table["ring"][-1]["end"]) == (MIN_TOKEN, MAX_TOKEN)
    for finding in table["findings"]:
        assert {"kind", "key", "columns", "source_version", "target_version", "repaired", "announced"} == finding.keys()
        assert finding["announced"] is False, "nothing has told of what was planted"
        assert finding["source_version"] is None if finding["kind"] == "extra" else finding["source_version"] > 10**15
        assert (finding["target_version"] is None) == (finding["kind"] == "missing")
    assert "song 1" not in done.out
    assert "by hand" not in done.out


def test_values_only_where_they_are_asked_for(site: Site) -> None:
    """Would break: --show-values shows nothing; or values are recorded in the state, where others may read them."""
    plant(site)
    done = site.run("drift-report", "--json", "--table", "songs", "--show-values", "--workers", "1")
    found = {f["kind"]: f["values"] for f in json.loads(done.out)["tables"][0]["findings"]}
    assert found["different"] == {"source": {"title": "song 1"}, "target": {"title": "song 1 "}}
    assert found["missing"]["source"]["title"] == "song 2"
    assert found["missing"]["target"] is None
    assert (found["extra"]["source"], found["extra"]["target"]["title"]) == (None, "by hand")
    for name in ("drift_pass", "drift_finding", "run"):
        assert "song 2" not in str(site.sql(f"SELECT row_to_json(t)::text FROM sync.{name} AS t"))


def test_for_people_as_csv_and_into_a_file(site: Site) -> None:
    """Would break: a form of the report leaves findings out, or a file that cannot be written is reported too late."""
    plant(site)
    shown = site.run("drift-report", "--table", "songs", "--workers", "1")
    assert shown.code == 2
    assert shown.out.startswith("NOT proved equal (pass 1,")
    assert "3 findings" in shown.out
    assert "\nnext: look at the findings, then run `sync drift-report --repair`" in shown.out
    done = site.run("drift-report", "--table", "songs", "--format", "csv", "--output", "found.csv", "--workers", "1")
    assert (done.code, done.out) == (2, "")
    assert "\nNOT proved equal (pass 2, " in done.err
    assert "): 3 findings; next: look at the findings" in done.err.splitlines()[-1]
    rows = list(csv.DictReader(io.StringIO((site.folder / "found.csv").read_text())))
    assert {row["kind"] for row in rows} == {"missing", "extra", "different"}
    assert {row["key"] for row in rows} == {f"id={key_of(1)}", f"id={key_of(2)}", f"id={UUID(int=77)}"}
    wrong = site.run("drift-report", "--output", "nowhere/found.csv", "--workers", "0")
    assert (wrong.code, wrong.err.count("\n")) == (1, 1)
    assert "nowhere/found.csv: No such file" in wrong.err


def test_the_page_shows_what_the_report_holds(site: Site) -> None:
    """Would break: the report has requested values, or the checks' times, under names that the page does not know."""
    plant(site)
    done = site.run("drift-report", "--table", "songs", "--show-values", "--format", "html", "--workers", "1")
    assert done.code == 2, done.err
    assert "by hand" in done.out
    assert "song 2" in done.out
    assert "adds both values to every finding" not in done.out
    (row,) = re.findall(r'<th role="rowheader" scope="row"><bdi>songs</bdi></th>(.*?)</tr>', done.out)
    assert len(re.findall(r"[\d.,]+ m?s</div>", row)) == 3, row


def test_every_pass_is_recorded(site: Site) -> None:
    """Would break: a cut-over cannot know when both sides were last proved equal."""
    status = json.loads(site.run("status", "--json").out)
    assert status["last_drift"] is None
    drift(site, ranges=FEW)
    plant(site)
    drift(site, ranges=FEW)
    done = site.run("drift-report", "--history", "--json")
    assert done.code == 0
    passes = json.loads(done.out)["passes"]
    assert [p["clean"] for p in passes] == [False, True]
    assert passes[0]["started_at"] < passes[0]["finished_at"]
    assert {t["table"]: t["rows"]["missing"] for t in passes[0]["tables"]} == {"songs": 1, "notes": 0}
    last = json.loads(site.run("status", "--json").out)["last_drift"]
    assert (last["clean"], last["findings"], last["repaired"]) == (False, 3, 0)
    assert last["finished_at"] == passes[0]["finished_at"]
    assert "not equal" in site.run("drift-report", "--history").out
    assert site.sql("SELECT count(*) FROM sync.range AS r JOIN sync.run ON run.id = run_id WHERE kind = 'drift'") == [(0,)]


def test_rows_without_a_token_are_stamped_and_checked(site: Site) -> None:
    """Would break: rows written by hand into Postgres are in no range, and nobody ever compares them."""
    same, other, extra = key_of(5), key_of(6), str(UUID(int=78))
    site.sql("UPDATE songs SET _sync_token = NULL, _sync_version = NULL WHERE id IN (%s, %s)", (same, other))
    site.sql("UPDATE songs SET title = 'changed' WHERE id = %s", (other,))
    site.sql("INSERT INTO songs (id, title) VALUES (%s, 'by hand')", (extra,))
    site.sql("UPDATE notes SET _sync_token = NULL")
    report = drift(site, ranges=FEW)
    assert kinds(table_of(report, "songs")) == {"different": [{"id": other}], "extra": [{"id": extra}]}
    assert table_of(report, "notes")["clean"], "composite keys, too"
    site.sql("DELETE FROM songs WHERE id = %s", (extra,))
    site.sql("UPDATE songs SET title = 'song 6' WHERE id = %s", (other,))
    site.check_equal("songs", "notes")


def test_a_row_that_gets_no_token_in_time_is_unknown(site: Site) -> None:
    """Would break: invariant 5: a row written by hand while the pass runs is in no range, and the pass is clean."""
    by_hand = "INSERT INTO songs (id, title) VALUES (%s, 'late')"
    table = table_of(drift(site, ["songs"], ranges=FEW, between=lambda: site.sql(by_hand, (UUID(int=79),))), "songs")
    assert not table["clean"]
    assert (table["without_token"], table["rows"]["unknown"]) == (1, 1)


def test_a_row_that_is_announced_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: while a wrapped class inserts rows into Postgres, which have no token until they are sent, no pass is clean."""
    key = key_of(5)
    ((token,),) = site.sql("SELECT _sync_token FROM songs WHERE id = %s", (key,))

    def insert(*_: Any) -> dict[str, str]:  # after its range was checked
        site.sql("UPDATE songs SET _sync_token = NULL WHERE id = %s", (key,))
        site.sql(
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
            "SELECT 'songs', int4send(16) || uuid_send(id), %s, 'recheck', 'finished', 1, 1, 'test' FROM songs WHERE id = %s",
            (token, key),
        )
        return {}

    def send(*_: Any) -> None:
        site.sql("UPDATE songs SET _sync_token = %s WHERE id = %s", (token, key))
        site.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")

    monkeypatch.setattr("sync.wiring.drift.command._changed_tables", insert)
    monkeypatch.setattr("sync.wiring.drift.command.sleep", lambda *_: None)
    stays = table_of(drift(site, ["songs"], ranges=FEW), "songs")
    assert (stays["without_token"], stays["clean"]) == (1, False)
    send()
    monkeypatch.setattr("sync.wiring.drift.command.sleep", send)
    assert table_of(drift(site, ["songs"], ranges=FEW), "songs")["clean"]


def test_repair_makes_equal_and_the_next_pass_is_clean(site: Site) -> None:
    """Would break: a repair bypasses the reconciles, is not checked, or its pass counts as a clean one."""
    wanted = plant(site)
    site.sql("UPDATE notes SET words = NULL, pitch = pitch + 1 WHERE at = 7")
    done = site.run("drift-report", "--repair", "--json", "--workers", "2")
    assert done.code == 2, done.err
    report = json.loads(done.out)
    songs, notes = table_of(report, "songs"), table_of(report, "notes")
    assert kinds(songs) == wanted
    assert [f["columns"] for f in notes["findings"]] == [["pitch", "words"]]
    assert (songs["repaired"], notes["repaired"]) == (3, 1)
    assert all(f["repaired"] for t in (songs, notes) for f in t["findings"])
    assert site.sql(STATES) == []
    site.check_equal("songs", "notes")
    assert site.sql("SELECT count(*) FROM sync.tombstone WHERE table_name = 'songs'") == [(1,)], "the extra row's"
    again = site.run("drift-report", "--json", "--workers", "1")
    assert again.code == 0, again.out
    assert json.loads(again.out)["clean"]


def test_without_repair_nothing_is_written(site: Site) -> None:
    """Would break: a report changes what it reports on."""
    plant(site)
    site.sql("UPDATE songs SET _sync_version = _sync_version")
    before = site.sql("SELECT * FROM songs WHERE _sync_token IS NOT NULL ORDER BY id")
    extra = site.sql("SELECT id, title FROM songs WHERE _sync_token IS NULL")
    drift(site, ranges=FEW)
    assert site.sql("SELECT * FROM songs WHERE id <> %s ORDER BY id", (extra[0][0],)) == before
    assert site.sql(STATES) == []


def test_rejected_rows_are_counted_by_their_record(site: Site) -> None:
    """Would break: a row that Postgres cannot hold is drift for ever; or one that nobody recorded passes for known."""
    site.fill(
        "INSERT INTO {ks}.songs (id, title, year) VALUES (?, ?, ?)", [(UUID(int=900 + i), "with\0nul", i) for i in range(3)]
    )
    site.backfill(["songs"])
    site.fill("INSERT INTO {ks}.songs (id, title) VALUES (?, ?)", [(UUID(int=950), "also\0nul")])
    table = table_of(drift(site, ["songs"], ranges=FEW), "songs")
    assert (table["rows"]["rejected"], table["rows"]["missing"], table["rows"]["source"]) == (3, 1, 304)
    assert kinds(table) == {"missing": [{"id": str(UUID(int=950))}]}
    # The value was fixed by somebody who does not write to both sides: its reject is outdated.
    site.fill("INSERT INTO {ks}.songs (id, title) VALUES (?, ?)", [(UUID(int=900), "mended")])
    table = table_of(drift(site, ["songs"], ranges=FEW, asked=DriftRequest(repair=True)), "songs")
    assert (table["rows"]["rejected"], table["rows"]["missing"], table["repaired"]) == (2, 2, 2)
    table = table_of(drift(site, ["songs"], ranges=FEW), "songs")
    assert (table["clean"], table["rows"]["rejected"]) == (True, 3)


def test_open_intents_are_in_flight_and_not_clean(site: Site) -> None:
    """Would break: a key that waits for a reconcile is called drift, or the pass is clean without it."""
    site.sql("UPDATE songs SET title = 'old' WHERE id = %s", (key_of(3),))
    site.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
        "SELECT 'songs', int4send(16) || uuid_send(id), _sync_token, 'recheck', 'finished', 1, 1, 'test' FROM songs WHERE id = %s",
        (key_of(3),),
    )
    report = drift(site, ["songs"], ranges=FEW)
    table = table_of(report, "songs")
    assert (table["rows"]["in_flight"], table["findings"], table["clean"]) == (1, [], False)
    assert report["next_step"].startswith("1 key in flight")


def test_an_unreadable_range_is_unknown_and_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: invariant 5: what could not be read is left out, and the rest looks clean."""
    real = pages.RangeReader.pages

    def sick(self: Any, tokens: Any, page_rows: int | None = None) -> Any:
        if tokens == FEW[2]:
            raise SourceUnavailable("NoHostAvailable: too few replicas")
        return real(self, tokens, page_rows)

    monkeypatch.setattr(pages.RangeReader, "pages", sick)
    monkeypatch.setattr("sync.flows.check_ranges._LONGEST_PAUSE", 0.05)
    report = drift(site, ["songs"], ranges=FEW)
    table = table_of(report, "songs")
    assert table["ranges"] == {"total": 4, "same": 3, "different": 0, "unknown": 1}
    assert [r["verdict"] for r in table["ring"]] == ["same", "same", "unknown", "same"]
    assert not report["clean"]
    assert "too few replicas" in table["errors"][0]
    assert report["next_step"].startswith("1 range and 0 rows not proved equal")
    monkeypatch.setattr(pages.RangeReader, "pages", real)
    assert drift(site, ["songs"], ranges=FEW)["clean"]


def test_a_report_does_not_sum_up_what_is_not_the_ring(site: Site) -> None:
    """Would break: invariants 4 and 5: ranges that were lost on the way, or numbers that do not add up, end as clean."""
    lose = "DELETE FROM sync.range WHERE id = (SELECT min(range.id) FROM sync.range JOIN sync.run ON run.id = run_id WHERE kind = 'drift')"
    with pytest.raises(ValueError, match="do not reach both ends"):
        drift(site, ["songs"], ranges=FEW, between=lambda: site.sql(lose))
    site.sql("DELETE FROM sync.run WHERE kind = 'drift'")
    real = DriftLedger.done

    def wrong(self: DriftLedger, lease: Any, checked: Any, table: Any) -> None:
        checked.rows.same -= 1
        real(self, lease, checked, table)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError, match="accounted for"):
        patch.setattr(DriftLedger, "done", wrong)
        drift(site, ["songs"], ranges=FEW)
    site.sql("DELETE FROM sync.run WHERE kind = 'drift'")


def test_a_writer_may_delete_while_a_pass_is_open(site: Site) -> None:
    """Would break: rule 9's locks: a tombstone waits for ranges of a drift report, not only for a backfill's."""
    with closing(site.connect()) as connection:
        runs = DriftLedger(connection, 60).begin_pass({"songs": FEW}, False)
        lease = DriftLedger(connection, 60).claim(runs, "me")
        assert lease
        with connection.transaction():
            connection.execute("SELECT FROM sync.range WHERE id = %s FOR UPDATE", (lease.range_id,))
            plain = "SET lock_timeout = '1s'"
            with closing(site.connect()) as writer:
                from sync.adapters.postgres.connection.queries import queries

                writer.execute(plain)
                for file, name in (("dual_write/reconcile", "share_ranges"), ("dual_write/journal", "share_range")):
                    values = {"table": "songs", "token": lease.whole.end, "tokens": [lease.whole.end]}
                    writer.execute(queries(file)[name].encode(), values)


def test_many_differences_are_counted_and_some_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: invariant 7: every finding is kept however many there are; or those not kept are not counted."""
    monkeypatch.setattr("sync.adapters.postgres.drift.check_ledger.MAX_KEPT", 50)
    site.sql("UPDATE songs SET year = -1")
    table = table_of(drift(site, ["songs"], ranges=FEW), "songs")
    assert table["rows"]["different"] == 300
    assert 50 <= len(table["findings"]) < 300


def test_a_table_without_bookkeeping_columns(site: Site) -> None:
    """Would break: a target that was filled by other means cannot be compared."""
    site.sql("ALTER TABLE songs DROP COLUMN _sync_token, DROP COLUMN _sync_version")
    table = table_of(drift(site, ["songs"], ranges=FEW), "songs")
    assert (table["clean"], table["rows"]["same"]) == (True, 300)


def test_wrong_tables_and_no_schema_are_errors(site: Site) -> None:
    """Would break: exit code 2 for an error, which a script takes for drift; or 0."""
    for arguments, text in ((["--table", "nosuch"], "nosuch"), (["--table", "songs"], "sync schema apply")):
        done = site.run("drift-report", "--workers", "0", *arguments)
        assert done.code == 1
        assert text in done.err
        site.sql("DROP TABLE IF EXISTS sync.drift_pass")
