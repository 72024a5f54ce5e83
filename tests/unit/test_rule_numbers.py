"""docs/rules.md says what is cited: every "rule N" and "invariant N" leads to an entry there, and every entry to tests."""

from __future__ import annotations

import re
import runpy
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rules.md"
CODE = ("sync/", "workers/", "migrations/", "tests/", "benchmarks/")
_NUMBER = r"\d+[a-d]?(?![\w%])"
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:--|#|//[/!]?)?[ \t]*)"  # a text, or a comment, may be wrapped within a citation
_CITED = re.compile(
    rf"(?<![\w-])(rule|invariant)s?{_GAP}(?P<list>{_NUMBER}(?:(?:,{_GAP}|,?{_GAP}(?:and|to|or){_GAP}){_NUMBER})*)",
    re.IGNORECASE,
)
_IN_A_NAME = re.compile(r"\b(?:test_)?(rule|invariant)s?_(?P<list>\d+[a-d]?(?:_(?:and|to)_\d+[a-d]?)*)(?=_|\b)")
_TAKEN_OUT = re.compile(rf"\bwith(out) (?P<list>{_NUMBER}(?:, {_NUMBER})*):")  # the lines of the model's set
_IN_A_TABLE = re.compile(rf"^\| (?P<list>{_NUMBER}(?:, {_NUMBER})*)[ :]", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """What the page says of one rule: the tests that hold it, by file and name, and the words of its mutants."""

    tests: tuple[tuple[str, str], ...]
    mutants: tuple[str, ...]


def entries(page: str) -> dict[str, Entry]:
    """The page's entries by their anchors: `rule-15b`, `invariant-4`, `rule-data-centre`."""
    parts = re.split(r'^<a id="([\w-]+)"></a>$', page, flags=re.MULTILINE)
    return {
        anchor: Entry(
            tuple((file, test) for file, test in re.findall(r"`(\w+)::(test_\w+)`", text)),
            tuple(re.findall(r"“([^”]+)”", text.partition("- **Mutants:**")[2].replace("\n  ", " "))),
        )
        for anchor, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def cited(text: str) -> set[str]:
    """The anchors that a file's text leads to; of "rules 18 to 20" both ends, and what lies between is not counted."""
    text = re.sub(r"\[([^\]]{0,80})\]\([^)\s]*\)", r"\1", text)  # a link counts by its words
    found = set()
    for match in (*_CITED.finditer(text), *_IN_A_NAME.finditer(text)):
        found |= {f"{match[1].lower()}-{number}" for number in re.findall(r"\d+[a-d]?", match["list"])}
    return found


def cited_by_number(text: str) -> set[str]:
    """The same in tables of rules, and in the lines of the model, where the number alone is the citation."""
    tables = re.findall(r"^\| (?:rule|taken out) \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    matches = [*_TAKEN_OUT.finditer(text), *(m for table in tables for m in _IN_A_TABLE.finditer(table))]
    return {f"rule-{number}" for match in matches for number in re.findall(r"\d+[a-d]?", match["list"])}


def dangling(texts: Mapping[str, str], anchors: Iterable[str]) -> dict[str, set[str]]:
    """By file, what is cited there and is not on the page."""
    known = set(anchors)
    found = {name: (cited(text) | cited_by_number(text)) - known for name, text in texts.items()}
    return {name: missing for name, missing in found.items() if missing}


def uncited(texts: Mapping[str, str], mutants: Iterable[str], anchors: Iterable[str]) -> set[str]:
    """Entries that neither code, tests nor mutants lead to."""
    found = {_anchor(rule) for rule in mutants}
    for name, text in texts.items():
        found |= cited(text) if name.startswith(CODE) else set()
    return set(anchors) - found


def _anchor(rule: str) -> str:
    """The anchor of a mutant's rule: a number, a name, or "invariant" with a number."""
    return rule.replace(" ", "-") if rule.startswith("invariant ") else f"rule-{rule.replace(' ', '-')}"


def _texts() -> dict[str, str]:
    """Every text file that git knows of, by name; where there is no git, what the checkout holds."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.split("\n") if listed.returncode == 0 else _walked()
    suffixes = (".py", ".sql", ".rs", ".md", ".cql", ".toml", ".example", ".sh")
    return {name: (ROOT / name).read_text("utf-8") for name in names if name.endswith(suffixes) and (ROOT / name).is_file()}


def _walked() -> list[str]:
    folders = [ROOT / name for name in (*CODE, "docs") if (ROOT / name).is_dir()]
    return [str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*")]


TEXTS = _texts()
ENTRIES = entries(PAGE.read_text("utf-8"))
MUTANTS: tuple[Any, ...] = runpy.run_path(str(ROOT / "tests/rules/mutants.py"))["MUTANTS"]
TESTS = {Path(name).stem: text for name, text in TEXTS.items() if re.match(r"tests/.*/test_\w+\.py$", name)}


def test_every_citation_leads_to_an_entry() -> None:
    """Would break: a reader of "rule N" looks for it in vain. The cure: the right number, or an entry in docs/rules.md."""
    assert len(TEXTS) > 300
    assert dangling(TEXTS, ENTRIES) == {}


def test_every_entry_is_cited() -> None:
    """Would break: the page says what the code no longer does."""
    texts = {name: text for name, text in TEXTS.items() if not name.endswith(Path(__file__).name)}  # this file plants some
    assert uncited(texts, {mutant.rule for mutant in MUTANTS}, ENTRIES) == set()


@pytest.mark.parametrize("anchor", ENTRIES)
def test_every_entry_names_tests_and_mutants_that_exist(anchor: str) -> None:
    """Would break: a rule whose proof was renamed or removed, or never existed."""
    entry = ENTRIES[anchor]
    assert entry.tests, f"{anchor}: no test"
    assert [f"{file}::{test}" for file, test in entry.tests if f"def {test}(" not in TESTS.get(file, "")] == []
    known = {mutant.without for mutant in MUTANTS if _anchor(mutant.rule) == anchor}
    assert set(entry.mutants) <= known
    assert bool(entry.mutants) == bool(known), f"{anchor}: its mutants are not named"


def test_every_mutant_has_an_entry() -> None:
    """Would break: `make rules` names a rule that no page explains. The cure: an entry under "Named rules"."""
    assert {mutant.rule for mutant in MUTANTS if _anchor(mutant.rule) not in ENTRIES} == set()


def test_every_number_is_there_once() -> None:
    """Would break: a gap in the numbers, or one number for two rules."""
    page = PAGE.read_text("utf-8")
    anchors = re.findall(r'^<a id="([\w-]+)"></a>$', page, re.MULTILINE)
    assert len(anchors) == len(set(anchors))
    for kind in ("invariant", "rule"):
        numbers = {int(n) for n in re.findall(rf"^{kind}-(\d+)$", "\n".join(anchors), re.MULTILINE)}
        assert numbers == set(range(1, max(numbers) + 1))
    assert re.findall(r"^### (?:Rule|Invariant) (\d+[a-d]?):", page, re.MULTILINE) == [
        anchor.partition("-")[2] for anchor in anchors if anchor.partition("-")[2][0].isdigit()
    ]


PLANTED = (
    ("# rule {}\n", {"rule-99"}),
    ('"""Kept (rules 9, 18 and {})."""', {"rule-99"}),
    ("-- hold: the row (rules 18\n-- and {})", {"rule-99"}),
    ("//! Rule {}: something.", {"rule-99"}),
    ("see [rule\n{}](rules.md#rule-9)", {"rule-99"}),
    ("# of rules 3, 4, and\n    # {}", {"rule-99"}),
    ("what rules 20 to {} say", {"rule-99"}),
    ("([rule {}](../rules.md#rule-9))", {"rule-99"}),
    ("[Rules 9](rules.md#rule-9) and [{}](rules.md#rule-18)", {"rule-99"}),
    ("Would break: invariant {}: nothing.", {"invariant-99"}),
    ("def test_rules_9_and_{}_hold() -> None:", {"rule-99"}),
    ("def test_invariant_{}_holds() -> None:", {"invariant-99"}),
    ("| `cutover_rules`: rule_{}_nothing_switches |", {"rule-99"}),
    ('("without {}: no lock", "forward lock=0", True)', {"rule-99"}),
    ("| rule | without it |\n| --- | --- |\n| 9 | a |\n| {} | b |\n", {"rule-99"}),
    ("rule 15{}", {"rule-15z"}),
)


@pytest.mark.parametrize(("text", "missing"), PLANTED)
def test_a_dangling_number_is_found(text: str, missing: set[str]) -> None:
    """Would break: the test above passes because it reads nothing."""
    number = "z" if missing == {"rule-15z"} else "99"
    found = dangling({"a": text.format(number)}, ENTRIES)
    assert found == ({} if number == "z" else {"a": missing})  # 15z is no number: nothing is cited


@pytest.mark.parametrize("text", ("rule 15{}", "rules 15{} and 9", "(rule 15a, 15{})"))
def test_a_letter_that_is_not_there_is_found(text: str) -> None:
    """Would break: "rule 15d" is taken for "rule 15"."""
    anchors = set(ENTRIES) - {"rule-15d"}
    assert dangling({"a": text.format("d")}, anchors) == {"a": {"rule-15d"}}


def test_what_is_no_citation_is_none() -> None:
    """Would break: a rule of a stylesheet or of mathematics has to be on the page."""
    assert cited("--rule: 99px; the rules of sync.toml; rule-99; 99 rules; rules 99% of it; a hot rule, 99") == set()


def test_an_entry_that_nobody_cites_is_found() -> None:
    """Would break: `uncited` finds nothing."""
    texts = {"sync/a.py": "rules 1 to 3, invariant 4", "docs/a.md": "rule 5"}
    assert uncited(texts, ("7", "data centre", "invariant 2"), ("rule-1", "rule-2", "rule-3", "rule-5", "rule-7",
        "rule-data-centre", "invariant-4", "invariant-2")) == {"rule-2", "rule-5"}  # fmt: skip


PATHS = re.compile(r"(?<![\w/])((?:sync|workers|migrations|benchmarks|tests)/[\w/.-]*\w\.(?:py|sql|rs|cql))\b")


@pytest.mark.parametrize("name", sorted(name for name in TEXTS if re.match(r"docs/.*\.md$|README\.md$", name)))
def test_modules_that_the_documents_name_exist(name: str) -> None:
    """Would break: a reader is sent to a file that has moved, in the text or in a diagram."""
    assert [path for path in PATHS.findall(TEXTS[name]) if not (ROOT / path).exists()] == []


STATES = ("sync.intent", "sync.range", "sync.epoch", "sync.writer", "sync.switch")


@pytest.mark.parametrize("table", STATES)
def test_the_states_that_are_drawn_are_those_of_the_schema(table: str) -> None:
    """Would break: docs/architecture.md draws a state that no row can have, or leaves one out."""
    architecture = TEXTS["docs/architecture.md"]
    drawing = re.search(rf"stateDiagram-v2\n +%% {re.escape(table)}\.state\n(.*?)```", architecture, re.DOTALL)
    assert drawing, f"no diagram of {table}"
    drawn = {*re.findall(r"^ +(\w+) -->", drawing[1], re.MULTILINE), *re.findall(r"--> (\w+)", drawing[1])}
    assert drawn == _states(TEXTS["migrations/003_sync_state.sql"], table)


def _states(schema: str, table: str) -> set[str]:
    """What the last CHECK of the table's state allows."""
    made = re.search(rf"CREATE TABLE IF NOT EXISTS {re.escape(table)} \((.*?)\n\);", schema, re.DOTALL)
    later = re.findall(rf"ALTER TABLE {re.escape(table)} ADD CONSTRAINT \w+ CHECK \((state IN .*)\);", schema)
    checks = re.findall(r"\bstate IN \(([^)]*)\)", "\n".join([made[1] if made else "", *later]))
    return set(re.findall(r"'(\w+)'", checks[-1]))
