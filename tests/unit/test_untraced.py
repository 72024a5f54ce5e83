"""Spans where nobody records any; what is recorded is in tests/integration/test_tracing.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ALONE = """
import sys
{before}
from sync.wiring.tracing import Tracing, tracing
print(isinstance(tracing(), Tracing))
print(tracing().write("put", "songs", lambda: "written"))
with tracing().within("transaction"):
    tracing().begin("call", "songs")(None, "written")
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
    assert ran(ALONE.format(before=before)) == (said, "")


def ran(code: str) -> tuple[str, str]:
    """What this prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    return done.stdout, done.stderr


def test_where_another_package_has_the_name(tmp_path: Path) -> None:
    """Would break: `opentelemetry` is a folder of several packages, and where one of the others is left, no write can be made."""
    (tmp_path / "opentelemetry/proto").mkdir(parents=True)
    before = f"import opentelemetry; opentelemetry.__path__ = [{str(tmp_path / 'opentelemetry')!r}]"
    assert ran(ALONE.format(before=before)) == ("False\nwritten\n", "")


def test_a_provider_that_cannot_be_had() -> None:
    """Would break: a name in the environment that no package knows makes an error of each write."""
    before = "import os; os.environ['OTEL_PYTHON_TRACER_PROVIDER'] = 'nobody_has_it'"
    out, err = ran(ALONE.format(before=before))
    assert out == "False\nwritten\n" and err.splitlines()[-1].startswith("there are no spans: OpenTelemetry: ")


PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(shutdown_on_exit=False)
trace.set_tracer_provider(provider)
"""
CONTEXTS = """
from contextvars import copy_context
from sync.wiring.tracing import tracing
block = tracing().within("transaction")
copy_context().run(block.__enter__)
print(copy_context().run(block.__exit__, None, None, None))
"""


@pytest.mark.parametrize("provider", ["", PROVIDER], ids=["no provider", "a provider"])
def test_a_block_that_ends_in_another_context(provider: str) -> None:
    """Would break: a framework that runs a dependency's two halves in two contexts logs an error for each request."""
    assert ran(provider + CONTEXTS) == ("False\n", "")


HANGS = """
import os, threading
from sync.wiring.tracing import tracing
class Hangs:
    def export(self, spans):
        threading.Event().wait()
    def shutdown(self):
        pass
provider.add_span_processor(BatchSpanProcessor(Hangs()))
print(tracing().write("put", "songs", lambda: "written"))
tracing().flush()
print("ended", flush=True)
os._exit(0)
"""


def test_a_collector_that_hangs() -> None:
    """Would break: each job waits at its end, for as long as an exporter does."""
    assert ran(PROVIDER + HANGS) == ("written\nended\n", "spans were not sent within 2 s\n")
