"""Views as HTML: the templates of `templates/`, a file a part, so that a part is sent again only when it has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sync.core.dashboard.history import WINDOWS, Window
from sync.core.dashboard.steps import headline
from sync.core.dashboard.view import view
from sync.core.visible import key_text, visible
from sync.core.words import counted, duration
from sync.wiring.dashboard.watcher import Seen

PARTS = ("banner", "clock", "stand", "attention", "gates", "tables", "history", "processes", "passes")
"""The parts of the page from top to bottom; each is a template, and the id of an element."""
RINGS_SHOWN = 5
"""The rings beside the headline: of the tables that stand first."""
TABLES_SHOWN = 24
"""Of more tables than these, those that are copied and well are folded away."""
_ONE_LINE = 24  # characters of a command that is not broken
_COMMAND = re.compile(
    r"`([^`]+)`|\b(sync (?:preflight|schema apply|backfill|migrate|drift-report|status|rejects|intents|writers|follow forget|"
    r"follow|cutover|rollback|finish|worker)\b(?: --[a-z-]+(?: (?:[A-Z]+\b|[\w.-]+:\d[\w:.-]*))?)*)"
)


def prose(text: str) -> Markup:
    """A sentence, escaped, in which commands are set as such."""
    parts, at = [], 0
    for found in _COMMAND.finditer(text):
        command = visible(found[1] or found[2])
        code = Markup('<code class="short">{}</code>' if len(command) <= _ONE_LINE else "<code>{}</code>").format(command)
        parts += [escape(visible(text[at : found.start()])), code]
        at = found.end()
    return Markup("").join([*parts, escape(visible(text[at:]))])


def moment(at: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time in UTC."""
    return f"{at.astimezone(UTC):{form}}"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("sync.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"prose": prose, "moment": moment, "counted": counted, "duration": duration, "key_text": key_text,
                     "visible": lambda text: visible(str(text))}  # fmt: skip
    made.globals |= {"windows": list(WINDOWS.values()), "tables_shown": TABLES_SHOWN, "rings_shown": RINGS_SHOWN}
    return made


def parts(seen: Seen, window: Window, show_keys: bool) -> dict[str, str]:
    """Every part as HTML; without any snapshot yet they are empty, but for the banner that says why."""
    found = view(seen.snapshot, seen.samples.get(window.name, ()), window, show_keys) if seen.snapshot else None
    values: Mapping[str, Any] = {"v": found, "why": seen.why, "away_since": seen.away_since}
    return {name: _part(name, values) if found or name == "banner" else "" for name in PARTS}


def _part(name: str, values: Mapping[str, Any]) -> str:
    return _templates().get_template(f"{name}.html").render(values).strip()


def page(seen: Seen, window: Window, rendered: Mapping[str, str]) -> str:
    """The whole page around its parts."""
    made = {name: Markup(text) for name, text in rendered.items()}  # made by templates that escape
    return _templates().get_template("page.html").render(parts=made, window=window, title=title(seen))


def title(seen: Seen) -> str:
    """What a browser's tab says."""
    return "sync: not known" if seen.why or not seen.snapshot else f"{headline(seen.snapshot.status)} · sync"


def login(refused: bool) -> str:
    """The page that asks for the token."""
    return _templates().get_template("login.html").render(refused=refused)


def problem(what: str, text: str) -> str:
    """A page that says why there is no other."""
    return _templates().get_template("problem.html").render(title=what, text=text)
