"""Resolve Maven coordinates with jgo, print the jars as JSON: `python -m sync.local.cassandra.fetch GROUP:ARTIFACT:VERSION`.

A process of its own, so that Ctrl-C ends a slow download at once.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path


def main(coordinates: str) -> int:
    """Print the jars, or the reason why not on stderr."""
    try:
        import jgo
    except ImportError:
        sys.stderr.write("the package jgo is missing: pip install '.[local]'\n")
        return 1
    try:
        jars = _whole(coordinates, jgo)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        sys.stderr.write(f"{reason[:200]}\n")
        return 1
    sys.stdout.write(json.dumps([str(jar) for jar in jars]))
    return 0


def _whole(coordinates: str, jgo: object) -> list[Path]:
    """The jars; damaged ones from a broken download are removed from jgo's caches and fetched again, once."""
    from jgo.config import GlobalSettings

    jars: list[Path] = []
    for _ in range(2):
        jars = [Path(jar) for jar in jgo.build(coordinates, update=True).all_jars]  # type: ignore[attr-defined]
        broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
        if not broken:
            return jars
        for jar in broken:
            for copy in (jar, *GlobalSettings.load().repo_cache.rglob(jar.name)):
                copy.unlink(missing_ok=True)
    raise RuntimeError(f"{len(jars)} jars arrived, but some are damaged")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
