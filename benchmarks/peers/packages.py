"""What the peers need, in a virtual environment and a list of jars of the benchmark's own; never in the product's."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers import make_folder, say

_DSBULK_PARTS = ("runner", "workflow-unload", "connectors-csv", "codecs-text", "executor-reactor")
DSBULK = "+".join(f"com.datastax.oss:dsbulk-{part}:1.10.0" for part in _DSBULK_PARTS)
SPARK_JARS = "com.datastax.spark:spark-cassandra-connector_2.12:3.5.1+org.postgresql:postgresql:42.7.4"
_SAME_AS_OURS = ("cassandra-driver", "psycopg", "psycopg-binary", "pgvector", "numpy")


class NotHad(Exception):
    """A peer's package cannot be had; the message says why."""


@cache
def python(*extra: str) -> Path:
    """An interpreter with the peers' packages, those that we use too at our versions, and `extra` ones."""
    folder = make_folder() / "peers-venv"
    program = folder / "bin" / "python"
    if not program.exists():
        say("peers: making their virtual environment")
        _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check", "psycopg2-binary", *_pins(), *extra])
    return program


@cache
def jars(coordinates: str) -> tuple[Path, ...]:
    """The jars of Maven coordinates and all they need; from the second time on without asking anybody."""
    memory = make_folder() / "jars.json"
    known: dict[str, list[str]] = json.loads(memory.read_text()) if memory.exists() else {}
    if not all(Path(jar).exists() for jar in known.get(coordinates, ["-"])):
        say(f"peers: fetching {coordinates.split('+')[0]}")
        known[coordinates] = _resolve(coordinates)
        memory.write_text(json.dumps(known))
    return tuple(Path(jar) for jar in known[coordinates])


def _resolve(coordinates: str) -> list[str]:
    try:
        import jgo

        return [str(jar) for jar in jgo.build(coordinates, update=True).all_jars]
    except ImportError:
        raise NotHad("the package jgo is missing") from None
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise NotHad(f"not in Maven Central or not reachable: {str(error).splitlines()[0][:120]}") from None


def _pins() -> list[str]:
    found = []
    for name in _SAME_AS_OURS:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise NotHad(f"pip: {said[-1][:160]}")
