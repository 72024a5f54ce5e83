"""`sync local up|down|status|env`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from sync.console import out, print_json, print_table, say
from sync.errors import LocalServerError


def run(args: argparse.Namespace) -> int:
    """Start, end or show the embedded servers."""
    try:
        from sync import local
    except ImportError as error:
        raise LocalServerError(f"{error.name} is not installed: pip install '.[local]' in a checkout") from None
    folder = Path(args.folder).resolve()
    if args.action != "up" and (args.nodes or args.data_centers):
        raise LocalServerError("--nodes and --data-centers go with `sync local up`")
    if args.action == "down":
        local.down(folder)
        say(f"down: no server of {folder.name} is running, and its folder is gone")
        return 0
    if args.action == "status":
        found = local.status(folder)
        if args.json:
            print_json([asdict(s) for s in found])
        else:
            rows = [
                (s.name, "yes" if s.answering else "no", s.pid or "-", f"{s.host}:{s.port}", s.version, s.detail)
                for s in found
            ]
            print_table("", ("server", "answers", "pid", "where", "version", ""), rows)
        return 0 if found and all(s.answering for s in found) else 1
    if args.action == "env" and not all(s.answering for s in local.status(folder)):
        raise LocalServerError("the embedded servers are not running: sync local up")
    endpoints = local.up(folder, say, args.nodes, args.data_centers)
    if args.action == "up" and not args.json:
        say("up: Cassandra, Postgres and Valkey answer; `sync local env > .env` writes their settings")
    elif args.json:
        print_json(endpoints.env())
    else:
        out.file.write(endpoints.dotenv())
    return 0
