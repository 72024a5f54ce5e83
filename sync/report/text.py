"""Arbitrary text as HTML: escaped, bounded, and with invisible characters made visible.

Keys and values are an application's data: markup, NUL, a right-to-left override, a book. Every text of a report goes through
one of these functions, and nothing else turns a value into HTML.
"""

from __future__ import annotations

import html
import re
import unicodedata
from datetime import UTC, datetime, timedelta

MAX_TEXT = 200
"""At most so many characters of one value are printed."""
_AROUND = 32  # characters shown before a difference, and after it
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
_JOINERS = "\u200c\u200d"  # they hold Persian words and emoji together
_CONTROLS = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)  # fmt: skip
_COMMAND = re.compile(r"`([^`]+)`|(\bsync (?:drift-report|[a-z]+ --|[a-z]+(?=[.,;:]|$))[^.,;:()]*)")


def escape(text: object) -> str:
    """Text for an element or a quoted attribute, as it is; a character that UTF-8 cannot hold is replaced."""
    return html.escape(str(text)).encode("utf-8", "replace").decode("utf-8").replace("\0", "NUL")


def _seen(char: str, strict: bool) -> tuple[str, int]:
    """One character as HTML and the places it takes: what has no glyph is named, so that it cannot forge its neighbours."""
    if char == " " or unicodedata.category(char) not in _HIDDEN or (char in _JOINERS and not strict):
        return html.escape(char), 1
    named = _CONTROLS[ord(char)] if ord(char) < len(_CONTROLS) else f"U+{ord(char):04X}"
    return f"<u>{named}</u>", 6


def visible(text: str, limit: int = MAX_TEXT, strict: bool = False) -> tuple[str, bool]:
    """The first `limit` places of a text as HTML, and whether that was all of it."""
    parts: list[str] = []
    used = 0
    for char in text[: limit + 1]:
        seen, places = _seen(char, strict)
        used += places
        if used > limit:
            return "".join(parts), False
        parts.append(seen)
    return "".join(parts), len(text) <= limit


def value(text: object, limit: int = MAX_TEXT) -> str:
    """One value: isolated from the writing direction of the text around it; a note says if it is cut."""
    if text is None:
        return '<i class="none">null</i>'
    plain = str(text)
    if not plain:
        return '<i class="none">empty</i>'
    seen, whole = visible(plain, limit)
    note = "" if whole else f' <small class="cut">… {number(len(plain))} characters in all</small>'
    return f'<bdi class="v">{seen}</bdi>{note}'


def name(text: object) -> str:
    """The name of a table or column, cut to a harmless length."""
    seen, whole = visible(str(text), 80)
    return f"<bdi>{seen}{'' if whole else '…'}</bdi>"


def _common(left: str, right: str) -> int:
    """The length of the common beginning, by bisection: comparing slices is quick, however long a value is."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low


def two_values(left: object, right: object) -> tuple[str, str]:
    """Two values that differ, cut to the part that does, with the difference marked."""
    if not isinstance(left, str) or not isinstance(right, str) or left == right or not left or not right:
        return value(left), value(right)
    begin = _common(left, right)
    rest = min(len(left), len(right)) - begin
    end = _common(left[::-1][:rest], right[::-1][:rest]) if rest else 0
    return _marked(left, begin, len(left) - end), _marked(right, begin, len(right) - end)


def _marked(text: str, begin: int, end: int) -> str:
    """The text around `begin:end`; a difference that is nothing but absence is an empty mark, which has a width."""
    before, _ = visible(text[max(0, begin - _AROUND) : begin], 3 * _AROUND)
    between, whole = visible(text[begin:end], MAX_TEXT - 2 * _AROUND, strict=True)
    after, _ = visible(text[end : end + _AROUND], 3 * _AROUND)
    lead, dots = "…" if begin > _AROUND else "", "" if whole else "…"
    trail = "…" if end + _AROUND < len(text) else ""
    note = f" differs from character {number(begin + 1)} of {number(len(text))}" if lead or trail or dots else ""
    small = f' <small class="cut">{note.strip()}</small>' if note else ""
    return f'<bdi class="v">{lead}{before}<mark>{between}{dots}</mark>{after}{trail}</bdi>{small}'


def prose(text: str) -> str:
    """A sentence in which commands, in backquotes or plain, are set as commands."""
    parts: list[str] = []
    at = 0
    for found in _COMMAND.finditer(text):
        command = (found[1] or found[2]).rstrip()
        kept = found[2][len(command) :] if found[2] else ""
        parts += [escape(text[at : found.start()]), f"<code>{escape(command)}</code>{escape(kept)}"]
        at = found.end()
    return "".join([*parts, escape(text[at:])])


def number(count: int | None) -> str:
    """A count for human readers."""
    return "–" if count is None else f"{count:,}"


def seconds(value: float) -> str:
    """A time span for human readers."""
    if value < 1:
        return f"{value * 1000:,.0f} ms"
    if value < 120:
        return f"{value:,.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def version(micros: int | None) -> str:
    """A version, in µs since 1970, as a date and time; one outside the calendar as a number."""
    if micros is None:
        return "none"
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros:,}"
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def moment(text: str) -> str:
    """An ISO time, shortened; any other text unchanged."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return visible(text, 40)[0]
    zone = " UTC" if parsed.utcoffset() == timedelta(0) else parsed.strftime(" %z").rstrip()
    return f"{parsed:%Y-%m-%d %H:%M:%S}{zone}"
