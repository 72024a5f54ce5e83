"""docker-compose.yml as `docker compose` would take it: its services, with the variables put in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[2] / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<rest>[^}]*)\}|\$(?P<bare>\w*)")


def raw() -> dict[str, Any]:
    """The file as it is."""
    return dict(yaml.safe_load(FILE.read_text()))


def services(env: Mapping[str, str]) -> dict[str, Any]:
    """Its services with these variables, all of which are demanded by `${NAME:?what to do}`; `$$` is one dollar."""
    return dict(_put_in(raw()["services"], env))


def dotenv(folder: Path) -> Path:
    """The .env that the commands at the top of the file make."""
    head = [line.removeprefix("#").removeprefix("   ") for line in FILE.read_text().splitlines() if line.startswith("#")]
    begin = next(at for at, line in enumerate(head) if "cat > .env" in line)
    commands = "\n".join(head[begin : head.index(")", begin) + 1])
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True, capture_output=True)
    return folder / ".env"


def _put_in(value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _put_in(one, env) for key, one in value.items()}
    if isinstance(value, list):
        return [_put_in(one, env) for one in value]
    return _VARIABLE.sub(lambda found: _value(found, env), value) if isinstance(value, str) else value


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    assert found["name"] and found["rest"].startswith(":?") and len(found["rest"]) > 10, (
        f"{found[0]} does not say what to set"
    )
    return env[found["name"]]
