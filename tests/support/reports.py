"""Drift reports made up for the tests of their HTML, in the form that `sync drift-report --json` has."""

from __future__ import annotations

from typing import Any

MIN_TOKEN, MAX_TOKEN = -(2**63), 2**63 - 1
BEGAN = 1_763_880_000_000_000


def ring(count: int, verdicts: dict[int, str] | None = None, rows: int = 130) -> list[dict[str, Any]]:
    """The ring in `count` ranges, all the same except those in `verdicts`."""
    cuts = [MIN_TOKEN + (2**64 - 1) * i // count for i in range(count + 1)]
    chosen = verdicts or {}
    return [{"start": cuts[i], "end": cuts[i + 1], "verdict": chosen.get(i, "same"), "rows": rows} for i in range(count)]


def table(name: str = "songs", size: int = 200_000, parts: int = 256, **changes: Any) -> dict[str, Any]:
    """A table without a difference, except for the changes."""
    made: dict[str, Any] = {
        "table": name,
        "ranges": {"total": parts, "same": parts, "different": 0, "unknown": 0},
        "rows": {"source": size, "target": size, "same": size, "missing": 0, "extra": 0, "different": 0, "in_flight": 0,
                 "rejected": 0, "unknown": 0},
        "findings": [], "ring": ring(parts, rows=size // parts), "seconds": 12.4, "repaired": 0,
        "latency": {"p50_ms": 38.2, "p99_ms": 121.5, "max_ms": 340.9},
    }  # fmt: skip
    for key, value in changes.items():
        made[key] = {**made[key], **value} if key in ("rows", "ranges") else value
    return made


def finding(kind: str = "different", key: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """One finding; `source` and `target` are what `--show-values` adds for a side."""
    sides = {side: more.pop(side) for side in ("source", "target") if side in more}
    if sides:
        more["values"] = {"source": None, "target": None, **sides}
    columns = ["title"] if kind == "different" else []
    versions = {
        "source_version": None if kind == "extra" else BEGAN,
        "target_version": None if kind == "missing" else BEGAN - 3_200_000,
    }
    return {"kind": kind, "key": key or {"id": "42"}, "columns": columns, **versions, **more}


ABOUT = {
    "version": "0.1.0", "source": "Cassandra at 10.0.0.11,10.0.0.12:9042", "keyspace": "music",
    "target": "Postgres at ep-example-1.eu-central-1.aws.neon.tech:5432", "database": "tunes", "epoch": 1, "primary": "astra",
}  # fmt: skip


def report(*tables: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A report of these tables; clean unless their figures say otherwise."""
    dirty = any(t["rows"][k] for t in tables for k in ("missing", "extra", "different", "unknown"))
    step = "Run `sync drift-report --repair`, then `sync drift-report` again." if dirty else "Run `sync drift-report` again."
    made = {
        "clean": not dirty, "started_at": "2025-11-23T06:40:00+00:00", "finished_at": "2025-11-23T06:44:12.5+00:00",
        "next_step": step, "tables": list(tables), "search": [], "pass": 7, "about": dict(ABOUT),
    }  # fmt: skip
    return {**made, **changes}


def clean() -> dict[str, Any]:
    """Two tables, a search, no difference."""
    return report(table(), table("embeddings", 60_000, 512, latency={"p50_ms": 91.0, "p99_ms": 402.3, "max_ms": 811.0}),
                  search=[search()])  # fmt: skip


def search(**changes: Any) -> dict[str, Any]:
    """Sampled searches of one column."""
    return {"table": "embeddings", "column": "embedding", "searches": 200, "k": 10, "overlap": 0.974,
            "source_recall": 0.981, "target_recall": 0.9949, "note": ""} | changes  # fmt: skip


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "quotes": "\"'><b onmouseover=\"alert('3')\">&amp;</b>",
    "book": "All happy families are alike. " * 3500,
    "hebrew": "שלום עולם",
    "override": "invoice\u202efdp.exe",
    "emoji": "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🎼",
    "nul": "a\0b\x1b[31m",
    "lone": "half \ud83d of a pair",
    "lines": "one\ntwo\ttabbed\r\n",
    "long": "urn:" + "0123456789abcdef" * 40,
    "space": "no-break\u00a0space\u200b",
}


def dirty() -> dict[str, Any]:
    """Every kind of finding in several tables, values shown, hostile ones among them."""
    kinds = ("missing", "different", "extra", "unknown", "different", "different")
    titles = ["The Foggy Dew", "Röslein auf der Heiden", "O'Neill's Fancy", "Sinfonia ", "Aria"]
    songs = [
        finding(kinds[i % 6], {"id": f"essen/altdeu1/{i:05}"}, **_values(kinds[i % 6], titles[i % 5], i)) for i in range(36)
    ]
    odd = [finding("different", {"composer": text, "opus": str(i)}, source={"title": text}, target={"title": text[:-1]})
           for i, text in enumerate(HOSTILE.values())]  # fmt: skip
    marks = {40: "different", 41: "different", 90: "unknown", 91: "unknown", 92: "unknown", 200: "different", 230: "unknown"}
    return report(
        table(rows={"source": 200_000, "target": 199_600, "same": 198_760, "missing": 6, "extra": 6, "different": 18,
                    "in_flight": 11, "rejected": 3, "unknown": 1_202},
              ranges={"total": 256, "same": 249, "different": 3, "unknown": 4}, ring=ring(256, marks, 781), findings=songs),
        table("embeddings_of_a_rather_long_name", 60_000, 2000, rows={"same": 59_989, "different": 11},
              ranges={"same": 1999, "different": 1}, ring=ring(2000, {1234: "different"}, 30), findings=odd,
              latency={"p50_ms": 91.0, "p99_ms": 402.3, "max_ms": 2811.0}, repaired=2),
        table("plays", 1_204, 64, rows={"same": 1_200, "rejected": 2}, latency={"p50_ms": 4.1, "p99_ms": 9.8, "max_ms": 12.0}),
        table("users", 88_000, 64),
        search=[search(), search(column="sound", overlap=0.62, source_recall=None, target_recall=1.0,
                                 note="The source has no index on this column: its recall was not measured.")],
    )  # fmt: skip


def _values(kind: str, title: str, i: int) -> dict[str, Any]:
    row = {"title": title, "region": "Franken", "notes": str(40 + i)}
    if kind == "different":
        columns = ["title", "notes"] if i % 4 == 1 else ["title"]
        other = {"title": title.strip() if title.endswith(" ") else title[:3] + "-" + title[4:], "notes": "null"}
        return {"columns": columns, "source": {c: row[c] for c in columns}, "target": {c: other[c] for c in columns}}
    return {"missing": {"source": row}, "extra": {"target": row}}.get(kind, {})


def many(count: int = 1_300) -> dict[str, Any]:
    """More findings than a page prints, and a ring that alternates."""
    verdicts = {i: ("different", "unknown")[i % 4 == 1] for i in range(0, 4000) if i % 2}
    return report(table(rows={"same": 200_000 - 2 * count, "different": 2 * count}, ranges={"total": 4000, "same": 2000,
                        "different": 1000, "unknown": 1000}, ring=ring(4000, verdicts, 50), findings_total=count * 2,
                        findings=[finding(key={"id": f"{i:06}"}) for i in range(count)]))  # fmt: skip
