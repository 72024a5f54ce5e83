"""Spans where nobody records any; what is recorded is in tests/integration/test_tracing.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALONE = """
import sys
{before}
from sync.wiring.tracing import Tracing, tracing
print(isinstance(tracing(), Tracing))
print(tracing().write("put", "songs", lambda: "written"))
with tracing().within("transaction"):
    tracing().begin("call", "songs")(None)
tracing().flush()
if isinstance(tracing(), Tracing):
    from opentelemetry import trace
    print(tracing().write("put", "songs", lambda: trace.get_current_span() is trace.INVALID_SPAN))
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [("", "True\nwritten\nTrue\n"), ("sys.modules['opentelemetry'] = None", "False\nwritten\n")],
    ids=["no provider", "no package"],
)
def test_where_nobody_records(before: str, said: str) -> None:
    """Would break: an application without OpenTelemetry cannot write."""
    done = subprocess.run([sys.executable, "-c", ALONE.format(before=before)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (said, "")
