"""Postgres 15 and 17, which no Python package brings: the binaries of zonky's embedded Postgres, from Maven Central."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from sync import local
from sync.local.postgres_user import User

VERSIONS = {15: "15.18.0", 17: "17.10.0"}
_GROUP, _ARTIFACT = "io.zonky.test.postgres", "embedded-postgres-binaries"
_SYSTEMS = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64v8",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Darwin", "arm64"): "darwin-arm64v8",
}


class JarPostgres(local.PostgresServer):
    """A Postgres out of a jar, without pgvector."""

    def _programs(self, user: User | None) -> Path:
        return unpacked(VERSIONS[self.options.version]) / "bin"


def unpacked(version: str) -> Path:
    """The folder with `bin`, `lib` and `share`; kept, so that it is fetched once per machine.

    It is in no private folder: the server refuses to run as root, and another user must be able to read it.
    """
    folder = Path(f"/var/tmp/sync-tests-postgres-{version}-unpacked")
    if folder.exists():
        return folder
    coordinates = f"{_GROUP}:{_ARTIFACT}-{_SYSTEMS[platform.system(), platform.machine()]}:{version}"
    fetching = [sys.executable, "-m", "sync.local.cassandra.fetch", coordinates]
    done = subprocess.run(fetching, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{coordinates}: {done.stderr}"
    (jar,) = json.loads(done.stdout)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        Path(made).chmod(0o755)
        with zipfile.ZipFile(jar) as files:
            (name,) = [name for name in files.namelist() if name.endswith(".txz")]
            with files.open(name) as packed, tarfile.open(fileobj=packed, mode="r:xz") as programs:
                programs.extractall(Path(made) / "whole", filter="data")
        with suppress(OSError):  # another process was faster
            (Path(made) / "whole").rename(folder)
    return folder
