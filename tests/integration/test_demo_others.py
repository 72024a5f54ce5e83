"""`sync demo --writers others`: a service that knows nothing of `sync`, through a cut-over, a rollback, a cut-over and the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sync.settings import Settings

pytestmark = pytest.mark.slow


def test_what_a_service_writes_past_the_store_is_on_both_sides(tmp_path: Path) -> None:
    """Would break: what it wrote by CQL is not in Postgres, what it wrote by SQL not in Cassandra, or a pass is not clean."""
    env = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    command = [sys.executable, "-m", "sync", "demo", "--writers", "others", "--limit", "200", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True, done.stderr
    assert [switch["primary"] for switch in told["switches"]] == ["postgres", "astra", "postgres"]
    assert told["acknowledged"] > told["songs"] > 50
    assert "Postgres refused its next statement" in done.stderr
    assert not (tmp_path / ".local-demo").exists()
