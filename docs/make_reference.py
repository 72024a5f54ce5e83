"""Writes docs/reference/: settings from the pydantic models, commands from the parser, the store from its docstrings.

`python docs/make_reference.py` writes the pages; with `--check` it only says which are out of date, and ends with 1. What the
code does not say of itself is in docs/reference/meanings.toml.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

import sync
from sync import stores
from sync.adapters.pulsar.pulsar_settings import PulsarSettings
from sync.arguments import build_parser
from sync.settings import Config, Settings
from sync.stores.rows import Rows

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/make_reference.py: do not edit. `make docs` writes it again. -->\n"
_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path", SecretStr: "text, secret"}
_LIMITS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "min_length": "not empty"}


class Meanings:
    """meanings.toml; it knows which of its entries were used."""

    def __init__(self) -> None:
        self._data: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "meanings.toml").read_text(encoding="utf-8"))
        self._left = {(section, name) for section, entries in self._data.items() for name in entries}

    def of(self, section: str, name: str) -> tuple[str, str]:
        """An entry's meaning and unit. Raises KeyError where there is none."""
        entry = self._data[section][name]
        self._left.discard((section, name))
        return (entry, "") if isinstance(entry, str) else (entry[0], entry[1])

    def section(self, name: str) -> dict[str, Any]:
        """A whole section, all of it used."""
        self._left = {(section, entry) for section, entry in self._left if section != name}
        return self._data[name]

    def check(self) -> None:
        """Raise ValueError for entries of things that are no more."""
        if self._left:
            raise ValueError(f"docs/reference/meanings.toml: nothing is called {sorted(self._left)}")


def pages() -> dict[str, str]:
    """Every page of the folder by its file's name."""
    meanings = Meanings()
    found = {"settings.md": settings_page(meanings), "commands.md": commands_page(meanings), "store.md": store_page()}
    meanings.check()
    return {name: NOTE + "\n" + text for name, text in found.items()}


def _type(annotation: Any) -> str:
    """A setting's type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{str(a).lower() if isinstance(a, bool) else a}`" for a in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin in (tuple, frozenset):
        return f"list of {_type(arguments[0])}s"
    if origin is dict:
        return f"table of {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return _NAMES[annotation]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", {}) or field.is_required():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`[]`" if value in ((), frozenset()) else f"`{value}`"


def _limits(field: FieldInfo) -> str:
    words = [
        text.format(f"{limit:,}" if isinstance(limit, int | float) else limit)
        for name, text in _LIMITS.items()
        for metadata in field.metadata
        if (limit := getattr(metadata, name, None)) is not None
    ]
    return f" ({', '.join(words)})" if words else ""


def _rows(model: type[BaseModel], section: str, meanings: Meanings, shown: Callable[[str], str] = str) -> Iterator[str]:
    unit_head = section in ("backfill", "dual_write", "drift", "cutover", "capture", "throttle")
    yield f"| setting | type | default |{' unit |' if unit_head else ''} meaning |"
    yield "| --- | --- | --- | --- |" + (" --- |" if unit_head else "")
    for name, field in model.model_fields.items():
        if section == "top" and _is_section(field.annotation):
            continue
        meaning, unit = meanings.of(section, name)
        unit_cell = f" {unit} |" if unit_head else ""
        yield f"| `{shown(name)}` | {_type(field.annotation)}{_limits(field)} | {_default(field)} |{unit_cell} {meaning} |"


def _is_section(annotation: Any) -> bool:
    inner = get_args(annotation)[-1] if get_origin(annotation) is dict else annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel)


def settings_page(meanings: Meanings) -> str:
    """The environment, then sync.toml, section by section."""
    lines = [
        "# Settings",
        "",
        "Settings of servers come from the environment, or from a file `.env` in the folder where a command is started.",
        "What is special about tables, and all tuning, comes from `sync.toml`.",
        "",
        "## Environment",
        "",
        "A variable in the environment takes precedence over the one in `.env`. An empty one counts as not set.",
        "Passwords and tokens are never printed.",
        "",
        *_rows(Settings, "environment", meanings, str.upper),
        "",
        "## Environment of sync follow pulsar",
        "",
        *_rows(PulsarSettings, "pulsar", meanings, str.upper),
        "",
        "## Environment of the program",
        "",
        "| variable | meaning |",
        "| --- | --- |",
        *(f"| `{name}` | {meaning} |" for name, meaning in meanings.section("program").items()),
        "",
        "## sync.toml",
        "",
        "Without this file every table of the keyspace goes into the table of the same name, every column into the column of",
        "the same name. An entry that is not known is an error, and so is a table or column that the source does not have.",
        "",
        *_rows(Config, "top", meanings),
    ]
    for name, field in Config.model_fields.items():
        if _is_section(field.annotation):
            lines += ["", *_section(name, field.annotation, meanings)]
    return "\n".join(lines) + "\n"


def _section(name: str, annotation: Any, meanings: Meanings) -> Iterator[str]:
    by_name = get_origin(annotation) is dict
    model = get_args(annotation)[-1] if by_name else annotation
    yield f"### [{name}.NAME]" if by_name else f"### [{name}]"
    yield ""
    if not model.__name__.startswith("_"):
        yield from (inspect.getdoc(model) or "", "")
    yield from _rows(model, name, meanings)


def _subparsers() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Every command with its one-line help and its parser; one that has commands of its own is these."""
    return dict(_commands_of(build_parser(), ""))


def _commands_of(parser: argparse.ArgumentParser, before: str) -> Iterator[tuple[str, tuple[str, argparse.ArgumentParser]]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                inside = list(_commands_of(inner, f"{before}{name} "))
                yield from inside or [(f"{before}{name}", (helps[name], inner))]


def commands_page(meanings: Meanings) -> str:
    """Every command with its options and exit codes."""
    codes = meanings.section("exit_codes")
    common = codes["common"]
    lines = [
        "# Commands",
        "",
        "`python -m sync` is the same program. Results go to stdout, progress and errors to stderr.",
        "`sync COMMAND --help` prints the options that this page lists; `sync --version` the version.",
        "",
        "| command | what it does |",
        "| --- | --- |",
        *(f"| [`sync {name}`](#sync-{name.replace(' ', '-')}) | {text} |" for name, (text, _) in _subparsers().items()),
    ]
    for name, (text, parser) in _subparsers().items():
        lines += ["", f"## sync {name}", "", f"{text[:1].upper()}{text[1:]}.", "", *_options(name, parser, meanings), ""]
        own = {**common, **codes.get(name, {})}
        lines += ["| exit code | meaning |", "| --- | --- |", *(f"| {code} | {own[code]} |" for code in sorted(own))]
    unknown = set(codes) - {"common", *_subparsers()}
    if unknown:
        raise ValueError(f"docs/reference/meanings.toml: no command is called {sorted(unknown)}")
    return "\n".join(lines) + "\n"


def _options(command: str, parser: argparse.ArgumentParser, meanings: Meanings) -> Iterator[str]:
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    yield "| option | meaning |"
    yield "| --- | --- |"
    for action in actions:
        name = action.option_strings[0] if action.option_strings else action.dest
        text = action.help or meanings.of("options", f"{command} {name}")[0]
        yield f"| {_written(action)} | {text}{_told_default(action, text)} |"


def _written(action: argparse.Action) -> str:
    """An option as it is typed."""
    if not action.option_strings:
        return " or ".join(f"`{choice}`" for choice in action.choices or (action.metavar or action.dest,))
    if action.nargs == 0:
        return f"`{action.option_strings[0]}`"
    usual = {"table": "NAME", "folder": "FOLDER"}.get(action.dest, "N")
    value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.metavar or usual
    return f"`{action.option_strings[0]} {value}`"


def _told_default(action: argparse.Action, text: str) -> str:
    """The default, where the help does not say it; the number of cores is the machine's, not the parser's."""
    default = action.default
    if default in (None, False, argparse.SUPPRESS) or text.endswith(")") or action.dest in ("workers", "folder"):
        return ""
    return f" ({default})"


def store_page() -> str:
    """The methods of the stores, as their docstrings have them."""
    dual, wrapped = sync.DualWriteStore, sync.AsyncDualWriteStore
    lines = [
        "# The store",
        "",
        "What an application imports: `from sync import open_store`. [Dual writes](../dual-writes.md) says how to use it and",
        "what happens at a write, [queries](../queries.md) what can be read. All stores are context managers, and have the",
        "methods of `Store`.",
        "",
        *_function("open_store", sync.open_store),
        "",
        "## Store",
        "",
        inspect.getdoc(sync.Store) or "",
        "",
        *_methods(sync.Store),
        "## Rows",
        "",
        inspect.getdoc(Rows) or "",
        "",
        "### cursor",
        "",
        inspect.getdoc(Rows.cursor) or "",
        "",
        "## Transaction",
        "",
        inspect.getdoc(sync.Transaction) or "",
        "",
        *_methods(sync.Transaction),
        "## DualWriteStore",
        "",
        inspect.getdoc(dual) or "",
        "",
        "Besides the methods of `Store` it has these:",
        "",
        *_methods(dual, without=sync.Store),
        "## AsyncDualWriteStore",
        "",
        inspect.getdoc(wrapped) or "",
        "",
        "```python",
        *(_signature(name, method) for name, method in _public(wrapped)),
        "```",
        "",
        "## Stores of one side",
        "",
        "What `open_store()` gives without `SYNC_DUAL_WRITE=true`; the same methods, on one side alone.",
        "",
        "| store | |",
        "| --- | --- |",
        *(f"| `{cls.__name__}` | {_one_line(cls)} |" for cls in (stores.CqlStore, stores.AstraStore, stores.PostgresStore)),
        "",
        "## Errors",
        "",
        "All of them can be imported from `sync`.",
        "",
        "| error | what happened |",
        "| --- | --- |",
        *(f"| `{name}` | {_one_line(getattr(sync, name))} |" for name in sync.__all__ if _is_error(getattr(sync, name))),
    ]
    return "\n".join(lines) + "\n"


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _one_line(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").split())


def _public(cls: type) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(cls).items() if not name.startswith("_")]


def _methods(cls: type, without: type = object) -> Iterator[str]:
    for name, value in _public(cls):
        if name in vars(without):
            continue
        if isinstance(value, property):
            yield from (f"### {name}", "", _linked(inspect.getdoc(value) or ""), "")
            continue
        yield from (*_function(name, getattr(cls, name), "###"), "")


def _function(name: str, value: Any, level: str = "##") -> Iterator[str]:
    yield from (f"{level} {name}", "", "```python", _signature(name, value), "```", "", _linked(inspect.getdoc(value) or ""))


def _signature(name: str, value: Any) -> str:
    function = inspect.unwrap(value)
    text = re.sub(r"'([^']*)'", r"\1", str(inspect.signature(function)))
    text = text.replace("(self, ", "(").replace("(self)", "()")
    return f"{'async ' if inspect.iscoroutinefunction(function) else ''}def {name}{text}"


def _linked(text: str) -> str:
    """Docstrings name rules and pages: as links."""
    text = re.sub(r"\brule (\d+[a-d]?)\b", r"[rule \1](../rules.md#rule-\1)", text)
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", text)


def main(check: bool) -> int:
    """Write the pages, or say which are out of date."""
    stale = {n: t for n, t in pages().items() if not (FOLDER / n).exists() or (FOLDER / n).read_text("utf-8") != t}
    for name, text in stale.items():
        sys.stdout.write(f"docs/reference/{name} {'is out of date' if check else 'written'}\n")
        if not check:
            (FOLDER / name).write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
