"""Logs as JSON, an object a line: of commands and workers with `SYNC_LOG=json`; an application may use the formatter.

`time` (UTC), `level`, `logger`, `message`, `process`; and where it is known `table`, `range`, `worker` and `keys`, a number.
Of an unexpected exception its kind and place, not its text: that may quote a row's values.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

FIELDS = ("table", "range", "worker", "keys")
"""What a record may have in addition."""


class JsonLines(logging.Formatter):
    """Makes one line of a record: `handler.setFormatter(JsonLines())`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object, in ASCII: no escape sequence in it is an order to a terminal."""
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        found |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            found |= {"exception": type(error).__name__, "at": places}
        return json.dumps(found, ensure_ascii=True, default=str)
