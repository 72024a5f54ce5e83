"""The documents say what the program does: commands, options, variables, sync.toml, links and tests that they name."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sync.adapters.pulsar.pulsar_settings import PulsarSettings
from sync.arguments import build_parser
from sync.settings import BackfillTuning, Config, Settings, load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "sync.toml.example"


def _documents() -> list[Path]:
    """The Markdown files of the project; folders that git does not know are not part of it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    own = {ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")}
    return sorted(own | {ROOT / name for name in names if name})


DOCUMENTS = _documents()
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def _section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _commands() -> set[str]:
    actions = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return set(actions[0].choices)


def test_every_command_is_in_the_readme_and_no_other() -> None:
    """Would break: an undocumented command, or a documented one that does not exist."""
    assert set(re.findall(r"^\| `sync ([\w-]+)", _section("Commands"), re.MULTILINE)) == _commands()


def _command_lines() -> list[tuple[str, str]]:
    """Every line of a shell example that runs `sync`, without its comment."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            lines = [re.split(r"\s#|[|>]", line)[0].strip() for line in block.splitlines()]
            found += [(path.name, line) for line in lines if line.startswith(("sync ", "python -m sync"))]
    return found


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_examples_are_command_lines_that_it_takes(document: str, line: str) -> None:
    """Would break: an option that was renamed, or never existed."""
    words = shlex.split(line.removeprefix("python -m "))
    build_parser().parse_args(words[1:])


def test_every_option_that_is_named_exists() -> None:
    """Would break: `--option` in the text that no command has."""
    known: set[str] = {"--help"}
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for parser in action.choices.values():
                known |= {option for a in parser._actions for option in a.option_strings}
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/guide.md", "docs/operations.md")]
    assert set(re.findall(r"`(--[a-z-]+)[ `]", "\n".join(texts))) <= known


def _read_by_the_program() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "sync").rglob("*.py"))
    return {name for name in re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text) if name.startswith("SYNC_")}


ENVIRONMENT = {**Settings.model_fields, **PulsarSettings.model_fields}


def test_every_variable_is_in_the_reference_and_no_other() -> None:
    """Would break: an undocumented setting, or a documented one that does nothing."""
    documented = set(re.findall(r"^\| `([A-Z_]+)`", SETTINGS, re.MULTILINE))
    settings = {name.upper() for name in ENVIRONMENT}
    assert documented == settings | _read_by_the_program() | {"NO_COLOR"}


def test_defaults_in_the_reference_are_the_programs() -> None:
    """Would break: the reference gives a port or a TLS mode that is not the program's."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|[^|]*\| ([^|]*) ?\| [^|]*\|$", SETTINGS, re.MULTILINE)
    assert {name for name, _ in rows} == {name.upper() for name in ENVIRONMENT}
    for name, told in rows:
        default = ENVIRONMENT[name.lower()].default
        assert told.strip().strip("`").lower() == ("" if default is None else str(default).lower()), name


def test_the_example_configuration_loads() -> None:
    """Would break: the first file that a newcomer copies is refused."""
    config = load_config(EXAMPLE)
    assert config.only and config.tables
    assert config.backfill == BackfillTuning(), "what stands under [backfill] are the defaults"


def test_what_the_example_leaves_out_by_a_number_sign_loads_too(tmp_path: Path) -> None:
    """Would break: an entry that a user enables by removing its # is unknown."""
    whole = tmp_path / "sync.toml"
    whole.write_text(re.sub(r"(?m)^#(?=\S)", "", EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    config = load_config(whole)
    assert config.schema_files == (Path("schema.sql"),)
    assert config.options("Order").target == "shop.orders"
    assert config.options("sessions").expiry == "expires_at"


def test_every_entry_of_a_table_is_in_the_example() -> None:
    """Would break: a rule for tables that only the source code mentions."""
    text = EXAMPLE.read_text(encoding="utf-8")
    annotation = Config.model_fields["tables"].annotation
    section: type[BaseModel] = annotation.__args__[1]  # type: ignore[union-attr]
    assert {name for name in section.model_fields if name not in text} == set()


def test_toml_in_the_documents_loads(tmp_path: Path) -> None:
    """Would break: an example of sync.toml that is refused."""
    blocks = [b for path in DOCUMENTS for b in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)]
    assert blocks
    for block in blocks:
        (tmp_path / "sync.toml").write_text(block, encoding="utf-8")
        load_config(tmp_path / "sync.toml")


def _anchors(text: str) -> set[str]:
    """The anchors of a document: those that it states, and those of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    stated = set(re.findall(r'^<a id="([\w-]+)"></a>$', text, re.MULTILINE))
    return stated | {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Would break: a link to a file or heading that is not there."""
    path = ROOT / name
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{name}: {link}"
        assert not anchor or anchor in _anchors(there.read_text(encoding="utf-8")), f"{name}: {link}"


def test_every_page_is_in_the_readme() -> None:
    """Would break: a page that is found only by listing the folder."""
    linked = set(re.findall(r"\]\(docs/((?:reference/)?[\w-]+\.md)\)", _section("Where to read")))
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "reference").glob("*.md")]
    assert linked == {str(path.relative_to(ROOT / "docs")) for path in pages}


def test_every_example_is_in_the_readme_and_has_its_test() -> None:
    """Would break: an application that nobody finds, or that no test migrates."""
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/README.md")}
    assert folders == {path.parent.name for path in (ROOT / "examples").glob("*/*.py")}
    assert set(re.findall(r"\]\(examples/(\w+)/README\.md\)", README)) == folders
    tests = (ROOT / "tests" / "integration" / "test_examples.py").read_text(encoding="utf-8")
    assert set(re.findall(r'Example\(place, "(\w+)"', tests)) == folders


def _in_the_menu(entries: list[Any]) -> set[str]:
    return {p for each in entries for v in each.values() for p in ([v] if isinstance(v, str) else _in_the_menu(v))}


def test_every_page_is_in_the_sites_menu() -> None:
    """Would break: a page of the site that only a search finds, or a menu entry that leads nowhere."""
    menu = _in_the_menu(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "reference").glob("*.md")]
    own = {str(path.relative_to(ROOT / "docs")) for path in pages} | {"decisions/README.md"}
    assert menu == own | {"index.md", "changelog.md", "security.md"}


def test_every_decision_is_in_their_index() -> None:
    """Would break: a page that nothing links to."""
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


@pytest.mark.parametrize("name", NAMES)
def test_tests_that_are_named_exist(name: str) -> None:
    """Would break: a statement whose proof was renamed or removed."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / name).read_text(encoding="utf-8")))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert {test for test in named if f"def {test}(" not in tests} == set()


def test_files_of_tests_that_reliability_names_exist() -> None:
    """Would break: a fault's proof is in a file that was renamed."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line.rstrip("| ").rpartition("|")[2] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`:", row)}
    files = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 30
    assert named - files == set()


def _proofs(section: str) -> list[tuple[str, str]]:
    """The tests, by file and name, that a section names in its `<!-- tests: … -->`."""
    return re.findall(r"(\w+)::(\w+)", "".join(re.findall(r"<!-- tests:(.*?)-->", section, re.DOTALL)))


PROVED = [
    section
    for page in ("types", "limits")
    for section in re.split(r"^##+ ", (ROOT / f"docs/{page}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
]


@pytest.mark.parametrize("section", PROVED, ids=[section.split("\n")[0] for section in PROVED])
def test_every_section_on_types_and_limits_is_tied_to_tests(section: str) -> None:
    """Would break: a statement about values that no test proves, or whose test was moved or removed."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    proofs = _proofs(section)
    assert proofs, section.split("\n")[0]
    assert [(file, test) for file, test in proofs if f"def {test}(" not in files.get(file, "")] == []


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    """Would break: a reader is sent to a module that has moved."""
    named = set(re.findall(r"`((?:sync|workers|migrations|benchmarks|tests)/[\w/]+\.\w+)`", (ROOT / name).read_text("utf-8")))
    assert {file for file in named if not (ROOT / file).exists()} == set()
